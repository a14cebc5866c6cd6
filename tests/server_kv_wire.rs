//! The kv store over the wire: transactions, questions, and watches of clients that read at their own pace.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use server_rig::{
    Inbox, Rig,
    faulty::{Fault, Faulty},
    kv::{HOUR, get, kv, set, set_for, text, value},
};
use tidewire::{
    protocol::{
        ClientMessage, EncodedValue, ErrorCode, KvChange, Operation, Query, Reader, ServerMessage,
        Subscription, SubscriptionId, Target, to_json,
    },
    server::{
        CommitError, ConnectionId, EVERY, Options, Residue, Server, WATCHER_CAPACITY, storage::Storage,
    },
};

fn watch<'a>(group: &'a str, key: &'a str) -> Target<'a> {
    Target::Watch { group, key }
}

/// A connection that watches everything as its subscription 1.
fn watching<S: Storage>(rig: &mut Rig<S>, client: &str) -> ConnectionId {
    let connection = rig.client(client);
    let inbox = rig.subscribe(connection, 1, watch(EVERY, EVERY), None);
    assert_eq!(inbox.one(), ServerMessage::Following { subscription: 1 });
    connection
}

/// Events and losses in words.
fn told(inbox: &Inbox) -> Vec<String> {
    let words = |message: ServerMessage<'_>| match message {
        ServerMessage::Event { subscription, kind, group, key, value, .. } => {
            // A text; a large one by its length.
            let value = value.map(|value| {
                let text = Reader::new(value.as_bytes()).str().unwrap();
                if text.len() < 20 { format!("={text}") } else { format!("={} bytes", text.len()) }
            });
            Some(format!("{subscription}: {} {group}/{key}{}", kind.name(), value.unwrap_or_default()))
        }
        ServerMessage::Dropped { subscription, count } => Some(format!("{subscription}: dropped {count}")),
        _ => None,
    };
    inbox.messages().into_iter().filter_map(words).collect()
}

/// The answer to a question as JSON, no value, or the error's code.
fn ask<S: Storage>(
    rig: &mut Rig<S>,
    connection: ConnectionId,
    about: Query<'_>,
) -> Result<Option<String>, u16> {
    rig.send(connection, &ClientMessage::Query { query: 7, about });
    match rig.take(connection).one() {
        ServerMessage::Result { query: 7, outcome: Ok(value) } => {
            Ok(value.map(|value| to_json(value).unwrap()))
        }
        ServerMessage::Result { query: 7, outcome: Err((code, message)) } => {
            assert!(!message.is_empty());
            Err(code)
        }
        other => panic!("{other:?}"),
    }
}

fn insert<'a>(group: &'a str, key: &'a str, bytes: &'a [u8]) -> KvChange<'a> {
    KvChange::Set { group, key, value: value(bytes), ttl: None }
}

#[test]
fn a_watch_is_answered_with_following_and_hears_what_comes_after() {
    let mut rig = Rig::new();
    set(&mut rig, "g", "k", "before");
    let connection = watching(&mut rig, "c");
    set(&mut rig, "g", "k", "1");
    let inbox = rig.take(connection);
    match inbox.one() {
        ServerMessage::Event { subscription: 1, group: "g", key: "k", value: Some(value), at, .. } => {
            assert_eq!(value.as_bytes(), text("1"));
            assert_eq!(at, rig.now.as_millis());
        }
        other => panic!("{other:?}"),
    }
    kv(&mut rig).delete("g", "k").unwrap();
    rig.commit().unwrap();
    set(&mut rig, "g", "j", "2");
    kv(&mut rig).delete_group("g").unwrap();
    rig.commit().unwrap();
    assert_eq!(told(&rig.take(connection)), ["1: delete g/k", "1: set g/j=2", "1: delete_group g/"]);
}

#[test]
fn a_write_is_told_after_its_commit_to_its_writer_too() {
    let mut rig = Rig::new();
    let (writer, other) = (watching(&mut rig, "w"), watching(&mut rig, "o"));
    let bytes = text("1");
    let operation = Operation::Kv(vec![insert("g", "k", &bytes)]);
    rig.feed(writer, &[ClientMessage::Write { request: 1, operation }]);
    assert_eq!(rig.server.poll_transmit(), None);
    rig.commit().unwrap();
    let inbox = rig.take(writer);
    assert_eq!(inbox.ack(), None, "the store has no positions");
    assert_eq!(told(&inbox), ["1: set g/k=1"]);
    assert_eq!(told(&rig.take(other)), ["1: set g/k=1"]);
}

