//! What the documents say the server does, in maps and vectors: no storage, no connections' frames, no speed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use tidewire::{
    protocol::{Epoch, ErrorCode, KvEventKind, RequestId, Timestamp, Writer},
    server::{ConnectionId, EVERY},
};

pub(crate) type Name = &'static str;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
/// Who the authority is to those it notifies.
pub(crate) const SERVER: Name = "server";

/// A history: of an object, of a datastore's records, of a pool's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Subject {
    Object(Name),
    Datastore(Name),
    Pool(Name),
}

impl Subject {
    /// Whether viewers see a part of its values only.
    pub(crate) fn is_projected(self) -> bool {
        match self {
            Self::Object(name) | Self::Datastore(name) => name.starts_with("user"),
            Self::Pool(_) => false,
        }
    }

    pub(crate) fn has_presence(self) -> bool {
        self == Self::Pool("cursors")
    }

    /// Whether it ends with the process.
    pub(crate) fn is_temporary(self) -> bool {
        match self {
            Self::Object(_) => false,
            Self::Datastore(name) => name.ends_with("drafts"),
            Self::Pool(_) => true,
        }
    }
}

/// A value: a number of its own, whose it is, and what makes it large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Val {
    pub(crate) n: u64,
    pub(crate) owner: Name,
    pub(crate) padding: usize,
}

impl Val {
    /// As an object or record, as far as `viewer` may see it; `None`: all of it.
    fn document(&self, key: Name, viewer: Option<Name>) -> Vec<u8> {
        let mut writer = Writer::new();
        let (secret, hidden) = (viewer.is_none_or(|viewer| viewer == self.owner), viewer.is_none());
        writer.map(4 + usize::from(secret) + usize::from(hidden));
        for (field, text) in [("id", key), ("owner", self.owner), ("pad", &"x".repeat(self.padding))] {
            writer.str(field);
            writer.str(text);
        }
        for (field, is_seen) in [("n", true), ("secret", secret), ("hidden", hidden)] {
            if is_seen {
                writer.str(field);
                writer.u64(self.n);
            }
        }
        writer.into_bytes()
    }

    /// As a field, a payload or a value of the kv store.
    pub(crate) fn plain(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.str(&format!("{}:{}", self.n, "x".repeat(self.padding)));
        writer.into_bytes()
    }

    /// As a row of a history.
    pub(crate) fn row(&self, subject: Subject, key: Name, viewer: Option<Name>) -> Vec<u8> {
        match subject {
            Subject::Pool(_) => self.plain(),
            Subject::Object(_) | Subject::Datastore(_) => {
                self.document(key, viewer.filter(|_| subject.is_projected()))
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Set { group: Name, key: Name, val: Val, ttl: Option<u64> },
    Delete { group: Name, key: Name },
    DeleteGroup { group: Name },
}

/// What a client, or the authority itself, does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    Put { key: Name, val: Val },
    Delete { key: Name },
    Set { datastore: Name, key: Name, val: Val },
    Remove { datastore: Name, key: Name },
    Merge { pool: Name, fields: BTreeMap<Name, Option<Val>> },
    Notify { to: Name, pack: Val, suit: bool, ttl: Option<u64> },
    Reply { note: u64, val: Val },
    Kv(Vec<Change>),
}

/// Where a history stands: which, how often it was begun, and its sequence.
pub(crate) type Place = (Subject, u32, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The position, and the notification that was put.
    Done(Option<Place>, Option<u64>),
    Refused(ErrorCode),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// Each time it is begun anew it has another.
    pub(crate) generation: u32,
    pub(crate) head: u64,
    pub(crate) rows: BTreeMap<Name, (u64, Val)>,
    owners: BTreeMap<Name, ConnectionId>,
    expires: Option<Timestamp>,
}

impl Table {
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now <= expires)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) pack: Val,
    pub(crate) from: Name,
    pub(crate) to: Name,
    pub(crate) suit: bool,
    /// Its place in the order in which notifications came.
    pub(crate) arrival: u64,
    pub(crate) created: Timestamp,
    pub(crate) expires: Timestamp,
    /// In which batch.
    pub(crate) delivered: Option<u64>,
    pub(crate) reply: Option<Val>,
}

