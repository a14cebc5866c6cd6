//! What nodes ask each other beside the log: who is there, and for a copy of the database.
//!
//! A copy is a backup as of one moment, which has the place in the log that it was made at. It is fetched piece by piece,
//! by whoever needs it, so nothing is sent faster than it is taken.

use std::{
    collections::HashMap,
    error::Error,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{Message, Request, Subscriber};
use futures_util::StreamExt;
use thiserror::Error;
use tidewire::protocol::{DecodeError, Epoch, Reader, Writer};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout_at},
};

use super::{
    log::Log,
    record::{Seen, read_seen, write_seen},
    state::State,
};
use crate::{
    backup::{BackupError, CopyError, backup},
    serve::seed,
};

/// How long answers to a question to all nodes are waited for: several round trips of a busy network.
const GATHERING: Duration = Duration::from_millis(700);

/// How long the other node may take to copy its database before the first piece.
const COPYING: Duration = Duration::from_secs(600);

/// How long it may take to answer: reading a piece from a busy disk. One that has died, or whose answer was lost, must not hold
/// up whoever could ask again.
const ANSWERING: Duration = Duration::from_secs(10);

/// How often it is asked whether its copy is made.
const LOOKING: Duration = Duration::from_millis(200);

/// Bytes of a piece: well below what NATS takes in one message.
const PIECE: u64 = 512 * 1024;

/// What the names of copies in the data directory begin with.
const COPY: &str = "tidewire.db.copy-";

/// The file that a copy is fetched into.
const FETCHED: &str = "tidewire.db.fetched";

/// A copy of another node's database cannot be had.
#[derive(Debug, Error)]
pub enum PeerError {
    /// The other node does not answer.
    #[error("another node cannot be asked ({0})")]
    Unanswered(String),
    /// The other node has an error.
    #[error("the other node cannot copy its database ({0})")]
    Refused(String),
    /// What came cannot be stored.
    #[error("the copy of another node's database cannot be stored ({0})")]
    Disk(#[from] CopyError),
    /// An answer cannot be read.
    #[error("another node answers what this version cannot read ({0}); run the same version on all nodes")]
    Unreadable(#[from] DecodeError),
}

impl PeerError {
    /// Whether it may be over in a moment.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Unanswered(_) | Self::Refused(_))
    }
}

impl From<io::Error> for PeerError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error.into())
    }
}

fn unanswered(error: impl Into<Box<dyn Error + Send + Sync>>) -> PeerError {
    PeerError::Unanswered(error.into().to_string())
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether it follows the log: then it has a copy to give.
    is_member: bool,
    /// Which log it has read last, and how far.
    generation: Option<Epoch>,
    seen: Seen,
}

impl Standing {
    /// Of a node that is not a member yet.
    pub(super) fn candidate(state: &State) -> Self {
        Self { is_member: false, generation: state.generation, seen: state.seen }
    }

    /// Of a node that is.
    pub(super) fn member() -> Self {
        Self { is_member: true, generation: None, seen: Seen::default() }
    }

    fn encode(&self, name: &str) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.str(name);
        writer.bool(self.is_member);
        writer.optional(self.generation, |writer, generation| writer.bin(generation.as_bytes()));
        write_seen(&mut writer, self.seen);
        writer.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<(String, Self), DecodeError> {
        let reader = &mut Reader::new(bytes);
        let (name, is_member) = (reader.str()?.to_owned(), reader.bool()?);
        let generation = reader.optional(Reader::epoch)?;
        Ok((name, Self { is_member, generation, seen: read_seen(reader)? }))
    }
}

/// What is asked of a node that has a copy to give.
#[derive(Debug, Clone, Copy)]
enum Wish {
    /// Make one; the answer is its number.
    Make,
    /// How far it is; the answer is its size, once it is made.
    Look { copy: u64 },
    /// The piece at this offset.
    Piece { copy: u64, offset: u64 },
    /// It is not needed any more.
    Drop { copy: u64 },
}

impl Wish {
    fn encode(self) -> Vec<u8> {
        let mut writer = Writer::new();
        match self {
            Self::Make => writer.u64(0),
            Self::Piece { copy, offset } => {
                writer.u64(1);
                writer.u64(copy);
                writer.u64(offset);
            }
            Self::Drop { copy } => {
                writer.u64(2);
                writer.u64(copy);
            }
            Self::Look { copy } => {
                writer.u64(3);
                writer.u64(copy);
            }
        }
        writer.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes);
        Ok(match reader.u64()? {
            0 => Self::Make,
            1 => Self::Piece { copy: reader.u64()?, offset: reader.u64()? },
            2 => Self::Drop { copy: reader.u64()? },
            3 => Self::Look { copy: reader.u64()? },
            other => return Err(DecodeError::UnknownKind(other)),
        })
    }
}

