//! The specifications of the reconciler, as data: `tests/specs/*.json`, natively and as WASM in a browser.
//!
//! Any runner that can feed the inputs can run them: PROTOCOL.md, "Specifications as data", describes the form.

#![allow(clippy::unwrap_used, reason = "a file that is not as described fails the test")]

pub mod spec_runner;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

#[cfg(not(target_arch = "wasm32"))]
mod files {
    use std::{collections::BTreeMap, fs, path::PathBuf};

    use super::spec_runner::{Case, FILES, cases};

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

    fn specs() -> Vec<Case> {
        FILES.into_iter().flat_map(|(file, text)| cases(file, text)).collect()
    }

    #[test]
    fn every_file_of_the_folder_is_run() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/specs");
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> =
            names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
        names.sort();
        assert_eq!(names, FILES.map(|(name, _)| name));
    }

    #[test]
    fn there_are_enough_of_them_for_every_race() {
        let specs = specs();
        assert!(specs.len() >= 150, "only {} cases", specs.len());
        let mut races: BTreeMap<&str, usize> = RACES.into_iter().map(|race| (race, 0)).collect();
        for Case { name, text: case } in &specs {
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
        for Case { name, text: case } in specs() {
            assert!(names.insert(name.clone()), "{name} is there twice");
            let expects = case["steps"].as_array().unwrap().iter().any(|step| step.get("expect").is_some());
            assert!(expects, "{name} expects nothing");
            assert!(!case["rules"].as_array().unwrap().is_empty(), "{name} holds no rule");
        }
    }
}
