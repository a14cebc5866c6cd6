//! The tape: what a host reads to build values.
//!
//! A tape is a list of 32-bit words and two texts. A node begins with a word whose low five bits are an [`Op`] and
//! whose other 27 are its argument. Strings are cut from the two texts in turn: the next so many UTF-16 units. Those of
//! ASCII have a text of their own, because one other character in it would double the memory of all.

use alloc::vec::Vec;

use super::{
    edits::Edits,
    names::{Known, Names},
};
use crate::protocol::{EncodedValue, Scanner, Token, is_ascii};

/// What to do, in the low bits of a node's first word. The facade's `value/tape.ts` has the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Op {
    /// `null`.
    Nil = 0,
    /// `false`.
    False,
    /// `true`.
    True,
    /// An integer: the argument, with its sign.
    Small,
    /// A float in two words, the low one first.
    Float,
    /// An integer beyond 2^53 in two words, with its sign.
    Signed,
    /// An integer beyond 2^63 in two words.
    Unsigned,
    /// So many units of the ASCII text.
    Text,
    /// So many units of the other text.
    Wide,
    /// So many bytes, in as many words as they need.
    Bytes,
    /// A list of so many nodes.
    List,
    /// An object of so many names, each with a node.
    Map,
    /// What the host has, as it is.
    Same,
    /// The object that the host has, with so many names set.
    EditMap,
    /// As [`Self::EditMap`]; then a word for how many fields go, and their names; then a word for how many come after the
    /// others, each a name with a node. Those may be some of which went.
    ReorderMap,
    /// The list that the host has, with so many elements set: a word for the index and a node each.
    EditList,
    /// The list that the host has, with other elements in the middle: the argument is the new length, then a word for
    /// how many stay at the beginning and one for how many at the end, then the nodes between.
    SpliceList,
    /// Nothing: there is no such part.
    Absent,
}

/// Bits of the first word that are the operation.
pub(super) const OP_BITS: u32 = 5;

/// A name's word is its number, or one of these and a node's word for its text: to append to the list of names.
const NAME_NEW: u32 = u32::MAX;
/// A name's word: its text follows and is not to be remembered.
const NAME_ONCE: u32 = u32::MAX - 1;

/// The largest integer that is the same number as a float.
pub(super) const MAX_EXACT: u64 = (1 << 53) - 1;

/// What a host reads to build values. See the [module](self) for the format.
///
/// Writing appends. [`Self::clear`] empties it, but for the names that the host has learned: so a host reads every tape
/// to its end.
#[derive(Debug, Default)]
pub struct Tape {
    pub(super) words: Vec<u32>,
    text: Vec<u8>,
    wide: Vec<u8>,
    names: Names,
    /// What [`Self::patch`] found last: its memory is used again.
    pub(super) edits: Edits,
}

impl Tape {
    /// An empty tape, for a host that knows no names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets what was written. The memory is kept, but for that of something unusually large.
    pub fn clear(&mut self) {
        const KEPT: usize = 64 * 1024;
        self.words.clear();
        self.edits.clear();
        self.text.clear();
        self.wide.clear();
        self.words.shrink_to(KEPT);
        self.text.shrink_to(KEPT);
        self.wide.shrink_to(KEPT);
    }

    // ---- getters

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The text of the strings that are ASCII.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The text of all other strings.
    #[must_use]
    pub fn wide(&self) -> &[u8] {
        &self.wide
    }

    // ---- commands

    /// Writes a whole value.
    pub fn whole(&mut self, value: EncodedValue<'_>) {
        self.node(&mut Scanner::new(value));
    }

    /// Writes that there is nothing.
    pub fn absent(&mut self) {
        self.op(Op::Absent, 0);
    }

    /// Writes a string.
    pub fn string(&mut self, text: &str) {
        self.str(text.as_bytes());
    }

    // ---- for `edits.rs`

    #[inline]
    pub(super) fn op(&mut self, op: Op, argument: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a value has fewer than 2^27 bytes")]
        self.words.push(op as u32 | (argument as u32) << OP_BITS);
    }

    #[inline]
    pub(super) fn word(&mut self, number: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a value has fewer than 2^27 bytes")]
        self.words.push(number as u32);
    }

    pub(super) fn name(&mut self, name: &[u8]) {
        match self.names.look_up(name) {
            Known::Old(number) => self.words.push(number),
            Known::New => {
                self.words.push(NAME_NEW);
                self.str(name);
            }
            Known::Never => {
                self.words.push(NAME_ONCE);
                self.str(name);
            }
        }
    }

    /// Writes the value that the scanner stands before, and moves past it.
    pub(super) fn node(&mut self, scanner: &mut Scanner<'_>) {
        // Of a value that was checked there always is a next token; a host must find a node in any case.
        match scanner.token().unwrap_or(Token::Nil) {
            Token::Nil => self.op(Op::Nil, 0),
            Token::Bool(false) => self.op(Op::False, 0),
            Token::Bool(true) => self.op(Op::True, 0),
            Token::Int(number) => self.int(number),
            Token::Large(number) => self.two_words(Op::Unsigned, number),
            Token::Float(number) => self.two_words(Op::Float, number.to_bits()),
            Token::Str(text) => self.str(text),
            Token::Bin(bytes) => self.bytes(bytes),
            Token::Array(count) => {
                self.op(Op::List, count);
                for _ in 0..count {
                    self.node(scanner);
                }
            }
            Token::Map(count) => {
                self.op(Op::Map, count);
                for _ in 0..count {
                    self.name(key(scanner));
                    self.node(scanner);
                }
            }
        }
    }

    fn int(&mut self, number: i64) {
        const LIMIT: i64 = 1 << (31 - OP_BITS);
        if (-LIMIT..LIMIT).contains(&number) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
            self.words.push(Op::Small as u32 | (number as u32) << OP_BITS);
        } else if number.unsigned_abs() <= MAX_EXACT {
            #[expect(clippy::cast_precision_loss, reason = "in the range of exact integers")]
            self.two_words(Op::Float, (number as f64).to_bits());
        } else {
            self.two_words(Op::Signed, number.cast_unsigned());
        }
    }

    fn two_words(&mut self, op: Op, bits: u64) {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        self.words.extend_from_slice(&[op as u32, bits as u32, (bits >> 32) as u32]);
    }

    fn str(&mut self, text: &[u8]) {
        if is_ascii(text) {
            self.op(Op::Text, text.len());
            self.text.extend_from_slice(text);
        } else {
            // Each character's first byte is one unit, and that of those of four bytes one more.
            let units = text.iter().map(|byte| usize::from(byte & 0xc0 != 0x80) + usize::from(*byte >= 0xf0));
            self.op(Op::Wide, units.sum());
            self.wide.extend_from_slice(text);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.op(Op::Bytes, bytes.len());
        self.words.extend(bytes.chunks(4).map(|chunk| {
            // As they lie in memory: the host reads them there.
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(word)
        }));
    }
}

/// The name that the scanner stands before. Another token cannot be: the check of the value lets strings only be names.
#[inline]
pub(super) fn key<'a>(scanner: &mut Scanner<'a>) -> &'a [u8] {
    scanner.name()
}
