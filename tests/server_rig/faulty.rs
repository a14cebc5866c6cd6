//! A storage whose disk fails on demand.

use std::{cell::Cell, rc::Rc, sync::Arc};

use tidewire::{
    protocol::{RequestId, Sequence, Timestamp},
    server::storage::{
        KvEntry, KvStorage, MailboxStorage, Memory, Notification, Recollection, Reply, Storage, StorageError,
        Stored, StoredDatastore, StoredHistory, Trace, Value, Visit, VisitKv, VisitPending,
    },
};

/// What fails next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Commit,
    Record,
    Rollback,
}

#[derive(Debug)]
pub(crate) struct Faulty {
    memory: Memory,
    fault: Rc<Cell<Fault>>,
}

impl Faulty {
    pub(crate) fn new() -> (Self, Rc<Cell<Fault>>) {
        let fault = Rc::new(Cell::new(Fault::None));
        (Self { memory: Memory::new(), fault: fault.clone() }, fault)
    }

    fn fails(&self, fault: Fault) -> Result<(), StorageError> {
        let is_due = self.fault.get() == fault;
        if is_due { Err(StorageError::new("writing", "the disk is full")) } else { Ok(()) }
    }
}

impl Storage for Faulty {
    fn begin(&mut self) -> Result<(), StorageError> {
        self.memory.begin()
    }

    fn commit(&mut self) -> Result<(), StorageError> {
        self.fails(Fault::Commit)?;
        self.fails(Fault::Rollback)?;
        self.memory.commit()
    }

    fn rollback(&mut self) -> Result<(), StorageError> {
        self.fails(Fault::Rollback)?;
        self.memory.rollback()
    }

    fn history(&self) -> Result<Option<StoredHistory>, StorageError> {
        self.memory.history()
    }

    fn set_history(&mut self, history: &StoredHistory) -> Result<(), StorageError> {
        self.memory.set_history(history)
    }

    fn object(&self, key: &str) -> Result<Option<Stored>, StorageError> {
        self.memory.object(key)
    }

    fn object_sequence(&self, key: &str) -> Result<Option<Sequence>, StorageError> {
        self.memory.object_sequence(key)
    }

    fn set_object(&mut self, key: &str, object: Stored) -> Result<(), StorageError> {
        self.memory.set_object(key, object)
    }

    fn datastore(&self, id: &str) -> Result<Option<StoredDatastore>, StorageError> {
        self.memory.datastore(id)
    }

    fn set_datastore(&mut self, id: &str, datastore: &StoredDatastore) -> Result<(), StorageError> {
        self.memory.set_datastore(id, datastore)
    }

    fn expiring(&self) -> Result<Vec<(Arc<str>, Timestamp)>, StorageError> {
        self.memory.expiring()
    }

    fn remove_datastore(&mut self, id: &str) -> Result<(), StorageError> {
        self.memory.remove_datastore(id)
    }

    fn record(&self, datastore: &str, key: &str) -> Result<Option<Stored>, StorageError> {
        self.memory.record(datastore, key)
    }

    fn set_record(&mut self, datastore: &str, key: &str, record: Stored) -> Result<(), StorageError> {
        self.fails(Fault::Record)?;
        self.memory.set_record(datastore, key, record)
    }

    fn changes(&self, datastore: &str, after: Sequence, visit: Visit<'_>) -> Result<(), StorageError> {
        self.memory.changes(datastore, after, visit)
    }

    fn forget_deletions(&mut self, datastore: &str, keep: usize) -> Result<Option<Sequence>, StorageError> {
        self.memory.forget_deletions(datastore, keep)
    }

    fn reply(&self, client: &str, request: RequestId) -> Result<Recollection, StorageError> {
        self.memory.reply(client, request)
    }

    fn set_reply(
        &mut self,
        now: Timestamp,
        client: &str,
        request: RequestId,
        reply: &Reply,
    ) -> Result<(), StorageError> {
        self.memory.set_reply(now, client, request, reply)
    }

    fn forget_replies(&mut self, replies: Timestamp, clients: Timestamp) -> Result<(), StorageError> {
        self.memory.forget_replies(replies, clients)
    }
}

impl KvStorage for Faulty {
    fn kv(&self, group: &str, key: &str) -> Result<Option<KvEntry>, StorageError> {
        self.memory.kv(group, key)
    }

    fn kv_entries(&self, now: Timestamp, group: &str, visit: VisitKv<'_>) -> Result<(), StorageError> {
        self.memory.kv_entries(now, group, visit)
    }

    fn kv_count(&self, now: Timestamp, group: &str) -> Result<u64, StorageError> {
        self.memory.kv_count(now, group)
    }

    fn kv_groups(&self, now: Timestamp, prefix: &str) -> Result<Vec<(Arc<str>, u64)>, StorageError> {
        self.memory.kv_groups(now, prefix)
    }

    fn set_kv(&mut self, group: &str, key: &str, entry: KvEntry) -> Result<(), StorageError> {
        self.memory.set_kv(group, key, entry)
    }

    fn remove_kv(&mut self, group: &str, key: &str) -> Result<(), StorageError> {
        self.memory.remove_kv(group, key)
    }

    fn remove_kv_group(&mut self, group: &str) -> Result<(), StorageError> {
        self.memory.remove_kv_group(group)
    }

    fn purge_kv(&mut self, now: Timestamp) -> Result<u64, StorageError> {
        self.memory.purge_kv(now)
    }
}

impl MailboxStorage for Faulty {
    fn put_notification(&mut self, notification: &Notification) -> Result<(), StorageError> {
        self.fails(Fault::Record)?;
        self.memory.put_notification(notification)
    }

    fn notification(&self, trace: Trace) -> Result<Option<Notification>, StorageError> {
        self.memory.notification(trace)
    }

    fn set_delivered(&mut self, trace: Trace, at: Timestamp) -> Result<(), StorageError> {
        self.memory.set_delivered(trace, at)
    }

    fn set_notification_reply(
        &mut self,
        trace: Trace,
        at: Timestamp,
        reply: &Value,
    ) -> Result<(), StorageError> {
        self.memory.set_notification_reply(trace, at, reply)
    }

    fn remove_notification(&mut self, trace: Trace) -> Result<(), StorageError> {
        self.memory.remove_notification(trace)
    }

    fn pending(&self, to: &str, after: u64, visit: VisitPending<'_>) -> Result<(), StorageError> {
        self.memory.pending(to, after, visit)
    }

    fn pending_count(&self, to: &str) -> Result<usize, StorageError> {
        self.memory.pending_count(to)
    }

    fn evict_pending(&mut self, to: &str, keep: usize) -> Result<(), StorageError> {
        self.memory.evict_pending(to, keep)
    }

    fn purge_notifications(&mut self, now: Timestamp) -> Result<usize, StorageError> {
        self.memory.purge_notifications(now)
    }
}
