//! A connection's life: greeting, heartbeat, limits, faults, and what it leaves behind.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::time::Duration;

use server_rig::{Rig, datastore, large_record, number};
use tidewire::{
    protocol::{
        Answer, ClientMessage, CloseCode, EncodedValue, ErrorCode, Operation, Sequence, ServerMessage,
        Subscription, Target,
        limits::{MAX_FRAME_BYTES, MAX_SUBSCRIPTIONS, SLOWEST_LINE},
    },
    server::Residue,
};

const HEARTBEAT: Duration = Duration::from_secs(10);

#[test]
fn a_hello_is_answered_with_the_session_and_the_heartbeat() {
    let mut rig = Rig::new();
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let connection = rig.connect();
        rig.send(connection, &ClientMessage::Hello { client: "c", token: None });
        match rig.take(connection).one() {
            ServerMessage::Welcome { session, heartbeat: 10_000 } => sessions.push(session),
            other => panic!("{other:?}"),
        }
    }
    assert_ne!(sessions[0], sessions[1]);
}

#[test]
fn a_message_before_hello_and_a_second_hello_end_the_connection() {
    let mut rig = Rig::new();
    let early = rig.connect();
    rig.send(early, &ClientMessage::Ping);
    let inbox = rig.take(early);
    assert!(matches!(inbox.one(), ServerMessage::Goodbye { code: 4501, .. }));
    assert_eq!(inbox.closed.unwrap().0, CloseCode::Unexpected.number());
    let twice = rig.client("c");
    rig.send(twice, &ClientMessage::Hello { client: "c", token: None });
    assert_eq!(rig.take(twice).closed.unwrap().0, CloseCode::Unexpected.number());
    assert_eq!(rig.server.residue(), Residue::default());
}

#[test]
fn a_hello_ends_the_clients_older_connection_and_what_is_still_on_its_way_there_never_runs() {
    let mut rig = Rig::new();
    let (older, other) = (rig.client("c"), rig.client("d"));
    let newer = rig.client("c");
    assert_eq!(rig.take(older).closed.map(|(code, _)| code), Some(CloseCode::Silent.number()));
    let bytes = number(1);
    let value = EncodedValue::check(&bytes).unwrap();
    let late = ClientMessage::Write { request: 1, operation: Operation::Put { key: "k", value } };
    rig.send(older, &late);
    assert_eq!(rig.server.object("k").unwrap(), None);
    rig.send(newer, &late);
    assert!(rig.take(newer).ack().is_some());
    // The end of the older one takes nothing of the newer one along.
    rig.server.handle_disconnect(rig.now, older);
    rig.send(newer, &ClientMessage::Ping);
    assert_eq!(rig.take(newer).one(), ServerMessage::Pong);
    assert_eq!(rig.take(other).closed, None);
}

#[test]
fn a_malformed_frame_ends_its_own_connection_and_no_other() {
    let mut rig = Rig::new();
    let (good, bad) = (rig.client("good"), rig.client("bad"));
    for frame in [&b"no message"[..], &[0x91, 0x01], &[0xdd, 0xff, 0xff, 0xff, 0xff], &[0x91, 0xcc, 0xff]] {
        let bad = if rig.server.residue().connections == 2 { bad } else { rig.client("bad") };
        rig.server.handle_frame(rig.now, bad, frame);
        rig.commit().unwrap();
        let (code, reason) = rig.take(bad).closed.unwrap();
        assert_eq!(code, CloseCode::Malformed.number());
        assert!(!reason.is_empty());
    }
    rig.send(good, &ClientMessage::Ping);
    assert_eq!(rig.take(good).one(), ServerMessage::Pong);
}

#[test]
fn what_came_before_a_malformed_message_counts_and_is_acknowledged() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    let value = number(1);
    let operation = Operation::Put { key: "k", value: EncodedValue::check(&value).unwrap() };
    rig.feed(client, &[ClientMessage::Write { request: 1, operation }]);
    rig.server.handle_frame(rig.now, client, &[0xc1]);
    rig.commit().unwrap();
    let inbox = rig.take(client);
    assert!(inbox.ack().is_some());
    assert!(inbox.closed.is_some());
    assert!(rig.server.object("k").unwrap().is_some());
}

#[test]
fn a_frame_over_the_limit_ends_the_connection() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    rig.server.handle_frame(rig.now, client, &vec![0x91; MAX_FRAME_BYTES + 1]);
    rig.commit().unwrap();
    assert_eq!(rig.take(client).closed.unwrap().0, CloseCode::LimitExceeded.number());
}

