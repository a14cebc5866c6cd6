//! JSON beside MessagePack: a transcoder, so that there is one decoder of messages.

use serde_json::Value;

use super::{
    limits::MAX_DEPTH,
    msgpack::{DecodeError, EncodedValue, Reader, Writer},
};

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
    let value: Value = serde_json::from_str(text).map_err(|_| DecodeError::NotJson)?;
    let mut writer = Writer::new();
    write(&mut writer, &value, 0)?;
    Ok(writer.into_bytes())
}

fn write(writer: &mut Writer, value: &Value, depth: usize) -> Result<(), DecodeError> {
    if depth > MAX_DEPTH {
        return Err(DecodeError::TooDeep);
    }
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
            writer.array(items.len());
            for item in items {
                write(writer, item, depth + 1)?;
            }
        }
        Value::Object(entries) => {
            writer.map(entries.len());
            for (key, value) in entries {
                writer.str(key);
                write(writer, value, depth + 1)?;
            }
        }
    }
    Ok(())
}

/// The JSON text of a value.
///
/// # Errors
/// If the value holds what JSON cannot say: binary data, NaN or an infinity.
pub fn to_json(value: EncodedValue<'_>) -> Result<String, DecodeError> {
    let value = read(&mut Reader::new(value.as_bytes()))?;
    serde_json::to_string(&value).map_err(|_| DecodeError::NotJson)
}

fn read(reader: &mut Reader<'_>) -> Result<Value, DecodeError> {
    use rmp::Marker;
    Ok(match reader.peek()? {
        Marker::Null => {
            reader.optional(Reader::bool)?;
            Value::Null
        }
        Marker::True | Marker::False => Value::Bool(reader.bool()?),
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
            Value::String(reader.str()?.to_owned())
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            (0..reader.array()?).map(|_| read(reader)).collect::<Result<_, _>>()?
        }
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            let entries = (0..reader.map()?).map(|_| Ok((reader.str()?.to_owned(), read(reader)?)));
            Value::Object(entries.collect::<Result<_, _>>()?)
        }
        Marker::F32 | Marker::F64 => {
            serde_json::Number::from_f64(reader.float()?).map(Value::Number).ok_or(DecodeError::NotJson)?
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
