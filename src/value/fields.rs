//! Fields of a map, to be found by name.

use alloc::{vec, vec::Vec};

use super::names::hash;

/// How many old names a new one is compared with where many changed their places. Beyond that the field counts as new:
/// it is built again, and only its identity is lost.
const MAX_PROBES: usize = 16;

/// What an old map has of fields, where the next one has others or has them elsewhere.
pub(super) struct Fields<'a> {
    /// Name, and where the value begins.
    fields: Vec<(&'a [u8], usize)>,
    /// The field after the one found last. Mostly fields only moved together, so this is where to look first.
    next: usize,
    /// Numbers of fields plus one by the hash of their names; 0 is free. Made when it is needed.
    table: Vec<usize>,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(fields: Vec<(&'a [u8], usize)>) -> Self {
        Self { fields, next: 0, table: Vec::new() }
    }

    /// Where the value of a name begins.
    pub(super) fn find(&mut self, name: &[u8]) -> Option<usize> {
        let near = self.fields.iter().enumerate().skip(self.next).take(2);
        let found = near.into_iter().find(|(_, (known, _))| *known == name).map(|(index, _)| index);
        let index = found.or_else(|| self.look_up(name))?;
        self.next = index + 1;
        Some(self.fields[index].1)
    }

    fn look_up(&mut self, name: &[u8]) -> Option<usize> {
        if self.table.is_empty() {
            self.table = vec![0; (2 * self.fields.len()).next_power_of_two()];
            for (index, (name, _)) in self.fields.iter().enumerate() {
                let places = places(name, self.table.len());
                if let Some(place) = places.into_iter().find(|place| self.table[*place] == 0) {
                    self.table[place] = index + 1;
                }
            }
        }
        let mut places = places(name, self.table.len());
        places
            .find_map(|place| self.table[place].checked_sub(1).filter(|index| self.fields[*index].0 == name))
    }
}

/// Where a name may be in a table of `size`, a power of two.
fn places(name: &[u8], size: usize) -> impl Iterator<Item = usize> {
    let first = hash(name);
    (0..MAX_PROBES).map(move |probe| (first + probe) & (size - 1))
}
