//! The total transition table of the reconciler: every state, every input, what follows.
//!
//! `next` has no wildcard: a new state or input does not compile until each of its cells is decided. The states are
//! the products of base and recovery that can be told apart from outside; PROTOCOL.md prints the table in words.

#![allow(clippy::unwrap_used, clippy::match_same_arms, reason = "a table is read by its rows")]

mod rig;

use rig::Rig;
use serde_json::{Value, json};

macro_rules! table_of {
    ($(#[$meta:meta])* $name:ident { $($variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum $name { $($variant),+ }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),+];
        }
    };
}

table_of! {
    /// `…Asking`: a request is in flight. `…Waiting`: a backoff runs.
    State {
        // Nothing is applied.
        Empty, EmptyAsking, EmptyWaiting,
        // Nothing is missing; what is asked is a refresh, or is late.
        Live, LiveAsking, LiveWaiting,
        // The authority said that there is no value.
        Absent,
        // Something at or below the newest sequence seen is missing.
        GappedAsking, GappedWaiting,
        // It is missing, and nobody asks: retry is off.
        Parked,
        // The newest value in order was refused.
        RefusedAsking, RefusedWaiting,
        // Another epoch was seen.
        SightedAsking, SightedWaiting,
        // The authority went back within the epoch.
        FencedAsking, FencedWaiting,
        Disposed,
    }
}

table_of! {
    /// Of a replica at A:5, in session 1.
    Input {
        NextReceipt, OldReceipt, GappedReceipt, RefusedReceipt, RefusedGappedReceipt, UnknownReceipt, PlainReceipt,
        MalformedReceipt, NewerSeed, NewerAnswer, OlderAnswer, ProvenAnswer, UnprovenAnswer, RefusedAnswer, Null,
        Failure, Current, HeadAt, HeadAhead, HeadBehind, UnknownHead, NewSession, Timeout, Refresh, Dispose,
    }
}

fn steps_to(state: State) -> Vec<Value> {
    let at_5 = || vec![json!({"session": {"session": 1, "epoch": "A"}}), receipt(5)];
    let then = |mut steps: Vec<Value>, more: &[Value]| {
        steps.extend_from_slice(more);
        steps
    };
    let refresh = json!({"refresh": {}});
    let fail = json!({"fail": {}});
    let fence = [
        json!({"advance": 10_000}),
        json!({"beacon": {"n": 1, "epoch": "A", "head": 2}}),
        json!({"advance": 10_000}),
        json!({"beacon": {"n": 2, "epoch": "A", "head": 2}}),
    ];
    match state {
        State::Empty => vec![],
        State::EmptyAsking => vec![refresh],
        State::EmptyWaiting => vec![refresh, fail],
        State::Live => at_5(),
        State::LiveAsking => then(at_5(), &[refresh]),
        State::LiveWaiting => then(at_5(), &[refresh, fail]),
        State::Absent => then(at_5(), &[refresh, json!({"null": {}})]),
        State::GappedAsking => then(at_5(), &[receipt(8)]),
        State::GappedWaiting | State::Parked => then(at_5(), &[receipt(8), fail]),
        State::RefusedAsking => then(at_5(), &[bad(6)]),
        State::RefusedWaiting => then(at_5(), &[bad(6), fail]),
        State::SightedAsking => then(at_5(), &[unknown_receipt()]),
        State::SightedWaiting => then(at_5(), &[unknown_receipt(), fail]),
        State::FencedAsking => then(at_5(), &fence),
        State::FencedWaiting => then(then(at_5(), &fence), &[fail]),
        State::Disposed => then(at_5(), &[receipt(8), json!({"dispose": {}})]),
    }
}

fn receipt(sequence: u64) -> Value {
    json!({"receipt": {"epoch": "A", "sequence": sequence, "value": "a"}})
}

fn bad(sequence: u64) -> Value {
    json!({"receipt": {"epoch": "A", "sequence": sequence, "value": "bad", "bad": true}})
}

