//! The kv store's part of a storage.

use std::{ops::ControlFlow, sync::Arc};

use super::{StorageError, Value};
use crate::protocol::Timestamp;

/// What is stored under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEntry {
    /// The encoded value.
    pub value: Value,
    /// From when on it is gone; `None`: never.
    pub expires: Option<Timestamp>,
}

impl KvEntry {
    /// Whether it is still there.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires > now)
    }
}

/// Receives keys and their values one by one, until it breaks off.
pub type VisitKv<'v> = &'v mut dyn FnMut(&str, &Value) -> ControlFlow<()>;

/// A table of groups of keys, under the same transactions as everything else of a
/// [`Storage`](super::Storage).
///
/// Groups and keys are any text, compared by bytes, the empty one among it. An entry lives as long as its expiry is
/// above the time that is asked about; one that has expired is in no list and no count, but stays in its place until
/// it is purged: a clock that went ahead and comes back finds it again. A count is asked for at every write under a quota,
/// and must not cost what a list does.
pub trait KvStorage {
    /// What is stored under a key, expired or not.
    ///
    /// # Errors
    /// If the storage cannot be read, as for every method that only reads.
    fn kv(&self, group: &str, key: &str) -> Result<Option<KvEntry>, StorageError>;

    /// The live entries of a group in the order of their keys.
    ///
    /// # Errors
    /// See [`kv`](KvStorage::kv).
    fn kv_entries(&self, now: Timestamp, group: &str, visit: VisitKv<'_>) -> Result<(), StorageError>;

    /// How many live entries a group has.
    ///
    /// # Errors
    /// See [`kv`](KvStorage::kv).
    fn kv_count(&self, now: Timestamp, group: &str) -> Result<u64, StorageError>;

    /// The groups with live entries whose names begin with `prefix`, in order, and how many each has.
    ///
    /// # Errors
    /// See [`kv`](KvStorage::kv).
    fn kv_groups(&self, now: Timestamp, prefix: &str) -> Result<Vec<(Arc<str>, u64)>, StorageError>;

    /// Inserts or replaces an entry.
    ///
    /// # Errors
    /// If the storage cannot be written to, as for every method that writes.
    fn set_kv(&mut self, group: &str, key: &str, entry: KvEntry) -> Result<(), StorageError>;

    /// Removes an entry, expired or not, if there is one.
    ///
    /// # Errors
    /// See [`set_kv`](KvStorage::set_kv).
    fn remove_kv(&mut self, group: &str, key: &str) -> Result<(), StorageError>;

    /// Removes all entries of a group, expired or not.
    ///
    /// # Errors
    /// See [`set_kv`](KvStorage::set_kv).
    fn remove_kv_group(&mut self, group: &str) -> Result<(), StorageError>;

    /// Removes all entries that have expired; returns how many.
    ///
    /// # Errors
    /// See [`set_kv`](KvStorage::set_kv).
    fn purge_kv(&mut self, now: Timestamp) -> Result<u64, StorageError>;
}
