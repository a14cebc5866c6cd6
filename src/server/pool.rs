//! Merge pools: shared maps that clients converge through, each field taking the value that arrived last.
//!
//! A pool is a table like a datastore, with a field in the place of a record, so a collection follows it as it is. What
//! differs is when its followers hear of a change. A datastore sends every change; a pool gathers the changes of a
//! flush interval and sends the last value of each field that changed, in the order of their sequences, with `prev`
//! leading from what was sent before. The first change after a quiet interval goes out with its own batch.
//!
//! So that no answer and no beacon is ahead of what was sent, a question about a pool waits for the changes that are
//! gathered, one interval at most: its answer then begins exactly where the next broadcast goes on. To send them early
//! instead would let everybody who joins cause a broadcast to all.
//!
//! Pools live in memory and end with their process. A change of ownership or of what was sent is part of the batch, as
//! every other is, and is undone with it.

use alloc::{sync::Arc, vec::Vec};
use core::{ops::ControlFlow, time::Duration};

use super::{
    ConnectionId, Record, Server, Snapshot, WriteError,
    datastore::{DEFAULT_LIFE, KEPT_DELETIONS, Keeper, Table},
    hub::Subject,
    object::{check_key, check_value},
    storage::{Memory, Storage, StorageError, Stored, StoredDatastore},
};
use crate::protocol::{
    EncodedValue, Lineage, OpenPool, Position, Reader, Sequence, ServerMessage, Timestamp,
    limits::MAX_POOL_FIELDS,
};
use crate::server::ordered::{OrderedMap, OrderedSet};

/// A merge pool without its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The public id.
    pub id: Arc<str>,
    /// Whether a field goes with the connection that wrote it last.
    pub presence: bool,
    /// When it ends.
    pub expires: Timestamp,
    /// How many fields it has.
    pub fields: usize,
    /// Where its last change stands. Followers may be one flush interval behind.
    pub position: Position,
}

/// What is known of a pool beside its table.
#[derive(Debug, Clone, Copy)]
struct Known {
    presence: bool,
    /// Fields that have a value.
    fields: usize,
    /// Deletions since the old ones were last forgotten.
    deletions: usize,
    /// The sequence up to which followers were told.
    sent: Sequence,
    /// When they were last told anything.
    flushed: Timestamp,
    /// When they are to be told next; `None`: there is nothing to tell.
    due: Option<Timestamp>,
}

/// A field of a pool.
type Field = (Arc<str>, Arc<str>);

/// All pools.
#[derive(Debug, Default)]
pub(super) struct Pools {
    /// Their fields. A storage of its own: a pool and a datastore may have the same id.
    table: Memory,
    known: OrderedMap<Arc<str>, Known>,
    /// Those that have something to tell, by when they are to tell it.
    due: OrderedSet<(Timestamp, Arc<str>)>,
    /// Of every presence field, the connection that wrote it last.
    owners: OrderedMap<Field, ConnectionId>,
    owned: OrderedSet<(ConnectionId, Field)>,
    /// Connections with a question about a pool that has something to tell first.
    waiting: OrderedSet<ConnectionId>,
    /// Whether any pool has told what it had gathered, or is gone, since those were last asked.
    has_settled: bool,
    /// What the batch has changed, as it was before.
    before: OrderedMap<Arc<str>, Option<Known>>,
    owners_before: Vec<(Field, Option<ConnectionId>)>,
}

impl Pools {
    /// Starts a batch.
    pub(super) fn begin(&mut self) {
        // In memory, nothing can fail.
        let _ = self.table.begin();
    }

    /// Ends the batch.
    pub(super) fn commit(&mut self) {
        let _ = self.table.commit();
        self.before.clear();
        self.owners_before.clear();
    }

    /// Ends the batch as if it had not begun.
    pub(super) fn rollback(&mut self) {
        let _ = self.table.rollback();
        for (id, known) in core::mem::take(&mut self.before) {
            self.replace(&id, known);
        }
        for (field, owner) in core::mem::take(&mut self.owners_before).into_iter().rev() {
            self.replace_owner(&field, owner);
        }
    }

    /// The fields, as the rows of tables.
    pub(super) fn table(&self) -> &Memory {
        &self.table
    }

    /// The sequence up to which the followers of a pool were told.
    pub(super) fn sent(&self, id: &str) -> Option<Sequence> {
        self.known.get(id).map(|known| known.sent)
    }

