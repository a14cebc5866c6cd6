//! JSON beside MessagePack: a transcoder, so that there is one decoder of messages.
//!
//! [`from_json`] and [`to_json`] are for values in JSON text that people and programs already have; what JSON cannot
//! say is an error. A JSON *frame* carries any message: [`frame_from_json`], [`server_frame_to_json`],
//! [`client_frame_to_json`]. There an epoch is its 32 hex digits, and inside a value an object with the only key `"$"`
//! stands for what JSON lacks:
//!
//! | JSON | value |
//! |---|---|
//! | `{"$":["bin","AAEC"]}` | binary data, in base64 |
//! | `{"$":["float","NaN"]}` | NaN, and so for `Infinity` and `-Infinity` |
//! | `{"$":["map",{"$":1}]}` | a map with the only key `"$"` |

use alloc::{
    borrow::ToOwned,
    string::{String, ToString},
    vec::Vec,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    limits::MAX_DEPTH,
    message::{ClientMessage, ServerMessage},
    msgpack::{DecodeError, EncodedValue, Reader, Writer},
    position::Epoch,
    tokens::Tokens,
};

/// The only key of an object that stands for what JSON lacks.
const ESCAPE: &str = "$";

/// Levels that a frame and its message add around a value.
const MESSAGE_DEPTH: usize = 6;

/// Levels of text that a frame can take: an escaped map takes three for one.
const TEXT_DEPTH: usize = 3 * MAX_DEPTH + MESSAGE_DEPTH;

/// Whether [`ESCAPE`] means anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Taken,
    Plain,
}

/// Encodes JSON text as MessagePack. Integers stay integers up to 64 bits; other numbers become floats.
///
/// ```
/// use tidewire::protocol::{EncodedValue, from_json, to_json};
///
/// let bytes = from_json(r#"{"id":"1","n":9007199254740993}"#)?;
/// let value = EncodedValue::check(&bytes)?;
/// assert_eq!(value.string_field("id"), Some("1"));
/// assert_eq!(to_json(value)?, r#"{"id":"1","n":9007199254740993}"#);
/// # Ok::<(), tidewire::protocol::DecodeError>(())
/// ```
///
/// # Errors
/// If the text is no JSON, or nests too deeply.
pub fn from_json(text: &str) -> Result<Vec<u8>, DecodeError> {
    let mut writer = Writer::new();
    write(&mut writer, &parse(text)?, MAX_DEPTH, Escapes::Plain)?;
    Ok(writer.into_bytes())
}

/// Encodes a JSON frame, an array of messages, as a MessagePack frame.
///
/// ```
/// use tidewire::protocol::{ClientMessage, Reader, frame_from_json};
///
/// let frame = frame_from_json(r#"[[1,"5f1c",null],[7]]"#)?;
/// let mut reader = Reader::new(&frame);
/// assert_eq!(ClientMessage::decode(&mut reader)?, ClientMessage::Hello { client: "5f1c", token: None });
/// assert_eq!(ClientMessage::decode(&mut reader)?, ClientMessage::Ping);
/// # Ok::<(), tidewire::protocol::DecodeError>(())
/// ```
///
/// # Errors
/// If the text is no JSON array, nests too deeply, or holds an escape that is none.
pub fn frame_from_json(text: &str) -> Result<Vec<u8>, DecodeError> {
    let Value::Array(messages) = parse(text)? else {
        return Err(DecodeError::NotJson);
    };
    let mut writer = Writer::new();
    for message in &messages {
        write(&mut writer, message, MAX_DEPTH + MESSAGE_DEPTH, Escapes::Taken)?;
    }
    Ok(writer.into_bytes())
}

