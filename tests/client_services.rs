//! The real client's relays, mailbox, watches, questions and pools, against the real server.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

mod client_rig;

use std::time::Duration;

use client_rig::{ANY, Rig};
use tidewire::{
    client::{Change, QueryError, SlotId, WriteError},
    protocol::{
        EncodedValue, ErrorCode, KvChange, OpenPool, Operation, Query, Relayed, RequestId, Sequence,
        from_json,
    },
};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than the first backoff.
const BACK: Duration = Duration::from_secs(2);

fn json(text: &str) -> Vec<u8> {
    from_json(text).unwrap()
}

fn value(bytes: &[u8]) -> EncodedValue<'_> {
    EncodedValue::check(bytes).unwrap()
}

fn write(rig: &mut Rig, index: usize, operation: Operation<'_>) -> RequestId {
    let request = rig.peers[index].client.write(rig.now, operation).unwrap();
    rig.settle();
    request
}

fn relay(rig: &mut Rig, index: usize, key: &str, sequence: u64) -> RequestId {
    let bytes = json(r#"{"n":1}"#);
    let (sequence, value) = (Sequence::new(sequence).unwrap(), Some(value(&bytes)));
    write(
        rig,
        index,
        Operation::Relay(Relayed { key, sequence, prev: None, version: None, epoch: None, value }),
    )
}

fn notify(rig: &mut Rig, index: usize, to: &str, pack: &str, suit: bool) -> String {
    let pack = json(pack);
    let request = write(rig, index, Operation::Notify { to, pack: value(&pack), suit, ttl: None });
    assert_eq!(rig.settled(index, request), Some(0));
    rig.peers[index].client.settlement(request).expect("the trace")
}

fn ask(rig: &mut Rig, index: usize, about: Query<'_>) -> u32 {
    let query = rig.peers[index].client.query(rig.now, about).unwrap();
    rig.settle();
    query
}

fn set(group: &'static str, key: &'static str, value: EncodedValue<'static>) -> Operation<'static> {
    Operation::Kv(vec![KvChange::Set { group, key, value, ttl: None }])
}

const ONE: EncodedValue<'static> = EncodedValue::trusted(&[1]);
const FOLLOWING: &str = "[[74]]";

/// Links up again after the backoff, with the next session.
fn reconnect(rig: &mut Rig, index: usize) {
    rig.drop_link(index);
    rig.advance(BACK);
}

mod relays {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn an_envelope_reaches_every_slot_of_its_key_once_and_no_other() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect(ANY), rig.connect(ANY));
        let mut follow = |index: usize, key| rig.peers[index].client.follow_relay(key).unwrap();
        let slots = [follow(bob, "b"), follow(bob, "a"), follow(bob, "c"), follow(bob, "a")];
        rig.settle();
        assert!(slots.iter().all(|slot| rig.peers[bob].client.is_ready(*slot)));
        let request = relay(&mut rig, ada, "a", 7);
        assert_eq!(rig.settled(ada, request), Some(0));
        let told: Vec<_> = slots.iter().map(|slot| rig.told(bob, *slot)).collect();
        let envelope = r#"[[80,"a",7,null,null,null,true,{"n":1}]]"#;
        assert_eq!(told[0], [FOLLOWING]);
        assert_eq!(told[1], [FOLLOWING, envelope]);
        assert_eq!(told[2], [FOLLOWING]);
        assert_eq!(told[3], [FOLLOWING, envelope]);
    }

    #[test]
    fn after_a_lost_link_it_is_followed_again_and_until_then_not_ready() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect(ANY), rig.connect(ANY));
        let slot = rig.peers[bob].client.follow_relay("a").unwrap();
        rig.settle();
        rig.drop_link(bob);
        assert!(!rig.peers[bob].client.is_ready(slot));
        relay(&mut rig, ada, "a", 1);
        rig.advance(BACK);
        assert!(rig.peers[bob].client.is_ready(slot));
        relay(&mut rig, ada, "a", 2);
        let told = rig.told(bob, slot);
        assert_eq!(told.len(), 3, "what came while nobody followed is lost: {told:?}");
        assert_eq!(told[..2], [FOLLOWING, FOLLOWING]);
        assert!(told[2].starts_with(r#"[[80,"a",2,"#));
    }

    #[test]
    fn a_slot_that_is_released_hears_nothing_and_the_others_of_its_key_still_do() {
        let mut rig = Rig::new();
        let ada = rig.connect(ANY);
        let one = rig.peers[ada].client.follow_relay("a").unwrap();
        let two = rig.peers[ada].client.follow_relay("a").unwrap();
        rig.settle();
        rig.peers[ada].client.release(one);
        rig.settle();
        relay(&mut rig, ada, "a", 1);
        assert_eq!(rig.told(ada, one), [FOLLOWING]);
        assert_eq!(rig.told(ada, two).len(), 2);
        rig.peers[ada].client.release(two);
        relay(&mut rig, ada, "a", 2);
        assert!(rig.told(ada, two).is_empty());
    }

    #[test]
    fn a_key_of_the_authority_refuses_what_is_relayed() {
        let mut rig = Rig::new();
        let ada = rig.connect(ANY);
        write(&mut rig, ada, Operation::Put { key: "user:1", value: ONE });
        let request = relay(&mut rig, ada, "user:1", 1);
        assert_eq!(rig.settled(ada, request), Some(ErrorCode::Conflict.number()));
    }
}

