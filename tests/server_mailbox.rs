//! Mailboxes: what waits for whom and how long, and who is told what became of it.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::{collections::BTreeSet, time::Duration};

use server_rig::{
    Inbox, Rig,
    faulty::{Fault, Faulty},
    large_record, number,
};
use tidewire::{
    protocol::{
        ClientMessage, CloseCode, EncodedValue, ErrorCode, Operation, Query, QueryId, Reader, RequestId,
        ServerMessage, Subscription, SubscriptionId, Target, Timestamp, Writer,
        limits::{MAX_MAILBOX, MAX_NOTIFICATION_LIFE, MAX_REPLY_BYTES, MAX_VALUE_BYTES},
        to_json,
    },
    server::{
        CommitError, ConnectionId, Residue, Server, WriteError,
        storage::{Notification, Storage, Trace},
    },
};

const DAY: Duration = Duration::from_secs(24 * 3_600);
const HEARTBEAT: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(1);

fn value(bytes: &[u8]) -> EncodedValue<'_> {
    EncodedValue::check(bytes).unwrap()
}

/// A value of exactly `size` bytes.
fn value_of(size: usize) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.str(&"x".repeat(size - 5));
    let bytes = writer.into_bytes();
    assert_eq!(bytes.len(), size);
    bytes
}

fn put_with<S: Storage>(rig: &mut Rig<S>, suit: bool, life: Option<Duration>) -> Notification {
    let notification = rig.server.notify(rig.now, "bob", value(&number(1)), suit, life).unwrap();
    rig.commit().unwrap();
    notification
}

/// Puts `n` into the mailbox of `bob` as the authority.
fn put<S: Storage>(rig: &mut Rig<S>, n: u64) -> Trace {
    let trace = rig.server.notify(rig.now, "bob", value(&number(n)), false, None).unwrap().trace;
    rig.commit().unwrap();
    trace
}

/// Puts a notification as a client; returns the trace that the ack carries.
#[track_caller]
fn notify(rig: &mut Rig, client: ConnectionId, request: RequestId, to: &str, suit: bool) -> String {
    let pack = number(request);
    let operation = Operation::Notify { to, pack: value(&pack), suit, ttl: None };
    trace_of(&rig.write(client, request, operation))
}

#[track_caller]
fn trace_of(inbox: &Inbox) -> String {
    let ack = |message: ServerMessage<'_>| match message {
        ServerMessage::Ack { position: None, result: Some(result), .. } => {
            Some(Reader::new(result.as_bytes()).str().unwrap().to_owned())
        }
        _ => None,
    };
    inbox.messages().into_iter().find_map(ack).unwrap_or_else(|| panic!("no ack in {:?}", inbox.messages()))
}

fn follow<S: Storage>(rig: &mut Rig<S>, client: ConnectionId, id: SubscriptionId) -> Inbox {
    rig.subscribe(client, id, Target::Mailbox, None)
}

/// Subscription, trace and the number in the payload of every notification.
fn notifications(inbox: &Inbox) -> Vec<(SubscriptionId, String, u64)> {
    let notification = |message: ServerMessage<'_>| match message {
        ServerMessage::Notification { subscription, trace, pack, .. } => {
            let n = Reader::new(pack.as_bytes()).u64().unwrap_or_default();
            Some((subscription, trace.to_owned(), n))
        }
        _ => None,
    };
    inbox.messages().into_iter().filter_map(notification).collect()
}

fn numbers(inbox: &Inbox) -> Vec<u64> {
    notifications(inbox).into_iter().map(|(_, _, n)| n).collect()
}

fn delivered<S: Storage>(rig: &mut Rig<S>, client: ConnectionId, traces: &[&str]) {
    rig.send(client, &ClientMessage::Delivered(traces.to_vec()));
}

/// What became of a notification, as JSON, or the code of the error.
#[track_caller]
fn ask<S: Storage>(rig: &mut Rig<S>, client: ConnectionId, trace: &str) -> Result<String, u16> {
    rig.send(client, &ClientMessage::Query { query: 5, about: Query::Notification { trace } });
    let inbox = rig.take(client);
    match inbox.one() {
        ServerMessage::Result { query: 5, outcome } => {
            outcome.map(|value| to_json(value.unwrap()).unwrap()).map_err(|(code, _)| code)
        }
        other => panic!("{other:?}"),
    }
}

fn state<S: Storage>(server: &Server<S>, now: Timestamp, trace: Trace) -> Option<Notification> {
    server.notification(now, trace).unwrap()
}

