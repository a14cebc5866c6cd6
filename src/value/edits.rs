//! What differs between a value and the one before it, by where it lies.

use alloc::vec::Vec;

use super::tape::{Op, Tape, key};
use crate::protocol::{EncodedValue, Scanner};

/// One difference, as a word: its kind in the two lowest bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// The value at this offset of the new bytes takes the place of what was there.
    Fresh(usize),
    /// A map with so many edits: each the offset of a name in the new bytes, and an edit.
    Map(usize),
    /// A list with so many edits: each an index and an edit.
    List(usize),
    /// A map or a list that has other names, or another length: to be compared. The offset in the old bytes is a word of
    /// its own.
    Compare {
        /// Where the old one begins.
        old: usize,
        /// Where the new one begins.
        new: usize,
    },
}

/// Notes about any number of values, each of which begins where [`Edits::len`] was before it was written.
#[derive(Debug, Default)]
pub struct Edits {
    words: Vec<u32>,
}

#[expect(clippy::cast_possible_truncation, reason = "a value has fewer than 2^27 bytes")]
const fn word(number: usize) -> u32 {
    number as u32
}

impl Edits {
    /// No notes.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: Vec::new() }
    }

    /// Where the next note begins.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether nothing is noted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Forgets what was noted from `start` on.
    pub fn truncate(&mut self, start: usize) {
        self.words.truncate(start);
    }

    #[inline]
    fn head(edit: Edit) -> u32 {
        match edit {
            Edit::Fresh(at) => word(at) << 2,
            Edit::Map(count) => word(count) << 2 | 1,
            Edit::List(count) => word(count) << 2 | 2,
            Edit::Compare { new, .. } => word(new) << 2 | 3,
        }
    }

    /// Notes an edit. Returns where it is.
    #[inline]
    pub(super) fn push(&mut self, edit: Edit) -> usize {
        let at = self.words.len();
        self.words.push(Self::head(edit));
        if let Edit::Compare { old, .. } = edit {
            self.words.push(word(old));
        }
        at
    }

    /// Says more about an edit whose parts are noted now.
    pub(super) fn set(&mut self, at: usize, edit: Edit) {
        self.words[at] = Self::head(edit);
    }

    /// Notes where the next edit belongs: the index in a list, or the offset of a name.
    #[inline]
    pub(super) fn place(&mut self, place: usize) {
        self.words.push(word(place));
    }
}

/// Reads notes, and writes the tape that they stand for.
struct Replay<'a> {
    words: core::slice::Iter<'a, u32>,
    old: EncodedValue<'a>,
    new: Scanner<'a>,
}

impl Replay<'_> {
    fn next(&mut self) -> usize {
        // Notes are whole: there are as many words as they say.
        self.words.next().copied().unwrap_or_default() as usize
    }

    fn edit(&mut self, tape: &mut Tape) {
        let word = self.next();
        let argument = word >> 2;
        match word & 3 {
            0 => tape.node(&mut self.new.at(argument)),
            // Nothing differs.
            1 if argument == 0 => tape.op(Op::Same, 0),
            1 => {
                tape.op(Op::EditMap, argument);
                for _ in 0..argument {
                    let name = self.next();
                    tape.name(key(&mut self.new.at(name)));
                    self.edit(tape);
                }
            }
            2 => {
                tape.op(Op::EditList, argument);
                for _ in 0..argument {
                    let index = self.next();
                    tape.word(index);
                    self.edit(tape);
                }
            }
            _ => {
                let old = Scanner::new(self.old).at(self.next()).value();
                if let Some((old, new)) = old.zip(self.new.at(argument).value()) {
                    tape.patch(old, new);
                }
            }
        }
    }
}

impl Tape {
    /// As [`Self::patch`], by the notes at `start` about just these two values.
    pub fn replay(&mut self, edits: &Edits, start: usize, old: EncodedValue<'_>, new: EncodedValue<'_>) {
        let words = edits.words.get(start..).unwrap_or_default().iter();
        Replay { words, old, new: Scanner::new(new) }.edit(self);
    }
}
