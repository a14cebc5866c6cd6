//! Frames and requests that are small to send and large to take: ended with the code that the protocol has for them,
//! before anybody else's question is answered late, and without memory that they ask for.

use std::{collections::BTreeMap, fmt::Write as _, fs, time::Duration};

use tidewire::protocol::{
    ClientMessage, CloseCode, ErrorCode, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, ServerMessage, Subscription,
    Target, Writer,
    limits::{MAX_FRAME_BYTES, MAX_SUBSCRIPTIONS},
};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::{MaybeTlsStream, tungstenite::Message};

use crate::rig::{Client, Program, messages};

/// What these may cost: the allocator's habits, and frames of a megabyte; one of JSON takes a few times its size
/// while it is read, where it is nothing but empty arrays.
const MEMORY: u64 = 8 * 1024 * 1024;

/// Longer than any answer takes on a busy machine, by code that is not optimised: there it is some milliseconds.
const PROMPT: Duration = Duration::from_secs(2);

/// Resident memory of a process in bytes.
pub(crate) fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

const HELLO: &[u8] = &[0x93, 0x01, 0xa1, b'b', 0xc0];

fn hello() -> Vec<u8> {
    HELLO.to_vec()
}

/// `hello`, and a put of the object `k` with a value that is written by hand.
fn put(value: &[u8]) -> Vec<u8> {
    [HELLO, &[0x93, 0x04, 0x01, 0x93, 0x00, 0xa1, b'k'], value].concat()
}

fn map_of_a_million() -> Vec<u8> {
    let mut value = vec![0xdf];
    value.extend(1_000_000_u32.to_be_bytes());
    // As many of them as fit.
    while value.len() < MAX_FRAME_BYTES - 100 {
        value.extend([0xa0, 0xc0]);
    }
    value
}

