//! What the server is given by mistake or in malice: refused by name and limit, and nothing has changed.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::time::Duration;

use server_rig::{Rig, datastore, large_record, number, record};
use tidewire::{
    protocol::{
        Answer, ClientMessage, CloseCode, DecodeError, EncodedValue, ErrorCode, Open, Operation,
        ServerMessage, Target, Timestamp, Writer, from_json,
        limits::{MAX_DEPTH, MAX_KEY_BYTES, MAX_VALUE_BYTES},
    },
    server::{Object, Server, Snapshot, WriteError, storage::Memory},
};

const TEMPORARY: Open<'static> = Open { permanent: false, primary: "id" };

/// A rig with an object `k`, a permanent datastore `d` with a record, and a temporary one.
fn filled() -> Rig {
    let mut rig = Rig::new();
    rig.open("d");
    rig.server.open_datastore(rig.now, "t", TEMPORARY, None).unwrap();
    rig.set("d", "a", 1);
    rig.set("t", "a", 1);
    let value = number(1);
    rig.server.put(rig.now, "k", EncodedValue::check(&value).unwrap()).unwrap();
    rig.commit().unwrap();
    rig
}

type State = (Option<Object>, Option<Snapshot>, Option<Snapshot>);

fn state(rig: &Rig) -> State {
    let snapshot = |id| rig.server.snapshot(rig.now, id).unwrap();
    (rig.server.object("k").unwrap(), snapshot("d"), snapshot("t"))
}

fn nested(levels: usize) -> Vec<u8> {
    let mut bytes = vec![0x91; levels];
    bytes.push(0xc0);
    bytes
}

type Attempt = fn(&mut Server<Memory>, Timestamp, &str) -> Result<(), WriteError>;