fn unknown_receipt() -> Value {
    json!({"receipt": {"epoch": "B", "sequence": 1, "value": "b"}})
}

fn step_of(input: Input) -> Value {
    let beacon = |epoch: &str, head: u64| json!({"beacon": {"n": 9, "epoch": epoch, "head": head}});
    let answer =
        |epoch: &str, sequence: u64| json!({"answer": {"epoch": epoch, "sequence": sequence, "value": "s"}});
    match input {
        Input::NextReceipt => receipt(6),
        Input::OldReceipt => receipt(4),
        Input::GappedReceipt => receipt(9),
        Input::RefusedReceipt => bad(6),
        Input::RefusedGappedReceipt => bad(9),
        Input::UnknownReceipt => unknown_receipt(),
        Input::PlainReceipt => json!({"receipt": {"sequence": 6, "value": "p"}}),
        Input::MalformedReceipt => json!({"receipt": {"epoch": "A", "sequence": 6, "prev": 6, "value": "m"}}),
        Input::NewerSeed => json!({"seed": {"epoch": "A", "sequence": 7, "value": "s"}}),
        Input::NewerAnswer => answer("A", 20),
        Input::OlderAnswer => answer("A", 2),
        Input::ProvenAnswer => {
            json!({"answer": {"epoch": "B", "sequence": 1, "value": "b", "lineage": [["A", 5]]}})
        }
        Input::UnprovenAnswer => answer("X", 1),
        Input::RefusedAnswer => {
            json!({"answer": {"epoch": "A", "sequence": 20, "value": "bad", "bad": true}})
        }
        Input::Null => json!({"null": {}}),
        Input::Failure => json!({"fail": {}}),
        Input::Current => json!({"current": {"epoch": "A", "head": 5}}),
        Input::HeadAt => beacon("A", 5),
        Input::HeadAhead => beacon("A", 12),
        Input::HeadBehind => beacon("A", 1),
        Input::UnknownHead => beacon("B", 1),
        Input::NewSession => json!({"session": {"session": 2, "epoch": "A"}}),
        Input::Timeout => json!({"timeout": {}}),
        Input::Refresh => json!({"refresh": {}}),
        Input::Dispose => json!({"dispose": {}}),
    }
}

fn classify(rig: &Rig) -> State {
    let replica = &rig.replica;
    let (asks, waits) = (!replica.is_idle(), replica.poll_timeout().is_some());
    let pick = |asking: State, waiting: State, idle: State| {
        if asks {
            asking
        } else if waits {
            waiting
        } else {
            idle
        }
    };
    let Some(position) = replica.position() else {
        return match replica.epoch() {
            _ if replica.is_disposed() => State::Disposed,
            None => pick(State::EmptyAsking, State::EmptyWaiting, State::Empty),
            Some(_) => pick(State::FencedAsking, State::FencedWaiting, State::Parked),
        };
    };
    if replica.is_disposed() {
        State::Disposed
    } else if replica.sighted() > 0 {
        pick(State::SightedAsking, State::SightedWaiting, State::Parked)
    } else if replica.is_satisfied() {
        let idle = if rig.status() == "stale" { State::Absent } else { State::Live };
        pick(State::LiveAsking, State::LiveWaiting, idle)
    } else if replica.cursor() > Some(position.sequence) {
        pick(State::RefusedAsking, State::RefusedWaiting, State::Parked)
    } else {
        pick(State::GappedAsking, State::GappedWaiting, State::Parked)
    }
}

