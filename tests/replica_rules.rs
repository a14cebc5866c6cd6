//! Every rule of PROTOCOL.md, part "Replica" and "Slow lines", is held by a test, and every test holds a rule that is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_default()
}

/// `R8.3` and the like, wherever `text` has them.
fn rules_in(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
    text.split(|letter| !is_part(letter))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| {
            word.strip_prefix('R')
                .and_then(|rest| rest.split_once('.'))
                .is_some_and(|(rule, point)| rule.parse::<u8>().is_ok() && point.parse::<u8>().is_ok())
        })
        .map(str::to_owned)
        .collect()
}

/// Rules that the specifications cannot show, and the tests that hold them.
const ELSEWHERE: [(&str, &str, &str); 2] = [
    (
        "R12.6",
        "crates/simulator/tests/simulation.rs",
        "every_replica_stays_true_and_converges_whatever_the_mix",
    ),
    ("R15.3", "crates/simulator/src/client.rs", "a counter went back"),
];

#[test]
fn every_rule_is_held_by_a_test_and_every_test_holds_a_rule() {
    let specification = read("PROTOCOL.md");
    let stated: BTreeSet<_> = specification
        .lines()
        .filter_map(|line| line.strip_prefix("- **R"))
        .filter_map(|line| line.split_once("**"))
        .map(|(number, _)| format!("R{number}"))
        .collect();
    assert!(stated.len() > 60, "only {} rules are stated", stated.len());

    let mut held: BTreeMap<String, usize> = BTreeMap::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specs");
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        for line in text.lines().filter(|line| line.trim_start().starts_with("\"rules\":")) {
            for rule in rules_in(line) {
                *held.entry(rule).or_default() += 1;
            }
        }
    }
    for (rule, file, test) in ELSEWHERE {
        assert!(read(file).contains(test), "{rule} is held by `{test}` in {file}, which is not there");
        *held.entry(rule.to_owned()).or_default() += 1;
    }

    let unheld: Vec<_> = stated.iter().filter(|rule| !held.contains_key(*rule)).collect();
    let unstated: Vec<_> = held.keys().filter(|rule| !stated.contains(*rule)).collect();
    assert!(unheld.is_empty(), "stated, but no test holds them: {unheld:?}");
    assert!(unstated.is_empty(), "tests hold them, but they are not stated: {unstated:?}");
}

#[test]
fn the_specification_mentions_no_rule_that_it_does_not_state() {
    let specification = read("PROTOCOL.md");
    let stated = rules_in(
        &specification.lines().filter(|line| line.starts_with("- **R")).collect::<Vec<_>>().join("\n"),
    );
    let mentioned = rules_in(&specification);
    let missing: Vec<_> = mentioned.difference(&stated).collect();
    assert!(missing.is_empty(), "mentioned, but not stated: {missing:?}");
}

/// The rules about slow lines, and the tests that hold them.
const SLOW_LINES: [(&str, &str, &str); 11] = [
    (
        "H1",
        "src/session/tests.rs",
        "links_that_go_silent_with_answers_on_their_way_are_waited_for_twice_as_long_each_until_the_line_has_been_calm",
    ),
    (
        "H2",
        "tests/client_slow_line.rs",
        "many_datastores_take_turns_on_a_slow_line_and_none_is_asked_for_twice",
    ),
    ("H3", "tests/client_slow_line.rs", "a_datastore_of_many_pages_comes_over_a_line_as_slow_as_is_promised"),
    ("H4", "tests/server_session.rs", "a_frame_that_arrives_slowly_is_no_silence_and_one_that_trickles_is"),
    ("H4", "tests/server_session.rs", "bytes_that_are_no_hello_hold_no_connection"),
    (
        "H4",
        "tests/client_slow_line.rs",
        "the_largest_value_leaves_over_a_line_as_slow_as_is_promised_and_is_sent_once",
    ),
    ("H5", "tests/client_slow_line.rs", "many_writes_take_their_turns_on_a_slow_line_and_none_is_late"),
    ("H5", "tests/client_slow_line.rs", "a_write_that_a_server_has_lost_is_given_up_though_it_answers_pings"),
    (
        "H5",
        "src/client/tests.rs",
        "a_write_beyond_its_time_that_only_its_link_could_have_carried_ends_with_the_link",
    ),
    (
        "H6",
        "tests/client_slow_line.rs",
        "a_person_who_comes_back_to_the_page_ends_no_link_that_is_busy_with_a_large_write",
    ),
    ("H7", "crates/native/tests/slow_line.rs", "a_client_hears_its_server_while_what_it_writes_cannot_leave"),
];

#[test]
fn every_rule_about_slow_lines_is_held_by_a_test() {
    let specification = read("PROTOCOL.md");
    let rules = specification.lines().filter_map(|line| line.strip_prefix("- **H"));
    let stated: BTreeSet<_> =
        rules.filter_map(|line| line.split_once("**")).map(|(number, _)| format!("H{number}")).collect();
    let held: BTreeSet<_> = SLOW_LINES.iter().map(|(rule, _, _)| (*rule).to_owned()).collect();
    assert_eq!(stated, held);
    for (rule, file, test) in SLOW_LINES {
        assert!(
            read(file).contains(&format!("fn {test}()")),
            "{rule} is held by `{test}` in {file}, which is not there"
        );
    }
}
