//! The gates that the client runs itself, over encoded values, and what it says of those that did not pass.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use super::{
    Client,
    cells::{Cell, CellId},
    slot::{About, SlotId},
};
use crate::{
    gate::{Dialect, Fault, Gate, Patterns, Unsupported},
    protocol::EncodedValue,
    replica::Verdict,
};

/// Names a gate of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateId(u32);

impl GateId {
    /// The number, as it crosses to the host.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The gate of a number that came from [`Self::number`].
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

struct Compiled {
    gate: Gate,
    host: Box<dyn Patterns>,
}

/// All gates of a client, and the faults of the values that it refused.
#[derive(Default)]
pub(super) struct Gates {
    gates: Vec<Compiled>,
    /// Those that the next change list names.
    faults: Vec<Fault>,
    /// Those of the change list that the host reads now.
    told: Vec<Fault>,
}

impl fmt::Debug for Gates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Gates").field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl Gates {
    /// Keeps a fault and returns its number, which is above 0.
    pub(super) fn report(&mut self, fault: Option<Fault>) -> u32 {
        if fault.is_none() {
            return 0;
        }
        self.faults.extend(fault);
        u32::try_from(self.faults.len()).unwrap_or(0)
    }

    /// A gate and who runs its patterns, for values whose predecessors have passed it.
    pub(super) fn get(&self, gate: GateId) -> Option<(&Gate, &dyn Patterns)> {
        let Compiled { gate, host } = self.gates.get(gate.0 as usize)?;
        Some((gate, &**host))
    }

    /// What a gate says of a value, next to what is shown; `None` where the host must be asked.
    #[inline]
    pub(super) fn verdict(
        &self,
        gate: GateId,
        shown: Option<&Cell>,
        value: EncodedValue<'_>,
    ) -> Option<Result<(), Fault>> {
        let Compiled { gate, host } = self.gates.get(gate.0 as usize)?;
        // What the host made of a value says nothing about its bytes.
        let verdict = match shown.filter(|shown| shown.ticket == 0).and_then(Cell::value) {
            Some(shown) => gate.check_against(shown, value, &**host),
            None => gate.check(value, &**host),
        };
        if verdict.is_err() && gate.dialect() == Dialect::Library { None } else { Some(verdict) }
    }

    /// A change list is about to be read.
    pub(super) fn announce(&mut self) {
        self.told = core::mem::take(&mut self.faults);
    }
}

impl Client {
    /// Compiles a schema; the same one again is the same gate. In [`Dialect::Library`] the host is asked about whatever
    /// does not pass.
    ///
    /// # Errors
    /// What gates do not support.
    pub fn add_gate(
        &mut self,
        schema: EncodedValue<'_>,
        dialect: Dialect,
        mut host: Box<dyn Patterns>,
    ) -> Result<GateId, Unsupported> {
        let gates = &mut self.gates.gates;
        let known = gates.iter().position(|compiled| compiled.gate.is_of(schema, dialect));
        let index = match known {
            Some(index) => index,
            None => {
                let gate = Gate::compile(schema, dialect, &mut *host)?;
                gates.push(Compiled { gate, host });
                gates.len() - 1
            }
        };
        Ok(GateId(u32::try_from(index).unwrap_or(u32::MAX)))
    }

    /// Has a gate judge the values of a gated replica from now on, in the place of the host. For a slot that was made
    /// just now, or whose values the host has judged until now.
    pub fn use_gate(&mut self, slot: SlotId, gate: GateId) {
        if let Some(entry) = self.slots.get_mut(slot.number()) {
            entry.gate = Some(gate);
        }
    }

    /// Judges a value that is the host's own.
    ///
    /// # Errors
    /// What the gate says against it.
    pub fn check(&self, gate: GateId, value: EncodedValue<'_>) -> Result<(), Fault> {
        match self.gates.gates.get(gate.0 as usize) {
            Some(Compiled { gate, host }) => gate.check(value, &**host),
            None => Ok(()),
        }
    }

    /// What a [`Change::Quarantined`](super::Change::Quarantined) of the last change list names.
    #[must_use]
    pub fn fault(&self, number: u32) -> Option<&Fault> {
        self.gates.told.get((number as usize).checked_sub(1)?)
    }

    /// Judges a value by the slot's gate; `None` where the host must.
    pub(super) fn judge(&mut self, slot: SlotId, cell: CellId) -> Option<Verdict> {
        let entry = self.slots.get_mut(slot.number())?;
        let gate = entry.gate?;
        let cell = self.cells.get(cell)?;
        let shown = match &entry.about {
            About::Object { shown, .. } => *shown,
            About::Collection(collection) => {
                cell.key.as_deref().and_then(|key| collection.rows.get(&self.cells, key))
            }
            About::Feed(_) | About::Own { .. } => None,
        };
        let shown = shown.and_then(|shown| self.cells.get(shown));
        match self.gates.verdict(gate, shown, cell.value()?)? {
            Ok(()) => Some(Verdict::Accepted),
            Err(fault) => {
                entry.aside().fault = Some(fault);
                Some(Verdict::Refused)
            }
        }
    }
}
