//! One WebSocket after the other: each is a task that only moves bytes.

use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tidewire::{
    protocol::{SUBPROTOCOL_MSGPACK, limits::MAX_FRAME_BYTES},
    session::Generation,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        http::{HeaderValue, Uri, header::SEC_WEBSOCKET_PROTOCOL},
        protocol::{CloseFrame, WebSocketConfig},
    },
};

/// The close code of a link that ended without one.
pub(crate) const ABNORMAL: u16 = 1006;

/// Frames that may wait for the wire. A link that is further behind is given up; the next one resumes.
const WAITING_FRAMES: usize = 1_024;

/// What is read at once. The library's 128 KiB would be fetched from the system for every link, and given back after it.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// How long what is queued may take to leave once a link is ended: a line that is stuck is not waited for.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Where to connect.
#[derive(Debug, Clone)]
pub(crate) struct Address(Uri);

impl Address {
    /// `None` if it is none of a WebSocket.
    pub(crate) fn new(url: &str) -> Option<Self> {
        let address: Uri = url.parse().ok()?;
        let is_known = matches!(address.scheme_str(), Some("ws" | "wss"));
        (is_known && address.host().is_some()).then_some(Self(address))
    }
}

/// The addresses of one service, of which the next one is taken for every link.
#[derive(Debug)]
pub(crate) struct Addresses {
    all: Vec<Address>,
    next: usize,
}

impl Addresses {
    /// In the order of this chance, so that the clients of a server that dies spread over all others; `None` if there are
    /// none.
    pub(crate) fn new(mut all: Vec<Address>, mut chance: u128) -> Option<Self> {
        for left in (1..=all.len()).rev() {
            let drawn = usize::try_from(chance % left as u128).unwrap_or_default();
            chance /= left as u128;
            all.swap(drawn, left - 1);
        }
        (!all.is_empty()).then_some(Self { all, next: 0 })
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// Where to open the next link to.
    pub(crate) fn take(&mut self) -> Address {
        let address = self.all[self.next].clone();
        self.next = (self.next + 1) % self.all.len();
        address
    }
}

/// What a link tells the driver.
#[derive(Debug)]
pub(crate) enum Event {
    Opened,
    Frame(Vec<u8>),
    Closed {
        code: u16,
        reason: String,
    },
    /// Not of a link: a token was fetched for one, or could not be.
    Token(Result<String, String>),
}

/// What the driver tells a link.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Frame(Vec<u8>),
    Close(u16),
}

/// The driver's end of a link. Dropped, the link ends without a word.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) generation: Generation,
    queue: mpsc::Sender<Outgoing>,
    /// Dropped with the link, which its task may not see in a queue that it cannot empty.
    _held: oneshot::Sender<()>,
}

impl Link {
    /// Opens a link; it tells `events` what happens to it.
    pub(crate) fn open(
        address: Address,
        generation: Generation,
        events: mpsc::Sender<(Generation, Event)>,
    ) -> Self {
        let (queue, frames) = mpsc::channel(WAITING_FRAMES);
        let (held, dropped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = run(address, generation, &events, frames) => ended,
                () = async {
                    // It is dropped and says nothing.
                    let _ = dropped.await;
                    sleep(CLOSE_PATIENCE).await;
                } => Ok((ABNORMAL, String::new())),
            };
            let closed = match ended {
                Ok((code, reason)) => Event::Closed { code, reason },
                Err(error) => Event::Closed { code: ABNORMAL, reason: error.to_string() },
            };
            // The driver is gone with everything that a link could be for.
            let _ = events.send((generation, closed)).await;
        });
        Self { generation, queue, _held: held }
    }

    /// Queues a frame; `false` if the link cannot take it.
    pub(crate) fn send(&self, frame: Vec<u8>) -> bool {
        self.queue.try_send(Outgoing::Frame(frame)).is_ok()
    }

    /// Ends the link once what is queued has left.
    pub(crate) fn close(self, code: u16) {
        let _ = self.queue.try_send(Outgoing::Close(code));
    }
}

type Failure = tokio_tungstenite::tungstenite::Error;

/// Moves bytes until either side ends the link; returns how it ended.
async fn run(
    address: Address,
    generation: Generation,
    events: &mpsc::Sender<(Generation, Event)>,
    mut queue: mpsc::Receiver<Outgoing>,
) -> Result<(u16, String), Failure> {
    let mut request = address.0.into_client_request()?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL_MSGPACK));
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES));
    let connecting = connect_async_with_config(request, Some(config), true);
    let (socket, _) = tokio::select! {
        connected = connecting => connected?,
        // Given up before it was open.
        () = given_up(&mut queue) => return Ok((ABNORMAL, String::new())),
    };
    if events.send((generation, Event::Opened)).await.is_err() {
        return Ok((ABNORMAL, String::new()));
    }
    // Each on its own: a large frame may take minutes to leave, and what comes meanwhile says that the server is there.
    let (sink, stream) = socket.split();
    tokio::select! {
        ended = receive(stream, generation, events) => ended,
        ended = transmit(sink, queue) => ended,
    }
}

/// Hands on what comes, until the link ends.
async fn receive(
    mut stream: impl Stream<Item = Result<Message, Failure>> + Unpin,
    generation: Generation,
    events: &mpsc::Sender<(Generation, Event)>,
) -> Result<(u16, String), Failure> {
    loop {
        match stream.next().await {
            Some(Ok(Message::Binary(frame))) => {
                // Waits for the driver; meanwhile the socket fills, and the server sees that this side is slow.
                if events.send((generation, Event::Frame(frame.into()))).await.is_err() {
                    return Ok((ABNORMAL, String::new()));
                }
            }
            Some(Ok(Message::Close(frame))) => {
                let how = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                return Ok(how.unwrap_or((ABNORMAL, String::new())));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
            None => return Ok((ABNORMAL, "the connection was lost".to_owned())),
        }
    }
}

/// Sends what the driver queues, until it ends the link.
async fn transmit(
    mut sink: impl Sink<Message, Error = Failure> + Unpin,
    mut queue: mpsc::Receiver<Outgoing>,
) -> Result<(u16, String), Failure> {
    loop {
        match queue.recv().await {
            Some(Outgoing::Frame(frame)) => sink.send(Message::binary(frame)).await?,
            Some(Outgoing::Close(code)) => {
                let close = CloseFrame { code: code.into(), reason: "".into() };
                sink.send(Message::Close(Some(close))).await?;
                return Ok((code, String::new()));
            }
            None => return Ok((ABNORMAL, String::new())),
        }
    }
}

/// Waits until the driver has no use for the link any more.
async fn given_up(queue: &mut mpsc::Receiver<Outgoing>) {
    while let Some(Outgoing::Frame(_)) = queue.recv().await {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn addresses_are_taken_in_turn_in_any_order() {
        let all: Vec<_> = ["ws://a", "ws://b", "ws://c"].into_iter().filter_map(Address::new).collect();
        let mut orders = BTreeSet::new();
        for chance in 0..6 {
            let mut addresses = Addresses::new(all.clone(), chance).unwrap();
            let taken: Vec<_> = (0..6).map(|_| addresses.take().0.to_string()).collect();
            assert_eq!(taken[..3], taken[3..]);
            assert_eq!(BTreeSet::from_iter(&taken).len(), 3);
            orders.insert(taken);
        }
        assert_eq!(orders.len(), 6);
        assert!(Addresses::new(Vec::new(), 0).is_none());
    }
}
