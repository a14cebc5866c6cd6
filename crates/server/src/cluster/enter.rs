//! From a database to a place in the log that it can be followed from.
//!
//! A log begins with a record that founds it: from nothing, or from a state that a node has. A node whose database stands
//! where the log says it begins, or at a place of the log that is still there, follows from there on. Any other takes a
//! copy of a member's database. A log that has lost what this node has read is founded anew, by the node that has read
//! the most: every history goes on under a new epoch.

use std::{io, path::Path, time::Duration};

use rusqlite::{Connection, OptionalExtension, params};
use thiserror::Error;
use tidewire::{
    protocol::{DecodeError, Epoch},
    server::storage::StorageError,
};
use tokio::time::sleep;

use super::{
    Cluster,
    log::{Arrived, Extent, Log, LogError, Place},
    peers::{PeerError, Peers, Standing},
    record::{Base, Body, Record, Seen, fold},
    state::State,
};
use crate::{
    backup::{self, CopyError},
    serve::seed,
    sqlite::{self, Sqlite},
};

/// The file of the data directory that says what its node is called.
const NAME: &str = "tidewire.node";

/// How long to wait for another node, before looking again.
const PAUSE: Duration = Duration::from_secs(1);

/// How far back the founding of a log is looked for, where the log has lost its end.
const LOOK_BACK: u64 = 64;

