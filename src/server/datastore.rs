//! Datastores: tables of records that the authority orders by one sequence each.
//!
//! A datastore is permanent (durable) or temporary (in memory, for an hour unless opened for longer or shorter). Writes
//! are ordered by their arrival and the last one wins. A resume needs no log: the records carry their sequences, and
//! the last deletions are kept, so whatever changed above a position can be told from the table itself.

use alloc::{sync::Arc, vec::Vec};
use core::{
    ops::{ControlFlow, Index, IndexMut},
    time::Duration,
};

use super::{
    ConnectionId, Server, WriteError,
    apply::Change,
    hub::{Cursor, Name, Subject},
    object::{check_key, check_value},
    ordered::Lookup,
    replicated::is_pool,
    rules::{Projection, Rule},
    storage::{Storage, StorageError, Stored, StoredDatastore, Value},
};
use crate::protocol::{
    Answer, EncodedValue, Lineage, Open, Position, Row, Sequence, ServerMessage, SubscriptionId, Timestamp,
    limits::PAGE_BYTES,
};

/// How long a temporary datastore or a pool lives unless it is opened for another time.
pub(super) const DEFAULT_LIFE: Duration = Duration::from_secs(60 * 60);

/// The field that names a record unless another is given.
const DEFAULT_PRIMARY: &str = "id";

/// Deletions that are kept for resuming clients. A client that missed more gets a snapshot.
pub(super) const KEPT_DELETIONS: usize = 1_024;

/// Changes that a resume may carry. Beyond them a snapshot, which comes in pages, is the better answer.
const MAX_TAIL: usize = 1_024;

/// What a row takes in a page beside its key and value, at most: array, sequence and the key's length.
const ROW_BYTES: usize = 16;

/// A datastore without its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datastore {
    /// The public id.
    pub id: Arc<str>,
    /// The field that names a record.
    pub primary: Arc<str>,
    /// When it ends; `None`: it is permanent.
    pub expires: Option<Timestamp>,
    /// Where its last change stands.
    pub position: Position,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What its primary field says.
    pub key: Arc<str>,
    /// The sequence of its last change.
    pub sequence: Sequence,
    /// The schema version it was written under.
    pub version: Option<Arc<str>>,
    /// The whole record, encoded.
    pub value: Value,
}

impl Record {
    fn of(key: &Arc<str>, stored: &Stored, value: &Value) -> Self {
        let (sequence, version) = (stored.sequence, stored.version.clone());
        Self { key: key.clone(), sequence, version, value: value.clone() }
    }
}

/// All records of a datastore at one position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The position.
    pub position: Position,
    /// The epochs before its own.
    pub lineage: Lineage,
    /// The records in the order of their sequences.
    pub records: Vec<Record>,
}

/// The last changes above a position, in order.
type Tail = Vec<(Arc<str>, Stored)>;

/// What a collection is a replica of: the records of a datastore, or the fields of a pool.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) id: Arc<str>,
    pub(super) keeper: Keeper,
    pub(super) about: StoredDatastore,
    /// What of a row a viewer may see, where not everybody sees all of it.
    pub(super) projection: Option<Arc<Projection>>,
}

/// Which storage has the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeper {
    Durable,
    Temporary,
    Pools,
}

impl Table {
    fn subject(&self) -> Subject {
        match self.keeper {
            Keeper::Durable | Keeper::Temporary => Subject::Datastore(self.id.clone()),
            Keeper::Pools => Subject::Pool(self.id.clone()),
        }
    }
}

/// The datastores in use, each under a number that holds until they are put away.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    numbers: Lookup<Arc<str>, usize>,
    opened: Vec<Opened>,
}

impl Shelf {
    fn number(&self, id: &str) -> Option<usize> {
        self.numbers.get(id).copied()
    }

    fn get(&self, id: &str) -> Option<&Opened> {
        self.number(id).map(|number| &self.opened[number])
    }

    /// Puts a datastore in, in the place of one with the same id.
    fn insert(&mut self, opened: Opened) -> usize {
        match self.number(&opened.id) {
            Some(number) => {
                self.opened[number] = opened;
                number
            }
            None => {
                let number = self.opened.len();
                self.numbers.insert(opened.id.clone(), number);
                self.opened.push(opened);
                number
            }
        }
    }

    /// Puts all away.
    pub(super) fn clear(&mut self) {
        self.numbers.clear();
        self.opened.clear();
    }
}

