//! From JSON text to MessagePack, token by token: a tree of a hostile frame would take many times its room.

use alloc::{borrow::Cow, vec, vec::Vec};
use core::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{ESCAPE, Escapes};
use crate::protocol::{
    limits::MAX_DEPTH,
    msgpack::{DecodeError, EncodedValue, Writer},
    unique::has_repeats,
};

/// Levels that a frame and its message add around a value.
const MESSAGE_DEPTH: usize = 6;

/// Levels of text that a frame can take: an escaped map takes three for one.
const TEXT_DEPTH: usize = 3 * MAX_DEPTH + MESSAGE_DEPTH;

/// The value that a text is.
pub(super) fn value(text: &str, escapes: Escapes) -> Result<Vec<u8>, DecodeError> {
    let bytes = transcode(text, |transcoder, parser| {
        Token { transcoder, levels: MAX_DEPTH, escapes }.deserialize(parser)
    })?;
    if has_repeats(EncodedValue::trusted(&bytes)) {
        return Err(DecodeError::RepeatedName);
    }
    Ok(bytes)
}

/// The messages of the array that a text is.
pub(super) fn messages(text: &str) -> Result<Vec<u8>, DecodeError> {
    transcode(text, |transcoder, parser| parser.deserialize_seq(Messages(transcoder)))
}

fn transcode<'a>(
    text: &'a str,
    run: impl FnOnce(
        &mut Transcoder,
        &mut serde_json::Deserializer<serde_json::de::StrRead<'a>>,
    ) -> serde_json::Result<()>,
) -> Result<Vec<u8>, DecodeError> {
    let mut transcoder =
        Transcoder { writer: Writer::new(), lengths: lengths(text)?.into_iter(), is_too_deep: false };
    let mut parser = serde_json::Deserializer::from_str(text);
    // Its own limit is below what escapes can take; the text was measured instead.
    parser.disable_recursion_limit();
    match run(&mut transcoder, &mut parser).and_then(|()| parser.end()) {
        Ok(()) => Ok(transcoder.writer.into_bytes()),
        Err(_) if transcoder.is_too_deep => Err(DecodeError::TooDeep),
        Err(_) => Err(DecodeError::NotJson),
    }
}

/// How many elements each array and entries each object of a text has, in the order in which they begin. MessagePack says
/// that first, JSON never. Of what is no JSON it is anything.
fn lengths(text: &str) -> Result<Vec<u32>, DecodeError> {
    let mut lengths: Vec<u32> = Vec::new();
    // The open ones, and whether an element of theirs has begun that is not counted yet.
    let mut open: Vec<(usize, bool)> = Vec::new();
    let (mut is_string, mut is_escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' if is_string => is_string = false,
            _ if is_string || byte.is_ascii_whitespace() => {}
            b',' | b']' | b'}' => {
                if let Some((index, has_begun)) = open.last_mut()
                    && core::mem::take(has_begun)
                {
                    lengths[*index] += 1;
                }
                if byte != b',' {
                    open.pop();
                }
            }
            _ => {
                is_string = byte == b'"';
                if let Some((_, has_begun)) = open.last_mut() {
                    *has_begun = true;
                }
                if byte == b'[' || byte == b'{' {
                    if open.len() == TEXT_DEPTH {
                        return Err(DecodeError::TooDeep);
                    }
                    open.push((lengths.len(), false));
                    lengths.push(0);
                }
            }
        }
    }
    Ok(lengths)
}

struct Transcoder {
    writer: Writer,
    /// Of the arrays and objects that have not begun.
    lengths: vec::IntoIter<u32>,
    is_too_deep: bool,
}

impl Transcoder {
    fn length<E: Error>(&mut self) -> Result<usize, E> {
        let length = self.lengths.next().and_then(|length| usize::try_from(length).ok());
        length.ok_or_else(|| E::custom("not JSON"))
    }

