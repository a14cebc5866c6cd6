//! One connection to a contestant, in the least of its protocol that a client needs.

use std::{net::SocketAddr, str};

use anyhow::{Context, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use tidewire::protocol::{
    ClientMessage, EncodedValue, Epoch, Operation, Reader, SUBPROTOCOL_MSGPACK, ServerMessage, Subscription,
    Target, Writer,
};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Bytes, Message,
        client::IntoClientRequest,
        http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::WebSocketConfig,
    },
};

use crate::contestant::Contestant;

/// What a connection of ten thousand may hold; a frame that is larger grows it.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Bytes of an encoded value.
pub(crate) const VALUE_BYTES: usize = 200;

/// A connection that has greeted.
#[derive(Debug)]
pub(crate) struct Peer {
    contestant: Contestant,
    socket: WebSocketStream<TcpStream>,
    requests: u64,
}

/// The WebSocket alone.
pub(crate) async fn dial(
    contestant: Contestant,
    address: SocketAddr,
) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let path = match contestant {
        Contestant::Tidewire => "v1/sync",
        Contestant::SocketIo => "socket.io/?EIO=4&transport=websocket",
        Contestant::Nats | Contestant::Ws => "",
    };
    let mut request = format!("ws://{address}/{path}").into_client_request()?;
    if contestant == Contestant::Tidewire {
        let protocol = HeaderValue::from_static(SUBPROTOCOL_MSGPACK);
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0);
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}

impl Peer {
    /// Connects and follows `keys`; everything is confirmed when this returns.
    pub(crate) async fn open(
        contestant: Contestant,
        address: SocketAddr,
        name: usize,
        keys: &[String],
    ) -> anyhow::Result<Self> {
        let socket = dial(contestant, address).await.context("no WebSocket")?;
        let mut peer = Self { contestant, socket, requests: 0 };
        match contestant {
            Contestant::Tidewire => peer.greet_tidewire(name, keys).await?,
            Contestant::Nats => peer.greet_nats(keys).await?,
            Contestant::SocketIo => peer.greet_socket_io(keys).await?,
            Contestant::Ws => {}
        }
        Ok(peer)
    }

    /// Writes a value that has `number` in it.
    pub(crate) async fn publish(&mut self, key: &str, number: u64) -> anyhow::Result<()> {
        let text = json(number);
        let message = match self.contestant {
            Contestant::Tidewire => {
                self.requests += 1;
                let value = msgpack(number);
                let operation = Operation::Put { key, value: EncodedValue::trusted(&value) };
                binary(&[ClientMessage::Write { request: self.requests, operation }])
            }
            Contestant::Nats => {
                Message::binary(format!("PUB {key} {}\r\n{text}\r\n", text.len()).into_bytes())
            }
            Contestant::SocketIo => Message::text(format!("42[\"put\",\"{key}\",{text}]")),
            Contestant::Ws => Message::binary(text.into_bytes()),
        };
        self.socket.send(message).await?;
        Ok(())
    }

