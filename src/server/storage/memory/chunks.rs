//! A list that grows by chunks: it never moves what it holds, and never has room for twice as much.

use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// Elements of a chunk: few enough that an unfilled one is nothing beside a table worth counting, and a power of two.
const CHUNK: usize = 256;

#[derive(Debug, Clone)]
pub(super) struct Chunks<T> {
    /// All but the last are full; none is empty.
    chunks: Vec<Vec<T>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Chunks<T> {
    pub(super) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(super) fn push(&mut self, value: T) {
        match self.chunks.last_mut().filter(|last| last.len() < CHUNK) {
            Some(last) => last.push(value),
            None => {
                // The first chunk of a small table grows as it needs.
                let mut chunk = Vec::with_capacity(if self.chunks.is_empty() { 4 } else { CHUNK });
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let last = self.chunks.last_mut()?;
        let value = last.pop();
        if last.is_empty() {
            self.chunks.pop();
        }
        value
    }

    /// The elements from `first` on.
    pub(super) fn from(&self, first: usize) -> impl DoubleEndedIterator<Item = &T> {
        let whole = self.chunks.get(first / CHUNK + 1..).unwrap_or_default().iter().flatten();
        let part = self.chunks.get(first / CHUNK).and_then(|chunk| chunk.get(first % CHUNK..));
        part.unwrap_or_default().iter().chain(whole)
    }

    /// The index of the first element that is not `below`, where all that are come first.
    pub(super) fn partition_point(&self, mut below: impl FnMut(&T) -> bool) -> usize {
        let below_all = self.chunks.partition_point(|chunk| chunk.last().is_some_and(&mut below));
        match self.chunks.get(below_all) {
            Some(chunk) => below_all * CHUNK + chunk.partition_point(below),
            None => self.len(),
        }
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let before = core::mem::take(self);
        for value in before.chunks.into_iter().flatten() {
            if keep(&value) {
                self.push(value);
            }
        }
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl<T> IndexMut<usize> for Chunks<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_chunks_behaves_like_a_list() {
        let mut list = Chunks::default();
        for n in 0..1_000 {
            assert_eq!(list.len(), n);
            list.push(n);
        }
        list[700] = 7_000;
        assert_eq!((list[255], list[256], list[700]), (255, 256, 7_000));
        list[700] = 700;
        for first in [0, 1, 255, 256, 257, 999, 1_000, 2_000] {
            assert!(list.from(first).copied().eq(first..1_000), "{first}");
            assert_eq!(list.partition_point(|n| *n < first), first.min(1_000), "{first}");
        }
        list.retain(|n| n % 2 == 0);
        assert!(list.from(0).copied().eq((0..1_000).step_by(2)));
        while let Some(n) = list.pop() {
            assert_eq!(list.len(), n / 2);
        }
        assert_eq!(list.len(), 0);
    }
}