    /// One level less, for what is inside.
    fn inner<E: Error>(&mut self, levels: usize) -> Result<usize, E> {
        levels.checked_sub(1).ok_or_else(|| {
            self.is_too_deep = true;
            E::custom("too deep")
        })
    }

    /// The entries of an object, after its first name.
    fn entries<'de, A: MapAccess<'de>>(
        &mut self,
        mut map: A,
        first: Option<Cow<'de, str>>,
        levels: usize,
        escapes: Escapes,
    ) -> Result<(), A::Error> {
        let mut name = first;
        while let Some(text) = name {
            self.writer.str(&text);
            map.next_value_seed(Token { transcoder: self, levels, escapes })?;
            name = map.next_key_seed(Text)?;
        }
        Ok(())
    }
}

/// The elements of a frame.
struct Messages<'t>(&'t mut Transcoder);

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.length::<A::Error>()?;
        let levels = MAX_DEPTH + MESSAGE_DEPTH;
        while seq.next_element_seed(Token { transcoder: self.0, levels, escapes: Escapes::Taken })?.is_some()
        {
        }
        Ok(())
    }
}

/// One value, whatever it is.
struct Token<'t> {
    transcoder: &'t mut Transcoder,
    /// That it may take.
    levels: usize,
    escapes: Escapes,
}

impl<'de> DeserializeSeed<'de> for Token<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Token<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.transcoder.writer.nil();
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.transcoder.writer.bool(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.transcoder.writer.u64(value);
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.transcoder.writer.i64(value);
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.transcoder.writer.f64(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.transcoder.writer.str(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { transcoder, levels, escapes } = self;
        let levels = transcoder.inner(levels)?;
        let length = transcoder.length()?;
        transcoder.writer.array(length);
        while seq.next_element_seed(Token { transcoder, levels, escapes })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { transcoder, levels, escapes } = self;
        let levels = transcoder.inner(levels)?;
        let length = transcoder.length()?;
        let name = map.next_key_seed(Text)?;
        if escapes == Escapes::Taken && length == 1 && name.as_deref() == Some(ESCAPE) {
            return map.next_value_seed(Escaped { transcoder, levels });
        }
        transcoder.writer.map(length);
        transcoder.entries(map, name, levels, escapes)
    }
}

/// A kind and a content, for what JSON lacks.
struct Escaped<'t> {
    transcoder: &'t mut Transcoder,
    /// That a map's values may take.
    levels: usize,
}

impl<'de> DeserializeSeed<'de> for Escaped<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Escaped<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a kind and its content")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { transcoder, levels } = self;
        let bad = || A::Error::custom("no escape");
        transcoder.length::<A::Error>()?;
        let kind = seq.next_element_seed(Text)?.ok_or_else(bad)?;
        if kind == "map" {
            seq.next_element_seed(PlainMap { transcoder, levels })?.ok_or_else(bad)?;
        } else {
            let content = seq.next_element_seed(Text)?.ok_or_else(bad)?;
            match (&*kind, &*content) {
                ("bin", text) => transcoder.writer.bin(&STANDARD.decode(text).map_err(|_| bad())?),
                ("float", "NaN") => transcoder.writer.f64(f64::NAN),
                ("float", "Infinity") => transcoder.writer.f64(f64::INFINITY),
                ("float", "-Infinity") => transcoder.writer.f64(f64::NEG_INFINITY),
                _ => return Err(bad()),
            }
        }
        match seq.next_element::<IgnoredAny>()? {
            Some(_) => Err(bad()),
            None => Ok(()),
        }
    }
}

/// An object that stands for itself, whatever its only name is.
struct PlainMap<'t> {
    transcoder: &'t mut Transcoder,
    levels: usize,
}

impl<'de> DeserializeSeed<'de> for PlainMap<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PlainMap<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let length = self.transcoder.length()?;
        self.transcoder.writer.map(length);
        let name = map.next_key_seed(Text)?;
        self.transcoder.entries(map, name, self.levels, Escapes::Taken)
    }
}

/// A string, borrowed where it holds no escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(value.into()))
    }
}
