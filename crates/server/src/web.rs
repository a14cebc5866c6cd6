//! What the server says over HTTP: the WebSocket at `/v1/sync`, how it is, and files.

use std::{
    future::poll_fn,
    iter::chain,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::{
        ConnectInfo, Request, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header, uri::Authority},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{
    SinkExt, Stream, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tidewire::{
    protocol::{CloseCode, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, frame_from_json, limits::MAX_FRAME_BYTES},
    server::ConnectionId,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tower_http::services::{ServeDir, ServeFile};
use tracing::Instrument;

use crate::{
    door::Door,
    health::{Condition, Health},
    host::{Codec, Host, Inlet, Input, Outgoing, queue},
    http,
    listen::Arrived,
    metrics::{Metrics, Observation},
};

/// The library's 128 KiB for each connection would be more than a gigabyte for ten thousand idle ones.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Of a frame that is not whole yet the host is told whenever so much more of it has come.
const ARRIVING_BYTES: usize = READ_BUFFER_BYTES;

/// How long a close may take: a peer that does not answer it is not waited for.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// How long one frame may take to leave: longer than the most patient client waits for it (PROTOCOL.md, "Heartbeat"), so
/// that it is not the server that has a client behind a slow line ask for the same page for ever.
const WRITE_PATIENCE: Duration = Duration::from_secs(260);

/// A WebSocket's close frame has room for 123 bytes of text.
const MAX_REASON_BYTES: usize = 123;

/// How long the host's thread may take to say how it is: a commit to a very slow disk.
const LOOK_PATIENCE: Duration = Duration::from_secs(5);

/// The subprotocols of a connection, the server's own preference first.
const SPOKEN: [&str; 2] = [SUBPROTOCOL_MSGPACK, SUBPROTOCOL_JSON];

/// How the subprotocols of all versions begin.
const FAMILY: &str = "tidewire.";

/// Says which node of a cluster answers `/readyz`.
const NODE: HeaderName = HeaderName::from_static("x-tidewire-node");

/// What the routes share.
#[derive(Debug)]
pub(crate) struct Web {
    pub(crate) host: Host,
    pub(crate) origins: Origins,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) door: Arc<Door>,
    /// Bytes of a WebSocket's frame.
    pub(crate) frame_bytes: usize,
    /// Bytes that may wait for a connection.
    pub(crate) backlog_bytes: usize,
    pub(crate) connections: AtomicU64,
    /// Held by every connection, so that the end of the last one can be awaited.
    pub(crate) alive: mpsc::Sender<()>,
}

impl Web {
    /// All routes; `files` is the directory of the page, if there is one.
    pub(crate) fn router(self: &Arc<Self>, files: Option<PathBuf>) -> Router {
        let api = Router::new()
            .route("/v1/sync", get(sync))
            .merge(http::router(self))
            .layer(from_fn_with_state(self.clone(), open));
        let router = Router::new()
            .merge(api)
            .route("/metrics", get(metrics).layer(from_fn_with_state(self.clone(), this_machine)))
            .merge(probes())
            .with_state(self.clone());
        match files {
            Some(files) => {
                // Without such a page the answer is as bare as it was.
                let missing = ServeFile::new(files.join("404.html"));
                let files = ServeDir::new(files).not_found_service(missing);
                router.fallback_service(files).layer(from_fn(file_headers))
            }
            None => router,
        }
    }

    /// The routes of the address for metrics, which answers everybody who reaches it.
    pub(crate) fn metrics_router(self: &Arc<Self>) -> Router {
        Router::new().route("/metrics", get(metrics)).merge(probes()).with_state(self.clone())
    }
}

fn probes() -> Router<Arc<Web>> {
    Router::new().route("/healthz", get(async || "ok\n")).route("/readyz", get(ready))
}

async fn ready(State(web): State<Arc<Web>>) -> Response {
    let condition = web.health.condition();
    let status = if condition == Condition::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let promise = web.health.promise().map_or_else(String::new, |promise| format!("{promise}\n"));
    let mut response = (status, format!("{}\n{promise}", condition.name())).into_response();
    if let Some(Ok(name)) = web.health.node().map(|node| HeaderValue::from_str(&node.name)) {
        response.headers_mut().insert(NODE, name);
    }
    response
}

async fn metrics(State(web): State<Arc<Web>>) -> Response {
    let (observer, observed) = oneshot::channel();
    let look = async {
        web.host.send(Input::Observe(observer)).await;
        observed.await
    };
    // Before the host's thread runs, and after, the rest is still worth knowing; while it hangs, that it does is.
    let condition = web.health.condition();
    let seen = match condition {
        Condition::Opening => Observation::default(),
        Condition::Joining
        | Condition::Ready
        | Condition::Apart
        | Condition::Failing
        | Condition::Stopping => match timeout(LOOK_PATIENCE, look).await {
            Ok(seen) => seen.unwrap_or_default(),
            Err(_elapsed) => {
                let hint = "the storage has not answered for seconds\n";
                return (StatusCode::SERVICE_UNAVAILABLE, hint).into_response();
            }
        },
    };
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, web.metrics.render(condition, &seen)).into_response()
}

/// Lets programs of this machine pass, and nobody for whom a proxy on it asks.
async fn this_machine(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let is_here = peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback());
    let is_passed_on =
        ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|name| headers.contains_key(*name));
    if !is_here || is_passed_on || !web.origins.is_known(text(headers, header::HOST)) {
        return StatusCode::NOT_FOUND.into_response();
    }
    next.run(request).await
}