/// The node cannot become part of its cluster.
#[derive(Debug, Error)]
pub enum EnterError {
    /// The database cannot be opened.
    #[error(transparent)]
    Data(#[from] sqlite::OpenError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database is of another service.
    #[error(
        "the data directory has a history of its own, and the service another one; start with an empty directory, or \
         export the data and import it into the service"
    )]
    Foreign,
    /// The log is of another version.
    #[error("the log has a record that this version cannot read ({0}); run the same version on all nodes")]
    Unreadable(#[from] DecodeError),
    /// The database fails.
    #[error("the database fails ({0})")]
    Sqlite(#[from] rusqlite::Error),
    /// The histories cannot be renewed.
    #[error("the histories cannot be renewed ({0})")]
    Renew(#[from] CopyError),
    /// Another node has no copy to give.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The node's name cannot be read or written.
    #[error("{NAME} in the data directory cannot be used ({0})")]
    Name(#[source] io::Error),
}

/// A database that stands at a place of the log.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) sqlite: Sqlite,
    pub(super) state: State,
    pub(super) log: Log,
    pub(super) peers: Peers,
    pub(super) name: String,
}

/// Opens the database, and brings it to where the log can be followed from.
pub(crate) async fn enter(data: &Path, cluster: &Cluster) -> Result<Entered, EnterError> {
    let mut sqlite = Sqlite::open(data)?;
    let name = match &cluster.node {
        Some(name) => name.clone(),
        None => own_name(data).map_err(EnterError::Name)?,
    };
    let log = loop {
        match Log::connect(cluster).await {
            Err(error) if error.may_pass() => {
                tracing::warn!("{error}; trying again");
                sleep(PAUSE).await;
            }
            connected => break connected?,
        }
    };
    let peers = Peers::start(log.clone(), name.clone(), data.to_owned()).await?;
    loop {
        let mut state = sqlite.cluster()?;
        peers.stand(Standing::candidate(&state));
        match passing(step(&log, &peers, &mut sqlite, &mut state).await)? {
            Step::There => return Ok(Entered { sqlite, state, log, peers, name }),
            Step::Moved => {}
            Step::Wait(why) => {
                tracing::info!("{why}");
                sleep(PAUSE).await;
            }
            Step::Copy => match peers.find_member().await.unwrap_or_default() {
                Some(member) => {
                    tracing::info!(from = %member, "taking a copy of another node's database");
                    let copy = match peers.fetch(&member, data).await {
                        Err(error) if error.may_pass() => {
                            tracing::warn!("{error}; trying again");
                            sleep(PAUSE).await;
                            continue;
                        }
                        fetched => fetched?,
                    };
                    let keep = !sqlite.is_empty()?;
                    // Nothing of it is written any more.
                    drop(sqlite);
                    if let Some(aside) = backup::replace(&copy, data, keep).map_err(PeerError::Disk)? {
                        tracing::info!(file = %aside.display(), "what was there is kept");
                    }
                    sqlite = Sqlite::open(data)?;
                }
                None => {
                    tracing::warn!(
                        "the log has no longer all that this node lacks, and no other node is there to copy from; waiting \
                         for one"
                    );
                    sleep(PAUSE).await;
                }
            },
        }
    }
}

/// What a look at the log came to.
enum Step {
    /// The log can be followed.
    There,
    /// The database was changed; look again.
    Moved,
    /// Somebody else has to act first.
    Wait(String),
    /// The database has to be replaced by another node's.
    Copy,
}

/// Waits for what may be over in a moment.
fn passing(step: Result<Step, EnterError>) -> Result<Step, EnterError> {
    match step {
        Err(EnterError::Log(error)) if error.may_pass() => Ok(Step::Wait(error.to_string())),
        Err(EnterError::Peer(error)) if error.may_pass() => Ok(Step::Wait(error.to_string())),
        step => step,
    }
}

async fn step(log: &Log, peers: &Peers, sqlite: &mut Sqlite, state: &mut State) -> Result<Step, EnterError> {
    let extent = log.extent().await?;
    let Some(own) = state.generation else {
        return begin(log, sqlite, extent).await;
    };
    let base = Base { generation: own, seen: state.seen };
    let place = Place { position: state.seen.position, mark: state.mark };
    if log.is_at(place).await? {
        let Some(next) = log.read(place.position + 1).await? else {
            if place.position > 0 {
                return Ok(Step::There);
            }
            // The state is only a base so far, that of a server which was on its own.
            found(log, extent.last, Some(base)).await?;
            return Ok(Step::Moved);
        };
        return match founding(&next)? {
            Some((generation, Some(from))) if from == base => settle(sqlite, state, generation, &next),
            Some(_) => Ok(Step::Copy),
            None if place.position > 0 => Ok(Step::There),
            None => Err(EnterError::Foreign),
        };
    }
    if extent.first > place.position + 1 {
        return Ok(Step::Copy);
    }
    // The log has lost what was read here. Whoever noticed first may have founded it anew.
    let oldest = extent.first.max(extent.last.saturating_sub(LOOK_BACK)).max(1);
    for position in (oldest..=extent.last).rev() {
        if let Some(record) = log.read(position).await?
            && let Some((generation, from)) = founding(&record)?
        {
            return if from == Some(base) {
                settle(sqlite, state, generation, &record)
            } else {
                Ok(Step::Copy)
            };
        }
    }
    if peers.find_member().await?.is_some() {
        return Ok(Step::Copy);
    }
    if peers.is_outranked(&Standing::candidate(state)).await? {
        let why = "the log has lost records; a node that has read more of it founds it anew";
        return Ok(Step::Wait(why.to_owned()));
    }
    tracing::warn!(
        position = place.position,
        last = extent.last,
        "the log has lost records that this node has; founding it anew, every history goes on under a new epoch"
    );
    found(log, extent.last, Some(base)).await?;
    Ok(Step::Moved)
}

/// The first step of a database that was never part of a cluster.
async fn begin(log: &Log, sqlite: &mut Sqlite, extent: Extent) -> Result<Step, EnterError> {
    let is_empty = sqlite.is_empty()?;
    if extent.last == 0 {
        if is_empty {
            found(log, 0, None).await?;
        } else {
            // What it has becomes the base: under a name of its own, which tells it from all others.
            let seen = Seen { position: 0, digest: fold(0, fresh_epoch()?.as_bytes()) };
            sqlite.set_cluster(&State::based(fresh_epoch()?, seen).encode())?;
        }
        return Ok(Step::Moved);
    }
    if !is_empty {
        return Err(EnterError::Foreign);
    }
    let first = if extent.first == 1 { log.read(1).await? } else { None };
    match first.as_ref().map(|record| Ok::<_, DecodeError>((record, founding(record)?))).transpose()? {
        Some((record, Some((generation, None)))) => settle(sqlite, &State::default(), generation, record),
        _ => Ok(Step::Copy),
    }
}

/// Founds the log after the record at `last`, unless somebody else was there first.
async fn found(log: &Log, last: u64, base: Option<Base>) -> Result<(), EnterError> {
    let body = Body::Found { generation: fresh_epoch()?, base };
    let record = Record { member: [0; 16], number: 0, seen: Seen::default(), body };
    log.append(last, record.encode()).await?;
    Ok(())
}

/// What a record founds, if it does: the log's name and its base.
fn founding(record: &Arrived) -> Result<Option<(Epoch, Option<Base>)>, DecodeError> {
    Ok(match Record::decode(&record.payload)?.body {
        Body::Found { generation, base } => Some((generation, base)),
        Body::Join { .. } | Body::Batch { .. } | Body::Leave => None,
    })
}

/// Has the database stand where a log was founded, from the state that the database has.
fn settle(sqlite: &Sqlite, state: &State, generation: Epoch, record: &Arrived) -> Result<Step, EnterError> {
    let seen = Seen { position: record.sequence, digest: fold(0, generation.as_bytes()) };
    let mark = fold(0, &record.payload);
    let after = State::founded(generation, seen, mark, record.at, state.clone());
    let transaction = sqlite.connection().unchecked_transaction()?;
    // Every node mints the same epochs, and nobody else does.
    let mix = |old: Epoch| {
        Epoch::from_bytes(std::array::from_fn(|at| old.as_bytes()[at] ^ generation.as_bytes()[at]))
    };
    match state.generation {
        Some(_) => drop(backup::renew(&transaction, |old| Ok(mix(old)))?),
        None => {
            transaction.execute("DELETE FROM history", [])?;
            transaction.execute(
                "INSERT INTO history (only, epoch, lineage) VALUES (1, ?1, x'')",
                [generation.as_bytes()],
            )?;
        }
    }
    store(&transaction, &after.encode())?;
    transaction.commit()?;
    Ok(Step::Moved)
}

fn store(database: &Connection, state: &[u8]) -> rusqlite::Result<()> {
    database
        .prepare_cached("INSERT OR REPLACE INTO cluster (only, state) VALUES (1, ?1)")?
        .execute(params![state])
        .map(drop)
}

impl Sqlite {
    /// What is known of the log.
    fn cluster(&self) -> Result<State, EnterError> {
        let stored = self
            .connection()
            .query_row("SELECT state FROM cluster", [], |row| row.get::<_, Vec<u8>>(0))
            .optional()?;
        Ok(stored.map(|state| State::decode(&state)).transpose()?.unwrap_or_default())
    }

    /// Whether the database is that of a node.
    pub(crate) fn is_of_cluster(&self) -> rusqlite::Result<bool> {
        self.connection().query_row("SELECT EXISTS (SELECT 1 FROM cluster)", [], |row| row.get(0))
    }

    fn set_cluster(&self, state: &[u8]) -> rusqlite::Result<()> {
        store(self.connection(), state)
    }

    /// Keeps what is known of the log, in the open transaction.
    pub(crate) fn note_cluster(&mut self, state: &[u8]) -> Result<(), StorageError> {
        self.set_cluster(state)
            .map_err(|source| StorageError::new("writing how far the log was read", source))
    }

    /// Whether there is nothing of anybody's in the database.
    fn is_empty(&self) -> rusqlite::Result<bool> {
        self.connection().query_row(
            "SELECT NOT (EXISTS (SELECT 1 FROM objects) OR EXISTS (SELECT 1 FROM datastores)
                OR EXISTS (SELECT 1 FROM kv) OR EXISTS (SELECT 1 FROM notifications)
                OR EXISTS (SELECT 1 FROM requests) OR EXISTS (SELECT 1 FROM request_log))",
            [],
            |row| row.get(0),
        )
    }
}

fn fresh_epoch() -> Result<Epoch, EnterError> {
    let seed = seed().map_err(EnterError::Name)?;
    Ok(Epoch::from_bytes(std::array::from_fn(|index| seed[index])))
}

/// What the data directory says that its node is called.
fn own_name(data: &Path) -> io::Result<String> {
    let path = data.join(NAME);
    match std::fs::read_to_string(&path) {
        Ok(name) => Ok(name.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let seed = seed()?;
            let name = format!("node-{:02x}{:02x}{:02x}{:02x}", seed[0], seed[1], seed[2], seed[3]);
            std::fs::write(&path, format!("{name}\n"))?;
            Ok(name)
        }
        Err(error) => Err(error),
    }
}
