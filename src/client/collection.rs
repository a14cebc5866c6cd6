//! The rows of a datastore's replica, and the table in which a snapshot is collected before it replaces them at once.

use alloc::{boxed::Box, vec::Vec};
use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::cells::{CellId, Cells};
use crate::replica::EpochId;

/// Cells by the keys of their records, which lie in the cells alone: of a datastore's memory, keys are a part that shows.
/// Seeded per client, so that nobody can choose keys that collide in all of them.
#[derive(Debug)]
struct Table {
    cells: HashTable<CellId>,
    hasher: FixedState,
}

impl Table {
    const fn new(hasher: FixedState) -> Self {
        Self { cells: HashTable::new(), hasher }
    }

    fn get(&self, cells: &Cells, key: &str) -> Option<CellId> {
        self.cells.find(self.hasher.hash_one(key), |id| cells.key(*id) == Some(key)).copied()
    }

    fn get_mut(&mut self, cells: &Cells, key: &str) -> Option<&mut CellId> {
        self.cells.find_mut(self.hasher.hash_one(key), |id| cells.key(*id) == Some(key))
    }

    /// Puts a cell in the place of the one with the same key, which is returned. One without a key is not put.
    fn insert(&mut self, cells: &Cells, id: CellId) -> Option<CellId> {
        let key = cells.key(id)?;
        if let Some(there) = self.get_mut(cells, key) {
            return Some(core::mem::replace(there, id));
        }
        let hash = self.hasher.hash_one(key);
        let hasher = &self.hasher;
        self.cells.insert_unique(hash, id, |there| hasher.hash_one(cells.key(*there).unwrap_or_default()));
        None
    }

    fn remove(&mut self, cells: &Cells, key: &str) -> Option<CellId> {
        let hash = self.hasher.hash_one(key);
        let entry = self.cells.find_entry(hash, |id| cells.key(*id) == Some(key)).ok()?;
        Some(entry.remove().0)
    }
}

/// Where a page belongs: the attempt that it answers, the snapshot, and which of its pages it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PagePlace {
    pub(super) attempt: u32,
    pub(super) epoch: EpochId,
    pub(super) sequence: u64,
    pub(super) number: u32,
}

/// The rows of one page of a snapshot, before the replica has let it in.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) rows: Vec<CellId>,
    pub(super) place: PagePlace,
    /// What to ask the next page with.
    pub(super) next: Option<Box<str>>,
}

impl Page {
    /// Gives back its rows.
    pub(super) fn abandon(self, cells: &mut Cells) {
        for row in self.rows {
            cells.retire(row);
        }
    }
}

/// A snapshot on its way: rows and later operations, folded by key and sequence.
#[derive(Debug)]
pub(super) struct Staging {
    /// Rows and, as cells without a value, tombstones.
    rows: Table,
    /// Rows that their gate refused, and at which sequence: their last good value stays.
    refused: Vec<(Box<str>, u64)>,
    /// Rows whose gate has not answered.
    pub(super) unjudged: u32,
    /// Whether it takes the rows' place as soon as the last verdict is here.
    pub(super) is_swapping: bool,
    /// Operations that come after it, while verdicts are outstanding.
    pub(super) after: Vec<CellId>,
}

impl Staging {
    pub(super) fn new(rows: &Rows) -> Self {
        Self {
            rows: Table::new(rows.rows.hasher.clone()),
            refused: Vec::new(),
            unjudged: 0,
            is_swapping: false,
            after: Vec::new(),
        }
    }

    /// Folds a row or tombstone in, unless a newer one is there.
    pub(super) fn fold(&mut self, cells: &mut Cells, id: CellId) {
        fold(&mut self.rows, cells, id);
    }

    /// The gate refused a staged row.
    pub(super) fn refuse(&mut self, cells: &mut Cells, id: CellId) {
        let about = cells.get(id).and_then(|cell| Some((cell.key.clone()?, cell.sequence)));
        let Some((key, sequence)) = about else { return };
        if self.rows.get(cells, &key) == Some(id) {
            self.rows.remove(cells, &key);
            cells.retire(id);
            self.refused.push((key, sequence));
        }
    }

    /// Gives back what was staged.
    pub(super) fn abandon(self, cells: &mut Cells) {
        for id in self.rows.cells.into_iter().chain(self.after) {
            cells.retire(id);
        }
    }
}

/// What installing a row, or a snapshot, did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Diff {
    /// All rows are new.
    All,
    /// The row is new or, where there was a cell in its place, has another value.
    Shown { cell: CellId, previous: Option<CellId> },
    /// The row is gone.
    Gone(CellId),
}

