//! Values for a host that wants objects: which version it has, and what to build of the one that is shown.

use alloc::vec::Vec;

use super::{CellId, Client, cells::Cells};
use crate::{
    protocol::EncodedValue,
    value::{Edits, Path, Tape},
};

/// How many notes are looked at for those about a value. A host mostly asks in the order of the changes.
const MAX_PROBES: usize = 4;

/// Notes about the changes of the present list, and of the one that the host reads now.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) edits: Edits,
    heads: Vec<Head>,
    /// The notes that are most likely asked for next.
    next: usize,
    /// The list that they are about.
    list: u32,
}

/// Whose notes begin where.
#[derive(Debug)]
struct Head {
    cell: CellId,
    base: CellId,
    /// The sequence tells this value of the cell from one that took its place since.
    sequence: u64,
    start: usize,
}

impl Notes {
    /// Makes room for notes about a change of `list`, without those about earlier ones, and returns where they begin.
    pub(super) fn begin(&mut self, list: u32) -> usize {
        if self.list != list {
            self.list = list;
            self.clear();
        }
        self.edits.len()
    }

    /// What was noted from `start` on is how the value of `base` becomes that of `cell`.
    pub(super) fn end(&mut self, cell: CellId, base: CellId, sequence: u64, start: usize) {
        self.heads.push(Head { cell, base, sequence, start });
    }

    /// The host is about to read `list`. Cells that were retired in an earlier one are used again.
    pub(super) fn announce(&mut self, list: u32) {
        if self.list != list {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.edits.truncate(0);
        self.heads.clear();
        self.next = 0;
    }

    fn find(&mut self, cell: CellId, base: CellId, sequence: u64) -> Option<usize> {
        let is_it = |head: &&Head| head.cell == cell && head.base == base && head.sequence == sequence;
        let near = self.heads.iter().enumerate().skip(self.next).take(MAX_PROBES);
        let (index, head) = near.into_iter().find(|(_, head)| is_it(head))?;
        self.next = index + 1;
        Some(head.start)
    }
}

/// What a host wants of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Its value, to be kept: a later one is patched from it, so its bytes stay until [`Client::let_go`] or until it is
    /// the base of another want. Where there is no value, nothing is kept.
    Kept {
        /// The cell whose value the host has kept, and now gives up for this one.
        base: Option<CellId>,
    },
    /// Its value, to be looked at once.
    Once,
    /// The key of its record.
    Key,
}

impl Client {
    /// Writes what a host wants of a cell. Of one that is forgotten, that is nothing.
    pub fn write_value(&mut self, tape: &mut Tape, cell: CellId, want: Want) {
        match want {
            Want::Kept { base } => {
                let old = base.and_then(|base| value(&self.cells, base));
                let new = value(&self.cells, cell);
                let sequence = self.cell_sequence(cell);
                let noted = base.and_then(|base| self.notes.find(cell, base, sequence));
                match (noted, old, new) {
                    (Some(start), Some(old), Some(new)) => tape.replay(&self.notes.edits, start, old, new),
                    _ => write(tape, old, new),
                }
                self.keep(cell, base);
            }
            Want::Once => write(tape, None, value(&self.cells, cell)),
            Want::Key => match self.key(cell) {
                Some(key) => tape.string(key),
                None => tape.absent(),
            },
        }
    }

    /// Writes a part of the value in a cell, which is kept as [`Want::Kept`] is; or nothing, where there is no such part.
    pub fn write_part(&mut self, tape: &mut Tape, cell: CellId, base: Option<CellId>, path: &Path) {
        let part = |cell| value(&self.cells, cell).and_then(|value| path.find(value));
        write(tape, base.and_then(part), part(cell));
        self.keep(cell, base);
    }

    /// The host will patch no object of this cell any more.
    pub fn let_go(&mut self, cell: CellId) {
        self.cells.let_go(cell);
    }

    fn keep(&mut self, cell: CellId, base: Option<CellId>) {
        if value(&self.cells, cell).is_some() {
            self.cells.hold(cell);
        }
        if let Some(base) = base {
            self.cells.let_go(base);
        }
    }
}

fn value(cells: &Cells, cell: CellId) -> Option<EncodedValue<'_>> {
    cells.get(cell)?.value()
}

fn write(tape: &mut Tape, old: Option<EncodedValue<'_>>, new: Option<EncodedValue<'_>>) {
    match (old, new) {
        (Some(old), Some(new)) => tape.patch(old, new),
        (None, Some(new)) => tape.whole(new),
        (_, None) => tape.absent(),
    }
}
