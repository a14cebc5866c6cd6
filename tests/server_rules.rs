//! Rules of the application: gates, schema versions, resolvers, and who sees what.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use server_rig::{
    Inbox, Rig, datastore,
    faulty::{Fault, Faulty},
};
use tidewire::{
    protocol::{
        Answer, ClientMessage, EncodedValue, ErrorCode, Operation, Position, ServerMessage, Subscription,
        Target, from_json, to_json,
    },
    server::{Action, ConnectionId, EVERYONE, Options, Projection, Rule, Rules, WriteError, storage::Memory},
};

fn ruled(rules: Rules) -> Rig {
    Rig::configured(Memory::new(), Options { rules, ..Options::new([1; 32]) })
}

fn json(text: &str) -> Vec<u8> {
    from_json(text).unwrap()
}

fn value(bytes: &[u8]) -> EncodedValue<'_> {
    EncodedValue::check(bytes).unwrap()
}

fn text(value: EncodedValue<'_>) -> String {
    to_json(value).unwrap()
}

fn put(rig: &mut Rig, key: &str, text: &str) -> Result<Position, WriteError> {
    let bytes = json(text);
    let position = rig.server.put(rig.now, key, value(&bytes));
    rig.commit().unwrap();
    position
}

/// Every value that came, as text, with its sequence; snapshots, tails, pages and envelopes alike.
fn seen(inbox: &Inbox) -> Vec<(u64, String)> {
    let mut seen = Vec::new();
    for message in inbox.messages() {
        match message {
            ServerMessage::Answer { answer: Answer::Snapshot { sequence, value, .. }, .. }
            | ServerMessage::Envelope { sequence, value: Some(value), .. } => {
                seen.push((sequence.get(), text(value)));
            }
            ServerMessage::Envelope { sequence, value: None, .. } => {
                seen.push((sequence.get(), "deleted".to_owned()));
            }
            ServerMessage::Answer { answer: Answer::Page { rows, .. }, .. } => {
                seen.extend(rows.iter().map(|row| (row.sequence.get(), text(row.value))));
            }
            _ => {}
        }
    }
    seen
}

fn has_name(value: EncodedValue<'_>) -> Result<(), String> {
    value.string_field("name").map(drop).ok_or_else(|| "name: a text is required".to_owned())
}

// ---- gates

