//! The kv store in memory.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use super::{
    super::{KvEntry, KvStorage, StorageError, VisitKv},
    Memory, Undo,
};
use crate::protocol::Timestamp;

/// A group. One without entries is not kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    entries: BTreeMap<Arc<str>, KvEntry>,
    /// How many of the entries expire at some time.
    expiring: usize,
}

impl Group {
    fn put(&mut self, key: &Arc<str>, entry: Option<KvEntry>) -> Option<KvEntry> {
        let expires = |entry: &KvEntry| entry.expires.is_some();
        self.expiring += usize::from(entry.as_ref().is_some_and(expires));
        let before = match entry {
            Some(entry) => self.entries.insert(key.clone(), entry),
            None => self.entries.remove(key),
        };
        self.expiring -= usize::from(before.as_ref().is_some_and(expires));
        before
    }

    /// The entries that have expired. A group that has none which ever do is not looked through.
    fn expired(&self, now: Timestamp) -> impl Iterator<Item = &Arc<str>> {
        let entries = self.entries.iter().take(if self.expiring > 0 { usize::MAX } else { 0 });
        entries.filter(move |(_, entry)| !entry.is_live(now)).map(|(key, _)| key)
    }

    fn count(&self, now: Timestamp) -> u64 {
        // No machine holds 2^64 keys.
        u64::try_from(self.entries.len() - self.expired(now).count()).unwrap_or(u64::MAX)
    }
}

impl Memory {
    /// Puts an entry in its place, or takes it away; returns what was there.
    pub(super) fn put_kv(
        &mut self,
        group: &Arc<str>,
        key: &Arc<str>,
        entry: Option<KvEntry>,
    ) -> Option<KvEntry> {
        if entry.is_some() {
            self.groups.entry(group.clone()).or_default();
        }
        let table = self.groups.get_mut(group)?;
        let before = table.put(key, entry);
        if table.entries.is_empty() {
            self.groups.remove(group);
        }
        before
    }

    fn change_kv(&mut self, group: Arc<str>, key: Arc<str>, entry: Option<KvEntry>) {
        let before = self.put_kv(&group, &key, entry);
        self.remember(Undo::Kv(group, key, before));
    }

    /// The group's and the key's names as they are held already, so that an update allocates nothing.
    fn held_names(&self, group: &str, key: &str) -> (Arc<str>, Arc<str>) {
        let Some((name, table)) = self.groups.get_key_value(group) else {
            return (group.into(), key.into());
        };
        let key = table.entries.get_key_value(key).map_or_else(|| key.into(), |(key, _)| key.clone());
        (name.clone(), key)
    }
}

impl KvStorage for Memory {
    fn kv(&self, group: &str, key: &str) -> Result<Option<KvEntry>, StorageError> {
        Ok(self.groups.get(group).and_then(|group| group.entries.get(key)).cloned())
    }

    fn kv_entries(&self, now: Timestamp, group: &str, visit: VisitKv<'_>) -> Result<(), StorageError> {
        let entries = self.groups.get(group).into_iter().flat_map(|group| &group.entries);
        for (key, entry) in entries.filter(|(_, entry)| entry.is_live(now)) {
            if let ControlFlow::Break(()) = visit(key, &entry.value) {
                break;
            }
        }
        Ok(())
    }

    fn kv_count(&self, now: Timestamp, group: &str) -> Result<u64, StorageError> {
        Ok(self.groups.get(group).map_or(0, |group| group.count(now)))
    }

    fn kv_groups(&self, now: Timestamp, prefix: &str) -> Result<Vec<(Arc<str>, u64)>, StorageError> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let groups = self.groups.range::<str, _>(from).take_while(|(name, _)| name.starts_with(prefix));
        let counted = groups.map(|(name, group)| (name.clone(), group.count(now)));
        Ok(counted.filter(|(_, count)| *count > 0).collect())
    }

    fn set_kv(&mut self, group: &str, key: &str, entry: KvEntry) -> Result<(), StorageError> {
        let (group, key) = self.held_names(group, key);
        self.change_kv(group, key, Some(entry));
        Ok(())
    }

    fn remove_kv(&mut self, group: &str, key: &str) -> Result<(), StorageError> {
        let (group, key) = self.held_names(group, key);
        self.change_kv(group, key, None);
        Ok(())
    }

    fn remove_kv_group(&mut self, group: &str) -> Result<(), StorageError> {
        if let Some((name, group)) = self.groups.remove_entry(group) {
            self.remember(Undo::KvGroup(name, group));
        }
        Ok(())
    }

    fn purge_kv(&mut self, now: Timestamp) -> Result<u64, StorageError> {
        let expired = self
            .groups
            .iter()
            .flat_map(|(name, group)| group.expired(now).map(|key| (name.clone(), key.clone())));
        let expired: Vec<_> = expired.collect();
        let count = u64::try_from(expired.len()).unwrap_or(u64::MAX);
        for (group, key) in expired {
            self.change_kv(group, key, None);
        }
        Ok(count)
    }
}
