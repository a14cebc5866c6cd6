//! A list that grows by a page at a time: nothing is moved, and no more than a page is spare. A `Vec` of a hundred thousand
//! would have up to as many places to spare, and twice as many while it moves.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// Things in a page.
const PAGE: usize = 64;

#[derive(Debug)]
pub(super) struct Paged<T> {
    /// All but the last are full.
    pages: Vec<Vec<T>>,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Paged<T> {
    pub(super) const fn new() -> Self {
        Self { pages: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE + last.len())
    }

    pub(super) fn push(&mut self, item: T) {
        match self.pages.last_mut().filter(|last| last.len() < PAGE) {
            Some(last) => last.push(item),
            None => {
                // The first page grows: many clients hold a few things.
                let mut page = Vec::with_capacity(if self.pages.is_empty() { 0 } else { PAGE });
                page.push(item);
                self.pages.push(page);
            }
        }
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.pages.get(index / PAGE)?.get(index % PAGE)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.pages.get_mut(index / PAGE)?.get_mut(index % PAGE)
    }
}

impl<T> Index<usize> for Paged<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.pages[index / PAGE][index % PAGE]
    }
}

impl<T> IndexMut<usize> for Paged<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.pages[index / PAGE][index % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_is_found_in_its_place_whatever_page_that_is_on() {
        let mut list = Paged::new();
        for item in 0..1_000 {
            assert_eq!(list.len(), item);
            assert!(list.get(item).is_none());
            list.push(item);
        }
        list[777] = 0;
        assert!((0..1_000).all(|item| list[item] == if item == 777 { 0 } else { item }));
        assert_eq!((list.get(1_000), list.get(usize::MAX)), (None, None));
    }
}
