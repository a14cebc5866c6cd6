//! Merge pools: who wins, what is gathered, who gets the whole state, and what goes with whom.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::{collections::BTreeMap, time::Duration};

use server_rig::{
    Inbox, Rig, datastore,
    faulty::{Fault, Faulty},
    large_record, number,
    replica::Replica,
};
use tidewire::{
    protocol::{
        Answer, ClientMessage, EncodedValue, Epoch, ErrorCode, Open, OpenPool, Operation, Position, Sequence,
        ServerMessage, Subscription, Target, Writer, from_json,
        limits::{MAX_KEY_BYTES, MAX_POOL_FIELDS},
    },
    server::{CommitError, ConnectionId, Residue, Server, WriteError, storage::Storage},
};

const HOUR: Duration = Duration::from_secs(3_600);
const INTERVAL: Duration = Duration::from_millis(50);
const PLAIN: OpenPool = OpenPool { presence: false };
const PRESENCE: OpenPool = OpenPool { presence: true };

const fn pool(id: &str) -> Target<'_> {
    Target::Pool { id, open: None }
}

fn value(bytes: &[u8]) -> EncodedValue<'_> {
    EncodedValue::check(bytes).unwrap()
}

fn merging(bytes: &[u8]) -> Operation<'_> {
    Operation::Merge { pool: "p", fields: value(bytes) }
}

fn authority<S: Storage>(rig: &Rig<S>) -> BTreeMap<String, Vec<u8>> {
    let fields = rig.server.pool_fields(rig.now, "p").unwrap().unwrap().records;
    fields.into_iter().map(|field| (field.key.to_string(), field.value.to_vec())).collect()
}

fn names<S: Storage>(rig: &Rig<S>) -> Vec<String> {
    authority(rig).into_keys().collect()
}

/// A rig with the pool `p`.
fn rig(open: OpenPool) -> Rig {
    let mut rig = Rig::new();
    rig.server.open_pool(rig.now, "p", open, None).unwrap();
    rig.commit().unwrap();
    rig
}

/// Merges as the authority itself, without a commit.
fn merge<S: Storage>(
    server: &mut Server<S>,
    rig_now: tidewire::protocol::Timestamp,
    json: &str,
) -> Option<Position> {
    server.merge(rig_now, "p", value(&from_json(json).unwrap())).unwrap()
}

fn merge_now<S: Storage>(rig: &mut Rig<S>, json: &str) -> Option<Position> {
    let position = merge(&mut rig.server, rig.now, json);
    rig.commit().unwrap();
    position
}

/// Merges as a client; the answer is not looked at.
fn merge_as<S: Storage>(rig: &mut Rig<S>, client: ConnectionId, request: u64, json: &str) {
    let bytes = from_json(json).unwrap();
    rig.send(client, &ClientMessage::Write { request, operation: merging(&bytes) });
}

/// `prev` and sequence of every envelope.
fn steps(inbox: &Inbox) -> Vec<(Option<u64>, u64)> {
    let step = |message: ServerMessage<'_>| match message {
        ServerMessage::Envelope { sequence, prev, .. } => Some((prev.map(Sequence::get), sequence.get())),
        _ => None,
    };
    inbox.messages().into_iter().filter_map(step).collect()
}

// Lifetimes

