//! Namespaces: a part of the kv store that its owner sees as the whole, within a quota.

use alloc::{boxed::Box, collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};
use core::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use thiserror::Error;

use super::{GetError, Kv};
use crate::{
    protocol::{EncodedValue, KvChange},
    server::{
        WriteError,
        storage::{Storage, StorageError, Value},
    },
};

/// How much a namespace may hold. Zero means without a limit. What has expired does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Keys over all groups.
    pub max_keys: u64,
    /// Groups with at least one key.
    pub max_groups: u64,
}

/// A text is no namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NamespaceError {
    /// It is empty.
    #[error("the namespace is empty; name it with letters, digits and hyphens")]
    Empty,
    /// It has another character.
    #[error("a namespace has no {0:?}; name it with the letters a to z and A to Z, digits and hyphens")]
    Character(char),
}

/// A namespace: a name without a colon, which is put before its groups together with one.
///
/// ```
/// use tidewire::server::{Namespace, Quota};
///
/// let tenant = Namespace::new("tenant-7")?.with_quota(Quota { max_keys: 1_000, max_groups: 0 });
/// assert_eq!(tenant.group("settings"), "tenant-7:settings");
/// assert!(Namespace::new("tenant:7").is_err());
/// # Ok::<(), tidewire::server::NamespaceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// The name and a colon.
    prefix: Box<str>,
    quota: Quota,
}

impl Namespace {
    /// A namespace without a quota. Its name has letters, digits and hyphens, at least one of them.
    ///
    /// # Errors
    /// If `name` is no namespace.
    pub fn new(name: &str) -> Result<Self, NamespaceError> {
        if name.is_empty() {
            return Err(NamespaceError::Empty);
        }
        let foreign = |character: &char| !(character.is_ascii_alphanumeric() || *character == '-');
        match name.chars().find(foreign) {
            Some(character) => Err(NamespaceError::Character(character)),
            None => Ok(Self { prefix: format!("{name}:").into(), quota: Quota::default() }),
        }
    }

    /// The same with a quota.
    #[must_use]
    pub fn with_quota(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    /// The full name of a group of the namespace.
    #[must_use]
    pub fn group(&self, group: &str) -> String {
        format!("{}{group}", self.prefix)
    }
}

/// The kv store as a namespace sees it: [`Kv`] with the namespace before every group. Events carry the full names.
#[derive(Debug)]
pub struct Scoped<'s, 'n, S> {
    kv: Kv<'s, S>,
    namespace: &'n Namespace,
}

impl<'s, 'n, S: Storage> Scoped<'s, 'n, S> {
    pub(super) fn new(kv: Kv<'s, S>, namespace: &'n Namespace) -> Self {
        Self { kv, namespace }
    }

    /// See [`Kv::get`].
    ///
    /// # Errors
    /// See [`Kv::get`]; groups are named in full.
    pub fn get(&self, group: &str, key: &str) -> Result<Value, GetError> {
        self.kv.get(&self.namespace.group(group), key)
    }

    /// See [`Kv::get_all`].
    ///
    /// # Errors
    /// See [`Kv::get_all`].
    pub fn get_all(&self, group: &str) -> Result<BTreeMap<Arc<str>, Value>, StorageError> {
        self.kv.get_all(&self.namespace.group(group))
    }

    /// See [`Kv::count`].
    ///
    /// # Errors
    /// See [`Kv::count`].
    pub fn count(&self, group: &str) -> Result<u64, StorageError> {
        self.kv.count(&self.namespace.group(group))
    }

    /// See [`Kv::render`].
    ///
    /// # Errors
    /// See [`Kv::render`]; groups are named in full.
    pub fn render(&self, template: &str, group: &str) -> Result<String, super::RenderError> {
        self.kv.render(template, &self.namespace.group(group))
    }

    /// Sets a key for ever.
    ///
    /// # Errors
    /// See [`Kv::set`]; [`WriteError::QuotaExceeded`] if the key is a new one too many, or its group is.
    pub fn set(&mut self, group: &str, key: &str, value: EncodedValue<'_>) -> Result<(), WriteError> {
        self.apply(&[KvChange::Set { group, key, value, ttl: None }])
    }

    /// Sets a key for some time.
    ///
    /// # Errors
    /// See [`set`](Scoped::set).
    pub fn set_with_ttl(
        &mut self,
        group: &str,
        key: &str,
        value: EncodedValue<'_>,
        ttl: Duration,
    ) -> Result<(), WriteError> {
        self.apply(&[KvChange::Set { group, key, value, ttl: Some(super::millis(ttl)) }])
    }

    /// See [`Kv::delete`].
    ///
    /// # Errors
    /// See [`Kv::delete`].
    pub fn delete(&mut self, group: &str, key: &str) -> Result<bool, WriteError> {
        self.kv.delete(&self.namespace.group(group), key)
    }

    /// See [`Kv::delete_group`].
    ///
    /// # Errors
    /// See [`Kv::delete_group`].
    pub fn delete_group(&mut self, group: &str) -> Result<bool, WriteError> {
        self.kv.delete_group(&self.namespace.group(group))
    }

