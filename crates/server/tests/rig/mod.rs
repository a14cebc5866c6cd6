//! The real program over a real socket and a real file, and clients that speak bytes.

#![allow(dead_code, reason = "each test file uses its part of the rig")]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

pub(crate) mod proxy;
pub(crate) mod tap;

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tidewire::protocol::{
    Answer, ClientMessage, EncodedValue, Open, Operation, Position, Reader, RequestId, SUBPROTOCOL_MSGPACK,
    ServerMessage, Subscription, Target, Writer, from_json,
};
use tokio::{net::TcpStream, task::spawn_blocking, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue},
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// It logs to nowhere, or a hundred servers would fill the tests' output; for the test of logs, to a pipe.
pub(crate) fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidewire-server"));
    // What is measured is then what the server keeps, and not how many of its threads have an arena of their own.
    program.env("MALLOC_ARENA_MAX", "1").stderr(Stdio::null());
    program
}

/// A program that ends by itself: whether it succeeded, what it printed and what it complained.
pub(crate) fn run(arguments: &[&str]) -> (bool, String, String) {
    let Output { status, stdout, stderr } =
        program().args(arguments).stderr(Stdio::piped()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.success(), text(stdout), text(stderr))
}

/// A running server; killed at the end of the test.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: String,
}

impl Program {
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        Self::run(program(), data, arguments)
    }

    /// The program, with an environment or under another one.
    pub(crate) fn run(command: Command, data: &Path, arguments: &[&str]) -> Self {
        let mut program = Self::begin(command, data, arguments);
        let mut stdout = program.child.stdout.take().unwrap();
        program.address = address(&mut stdout);
        program.child.stdout = Some(stdout);
        program
    }

    /// The program, once it listens; killed if that takes longer than `patience`.
    pub(crate) async fn start_within(patience: Duration, data: &Path, arguments: &[&str]) -> Option<Self> {
        let mut program = Self::begin(program(), data, arguments);
        let mut stdout = program.child.stdout.take().unwrap();
        let listening = spawn_blocking(move || (address(&mut stdout), stdout));
        let (address, stdout) = timeout(patience, listening).await.ok()?.unwrap();
        program.address = address;
        program.child.stdout = Some(stdout);
        Some(program)
    }

    fn begin(mut command: Command, data: &Path, arguments: &[&str]) -> Self {
        let child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, address: String::new() }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it logs, if that goes to a pipe.
    pub(crate) fn log(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, as a supervisor does.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a program says that it listens.
fn address(stdout: &mut ChildStdout) -> String {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on http://").and_then(|rest| rest.strip_suffix('/'));
    address.unwrap_or_else(|| panic!("not the line that says where: {line:?}")).to_owned()
}

/// A GET by hand: status line with headers, and body.
pub(crate) fn get(address: &str, path: &str) -> (String, String) {
    ask(address, "GET", path, &[], "")
}

/// A request by hand: status line with headers in lower case, and body.
pub(crate) fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (String, String) {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len())
        .unwrap();
    if headers.iter().all(|(name, _)| *name != "host") {
        write!(stream, "host: {address}\r\n").unwrap();
    }
    for (name, value) in headers {
        write!(stream, "{name}: {value}\r\n").unwrap();
    }
    write!(stream, "\r\n{body}").unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    let response = String::from_utf8_lossy(&response).into_owned();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

/// A client over a WebSocket.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    pub(crate) async fn dial(
        address: &str,
        protocol: Option<&str>,
        origin: Option<&str>,
    ) -> Result<Self, Error> {
        let mut request = format!("ws://{address}/v1/sync").into_client_request().unwrap();
        for (name, value) in [("sec-websocket-protocol", protocol), ("origin", origin)] {
            if let Some(value) = value {
                request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        Self::dial_with(request).await
    }

    pub(crate) async fn dial_with(request: impl IntoClientRequest + Unpin) -> Result<Self, Error> {
        let (socket, _) = timeout(PATIENCE, connect_async(request)).await.unwrap()?;
        Ok(Self { socket })
    }

    /// A connection that was welcomed.
    pub(crate) async fn connect(address: &str, client: &str) -> Self {
        let mut connection = Self::dial(address, Some(SUBPROTOCOL_MSGPACK), None).await.unwrap();
        connection.send(&[ClientMessage::Hello { client, token: None }]).await;
        let frame = connection.frame().await.unwrap();
        assert!(matches!(messages(&frame)[0], ServerMessage::Welcome { .. }));
        connection
    }

    pub(crate) async fn send(&mut self, messages: &[ClientMessage<'_>]) {
        let mut writer = Writer::new();
        for message in messages {
            message.encode(&mut writer);
        }
        self.raw(Message::binary(writer.into_bytes())).await;
    }

    pub(crate) async fn raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// The next frame, or the code and reason of the close.
    pub(crate) async fn frame(&mut self) -> Result<Vec<u8>, (u16, String)> {
        self.next().await.map(|message| message.into_data().to_vec())
    }

    /// The next frame of a connection whose codec is JSON.
    pub(crate) async fn text(&mut self) -> Result<String, (u16, String)> {
        self.next().await.map(|message| message.into_text().unwrap().to_string())
    }

    async fn next(&mut self) -> Result<Message, (u16, String)> {
        loop {
            match timeout(PATIENCE, self.socket.next()).await.expect("the server says something") {
                Some(Ok(message @ (Message::Binary(_) | Message::Text(_)))) => return Ok(message),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err((frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => return Err((1006, format!("{other:?}"))),
            }
        }
    }

    /// The close, after whatever comes before it.
    pub(crate) async fn close(&mut self) -> (u16, String) {
        loop {
            if let Err(close) = self.frame().await {
                return close;
            }
        }
    }

    /// Waits for the reply to a request.
    pub(crate) async fn reply(&mut self, wanted: RequestId) -> Result<Option<Position>, u16> {
        loop {
            let frame = self.frame().await.unwrap();
            for message in messages(&frame) {
                match message {
                    ServerMessage::Ack { request, position, .. } if request == wanted => return Ok(position),
                    ServerMessage::Refusal { request, code, .. } if request == wanted => return Err(code),
                    _ => {}
                }
            }
        }
    }

    pub(crate) async fn put(&mut self, request: RequestId, key: &str, json: &str) -> Position {
        let bytes = from_json(json).unwrap();
        let operation = Operation::Put { key, value: EncodedValue::check(&bytes).unwrap() };
        self.send(&[ClientMessage::Write { request, operation }]).await;
        self.reply(request).await.unwrap().unwrap()
    }

    pub(crate) async fn set(&mut self, request: RequestId, datastore: &str, json: &str) -> Position {
        let bytes = from_json(json).unwrap();
        let operation = Operation::Set { datastore, value: EncodedValue::check(&bytes).unwrap() };
        self.send(&[ClientMessage::Write { request, operation }]).await;
        self.reply(request).await.unwrap().unwrap()
    }

    /// Subscribes, and returns every row of the snapshot with the snapshot's sequence.
    pub(crate) async fn rows(&mut self, datastore: &str, primary: &str) -> (u64, Vec<(String, u64)>) {
        let open = Some(Open { permanent: true, primary });
        let target = Target::Datastore { id: datastore, open };
        self.send(&[ClientMessage::Subscribe(vec![Subscription { id: 1, target, position: None }])]).await;
        let mut found = Vec::new();
        loop {
            let frame = self.frame().await.unwrap();
            for message in messages(&frame) {
                let ServerMessage::Answer { answer, .. } = message else { continue };
                let Answer::Page { sequence, rows, next, .. } = answer else { panic!("{answer:?}") };
                found.extend(rows.iter().map(|row| (row.key.to_owned(), row.sequence.get())));
                let Some(cursor) = next else { return (sequence.get(), found) };
                self.send(&[ClientMessage::Page { subscription: 1, attempt: 0, cursor }]).await;
            }
        }
    }

    /// Subscribes an object, and returns the answer as text for comparison.
    pub(crate) async fn object(&mut self, id: u32, key: &str, position: Option<Position>) -> String {
        let subscription = Subscription { id, target: Target::Object(key), position };
        self.send(&[ClientMessage::Subscribe(vec![subscription])]).await;
        loop {
            let frame = self.frame().await.unwrap();
            for message in messages(&frame) {
                match message {
                    ServerMessage::Answer { answer: Answer::Snapshot { sequence, value, .. }, .. } => {
                        return format!("{sequence} {}", tidewire::protocol::to_json(value).unwrap());
                    }
                    ServerMessage::Answer { answer, .. } => return format!("{answer:?}"),
                    _ => {}
                }
            }
        }
    }
}

pub(crate) fn messages(frame: &[u8]) -> Vec<ServerMessage<'_>> {
    let mut reader = Reader::new(frame);
    let mut messages = Vec::new();
    while !reader.is_empty() {
        messages.push(ServerMessage::decode(&mut reader).unwrap());
    }
    messages
}
