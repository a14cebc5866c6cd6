//! The storage that lives and ends with its process.
//!
//! A transaction writes in place and keeps what it overwrote, newest last, to put it back on rollback.

mod chunks;
mod kv;
mod mailbox;
mod restore;
mod table;

use alloc::{sync::Arc, vec, vec::Vec};
use core::ops::ControlFlow;

use hashbrown::HashMap;
use thiserror::Error;

use super::{
    KEPT_REPLIES, KvEntry, Recollection, Reply, Storage, StorageError, Stored, StoredDatastore,
    StoredHistory, Trace, Visit,
};
use crate::protocol::{Lineage, RequestId, Sequence, Timestamp};
use crate::server::ordered::{Lookup, OrderedMap, OrderedSet, Seed};
use mailbox::{Arrived, Mailboxes};
use table::{Before, Slot, Table};

/// Room for the changes of a usual transaction, kept from one to the next.
const KEPT_UNDO: usize = 1_024;

/// A record without a datastore. (A text would bring along what escapes texts, for people who debug.)
#[derive(Debug, Error)]
#[error("its datastore is not stored")]
struct NoDatastore;

/// A storage in memory. Cheap to clone the values of: they are shared, never copied.
#[derive(Debug, Default)]
pub struct Memory {
    history: Option<StoredHistory>,
    /// Of these even a page may have a hundred thousand.
    objects: HashMap<Arc<str>, Stored, Seed>,
    /// Where objects stood before the history was renewed.
    lineages: Lookup<Arc<str>, Lineage>,
    datastores: Lookup<Arc<str>, Table>,
    clients: Lookup<Arc<str>, Client>,
    groups: OrderedMap<Arc<str>, kv::Group>,
    mailboxes: Mailboxes,
    transaction: Option<Vec<Undo>>,
    /// The list of the last transaction, emptied, for the next one.
    spare: Vec<Undo>,
    /// Datastores to sweep at the next commit.
    stale: OrderedSet<Arc<str>>,
}

#[derive(Debug, Clone, Default)]
struct Client {
    /// The lowest request number that is not forgotten.
    floor: RequestId,
    seen: Timestamp,
    replies: OrderedMap<RequestId, (Timestamp, Reply)>,
}

#[derive(Debug)]
enum Undo {
    History(Option<StoredHistory>),
    Object(Arc<str>, Option<Stored>),
    About(Arc<str>, StoredDatastore),
    Table(Arc<str>, Option<Table>),
    Record(Arc<str>, Slot, Before),
    Reply(Arc<str>, RequestId, Option<(Timestamp, Reply)>),
    Seen(Arc<str>, RequestId, Timestamp),
    Client(Arc<str>, Option<Client>),
    Kv(Arc<str>, Arc<str>, Option<KvEntry>),
    KvGroup(Arc<str>, kv::Group),
    Notification(Trace, Option<Arrived>),
}

impl Memory {
    /// An empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn remember(&mut self, undo: Undo) {
        self.transaction.as_mut().expect("writes happen inside a transaction").push(undo);
    }

    fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::History(history) => self.history = history,
            Undo::Object(key, Some(object)) => {
                self.objects.insert(key, object);
            }
            Undo::Object(key, None) => {
                self.objects.remove(&key);
            }
            Undo::About(id, about) => {
                if let Some(table) = self.datastores.get_mut(&id) {
                    table.about = about;
                }
            }
            Undo::Table(id, Some(table)) => {
                self.datastores.insert(id, table);
            }
            Undo::Table(id, None) => {
                self.datastores.remove(&id);
            }
            Undo::Record(id, slot, before) => {
                if let Some(table) = self.datastores.get_mut(&id) {
                    table.undo(slot, before);
                }
            }
            Undo::Reply(client, request, reply) => {
                let replies = &mut self.clients.entry(client).or_default().replies;
                match reply {
                    Some(reply) => replies.insert(request, reply),
                    None => replies.remove(&request),
                };
            }
            Undo::Seen(client, floor, seen) => {
                let client = self.clients.entry(client).or_default();
                (client.floor, client.seen) = (floor, seen);
            }
            Undo::Client(client, Some(before)) => {
                self.clients.insert(client, before);
            }
            Undo::Client(client, None) => {
                self.clients.remove(&client);
            }
            Undo::Kv(group, key, entry) => {
                self.put_kv(&group, &key, entry);
            }
            Undo::KvGroup(name, group) => {
                self.groups.insert(name, group);
            }
            Undo::Notification(trace, before) => {
                self.mailboxes.replace(trace, before);
            }
        }
    }
}

