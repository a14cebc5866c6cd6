//! Datastores: their lifetimes, their order, and what a subscriber is told.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::{collections::BTreeMap, time::Duration};

use server_rig::{Inbox, Rig, datastore, large_record, record};
use tidewire::{
    protocol::{
        Answer, ClientMessage, EncodedValue, ErrorCode, Open, Operation, Position, Sequence, ServerMessage,
        Target, limits::MAX_FRAME_BYTES,
    },
    server::{Residue, WriteError},
};

const HOUR: Duration = Duration::from_secs(3_600);
const TEMPORARY: Open<'static> = Open { permanent: false, primary: "id" };
const PERMANENT: Open<'static> = Open { permanent: true, primary: "id" };

fn value(bytes: &[u8]) -> EncodedValue<'_> {
    EncodedValue::check(bytes).unwrap()
}

/// A collection as a client keeps it: rows by key, from pages, tails and envelopes.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Table {
    rows: BTreeMap<String, (u64, Option<Vec<u8>>)>,
    next: Option<String>,
}

impl Table {
    fn take(&mut self, inbox: &Inbox) {
        for message in inbox.messages() {
            match message {
                ServerMessage::Answer { answer: Answer::Page { rows, next, .. }, .. } => {
                    for row in rows {
                        let bytes = row.value.as_bytes().to_vec();
                        self.put(row.key, row.sequence.get(), Some(bytes));
                    }
                    self.next = next.map(str::to_owned);
                }
                ServerMessage::Envelope { sequence, key: Some(key), value, .. } => {
                    self.put(key, sequence.get(), value.map(|value| value.as_bytes().to_vec()));
                }
                _ => {}
            }
        }
    }

    fn put(&mut self, key: &str, sequence: u64, value: Option<Vec<u8>>) {
        if self.rows.get(key).is_none_or(|(known, _)| *known < sequence) {
            self.rows.insert(key.to_owned(), (sequence, value));
        }
    }

    fn live(&self) -> BTreeMap<String, Vec<u8>> {
        let live =
            |(key, (_, value)): (&String, &(u64, Option<Vec<u8>>))| Some((key.clone(), value.clone()?));
        self.rows.iter().filter_map(live).collect()
    }
}

fn authority(rig: &Rig, id: &str) -> BTreeMap<String, Vec<u8>> {
    let records = rig.server.snapshot(rig.now, id).unwrap().unwrap().records;
    records.into_iter().map(|record| (record.key.to_string(), record.value.to_vec())).collect()
}