mod mailboxes {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn open(rig: &mut Rig, index: usize) -> SlotId {
        let slot = rig.peers[index].client.follow_mailbox();
        rig.settle();
        slot
    }

    fn traces(told: &[String]) -> Vec<&str> {
        let notifications = told.iter().filter_map(|message| message.strip_prefix("[[75,\""));
        notifications.map(|rest| &rest[..32]).collect()
    }

    #[test]
    fn a_notification_waits_and_is_sent_no_more_once_it_was_taken() {
        let mut rig = Rig::new();
        let ada = rig.connect_as(ANY, Some("ada"));
        let trace = notify(&mut rig, ada, "bob", r#"{"text":"hi"}"#, false);
        let bob = rig.connect_as(ANY, Some("bob"));
        let slot = open(&mut rig, bob);
        let told = rig.told(bob, slot);
        assert_eq!(told[0], FOLLOWING);
        assert!(told[1].starts_with(&format!(r#"[[75,"{trace}","ada",{{"text":"hi"}},false,"#)), "{told:?}");
        assert_eq!(rig.server.pending_notifications("bob").unwrap(), 1);
        rig.peers[bob].client.taken(&[&trace], true);
        rig.settle();
        assert_eq!(rig.server.pending_notifications("bob").unwrap(), 0);
        reconnect(&mut rig, bob);
        assert_eq!(rig.told(bob, slot), [FOLLOWING]);
    }

    #[test]
    fn one_that_is_in_hand_over_a_reconnect_is_not_told_twice() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect_as(ANY, Some("ada")), rig.connect_as(ANY, Some("bob")));
        let slot = open(&mut rig, bob);
        let trace = notify(&mut rig, ada, "bob", "1", false);
        assert_eq!(traces(&rig.told(bob, slot)), [&trace]);
        reconnect(&mut rig, bob);
        assert_eq!(rig.told(bob, slot), [FOLLOWING]);
        rig.peers[bob].client.taken(&[&trace], true);
        rig.settle();
        assert_eq!(rig.server.pending_notifications("bob").unwrap(), 0);
    }

    #[test]
    fn one_that_was_taken_while_there_was_no_link_is_said_to_be_delivered_by_the_next() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect_as(ANY, Some("ada")), rig.connect_as(ANY, Some("bob")));
        let slot = open(&mut rig, bob);
        let trace = notify(&mut rig, ada, "bob", "1", false);
        rig.drop_link(bob);
        rig.peers[bob].client.taken(&[&trace], true);
        assert_eq!(rig.server.pending_notifications("bob").unwrap(), 1);
        rig.advance(BACK);
        assert_eq!(traces(&rig.told(bob, slot)).len(), 1, "it was told once, before");
        assert_eq!(rig.server.pending_notifications("bob").unwrap(), 0);
    }

