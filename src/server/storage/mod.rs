//! Where the server module keeps what must outlive a transaction.
//!
//! [`Storage`] is a synchronous, transactional store of objects, datastores with their records, mailboxes
//! ([`MailboxStorage`]), the kv store ([`KvStorage`]), and the replies to write requests. It knows no rules: what a
//! sequence means, when a datastore has expired and what a reply says is decided above it. [`Memory`] is the
//! implementation for browsers, tests and whatever is temporary; the native server has one over SQLite. Both pass the
//! same conformance suite.

mod kv;
mod mailbox;
mod memory;

#[cfg(any(test, feature = "test-support"))]
pub mod conformance;

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{error::Error, ops::ControlFlow};

use thiserror::Error;

pub use kv::{KvEntry, KvStorage, VisitKv};
pub use mailbox::{MailboxStorage, Notification, ParseTraceError, Trace, VisitPending};
pub use memory::Memory;

use crate::protocol::{Epoch, Lineage, Position, RequestId, Sequence, Timestamp};

/// An encoded value, shared by whoever holds it.
pub type Value = Arc<[u8]>;

/// How many request numbers of one client are remembered: more than any client has unanswered at a time.
pub const KEPT_REPLIES: u64 = 1_000;

/// What went wrong inside a storage.
#[derive(Debug, Error)]
#[error("{doing}: {source}")]
pub struct StorageError {
    doing: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl Reply {
    /// Done, at `position`, with nothing more to say.
    #[must_use]
    pub const fn done(position: Option<Position>) -> Self {
        Self::Done { position, result: None }
    }
}

impl StorageError {
    /// The failure `source` while `doing` something, as in "writing a record".
    pub fn new(doing: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { doing, source: source.into() }
    }
}

/// The head of the history of all objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHistory {
    /// The epoch that object sequences count in.
    pub epoch: Epoch,
    /// The epochs before it.
    pub lineage: Lineage,
}

/// The last change of an object or record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The change's sequence.
    pub sequence: Sequence,
    /// The schema version that the value was written under.
    pub version: Option<Arc<str>>,
    /// The value; `None`: deleted.
    pub value: Option<Value>,
}

/// A datastore without its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDatastore {
    /// The field that names a record.
    pub primary: Arc<str>,
    /// The epoch that its sequences count in.
    pub epoch: Epoch,
    /// The epochs before it.
    pub lineage: Lineage,
    /// The sequence of its last change.
    pub head: Sequence,
    /// The sequence from which on every deletion is still known; a replica below it needs a snapshot.
    pub floor: Sequence,
    /// When it ends; `None`: never.
    pub expires: Option<Timestamp>,
}

/// What a write request was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Done {
        /// At this position; `None` where nothing had to change, or the target has no history.
        position: Option<Position>,
        /// What the operation said of its outcome beside that.
        result: Option<Value>,
    },
    /// Refused.
    Refused {
        /// A number of [`ErrorCode`](crate::protocol::ErrorCode).
        code: u16,
        /// For people.
        message: Arc<str>,
    },
}

/// What is known about a request number of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recollection {
    /// Never seen.
    New,
    /// Seen, and answered with this.
    Answered(Reply),
    /// Below the numbers that are remembered: nobody knows whether it ran.
    Forgotten,
}

/// Receives changes one by one, until it breaks off. Keys are shared, as values are.
pub type Visit<'v> = &'v mut dyn FnMut(&Arc<str>, &Stored) -> ControlFlow<()>;

/// A transactional store; the contract is the conformance suite's.
///
/// Reads see the writes of the open transaction. Writes happen between [`begin`](Storage::begin) and
/// [`commit`](Storage::commit) only. What was committed survives the end of the process where the storage is a durable
/// one. After an error the caller rolls back, and nothing of the transaction remains.
///
/// Keys are any text, compared by bytes: empty, NUL and what SQL would read as syntax are keys like others.
pub trait Storage: KvStorage + MailboxStorage {
    /// Starts a transaction. There is at most one.
    ///
    /// # Errors
    /// If the storage cannot be written to.
    fn begin(&mut self) -> Result<(), StorageError>;

    /// Ends the transaction; its writes are durable when this returns.
    ///
    /// # Errors
    /// If they are not. The caller then rolls back.
    fn commit(&mut self) -> Result<(), StorageError>;

