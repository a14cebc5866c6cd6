//! Texts that recur (epochs, schema versions) as small numbers, so that only numbers cross into the reconciler.

use std::collections::HashMap;

/// Numbers texts from 1 on; 0 stays free for "none".
#[derive(Debug, Default)]
pub(super) struct Interner {
    numbers: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
}

impl Interner {
    /// The number of `text`, a new one where it has none.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        self.texts.push(text.into());
        let number = u32::try_from(self.texts.len()).expect("fewer than 2^32 texts fit in memory");
        self.numbers.insert(text.into(), number);
        number
    }

    /// The text of `number`.
    pub(super) fn text(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.texts.get(index).map(AsRef::as_ref)
    }
}
