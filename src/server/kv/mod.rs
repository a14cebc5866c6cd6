//! The kv store: values by group and key, durable, with an expiry where one is wanted, and watched.
//!
//! [`Server::kv`] is the way in; [`Kv`] has the rules, [`scoped`] those of namespaces and quotas. What changes is an
//! event, held back in [`changes`] until its batch is committed and then told, in the order of the writes, to the
//! watchers in [`watch`] and to the host's callbacks. A key that expires is no event: nothing happens at that moment,
//! it is only not found any more.

mod changes;
mod render;
mod scoped;
mod watch;

use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec::Vec};
use core::{ops::ControlFlow, time::Duration};

use thiserror::Error;

pub(super) use changes::Changes;
pub use changes::{CallbackId, KvEvent};
pub use render::RenderError;
pub use scoped::{Namespace, NamespaceError, Quota, Scoped};
pub(super) use watch::Watchers;
pub use watch::{EVERY, WATCHER_CAPACITY, Watched, WatcherId};

use super::{
    Server, WriteError,
    object::check_value,
    storage::{KvEntry, Storage, StorageError, Value},
};
use crate::protocol::{
    EncodedValue, ErrorCode, KvChange, KvEventKind, Query, Timestamp, Writer,
    limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES},
};

/// There is nothing to get.
#[derive(Debug, Error)]
pub enum GetError {
    /// The group has no keys.
    #[error("no group `{group}`; set a key in it first")]
    NoGroup {
        /// The group.
        group: Box<str>,
    },
    /// The group has other keys.
    #[error("no key `{key}` in the group `{group}`; set it first")]
    NoKey {
        /// The group.
        group: Box<str>,
        /// The key.
        key: Box<str>,
    },
    /// The storage cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A client's question about the kv store has no answer.
#[derive(Debug, Error)]
pub(super) enum QueryError {
    #[error("the answer has {length} bytes, a value has at most {MAX_VALUE_BYTES}; ask for less at a time")]
    TooLarge { length: usize },
    #[error(transparent)]
    Render(RenderError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl QueryError {
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge { .. } => ErrorCode::LimitExceeded,
            Self::Render(error) => error.code(),
            Self::Storage(_) => ErrorCode::StorageFailed,
        }
    }
}

/// Whole milliseconds, in which expiries are kept.
pub(super) fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn check_name(field: &'static str, name: &str) -> Result<(), WriteError> {
    let length = name.len();
    if length <= MAX_KEY_BYTES { Ok(()) } else { Err(WriteError::TooLong { field, length }) }
}

/// The kv store at a point in time. Groups and keys are any text of up to 1,024 bytes, the empty one among it; values
/// are any encoded value.
///
/// What it writes belongs to the server's batch like everything else: it lasts, and is told, from
/// [`Server::commit`] on. What it reads is what the batch has done so far.
///
/// ```
/// use tidewire::{
///     protocol::{EncodedValue, Timestamp, from_json, to_json},
///     server::{EVERY, Options, Server, Watched, storage::Memory},
/// };
///
/// let now = Timestamp::from_millis(1_700_000_000_000);
/// let mut server = Server::open(Memory::new(), Options::new([7; 32]))?;
/// let watcher = server.kv(now).watch("settings", EVERY)?;
/// let theme = from_json("\"dark\"")?;
/// server.kv(now).set("settings", "theme", EncodedValue::check(&theme)?)?;
/// assert_eq!(server.poll_watcher(watcher), None);
/// server.commit(now)?;
/// assert!(matches!(server.poll_watcher(watcher), Some(Watched::Event(event)) if &*event.key == "theme"));
/// let value = server.kv(now).get("settings", "theme")?;
/// assert_eq!(to_json(EncodedValue::trusted(&value))?, "\"dark\"");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Kv<'s, S> {
    server: &'s mut Server<S>,
    now: Timestamp,
}

