//! Writes: answered once however often they are sent, and never seen before they are kept.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::time::Duration;

use server_rig::{
    Rig, datastore,
    faulty::{Fault, Faulty},
    large_record, number, record,
};
use tidewire::{
    protocol::{
        Answer, ClientMessage, EncodedValue, ErrorCode, Open, Operation, RequestId, ServerMessage, Target,
    },
    server::{CommitError, Residue, storage::KEPT_REPLIES},
};

fn put(bytes: &[u8]) -> Operation<'_> {
    Operation::Put { key: "k", value: EncodedValue::check(bytes).unwrap() }
}

fn set(bytes: &[u8]) -> Operation<'_> {
    Operation::Set { datastore: "d", value: EncodedValue::check(bytes).unwrap() }
}

#[test]
fn a_repeated_request_gets_the_same_reply_and_does_not_run_again() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    let ack = rig.write(client, 1, put(&number(1))).ack();
    assert_eq!(ack.unwrap().sequence.get(), 1);
    assert_eq!(rig.write(client, 1, put(&number(1))).ack(), ack);
    // In one batch, and over another connection, too.
    let again = rig.client("c");
    let request = |request| ClientMessage::Write { request, operation: put(&[0x02]) };
    rig.feed(again, &[request(1), request(2), request(2)]);
    rig.commit().unwrap();
    let acks: Vec<_> = rig
        .take(again)
        .messages()
        .iter()
        .map(|message| match message {
            ServerMessage::Ack { request, position, .. } => (*request, position.unwrap().sequence.get()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(acks, [(1, 1), (2, 2), (2, 2)]);
    assert_eq!(rig.server.object("k").unwrap().unwrap().position.sequence.get(), 2);
    // Another client's request 1 is another request.
    let other = rig.client("other");
    assert_eq!(rig.write(other, 1, put(&number(3))).ack().unwrap().sequence.get(), 3);
}

#[test]
fn a_reply_survives_a_restart_with_its_effect() {
    let mut rig = Rig::new();
    rig.open("d");
    let client = rig.client("c");
    let ack = rig.write(client, 1, set(&record("a", 1))).ack();
    let mut rig = rig.restart();
    let client = rig.client("c");
    assert_eq!(rig.write(client, 1, set(&record("a", 1))).ack(), ack);
    assert_eq!(rig.write(client, 2, set(&record("a", 1))).ack().unwrap().sequence.get(), 2);
}

#[test]
fn a_refusal_is_repeated_too() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    assert_eq!(rig.write(client, 1, set(&record("a", 1))).codes(), [ErrorCode::NotFound.number()]);
    rig.open("d");
    assert_eq!(rig.write(client, 1, set(&record("a", 1))).codes(), [ErrorCode::NotFound.number()]);
    assert!(rig.write(client, 2, set(&record("a", 1))).ack().is_some());
}

#[test]
fn a_request_older_than_the_remembered_ones_is_expired_and_never_runs_again() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    for request in 1..=KEPT_REPLIES + 1 {
        let operation = put(&[0x01]);
        rig.feed(client, &[ClientMessage::Write { request, operation }]);
    }
    rig.commit().unwrap();
    rig.take(client);
    let head = |rig: &Rig| rig.server.object("k").unwrap().unwrap().position.sequence.get();
    let before = head(&rig);
    assert_eq!(rig.write(client, 1, put(&[0x01])).codes(), [ErrorCode::RequestExpired.number()]);
    assert_eq!(rig.write(client, 2, put(&[0x01])).ack().unwrap().sequence.get(), 2);
    assert_eq!(head(&rig), before);
    // After a day the others are forgotten as well.
    rig.server.handle_disconnect(rig.now, client);
    rig.advance(Duration::from_secs(26 * 3_600));
    let client = rig.client("c");
    assert_eq!(
        rig.write(client, KEPT_REPLIES + 1, put(&[0x01])).codes(),
        [ErrorCode::RequestExpired.number()]
    );
    assert!(rig.write(client, KEPT_REPLIES + 2, put(&[0x01])).ack().is_some());
    let wild: RequestId = u64::MAX;
    assert_eq!(rig.write(client, wild, put(&[0x01])).codes(), [ErrorCode::InvalidRequest.number()]);
}

#[test]
fn nothing_of_a_batch_is_sent_before_its_commit() {
    let mut rig = Rig::new();
    let (writer, watcher) = (rig.client("w"), rig.client("r"));
    rig.subscribe(watcher, 1, Target::Object("k"), None);
    rig.feed(writer, &[ClientMessage::Write { request: 1, operation: put(&[0x01]) }]);
    assert_eq!(rig.server.poll_transmit(), None);
    rig.commit().unwrap();
    assert!(rig.take(writer).ack().is_some());
    assert_eq!(rig.take(watcher).envelopes().len(), 1);
}

