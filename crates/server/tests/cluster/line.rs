//! A line between a node and its server of NATS that can lose what the server delivers, while all else goes on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    time::interval,
};

/// How often a server says that it has nothing to deliver.
const IDLE: Duration = Duration::from_millis(500);

/// What a server delivers.
pub(crate) struct Delivery<'a> {
    pub(crate) subject: &'a str,
    /// Which subscription of which connection it is for.
    pub(crate) to: (usize, &'a str),
}

/// What becomes of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Arrives,
    /// It does not, and from now on its subscription hears what a server says that has nothing to deliver.
    IsLost,
}

type Judge = Box<dyn FnMut(Delivery<'_>) -> Fate + Send>;

pub(crate) struct Line {
    pub(crate) url: String,
    judge: Arc<Mutex<Judge>>,
}

impl Line {
    /// A line to the server at `url`, over which all arrives.
    pub(crate) async fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Self {
            url: format!("nats://{}", listener.local_addr().unwrap()),
            judge: Arc::new(Mutex::new(Box::new(|_| Fate::Arrives))),
        };
        let (server, judge) = (url.trim_start_matches("nats://").to_owned(), line.judge.clone());
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((below, _)) = listener.accept().await else { return };
                let Ok(above) = TcpStream::connect(&server).await else { continue };
                tokio::spawn(carry(number, below, above, judge.clone()));
            }
        });
        line
    }

    /// From now on `judge` says what arrives.
    pub(crate) fn judge(&self, judge: impl FnMut(Delivery<'_>) -> Fate + Send + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }
}

/// The end of one direction is the end of both.
async fn carry(number: usize, below: TcpStream, above: TcpStream, judge: Arc<Mutex<Judge>>) {
    let ((from_below, to_below), (from_above, to_above)) = (below.into_split(), above.into_split());
    let inboxes = Mutex::default();
    tokio::select! {
        _ = up(from_below, to_above, &inboxes) => {}
        _ = down(number, from_above, to_below, &inboxes, &judge) => {}
    }
}

/// What subscriptions are to, by their numbers.
type Subjects = Mutex<HashMap<String, String>>;

async fn up(from: OwnedReadHalf, mut to: OwnedWriteHalf, subjects: &Subjects) -> Option<()> {
    let mut from = BufReader::new(from);
    loop {
        let (line, payload) = message(&mut from).await?;
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["SUB", subject, .., number] = *words {
            subjects.lock().unwrap().insert(number.to_owned(), subject.to_owned());
        }
        to.write_all(line.as_bytes()).await.ok()?;
        to.write_all(&payload).await.ok()?;
    }
}

async fn down(
    number: usize,
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    subjects: &Subjects,
    judge: &Mutex<Judge>,
) -> Option<()> {
    let mut from = BufReader::new(from);
    let (arrived, mut next) = mpsc::channel(16);
    let reading = async {
        while let Some(message) = message(&mut from).await {
            arrived.send(message).await.ok()?;
        }
        None::<()>
    };
    let writing = async {
        let mut ticks = interval(IDLE);
        // The last subscription that has lost something.
        let mut idle = None;
        loop {
            let (line, payload) = tokio::select! {
                Some(message) = next.recv() => message,
                _ = ticks.tick() => match &idle {
                    Some(idle) => says_nothing(idle),
                    None => continue,
                },
            };
            let words: Vec<_> = line.split_whitespace().collect();
            if let ["MSG" | "HMSG", subject, subscription, ..] = *words
                && judge.lock().unwrap()(Delivery { subject, to: (number, subscription) }) == Fate::IsLost
            {
                let inbox = subjects.lock().unwrap()[subscription].clone();
                idle = Some((inbox, subscription.to_owned()));
                continue;
            }
            to.write_all(line.as_bytes()).await.ok()?;
            to.write_all(&payload).await.ok()?;
        }
    };
    tokio::select! {
        ended = reading => ended,
        ended = writing => ended,
    }
}

/// What a server says to a subscription that it has nothing for.
fn says_nothing((inbox, subscription): &(String, String)) -> (String, Vec<u8>) {
    let head = "NATS/1.0 100 Idle Heartbeat\r\n\r\n";
    let bytes = head.len();
    (format!("HMSG {inbox} {subscription} {bytes} {bytes}\r\n"), format!("{head}\r\n").into_bytes())
}

/// A line of the protocol, and the payload that follows it, with what ends it.
async fn message<R: AsyncBufReadExt + Unpin>(from: &mut R) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    if from.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let words: Vec<_> = line.split_whitespace().collect();
    let length = match *words {
        ["MSG" | "HMSG" | "PUB" | "HPUB", .., length] => length.parse::<usize>().ok()? + 2,
        _ => 0,
    };
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await.ok()?;
    Some((line, payload))
}
