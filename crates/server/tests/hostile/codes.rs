//! The close codes of PROTOCOL.md, all of them: what the server sends each for, and whether a client that hears it comes
//! back or ends. And whom a page may be from.

use std::{collections::BTreeMap, fs, time::Duration};

use futures_util::{FutureExt, SinkExt, StreamExt, future::join_all};
use tidewire::protocol::{
    ClientMessage, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, ServerMessage, Subscription, Target, Writer,
    limits::MAX_FRAME_BYTES,
};
use tidewire_native::{Client as Native, Connection};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::CloseFrame,
    },
};

use crate::rig::{Client, Program};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It is told to end.
    Ends,
    /// The same client has a newer connection; the other way, silence, is among the half-open ones.
    NewerConnection,
    /// Nobody reads what it sends.
    NotRead,
    /// What must not happen, so nothing here can make it.
    Fault,
    /// More messages at once than a connection may send.
    Haste,
    /// A frame of noise.
    Noise,
    /// A ping before `hello`.
    NoHello,
    /// A frame that is too long.
    TooLong,
    /// The subprotocol of another version.
    Foreign,
    /// No token where one is due.
    NoToken,
}

/// Every code with its name and what causes it. PROTOCOL.md has the same rows, or the test says so.
const CODES: [(u16, &str, Cause); 10] = [
    (4000, "restarting", Cause::Ends),
    (4001, "silent", Cause::NewerConnection),
    (4002, "slow_consumer", Cause::NotRead),
    (4003, "internal", Cause::Fault),
    (4004, "rate_limited", Cause::Haste),
    (4500, "malformed", Cause::Noise),
    (4501, "unexpected", Cause::NoHello),
    (4502, "limit_exceeded", Cause::TooLong),
    (4503, "unsupported", Cause::Foreign),
    (4504, "unauthorized", Cause::NoToken),
];

#[test]
fn the_table_of_the_protocol_and_this_one_have_the_same_codes() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../PROTOCOL.md")).unwrap();
    let section = text.split("\n## Close codes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<_> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.split('|').map(str::trim).skip(1);
            Some((cells.next()?.parse::<u16>().ok()?, cells.next()?.to_owned()))
        })
        .collect();
    let known: Vec<_> = CODES.iter().map(|(code, name, _)| (*code, (*name).to_owned())).collect();
    assert_eq!(rows, known);
}

