//! JSON Pointers, into encoded values and out of offsets.

use alloc::{string::String, vec::Vec};

use super::walk::skip;
use crate::protocol::{EncodedValue, Head, Reader};

/// The pointer to the part of a value that begins at `offset`. Costs a walk over what lies before it, so it is written
/// once a verdict is final.
pub(super) fn write(value: &[u8], offset: usize) -> String {
    let mut path = String::new();
    let mut reader = Reader::new(value);
    while reader.offset() < offset {
        let (count, is_map) = match reader.head() {
            Ok(Head::Map(count)) => (count, true),
            Ok(Head::Array(count)) => (count, false),
            _ => break,
        };
        for index in 0..count {
            let name = if is_map { reader.str().ok() } else { None };
            let start = reader.offset();
            let end = skip(value, start).unwrap_or(offset);
            if offset < end || start == end {
                path.push('/');
                match name {
                    Some(name) => write_name(&mut path, name),
                    None => write_index(&mut path, index),
                }
                break;
            }
            reader = Reader::resumed(value, end);
        }
    }
    path
}

fn write_name(path: &mut String, name: &str) {
    for character in name.chars() {
        match character {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            other => path.push(other),
        }
    }
}

fn write_index(path: &mut String, index: usize) {
    if index >= 10 {
        write_index(path, index / 10);
    }
    path.push(char::from_digit(u32::try_from(index % 10).unwrap_or(0), 10).unwrap_or('0'));
}

/// What the pointer in a URI fragment points to, unless that lies in a schema with an `$id`: there it would have
/// another base.
pub(super) fn read<'a>(root: EncodedValue<'a>, pointer: &str) -> Option<EncodedValue<'a>> {
    let mut at = root;
    let mut steps = pointer.split('/');
    if !steps.next()?.is_empty() {
        return None;
    }
    for (depth, step) in steps.enumerate() {
        if depth > 0 && at.string_field("$id").is_some() {
            return None;
        }
        let name = decode(step)?;
        let bytes = at.as_bytes();
        let mut reader = Reader::new(bytes);
        let (count, is_map) = match reader.head().ok()? {
            Head::Map(count) => (count, true),
            Head::Array(count) => (count, false),
            _ => return None,
        };
        let mut found = None;
        for index in 0..count {
            let is_it = if is_map {
                reader.str().ok()?.as_bytes() == name
            } else {
                let mut text = String::new();
                write_index(&mut text, index);
                text.as_bytes() == name
            };
            let value = reader.value().ok()?;
            if is_it {
                found = Some(value);
                break;
            }
        }
        at = found?;
    }
    Some(at)
}

/// A step of a pointer without its escapes: `%25` of the URI, `~0` and `~1` of the pointer.
fn decode(step: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut bytes = step.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let code = digit()? * 16 + digit()?;
        decoded.push(u8::try_from(code).ok()?);
    }
    let mut name = Vec::new();
    let mut bytes = decoded.into_iter();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'~' => match bytes.next()? {
                b'0' => b'~',
                b'1' => b'/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(name)
}
