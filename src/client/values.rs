//! Values for a host that wants objects: which version it has, and what to build of the one that is shown.

use super::{CellId, Client, cells::Cells};
use crate::{
    protocol::EncodedValue,
    value::{Path, Tape},
};

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
                write(tape, old, value(&self.cells, cell));
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