/// Has the server close a connection for a cause; the code that came.
async fn closed_for(cause: Cause) -> Option<u16> {
    let data = tempfile::tempdir().unwrap();
    let secret = data.path().join("secret");
    fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let arguments: &[&str] = match cause {
        Cause::NoToken => &["--jwt-secret", secret.to_str().unwrap()],
        _ => &[],
    };
    let server = Program::start(data.path(), arguments);
    let address = &*server.address;
    let code = match cause {
        Cause::Ends => {
            let mut client = Client::connect(address, "c").await;
            server.terminate();
            client.close().await.0
        }
        Cause::NewerConnection => {
            let mut older = Client::connect(address, "c").await;
            let _newer = Client::connect(address, "c").await;
            older.close().await.0
        }
        Cause::NotRead => {
            let mut slow = Client::connect(address, "slow").await;
            let subscription = Subscription { id: 1, target: Target::Object("k"), position: None };
            slow.send(&[ClientMessage::Subscribe(vec![subscription])]).await;
            let mut writer = Client::connect(address, "writer").await;
            let value = format!("\"{}\"", "x".repeat(250_000));
            // More than all buffers between the two hold together, and then it reads after all.
            for request in 1..=100 {
                writer.put(request, "k", &value).await;
                if request > 60 && slow.socket.next().now_or_never().is_some() {
                    break;
                }
            }
            slow.close().await.0
        }
        Cause::Fault => return None,
        Cause::Haste => {
            let mut client = Client::connect(address, "c").await;
            let mut writer = Writer::new();
            ClientMessage::Ping.encode(&mut writer);
            client.raw(Message::binary(writer.into_bytes().repeat(100_000))).await;
            client.close().await.0
        }
        Cause::Noise => {
            let mut client = Client::connect(address, "c").await;
            client.raw(Message::binary(vec![0xc1; 10])).await;
            client.close().await.0
        }
        Cause::NoHello => {
            let mut client = Client::dial(address, Some(SUBPROTOCOL_MSGPACK), None).await.unwrap();
            client.send(&[ClientMessage::Ping]).await;
            client.close().await.0
        }
        Cause::TooLong => {
            let mut client = Client::connect(address, "c").await;
            client.raw(Message::binary(vec![0xc0; MAX_FRAME_BYTES + 1])).await;
            client.close().await.0
        }
        Cause::Foreign => {
            // What is no client of ours gets no WebSocket that could be closed.
            for protocol in [None, Some("graphql-ws"), Some("tidewire")] {
                assert_eq!(upgrade(address, address, &[], protocol).await, 400, "{protocol:?}");
            }
            let offers = "graphql-ws, tidewire.v3.cbor, tidewire.v2.msgpack";
            Client::dial(address, Some(offers), None).await.unwrap().close().await.0
        }
        Cause::NoToken => {
            let mut client = Client::dial(address, Some(SUBPROTOCOL_MSGPACK), None).await.unwrap();
            client.send(&[ClientMessage::Hello { client: "c", token: None }]).await;
            client.close().await.0
        }
    };
    Some(code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_sends_every_code_for_its_cause() {
    let mut sent = BTreeMap::new();
    for (code, name, cause) in CODES {
        let closed =
            timeout(PATIENCE, closed_for(cause)).await.unwrap_or_else(|_| panic!("{name}: no close"));
        sent.insert(code, closed);
        match cause {
            Cause::Fault => assert_eq!(closed, None, "{name}"),
            // The close frame itself waits behind bytes that nobody took; it may not arrive at all.
            Cause::NotRead => assert!([Some(code), Some(1006)].contains(&closed), "{name}: {closed:?}"),
            _ => assert_eq!(closed, Some(code), "{name}"),
        }
    }
    assert_eq!(sent.len(), CODES.len());
}

/// What a client does that was welcomed and then closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    ComesBack,
    Ends,
}

/// How a link ends: with this code, without any, or without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Code(u16),
    NoCode,
    NoWord,
}

#[expect(clippy::result_large_err, reason = "the type is the library's")]
fn agree(
    _: &Request,
    mut response: Response,
) -> Result<Response, tokio_tungstenite::tungstenite::http::Response<Option<String>>> {
    let protocol = HeaderValue::from_static(SUBPROTOCOL_MSGPACK);
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    Ok(response)
}

