//! The server's storage: what was committed survives a crash, older states can be put back, and operations fail on
//! demand.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use tidewire::{
    protocol::{Epoch, Position, RequestId, Sequence, Timestamp},
    server::storage::{
        KvEntry, KvStorage, MailboxStorage, Memory, Notification, Recollection, Reply, Storage, StorageError,
        Stored, StoredDatastore, StoredHistory, Trace, Value, Visit, VisitKv, VisitPending,
    },
};

/// One write, as it is replayed.
#[derive(Debug, Clone)]
enum Operation {
    History(StoredHistory),
    Object(Arc<str>, Stored),
    Datastore(Arc<str>, StoredDatastore),
    RemoveDatastore(Arc<str>),
    Record(Arc<str>, Arc<str>, Stored),
    ForgetDeletions(Arc<str>, usize),
    Reply(Timestamp, Arc<str>, RequestId, Reply),
    ForgetReplies(Timestamp, Timestamp),
}

impl Operation {
    fn replay(&self, memory: &mut Memory) -> Result<(), StorageError> {
        match self {
            Self::History(history) => memory.set_history(history),
            Self::Object(key, stored) => memory.set_object(key, stored.clone()),
            Self::Datastore(id, about) => memory.set_datastore(id, about),
            Self::RemoveDatastore(id) => memory.remove_datastore(id),
            Self::Record(id, key, stored) => memory.set_record(id, key, stored.clone()),
            Self::ForgetDeletions(id, keep) => memory.forget_deletions(id, *keep).map(drop),
            Self::Reply(now, client, request, reply) => memory.set_reply(*now, client, *request, reply),
            Self::ForgetReplies(replies, clients) => memory.forget_replies(*replies, *clients),
        }
    }
}

/// What goes wrong with the disk, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    None,
    /// The operation after so many others fails, and so does the transaction it is part of.
    After(u32),
    /// The next commit fails.
    Commit,
    /// The next commit fails, and so does the rollback behind it.
    Loss,
}

#[derive(Debug)]
struct Inner {
    memory: Memory,
    log: Vec<Operation>,
    /// How much of the log is committed.
    committed: usize,
    /// The datastores that the log has made.
    datastores: Vec<Arc<str>>,
}

/// The disk; clones are handles to the same one.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    inner: Rc<RefCell<Inner>>,
    trouble: Rc<Cell<Trouble>>,
}

impl Disk {
    pub(super) fn new() -> Self {
        let inner = Inner { memory: Memory::new(), log: Vec::new(), committed: 0, datastores: Vec::new() };
        Self { inner: Rc::new(RefCell::new(inner)), trouble: Rc::new(Cell::new(Trouble::None)) }
    }

    pub(super) fn set_trouble(&self, trouble: Trouble) {
        self.trouble.set(trouble);
    }

    /// Looks at the server without troubling its disk.
    pub(super) fn quietly<T>(&self, look: impl FnOnce() -> T) -> T {
        let trouble = self.trouble.replace(Trouble::None);
        let seen = look();
        self.trouble.set(trouble);
        seen
    }

    /// What a backup made now would hold.
    pub(super) fn backup(&self) -> usize {
        self.inner.borrow().committed
    }

    /// The process ended: what it had not committed is gone.
    pub(super) fn crash(&self) {
        self.set_trouble(Trouble::None);
        let inner = &mut *self.inner.borrow_mut();
        inner.log.truncate(inner.committed);
        inner.memory.rollback().expect("memory cannot fail");
    }

    /// Puts a backup back. Nobody can tell which of the sequences behind it were shown, so every history goes on under
    /// a new epoch.
    pub(super) fn restore(&self, backup: usize, mut epoch: impl FnMut() -> Epoch) {
        let inner = &mut *self.inner.borrow_mut();
        inner.log.truncate(backup);
        inner.memory = Memory::new();
        let memory = &mut inner.memory;
        let mut again = || {
            memory.begin()?;
            for operation in &inner.log {
                operation.replay(memory)?;
            }
            if let Some(mut history) = memory.history()? {
                // Each object has its own sequence, so nothing can be said of how far this epoch came.
                let last = Position { epoch: history.epoch, sequence: Sequence::ZERO };
                history.lineage = history.lineage.succeeded_by(last);
                history.epoch = epoch();
                memory.set_history(&history)?;
                inner.log.push(Operation::History(history));
            }
            for id in &inner.datastores {
                if let Some(mut about) = memory.datastore(id)? {
                    let last = Position { epoch: about.epoch, sequence: about.head };
                    about.lineage = about.lineage.succeeded_by(last);
                    about.epoch = epoch();
                    memory.set_datastore(id, &about)?;
                    inner.log.push(Operation::Datastore(id.clone(), about));
                }
            }
            memory.commit()
        };
        again().expect("memory takes again what it took before");
        inner.committed = inner.log.len();
    }