#[test]
fn a_connection_without_hello_is_closed_after_fifteen_seconds() {
    let mut rig = Rig::new();
    let connection = rig.connect();
    rig.advance(Duration::from_millis(14_999));
    assert_eq!(rig.take(connection).closed, None);
    rig.advance(Duration::from_millis(1));
    assert_eq!(rig.take(connection).closed.unwrap().0, CloseCode::Silent.number());
}

#[test]
fn a_client_that_pings_lives_and_a_silent_one_is_closed_after_two_and_a_half_heartbeats() {
    let mut rig = Rig::new();
    let (live, silent) = (rig.client("live"), rig.client("silent"));
    for _ in 0..4 {
        rig.advance(Duration::from_secs(6));
        rig.send(live, &ClientMessage::Ping);
    }
    assert_eq!(rig.take(silent).closed, None);
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.take(silent).closed.unwrap().0, CloseCode::Silent.number());
    assert_eq!(rig.take(live).closed, None);
    assert_eq!(rig.server.residue().connections, 1);
}

#[test]
fn a_frame_that_arrives_slowly_is_no_silence_and_one_that_trickles_is() {
    let mut rig = Rig::new();
    let (slow, trickling) = (rig.client("slow"), rig.client("trickling"));
    for second in 1..=600 {
        rig.advance(Duration::from_secs(1));
        // The slowest line that is good enough, and one of a third of that.
        rig.server.handle_arriving(rig.now, slow, SLOWEST_LINE);
        rig.server.handle_arriving(rig.now, trickling, SLOWEST_LINE / 3);
        let closed = rig.take(trickling).closed;
        assert_eq!(closed.is_some(), second == 25, "after {second} s: {closed:?}");
        assert_eq!(rig.take(slow).closed, None);
    }
    // What is left of a frame when it is whole counts for no other.
    rig.send(slow, &ClientMessage::Ping);
    rig.server.handle_arriving(rig.now, slow, 10 * SLOWEST_LINE - 1);
    rig.advance(Duration::from_secs(24));
    assert_eq!(rig.take(slow).closed, None);
    rig.send(slow, &ClientMessage::Ping);
    rig.server.handle_arriving(rig.now, slow, 1);
    rig.advance(Duration::from_secs(1));
    rig.server.handle_arriving(rig.now, slow, 10 * SLOWEST_LINE - 2);
    rig.advance(Duration::from_secs(24));
    assert_eq!(rig.take(slow).closed.unwrap().0, CloseCode::Silent.number());
}

#[test]
fn bytes_that_are_no_hello_hold_no_connection() {
    let mut rig = Rig::new();
    let connection = rig.connect();
    for _ in 0..14 {
        rig.advance(Duration::from_secs(1));
        rig.server.handle_arriving(rig.now, connection, 100 * SLOWEST_LINE);
        assert_eq!(rig.take(connection).closed, None);
    }
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.take(connection).closed.unwrap().0, CloseCode::Silent.number());
    // Of one that is gone nothing is known.
    rig.server.handle_arriving(rig.now, connection, SLOWEST_LINE);
}

#[test]
fn nobody_is_taken_for_dead_because_the_host_was_asleep() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    rig.now = rig.now + Duration::from_secs(3_600);
    rig.server.handle_timeout(rig.now);
    rig.commit().unwrap();
    assert_eq!(rig.take(client).closed, None);
    rig.advance(Duration::from_secs(25));
    assert!(rig.take(client).closed.is_some());
}

#[test]
fn a_clock_that_jumps_back_stops_no_heartbeat() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    rig.now = tidewire::protocol::Timestamp::from_millis(rig.now.as_millis() - 3_600_000);
    rig.send(client, &ClientMessage::Ping);
    rig.take(client);
    rig.advance(HEARTBEAT);
    assert!(
        rig.take(client).messages().iter().any(|message| matches!(message, ServerMessage::Beacon { .. }))
    );
    rig.advance(2 * HEARTBEAT);
    assert!(rig.take(client).closed.is_some());
}