#[test]
fn a_transaction_applies_whole_or_not_at_all_and_runs_once() {
    let mut rig = Rig::new();
    let connection = watching(&mut rig, "c");
    let (one, long) = (text("1"), "k".repeat(10_000));
    let bad = vec![insert("g", "a", &one), insert("g", &long, &one)];
    let refused = rig.write(connection, 1, Operation::Kv(bad));
    assert_eq!(refused.codes(), [ErrorCode::LimitExceeded.number()]);
    assert!(told(&refused).is_empty());
    assert_eq!(get(&mut rig, "g", "a"), None);
    let good = || Operation::Kv(vec![insert("g", "a", &one), KvChange::Delete { group: "g", key: "a" }]);
    assert_eq!(told(&rig.write(connection, 2, good())), ["1: set g/a=1", "1: delete g/a"]);
    let again = rig.write(connection, 2, good());
    assert_eq!((again.ack(), told(&again)), (None, Vec::new()));
    // Remembered with its effect.
    let mut rig = rig.restart();
    let connection = watching(&mut rig, "c");
    assert!(told(&rig.write(connection, 2, good())).is_empty());
}

#[test]
fn a_ttl_on_the_wire_is_in_milliseconds() {
    let mut rig = Rig::new();
    let connection = rig.client("c");
    let one = text("1");
    let set = KvChange::Set { group: "g", key: "k", value: value(&one), ttl: Some(1_000) };
    rig.write(connection, 1, Operation::Kv(vec![set]));
    let get = Query::KvGet { group: "g", key: "k" };
    assert_eq!(ask(&mut rig, connection, get), Ok(Some("\"1\"".to_owned())));
    rig.now = rig.now + std::time::Duration::from_secs(1);
    assert_eq!(ask(&mut rig, connection, get), Ok(None));
}

