//! Pools in the durable storage: a node that starts again has them as all others do.
//!
//! A pool works in memory, as that of a single server does; what the log changes of it is written to a datastore under a
//! name that no client can reach. A field's owner stands where a record has its schema version, and presence where a
//! datastore has its primary field, since pools use neither. Deletions are forgotten by the count of changes, not by
//! when followers were told, which each node does in its own time.

use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::ops::ControlFlow;

use crate::{
    protocol::Sequence,
    server::{
        ConnectionId, OpenError, Server, WriteError,
        datastore::KEPT_DELETIONS,
        storage::{Storage, Stored, StoredDatastore},
    },
};

/// What the names of pools in the durable storage begin with.
const PREFIX: &str = "\0pool:";

/// What stands in the place of the primary field of a pool whose fields go with their writers.
const PRESENCE: &str = "presence";

/// Whether a datastore is in truth a pool.
pub(in crate::server) fn is_pool(id: &str) -> bool {
    id.starts_with(PREFIX)
}

fn name(id: &str) -> String {
    format!("{PREFIX}{id}")
}

impl<S: Storage> Server<S> {
    /// Keeps a new pool.
    pub(in crate::server) fn keep_pool(
        &mut self,
        id: &str,
        about: &StoredDatastore,
        presence: bool,
    ) -> Result<(), WriteError> {
        if !self.replication.is_on() {
            return Ok(());
        }
        let primary = if presence { PRESENCE } else { "" };
        let kept = StoredDatastore { primary: primary.into(), ..about.clone() };
        self.on_storage(true, |storage| storage.set_datastore(&name(id), &kept))
    }

    /// Keeps a change of a field.
    pub(in crate::server) fn keep_field(
        &mut self,
        id: &str,
        field: &str,
        owner: Option<ConnectionId>,
        stored: &Stored,
    ) -> Result<(), WriteError> {
        if !self.replication.is_on() {
            return Ok(());
        }
        let owner = owner.map(|owner| format!("{}", owner.0).into());
        let kept = Stored { version: owner, ..stored.clone() };
        self.on_storage(true, |storage| storage.set_record(&name(id), field, kept))
    }

    /// Keeps how far a pool has come.
    pub(in crate::server) fn keep_head(&mut self, id: &str, head: Sequence) -> Result<(), WriteError> {
        if !self.replication.is_on() {
            return Ok(());
        }
        let name = name(id);
        let kept = self.durable.datastore(&name);
        let Some(mut about) = self.sound(kept)? else {
            return Ok(());
        };
        let count = |sequence: Sequence| sequence.get() / KEPT_DELETIONS as u64;
        if count(about.head) != count(head) {
            let floor = self.on_storage(true, |storage| storage.forget_deletions(&name, KEPT_DELETIONS))?;
            about.floor = about.floor.max(floor.unwrap_or_default());
        }
        about.head = head;
        self.on_storage(true, |storage| storage.set_datastore(&name, &about))
    }

    /// Keeps a pool no longer.
    pub(in crate::server) fn drop_pool(&mut self, id: &str) -> Result<(), WriteError> {
        if !self.replication.is_on() {
            return Ok(());
        }
        self.on_storage(true, |storage| storage.remove_datastore(&name(id)))
    }

    /// Takes up the pools that are kept.
    pub(in crate::server) fn take_up_pools(&mut self) -> Result<(), OpenError> {
        for (name, _) in self.durable.expiring()? {
            let Some(id) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let Some(kept) = self.durable.datastore(&name)? else {
                continue;
            };
            let mut fields = Vec::new();
            self.durable.changes(&name, Sequence::ZERO, &mut |field, stored| {
                fields.push((field.clone(), stored.clone()));
                ControlFlow::Continue(())
            })?;
            let presence = &*kept.primary == PRESENCE;
            let about = StoredDatastore { primary: "".into(), ..kept };
            let id: Arc<str> = id.into();
            self.pools.take_up(&id, &about, presence)?;
            for (field, Stored { sequence, version, value }) in fields {
                let owner = version.and_then(|owner| owner.parse().ok()).map(ConnectionId);
                let stored = Stored { sequence, version: None, value };
                self.pools.take_up_field(&id, &field, owner, stored)?;
            }
        }
        self.pools.commit();
        self.pools.begin();
        Ok(())
    }
}