/// What is sent, and the code that ends it.
fn bombs() -> Vec<(&'static str, Message, CloseCode)> {
    use CloseCode::{LimitExceeded, Malformed};
    let bytes = |bytes: Vec<u8>| Message::binary(bytes);
    let length = |head: u8| [head, 0xff, 0xff, 0xff, 0xff].to_vec();
    let text = |text: String| Message::text(text);
    let mut keys = r#"[[1,"b",null],[4,1,[0,"k",{"#.to_owned();
    while keys.len() < MAX_FRAME_BYTES - 100 {
        let separator = if keys.ends_with('{') { "" } else { "," };
        let length = keys.len();
        write!(keys, "{separator}\"{length:x}\":0").unwrap();
    }
    keys.push_str("}]]]");
    vec![
        ("arrays 100,000 deep", bytes(put(&[0x91; 100_000])), Malformed),
        ("maps 100,000 deep", bytes(put(&[0x81, 0xa0].repeat(100_000))), Malformed),
        (
            "arrays 100,000 deep where a message should be",
            bytes([hello(), vec![0x91; 100_000]].concat()),
            Malformed,
        ),
        ("a frame of arrays to come", bytes(vec![0xdd; MAX_FRAME_BYTES]), Malformed),
        ("a text of 4 GiB to come", bytes(put(&length(0xdb))), Malformed),
        ("bytes of 4 GiB to come", bytes(put(&length(0xc6))), Malformed),
        ("an array of 4 Gi elements to come", bytes(put(&length(0xdd))), Malformed),
        ("a map of 4 Gi pairs to come", bytes(put(&length(0xdf))), Malformed),
        ("an extension of 4 GiB to come", bytes(put(&length(0xc9))), Malformed),
        ("4 Gi subscriptions to come", bytes([HELLO, &[0x92, 0x02], &length(0xdd)].concat()), Malformed),
        ("4 Gi traces to come", bytes([HELLO, &[0x92, 0x09], &length(0xdd)].concat()), Malformed),
        ("4 Gi changes to come", bytes([HELLO, &[0x93, 4, 1, 0x92, 7], &length(0xdd)].concat()), Malformed),
        ("a key of 4 GiB to come", bytes([HELLO, &[0x93, 4, 1, 0x92, 1], &length(0xdb)].concat()), Malformed),
        ("a map of a million keys", bytes(put(&map_of_a_million())), Malformed),
        ("a frame one byte too long", bytes(vec![0xc0; MAX_FRAME_BYTES + 1]), LimitExceeded),
        ("a frame of 16 MiB", bytes(vec![0xc0; 16 * MAX_FRAME_BYTES]), LimitExceeded),
        ("JSON arrays 100,000 deep", text(format!("[[1,\"b\",null],{}", "[".repeat(100_000))), Malformed),
        (
            "JSON objects 100,000 deep",
            text(format!("[[1,\"b\",null],{}", r#"{"a":"#.repeat(100_000))),
            Malformed,
        ),
        ("JSON of nothing but brackets", text("[".repeat(MAX_FRAME_BYTES)), Malformed),
        ("a JSON object of all keys that fit", text(keys), Malformed),
        (
            "JSON of half a million zeros",
            text(format!("[[1,\"b\",null],[{}0]]", "0,".repeat(500_000))),
            Malformed,
        ),
        (
            "JSON of as many empty arrays",
            text(format!("[[1,\"b\",null],[{}0]]", "[],".repeat(340_000))),
            Malformed,
        ),
        ("a JSON number of a million digits", text(format!("[[1,{}]]", "9".repeat(1_000_000))), Malformed),
        ("a JSON text that never ends", text(format!("[[1,\"{}", "\\u0000".repeat(170_000))), Malformed),
        ("a JSON frame that is too long", text(" ".repeat(MAX_FRAME_BYTES + 1)), LimitExceeded),
    ]
}

/// Somebody else, who only wants answers.
async fn asks(client: &mut Client) -> Duration {
    let began = Instant::now();
    client.send(&[ClientMessage::Ping]).await;
    client.frame().await.unwrap();
    began.elapsed()
}

#[tokio::test]
async fn a_bomb_ends_its_own_connection_at_once_and_takes_neither_memory_nor_anybodys_time() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut other = Client::connect(&server.address, "other").await;
    // The first rounds show what they take at most, the last that no more of it is kept.
    for allowed in [2 * MEMORY, 2 * MEMORY, MEMORY] {
        let before = resident(server.id());
        for (name, message, code) in bombs() {
            let protocol = if message.is_text() { SUBPROTOCOL_JSON } else { SUBPROTOCOL_MSGPACK };
            let mut client = Client::dial(&server.address, Some(protocol), None).await.unwrap();
            let began = Instant::now();
            // A server that has seen enough closes before it has read all; then sending fails, and that is no fault.
            let _ = futures_util::SinkExt::send(&mut client.socket, message).await;
            let answered = asks(&mut other).await;
            assert!(answered < PROMPT, "{name}: somebody else waited for {answered:?}");
            let (closed, reason) = client.close().await;
            assert_eq!(closed, code.number(), "{name}: {reason}");
            assert!(began.elapsed() < 3 * PROMPT, "{name}: it took {:?}", began.elapsed());
            let grown = resident(server.id()).saturating_sub(before);
            assert!(grown < allowed, "{name}: the server has grown by {grown} bytes");
        }
    }
    assert_eq!(other.object(1, "k", None).await, "Absent { sequence: #0 }", "nothing of a bomb was written");
}

#[tokio::test]
async fn a_million_tiny_messages_in_a_frame_are_answered_while_others_are_served() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut other = Client::connect(&server.address, "other").await;
    let mut client = Client::connect(&server.address, "many").await;
    let base = resident(server.id());
    let mut writer = Writer::new();
    ClientMessage::Ping.encode(&mut writer);
    let ping = writer.into_bytes();
    let pings = MAX_FRAME_BYTES / ping.len();
    client.raw(Message::binary(ping.repeat(pings))).await;
    let answered = asks(&mut other).await;
    assert!(answered < 3 * PROMPT, "somebody else waited for {answered:?}");
    // Either each is answered, or the connection is ended for what it asks; it never falls silent.
    let mut pongs = 0;
    while pongs < pings {
        match client.frame().await {
            Ok(frame) => pongs += messages(&frame).len(),
            Err((code, reason)) => {
                let codes = [CloseCode::SlowConsumer, CloseCode::RateLimited].map(CloseCode::number);
                assert!(codes.contains(&code), "{code}: {reason}");
                break;
            }
        }
    }
    let grown = resident(server.id()).saturating_sub(base);
    assert!(grown < 4 * MEMORY, "the server has grown by {grown} bytes");
    assert!(asks(&mut other).await < PROMPT);
}