#[test]
fn a_failed_commit_refuses_every_write_of_its_batch_and_nobody_saw_any_of_it() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    rig.open("d");
    let (first, second, watcher) = (rig.client("1"), rig.client("2"), rig.client("w"));
    rig.subscribe(watcher, 1, datastore("d"), None);
    let temporary = Target::Datastore { id: "t", open: Some(Open { permanent: false, primary: "id" }) };
    rig.subscribe(watcher, 2, temporary, None);
    let kept = rig.write(first, 1, set(&record("a", 1))).ack().unwrap();
    rig.take(watcher);

    fault.set(Fault::Commit);
    let bytes = record("a", 2);
    rig.feed(first, &[ClientMessage::Write { request: 2, operation: set(&bytes) }, ClientMessage::Ping]);
    rig.feed(second, &[ClientMessage::Write { request: 1, operation: put(&[0x01]) }]);
    let to_temporary = Operation::Set { datastore: "t", value: EncodedValue::check(&bytes).unwrap() };
    rig.feed(second, &[ClientMessage::Write { request: 2, operation: to_temporary }]);
    assert!(matches!(rig.commit(), Err(CommitError::Undone(_))));
    let failed = ErrorCode::StorageFailed.number();
    let inbox = rig.take(first);
    assert_eq!(inbox.codes(), [failed]);
    assert!(inbox.messages().contains(&ServerMessage::Pong));
    assert_eq!(rig.take(second).codes(), [failed, failed]);
    assert!(rig.take(watcher).messages().is_empty());
    assert_eq!(rig.server.object("k").unwrap(), None);
    assert_eq!(rig.server.snapshot(rig.now, "t").unwrap().unwrap().records, []);
    assert_eq!(rig.server.datastore(rig.now, "d").unwrap().unwrap().position, kept);

    fault.set(Fault::None);
    // The same request runs now: its refusal said that it may be tried again.
    let ack = rig.write(first, 2, set(&record("a", 2))).ack().unwrap();
    assert_eq!(ack.sequence.get(), 2);
    assert_eq!(rig.take(watcher).envelopes(), [(2, Some("a".to_owned()), Some(record("a", 2)))]);
}

#[test]
fn a_repeated_request_whose_batch_is_undone_is_answered_by_what_it_did_and_not_refused() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    let client = rig.client("c");
    let ack = rig.write(client, 1, put(&number(1))).ack();
    let again = rig.client("c");
    fault.set(Fault::Commit);
    for request in [1, 2] {
        rig.feed(again, &[ClientMessage::Write { request, operation: put(&[0x02]) }]);
    }
    assert!(matches!(rig.commit(), Err(CommitError::Undone(_))));
    let inbox = rig.take(again);
    assert_eq!(inbox.ack(), ack);
    assert_eq!(inbox.codes(), [ErrorCode::StorageFailed.number()], "only request 2 did not run");
}

#[test]
fn a_clock_that_jumps_ten_years_ahead_does_not_make_a_request_of_a_moment_ago_run_again() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    let ack = rig.write(client, 1, put(&number(1))).ack();
    rig.now = rig.now + Duration::from_secs(10 * 365 * 24 * 60 * 60);
    rig.server.handle_timeout(rig.now);
    rig.commit().unwrap();
    let client = rig.client("c");
    assert_eq!(rig.write(client, 1, put(&number(1))).ack(), ack);
    assert_eq!(rig.server.object("k").unwrap().unwrap().position.sequence.get(), 1);
}

#[test]
fn a_failing_write_takes_the_whole_batch_along_and_subscriptions_of_it_are_denied() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    rig.open("d");
    let client = rig.client("c");
    fault.set(Fault::Record);
    let bytes = record("a", 1);
    let open = Some(Open { permanent: true, primary: "id" });
    rig.feed(
        client,
        &[
            ClientMessage::Write { request: 1, operation: put(&[0x01]) },
            ClientMessage::Write { request: 2, operation: set(&bytes) },
            ClientMessage::Subscribe(vec![tidewire::protocol::Subscription {
                id: 5,
                target: Target::Datastore { id: "new", open },
                position: None,
            }]),
        ],
    );
    assert!(matches!(rig.commit(), Err(CommitError::Undone(_))));
    let failed = ErrorCode::StorageFailed.number();
    assert_eq!(rig.take(client).codes(), [failed, failed, failed]);
    assert_eq!(rig.server.datastore(rig.now, "new").unwrap(), None);
    assert_eq!(rig.server.residue(), Residue { connections: 1, timers: 1, ..Residue::default() });
    fault.set(Fault::None);
    assert!(rig.write(client, 1, put(&[0x01])).ack().is_some());
}

#[test]
fn a_connection_whose_large_answer_was_undone_is_answered_again() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    rig.open("d");
    for n in 0..4 {
        let bytes = large_record(&n.to_string(), 200_000);
        rig.server.set(rig.now, "d", EncodedValue::check(&bytes).unwrap()).unwrap();
    }
    rig.commit().unwrap();
    let client = rig.client("c");
    rig.subscribe(client, 1, datastore("d"), None);
    let refetch = |attempt| ClientMessage::Refetch { subscription: 1, attempt, position: None };
    fault.set(Fault::Commit);
    rig.feed(client, &[ClientMessage::Write { request: 1, operation: put(&[0x01]) }, refetch(1)]);
    assert!(matches!(rig.server.commit(rig.now), Err(CommitError::Undone(_))));
    fault.set(Fault::None);
    let failed = ErrorCode::StorageFailed.number();
    assert_eq!(rig.take(client).codes(), [failed, failed]);
    rig.send(client, &refetch(2));
    assert!(matches!(rig.take(client).answer().2, Answer::Page { .. }));
}

#[test]
fn heads_that_were_undone_do_not_show_in_beacons() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    rig.open("d");
    let client = rig.client("c");
    rig.subscribe(client, 1, datastore("d"), None);
    rig.set("d", "a", 1);
    fault.set(Fault::Commit);
    let bytes = record("a", 2);
    rig.server.set(rig.now, "d", EncodedValue::check(&bytes).unwrap()).unwrap();
    assert!(rig.commit().is_err());
    fault.set(Fault::None);
    rig.take(client);
    rig.advance(Duration::from_secs(10));
    let inbox = rig.take(client);
    match inbox.one() {
        ServerMessage::Beacon { heads, .. } => assert_eq!(heads[0].1.get(), 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_storage_that_cannot_go_back_is_reported_as_lost() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    fault.set(Fault::Rollback);
    rig.server.put(rig.now, "k", EncodedValue::NIL).unwrap();
    assert!(matches!(rig.commit(), Err(CommitError::Lost(_))));
}
