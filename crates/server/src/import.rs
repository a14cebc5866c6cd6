//! `tidewire-server import`: a JSON file becomes the records of a permanent datastore, or objects.
//!
//! Values are JSON with the escapes of the JSON codec, as `export` writes them. The file is read and checked as a whole before anything is written. The records then take the way of a client's
//! writes, as frames through the server module, so that nothing enters by another door.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt, fs, io,
    path::PathBuf,
};

use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use tidewire::{
    protocol::{
        ClientMessage, DecodeError, EncodedValue, Epoch, Open, Operation, Reader, ServerMessage,
        Subscription, Target, Timestamp, Writer, frame_value_from_json,
        limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES},
    },
    server::{
        self, Action, CommitError, ConnectionId, Options, Rules, Server,
        storage::{Storage, StorageError},
    },
};

use crate::{
    host::Clock,
    serve,
    sqlite::{self, Sqlite},
};

/// Records that share one commit.
const BATCH_RECORDS: usize = 500;

const CONNECTION: ConnectionId = ConnectionId(0);

/// What to import.
#[derive(Debug, Clone)]
pub struct Config {
    /// The JSON file.
    pub file: PathBuf,
    /// What becomes of it.
    pub destination: Destination,
    /// The data directory.
    pub data: PathBuf,
    /// Whether a datastore that holds any record is left alone.
    pub if_empty: bool,
    /// What holds for the records.
    pub rules: Rules,
}

/// What a file becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// The records of a permanent datastore: every item is one.
    Datastore {
        /// Its id.
        id: String,
        /// The field that names a record.
        primary: String,
    },
    /// Objects: every item is `{ "key": ..., "value": ... }`.
    Objects,
}

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The records were compared and written.
    Imported {
        /// Records that were new or different.
        written: usize,
        /// Records that were stored already.
        unchanged: usize,
    },
    /// The datastore held records, and was to be left alone then.
    Skipped,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Imported { written, unchanged } => {
                write!(formatter, "{written} records written, {unchanged} unchanged")
            }
            Self::Skipped => formatter.write_str("holds records already, left alone"),
        }
    }
}

/// Nothing was imported, or not all of it where the error says so.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("{} cannot be read ({source})", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no JSON.
    #[error("{} is not valid JSON ({source}); nothing was imported", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The database is that of a node.
    #[error(
        "the data directory is that of a node of a cluster, and the other nodes would not have what is imported; write through a node"
    )]
    OfCluster,
    /// A record is no record.
    #[error("record {number}: {reason}; nothing was imported")]
    Record {
        /// Its number in the file, from 1.
        number: usize,
        /// Why.
        reason: Reason,
    },
    /// The name is too long or empty.
    #[error("the names of datastores and fields have 1 to {MAX_KEY_BYTES} bytes")]
    Name,
    /// The datastore is another kind of table.
    #[error(
        "the datastore {id} exists and is {found}; import under another --datastore or with its --primary"
    )]
    Mismatch {
        /// Its id.
        id: String,
        /// What it is.
        found: String,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] sqlite::OpenError),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] server::OpenError),
    /// The database cannot be read.
    #[error("the database cannot be read ({0}); nothing was imported")]
    Storage(#[from] StorageError),
    /// The system gives no randomness.
    #[error("the system refuses what the import needs ({0})")]
    System(#[source] io::Error),
    /// The database cannot be written.
    #[error("{source}; {written} records were written, run the import again once the disk is in order")]
    Commit {
        /// Records written before.
        written: usize,
        /// Why.
        source: CommitError,
    },
    /// A write was refused.
    #[error("a record was refused ({0}); the records before it were written")]
    Refused(String),
}

/// Why a record is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reason {
    /// It cannot be stored.
    #[error("{0}")]
    Value(DecodeError),
    /// It is larger than a value may be.
    #[error("it is larger than {MAX_VALUE_BYTES} bytes")]
    TooLarge,
    /// It has no name.
    #[error("it has no text in its field {0}, which is to name it; choose the field with --primary")]
    NoPrimary(String),
    /// It is no object with its key.
    #[error("it is not {{\"key\": ..., \"value\": ...}}, as objects are exported ({0})")]
    NoObject(String),
    /// Its name is too long.
    #[error("its name is longer than {MAX_KEY_BYTES} bytes")]
    LongName,
    /// Its name is taken.
    #[error("it has the same name {name} as record {first}")]
    Twice {
        /// The name.
        name: String,
        /// The record that has it.
        first: usize,
    },
}

