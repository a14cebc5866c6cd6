//! What the server must have done: a model that reads the same frames, and remembers every state that was committed.
//!
//! The model is written from PROTOCOL.md, not from the server: maps, a counter each, and a list of the requests that
//! ran. After every batch the server must stand where the model stands.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    rc::Rc,
    time::Duration,
};

use tidewire::{
    protocol::{ClientMessage, EncodedValue, Epoch, Operation, Position, RequestId, Target, Timestamp},
    server::{ConnectionId, Server},
};

use super::disk::Disk;
use crate::rig::Fault;

/// The objects that clients write to.
pub(super) const OBJECTS: [&str; 3] = ["o0", "o1", "o2"];
/// The datastores, and whether each is permanent.
pub(super) const STORES: [(&str, bool); 3] = [("p0", true), ("t0", false), ("t1", false)];
/// The records of a datastore.
pub(super) const ROWS: [&str; 6] = ["r0", "r1", "r2", "r3", "r4", "r5"];
/// The field that names a record.
pub(super) const PRIMARY: &str = "id";
/// How long a datastore lives that a client opens.
const LIFE: Duration = Duration::from_secs(60 * 60);

/// The name of an object or datastore, one of the above.
pub(super) type Name = &'static str;
pub(super) type Value = Rc<[u8]>;
pub(super) type Table = Rc<BTreeMap<Name, Value>>;

/// A request: whose, and which.
pub(super) type Request = (usize, RequestId);

/// Whether a gate refuses the value.
pub(super) fn is_bad(value: &[u8]) -> bool {
    EncodedValue::trusted(value).string_field("bad").is_some()
}

/// A state that was committed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shot {
    Object(Option<Value>),
    Table(Table),
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It ran; at a sequence, unless nothing had to change.
    Done(Option<u64>),
    /// The error's code.
    Refused(u16),
}

#[derive(Debug, Clone)]
struct Store {
    /// Which of all datastores that ever were: its epoch is known once it is committed.
    number: u64,
    head: u64,
    table: Table,
    is_permanent: bool,
    expires: Option<Timestamp>,
}

impl Store {
    fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now <= expires)
    }
}

/// All that is true at one time.
#[derive(Debug, Clone, Default)]
struct State {
    objects: BTreeMap<Name, (u64, Option<Value>)>,
    stores: BTreeMap<Name, Store>,
    /// Requests that were answered, and whether that outlives the process.
    answered: BTreeMap<Request, (Outcome, bool)>,
}

/// A copy of what is durable.
#[derive(Debug)]
pub(super) struct Backup {
    log: usize,
    state: State,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    committed: State,
    /// The batch, as far as it has come.
    pending: State,
    /// States that the batch went through: name, number of the datastore (0: an object), sequence.
    passed: Vec<(Name, u64, u64, Shot)>,
    is_dirty: bool,
    stores: u64,
    epoch: Option<Epoch>,
    epochs: BTreeMap<u64, Epoch>,
    /// The order in which epochs appeared.
    ordinals: BTreeMap<Epoch, u64>,
    history: HashMap<(Name, Epoch, u64), Shot>,
    /// How far the epochs came that the last restored datastores descend from.
    kept: BTreeMap<(Name, u64), u64>,
    /// Every request that ever ran and was committed.
    ran: BTreeSet<Request>,
    /// Requests whose client was told that they did not run.
    declined: BTreeSet<Request>,
    greeted: BTreeMap<ConnectionId, usize>,
}

impl Oracle {
    // ---- what the server is given

    /// The connection is gone; what still comes from it counts no more.
    pub(super) fn disconnect(&mut self, connection: ConnectionId) {
        self.greeted.remove(&connection);
    }