impl Note {
    pub(crate) fn is_pending(&self, now: Timestamp) -> bool {
        self.delivered.is_none() && now <= self.expires
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: KvEventKind,
    pub(crate) group: Name,
    pub(crate) key: Name,
    pub(crate) val: Option<Val>,
    pub(crate) at: Timestamp,
    /// In which batch.
    pub(crate) batch: u64,
}

impl Event {
    /// Whether it is for who watches this; a deleted group has no key.
    pub(crate) fn is_for(&self, group: &str, key: &str) -> bool {
        let is_key = self.kind != KvEventKind::DeleteGroup && key == self.key;
        (group == EVERY || group == self.group) && (key == EVERY || is_key)
    }
}

/// What a batch may change.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    pub(crate) tables: BTreeMap<Subject, Table>,
    kv: BTreeMap<(Name, Name), (Val, Option<Timestamp>)>,
    pub(crate) notes: BTreeMap<u64, Note>,
    /// The last request of each client, what it was answered, and whether the answer outlives the process.
    replies: BTreeMap<usize, (RequestId, Reply, bool)>,
    arrivals: u64,
}

type Row = (Name, Option<Val>);
type Logged = (Subject, u32, u64, Name, Option<Val>);

/// What a run has to come across, or it proves little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Met {
    Undone,
    Restart,
    Tail,
    SparseTail,
    LaterPage,
    NewEpoch,
    Stripped,
    Whole,
    Expired,
    DeniedByUndo,
    Stalled,
    Notification,
    Reply,
    Event,
    Dropped,
    PresenceGone,
    Repeated,
    Answer,
}

impl Met {
    pub(crate) const ALL: [Self; 18] = [
        Self::Undone,
        Self::Restart,
        Self::Tail,
        Self::SparseTail,
        Self::LaterPage,
        Self::NewEpoch,
        Self::Stripped,
        Self::Whole,
        Self::Expired,
        Self::DeniedByUndo,
        Self::Stalled,
        Self::Notification,
        Self::Reply,
        Self::Event,
        Self::Dropped,
        Self::PresenceGone,
        Self::Repeated,
        Self::Answer,
    ];
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) state: State,
    before: State,
    /// Every committed change of a history.
    log: HashMap<(Subject, u32), Vec<Row>>,
    open_log: Vec<Logged>,
    /// Every committed event.
    pub(crate) events: Vec<Event>,
    open_events: Vec<Event>,
    /// The number of the open batch.
    pub(crate) batch: u64,
    generations: u32,
    /// Which history an epoch is of. All objects have one.
    epochs: HashMap<Epoch, (Subject, u32)>,
    bound: HashSet<(Subject, u32)>,
    /// How often a run came across what it is for.
    pub(crate) met: BTreeMap<Met, u64>,
    is_dirty: bool,
}

impl Model {
    pub(crate) fn meet(&mut self, what: Met) {
        *self.met.entry(what).or_default() += 1;
    }

    pub(crate) fn table(&self, now: Timestamp, subject: Subject) -> Option<&Table> {
        self.state.tables.get(&subject).filter(|table| table.is_live(now))
    }

    pub(crate) fn open(&mut self, now: Timestamp, subject: Subject) {
        if self.table(now, subject).is_none() {
            self.is_dirty = true;
            self.generations += 1;
            let expires = subject.is_temporary().then(|| now + HOUR);
            let table = Table { generation: self.generations, expires, ..Table::default() };
            self.state.tables.insert(subject, table);
        }
    }

    fn change(&mut self, subject: Subject, key: Name, val: Option<Val>) -> Place {
        let table = self.state.tables.entry(subject).or_default();
        table.head += 1;
        match val {
            Some(val) => drop(table.rows.insert(key, (table.head, val))),
            None => drop(table.rows.remove(key)),
        }
        self.open_log.push((subject, table.generation, table.head, key, val));
        (subject, table.generation, table.head)
    }

    fn remove(&mut self, subject: Subject, key: Name) -> Option<Place> {
        let has = self.state.tables.get(&subject).is_some_and(|table| table.rows.contains_key(key));
        has.then(|| self.change(subject, key, None))
    }

    /// Does what a client asks for, unless it did so before; says whether it did.
    pub(crate) fn write_once(
        &mut self,
        now: Timestamp,
        client: usize,
        caller: (ConnectionId, Name),
        request: RequestId,
        write: &Write,
    ) -> (Reply, bool) {
        if let Some((_, reply, _)) = self.state.replies.get(&client).filter(|(known, ..)| *known == request) {
            let reply = *reply;
            self.meet(Met::Repeated);
            return (reply, false);
        }
        let reply = self.write(now, Some(caller.0), caller.1, write);
        let is_durable = match (write, reply) {
            (_, Reply::Refused(_)) | (Write::Merge { .. }, _) => false,
            (Write::Notify { .. } | Write::Reply { .. } | Write::Kv(_), _) => true,
            (_, Reply::Done(place, _)) => place.is_some_and(|(subject, ..)| !subject.is_temporary()),
        };
        self.state.replies.insert(client, (request, reply, is_durable));
        (reply, true)
    }

