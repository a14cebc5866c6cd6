//! What a host is told about the module's work, and what it may ask of it: numbers, limits, an orderly end.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

use std::time::Duration;

use server_rig::{
    Inbox, Rig, datastore,
    faulty::{Fault, Faulty},
    record,
};
use tidewire::{
    protocol::{
        ClientMessage, CloseCode, EncodedValue, ErrorCode, Operation, Position, ServerMessage, Subscription,
        Target,
    },
    server::{Answers, Census, Limits, Options, Rate, storage::Memory},
};

const RATE: Rate = Rate { per_second: 10, burst: 20 };

fn limited(limits: Limits) -> Rig {
    Rig::configured(Memory::new(), Options { limits, ..Options::new([1; 32]) })
}

/// When a client was asked back.
fn retry_after(inbox: &Inbox) -> Option<u32> {
    inbox.messages().into_iter().find_map(|message| match message {
        ServerMessage::Goodbye { retry_after, .. } => retry_after,
        _ => None,
    })
}

fn put(key: &str) -> Operation<'_> {
    Operation::Put { key, value: EncodedValue::NIL }
}

#[test]
fn each_thing_that_is_done_is_counted_once_and_an_envelope_once_per_receiver() {
    let mut rig = Rig::new();
    rig.open("d");
    let [ada, bob] = ["ada", "bob"].map(|name| rig.client(name));
    rig.subscribe(ada, 1, datastore("d"), None);
    rig.subscribe(bob, 1, datastore("d"), None);
    rig.subscribe(bob, 2, datastore("d"), None);
    rig.subscribe(bob, 3, datastore("absent"), None);
    let position = rig.set("d", "a", 1);
    rig.set("d", "b", 2);
    let since = |sequence| Some(Position { sequence, ..position });
    rig.subscribe(ada, 2, datastore("d"), since(position.sequence));
    rig.send(
        ada,
        &ClientMessage::Refetch { subscription: 1, attempt: 1, position: since(position.sequence) },
    );
    rig.send(ada, &ClientMessage::Refetch { subscription: 1, attempt: 2, position: None });
    let bytes = record("c", 3);
    let value = EncodedValue::check(&bytes).unwrap();
    rig.write(bob, 1, Operation::Set { datastore: "d", value });
    rig.write(bob, 2, Operation::Set { datastore: "d", value: EncodedValue::NIL });
    let counters = rig.server.counters().clone();
    // Two changes to two connections each; a tail of one record twice; the third change.
    assert_eq!(counters.envelopes, 4 + 2 + 2);
    assert_eq!(counters.subscribed, Answers { page: 3, tail: 1, ..Answers::default() });
    assert_eq!(counters.refetched, Answers { page: 1, tail: 1, ..Answers::default() });
    assert_eq!(counters.denied.iter().collect::<Vec<_>>(), [(ErrorCode::NotFound.number(), 1)]);
    assert_eq!((counters.acknowledged, counters.refused.of(ErrorCode::InvalidRequest.number())), (1, 1));
    assert_eq!(counters.messages, 2 + 5 + 2 + 2);
    assert_eq!(counters.undone, 0);
    let census = Census { greeting: 0, sessions: 2, subscriptions: 4, topics: 1 };
    assert_eq!(rig.server.census(), census);
    assert_eq!(rig.server.user(ada).as_deref(), Some("ada"));
    let silent = rig.connect();
    assert_eq!(rig.server.census(), Census { greeting: 1, ..census });
    assert_eq!(rig.server.user(silent), None);
}

#[test]
fn what_a_batch_did_that_was_undone_does_not_count_but_as_undone() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    let [ada, bob] = ["ada", "bob"].map(|name| rig.client(name));
    rig.subscribe(ada, 1, Target::Object("k"), None);
    let before = rig.server.counters().clone();
    fault.set(Fault::Commit);
    let subscription = Subscription { id: 2, target: Target::Object("k"), position: None };
    rig.feed(ada, &[ClientMessage::Subscribe(vec![subscription])]);
    rig.feed(bob, &[ClientMessage::Write { request: 1, operation: put("k") }]);
    assert!(rig.commit().is_err());
    let counters = rig.server.counters();
    assert_eq!(counters.undone, 1);
    assert_eq!((counters.envelopes, counters.acknowledged, counters.commits), (0, 0, before.commits));
    assert_eq!(counters.subscribed, before.subscribed);
    let failed = ErrorCode::StorageFailed.number();
    assert_eq!((counters.refused.of(failed), counters.denied.of(failed)), (1, 1));
}

