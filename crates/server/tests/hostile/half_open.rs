//! Connections that are dead while both ends believe that they are open, at seven points of a session: whoever waits
//! notices within its deadline (PROTOCOL.md, Heartbeat), and what was under way is done.

use std::time::Duration;

use futures_util::future::join_all;
use tidewire::protocol::{
    ClientMessage, CloseCode, EncodedValue, Operation, SUBPROTOCOL_MSGPACK, Subscription, Target, Writer,
};
use tidewire_native::{Client as Native, Connection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, tungstenite::Message};

use crate::rig::{
    Client, Program, get,
    proxy::{Lets, Proxy},
};

/// How long a link may take to open, the welcome to come, and the head of a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server waits for `hello`.
const GREETING: Duration = Duration::from_secs(15);
/// Two and a half heartbeats.
const SILENCE: Duration = Duration::from_secs(25);
/// The first backoffs, a close that nobody answers, and a busy machine.
const SLACK: Duration = Duration::from_secs(6);

/// What a client has under way when its line goes dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UnderWay {
    Nothing,
    Write,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_line_goes_dead_at_any_point_notices_in_time_and_comes_back_with_all_it_wanted() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let all = usize::MAX;
    let points = [
        ("after the TCP connect", Lets { up: 0, down: 0 }, None, PATIENCE),
        ("during the upgrade", Lets { up: 1, down: 0 }, None, PATIENCE),
        ("before hello", Lets { up: 1, down: 1 }, None, PATIENCE),
        ("after hello", Lets { up: 2, down: 1 }, None, PATIENCE),
        ("in the middle of a subscription", Lets { up: 3, down: 2 }, None, SILENCE),
        ("in the middle of a write", Lets::ALL, Some((Lets { up: 1, down: 0 }, UnderWay::Write)), SILENCE),
        ("live and silent", Lets::ALL, Some((Lets { up: 0, down: 0 }, UnderWay::Nothing)), SILENCE),
        // Half a line is as good as none: here the client still hears the server, which hears nothing.
        ("live and unheard", Lets::ALL, Some((Lets { up: 0, down: all }, UnderWay::Nothing)), SILENCE),
    ];
    join_all(points.into_iter().enumerate().map(async |(n, (point, first, later, deadline))| {
        let proxy = Proxy::start(&server.address, first).await;
        let client = Native::connect(&format!("ws://{}/v1/sync", proxy.address), None).unwrap();
        let key = format!("k{n}");
        let mut object = client.object::<u32>(&key).await.unwrap();
        let mut connection = client.connection();
        if let Some((lets, _)) = later {
            object.put(&1).await.unwrap();
            proxy.stall(lets);
        }
        let began = Instant::now();
        let write = client.clone();
        let writing = tokio::spawn(async move {
            match later {
                Some((_, UnderWay::Write)) => write.put(&key, &2).await,
                Some((_, UnderWay::Nothing)) | None => Ok(()),
            }
        });
        let is_lost = |connection: &Connection| matches!(connection, Connection::Reconnecting { .. });
        let lost = timeout(deadline + SLACK, connection.wait_for(is_lost)).await.map(drop);
        assert!(lost.is_ok(), "{point}: the client noticed nothing within {:?}", began.elapsed());
        let live = timeout(SLACK, connection.wait_for(|connection| *connection == Connection::Live)).await;
        assert!(live.is_ok(), "{point}: the client is not back");
        writing.await.unwrap().unwrap();
        let other = Native::connect(&format!("ws://{}/v1/sync", server.address), None).unwrap();
        other.put(object.key(), &3).await.unwrap();
        let heard = timeout(SLACK, object.wait_for(|value| value == Some(&3))).await;
        assert!(heard.is_ok(), "{point}: the client is deaf");
        // A write that was repeated ran once.
        let writes = match later {
            Some((_, UnderWay::Write)) => 3,
            Some((_, UnderWay::Nothing)) => 2,
            None => 1,
        };
        assert_eq!(object.meta().sequence, Some(writes), "{point}");
        assert_eq!(proxy.lines(), 2, "{point}");
    }))
    .await;
}

