//! What is written in a run, and how it looks on the wire.

use tidewire::protocol::{EncodedValue, KvChange, Writer};

use super::{
    super::model::{Change, Subject, Val, Write},
    DATASTORES, GROUPS, KEYS, LARGE, OBJECTS, POOLS, ROWS, Run, USERS,
};

impl Run {
    fn any_val(&mut self) -> Val {
        self.last_val += 1;
        Val { n: self.last_val, owner: self.dice.pick(&USERS), padding: self.dice.index(20) }
    }

    /// A value that, now and then, takes a good part of what may be under way to a connection.
    fn any_large_val(&mut self) -> Val {
        let padding = if self.dice.one_in(3) { 60_000 + self.dice.index(60_000) } else { 0 };
        Val { padding, ..self.any_val() }
    }

    pub(super) fn any_write(&mut self) -> Write {
        let val = self.any_val();
        match self.dice.roll(16) {
            0..=2 => Write::Put { key: self.dice.pick(&OBJECTS), val },
            3 => Write::Delete { key: self.dice.pick(&OBJECTS) },
            4..=6 => {
                let datastore = self.dice.pick(&DATASTORES);
                let val = if datastore == LARGE { self.any_large_val() } else { val };
                Write::Set { datastore, key: self.dice.pick(&ROWS), val }
            }
            7 => Write::Remove { datastore: self.dice.pick(&DATASTORES), key: self.dice.pick(&ROWS) },
            8..=10 => {
                let count = 1 + self.dice.roll(3);
                let fields = (0..count).map(|_| {
                    let val = self.any_val();
                    (self.dice.pick(&ROWS), Some(val).filter(|_| !self.dice.one_in(4)))
                });
                let fields = fields.collect();
                Write::Merge { pool: self.dice.pick(&POOLS), fields }
            }
            11 | 12 => {
                let ttl = self.dice.one_in(4).then(|| 1 + self.dice.roll(600_000));
                let (to, pack) = (self.dice.pick(&USERS), self.any_large_val());
                Write::Notify { to, pack, suit: self.dice.one_in(2), ttl }
            }
            13 => match self.any_note() {
                Some(note) => Write::Reply { note, val },
                None => Write::Delete { key: "never" },
            },
            _ => {
                let count = 1 + if self.dice.one_in(6) { self.dice.roll(24) } else { self.dice.roll(3) };
                Write::Kv((0..count).map(|_| self.any_change()).collect())
            }
        }
    }

    /// A notification whose trace somebody knows, most often a late one.
    pub(super) fn any_note(&mut self) -> Option<u64> {
        let known = self.model.state.notes.keys().rev().filter(|note| self.traces.contains_key(note));
        let known: Vec<_> = known.take(12).copied().collect();
        (!known.is_empty()).then(|| self.dice.pick(&known))
    }

    fn any_change(&mut self) -> Change {
        let (group, key) = (self.dice.pick(&GROUPS), self.dice.pick(&KEYS));
        match self.dice.roll(8) {
            0 => Change::DeleteGroup { group },
            1 | 2 => Change::Delete { group, key },
            _ => {
                let ttl = self.dice.one_in(3).then(|| self.dice.roll(100_000));
                let val = if group == LARGE { self.any_large_val() } else { self.any_val() };
                Change::Set { group, key, val, ttl }
            }
        }
    }
}

pub(super) fn value(bytes: &[u8]) -> EncodedValue<'_> {
    EncodedValue::check(bytes).unwrap()
}

/// The value that a write has.
pub(super) fn bytes_of(write: &Write) -> Vec<u8> {
    match write {
        Write::Put { key, val } => val.row(Subject::Object(key), "", None),
        Write::Set { datastore, key, val } => val.row(Subject::Datastore(datastore), key, None),
        Write::Notify { pack: val, .. } | Write::Reply { val, .. } => val.plain(),
        Write::Merge { fields, .. } => {
            let mut writer = Writer::new();
            writer.map(fields.len());
            for (field, val) in fields {
                writer.str(field);
                writer.optional(*val, |writer, val: Val| writer.value(value(&val.plain())));
            }
            writer.into_bytes()
        }
        Write::Delete { .. } | Write::Remove { .. } | Write::Kv(_) => Vec::new(),
    }
}

pub(super) fn change_bytes(change: &Change) -> Vec<u8> {
    match change {
        Change::Set { val, .. } => val.plain(),
        Change::Delete { .. } | Change::DeleteGroup { .. } => Vec::new(),
    }
}

pub(super) fn kv_changes<'b>(changes: &[Change], bytes: &'b [Vec<u8>]) -> Vec<KvChange<'b>> {
    let pairs = changes.iter().zip(bytes);
    let change = |(change, bytes): (&Change, &'b Vec<u8>)| match *change {
        Change::Set { group, key, ttl, .. } => KvChange::Set { group, key, value: value(bytes), ttl },
        Change::Delete { group, key } => KvChange::Delete { group, key },
        Change::DeleteGroup { group } => KvChange::DeleteGroup { group },
    };
    pairs.map(change).collect()
}