fn parse(text: &str) -> Result<Value, DecodeError> {
    if depth(text) > TEXT_DEPTH {
        return Err(DecodeError::TooDeep);
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    // Its own limit is below what escapes can take; the text was measured instead.
    parser.disable_recursion_limit();
    let mut values = parser.into_iter();
    match (values.next(), values.next()) {
        (Some(Ok(value)), None) => Ok(value),
        _ => Err(DecodeError::NotJson),
    }
}

/// How deep brackets nest outside of strings; of what is no JSON, at least as deep as a parser would go.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut is_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b'[' | b'{' if !is_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn write(writer: &mut Writer, value: &Value, levels: usize, escapes: Escapes) -> Result<(), DecodeError> {
    let inner = || levels.checked_sub(1).ok_or(DecodeError::TooDeep);
    match value {
        Value::Null => writer.nil(),
        Value::Bool(value) => writer.bool(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), _, _) => writer.u64(number),
            (None, Some(number), _) => writer.i64(number),
            (None, None, Some(number)) => writer.f64(number),
            (None, None, None) => return Err(DecodeError::NotJson),
        },
        Value::String(text) => writer.str(text),
        Value::Array(items) => {
            let levels = inner()?;
            writer.array(items.len());
            for item in items {
                write(writer, item, levels, escapes)?;
            }
        }
        Value::Object(entries) => {
            let levels = inner()?;
            if escapes == Escapes::Taken
                && entries.len() == 1
                && let Some(escaped) = entries.get(ESCAPE)
            {
                return unescape(writer, escaped, levels);
            }
            map(writer, entries, levels, escapes)?;
        }
    }
    Ok(())
}

fn map(
    writer: &mut Writer,
    entries: &serde_json::Map<String, Value>,
    levels: usize,
    escapes: Escapes,
) -> Result<(), DecodeError> {
    writer.map(entries.len());
    for (key, value) in entries {
        writer.str(key);
        write(writer, value, levels, escapes)?;
    }
    Ok(())
}

fn unescape(writer: &mut Writer, escaped: &Value, levels: usize) -> Result<(), DecodeError> {
    let [Value::String(kind), content] = escaped.as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err(DecodeError::NotJson);
    };
    match (kind.as_str(), content) {
        ("bin", Value::String(text)) => {
            writer.bin(&STANDARD.decode(text).map_err(|_| DecodeError::NotJson)?);
        }
        ("float", Value::String(text)) => writer.f64(match text.as_str() {
            "NaN" => f64::NAN,
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => return Err(DecodeError::NotJson),
        }),
        ("map", Value::Object(entries)) => map(writer, entries, levels, Escapes::Taken)?,
        _ => return Err(DecodeError::NotJson),
    }
    Ok(())
}

/// Encodes the JSON text of a value as it stands in a JSON frame, with its escapes.
///
/// # Errors
/// If the text is no JSON, nests too deeply, or holds an escape that is none.
pub fn frame_value_from_json(text: &str) -> Result<Vec<u8>, DecodeError> {
    let mut writer = Writer::new();
    write(&mut writer, &parse(text)?, MAX_DEPTH, Escapes::Taken)?;
    Ok(writer.into_bytes())
}

/// The JSON text of a value as it stands in a JSON frame, with its escapes.
#[must_use]
pub fn frame_value_to_json(value: EncodedValue<'_>) -> String {
    // Only checked values come here, and those can all be said.
    let value = read(&mut Reader::new(value.as_bytes()), Escapes::Taken);
    value.map_or_else(|_| "null".to_owned(), |value| value.to_string())
}

/// The JSON text of a value.
///
/// # Errors
/// If the value holds what JSON cannot say: binary data, NaN or an infinity.
pub fn to_json(value: EncodedValue<'_>) -> Result<String, DecodeError> {
    Ok(read(&mut Reader::new(value.as_bytes()), Escapes::Plain)?.to_string())
}

