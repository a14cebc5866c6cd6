//! What a gate says of hand-picked values; `tests/gate_*.rs` hold it against others and against itself.

use super::*;
use crate::protocol::Writer;

fn bytes(text: &str) -> Vec<u8> {
    // The pure core has no JSON codec; the few values here are written in its tests' own way.
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut writer = Writer::new();
    encode(&mut writer, &value);
    writer.into_bytes()
}

fn encode(writer: &mut Writer, value: &serde_json::Value) {
    match value {
        serde_json::Value::Null => writer.nil(),
        serde_json::Value::Bool(value) => writer.bool(*value),
        serde_json::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => writer.u64(number),
            (None, Some(number)) => writer.i64(number),
            (None, None) => writer.f64(number.as_f64().unwrap()),
        },
        serde_json::Value::String(text) => writer.str(text),
        serde_json::Value::Array(items) => {
            writer.array(items.len());
            items.iter().for_each(|item| encode(writer, item));
        }
        serde_json::Value::Object(entries) => {
            writer.map(entries.len());
            for (name, value) in entries {
                writer.str(name);
                encode(writer, value);
            }
        }
    }
}

fn compiled(schema: &str, dialect: Dialect) -> Result<Gate, Unsupported> {
    Gate::compile(EncodedValue::check(&bytes(schema)).unwrap(), dialect, &mut ())
}

fn judge(gate: &Gate, value: &[u8]) -> Result<(), (String, &'static str)> {
    let verdict = gate.check(EncodedValue::check(value).unwrap(), &());
    verdict.map_err(|fault| (fault.path, fault.rule))
}

#[track_caller]
fn refused(schema: &str, value: &str, path: &str, rule: &'static str) {
    let gate = compiled(schema, Dialect::Json).unwrap();
    assert_eq!(judge(&gate, &bytes(value)), Err((path.into(), rule)), "{schema} over {value}");
}

#[track_caller]
fn accepted(schema: &str, value: &str) {
    let gate = compiled(schema, Dialect::Json).unwrap();
    assert_eq!(judge(&gate, &bytes(value)), Ok(()), "{schema} over {value}");
}