    /// A message of `client` is handed to the server.
    pub(super) fn message(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        client: usize,
        message: &ClientMessage<'_>,
    ) {
        match message {
            ClientMessage::Hello { .. } => {
                // A client has one connection: what is still on its way over an older one never counts.
                self.greeted.retain(|_, other| *other != client);
                self.greeted.insert(connection, client);
            }
            _ if !self.greeted.contains_key(&connection) => {}
            ClientMessage::Subscribe(subscriptions) => {
                for subscription in subscriptions {
                    if let Target::Datastore { id, open: Some(open) } = subscription.target {
                        self.open(now, id, open.permanent, LIFE);
                    }
                }
            }
            ClientMessage::Write { request, operation } => self.write(now, (client, *request), operation),
            ClientMessage::Unsubscribe(_)
            | ClientMessage::Refetch { .. }
            | ClientMessage::Page { .. }
            | ClientMessage::Ping
            | ClientMessage::Query { .. }
            | ClientMessage::Delivered(_)
            | ClientMessage::Token(_) => {}
        }
    }

    /// A datastore is opened, by a client or by the server's host.
    pub(super) fn open(&mut self, now: Timestamp, id: &str, is_permanent: bool, life: Duration) {
        let Some(id) = named(id) else { return };
        if self.pending.stores.get(id).is_some_and(|store| store.is_live(now)) {
            return;
        }
        self.is_dirty = true;
        self.stores += 1;
        let expires = (!is_permanent).then(|| now + life);
        let store = Store { number: self.stores, head: 0, table: Table::default(), is_permanent, expires };
        self.passed.push((id, store.number, 0, Shot::Table(store.table.clone())));
        self.pending.stores.insert(id, store);
    }

    fn write(&mut self, now: Timestamp, request: Request, operation: &Operation<'_>) {
        if self.pending.answered.contains_key(&request) {
            return;
        }
        self.is_dirty = true;
        let (outcome, is_durable) = match *operation {
            Operation::Put { key, value } => self.change_object(key, Some(value.as_bytes().into())),
            Operation::Delete { key } => {
                let is_there = self.pending.objects.get(key).is_some_and(|(_, value)| value.is_some());
                if is_there { self.change_object(key, None) } else { (Outcome::Done(None), false) }
            }
            Operation::Set { datastore, value } => {
                self.change_row(now, datastore, value.string_field(PRIMARY), Some(value))
            }
            Operation::Remove { datastore, key } => self.change_row(now, datastore, Some(key), None),
            Operation::Merge { .. }
            | Operation::Notify { .. }
            | Operation::Reply { .. }
            | Operation::Relay(_)
            | Operation::Kv(_) => unreachable!("no client of this world asks for it"),
        };
        self.pending.answered.insert(request, (outcome, is_durable));
    }

    fn change_object(&mut self, key: &str, value: Option<Value>) -> (Outcome, bool) {
        let Some(key) = named(key) else { return (Outcome::Refused(2), false) };
        let object = self.pending.objects.entry(key).or_default();
        *object = (object.0 + 1, value);
        self.passed.push((key, 0, object.0, Shot::Object(object.1.clone())));
        (Outcome::Done(Some(object.0)), true)
    }

    fn change_row(
        &mut self,
        now: Timestamp,
        id: &str,
        key: Option<&str>,
        value: Option<EncodedValue<'_>>,
    ) -> (Outcome, bool) {
        let store = self.pending.stores.get_mut(id).filter(|store| store.is_live(now));
        let (Some(id), Some(store)) = (named(id), store) else { return (Outcome::Refused(2), false) };
        let Some(key) = key.and_then(named) else { return (Outcome::Refused(1), false) };
        let table = Rc::make_mut(&mut store.table);
        let is_changed = match value {
            Some(value) => {
                table.insert(key, value.as_bytes().into());
                true
            }
            None => table.remove(key).is_some(),
        };
        if !is_changed {
            return (Outcome::Done(None), false);
        }
        store.head += 1;
        self.passed.push((id, store.number, store.head, Shot::Table(store.table.clone())));
        (Outcome::Done(Some(store.head)), store.is_permanent)
    }

    // ---- what becomes of the batch

    /// The batch was undone.
    pub(super) fn undo(&mut self) {
        self.passed.clear();
        if std::mem::take(&mut self.is_dirty) {
            self.pending = self.committed.clone();
        }
    }