    #[test]
    fn one_that_the_application_failed_to_take_comes_again_in_the_next_session() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect_as(ANY, Some("ada")), rig.connect_as(ANY, Some("bob")));
        let slot = open(&mut rig, bob);
        let traces_sent = ["1", "2"].map(|pack| notify(&mut rig, ada, "bob", pack, false));
        rig.peers[bob].client.taken(&[&traces_sent[0]], false);
        rig.peers[bob].client.taken(&[&traces_sent[1]], true);
        rig.settle();
        rig.told(bob, slot);
        reconnect(&mut rig, bob);
        assert_eq!(traces(&rig.told(bob, slot)), [&traces_sent[0]]);
    }

    #[test]
    fn every_notification_comes_in_order_over_any_number_of_reconnects() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect_as(ANY, Some("ada")), rig.connect_as(ANY, Some("bob")));
        let slot = open(&mut rig, bob);
        let mut sent = Vec::new();
        for round in 0..20 {
            for pack in 0..5 {
                sent.push(notify(&mut rig, ada, "bob", &pack.to_string(), false));
            }
            if round % 3 == 0 {
                reconnect(&mut rig, bob);
            }
            if round % 2 == 0 {
                let last: Vec<_> = sent[sent.len() - 5..].iter().map(String::as_str).collect();
                rig.peers[bob].client.taken(&last, true);
            }
        }
        rig.settle();
        assert_eq!(traces(&rig.told(bob, slot)), sent);
    }

    #[test]
    fn a_reply_reaches_the_sender_and_the_status_tells_of_it() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect_as(ANY, Some("ada")), rig.connect_as(ANY, Some("bob")));
        let at_ada = open(&mut rig, ada);
        let trace = notify(&mut rig, ada, "bob", "1", true);
        let reply = json(r#""yes""#);
        let request = write(&mut rig, bob, Operation::Reply { trace: &trace, reply: value(&reply) });
        assert_eq!(rig.settled(bob, request), Some(0));
        assert_eq!(rig.told(ada, at_ada), [FOLLOWING.to_owned(), format!(r#"[[76,"{trace}","yes"]]"#)]);
        let query = ask(&mut rig, ada, Query::Notification { trace: &trace });
        let status = rig.answer(ada, query).unwrap().unwrap();
        assert!(status.contains(r#""reply":"yes""#), "{status}");
    }

    #[test]
    fn one_that_was_sent_over_a_link_that_broke_before_the_answer_is_put_once() {
        for is_heard in [true, false] {
            let mut rig = Rig::new();
            let (ada, bob) = (rig.connect_as(ANY, Some("ada")), rig.connect_as(ANY, Some("bob")));
            let slot = open(&mut rig, bob);
            let notify = Operation::Notify { to: "bob", pack: ONE, suit: false, ttl: None };
            let request = rig.peers[ada].client.write(rig.now, notify).unwrap();
            rig.cut(ada, is_heard);
            assert_eq!(rig.settled(ada, request), None);
            rig.advance(BACK);
            assert_eq!(rig.settled(ada, request), Some(0));
            let trace = rig.peers[ada].client.settlement(request).expect("the trace of the first time");
            reconnect(&mut rig, bob);
            assert_eq!(rig.server.pending_notifications("bob").unwrap(), 1);
            rig.peers[bob].client.taken(&[&trace], true);
            rig.settle();
            assert_eq!(rig.server.pending_notifications("bob").unwrap(), 0, "it is the one with this trace");
            assert!(rig.told(bob, slot).len() > 1);
        }
    }

    #[test]
    fn what_was_taken_is_said_again_if_the_server_did_not_hear_it_and_never_told_again() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect_as(ANY, Some("ada")), rig.connect_as(ANY, Some("bob")));
        let slot = open(&mut rig, bob);
        let trace = notify(&mut rig, ada, "bob", "1", false);
        assert_eq!(traces(&rig.told(bob, slot)), [&trace]);
        rig.peers[bob].client.taken(&[&trace], true);
        rig.cut(bob, false);
        assert_eq!(rig.server.pending_notifications("bob").unwrap(), 1);
        rig.advance(BACK);
        assert_eq!(rig.told(bob, slot), [FOLLOWING]);
        assert_eq!(rig.server.pending_notifications("bob").unwrap(), 0);
    }

    #[test]
    fn a_slot_that_follows_no_mailbox_is_handed_no_notification() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect_as(ANY, Some("ada")), rig.connect_as(ANY, Some("bob")));
        let slot = open(&mut rig, bob);
        rig.peers[bob].client.release(slot);
        rig.settle();
        let trace = notify(&mut rig, ada, "bob", "1", false);
        let again = open(&mut rig, bob);
        assert_eq!(traces(&rig.told(bob, again)), [&trace]);
    }
}