#[test]
fn a_value_that_its_gate_refuses_is_not_stored_and_the_refusal_says_why() {
    let rules = Rules::new()
        .object("user:*", Rule::new().gate(has_name))
        .object("user:raw", Rule::new())
        .datastore("people", Rule::new().gate(has_name));
    let mut rig = ruled(rules);
    rig.open("people");
    rig.open("others");
    let client = rig.client("c");
    rig.subscribe(client, 1, Target::Object("user:1"), None);
    rig.subscribe(client, 2, datastore("people"), None);
    let bad = json(r#"{"id":"1","nme":"Ada"}"#);
    for (request, operation) in [
        (1, Operation::Put { key: "user:1", value: value(&bad) }),
        (2, Operation::Set { datastore: "people", value: value(&bad) }),
    ] {
        let inbox = rig.write(client, request, operation);
        match inbox.one() {
            ServerMessage::Refusal { code, message, .. } => {
                assert_eq!(code, ErrorCode::InvalidValue.number());
                assert_eq!(message, "the value is refused: name: a text is required");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rig.server.object("user:1").unwrap(), None);
    assert_eq!(rig.server.snapshot(rig.now, "people").unwrap().unwrap().records, []);
    let refused = WriteError::InvalidValue { reason: "name: a text is required".into() };
    assert_eq!(rig.server.put(rig.now, "user:1", value(&bad)), Err(refused.clone()));
    assert_eq!(rig.server.set(rig.now, "people", value(&bad)), Err(refused));
    let free = [
        Operation::Put { key: "user:raw", value: value(&bad) },
        Operation::Put { key: "post:1", value: value(&bad) },
        Operation::Set { datastore: "others", value: value(&bad) },
    ];
    for (request, operation) in (10..).zip(free) {
        assert!(rig.write(client, request, operation).ack().is_some());
    }
    let good = json(r#"{"id":"1","name":"Ada"}"#);
    rig.take(client);
    let ack = rig.write(client, 90, Operation::Put { key: "user:1", value: value(&good) }).ack();
    assert_eq!(ack.unwrap().sequence.get(), 1);
    let ack = rig.write(client, 91, Operation::Set { datastore: "people", value: value(&good) }).ack();
    assert_eq!(ack.unwrap().sequence.get(), 1);
}

#[test]
fn the_schema_version_of_the_rule_is_on_snapshots_tails_and_envelopes() {
    let rules = Rules::new()
        .object("user:*", Rule::new().schema_version("3.1"))
        .datastore("people", Rule::new().schema_version("2.0"));
    let mut rig = ruled(rules);
    rig.open("people");
    let client = rig.client("c");
    rig.subscribe(client, 1, Target::Object("user:1"), None);
    rig.subscribe(client, 2, Target::Object("post:1"), None);
    rig.subscribe(client, 3, datastore("people"), None);
    let first = put(&mut rig, "user:1", "1").unwrap();
    put(&mut rig, "post:1", "1").unwrap();
    rig.set("people", "a", 1);
    let versions = |inbox: &Inbox| -> Vec<Option<String>> {
        let version = |message: ServerMessage<'_>| match message {
            ServerMessage::Envelope { version, .. }
            | ServerMessage::Answer { answer: Answer::Snapshot { version, .. }, .. } => {
                Some(version.map(str::to_owned))
            }
            _ => None,
        };
        inbox.messages().into_iter().filter_map(version).collect()
    };
    let stamped = |version: &str| Some(version.to_owned());
    assert_eq!(versions(&rig.take(client)), [stamped("3.1"), None, stamped("2.0")]);
    let inbox = rig.subscribe(client, 1, Target::Object("user:1"), None);
    assert_eq!(versions(&inbox), [stamped("3.1")]);
    put(&mut rig, "user:1", "2").unwrap();
    rig.take(client);
    let inbox = rig.subscribe(client, 1, Target::Object("user:1"), Some(first));
    assert_eq!(versions(&inbox), [stamped("3.1")]);
}

// ---- resolvers

/// A rig whose `user:*` are computed, how often that was asked for, and whether it fails.
fn resolved() -> (Rules, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (asked, fails) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, failing) = (asked.clone(), fails.clone());
    let rules = Rules::new().resolver("user:*", move |_, key| {
        count.fetch_add(1, Relaxed);
        if failing.load(Relaxed) {
            return Err("the database at 10.0.0.7 is away".to_owned());
        }
        Ok((key != "user:none").then(|| json(&format!(r#"{{"key":"{key}"}}"#))))
    });
    (rules, asked, fails)
}

#[test]
fn an_object_that_was_never_written_is_computed_once_and_begins_its_history() {
    let (rules, asked, _) = resolved();
    let mut rig = ruled(rules);
    let (one, other) = (rig.client("one"), rig.client("other"));
    let subscribe = |id| {
        ClientMessage::Subscribe(vec![Subscription { id, target: Target::Object("user:1"), position: None }])
    };
    rig.feed(one, &[subscribe(1), subscribe(2)]);
    rig.feed(other, &[subscribe(1)]);
    rig.commit().unwrap();
    let first = (1, r#"{"key":"user:1"}"#.to_owned());
    assert_eq!(seen(&rig.take(one)), [first.clone(), first.clone()]);
    assert_eq!(seen(&rig.take(other)), std::slice::from_ref(&first));
    assert_eq!(asked.load(Relaxed), 1);
    assert_eq!(put(&mut rig, "user:1", "2").unwrap().sequence.get(), 2);
    assert_eq!(seen(&rig.take(other)), [(2, "2".to_owned())]);
    // A read is a demand too; a write is none, and what was deleted is not computed again.
    assert_eq!(rig.server.read(rig.now, "user:2").unwrap().unwrap().position.sequence.get(), 1);
    assert_eq!(put(&mut rig, "user:3", "1").unwrap().sequence.get(), 1);
    rig.server.delete(rig.now, "user:3").unwrap();
    assert_eq!(rig.server.read(rig.now, "user:3").unwrap().unwrap().value, None);
    assert_eq!(rig.server.read(rig.now, "post:1").unwrap(), None);
    assert_eq!(asked.load(Relaxed), 2);
}

#[test]
fn a_refetch_computes_what_was_not_there_before() {
    let (rules, asked, _) = resolved();
    let mut rig = ruled(rules);
    let client = rig.client("c");
    let inbox = rig.subscribe(client, 1, Target::Object("user:none"), None);
    assert!(matches!(inbox.answer().2, Answer::Absent { sequence } if sequence.get() == 0));
    for attempt in 1..=2 {
        rig.send(client, &ClientMessage::Refetch { subscription: 1, attempt, position: None });
        assert!(matches!(rig.take(client).answer().2, Answer::Absent { .. }));
    }
    // Once for each demand, as each was a batch of its own; within one, once for all.
    assert_eq!(asked.load(Relaxed), 3);
    let refetch = |attempt| ClientMessage::Refetch { subscription: 1, attempt, position: None };
    rig.feed(client, &[refetch(3), refetch(4)]);
    rig.commit().unwrap();
    assert_eq!(asked.load(Relaxed), 4);
}

#[test]
fn a_failing_resolver_is_a_denial_to_come_back_after_and_never_a_wrong_absence() {
    let (rules, asked, fails) = resolved();
    let mut rig = ruled(rules);
    let client = rig.client("c");
    fails.store(true, Relaxed);
    let inbox = rig.subscribe(client, 1, Target::Object("user:1"), None);
    match inbox.one() {
        ServerMessage::Denied { subscription: 1, attempt: 0, code, message } => {
            assert_eq!(code, ErrorCode::Unavailable.number());
            assert!(ErrorCode::is_retryable_number(code));
            assert!(!message.contains("10.0.0.7"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.server.residue().subscriptions, 0);
    let subscribe = |id, key| Subscription { id, target: Target::Object(key), position: None };
    rig.send(client, &ClientMessage::Subscribe(vec![subscribe(1, "user:1"), subscribe(2, "user:1")]));
    assert_eq!(rig.take(client).codes().len(), 2);
    assert_eq!(asked.load(Relaxed), 2);
    let error = rig.server.read(rig.now, "user:1").unwrap_err();
    assert!(matches!(&error, WriteError::Unresolved { reason } if reason.contains("10.0.0.7")));
    rig.commit().unwrap();
    assert_eq!(rig.server.object("user:1").unwrap(), None);
    fails.store(false, Relaxed);
    let inbox = rig.subscribe(client, 1, Target::Object("user:1"), None);
    assert_eq!(seen(&inbox), [(1, r#"{"key":"user:1"}"#.to_owned())]);
}

#[test]
fn what_a_resolver_says_passes_the_gate_or_is_not_there() {
    let (rules, ..) = resolved();
    let rules =
        rules.object("user:*", Rule::new().gate(has_name)).resolver("bytes", |_, _| Ok(Some(vec![0xc1])));
    let mut rig = ruled(rules);
    let client = rig.client("c");
    for key in ["user:1", "bytes"] {
        let inbox = rig.subscribe(client, 1, Target::Object(key), None);
        assert_eq!(inbox.codes(), [ErrorCode::Unavailable.number()], "{key}");
        assert_eq!(rig.server.object(key).unwrap(), None);
    }
}

#[test]
fn what_was_computed_in_a_batch_that_fails_is_computed_again() {
    let (rules, asked, _) = resolved();
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::configured(storage, Options { rules, ..Options::new([1; 32]) });
    let client = rig.client("c");
    fault.set(Fault::Commit);
    let subscription = Subscription { id: 1, target: Target::Object("user:1"), position: None };
    rig.feed(client, &[ClientMessage::Subscribe(vec![subscription])]);
    assert!(rig.commit().is_err());
    assert_eq!(rig.take(client).codes(), [ErrorCode::StorageFailed.number()]);
    fault.set(Fault::None);
    let inbox = rig.subscribe(client, 1, Target::Object("user:1"), None);
    assert_eq!(seen(&inbox), [(1, r#"{"key":"user:1"}"#.to_owned())]);
    assert_eq!(asked.load(Relaxed), 2);
}

// ---- projections

/// `user:<id>`: its owner sees the email, everybody the name, nobody the rest.
fn private() -> Rule {
    let projection = Projection::new()
        .field("name", EVERYONE)
        .field("email", "owner")
        .field("broken", "fails")
        .field("unknown", "no such rule");
    Rule::new().projection(projection)
}

fn viewers() -> Rules {
    Rules::new()
        .viewer("owner", |view| Ok(view.key == view.viewer))
        .viewer("fails", |_| Err("no".to_owned()))
        .object("ada", private())
        .object("mixed", Rule::new().projection(Projection::new().field("email", "owner").others(EVERYONE)))
        .datastore("people", private())
}

const ADA: &str = r#"{"name":"Ada","email":"ada@example.com","broken":1,"unknown":2,"new":{"deep":3}}"#;
const OWN: &str = r#"{"name":"Ada","email":"ada@example.com"}"#;
const PUBLIC: &str = r#"{"name":"Ada"}"#;

#[test]
fn every_viewer_sees_its_part_in_snapshots_tails_and_envelopes_and_rules_fail_closed() {
    let mut rig = ruled(viewers());
    let (owner, guest) = (rig.client("ada"), rig.client("guest"));
    for client in [owner, guest] {
        rig.subscribe(client, 1, Target::Object("ada"), None);
    }
    let first = put(&mut rig, "ada", ADA).unwrap();
    assert_eq!(seen(&rig.take(owner)), [(1, OWN.to_owned())]);
    assert_eq!(seen(&rig.take(guest)), [(1, PUBLIC.to_owned())]);
    put(&mut rig, "ada", ADA).unwrap();
    // What a viewer cannot see changes nothing for it but the sequence.
    assert_eq!(seen(&rig.take(guest)), [(2, PUBLIC.to_owned())]);
    rig.take(owner);
    for position in [None, Some(first)] {
        let inbox = rig.subscribe(owner, 1, Target::Object("ada"), position);
        assert_eq!(seen(&inbox), [(2, OWN.to_owned())]);
        let inbox = rig.subscribe(guest, 1, Target::Object("ada"), position);
        assert_eq!(seen(&inbox), [(2, PUBLIC.to_owned())]);
    }
    rig.server.delete(rig.now, "ada").unwrap();
    rig.commit().unwrap();
    assert_eq!(seen(&rig.take(guest)), [(3, "deleted".to_owned())]);
    // What has no fields cannot be shown in part.
    for odd in [r#""ada@example.com""#, r#"["ada@example.com"]"#] {
        put(&mut rig, "ada", odd).unwrap();
        assert_eq!(seen(&rig.take(guest))[0].1, "null");
        rig.take(owner);
    }
    put(&mut rig, "mixed", ADA).unwrap();
    let inbox = rig.subscribe(guest, 2, Target::Object("mixed"), None);
    assert_eq!(seen(&inbox)[0].1, r#"{"name":"Ada","broken":1,"unknown":2,"new":{"deep":3}}"#);
}

#[test]
fn records_are_projected_in_pages_tails_and_envelopes() {
    let mut rig = ruled(viewers());
    rig.open("people");
    let guest = rig.client("guest");
    let whole = r#"{"id":"ada","name":"Ada","email":"ada@example.com"}"#;
    let bytes = json(whole);
    let first = rig.server.set(rig.now, "people", value(&bytes)).unwrap();
    rig.commit().unwrap();
    assert_eq!(seen(&rig.subscribe(guest, 1, datastore("people"), None)), [(1, PUBLIC.to_owned())]);
    rig.server.set(rig.now, "people", value(&bytes)).unwrap();
    rig.commit().unwrap();
    assert_eq!(seen(&rig.take(guest)), [(2, PUBLIC.to_owned())]);
    assert_eq!(seen(&rig.subscribe(guest, 1, datastore("people"), Some(first))), [(2, PUBLIC.to_owned())]);
    let owner = rig.client("ada");
    assert_eq!(seen(&rig.subscribe(owner, 1, datastore("people"), None)), [(2, OWN.to_owned())]);
    // The authority itself sees all.
    assert_eq!(&*rig.server.record(rig.now, "people", "ada").unwrap().unwrap().value, &bytes[..]);
}

fn frames(rig: &mut Rig) -> Vec<(ConnectionId, Arc<[u8]>)> {
    rig.server.commit(rig.now).unwrap();
    let mut frames = Vec::new();
    while let Some(transmit) = rig.server.poll_transmit() {
        let Action::Frame(frame) = transmit.action else { panic!("a close") };
        frames.push((transmit.connection, frame));
    }
    frames
}

#[test]
fn viewers_who_see_the_same_share_one_encoding() {
    let mut rig = ruled(viewers());
    let clients = [("guest", "1"), ("ada", "2"), ("other", "3"), ("ada", "4")];
    let clients = clients.map(|(subject, client)| rig.client_of(subject, client));
    for client in &clients {
        rig.subscribe(*client, 1, Target::Object("ada"), None);
    }
    let bytes = json(ADA);
    for _ in 0..3 {
        rig.server.put(rig.now, "ada", value(&bytes)).unwrap();
    }
    let frames = frames(&mut rig);
    // Three changes are one frame for each.
    assert_eq!(frames.len(), 4);
    let frame = |client: ConnectionId| &frames.iter().find(|(to, _)| *to == client).unwrap().1;
    assert!(Arc::ptr_eq(frame(clients[0]), frame(clients[2])));
    assert!(Arc::ptr_eq(frame(clients[1]), frame(clients[3])));
    assert!(!Arc::ptr_eq(frame(clients[0]), frame(clients[1])));
    // Where nothing differs, all share one.
    let bytes = json(PUBLIC);
    rig.server.put(rig.now, "ada", value(&bytes)).unwrap();
    let frames = self::frames(&mut rig);
    assert!(frames.iter().all(|(_, frame)| Arc::ptr_eq(frame, &frames[0].1)));
}

#[test]
fn whoever_sees_what_hears_every_change_once_and_in_order() {
    // Who sees the field changes from change to change, and deletions go to all.
    let rules = Rules::new()
        .viewer("even", |view| Ok((view.viewer.len() + view.value.as_bytes().len()) % 2 == 0))
        .object("k", Rule::new().projection(Projection::new().field("x", "even")));
    let mut rig = ruled(rules);
    let clients: Vec<_> = ["a", "bb", "ccc", "dddd"].iter().map(|name| rig.client(name)).collect();
    for client in &clients {
        rig.subscribe(*client, 1, Target::Object("k"), None);
    }
    let mut count = 0;
    for round in 0..50_usize {
        for step in 0..7_usize {
            if (round * 7 + step) % 5 == 4 {
                rig.server.delete(rig.now, "k").unwrap();
            } else {
                let bytes = json(&format!(r#"{{"x":"{}"}}"#, "x".repeat((round * step) % 3)));
                rig.server.put(rig.now, "k", value(&bytes)).unwrap();
            }
            count += 1;
        }
        rig.commit().unwrap();
    }
    for client in clients {
        let sequences: Vec<_> = seen(&rig.take(client)).into_iter().map(|(sequence, _)| sequence).collect();
        assert!(sequences.iter().copied().eq(1..=count), "{sequences:?}");
    }
}