    /// The batch was committed: the server must stand where the model stands.
    pub(super) fn commit(&mut self, now: Timestamp, server: &Server<Disk>, disk: &Disk) -> Result<(), Fault> {
        if !std::mem::take(&mut self.is_dirty) {
            return Ok(());
        }
        disk.quietly(|| self.agree(now, server))?;
        for (name, number, sequence, shot) in std::mem::take(&mut self.passed) {
            let epoch = if number == 0 { self.epoch } else { self.epochs.get(&number).copied() };
            let epoch = epoch.ok_or_else(|| format!("{name} was committed under no epoch"))?;
            if self.history.insert((name, epoch, sequence), shot).is_some() {
                return Err(format!("{name}: {epoch:?} {sequence} was used twice"));
            }
        }
        for (request, (outcome, _)) in &self.pending.answered {
            if matches!(outcome, Outcome::Done(_))
                && self.ran.insert(*request)
                && self.declined.contains(request)
            {
                return Err(format!("{request:?} ran after its client was told that it did not"));
            }
        }
        self.committed = self.pending.clone();
        Ok(())
    }

    /// Compares, and learns the epochs that are new.
    fn agree(&mut self, now: Timestamp, server: &Server<Disk>) -> Result<(), Fault> {
        let unread = |error| format!("the server cannot read: {error}");
        for (key, (sequence, value)) in &self.pending.objects {
            let object = server.object(key).map_err(unread)?;
            let object = object.ok_or_else(|| format!("{key} was written, the server has none"))?;
            if object.position.sequence.get() != *sequence || object.value.as_deref() != value.as_deref() {
                return Err(format!("{key}: the server has {object:?}, the model {sequence} {value:?}"));
            }
            let epoch = object.position.epoch;
            if *self.epoch.get_or_insert(epoch) != epoch {
                return Err(format!("{key}: the epoch became {epoch:?} unasked"));
            }
            let next = self.ordinals.len() as u64;
            self.ordinals.entry(epoch).or_insert(next);
        }
        for (id, store) in self.pending.stores.iter().filter(|(_, store)| store.is_live(now)) {
            let snapshot = server.snapshot(now, id).map_err(unread)?;
            let snapshot = snapshot.ok_or_else(|| format!("{id} was opened, the server has none"))?;
            let rows = snapshot.records.iter().map(|record| (&*record.key, &*record.value));
            let rows: BTreeMap<_, _> = rows.collect();
            let is_same = snapshot.position.sequence.get() == store.head
                && rows.len() == store.table.len()
                && store.table.iter().all(|(key, value)| rows.get(key) == Some(&&**value));
            if !is_same {
                return Err(format!("{id}: the server has {snapshot:?}, the model {store:?}"));
            }
            let epoch = snapshot.position.epoch;
            if *self.epochs.entry(store.number).or_insert(epoch) != epoch {
                return Err(format!("{id}: the epoch became {epoch:?} unasked"));
            }
            let next = self.ordinals.len() as u64;
            self.ordinals.entry(epoch).or_insert(next);
        }
        Ok(())
    }

    /// The server's clock went back: what had expired before lives again, unless it was purged already.
    pub(super) fn go_back(
        &mut self,
        now: Timestamp,
        server: &Server<Disk>,
        disk: &Disk,
    ) -> Result<(), Fault> {
        for (id, _) in STORES.iter().filter(|(_, is_permanent)| !is_permanent) {
            let there = disk.quietly(|| server.datastore(now, id)).map_err(|error| error.to_string())?;
            if there.is_none() {
                self.committed.stores.remove(id);
            }
        }
        self.pending = self.committed.clone();
        Ok(())
    }

    /// The process ended; what is temporary is gone with it.
    pub(super) fn crash(&mut self) {
        self.undo();
        self.greeted.clear();
        self.committed.stores.retain(|_, store| store.is_permanent);
        self.committed.answered.retain(|_, (_, is_durable)| *is_durable);
        self.pending = self.committed.clone();
    }

    pub(super) fn back_up(&self, disk: &Disk) -> Backup {
        Backup { log: disk.backup(), state: self.committed.clone() }
    }