#[test]
fn a_beacon_comes_every_heartbeat_and_tells_the_heads_that_moved() {
    let mut rig = Rig::new();
    rig.open("d");
    rig.open("still");
    let client = rig.client("c");
    let topic = rig.subscribe(client, 1, datastore("d"), None).answer().0;
    let still = rig.subscribe(client, 2, datastore("still"), None).answer().0;
    let beacon = |rig: &mut Rig| {
        rig.advance(HEARTBEAT);
        rig.send(client, &ClientMessage::Ping);
        let inbox = rig.take(client);
        let mut beacons = inbox.messages().into_iter().filter_map(|message| match message {
            ServerMessage::Beacon { number, heads } => {
                Some((number, heads.into_iter().map(|(topic, head)| (topic, head.get())).collect::<Vec<_>>()))
            }
            _ => None,
        });
        let beacon = beacons.next().unwrap();
        assert_eq!(beacons.next(), None);
        beacon
    };
    assert_eq!(beacon(&mut rig), (1, vec![(topic, 0), (still, 0)]));
    assert_eq!(beacon(&mut rig), (2, vec![]));
    rig.set("d", "a", 1);
    rig.set("d", "a", 2);
    assert_eq!(beacon(&mut rig), (3, vec![(topic, 2)]));
    assert_eq!(beacon(&mut rig), (4, vec![]));
}