impl Storage for Memory {
    fn begin(&mut self) -> Result<(), StorageError> {
        self.transaction = Some(core::mem::take(&mut self.spare));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StorageError> {
        if let Some(mut undo) = self.transaction.take() {
            undo.clear();
            undo.shrink_to(KEPT_UNDO);
            self.spare = undo;
        }
        for id in core::mem::take(&mut self.stale) {
            if let Some(table) = self.datastores.get_mut(&id) {
                table.sweep();
            }
        }
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), StorageError> {
        for undo in self.transaction.take().into_iter().flatten().rev() {
            self.undo(undo);
        }
        Ok(())
    }

    fn history(&self) -> Result<Option<StoredHistory>, StorageError> {
        Ok(self.history.clone())
    }

    fn set_history(&mut self, history: &StoredHistory) -> Result<(), StorageError> {
        let before = self.history.replace(history.clone());
        self.remember(Undo::History(before));
        Ok(())
    }

    fn object(&self, key: &str) -> Result<Option<Stored>, StorageError> {
        Ok(self.objects.get(key).cloned())
    }

    fn object_sequence(&self, key: &str) -> Result<Option<Sequence>, StorageError> {
        Ok(self.objects.get(key).map(|object| object.sequence))
    }

    fn object_lineage(&self, key: &str) -> Result<Lineage, StorageError> {
        Ok(self.lineage_of(key))
    }

    fn set_object(&mut self, key: &str, object: Stored) -> Result<(), StorageError> {
        // The key as it is held already: an update of a known key allocates none.
        let held = self.objects.get_key_value(key).map(|(held, _)| held.clone());
        let key = held.unwrap_or_else(|| key.into());
        let before = self.objects.insert(key.clone(), object);
        self.remember(Undo::Object(key, before));
        Ok(())
    }

    fn datastore(&self, id: &str) -> Result<Option<StoredDatastore>, StorageError> {
        Ok(self.datastores.get(id).map(|table| table.about.clone()))
    }

    fn set_datastore(&mut self, id: &str, datastore: &StoredDatastore) -> Result<(), StorageError> {
        let id: Arc<str> = id.into();
        if let Some(table) = self.datastores.get_mut(&id) {
            let before = core::mem::replace(&mut table.about, datastore.clone());
            self.remember(Undo::About(id, before));
        } else {
            self.datastores.insert(id.clone(), Table::new(id.clone(), datastore.clone()));
            self.remember(Undo::Table(id, None));
        }
        Ok(())
    }

    fn expiring(&self) -> Result<Vec<(Arc<str>, Timestamp)>, StorageError> {
        let ends = |table: &Table| Some((table.id.clone(), table.about.expires?));
        // In order: a run that is repeated tells their followers in the same one.
        let expiring: OrderedSet<_> = self.datastores.values().filter_map(ends).collect();
        Ok(expiring.into_iter().collect())
    }

    fn remove_datastore(&mut self, id: &str) -> Result<(), StorageError> {
        if let Some((id, table)) = self.datastores.remove_entry(id) {
            self.remember(Undo::Table(id, Some(table)));
        }
        Ok(())
    }

    fn record(&self, datastore: &str, key: &str) -> Result<Option<Stored>, StorageError> {
        Ok(self.datastores.get(datastore).and_then(|table| table.get(key)).cloned())
    }

    fn set_record(&mut self, datastore: &str, key: &str, record: Stored) -> Result<(), StorageError> {
        let Some(table) = self.datastores.get_mut(datastore) else {
            return Err(StorageError::new("writing a record", NoDatastore));
        };
        let (slot, before) = table.put(key, record);
        if table.is_stale() {
            self.stale.insert(table.id.clone());
        }
        let undo = Undo::Record(table.id.clone(), slot, before);
        self.remember(undo);
        Ok(())
    }

    fn changes(&self, datastore: &str, after: Sequence, visit: Visit<'_>) -> Result<(), StorageError> {
        let Some(table) = self.datastores.get(datastore) else {
            return Ok(());
        };
        for (key, record) in table.changes(after) {
            if let ControlFlow::Break(()) = visit(key, record) {
                break;
            }
        }
        Ok(())
    }

    fn forget_deletions(&mut self, datastore: &str, keep: usize) -> Result<Option<Sequence>, StorageError> {
        let Some(table) = self.datastores.get_mut(datastore) else {
            return Ok(None);
        };
        let deleted = table.changes(Sequence::ZERO).rev().filter(|(_, record)| record.value.is_none());
        let old: Vec<_> = deleted.skip(keep).map(|(key, record)| (key.clone(), record.sequence)).collect();
        let newest = old.first().map(|(_, sequence)| *sequence);
        for (key, _) in old {
            if let Some((slot, before)) = table.remove(&key) {
                let undo = Undo::Record(table.id.clone(), slot, before);
                self.transaction.as_mut().expect("writes happen inside a transaction").push(undo);
            }
        }
        Ok(newest)
    }

    fn reply(&self, client: &str, request: RequestId) -> Result<Recollection, StorageError> {
        let Some(client) = self.clients.get(client) else {
            return Ok(Recollection::New);
        };
        Ok(match client.replies.get(&request) {
            Some((_, reply)) => Recollection::Answered(reply.clone()),
            None if request < client.floor => Recollection::Forgotten,
            None => Recollection::New,
        })
    }

    fn set_reply(
        &mut self,
        now: Timestamp,
        client: &str,
        request: RequestId,
        reply: &Reply,
    ) -> Result<(), StorageError> {
        let client: Arc<str> = client.into();
        if !self.clients.contains_key(&client) {
            self.clients.insert(client.clone(), Client::default());
            self.remember(Undo::Client(client.clone(), None));
        }
        let about = self.clients.get_mut(&client).expect("it was just inserted where it was missing");
        let seen = Undo::Seen(client.clone(), about.floor, about.seen);
        about.seen = now;
        about.floor = about.floor.max((request + 1).saturating_sub(KEPT_REPLIES));
        let mut undo = vec![(request, about.replies.insert(request, (now, reply.clone())))];
        while about.replies.first_key_value().is_some_and(|(oldest, _)| *oldest < about.floor) {
            undo.extend(about.replies.pop_first().map(|(request, reply)| (request, Some(reply))));
        }
        self.remember(seen);
        for (request, reply) in undo {
            self.remember(Undo::Reply(client.clone(), request, reply));
        }
        Ok(())
    }

    fn forget_replies(&mut self, replies: Timestamp, clients: Timestamp) -> Result<(), StorageError> {
        let old: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| {
                client.replies.values().any(|(at, _)| *at < replies) || client.seen < clients
            })
            .map(|(id, client)| (id.clone(), client.clone()))
            .collect();
        for (id, before) in old {
            let mut client = before.clone();
            if client.seen < clients {
                self.clients.remove(&id);
            } else {
                for (request, _) in client.replies.iter().filter(|(_, (at, _))| *at < replies) {
                    client.floor = client.floor.max(*request + 1);
                }
                client.replies.retain(|_, (at, _)| *at >= replies);
                self.clients.insert(id.clone(), client);
            }
            self.remember(Undo::Client(id, Some(before)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn memory_is_a_storage() {
        super::super::conformance::run(Memory::new);
    }
}