    fn work(&self) -> Result<(), StorageError> {
        match self.trouble.get() {
            Trouble::None | Trouble::Commit | Trouble::Loss => Ok(()),
            Trouble::After(0) => {
                self.trouble.set(Trouble::None);
                Err(StorageError::new("using the disk", "it is full"))
            }
            Trouble::After(left) => {
                self.trouble.set(Trouble::After(left - 1));
                Ok(())
            }
        }
    }

    fn write(&self, operation: Operation) -> Result<(), StorageError> {
        self.work()?;
        let inner = &mut *self.inner.borrow_mut();
        operation.replay(&mut inner.memory)?;
        if let Operation::Datastore(id, _) = &operation
            && !inner.datastores.contains(id)
        {
            inner.datastores.push(id.clone());
        }
        inner.log.push(operation);
        Ok(())
    }
}

impl Storage for Disk {
    fn begin(&mut self) -> Result<(), StorageError> {
        self.work()?;
        self.inner.borrow_mut().memory.begin()
    }

    fn commit(&mut self) -> Result<(), StorageError> {
        self.work()?;
        match self.trouble.get() {
            Trouble::None | Trouble::After(_) => {}
            Trouble::Commit => {
                self.trouble.set(Trouble::None);
                return Err(StorageError::new("committing", "the disk is full"));
            }
            Trouble::Loss => return Err(StorageError::new("committing", "the disk is gone")),
        }
        let inner = &mut *self.inner.borrow_mut();
        inner.committed = inner.log.len();
        inner.memory.commit()
    }

    fn rollback(&mut self) -> Result<(), StorageError> {
        if self.trouble.get() == Trouble::Loss {
            return Err(StorageError::new("rolling back", "the disk is gone"));
        }
        let inner = &mut *self.inner.borrow_mut();
        inner.log.truncate(inner.committed);
        inner.memory.rollback()
    }

    fn history(&self) -> Result<Option<StoredHistory>, StorageError> {
        self.inner.borrow().memory.history()
    }

    fn set_history(&mut self, history: &StoredHistory) -> Result<(), StorageError> {
        self.write(Operation::History(history.clone()))
    }

    fn object(&self, key: &str) -> Result<Option<Stored>, StorageError> {
        self.work()?;
        self.inner.borrow().memory.object(key)
    }

    fn object_sequence(&self, key: &str) -> Result<Option<Sequence>, StorageError> {
        self.work()?;
        self.inner.borrow().memory.object_sequence(key)
    }

    fn set_object(&mut self, key: &str, object: Stored) -> Result<(), StorageError> {
        self.write(Operation::Object(key.into(), object))
    }

    fn datastore(&self, id: &str) -> Result<Option<StoredDatastore>, StorageError> {
        self.work()?;
        self.inner.borrow().memory.datastore(id)
    }

    fn set_datastore(&mut self, id: &str, datastore: &StoredDatastore) -> Result<(), StorageError> {
        self.write(Operation::Datastore(id.into(), datastore.clone()))
    }

    fn expiring(&self) -> Result<Vec<(Arc<str>, Timestamp)>, StorageError> {
        self.work()?;
        self.inner.borrow().memory.expiring()
    }

    fn remove_datastore(&mut self, id: &str) -> Result<(), StorageError> {
        self.write(Operation::RemoveDatastore(id.into()))
    }

    fn record(&self, datastore: &str, key: &str) -> Result<Option<Stored>, StorageError> {
        self.work()?;
        self.inner.borrow().memory.record(datastore, key)
    }

    fn set_record(&mut self, datastore: &str, key: &str, record: Stored) -> Result<(), StorageError> {
        self.write(Operation::Record(datastore.into(), key.into(), record))
    }