impl<S: Storage> Server<S> {
    /// The kv store.
    pub fn kv(&mut self, now: Timestamp) -> Kv<'_, S> {
        self.observe(now);
        Kv { server: self, now }
    }

    /// The next thing that a watcher of [`Kv::watch`] hears, in the order of the writes. An output: what a batch
    /// changed comes after its commit.
    pub fn poll_watcher(&mut self, watcher: WatcherId) -> Option<Watched> {
        self.hub.watchers.poll(watcher)
    }

    /// Whether a watcher has not ended.
    #[must_use]
    pub fn is_watching(&self, watcher: WatcherId) -> bool {
        self.hub.watchers.is_watching(watcher)
    }

    fn change_kv(&mut self, now: Timestamp, change: KvChange<'_>) -> Result<bool, WriteError> {
        match change {
            KvChange::Set { group, key, value, ttl } => {
                let value: Value = value.as_bytes().into();
                let expires = ttl.map(|ttl| now + Duration::from_millis(ttl));
                let entry = KvEntry { value: value.clone(), expires };
                self.on_storage(true, |storage| storage.set_kv(group, key, entry))?;
                self.note_kv(now, KvEventKind::Set, group, key, Some(value));
                Ok(true)
            }
            KvChange::Delete { group, key } => {
                let stored = self.durable.kv(group, key);
                let Some(entry) = self.sound(stored)? else {
                    return Ok(false);
                };
                self.on_storage(true, |storage| storage.remove_kv(group, key))?;
                let was_there = entry.is_live(now);
                if was_there {
                    self.note_kv(now, KvEventKind::Delete, group, key, None);
                }
                Ok(was_there)
            }
            KvChange::DeleteGroup { group } => {
                let count = self.durable.kv_count(now, group);
                let was_there = self.sound(count)? > 0;
                self.on_storage(true, |storage| storage.remove_kv_group(group))?;
                if was_there {
                    self.note_kv(now, KvEventKind::DeleteGroup, group, "", None);
                }
                Ok(was_there)
            }
        }
    }

    fn note_kv(&mut self, at: Timestamp, kind: KvEventKind, group: &str, key: &str, value: Option<Value>) {
        // Whoever comes later in the batch hears only what comes later still.
        if self.changes.has_callbacks() || !self.hub.watchers.is_empty() {
            self.changes.note(KvEvent { kind, group: group.into(), key: key.into(), value, at });
        }
    }
}

