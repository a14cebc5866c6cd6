//! The real client and the real server, joined in memory on a virtual clock.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

mod client_rig;

use std::time::Duration;

use client_rig::{ANY, Gate, Rig};
use tidewire::{
    client::{Change, GateId, SlotId},
    gate::{Dialect, Fault},
    protocol::{EncodedValue, Writer, from_json},
    replica::Status,
    session::Phase,
};

fn todos(rig: &mut Rig, index: usize, gated: bool) -> SlotId {
    let slot = rig.peers[index].client.subscribe_datastore("todos", Some(true), "id", gated).unwrap();
    rig.settle();
    slot
}

#[test]
fn a_write_of_one_client_reaches_the_other_and_settles_once_it_is_shown() {
    let mut rig = Rig::new();
    let (ada, bob) = (rig.connect(ANY), rig.connect(ANY));
    let (at_ada, at_bob) = (todos(&mut rig, ada, false), todos(&mut rig, bob, false));
    let request = rig.set(ada, "todos", r#"{"id":"1","title":"tide"}"#);
    assert_eq!(rig.settled(ada, request), Some(0));
    assert_eq!(rig.rows(ada, at_ada), [r#"{"id":"1","title":"tide"}"#]);
    assert_eq!(rig.rows(bob, at_bob), rig.rows(ada, at_ada));

    rig.peers[bob].client.remove(rig.now, "todos", "1").unwrap();
    rig.settle();
    assert!(rig.rows(ada, at_ada).is_empty());
    assert_eq!(rig.peers[ada].client.sequence(at_ada), Some(2));
    assert_eq!(rig.peers[ada].client.status(at_ada), Status::Ok);
}

#[test]
fn an_object_is_put_and_deleted_and_shows_both() {
    let mut rig = Rig::new();
    let (ada, bob) = (rig.connect(ANY), rig.connect(ANY));
    let slot = rig.peers[bob].client.subscribe_object("user:1", true).unwrap();
    rig.settle();
    assert_eq!(rig.object(bob, slot), None);
    let bytes = from_json(r#"{"name":"Ada"}"#).unwrap();
    rig.peers[ada].client.put(rig.now, "user:1", EncodedValue::check(&bytes).unwrap()).unwrap();
    rig.settle();
    assert_eq!(rig.object(bob, slot).as_deref(), Some(r#"{"name":"Ada"}"#));
    rig.peers[ada].client.delete(rig.now, "user:1").unwrap();
    rig.settle();
    assert_eq!(rig.object(bob, slot), None);
    assert_eq!(rig.peers[bob].client.sequence(slot), Some(2));
}

#[test]
fn a_snapshot_of_many_pages_arrives_whole_while_others_write() {
    let mut rig = Rig::new();
    let ada = rig.connect(ANY);
    let at_ada = todos(&mut rig, ada, false);
    let filler = "x".repeat(2_000);
    for id in 0..1_000 {
        rig.set(ada, "todos", &format!(r#"{{"id":"{id}","text":"{filler}"}}"#));
    }
    let bob = rig.connect(|value| value.contains("\"id\""));
    let at_bob = todos(&mut rig, bob, true);
    rig.set(ada, "todos", r#"{"id":"7","text":"changed"}"#);
    assert_eq!(rig.peers[bob].client.row_count(at_bob), 1_000);
    assert_eq!(rig.rows(bob, at_bob), rig.rows(ada, at_ada));
}

#[test]
fn a_client_that_was_away_gets_the_tail_and_a_write_made_meanwhile_is_sent_then() {
    let mut rig = Rig::new();
    let (ada, bob) = (rig.connect(ANY), rig.connect(ANY));
    let (at_ada, at_bob) = (todos(&mut rig, ada, false), todos(&mut rig, bob, false));
    rig.is_up = false;
    rig.drop_link(bob);
    let request = rig.set(bob, "todos", r#"{"id":"2","title":"from the train"}"#);
    rig.set(ada, "todos", r#"{"id":"1","title":"from the desk"}"#);
    assert_eq!(rig.settled(bob, request), None);
    assert!(matches!(rig.peers[bob].client.phase(), Phase::Reconnecting { .. }));
    rig.is_up = true;
    rig.advance(Duration::from_secs(5));
    assert_eq!(rig.settled(bob, request), Some(0));
    assert_eq!(rig.rows(bob, at_bob).len(), 2);
    assert_eq!(rig.rows(bob, at_bob), rig.rows(ada, at_ada));
    assert_eq!(rig.peers[bob].client.status(at_bob), Status::Ok);
}

#[test]
fn a_write_that_finds_no_connection_in_time_is_refused_and_not_lost_silently() {
    let mut rig = Rig::new();
    let ada = rig.connect(ANY);
    rig.is_up = false;
    rig.drop_link(ada);
    let request = rig.set(ada, "todos", r#"{"id":"1"}"#);
    rig.advance(Duration::from_secs(31));
    assert_eq!(rig.settled(ada, request), Some(101));
}

#[test]
fn two_replicas_of_one_datastore_share_what_the_server_sends_once() {
    let mut rig = Rig::new();
    let ada = rig.connect(ANY);
    let (first, second) = (todos(&mut rig, ada, false), todos(&mut rig, ada, false));
    let request = rig.set(ada, "todos", r#"{"id":"1"}"#);
    assert_eq!(rig.settled(ada, request), Some(0));
    assert_eq!(rig.rows(ada, first), rig.rows(ada, second));
    rig.peers[ada].client.release(first);
    rig.settle();
    let request = rig.set(ada, "todos", r#"{"id":"2"}"#);
    assert_eq!(rig.settled(ada, request), Some(0));
    assert_eq!(rig.rows(ada, second).len(), 2);
}

#[test]
fn a_refused_write_says_why() {
    let mut rig = Rig::new();
    let ada = rig.connect(ANY);
    todos(&mut rig, ada, false);
    let request = rig.set(ada, "todos", r#"{"title":"nameless"}"#);
    assert_eq!(rig.settled(ada, request), Some(1));
    let message = rig.peers[ada].client.settlement(request).unwrap();
    assert!(message.contains("primary"), "{message}");
}

#[test]
fn a_row_that_the_gate_refuses_keeps_its_last_good_value_and_holds_nothing_up() {
    let mut rig = Rig::new();
    let gate: Gate = |value| !value.contains("bad");
    let (ada, bob) = (rig.connect(ANY), rig.connect(gate));
    todos(&mut rig, ada, false);
    let at_bob = todos(&mut rig, bob, true);
    rig.set(ada, "todos", r#"{"id":"1","title":"good"}"#);
    rig.set(ada, "todos", r#"{"id":"1","title":"bad"}"#);
    rig.set(ada, "todos", r#"{"id":"2","title":"good"}"#);
    assert_eq!(rig.rows(bob, at_bob), [r#"{"id":"1","title":"good"}"#, r#"{"id":"2","title":"good"}"#]);
    assert_eq!(rig.peers[bob].client.cursor(at_bob), Some(3));
    assert_eq!(rig.peers[bob].client.stats(at_bob).quarantined, 1);
}

#[test]
fn bytes_that_are_no_protocol_end_the_link_and_the_client_comes_back() {
    let mut rig = Rig::new();
    let ada = rig.connect(ANY);
    rig.peers[ada].inbox.push_back(vec![0xc1, 0xff]);
    rig.settle();
    assert!(matches!(rig.peers[ada].client.phase(), Phase::Reconnecting { .. }));
    rig.advance(Duration::from_secs(5));
    assert_eq!(rig.peers[ada].client.phase(), Phase::Live);
}

#[test]
fn a_quiet_connection_lives_on_by_beacons_and_pings() {
    let mut rig = Rig::new();
    let ada = rig.connect(ANY);
    todos(&mut rig, ada, false);
    let link = rig.peers[ada].link;
    rig.advance(Duration::from_secs(600));
    assert_eq!(rig.peers[ada].link, link, "never reconnected");
    assert_eq!(rig.peers[ada].client.phase(), Phase::Live);
}

#[test]
fn a_released_replica_leaves_nothing_at_the_server() {
    let mut rig = Rig::new();
    let ada = rig.connect(ANY);
    let before = rig.server.residue();
    let slot = todos(&mut rig, ada, false);
    assert_ne!(rig.server.residue(), before);
    rig.peers[ada].client.release(slot);
    rig.settle();
    assert_eq!(rig.server.residue(), before);
}

/// The writer is part of the public surface that this suite leans on.
#[test]
fn a_value_written_by_hand_is_the_one_that_json_writes() {
    let mut writer = Writer::new();
    writer.map(1);
    writer.str("id");
    writer.str("1");
    assert_eq!(writer.into_bytes(), from_json(r#"{"id":"1"}"#).unwrap());
}

const TODO: &str = r#"{ "type": "object", "properties": { "id": { "type": "string" }, "n": { "type": "integer" } },
    "required": ["id"], "additionalProperties": false }"#;

fn add_gate(rig: &mut Rig, index: usize, dialect: Dialect) -> GateId {
    let schema = from_json(TODO).unwrap();
    let schema = EncodedValue::check(&schema).unwrap();
    rig.peers[index].client.add_gate(schema, dialect, Box::new(())).unwrap()
}

fn gated_todos(rig: &mut Rig, index: usize, dialect: Dialect) -> SlotId {
    let gate = add_gate(rig, index, dialect);
    let client = &mut rig.peers[index].client;
    let slot = client.subscribe_datastore("todos", Some(true), "id", true).unwrap();
    client.use_gate(slot, gate);
    rig.settle();
    slot
}

fn asked(rig: &Rig, index: usize) -> usize {
    rig.peers[index].changes.iter().filter(|change| matches!(change, Change::Judge { .. })).count()
}

/// The host of such a client must not be asked.
const NEVER: Gate = |value| panic!("the host was asked about {value}");

#[test]
fn a_compiled_gate_judges_rows_alone_and_says_where_a_bad_one_is_bad() {
    let mut rig = Rig::new();
    let (ada, bob) = (rig.connect(ANY), rig.connect(NEVER));
    todos(&mut rig, ada, false);
    for row in [r#"{"id":"1","n":1}"#, r#"{"id":"2","n":"two"}"#, r#"{"id":"3"}"#] {
        rig.set(ada, "todos", row);
    }
    let slot = gated_todos(&mut rig, bob, Dialect::Json);
    // From the snapshot.
    assert_eq!(rig.rows(bob, slot), [r#"{"id":"1","n":1}"#, r#"{"id":"3"}"#]);
    assert_eq!(rig.peers[bob].faults, [Fault { path: "/n".to_owned(), rule: "type" }]);
    // Live, each beside the row that is shown.
    rig.set(ada, "todos", r#"{"id":"1","n":2.5}"#);
    rig.set(ada, "todos", r#"{"id":"3","title":"?"}"#);
    rig.set(ada, "todos", r#"{"id":"1","n":3}"#);
    assert_eq!(rig.rows(bob, slot), [r#"{"id":"1","n":3}"#, r#"{"id":"3"}"#]);
    let faults: Vec<_> =
        rig.peers[bob].faults.iter().map(|fault| (fault.path.as_str(), fault.rule)).collect();
    assert_eq!(faults, [("/n", "type"), ("/n", "type"), ("/title", "additionalProperties")]);
    assert_eq!(rig.peers[bob].client.stats(slot).parse_errors, 3);
    assert_eq!(rig.peers[bob].client.status(slot), Status::Ok);
}

#[test]
fn a_gate_of_a_library_asks_the_host_about_what_it_is_not_sure_of() {
    let mut rig = Rig::new();
    let (ada, bob) = (rig.connect(ANY), rig.connect(|value| !value.contains("bad")));
    todos(&mut rig, ada, false);
    rig.set(ada, "todos", r#"{"id":"1","n":1}"#);
    rig.set(ada, "todos", r#"{"id":"2","more":true}"#);
    rig.set(ada, "todos", r#"{"id":"3","bad":true}"#);
    let slot = gated_todos(&mut rig, bob, Dialect::Library);
    assert_eq!(rig.rows(bob, slot), [r#"{"id":"1","n":1}"#, r#"{"id":"2","more":true}"#]);
    assert_eq!(asked(&rig, bob), 2);
    // What the host let in says nothing about the bytes that stayed the same.
    rig.set(ada, "todos", r#"{"id":"2","more":true,"n":2}"#);
    assert_eq!(asked(&rig, bob), 3);
    rig.set(ada, "todos", r#"{"id":"1","n":2}"#);
    assert_eq!((asked(&rig, bob), rig.peers[bob].faults.len()), (3, 0));
    assert_eq!(rig.rows(bob, slot), [r#"{"id":"1","n":2}"#, r#"{"id":"2","more":true,"n":2}"#]);
}

#[test]
fn a_compiled_gate_judges_objects_and_keeps_the_last_good_value() {
    let mut rig = Rig::new();
    let (ada, bob) = (rig.connect(ANY), rig.connect(NEVER));
    let gate = add_gate(&mut rig, bob, Dialect::Json);
    assert_eq!(gate, add_gate(&mut rig, bob, Dialect::Json), "the same schema is the same gate");
    assert_ne!(gate, add_gate(&mut rig, bob, Dialect::Library));
    let slot = rig.peers[bob].client.subscribe_object("todo", true).unwrap();
    rig.peers[bob].client.use_gate(slot, gate);
    rig.settle();
    let put = |rig: &mut Rig, json: &str| {
        let bytes = from_json(json).unwrap();
        rig.peers[ada].client.put(rig.now, "todo", EncodedValue::check(&bytes).unwrap()).unwrap();
        rig.settle();
    };
    put(&mut rig, r#"{"id":"1","n":1}"#);
    put(&mut rig, r#"{"id":"1","n":"1"}"#);
    assert_eq!(rig.object(bob, slot).as_deref(), Some(r#"{"id":"1","n":1}"#));
    // Once as a receipt, and once more as the answer to the recovery that it started.
    assert_eq!(rig.peers[bob].faults, vec![Fault { path: "/n".to_owned(), rule: "type" }; 2]);
    put(&mut rig, r#"{"id":"1","n":2}"#);
    assert_eq!(rig.object(bob, slot).as_deref(), Some(r#"{"id":"1","n":2}"#));
    rig.peers[ada].client.delete(rig.now, "todo").unwrap();
    rig.settle();
    assert_eq!(rig.object(bob, slot), None);
}
