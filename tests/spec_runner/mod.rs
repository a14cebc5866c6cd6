//! Runs `tests/specs/*.json` on the reconciler, and keeps a trace of everything that could be observed.
//!
//! A file is a list of cases; a case is a list of steps, each an input and what is expected after it. The same code
//! runs natively and as WASM in Node and in browsers, and compares its traces with those that are committed.

#[path = "../rig/mod.rs"]
mod rig;

use std::fmt::Write;

use rig::Rig;
use serde_json::{Map, Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// The text of each file; a native test holds that none is missing.
pub const FILES: [(&str, &str); 13] = [
    ("beacons", include_str!("../specs/beacons.json")),
    ("callbacks", include_str!("../specs/callbacks.json")),
    ("collections", include_str!("../specs/collections.json")),
    ("edges", include_str!("../specs/edges.json")),
    ("epochs", include_str!("../specs/epochs.json")),
    ("found", include_str!("../specs/found.json")),
    ("gaps", include_str!("../specs/gaps.json")),
    ("gates", include_str!("../specs/gates.json")),
    ("order", include_str!("../specs/order.json")),
    ("overflow", include_str!("../specs/overflow.json")),
    ("recovery", include_str!("../specs/recovery.json")),
    ("resets", include_str!("../specs/resets.json")),
    ("seed", include_str!("../specs/seed.json")),
];

/// The digest of each file's trace: one line each, name and digest.
const TRACES: &str = include_str!("../specs/traces.txt");

/// One case of a file.
#[derive(Debug)]
pub struct Case {
    /// File and name.
    pub name: String,
    /// As it is written.
    pub text: Value,
}

/// The cases of a file.
pub fn cases(file: &str, text: &str) -> Vec<Case> {
    let file_text: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let cases = file_text["cases"].as_array().unwrap().clone();
    let named = |text: Value| Case { name: format!("{file}: {}", text["name"].as_str().unwrap()), text };
    cases.into_iter().map(named).collect()
}

/// Everything that a step can expect, as it is now.
fn observe(rig: &Rig) -> Map<String, Value> {
    let replica = &rig.replica;
    let position = replica.position();
    let stats = replica.stats();
    let rows: Map<String, Value> =
        rig.rows.iter().map(|(key, row)| (key.clone(), row.value.clone().unwrap())).collect();
    let observed = json!({
        "value": rig.shown,
        "rows": rows,
        "sequence": position.map_or(-1, |mark| i64::try_from(mark.sequence).unwrap()),
        "epoch": replica.epoch().and_then(|epoch| rig.epoch_name(epoch)),
        "cursor": replica.cursor(),
        "version": replica.version(),
        "status": rig.status(),
        "idle": replica.is_idle(),
        "attempt": rig.in_flight,
        "held": replica.held(),
        "quarantined": replica.quarantined().map(|quarantined| quarantined.sequence),
        "due": replica.poll_timeout().is_some(),
        "effects": rig.effects,
        "offer": rig.last_offer,
        "stats": {
            "applied": stats.applied, "ignoredStale": stats.ignored_stale, "gaps": stats.gaps,
            "parseErrors": stats.parse_errors, "refetches": stats.refetches,
            "schemaSkews": stats.schema_skews, "quarantined": stats.quarantined,
            "buffered": stats.buffered, "retries": stats.retries,
        },
    });
    match observed {
        Value::Object(observed) => observed,
        _ => unreachable!("it is written as an object above"),
    }
}

fn compare(expected: &Value, observed: &Map<String, Value>, place: &str, wrong: &mut Vec<String>) {
    for (name, expected) in expected.as_object().into_iter().flatten() {
        let Some(observed) = observed.get(name) else {
            wrong.push(format!("{place}: nothing is called `{name}`"));
            continue;
        };
        match (expected, observed) {
            (Value::Object(_), Value::Object(inner)) if name == "stats" => {
                compare(expected, inner, place, wrong);
            }
            _ if expected != observed => {
                wrong.push(format!("{place}: {name} is {observed}, expected {expected}"));
            }
            _ => {}
        }
    }
}

/// Runs a case. Says what does not hold, and appends all that was observed to the trace.
fn run(Case { name, text }: &Case, wrong: &mut Vec<String>, trace: &mut String) {
    let mut rig = Rig::new(&text["options"]);
    let steps = text["steps"].as_array().unwrap();
    for (index, step) in steps.iter().enumerate() {
        let place = format!("{name}, step {} {}", index + 1, {
            let mut short = step.clone();
            short.as_object_mut().unwrap().remove("expect");
            short
        });
        rig.step(step);
        let observed = observe(&rig);
        compare(&step["expect"], &observed, &place, wrong);
        writeln!(trace, "{place} {}", Value::Object(observed)).unwrap();
    }
    if !rig.replica.is_disposed() {
        // The value shown and the one in quarantine are named; every other one is held back.
        let named = rig.replica.held() + 2 + usize::from(rig.in_flight.is_some());
        if rig.kept() > named && rig.rows.is_empty() {
            wrong.push(format!("{name}: {} values are kept, {named} are named", rig.kept()));
        }
    }
}

/// 64-bit FNV-1a: a short name for a trace, the same on every machine.
fn digest(trace: &str) -> u64 {
    trace.bytes().fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What does not hold of all files, and the lines of `traces.txt` as they are now.
fn run_all() -> (Vec<String>, String) {
    let mut wrong = Vec::new();
    let mut lines = String::new();
    for (file, text) in FILES {
        let mut trace = String::new();
        for case in cases(file, text) {
            run(&case, &mut wrong, &mut trace);
        }
        writeln!(lines, "{file} {:016x}", digest(&trace)).unwrap();
    }
    (wrong, lines)
}

/// All that the files expect is so.
#[test]
pub fn every_specification_holds() {
    let (wrong, _) = run_all();
    assert!(wrong.is_empty(), "{} expectations do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

/// After a change of the specifications or of what they observe, `TIDEWIRE_TRACES=write cargo test --test
/// replica_specs` writes the file anew; all other runtimes must then agree with it.
#[test]
pub fn every_runtime_leaves_the_same_trace() {
    let (_, traces) = run_all();
    #[cfg(not(target_arch = "wasm32"))]
    if std::env::var_os("TIDEWIRE_TRACES").is_some_and(|wish| wish == "write") {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/specs/traces.txt");
        std::fs::write(path, traces).unwrap();
        return;
    }
    assert_eq!(traces, TRACES);
}
