//! Things under small numbers that name nothing else soon after.

use alloc::vec::Vec;

use super::paged::Paged;

/// Bits of a number that are the index: a million things at a time.
const INDEX_BITS: u32 = 20;

/// Things under numbers above 0. A number comes back only after its index was used 4,095 times more.
#[derive(Debug)]
pub(super) struct Slab<T> {
    items: Paged<Option<T>>,
    /// Of each index how often it was used, so that a number of an earlier use finds nothing.
    generations: Paged<u32>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { items: Paged::new(), generations: Paged::new(), free: Vec::new() }
    }

    /// Adds a thing and returns its number; `None` where there are a million already.
    pub(super) fn insert(&mut self, item: T) -> Option<u32> {
        let index = self.free.pop().or_else(|| {
            let index = u32::try_from(self.items.len()).ok().filter(|index| *index < 1 << INDEX_BITS)?;
            self.items.push(None);
            self.generations.push(0);
            Some(index)
        })?;
        let generation = self.generations.get_mut(index as usize)?;
        *generation = *generation % ((1 << (32 - INDEX_BITS)) - 1) + 1;
        self.items[index as usize] = Some(item);
        Some(*generation << INDEX_BITS | index)
    }

    fn index(&self, number: u32) -> Option<usize> {
        let index = (number & ((1 << INDEX_BITS) - 1)) as usize;
        (*self.generations.get(index)? == number >> INDEX_BITS).then_some(index)
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.items[self.index(number)?].as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let index = self.index(number)?;
        self.items[index].as_mut()
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let index = self.index(number)?;
        let item = self.items[index].take()?;
        self.free.push(number & ((1 << INDEX_BITS) - 1));
        Some(item)
    }

    /// All numbers with their things, by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..self.items.len()).filter_map(|index| {
            let item = self.items.get(index)?.as_ref()?;
            let generation = self.generations.get(index)?;
            Some((generation << INDEX_BITS | u32::try_from(index).ok()?, item))
        })
    }

    /// Removes what `keep` does not keep.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for index in 0..self.items.len() {
            if self.items[index].as_ref().is_some_and(|item| !keep(item)) {
                self.items[index] = None;
                self.free.extend(u32::try_from(index));
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
        assert_eq!(slab.items.len(), 1);
    }
}