    fn changes(&self, datastore: &str, after: Sequence, visit: Visit<'_>) -> Result<(), StorageError> {
        self.work()?;
        self.inner.borrow().memory.changes(datastore, after, visit)
    }

    fn forget_deletions(&mut self, datastore: &str, keep: usize) -> Result<Option<Sequence>, StorageError> {
        self.work()?;
        let inner = &mut *self.inner.borrow_mut();
        inner.log.push(Operation::ForgetDeletions(datastore.into(), keep));
        inner.memory.forget_deletions(datastore, keep)
    }

    fn reply(&self, client: &str, request: RequestId) -> Result<Recollection, StorageError> {
        self.work()?;
        self.inner.borrow().memory.reply(client, request)
    }

    fn set_reply(
        &mut self,
        now: Timestamp,
        client: &str,
        request: RequestId,
        reply: &Reply,
    ) -> Result<(), StorageError> {
        self.write(Operation::Reply(now, client.into(), request, reply.clone()))
    }

    fn forget_replies(&mut self, replies: Timestamp, clients: Timestamp) -> Result<(), StorageError> {
        self.write(Operation::ForgetReplies(replies, clients))
    }
}

// Nobody in this world has a mailbox or sets a key: these are asked by the janitor only.

impl KvStorage for Disk {
    fn kv(&self, group: &str, key: &str) -> Result<Option<KvEntry>, StorageError> {
        self.inner.borrow().memory.kv(group, key)
    }

    fn kv_entries(&self, now: Timestamp, group: &str, visit: VisitKv<'_>) -> Result<(), StorageError> {
        self.inner.borrow().memory.kv_entries(now, group, visit)
    }

    fn kv_count(&self, now: Timestamp, group: &str) -> Result<u64, StorageError> {
        self.inner.borrow().memory.kv_count(now, group)
    }

    fn kv_groups(&self, now: Timestamp, prefix: &str) -> Result<Vec<(Arc<str>, u64)>, StorageError> {
        self.inner.borrow().memory.kv_groups(now, prefix)
    }

    fn set_kv(&mut self, group: &str, key: &str, entry: KvEntry) -> Result<(), StorageError> {
        self.inner.borrow_mut().memory.set_kv(group, key, entry)
    }

    fn remove_kv(&mut self, group: &str, key: &str) -> Result<(), StorageError> {
        self.inner.borrow_mut().memory.remove_kv(group, key)
    }

    fn remove_kv_group(&mut self, group: &str) -> Result<(), StorageError> {
        self.inner.borrow_mut().memory.remove_kv_group(group)
    }

    fn purge_kv(&mut self, now: Timestamp) -> Result<u64, StorageError> {
        self.inner.borrow_mut().memory.purge_kv(now)
    }
}

impl MailboxStorage for Disk {
    fn put_notification(&mut self, notification: &Notification) -> Result<(), StorageError> {
        self.inner.borrow_mut().memory.put_notification(notification)
    }

    fn notification(&self, trace: Trace) -> Result<Option<Notification>, StorageError> {
        self.inner.borrow().memory.notification(trace)
    }

    fn set_delivered(&mut self, trace: Trace, at: Timestamp) -> Result<(), StorageError> {
        self.inner.borrow_mut().memory.set_delivered(trace, at)
    }

    fn set_notification_reply(
        &mut self,
        trace: Trace,
        at: Timestamp,
        reply: &Value,
    ) -> Result<(), StorageError> {
        self.inner.borrow_mut().memory.set_notification_reply(trace, at, reply)
    }

    fn remove_notification(&mut self, trace: Trace) -> Result<(), StorageError> {
        self.inner.borrow_mut().memory.remove_notification(trace)
    }

    fn pending(&self, to: &str, after: u64, visit: VisitPending<'_>) -> Result<(), StorageError> {
        self.inner.borrow().memory.pending(to, after, visit)
    }

    fn pending_count(&self, to: &str) -> Result<usize, StorageError> {
        self.inner.borrow().memory.pending_count(to)
    }

    fn evict_pending(&mut self, to: &str, keep: usize) -> Result<(), StorageError> {
        self.inner.borrow_mut().memory.evict_pending(to, keep)
    }

    fn purge_notifications(&mut self, now: Timestamp) -> Result<usize, StorageError> {
        self.inner.borrow_mut().memory.purge_notifications(now)
    }
}
