//! The records of one datastore, by key and in the order of their sequences.
//!
//! A record is a numbered slot. The index finds a slot by its key at five bytes an entry; the order is a log of slots
//! that is only appended to, since a change's sequence is above all others. A log entry is stale once its slot holds
//! another sequence, and stale entries are swept between transactions: until then an undone change finds its entry
//! where it was.

use alloc::{sync::Arc, vec::Vec};
use core::hash::BuildHasher;

use hashbrown::{HashTable, hash_table::Entry};

use super::chunks::Chunks;
use crate::{
    protocol::Sequence,
    server::{
        ordered::Seed,
        storage::{Stored, StoredDatastore},
    },
};

/// Where a record lies.
pub(super) type Slot = u32;

/// What is true between two calls.
const HELD: &str = "every slot of the index holds a record";

/// A key and its last change; `None`: nothing is stored there.
type Record = Option<(Arc<str>, Stored)>;

/// What takes a change of a table back.
#[derive(Debug)]
pub(super) enum Before {
    /// Nothing was stored.
    Vacant,
    /// This change of the same key.
    Change(Stored),
    /// This record, which was removed.
    Removed(Arc<str>, Stored),
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) id: Arc<str>,
    pub(super) about: StoredDatastore,
    hasher: Seed,
    index: HashTable<Slot>,
    slots: Chunks<Record>,
    free: Vec<Slot>,
    order: Chunks<(Sequence, Slot)>,
}