    /// Waits for the next frame, and tells how many values were in it.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<u64> {
        let message = self.next().await?;
        match self.contestant {
            Contestant::Tidewire => {
                let (mut values, mut is_asked) = (0, false);
                let frame = message.into_data();
                let mut reader = Reader::new(&frame);
                while !reader.is_empty() {
                    match ServerMessage::decode(&mut reader)? {
                        ServerMessage::Envelope { .. } => values += 1,
                        ServerMessage::Beacon { .. } => is_asked = true,
                        ServerMessage::Refusal { message, .. } => bail!("refused: {message}"),
                        _ => {}
                    }
                }
                if is_asked {
                    self.socket.send(binary(&[ClientMessage::Ping])).await?;
                }
                Ok(values)
            }
            Contestant::Nats => {
                let frame = message.into_data();
                if frame.starts_with(b"PING") {
                    self.socket.send(Message::binary(&b"PONG\r\n"[..])).await?;
                }
                nats_messages(&frame)
            }
            Contestant::SocketIo => {
                if message.to_text()? == "2" {
                    self.socket.send(Message::text("3")).await?;
                    return Ok(0);
                }
                Ok(u64::from(message.to_text()?.starts_with("42")))
            }
            Contestant::Ws => Ok(1),
        }
    }

    /// Waits for the next frame, and tells how many writes it acknowledges.
    pub(crate) async fn acknowledgements(&mut self) -> anyhow::Result<u64> {
        let frame = self.next().await?.into_data();
        let mut reader = Reader::new(&frame);
        let (mut done, mut is_asked) = (0, false);
        while !reader.is_empty() {
            match ServerMessage::decode(&mut reader)? {
                ServerMessage::Ack { .. } => done += 1,
                ServerMessage::Beacon { .. } => is_asked = true,
                ServerMessage::Refusal { message, .. } => bail!("refused: {message}"),
                _ => {}
            }
        }
        if is_asked {
            self.socket.send(binary(&[ClientMessage::Ping])).await?;
        }
        Ok(done)
    }

    async fn next(&mut self) -> anyhow::Result<Message> {
        loop {
            match self.socket.next().await.context("the server hung up")?? {
                message @ (Message::Binary(_) | Message::Text(_)) => return Ok(message),
                Message::Close(frame) => bail!("the server closed the connection: {frame:?}"),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn greet_tidewire(&mut self, name: usize, keys: &[String]) -> anyhow::Result<()> {
        let client = Epoch::from_bytes((name as u128 + 1).to_be_bytes()).text();
        let mut messages = vec![ClientMessage::Hello { client: &client, token: None }];
        let subscriptions = keys.iter().zip(1..).map(|(key, id)| {
            let target = Target::Object(key);
            Subscription { id, target, position: None }
        });
        if !keys.is_empty() {
            messages.push(ClientMessage::Subscribe(subscriptions.collect()));
        }
        self.socket.send(binary(&messages)).await?;
        let (mut is_welcome, mut answers) = (false, 0);
        while !is_welcome || answers < keys.len() {
            let frame = self.next().await?.into_data();
            let mut reader = Reader::new(&frame);
            while !reader.is_empty() {
                match ServerMessage::decode(&mut reader)? {
                    ServerMessage::Welcome { .. } => is_welcome = true,
                    ServerMessage::Answer { .. } => answers += 1,
                    ServerMessage::Denied { message, .. } => bail!("denied: {message}"),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    async fn greet_nats(&mut self, keys: &[String]) -> anyhow::Result<()> {
        let mut text = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n".to_owned();
        for (number, key) in keys.iter().enumerate() {
            text.push_str(&format!("SUB {key} {}\r\n", number + 1));
        }
        text.push_str("PING\r\n");
        self.socket.send(Message::binary(text.into_bytes())).await?;
        loop {
            let frame = self.next().await?.into_data();
            let text = str::from_utf8(&frame)?;
            ensure!(!text.contains("-ERR"), "refused: {text}");
            if text.contains("PONG") {
                return Ok(());
            }
        }
    }

    async fn greet_socket_io(&mut self, keys: &[String]) -> anyhow::Result<()> {
        self.socket.send(Message::text("40")).await?;
        self.until_text("40").await?;
        if !keys.is_empty() {
            let keys = serde_json::to_string(keys)?;
            self.socket.send(Message::text(format!("420[\"follow\",{keys}]"))).await?;
            self.until_text("430").await?;
        }
        Ok(())
    }

    async fn until_text(&mut self, beginning: &str) -> anyhow::Result<()> {
        while !self.next().await?.to_text()?.starts_with(beginning) {}
        Ok(())
    }
}

fn binary(messages: &[ClientMessage<'_>]) -> Message {
    let mut writer = Writer::new();
    for message in messages {
        message.encode(&mut writer);
    }
    Message::Binary(Bytes::from(writer.into_bytes()))
}

/// How many `MSG` are in a frame of NATS: each is a line that ends with the length of what follows it.
fn nats_messages(mut frame: &[u8]) -> anyhow::Result<u64> {
    let mut messages = 0;
    while let Some(end) = frame.windows(2).position(|pair| pair == b"\r\n") {
        let line = str::from_utf8(&frame[..end])?;
        frame = &frame[end + 2..];
        if line.starts_with("MSG ") {
            let length: usize = line.rsplit(' ').next().unwrap_or_default().parse()?;
            frame = frame.get(length + 2..).context("a message of NATS is cut")?;
            messages += 1;
        }
    }
    Ok(messages)
}

/// A record as text, [`VALUE_BYTES`] long.
fn json(number: u64) -> String {
    let head = format!("{{\"id\":\"user:1\",\"number\":{number},\"isOnline\":true,\"note\":\"");
    let note = "x".repeat(VALUE_BYTES.saturating_sub(head.len() + 2));
    format!("{head}{note}\"}}")
}

/// The same record in MessagePack, as long.
fn msgpack(number: u64) -> Vec<u8> {
    let mut record = Writer::new();
    record.map(4);
    record.str("id");
    record.str("user:1");
    record.str("number");
    record.u64(number);
    record.str("isOnline");
    record.bool(true);
    record.str("note");
    // Two bytes say how long a string of this length is.
    record.str(&"x".repeat(VALUE_BYTES.saturating_sub(record.len() + 2)));
    record.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_values_have_the_same_length() {
        assert_eq!(json(12_345).len(), VALUE_BYTES);
        assert_eq!(msgpack(12_345).len(), VALUE_BYTES);
    }

    #[test]
    fn all_messages_of_a_nats_frame_are_counted() {
        let frame = b"MSG a 1 2\r\nhi\r\nPING\r\nMSG a 1 4\r\n\r\n\r\n\r\n";
        assert_eq!(nats_messages(frame).unwrap(), 2);
        assert!(nats_messages(b"MSG a 1 9\r\nhi\r\n").is_err());
    }
}