/// The rows that are shown.
#[derive(Debug)]
pub(super) struct Rows {
    rows: Table,
}

impl Rows {
    pub(super) fn new(seed: u64) -> Self {
        Self { rows: Table::new(FixedState::with_seed(seed)) }
    }

    pub(super) fn get(&self, cells: &Cells, key: &str) -> Option<CellId> {
        self.rows.get(cells, key)
    }

    /// Where the cell of a row stands, for one with the same key to take its place.
    pub(super) fn get_mut(&mut self, cells: &Cells, key: &str) -> Option<&mut CellId> {
        self.rows.get_mut(cells, key)
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = CellId> {
        self.rows.cells.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.cells.len()
    }

    /// Shows a row, or removes it by a tombstone, unless a newer value is shown.
    pub(super) fn show(&mut self, cells: &mut Cells, id: CellId) -> Option<Diff> {
        let cell = cells.get(id)?;
        if cell.value().is_some() {
            let previous = cell.key.as_deref().and_then(|key| self.get(cells, key));
            return fold(&mut self.rows, cells, id).then_some(Diff::Shown { cell: id, previous });
        }
        let (key, sequence) = (cell.key.clone()?, cell.sequence);
        cells.retire(id);
        let shown = self.get(cells, &key)?;
        if cells.get(shown)?.sequence > sequence {
            return None;
        }
        self.rows.remove(cells, &key);
        cells.retire(shown);
        Some(Diff::Gone(shown))
    }

    /// Replaces all rows at once. A row with the same bytes keeps its cell, so observers see no change of it; a row
    /// that was refused keeps its last good value, under the sequence at which it was refused: the one it was shown
    /// with may be of another epoch, and hold up all that follows.
    pub(super) fn replace(&mut self, cells: &mut Cells, staging: Staging) -> Vec<Diff> {
        if self.rows.cells.is_empty() {
            return self.fill(cells, staging);
        }
        let mut diff = Vec::new();
        let empty = Table::new(self.rows.hasher.clone());
        let mut before = core::mem::replace(&mut self.rows, empty);
        for (key, sequence) in staging.refused {
            // What came for the row after it was refused decides.
            if staging.rows.get(cells, &key).is_none()
                && let Some(old) = before.remove(cells, &key)
            {
                cells.stamp(old, sequence);
                self.rows.insert(cells, old);
            }
        }
        for new in staging.rows.cells {
            if cells.get(new).is_none_or(|cell| cell.value().is_none()) {
                cells.retire(new);
                continue;
            }
            let old = cells.key(new).and_then(|key| before.remove(cells, key));
            let shown = match old {
                Some(old) if cells.is_same(old, new) => {
                    let sequence = cells.get(new).map_or(0, |cell| cell.sequence);
                    cells.stamp(old, sequence);
                    cells.retire(new);
                    old
                }
                previous => {
                    if let Some(old) = previous {
                        cells.retire(old);
                    }
                    diff.push(Diff::Shown { cell: new, previous });
                    new
                }
            };
            self.rows.insert(cells, shown);
        }
        for gone in before.cells {
            cells.retire(gone);
            diff.push(Diff::Gone(gone));
        }
        diff
    }
}

impl Rows {
    /// Shows the first snapshot: that can be told without naming each row, of which there may be many.
    fn fill(&mut self, cells: &mut Cells, staging: Staging) -> Vec<Diff> {
        self.rows = staging.rows;
        let is_tombstone = |id: &mut CellId| cells.get(*id).is_none_or(|cell| cell.value().is_none());
        let gone: Vec<CellId> = self.rows.cells.extract_if(is_tombstone).collect();
        for id in gone {
            cells.retire(id);
        }
        if self.rows.cells.is_empty() { Vec::new() } else { [Diff::All].into() }
    }
}

/// Puts a cell under its key unless a newer one is there; one of the two is given back.
fn fold(rows: &mut Table, cells: &mut Cells, id: CellId) -> bool {
    let Some(cell) = cells.get(id) else { return false };
    let (Some(key), sequence) = (cell.key.as_deref(), cell.sequence) else { return false };
    let there = rows.get(cells, key);
    if there.and_then(|there| cells.get(there)).is_some_and(|there| there.sequence > sequence) {
        cells.retire(id);
        return false;
    }
    rows.insert(cells, id);
    if let Some(there) = there {
        cells.retire(there);
    }
    true
}