#[test]
fn a_fault_names_the_place_and_the_rule_and_nothing_of_the_value() {
    let schema = r#"{ "properties": { "a/b": { "items": { "properties": { "~": { "maximum": 3 } } } } } }"#;
    refused(schema, r#"{ "a/b": [{}, {}, { "x": 1, "~": 4 }] }"#, "/a~1b/2/~0", "maximum");
    refused(r#"{ "required": ["secret"] }"#, "{}", "", "required");
    refused(r#"{ "additionalProperties": false }"#, r#"{ "a": 1 }"#, "/a", "additionalProperties");
    refused(r#"{ "propertyNames": { "maxLength": 1 } }"#, r#"{ "ab": 1 }"#, "", "propertyNames");
    refused(r#"{ "items": { "anyOf": [{ "type": "null" }, false] } }"#, "[null, 1]", "/1", "anyOf");
    refused(r#"{ "prefixItems": [true], "items": false }"#, "[0, 1]", "/1", "items");
    refused("false", "1", "", "false");
}

#[test]
fn what_is_not_known_is_named_and_not_passed_over() {
    for (schema, path, keyword) in [
        (r#"{ "minimun": 1 }"#, "", "minimun"),
        (
            r#"{ "properties": { "a": { "unevaluatedProperties": false } } }"#,
            "/properties/a",
            "unevaluatedProperties",
        ),
        (r##"{ "anyOf": [true, { "$dynamicRef": "#x" }] }"##, "/anyOf/1", "$dynamicRef"),
        (r#"{ "$ref": "https://example.org/other" }"#, "", "$ref"),
        (r##"{ "$ref": "#/$defs/none" }"##, "", "$ref"),
        (r#"{ "items": { "$id": "https://example.org/base" } }"#, "/items", "$id"),
        (r#"{ "$schema": "http://json-schema.org/draft-07/schema#" }"#, "", "$schema"),
        (r#"{ "type": "any" }"#, "", "type"),
        (r#"{ "items": [{}] }"#, "/items", "no schema"),
        (r#"{ "minLength": 1.5 }"#, "", "minLength"),
        (r#"{ "multipleOf": 0 }"#, "", "multipleOf"),
        (r#"{ "pattern": "a" }"#, "", "pattern"),
        (r#"{ "too_complex": 1 }"#, "", "too_complex"),
    ] {
        let refusal = compiled(schema, Dialect::Json).unwrap_err();
        assert_eq!((refusal.path.as_str(), refusal.keyword.as_str()), (path, keyword), "{schema}");
    }
}

#[test]
fn integers_of_64_bits_are_compared_exactly_and_also_with_floats() {
    accepted(r#"{ "maximum": 9007199254740993 }"#, "9007199254740993");
    refused(r#"{ "maximum": 9007199254740992 }"#, "9007199254740993", "", "maximum");
    refused(r#"{ "const": 9007199254740992 }"#, "9007199254740993", "", "const");
    refused(r#"{ "minimum": 18446744073709551616.0 }"#, "18446744073709551615", "", "minimum");
    accepted(r#"{ "exclusiveMaximum": 18446744073709551616.0 }"#, "18446744073709551615");
    refused(
        r#"{ "exclusiveMinimum": -9223372036854775808 }"#,
        "-9223372036854775808",
        "",
        "exclusiveMinimum",
    );
    accepted(r#"{ "type": "integer", "const": -0.0 }"#, "0");
    accepted(r#"{ "type": "integer" }"#, "1e300");
    refused(r#"{ "type": "integer" }"#, "1.5", "", "type");
}

#[test]
fn what_json_has_not_is_of_no_type() {
    let gate = |schema| compiled(schema, Dialect::Json).unwrap();
    let every = r#"{ "type": ["null", "boolean", "object", "array", "string", "number"] }"#;
    for value in [&[0xc4, 1, 7][..], &[0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0], &[0xca, 0x7f, 0xc0, 0, 0]] {
        assert_eq!(judge(&gate(every), value), Err((String::new(), "type")));
        assert_eq!(judge(&gate(r#"{ "minimum": 5, "minLength": 5 }"#), value), Ok(()));
    }
}

#[test]
fn more_required_names_than_a_word_has_bits_are_all_required() {
    let names: Vec<String> = (0..150).map(|index| format!("\"n{index}\"")).collect();
    let schema = format!(r#"{{ "required": [{}] }}"#, names.join(","));
    let object = |names: &[String]| format!("{{{}}}", names.join(":1,") + ":1");
    accepted(&schema, &object(&names));
    for missing in [0, 63, 64, 149] {
        let mut names = names.clone();
        names.remove(missing);
        refused(&schema, &object(&names), "", "required");
    }
}

#[test]
fn properties_are_found_in_whatever_order_they_come() {
    let schema = r#"{ "properties": { "b": { "const": 1 }, "a": { "const": 2 }, "c": { "const": 3 } }, "required": ["c", "z"] }"#;
    accepted(schema, r#"{ "c": 3, "b": 1, "z": 0, "a": 2 }"#);
    refused(schema, r#"{ "c": 3, "b": 1, "z": 0, "a": 1 }"#, "/a", "const");
}

#[test]
fn references_may_be_recursive_and_a_chain_of_them_that_goes_nowhere_ends() {
    let list = r##"{ "properties": { "next": { "$ref": "#" }, "n": { "type": "integer" } } }"##;
    accepted(list, r#"{ "n": 1, "next": { "n": 2, "next": {} } }"#);
    refused(list, r#"{ "n": 1, "next": { "n": "2" } }"#, "/next/n", "type");
    refused(r##"{ "$ref": "#" }"##, "1", "", "too_complex");
    let chain = (0..500).map(|index| format!(r##""n{index}": {{ "$ref": "#/$defs/n{}" }}"##, index + 1));
    let chain = chain.collect::<Vec<_>>().join(",");
    let schema = format!(r##"{{ "$defs": {{ {chain}, "n500": true }}, "$ref": "#/$defs/n0" }}"##);
    let gate = compiled(&schema, Dialect::Json).unwrap();
    assert_eq!(judge(&gate, &bytes("1")), Err((String::new(), "too_complex")));
}

#[test]
fn a_nest_of_branches_that_would_take_for_ever_is_too_complex() {
    let schema =
        r##"{ "type": "array", "anyOf": [{ "items": { "$ref": "#" } }, { "items": { "$ref": "#" } }] }"##;
    let gate = compiled(schema, Dialect::Json).unwrap();
    let value = format!("{}2{}", "[".repeat(30), "]".repeat(30));
    assert_eq!(judge(&gate, &bytes(&value)).unwrap_err().1, "too_complex");
}

#[test]
fn equal_elements_are_found_however_they_are_written() {
    let schema = r#"{ "uniqueItems": true }"#;
    refused(schema, r#"[{ "a": 1, "b": [2] }, 0, { "b": [2.0], "a": 1 }]"#, "", "uniqueItems");
    refused(schema, "[1, 2, 3, 1.0]", "", "uniqueItems");
    accepted(schema, r#"[1, "1", true, [1], { "1": 1 }, null, false, 0, "", [], {}]"#);
}

#[test]
fn the_dialect_of_libraries_is_sure_only_of_what_javascript_takes_as_it_is() {
    let unsure = |schema: &str, value: &[u8]| {
        let gate = compiled(schema, Dialect::Library).unwrap();
        assert_eq!(judge(&gate, value).unwrap_err().1, "unsure", "{schema}");
    };
    let number = r#"{ "anyOf": [{ "type": "number" }, true] }"#;
    unsure(number, &bytes("9007199254740992"));
    unsure(number, &bytes("-9007199254740992"));
    unsure(number, &[0xc4, 0]);
    unsure(r#"{ "anyOf": [{ "maxLength": 1 }, true] }"#, &bytes(r#""😀""#));
    unsure(r#"{ "anyOf": [{ "type": "object" }, true] }"#, &bytes("[]"));
    let object = r#"{ "anyOf": [{ "properties": { "a": { "type": "string" } }, "additionalProperties": false }, true] }"#;
    unsure(object, &bytes(r#"{ "b": 1 }"#));
    for name in ["__proto__", "constructor", "prototype"] {
        unsure(r#"{ "properties": {} }"#, &bytes(&format!(r#"{{ "{name}": 1 }}"#)));
    }
    let gate = compiled(object, Dialect::Library).unwrap();
    // The first option fails for another reason, whatever it thinks of `b`.
    assert_eq!(judge(&gate, &bytes(r#"{ "b": 1, "a": 2 }"#)), Ok(()));
}

#[test]
fn what_stayed_the_same_is_judged_again_where_another_branch_may_have_let_it_in() {
    let text = r#"{ "properties": { "a": { "type": "string" }, "b": { "const": 1 } } }"#;
    let number = r#"{ "properties": { "a": { "type": "integer" } } }"#;
    for schema in [
        format!(r#"{{ "anyOf": [{text}, {number}] }}"#),
        format!(r#"{{ "oneOf": [{text}, {number}] }}"#),
        format!(r#"{{ "if": {text}, "else": {number} }}"#),
        format!(r#"{{ "not": {{ "allOf": [{{ "not": {text} }}, {{ "not": {number} }}] }} }}"#),
        format!(
            r#"{{ "dependentSchemas": {{ "c": {number} }}, "properties": {{ "b": {{ "enum": [1, 2] }} }} }}"#
        ),
    ] {
        let gate = compiled(&schema, Dialect::Json).unwrap();
        let (old, new) = (bytes(r#"{ "a": "x", "b": 1 }"#), bytes(r#"{ "a": "x", "b": 2, "c": 0 }"#));
        let (old, new) = (EncodedValue::check(&old).unwrap(), EncodedValue::check(&new).unwrap());
        assert_eq!(gate.check(old, &()), Ok(()), "{schema}");
        assert!(gate.check_against(old, new, &()).is_err(), "{schema}");
    }
}

#[test]
fn elements_that_move_into_another_place_of_a_tuple_are_judged_there() {
    let schema = r#"{ "prefixItems": [{ "type": "string" }, { "type": "integer" }] }"#;
    let gate = compiled(schema, Dialect::Json).unwrap();
    let against = |old: &str, new: &str| {
        let (old, new) = (bytes(old), bytes(new));
        gate.check_against(EncodedValue::check(&old).unwrap(), EncodedValue::check(&new).unwrap(), &())
    };
    assert!(against(r#"["a", 1, true]"#, r#"[1, true]"#).is_err());
    assert!(against(r#"["a", 1]"#, r#"["b", "a", 1]"#).is_err());
    assert_eq!(against(r#"["a", 1, true]"#, r#"["b", 1, 0, true]"#), Ok(()));
}