    /// How many fields are bound to a connection, and how many connections wait for a pool.
    pub(super) fn residue(&self) -> usize {
        self.owners.len().max(self.owned.len()) + self.waiting.len()
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Has a connection's questions asked again once the pools have told what they have to tell.
    pub(super) fn wait(&mut self, connection: ConnectionId) {
        self.waiting.insert(connection);
    }

    /// Takes the present for the beginning of every wait: the clock went back.
    pub(super) fn restart_waits(&mut self, now: Timestamp) {
        for (_, id) in core::mem::take(&mut self.due) {
            self.due.insert((now, id));
        }
        for known in self.known.values_mut().chain(self.before.values_mut().flatten()) {
            known.flushed = Timestamp::default();
            known.due = known.due.map(|_| now);
        }
    }

    fn set(&mut self, id: &Arc<str>, known: Option<Known>) {
        let before = self.replace(id, known);
        self.before.entry(id.clone()).or_insert(before);
    }

    fn replace(&mut self, id: &Arc<str>, known: Option<Known>) -> Option<Known> {
        let before = match known {
            Some(known) => self.known.insert(id.clone(), known),
            None => self.known.remove(id),
        };
        if let Some(due) = before.and_then(|before| before.due) {
            self.due.remove(&(due, id.clone()));
        }
        match known.and_then(|known| known.due) {
            Some(due) => drop(self.due.insert((due, id.clone()))),
            None => self.has_settled = true,
        }
        before
    }

    fn set_owner(&mut self, field: Field, owner: Option<ConnectionId>) {
        let before = self.replace_owner(&field, owner);
        if before != owner {
            self.owners_before.push((field, before));
        }
    }

    fn replace_owner(&mut self, field: &Field, owner: Option<ConnectionId>) -> Option<ConnectionId> {
        let before = match owner {
            Some(owner) => self.owners.insert(field.clone(), owner),
            None => self.owners.remove(field),
        };
        if let Some(before) = before {
            self.owned.remove(&(before, field.clone()));
        }
        if let Some(owner) = owner {
            self.owned.insert((owner, field.clone()));
        }
        before
    }

    /// The fields that a connection wrote last, by pool.
    fn owned_by(&self, connection: ConnectionId) -> OrderedMap<Arc<str>, Vec<Arc<str>>> {
        let nothing: Arc<str> = "".into();
        let first = (connection, (nothing.clone(), nothing));
        let owned = self.owned.range(first..).take_while(|(owner, _)| *owner == connection);
        let mut pools: OrderedMap<_, Vec<_>> = OrderedMap::new();
        for (_, (pool, field)) in owned {
            pools.entry(pool.clone()).or_default().push(field.clone());
        }
        pools
    }

    /// Forgets that a connection waits.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.waiting.remove(&connection);
    }

    /// The connections from `first` on and below `after` that fields go with.
    pub(super) fn owners_in(&self, first: ConnectionId, after: ConnectionId) -> OrderedSet<ConnectionId> {
        let nothing: Arc<str> = "".into();
        let owned = self.owned.range((first, (nothing.clone(), nothing))..);
        owned.map(|(owner, _)| *owner).take_while(|owner| *owner < after).collect()
    }

    /// Takes up a pool that was kept elsewhere.
    pub(super) fn take_up(
        &mut self,
        id: &Arc<str>,
        about: &StoredDatastore,
        presence: bool,
    ) -> Result<(), StorageError> {
        let known = Known {
            presence,
            fields: 0,
            deletions: 0,
            sent: about.head,
            flushed: Timestamp::default(),
            due: None,
        };
        self.set(id, Some(known));
        self.table.set_datastore(id, about)
    }

    /// Takes up a field of a pool that was taken up.
    pub(super) fn take_up_field(
        &mut self,
        id: &Arc<str>,
        field: &Arc<str>,
        owner: Option<ConnectionId>,
        stored: Stored,
    ) -> Result<(), StorageError> {
        if let Some(known) = self.known.get_mut(id) {
            known.fields += usize::from(stored.value.is_some());
        }
        if owner.is_some() {
            self.set_owner((id.clone(), field.clone()), owner);
        }
        self.table.set_record(id, field, stored)
    }

    fn live(&self, now: Timestamp, id: &str) -> Result<Option<(StoredDatastore, Known)>, StorageError> {
        let about = self.table.datastore(id)?.filter(|about| !is_over(about, now));
        Ok(about.zip(self.known.get(id).copied()))
    }
}

fn is_over(about: &StoredDatastore, now: Timestamp) -> bool {
    about.expires.is_some_and(|expires| now > expires)
}

