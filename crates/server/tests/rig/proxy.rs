//! A line that can go dead: it stays open at both ends, and nothing comes through any more. Nobody is told.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// How many more things a line lets through in each direction: first the head of the request or response, then
/// WebSocket frames. A thing comes through whole or not at all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lets {
    pub(crate) up: usize,
    pub(crate) down: usize,
}

impl Lets {
    pub(crate) const ALL: Self = Self { up: usize::MAX, down: usize::MAX };
}

#[derive(Debug)]
struct Line {
    up: AtomicUsize,
    down: AtomicUsize,
    /// Gone as soon as either side has ended it.
    open: watch::Sender<bool>,
}

/// The proxy.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) address: String,
    next: Arc<Mutex<Lets>>,
    lines: Arc<Mutex<Vec<Arc<Line>>>>,
    most: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy whose first line lets `first` through, and all later ones everything.
    pub(crate) async fn start(server: &str, first: Lets) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (next, lines) = (Arc::new(Mutex::new(first)), Arc::<Mutex<Vec<_>>>::default());
        let most = Arc::<AtomicUsize>::default();
        let proxy = Self { address, next: next.clone(), lines: lines.clone(), most: most.clone() };
        let server = server.to_owned();
        tokio::spawn(async move {
            while let Ok((below, _)) = listener.accept().await {
                let Ok(above) = TcpStream::connect(&server).await else { continue };
                let lets = std::mem::replace(&mut *next.lock().unwrap(), Lets::ALL);
                let open = watch::Sender::new(true);
                let line = Arc::new(Line { up: lets.up.into(), down: lets.down.into(), open });
                let mut all = lines.lock().unwrap();
                all.push(line.clone());
                let open = all.iter().filter(|line| *line.open.borrow()).count();
                drop(all);
                most.fetch_max(open, Ordering::Relaxed);
                let ((from_below, to_below), (from_above, to_above)) =
                    (below.into_split(), above.into_split());
                let upwards = line.clone();
                tokio::spawn(until_cut(pass(from_below, to_above, |line| &line.up, upwards), line.clone()));
                tokio::spawn(until_cut(pass(from_above, to_below, |line| &line.down, line.clone()), line));
            }
        });
        proxy
    }

    /// From now on the present lines let only so much through.
    pub(crate) fn stall(&self, lets: Lets) {
        for line in &*self.lines.lock().unwrap() {
            line.up.store(lets.up, Ordering::Relaxed);
            line.down.store(lets.down, Ordering::Relaxed);
        }
    }

    /// Ends the present lines, at both ends.
    pub(crate) fn cut(&self) {
        for line in &*self.lines.lock().unwrap() {
            line.open.send_replace(false);
        }
    }

    /// How many lines were open at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// How many lines there were.
    pub(crate) fn lines(&self) -> usize {
        self.lines.lock().unwrap().len()
    }
}

/// One direction; its end is the end of both.
async fn until_cut(passing: impl Future<Output = ()>, line: Arc<Line>) {
    let mut open = line.open.subscribe();
    tokio::select! {
        () = passing => {}
        _ = open.wait_for(|open| !open) => {}
    }
    line.open.send_replace(false);
}

/// Passes one direction on. A line that is dead swallows what comes, the end of a side included.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    of: fn(&Line) -> &AtomicUsize,
    line: Arc<Line>,
) {
    let mut waiting = Vec::new();
    let mut is_open = false;
    loop {
        let mut chunk = [0; 4096];
        let read = from.read(&mut chunk).await.unwrap_or(0);
        waiting.extend_from_slice(&chunk[..read]);
        while let Some(length) = if is_open { frame(&waiting) } else { head(&waiting) } {
            is_open = true;
            let thing: Vec<_> = waiting.drain(..length).collect();
            let left = |left: usize| match left {
                0 => None,
                usize::MAX => Some(usize::MAX),
                left => Some(left - 1),
            };
            let passes = of(&line).fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok();
            if passes && to.write_all(&thing).await.is_err() {
                return;
            }
        }
        if read == 0 {
            if of(&line).load(Ordering::Relaxed) == 0 {
                // The other end must not notice: its socket stays open for as long as the test runs.
                std::future::pending::<()>().await;
            }
            return;
        }
    }
}

/// The length of the head of a request or response, once it is whole.
fn head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The length of a WebSocket frame, once it is whole.
fn frame(bytes: &[u8]) -> Option<usize> {
    let mask = if bytes.get(1)? & 0x80 == 0 { 0 } else { 4 };
    let (length, head) = match bytes[1] & 0x7f {
        126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let whole = head + mask + usize::try_from(length).ok()?;
    (bytes.len() >= whole).then_some(whole)
}