    /// What a client is told of a request in a batch that is undone.
    pub(crate) fn reply_if_undone(&self, client: usize, request: RequestId) -> Reply {
        let known = self.before.replies.get(&client).filter(|(known, ..)| *known == request);
        known.map_or(Reply::Refused(ErrorCode::StorageFailed), |(_, reply, _)| *reply)
    }

    pub(crate) fn write(
        &mut self,
        now: Timestamp,
        connection: Option<ConnectionId>,
        user: Name,
        write: &Write,
    ) -> Reply {
        self.is_dirty = true;
        let missing = Reply::Refused(ErrorCode::NotFound);
        let at = |place| Reply::Done(place, None);
        match *write {
            Write::Put { key, val } => at(Some(self.change(Subject::Object(key), "", Some(val)))),
            Write::Delete { key } => at(self.remove(Subject::Object(key), "")),
            Write::Set { datastore, key, val } => {
                let subject = Subject::Datastore(datastore);
                match self.table(now, subject) {
                    Some(_) => at(Some(self.change(subject, key, Some(val)))),
                    None => missing,
                }
            }
            Write::Remove { datastore, key } => {
                let subject = Subject::Datastore(datastore);
                if self.table(now, subject).is_some() { at(self.remove(subject, key)) } else { missing }
            }
            Write::Merge { pool, ref fields } => {
                let subject = Subject::Pool(pool);
                if self.table(now, subject).is_none() {
                    return missing;
                }
                let mut place = None;
                for (field, val) in fields {
                    let changed = match val {
                        Some(val) => Some(self.change(subject, field, Some(*val))),
                        None => self.remove(subject, field),
                    };
                    let owner = connection.filter(|_| subject.has_presence() && val.is_some());
                    let owners = self.state.tables.get_mut(&subject).map(|table| &mut table.owners);
                    match (owners, owner) {
                        (Some(owners), Some(owner)) => drop(owners.insert(field, owner)),
                        (Some(owners), None) => drop(owners.remove(field)),
                        (None, _) => {}
                    }
                    place = changed.or(place);
                }
                at(place)
            }
            Write::Notify { to, pack, suit, ttl } => {
                let life = ttl.map_or(24 * HOUR, Duration::from_millis);
                self.state.arrivals += 1;
                let arrival = self.state.arrivals;
                let (created, expires) = (now, now + life);
                let (from, delivered, reply) = (user, None, None);
                let note = Note { pack, from, to, suit, arrival, created, expires, delivered, reply };
                self.state.notes.insert(pack.n, note);
                Reply::Done(None, Some(pack.n))
            }
            Write::Reply { note, val } => match self.state.notes.get_mut(&note) {
                Some(known) if known.to == user && now <= known.expires => {
                    if !known.suit {
                        return Reply::Refused(ErrorCode::InvalidRequest);
                    }
                    known.reply = Some(val);
                    Reply::Done(None, None)
                }
                Some(_) | None => missing,
            },
            Write::Kv(ref changes) => {
                for change in changes {
                    self.change_kv(now, *change);
                }
                Reply::Done(None, None)
            }
        }
    }

    /// A client says what it was delivered.
    pub(crate) fn deliver(&mut self, user: Name, note: u64) {
        self.is_dirty = true;
        let batch = self.batch;
        if let Some(note) = self.state.notes.get_mut(&note).filter(|note| note.to == user) {
            note.delivered = note.delivered.or(Some(batch));
        }
    }

    pub(crate) fn change_kv(&mut self, now: Timestamp, change: Change) {
        self.is_dirty = true;
        let (kind, group, key, val) = match change {
            Change::Set { group, key, val, ttl } => {
                let expires = ttl.map(|ttl| now + Duration::from_millis(ttl));
                self.state.kv.insert((group, key), (val, expires));
                (KvEventKind::Set, group, key, Some(val))
            }
            Change::Delete { group, key } => {
                let has = self.group(now, group).contains_key(key);
                self.state.kv.remove(&(group, key));
                if !has {
                    return;
                }
                (KvEventKind::Delete, group, key, None)
            }
            Change::DeleteGroup { group } => {
                let has = !self.group(now, group).is_empty();
                self.state.kv.retain(|(name, _), _| *name != group);
                if !has {
                    return;
                }
                (KvEventKind::DeleteGroup, group, "", None)
            }
        };
        self.open_events.push(Event { kind, group, key, val, at: now, batch: self.batch });
    }

