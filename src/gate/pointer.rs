//! JSON Pointers, into encoded values and out of offsets.

use alloc::{string::String, vec::Vec};

use crate::protocol::{EncodedValue, Scanner, Token};

/// The pointer to the part of a value that begins at `offset`. Costs a walk over what lies before it, so it is written
/// once a verdict is final.
pub(super) fn write(value: EncodedValue<'_>, offset: usize) -> String {
    let mut path = Vec::new();
    let mut scanner = Scanner::new(value);
    while scanner.offset() < offset {
        let (count, is_map) = match scanner.token() {
            Some(Token::Map(count)) => (count, true),
            Some(Token::Array(count)) => (count, false),
            _ => break,
        };
        for index in 0..count {
            let name = if is_map { scanner.token() } else { None };
            let start = scanner;
            scanner.skip();
            if offset < scanner.offset() {
                path.push(b'/');
                match name {
                    Some(Token::Str(name)) => write_name(&mut path, name),
                    _ => write_index(&mut path, index),
                }
                scanner = start;
                break;
            }
        }
    }
    String::from_utf8(path).unwrap_or_default()
}

fn write_name(path: &mut Vec<u8>, name: &[u8]) {
    for byte in name {
        let escaped: &[u8] = match byte {
            b'~' => b"~0",
            b'/' => b"~1",
            other => core::slice::from_ref(other),
        };
        path.extend_from_slice(escaped);
    }
}

fn write_index(path: &mut Vec<u8>, index: usize) {
    if index >= 10 {
        write_index(path, index / 10);
    }
    path.extend(u8::try_from(index % 10).map(|digit| b'0' + digit));
}

/// What the pointer in a URI fragment points to, unless that lies in a schema with an `$id`: there it would have
/// another base.
pub(super) fn read<'a>(root: EncodedValue<'a>, pointer: &[u8]) -> Option<EncodedValue<'a>> {
    let mut at = root;
    let mut rest = pointer;
    while let [b'/', tail @ ..] = rest {
        let end = tail.iter().position(|byte| *byte == b'/').unwrap_or(tail.len());
        let name = decode(&tail[..end])?;
        if rest.len() < pointer.len() && at.string_field("$id").is_some() {
            return None;
        }
        rest = &tail[end..];
        let mut scanner = Scanner::new(at);
        let (count, is_map) = match scanner.token()? {
            Token::Map(count) => (count, true),
            Token::Array(count) => (count, false),
            _ => return None,
        };
        let mut found = None;
        for index in 0..count {
            let is_it = if is_map {
                scanner.token()? == Token::Str(&name)
            } else {
                let mut text = Vec::new();
                write_index(&mut text, index);
                text == name
            };
            let value = scanner.value()?;
            if is_it {
                found = Some(value);
                break;
            }
        }
        at = found?;
    }
    rest.is_empty().then_some(at)
}

/// A step of a pointer without its escapes: `%25` of the URI, `~0` and `~1` of the pointer.
fn decode(step: &[u8]) -> Option<Vec<u8>> {
    let mut name: Vec<u8> = Vec::new();
    let mut bytes = step.iter().copied();
    let mut is_escaped = false;
    while let Some(mut byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            byte = u8::try_from(digit()? * 16 + digit()?).ok()?;
        }
        if is_escaped {
            name.push(match byte {
                b'0' => b'~',
                b'1' => b'/',
                _ => return None,
            });
            is_escaped = false;
        } else if byte == b'~' {
            is_escaped = true;
        } else {
            name.push(byte);
        }
    }
    (!is_escaped).then_some(name)
}