mod kv {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn a_watch_tells_of_changes_and_begins_anew_with_each_session() {
        let mut rig = Rig::new();
        let ada = rig.connect(ANY);
        let slot = rig.peers[ada].client.watch("g", "*");
        rig.settle();
        write(&mut rig, ada, set("g", "k", ONE));
        write(&mut rig, ada, set("other", "k", ONE));
        let at = rig.now.as_millis();
        assert_eq!(rig.told(ada, slot), [FOLLOWING.to_owned(), format!(r#"[[77,0,"g","k",{at},1]]"#)]);
        reconnect(&mut rig, ada);
        let at = rig.now.as_millis();
        write(&mut rig, ada, Operation::Kv(vec![KvChange::Delete { group: "g", key: "k" }]));
        assert_eq!(rig.told(ada, slot), [FOLLOWING.to_owned(), format!(r#"[[77,1,"g","k",{at}]]"#)]);
    }

    #[test]
    fn a_watch_of_a_link_that_takes_nothing_tells_how_many_events_are_missing_and_where() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect(ANY), rig.connect(ANY));
        let slot = rig.peers[bob].client.watch("g", "*");
        rig.settle();
        rig.clog(bob);
        let mut large = vec![0xc5, 0xea, 0x60];
        large.resize(3 + 60_000, 0);
        for n in 0..100 {
            let key = n.to_string();
            let change = KvChange::Set { group: "g", key: &key, value: value(&large), ttl: None };
            write(&mut rig, ada, Operation::Kv(vec![change]));
        }
        rig.unclog();
        write(&mut rig, ada, set("g", "last", ONE));
        let told = rig.told(bob, slot);
        let events = told.iter().filter(|message| message.starts_with("[[77")).count();
        let dropped: Vec<_> = told.iter().filter(|message| message.starts_with("[[78")).collect();
        assert_eq!(dropped, [&format!("[[78,{}]]", 101 - events)]);
        assert!(
            told.last().unwrap().starts_with(r#"[[77,0,"g","last""#),
            "what comes after it comes after it"
        );
    }

    #[test]
    fn questions_are_answered_once_each_also_those_asked_without_a_link() {
        let mut rig = Rig::new();
        let ada = rig.connect(ANY);
        write(&mut rig, ada, set("g", "k", ONE));
        let there = ask(&mut rig, ada, Query::KvGet { group: "g", key: "k" });
        let not_there = ask(&mut rig, ada, Query::KvGet { group: "g", key: "x" });
        assert_eq!(rig.answer(ada, there), Some(Some(&*format!("[[73,{there},null,1]]"))));
        assert_eq!(rig.answer(ada, not_there), Some(Some(&*format!("[[73,{not_there}]]"))));
        rig.drop_link(ada);
        let offline = ask(&mut rig, ada, Query::KvCount { group: "g" });
        assert_eq!(rig.answer(ada, offline), None);
        rig.advance(BACK);
        assert_eq!(rig.answer(ada, offline), Some(Some(&*format!("[[73,{offline},null,1]]"))));
        assert_eq!(rig.peers[ada].answers.len(), 3);
    }

    #[test]
    fn a_question_that_nobody_answers_ends_at_its_deadline_or_with_the_client() {
        let mut rig = Rig::new();
        let ada = rig.connect(ANY);
        rig.is_up = false;
        rig.drop_link(ada);
        let first = ask(&mut rig, ada, Query::KvCount { group: "g" });
        rig.advance(29 * SECOND);
        assert_eq!(rig.answer(ada, first), None);
        rig.advance(2 * SECOND);
        assert_eq!(rig.answer(ada, first), Some(None));
        let second = ask(&mut rig, ada, Query::KvCount { group: "g" });
        let now = rig.now;
        rig.peers[ada].client.close(now);
        rig.settle();
        assert_eq!(rig.answer(ada, second), Some(None));
    }

    #[test]
    fn what_waits_is_limited_in_number_and_in_size() {
        let mut rig = Rig::new();
        let ada = rig.connect(ANY);
        rig.is_up = false;
        rig.drop_link(ada);
        let client = &mut rig.peers[ada].client;
        let long = "x".repeat(300_000);
        assert!(matches!(client.query(rig.now, Query::KvCount { group: &long }), Err(QueryError::Long(_))));
        for _ in 0..1_000 {
            client.query(rig.now, Query::KvCount { group: "g" }).unwrap();
        }
        assert_eq!(client.query(rig.now, Query::KvCount { group: "g" }), Err(QueryError::Waiting(1_000)));
        let bytes = vec![0; 100_000];
        let mut encoded = vec![0xc6, 0, 1, 0x86, 0xa0];
        encoded.extend(bytes);
        let large = KvChange::Set { group: "g", key: "k", value: value(&encoded), ttl: None };
        let refused = client.write(rig.now, Operation::Kv(vec![large; 11]));
        assert!(matches!(refused, Err(WriteError::Large(_))), "{refused:?}");
        assert!(client.write(rig.now, Operation::Kv(vec![large; 9])).is_ok());
    }

    #[test]
    fn what_is_told_is_forgotten_with_the_next_list() {
        let mut rig = Rig::new();
        let ada = rig.connect(ANY);
        let slot = rig.peers[ada].client.watch("g", "*");
        for _ in 0..1_000 {
            write(&mut rig, ada, set("g", "k", ONE));
        }
        let cells = rig.peers[ada].changes.iter().filter_map(|change| match change {
            Change::Fed { slot: fed, cell } if *fed == slot => Some(cell.number()),
            _ => None,
        });
        assert!(cells.max().unwrap() < 10, "cells are used again");
    }
}

mod pools {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn open(rig: &mut Rig, index: usize, presence: bool) -> SlotId {
        let slot = rig.peers[index].client.subscribe_pool("p", Some(OpenPool { presence }), false).unwrap();
        rig.settle();
        slot
    }

    fn merge(rig: &mut Rig, index: usize, fields: &str) -> RequestId {
        let fields = json(fields);
        write(rig, index, Operation::Merge { pool: "p", fields: value(&fields) })
    }

    #[test]
    fn a_merge_settles_once_it_is_shown_here() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect(ANY), rig.connect(ANY));
        let (at_ada, at_bob) = (open(&mut rig, ada, false), open(&mut rig, bob, false));
        let first = merge(&mut rig, ada, r#"{"x":1,"y":2}"#);
        assert_eq!(rig.settled(ada, first), Some(0));
        assert_eq!(rig.rows(ada, at_ada), ["1", "2"]);
        // Within the interval after a broadcast the server gathers: it is acknowledged before it is shown.
        let second = merge(&mut rig, ada, r#"{"x":3,"y":null}"#);
        assert_eq!(rig.settled(ada, second), None);
        rig.advance(SECOND);
        assert_eq!(rig.settled(ada, second), Some(0));
        assert_eq!(rig.rows(ada, at_ada), ["3"]);
        assert_eq!(rig.rows(bob, at_bob), ["3"]);
    }

    #[test]
    fn presence_goes_with_the_connection_and_comes_back_with_the_next() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect(ANY), rig.connect(ANY));
        open(&mut rig, ada, true);
        let at_bob = open(&mut rig, bob, true);
        merge(&mut rig, ada, r#"{"ada":1,"gone":2}"#);
        merge(&mut rig, ada, r#"{"gone":null,"more":3}"#);
        rig.advance(SECOND);
        assert_eq!(rig.rows(bob, at_bob), ["1", "3"]);
        rig.is_up = false;
        rig.drop_link(ada);
        rig.advance(SECOND);
        assert!(rig.rows(bob, at_bob).is_empty());
        rig.is_up = true;
        rig.advance(4 * SECOND);
        assert_eq!(rig.rows(bob, at_bob), ["1", "3"]);
    }

    #[test]
    fn a_merge_that_is_repeated_after_a_lost_link_does_not_undo_what_came_later() {
        let mut rig = Rig::new();
        let (ada, bob) = (rig.connect(ANY), rig.connect(ANY));
        open(&mut rig, ada, true);
        let at_bob = open(&mut rig, bob, true);
        let fields = json(r#"{"ada":1}"#);
        rig.peers[ada].client.write(rig.now, Operation::Merge { pool: "p", fields: value(&fields) }).unwrap();
        rig.cut(ada, true);
        // While there is no link: the last of these counts.
        for fields in [r#"{"ada":2}"#, r#"{"ada":3}"#] {
            let fields = json(fields);
            rig.peers[ada]
                .client
                .write(rig.now, Operation::Merge { pool: "p", fields: value(&fields) })
                .unwrap();
        }
        rig.advance(BACK);
        assert_eq!(rig.rows(bob, at_bob), ["3"]);
    }

    #[test]
    fn a_pool_and_a_datastore_of_one_id_are_two_things() {
        let mut rig = Rig::new();
        let ada = rig.connect(ANY);
        let datastore = rig.peers[ada].client.subscribe_datastore("p", Some(false), "id", false).unwrap();
        let pool = open(&mut rig, ada, false);
        let merged = merge(&mut rig, ada, r#"{"x":1}"#);
        assert_eq!(rig.settled(ada, merged), Some(0));
        let record = rig.set(ada, "p", r#"{"id":"a"}"#);
        assert_eq!(rig.settled(ada, record), Some(0));
        assert_eq!(rig.rows(ada, pool), ["1"]);
        assert_eq!(rig.rows(ada, datastore), [r#"{"id":"a"}"#]);
    }
}
