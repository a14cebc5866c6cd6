//! Things under small numbers that name nothing else soon after.

use alloc::{boxed::Box, vec::Vec};

/// Bits of a number that are the index: a million things at a time.
const INDEX_BITS: u32 = 20;

#[derive(Debug)]
struct Entry<T> {
    /// Counts the uses of this index, so that a number of an earlier use finds nothing.
    generation: u32,
    item: Option<Box<T>>,
}

/// Things under numbers above 0. A number comes back only after its index was used 4,095 times more.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    /// Adds a thing and returns its number; `None` where there are a million already.
    pub(super) fn insert(&mut self, item: T) -> Option<u32> {
        let index = self.free.pop().or_else(|| {
            let index = u32::try_from(self.entries.len()).ok().filter(|index| *index < 1 << INDEX_BITS)?;
            self.entries.push(Entry { generation: 0, item: None });
            Some(index)
        })?;
        let entry = self.entries.get_mut(index as usize)?;
        entry.generation = entry.generation % ((1 << (32 - INDEX_BITS)) - 1) + 1;
        entry.item = Some(Box::new(item));
        Some(entry.generation << INDEX_BITS | index)
    }

    fn index(&self, number: u32) -> Option<usize> {
        let index = (number & ((1 << INDEX_BITS) - 1)) as usize;
        (self.entries.get(index)?.generation == number >> INDEX_BITS).then_some(index)
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.entries[self.index(number)?].item.as_deref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let index = self.index(number)?;
        self.entries[index].item.as_deref_mut()
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let index = self.index(number)?;
        let item = self.entries[index].item.take()?;
        self.free.push(number & ((1 << INDEX_BITS) - 1));
        Some(*item)
    }

    /// All numbers with their things, by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.entries.iter().zip(0..).filter_map(|(entry, index)| {
            entry.item.as_deref().map(|item| (entry.generation << INDEX_BITS | index, item))
        })
    }

    /// Removes what `keep` does not keep.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for (entry, index) in self.entries.iter_mut().zip(0..) {
            if entry.item.as_deref().is_some_and(|item| !keep(item)) {
                entry.item = None;
                self.free.push(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_a_removed_thing_finds_nothing_even_when_its_index_is_used_again() {
        let mut slab = Slab::new();
        let first = slab.insert("first").unwrap();
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second").unwrap();
        assert_ne!(first, second);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_ne!(second, 0);
    }

    #[test]
    fn indices_are_used_again_so_churn_does_not_grow_it() {
        let mut slab = Slab::new();
        for item in 0..100_000 {
            let number = slab.insert(item).unwrap();
            assert_eq!(slab.remove(number), Some(item));
        }
        assert_eq!(slab.entries.len(), 1);
    }
}
