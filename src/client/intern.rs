//! Texts under numbers: recurring ones (epochs, schema versions), and record keys with the number of their cell.

use alloc::{boxed::Box, vec::Vec};

use hashbrown::HashMap;

use crate::protocol::is_same;

/// Numbers by text. Seeded per client, so that nobody can choose keys that collide in all of them.
pub(super) type Names = HashMap<Box<str>, u32, foldhash::fast::FixedState>;

/// Numbers texts from 1 on; 0 stays free for "none".
#[derive(Debug)]
pub(super) struct Interner {
    numbers: Names,
    texts: Vec<Box<str>>,
    /// The number that was asked for last, which mostly is the next one too.
    last: u32,
}

impl Interner {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            numbers: Names::with_hasher(foldhash::fast::FixedState::with_seed(seed)),
            texts: Vec::new(),
            last: 0,
        }
    }

    /// The number of `text`, a new one where it has none.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if self.text(self.last).is_some_and(|last| is_same(last.as_bytes(), text.as_bytes())) {
            return self.last;
        }
        if let Some(number) = self.numbers.get(text) {
            self.last = *number;
            return *number;
        }
        self.texts.push(text.into());
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.numbers.insert(text.into(), number);
        number
    }

    /// The text of `number`.
    pub(super) fn text(&self, number: u32) -> Option<&str> {
        let index = (number as usize).checked_sub(1)?;
        self.texts.get(index).map(AsRef::as_ref)
    }
}