#[test]
fn an_empty_id_becomes_a_fresh_public_one_of_24_hex_digits() {
    let mut rig = Rig::new();
    let first = rig.server.open_datastore(rig.now, "", TEMPORARY, None).unwrap().id;
    let second = rig.server.open_datastore(rig.now, "", TEMPORARY, None).unwrap().id;
    assert_ne!(first, second);
    assert_eq!(first.len(), 24);
    assert!(first.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
}

#[test]
fn a_datastore_is_temporary_for_an_hour_and_named_by_id_unless_opened_otherwise() {
    let mut rig = Rig::new();
    let plain = Open { permanent: false, primary: "" };
    let opened = rig.server.open_datastore(rig.now, "d", plain, None).unwrap();
    assert_eq!((&*opened.primary, opened.expires), ("id", Some(rig.now + HOUR)));
    let brief = rig.server.open_datastore(rig.now, "brief", plain, Some(Duration::from_secs(1))).unwrap();
    assert_eq!(brief.expires, Some(rig.now + Duration::from_secs(1)));
    let zero = rig.server.open_datastore(rig.now, "zero", plain, Some(Duration::ZERO)).unwrap();
    assert_eq!(zero.expires, Some(rig.now + HOUR));
    let permanent = rig.server.open_datastore(rig.now, "p", PERMANENT, Some(Duration::from_secs(1))).unwrap();
    assert_eq!(permanent.expires, None);
}

#[test]
fn reopening_a_live_datastore_returns_it_as_it_is() {
    let mut rig = Rig::new();
    let first = rig.server.open_datastore(rig.now, "d", TEMPORARY, None).unwrap();
    let position = rig.set("d", "a", 1);
    let other = Open { permanent: true, primary: "other" };
    let again = rig.server.open_datastore(rig.now, "d", other, None).unwrap();
    assert_eq!((again.primary, again.expires, again.position), (first.primary, first.expires, position));
}

#[test]
fn an_expired_datastore_is_gone_at_once_and_reopened_under_a_new_epoch() {
    let mut rig = Rig::new();
    let first = rig.server.open_datastore(rig.now, "d", TEMPORARY, None).unwrap();
    let last = rig.set("d", "a", 1);
    rig.now = first.expires.unwrap();
    assert!(rig.server.record(rig.now, "d", "a").unwrap().is_some());
    rig.now = rig.now + Duration::from_millis(1);
    assert_eq!(rig.server.datastore(rig.now, "d").unwrap(), None);
    assert_eq!(rig.server.record(rig.now, "d", "a").unwrap(), None);
    let bytes = record("a", 2);
    assert_eq!(rig.server.set(rig.now, "d", value(&bytes)), Err(WriteError::NoDatastore));
    let second = rig.server.open_datastore(rig.now, "d", TEMPORARY, None).unwrap();
    assert_ne!(second.position.epoch, last.epoch);
    assert_eq!(second.position.sequence.get(), 0);
    assert_eq!(rig.server.snapshot(rig.now, "d").unwrap().unwrap().records, []);
}

#[test]
fn the_janitor_purges_the_expired_and_tells_their_subscribers() {
    let mut rig = Rig::new();
    rig.server.open_datastore(rig.now, "d", TEMPORARY, None).unwrap();
    rig.open("kept");
    rig.set("d", "a", 1);
    let client = rig.client("c");
    rig.subscribe(client, 1, datastore("d"), None);
    rig.subscribe(client, 2, datastore("kept"), None);
    for _ in 0..200 {
        rig.advance(Duration::from_secs(20));
        rig.send(client, &ClientMessage::Ping);
    }
    assert_eq!(rig.take(client).codes(), [ErrorCode::NotFound.number()]);
    assert_eq!(rig.server.residue().topics, 1);
    assert!(rig.server.datastore(rig.now, "kept").unwrap().is_some());
}

#[test]
fn a_reopened_datastore_answers_its_subscribers_anew_with_its_lineage() {
    let mut rig = Rig::new();
    rig.server.open_datastore(rig.now, "d", TEMPORARY, Some(Duration::from_secs(5))).unwrap();
    let last = rig.set("d", "a", 1);
    let client = rig.client("c");
    let before = rig.subscribe(client, 7, datastore("d"), None).answer().0;
    rig.now = rig.now + Duration::from_secs(6);
    rig.server.open_datastore(rig.now, "d", TEMPORARY, None).unwrap();
    rig.commit().unwrap();
    let inbox = rig.take(client);
    match inbox.one() {
        ServerMessage::Answer {
            subscription: 7,
            attempt: 0,
            topic,
            epoch,
            answer: Answer::Page { rows, lineage, .. },
        } => {
            assert_ne!((topic, epoch), (before, last.epoch));
            assert!(rows.is_empty());
            assert_eq!(lineage.entries(), [last]);
        }
        other => panic!("{other:?}"),
    }
    rig.set("d", "b", 2);
    assert_eq!(rig.take(client).envelopes().len(), 1);
    assert_eq!(rig.server.residue().topics, 1);
}

#[test]
fn a_deleted_record_is_gone_its_name_is_free_and_the_sequence_goes_on() {
    let mut rig = Rig::new();
    rig.open("d");
    rig.set("d", "a", 1);
    let read = rig.server.record(rig.now, "d", "a").unwrap().unwrap();
    rig.set("d", "b", 1);
    let deleted = rig.server.remove(rig.now, "d", "a").unwrap().unwrap();
    assert_eq!(deleted.sequence.get(), 3);
    assert_eq!(rig.server.record(rig.now, "d", "a").unwrap(), None);
    assert_eq!(rig.server.remove(rig.now, "d", "a").unwrap(), None);
    assert_eq!(rig.server.remove(rig.now, "d", "never").unwrap(), None);
    assert_eq!(rig.set("d", "a", 2).sequence.get(), 4);
    // What was read before is a copy.
    assert_eq!((read.sequence.get(), &*read.value), (1, &*record("a", 1)));
    let again = rig.server.record(rig.now, "d", "a").unwrap().unwrap();
    assert_eq!((again.sequence.get(), &*again.value), (4, &*record("a", 2)));
}

#[test]
fn whoever_unsubscribes_hears_nothing_more_and_whoever_disconnects_leaves_everything() {
    let mut rig = Rig::new();
    rig.open("d");
    rig.open("e");
    let (leaves, stays) = (rig.client("leaves"), rig.client("stays"));
    for client in [leaves, stays] {
        rig.subscribe(client, 1, datastore("d"), None);
        rig.subscribe(client, 2, datastore("e"), None);
    }
    // Twice, as a subscription that is gone can be ended again.
    for _ in 0..2 {
        rig.send(leaves, &ClientMessage::Unsubscribe(1));
    }
    for id in ["d", "e"] {
        rig.set(id, "a", 1);
    }
    assert_eq!(rig.take(leaves).envelopes().len(), 1);
    assert_eq!(rig.take(stays).envelopes().len(), 2);
    rig.server.handle_disconnect(rig.now, leaves);
    rig.server.handle_disconnect(rig.now, stays);
    assert_eq!(rig.server.residue(), Residue::default());
    rig.set("d", "a", 2);
    assert!(rig.take(leaves).messages().is_empty());
}

#[test]
fn an_expired_datastore_is_refused_to_everything_that_does_not_open_it() {
    let mut rig = Rig::new();
    let opened = rig.server.open_datastore(rig.now, "d", TEMPORARY, Some(HOUR)).unwrap();
    rig.set("d", "a", 1);
    let client = rig.client("c");
    rig.subscribe(client, 1, datastore("d"), None);
    rig.now = opened.expires.unwrap() + Duration::from_millis(1);
    rig.send(client, &ClientMessage::Ping);
    rig.take(client);
    let gone = [ErrorCode::NotFound.number()];
    let bytes = record("a", 2);
    let set = Operation::Set { datastore: "d", value: value(&bytes) };
    assert_eq!(rig.write(client, 1, set).codes(), gone);
    assert_eq!(rig.write(client, 2, Operation::Remove { datastore: "d", key: "a" }).codes(), gone);
    rig.send(client, &ClientMessage::Refetch { subscription: 1, attempt: 1, position: None });
    assert_eq!(rig.take(client).codes(), gone);
    assert_eq!(rig.subscribe(client, 2, datastore("d"), None).codes(), gone);
    assert_eq!(rig.server.snapshot(rig.now, "d").unwrap(), None);
    assert_eq!(rig.server.remove(rig.now, "d", "a"), Err(WriteError::NoDatastore));
}

#[test]
fn an_expired_datastore_may_come_back_permanent_under_a_new_epoch_and_then_stays() {
    let mut rig = Rig::new();
    rig.server.open_datastore(rig.now, "d", TEMPORARY, Some(HOUR)).unwrap();
    let last = rig.set("d", "a", 1);
    rig.now = rig.now + 2 * HOUR;
    let opened = rig.server.open_datastore(rig.now, "d", PERMANENT, Some(HOUR)).unwrap();
    assert_eq!(opened.expires, None);
    assert_ne!(opened.position.epoch, last.epoch);
    rig.commit().unwrap();
    assert_eq!(rig.set("d", "b", 1).sequence.get(), 1);
    rig.advance(100 * HOUR);
    rig.now = rig.now + 100_000 * HOUR;
    rig.server.handle_timeout(rig.now);
    rig.commit().unwrap();
    let mut rig = rig.restart();
    let records = rig.server.snapshot(rig.now, "d").unwrap().unwrap().records;
    assert_eq!(records.iter().map(|record| &*record.key).collect::<Vec<_>>(), ["b"]);
    let client = rig.client("c");
    let inbox = rig.subscribe(client, 1, datastore("d"), Some(last));
    assert!(matches!(inbox.answer().2, Answer::Page { lineage, .. } if lineage.entries() == [last]));
}

#[test]
fn what_the_janitor_has_purged_begins_anew_without_a_past() {
    let mut rig = Rig::new();
    let open = |rig: &mut Rig| rig.server.open_datastore(rig.now, "d", TEMPORARY, Some(HOUR)).unwrap();
    open(&mut rig);
    let last = rig.set("d", "a", 1);
    rig.advance(2 * HOUR);
    let opened = open(&mut rig);
    rig.commit().unwrap();
    assert_ne!(opened.position.epoch, last.epoch);
    assert_eq!(opened.position.sequence.get(), 0);
    let client = rig.client("c");
    let inbox = rig.subscribe(client, 1, datastore("d"), Some(last));
    assert!(
        matches!(inbox.answer().2, Answer::Page { rows, lineage, .. } if rows.is_empty() && lineage.entries().is_empty())
    );
}

#[test]
fn a_record_without_text_in_its_primary_field_is_refused_and_nothing_changes() {
    let mut rig = Rig::new();
    rig.open("d");
    let client = rig.client("c");
    for (json, request) in
        [r#"{"n":1}"#, r#"{"id":1}"#, r#"{"id":null}"#, r#"{"id":""}"#, r#"[]"#, r#""id""#].iter().zip(1..)
    {
        let bytes = tidewire::protocol::from_json(json).unwrap();
        let operation = Operation::Set { datastore: "d", value: value(&bytes) };
        assert_eq!(
            rig.write(client, request, operation).codes(),
            [ErrorCode::InvalidRequest.number()],
            "{json}"
        );
    }
    let bytes = record(&"k".repeat(1_025), 1);
    let operation = Operation::Set { datastore: "d", value: value(&bytes) };
    assert_eq!(rig.write(client, 99, operation).codes(), [ErrorCode::LimitExceeded.number()]);
    assert_eq!(rig.server.datastore(rig.now, "d").unwrap().unwrap().position.sequence.get(), 0);
}

#[test]
fn writes_to_and_subscriptions_of_unknown_datastores_are_refused_but_a_subscription_may_open_one() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    let bytes = record("a", 1);
    let set = || Operation::Set { datastore: "d", value: value(&bytes) };
    assert_eq!(rig.write(client, 1, set()).codes(), [ErrorCode::NotFound.number()]);
    assert_eq!(rig.subscribe(client, 1, datastore("d"), None).codes(), [ErrorCode::NotFound.number()]);
    assert_eq!(rig.server.residue().subscriptions, 0);
    let opening = Target::Datastore { id: "d", open: Some(TEMPORARY) };
    assert!(matches!(rig.subscribe(client, 1, opening, None).answer().2, Answer::Page { .. }));
    assert!(rig.write(client, 2, set()).ack().is_some());
}

#[test]
fn the_last_arrival_wins_and_every_change_counts_up_deletions_too() {
    let mut rig = Rig::new();
    rig.open("d");
    let (first, second) = (rig.client("first"), rig.client("second"));
    let watcher = rig.client("watcher");
    rig.subscribe(watcher, 1, datastore("d"), None);
    let (one, two) = (record("a", 1), record("a", 2));
    let set = |bytes| ClientMessage::Write {
        request: 1,
        operation: Operation::Set { datastore: "d", value: value(bytes) },
    };
    rig.feed(first, &[set(&one)]);
    rig.feed(second, &[set(&two)]);
    let remove = || Operation::Remove { datastore: "d", key: "a" };
    rig.feed(first, &[ClientMessage::Write { request: 2, operation: remove() }]);
    rig.commit().unwrap();
    let key = Some("a".to_owned());
    assert_eq!(
        rig.take(watcher).envelopes(),
        [(1, key.clone(), Some(one)), (2, key.clone(), Some(two)), (3, key, None)]
    );
    rig.take(first);
    assert_eq!(rig.write(first, 3, remove()).ack(), None);
    assert_eq!(rig.server.datastore(rig.now, "d").unwrap().unwrap().position.sequence.get(), 3);
}

#[test]
fn a_snapshot_is_in_the_order_of_the_sequences_with_its_position() {
    let mut rig = Rig::new();
    rig.open("d");
    for (key, n) in [("b", 1), ("a", 2), ("c", 3), ("b", 4)] {
        rig.set("d", key, n);
    }
    let snapshot = rig.server.snapshot(rig.now, "d").unwrap().unwrap();
    let order: Vec<_> = snapshot.records.iter().map(|record| (&*record.key, record.sequence.get())).collect();
    assert_eq!(order, [("a", 2), ("c", 3), ("b", 4)]);
    assert_eq!(snapshot.position.sequence.get(), 4);
}

#[test]
fn a_resume_is_answered_with_current_a_tail_or_a_snapshot() {
    let mut rig = Rig::new();
    rig.open("d");
    let mut table = Table::default();
    let client = rig.client("c");
    table.take(&rig.subscribe(client, 1, datastore("d"), None));
    let seen = rig.set("d", "a", 1);
    table.take(&rig.take(client));
    rig.server.handle_disconnect(rig.now, client);

    let client = rig.client("c");
    assert!(matches!(rig.subscribe(client, 1, datastore("d"), Some(seen)).answer().2, Answer::Current));
    rig.server.handle_disconnect(rig.now, client);
    for n in 2..=4 {
        rig.set("d", "a", n);
        rig.set("d", "b", n);
    }
    rig.server.remove(rig.now, "d", "b").unwrap();

    let client = rig.client("c");
    let inbox = rig.subscribe(client, 1, datastore("d"), Some(seen));
    assert!(matches!(inbox.answer().2, Answer::Tail { count: 2 }));
    let steps: Vec<_> = inbox
        .messages()
        .iter()
        .filter_map(|message| match message {
            ServerMessage::Envelope { sequence, prev, .. } => Some((prev.map(Sequence::get), sequence.get())),
            _ => None,
        })
        .collect();
    // The record that changed three times comes once; each step names the one before.
    assert_eq!(steps, [(Some(1), 6), (Some(6), 8)]);
    table.take(&inbox);
    assert_eq!(table.live(), authority(&rig, "d"));

    let head = rig.server.datastore(rig.now, "d").unwrap().unwrap().position;
    let beyond = Position { sequence: head.sequence.next().unwrap(), ..head };
    let foreign = Position { epoch: tidewire::protocol::Epoch::from_bytes([9; 16]), ..seen };
    for position in [beyond, foreign] {
        let inbox = rig.subscribe(client, 1, datastore("d"), Some(position));
        assert!(matches!(inbox.answer().2, Answer::Page { .. }), "{position:?}");
    }
}

#[test]
fn a_resume_from_before_the_kept_deletions_gets_a_snapshot() {
    let mut rig = Rig::new();
    rig.open("d");
    let seen = rig.set("d", "a", 1);
    let fill = |rig: &mut Rig, count: usize| {
        for n in 0..count {
            let key = format!("k{n}");
            rig.server.set(rig.now, "d", value(&record(&key, 1))).unwrap();
            rig.server.remove(rig.now, "d", &key).unwrap();
        }
        rig.commit().unwrap();
    };
    let client = rig.client("c");
    fill(&mut rig, 500);
    let inbox = rig.subscribe(client, 1, datastore("d"), Some(seen));
    assert!(matches!(inbox.answer().2, Answer::Tail { count: 500 }));
    fill(&mut rig, 3_000);
    let inbox = rig.subscribe(client, 1, datastore("d"), Some(seen));
    assert!(matches!(inbox.answer().2, Answer::Page { .. }));
}

#[test]
fn a_refetch_is_answered_under_its_attempt() {
    let mut rig = Rig::new();
    rig.open("d");
    let seen = rig.set("d", "a", 1);
    let client = rig.client("c");
    rig.subscribe(client, 1, datastore("d"), None);
    rig.set("d", "b", 1);
    rig.take(client);
    rig.send(client, &ClientMessage::Refetch { subscription: 1, attempt: 9, position: Some(seen) });
    let inbox = rig.take(client);
    assert!(matches!(
        inbox.messages()[0],
        ServerMessage::Answer { attempt: 9, answer: Answer::Tail { count: 1 }, .. }
    ));
    rig.send(client, &ClientMessage::Refetch { subscription: 1, attempt: 10, position: None });
    assert!(matches!(
        rig.take(client).one(),
        ServerMessage::Answer { attempt: 10, answer: Answer::Page { .. }, .. }
    ));
}

#[test]
fn pages_and_the_changes_between_them_make_the_whole_whatever_moves_meanwhile() {
    let mut rig = Rig::new();
    rig.open("d");
    for n in 0..60 {
        let bytes = large_record(&format!("k{n:02}"), 30_000);
        rig.server.set(rig.now, "d", value(&bytes)).unwrap();
    }
    rig.commit().unwrap();
    let client = rig.client("c");
    let mut table = Table::default();
    let inbox = rig.subscribe(client, 1, datastore("d"), None);
    let Answer::Page { sequence, .. } = inbox.answer().2 else { panic!("no page") };
    let snapshot = sequence;
    table.take(&inbox);
    let mut pages = 1;
    while let Some(cursor) = table.next.clone() {
        // Rows of pages sent, of this one and of later ones change, vanish and come.
        rig.set("d", &format!("k{:02}", pages * 7), 1);
        rig.set("d", &format!("k{:02}", 59 - pages), 2);
        rig.server.remove(rig.now, "d", &format!("k{:02}", 40 + pages)).unwrap();
        rig.set("d", &format!("new{pages}"), 3);
        rig.send(client, &ClientMessage::Page { subscription: 1, attempt: 0, cursor: &cursor });
        let inbox = rig.take(client);
        let page = inbox.answer().2;
        assert!(matches!(page, Answer::Page { sequence, .. } if sequence == snapshot));
        table.take(&inbox);
        pages += 1;
    }
    assert!(pages > 5, "{pages}");
    assert_eq!(table.live(), authority(&rig, "d"));
}

#[test]
fn a_page_never_exceeds_a_frame_even_with_tiny_or_largest_records() {
    let mut rig = Rig::new();
    rig.open("tiny");
    for n in 0..30_000 {
        rig.server.set(rig.now, "tiny", value(&record(&n.to_string(), 1))).unwrap();
    }
    rig.open("large");
    for n in 0..4 {
        let bytes = large_record(&n.to_string(), 262_000);
        rig.server.set(rig.now, "large", value(&bytes)).unwrap();
    }
    rig.commit().unwrap();
    for id in ["tiny", "large"] {
        let client = rig.client("c");
        let mut table = Table::default();
        rig.send(
            client,
            &ClientMessage::Subscribe(vec![tidewire::protocol::Subscription {
                id: 1,
                target: datastore(id),
                position: None,
            }]),
        );
        loop {
            let inbox = rig.take(client);
            let mut writer = tidewire::protocol::Writer::new();
            inbox.one().encode(&mut writer);
            assert!(writer.len() <= MAX_FRAME_BYTES);
            table.take(&inbox);
            let Some(cursor) = table.next.clone() else { break };
            rig.send(client, &ClientMessage::Page { subscription: 1, attempt: 0, cursor: &cursor });
        }
        assert_eq!(table.live(), authority(&rig, id));
    }
}

#[test]
fn a_cursor_of_another_session_is_refused() {
    let mut rig = Rig::new();
    rig.open("d");
    for n in 0..4 {
        let bytes = large_record(&n.to_string(), 200_000);
        rig.server.set(rig.now, "d", value(&bytes)).unwrap();
    }
    rig.commit().unwrap();
    let first = rig.client("c");
    let mut table = Table::default();
    table.take(&rig.subscribe(first, 1, datastore("d"), None));
    let cursor = table.next.unwrap();
    let second = rig.client("d");
    rig.subscribe(second, 1, datastore("d"), None);
    rig.send(second, &ClientMessage::Page { subscription: 1, attempt: 0, cursor: &cursor });
    assert_eq!(rig.take(second).codes(), [ErrorCode::InvalidRequest.number()]);
    rig.send(first, &ClientMessage::Page { subscription: 1, attempt: 0, cursor: &cursor });
    assert!(matches!(rig.take(first).answer().2, Answer::Page { .. }));
}

#[test]
fn a_page_of_a_datastore_that_was_replaced_meanwhile_ends_no_subscription() {
    let mut rig = Rig::new();
    let open = Open { permanent: false, primary: "id" };
    let target = Target::Datastore { id: "t", open: Some(open) };
    let client = rig.client("c");
    rig.subscribe(client, 1, target, None);
    for n in 0..4 {
        let bytes = large_record(&n.to_string(), 200_000);
        rig.server.set(rig.now, "t", value(&bytes)).unwrap();
    }
    rig.commit().unwrap();
    let mut table = Table::default();
    table.take(&rig.subscribe(client, 1, target, None));
    rig.now = rig.now + Duration::from_secs(2 * 60 * 60);
    rig.server.open_datastore(rig.now, "t", open, None).unwrap();
    rig.commit().unwrap();
    assert!(matches!(rig.take(client).answer().2, Answer::Page { .. }), "the first page of the new one");
    let cursor = table.next.unwrap();
    rig.send(client, &ClientMessage::Page { subscription: 1, attempt: 0, cursor: &cursor });
    assert!(rig.take(client).messages().is_empty());
    rig.server.set(rig.now, "t", value(&record("a", 1))).unwrap();
    rig.commit().unwrap();
    assert_eq!(rig.take(client).envelopes().len(), 1);
}

#[test]
fn what_is_permanent_survives_a_restart_with_its_epoch_and_what_is_temporary_does_not() {
    let mut rig = Rig::new();
    rig.open("kept");
    let kept = rig.set("kept", "a", 1);
    rig.server.open_datastore(rig.now, "gone", TEMPORARY, None).unwrap();
    let gone = rig.set("gone", "a", 1);
    let put = rig.server.put(rig.now, "k", value(&record("k", 1))).unwrap();
    rig.commit().unwrap();
    let mut rig = rig.restart();
    assert_eq!(rig.server.datastore(rig.now, "gone").unwrap(), None);
    assert_eq!(rig.server.object("k").unwrap().unwrap().position, put);
    let client = rig.client("c");
    assert!(matches!(rig.subscribe(client, 1, datastore("kept"), Some(kept)).answer().2, Answer::Current));
    let next = rig.set("kept", "a", 2);
    assert_eq!((next.epoch, next.sequence.get()), (kept.epoch, 2));
    let opening = Target::Datastore { id: "gone", open: Some(TEMPORARY) };
    let inbox = rig.subscribe(client, 2, opening, Some(gone));
    let (_, epoch, answer) = inbox.answer();
    assert_ne!(epoch, gone.epoch);
    assert!(matches!(answer, Answer::Page { rows, .. } if rows.is_empty()));
}

#[test]
fn a_thousand_seeded_schedules_end_with_every_client_equal_to_the_authority() {
    for seed in 0..1_000_u64 {
        schedule(seed);
    }
}

/// Clients connect, page, lose their connection and resume while records come and go.
fn schedule(seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut rig = Rig::new();
    rig.open("d");
    let names = ["a", "b", "c"];
    let mut clients = names.map(|name| (rig.client(name), Table::default()));
    for (client, table) in &mut clients {
        table.take(&rig.subscribe(*client, 1, datastore("d"), None));
    }
    for _ in 0..60 {
        let key = format!("k{}", random(12));
        match random(8) {
            0..=3 => drop(rig.server.set(rig.now, "d", value(&large_record(&key, 40_000))).unwrap()),
            4 => drop(rig.server.remove(rig.now, "d", &key).unwrap()),
            5 => rig.commit().unwrap(),
            6 => {
                rig.commit().unwrap();
                let (client, table) = &mut clients[usize::try_from(random(3)).unwrap()];
                table.take(&rig.take(*client));
                if let Some(cursor) = table.next.clone() {
                    rig.send(*client, &ClientMessage::Page { subscription: 1, attempt: 0, cursor: &cursor });
                    table.take(&rig.take(*client));
                }
            }
            _ => {
                // A connection breaks. A client in the middle of its pages begins anew, another one resumes.
                rig.commit().unwrap();
                let index = usize::try_from(random(3)).unwrap();
                let (client, table) = &mut clients[index];
                table.take(&rig.take(*client));
                rig.server.handle_disconnect(rig.now, *client);
                let head = rig.server.datastore(rig.now, "d").unwrap().unwrap().position;
                let position = if table.next.is_some() { None } else { Some(head) };
                rig.server.set(rig.now, "d", value(&record(&key, 7))).unwrap();
                *client = rig.client(names[index]);
                if position.is_none() {
                    *table = Table::default();
                }
                table.take(&rig.subscribe(*client, 1, datastore("d"), position));
            }
        }
    }
    rig.commit().unwrap();
    for (client, mut table) in clients {
        table.take(&rig.take(client));
        while let Some(cursor) = table.next.clone() {
            rig.send(client, &ClientMessage::Page { subscription: 1, attempt: 0, cursor: &cursor });
            table.take(&rig.take(client));
        }
        assert_eq!(table.live(), authority(&rig, "d"), "seed {seed}");
        rig.server.handle_disconnect(rig.now, client);
    }
    assert_eq!(rig.server.residue(), Residue::default());
}
