//! What is fuzzed, and what must hold for any bytes at all.
//!
//! A target is a function in [`TARGETS`], with seeds of its own in [`seeds`] and a file of two lines in `fuzz_targets`.
//! `cargo xtask fuzz` runs them under libFuzzer, which looks for inputs that reach new code. `tests/fuzz_replay.rs`
//! includes this file, and plays the seeds, seeded mutations of them and everything under `regressions` in every run of
//! the tests.

use serde_json::Value;
use tidewire::{
    client::{Change, Client, Output},
    gate::{Dialect, Gate, Patterns},
    protocol::{
        ClientMessage, EncodedValue, Epoch, Heard, Open, Query, Reader, ServerMessage, Subscription, Target,
        Timestamp, Writer, client_frame_to_json, frame_from_json, frame_value_from_json, frame_value_to_json,
        from_json, server_frame_to_json, to_json,
    },
    replica::Verdict,
    server::{Action, ConnectionId, Options, Residue, Server, storage::Memory},
};

/// Takes any bytes, and panics where something does not hold.
pub type Fuzz = fn(&[u8]);

/// Every target, by its name.
pub const TARGETS: [(&str, Fuzz); 8] = [
    ("client_message", client_message),
    ("server_message", server_message),
    ("json_frame", json_frame),
    ("value", value),
    ("text", text),
    ("gate", gate),
    ("server", server),
    ("client", client),
];

/// The golden files of the protocol.
const CLIENT_VECTORS: &str = include_str!("../../tests/vectors/client.json");
const SERVER_VECTORS: &str = include_str!("../../tests/vectors/server.json");

/// What a client may say: what is read is written again and read as the same, in both codecs.
pub fn client_message(frame: &[u8]) {
    let mut reader = Reader::new(frame);
    let mut writer = Writer::new();
    while !reader.is_empty() {
        let Ok(message) = ClientMessage::decode(&mut reader) else { return };
        let mut one = Writer::new();
        message.encode(&mut one);
        let one = one.into_bytes();
        assert_eq!(ClientMessage::decode(&mut Reader::new(&one)).as_ref(), Ok(&message));
        message.encode(&mut writer);
    }
    let written = writer.into_bytes();
    let text = client_frame_to_json(&written).expect("what was read can be said in JSON");
    comes_back(&text, |frame| client_frame_to_json(frame).ok());
}

/// What a server may say, as [`client_message`]; and who passes over messages passes over whole ones.
pub fn server_message(frame: &[u8]) {
    let mut reader = Reader::new(frame);
    let mut skipping = Reader::new(frame);
    let mut writer = Writer::new();
    while !reader.is_empty() {
        let heard = Heard::decode(&mut skipping);
        let Ok(message) = ServerMessage::decode(&mut reader) else { return };
        match heard.expect("a client hears whatever is a message") {
            Heard::Message(heard) => assert_eq!(heard, message),
            Heard::Result(_)
            | Heard::Following(_)
            | Heard::Told(_)
            | Heard::Notification { .. }
            | Heard::Relayed(_) => {}
            Heard::Unknown => panic!("what has been read is known"),
        }
        assert_eq!(skipping.offset(), reader.offset());
        let mut one = Writer::new();
        message.encode(&mut one);
        let one = one.into_bytes();
        assert_eq!(ServerMessage::decode(&mut Reader::new(&one)).as_ref(), Ok(&message));
        message.encode(&mut writer);
    }
    let written = writer.into_bytes();
    let text = server_frame_to_json(&written).expect("what was read can be said in JSON");
    comes_back(&text, |frame| server_frame_to_json(frame).ok());
}

/// A JSON frame that was written is read, and written as the same text.
fn comes_back(text: &str, write: impl Fn(&[u8]) -> Option<String>) {
    let frame = frame_from_json(text).expect("what was written can be read");
    assert_eq!(write(&frame).as_deref(), Some(text));
}

/// Any text as a JSON frame: it is refused, or a frame that both sides' decoders can look at.
pub fn json_frame(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(frame) = frame_from_json(text) {
        client_message(&frame);
        server_message(&frame);
    }
}