impl<'s, S: Storage> Kv<'s, S> {
    /// The store as a namespace sees it.
    pub fn scoped<'n>(self, namespace: &'n Namespace) -> Scoped<'s, 'n, S> {
        Scoped::new(self, namespace)
    }

    // Getters

    /// A key's value.
    ///
    /// # Errors
    /// If there is no such group, no such key in it, or the storage cannot be read.
    pub fn get(&self, group: &str, key: &str) -> Result<Value, GetError> {
        if let Some(value) = self.find(group, key)? {
            return Ok(value);
        }
        let group_name = || group.into();
        if self.count(group)? == 0 {
            return Err(GetError::NoGroup { group: group_name() });
        }
        Err(GetError::NoKey { group: group_name(), key: key.into() })
    }

    /// A key's value, if it is set and has not expired.
    fn find(&self, group: &str, key: &str) -> Result<Option<Value>, StorageError> {
        let entry = self.server.durable.kv(group, key)?.filter(|entry| entry.is_live(self.now));
        Ok(entry.map(|entry| entry.value))
    }

    /// All keys of a group with their values; none where there is no such group.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn get_all(&self, group: &str) -> Result<BTreeMap<Arc<str>, Value>, StorageError> {
        Ok(self.entries(group)?.into_iter().collect())
    }

    /// The same in the order of the keys.
    pub(crate) fn entries(&self, group: &str) -> Result<Vec<(Arc<str>, Value)>, StorageError> {
        let mut entries = Vec::new();
        self.server.durable.kv_entries(self.now, group, &mut |key, value| {
            entries.push((key.into(), value.clone()));
            ControlFlow::Continue(())
        })?;
        Ok(entries)
    }

    /// How many keys a group has.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn count(&self, group: &str) -> Result<u64, StorageError> {
        self.server.durable.kv_count(self.now, group)
    }

    /// How many keys there are in all groups whose names begin with `prefix`, taken literally.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn count_all(&self, prefix: &str) -> Result<u64, StorageError> {
        let groups = self.server.durable.kv_groups(self.now, prefix)?;
        Ok(groups.iter().map(|(_, count)| count).sum())
    }

    /// The names of the groups that have keys and begin with `prefix`, taken literally, in order.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn groups(&self, prefix: &str) -> Result<Vec<Arc<str>>, StorageError> {
        let groups = self.server.durable.kv_groups(self.now, prefix)?;
        Ok(groups.into_iter().map(|(name, _)| name).collect())
    }

    /// A template with the values of a group in the places of their keys.
    ///
    /// The language is that of Jinja. A key is a variable; one whose name is no variable's is `kv["the name"]`. A
    /// variable that is not there is an error, unless a `default` is given. Steps and result are limited, the memory
    /// on the way is not: templates come from whom the host trusts, or see
    /// [`Options::renders_for_clients`](super::Options::renders_for_clients).
    ///
    /// # Errors
    /// If there is no such group, the template is not well-formed, a variable is missing, or the result is too large.
    pub fn render(&self, template: &str, group: &str) -> Result<String, RenderError> {
        render::render(template, group, || self.entries(group))
    }

    // Commands

    /// Sets a key for ever, in the place of whatever it held.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn set(&mut self, group: &str, key: &str, value: EncodedValue<'_>) -> Result<(), WriteError> {
        self.apply(&[KvChange::Set { group, key, value, ttl: None }])
    }

    /// Sets a key that is gone once `ttl` has passed on the clock of the host.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn set_with_ttl(
        &mut self,
        group: &str,
        key: &str,
        value: EncodedValue<'_>,
        ttl: Duration,
    ) -> Result<(), WriteError> {
        self.apply(&[KvChange::Set { group, key, value, ttl: Some(millis(ttl)) }])
    }

    /// Deletes a key; `false` where there is nothing to delete, which is no event either.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn delete(&mut self, group: &str, key: &str) -> Result<bool, WriteError> {
        self.change(KvChange::Delete { group, key })
    }

    /// Deletes a group with all its keys: one event. `false` where there is nothing to delete.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn delete_group(&mut self, group: &str) -> Result<bool, WriteError> {
        self.change(KvChange::DeleteGroup { group })
    }

    /// A transaction: all of these changes, in this order, or none.
    ///
    /// # Errors
    /// Why it was refused. Nothing has changed then.
    pub fn apply(&mut self, changes: &[KvChange<'_>]) -> Result<(), WriteError> {
        for change in changes {
            check(*change)?;
        }
        for change in changes {
            // Only the storage can refuse it any more, and takes the whole batch along.
            self.server.change_kv(self.now, *change)?;
        }
        Ok(())
    }

    fn change(&mut self, change: KvChange<'_>) -> Result<bool, WriteError> {
        check(change)?;
        self.server.change_kv(self.now, change)
    }

    /// Removes what has expired from the storage; returns how many keys. [`Server::handle_timeout`] does it every
    /// minute; nobody sees a difference.
    ///
    /// # Errors
    /// If the storage fails.
    pub fn purge_expired(&mut self) -> Result<u64, WriteError> {
        let now = self.now;
        self.server.on_storage(true, |storage| storage.purge_kv(now))
    }

    /// Watches a key, a group (`*` as the key) or everything (`*` as both), from now on: poll with
    /// [`Server::poll_watcher`]. Up to [`WATCHER_CAPACITY`] events wait; more are dropped and counted.
    ///
    /// # Errors
    /// If no group or key can have such a name.
    pub fn watch(&mut self, group: &str, key: &str) -> Result<WatcherId, WriteError> {
        check_name("group", group)?;
        check_name("key", key)?;
        let since = self.server.changes.next_number();
        Ok(self.server.hub.watchers.watch(group, key, since, None))
    }

    /// Ends a watcher and drops what waits for it; `false` if it has ended before.
    pub fn unwatch(&mut self, watcher: WatcherId) -> bool {
        self.server.hub.watchers.unwatch(watcher)
    }

    /// Has `callback` told every change that comes from now on.
    ///
    /// Callbacks run inside [`Server::commit`], after the changes are committed, in the order of the writes and, for
    /// each of them, of the registrations. A callback may do what the host may: write (a batch of its own, which
    /// [`Server::poll_timeout`] asks to commit at once), commit, register callbacks (they hear what comes after) and
    /// unregister any, itself too (they hear nothing more, not even the present change). What it changes is told
    /// after what came before, never in the middle.
    pub fn on_change(
        &mut self,
        callback: impl FnMut(&mut Server<S>, Timestamp, &KvEvent) + Send + 'static,
    ) -> CallbackId {
        self.server.changes.register(Box::new(callback))
    }

    /// Takes a callback out; `false` if it was taken out before.
    pub fn unregister(&mut self, callback: CallbackId) -> bool {
        self.server.changes.unregister(callback)
    }

    // For clients

    /// Answers a client's question about the store; `None`: there is no value.
    pub(super) fn answer(&self, question: Query<'_>) -> Result<Option<Vec<u8>>, QueryError> {
        let mut writer = Writer::new();
        match question {
            // Not about the store.
            Query::Notification { .. } => return Ok(None),
            Query::KvGet { group, key } => {
                return Ok(self.find(group, key)?.map(|value| value.to_vec()));
            }
            Query::KvGetAll { group } => {
                let entries = self.entries(group)?;
                writer.map(entries.len());
                for (key, value) in &entries {
                    writer.str(key);
                    writer.value(EncodedValue::trusted(value));
                }
            }
            Query::KvCount { group } => writer.u64(self.count(group)?),
            Query::KvCountAll { prefix } => writer.u64(self.count_all(prefix)?),
            Query::KvGroups { prefix } => {
                let groups = self.groups(prefix)?;
                writer.array(groups.len());
                for group in &groups {
                    writer.str(group);
                }
            }
            Query::KvRender { template, group } => {
                let rendered = self.render(template, group).map_err(|error| match error {
                    RenderError::Storage(error) => QueryError::Storage(error),
                    error => QueryError::Render(error),
                })?;
                writer.str(&rendered);
            }
        }
        let length = writer.len();
        if length <= MAX_VALUE_BYTES {
            Ok(Some(writer.into_bytes()))
        } else {
            Err(QueryError::TooLarge { length })
        }
    }
}

/// Checks all that can be wrong with a change before anything is done.
fn check(change: KvChange<'_>) -> Result<(), WriteError> {
    match change {
        KvChange::Set { group, key, value, ttl: _ } => {
            check_name("group", group)?;
            check_name("key", key)?;
            check_value("value", value)
        }
        KvChange::Delete { group, key } => {
            check_name("group", group)?;
            check_name("key", key)
        }
        KvChange::DeleteGroup { group } => check_name("group", group),
    }
}
