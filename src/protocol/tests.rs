//! Every message reads back from its bytes, and no bytes make the decoder panic.

use super::*;

fn encoded(build: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    build(&mut writer);
    writer.into_bytes()
}

fn position(byte: u8) -> Position {
    Position { epoch: Epoch::from_bytes([byte; 16]), sequence: Sequence::new(u64::from(byte)).unwrap() }
}

fn client_messages(value: EncodedValue<'_>) -> Vec<ClientMessage<'_>> {
    vec![
        ClientMessage::Hello { client: "c", token: None },
        ClientMessage::Hello { client: "c", token: Some("secret") },
        ClientMessage::Subscribe(vec![
            Subscription { id: 1, target: Target::Object("user:1"), position: None },
            Subscription {
                id: 2,
                target: Target::Datastore { id: "d", open: None },
                position: Some(position(3)),
            },
            Subscription {
                id: 3,
                target: Target::Datastore { id: "d", open: Some(Open { permanent: true, primary: "cca3" }) },
                position: None,
            },
        ]),
        ClientMessage::Unsubscribe(7),
        ClientMessage::Write { request: 1, operation: Operation::Put { key: "k", value } },
        ClientMessage::Write { request: 2, operation: Operation::Delete { key: "k" } },
        ClientMessage::Write { request: 3, operation: Operation::Set { datastore: "d", value } },
        ClientMessage::Write { request: 4, operation: Operation::Remove { datastore: "d", key: "r" } },
        ClientMessage::Refetch { subscription: 1, attempt: 2, position: Some(position(9)) },
        ClientMessage::Page { subscription: 1, attempt: 2, cursor: "r" },
        ClientMessage::Ping,
        ClientMessage::Subscribe(vec![
            Subscription { id: 4, target: Target::Pool { id: "p", open: None }, position: None },
            Subscription {
                id: 5,
                target: Target::Pool { id: "p", open: Some(OpenPool { presence: true }) },
                position: None,
            },
            Subscription { id: 6, target: Target::Mailbox, position: None },
            Subscription { id: 7, target: Target::Watch { group: "*", key: "" }, position: None },
        ]),
        ClientMessage::Write { request: 5, operation: Operation::Merge { pool: "p", fields: value } },
        ClientMessage::Write {
            request: 6,
            operation: Operation::Notify { to: "c", pack: value, suit: true, ttl: Some(5) },
        },
        ClientMessage::Write {
            request: 7,
            operation: Operation::Notify { to: "c", pack: value, suit: false, ttl: None },
        },
        ClientMessage::Write { request: 8, operation: Operation::Reply { trace: "t", reply: value } },
        ClientMessage::Write {
            request: 9,
            operation: Operation::Kv(vec![
                KvChange::Set { group: "g", key: "", value, ttl: Some(1) },
                KvChange::Set { group: "g", key: "k", value, ttl: None },
                KvChange::Delete { group: "g", key: "k" },
                KvChange::DeleteGroup { group: "" },
            ]),
        },
        ClientMessage::Query { query: 1, about: Query::Notification { trace: "t" } },
        ClientMessage::Query { query: 2, about: Query::KvGet { group: "g", key: "k" } },
        ClientMessage::Query { query: 3, about: Query::KvGetAll { group: "g" } },
        ClientMessage::Query { query: 4, about: Query::KvCount { group: "g" } },
        ClientMessage::Query { query: 5, about: Query::KvCountAll { prefix: "a:" } },
        ClientMessage::Query { query: 6, about: Query::KvGroups { prefix: "" } },
        ClientMessage::Query { query: 7, about: Query::KvRender { template: "{{ k }}", group: "g" } },
        ClientMessage::Delivered(vec!["t", "u"]),
    ]
}

fn server_messages(value: EncodedValue<'_>) -> Vec<ServerMessage<'_>> {
    let answer = |answer| ServerMessage::Answer {
        subscription: 1,
        attempt: 0,
        topic: 2,
        epoch: Epoch::from_bytes([1; 16]),
        answer,
    };
    let lineage = Lineage::new(vec![position(4), position(5)]);
    let sequence = Sequence::new(42).unwrap();
    vec![
        ServerMessage::Welcome { session: 9, heartbeat: 10_000 },
        answer(Answer::Current),
        answer(Answer::Tail { count: 3 }),
        answer(Answer::Snapshot { sequence, version: Some("3.1"), value, lineage: lineage.clone() }),
        answer(Answer::Page {
            sequence,
            rows: vec![
                Row { sequence, key: "r", value, version: None },
                Row { sequence, key: "s", value, version: Some("3.1") },
            ],
            next: Some("r"),
            lineage,
        }),
        answer(Answer::Absent { sequence }),
        ServerMessage::Denied { subscription: 1, attempt: 2, code: 2, message: "no such datastore" },
        ServerMessage::Envelope {
            topic: 1,
            sequence,
            prev: None,
            version: None,
            key: None,
            value: Some(value),
        },
        ServerMessage::Envelope {
            topic: 1,
            sequence,
            prev: Some(Sequence::ZERO),
            version: Some("1.0"),
            key: Some("r"),
            value: None,
        },
        ServerMessage::Beacon { number: 1, heads: vec![(1, sequence), (2, Sequence::MAX)] },
        ServerMessage::Ack { request: 1, position: Some(position(1)), result: None },
        ServerMessage::Ack { request: 1, position: None, result: Some(value) },
        ServerMessage::Result { query: 3, outcome: Ok(None) },
        ServerMessage::Result { query: 3, outcome: Ok(Some(value)) },
        ServerMessage::Result { query: 3, outcome: Ok(Some(EncodedValue::trusted(&[0xc0]))) },
        ServerMessage::Result { query: 3, outcome: Err((2, "no such key")) },
        ServerMessage::Following { subscription: 4 },
        ServerMessage::Notification {
            subscription: 4,
            trace: "00112233445566778899aabbccddeeff",
            from: "server",
            pack: value,
            suit: true,
            created: 1_700_000_000_000,
            expires: 1_700_086_400_000,
        },
        ServerMessage::Reply { subscription: 4, trace: "00112233445566778899aabbccddeeff", reply: value },
        ServerMessage::Event {
            subscription: 5,
            kind: KvEventKind::Set,
            group: "g",
            key: "",
            value: Some(EncodedValue::trusted(&[0xc0])),
            at: 1,
        },
        ServerMessage::Event {
            subscription: 5,
            kind: KvEventKind::DeleteGroup,
            group: "",
            key: "",
            value: None,
            at: 1,
        },
        ServerMessage::Dropped { subscription: 5, count: 17 },
        ServerMessage::Refusal { request: 1, code: 4, message: "bad" },
        ServerMessage::Pong,
        ServerMessage::Goodbye { code: 4000, reason: "restarting", retry_after: Some(500) },
    ]
}

#[test]
fn every_message_reads_back_from_a_frame_that_holds_them_all() {
    let bytes = encoded(|writer| {
        writer.map(1);
        writer.str("name");
        writer.str("Ada");
    });
    let value = EncodedValue::check(&bytes).unwrap();

    let frame = encoded(|writer| client_messages(value).iter().for_each(|message| message.encode(writer)));
    let mut reader = Reader::new(&frame);
    for message in client_messages(value) {
        assert_eq!(ClientMessage::decode(&mut reader), Ok(message));
    }
    assert!(reader.is_empty());

    let frame = encoded(|writer| server_messages(value).iter().for_each(|message| message.encode(writer)));
    let mut reader = Reader::new(&frame);
    for message in server_messages(value) {
        assert_eq!(ServerMessage::decode(&mut reader), Ok(message));
    }
    assert!(reader.is_empty());
}

#[test]
fn a_frame_cut_anywhere_is_an_error_and_not_a_panic() {
    for message in client_messages(EncodedValue::NIL) {
        let frame = encoded(|writer| message.encode(writer));
        for end in 0..frame.len() {
            assert!(
                ClientMessage::decode(&mut Reader::new(&frame[..end])).is_err(),
                "{message:?} cut at {end}"
            );
        }
    }
    for message in server_messages(EncodedValue::NIL) {
        let frame = encoded(|writer| message.encode(writer));
        for end in 0..frame.len() {
            assert!(
                ServerMessage::decode(&mut Reader::new(&frame[..end])).is_err(),
                "{message:?} cut at {end}"
            );
        }
    }
}

#[test]
fn a_later_version_may_add_fields_at_the_end() {
    let frame = encoded(|writer| {
        writer.array(4);
        writer.u64(3);
        writer.u64(7);
        writer.map(1);
        writer.str("new");
        writer.bool(true);
        writer.nil();
    });
    let mut reader = Reader::new(&frame);
    assert_eq!(ClientMessage::decode(&mut reader), Ok(ClientMessage::Unsubscribe(7)));
    assert!(reader.is_empty());
}

#[cfg(feature = "json")]
#[test]
fn numbers_keep_their_value_through_json() {
    for text in
        ["0", "-1", "127", "-129", "9007199254740993", "-9223372036854775808", "18446744073709551615", "0.5"]
    {
        let bytes = from_json(text).unwrap();
        assert_eq!(to_json(EncodedValue::check(&bytes).unwrap()).unwrap(), text);
    }
}