/// Any bytes and any text as a value, as a body over HTTP brings it.
pub fn value(bytes: &[u8]) {
    if let Ok(value) = EncodedValue::check(bytes) {
        let _ = value.string_field("id");
        if let Some(fields) = value.fields() {
            for (name, field) in fields {
                EncodedValue::check(field.as_bytes()).expect("a part of what was checked");
                let _ = value.string_field(name);
            }
        }
        let text = frame_value_to_json(value);
        let again = frame_value_from_json(&text).expect("what was written can be read");
        let again = EncodedValue::check(&again).expect("what was read is well-formed");
        assert_eq!(frame_value_to_json(again), text);
        let _ = to_json(value);
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    for read in [frame_value_from_json(text), from_json(text)] {
        // It may still be over a limit.
        if let Some(value) = read.as_deref().ok().and_then(|bytes| EncodedValue::check(bytes).ok()) {
            let said = frame_value_to_json(value);
            assert_eq!(frame_value_from_json(&said).as_deref(), Ok(value.as_bytes()));
        }
    }
}

/// Any text as an epoch.
pub fn text(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(epoch) = text.parse::<Epoch>() {
        assert_eq!(epoch.text(), text);
    }
}

/// A pattern occurs where its own text does: what gates are asked about is which text they show to the host.
#[derive(Default)]
struct Literals(Vec<String>);

impl Patterns for Literals {
    fn prepare(&mut self, pattern: &str) -> Option<u32> {
        self.0.push(pattern.to_owned());
        u32::try_from(self.0.len() - 1).ok()
    }

    fn is_match(&self, pattern: u32, text: &str) -> bool {
        text.contains(&self.0[pattern as usize])
    }
}

/// The first frame is a schema, as JSON or encoded, the others are values: any schema is compiled or refused, and what
/// has passed before changes no verdict.
pub fn gate(bytes: &[u8]) {
    let mut frames = frames(bytes);
    let encoded = |frame: &[u8]| str::from_utf8(frame).ok().and_then(|text| from_json(text).ok());
    let Some((is_library, schema)) = frames.next() else { return };
    let schema = encoded(schema).unwrap_or_else(|| schema.to_vec());
    let Ok(schema) = EncodedValue::check(&schema) else { return };
    let dialect = if is_library { Dialect::Library } else { Dialect::Json };
    let mut host = Literals::default();
    let Ok(gate) = Gate::compile(schema, dialect, &mut host) else { return };
    let mut passed: Option<Vec<u8>> = None;
    for (_, frame) in frames {
        let bytes = encoded(frame).unwrap_or_else(|| frame.to_vec());
        let Ok(value) = EncodedValue::check(&bytes) else { continue };
        let verdict = gate.check(value, &host);
        if let Some(old) = passed.as_deref().and_then(|old| EncodedValue::check(old).ok()) {
            let against = gate.check_against(old, value, &host);
            assert_eq!(against.is_ok(), verdict.is_ok(), "{against:?}, {verdict:?}");
        }
        if verdict.is_ok() {
            passed = Some(bytes);
        }
    }
}

/// Schemas of every kind of rule, each with values on both sides of it.
const GATES: [(&str, &[&str]); 9] = [
    (
        r#"{"type":"object","properties":{"id":{"type":"string","minLength":1},"n":{"type":"integer","minimum":0,"exclusiveMaximum":9}},"required":["id"],"additionalProperties":false}"#,
        &[r#"{"id":"a","n":1}"#, r#"{"id":"a","n":8.5}"#, r#"{"id":"","n":1}"#, r#"{"id":"a","x":1}"#],
    ),
    (
        r#"{"type":"array","prefixItems":[{"const":1}],"items":{"type":["string","null"]},"maxItems":3,"uniqueItems":true}"#,
        &["[1]", r#"[1,"a",null]"#, r#"[1,"a","a"]"#, "[2]"],
    ),
    (
        r#"{"anyOf":[{"type":"number","multipleOf":0.5},{"pattern":"ab","type":"string"}]}"#,
        &["1.5", r#""xaby""#, "1.3"],
    ),
    (
        r#"{"oneOf":[{"properties":{"k":{"const":"a"}},"required":["k"]},{"properties":{"k":{"const":"b"},"v":{"type":"number"}},"required":["k","v"]}]}"#,
        &[r#"{"k":"a"}"#, r#"{"k":"b","v":1}"#, r#"{"k":"b"}"#],
    ),
    (
        r#"{"not":{"required":["a"]},"dependentRequired":{"b":["c"]}}"#,
        &[r#"{"b":1,"c":2}"#, r#"{"b":1}"#, r#"{"a":1}"#],
    ),
    (
        r##"{"$ref":"#/$defs/node","$defs":{"node":{"properties":{"next":{"$ref":"#/$defs/node"},"v":{"enum":[1,"x",[2]]}}}}}"##,
        &[r#"{"next":{"next":{"v":1}}}"#, r#"{"next":{"next":{"v":[2]}}}"#, r#"{"next":{"v":3}}"#],
    ),
    (
        r#"{"if":{"type":"object","minProperties":2},"then":{"propertyNames":{"maxLength":2}},"else":{"contains":{"type":"boolean"},"minContains":2}}"#,
        &[r#"{"aa":1,"bb":2}"#, r#"{"aaa":1,"b":1}"#, "[true,1,false]", "[true]"],
    ),
    (
        r#"{"patternProperties":{"a":{"type":"null"}},"additionalProperties":{"type":"boolean"}}"#,
        &[r#"{"ba":null,"c":true}"#, r#"{"ba":1}"#],
    ),
    ("false", &["1"]),
];

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Frames, each after its length in two bytes; the highest bit of the length says which of two peers it is from.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_at_checked(2)?;
        let length = usize::from(head[0] & 0x7f) << 8 | usize::from(head[1]);
        let (frame, rest) = rest.split_at(length.min(rest.len()));
        bytes = rest;
        Some((head[0] & 0x80 != 0, frame))
    })
}

/// The whole server module against two peers that have greeted it: it answers in messages, and keeps nothing of peers
/// that are gone.
pub fn server(bytes: &[u8]) {
    let mut server = Server::open(Memory::new(), Options::new([7; 32])).expect("memory does not fail");
    let peers = [ConnectionId(1), ConnectionId(2)];
    for (peer, name) in peers.into_iter().zip(["a", "b"]) {
        let mut hello = Writer::new();
        ClientMessage::Hello { client: name, token: None }.encode(&mut hello);
        server.handle_connect(NOW, peer);
        server.handle_frame(NOW, peer, &hello.into_bytes());
    }
    let mut now = NOW;
    for (is_second, frame) in frames(bytes) {
        now = now + std::time::Duration::from_millis(1);
        server.handle_frame(now, peers[usize::from(is_second)], frame);
        server.commit(now).expect("memory does not fail");
        while let Some(transmit) = server.poll_transmit() {
            if let Action::Frame(frame) = &transmit.action {
                server_frame_to_json(frame).expect("a server speaks the protocol");
            }
            if transmit.report {
                server.handle_drained(now, transmit.connection);
            }
        }
    }
    for peer in peers {
        server.handle_disconnect(now, peer);
    }
    server.commit(now).expect("memory does not fail");
    assert_eq!(server.residue(), Residue::default());
}

/// The whole client against a server that has welcomed it: it shows well-formed values, and speaks the protocol.
pub fn client(bytes: &[u8]) {
    let mut client = Client::new([7; 16], None);
    client.subscribe_object("k", true).expect("a key within its limit");
    client.subscribe_datastore("d", Some(true), "id", false).expect("an id within its limit");
    client.follow_relay("r").expect("a key within its limit");
    client.follow_mailbox();
    client.watch("g", "*");
    client.start(NOW);
    let mut link = None;
    while let Some(output) = client.poll_output() {
        if let Output::Dial(dialled) = output {
            link = Some(dialled);
        }
    }
    let link = link.expect("a client that starts dials");
    client.handle_opened(NOW, link);
    let mut welcome = Writer::new();
    ServerMessage::Welcome { session: 1, heartbeat: 10_000 }.encode(&mut welcome);
    client.handle_frame(NOW, link, &welcome.into_bytes());
    client.put(NOW, "k", EncodedValue::NIL).expect("a key within its limit");
    client.query(NOW, Query::KvCount { group: "g" }).expect("a short question");
    let (mut now, mut changes) = (NOW, Vec::new());
    for (is_refused, frame) in frames(bytes) {
        now = now + std::time::Duration::from_millis(1);
        client.handle_frame(now, link, frame);
        loop {
            while let Some(output) = client.poll_output() {
                if let Output::Transmit(_, frame) = output {
                    client_frame_to_json(&frame).expect("a client speaks the protocol");
                }
            }
            client.poll_changes(&mut changes);
            if changes.is_empty() {
                break;
            }
            for change in changes.drain(..) {
                match change {
                    Change::Judge { ticket, cell, .. } => {
                        let value = client.value(cell).expect("what is judged is there");
                        EncodedValue::check(value.as_bytes()).expect("what is judged is well-formed");
                        let verdict = if is_refused { Verdict::Refused } else { Verdict::Accepted };
                        client.judged(now, ticket, verdict);
                    }
                    Change::Fed { cell, .. } | Change::Answered { cell: Some(cell), .. } => {
                        let message = client.value(cell).expect("what is told is there");
                        let mut reader = Reader::new(message.as_bytes());
                        Heard::decode(&mut reader).expect("what is told is a message");
                        assert!(reader.is_empty(), "and nothing else");
                    }
                    Change::Value { cell: Some(cell), .. } | Change::Row { cell, .. } => {
                        let value = client.value(cell).expect("what is shown is there");
                        EncodedValue::check(value.as_bytes()).expect("what is shown is well-formed");
                    }
                    _ => {}
                }
            }
        }
    }
    client.close(now);
    while client.poll_output().is_some() {}
}

/// Writes a target's seeds to where `TIDEWIRE_SEEDS` says, before the engine reads them.
pub fn prepare(target: &str) {
    let Some(root) = std::env::var_os("TIDEWIRE_SEEDS") else { return };
    let directory = std::path::PathBuf::from(root).join(target);
    std::fs::create_dir_all(&directory).expect("a directory for the seeds");
    for (number, seed) in seeds(target).into_iter().enumerate() {
        std::fs::write(directory.join(format!("seed{number:03}")), seed).expect("room for the seeds");
    }
}

/// Where a target starts from.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let vectors = |text: &str| -> Vec<(Vec<u8>, Value)> {
        let vectors: Vec<Value> = serde_json::from_str(text).expect("the golden files are JSON");
        let hex = |text: &str| {
            let digits = text.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("hex digits"));
            digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex digits")).collect()
        };
        let vector = |vector: &Value| (hex(vector["msgpack"].as_str().expect("hex")), vector["json"].clone());
        vectors.iter().map(vector).collect()
    };
    let (client, server) = (vectors(CLIENT_VECTORS), vectors(SERVER_VECTORS));
    let bytes = |vectors: &[(Vec<u8>, Value)]| vectors.iter().map(|(bytes, _)| bytes.clone()).collect();
    match target {
        "client_message" => bytes(&client),
        "server_message" => bytes(&server),
        "json_frame" => client.iter().chain(&server).map(|(_, json)| json.to_string().into_bytes()).collect(),
        "value" => {
            let json = client.iter().map(|(_, json)| json.clone());
            let texts = [r#"{"$":["map",{"$":1}]}"#, r#"{"id":"a","n":-0.0}"#, "1e400", "9007199254740993"];
            let texts = json.map(|json| json.to_string()).chain(texts.map(str::to_owned)).collect::<Vec<_>>();
            let binary = texts.iter().filter_map(|text| from_json(text).ok()).collect::<Vec<_>>();
            texts.into_iter().map(String::into_bytes).chain(binary).collect()
        }
        "text" => vec![b"00112233445566778899aabbccddeeff".to_vec(), b"0011".to_vec()],
        "gate" => {
            let seed = |(schema, values): (&str, &[&str]), is_library| {
                let mut seed = framed(schema.as_bytes(), is_library);
                seed.extend(values.iter().flat_map(|value| framed(value.as_bytes(), false)));
                seed
            };
            GATES.into_iter().flat_map(|gate| [seed(gate, false), seed(gate, true)]).collect()
        }
        "server" => {
            let mut all = framed(&subscriptions(), false);
            all.extend(client.iter().flat_map(|(bytes, _)| framed(bytes, true)));
            let one = |(bytes, _): &(Vec<u8>, Value)| {
                [framed(&subscriptions(), false), framed(bytes, true)].concat()
            };
            client.iter().map(one).chain([all]).collect()
        }
        "client" => {
            let all = server.iter().flat_map(|(bytes, _)| framed(bytes, false)).collect();
            server.iter().map(|(bytes, _)| framed(bytes, false)).chain([all]).collect()
        }
        other => panic!("no target is named {other}"),
    }
}

/// A frame after its length.
fn framed(frame: &[u8], is_second: bool) -> Vec<u8> {
    let length = u16::try_from(frame.len()).unwrap_or(0x7fff).min(0x7fff);
    let head = length | if is_second { 0x8000 } else { 0 };
    [&head.to_be_bytes(), &frame[..usize::from(length)]].concat()
}

/// Subscriptions to one of each.
fn subscriptions() -> Vec<u8> {
    let open = Some(Open { permanent: true, primary: "id" });
    let targets = [
        Target::Object("k"),
        Target::Datastore { id: "d", open },
        Target::Pool { id: "p", open: Some(tidewire::protocol::OpenPool { presence: true }) },
        Target::Mailbox,
        Target::Watch { group: "*", key: "*" },
    ];
    let subscription = |(id, target)| Subscription { id, target, position: None };
    let mut writer = Writer::new();
    ClientMessage::Subscribe((1..).zip(targets).map(subscription).collect()).encode(&mut writer);
    writer.into_bytes()
}
