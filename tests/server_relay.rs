//! Envelopes that clients publish to each other.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

use server_rig::{
    Inbox, Rig,
    faulty::{Fault, Faulty},
    number,
};
use tidewire::{
    protocol::{
        ClientMessage, EncodedValue, Epoch, ErrorCode, Operation, Relayed, Sequence, ServerMessage, Target,
    },
    server::{
        Admission, ConnectionId, Grant, Options, Permissions, Refusal, Residue, Rule, Rules,
        storage::{Memory, Storage},
    },
};

fn envelope<'a>(key: &'a str, sequence: u64, value: &'a [u8]) -> Relayed<'a> {
    Relayed {
        key,
        sequence: Sequence::new(sequence).unwrap(),
        prev: Some(Sequence::ZERO),
        version: Some("1.0"),
        epoch: Some(Epoch::from_bytes([9; 16])),
        value: Some(EncodedValue::check(value).unwrap()),
    }
}

/// Publishes a number on a key.
fn publish<S: Storage>(rig: &mut Rig<S>, from: ConnectionId, request: u64, key: &str, n: u64) -> Inbox {
    let bytes = number(n);
    rig.write(from, request, Operation::Relay(envelope(key, n, &bytes)))
}

/// The numbers that came, by key.
fn relayed(inbox: &Inbox) -> Vec<(String, u64)> {
    let found = |message: ServerMessage<'_>| match message {
        ServerMessage::Relayed(envelope) => {
            assert_eq!(envelope.version, Some("1.0"));
            assert_eq!(envelope.epoch, Some(Epoch::from_bytes([9; 16])));
            let expected = number(envelope.sequence.get());
            assert_eq!(envelope.value.unwrap().as_bytes(), expected);
            Some((envelope.key.to_owned(), envelope.sequence.get()))
        }
        _ => None,
    };
    inbox.messages().into_iter().filter_map(found).collect()
}

fn of(key: &str, numbers: &[u64]) -> Vec<(String, u64)> {
    numbers.iter().map(|n| (key.to_owned(), *n)).collect()
}

#[test]
fn everybody_who_follows_a_key_hears_each_envelope_once_and_in_order_the_publisher_too() {
    let mut rig = Rig::new();
    let [ada, bob, eve] = ["ada", "bob", "eve"].map(|name| rig.client(name));
    for (client, id, key) in [(ada, 1, "c"), (bob, 1, "c"), (bob, 2, "c"), (eve, 1, "other")] {
        let inbox = rig.subscribe(client, id, Target::Relay(key), None);
        assert_eq!(inbox.one(), ServerMessage::Following { subscription: id });
    }
    let values: Vec<_> = (1..=3).map(number).collect();
    let writes: Vec<_> = (1..=3)
        .map(|n| ClientMessage::Write {
            request: n,
            operation: Operation::Relay(envelope("c", n, &values[usize::try_from(n).unwrap() - 1])),
        })
        .collect();
    rig.feed(ada, &writes);
    rig.commit().unwrap();
    let inbox = rig.take(ada);
    assert_eq!(relayed(&inbox), of("c", &[1, 2, 3]));
    let acks = inbox.messages().into_iter().filter(|message| matches!(message, ServerMessage::Ack { .. }));
    assert_eq!(acks.count(), 3);
    let inbox = rig.take(bob);
    assert_eq!(relayed(&inbox), of("c", &[1, 2, 3]));
    assert_eq!(inbox.frames, 1);
    assert_eq!(relayed(&rig.take(eve)), []);
    assert_eq!(rig.server.counters().relayed, 6);
}

#[test]
fn nothing_is_kept_for_those_who_come_later_and_nothing_is_written() {
    let mut rig = Rig::new();
    let [ada, bob] = ["ada", "bob"].map(|name| rig.client(name));
    assert_eq!(publish(&mut rig, ada, 1, "c", 1).ack(), None);
    rig.subscribe(bob, 1, Target::Relay("c"), None);
    assert_eq!(relayed(&rig.take(bob)), []);
    assert_eq!(rig.server.object("c").unwrap(), None);
    assert_eq!(rig.server.counters().commits, 0);
    publish(&mut rig, ada, 2, "c", 2);
    assert_eq!(relayed(&rig.take(bob)), of("c", &[2]));
    // A request that is sent again is acknowledged again, and not passed on again.
    assert_eq!(publish(&mut rig, ada, 2, "c", 2).ack(), None);
    assert_eq!(relayed(&rig.take(bob)), []);
    rig.send(bob, &ClientMessage::Unsubscribe(1));
    publish(&mut rig, ada, 3, "c", 3);
    assert_eq!(relayed(&rig.take(bob)), []);
}