#[test]
fn a_beacon_never_overtakes_the_change_whose_head_it_tells() {
    let mut rig = Rig::new();
    rig.open("d");
    let client = rig.client("c");
    rig.subscribe(client, 1, datastore("d"), None);
    rig.now = rig.now + HEARTBEAT;
    rig.server.set(rig.now, "d", EncodedValue::check(&server_rig::record("a", 1)).unwrap()).unwrap();
    rig.server.handle_timeout(rig.now);
    rig.commit().unwrap();
    let inbox = rig.take(client);
    match &inbox.messages()[..] {
        [ServerMessage::Envelope { sequence, .. }, ServerMessage::Beacon { heads, .. }] => {
            assert_eq!(heads[0].1, *sequence);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_departed_connection_leaves_nothing_behind() {
    let mut rig = Rig::new();
    for round in 0..200 {
        let client = rig.client("c");
        for id in 0..20 {
            let key = format!("key{id}");
            let target = if id % 2 == 0 { Target::Object(&key) } else { datastore(&key) };
            rig.open(&key);
            rig.subscribe(client, id, target, None);
        }
        rig.feed(client, &[ClientMessage::Unsubscribe(3), ClientMessage::Unsubscribe(99)]);
        assert_eq!(rig.server.residue().topics, 19);
        rig.server.handle_disconnect(rig.now, client);
        assert_eq!(rig.server.residue(), Residue::default(), "round {round}");
        rig.commit().unwrap();
        assert!(rig.server.is_idle());
    }
}

#[test]
fn a_changed_object_reaches_its_followers_as_one_shared_frame_and_nobody_else() {
    let mut rig = Rig::new();
    let clients = ["a", "b", "c"].map(|name| rig.client(name));
    for client in &clients[..2] {
        rig.subscribe(*client, 1, Target::Object("k"), None);
        rig.subscribe(*client, 2, Target::Object("k"), None);
    }
    for n in 1..=3 {
        let value = number(n);
        rig.server.put(rig.now, "k", EncodedValue::check(&value).unwrap()).unwrap();
    }
    rig.server.commit(rig.now).unwrap();
    let mut frames = Vec::new();
    while let Some(transmit) = rig.server.poll_transmit() {
        let tidewire::server::Action::Frame(frame) = transmit.action else { panic!("a close") };
        frames.push((transmit.connection, frame));
    }
    assert_eq!(frames.len(), 2);
    assert!(std::sync::Arc::ptr_eq(&frames[0].1, &frames[1].1));
    assert_eq!([frames[0].0, frames[1].0], clients[..2]);
}

#[test]
fn an_object_is_answered_with_absent_snapshot_current_or_tail() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    let inbox = rig.subscribe(client, 1, Target::Object("k"), None);
    let (topic, epoch, answer) = inbox.answer();
    assert!(matches!(answer, Answer::Absent { sequence } if sequence.get() == 0));
    let first = number(1);
    let first = EncodedValue::check(&first).unwrap();
    let put = rig.server.put(rig.now, "k", first).unwrap();
    rig.commit().unwrap();
    assert_eq!(rig.take(client).envelopes(), [(1, None, Some(number(1)))]);
    let other = rig.client("other");
    let inbox = rig.subscribe(other, 7, Target::Object("k"), None);
    assert!(matches!(inbox.answer(), (number, same, Answer::Snapshot { sequence, value, .. })
            if number == topic && same == epoch && sequence.get() == 1 && value == first));
    let inbox = rig.subscribe(other, 7, Target::Object("k"), Some(put));
    assert!(matches!(inbox.answer().2, Answer::Current));
    rig.server.delete(rig.now, "k").unwrap();
    rig.server.put(rig.now, "k", first).unwrap();
    rig.server.delete(rig.now, "k").unwrap();
    rig.commit().unwrap();
    rig.take(other);
    let inbox = rig.subscribe(other, 7, Target::Object("k"), Some(put));
    assert!(matches!(inbox.answer().2, Answer::Tail { count: 1 }));
    match &inbox.messages()[1] {
        ServerMessage::Envelope { sequence, prev, value: None, key: None, .. } => {
            assert_eq!((sequence.get(), prev.map(Sequence::get)), (4, Some(1)));
        }
        message => panic!("{message:?}"),
    }
    let inbox = rig.subscribe(other, 7, Target::Object("k"), None);
    assert!(matches!(inbox.answer().2, Answer::Absent { sequence } if sequence.get() == 4));
}

#[test]
fn subscriptions_end_at_their_limit_and_a_replaced_one_does_not_count_twice() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    let subscriptions = |range: std::ops::Range<u32>| {
        let subscription = |id| Subscription { id, target: Target::Object("k"), position: None };
        ClientMessage::Subscribe(range.map(subscription).collect())
    };
    let most = u32::try_from(MAX_SUBSCRIPTIONS).unwrap();
    rig.send(client, &subscriptions(0..most));
    assert!(rig.take(client).codes().is_empty());
    rig.send(client, &subscriptions(most - 1..most + 1));
    assert_eq!(rig.take(client).codes(), [ErrorCode::LimitExceeded.number()]);
    assert_eq!(rig.server.residue().subscriptions, 2 * MAX_SUBSCRIPTIONS);
}

#[test]
fn a_client_that_asks_for_more_than_it_reads_waits_and_fills_no_memory() {
    let mut rig = Rig::new();
    rig.open("d");
    for n in 0..4 {
        let bytes = large_record(&n.to_string(), 100_000);
        rig.server.set(rig.now, "d", EncodedValue::check(&bytes).unwrap()).unwrap();
    }
    rig.commit().unwrap();
    let client = rig.client("greedy");
    rig.drains = false;
    let subscription = |id| Subscription { id, target: datastore("d"), position: None };
    rig.send(client, &ClientMessage::Subscribe((0..1_000).map(subscription).collect()));
    let mut answers = 0;
    let mut answered = |rig: &mut Rig| {
        let inbox = rig.take(client);
        answers += inbox.messages().len();
        answers
    };
    // A page ends before 256 KiB, so there is room for the beginning of another one.
    assert_eq!(answered(&mut rig), 2);
    rig.server.handle_drained(rig.now, client);
    rig.commit().unwrap();
    assert_eq!(answered(&mut rig), 4);
    rig.drains = true;
    rig.server.handle_drained(rig.now, client);
    rig.commit().unwrap();
    assert_eq!(answered(&mut rig), 1_000);
}

#[test]
fn a_question_about_no_subscription_is_denied() {
    let mut rig = Rig::new();
    let client = rig.client("c");
    rig.send(client, &ClientMessage::Refetch { subscription: 5, attempt: 3, position: None });
    assert!(matches!(
        rig.take(client).one(),
        ServerMessage::Denied { subscription: 5, attempt: 3, code: 2, .. }
    ));
    rig.send(client, &ClientMessage::Page { subscription: 5, attempt: 0, cursor: "nonsense" });
    assert_eq!(rig.take(client).codes(), [ErrorCode::InvalidRequest.number()]);
    rig.send(client, &ClientMessage::Page { subscription: 5, attempt: 0, cursor: "1.1.1.1" });
    assert_eq!(rig.take(client).codes(), [ErrorCode::NotFound.number()]);
}

#[test]
fn everybody_hears_a_goodbye_with_the_time_to_come_back() {
    let mut rig = Rig::new();
    let (greeted, fresh) = (rig.client("c"), rig.connect());
    rig.server.close_all(CloseCode::Restarting, "the server is restarting", Some(Duration::from_secs(1)));
    rig.commit().unwrap();
    // Not both at once.
    for (turn, connection) in (1_000..).zip([greeted, fresh]) {
        let inbox = rig.take(connection);
        let ServerMessage::Goodbye { code: 4000, retry_after, .. } = inbox.one() else {
            panic!("{:?}", inbox.one());
        };
        assert_eq!(retry_after, Some(turn));
        assert_eq!(inbox.closed.unwrap().0, 4000);
    }
    assert_eq!(rig.server.residue(), Residue::default());
}