#[test]
fn questions_are_answered_and_change_nothing() {
    let mut rig = Rig::new();
    let connection = rig.client("c");
    set(&mut rig, "a:1", "x", "1");
    set(&mut rig, "a:1", "مرحبا", "2");
    set(&mut rig, "a:2", "", "3");
    set(&mut rig, "a%", "x", "4");
    set_for(&mut rig, "a:3", "expired", "5", HOUR);
    rig.now = rig.now + HOUR;
    let mut answer = |about| ask(&mut rig, connection, about).unwrap();
    assert_eq!(answer(Query::KvGet { group: "a:1", key: "x" }).unwrap(), "\"1\"");
    assert_eq!(answer(Query::KvGet { group: "a:1", key: "absent" }), None);
    assert_eq!(answer(Query::KvGet { group: "absent", key: "x" }), None);
    assert_eq!(answer(Query::KvGetAll { group: "a:1" }).unwrap(), r#"{"x":"1","مرحبا":"2"}"#);
    assert_eq!(answer(Query::KvGetAll { group: "a:3" }).unwrap(), "{}");
    assert_eq!(answer(Query::KvCount { group: "a:1" }).unwrap(), "2");
    assert_eq!(answer(Query::KvCountAll { prefix: "a:" }).unwrap(), "3");
    assert_eq!(answer(Query::KvCountAll { prefix: "a%" }).unwrap(), "1");
    assert_eq!(answer(Query::KvGroups { prefix: "a" }).unwrap(), r#"["a%","a:1","a:2"]"#);
    assert!(rig.server.is_idle());
}

#[test]
fn an_answer_that_is_no_value_any_more_is_refused_by_its_size() {
    let mut rig = Rig::new();
    let connection = rig.client("c");
    let half = "x".repeat(130_000);
    for key in ["a", "b", "c"] {
        set(&mut rig, "g", key, &half);
    }
    let limit = ErrorCode::LimitExceeded.number();
    assert_eq!(ask(&mut rig, connection, Query::KvGetAll { group: "g" }), Err(limit));
    assert!(ask(&mut rig, connection, Query::KvGet { group: "g", key: "a" }).unwrap().is_some());
}

#[test]
fn templates_of_clients_are_rendered_where_the_host_says_so() {
    let mut rig = Rig::new();
    set(&mut rig, "g", "name", "Ada");
    let connection = rig.client("c");
    let about = Query::KvRender { template: "Hello {{ name }}!", group: "g" };
    assert_eq!(ask(&mut rig, connection, about), Err(ErrorCode::Forbidden.number()));
    let storage = rig.server.into_storage().unwrap();
    let options = Options { renders_for_clients: true, ..Options::new([1; 32]) };
    let mut rig = Rig::with(Server::open(storage, options).unwrap());
    let connection = rig.client("c");
    if cfg!(feature = "render") {
        assert_eq!(ask(&mut rig, connection, about), Ok(Some("\"Hello Ada!\"".to_owned())));
        let missing = Query::KvRender { template: "{{ nme }}", group: "g" };
        assert_eq!(ask(&mut rig, connection, missing), Err(ErrorCode::InvalidRequest.number()));
        let no_group = Query::KvRender { template: "{{ name }}", group: "h" };
        assert_eq!(ask(&mut rig, connection, no_group), Err(ErrorCode::NotFound.number()));
    } else {
        assert_eq!(ask(&mut rig, connection, about), Err(ErrorCode::InvalidRequest.number()));
    }
}

#[test]
fn a_watch_of_a_name_that_nothing_can_have_is_denied() {
    let mut rig = Rig::new();
    let connection = rig.client("c");
    let long = "g".repeat(10_000);
    for target in [watch(&long, "k"), watch("g", &long)] {
        let inbox = rig.subscribe(connection, 1, target, None);
        assert_eq!(inbox.codes(), [ErrorCode::LimitExceeded.number()]);
    }
    rig.server.handle_disconnect(rig.now, connection);
    assert_eq!(rig.server.residue(), Residue::default());
}

#[test]
fn a_watch_has_no_history_to_ask_for() {
    let mut rig = Rig::new();
    let connection = watching(&mut rig, "c");
    rig.send(connection, &ClientMessage::Refetch { subscription: 1, attempt: 1, position: None });
    assert_eq!(rig.take(connection).codes(), [ErrorCode::NotFound.number()]);
    set(&mut rig, "g", "k", "1");
    assert_eq!(told(&rig.take(connection)), ["1: set g/k=1"], "and goes on all the same");
}

/// Fills what may be under way to a connection; the host reports only what it is told to.
fn clog<S: Storage>(rig: &mut Rig<S>) {
    rig.drains = false;
    set(rig, "clog", "k", &"x".repeat(256 * 1024 - 10));
}

#[test]
fn events_wait_while_the_connection_is_full_and_beyond_16_they_are_dropped_and_counted() {
    let mut rig = Rig::new();
    let (slow, other) = (watching(&mut rig, "slow"), rig.client("other"));
    rig.subscribe(other, 1, watch("g", EVERY), None);
    clog(&mut rig);
    assert_eq!(told(&rig.take(slow)), ["1: set clog/k=262134 bytes"]);
    for n in 0..WATCHER_CAPACITY + 5 {
        set(&mut rig, "g", "k", &n.to_string());
    }
    assert!(rig.take(slow).messages().is_empty());
    assert_eq!(told(&rig.take(other)).len(), 21, "a slow reader holds up nobody else");
    rig.server.handle_drained(rig.now, slow);
    rig.commit().unwrap();
    let inbox = told(&rig.take(slow));
    assert_eq!(inbox.len(), 17);
    assert_eq!(inbox[..2], ["1: set g/k=0", "1: set g/k=1"]);
    assert_eq!(inbox[15..], ["1: set g/k=15", "1: dropped 5"]);
    // What the client reads again now is at least as new as everything that it missed, and the next event is newer.
    let get = Query::KvGet { group: "g", key: "k" };
    assert_eq!(ask(&mut rig, slow, get), Ok(Some("\"20\"".to_owned())));
    set(&mut rig, "g", "k", "next");
    assert_eq!(told(&rig.take(slow)), ["1: set g/k=next"]);
}

#[test]
fn events_that_waited_leave_in_the_order_of_the_writes_over_all_watches() {
    let mut rig = Rig::new();
    let connection = watching(&mut rig, "c");
    rig.subscribe(connection, 2, watch("b", EVERY), None);
    rig.subscribe(connection, 3, watch("a", "k"), None);
    clog(&mut rig);
    rig.take(connection);
    for (group, n) in [("a", "1"), ("b", "2"), ("a", "3")] {
        set(&mut rig, group, "k", n);
    }
    rig.server.handle_drained(rig.now, connection);
    rig.commit().unwrap();
    assert_eq!(
        told(&rig.take(connection)),
        ["1: set a/k=1", "3: set a/k=1", "1: set b/k=2", "2: set b/k=2", "1: set a/k=3", "3: set a/k=3"]
    );
}

#[test]
fn events_that_left_with_an_undone_batch_are_not_lost() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    let connection = watching(&mut rig, "c");
    clog(&mut rig);
    rig.take(connection);
    set(&mut rig, "g", "k", "committed");
    fault.set(Fault::Commit);
    rig.server.handle_drained(rig.now, connection);
    kv(&mut rig).set("g", "k", value(&text("undone"))).unwrap();
    assert!(matches!(rig.commit(), Err(CommitError::Undone(_))));
    assert_eq!(told(&rig.take(connection)), ["1: set g/k=committed"]);
}

#[test]
fn a_failed_commit_refuses_writes_and_questions_and_no_watch_hears_of_it() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    let (writer, watcher) = (rig.client("w"), watching(&mut rig, "c"));
    fault.set(Fault::Commit);
    let one = text("1");
    let operation = Operation::Kv(vec![insert("g", "k", &one)]);
    let about = Query::KvGet { group: "g", key: "k" };
    rig.feed(
        writer,
        &[ClientMessage::Write { request: 1, operation }, ClientMessage::Query { query: 7, about }],
    );
    assert!(matches!(rig.commit(), Err(CommitError::Undone(_))));
    let failed = ErrorCode::StorageFailed.number();
    let inbox = rig.take(writer);
    assert_eq!(inbox.codes(), [failed]);
    let is_failure = |message: &ServerMessage<'_>| matches!(message, ServerMessage::Result { query: 7, outcome: Err((code, _)) } if *code == failed);
    assert_eq!(inbox.messages().iter().filter(|message| is_failure(message)).count(), 1);
    assert!(rig.take(watcher).messages().is_empty());
    fault.set(Fault::None);
    assert_eq!(ask(&mut rig, writer, about), Ok(None));
    // A watch that came with the undone batch stays.
    set(&mut rig, "g", "k", "2");
    assert_eq!(told(&rig.take(watcher)), ["1: set g/k=2"]);
}

