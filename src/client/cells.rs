//! Encoded values under small numbers.

use alloc::{boxed::Box, vec::Vec};

use super::paged::Paged;
use crate::{protocol::EncodedValue, value::Marks};

/// As many values keep their marks: those that changed last.
const MAX_MARKED: usize = 64;

/// Names one encoded value that the client keeps. Reused only after the host was told that it is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CellId(u32);

impl CellId {
    /// The number, as it crosses to the host.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The cell of a number that the host got from [`Self::number`].
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// What a cell holds.
#[derive(Debug, Default)]
pub(super) struct Cell {
    /// The encoded value; empty for a deletion.
    pub(super) bytes: Box<[u8]>,
    /// The record's key; `None` for an object.
    pub(super) key: Option<Box<str>>,
    /// The sequence it was stamped with.
    pub(super) sequence: u64,
    /// The ticket under which the host keeps its gate's output; 0 where the bytes themselves are shown.
    pub(super) ticket: u32,
    /// How many objects the host has of it, which may be patched later.
    holds: u16,
    /// Whether nothing but those objects needs it any more.
    is_retired: bool,
}

impl Cell {
    pub(super) fn new(bytes: Box<[u8]>, key: Option<Box<str>>, sequence: u64, ticket: u32) -> Self {
        Self { bytes, key, sequence, ticket, holds: 0, is_retired: false }
    }

    /// A message as it came.
    pub(super) fn message(bytes: &[u8]) -> Self {
        Self::new(bytes.into(), None, 0, 0)
    }

    /// Whether the host has an object of it, which it may patch.
    pub(super) const fn is_held(&self) -> bool {
        self.holds > 0
    }

    pub(super) fn value(&self) -> Option<EncodedValue<'_>> {
        if self.bytes.is_empty() { None } else { Some(EncodedValue::trusted(&self.bytes)) }
    }
}

/// All cells of a client.
#[derive(Debug, Default)]
pub(super) struct Cells {
    cells: Paged<Cell>,
    free: Vec<CellId>,
    /// Freed, but the host may not know yet.
    retired: Vec<CellId>,
    /// The host was told with the change list that it reads now.
    announced: Vec<CellId>,
    /// The marks of large values, that of the one which changed last at the end.
    marks: Vec<(CellId, Marks)>,
    /// Messages that the next change list names.
    passing: Vec<CellId>,
    /// Messages of the change list that the host reads now.
    passed: Vec<CellId>,
}

impl Cells {
    pub(super) fn put(&mut self, cell: Cell) -> CellId {
        if let Some(id) = self.free.pop() {
            self.cells[id.0 as usize] = cell;
            return id;
        }
        let id = CellId(u32::try_from(self.cells.len()).expect("fewer than 2^32 values fit in memory"));
        self.cells.push(cell);
        id
    }

    pub(super) fn get(&self, id: CellId) -> Option<&Cell> {
        self.cells.get(id.0 as usize)
    }

    /// The key of a record.
    pub(super) fn key(&self, id: CellId) -> Option<&str> {
        self.get(id)?.key.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: CellId) -> Option<&mut Cell> {
        self.cells.get_mut(id.0 as usize)
    }

    /// Takes the marks of a cell's value; `None` where it needs none.
    pub(super) fn take_marks(&mut self, id: CellId) -> Option<Marks> {
        let value = self.get(id)?.value()?;
        if !Marks::are_for(value) {
            return None;
        }
        let known = self.marks.iter().rposition(|(marked, _)| *marked == id);
        Some(known.map(|index| self.marks.remove(index).1).unwrap_or_default())
    }

    /// Keeps the marks of a cell's value.
    pub(super) fn keep_marks(&mut self, id: CellId, marks: Marks) {
        if self.marks.len() == MAX_MARKED {
            self.marks.remove(0);
        }
        self.marks.push((id, marks));
    }

    /// The cell's value goes.
    fn forget_marks(&mut self, id: CellId) {
        if !self.marks.is_empty() {
            self.marks.retain(|(marked, _)| *marked != id);
        }
    }

    /// Puts something that the host looks at while it reads the next change list, and never again.
    pub(super) fn pass(&mut self, cell: Cell) -> CellId {
        let id = self.put(cell);
        self.passing.push(id);
        id
    }

    /// Another cell with the same value, key, sequence and ticket.
    pub(super) fn copy(&mut self, id: CellId) -> Option<CellId> {
        let Cell { bytes, key, sequence, ticket, holds: _, is_retired: _ } = self.get(id)?;
        let copy = Cell::new(bytes.clone(), key.clone(), *sequence, *ticket);
        Some(self.put(copy))
    }

    /// Puts another value into a cell that the host has not heard of and that holds one which no host has judged. Says
    /// whether it is such a cell.
    pub(super) fn overwrite(&mut self, id: CellId, value: EncodedValue<'_>, sequence: u64) -> bool {
        let Some(cell) = self.get_mut(id).filter(|cell| cell.holds == 0 && cell.ticket == 0) else {
            return false;
        };
        cell.sequence = sequence;
        let bytes = value.as_bytes();
        if cell.bytes.len() == bytes.len() {
            cell.bytes.copy_from_slice(bytes);
        } else {
            cell.bytes = bytes.into();
        }
        self.forget_marks(id);
        true
    }

    /// Whether two cells hold the same bytes.
    pub(super) fn is_same(&self, one: CellId, other: CellId) -> bool {
        self.cells[one.0 as usize].bytes == self.cells[other.0 as usize].bytes
    }

    /// Gives a cell the sequence at which its bytes were sent, or refused to be replaced.
    pub(super) fn stamp(&mut self, shown: CellId, sequence: u64) {
        self.cells[shown.0 as usize].sequence = sequence;
    }

    /// Gives back a cell that the host never heard of.
    pub(super) fn discard(&mut self, id: CellId) {
        self.forget_marks(id);
        self.cells[id.0 as usize] = Cell::default();
        self.free.push(id);
    }

    /// Gives back a cell that the host may have cached: its bytes go when the host holds no object of it, its number
    /// and key when the host was told.
    pub(super) fn retire(&mut self, id: CellId) {
        self.forget_marks(id);
        let cell = &mut self.cells[id.0 as usize];
        cell.is_retired = true;
        if cell.holds == 0 {
            cell.bytes = Box::default();
            self.retired.push(id);
        }
    }

    /// The host has made an object of a cell, to patch it later.
    pub(super) fn hold(&mut self, id: CellId) {
        if let Some(cell) = self.get_mut(id) {
            cell.holds = cell.holds.saturating_add(1);
        }
    }

    /// The host no longer patches an object of a cell.
    pub(super) fn let_go(&mut self, id: CellId) {
        let Some(cell) = self.get_mut(id).filter(|cell| (1..u16::MAX).contains(&cell.holds)) else { return };
        cell.holds -= 1;
        if cell.holds == 0 && cell.is_retired {
            self.retire(id);
        }
    }

    #[cfg(test)]
    pub(super) fn are_all_free(&self) -> bool {
        self.free.len() == self.cells.len()
    }

    /// A change list is about to be read: what it announces is free by the next one. Returns what to announce.
    pub(super) fn announce(&mut self) -> &[CellId] {
        while let Some(id) = self.passed.pop() {
            self.discard(id);
        }
        core::mem::swap(&mut self.passed, &mut self.passing);
        for id in self.announced.drain(..) {
            self.cells[id.0 as usize] = Cell::default();
            self.free.push(id);
        }
        core::mem::swap(&mut self.announced, &mut self.retired);
        &self.announced
    }
}