/// What follows. Answers with nothing in flight are of an older generation (R8.10): they change nothing.
fn next(state: State, input: Input) -> State {
    use Input as I;
    use State as S;
    match state {
        S::Empty => match input {
            I::NextReceipt | I::OldReceipt | I::GappedReceipt | I::UnknownReceipt => S::Live,
            I::PlainReceipt | I::NewerSeed => S::Live,
            I::RefusedReceipt | I::RefusedGappedReceipt => S::EmptyAsking,
            I::HeadAt | I::HeadAhead | I::HeadBehind | I::UnknownHead | I::Refresh => S::EmptyAsking,
            I::MalformedReceipt | I::NewSession | I::Timeout => S::Empty,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer | I::RefusedAnswer => {
                S::Empty
            }
            I::Null | I::Failure | I::Current => S::Empty,
            I::Dispose => S::Disposed,
        },
        S::EmptyAsking => match input {
            I::NextReceipt | I::OldReceipt | I::GappedReceipt | I::UnknownReceipt => S::LiveAsking,
            I::PlainReceipt | I::NewerSeed => S::LiveAsking,
            I::RefusedReceipt | I::RefusedGappedReceipt => S::EmptyAsking,
            I::HeadAt | I::HeadAhead | I::HeadBehind | I::UnknownHead | I::Refresh => S::EmptyAsking,
            I::MalformedReceipt | I::NewSession => S::EmptyAsking,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer => S::Live,
            I::RefusedAnswer | I::Failure | I::Current | I::Timeout => S::EmptyWaiting,
            I::Null => S::Empty,
            I::Dispose => S::Disposed,
        },
        S::EmptyWaiting => match input {
            I::NextReceipt | I::OldReceipt | I::GappedReceipt | I::UnknownReceipt => S::LiveWaiting,
            I::PlainReceipt | I::NewerSeed => S::LiveWaiting,
            I::RefusedReceipt | I::RefusedGappedReceipt => S::EmptyWaiting,
            I::HeadAt | I::HeadAhead | I::HeadBehind | I::UnknownHead => S::EmptyWaiting,
            I::MalformedReceipt | I::NewSession => S::EmptyWaiting,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer | I::RefusedAnswer => {
                S::EmptyWaiting
            }
            I::Null | I::Failure | I::Current => S::EmptyWaiting,
            I::Timeout | I::Refresh => S::EmptyAsking,
            I::Dispose => S::Disposed,
        },
        S::Live => match input {
            I::NextReceipt | I::OldReceipt | I::PlainReceipt | I::MalformedReceipt | I::NewerSeed => S::Live,
            I::GappedReceipt | I::RefusedGappedReceipt | I::HeadAhead => S::GappedAsking,
            I::RefusedReceipt => S::RefusedAsking,
            I::UnknownReceipt | I::UnknownHead => S::SightedAsking,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer | I::RefusedAnswer => {
                S::Live
            }
            I::Null | I::Failure | I::Current => S::Live,
            I::HeadAt | I::HeadBehind | I::NewSession | I::Timeout => S::Live,
            I::Refresh => S::LiveAsking,
            I::Dispose => S::Disposed,
        },
        S::LiveAsking => match input {
            I::NextReceipt | I::OldReceipt | I::PlainReceipt | I::MalformedReceipt | I::NewerSeed => {
                S::LiveAsking
            }
            I::GappedReceipt | I::RefusedGappedReceipt | I::HeadAhead => S::GappedAsking,
            I::RefusedReceipt => S::RefusedAsking,
            I::UnknownReceipt | I::UnknownHead => S::SightedAsking,
            I::NewerAnswer | I::ProvenAnswer | I::Current => S::Live,
            I::OlderAnswer | I::Failure | I::Timeout => S::LiveWaiting,
            I::UnprovenAnswer => S::SightedWaiting,
            I::RefusedAnswer => S::GappedWaiting,
            I::Null => S::Absent,
            I::HeadAt | I::HeadBehind | I::NewSession | I::Refresh => S::LiveAsking,
            I::Dispose => S::Disposed,
        },
        S::LiveWaiting => match input {
            I::NextReceipt | I::OldReceipt | I::PlainReceipt | I::MalformedReceipt | I::NewerSeed => {
                S::LiveWaiting
            }
            I::GappedReceipt | I::RefusedGappedReceipt | I::HeadAhead => S::GappedWaiting,
            I::RefusedReceipt => S::RefusedWaiting,
            I::UnknownReceipt | I::UnknownHead => S::SightedWaiting,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer | I::RefusedAnswer => {
                S::LiveWaiting
            }
            I::Null | I::Failure | I::Current => S::LiveWaiting,
            I::HeadAt | I::HeadBehind | I::NewSession => S::LiveWaiting,
            I::Timeout | I::Refresh => S::LiveAsking,
            I::Dispose => S::Disposed,
        },
        S::Absent => match input {
            I::NextReceipt | I::NewerSeed | I::HeadAt => S::Live,
            I::OldReceipt | I::PlainReceipt | I::MalformedReceipt => S::Absent,
            I::GappedReceipt | I::RefusedGappedReceipt | I::HeadAhead => S::GappedAsking,
            I::RefusedReceipt => S::RefusedAsking,
            I::UnknownReceipt | I::UnknownHead => S::SightedAsking,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer | I::RefusedAnswer => {
                S::Absent
            }
            I::Null | I::Failure | I::Current => S::Absent,
            I::HeadBehind | I::NewSession | I::Timeout => S::Absent,
            I::Refresh => S::LiveAsking,
            I::Dispose => S::Disposed,
        },
        S::GappedAsking => match input {
            I::NextReceipt | I::OldReceipt | I::GappedReceipt | I::RefusedGappedReceipt => S::GappedAsking,
            I::PlainReceipt | I::MalformedReceipt => S::GappedAsking,
            I::RefusedReceipt => S::RefusedAsking,
            I::UnknownReceipt | I::UnknownHead => S::SightedAsking,
            I::NewerSeed => S::LiveAsking,
            I::NewerAnswer | I::ProvenAnswer => S::Live,
            I::OlderAnswer | I::RefusedAnswer | I::Null | I::Failure | I::Current | I::Timeout => {
                S::GappedWaiting
            }
            I::UnprovenAnswer => S::SightedWaiting,
            I::HeadAt | I::HeadAhead | I::HeadBehind | I::NewSession | I::Refresh => S::GappedAsking,
            I::Dispose => S::Disposed,
        },
        S::GappedWaiting => match input {
            I::NextReceipt | I::OldReceipt | I::GappedReceipt | I::RefusedGappedReceipt => S::GappedWaiting,
            I::PlainReceipt | I::MalformedReceipt => S::GappedWaiting,
            I::RefusedReceipt => S::RefusedWaiting,
            I::UnknownReceipt | I::UnknownHead => S::SightedWaiting,
            I::NewerSeed => S::Live,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer => S::GappedWaiting,
            I::RefusedAnswer | I::Null | I::Failure | I::Current => S::GappedWaiting,
            I::HeadAt | I::HeadAhead | I::HeadBehind | I::NewSession => S::GappedWaiting,
            I::Timeout | I::Refresh => S::GappedAsking,
            I::Dispose => S::Disposed,
        },
        S::Parked => match input {
            I::NextReceipt | I::OldReceipt | I::PlainReceipt | I::MalformedReceipt => S::Parked,
            I::GappedReceipt | I::RefusedGappedReceipt | I::HeadAhead => S::GappedAsking,
            I::RefusedReceipt => S::RefusedAsking,
            I::UnknownReceipt | I::UnknownHead => S::SightedAsking,
            I::NewerSeed => S::Live,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer => S::Parked,
            I::RefusedAnswer | I::Null | I::Failure | I::Current => S::Parked,
            I::HeadAt | I::HeadBehind | I::NewSession | I::Timeout => S::Parked,
            I::Refresh => S::GappedAsking,
            I::Dispose => S::Disposed,
        },
        S::RefusedAsking => match input {
            // The good copy, or one beyond what was refused.
            I::NextReceipt | I::NewerSeed => S::LiveAsking,
            I::OldReceipt | I::GappedReceipt | I::RefusedReceipt | I::RefusedGappedReceipt => {
                S::RefusedAsking
            }
            I::PlainReceipt | I::MalformedReceipt => S::RefusedAsking,
            I::UnknownReceipt | I::UnknownHead => S::SightedAsking,
            I::NewerAnswer | I::ProvenAnswer => S::Live,
            I::OlderAnswer | I::RefusedAnswer | I::Null | I::Failure | I::Current | I::Timeout => {
                S::RefusedWaiting
            }
            I::UnprovenAnswer => S::SightedWaiting,
            I::HeadAt | I::HeadAhead | I::HeadBehind | I::NewSession | I::Refresh => S::RefusedAsking,
            I::Dispose => S::Disposed,
        },
        S::RefusedWaiting => match input {
            I::NextReceipt | I::NewerSeed => S::Live,
            I::OldReceipt | I::GappedReceipt | I::RefusedReceipt | I::RefusedGappedReceipt => {
                S::RefusedWaiting
            }
            I::PlainReceipt | I::MalformedReceipt => S::RefusedWaiting,
            I::UnknownReceipt | I::UnknownHead => S::SightedWaiting,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer => S::RefusedWaiting,
            I::RefusedAnswer | I::Null | I::Failure | I::Current => S::RefusedWaiting,
            I::HeadAt | I::HeadAhead | I::HeadBehind | I::NewSession => S::RefusedWaiting,
            I::Timeout | I::Refresh => S::RefusedAsking,
            I::Dispose => S::Disposed,
        },
        S::SightedAsking => match input {
            I::NextReceipt | I::OldReceipt | I::GappedReceipt | I::RefusedReceipt => S::SightedAsking,
            I::RefusedGappedReceipt | I::UnknownReceipt | I::PlainReceipt | I::MalformedReceipt => {
                S::SightedAsking
            }
            I::NewerSeed | I::HeadAt | I::HeadAhead | I::HeadBehind | I::UnknownHead => S::SightedAsking,
            I::NewerAnswer | I::ProvenAnswer => S::Live,
            // The answer speaks of the applied epoch, so the other one was a ghost: nothing is missing any more.
            I::OlderAnswer | I::Current => S::Live,
            I::RefusedAnswer => S::GappedWaiting,
            I::UnprovenAnswer | I::Null | I::Failure | I::Timeout => S::SightedWaiting,
            I::NewSession | I::Refresh => S::SightedAsking,
            I::Dispose => S::Disposed,
        },
        S::SightedWaiting => match input {
            I::NextReceipt | I::OldReceipt | I::GappedReceipt | I::RefusedReceipt => S::SightedWaiting,
            I::RefusedGappedReceipt | I::UnknownReceipt | I::PlainReceipt | I::MalformedReceipt => {
                S::SightedWaiting
            }
            I::NewerSeed | I::HeadAt | I::HeadAhead | I::HeadBehind | I::UnknownHead => S::SightedWaiting,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer => S::SightedWaiting,
            I::RefusedAnswer | I::Null | I::Failure | I::Current | I::NewSession => S::SightedWaiting,
            I::Timeout | I::Refresh => S::SightedAsking,
            I::Dispose => S::Disposed,
        },
        S::FencedAsking => match input {
            I::NextReceipt | I::OldReceipt | I::GappedReceipt | I::RefusedReceipt => S::FencedAsking,
            I::RefusedGappedReceipt | I::UnknownReceipt | I::PlainReceipt | I::MalformedReceipt => {
                S::FencedAsking
            }
            I::NewerSeed => S::LiveAsking,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer => S::Live,
            I::UnprovenAnswer | I::RefusedAnswer | I::Null | I::Failure | I::Timeout => S::FencedWaiting,
            // It has no position, so a head alone does not mend it.
            I::Current => S::FencedWaiting,
            I::HeadAt | I::HeadAhead | I::HeadBehind | I::UnknownHead => S::FencedAsking,
            I::NewSession | I::Refresh => S::FencedAsking,
            I::Dispose => S::Disposed,
        },
        S::FencedWaiting => match input {
            I::NextReceipt | I::OldReceipt | I::GappedReceipt | I::RefusedReceipt => S::FencedWaiting,
            I::RefusedGappedReceipt | I::UnknownReceipt | I::PlainReceipt | I::MalformedReceipt => {
                S::FencedWaiting
            }
            I::NewerSeed => S::Live,
            I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer => S::FencedWaiting,
            I::RefusedAnswer | I::Null | I::Failure | I::Current => S::FencedWaiting,
            I::HeadAt | I::HeadAhead | I::HeadBehind | I::UnknownHead | I::NewSession => S::FencedWaiting,
            I::Timeout | I::Refresh => S::FencedAsking,
            I::Dispose => S::Disposed,
        },
        S::Disposed => match input {
            I::NextReceipt | I::OldReceipt | I::GappedReceipt | I::RefusedReceipt => S::Disposed,
            I::RefusedGappedReceipt | I::UnknownReceipt | I::PlainReceipt | I::MalformedReceipt => {
                S::Disposed
            }
            I::NewerSeed | I::NewerAnswer | I::OlderAnswer | I::ProvenAnswer | I::UnprovenAnswer => {
                S::Disposed
            }
            I::RefusedAnswer | I::Null | I::Failure | I::Current => S::Disposed,
            I::HeadAt | I::HeadAhead | I::HeadBehind | I::UnknownHead | I::NewSession => S::Disposed,
            I::Timeout | I::Refresh | I::Dispose => S::Disposed,
        },
    }
}

