//! The rows of a datastore's replica, and the table in which a snapshot is collected before it replaces them at once.

use super::{
    cells::{Cell, CellId, Cells},
    intern::Names,
};
use crate::replica::{EpochId, Header};

/// A change of a record that waits for the snapshot before it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) header: Header,
    pub(super) key: Box<str>,
    /// `None` for a deletion.
    pub(super) value: Option<Box<[u8]>>,
}

/// A snapshot on its way, page by page.
#[derive(Debug)]
pub(super) struct Staging {
    /// The attempt that its pages answer.
    pub(super) attempt: u32,
    /// The position of the whole.
    pub(super) epoch: EpochId,
    pub(super) sequence: u64,
    rows: Names,
    /// Rows that their gate refused.
    refused: Vec<Box<str>>,
    /// Rows whose gate has not answered.
    pub(super) unjudged: u32,
    /// Whether the last page is here.
    pub(super) is_complete: bool,
    /// Live changes since it began.
    pub(super) waiting: Vec<Waiting>,
}

impl Staging {
    pub(super) fn new(attempt: u32, epoch: EpochId, sequence: u64, rows: &Rows) -> Self {
        Self {
            attempt,
            epoch,
            sequence,
            rows: Names::with_hasher(rows.rows.hasher().clone()),
            refused: Vec::new(),
            unjudged: 0,
            is_complete: false,
            waiting: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, cells: &mut Cells, cell: Cell) -> CellId {
        let key = cell.key.clone().unwrap_or_default();
        let id = cells.put(cell);
        if let Some(previous) = self.rows.insert(key, id.number()) {
            cells.retire(CellId::from_number(previous));
        }
        id
    }

    /// The gate refused a staged row.
    pub(super) fn refuse(&mut self, cells: &mut Cells, id: CellId) {
        if let Some(key) = cells.get(id).and_then(|cell| cell.key.clone())
            && self.rows.remove(&key).is_some()
        {
            self.refused.push(key);
            cells.retire(id);
        }
    }

    /// Gives back what was staged.
    pub(super) fn abandon(self, cells: &mut Cells) {
        for id in self.rows.into_values() {
            cells.retire(CellId::from_number(id));
        }
    }
}

/// What installing a row did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Diff {
    /// The row is new or has another value.
    Shown(CellId),
    /// The row is gone.
    Gone(CellId),
}

/// The rows that are shown.
#[derive(Debug)]
pub(super) struct Rows {
    rows: Names,
}

impl Rows {
    pub(super) fn new(seed: u64) -> Self {
        Self { rows: Names::with_hasher(foldhash::fast::FixedState::with_seed(seed)) }
    }

    pub(super) fn get(&self, key: &str) -> Option<CellId> {
        self.rows.get(key).copied().map(CellId::from_number)
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = CellId> {
        self.rows.values().copied().map(CellId::from_number)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Shows a value that is already in a cell, unless a newer one is shown.
    pub(super) fn show(&mut self, cells: &mut Cells, id: CellId) -> Option<Diff> {
        let cell = cells.get(id)?;
        let key = cell.key.clone()?;
        let newer_is_shown = self
            .rows
            .get(&key)
            .and_then(|shown| cells.get(CellId::from_number(*shown)))
            .is_some_and(|shown| shown.sequence > cell.sequence);
        if newer_is_shown {
            cells.retire(id);
            return None;
        }
        if let Some(previous) = self.rows.insert(key, id.number()) {
            cells.retire(CellId::from_number(previous));
        }
        Some(Diff::Shown(id))
    }

    /// Removes a row, unless a newer value is shown.
    pub(super) fn remove(&mut self, cells: &mut Cells, key: &str, sequence: u64) -> Option<Diff> {
        let id = self.get(key)?;
        if cells.get(id)?.sequence > sequence {
            return None;
        }
        self.rows.remove(key);
        cells.retire(id);
        Some(Diff::Gone(id))
    }

    /// Replaces all rows at once. A row with the same bytes keeps its cell, so observers see no change of it; a row
    /// that was refused keeps its last good value.
    pub(super) fn replace(&mut self, cells: &mut Cells, staging: Staging) -> Vec<Diff> {
        let mut diff = Vec::new();
        let empty = Names::with_hasher(self.rows.hasher().clone());
        let mut before = std::mem::replace(&mut self.rows, empty);
        for (key, new) in staging.rows {
            let new = CellId::from_number(new);
            let old = before.remove(&key).map(CellId::from_number);
            let shown = match old {
                Some(old) if cells.is_same(old, new) => {
                    cells.restamp(old, new);
                    cells.retire(new);
                    old
                }
                _ => {
                    if let Some(old) = old {
                        cells.retire(old);
                    }
                    diff.push(Diff::Shown(new));
                    new
                }
            };
            self.rows.insert(key, shown.number());
        }
        for key in staging.refused {
            if let Some(old) = before.remove(&key) {
                self.rows.insert(key, old);
            }
        }
        for gone in before.into_values().map(CellId::from_number) {
            cells.retire(gone);
            diff.push(Diff::Gone(gone));
        }
        diff
    }
}