    /// A backup is put back, between two processes. What every history has come to goes on under new epochs.
    pub(super) fn restore(&mut self, backup: &Backup, disk: &Disk, mut epoch: impl FnMut() -> Epoch) {
        disk.restore(backup.log, &mut epoch);
        self.committed = backup.state.clone();
        self.crash();
        self.epoch = None;
        for (key, (sequence, value)) in &self.committed.objects {
            self.passed.push((key, 0, *sequence, Shot::Object(value.clone())));
        }
        self.kept.clear();
        for (id, store) in &mut self.committed.stores {
            let ordinal = self.epochs.get(&store.number).and_then(|epoch| self.ordinals.get(epoch));
            self.kept.extend(ordinal.map(|ordinal| ((*id, *ordinal), store.head)));
            self.stores += 1;
            store.number = self.stores;
            self.passed.push((id, store.number, store.head, Shot::Table(store.table.clone())));
        }
        self.pending = self.committed.clone();
        self.is_dirty = true;
    }

    // ---- what clients are told

    /// A client was told that its write is done.
    pub(super) fn acknowledged(&self, request: Request) -> Result<(), Fault> {
        if self.ran.contains(&request) {
            Ok(())
        } else {
            Err(format!("{request:?} is acknowledged, but never ran"))
        }
    }

    /// A client was told that its write did not run.
    pub(super) fn declined(&mut self, request: Request, code: u16) -> Result<(), Fault> {
        self.declined.insert(request);
        match self.committed.answered.get(&request) {
            Some((Outcome::Done(_), _)) => Err(format!("{request:?} ran, but was refused with {code}")),
            Some((Outcome::Refused(_), _)) | None => Ok(()),
        }
    }

    /// An acknowledgement leaves the server.
    pub(super) fn check_ack(&self, request: Request, position: Option<Position>) -> Result<(), Fault> {
        let sequence = position.map(|position| position.sequence.get());
        match self.committed.answered.get(&request) {
            Some((Outcome::Done(done), _)) if *done == sequence => Ok(()),
            other => Err(format!("{request:?} is acknowledged at {position:?}, the model has {other:?}")),
        }
    }

    // ---- what clients may show

    /// The state at a position, and how manieth its epoch is.
    pub(super) fn shot(&self, name: Name, epoch: Epoch, sequence: u64) -> Result<(u64, &Shot), Fault> {
        let shot = self.history.get(&(name, epoch, sequence));
        let ordinal = self.ordinals.get(&epoch);
        match (ordinal, shot) {
            (Some(ordinal), Some(shot)) => Ok((*ordinal, shot)),
            _ => Err(format!("{name}: {epoch:?} {sequence} was never committed")),
        }
    }

    /// How far an epoch came before the last restore, if the present one descends from it.
    pub(super) fn kept(&self, id: Name, ordinal: u64) -> Option<u64> {
        self.kept.get(&(id, ordinal)).copied()
    }

    /// Whether a record changed behind the start of `range`, up to its end.
    pub(super) fn has_changed(&self, id: Name, epoch: Epoch, range: Range<u64>, key: Name) -> bool {
        let row = |sequence| match self.history.get(&(id, epoch, sequence)) {
            Some(Shot::Table(table)) => table.get(key),
            Some(Shot::Object(_)) | None => None,
        };
        range.into_iter().any(|sequence| row(sequence) != row(sequence + 1))
    }

    /// How far a datastore has come, expired or not.
    pub(super) fn committed_head(&self, id: Name) -> Option<u64> {
        self.committed.stores.get(id).map(|store| store.head)
    }

    /// Where something stands now: its epoch and sequence, unless it does not exist.
    pub(super) fn head(&self, now: Timestamp, name: Name) -> Option<(Epoch, u64)> {
        if let Some((sequence, _)) = self.committed.objects.get(name) {
            return Some((self.epoch?, *sequence));
        }
        let store = self.committed.stores.get(name).filter(|store| store.is_live(now))?;
        Some((*self.epochs.get(&store.number)?, store.head))
    }
}

fn named(name: &str) -> Option<Name> {
    let stores = STORES.iter().map(|(id, _)| id);
    OBJECTS.iter().chain(stores).chain(&ROWS).find(|known| **known == name).copied()
}