/// Imports a file; `progress` hears the number of records written and to write, after every commit.
///
/// # Errors
/// Why nothing, or not everything, was imported. To run it again does no harm.
pub fn import(config: &Config, progress: impl FnMut(usize, usize)) -> Result<Report, ImportError> {
    let is_name = |name: &str| (1..=MAX_KEY_BYTES).contains(&name.len());
    if let Destination::Datastore { id, primary } = &config.destination
        && !(is_name(id) && is_name(primary))
    {
        return Err(ImportError::Name);
    }
    let records = read(config)?;
    let storage = Sqlite::open(&config.data)?;
    if storage.is_of_cluster().map_err(|error| sqlite::open::failed(&config.data, error))? {
        return Err(ImportError::OfCluster);
    }
    let seed = serve::seed().map_err(ImportError::System)?;
    let options = Options { rules: config.rules.clone(), ..Options::new(seed) };
    let server = Server::open(storage, options)?;
    let mut client = [0; 16];
    client.copy_from_slice(&serve::seed().map_err(ImportError::System)?[..16]);
    Importer { server, client, clock: Clock::new() }.run(config, &records, progress)
}

/// Something to write.
struct Item {
    name: String,
    /// Its value, encoded and checked.
    bytes: Vec<u8>,
}

/// An object in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object<'t> {
    #[serde(borrow)]
    key: Cow<'t, str>,
    #[serde(borrow)]
    value: &'t RawValue,
}

/// The file's items.
fn read(config: &Config) -> Result<Vec<Item>, ImportError> {
    let path = &config.file;
    let text = fs::read_to_string(path).map_err(|source| ImportError::Read { path: path.clone(), source })?;
    let json = |source| ImportError::Json { path: path.clone(), source };
    let text = text.trim_start_matches('\u{feff}');
    let found: Vec<&RawValue> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(json)?
    } else {
        serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().map_err(json)?
    };
    let mut names = HashMap::new();
    let mut items = Vec::with_capacity(found.len());
    for (text, number) in found.into_iter().zip(1..) {
        let refuse = |reason| ImportError::Record { number, reason };
        let item = item(text, &config.destination).map_err(refuse)?;
        if item.name.len() > MAX_KEY_BYTES {
            return Err(refuse(Reason::LongName));
        }
        if let Some(first) = names.insert(item.name.clone(), number) {
            return Err(refuse(Reason::Twice { name: item.name, first }));
        }
        items.push(item);
    }
    Ok(items)
}

fn item(text: &RawValue, destination: &Destination) -> Result<Item, Reason> {
    match destination {
        Destination::Datastore { primary, .. } => {
            let bytes = encode(text)?;
            let name = EncodedValue::trusted(&bytes).string_field(primary).filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| Reason::NoPrimary(primary.clone()))?.to_owned();
            Ok(Item { name, bytes })
        }
        Destination::Objects => {
            let Object { key, value } =
                serde_json::from_str(text.get()).map_err(|error| Reason::NoObject(error.to_string()))?;
            if key.is_empty() {
                return Err(Reason::NoObject("its key is empty".to_owned()));
            }
            Ok(Item { name: key.into_owned(), bytes: encode(value)? })
        }
    }
}

fn encode(text: &RawValue) -> Result<Vec<u8>, Reason> {
    let bytes = frame_value_from_json(text.get()).map_err(Reason::Value)?;
    match EncodedValue::check(&bytes) {
        Ok(_) => Ok(bytes),
        Err(DecodeError::TooLarge) => Err(Reason::TooLarge),
        Err(error) => Err(Reason::Value(error)),
    }
}

/// A client of the server module, without a network between.
struct Importer<S> {
    server: Server<S>,
    client: [u8; 16],
    clock: Clock,
}

