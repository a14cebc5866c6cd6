//! The native client and the native server over a real line that carries so many bytes a second.
//!
//! With a heartbeat of less than a second, so that what takes minutes takes seconds; `tests/client_slow_line.rs` has the
//! usual one, on a virtual clock.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use tidewire::protocol::{ClientMessage, Reader, SUBPROTOCOL_MSGPACK, ServerMessage, Writer};
use tidewire_native::{Client, Connection};
use tidewire_server::Builder;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
    },
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

const HEARTBEAT: Duration = Duration::from_millis(800);

/// After which a server takes a client for gone.
const SILENCE: Duration = Duration::from_millis(2_000);

const KIB: usize = 1024;

/// A line that carries so many bytes a second in each direction. Returns its address, and counts the connections.
async fn throttle(server: String, up: usize, down: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::<AtomicUsize>::default();
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((below, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let Ok(above) = TcpStream::connect(&server).await else { continue };
            let ((below_in, below_out), (above_in, above_out)) = (below.into_split(), above.into_split());
            tokio::spawn(async move {
                // The end of one direction is the end of both.
                tokio::select! {
                    () = pass(below_in, above_out, up) => {}
                    () = pass(above_in, below_out, down) => {}
                }
            });
        }
    });
    (address, counted)
}

/// A packet's worth at a time, each once the line is free for it.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, rate: usize) {
    let mut packet = [0; 1_024];
    let mut free = tokio::time::Instant::now();
    while let Ok(read @ 1..) = from.read(&mut packet).await {
        let takes = Duration::from_secs_f64(read as f64 / rate as f64);
        free = free.max(tokio::time::Instant::now()) + takes;
        sleep_until(free).await;
        if to.write_all(&packet[..read]).await.is_err() {
            return;
        }
    }
}

/// A server in this process; it stops when the sender is dropped.
async fn serve(data: &Path) -> (String, oneshot::Sender<()>) {
    let server = Builder::new(data).listen("127.0.0.1:0".parse().unwrap()).heartbeat(HEARTBEAT);
    let ((said, ready), (stop, stopped)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(server.serve(|address| said.send(address).unwrap(), async { drop(stopped.await) }));
    (timeout(PATIENCE, ready).await.unwrap().unwrap().to_string(), stop)
}

fn connect(address: &str) -> Client {
    Client::connect(&format!("ws://{address}/v1/sync"), None).unwrap()
}

async fn within<T>(wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.expect("it happens in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_takes_longer_to_leave_than_anybody_may_be_silent_is_sent_once() {
    let data = tempfile::tempdir().unwrap();
    let (address, _stop) = serve(data.path()).await;
    let (slow, lines) = throttle(address, 24 * KIB, 1_000 * KIB).await;
    let client = connect(&slow);
    let object = within(client.object::<String>("k")).await.unwrap();
    let began = Instant::now();
    within(client.put("k", &"~".repeat(120 * KIB))).await.unwrap();
    assert!(began.elapsed() > SILENCE * 2, "that was no slow line: {:?}", began.elapsed());
    assert_eq!((object.meta().sequence, lines.load(Ordering::Relaxed)), (Some(1), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_takes_longer_to_come_than_anybody_may_be_silent_comes() {
    let data = tempfile::tempdir().unwrap();
    let (address, _stop) = serve(data.path()).await;
    let value = "~".repeat(72 * KIB);
    within(connect(&address).put("k", &value)).await.unwrap();
    let (slow, _) = throttle(address, 1_000 * KIB, 24 * KIB).await;
    let client = connect(&slow);
    let began = Instant::now();
    let mut object = within(client.object::<String>("k")).await.unwrap();
    within(object.wait_for(|shown| shown == Some(&value))).await.unwrap();
    assert!(began.elapsed() > SILENCE, "that was no slow line: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_hears_its_server_while_what_it_writes_cannot_leave() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = connect(&listener.local_addr().unwrap().to_string());
    let (stream, _) = within(listener.accept()).await.unwrap();
    #[expect(clippy::result_large_err, reason = "the type is the library's")]
    let select = |_: &Request, mut response: Response| {
        let protocol = HeaderValue::from_static(SUBPROTOCOL_MSGPACK);
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        Ok(response)
    };
    let (mut sink, mut stream) = within(accept_hdr_async(stream, select)).await.unwrap().split();
    let mut say = async |message: ServerMessage<'_>| {
        let mut frame = Writer::new();
        message.encode(&mut frame);
        sink.send(Message::binary(frame.into_bytes())).await.unwrap();
    };
    within(stream.next()).await.unwrap().unwrap();
    say(ServerMessage::Welcome { session: 1, heartbeat: 400 }).await;
    // More than the system's buffers take.
    let value = "~".repeat(255 * KIB);
    let writes: Vec<_> = (0..60)
        .map(|n| {
            let (client, value) = (client.clone(), value.clone());
            tokio::spawn(async move { client.put(&format!("k{n}"), &value).await })
        })
        .collect();
    let mut connection = client.connection();
    within(connection.wait_for(|connection| *connection == Connection::Live)).await.unwrap();
    // Several times as long as a client waits for a sign of life.
    for number in 1..=15 {
        sleep(Duration::from_millis(200)).await;
        say(ServerMessage::Beacon { number, heads: Vec::new() }).await;
        assert_eq!(*connection.borrow(), Connection::Live, "after {number} beacons");
    }
    let answering = async {
        while let Some(Ok(Message::Binary(frame))) = stream.next().await {
            let mut reader = Reader::new(&frame);
            while !reader.is_empty() {
                match ClientMessage::decode(&mut reader).unwrap() {
                    ClientMessage::Write { request, .. } => {
                        say(ServerMessage::Ack { request, position: None, result: None }).await;
                    }
                    ClientMessage::Ping => say(ServerMessage::Pong).await,
                    other => panic!("{other:?}"),
                }
            }
        }
    };
    let written = async {
        for write in writes {
            write.await.unwrap().unwrap();
        }
    };
    tokio::select! {
        () = answering => panic!("the client has left"),
        () = within(written) => {}
    }
}