/// A server that welcomes one client and ends the link so. Whether the client was there a second time.
async fn after(ending: Ending) -> Then {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Native::connect(&format!("ws://{address}/v1/sync"), None).unwrap();
    let mut socket = accept_hdr_async(listener.accept().await.unwrap().0, agree).await.unwrap();
    socket.next().await.unwrap().unwrap();
    let mut welcome = Writer::new();
    ServerMessage::Welcome { session: 1, heartbeat: 10_000 }.encode(&mut welcome);
    socket.send(Message::binary(welcome.into_bytes())).await.unwrap();
    let mut connection = client.connection();
    connection.wait_for(|connection| *connection == Connection::Live).await.unwrap();
    match ending {
        Ending::Code(code) => {
            let frame = CloseFrame { code: code.into(), reason: "".into() };
            socket.send(Message::Close(Some(frame))).await.unwrap();
        }
        Ending::NoCode => socket.send(Message::Close(None)).await.unwrap(),
        Ending::NoWord => {}
    }
    if ending == Ending::NoWord {
        drop(socket);
    } else {
        // Until the client has answered.
        while let Some(Ok(_)) = socket.next().await {}
    }
    tokio::select! {
        again = listener.accept() => {
            again.unwrap();
            Then::ComesBack
        }
        ended = connection.wait_for(|connection| matches!(connection, Connection::Closed { .. })) => {
            let Connection::Closed { code, .. } = *ended.unwrap() else { unreachable!() };
            assert_eq!(Ending::Code(code), ending, "the client says what it heard");
            // And it stays away.
            sleep(Duration::from_millis(700)).await;
            assert!(listener.accept().now_or_never().is_none(), "{ending:?}: it said closed and came back");
            Then::Ends
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_comes_back_after_every_end_but_the_terminal_codes() {
    let standard = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999];
    let others = [4099, 4100, 4499, 4505, 4700, 4999];
    let codes = CODES.iter().map(|(code, ..)| *code).chain(standard).chain(others).map(Ending::Code);
    let endings = codes.chain([Ending::NoCode, Ending::NoWord]);
    join_all(endings.map(async |ending| {
        let then = timeout(PATIENCE, after(ending)).await.unwrap_or_else(|_| panic!("{ending:?}: neither"));
        let wanted = match ending {
            Ending::Code(4500..=4999) => Then::Ends,
            Ending::Code(_) | Ending::NoCode | Ending::NoWord => Then::ComesBack,
        };
        assert_eq!(then, wanted, "{ending:?}");
    }))
    .await;
}

/// The status of an upgrade that is written by hand.
async fn upgrade(address: &str, host: &str, origins: &[&str], protocol: Option<&str>) -> u16 {
    let mut request = format!(
        "GET /v1/sync HTTP/1.1\r\nhost: {host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in origins
        .iter()
        .map(|origin| ("origin", *origin))
        .chain(protocol.map(|it| ("sec-websocket-protocol", it)))
    {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(stream).read_line(&mut line)).await.unwrap().unwrap();
    line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}")).parse().unwrap()
}

#[tokio::test]
async fn pages_of_allowed_origins_upgrade_and_what_only_looks_like_one_does_not() {
    let data = tempfile::tempdir().unwrap();
    let allowed = ["--allow-origin", "https://app.example.com", "--allow-origin", "http://intranet:8080"];
    let server = Program::start(data.path(), &allowed);
    let own = format!("http://{}", server.address);
    for (origin, wanted) in [
        (None, 101),
        // Exact.
        (Some("https://app.example.com"), 101),
        (Some("http://intranet:8080"), 101),
        (Some(&*own), 101),
        (Some("http://localhost:5173"), 101),
        (Some("http://[::1]:5173"), 101),
        // Another port.
        (Some("https://app.example.com:444"), 403),
        (Some("https://app.example.com:443"), 403),
        (Some("http://intranet"), 403),
        (Some("http://intranet:80801"), 403),
        // Another scheme.
        (Some("http://app.example.com"), 403),
        (Some("wss://app.example.com"), 403),
        (Some("file://"), 403),
        (Some("chrome-extension://abcdefghijklmnop"), 403),
        // The name in the middle of another one.
        (Some("https://app.example.com.evil.org"), 403),
        (Some("https://evil-app.example.com"), 403),
        (Some("https://sub.app.example.com"), 403),
        (Some("https://example.com"), 403),
        (Some("https://app.example.com@evil.org"), 403),
        (Some("https://evil.org/https://app.example.com"), 403),
        (Some("https://app.example.com."), 403),
        (Some("https://app.example.com/"), 403),
        (Some("HTTPS://APP.EXAMPLE.COM"), 403),
        (Some("https://localhost.evil.org"), 403),
        (Some("https://127.0.0.1.evil.org"), 403),
        (Some("https://xn--pp-eka.example.com"), 403),
        (Some("https://\u{430}pp.example.com"), 403),
        // None at all, in other words.
        (Some("null"), 403),
        (Some(""), 403),
        (Some("*"), 403),
        (Some("https://app.example.com, https://evil.org"), 403),
    ] {
        for protocol in [SUBPROTOCOL_MSGPACK, SUBPROTOCOL_JSON] {
            let origins: Vec<_> = origin.into_iter().collect();
            let status = upgrade(&server.address, &server.address, &origins, Some(protocol)).await;
            assert_eq!(status, wanted, "{origin:?}");
        }
    }
    // A foreign page that has pointed its own name to this machine, and two origins in two lines.
    let port = server.address.rsplit(':').next().unwrap();
    let (name, page) = (format!("evil.org:{port}"), format!("http://evil.org:{port}"));
    assert_eq!(upgrade(&server.address, &name, &[&page], Some(SUBPROTOCOL_MSGPACK)).await, 403);
    let two = ["https://evil.org", "https://app.example.com"];
    assert_eq!(upgrade(&server.address, &server.address, &two, Some(SUBPROTOCOL_MSGPACK)).await, 403);
}