impl Table {
    pub(super) fn new(id: Arc<str>, about: StoredDatastore) -> Self {
        Self {
            id,
            about,
            hasher: Seed::default(),
            index: HashTable::new(),
            slots: Chunks::default(),
            free: Vec::new(),
            order: Chunks::default(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Stored> {
        let slot = self.index.find(self.hasher.hash_one(key), |slot| has_key(&self.slots, *slot, key))?;
        self.slots[*slot as usize].as_ref().map(|(_, stored)| stored)
    }

    /// The last changes above `after`, in order.
    pub(super) fn changes(&self, after: Sequence) -> impl DoubleEndedIterator<Item = (&Arc<str>, &Stored)> {
        let first = self.order.partition_point(|(sequence, _)| *sequence <= after);
        self.order.from(first).filter_map(|entry| self.fresh(entry))
    }

    fn fresh(&self, (sequence, slot): &(Sequence, Slot)) -> Option<(&Arc<str>, &Stored)> {
        let (key, stored) = self.slots[*slot as usize].as_ref()?;
        (stored.sequence == *sequence).then_some((key, stored))
    }

    /// Stores a change whose sequence is above all others; returns where, and what was there.
    pub(super) fn put(&mut self, key: &str, change: Stored) -> (Slot, Before) {
        let Self { hasher, index, slots, free, order, .. } = self;
        let sequence = change.sequence;
        let hash = hasher.hash_one(key);
        let entry =
            index.entry(hash, |slot| has_key(slots, *slot, key), |slot| hash_of(hasher, slots, *slot));
        let (slot, before) = match entry {
            Entry::Occupied(entry) => {
                let slot = *entry.get();
                let (_, stored) = slots[slot as usize].as_mut().expect(HELD);
                (slot, Before::Change(core::mem::replace(stored, change)))
            }
            Entry::Vacant(entry) => {
                let record = Some((key.into(), change));
                let slot = match free.pop() {
                    Some(slot) => {
                        slots[slot as usize] = record;
                        slot
                    }
                    None => {
                        slots.push(record);
                        Slot::try_from(slots.len() - 1).expect("memory ends before four billion records")
                    }
                };
                entry.insert(slot);
                (slot, Before::Vacant)
            }
        };
        order.push((sequence, slot));
        (slot, before)
    }

    /// Removes a record; returns where it was, and what it was.
    pub(super) fn remove(&mut self, key: &str) -> Option<(Slot, Before)> {
        let Self { hasher, index, slots, free, .. } = self;
        let entry = index.find_entry(hasher.hash_one(key), |slot| has_key(slots, *slot, key)).ok()?;
        let (slot, _) = entry.remove();
        free.push(slot);
        let (key, stored) = slots[slot as usize].take()?;
        Some((slot, Before::Removed(key, stored)))
    }

    /// Takes the latest [`put`](Self::put) or [`remove`](Self::remove) that was not yet undone back.
    pub(super) fn undo(&mut self, slot: Slot, before: Before) {
        let Self { hasher, index, slots, free, order, .. } = self;
        let record = &mut slots[slot as usize];
        match before {
            Before::Vacant => {
                if let Some((key, _)) = record.take()
                    && let Ok(entry) = index.find_entry(hasher.hash_one(&*key), |other| *other == slot)
                {
                    entry.remove();
                }
                free.push(slot);
                order.pop();
            }
            Before::Change(before) => {
                if let Some((_, stored)) = record {
                    *stored = before;
                }
                order.pop();
            }
            Before::Removed(key, stored) => {
                let hash = hasher.hash_one(&*key);
                *record = Some((key, stored));
                free.retain(|free| *free != slot);
                index.insert_unique(hash, slot, |slot| hash_of(hasher, slots, *slot));
            }
        }
    }

    /// Whether the order is longer than it need be.
    pub(super) fn is_stale(&self) -> bool {
        self.order.len() > self.index.len() * 3 / 2 + 64
    }

    /// Drops the stale entries of the order. Nothing from before can be undone any more.
    pub(super) fn sweep(&mut self) {
        let mut order = core::mem::take(&mut self.order);
        order.retain(|entry| self.fresh(entry).is_some());
        self.order = order;
    }
}

fn has_key(slots: &Chunks<Record>, slot: Slot, key: &str) -> bool {
    slots[slot as usize].as_ref().is_some_and(|(held, _)| **held == *key)
}

fn hash_of(hasher: &Seed, slots: &Chunks<Record>, slot: Slot) -> u64 {
    let (key, _) = slots[slot as usize].as_ref().expect(HELD);
    hasher.hash_one(&**key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Epoch, Lineage};

    fn table() -> Table {
        let (epoch, lineage) = (Epoch::from_bytes([1; 16]), Lineage::default());
        let (head, floor) = (Sequence::ZERO, Sequence::ZERO);
        Table::new(
            "d".into(),
            StoredDatastore { primary: "id".into(), epoch, lineage, head, floor, expires: None },
        )
    }

    fn rows(table: &Table) -> Vec<(String, Stored)> {
        table.changes(Sequence::ZERO).map(|(key, stored)| (key.to_string(), stored.clone())).collect()
    }

    /// Batches of changes and removals, half of them undone: the rest is as if those had never been.
    #[test]
    fn what_is_undone_leaves_no_trace_in_key_or_order() {
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut table = table();
        let mut head = 0;
        for batch in 0..2_000 {
            let (before, start) = (rows(&table), head);
            let mut done = Vec::new();
            for _ in 0..random(40) {
                let key = format!("k{}", random(300));
                if random(5) == 0 {
                    done.extend(table.remove(&key));
                } else {
                    head += 1;
                    let sequence = Sequence::new(head).unwrap();
                    done.push(table.put(&key, Stored { sequence, version: None, value: None }));
                    assert_eq!(table.get(&key).unwrap().sequence, sequence);
                }
            }
            if random(2) == 0 {
                head = start;
                for (slot, before) in done.into_iter().rev() {
                    table.undo(slot, before);
                }
                assert_eq!(rows(&table), before, "batch {batch}");
            } else if table.is_stale() {
                let before = rows(&table);
                table.sweep();
                assert_eq!(rows(&table), before, "batch {batch}");
                assert_eq!(table.order.len(), table.index.len());
            }
            let rows = rows(&table);
            assert!(rows.is_sorted_by_key(|(_, stored)| stored.sequence));
            assert_eq!(rows.len(), table.index.len());
            assert!(rows.iter().all(|(key, stored)| table.get(key) == Some(stored)));
            assert!(table.slots.len() <= 300);
        }
    }
}