/// The table as PROTOCOL.md prints it: a row per input, a column per state, "·" for what stays.
fn printed() -> String {
    let short = |state: State| {
        let name = format!("{state:?}");
        let (base, suffix) = match (name.strip_suffix("Asking"), name.strip_suffix("Waiting")) {
            (Some(base), _) => (base.to_owned(), "a"),
            (None, Some(base)) => (base.to_owned(), "w"),
            (None, None) => (name, ""),
        };
        format!("{}{suffix}", &base[..1])
    };
    let mut lines = vec![format!(
        "| | {} |\n|---|{}",
        State::ALL.iter().map(|state| short(*state)).collect::<Vec<_>>().join(" | "),
        "---|".repeat(State::ALL.len())
    )];
    for input in Input::ALL {
        let cells = State::ALL.iter().map(|state| match next(*state, *input) {
            same if same == *state => "·".to_owned(),
            other => short(other),
        });
        lines.push(format!("| {input:?} | {} |", cells.collect::<Vec<_>>().join(" | ")));
    }
    lines.join("\n")
}

#[test]
fn the_table_in_the_specification_is_this_one() {
    let specification = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/PROTOCOL.md")).unwrap();
    let table = printed();
    assert!(specification.contains(&table), "PROTOCOL.md, part Replica, should print:\n{table}");
}