fn read(reader: &mut Reader<'_>, escapes: Escapes) -> Result<Value, DecodeError> {
    use rmp::Marker;
    let escape = |kind: &str, content: Value| match escapes {
        Escapes::Taken => Ok(serde_json::json!({ ESCAPE: [kind, content] })),
        Escapes::Plain => Err(DecodeError::NotJson),
    };
    Ok(match Marker::from_u8(reader.marker()?) {
        Marker::Null => {
            reader.optional(Reader::bool)?;
            Value::Null
        }
        Marker::True | Marker::False => Value::Bool(reader.bool()?),
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
            Value::String(reader.str()?.to_owned())
        }
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
            escape("bin", Value::String(STANDARD.encode(reader.bin()?)))?
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            (0..reader.array()?).map(|_| read(reader, escapes)).collect::<Result<_, _>>()?
        }
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            let entries = (0..reader.map()?).map(|_| Ok((reader.str()?.to_owned(), read(reader, escapes)?)));
            let entries: serde_json::Map<String, Value> = entries.collect::<Result<_, _>>()?;
            if escapes == Escapes::Taken && entries.len() == 1 && entries.contains_key(ESCAPE) {
                escape("map", Value::Object(entries))?
            } else {
                Value::Object(entries)
            }
        }
        Marker::F32 | Marker::F64 => {
            let float = reader.float()?;
            match serde_json::Number::from_f64(float) {
                Some(number) => Value::Number(number),
                None if float.is_nan() => escape("float", "NaN".into())?,
                None if float > 0.0 => escape("float", "Infinity".into())?,
                None => escape("float", "-Infinity".into())?,
            }
        }
        Marker::FixNeg(_) | Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => {
            Value::from(reader.i64()?)
        }
        Marker::FixPos(_) | Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => {
            Value::from(reader.u64()?)
        }
        _ => return Err(DecodeError::NotJson),
    })
}

/// The JSON frame of a server's MessagePack frame.
///
/// # Errors
/// If the frame is not one of the server.
pub fn server_frame_to_json(frame: &[u8]) -> Result<String, DecodeError> {
    frame_to_json(frame, |reader, text| ServerMessage::decode(reader).map(|message| message.encode(text)))
}

/// The JSON frame of a client's MessagePack frame.
///
/// # Errors
/// If the frame is not one of a client.
pub fn client_frame_to_json(frame: &[u8]) -> Result<String, DecodeError> {
    frame_to_json(frame, |reader, text| ClientMessage::decode(reader).map(|message| message.encode(text)))
}

fn frame_to_json(
    frame: &[u8],
    mut next: impl FnMut(&mut Reader<'_>, &mut Text) -> Result<(), DecodeError>,
) -> Result<String, DecodeError> {
    let mut reader = Reader::new(frame);
    let mut text = Text { text: "[".to_owned(), left: Vec::new(), needs_comma: false };
    while !reader.is_empty() {
        next(&mut reader, &mut text)?;
    }
    text.text.push(']');
    Ok(text.text)
}

/// JSON text that is written token by token.
struct Text {
    text: String,
    /// Per open array, how many elements it still lacks.
    left: Vec<usize>,
    needs_comma: bool,
}

impl Text {
    fn token(&mut self, token: &str) {
        if self.needs_comma {
            self.text.push(',');
        }
        self.text.push_str(token);
        self.needs_comma = true;
        self.close();
    }

    /// Ends the arrays that the last token completed.
    fn close(&mut self) {
        while let Some(left) = self.left.last_mut() {
            *left = left.saturating_sub(1);
            if *left > 0 {
                break;
            }
            self.left.pop();
            self.text.push(']');
        }
    }
}

impl Tokens for Text {
    fn nil(&mut self) {
        self.token("null");
    }

    fn bool(&mut self, value: bool) {
        self.token(if value { "true" } else { "false" });
    }

    fn u64(&mut self, value: u64) {
        self.token(&value.to_string());
    }

    fn str(&mut self, value: &str) {
        self.token(&Value::from(value).to_string());
    }

    fn array(&mut self, length: usize) {
        if length == 0 {
            return self.token("[]");
        }
        if self.needs_comma {
            self.text.push(',');
        }
        self.text.push('[');
        self.left.push(length);
        self.needs_comma = false;
    }

    fn epoch(&mut self, epoch: Epoch) {
        self.str(&epoch.text());
    }

    fn value(&mut self, value: EncodedValue<'_>) {
        self.token(&frame_value_to_json(value));
    }
}