#[test]
fn an_empty_id_becomes_a_fresh_public_one_of_24_hex_digits() {
    let mut rig = Rig::new();
    let first = rig.server.open_pool(rig.now, "", PLAIN, None).unwrap().id;
    let second = rig.server.open_pool(rig.now, "", PLAIN, None).unwrap().id;
    assert_ne!(first, second);
    assert_eq!(first.len(), 24);
    assert!(first.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
}

#[test]
fn a_pool_lives_for_an_hour_unless_opened_for_another_time() {
    let mut rig = Rig::new();
    let mut expires = |id, life| rig.server.open_pool(rig.now, id, PLAIN, life).unwrap().expires;
    assert_eq!(expires("plain", None), server_rig::START + HOUR);
    assert_eq!(expires("zero", Some(Duration::ZERO)), server_rig::START + HOUR);
    assert_eq!(expires("brief", Some(Duration::from_secs(1))), server_rig::START + Duration::from_secs(1));
}

#[test]
fn reopening_a_live_pool_returns_it_as_it_is() {
    let mut rig = rig(PLAIN);
    let position = merge_now(&mut rig, r#"{"a":1}"#).unwrap();
    let again = rig.server.open_pool(rig.now, "p", PRESENCE, Some(Duration::from_secs(1))).unwrap();
    assert_eq!(
        (again.presence, again.expires, again.position, again.fields),
        (false, rig.now + HOUR, position, 1)
    );
}

#[test]
fn an_expired_pool_is_gone_at_once_and_its_successor_has_a_new_epoch_that_its_followers_are_told() {
    let mut rig = Rig::new();
    let life = Duration::from_secs(5);
    rig.server.open_pool(rig.now, "p", PRESENCE, Some(life)).unwrap();
    let client = rig.client("c");
    rig.subscribe(client, 7, pool("p"), None);
    merge_as(&mut rig, client, 1, r#"{"a":1}"#);
    let last = rig.server.pool(rig.now, "p").unwrap().unwrap().position;
    rig.take(client);
    rig.now = rig.now + life;
    assert!(rig.server.pool(rig.now, "p").unwrap().is_some());
    rig.now = rig.now + Duration::from_millis(1);
    assert_eq!(rig.server.pool(rig.now, "p").unwrap(), None);
    assert_eq!(rig.server.pool_fields(rig.now, "p").unwrap(), None);
    let bytes = from_json(r#"{"a":2}"#).unwrap();
    assert_eq!(rig.server.merge(rig.now, "p", value(&bytes)), Err(WriteError::NoPool));
    let second = rig.server.open_pool(rig.now, "p", PLAIN, None).unwrap();
    rig.commit().unwrap();
    assert_ne!(second.position.epoch, last.epoch);
    assert_eq!((second.position.sequence.get(), second.fields, second.presence), (0, 0, false));
    match rig.take(client).one() {
        ServerMessage::Answer {
            subscription: 7,
            attempt: 0,
            epoch,
            answer: Answer::Page { rows, lineage, .. },
            ..
        } => {
            assert_eq!((epoch, lineage.entries()), (second.position.epoch, &[last][..]));
            assert!(rows.is_empty());
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.server.residue().ownerships, 0);
}

#[test]
fn the_janitor_purges_expired_pools_and_tells_their_subscribers() {
    let mut rig = rig(PRESENCE);
    let client = rig.client("c");
    rig.subscribe(client, 1, pool("p"), None);
    merge_as(&mut rig, client, 1, r#"{"a":1}"#);
    rig.take(client);
    for _ in 0..200 {
        rig.advance(Duration::from_secs(20));
        rig.send(client, &ClientMessage::Ping);
    }
    assert_eq!(rig.take(client).codes(), [ErrorCode::NotFound.number()]);
    let left = Residue { connections: 1, timers: 1, ..Residue::default() };
    assert_eq!(rig.server.residue(), left);
}

#[test]
fn a_pool_and_a_datastore_may_have_the_same_id() {
    let mut rig = rig(PLAIN);
    rig.open("p");
    rig.set("p", "a", 1);
    merge_now(&mut rig, r#"{"b":1}"#);
    assert_eq!(names(&rig), ["b"]);
    assert_eq!(rig.server.snapshot(rig.now, "p").unwrap().unwrap().records.len(), 1);
    let client = rig.client("c");
    let (_, table, _) = rig.subscribe(client, 1, datastore("p"), None).answer();
    let inbox = rig.subscribe(client, 2, pool("p"), None);
    let (_, fields, answer) = inbox.answer();
    assert_ne!(table, fields);
    assert!(matches!(answer, Answer::Page { rows, .. } if rows.len() == 1 && rows[0].key == "b"));
}

#[test]
fn unknown_pools_are_refused_but_a_subscription_may_open_one() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    let bytes = from_json(r#"{"a":1}"#).unwrap();
    assert_eq!(rig.write(client, 1, merging(&bytes)).codes(), [ErrorCode::NotFound.number()]);
    assert_eq!(rig.subscribe(client, 1, pool("p"), None).codes(), [ErrorCode::NotFound.number()]);
    assert_eq!(rig.server.residue().subscriptions, 0);
    let opening = Target::Pool { id: "p", open: Some(PRESENCE) };
    assert!(matches!(rig.subscribe(client, 1, opening, None).answer().2, Answer::Page { .. }));
    assert!(rig.server.pool(rig.now, "p").unwrap().unwrap().presence);
    assert!(rig.write(client, 2, merging(&bytes)).ack().is_some());
}

// Merging

#[test]
fn per_field_the_last_arrival_wins_and_nil_takes_a_field_away() {
    let mut rig = rig(PLAIN);
    let (first, second) = (rig.client("first"), rig.client("second"));
    merge_as(&mut rig, first, 1, r#"{"a":1,"b":1,"c":1}"#);
    merge_as(&mut rig, second, 1, r#"{"b":2,"c":null}"#);
    merge_as(&mut rig, first, 2, r#"{"a":3}"#);
    let expected = BTreeMap::from([("a".to_owned(), number(3)), ("b".to_owned(), number(2))]);
    assert_eq!(authority(&rig), expected);
    let about = rig.server.pool(rig.now, "p").unwrap().unwrap();
    assert_eq!((about.fields, about.position.sequence.get()), (2, 6));
    let fields = rig.server.pool_fields(rig.now, "p").unwrap().unwrap();
    let order: Vec<_> = fields.records.iter().map(|field| (&*field.key, field.sequence.get())).collect();
    assert_eq!(order, [("b", 4), ("a", 6)]);
}

#[test]
fn every_changed_field_has_its_sequence_and_a_merge_that_changes_nothing_has_none() {
    let mut rig = rig(PLAIN);
    let client = rig.client("c");
    let mut ack = |request, json| {
        let bytes = from_json(json).unwrap();
        rig.write(client, request, merging(&bytes)).ack().map(|position| position.sequence.get())
    };
    assert_eq!(ack(1, r#"{"a":1,"b":2,"c":3}"#), Some(3));
    assert_eq!(ack(2, r#"{"b":null,"unknown":null}"#), Some(4));
    assert_eq!(ack(3, r#"{"b":null}"#), None);
    assert_eq!(ack(4, "{}"), None);
}

#[test]
fn a_merge_over_a_limit_is_refused_with_its_field_and_limit_and_nothing_of_it_counts() {
    let mut rig = rig(PLAIN);
    let client = rig.client("c");
    merge_now(&mut rig, r#"{"a":1}"#);
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    let many = |count: usize, first: usize| {
        let mut writer = Writer::new();
        writer.map(count);
        for n in first..first + count {
            writer.str(&format!("f{n}"));
            writer.u64(1);
        }
        writer.into_bytes()
    };
    let cases = [
        (from_json("[1]").unwrap(), WriteError::NoFields),
        (from_json("null").unwrap(), WriteError::NoFields),
        (from_json(r#"{"b":1,"":2}"#).unwrap(), WriteError::BadKey { field: "field", length: 0 }),
        (
            from_json(&format!(r#"{{"b":1,"{long}":2}}"#)).unwrap(),
            WriteError::BadKey { field: "field", length: MAX_KEY_BYTES + 1 },
        ),
        (many(MAX_POOL_FIELDS, 0), WriteError::TooManyFields { count: MAX_POOL_FIELDS + 1 }),
        (many(MAX_POOL_FIELDS + 7, 0), WriteError::TooManyFields { count: MAX_POOL_FIELDS + 8 }),
    ];
    for ((bytes, error), request) in cases.iter().zip(1..) {
        assert_eq!(rig.server.merge(rig.now, "p", value(bytes)), Err(error.clone()));
        assert_eq!(rig.write(client, request, merging(bytes)).codes(), [error.code().number()]);
        assert!(!error.to_string().ends_with('.') && error.to_string().contains('`'), "{error}");
    }
    assert_eq!(authority(&rig), BTreeMap::from([("a".to_owned(), number(1))]));
    let large = large_record("k", 262_144);
    let refused = rig.server.merge(rig.now, "p", EncodedValue::trusted(&large));
    assert!(matches!(refused, Err(WriteError::TooLarge { field: "fields", .. })));
    // Up to the limit they fit, and what goes makes room.
    let bytes = many(MAX_POOL_FIELDS - 1, 0);
    assert!(rig.server.merge(rig.now, "p", value(&bytes)).is_ok());
    assert!(rig.server.merge(rig.now, "p", value(&from_json(r#"{"b":1}"#).unwrap())).is_err());
    assert!(rig.server.merge(rig.now, "p", value(&from_json(r#"{"b":1,"a":null}"#).unwrap())).is_ok());
    assert_eq!(rig.server.pool(rig.now, "p").unwrap().unwrap().fields, MAX_POOL_FIELDS);
}

// Broadcasts

#[test]
fn the_first_change_goes_out_at_once_and_what_follows_within_the_interval_goes_out_together() {
    let mut rig = rig(PLAIN);
    let client = rig.client("c");
    rig.subscribe(client, 1, pool("p"), None);
    merge_now(&mut rig, r#"{"a":1}"#);
    assert_eq!(rig.take(client).envelopes(), [(1, Some("a".to_owned()), Some(number(1)))]);
    for n in 2..5 {
        rig.advance(Duration::from_millis(10));
        merge_now(&mut rig, &format!(r#"{{"a":{n},"b":{n}}}"#));
    }
    merge_now(&mut rig, r#"{"gone":1}"#);
    merge_now(&mut rig, r#"{"gone":null,"b":9}"#);
    rig.advance(Duration::from_millis(19));
    assert_eq!(rig.take(client).frames, 0);
    rig.advance(Duration::from_millis(1));
    let inbox = rig.take(client);
    assert_eq!(inbox.frames, 1);
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(
        inbox.envelopes(),
        [(6, named("a"), Some(number(4))), (9, named("b"), Some(number(9))), (10, named("gone"), None)]
    );
    assert_eq!(steps(&inbox), [(Some(1), 6), (Some(6), 9), (None, 10)]);
    // Then it is quiet, and the next change is a first one.
    rig.advance(INTERVAL);
    assert_eq!(rig.take(client).frames, 0);
    merge_now(&mut rig, r#"{"a":5}"#);
    assert_eq!(steps(&rig.take(client)), [(None, 11)]);
}

#[test]
fn a_thousand_updates_a_second_to_20_fields_from_50_clients_become_at_most_one_broadcast_per_subscriber_and_interval()
 {
    let mut rig = rig(PLAIN);
    let clients: Vec<_> = (0..50).map(|n| rig.client(&format!("c{n}"))).collect();
    let mut replicas = vec![Replica::default(); clients.len()];
    for (client, replica) in clients.iter().zip(&mut replicas) {
        replica.take(&rig.subscribe(*client, 1, pool("p"), None));
    }
    let (mut broadcasts, mut envelopes) = (vec![0; clients.len()], 0);
    for update in 0..1_000_usize {
        let (writer, field) = (update % 50, (update * 7) % 20);
        let bytes = from_json(&format!(r#"{{"f{field}":{update}}}"#)).unwrap();
        let request = u64::try_from(update).unwrap();
        let write = ClientMessage::Write { request, operation: merging(&bytes) };
        rig.feed(clients[writer], &[write]);
        rig.commit().unwrap();
        rig.advance(Duration::from_millis(1));
        for ((client, replica), count) in clients.iter().zip(&mut replicas).zip(&mut broadcasts) {
            let inbox = rig.take(*client);
            let carried = inbox.envelopes().len();
            assert!(carried <= 20, "{carried}");
            *count += usize::from(carried > 0);
            envelopes += carried;
            replica.take(&inbox);
        }
    }
    // One second is twenty intervals; the first change goes at once.
    assert!(broadcasts.iter().all(|count| (20..=21).contains(count)), "{broadcasts:?}");
    assert!(envelopes <= 50 * 21 * 20, "{envelopes}");
    rig.advance(INTERVAL);
    for (client, mut replica) in clients.into_iter().zip(replicas) {
        replica.take(&rig.take(client));
        assert_eq!(replica.live(), authority(&rig));
    }
}

#[test]
fn a_late_joiner_of_a_busy_pool_gets_the_whole_state_at_most_one_interval_later_and_causes_no_broadcast() {
    let mut rig = rig(PLAIN);
    let member = rig.client("member");
    rig.subscribe(member, 1, pool("p"), None);
    merge_now(&mut rig, r#"{"a":1,"b":1}"#);
    rig.take(member);
    merge_now(&mut rig, r#"{"a":2,"c":1}"#);
    let joiner = rig.client("joiner");
    let mut replica = Replica::default();
    for target in [pool("p"), Target::Object("other")] {
        let id = if matches!(target, Target::Pool { .. }) { 1 } else { 2 };
        rig.send(joiner, &ClientMessage::Subscribe(vec![Subscription { id, target, position: None }]));
    }
    // What does not ask about the busy pool need not wait for it.
    assert!(matches!(rig.take(joiner).one(), ServerMessage::Answer { subscription: 2, .. }));
    assert_eq!(rig.take(member).frames, 0);
    assert_eq!(rig.server.residue().ownerships, 1);
    rig.advance(INTERVAL);
    let inbox = rig.take(joiner);
    assert!(matches!(inbox.answer().2, Answer::Page { sequence, ref rows, .. }
        if sequence.get() == 4 && rows.len() == 3));
    replica.take(&inbox);
    assert_eq!(replica.live(), authority(&rig));
    assert_eq!(rig.take(member).frames, 1);
    merge_now(&mut rig, r#"{"b":2}"#);
    rig.advance(INTERVAL);
    replica.take(&rig.take(joiner));
    assert_eq!(replica.live(), authority(&rig));
    assert_eq!(rig.server.residue().ownerships, 0);
}

#[test]
fn heads_in_beacons_and_answers_are_never_beyond_what_was_sent() {
    let mut rig = rig(PLAIN);
    let client = rig.client("c");
    rig.subscribe(client, 1, pool("p"), None);
    let (mut sent, mut beacons) = (0, 0);
    for n in 0..600 {
        merge_now(&mut rig, &format!(r#"{{"f{}":{n}}}"#, n % 7));
        if n % 40 == 0 {
            rig.send(client, &ClientMessage::Ping);
            rig.send(client, &ClientMessage::Refetch { subscription: 1, attempt: 1 + n, position: None });
        }
        rig.advance(Duration::from_millis(47));
        for message in rig.take(client).messages() {
            match message {
                ServerMessage::Envelope { sequence, .. } => sent = sequence.get(),
                ServerMessage::Beacon { heads, .. } => {
                    assert_eq!(heads[0].1.get(), sent);
                    beacons += 1;
                }
                ServerMessage::Answer { answer: Answer::Page { sequence, rows, .. }, .. } => {
                    assert_eq!(sequence.get(), sent);
                    assert!(rows.iter().all(|row| row.sequence <= sequence));
                }
                _ => {}
            }
        }
    }
    assert!(beacons >= 2, "{beacons}");
}

#[test]
fn a_resume_gets_the_fields_that_changed_each_once_with_the_chain_of_its_own_positions() {
    let mut rig = rig(PLAIN);
    let client = rig.client("c");
    let mut replica = Replica::default();
    replica.take(&rig.subscribe(client, 1, pool("p"), None));
    merge_now(&mut rig, r#"{"a":1,"b":1}"#);
    replica.take(&rig.take(client));
    rig.server.handle_disconnect(rig.now, client);
    for n in 2..6 {
        merge_now(&mut rig, &format!(r#"{{"a":{n},"c":{n}}}"#));
    }
    merge_now(&mut rig, r#"{"b":null}"#);
    let client = rig.client("c");
    let inbox = rig.subscribe(client, 1, pool("p"), replica.position);
    assert!(matches!(inbox.answer().2, Answer::Tail { count: 3 }));
    assert_eq!(steps(&inbox), [(Some(2), 9), (None, 10), (None, 11)]);
    replica.take(&inbox);
    assert_eq!(replica.live(), authority(&rig));
    let inbox = rig.subscribe(client, 1, pool("p"), replica.position);
    assert!(matches!(inbox.answer().2, Answer::Current));
    let foreign = replica.position.map(|seen| Position { epoch: Epoch::from_bytes([9; 16]), ..seen });
    assert!(matches!(rig.subscribe(client, 1, pool("p"), foreign).answer().2, Answer::Page { .. }));
}

#[test]
fn no_deletion_is_lost_to_a_follower_however_many_fields_come_and_go_and_a_resume_from_before_gets_a_snapshot()
 {
    let mut rig = rig(PLAIN);
    let client = rig.client("c");
    let mut replica = Replica::default();
    replica.take(&rig.subscribe(client, 1, pool("p"), None));
    let seen = merge_now(&mut rig, r#"{"a":1}"#);
    replica.take(&rig.take(client));
    for n in 0..4_000 {
        merge(&mut rig.server, rig.now, &format!(r#"{{"f{n}":{n}}}"#));
        if n % 2_500 == 0 {
            rig.commit().unwrap();
            rig.advance(INTERVAL);
        }
        merge(&mut rig.server, rig.now, &format!(r#"{{"f{n}":null}}"#));
    }
    rig.commit().unwrap();
    rig.advance(INTERVAL);
    replica.take(&rig.take(client));
    assert_eq!(replica.live(), authority(&rig));
    merge_now(&mut rig, r#"{"b":1}"#);
    rig.advance(INTERVAL);
    replica.take(&rig.take(client));
    assert!(matches!(rig.subscribe(client, 1, pool("p"), seen).answer().2, Answer::Page { .. }));
}

#[test]
fn a_clock_that_goes_back_an_hour_or_leaps_ahead_ten_years_holds_no_broadcast_back() {
    let mut rig = rig(PLAIN);
    let client = rig.client("c");
    rig.subscribe(client, 1, pool("p"), None);
    merge_now(&mut rig, r#"{"a":1}"#);
    merge_now(&mut rig, r#"{"a":2}"#);
    rig.take(client);
    rig.now = server_rig::START;
    let back = tidewire::protocol::Timestamp::from_millis(rig.now.as_millis() - 3_600_000);
    rig.now = back;
    rig.commit().unwrap();
    assert_eq!(steps(&rig.take(client)), [(None, 2)]);
    merge_now(&mut rig, r#"{"a":3}"#);
    rig.advance(INTERVAL);
    assert_eq!(steps(&rig.take(client)), [(None, 3)]);
    merge_now(&mut rig, r#"{"a":4}"#);
    merge_now(&mut rig, r#"{"a":5}"#);
    rig.take(client);
    rig.now = rig.now + 87_600 * HOUR;
    rig.commit().unwrap();
    assert_eq!(steps(&rig.take(client)), [(Some(3), 5)]);
}

// Presence

#[test]
fn a_presence_field_goes_with_the_connection_that_wrote_it_last_as_a_sequenced_deletion() {
    let mut rig = rig(PRESENCE);
    let (ada, bob, watcher) = (rig.client("ada"), rig.client("bob"), rig.client("watcher"));
    rig.subscribe(watcher, 1, pool("p"), None);
    merge_as(&mut rig, ada, 1, r#"{"ada":1,"both":1,"server":1,"away":1}"#);
    merge_as(&mut rig, bob, 1, r#"{"both":2}"#);
    merge_as(&mut rig, ada, 2, r#"{"away":null}"#);
    merge_now(&mut rig, r#"{"server":2}"#);
    rig.advance(INTERVAL);
    rig.take(watcher);
    assert_eq!(rig.server.residue().ownerships, 2);
    let before = rig.server.pool(rig.now, "p").unwrap().unwrap().position.sequence;
    rig.server.handle_disconnect(rig.now, ada);
    rig.commit().unwrap();
    rig.advance(INTERVAL);
    let gone = before.next().unwrap().get();
    assert_eq!(rig.take(watcher).envelopes(), [(gone, Some("ada".to_owned()), None)]);
    assert_eq!(names(&rig), ["both", "server"]);
    // However the connection ends: here it is silent for too long.
    for _ in 0..4 {
        rig.advance(Duration::from_secs(10));
        rig.send(watcher, &ClientMessage::Ping);
    }
    assert_eq!(rig.take(watcher).envelopes(), [(gone + 1, Some("both".to_owned()), None)]);
    assert_eq!(names(&rig), ["server"]);
    assert_eq!(rig.server.residue().ownerships, 0);
}

#[test]
fn a_field_written_anew_over_a_second_connection_outlives_the_first() {
    let mut rig = rig(PRESENCE);
    let first = rig.client("c");
    merge_as(&mut rig, first, 1, r#"{"me":1}"#);
    let second = rig.client("c");
    merge_as(&mut rig, second, 2, r#"{"me":2}"#);
    rig.server.handle_disconnect(rig.now, first);
    assert_eq!(names(&rig), ["me"]);
    rig.server.handle_disconnect(rig.now, second);
    assert!(names(&rig).is_empty());
}

#[test]
fn without_presence_fields_stay_when_their_writer_goes() {
    let mut rig = rig(PLAIN);
    let client = rig.client("c");
    merge_as(&mut rig, client, 1, r#"{"a":1}"#);
    assert_eq!(rig.server.residue().ownerships, 0);
    rig.server.handle_disconnect(rig.now, client);
    assert_eq!(names(&rig), ["a"]);
}

#[test]
fn a_departed_client_leaves_nothing_behind() {
    let mut rig = rig(PRESENCE);
    let (member, leaver) = (rig.client("member"), rig.client("leaver"));
    rig.subscribe(member, 1, pool("p"), None);
    merge_as(&mut rig, member, 1, r#"{"a":1}"#);
    merge_as(&mut rig, member, 2, r#"{"a":2}"#);
    // It asks about the busy pool, writes to it, and goes before it is answered.
    rig.send(
        leaver,
        &ClientMessage::Subscribe(vec![Subscription { id: 1, target: pool("p"), position: None }]),
    );
    merge_as(&mut rig, leaver, 1, r#"{"b":1}"#);
    rig.server.handle_disconnect(rig.now, leaver);
    rig.server.handle_disconnect(rig.now, member);
    rig.commit().unwrap();
    assert_eq!(rig.server.residue(), Residue::default());
    assert!(names(&rig).is_empty());
}

// The commit rule

#[test]
fn nothing_of_a_merge_is_sent_before_its_commit() {
    let mut rig = rig(PLAIN);
    let client = rig.client("c");
    rig.subscribe(client, 1, pool("p"), None);
    let bytes = from_json(r#"{"a":1}"#).unwrap();
    rig.feed(client, &[ClientMessage::Write { request: 1, operation: merging(&bytes) }]);
    assert_eq!(rig.server.poll_transmit(), None);
    rig.commit().unwrap();
    let inbox = rig.take(client);
    assert_eq!((inbox.envelopes().len(), inbox.ack().unwrap().sequence.get()), (1, 1));
}

#[test]
fn a_failed_batch_restores_the_pool_its_owners_and_what_was_to_be_told() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    rig.server.open_pool(rig.now, "p", PRESENCE, None).unwrap();
    rig.commit().unwrap();
    let (ada, bob, watcher) = (rig.client("ada"), rig.client("bob"), rig.client("watcher"));
    let mut replica = Replica::default();
    replica.take(&rig.subscribe(watcher, 1, pool("p"), None));
    merge_as(&mut rig, ada, 1, r#"{"a":1}"#);
    replica.take(&rig.take(watcher));
    merge_as(&mut rig, ada, 2, r#"{"b":1}"#);
    let before = rig.server.pool(rig.now, "p").unwrap();

    // The batch merges, takes over a field, opens a pool, and tells what had been gathered.
    fault.set(Fault::Commit);
    rig.now = rig.now + INTERVAL;
    let bytes = from_json(r#"{"a":2,"b":null,"c":1}"#).unwrap();
    rig.feed(bob, &[ClientMessage::Write { request: 1, operation: merging(&bytes) }]);
    rig.server.open_pool(rig.now, "other", PLAIN, None).unwrap();
    rig.server.put(rig.now, "k", EncodedValue::NIL).unwrap();
    assert!(matches!(rig.commit(), Err(CommitError::Undone(_))));
    assert_eq!(rig.take(bob).codes(), [ErrorCode::StorageFailed.number()]);
    assert_eq!(rig.take(watcher).frames, 0);
    assert_eq!(rig.server.pool(rig.now, "p").unwrap(), before);
    assert_eq!(rig.server.pool(rig.now, "other").unwrap(), None);
    assert_eq!(names(&rig), ["a", "b"]);
    assert_eq!(rig.server.residue().ownerships, 2);

    fault.set(Fault::None);
    rig.advance(INTERVAL);
    replica.take(&rig.take(watcher));
    assert_eq!(replica.live(), authority(&rig));
    rig.server.handle_disconnect(rig.now, bob);
    assert_eq!(names(&rig), ["a", "b"]);
    rig.server.handle_disconnect(rig.now, ada);
    assert!(names(&rig).is_empty());
}

#[test]
fn who_goes_in_a_batch_that_fails_is_gone_all_the_same() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    rig.server.open_pool(rig.now, "p", PRESENCE, None).unwrap();
    rig.commit().unwrap();
    let (first, second, watcher) = (rig.client("1"), rig.client("2"), rig.client("watcher"));
    let mut replica = Replica::default();
    replica.take(&rig.subscribe(watcher, 1, pool("p"), None));
    merge_as(&mut rig, first, 1, r#"{"first":1}"#);
    merge_as(&mut rig, second, 1, r#"{"second":1}"#);
    fault.set(Fault::Record);
    rig.server.handle_disconnect(rig.now, first);
    let open = Open { permanent: true, primary: "id" };
    rig.server.open_datastore(rig.now, "d", open, None).unwrap();
    let record = server_rig::record("a", 1);
    assert_eq!(rig.server.set(rig.now, "d", value(&record)), Err(WriteError::StorageFailed));
    rig.server.handle_disconnect(rig.now, second);
    assert!(rig.commit().is_err());
    fault.set(Fault::None);
    rig.advance(INTERVAL);
    replica.take(&rig.take(watcher));
    assert!(replica.live().is_empty() && names(&rig).is_empty());
    assert_eq!(rig.server.residue().ownerships, 0);
}

#[test]
fn a_question_about_a_busy_pool_may_wait_behind_an_answer_that_is_undone() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    rig.server.open_pool(rig.now, "p", PLAIN, None).unwrap();
    for key in ["a", "b"] {
        rig.server.put(rig.now, key, value(&large_record(key, 262_110))).unwrap();
    }
    let (watcher, client) = (rig.client("watcher"), rig.client("c"));
    rig.subscribe(watcher, 1, pool("p"), None);
    rig.drains = false;
    merge_now(&mut rig, r#"{"first":1}"#);
    let targets = [Target::Object("a"), Target::Object("b"), pool("p")];
    let asked = targets.into_iter().zip(1..).map(|(target, id)| Subscription { id, target, position: None });
    rig.send(client, &ClientMessage::Subscribe(asked.collect()));
    for n in 0..2_100 {
        merge(&mut rig.server, rig.now, &format!(r#"{{"f{n}":{n}}}"#));
        merge(&mut rig.server, rig.now, &format!(r#"{{"f{n}":null}}"#));
    }
    rig.commit().unwrap();
    rig.take(client);
    fault.set(Fault::Commit);
    rig.now = rig.now + INTERVAL;
    rig.server.handle_drained(rig.now, client);
    rig.server.put(rig.now, "k", EncodedValue::NIL).unwrap();
    assert!(rig.commit().is_err());
    assert_eq!(rig.take(client).answer().0, 1);
}

#[test]
fn a_pool_ends_with_its_process() {
    let mut rig = rig(PLAIN);
    merge_now(&mut rig, r#"{"a":1}"#);
    let rig = rig.restart();
    assert_eq!(rig.server.pool(rig.now, "p").unwrap(), None);
}

// All of it

#[test]
fn in_a_thousand_seeded_schedules_all_members_are_equal_after_quiet() {
    for seed in 0..1_000_u64 {
        schedule(seed);
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Members write, page, fall silent, lose their connection and resume, while some batches fail.
fn schedule(seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    let open = if seed.is_multiple_of(2) { PLAIN } else { PRESENCE };
    rig.server.open_pool(rig.now, "p", open, None).unwrap();
    let mut members: Vec<_> = NAMES.iter().map(|name| (rig.client(name), Replica::default())).collect();
    for (client, replica) in &mut members {
        replica.take(&rig.subscribe(*client, 1, pool("p"), None));
    }
    for request in 0..60 {
        let index = usize::try_from(random(4)).unwrap();
        let (client, replica) = &mut members[index];
        replica.take(&rig.take(*client));
        match random(10) {
            0..=4 => {
                let mut writer = Writer::new();
                writer.map(1);
                writer.str(&format!("f{}", random(6)));
                if random(4) == 0 {
                    writer.nil();
                } else {
                    writer.str(&"x".repeat(usize::try_from(random(90_000)).unwrap()));
                }
                let bytes = writer.into_bytes();
                rig.feed(*client, &[ClientMessage::Write { request, operation: merging(&bytes) }]);
            }
            5 => rig.commit().unwrap(),
            6 => {
                rig.commit().unwrap();
                rig.advance(Duration::from_millis(random(80)));
            }
            7 => {
                if let Some(cursor) = replica.next.take() {
                    rig.send(*client, &ClientMessage::Page { subscription: 1, attempt: 0, cursor: &cursor });
                }
            }
            8 => {
                rig.commit().unwrap();
                fault.set(Fault::Commit);
                rig.server.put(rig.now, "k", EncodedValue::NIL).unwrap();
                let bytes = from_json(r#"{"undone":1}"#).unwrap();
                rig.server.merge(rig.now, "p", value(&bytes)).unwrap();
                assert!(rig.commit().is_err());
                fault.set(Fault::None);
            }
            _ => {
                rig.commit().unwrap();
                replica.take(&rig.take(*client));
                rig.server.handle_disconnect(rig.now, *client);
                // A member in the middle of its pages begins anew, another one resumes.
                if replica.is_paging || replica.is_denied {
                    *replica = Replica::default();
                }
                *client = rig.client(NAMES[index]);
                let position = replica.position;
                replica.take(&rig.subscribe(*client, 1, pool("p"), position));
            }
        }
    }
    rig.commit().unwrap();
    rig.advance(INTERVAL);
    for (client, replica) in &mut members {
        replica.take(&rig.take(*client));
        if replica.is_denied {
            *replica = Replica::default();
            replica.take(&rig.subscribe(*client, 1, pool("p"), None));
        }
        while let Some(cursor) = replica.next.take() {
            rig.send(*client, &ClientMessage::Page { subscription: 1, attempt: 0, cursor: &cursor });
            replica.take(&rig.take(*client));
        }
        assert!(replica.live() == authority(&rig), "seed {seed}");
        assert_eq!(replica.position, rig.server.pool(rig.now, "p").unwrap().map(|pool| pool.position));
    }
    for (client, _) in members {
        rig.server.handle_disconnect(rig.now, client);
    }
    rig.commit().unwrap();
    assert_eq!(rig.server.residue(), Residue::default());
}