#[test]
fn every_command_refuses_bad_names_and_values_by_field_and_limit_and_changes_nothing() {
    let json = |text: &str| from_json(text).unwrap();
    let set = |server: &mut Server<Memory>, now, id: &str, bytes: &[u8]| {
        server.set(now, id, EncodedValue::trusted(bytes)).map(drop)
    };
    // Every operation that takes a name, with the word for it.
    let named: [(&str, Attempt); 8] = [
        ("key", |server, now, name| server.put(now, name, EncodedValue::NIL).map(drop)),
        ("key", |server, now, name| server.delete(now, name).map(drop)),
        ("key", |server, now, name| server.read(now, name).map(drop)),
        ("record", |server, now, name| server.remove(now, "d", name).map(drop)),
        ("record", |server, now, name| server.remove(now, "t", name).map(drop)),
        ("primary field", |server, now, name| {
            server.set(now, "d", EncodedValue::trusted(&record(name, 1))).map(drop)
        }),
        ("datastore", |server, now, name| server.open_datastore(now, name, TEMPORARY, None).map(drop)),
        ("primary", |server, now, name| {
            server.open_datastore(now, "new", Open { permanent: true, primary: name }, None).map(drop)
        }),
    ];
    let mut rig = filled();
    let before = state(&rig);
    for length in [MAX_KEY_BYTES + 1, 10_000, 1_000_000] {
        for (field, attempt) in named {
            let error = attempt(&mut rig.server, rig.now, &"k".repeat(length)).unwrap_err();
            assert_eq!(error, WriteError::BadKey { field, length });
            assert_eq!(error.code(), ErrorCode::LimitExceeded);
            let message = error.to_string();
            assert!(
                message.contains(field) && message.contains("1024") && message.contains(&length.to_string())
            );
        }
    }
    for (field, attempt) in &named[..5] {
        let error = attempt(&mut rig.server, rig.now, "").unwrap_err();
        assert_eq!(error, WriteError::BadKey { field, length: 0 });
    }
    // As many characters as there may be bytes are too many where a character takes several.
    let wide = "世".repeat(MAX_KEY_BYTES / 3 + 1);
    assert!(matches!(rig.server.put(rig.now, &wide, EncodedValue::NIL), Err(WriteError::BadKey { .. })));

    let large = large_record("a", MAX_VALUE_BYTES);
    let too_large = WriteError::TooLarge { field: "value", length: large.len() };
    assert_eq!(rig.server.put(rig.now, "k", EncodedValue::trusted(&large)), Err(too_large.clone()));
    assert_eq!(set(&mut rig.server, rig.now, "d", &large), Err(too_large.clone()));
    assert_eq!(too_large.code(), ErrorCode::LimitExceeded);
    assert!(too_large.to_string().contains("`value`") && too_large.to_string().contains("262144"));
    for text in
        [r#"{"n":1}"#, r#"{"id":7}"#, r#"{"id":null}"#, r#"{"id":""}"#, r#"{"id":["a"]}"#, "[]", "1", "null"]
    {
        let no_primary = WriteError::NoPrimary { field: "id".into() };
        assert_eq!(set(&mut rig.server, rig.now, "d", &json(text)), Err(no_primary), "{text}");
    }
    assert_eq!(set(&mut rig.server, rig.now, "absent", &record("a", 1)), Err(WriteError::NoDatastore));
    assert_eq!(rig.server.remove(rig.now, "absent", "a"), Err(WriteError::NoDatastore));
    assert_eq!(rig.server.remove(rig.now, "d", "absent"), Ok(None));
    assert_eq!(rig.server.delete(rig.now, "absent"), Ok(None));
    rig.commit().unwrap();
    assert_eq!(state(&rig), before);
    assert_eq!(rig.server.datastore(rig.now, "new").unwrap(), None);
}

#[test]
fn a_value_that_nests_too_deeply_or_is_none_cannot_be_handed_over() {
    assert!(EncodedValue::check(&nested(MAX_DEPTH)).is_ok());
    let error = EncodedValue::check(&nested(MAX_DEPTH + 1)).unwrap_err();
    assert_eq!(error, DecodeError::TooDeep);
    assert!(error.to_string().contains("64"));
    for bytes in
        [&[][..], &[0xc1], &[0xc7, 1, 0, 0], &[0x81, 0x01, 0x01], &[0xa1, 0xff], &[0xc0, 0xc0], &[0xdb, 0xff]]
    {
        assert!(EncodedValue::check(bytes).is_err(), "{bytes:x?}");
    }
    let large = large_record("a", MAX_VALUE_BYTES);
    assert_eq!(EncodedValue::check(&large), Err(DecodeError::TooLarge));
}

/// A write whose operation is written by hand.
fn write(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.array(3);
    writer.u64(4);
    writer.u64(1);
    write(&mut writer);
    writer.into_bytes()
}

#[test]
fn a_frame_with_a_bad_name_or_value_ends_its_connection_with_the_limit_and_changes_nothing() {
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    let raw = |bytes: &[u8]| {
        let mut frame = write(|writer| {
            writer.array(3);
            writer.u64(0);
            writer.str("k");
        });
        frame.extend_from_slice(bytes);
        frame
    };
    let mut frames = vec![
        ("64 levels", raw(&nested(MAX_DEPTH + 1))),
        ("262144 bytes", raw(&large_record("a", MAX_VALUE_BYTES))),
        ("without extension types", raw(&[0xd4, 0x00, 0x00])),
        ("string as map key", raw(&[0x81, 0x01, 0x01])),
        ("not UTF-8", raw(&[0xa1, 0xff])),
        ("ends inside", raw(&[0xda, 0xff])),
        (
            "not known",
            write(|writer| {
                writer.array(1);
                writer.u64(99);
            }),
        ),
    ];
    for name in ["", &long] {
        for (kind, has_value) in [(0, true), (1, false), (2, true)] {
            frames.push((
                "1024 bytes",
                write(|writer| {
                    writer.array(2 + usize::from(has_value));
                    writer.u64(kind);
                    writer.str(name);
                    if has_value {
                        writer.nil();
                    }
                }),
            ));
        }
        for (datastore, record) in [(name, "a"), ("d", name)] {
            frames.push((
                "1024 bytes",
                write(|writer| {
                    writer.array(3);
                    writer.u64(3);
                    writer.str(datastore);
                    writer.str(record);
                }),
            ));
        }
    }
    let mut rig = filled();
    let bystander = rig.client("bystander");
    let before = state(&rig);
    for (hint, frame) in frames {
        let client = rig.client("c");
        rig.server.handle_frame(rig.now, client, &frame);
        rig.commit().unwrap();
        let (code, reason) = rig.take(client).closed.unwrap();
        assert_eq!(code, CloseCode::Malformed.number());
        assert!(reason.contains(hint), "{reason:?} does not say {hint:?}");
        assert_eq!(state(&rig), before, "{hint}");
    }
    rig.send(bystander, &ClientMessage::Ping);
    assert_eq!(rig.take(bystander).one(), ServerMessage::Pong);
    assert_eq!(rig.server.residue().connections, 1);
}

#[test]
fn unknown_ids_and_wrong_kinds_are_denied_with_their_codes() {
    let mut rig = filled();
    let before = state(&rig);
    let client = rig.client("c");
    let value = number(1);
    let value = EncodedValue::check(&value).unwrap();
    for (request, operation, code) in [
        (1, Operation::Set { datastore: "absent", value }, ErrorCode::NotFound),
        (2, Operation::Remove { datastore: "absent", key: "a" }, ErrorCode::NotFound),
        // An object's key names no datastore, and the other way round.
        (3, Operation::Set { datastore: "k", value }, ErrorCode::NotFound),
        (4, Operation::Set { datastore: "d", value }, ErrorCode::InvalidRequest),
    ] {
        assert_eq!(rig.write(client, request, operation).codes(), [code.number()], "{request}");
    }
    assert_eq!(rig.write(client, 5, Operation::Delete { key: "d" }).ack(), None);
    assert_eq!(rig.subscribe(client, 1, datastore("k"), None).codes(), [ErrorCode::NotFound.number()]);
    rig.subscribe(client, 2, Target::Object("k"), None);
    rig.send(client, &ClientMessage::Page { subscription: 2, attempt: 1, cursor: "1.1.1.1" });
    assert_eq!(rig.take(client).codes(), [ErrorCode::InvalidRequest.number()]);
    assert_eq!(state(&rig), before);
}

#[test]
fn any_text_up_to_the_limit_names_objects_datastores_and_records() {
    let longest = "k".repeat(MAX_KEY_BYTES);
    let names = [
        "\0",
        "a\0b",
        "a",
        "A",
        " ",
        "مرحبا",
        "世界",
        "👩‍👩‍👧",
        "e\u{301}",
        "\u{e9}",
        "%_'\";--",
        "*",
        "user:*",
        "../..",
        "\r\n",
        "\u{feff}",
        &longest,
    ];
    let mut rig = Rig::new();
    let client = rig.client("c");
    for (name, n) in names.iter().zip(1..) {
        let bytes = number(n);
        rig.server.put(rig.now, name, EncodedValue::check(&bytes).unwrap()).unwrap();
        rig.server.open_datastore(rig.now, name, TEMPORARY, None).unwrap();
        rig.open("all");
        rig.set(name, name, n);
        rig.set("all", name, n);
    }
    for (name, n) in names.iter().zip(1..) {
        let object = rig.server.object(name).unwrap().unwrap();
        assert_eq!((object.position.sequence.get(), &*object.value.unwrap()), (1, &*number(n)), "{name:?}");
        let snapshot = rig.server.snapshot(rig.now, name).unwrap().unwrap();
        assert_eq!(snapshot.records.len(), 1, "{name:?}");
        assert_eq!((&*snapshot.records[0].key, &*snapshot.records[0].value), (*name, &*record(name, n)));
        assert_eq!(rig.server.record(rig.now, "all", name).unwrap().unwrap().sequence.get(), n, "{name:?}");
        match rig.subscribe(client, 1, Target::Object(name), None).answer().2 {
            Answer::Snapshot { value, .. } => assert_eq!(value.as_bytes(), number(n), "{name:?}"),
            other => panic!("{name:?}: {other:?}"),
        }
        let inbox = rig.subscribe(client, 2, datastore(name), None);
        assert!(matches!(inbox.answer().2, Answer::Page { rows, .. } if rows[0].key == *name), "{name:?}");
    }
    let inbox = rig.subscribe(client, 3, datastore("all"), None);
    let Answer::Page { rows, .. } = inbox.answer().2 else { panic!("no page") };
    assert!(rows.iter().map(|row| row.key).eq(names));
    for name in names {
        assert!(rig.server.remove(rig.now, "all", name).unwrap().is_some());
        assert!(rig.server.delete(rig.now, name).unwrap().is_some());
    }
    assert_eq!(rig.server.snapshot(rig.now, "all").unwrap().unwrap().records, []);
}

#[test]
fn a_clock_that_jumps_an_hour_back_or_ten_years_ahead_drops_nobody_and_no_sequence() {
    let mut rig = filled();
    let client = rig.client("c");
    rig.subscribe(client, 1, datastore("d"), None);
    rig.subscribe(client, 2, Target::Object("k"), None);
    let years = Duration::from_secs(10 * 365 * 24 * 3_600);
    let back = |now: Timestamp, time: Duration| {
        Timestamp::from_millis(now.as_millis() - u64::try_from(time.as_millis()).unwrap())
    };
    let mut sequence = 1;
    let mut request = 0;
    let mut requests = || {
        request += 1;
        request
    };
    let start = rig.now;
    let first = requests();
    let value = number(7);
    let put = || Operation::Put { key: "k", value: EncodedValue::check(&value).unwrap() };
    let acked = rig.write(client, first, put()).ack();
    for (is_ahead, jump) in [
        (false, Duration::from_secs(3_600)),
        (true, years),
        (false, years),
        (true, years),
        (false, Duration::from_secs(3_600)),
        (false, years),
    ] {
        rig.now = if is_ahead { rig.now + jump } else { back(rig.now, jump) };
        // Whatever is looked at first: the clock, a frame, or nothing for a while.
        rig.server.handle_timeout(rig.now);
        rig.commit().unwrap();
        assert_eq!(rig.take(client).closed, None);
        rig.set("d", "a", 1);
        sequence += 1;
        assert_eq!(rig.take(client).envelopes().last().unwrap().0, sequence);
        for _ in 0..5 {
            rig.send(client, &ClientMessage::Ping);
            rig.advance(Duration::from_secs(10));
        }
        let inbox = rig.take(client);
        assert_eq!(inbox.closed, None);
        let is_beacon = |message: &ServerMessage<'_>| matches!(message, ServerMessage::Beacon { .. });
        assert!(inbox.messages().iter().any(is_beacon));
        assert!(rig.server.datastore(rig.now, "d").unwrap().is_some());
    }
    // An answer is repeated, or too old to be repeated; it is never run again.
    let inbox = rig.write(client, first, put());
    match inbox.messages().first().unwrap() {
        ServerMessage::Ack { position, .. } => assert_eq!(*position, acked),
        ServerMessage::Refusal { code, .. } => assert_eq!(*code, ErrorCode::RequestExpired.number()),
        other => panic!("{other:?}"),
    }
    assert_eq!(rig.server.object("k").unwrap().unwrap().position, acked.unwrap());
    // What lives for an hour is not ended by an hour that did not pass.
    rig.now = start;
    rig.server.handle_timeout(rig.now);
    let brief = rig.server.open_datastore(rig.now, "brief", TEMPORARY, None).unwrap();
    let brief = brief.position.epoch;
    for _ in 0..5 {
        rig.now = back(rig.now, Duration::from_secs(3_600));
        rig.server.handle_timeout(rig.now);
        rig.commit().unwrap();
        assert_eq!(rig.server.datastore(rig.now, "brief").unwrap().unwrap().position.epoch, brief);
    }
}
