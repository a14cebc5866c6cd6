//! Recurring texts under numbers: epochs and schema versions.

use alloc::{boxed::Box, vec::Vec};

use foldhash::fast::FixedState;

use super::index::Index;
use crate::protocol::is_same;

/// Numbers texts from 1 on; 0 stays free for "none".
#[derive(Debug)]
pub(super) struct Interner {
    numbers: Index<u32>,
    texts: Vec<Box<str>>,
    /// The number that was asked for last, which mostly is the next one too.
    last: u32,
}

impl Interner {
    pub(super) fn new(seed: u64) -> Self {
        Self { numbers: Index::new(FixedState::with_seed(seed)), texts: Vec::new(), last: 0 }
    }

    /// The number of `text`, a new one where it has none.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if self.text(self.last).is_some_and(|last| is_same(last.as_bytes(), text.as_bytes())) {
            return self.last;
        }
        if let Some(number) = self.numbers.get(text, &|number| text_of(&self.texts, number)) {
            self.last = number;
            return number;
        }
        self.texts.push(text.into());
        let number = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        self.numbers.insert(text, number, &|number| text_of(&self.texts, number));
        number
    }

    /// The text of `number`.
    pub(super) fn text(&self, number: u32) -> Option<&str> {
        text_of(&self.texts, number)
    }
}

fn text_of(texts: &[Box<str>], number: u32) -> Option<&str> {
    texts.get((number as usize).checked_sub(1)?).map(AsRef::as_ref)
}