#[test]
fn a_connection_that_was_filled_by_an_undone_batch_hears_again_of_everything() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    let connection = watching(&mut rig, "c");
    set(&mut rig, "g", "large", &"x".repeat(256 * 1024 - 10));
    rig.take(connection);
    rig.drains = false;
    fault.set(Fault::Commit);
    // The answers fill the connection and fall with the batch, and with them the frame that would have been reported.
    let about = Query::KvGet { group: "g", key: "large" };
    rig.feed(connection, &[7, 8].map(|query| ClientMessage::Query { query, about }));
    kv(&mut rig).set("g", "k", value(&text("undone"))).unwrap();
    assert!(matches!(rig.commit(), Err(CommitError::Undone(_))));
    rig.take(connection);
    fault.set(Fault::None);
    set(&mut rig, "g", "k", "1");
    assert_eq!(told(&rig.take(connection)), ["1: set g/k=1"]);
}

#[test]
fn a_departed_client_leaves_no_watcher_behind() {
    let mut rig = Rig::new();
    let connection = rig.client("c");
    let all: Vec<_> = (1..=100)
        .map(|id: SubscriptionId| Subscription { id, target: watch("g", EVERY), position: None })
        .collect();
    rig.send(connection, &ClientMessage::Subscribe(all));
    rig.take(connection);
    assert_eq!(rig.server.residue().subscriptions, 200);
    // Ended, replaced by another watch, replaced by something else.
    rig.send(connection, &ClientMessage::Unsubscribe(1));
    rig.subscribe(connection, 2, watch("h", EVERY), None);
    rig.subscribe(connection, 3, Target::Object("k"), None);
    assert_eq!(rig.server.residue().subscriptions, 198);
    clog(&mut rig);
    set(&mut rig, "g", "k", "1");
    let ids: Vec<_> =
        told(&rig.take(connection)).iter().map(|words| words.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 97, "each of the others once: {ids:?}");
    rig.server.handle_disconnect(rig.now, connection);
    set(&mut rig, "g", "k", "2");
    assert_eq!(rig.server.residue(), Residue::default());
}

#[test]
fn values_of_any_kind_pass_through_unchanged() {
    let mut rig = Rig::new();
    let connection = watching(&mut rig, "c");
    for (request, json) in (1..).zip(["null", "[1,[2]]", r#"{"a":{"b":null}}"#, "-7", "0.5"]) {
        let bytes = tidewire::protocol::from_json(json).unwrap();
        let inbox = rig.write(connection, request, Operation::Kv(vec![insert("g", "k", &bytes)]));
        let value = inbox.messages().into_iter().find_map(|message| match message {
            ServerMessage::Event { value, .. } => value.map(EncodedValue::as_bytes),
            _ => None,
        });
        assert_eq!(value, Some(&*bytes), "{json}");
        assert_eq!(
            ask(&mut rig, connection, Query::KvGet { group: "g", key: "k" }),
            Ok(Some(json.to_owned()))
        );
    }
}
