//! Accepts connections and reads what they ask, as long as they do it in time and in few words.
//!
//! A peer that says nothing, or one byte now and then, holds a socket and a buffer. So a request's head has a deadline
//! and a size, and an answer that nobody reads has an end; what lies between is the business of the routes. axum's own
//! loop sets none of them.

use std::{
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};
use tokio_io_timeout::TimeoutStream;

/// How long the head of a request may take, from the first moment of the connection or the end of the request before:
/// several round trips over a very slow line.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a head: twice the largest token, for the headers around it.
const HEAD_BYTES: usize = 16 * 1024;

/// Lines of a head: several times as many as browsers and proxies send.
const HEAD_LINES: usize = 100;

/// How long a peer may take nothing at all of what it is sent. A response may be as large as a datastore, and waits in
/// memory. A slow line takes something every few seconds, so this is shorter than the patience with a whole frame.
const WRITE_PATIENCE: Duration = Duration::from_secs(90);

/// How long to wait when the system has no socket left, for some to be closed.
const PAUSE: Duration = Duration::from_millis(200);

/// How many bytes a connection has brought, whatever they mean: a WebSocket says nothing of a frame that is not whole yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrived(Arc<AtomicU64>);

impl Arrived {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream that counts what is read of it.
#[derive(Debug)]
struct Counted<S> {
    stream: S,
    arrived: Arrived,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let more = buffer.filled().len().saturating_sub(before);
        self.arrived.0.fetch_add(more as u64, Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Serves `router` until `stop` yields, then lets what has been asked be answered.
///
/// Handlers find the peer's address in [`ConnectInfo`], and how much has come of it in [`Arrived`].
///
/// # Errors
/// Never: a connection that cannot be accepted is the next one's chance.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) -> io::Result<()> {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_headers(HEAD_LINES)
        .max_buf_size(HEAD_BYTES);
    // Dropped by the last connection, so that its end can be awaited.
    let (stopping, stopped) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let router = router.clone();
                tokio::spawn(connection(http.clone(), stream, peer, router, stopped.clone(), WRITE_PATIENCE));
            }
            // The peer was gone before it was met.
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::error!("cannot accept connections ({error}); trying again");
                sleep(PAUSE).await;
            }
        }
    }
    drop((listener, stopped));
    // Fails where nobody listens any more.
    let _ = stopping.send(());
    stopping.closed().await;
    Ok(())
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(
    http: http1::Builder,
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    mut stopped: watch::Receiver<()>,
    write_patience: Duration,
) {
    // A small change must not wait for a larger packet.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let arrived = Arrived::default();
    let counted = arrived.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(arrived.clone());
        router.call(request)
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(write_patience));
    let stream = TokioIo::new(Counted { stream: Box::pin(stream), arrived: counted });
    let mut connection = pin!(http.serve_connection(stream, service).with_upgrades());
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, "a connection ended early: {error}");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::{io::AsyncWriteExt, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_not_read_its_answer_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        // More than the system's buffers take.
        let router = Router::new().route("/", get(async || vec![0_u8; 64 << 20]));
        let (_stopping, stopped) = watch::channel(());
        let patience = Duration::from_millis(200);
        let served = connection(http1::Builder::new(), stream, peer, router, stopped, patience);
        silent.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        timeout(Duration::from_secs(20), served).await.expect("the server gives the peer up");
    }
}