/// The way to the other nodes. It answers them for as long as it lives.
#[derive(Debug)]
pub(crate) struct Peers {
    log: Log,
    name: String,
    standing: Arc<Mutex<Standing>>,
    answering: [JoinHandle<()>; 2],
}

impl Drop for Peers {
    fn drop(&mut self) {
        for task in &self.answering {
            task.abort();
        }
    }
}

impl Peers {
    pub(super) async fn start(log: Log, name: String, data: PathBuf) -> Result<Self, PeerError> {
        let standing = Arc::new(Mutex::new(Standing::candidate(&State::default())));
        let subscribe = |subject: String| log.client.subscribe(subject);
        let asked = subscribe(format!("{}.peers", log.prefix)).await.map_err(unanswered)?;
        let wished = subscribe(copies(&log.prefix, &name)).await.map_err(unanswered)?;
        let answering = [
            tokio::spawn(answer(log.clone(), name.clone(), standing.clone(), asked)),
            tokio::spawn(give(log.clone(), data, standing.clone(), wished)),
        ];
        Ok(Self { log, name, standing, answering })
    }

    /// What other nodes are told from now on.
    pub(super) fn stand(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// What the other nodes say of themselves.
    async fn ask(&self) -> Result<Vec<(String, Standing)>, PeerError> {
        let client = &self.log.client;
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(unanswered)?;
        let subject = format!("{}.peers", self.log.prefix);
        client.publish_with_reply(subject, inbox, "".into()).await.map_err(unanswered)?;
        let end = Instant::now() + GATHERING;
        let mut found = Vec::new();
        while let Ok(Some(message)) = timeout_at(end, answers.next()).await {
            let (name, standing) = Standing::decode(&message.payload)?;
            if name != self.name {
                found.push((name, standing));
            }
        }
        Ok(found)
    }

    /// A node that has a copy to give.
    pub(super) async fn find_member(&self) -> Result<Option<String>, PeerError> {
        let found = self.ask().await?;
        Ok(found.into_iter().find(|(_, standing)| standing.is_member).map(|(name, _)| name))
    }

    /// Whether another node that waits has read more of the same log; of two that have read the same, one has.
    pub(super) async fn is_outranked(&self, own: &Standing) -> Result<bool, PeerError> {
        let rank = |name: &str, standing: &Standing| (standing.seen.position, name.to_owned());
        let found = self.ask().await?;
        let rivals = found.iter().filter(|(_, standing)| standing.generation == own.generation);
        Ok(rivals.map(|(name, standing)| rank(name, standing)).any(|rival| rival > rank(&self.name, own)))
    }

    async fn wish(&self, from: &str, wish: Wish) -> Result<Vec<u8>, PeerError> {
        let request = Request::new().payload(wish.encode().into()).timeout(Some(ANSWERING));
        let answer = self.log.client.send_request(copies(&self.log.prefix, from), request).await;
        let answer = answer.map_err(unanswered)?;
        let reader = &mut Reader::new(&answer.payload);
        if reader.bool()? {
            Ok(reader.bin()?.to_vec())
        } else {
            Err(PeerError::Refused(reader.str()?.to_owned()))
        }
    }

    /// Fetches a copy of another node's database. Returns its file, in the data directory.
    pub(super) async fn fetch(&self, from: &str, data: &Path) -> Result<PathBuf, PeerError> {
        let copy = Reader::new(&self.wish(from, Wish::Make).await?).u64()?;
        let end = Instant::now() + COPYING;
        let size = loop {
            let about = self.wish(from, Wish::Look { copy }).await?;
            if let Some(size) = Reader::new(&about).optional(Reader::u64)? {
                break size;
            }
            if Instant::now() > end {
                return Err(PeerError::Refused("it takes too long".to_owned()));
            }
            sleep(LOOKING).await;
        };
        let path = data.join(FETCHED);
        let mut file = File::create(&path)?;
        let mut offset = 0;
        while offset < size {
            let piece = self.wish(from, Wish::Piece { copy, offset }).await?;
            if piece.is_empty() {
                return Err(PeerError::Refused("the copy ends too early".to_owned()));
            }
            file.write_all(&piece)?;
            offset += piece.len() as u64;
        }
        file.sync_all()?;
        self.wish(from, Wish::Drop { copy }).await?;
        Ok(path)
    }
}

/// The subject that a node's copies are asked for at. A node's name may have what no subject has.
fn copies(prefix: &str, name: &str) -> String {
    let token: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}.copy.{token}")
}