    /// What a group of the kv store has.
    pub(crate) fn group(&self, now: Timestamp, group: &str) -> BTreeMap<Name, Val> {
        let live = |expires: Option<Timestamp>| expires.is_none_or(|expires| expires > now);
        let entries =
            self.state.kv.iter().filter(|((name, _), (_, expires))| *name == group && live(*expires));
        entries.map(|((_, key), (val, _))| (*key, *val)).collect()
    }

    /// A connection is gone, and its presence fields with it.
    pub(crate) fn release(&mut self, now: Timestamp, connection: ConnectionId) {
        let pools: Vec<_> =
            self.state.tables.keys().copied().filter(|subject| subject.has_presence()).collect();
        for pool in pools {
            let is_live = self.table(now, pool).is_some();
            let owners = &mut self.state.tables.get_mut(&pool).unwrap().owners;
            let of_it = owners.iter().filter(|(_, owner)| **owner == connection);
            let fields: Vec<_> = of_it.map(|(field, _)| *field).collect();
            owners.retain(|_, owner| *owner != connection);
            self.is_dirty |= !fields.is_empty();
            for field in fields.into_iter().filter(|_| is_live) {
                self.meet(Met::PresenceGone);
                self.change(pool, field, None);
            }
        }
    }

    /// The number that the next event will have.
    pub(crate) fn next_event(&self) -> usize {
        self.events.len() + self.open_events.len()
    }

    pub(crate) fn commit(&mut self) {
        for (subject, generation, sequence, key, val) in self.open_log.drain(..) {
            let log = self.log.entry((subject, generation)).or_default();
            log.push((key, val));
            assert_eq!(log.len() as u64, sequence, "the model counts");
        }
        self.events.append(&mut self.open_events);
        if std::mem::take(&mut self.is_dirty) {
            self.before = self.state.clone();
        }
        self.batch += 1;
    }

    pub(crate) fn undo(&mut self) {
        self.meet(Met::Undone);
        self.open_log.clear();
        self.open_events.clear();
        if std::mem::take(&mut self.is_dirty) {
            self.state = self.before.clone();
        }
        self.batch += 1;
    }

    /// Takes away the presence fields of connections that are gone, which a batch that was undone has brought back.
    pub(crate) fn release_departed(&mut self, now: Timestamp, is_there: impl Fn(ConnectionId) -> bool) {
        let owners = self.state.tables.values().flat_map(|table| table.owners.values());
        let departed: std::collections::BTreeSet<_> =
            owners.copied().filter(|owner| !is_there(*owner)).collect();
        for connection in departed {
            self.release(now, connection);
        }
    }

    /// The process ends between two batches.
    pub(crate) fn restart(&mut self) {
        self.meet(Met::Restart);
        self.state.tables.retain(|subject, _| !subject.is_temporary());
        self.state.replies.retain(|_, (.., is_durable)| *is_durable);
        self.before = self.state.clone();
    }

    /// Which history an epoch is of. One that was not seen before is that of the present one, which had none so far.
    pub(crate) fn generation_of(&mut self, subject: Subject, epoch: Epoch) -> u32 {
        let named = if let Subject::Object(_) = subject { Subject::Object("") } else { subject };
        if let Some((of, generation)) = self.epochs.get(&epoch) {
            assert_eq!(*of, named, "an epoch of two histories");
            return *generation;
        }
        let generation = self.state.tables.get(&subject).map_or(0, |table| table.generation);
        assert!(self.bound.insert((named, generation)), "another epoch without a new history of {subject:?}");
        self.epochs.insert(epoch, (named, generation));
        generation
    }

    /// Holds a row that somebody was shown against what was committed under its sequence.
    pub(crate) fn check_row(&mut self, place: Place, key: &str, viewer: Name, value: Option<&[u8]>) {
        let (subject, generation, sequence) = place;
        let index = usize::try_from(sequence).unwrap() - 1;
        let log = self.log.get(&(subject, generation)).map(Vec::as_slice).unwrap_or_default();
        let Some((name, val)) = log.get(index) else {
            panic!("{place:?} was never committed");
        };
        let (name, val) = (*name, *val);
        assert_eq!(name, key, "{place:?}");
        let expected = val.map(|val| val.row(subject, name, Some(viewer)));
        assert!(
            expected.as_deref() == value,
            "{place:?} {key:?}: {viewer} is shown another value than {val:?}"
        );
        if let Some(val) = val.filter(|_| subject.is_projected()) {
            self.meet(if val.owner == viewer { Met::Whole } else { Met::Stripped });
        }
    }
}