impl<S: Storage> Importer<S> {
    fn run(
        mut self,
        config: &Config,
        items: &[Item],
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Report, ImportError> {
        let now = self.clock.now();
        self.connect(now)?;
        let due = match &config.destination {
            Destination::Datastore { id, primary } => {
                let known = self.server.snapshot(now, id)?.map(|snapshot| snapshot.records);
                let known = known.unwrap_or_default();
                if config.if_empty && !known.is_empty() {
                    return Ok(Report::Skipped);
                }
                self.open(now, id, primary)?;
                let known: BTreeMap<_, _> =
                    known.iter().map(|record| (&*record.key, &*record.value)).collect();
                let is_new = |item: &&Item| known.get(&*item.name).is_none_or(|stored| *stored != item.bytes);
                items.iter().filter(is_new).collect::<Vec<_>>()
            }
            Destination::Objects => {
                let mut due = Vec::new();
                for item in items {
                    let stored = self.server.object(&item.name)?.and_then(|object| object.value);
                    if stored.as_deref() != Some(&*item.bytes) {
                        due.push(item);
                    }
                }
                due
            }
        };
        let mut written = 0;
        for batch in due.chunks(BATCH_RECORDS) {
            let now = self.clock.now();
            for (Item { name, bytes }, request) in batch.iter().zip(1..) {
                let value = EncodedValue::trusted(bytes);
                let operation = match &config.destination {
                    Destination::Datastore { id, .. } => Operation::Set { datastore: id, value },
                    Destination::Objects => Operation::Put { key: name, value },
                };
                self.send(now, &ClientMessage::Write { request: written + request, operation });
            }
            self.commit(now, written)?;
            written += batch.len() as u64;
            progress(usize::try_from(written).unwrap_or(usize::MAX), due.len());
        }
        Ok(Report::Imported { written: due.len(), unchanged: items.len() - due.len() })
    }

    /// Says hello, as any client does.
    fn connect(&mut self, now: Timestamp) -> Result<(), ImportError> {
        // A fresh client id: no request of an earlier import may be taken for one of this.
        let client = Epoch::from_bytes(self.client).to_string();
        self.server.handle_connect(now, CONNECTION);
        self.send(now, &ClientMessage::Hello { client: &client, token: None });
        self.commit(now, 0)
    }

    /// Opens the datastore, as any client does.
    fn open(&mut self, now: Timestamp, id: &str, primary: &str) -> Result<(), ImportError> {
        let found = self.server.datastore(now, id)?;
        let is_other = |found: &server::Datastore| found.expires.is_some() || *found.primary != *primary;
        if let Some(found) = found.filter(is_other) {
            let kind = if found.expires.is_some() { "temporary" } else { "permanent" };
            let found = format!("{kind} with the primary field {}", found.primary);
            return Err(ImportError::Mismatch { id: id.to_owned(), found });
        }
        let target = Target::Datastore { id, open: Some(Open { permanent: true, primary }) };
        self.send(now, &ClientMessage::Subscribe(vec![Subscription { id: 1, target, position: None }]));
        self.send(now, &ClientMessage::Unsubscribe(1));
        self.commit(now, 0)
    }

    fn send(&mut self, now: Timestamp, message: &ClientMessage<'_>) {
        let mut writer = Writer::new();
        message.encode(&mut writer);
        self.server.handle_frame(now, CONNECTION, &writer.into_bytes());
    }

    /// Commits, and makes sure that nothing was refused.
    fn commit(&mut self, now: Timestamp, written: u64) -> Result<(), ImportError> {
        let written = usize::try_from(written).unwrap_or(usize::MAX);
        self.server.commit(now).map_err(|source| ImportError::Commit { written, source })?;
        while let Some(transmit) = self.server.poll_transmit() {
            match transmit.action {
                Action::Frame(frame) => {
                    let mut reader = Reader::new(&frame);
                    while !reader.is_empty() {
                        match ServerMessage::decode(&mut reader) {
                            Ok(
                                ServerMessage::Refusal { message, .. }
                                | ServerMessage::Denied { message, .. },
                            ) => return Err(ImportError::Refused(message.to_owned())),
                            Ok(_) => {}
                            Err(error) => return Err(ImportError::Refused(error.to_string())),
                        }
                    }
                }
                Action::Close { reason, .. } => return Err(ImportError::Refused(reason)),
            }
        }
        Ok(())
    }
}