/// What a peer says before it falls silent.
async fn says(address: &str, point: usize) -> TcpStream {
    let request = format!("GET /v1/sync HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\n");
    match point {
        0 | 1 => {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&request.as_bytes()[..point * request.len()]).await.unwrap();
            stream
        }
        _ => {
            let mut client = Client::dial(address, Some(SUBPROTOCOL_MSGPACK), None).await.unwrap();
            let target = Target::Object("k");
            let subscribe = ClientMessage::Subscribe(vec![Subscription { id: 1, target, position: None }]);
            let name = format!("silent{point}");
            let hello = ClientMessage::Hello { client: &name, token: None };
            match point {
                2 => {}
                3 => client.send(&[hello]).await,
                4 => client.send(&[hello, subscribe]).await,
                5 => {
                    client.send(&[hello]).await;
                    let MaybeTlsStream::Plain(stream) = client.socket.get_mut() else { unreachable!() };
                    // The head of a frame of a hundred bytes, and the first of them.
                    stream.write_all(&[0x82, 0x80 | 100, 0, 0, 0, 0, 0x93]).await.unwrap();
                }
                _ => {
                    client.send(&[hello, subscribe]).await;
                    client.frame().await.unwrap();
                    client.raw(Message::Ping(Vec::new().into())).await;
                }
            }
            let MaybeTlsStream::Plain(stream) = client.socket.into_inner() else { unreachable!() };
            stream
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_gives_up_a_peer_that_falls_silent_at_any_point_and_one_that_says_a_byte_now_and_then() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let deadlines = [PATIENCE, PATIENCE, GREETING, SILENCE, SILENCE, SILENCE, SILENCE];
    let silent = join_all(deadlines.into_iter().enumerate().map(async |(point, deadline)| {
        let mut stream = says(&server.address, point).await;
        let began = Instant::now();
        let mut said = Vec::new();
        let ended = timeout(deadline + SLACK, stream.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "point {point}: the server still waits after {:?}", began.elapsed());
        let code = CloseCode::Silent.number().to_be_bytes();
        assert!(point < 2 || said.windows(2).any(|two| two == code), "point {point}: it says why");
        assert!(began.elapsed() + Duration::from_secs(1) > deadline, "point {point}: that was too early");
    }));
    // One byte of a head now and then is no head.
    let slow = async {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        let began = Instant::now();
        stream.write_all(b"GET /v1/sync HTTP/1.1\r\nhost: ").await.unwrap();
        while began.elapsed() < PATIENCE + SLACK {
            sleep(Duration::from_millis(300)).await;
            if stream.write_all(b"x").await.is_err() {
                return;
            }
        }
        panic!("the server still listens after {:?}", began.elapsed());
    };
    let body = async {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        let began = Instant::now();
        let head = format!(
            "PUT /v1/objects/k HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n1",
            server.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        timeout(Duration::from_secs(20) + SLACK, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408", "after {:?}", began.elapsed());
    };
    tokio::join!(silent, slow, body);
}

/// The bytes of a WebSocket frame, masked with zeros.
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82, 0x80 | 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_as_slowly_as_is_promised_arrives_and_what_trickles_is_cut_off() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    // Both take longer than a server waits for a sign of life, and for a body of which nothing comes.
    let value = "~".repeat(62 * 1024);
    let pace = Duration::from_millis(900);
    let greeted = async |name: &str| {
        let client = Client::connect(&server.address, name).await;
        let MaybeTlsStream::Plain(stream) = client.socket.into_inner() else { unreachable!() };
        stream
    };
    let mut bytes = Writer::new();
    bytes.str(&value);
    let bytes = bytes.into_bytes();
    let mut put = Writer::new();
    let operation = Operation::Put { key: "frame", value: EncodedValue::check(&bytes).unwrap() };
    ClientMessage::Write { request: 1, operation }.encode(&mut put);
    let put = frame(&put.into_bytes());
    let slowly = async {
        let mut stream = greeted("slow").await;
        for part in put.chunks(2 * 1024) {
            stream.write_all(part).await.unwrap();
            sleep(pace).await;
        }
    };
    let trickling = async {
        let mut stream = greeted("trickling").await;
        let began = Instant::now();
        for part in put.chunks(512) {
            if stream.write_all(part).await.is_err() {
                break;
            }
            sleep(pace).await;
        }
        assert!(began.elapsed() < SILENCE + SLACK, "the server still listens after {:?}", began.elapsed());
    };
    let body = async {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        let body = format!("\"{value}\"");
        let head = format!(
            "PUT /v1/objects/body HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            server.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        for part in body.as_bytes().chunks(2 * 1024) {
            stream.write_all(part).await.unwrap();
            sleep(pace).await;
        }
        let mut answer = [0; 12];
        timeout(SLACK, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    };
    tokio::join!(slowly, trickling, body);
    for key in ["frame", "body"] {
        let (head, shown) = get(&server.address, &format!("/v1/objects/{key}"));
        assert!(head.starts_with("http/1.1 200") && shown.contains(&value), "{key}: {head}");
    }
}