    /// Ends the transaction, if one is open, as if it had not begun.
    ///
    /// # Errors
    /// If the storage cannot be brought back to its last commit; it is of no more use then.
    fn rollback(&mut self) -> Result<(), StorageError>;

    /// The history of all objects; `None` in a new storage.
    ///
    /// # Errors
    /// If the storage cannot be read, as for every method below that only reads.
    fn history(&self) -> Result<Option<StoredHistory>, StorageError>;

    /// Replaces the history of all objects.
    ///
    /// # Errors
    /// If the storage cannot be written to, as for every method below that writes.
    fn set_history(&mut self, history: &StoredHistory) -> Result<(), StorageError>;

    /// An object's last change.
    ///
    /// # Errors
    /// See [`history`](Storage::history).
    fn object(&self, key: &str) -> Result<Option<Stored>, StorageError>;

    /// The sequence of an object's last change.
    ///
    /// # Errors
    /// See [`history`](Storage::history).
    fn object_sequence(&self, key: &str) -> Result<Option<Sequence>, StorageError>;

    /// The epochs before the present one, each with the last sequence that was kept of this object in it.
    ///
    /// Asked only where [`history`](Storage::history) has a lineage; what that says stands for a storage that was never
    /// put back.
    ///
    /// # Errors
    /// See [`history`](Storage::history).
    fn object_lineage(&self, _key: &str) -> Result<Lineage, StorageError> {
        Ok(self.history()?.map(|history| history.lineage).unwrap_or_default())
    }

    /// Replaces an object's last change.
    ///
    /// # Errors
    /// See [`set_history`](Storage::set_history).
    fn set_object(&mut self, key: &str, object: Stored) -> Result<(), StorageError>;

    /// A datastore.
    ///
    /// # Errors
    /// See [`history`](Storage::history).
    fn datastore(&self, id: &str) -> Result<Option<StoredDatastore>, StorageError>;

    /// Inserts a datastore or replaces what is stored about it; its records stay.
    ///
    /// # Errors
    /// See [`set_history`](Storage::set_history).
    fn set_datastore(&mut self, id: &str, datastore: &StoredDatastore) -> Result<(), StorageError>;

    /// The datastores that end, each with when, in the order of their ids.
    ///
    /// # Errors
    /// See [`history`](Storage::history).
    fn expiring(&self) -> Result<Vec<(Arc<str>, Timestamp)>, StorageError>;

    /// Removes a datastore with all its records, if there is one.
    ///
    /// # Errors
    /// See [`set_history`](Storage::set_history).
    fn remove_datastore(&mut self, id: &str) -> Result<(), StorageError>;

    /// A record's last change.
    ///
    /// # Errors
    /// See [`history`](Storage::history).
    fn record(&self, datastore: &str, key: &str) -> Result<Option<Stored>, StorageError>;

    /// Replaces a record's last change. Its sequence is above all others of the datastore, which is stored before.
    ///
    /// # Errors
    /// See [`set_history`](Storage::set_history).
    fn set_record(&mut self, datastore: &str, key: &str, record: Stored) -> Result<(), StorageError>;

    /// The last changes of a datastore's records above `after`, deletions among them, in the order of their sequences.
    ///
    /// # Errors
    /// See [`history`](Storage::history).
    fn changes(&self, datastore: &str, after: Sequence, visit: Visit<'_>) -> Result<(), StorageError>;

    /// Forgets all but the newest `keep` deletions of a datastore; returns the sequence of the newest forgotten one.
    ///
    /// # Errors
    /// See [`set_history`](Storage::set_history).
    fn forget_deletions(&mut self, datastore: &str, keep: usize) -> Result<Option<Sequence>, StorageError>;

    /// What is known about a request.
    ///
    /// # Errors
    /// See [`history`](Storage::history).
    fn reply(&self, client: &str, request: RequestId) -> Result<Recollection, StorageError>;

    /// Remembers the reply to a request, and forgets those [`KEPT_REPLIES`] numbers and more below it.
    ///
    /// # Errors
    /// See [`set_history`](Storage::set_history).
    fn set_reply(
        &mut self,
        now: Timestamp,
        client: &str,
        request: RequestId,
        reply: &Reply,
    ) -> Result<(), StorageError>;

    /// Forgets replies given before `replies`, and whole clients that asked for nothing since `clients`.
    ///
    /// # Errors
    /// See [`set_history`](Storage::set_history).
    fn forget_replies(&mut self, replies: Timestamp, clients: Timestamp) -> Result<(), StorageError>;
}
