//! Numbers by texts that lie elsewhere: those who keep the texts say which is whose.

use core::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// What number has which text; of one without a text, nothing is found.
pub(super) type TextOf<'f, 't, T> = &'f dyn Fn(T) -> Option<&'t str>;

/// A hash table of numbers. Seeded per client, so that nobody can choose texts that collide in all of them.
///
/// It asks for texts by a function that it does not know when it is compiled: the code of a table is long, and is the same
/// for all numbers of a size.
#[derive(Debug)]
pub(super) struct Index<T> {
    numbers: HashTable<T>,
    hasher: FixedState,
}

impl<T: Copy> Index<T> {
    pub(super) const fn new(hasher: FixedState) -> Self {
        Self { numbers: HashTable::new(), hasher }
    }

    /// One of the same seed, with nothing in it.
    pub(super) fn empty(&self) -> Self {
        Self::new(self.hasher.clone())
    }

    #[inline(never)]
    pub(super) fn get(&self, text: &str, text_of: TextOf<'_, '_, T>) -> Option<T> {
        self.numbers.find(self.hasher.hash_one(text), |number| text_of(*number) == Some(text)).copied()
    }

    /// Where the number of a text stands, for another with the same text to take its place.
    #[inline(never)]
    pub(super) fn get_mut(&mut self, text: &str, text_of: TextOf<'_, '_, T>) -> Option<&mut T> {
        self.numbers.find_mut(self.hasher.hash_one(text), |number| text_of(*number) == Some(text))
    }

    /// Puts a number in the place of the one with the same text, which is returned.
    #[inline(never)]
    pub(super) fn insert(&mut self, text: &str, number: T, text_of: TextOf<'_, '_, T>) -> Option<T> {
        if let Some(there) = self.get_mut(text, text_of) {
            return Some(core::mem::replace(there, number));
        }
        let hasher = &self.hasher;
        let hash_of = |there: &T| hasher.hash_one(text_of(*there).unwrap_or_default());
        self.numbers.insert_unique(hasher.hash_one(text), number, hash_of);
        None
    }

    #[inline(never)]
    pub(super) fn remove(&mut self, text: &str, text_of: TextOf<'_, '_, T>) -> Option<T> {
        let hash = self.hasher.hash_one(text);
        let entry = self.numbers.find_entry(hash, |number| text_of(*number) == Some(text)).ok()?;
        Some(entry.remove().0)
    }

    /// All numbers, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = T> {
        self.numbers.iter().copied()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(T) -> bool) {
        self.numbers.retain(|number| keep(*number));
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}
