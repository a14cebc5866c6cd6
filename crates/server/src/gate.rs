//! Write gates out of JSON Schemas, for [`tidewire::server::Rule::gate`]. The same gates run in browsers; here the
//! patterns run in linear time, so those that cannot are refused.

use thiserror::Error;
use tidewire::{
    gate::{Dialect, Gate, Unsupported},
    protocol::{DecodeError, EncodedValue, from_json},
};

use crate::pattern::LinearPatterns;

/// A text of which no gate can be made.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// It is no JSON.
    #[error("the schema is no JSON, or too large")]
    NotJson(#[source] DecodeError),
    /// It uses what gates do not support.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
}

/// Makes a write gate of the text of a JSON Schema of version 2020-12.
///
/// ```
/// use tidewire::server::{Rule, Rules};
/// use tidewire_server::gate::schema_gate;
///
/// let gate = schema_gate(r#"{ "type": "object", "properties": { "mail": { "pattern": "@" } }, "required": ["mail"] }"#)?;
/// let rules = Rules::new().object("user:*", Rule::new().gate(gate));
/// # let _ = rules;
/// # Ok::<(), tidewire_server::gate::SchemaError>(())
/// ```
///
/// # Errors
/// If the text is no JSON, or a keyword cannot be compiled.
pub fn schema_gate(
    schema: &str,
) -> Result<impl Fn(EncodedValue<'_>) -> Result<(), String> + Send + Sync + 'static, SchemaError> {
    let bytes = from_json(schema).map_err(SchemaError::NotJson)?;
    let schema = EncodedValue::check(&bytes).map_err(SchemaError::NotJson)?;
    let mut patterns = LinearPatterns::default();
    let gate = Gate::compile(schema, Dialect::Json, &mut patterns)?;
    Ok(move |value: EncodedValue<'_>| gate.check(value, &patterns).map_err(|fault| fault.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_breaks_the_schema_is_refused_with_place_and_rule() {
        let gate = schema_gate(r#"{ "items": { "type": "string", "pattern": "^\\p{L}+$" } }"#).unwrap();
        let check = |json: &str| {
            let bytes = from_json(json).unwrap();
            gate(EncodedValue::check(&bytes).unwrap())
        };
        assert_eq!(check(r#"["Émile", "Ada"]"#), Ok(()));
        assert_eq!(check(r#"["Ada", "A1"]"#), Err("the value at `/1` breaks `pattern`".to_owned()));
        assert_eq!(check(r#"[7]"#), Err("the value at `/0` breaks `type`".to_owned()));
    }

    #[test]
    fn a_schema_that_cannot_be_compiled_is_named() {
        assert!(matches!(schema_gate("{"), Err(SchemaError::NotJson(_))));
        let refusal = schema_gate(r#"{ "items": { "pattern": "(" } }"#).err().map(|error| error.to_string());
        let expected = "the schema at `/items` uses `pattern` in a way that gates do not support";
        assert_eq!(refusal.as_deref(), Some(expected));
    }
}