#[test]
fn what_is_the_authoritys_cannot_be_relayed() {
    let rules = Rules::new().object("user:*", Rule::new()).resolver("time:*", |_, _| Ok(None));
    let mut rig = Rig::configured(Memory::new(), Options { rules, ..Options::new([1; 32]) });
    let ada = rig.client("ada");
    let conflict = [ErrorCode::Conflict.number()];
    assert_eq!(publish(&mut rig, ada, 1, "user:1", 1).codes(), conflict);
    assert_eq!(publish(&mut rig, ada, 2, "time:1", 1).codes(), conflict);
    rig.subscribe(ada, 1, Target::Relay("k"), None);
    assert_eq!(relayed(&publish(&mut rig, ada, 3, "k", 1)), of("k", &[1]));
    rig.write(ada, 4, Operation::Put { key: "k", value: EncodedValue::NIL });
    assert_eq!(publish(&mut rig, ada, 5, "k", 2).codes(), conflict);
    // It had a history, and has it still.
    rig.write(ada, 6, Operation::Delete { key: "k" });
    assert_eq!(publish(&mut rig, ada, 7, "k", 3).codes(), conflict);
}

#[test]
fn publishing_and_following_need_a_permission_of_their_own() {
    let admission = Admission::checked(|_, token| {
        let user =
            token.and_then(|token| token.split('-').next()).ok_or_else(|| Refusal("none".to_owned()))?;
        let (read, write) = match token.unwrap_or_default() {
            "speaker" => (&[][..], &["relay:cursor:*"][..]),
            "listener" => (&["relay:cursor:*"][..], &[][..]),
            _ => (&["object:*"][..], &["object:*"][..]),
        };
        let parse = |list: &[&'static str]| Permissions::parse(list.iter().copied()).unwrap();
        Ok(Grant { user: user.into(), expires: None, read: parse(read), write: parse(write) })
    });
    let mut rig = Rig::configured(Memory::new(), Options { admission, ..Options::new([1; 32]) });
    let [speaker, listener, other] = ["speaker", "listener", "other"].map(|name| rig.client(name));
    let forbidden = [ErrorCode::Forbidden.number()];
    assert_eq!(rig.subscribe(speaker, 1, Target::Relay("cursor:1"), None).codes(), forbidden);
    assert_eq!(rig.subscribe(other, 1, Target::Relay("cursor:1"), None).codes(), forbidden);
    assert_eq!(rig.subscribe(listener, 1, Target::Relay("cursor:1"), None).codes(), [0; 0]);
    assert_eq!(publish(&mut rig, listener, 1, "cursor:1", 1).codes(), forbidden);
    assert_eq!(publish(&mut rig, other, 1, "cursor:1", 1).codes(), forbidden);
    assert_eq!(publish(&mut rig, speaker, 1, "elsewhere", 1).codes(), forbidden);
    assert_eq!(publish(&mut rig, speaker, 2, "cursor:1", 1).codes(), [0; 0]);
    assert_eq!(relayed(&rig.take(listener)), of("cursor:1", &[1]));
    // A token that covers it no more ends the subscription.
    rig.send(listener, &ClientMessage::Token("listener"));
    assert_eq!(rig.take(listener).codes(), [0; 0]);
    rig.send(listener, &ClientMessage::Token("listener-no-more"));
    assert_eq!(rig.take(listener).codes(), forbidden);
    publish(&mut rig, speaker, 3, "cursor:1", 2);
    assert_eq!(relayed(&rig.take(listener)), []);
}

#[test]
fn a_follower_that_goes_leaves_nothing_behind() {
    let mut rig = Rig::new();
    let ada = rig.client("ada");
    rig.subscribe(ada, 1, Target::Relay("c"), None);
    assert_eq!(rig.server.residue().relays, 1);
    // Another target under the same number takes its place.
    rig.subscribe(ada, 1, Target::Mailbox, None);
    assert_eq!(rig.server.residue().relays, 0);
    rig.subscribe(ada, 1, Target::Relay("c"), None);
    rig.subscribe(ada, 2, Target::Relay("d"), None);
    rig.server.handle_disconnect(rig.now, ada);
    rig.commit().unwrap();
    assert_eq!(rig.server.residue(), Residue::default());
}

#[test]
fn an_envelope_in_a_batch_that_was_undone_was_not_passed_on() {
    let (storage, fault) = Faulty::new();
    let mut rig = Rig::over(storage);
    let [ada, bob] = ["ada", "bob"].map(|name| rig.client(name));
    rig.subscribe(bob, 1, Target::Relay("c"), None);
    fault.set(Fault::Commit);
    let bytes = number(1);
    let relay = Operation::Relay(envelope("c", 1, &bytes));
    let put = Operation::Put { key: "k", value: EncodedValue::NIL };
    rig.feed(
        ada,
        &[
            ClientMessage::Write { request: 1, operation: relay },
            ClientMessage::Write { request: 2, operation: put },
        ],
    );
    assert!(rig.commit().is_err());
    assert_eq!(relayed(&rig.take(bob)), []);
    let failed = ErrorCode::StorageFailed.number();
    assert_eq!(rig.take(ada).codes(), [failed, failed]);
    fault.set(Fault::None);
    assert_eq!(publish(&mut rig, ada, 1, "c", 1).codes(), [0; 0]);
    assert_eq!(relayed(&rig.take(bob)), of("c", &[1]));
}
