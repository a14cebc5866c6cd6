//! Names of fields under small numbers: each crosses to the host once, and then as its number.

use alloc::{boxed::Box, vec, vec::Vec};

use crate::protocol::is_same;

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

/// A number that equal names share, by words of eight bytes.
pub(super) fn hash(name: &[u8]) -> usize {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = name.as_chunks::<8>();
    let rest = rest.iter().fold(name.len() as u64, |rest, byte| rest << 8 | u64::from(*byte));
    let mix = |hash: u64, word: u64| (hash.rotate_left(23) ^ word).wrapping_mul(SPREAD);
    let hash = words.iter().fold(mix(0, rest), |hash, word| mix(hash, u64::from_ne_bytes(*word)));
    // The highest bits are mixed best.
    (hash >> 40) as usize
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
                Some(number) if is_same(self.name(number), name) => {
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