// Putting and ending

#[test]
fn a_notification_has_a_fresh_trace_of_32_hex_digits_and_is_pending() {
    let mut rig = Rig::new();
    let (first, second) = (put(&mut rig, 1), put(&mut rig, 1));
    assert_ne!(first, second);
    assert_eq!(first.to_string().len(), 32);
    assert!(first.to_string().bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
    let found = state(&rig.server, rig.now, first).unwrap();
    assert_eq!((&*found.from, &*found.to, found.delivered, found.reply), ("server", "bob", None, None));
    assert_eq!(rig.server.pending_notifications("bob").unwrap(), 2);
    assert_eq!(rig.server.pending_notifications("other").unwrap(), 0);
}

#[test]
fn a_notification_lives_for_24_hours_unless_it_is_put_for_another_time() {
    let mut rig = Rig::new();
    for (life, expected) in
        [(None, DAY), (Some(Duration::ZERO), DAY), (Some(Duration::from_secs(5)), Duration::from_secs(5))]
    {
        let notification = put_with(&mut rig, false, life);
        assert_eq!((notification.created, notification.expires), (rig.now, rig.now + expected), "{life:?}");
        // The last moment is its own.
        assert!(state(&rig.server, rig.now + expected, notification.trace).is_some());
        assert!(state(&rig.server, rig.now + expected + TICK, notification.trace).is_none());
    }
}

#[test]
fn a_full_mailbox_loses_its_oldest_notification_which_is_gone_for_its_sender_too() {
    let mut rig = Rig::new();
    let other = rig.server.notify(rig.now, "other", EncodedValue::NIL, false, None).unwrap().trace;
    let traces: Vec<_> = (0..1_026).map(|n| put(&mut rig, n)).collect();
    assert_eq!((rig.server.pending_notifications("bob").unwrap(), MAX_MAILBOX), (1_024, 1_024));
    for (n, trace) in traces.iter().enumerate() {
        assert_eq!(state(&rig.server, rig.now, *trace).is_some(), n >= 2, "{n}");
    }
    assert!(state(&rig.server, rig.now, other).is_some());
    let drained = rig.server.drain(rig.now, "bob").unwrap();
    assert_eq!(drained.len(), 1_024);
    assert_eq!(drained[0].trace, traces[2]);
}

#[test]
fn what_was_delivered_does_not_count_towards_a_full_mailbox() {
    let mut rig = Rig::new();
    let first = put(&mut rig, 1);
    rig.server.drain(rig.now, "bob").unwrap();
    for n in 0..1_024 {
        put(&mut rig, n);
    }
    assert!(state(&rig.server, rig.now, first).is_some());
}

#[test]
fn draining_returns_what_is_pending_in_order_and_marks_it_delivered() {
    let mut rig = Rig::new();
    let traces = [put(&mut rig, 1), put(&mut rig, 2)];
    rig.now = rig.now + TICK;
    let drained = rig.server.drain(rig.now, "bob").unwrap();
    assert_eq!(drained.iter().map(|found| found.trace).collect::<Vec<_>>(), traces);
    assert!(drained.iter().all(|found| found.delivered == Some(rig.now)));
    assert_eq!(state(&rig.server, rig.now, traces[0]).as_ref(), Some(&drained[0]));
    assert_eq!(rig.server.pending_notifications("bob").unwrap(), 0);
    assert!(rig.server.drain(rig.now, "bob").unwrap().is_empty());
    assert!(rig.server.drain(rig.now, "nobody").unwrap().is_empty());
}

#[test]
fn draining_drops_what_has_expired_from_both_indexes() {
    let mut rig = Rig::new();
    let brief = put_with(&mut rig, false, Some(Duration::from_secs(1)));
    let kept = put(&mut rig, 1);
    rig.now = brief.expires + TICK;
    assert_eq!(rig.server.pending_notifications("bob").unwrap(), 2);
    let drained = rig.server.drain(rig.now, "bob").unwrap();
    assert_eq!(drained.iter().map(|found| found.trace).collect::<Vec<_>>(), [kept]);
    assert_eq!(state(&rig.server, brief.created, brief.trace), None);
    assert_eq!(rig.server.purge_notifications(rig.now).unwrap(), 0);
}

#[test]
fn a_reply_is_recorded_for_a_suit_only_and_only_before_it_expires() {
    let mut rig = Rig::new();
    let plain = put_with(&mut rig, false, None).trace;
    let suit = put_with(&mut rig, true, None);
    let bytes = number(7);
    let reply = value(&bytes);
    assert_eq!(rig.server.reply(rig.now, plain, reply), Err(WriteError::NoReplyWanted));
    assert_eq!(rig.server.reply(rig.now, Trace::from_bytes([9; 16]), reply), Err(WriteError::NoNotification));
    rig.server.drain(rig.now, "bob").unwrap();
    let replied = rig.server.reply(suit.expires, suit.trace, reply).unwrap();
    assert_eq!(replied.reply, Some((suit.expires, bytes.clone().into())));
    assert_eq!(state(&rig.server, suit.expires, suit.trace), Some(replied));
    // The last arrival wins.
    let second = rig.server.reply(suit.expires, suit.trace, value(&number(8))).unwrap();
    assert_eq!(second.reply.unwrap().1.to_vec(), number(8));
    let late = suit.expires + TICK;
    assert_eq!(rig.server.reply(late, suit.trace, reply), Err(WriteError::NoNotification));
}

#[test]
fn purging_removes_the_expired_from_both_indexes_and_says_how_many() {
    let mut rig = Rig::new();
    let life = Some(Duration::from_secs(1));
    let taken = put_with(&mut rig, false, life);
    rig.server.drain(rig.now, "bob").unwrap();
    let pending = put_with(&mut rig, false, life);
    let kept = put(&mut rig, 1);
    assert_eq!(rig.server.purge_notifications(rig.now).unwrap(), 0);
    rig.now = pending.expires + TICK;
    assert_eq!(rig.server.purge_notifications(rig.now).unwrap(), 2);
    assert_eq!(rig.server.pending_notifications("bob").unwrap(), 1);
    for trace in [taken.trace, pending.trace] {
        assert_eq!(state(&rig.server, taken.created, trace), None);
    }
    assert!(state(&rig.server, rig.now, kept).is_some());
}

#[test]
fn the_janitor_purges_every_minute() {
    let mut rig = Rig::new();
    put_with(&mut rig, false, Some(Duration::from_secs(1)));
    rig.advance(Duration::from_secs(59));
    assert_eq!(rig.server.pending_notifications("bob").unwrap(), 1);
    rig.advance(Duration::from_secs(2));
    assert_eq!(rig.server.pending_notifications("bob").unwrap(), 0);
}

#[test]
fn what_is_over_a_limit_is_refused_with_its_field_and_limit() {
    let mut rig = Rig::new();
    let suit = put_with(&mut rig, true, None).trace;
    let year = MAX_NOTIFICATION_LIFE;
    let life = year + TICK;
    let mut try_put = |to: &str, pack: &[u8], life| {
        rig.server.notify(rig.now, to, EncodedValue::trusted(pack), false, Some(life)).map(drop)
    };
    let long = "k".repeat(1_025);
    assert_eq!(try_put("", &[0x01], year), Err(WriteError::BadKey { field: "to", length: 0 }));
    assert_eq!(try_put(&long, &[0x01], year), Err(WriteError::BadKey { field: "to", length: 1_025 }));
    let length = MAX_VALUE_BYTES + 1;
    assert_eq!(try_put("bob", &value_of(length), year), Err(WriteError::TooLarge { field: "pack", length }));
    assert_eq!(try_put("bob", &[0x01], life), Err(WriteError::LivesTooLong { life }));
    assert!(try_put("bob", &value_of(MAX_VALUE_BYTES), year).is_ok());
    let length = MAX_REPLY_BYTES + 1;
    let error = rig.server.reply(rig.now, suit, value(&value_of(length))).unwrap_err();
    assert_eq!(error, WriteError::ReplyTooLarge { length });
    assert!(error.to_string().contains("`reply`") && error.to_string().contains("258048"), "{error}");
    let client = rig.client("ada");
    let operation =
        Operation::Notify { to: "bob", pack: EncodedValue::NIL, suit: false, ttl: Some(u64::MAX) };
    assert_eq!(rig.write(client, 1, operation).codes(), [ErrorCode::LimitExceeded.number()]);
}

#[test]
fn mailboxes_survive_a_restart() {
    let mut rig = Rig::new();
    let suit = put_with(&mut rig, true, None).trace;
    let taken = rig.server.drain(rig.now, "bob").unwrap()[0].trace;
    rig.server.reply(rig.now, suit, value(&number(7))).unwrap();
    let before = [state(&rig.server, rig.now, suit), state(&rig.server, rig.now, taken)];
    put(&mut rig, 5);
    let mut rig = rig.restart();
    assert_eq!([state(&rig.server, rig.now, suit), state(&rig.server, rig.now, taken)], before);
    let bob = rig.client("bob");
    assert_eq!(numbers(&follow(&mut rig, bob, 1)), [5]);
}

#[test]
fn a_clock_an_hour_back_ends_nothing_and_one_ten_years_ahead_ends_all() {
    let mut rig = Rig::new();
    let trace = put(&mut rig, 1);
    let back = Timestamp::from_millis(rig.now.as_millis() - 3_600_000);
    rig.server.handle_timeout(back);
    assert!(state(&rig.server, back, trace).is_some());
    let ahead = rig.now + 3_650 * DAY;
    rig.server.handle_timeout(ahead);
    rig.server.commit(ahead).unwrap();
    assert_eq!(rig.server.pending_notifications("bob").unwrap(), 0);
    assert_eq!(state(&rig.server, rig.now, trace), None);
}

// Over the wire

#[test]
fn what_was_put_for_an_absent_client_is_sent_when_it_comes_in_order_and_after_the_word_that_it_follows() {
    let mut rig = Rig::new();
    let ada = rig.client("ada");
    let trace = notify(&mut rig, ada, 1, "bob", true);
    put_with(&mut rig, false, Some(TICK));
    notify(&mut rig, ada, 2, "bob", false);
    notify(&mut rig, ada, 3, "other", false);
    rig.now = rig.now + 2 * TICK;
    let bob = rig.client("bob");
    let inbox = follow(&mut rig, bob, 7);
    let messages = inbox.messages();
    assert_eq!(messages[0], ServerMessage::Following { subscription: 7 });
    let created = server_rig::START.as_millis();
    assert_eq!(
        messages[1],
        ServerMessage::Notification {
            subscription: 7,
            trace: &trace,
            from: "ada",
            pack: value(&number(1)),
            suit: true,
            created,
            expires: created + 86_400_000,
        }
    );
    assert_eq!(numbers(&inbox), [1, 2]);
}

#[test]
fn a_client_that_is_there_is_sent_a_new_notification_after_the_commit_and_each_only_once() {
    let mut rig = Rig::new();
    let bob = rig.client("bob");
    assert_eq!(follow(&mut rig, bob, 1).one(), ServerMessage::Following { subscription: 1 });
    rig.server.notify(rig.now, "bob", value(&number(1)), false, None).unwrap();
    assert_eq!(rig.server.poll_transmit(), None);
    rig.commit().unwrap();
    assert_eq!(numbers(&rig.take(bob)), [1]);
    put(&mut rig, 2);
    assert_eq!(numbers(&rig.take(bob)), [2]);
    // A client may write to itself.
    let pack = number(3);
    let operation = Operation::Notify { to: "bob", pack: value(&pack), suit: false, ttl: Some(5) };
    let inbox = rig.write(bob, 1, operation);
    assert_eq!(notifications(&inbox)[0].1, trace_of(&inbox));
}

#[test]
fn a_repeated_request_puts_one_notification_and_repeats_its_trace() {
    let mut rig = Rig::new();
    let ada = rig.client("ada");
    let trace = notify(&mut rig, ada, 1, "bob", false);
    assert_eq!(notify(&mut rig, ada, 1, "bob", false), trace);
    let mut rig = rig.restart();
    let ada = rig.client("ada");
    assert_eq!(notify(&mut rig, ada, 1, "bob", false), trace);
    assert_eq!(rig.server.pending_notifications("bob").unwrap(), 1);
}

#[test]
fn every_subscription_gets_each_notification_and_one_that_is_made_anew_begins_anew() {
    let mut rig = Rig::new();
    put(&mut rig, 1);
    let bob = rig.client("bob");
    let mut seen = notifications(&follow(&mut rig, bob, 1));
    seen.extend(notifications(&follow(&mut rig, bob, 2)));
    put(&mut rig, 2);
    seen.extend(notifications(&rig.take(bob)));
    let seen: Vec<_> = seen.iter().map(|(id, _, n)| (*id, *n)).collect();
    assert_eq!(seen, [(1, 1), (2, 1), (1, 2), (2, 2)]);
    rig.send(bob, &ClientMessage::Unsubscribe(1));
    put(&mut rig, 3);
    let inbox = rig.take(bob);
    assert_eq!((notifications(&inbox)[0].0, numbers(&inbox)), (2, vec![3]));
    assert_eq!(numbers(&follow(&mut rig, bob, 2)), [1, 2, 3]);
}

#[test]
fn what_is_not_delivered_is_sent_again_in_the_next_session_and_what_is_delivered_is_not() {
    let mut rig = Rig::new();
    let traces = [put(&mut rig, 1), put(&mut rig, 2), put(&mut rig, 3)].map(|trace| trace.to_string());
    let bob = rig.client("bob");
    assert_eq!(numbers(&follow(&mut rig, bob, 1)), [1, 2, 3]);
    rig.now = rig.now + TICK;
    delivered(&mut rig, bob, &[&traces[1], "nonsense", &traces[1]]);
    assert!(rig.take(bob).messages().is_empty());
    rig.server.handle_disconnect(rig.now, bob);
    let bob = rig.client("bob");
    let again = notifications(&follow(&mut rig, bob, 1));
    assert_eq!(again, [(1, traces[0].clone(), 1), (1, traces[2].clone(), 3)]);
    let found = state(&rig.server, rig.now, traces[1].parse().unwrap()).unwrap();
    assert_eq!(found.delivered, Some(server_rig::START + TICK));
}

#[test]
fn all_pages_of_a_user_read_one_mailbox_and_what_one_has_taken_is_delivered_for_all() {
    let mut rig = Rig::new();
    let pages = ["first page", "second page"].map(|page| rig.client_of("bob", page));
    for page in pages {
        follow(&mut rig, page, 1);
    }
    let traces = [put(&mut rig, 1), put(&mut rig, 2)].map(|trace| trace.to_string());
    for page in pages {
        assert_eq!(numbers(&rig.take(page)), [1, 2]);
    }
    delivered(&mut rig, pages[0], &[&traces[0]]);
    rig.server.handle_disconnect(rig.now, pages[1]);
    let again = rig.client_of("bob", "second page");
    assert_eq!(numbers(&follow(&mut rig, again, 1)), [2]);
}

#[test]
fn nobody_can_say_delivered_for_the_mailbox_of_another() {
    let mut rig = Rig::new();
    let trace = put(&mut rig, 1);
    let eve = rig.client("eve");
    delivered(&mut rig, eve, &[&trace.to_string()]);
    assert_eq!(state(&rig.server, rig.now, trace).unwrap().delivered, None);
    assert_eq!(rig.server.pending_notifications("bob").unwrap(), 1);
}

#[test]
fn a_full_mailbox_is_sent_as_fast_as_it_is_read_and_never_queued_whole() {
    let mut rig = Rig::new();
    let pack = large_record("k", 200_000);
    for _ in 0..40 {
        rig.server.notify(rig.now, "bob", value(&pack), false, None).unwrap();
    }
    rig.commit().unwrap();
    rig.drains = false;
    let bob = rig.client("bob");
    let mut seen = notifications(&follow(&mut rig, bob, 1));
    assert_eq!(seen.len(), 2, "a window of 256 KiB, and what lies over its edge");
    // What comes meanwhile waits its turn.
    put(&mut rig, 99);
    assert!(rig.take(bob).messages().is_empty());
    let mut rounds = 0;
    while seen.len() < 41 {
        rig.server.handle_drained(rig.now, bob);
        rig.commit().unwrap();
        let next = notifications(&rig.take(bob));
        assert!((1..=2).contains(&next.len()));
        seen.extend(next);
        rounds += 1;
    }
    assert_eq!((rounds, seen[40].2), (20, 99));
    assert_eq!(seen.iter().map(|(_, trace, _)| trace).collect::<BTreeSet<_>>().len(), 41);
}

#[test]
fn a_reply_reaches_its_sender_if_that_follows_its_mailbox_and_else_by_asking() {
    let mut rig = Rig::new();
    let (ada, bob) = (rig.client("ada"), rig.client("bob"));
    follow(&mut rig, ada, 3);
    follow(&mut rig, ada, 4);
    let trace = notify(&mut rig, ada, 1, "bob", true);
    let bytes = number(7);
    let reply = || Operation::Reply { trace: &trace, reply: value(&bytes) };
    assert_eq!(rig.write(bob, 1, reply()).ack(), None);
    let expected = |subscription| ServerMessage::Reply { subscription, trace: &trace, reply: value(&bytes) };
    assert_eq!(rig.take(ada).messages(), [expected(3), expected(4)]);
    // A repeated request replies once.
    assert_eq!(rig.write(bob, 1, reply()).ack(), None);
    assert!(rig.take(ada).messages().is_empty());
    // Whoever is away asks.
    rig.server.handle_disconnect(rig.now, ada);
    let ada = rig.client("ada");
    assert!(ask(&mut rig, ada, &trace).unwrap().contains(r#""reply":7"#));
}

#[test]
fn only_the_target_may_reply_and_only_to_a_suit() {
    let mut rig = Rig::new();
    let (ada, bob, eve) = (rig.client("ada"), rig.client("bob"), rig.client("eve"));
    let suit = notify(&mut rig, ada, 1, "bob", true);
    let plain = notify(&mut rig, ada, 2, "bob", false);
    let mut request = 10;
    let mut reply = |client, trace: &str| {
        request += 1;
        rig.write(client, request, Operation::Reply { trace, reply: EncodedValue::NIL }).codes()
    };
    let not_found = ErrorCode::NotFound.number();
    assert_eq!(reply(eve, &suit), [not_found]);
    assert_eq!(reply(ada, &suit), [not_found]);
    assert_eq!(reply(bob, &"0".repeat(32)), [not_found]);
    assert_eq!(reply(bob, "nonsense"), [not_found]);
    assert_eq!(reply(bob, &plain), [ErrorCode::InvalidRequest.number()]);
    assert!(reply(bob, &suit).is_empty());
    rig.now = rig.now + DAY + TICK;
    let inbox = rig.write(bob, 99, Operation::Reply { trace: &suit, reply: EncodedValue::NIL });
    assert_eq!(inbox.codes(), [not_found]);
}

#[test]
fn sender_and_target_may_ask_what_became_of_a_notification_and_nobody_else_learns_that_it_exists() {
    let mut rig = Rig::new();
    let (ada, bob, eve) = (rig.client("ada"), rig.client("bob"), rig.client("eve"));
    let trace = notify(&mut rig, ada, 1, "bob", true);
    let created = rig.now.as_millis();
    let expires = created + 86_400_000;
    let json = |rest: &str| {
        format!(r#"{{"from":"ada","to":"bob","suit":true,"created":{created},"expires":{expires},{rest}}}"#)
    };
    let pending = json(r#""delivered":null,"replied":null,"reply":null"#);
    assert_eq!(ask(&mut rig, ada, &trace), Ok(pending.clone()));
    assert_eq!(ask(&mut rig, bob, &trace), Ok(pending));
    rig.now = rig.now + TICK;
    delivered(&mut rig, bob, &[&trace]);
    rig.now = rig.now + TICK;
    rig.write(bob, 1, Operation::Reply { trace: &trace, reply: value(&number(7)) });
    let (at, then) = (created + 1, created + 2);
    let replied = json(&format!(r#""delivered":{at},"replied":{then},"reply":7"#));
    assert_eq!(ask(&mut rig, ada, &trace), Ok(replied));
    let not_found = Err(ErrorCode::NotFound.number());
    assert_eq!(ask(&mut rig, eve, &trace), not_found);
    assert_eq!(ask(&mut rig, ada, &"0".repeat(32)), not_found);
    assert_eq!(ask(&mut rig, ada, ""), not_found);
    rig.now = rig.now + DAY;
    assert_eq!(ask(&mut rig, ada, &trace), not_found);
}

#[test]
fn the_state_of_a_notification_with_the_largest_reply_and_the_longest_names_fits_a_value() {
    let mut rig = Rig::new();
    let (from, to) = ("f".repeat(1_024), "t".repeat(1_024));
    let (sender, target) = (rig.client(&from), rig.client(&to));
    let trace = notify(&mut rig, sender, 1, &to, true);
    let reply = value_of(MAX_REPLY_BYTES);
    rig.write(target, 1, Operation::Reply { trace: &trace, reply: value(&reply) });
    assert!(ask(&mut rig, sender, &trace).is_ok());
}

#[test]
fn no_client_can_pass_for_the_server() {
    let mut rig = Rig::new();
    let liar = rig.connect();
    rig.send(liar, &ClientMessage::Hello { client: "server", token: None });
    assert_eq!(rig.take(liar).closed.unwrap().0, CloseCode::Unauthorized.number());
    assert_eq!(rig.server.residue(), Residue::default());
}

#[test]
fn questions_wait_while_answers_are_not_read_and_too_many_of_them_end_the_connection() {
    let mut rig = Rig::new();
    let (ada, bob) = (rig.client("ada"), rig.client("bob"));
    let trace = notify(&mut rig, ada, 1, "bob", true);
    let reply = value_of(200_000);
    rig.write(bob, 1, Operation::Reply { trace: &trace, reply: value(&reply) });
    rig.drains = false;
    let question =
        |query: QueryId| ClientMessage::Query { query, about: Query::Notification { trace: &trace } };
    let questions: Vec<_> = (0..7).map(question).collect();
    rig.feed(ada, &questions);
    rig.commit().unwrap();
    let mut answered = Vec::new();
    while answered.len() < 7 {
        let inbox = rig.take(ada);
        let messages = inbox.messages();
        assert!((1..=2).contains(&messages.len()));
        answered.extend(messages.iter().map(|message| match message {
            ServerMessage::Result { query, outcome: Ok(Some(_)) } => *query,
            other => panic!("{other:?}"),
        }));
        rig.server.handle_drained(rig.now, ada);
        rig.commit().unwrap();
    }
    assert_eq!(answered, [0, 1, 2, 3, 4, 5, 6]);
    for query in 0..40_000 {
        rig.feed(ada, &[question(query)]);
    }
    rig.commit().unwrap();
    assert_eq!(rig.take(ada).closed.unwrap().0, CloseCode::LimitExceeded.number());
}

#[test]
fn a_departed_client_leaves_nothing_behind() {
    let mut rig = Rig::new();
    put(&mut rig, 1);
    let (first, second) = (rig.client("bob"), rig.client("ada"));
    follow(&mut rig, first, 1);
    follow(&mut rig, first, 2);
    follow(&mut rig, second, 1);
    let expected =
        Residue { connections: 2, timers: 2, subscriptions: 3, mailboxes: 3, ..Residue::default() };
    assert_eq!(rig.server.residue(), expected);
    // Another target under the same number takes the mailbox's place.
    rig.subscribe(first, 1, Target::Object("k"), None);
    assert_eq!(rig.server.residue().mailboxes, 2);
    rig.send(first, &ClientMessage::Unsubscribe(2));
    assert_eq!(rig.server.residue().mailboxes, 1);
    rig.server.handle_disconnect(rig.now, first);
    rig.server.close(second, CloseCode::Restarting, "", None);
    assert_eq!(rig.server.residue(), Residue::default());
}

// The commit rule

#[test]
fn of_a_failed_batch_nobody_saw_anything_and_what_it_would_have_sent_is_sent_later() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    let (ada, bob) = (rig.client("ada"), rig.client("bob"));
    follow(&mut rig, bob, 1);
    let kept = put(&mut rig, 1).to_string();
    rig.take(bob);
    fault.set(Fault::Commit);
    let pack = large_record("k", 262_100);
    let operation = Operation::Notify { to: "bob", pack: value(&pack), suit: false, ttl: None };
    rig.feed(ada, &[ClientMessage::Write { request: 1, operation }]);
    rig.feed(bob, &[ClientMessage::Delivered(vec![&kept])]);
    let about = Query::Notification { trace: &kept };
    rig.feed(bob, &[ClientMessage::Query { query: 9, about }]);
    let target = Target::Mailbox;
    rig.feed(bob, &[ClientMessage::Subscribe(vec![Subscription { id: 2, target, position: None }])]);
    assert!(matches!(rig.commit(), Err(CommitError::Undone(_))));
    let failed = ErrorCode::StorageFailed.number();
    assert_eq!(rig.take(ada).codes(), [failed]);
    // What it had filled the window with was not sent: what waited behind that goes out with the news of the failure.
    let inbox = rig.take(bob);
    assert!(inbox.messages().contains(&ServerMessage::Following { subscription: 2 }));
    assert_eq!(notifications(&inbox), [(2, kept.clone(), 1)]);
    let answered = |message: &ServerMessage<'_>| {
        matches!(message, ServerMessage::Result { query: 9, outcome: Ok(Some(_)) })
    };
    assert!(inbox.messages().iter().any(answered));
    fault.set(Fault::None);
    rig.advance(HEARTBEAT);
    assert!(numbers(&rig.take(bob)).is_empty());
    // The notification that was undone is put again by its request, and comes once.
    let pack = number(2);
    let operation = Operation::Notify { to: "bob", pack: value(&pack), suit: false, ttl: None };
    rig.write(ada, 1, operation);
    assert_eq!(numbers(&rig.take(bob)), [2, 2]);
}

#[test]
fn a_notification_whose_sending_was_undone_is_sent_in_the_same_session_and_in_its_turn() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    let pack = large_record("k", 200_000);
    let put = |rig: &mut Rig<Faulty>| {
        rig.server.notify(rig.now, "bob", value(&pack), false, None).unwrap().trace.to_string()
    };
    let traces: Vec<_> = (0..5).map(|_| put(&mut rig)).collect();
    rig.commit().unwrap();
    rig.drains = false;
    let bob = rig.client("bob");
    let mut seen = notifications(&follow(&mut rig, bob, 1));
    fault.set(Fault::Commit);
    rig.server.handle_drained(rig.now, bob);
    put(&mut rig);
    assert!(rig.commit().is_err());
    seen.extend(notifications(&rig.take(bob)));
    assert_eq!(seen.len(), 4);
    fault.set(Fault::None);
    rig.server.handle_drained(rig.now, bob);
    rig.commit().unwrap();
    seen.extend(notifications(&rig.take(bob)));
    assert_eq!(seen.into_iter().map(|(_, trace, _)| trace).collect::<Vec<_>>(), traces);
}

#[test]
fn a_subscription_that_begins_in_a_failed_batch_is_sent_what_was_pending_before() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    put(&mut rig, 1);
    let bob = rig.client("bob");
    fault.set(Fault::Commit);
    let target = Target::Mailbox;
    rig.feed(bob, &[ClientMessage::Subscribe(vec![Subscription { id: 1, target, position: None }])]);
    rig.server.notify(rig.now, "bob", value(&number(2)), false, None).unwrap();
    assert!(rig.commit().is_err());
    assert_eq!(numbers(&rig.take(bob)), [1]);
}

#[test]
fn a_question_in_a_failed_batch_is_answered_with_that() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    let bob = rig.client("bob");
    let trace = put(&mut rig, 1).to_string();
    fault.set(Fault::Commit);
    rig.server.put(rig.now, "k", EncodedValue::NIL).unwrap();
    rig.feed(bob, &[ClientMessage::Query { query: 9, about: Query::Notification { trace: &trace } }]);
    assert!(rig.commit().is_err());
    let failed = ErrorCode::StorageFailed.number();
    assert!(matches!(rig.take(bob).one(),
        ServerMessage::Result { query: 9, outcome: Err((code, _)) } if code == failed));
}

// All of it

#[test]
fn in_five_hundred_seeded_schedules_everything_is_sent_until_it_is_delivered_and_once_per_session() {
    for seed in 0..500_u64 {
        schedule(seed);
    }
}

/// A client comes and goes and takes what it gets now and then, while others put and some batches fail.
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
    let (mut kept, mut taken, mut session) = (Vec::new(), BTreeSet::new(), Vec::new());
    let mut bob = rig.client("bob");
    follow(&mut rig, bob, 1);
    let put = |rig: &mut Rig<Faulty>, random: &mut dyn FnMut(u64) -> u64| {
        let pack = large_record("k", usize::try_from(random(200_000)).unwrap());
        rig.server.notify(rig.now, "bob", value(&pack), false, None).unwrap().trace.to_string()
    };
    for _ in 0..60 {
        rig.drains = random(2) == 0;
        match random(8) {
            0..=2 => {
                kept.push(put(&mut rig, &mut random));
                rig.commit().unwrap();
            }
            3 => {
                fault.set(Fault::Commit);
                rig.server.handle_drained(rig.now, bob);
                put(&mut rig, &mut random);
                assert!(rig.commit().is_err());
                fault.set(Fault::None);
            }
            4 => {
                rig.server.handle_drained(rig.now, bob);
                rig.commit().unwrap();
            }
            5..=6 => {
                session.extend(notifications(&rig.take(bob)).into_iter().map(|(_, trace, _)| trace));
                let known: Vec<_> = session.iter().filter(|_| random(2) == 0).map(|trace| &**trace).collect();
                delivered(&mut rig, bob, &known);
                taken.extend(known.into_iter().map(str::to_owned));
            }
            _ => {
                session.extend(notifications(&rig.take(bob)).into_iter().map(|(_, trace, _)| trace));
                let once: BTreeSet<_> = session.iter().collect();
                assert_eq!(once.len(), session.len(), "seed {seed}: something came twice in one session");
                session.clear();
                rig.server.handle_disconnect(rig.now, bob);
                bob = rig.client("bob");
                let inbox = follow(&mut rig, bob, 1);
                session.extend(notifications(&inbox).into_iter().map(|(_, trace, _)| trace));
            }
        }
    }
    rig.server.handle_disconnect(rig.now, bob);
    rig.drains = true;
    let bob = rig.client("bob");
    let last: Vec<_> =
        notifications(&follow(&mut rig, bob, 1)).into_iter().map(|(_, trace, _)| trace).collect();
    let expected: Vec<_> = kept.into_iter().filter(|trace| !taken.contains(trace)).collect();
    assert_eq!(last, expected, "seed {seed}");
}
