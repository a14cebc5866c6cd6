//! The official test suite of JSON Schema 2020-12 over the gate. `tests/suites/json-schema` says where it is from.

#![cfg(not(target_arch = "wasm32"))]

mod gate_rig;

use std::{collections::BTreeSet, fs, path::Path};

use gate_rig::Regexes;
use serde_json::Value;
use tidewire::{
    gate::{Dialect, Gate},
    protocol::{EncodedValue, from_json},
};

/// The groups of tests whose schema is refused, by file: how many, which keywords are named, and why. It may only
/// shrink.
const REFUSED: [(&str, usize, &[&str], &str); 9] = [
    ("anchor", 4, &["$ref"], "anchors are no places that references lead to"),
    ("defs", 1, &["$ref"], "the meta-schema is another document"),
    (
        "dynamicRef",
        21,
        &["$dynamicAnchor", "$dynamicRef", "$id", "$ref"],
        "references that depend on the way to them",
    ),
    ("not", 1, &["unevaluatedProperties"], "depends on what the rest of the schema has seen"),
    ("ref", 15, &["$id", "$ref", "unevaluatedProperties"], "other documents, anchors and inner base URIs"),
    ("refRemote", 15, &["$id", "$ref"], "other documents"),
    (
        "unevaluatedItems",
        29,
        &["$ref", "unevaluatedItems"],
        "depends on what the rest of the schema has seen",
    ),
    (
        "unevaluatedProperties",
        44,
        &["$ref", "unevaluatedProperties"],
        "depends on what the rest of the schema has seen",
    ),
    ("vocabulary", 2, &["$schema"], "other meta-schemas"),
];

fn encode(value: &Value) -> Vec<u8> {
    from_json(&value.to_string()).expect("the suite is JSON")
}

#[test]
fn every_test_of_the_official_suite_is_passed_or_its_schema_refused_for_a_known_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites/json-schema");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the suite is a part of the repository")
        .map(|entry| entry.expect("its folder can be read").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    files.sort();
    let (mut passed, mut wrong, mut refused) = (0, Vec::new(), Vec::new());
    for file in &files {
        let name = file.file_stem().expect("it has one").to_string_lossy();
        let text = fs::read_to_string(file).expect("a file of the suite can be read");
        let groups: Vec<Value> =
            serde_json::from_str(&text).expect("a file of the suite is a list of groups");
        let mut keywords = BTreeSet::new();
        let mut count = 0;
        for group in &groups {
            let mut regexes = Regexes::default();
            let bytes = encode(&group["schema"]);
            let schema = EncodedValue::check(&bytes).expect("a schema is a value");
            let gate = match Gate::compile(schema, Dialect::Json, &mut regexes) {
                Ok(gate) => gate,
                Err(refusal) => {
                    count += 1;
                    keywords.insert(refusal.keyword);
                    continue;
                }
            };
            for test in group["tests"].as_array().into_iter().flatten() {
                let bytes = encode(&test["data"]);
                let value = EncodedValue::check(&bytes).expect("data is a value");
                let verdict = gate.check(value, &regexes);
                if Some(verdict.is_ok()) == test["valid"].as_bool() {
                    passed += 1;
                } else {
                    let about = format!("{name}: {}: {}", group["description"], test["description"]);
                    wrong.push(format!("{about}: {verdict:?}"));
                }
            }
        }
        if count > 0 {
            refused.push((name.into_owned(), count, keywords.into_iter().collect::<Vec<_>>()));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let listed: Vec<_> = REFUSED
        .iter()
        .map(|(file, count, keywords, _)| {
            (
                (*file).to_owned(),
                *count,
                keywords.iter().map(|keyword| (*keyword).to_owned()).collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(refused, listed);
    assert!(passed > 1_000, "only {passed} tests ran");
}