    /// See [`Kv::apply`]. The quota holds after every single change, in their order.
    ///
    /// # Errors
    /// See [`Kv::apply`] and [`set`](Scoped::set). Nothing has changed then.
    pub fn apply(&mut self, changes: &[KvChange<'_>]) -> Result<(), WriteError> {
        let full = |change: &KvChange<'_>| match change {
            KvChange::Set { group, .. }
            | KvChange::Delete { group, .. }
            | KvChange::DeleteGroup { group } => self.namespace.group(group),
        };
        let names: Vec<String> = changes.iter().map(full).collect();
        let changes = changes.iter().zip(&names).map(|(change, group)| match *change {
            KvChange::Set { key, value, ttl, .. } => KvChange::Set { group, key, value, ttl },
            KvChange::Delete { key, .. } => KvChange::Delete { group, key },
            KvChange::DeleteGroup { .. } => KvChange::DeleteGroup { group },
        });
        let changes: Vec<_> = changes.collect();
        if self.namespace.quota != Quota::default() {
            self.check_quota(&changes)?;
        }
        self.kv.apply(&changes)
    }

    fn check_quota(&mut self, changes: &[KvChange<'_>]) -> Result<(), WriteError> {
        if self.only_updates(changes)? {
            return Ok(());
        }
        let groups = self.kv.server.durable.kv_groups(self.kv.now, &self.namespace.prefix);
        let mut account = Account::new(self.namespace.quota, self.kv.server.sound(groups)?);
        for change in changes {
            match *change {
                KvChange::Set { group, key, .. } => {
                    if !self.is_live(&account, group, key)? {
                        account.add(group, key)?;
                    }
                }
                KvChange::Delete { group, key } => {
                    if self.is_live(&account, group, key)? {
                        account.remove(group, key);
                    }
                }
                KvChange::DeleteGroup { group } => account.remove_group(group),
            }
        }
        Ok(())
    }

    /// Whether nothing is deleted and no key is new: the usual case, for which nothing need be counted.
    fn only_updates(&mut self, changes: &[KvChange<'_>]) -> Result<bool, WriteError> {
        for change in changes {
            match *change {
                KvChange::Set { group, key, .. } if self.is_stored(group, key)? => {}
                KvChange::Set { .. } | KvChange::Delete { .. } | KvChange::DeleteGroup { .. } => {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn is_live(&mut self, account: &Account<'_>, group: &str, key: &str) -> Result<bool, WriteError> {
        match account.knows_live(group, key) {
            Some(is_live) => Ok(is_live),
            None => self.is_stored(group, key),
        }
    }

    fn is_stored(&mut self, group: &str, key: &str) -> Result<bool, WriteError> {
        let now = self.kv.now;
        let stored = self.kv.server.durable.kv(group, key);
        Ok(self.kv.server.sound(stored)?.is_some_and(|entry| entry.is_live(now)))
    }
}

/// What a namespace would hold after the first of some changes.
struct Account<'c> {
    quota: Quota,
    keys: u64,
    groups: HashMap<Arc<str>, u64, RandomState>,
    /// The keys that the changes have set or deleted so far.
    touched: HashMap<(&'c str, &'c str), bool, RandomState>,
    emptied: HashSet<&'c str, RandomState>,
}

impl<'c> Account<'c> {
    fn new(quota: Quota, groups: Vec<(Arc<str>, u64)>) -> Self {
        let keys = groups.iter().map(|(_, count)| count).sum();
        let groups = groups.into_iter().collect();
        Self { quota, keys, groups, touched: HashMap::default(), emptied: HashSet::default() }
    }

    /// Whether a key is there; `None`: as it is stored.
    fn knows_live(&self, group: &str, key: &str) -> Option<bool> {
        let emptied = self.emptied.contains(group).then_some(false);
        self.touched.get(&(group, key)).copied().or(emptied)
    }

    fn add(&mut self, group: &'c str, key: &'c str) -> Result<(), WriteError> {
        let Quota { max_keys, max_groups } = self.quota;
        if max_keys > 0 && self.keys >= max_keys {
            return Err(WriteError::QuotaExceeded { what: "keys", limit: max_keys });
        }
        // No machine holds 2^64 groups.
        let groups = u64::try_from(self.groups.len()).unwrap_or(u64::MAX);
        if max_groups > 0 && groups >= max_groups && !self.groups.contains_key(group) {
            return Err(WriteError::QuotaExceeded { what: "groups", limit: max_groups });
        }
        *self.groups.entry(group.into()).or_default() += 1;
        self.keys += 1;
        self.touched.insert((group, key), true);
        Ok(())
    }

    fn remove(&mut self, group: &'c str, key: &'c str) {
        self.touched.insert((group, key), false);
        self.keys -= 1;
        if let Some(count) = self.groups.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(group);
            }
        }
    }

    fn remove_group(&mut self, group: &'c str) {
        self.keys -= self.groups.remove(group).unwrap_or_default();
        self.touched.retain(|(touched, _), _| *touched != group);
        self.emptied.insert(group);
    }
}