impl Index<usize> for Shelf {
    type Output = Opened;

    fn index(&self, number: usize) -> &Opened {
        &self.opened[number]
    }
}

impl IndexMut<usize> for Shelf {
    fn index_mut(&mut self, number: usize) -> &mut Opened {
        &mut self.opened[number]
    }
}

/// What the server remembers of a datastore between writes.
#[derive(Debug)]
pub(super) struct Opened {
    id: Arc<str>,
    rule: Option<Arc<Rule>>,
    about: StoredDatastore,
    /// Whether the durable storage has it.
    is_permanent: bool,
    /// Whether `about` has changed since it was stored.
    is_dirty: bool,
    /// Deletions since the old ones were last forgotten.
    deletions: usize,
}

impl Opened {
    fn is_expired(&self, now: Timestamp) -> bool {
        self.about.expires.is_some_and(|expires| now > expires)
    }

    fn position(&self) -> Position {
        Position { epoch: self.about.epoch, sequence: self.about.head }
    }

    fn datastore(&self) -> Datastore {
        Datastore {
            id: self.id.clone(),
            primary: self.about.primary.clone(),
            expires: self.about.expires,
            position: self.position(),
        }
    }
}

impl<S: Storage> Server<S> {
    /// The datastore `id`, unless it does not exist or has expired.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn datastore(&self, now: Timestamp, id: &str) -> Result<Option<Datastore>, StorageError> {
        let stored = match self.datastores.get(id) {
            Some(opened) => Some(opened.about.clone()),
            None => self.stored_datastore(id)?.map(|(about, _)| about),
        };
        let live = stored.filter(|about| about.expires.is_none_or(|expires| now <= expires));
        Ok(live.map(|about| Datastore {
            id: id.into(),
            primary: about.primary,
            expires: about.expires,
            position: Position { epoch: about.epoch, sequence: about.head },
        }))
    }

    /// A record of a datastore.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn record(&self, now: Timestamp, id: &str, key: &str) -> Result<Option<Record>, StorageError> {
        let Some(datastore) = self.datastore(now, id)? else {
            return Ok(None);
        };
        let stored = self.storage(self.is_kept(datastore.expires.is_none())).record(id, key)?;
        Ok(stored.and_then(|Stored { sequence, version, value }| {
            Some(Record { key: key.into(), sequence, version, value: value? })
        }))
    }

    /// All records of a datastore, and the position they stand at.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn snapshot(&self, now: Timestamp, id: &str) -> Result<Option<Snapshot>, StorageError> {
        let Some(datastore) = self.datastore(now, id)? else {
            return Ok(None);
        };
        let mut records = Vec::new();
        self.storage(self.is_kept(datastore.expires.is_none())).changes(
            id,
            Sequence::ZERO,
            &mut |key, stored| {
                if let Some(value) = &stored.value {
                    records.push(Record::of(key, stored, value));
                }
                ControlFlow::Continue(())
            },
        )?;
        let lineage = match self.datastores.get(id) {
            Some(opened) => opened.about.lineage.clone(),
            None => self.stored_datastore(id)?.map(|(about, _)| about.lineage).unwrap_or_default(),
        };
        Ok(Some(Snapshot { position: datastore.position, lineage, records }))
    }

    /// The datastore `id`, made if it does not exist.
    ///
    /// An empty `id` stands for a fresh public one of 24 hex digits, an empty primary field for `"id"`. A temporary
    /// datastore lives for `life`, or for an hour; a permanent one for ever. One that exists is returned as it is; one
    /// that has expired is replaced by a new one under a new epoch.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn open_datastore(
        &mut self,
        now: Timestamp,
        id: &str,
        open: Open<'_>,
        life: Option<Duration>,
    ) -> Result<Datastore, WriteError> {
        self.observe(now);
        let id: Arc<str> = if id.is_empty() { self.random.public_id().into() } else { id.into() };
        check_key("datastore", &id)?;
        if self.replication.is_on() && is_pool(&id) {
            return Err(WriteError::NoDatastore);
        }
        let before = match self.opened(&id)? {
            Some(number) if !self.datastores[number].is_expired(now) => {
                return Ok(self.datastores[number].datastore());
            }
            before => before.map(|number| {
                let before = &self.datastores[number];
                (before.position(), before.about.lineage.clone())
            }),
        };
        let primary = if open.primary.is_empty() { DEFAULT_PRIMARY } else { open.primary };
        check_key("primary", primary)?;
        let lineage =
            before.as_ref().map_or_else(Lineage::default, |(last, lineage)| lineage.succeeded_by(*last));
        let about = StoredDatastore {
            primary: primary.into(),
            epoch: self.random.epoch(),
            lineage,
            head: Sequence::ZERO,
            floor: Sequence::ZERO,
            expires: (!open.permanent)
                .then(|| now + life.filter(|life| !life.is_zero()).unwrap_or(DEFAULT_LIFE)),
        };
        // Only temporary datastores expire, so only there can one be in the way.
        self.on_storage(self.is_kept(false), |storage| storage.remove_datastore(&id))?;
        let is_permanent = self.is_kept(open.permanent);
        self.on_storage(is_permanent, |storage| storage.set_datastore(&id, &about))?;
        let rule = self.options.rules.of_datastore(&id);
        let opened = Opened { id, rule, about, is_permanent, is_dirty: false, deletions: 0 };
        let datastore = opened.datastore();
        self.datastores.insert(opened);
        if before.is_some() {
            self.restart_followers(now, &Subject::Datastore(datastore.id.clone()));
        }
        Ok(datastore)
    }

    /// Inserts or replaces a record; the datastore's primary field names it.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn set(&mut self, now: Timestamp, id: &str, value: EncodedValue<'_>) -> Result<Position, WriteError> {
        self.observe(now);
        let number = self.live(now, id)?;
        let primary = &self.datastores[number].about.primary;
        let key = value.string_field(primary).filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| WriteError::NoPrimary { field: primary.clone() })?;
        check_key("primary field", key)?;
        check_value("value", value)?;
        self.pass_rule(self.datastores[number].rule.as_ref(), value)?;
        self.change_record(number, id, key, Some(value))
    }

    /// Deletes a record; `None` where there is nothing to delete.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn remove(&mut self, now: Timestamp, id: &str, key: &str) -> Result<Option<Position>, WriteError> {
        self.observe(now);
        check_key("record", key)?;
        let number = self.live(now, id)?;
        let is_permanent = self.datastores[number].is_permanent;
        let stored = self.storage(is_permanent).record(id, key);
        match self.sound(stored)? {
            Some(Stored { value: Some(_), .. }) => self.change_record(number, id, key, None).map(Some),
            Some(Stored { value: None, .. }) | None => Ok(None),
        }
    }

    fn change_record(
        &mut self,
        number: usize,
        id: &str,
        key: &str,
        value: Option<EncodedValue<'_>>,
    ) -> Result<Position, WriteError> {
        let opened = &self.datastores[number];
        let is_permanent = opened.is_permanent;
        let sequence = opened.about.head.next().ok_or(WriteError::Exhausted)?;
        let rule = opened.rule.clone();
        let version = self.stamp(rule.as_ref());
        let bytes = value.map(|value| value.as_bytes().into());
        let stored = Stored { sequence, version: version.clone(), value: bytes };
        self.on_storage(is_permanent, |storage| storage.set_record(id, key, stored))?;
        let opened = &mut self.datastores[number];
        opened.about.head = sequence;
        if !core::mem::replace(&mut opened.is_dirty, true) {
            self.batch.moved.push(number);
        }
        opened.deletions += usize::from(value.is_none());
        let position = opened.position();
        if opened.deletions > 2 * KEPT_DELETIONS {
            opened.deletions = KEPT_DELETIONS;
            let floor =
                self.on_storage(is_permanent, |storage| storage.forget_deletions(id, KEPT_DELETIONS))?;
            if let Some(floor) = floor {
                let about = &mut self.datastores[number].about;
                about.floor = about.floor.max(floor);
            }
        }
        if let Some(topic) = self.hub.named(Name::Datastore(id)) {
            self.hub.advance(topic, sequence);
            let version = version.as_deref();
            let change = Change { topic, sequence, version, key: Some(key), name: key, value };
            self.publish(rule.as_ref(), change);
        }
        Ok(position)
    }

    pub(super) fn is_permanent(&self, id: &str) -> bool {
        self.datastores.get(id).is_some_and(|opened| opened.is_permanent)
    }

    fn storage(&self, is_durable: bool) -> &dyn Storage {
        if is_durable { &self.durable } else { &self.temporary }
    }

    /// What is stored about a datastore, and whether the durable storage has it.
    pub(super) fn stored_datastore(&self, id: &str) -> Result<Option<(StoredDatastore, bool)>, StorageError> {
        if self.replication.is_on() && is_pool(id) {
            return Ok(None);
        }
        if let Some(about) = self.temporary.datastore(id)? {
            return Ok(Some((about, false)));
        }
        Ok(self.durable.datastore(id)?.map(|about| (about, true)))
    }

    /// A datastore, expired or not.
    fn opened(&mut self, id: &str) -> Result<Option<usize>, WriteError> {
        if let Some(number) = self.datastores.number(id) {
            return Ok(Some(number));
        }
        let stored = self.stored_datastore(id);
        let stored = self.sound(stored)?;
        Ok(stored.map(|(about, is_permanent)| {
            // Nobody counted the deletions so far: the next one has it done.
            let deletions = 2 * KEPT_DELETIONS;
            let rule = self.options.rules.of_datastore(id);
            let id = id.into();
            self.datastores.insert(Opened { id, rule, about, is_permanent, is_dirty: false, deletions })
        }))
    }

    fn live(&mut self, now: Timestamp, id: &str) -> Result<usize, WriteError> {
        let number = self.opened(id)?;
        number.filter(|number| !self.datastores[*number].is_expired(now)).ok_or(WriteError::NoDatastore)
    }

    /// Stores the heads that the batch moved, each once.
    pub(super) fn store_heads(&mut self) {
        for number in core::mem::take(&mut self.batch.moved) {
            let opened = &mut self.datastores[number];
            opened.is_dirty = false;
            let (id, about, is_permanent) = (opened.id.clone(), opened.about.clone(), opened.is_permanent);
            // A failure is noted for the commit that called this.
            let _ = self.on_storage(is_permanent, |storage| storage.set_datastore(&id, &about));
        }
    }

    /// Removes the datastores that have expired, and forgets what can be read again.
    pub(super) fn purge(&mut self, now: Timestamp) {
        self.store_heads();
        self.datastores.clear();
        let is_kept = self.is_kept(false);
        for id in self.expired(now) {
            if self.on_storage(is_kept, |storage| storage.remove_datastore(&id)).is_ok() {
                self.dismiss_followers(&Subject::Datastore(id), "the datastore has expired");
            }
        }
    }

    /// The datastores that ended before `now`.
    fn expired(&mut self, now: Timestamp) -> Vec<Arc<str>> {
        let expiring = self.storage(self.is_kept(false)).expiring();
        let expiring = self.sound(expiring).unwrap_or_default();
        let expired = expiring.into_iter().filter(|(id, expires)| now > *expires && !is_pool(id));
        expired.map(|(id, _)| id).collect()
    }

    /// Has a datastore exist: now, or in a cluster as soon as the log says so.
    pub(super) fn ensure_datastore(
        &mut self,
        now: Timestamp,
        id: &str,
        open: Open<'_>,
    ) -> Result<(), WriteError> {
        if !self.replication.is_on() {
            return self.open_datastore(now, id, open, None).map(drop);
        }
        check_key("datastore", id)?;
        let live = self.datastore(now, id);
        if self.sound(live)?.is_none() {
            self.propose_datastore(id, open);
        }
        Ok(())
    }

    /// A datastore as a table whose changes can be followed.
    pub(super) fn datastore_table(&mut self, now: Timestamp, id: &Arc<str>) -> Result<Table, WriteError> {
        let number = self.live(now, id)?;
        let opened = &self.datastores[number];
        let keeper = if opened.is_permanent { Keeper::Durable } else { Keeper::Temporary };
        let projection = opened.rule.as_ref().and_then(|rule| rule.projected());
        Ok(Table { id: id.clone(), keeper, about: opened.about.clone(), projection })
    }

    fn rows(&self, table: &Table) -> &dyn Storage {
        match table.keeper {
            Keeper::Durable => &self.durable,
            Keeper::Temporary => &self.temporary,
            Keeper::Pools => self.pools.table(),
        }
    }

    /// Answers what changed in a table since `position`: nothing, a tail, or the first page of a snapshot.
    pub(super) fn answer_table(
        &mut self,
        connection: ConnectionId,
        subscription: SubscriptionId,
        attempt: u32,
        table: &Table,
        position: Option<Position>,
    ) -> Result<usize, WriteError> {
        let StoredDatastore { epoch, head, floor, .. } = table.about;
        let since = position
            .filter(|position| position.epoch == epoch)
            .map(|position| position.sequence)
            .filter(|since| (floor..=head).contains(since));
        let topic = self.hub.follow(connection, subscription, &table.subject(), epoch, head);
        let message = |answer| ServerMessage::Answer { subscription, attempt, topic, epoch, answer };
        if since == Some(head) {
            return Ok(self.outbox.answer(connection, &message(Answer::Current)));
        }
        if let Some(since) = since
            && let Some(tail) = self.tail(table, since)?
        {
            let count = u32::try_from(tail.len()).expect("a tail has at most 1,024 changes");
            let mut size = self.outbox.answer(connection, &message(Answer::Tail { count }));
            let mut before = since;
            for (key, Stored { sequence, version, value }) in &tail {
                let value = value.as_deref();
                let value =
                    value.map(|value| self.seen_by(connection, table.projection.as_ref(), key, value));
                let envelope = ServerMessage::Envelope {
                    topic,
                    sequence: *sequence,
                    prev: Some(before).filter(|before| before.next() != Some(*sequence)),
                    version: version.as_deref(),
                    key: Some(key),
                    value: value.as_deref().map(EncodedValue::trusted),
                };
                size += self.outbox.answer(connection, &envelope);
                before = *sequence;
            }
            return Ok(size);
        }
        let session = self.hub.session(connection).map_or(0, |session| session.number);
        let cursor = Cursor { session, topic, snapshot: head, after: Sequence::ZERO };
        self.answer_page(connection, subscription, attempt, table, cursor)
    }

    /// The last changes above `since`, or `None` where a snapshot is the better answer.
    fn tail(&mut self, table: &Table, since: Sequence) -> Result<Option<Tail>, WriteError> {
        let mut tail = Vec::new();
        let mut bytes = 0;
        let read = self.rows(table).changes(&table.id, since, &mut |key, stored| {
            bytes += key.len() + stored.value.as_ref().map_or(0, |value| value.len());
            tail.push((key.clone(), stored.clone()));
            if bytes > PAGE_BYTES || tail.len() > MAX_TAIL {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        self.sound(read)?;
        Ok(Some(tail).filter(|tail| bytes <= PAGE_BYTES && tail.len() <= MAX_TAIL))
    }

    /// Answers with the page of a snapshot that `cursor` points at.
    ///
    /// The rows come in the order of their sequences, up to the snapshot's. A record that changes meanwhile moves out
    /// of that range: the change has been sent to this subscriber, which has followed the topic since the first page.
    pub(super) fn answer_page(
        &mut self,
        connection: ConnectionId,
        subscription: SubscriptionId,
        attempt: u32,
        table: &Table,
        cursor: Cursor,
    ) -> Result<usize, WriteError> {
        let (epoch, lineage) = (table.about.epoch, table.about.lineage.clone());
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        let mut has_more = false;
        let read = self.rows(table).changes(&table.id, cursor.after, &mut |key, stored| {
            if stored.sequence > cursor.snapshot {
                return ControlFlow::Break(());
            }
            let Some(value) = &stored.value else {
                return ControlFlow::Continue(());
            };
            let version = stored.version.as_ref().map_or(0, |version| version.len());
            let row = ROW_BYTES + key.len() + value.len() + version;
            if bytes > 0 && bytes + row > PAGE_BYTES {
                has_more = true;
                return ControlFlow::Break(());
            }
            bytes += row;
            records.push(Record::of(key, stored, value));
            ControlFlow::Continue(())
        });
        self.sound(read)?;
        let next = records.last().filter(|_| has_more);
        let next = next.map(|last| Cursor { after: last.sequence, ..cursor }.to_text());
        if table.projection.is_some() {
            for Record { key, value, .. } in &mut records {
                let seen = self.seen_by(connection, table.projection.as_ref(), key, value).into_owned();
                *value = seen.into();
            }
        }
        let rows = records.iter().map(|Record { key, sequence, version, value }| {
            let value = EncodedValue::trusted(value);
            Row { sequence: *sequence, key, value, version: version.as_deref() }
        });
        let answer =
            Answer::Page { sequence: cursor.snapshot, rows: rows.collect(), next: next.as_deref(), lineage };
        let answer = ServerMessage::Answer { subscription, attempt, topic: cursor.topic, epoch, answer };
        Ok(self.outbox.answer(connection, &answer))
    }
}