/// Answers who asks who is there.
async fn answer(log: Log, name: String, standing: Arc<Mutex<Standing>>, mut asked: Subscriber) {
    while let Some(Message { reply, .. }) = asked.next().await {
        let Some(reply) = reply else { continue };
        let answer = standing.lock().unwrap_or_else(PoisonError::into_inner).encode(&name);
        let _ = log.client.publish(reply, answer.into()).await;
    }
}

/// Gives copies, one at a time.
async fn give(log: Log, data: PathBuf, standing: Arc<Mutex<Standing>>, mut wished: Subscriber) {
    let mut copies = HashMap::new();
    sweep(&data);
    while let Some(message) = wished.next().await {
        let Some(reply) = message.reply else { continue };
        let is_member = standing.lock().unwrap_or_else(PoisonError::into_inner).is_member;
        let done = match Wish::decode(&message.payload) {
            Ok(_) if !is_member => Err("it is no member of the cluster".to_owned()),
            Ok(wish) => grant(&data, &mut copies, wish).await,
            Err(error) => Err(error.to_string()),
        };
        let mut writer = Writer::new();
        writer.bool(done.is_ok());
        match done {
            Ok(bytes) => writer.bin(&bytes),
            Err(why) => writer.str(&why),
        }
        let _ = log.client.publish(reply, writer.into_bytes().into()).await;
    }
}

/// A copy that is given.
enum Given {
    /// Exits: made, or refused with the error -> forgotten.
    Making {
        path: PathBuf,
        making: JoinHandle<Result<u64, BackupError>>,
    },
    Made {
        path: PathBuf,
        size: u64,
    },
}

async fn grant(data: &Path, copies: &mut HashMap<u64, Given>, wish: Wish) -> Result<Vec<u8>, String> {
    match wish {
        Wish::Make => {
            let mut making = copies.iter().filter(|(_, copy)| matches!(copy, Given::Making { .. }));
            if let Some((number, _)) = making.next() {
                return Ok(number_of(*number));
            }
            // Whoever fetched an earlier one has it, or has gone.
            copies.clear();
            sweep(data);
            let seed = seed().map_err(|error| error.to_string())?;
            let number = u64::from(u32::from_be_bytes([seed[0], seed[1], seed[2], seed[3]]));
            let path = data.join(format!("{COPY}{number:08x}"));
            let (from, to) = (data.to_owned(), path.clone());
            let making = spawn_blocking(move || backup(&from, &to));
            copies.insert(number, Given::Making { path, making });
            Ok(number_of(number))
        }
        Wish::Look { copy: number } => {
            let size = match copies.remove(&number).ok_or(NO_COPY)? {
                Given::Making { path, making } if making.is_finished() => {
                    let made = making.await.map_err(|error| error.to_string())?;
                    let size = made.map_err(|error| error.to_string())?;
                    copies.insert(number, Given::Made { path, size });
                    Some(size)
                }
                copy @ Given::Making { .. } => {
                    copies.insert(number, copy);
                    None
                }
                Given::Made { path, size } => {
                    copies.insert(number, Given::Made { path, size });
                    Some(size)
                }
            };
            let mut writer = Writer::new();
            writer.optional(size, Writer::u64);
            Ok(writer.into_bytes())
        }
        Wish::Piece { copy, offset } => {
            let Some(Given::Made { path, .. }) = copies.get(&copy) else { return Err(NO_COPY.to_owned()) };
            let path = path.clone();
            let read =
                spawn_blocking(move || piece(&path, offset)).await.map_err(|error| error.to_string())?;
            read.map_err(|error| error.to_string())
        }
        Wish::Drop { copy } => {
            if let Some(Given::Made { path, .. }) = copies.remove(&copy) {
                let _ = fs::remove_file(path);
            }
            Ok(Vec::new())
        }
    }
}

/// What is said of a copy that is not there, or not made.
const NO_COPY: &str = "there is no such copy";

fn number_of(copy: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u64(copy);
    writer.into_bytes()
}

fn piece(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(PIECE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Removes copies that were left over.
fn sweep(data: &Path) {
    for entry in fs::read_dir(data).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(COPY)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
