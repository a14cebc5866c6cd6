//! What differs between a value and the one before it, by where it lies.

use alloc::vec::Vec;

use super::tape::{Op, Tape, key};
use crate::protocol::{EncodedValue, Scanner};

/// One difference, as a word: its kind in the three lowest bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    /// The value at this offset of the new bytes takes the place of what was there.
    Fresh(usize),
    /// A map with so many edits: each the offset of a name in the new bytes, and an edit.
    Map(usize),
    /// As [`Self::Map`]; then how many fields go, and the offsets of their names in the old bytes; then how many come after
    /// the others, each the offset of a name and an edit.
    Reorder(usize),
    /// A list with so many edits: each an index and an edit.
    List(usize),
    /// A list that has so many elements now: then how many stay at the beginning and at the end, and how many edits there
    /// are between.
    Splice(usize),
}

impl Edit {
    /// Nothing differs.
    pub(super) const SAME: Self = Self::Map(0);
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

    /// Forgets all notes. The memory is kept, but for that of something unusually large.
    pub fn clear(&mut self) {
        const KEPT: usize = 64 * 1024;
        self.words.clear();
        self.words.shrink_to(KEPT);
    }

    /// Forgets what was noted from `start` on.
    pub fn truncate(&mut self, start: usize) {
        self.words.truncate(start);
    }

    #[inline]
    fn head(edit: Edit) -> u32 {
        match edit {
            Edit::Fresh(at) => word(at) << 3,
            Edit::Map(count) => word(count) << 3 | 1,
            Edit::Reorder(count) => word(count) << 3 | 2,
            Edit::List(count) => word(count) << 3 | 3,
            Edit::Splice(count) => word(count) << 3 | 4,
        }
    }

    /// Notes an edit. Returns where it is.
    #[inline]
    pub(super) fn push(&mut self, edit: Edit) -> usize {
        let at = self.words.len();
        self.words.push(Self::head(edit));
        at
    }

    /// Says more about an edit whose parts are noted now.
    pub(super) fn set(&mut self, at: usize, edit: Edit) {
        self.words[at] = Self::head(edit);
    }

    /// Notes where the next edit belongs: the index in a list, or the offset of a name. Or else how many there are of what
    /// comes next.
    #[inline]
    pub(super) fn place(&mut self, place: usize) {
        self.words.push(word(place));
    }
}

/// Reads notes, and writes the tape that they stand for.
struct Replay<'a> {
    words: core::slice::Iter<'a, u32>,
    old: Scanner<'a>,
    new: Scanner<'a>,
}

impl Replay<'_> {
    fn next(&mut self) -> usize {
        // Notes are whole: there are as many words as they say.
        self.words.next().copied().unwrap_or_default() as usize
    }

    /// Edits with the names that they are under.
    fn fields(&mut self, count: usize, tape: &mut Tape) {
        for _ in 0..count {
            let name = self.next();
            tape.name(key(&mut self.new.at(name)));
            self.edit(tape);
        }
    }

    fn edit(&mut self, tape: &mut Tape) {
        let word = self.next();
        let argument = word >> 3;
        match word & 7 {
            0 => tape.node(&mut self.new.at(argument)),
            1 if argument == 0 => tape.op(Op::Same, 0),
            kind @ (1 | 2) => {
                tape.op(if kind == 1 { Op::EditMap } else { Op::ReorderMap }, argument);
                self.fields(argument, tape);
                if kind == 1 {
                    return;
                }
                let gone = self.copy(tape);
                for _ in 0..gone {
                    let name = self.next();
                    tape.name(key(&mut self.old.at(name)));
                }
                let count = self.copy(tape);
                self.fields(count, tape);
            }
            3 => {
                tape.op(Op::EditList, argument);
                for _ in 0..argument {
                    self.copy(tape);
                    self.edit(tape);
                }
            }
            _ => {
                tape.op(Op::SpliceList, argument);
                self.copy(tape);
                self.copy(tape);
                for _ in 0..self.next() {
                    self.edit(tape);
                }
            }
        }
    }

    /// A word that the tape has too.
    fn copy(&mut self, tape: &mut Tape) -> usize {
        let word = self.next();
        tape.word(word);
        word
    }
}

impl Tape {
    /// As [`Self::patch`], by the notes at `start` about just these two values.
    pub fn replay(&mut self, edits: &Edits, start: usize, old: EncodedValue<'_>, new: EncodedValue<'_>) {
        let words = edits.words.get(start..).unwrap_or_default().iter();
        Replay { words, old: Scanner::new(old), new: Scanner::new(new) }.edit(self);
    }
}