/// Turns everybody away before the database is open, and once the server stops.
async fn open(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    match web.health.condition() {
        Condition::Ready | Condition::Apart | Condition::Failing => next.run(request).await,
        condition @ (Condition::Opening | Condition::Joining | Condition::Stopping) => {
            let retry = [(header::RETRY_AFTER, "1")];
            (StatusCode::SERVICE_UNAVAILABLE, retry, format!("{}\n", condition.name())).into_response()
        }
    }
}

/// Who may connect from a page: browsers say where the page is from, and let any page try.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    /// Exact origins, such as `https://app.example.com`.
    pub(crate) allowed: Vec<String>,
    /// Whether only this machine can reach the server. Then the name that it was called by must be this machine's too,
    /// or a foreign page could point its own name here.
    pub(crate) is_local: bool,
}

impl Origins {
    /// Whether a page of `origin` may connect to the server that it calls `host`. Programs send no origin.
    #[must_use]
    pub(crate) fn is_allowed(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else {
            return true;
        };
        if self.allowed.iter().any(|allowed| allowed == origin) {
            return true;
        }
        let Ok(uri) = origin.parse::<Uri>() else {
            return false;
        };
        let (Some("http" | "https"), Some(from)) = (uri.scheme_str(), uri.authority()) else {
            return false;
        };
        if is_loopback(from.host()) {
            return true;
        }
        let is_same = host.is_some_and(|host| host.eq_ignore_ascii_case(from.as_str()));
        is_same && !self.is_local
    }
}

impl Origins {
    /// Whether the server goes by the name `host`. One that only this machine can reach is called by a name of this
    /// machine, or by that of an allowed origin: whatever else resolves to it was pointed here by somebody else.
    #[must_use]
    pub(crate) fn is_known(&self, host: Option<&str>) -> bool {
        let Some(host) = host.filter(|_| self.is_local) else {
            return true;
        };
        let authority =
            |origin: &String| origin.parse::<Uri>().ok().and_then(|uri| uri.into_parts().authority);
        let is_allowed = |authority: Authority| authority.as_str().eq_ignore_ascii_case(host);
        host.parse::<Authority>().is_ok_and(|authority| is_loopback(authority.host()))
            || self.allowed.iter().filter_map(authority).any(is_allowed)
    }
}

