//! Names of fields under small numbers: each crosses to the host once, and then as its number.

use alloc::{boxed::Box, vec, vec::Vec};

/// Names that are remembered. Objects used as dictionaries have any number of names; those beyond cross every time.
const MAX_NAMES: usize = 1_024;

/// Longer names cross every time, so that a list of names stays small.
const MAX_NAME_BYTES: usize = 64;

/// Places of the table: twice the names, so that most are found where they should be.
const PLACES: usize = 2 * MAX_NAMES;

/// How far from its place a name may be. Names that were made to collide cross every time, and cost no search.
const MAX_PROBES: usize = 8;

/// What the list says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// The host has it.
    Old(u32),
    /// The host is to append it to its own list.
    New,
    /// It is not remembered.
    Never,
}

/// The list of names, which host and core extend in step.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// One after another.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
    /// Numbers of names plus one; 0 is free. Made with the first name.
    table: Box<[u16]>,
}

/// FNV-1a.
pub(super) fn hash(name: &[u8]) -> usize {
    let hash =
        name.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    (hash ^ hash >> 15) as usize
}

impl Names {
    fn name(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.bytes[start..self.ends[number] as usize]
    }

    /// Looks a name up, and adds it where there is room.
    pub(super) fn look_up(&mut self, name: &[u8]) -> Known {
        if name.len() > MAX_NAME_BYTES {
            return Known::Never;
        }
        if self.table.is_empty() {
            self.table = vec![0; PLACES].into();
        }
        let first = hash(name);
        for probe in 0..MAX_PROBES {
            let place = (first + probe) % PLACES;
            match usize::from(self.table[place]).checked_sub(1) {
                Some(number) if self.name(number) == name => {
                    return Known::Old(u32::try_from(number).unwrap_or_default());
                }
                Some(_) => {}
                None if self.ends.len() < MAX_NAMES => {
                    self.bytes.extend_from_slice(name);
                    self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
                    self.table[place] = u16::try_from(self.ends.len()).unwrap_or_default();
                    return Known::New;
                }
                None => return Known::Never,
            }
        }
        Known::Never
    }
}
