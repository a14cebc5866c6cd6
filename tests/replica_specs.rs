//! The specifications of the reconciler, as data: `tests/specs/*.json`.
//!
//! A file is a list of cases; a case is a list of steps, each an input and what is expected after it. Any runner that
//! can feed the inputs can run them: PROTOCOL.md, "Specifications as data", describes the form.

#![allow(clippy::unwrap_used, reason = "a file that is not as described fails the test")]

mod rig;

use std::{collections::BTreeMap, fs, path::PathBuf};

use rig::Rig;
use serde_json::{Map, Value, json};

/// The races that must have at least five cases each.
const RACES: [&str; 21] = [
    "concurrent gaps",
    "old snapshot after newer receipts",
    "receipts during a refetch",
    "refetch fails",
    "refetch is late",
    "refetch after dispose",
    "refetch returns null",
    "gate fails",
    "epoch change while live",
    "epoch change while refetching",
    "epoch change while offline",
    "sequence reset with epochs",
    "sequence reset without epochs",
    "lost last message",
    "filtered and conflated",
    "seed and first receipt",
    "duplicate subscription",
    "inside a callback",
    "schema versions",
    "2^53 and beyond",
    "buffer overflow",
];

fn specs() -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/specs");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .flat_map(|path| {
            let file: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let cases = file["cases"].as_array().unwrap().clone();
            cases.into_iter().map(move |case| (format!("{name}: {}", case["name"].as_str().unwrap()), case))
        })
        .collect()
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

#[test]
fn every_specification_holds() {
    let mut wrong = Vec::new();
    for (name, case) in specs() {
        let mut rig = Rig::new(&case["options"]);
        let steps = case["steps"].as_array().unwrap();
        for (index, step) in steps.iter().enumerate() {
            let place = format!("{name}, step {} {}", index + 1, {
                let mut short = step.clone();
                short.as_object_mut().unwrap().remove("expect");
                short
            });
            rig.step(step);
            compare(&step["expect"], &observe(&rig), &place, &mut wrong);
        }
        if !rig.replica.is_disposed() {
            // The value shown and the one in quarantine are named; every other one is held back.
            let named = rig.replica.held() + 2 + usize::from(rig.in_flight.is_some());
            if rig.kept() > named && rig.rows.is_empty() {
                wrong.push(format!("{name}: {} values are kept, {named} are named", rig.kept()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} expectations do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn there_are_enough_of_them_for_every_race() {
    let specs = specs();
    assert!(specs.len() >= 150, "only {} cases", specs.len());
    let mut races: BTreeMap<&str, usize> = RACES.into_iter().map(|race| (race, 0)).collect();
    for (name, case) in &specs {
        for race in case["races"].as_array().into_iter().flatten() {
            let race = race.as_str().unwrap();
            *races.get_mut(race).unwrap_or_else(|| panic!("{name}: unknown race `{race}`")) += 1;
        }
    }
    let thin: Vec<_> = races.iter().filter(|(_, count)| **count < 5).collect();
    assert!(thin.is_empty(), "fewer than five cases: {thin:?}");
}

#[test]
fn every_case_says_something_and_has_a_name_of_its_own() {
    let mut names = std::collections::BTreeSet::new();
    for (name, case) in specs() {
        assert!(names.insert(name.clone()), "{name} is there twice");
        let expects = case["steps"].as_array().unwrap().iter().any(|step| step.get("expect").is_some());
        assert!(expects, "{name} expects nothing");
        assert!(!case["rules"].as_array().unwrap().is_empty(), "{name} holds no rule");
    }
}