fn is_loopback(name: &str) -> bool {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Built assets carry a hash in their names and never change; everything else is asked for again.
async fn file_headers(request: Request, next: Next) -> Response {
    let is_asset = request.uri().path().starts_with("/assets/");
    let mut response = next.run(request).await;
    let is_found = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
    let cache = if is_asset && is_found { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(crate) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    // A header that is no text is nobody's; it must not pass for a missing one.
    headers.get(name).map(|value| value.to_str().unwrap_or("invalid"))
}

/// A WebSocket as every connection has it, with the largest frame that it takes and the most that may wait in it.
pub fn tuned(upgrade: WebSocketUpgrade, frame_bytes: usize, waiting_bytes: usize) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_frame_size(frame_bytes)
        .max_message_size(frame_bytes)
        // Frames are written one by one and flushed; the rest waits in the connection's own queue.
        .write_buffer_size(0)
        .max_write_buffer_size(waiting_bytes)
}

async fn sync(
    State(web): State<Arc<Web>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(arrived): Extension<Arrived>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let origin = text(&headers, header::ORIGIN);
    if !web.origins.is_allowed(origin, text(&headers, header::HOST)) {
        web.metrics.turned_away("origin");
        let hint = "this origin may not connect; start the server with --allow-origin to allow it\n";
        return (StatusCode::FORBIDDEN, hint).into_response();
    }
    let upgrade = upgrade.protocols(chain(SPOKEN.map(str::to_owned), of_our_family(&headers)));
    let upgrade = tuned(upgrade, web.frame_bytes, web.backlog_bytes + MAX_FRAME_BYTES);
    let codec = match upgrade.selected_protocol().map(HeaderValue::as_bytes) {
        Some(protocol) if protocol == SUBPROTOCOL_JSON.as_bytes() => Some(Codec::Json),
        Some(protocol) if protocol == SUBPROTOCOL_MSGPACK.as_bytes() => Some(Codec::MessagePack),
        Some(_) => {
            web.metrics.turned_away("subprotocol");
            None
        }
        None => {
            web.metrics.turned_away("subprotocol");
            return (StatusCode::BAD_REQUEST, format!("{}\n", spoken())).into_response();
        }
    };
    let address = web.door.address(peer.ip(), &headers);
    let pass = match web.door.enter(address) {
        Ok(pass) => pass,
        Err(full) => {
            web.metrics.turned_away(full.name());
            tracing::debug!(%address, limit = full.name(), "turned away");
            let retry = [(header::RETRY_AFTER, "10")];
            let hint = "there are as many connections as there may be; come back later\n";
            return (StatusCode::SERVICE_UNAVAILABLE, retry, hint).into_response();
        }
    };
    let id = ConnectionId(web.connections.fetch_add(1, Ordering::Relaxed));
    let span = tracing::info_span!("connection", id = id.0, %address, user = tracing::field::Empty);
    let run = async move |socket| {
        match codec {
            Some(codec) => connection(&web, id, socket, arrived, codec).await,
            None => turn_away(socket).await,
        }
        drop(pass);
    };
    upgrade.on_upgrade(move |socket| run(socket).instrument(span))
}

/// The subprotocols that a client of another version of Tidewire offers.
fn of_our_family(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    offers
        .filter_map(|offer| offer.to_str().ok())
        .flat_map(|offer| offer.split(','))
        .map(str::trim)
        .filter(|offer| offer.starts_with(FAMILY))
        .map(str::to_owned)
}

fn spoken() -> String {
    format!("this server speaks the WebSocket subprotocols {SUBPROTOCOL_MSGPACK} and {SUBPROTOCOL_JSON}")
}

/// Tells a client of another version that it need not come back. A browser hides from it why an upgrade was refused, so
/// it would try again for ever.
async fn turn_away(mut socket: WebSocket) {
    let close = CloseFrame { code: CloseCode::Unsupported.number(), reason: spoken().into() };
    let ending = async {
        socket.send(Message::Close(Some(close))).await.ok()?;
        while let Some(Ok(_)) = socket.recv().await {}
        Some(())
    };
    let _ = timeout(CLOSE_PATIENCE, ending).await;
}

/// How a connection ended.
enum End {
    /// The client is gone.
    Gone,
    /// The server closed it.
    Closed {
        code: u16,
        /// Whether the peer may still read what was sent.
        is_peer_there: bool,
    },
}

/// Moves the bytes of one connection until either side ends it.
async fn connection(web: &Web, id: ConnectionId, socket: WebSocket, arrived: Arrived, codec: Codec) {
    let _alive = web.alive.clone();
    let (outlet, inlet) = queue(codec);
    if !web.host.send(Input::Connect(id, outlet)).await {
        return;
    }
    web.metrics.opened();
    tracing::debug!("opened");
    let (mut sink, mut stream) = socket.split();
    let mut arriving = Arriving { heard: arrived.bytes(), arrived };
    let end = tokio::select! {
        () = receive(web, id, &mut stream, &mut arriving, codec) => End::Gone,
        end = transmit(web, id, &mut sink, inlet, codec) => end,
    };
    web.host.send(Input::Disconnect(id)).await;
    match end {
        End::Gone => {
            tracing::debug!("ended by the client");
            web.metrics.closed(None);
        }
        End::Closed { code, is_peer_there } => {
            web.metrics.closed(Some(code));
            if is_peer_there {
                // The socket is dropped only once the peer has seen the close, or its last bytes could be lost with it.
                let closing = async { while let Some(Ok(_)) = stream.next().await {} };
                let _ = timeout(CLOSE_PATIENCE, closing).await;
            }
        }
    }
}

/// What a connection has brought.
enum Brought {
    /// The next message, or its end.
    Message(Option<Result<Message, axum::Error>>),
    /// So many bytes of a message that is not whole yet.
    Part(usize),
}

/// Tells of a message before it is whole.
struct Arriving {
    arrived: Arrived,
    /// Bytes of the connection that the host knows of.
    heard: u64,
}

impl Arriving {
    async fn next(&mut self, stream: &mut SplitStream<WebSocket>) -> Brought {
        poll_fn(|context| {
            let polled = Pin::new(&mut *stream).poll_next(context);
            let arrived = self.arrived.bytes();
            let more = usize::try_from(arrived - self.heard).unwrap_or(usize::MAX);
            match polled {
                Poll::Ready(message) => {
                    self.heard = arrived;
                    Poll::Ready(Brought::Message(message))
                }
                // The stream reads as much as there is, and is asked again after this.
                Poll::Pending if more >= ARRIVING_BYTES => {
                    self.heard = arrived;
                    Poll::Ready(Brought::Part(more))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

/// Hands frames to the host until the peer is gone. After a refusal it only waits for the host's close.
async fn receive(
    web: &Web,
    id: ConnectionId,
    stream: &mut SplitStream<WebSocket>,
    arriving: &mut Arriving,
    codec: Codec,
) {
    loop {
        let received = match arriving.next(stream).await {
            Brought::Message(received) => received,
            Brought::Part(bytes) => {
                if !web.host.send(Input::Arriving(id, bytes)).await {
                    return std::future::pending().await;
                }
                continue;
            }
        };
        if let Some(Ok(message @ (Message::Binary(_) | Message::Text(_)))) = &received {
            web.metrics.received(message_bytes(message));
        }
        let input = match (received, codec) {
            (Some(Ok(Message::Binary(frame))), Codec::MessagePack) => Input::Frame(id, frame.into()),
            (Some(Ok(Message::Text(text))), Codec::Json) => match frame_from_json(&text) {
                Ok(frame) => Input::Frame(id, frame),
                Err(error) => Input::Refuse(id, CloseCode::Malformed, error.to_string()),
            },
            (Some(Ok(Message::Binary(_) | Message::Text(_))), _) => {
                let reason =
                    format!("{SUBPROTOCOL_MSGPACK} has binary frames, {SUBPROTOCOL_JSON} text frames");
                Input::Refuse(id, CloseCode::Malformed, reason)
            }
            (Some(Ok(Message::Ping(_) | Message::Pong(_))), _) => continue,
            (Some(Ok(Message::Close(_))) | None, _) => return,
            (Some(Err(error)), _) => {
                // Too large a frame, or no WebSocket at all; nothing can be read after it.
                let reason = error.to_string();
                web.host.send(Input::Refuse(id, CloseCode::LimitExceeded, reason)).await;
                return std::future::pending().await;
            }
        };
        if !web.host.send(input).await {
            return std::future::pending().await;
        }
    }
}

fn message_bytes(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) => 0,
    }
}

/// Sends what the host has for the peer, until the connection ends.
async fn transmit(
    web: &Web,
    id: ConnectionId,
    sink: &mut SplitSink<WebSocket, Message>,
    mut inlet: Inlet,
    codec: Codec,
) -> End {
    let (code, reason) = loop {
        let outgoing = tokio::select! {
            biased;
            Ok(()) = &mut inlet.eviction => break slow(),
            outgoing = inlet.queue.recv() => outgoing,
        };
        match outgoing {
            Some(Outgoing::Frame { bytes, report }) => {
                let size = bytes.len();
                let message = match codec {
                    Codec::MessagePack => Message::Binary(bytes),
                    Codec::Json => Message::Text(bytes.try_into().expect("a JSON frame is UTF-8")),
                };
                let sending = timeout(WRITE_PATIENCE, sink.send(message));
                tokio::select! {
                    biased;
                    Ok(()) = &mut inlet.eviction => break slow(),
                    sent = sending => match sent {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => return End::Gone,
                        Err(_elapsed) => break slow(),
                    },
                }
                web.metrics.sent(size);
                inlet.backlog.fetch_sub(size, Ordering::Relaxed);
                if report {
                    web.host.send(Input::Drained(id)).await;
                }
            }
            Some(Outgoing::Greeted(user)) => {
                tracing::Span::current().record("user", &*user);
                tracing::debug!("greeted");
            }
            Some(Outgoing::Close { code, reason }) => break (code, reason),
            None => break (CloseCode::Internal.number(), "the server has stopped".to_owned()),
        }
    };
    let is_routine =
        [CloseCode::Restarting, CloseCode::Silent].iter().any(|routine| routine.number() == code);
    if is_routine {
        tracing::debug!(code, reason, "closed");
    } else {
        tracing::info!(code, reason, "closed");
    }
    let frame = CloseFrame { code, reason: shortened(&reason).into() };
    let is_peer_there = timeout(CLOSE_PATIENCE, sink.send(Message::Close(Some(frame)))).await.is_ok();
    End::Closed { code, is_peer_there }
}

fn slow() -> (u16, String) {
    (CloseCode::SlowConsumer.number(), "the connection reads too slowly; resume".to_owned())
}

fn shortened(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_connect_from_their_own_server_this_machine_or_an_allowed_origin() {
        let origins = Origins { allowed: vec!["https://app.example.com".to_owned()], is_local: false };
        for (origin, host, is_allowed) in [
            (None, Some("sync.example.com"), true),
            (Some("https://app.example.com"), Some("sync.example.com"), true),
            (Some("https://sync.example.com"), Some("sync.example.com"), true),
            (Some("http://sync.example.com:4400"), Some("Sync.Example.com:4400"), true),
            (Some("http://localhost:5173"), Some("localhost:4400"), true),
            (Some("http://127.0.0.1:4400"), Some("127.0.0.1:4400"), true),
            (Some("http://[::1]:4400"), Some("[::1]:4400"), true),
            (Some("http://app.example.com"), Some("sync.example.com"), false),
            (Some("https://app.example.com:444"), Some("sync.example.com"), false),
            (Some("https://app.example.com.evil.org"), Some("sync.example.com"), false),
            (Some("https://evilapp.example.com"), Some("sync.example.com"), false),
            (Some("https://sync.example.com:4400"), Some("sync.example.com"), false),
            (Some("https://localhost.evil.org"), Some("sync.example.com"), false),
            (Some("http://127.0.0.1.evil.org"), Some("sync.example.com"), false),
            (Some("null"), Some("sync.example.com"), false),
            (Some(""), Some("sync.example.com"), false),
            (Some("file://"), Some("sync.example.com"), false),
            (Some("invalid"), Some("sync.example.com"), false),
        ] {
            assert_eq!(origins.is_allowed(origin, host), is_allowed, "{origin:?} calling {host:?}");
        }
    }

    #[test]
    fn a_foreign_name_that_points_to_this_machine_is_no_way_in() {
        let origins = Origins { allowed: Vec::new(), is_local: true };
        assert!(!origins.is_allowed(Some("http://evil.org:4400"), Some("evil.org:4400")));
        assert!(origins.is_allowed(Some("http://localhost:4400"), Some("localhost:4400")));
    }

    #[test]
    fn a_close_reason_is_cut_between_characters() {
        let reason = "ü".repeat(100);
        assert_eq!(shortened(&reason).len(), 122);
        assert_eq!(shortened("short"), "short");
    }
}