fn rig_in(state: State) -> Rig {
    let mut rig = Rig::new(&json!({"retry": state != State::Parked}));
    for step in steps_to(state) {
        rig.step(&step);
    }
    rig
}

#[test]
fn every_state_can_be_reached_and_told_apart() {
    for state in State::ALL {
        assert_eq!(classify(&rig_in(*state)), *state);
    }
}

#[test]
fn every_input_in_every_state_leads_where_the_table_says() {
    let mut wrong = Vec::new();
    for state in State::ALL {
        for input in Input::ALL {
            let mut rig = rig_in(*state);
            let before = rig.shown.clone();
            rig.step(&step_of(*input));
            let (after, expected) = (classify(&rig), next(*state, *input));
            if after != expected {
                wrong.push(format!(
                    "{state:?} x {input:?}: {after:?}, expected {expected:?} ({:?})",
                    rig.effects
                ));
            }
            // What holds in every cell.
            assert!(before.is_none() || rig.shown.is_some(), "{state:?} x {input:?}: the value is gone");
            if *state == State::Disposed {
                assert_eq!(rig.effects, Vec::<String>::new(), "{input:?} after dispose");
            }
            if after != State::Disposed {
                assert!(
                    after == State::Parked
                        || rig.replica.is_satisfied()
                        || rig.replica.poll_timeout().is_some()
                        || after == State::Empty,
                    "{state:?} x {input:?}: silent for ever"
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{} cells differ:\n{}", wrong.len(), wrong.join("\n"));
}