#[test]
fn a_probe_says_whether_the_storage_works_and_changes_nothing() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    let ada = rig.client("ada");
    rig.write(ada, 1, put("k"));
    let before = rig.server.object("k").unwrap();
    fault.set(Fault::Commit);
    rig.server.probe(rig.now);
    assert!(rig.commit().is_err());
    fault.set(Fault::None);
    let commits = rig.server.counters().commits;
    rig.server.probe(rig.now);
    rig.commit().unwrap();
    assert_eq!(rig.server.counters().commits, commits + 1);
    assert_eq!(rig.server.object("k").unwrap(), before);
}

#[test]
fn a_client_above_its_rate_is_sent_away_for_as_long_as_makes_up_for_it() {
    for (limits, messages) in [
        (Limits { messages: Some(RATE), ..Limits::default() }, ClientMessage::Ping),
        (
            Limits { writes: Some(RATE), ..Limits::default() },
            ClientMessage::Write { request: 1, operation: put("k") },
        ),
    ] {
        let mut rig = limited(limits);
        let [ada, bob] = ["ada", "bob"].map(|name| rig.client(name));
        rig.feed(ada, &vec![messages.clone(); 20]);
        rig.commit().unwrap();
        assert_eq!(rig.take(ada).closed, None);
        rig.now = rig.now + Duration::from_millis(99);
        rig.send(ada, &messages);
        let inbox = rig.take(ada);
        assert_eq!(inbox.closed.as_ref().map(|(code, _)| *code), Some(CloseCode::RateLimited.number()));
        assert!(!CloseCode::is_terminal(CloseCode::RateLimited.number()));
        assert_eq!(retry_after(&inbox), Some(2_000));
        // Others have their own.
        rig.send(bob, &messages);
        assert_eq!(rig.take(bob).closed, None);
    }
}

#[test]
fn a_client_at_its_rate_is_never_sent_away() {
    let mut rig = limited(Limits { messages: Some(RATE), ..Limits::default() });
    let ada = rig.client("ada");
    rig.feed(ada, &vec![ClientMessage::Ping; 20]);
    for _ in 0..500 {
        rig.now = rig.now + Duration::from_millis(100);
        rig.send(ada, &ClientMessage::Ping);
    }
    assert_eq!(rig.take(ada).closed, None);
}

#[test]
fn a_subscription_costs_as_much_in_one_message_as_in_many() {
    let mut rig = limited(Limits { messages: Some(RATE), ..Limits::default() });
    let subscription = |id| Subscription { id, target: Target::Object("k"), position: None };
    let ada = rig.client("ada");
    rig.send(ada, &ClientMessage::Subscribe((0..21).map(subscription).collect()));
    assert_eq!(rig.take(ada).closed.map(|(code, _)| code), Some(CloseCode::RateLimited.number()));
    let bob = rig.client("bob");
    rig.send(bob, &ClientMessage::Subscribe((0..20).map(subscription).collect()));
    assert_eq!(rig.take(bob).closed, None);
}

#[test]
fn the_hosts_own_limits_hold_for_subscriptions_and_frames() {
    let mut rig = limited(Limits { subscriptions: 2, frame_bytes: 64, ..Limits::default() });
    let ada = rig.client("ada");
    for id in 1..=2 {
        assert_eq!(rig.subscribe(ada, id, Target::Object("k"), None).codes(), [0; 0]);
    }
    let denied = rig.subscribe(ada, 3, Target::Object("k"), None).codes();
    assert_eq!(denied, [ErrorCode::LimitExceeded.number()]);
    // In the place of one that it has.
    assert_eq!(rig.subscribe(ada, 2, Target::Object("l"), None).codes(), [0; 0]);
    rig.feed(ada, &vec![ClientMessage::Ping; 33]);
    rig.commit().unwrap();
    assert_eq!(rig.take(ada).closed.map(|(code, _)| code), Some(CloseCode::LimitExceeded.number()));
}

#[test]
fn a_goodbye_to_all_asks_them_back_one_after_the_other() {
    let mut rig = Rig::new();
    let clients: Vec<_> = (0..2_000).map(|n| rig.client(&format!("c{n}"))).collect();
    rig.server.close_all(CloseCode::Restarting, "restarting", Some(Duration::from_secs(1)));
    rig.commit().unwrap();
    let mut asked: Vec<_> = clients.into_iter().map(|id| retry_after(&rig.take(id)).unwrap()).collect();
    asked.sort_unstable();
    assert_eq!(asked[0], 1_000);
    let in_one_tenth = |from| asked.iter().filter(|at| (from..from + 100).contains(*at)).count();
    assert!((1_000..3_000).step_by(100).all(|from| in_one_tenth(from) == 100), "{asked:?}");
}