#[tokio::test]
async fn of_as_many_subscriptions_as_fit_a_frame_those_beyond_the_limit_are_denied() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut client = Client::connect(&server.address, "many").await;
    let most = u32::try_from(MAX_SUBSCRIPTIONS).unwrap();
    let subscriptions =
        (0..2 * most).map(|id| Subscription { id, target: Target::Object("k"), position: None }).collect();
    client.send(&[ClientMessage::Subscribe(subscriptions)]).await;
    let mut heard = BTreeMap::new();
    while heard.len() < 2 * MAX_SUBSCRIPTIONS {
        let frame = client.frame().await.unwrap();
        for message in messages(&frame) {
            match message {
                ServerMessage::Answer { subscription, .. } => drop(heard.insert(subscription, 0)),
                ServerMessage::Denied { subscription, code, .. } => drop(heard.insert(subscription, code)),
                _ => {}
            }
        }
    }
    let denied = ErrorCode::LimitExceeded.number();
    assert!(heard.into_iter().all(|(id, code)| code == if id < most { 0 } else { denied }));
}

/// Sends bytes as they are on a socket of its own, and reads what comes until the end.
async fn answer(name: &str, address: &str, bytes: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    // The server may have closed before all is sent.
    let _ = stream.write_all(bytes).await;
    let mut said = Vec::new();
    let ended = timeout(2 * PROMPT, stream.read_to_end(&mut said)).await;
    assert!(
        ended.is_ok(),
        "{name}: the server does not end it; it said {:?}",
        String::from_utf8_lossy(&said)
    );
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_head_that_is_too_large_has_too_many_lines_or_is_none_is_refused_at_once() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let base = resident(server.id());
    let head = |more: &str| format!("GET /v1/sync HTTP/1.1\r\nhost: {}\r\n{more}\r\n", server.address);
    for (name, bytes, wanted) in [
        ("a header of a megabyte", head(&format!("a: {}\r\n", "x".repeat(1_000_000))), &["431"][..]),
        ("a header that never ends", format!("GET / HTTP/1.1\r\na: {}", "x".repeat(1_000_000)), &["431"]),
        ("ten thousand headers", head(&"a: b\r\n".repeat(10_000)), &["431", "400"]),
        ("a path of a megabyte", format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1_000_000)), &["414", "431"]),
        ("no HTTP at all", "\u{0}\u{1}\u{2}\r\n\r\n".to_owned(), &["400", ""]),
        ("a body of 4 GiB to come", "PUT /v1/objects/k HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 4294967296\r\n\r\n".to_owned(), &["413"]),
        ("a length that is none", "PUT /v1/objects/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n".to_owned(), &["400", ""]),
    ] {
        let said = answer(name, &server.address, bytes.as_bytes()).await;
        let status = said.split(' ').nth(1).unwrap_or_default();
        assert!(wanted.contains(&status), "{name}: {said:.200}");
    }
    let grown = resident(server.id()).saturating_sub(base);
    assert!(grown < MEMORY, "the server has grown by {grown} bytes");
    asks(&mut Client::connect(&server.address, "other").await).await;
}

#[tokio::test]
async fn what_is_no_websocket_frame_ends_the_connection_and_a_header_of_16_exabytes_takes_no_memory() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let base = resident(server.id());
    for (name, bytes) in [
        (
            "2^63 - 1 bytes to come",
            &[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0][..],
        ),
        ("2^64 - 1 bytes to come", &[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        ("2^32 bytes to come", &[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("a frame without a mask", &[0x82, 0x01, 0xc0]),
        ("a reserved bit", &[0xc2, 0x81, 0, 0, 0, 0, 0xc0]),
        ("a kind of frame that does not exist", &[0x83, 0x80, 0, 0, 0, 0]),
        ("the end of what never began", &[0x80, 0x80, 0, 0, 0, 0]),
        ("a ping of 126 bytes", &[&[0x89, 0xfe, 0, 126][..], &[0; 130]].concat()),
    ] {
        let mut client = Client::connect(&server.address, "c").await;
        let MaybeTlsStream::Plain(stream) = client.socket.get_mut() else { unreachable!() };
        tokio::io::AsyncWriteExt::write_all(stream, bytes).await.unwrap();
        let (code, reason) = client.close().await;
        assert!((4500..5000).contains(&code), "{name}: {code} {reason}");
    }
    let grown = resident(server.id()).saturating_sub(base);
    assert!(grown < MEMORY, "the server has grown by {grown} bytes");
}
