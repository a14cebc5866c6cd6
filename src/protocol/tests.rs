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

fn relayed(value: Option<EncodedValue<'_>>) -> Relayed<'_> {
    let has_value = value.is_some();
    Relayed {
        key: "cursor:1",
        sequence: Sequence::new(42).unwrap(),
        prev: has_value.then_some(Sequence::ZERO),
        version: has_value.then_some("1.0"),
        epoch: has_value.then_some(Epoch::from_bytes([7; 16])),
        value,
    }
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
        ClientMessage::Subscribe(vec![Subscription { id: 8, target: Target::Relay("k"), position: None }]),
        ClientMessage::Write { request: 10, operation: Operation::Relay(relayed(Some(value))) },
        ClientMessage::Write { request: 11, operation: Operation::Relay(relayed(None)) },
        ClientMessage::Query { query: 1, about: Query::Notification { trace: "t" } },
        ClientMessage::Query { query: 2, about: Query::KvGet { group: "g", key: "k" } },
        ClientMessage::Query { query: 3, about: Query::KvGetAll { group: "g" } },
        ClientMessage::Query { query: 4, about: Query::KvCount { group: "g" } },
        ClientMessage::Query { query: 5, about: Query::KvCountAll { prefix: "a:" } },
        ClientMessage::Query { query: 6, about: Query::KvGroups { prefix: "" } },
        ClientMessage::Query { query: 7, about: Query::KvRender { template: "{{ k }}", group: "g" } },
        ClientMessage::Delivered(vec!["t", "u"]),
        ClientMessage::Token("another secret"),
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
        ServerMessage::Relayed(relayed(Some(value))),
        ServerMessage::Relayed(relayed(None)),
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
        ServerMessage::Renew { left: 60_000 },
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

/// A value of every kind that there is.
#[cfg(feature = "json")]
fn rich_value() -> Vec<u8> {
    encoded(|writer| {
        writer.map(12);
        writer.str("id");
        writer.str("ITA");
        writer.str("name");
        writer.map(2);
        writer.str("ar");
        writer.str("إيطاليا");
        writer.str("zh");
        writer.str("意大利 \u{1f30a}");
        writer.str("__proto__");
        writer.array(3);
        writer.nil();
        writer.bool(true);
        writer.bool(false);
        writer.str("exact");
        writer.u64(1 << 53);
        writer.str("beyond");
        writer.u64((1 << 53) + 1);
        writer.str("largest");
        writer.u64(u64::MAX);
        writer.str("smallest");
        writer.i64(i64::MIN);
        writer.str("half");
        writer.f64(-0.5);
        writer.str("negative zero");
        writer.f64(-0.0);
        writer.str("not numbers");
        writer.array(3);
        writer.f64(f64::NAN);
        writer.f64(f64::INFINITY);
        writer.f64(f64::NEG_INFINITY);
        writer.str("binary");
        writer.bin(&[0, 1, 2, 255]);
        writer.str("dollar");
        writer.map(1);
        writer.str("$");
        writer.array(0);
    })
}

/// The name of a message's kind. Whoever adds a kind comes by here, and adds a message of it to the lists above.
#[cfg(feature = "json")]
fn client_name(message: &ClientMessage<'_>) -> &'static str {
    match message {
        ClientMessage::Hello { .. } => "hello",
        ClientMessage::Subscribe(_) => "subscribe",
        ClientMessage::Unsubscribe(_) => "unsubscribe",
        ClientMessage::Write { .. } => "write",
        ClientMessage::Refetch { .. } => "refetch",
        ClientMessage::Page { .. } => "page",
        ClientMessage::Ping => "ping",
        ClientMessage::Query { .. } => "query",
        ClientMessage::Delivered(_) => "delivered",
        ClientMessage::Token(_) => "token",
    }
}

#[cfg(feature = "json")]
fn server_name(message: &ServerMessage<'_>) -> &'static str {
    match message {
        ServerMessage::Welcome { .. } => "welcome",
        ServerMessage::Answer { .. } => "answer",
        ServerMessage::Denied { .. } => "denied",
        ServerMessage::Envelope { .. } => "envelope",
        ServerMessage::Beacon { .. } => "beacon",
        ServerMessage::Ack { .. } => "ack",
        ServerMessage::Refusal { .. } => "refusal",
        ServerMessage::Pong => "pong",
        ServerMessage::Goodbye { .. } => "goodbye",
        ServerMessage::Result { .. } => "result",
        ServerMessage::Following { .. } => "following",
        ServerMessage::Notification { .. } => "notification",
        ServerMessage::Reply { .. } => "reply",
        ServerMessage::Event { .. } => "event",
        ServerMessage::Dropped { .. } => "dropped",
        ServerMessage::Renew { .. } => "renew",
        ServerMessage::Relayed(_) => "relayed",
    }
}

/// One line of a file of vectors: a frame of one message in both codecs.
#[cfg(feature = "json")]
fn vector(name: &str, frame: &[u8], json: &str) -> String {
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(r#"{{"name":"{name}","msgpack":"{hex}","json":{json}}}"#)
}

/// The files under `tests/vectors` are what this version writes, byte for byte. After a deliberate change of the
/// protocol, `TIDEWIRE_VECTORS=write cargo test --lib vectors` writes them anew.
#[cfg(all(feature = "json", not(target_arch = "wasm32")))]
#[test]
fn the_vectors_are_what_is_written_and_read_in_both_codecs() {
    let bytes = rich_value();
    let value = EncodedValue::check(&bytes).unwrap();
    let mut files = [("client", Vec::new()), ("server", Vec::new())];
    for message in client_messages(value) {
        let frame = encoded(|writer| message.encode(writer));
        let json = client_frame_to_json(&frame).unwrap();
        let back = frame_from_json(&json).unwrap();
        let read = ClientMessage::decode(&mut Reader::new(&back)).unwrap();
        assert_eq!(encoded(|writer| read.encode(writer)), frame, "{json}");
        files[0].1.push(vector(client_name(&message), &frame, &json));
    }
    for message in server_messages(value) {
        let frame = encoded(|writer| message.encode(writer));
        let json = server_frame_to_json(&frame).unwrap();
        let back = frame_from_json(&json).unwrap();
        let read = ServerMessage::decode(&mut Reader::new(&back)).unwrap();
        assert_eq!(encoded(|writer| read.encode(writer)), frame, "{json}");
        files[1].1.push(vector(server_name(&message), &frame, &json));
    }
    for (side, lines) in files {
        let text = format!("[\n{}\n]\n", lines.join(",\n"));
        let path = format!("{}/tests/vectors/{side}.json", env!("CARGO_MANIFEST_DIR"));
        if std::env::var("TIDEWIRE_VECTORS").as_deref() == Ok("write") {
            std::fs::write(&path, &text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        let other = written.lines().zip(text.lines()).find(|(before, now)| before != now);
        assert!(written == text, "{path} is not what is written now: {other:?}");
    }
}

#[cfg(feature = "json")]
#[test]
fn a_json_frame_is_refused_where_it_is_no_array_of_messages_or_an_escape_is_none() {
    for text in [
        "",
        "{}",
        "[",
        "1",
        r#"[{"$":1}]"#,
        r#"[{"$":["bin","*"]}]"#,
        r#"[{"$":["float","1"]}]"#,
        r#"[{"$":["date","2026"]}]"#,
        r#"[{"$":["bin","AA==",1]}]"#,
    ] {
        assert_eq!(frame_from_json(text), Err(DecodeError::NotJson), "{text}");
    }
    let deep = format!("[{}{}]", "[".repeat(100), "]".repeat(100));
    assert_eq!(frame_from_json(&deep), Err(DecodeError::TooDeep));
    assert_eq!(frame_from_json(&"[".repeat(100_000)), Err(DecodeError::TooDeep));
    assert_eq!(frame_from_json(r#"["[[[[\"[[[["]1"#), Err(DecodeError::NotJson));
    let lone_surrogate = r#"[[5,1,"\ud800"]]"#;
    assert_eq!(frame_from_json(lone_surrogate), Err(DecodeError::NotJson));
    assert_eq!(frame_from_json("[]"), Ok(Vec::new()));
}

#[cfg(feature = "json")]
#[test]
fn json_with_a_name_twice_in_an_object_is_refused_as_such() {
    for text in [r#"{"a":1,"b":2,"a":1}"#, r#"[{"$":1,"\u0024":2}]"#, r#"{"$":["map",{"a":1,"a":1}]}"#] {
        assert_eq!(frame_value_from_json(text), Err(DecodeError::RepeatedName), "{text}");
    }
    assert_eq!(from_json(r#"{"a":1,"a":1}"#), Err(DecodeError::RepeatedName));
    let put = frame_from_json(r#"[[4,1,[0,"k",{"a":1,"a":1}]]]"#).unwrap();
    assert_eq!(ClientMessage::decode(&mut Reader::new(&put)), Err(DecodeError::RepeatedName));
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

#[test]
fn every_code_has_a_number_and_a_name_of_its_own_and_is_found_by_the_number() {
    let errors = ErrorCode::ALL.map(|code| (code.number(), code.name()));
    let closes = CloseCode::ALL.map(|code| (code.number(), code.name()));
    for codes in [&errors[..], &closes] {
        for (number, name) in codes {
            let others = codes.iter().filter(|other| other.0 == *number || other.1 == *name);
            assert_eq!(others.count(), 1, "{name}");
        }
    }
    for number in 0..=u16::MAX {
        let error = errors.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
        assert_eq!(ErrorCode::from_number(number).map(ErrorCode::name), error);
        let close = closes.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
        assert_eq!(CloseCode::from_number(number).map(CloseCode::name), close);
    }
}

#[cfg(feature = "json")]
#[test]
fn floats_come_back_through_json_bit_for_bit() {
    let random = &mut fastrand::Rng::with_seed(7);
    let edges = [1.233_878_970_932_676_7e-178, 5e-324, f64::MIN_POSITIVE, f64::MAX, -0.0, 0.1, 1e23];
    for float in edges.into_iter().chain((0..10_000).map(|_| f64::from_bits(random.u64(..)))) {
        let bytes = encoded(|writer| writer.f64(float));
        let text = frame_value_to_json(EncodedValue::check(&bytes).unwrap());
        let again = frame_value_from_json(&text).unwrap();
        // There are many NaNs, and JSON has one.
        assert!(again == bytes || float.is_nan(), "{float:e} became {text}");
    }
}

#[cfg(feature = "json")]
#[test]
fn a_value_as_deep_as_may_be_comes_back_through_json_whatever_it_is_made_of() {
    for level in [&[0x91][..], &[0x81, 0xa1, b'a'], &[0x81, 0xa1, b'$']] {
        let bytes = [level.repeat(limits::MAX_DEPTH), vec![0xc0]].concat();
        let text = frame_value_to_json(EncodedValue::check(&bytes).unwrap());
        assert_eq!(frame_value_from_json(&text), Ok(bytes));
        let deeper = [level.repeat(limits::MAX_DEPTH + 1), vec![0xc0]].concat();
        let text = frame_value_to_json(EncodedValue::trusted(&deeper));
        assert_eq!(frame_value_from_json(&text), Err(DecodeError::TooDeep));
    }
}

/// A value of so many levels: lists in lists.
fn nested(levels: usize) -> Vec<u8> {
    let mut bytes = vec![0x91; levels - 1];
    bytes.push(0x90);
    bytes
}

#[test]
fn an_operation_or_question_that_its_host_has_encoded_is_written_as_any_other() {
    let deepest = nested(limits::MAX_DEPTH);
    for message in client_messages(EncodedValue::check(&deepest).unwrap()) {
        let (mut typed, mut buffer, mut written) = (Writer::new(), Writer::new(), Writer::new());
        message.encode(&mut typed);
        match message {
            ClientMessage::Write { request, ref operation } => {
                let subject = operation.subject();
                let bytes = operation.encode(&mut buffer);
                let checked = EncodedOperation::check(buffer_of(bytes, &mut written, request)).unwrap();
                assert_eq!(checked.subject(), subject);
            }
            ClientMessage::Query { query, about } => about.encode(&mut buffer).write(query, &mut written),
            _ => continue,
        }
        assert_eq!(written.as_bytes(), typed.as_bytes());
    }
}

/// Writes an operation, and returns its own bytes within the message.
fn buffer_of<'w>(operation: EncodedOperation<'_>, written: &'w mut Writer, request: RequestId) -> &'w [u8] {
    operation.write(request, written);
    // The array, its kind and the request's number take a byte each.
    &written.as_bytes()[3..]
}

#[test]
fn what_is_no_operation_is_told_by_what_is_wrong_with_it() {
    let check =
        |build: &dyn Fn(&mut Writer)| EncodedOperation::check(&encoded(|writer| build(writer))).map(drop);
    let key = "k".repeat(limits::MAX_KEY_BYTES + 1);
    for (kind, keys) in [(0, 1), (1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (5, 1), (8, 1)] {
        let refused = check(&|writer| {
            writer.array(1 + keys);
            writer.u64(kind);
            for number in 1..=keys {
                writer.str(if number == keys { &key } else { "k" });
            }
        });
        assert_eq!(refused, Err(DecodeError::BadKey), "operation {kind}, key {keys}");
    }
    let large = vec![0; limits::MAX_VALUE_BYTES];
    let too_large = check(&|writer| {
        writer.array(3);
        writer.u64(2);
        writer.str("d");
        writer.bin(&large);
    });
    assert_eq!(too_large, Err(DecodeError::TooLarge));
    let too_deep = nested(limits::MAX_DEPTH + 1);
    let too_deep = check(&|writer| {
        writer.array(2);
        writer.u64(7);
        writer.array(1);
        writer.array(4);
        writer.u64(0);
        writer.str("g");
        writer.str("k");
        writer.value(EncodedValue::trusted(&too_deep));
    });
    assert_eq!(too_deep, Err(DecodeError::TooDeep));
    let unknown = check(&|writer| {
        writer.array(2);
        writer.u64(9);
        writer.str("k");
    });
    assert_eq!(unknown, Err(DecodeError::UnknownKind(9)));
    assert!(matches!(EncodedOperation::check(&[0x91, 0x06, 0x00]), Err(DecodeError::Unexpected { .. })));
    for end in 0..4 {
        assert!(EncodedOperation::check(&[0x92, 0x01, 0xa1, b'k'][..end]).is_err());
    }
}