impl<S: Storage> Server<S> {
    /// The merge pool `id`, unless it does not exist or has expired.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn pool(&self, now: Timestamp, id: &str) -> Result<Option<Pool>, StorageError> {
        let found = self.pools.live(now, id)?;
        Ok(found.map(|(about, known)| about_pool(id.into(), &about, known)))
    }

    /// All fields of a pool in the order of their sequences, and the position they stand at.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn pool_fields(&self, now: Timestamp, id: &str) -> Result<Option<Snapshot>, StorageError> {
        let Some((about, _)) = self.pools.live(now, id)? else {
            return Ok(None);
        };
        let mut records = Vec::new();
        self.pools.table.changes(id, Sequence::ZERO, &mut |key, stored| {
            if let Some(value) = &stored.value {
                records.push(Record {
                    key: key.clone(),
                    sequence: stored.sequence,
                    version: None,
                    value: value.clone(),
                });
            }
            ControlFlow::Continue(())
        })?;
        let position = Position { epoch: about.epoch, sequence: about.head };
        Ok(Some(Snapshot { position, lineage: about.lineage, records }))
    }

    /// The merge pool `id`, made if it does not exist.
    ///
    /// An empty `id` stands for a fresh public one of 24 hex digits. A pool lives for `life`, or for an hour. One that
    /// exists is returned as it is; one that has expired is replaced by a new one under a new epoch.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn open_pool(
        &mut self,
        now: Timestamp,
        id: &str,
        open: OpenPool,
        life: Option<Duration>,
    ) -> Result<Pool, WriteError> {
        self.observe(now);
        let id: Arc<str> = if id.is_empty() { self.random.public_id().into() } else { id.into() };
        check_key("pool", &id)?;
        self.refuse_after_failure()?;
        let live = self.pools.live(now, &id);
        if let Some((about, known)) = self.sound(live)? {
            return Ok(about_pool(id, &about, known));
        }
        let before = self.pools.table.datastore(&id);
        let before = self.sound(before)?;
        let lineage = before.as_ref().map_or_else(Lineage::default, |before| {
            before.lineage.succeeded_by(Position { epoch: before.epoch, sequence: before.head })
        });
        let about = StoredDatastore {
            // A field is named by the merge, not by its value.
            primary: "".into(),
            epoch: self.random.epoch(),
            lineage,
            head: Sequence::ZERO,
            floor: Sequence::ZERO,
            expires: Some(now + life.filter(|life| !life.is_zero()).unwrap_or(DEFAULT_LIFE)),
        };
        let known = Known {
            presence: open.presence,
            fields: 0,
            deletions: 0,
            sent: Sequence::ZERO,
            flushed: Timestamp::default(),
            due: None,
        };
        self.remove_pool(&id)?;
        let stored = self.pools.table.set_datastore(&id, &about);
        self.sound(stored)?;
        self.keep_pool(&id, &about, known.presence)?;
        self.pools.set(&id, Some(known));
        let pool = about_pool(id.clone(), &about, known);
        if before.is_some() {
            self.restart_followers(now, &Subject::Pool(id));
        }
        Ok(pool)
    }

    /// Has a pool exist: now, or in a cluster as soon as the log says so.
    pub(super) fn ensure_pool(&mut self, now: Timestamp, id: &str, open: OpenPool) -> Result<(), WriteError> {
        if !self.replication.is_on() {
            return self.open_pool(now, id, open, None).map(drop);
        }
        check_key("pool", id)?;
        let live = self.pool(now, id);
        if self.sound(live)?.is_none() {
            self.propose_pool(id, open);
        }
        Ok(())
    }

    /// Merges a map of fields into a pool; nil takes a field away. All of it counts, or nothing.
    ///
    /// Returns where the pool stands then, or `None` where nothing had to change. The fields of one merge get their
    /// sequences in the order of their names, and stay when their writer goes: it is the authority itself.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn merge(
        &mut self,
        now: Timestamp,
        id: &str,
        fields: EncodedValue<'_>,
    ) -> Result<Option<Position>, WriteError> {
        self.merge_from(now, id, fields, None)
    }

    /// [`merge`](Self::merge), for a connection that the fields go with where the pool is about presence.
    pub(super) fn merge_from(
        &mut self,
        now: Timestamp,
        id: &str,
        fields: EncodedValue<'_>,
        writer: Option<ConnectionId>,
    ) -> Result<Option<Position>, WriteError> {
        self.observe(now);
        self.refuse_after_failure()?;
        let live = self.pools.live(now, id);
        let (_, known) = self.sound(live)?.ok_or(WriteError::NoPool)?;
        check_value("fields", fields)?;
        let fields = read_fields(fields).ok_or(WriteError::NoFields)?;
        for field in fields.keys() {
            check_key("field", field)?;
        }
        let mut count = known.fields;
        for (field, value) in &fields {
            match (self.has_field(id, field)?, value) {
                (false, Some(_)) => count += 1,
                (true, None) => count -= 1,
                (true, Some(_)) | (false, None) => {}
            }
        }
        if count > MAX_POOL_FIELDS || fields.len() > MAX_POOL_FIELDS {
            return Err(WriteError::TooManyFields { count: count.max(fields.len()) });
        }
        self.change_fields(now, id, &fields, writer)
    }

    fn has_field(&mut self, id: &str, field: &str) -> Result<bool, WriteError> {
        let stored = self.pools.table.record(id, field);
        Ok(self.sound(stored)?.is_some_and(|stored| stored.value.is_some()))
    }

    /// Changes fields, and has the followers told when the pool is due.
    fn change_fields(
        &mut self,
        now: Timestamp,
        id: &str,
        fields: &OrderedMap<&str, Option<EncodedValue<'_>>>,
        writer: Option<ConnectionId>,
    ) -> Result<Option<Position>, WriteError> {
        let live = self.pools.live(now, id);
        let (mut about, mut known) = self.sound(live)?.ok_or(WriteError::NoPool)?;
        let id: Arc<str> = id.into();
        let before = about.head;
        // Before anything is changed: a merge is whole or nothing.
        Sequence::new(before.get() + fields.len() as u64).ok_or(WriteError::Exhausted)?;
        for (field, value) in fields {
            let has_value = self.has_field(&id, field)?;
            if value.is_none() && !has_value {
                continue;
            }
            about.head = about.head.next().ok_or(WriteError::Exhausted)?;
            let value = value.map(|value| value.as_bytes().into());
            known.fields = known.fields + usize::from(value.is_some()) - usize::from(has_value);
            known.deletions += usize::from(value.is_none());
            let owner = writer.filter(|_| known.presence && value.is_some());
            self.pools.set_owner((id.clone(), (*field).into()), owner);
            let stored = Stored { sequence: about.head, version: None, value };
            self.keep_field(&id, field, owner, &stored)?;
            let stored = self.pools.table.set_record(&id, field, stored);
            self.sound(stored)?;
        }
        if about.head == before {
            return Ok(None);
        }
        let stored = self.pools.table.set_datastore(&id, &about);
        self.sound(stored)?;
        self.keep_head(&id, about.head)?;
        let due = self.local(now).max(known.flushed + self.options.flush_interval);
        known.due = known.due.or(Some(due));
        self.pools.set(&id, Some(known));
        Ok(Some(Position { epoch: about.epoch, sequence: about.head }))
    }

    /// Takes away the presence fields of a connection that is gone.
    pub(super) fn release_fields(&mut self, connection: ConnectionId) {
        self.pools.waiting.remove(&connection);
        // A batch that fails brings its fields back; `release_departed` looks after those.
        if self.batch.failure.is_some() {
            return;
        }
        let now = self.present();
        for (pool, fields) in self.pools.owned_by(connection) {
            let gone: OrderedMap<&str, _> = fields.iter().map(|field| (&**field, None)).collect();
            if self.change_fields(now, &pool, &gone, None).is_err() {
                // It has expired, or has no sequences left: nobody can be told.
                for field in fields {
                    self.pools.set_owner((pool.clone(), field), None);
                }
            }
        }
    }

    /// Takes away the presence fields whose connections went in a batch that was undone.
    pub(super) fn release_departed(&mut self) {
        let owners: OrderedSet<_> = self.pools.owners.values().copied().collect();
        for connection in owners {
            if self.hub.connection(connection).is_none() {
                self.release_fields(connection);
            }
        }
    }

    /// Tells the followers of every pool that is due, and answers those who waited for that.
    pub(super) fn flush_pools(&mut self, now: Timestamp) {
        while let Some(id) = self.pools.due.first().filter(|(due, _)| *due <= now).map(|(_, id)| id.clone()) {
            if self.refuse_after_failure().and_then(|()| self.flush_pool(now, &id)).is_err() {
                return;
            }
        }
        if core::mem::take(&mut self.pools.has_settled) {
            for connection in core::mem::take(&mut self.pools.waiting) {
                self.answer_asked(now, connection);
            }
        }
    }

    /// Tells what a pool has gathered, if it may; `false` if a question about it has to wait for that.
    pub(super) fn settle_pool(&mut self, now: Timestamp, id: &Arc<str>) -> bool {
        let due = self.pools.known.get(id).and_then(|known| known.due);
        // Where nobody follows, nobody is told too often.
        let may_flush =
            due.is_none_or(|due| due <= now) || self.hub.current(&Subject::Pool(id.clone())).is_none();
        may_flush && (due.is_none() || self.flush_pool(now, id).is_ok())
    }

    fn flush_pool(&mut self, now: Timestamp, id: &Arc<str>) -> Result<(), WriteError> {
        let about = self.pools.table.datastore(id);
        let (Some(mut about), Some(mut known)) = (self.sound(about)?, self.pools.known.get(id).copied())
        else {
            return Ok(());
        };
        if let Some(topic) = self.hub.current(&Subject::Pool(id.clone())) {
            let mut before = known.sent;
            let (hub, outbox) = (&self.hub, &mut self.outbox);
            let read = self.pools.table.changes(id, known.sent, &mut |key, stored| {
                let envelope = ServerMessage::Envelope {
                    topic,
                    sequence: stored.sequence,
                    prev: Some(before).filter(|before| before.next() != Some(stored.sequence)),
                    version: None,
                    key: Some(key),
                    value: stored.value.as_deref().map(EncodedValue::trusted),
                };
                outbox.publish(hub, topic, &envelope);
                before = stored.sequence;
                ControlFlow::Continue(())
            });
            self.sound(read)?;
            self.hub.advance(topic, about.head);
        }
        // Only now: a deletion that was not told must not be forgotten.
        if known.deletions > 2 * KEPT_DELETIONS {
            known.deletions = KEPT_DELETIONS;
            let floor = self.pools.table.forget_deletions(id, KEPT_DELETIONS);
            if let Some(floor) = self.sound(floor)? {
                about.floor = about.floor.max(floor);
                let stored = self.pools.table.set_datastore(id, &about);
                self.sound(stored)?;
            }
        }
        (known.sent, known.flushed, known.due) = (about.head, now, None);
        self.pools.set(id, Some(known));
        Ok(())
    }

    /// Removes the pools that have expired.
    pub(super) fn purge_pools(&mut self, now: Timestamp) {
        if self.batch.failure.is_some() {
            return;
        }
        let expiring = self.pools.table.expiring();
        for (id, _) in self.sound(expiring).unwrap_or_default().into_iter().filter(|(_, ends)| now > *ends) {
            if self.remove_pool(&id).is_ok() {
                self.dismiss_followers(&Subject::Pool(id), "the pool has expired");
            }
        }
    }

    fn remove_pool(&mut self, id: &Arc<str>) -> Result<(), WriteError> {
        if self.pools.known.contains_key(id) {
            self.pools.set(id, None);
        }
        let nothing: Arc<str> = "".into();
        let fields = self.pools.owners.range((id.clone(), nothing)..).map(|(field, _)| field);
        let fields: Vec<_> = fields.take_while(|(pool, _)| pool == id).cloned().collect();
        for field in fields {
            self.pools.set_owner(field, None);
        }
        let removed = self.pools.table.remove_datastore(id);
        self.sound(removed)?;
        self.drop_pool(id)
    }

    /// A pool as a table whose changes can be followed. It is settled: its head was told.
    pub(super) fn pool_table(&mut self, now: Timestamp, id: &Arc<str>) -> Result<Table, WriteError> {
        let live = self.pools.live(now, id);
        let (about, _) = self.sound(live)?.ok_or(WriteError::NoPool)?;
        Ok(Table { id: id.clone(), keeper: Keeper::Pools, about, projection: None })
    }

    /// Pools have no storage that fails, but a batch that failed elsewhere is undone as a whole.
    fn refuse_after_failure(&self) -> Result<(), WriteError> {
        if self.batch.failure.is_some() { Err(WriteError::StorageFailed) } else { Ok(()) }
    }
}

fn about_pool(id: Arc<str>, about: &StoredDatastore, known: Known) -> Pool {
    Pool {
        id,
        presence: known.presence,
        // Every pool has an end; see `open_pool`.
        expires: about.expires.unwrap_or_default(),
        fields: known.fields,
        position: Position { epoch: about.epoch, sequence: about.head },
    }
}

/// The fields of a merge by name; `None` where it is no map.
fn read_fields(value: EncodedValue<'_>) -> Option<OrderedMap<&str, Option<EncodedValue<'_>>>> {
    let mut reader = Reader::new(value.as_bytes());
    let mut fields = OrderedMap::new();
    for _ in 0..reader.map().ok()? {
        let field = reader.str().ok()?;
        let value = reader.value().ok()?;
        fields.insert(field, Some(value).filter(|value| *value != EncodedValue::NIL));
    }
    Some(fields)
}
