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

mod transcode;

use alloc::{
    borrow::ToOwned,
    string::{String, ToString},
    vec::Vec,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    message::{ClientMessage, ServerMessage},
    msgpack::{DecodeError, EncodedValue, Reader},
    position::Epoch,
    tokens::Tokens,
};

/// The only key of an object that stands for what JSON lacks.
const ESCAPE: &str = "$";

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
/// If the text is no JSON, nests too deeply, or has an object with a name twice.
pub fn from_json(text: &str) -> Result<Vec<u8>, DecodeError> {
    transcode::value(text, Escapes::Plain)
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
    transcode::messages(text)
}

/// Encodes the JSON text of a value as it stands in a JSON frame, with its escapes.
///
/// # Errors
/// If the text is no JSON, nests too deeply, has an object with a name twice, or holds an escape that is none.
pub fn frame_value_from_json(text: &str) -> Result<Vec<u8>, DecodeError> {
    transcode::value(text, Escapes::Taken)
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
