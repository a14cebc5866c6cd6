//! The next version of a value: checked, judged and compared with the one before, in one walk.
//!
//! The value before is well-formed and has passed the gate. So wherever the next one has the same bytes at the same
//! place of the same structure, nothing has to be asked: equal bytes are passed over by words of memory, and the tokens
//! walked over are those of the old value that lie around a difference. What differs is checked as a peer's bytes are,
//! judged by the node that speaks of its place, and noted ([`Edits`]) for the tape of whoever has the value before.
//!
//! Nothing says where the next value ends in its frame; but encodings delimit themselves, so it ends where the walk does.

use super::{
    diff::says_the_same,
    edits::{Edit, Edits},
    marks::Marks,
    tape::key,
};
use crate::{
    gate::{ANYTHING, Gate, NodeId, Parts, Patterns, Steps},
    protocol::{EncodedValue, Reader, Scanner, Token, common_prefix, limits},
};

/// What keeps the walk from going on: the next version is refused or is none. Another walk finds out why.
struct Stop;

/// Reads the value that follows `old`, and moves past it. `None` where it is none, where the gate refuses it, or where
/// the way here is too short to tell: then the reader has not moved. `old` has passed the gate. With `edits`, what
/// differs is noted there. `marks` are those of `old`; they learn what becomes of them.
pub fn advance<'a>(
    old: EncodedValue<'_>,
    reader: &mut Reader<'a>,
    gate: Option<(&Gate, &dyn Patterns)>,
    edits: Option<&mut Edits>,
    marks: Option<&mut Marks>,
) -> Option<EncodedValue<'a>> {
    let (before, bytes) = (old.as_bytes(), reader.rest());
    let run = common_prefix(before, bytes);
    if run == before.len() {
        if let Some(edits) = edits {
            edits.push(Edit::Map(0));
        }
        reader.pass(run);
        return Some(EncodedValue::trusted(&bytes[..run]));
    }
    let mut walk = Advance {
        old: Scanner::new(old),
        new: Reader::new(bytes),
        run,
        levels: limits::MAX_DEPTH,
        steps: gate.map(|(gate, host)| Steps::new(gate, host, old, bytes, run)),
        edits,
        marks,
        is_over: false,
    };
    let node = walk.steps.as_ref().map_or(ANYTHING, Steps::root);
    let Ok(is_changed) = walk.value(node) else { return None };
    let end = walk.end();
    if end > limits::MAX_VALUE_BYTES {
        return None;
    }
    if !is_changed && let Some(edits) = walk.edits {
        edits.push(Edit::Map(0));
    }
    reader.pass(end);
    bytes.get(..end).map(EncodedValue::trusted)
}

struct Advance<'w> {
    /// Before a token of the old value ...
    old: Scanner<'w>,
    /// ... and here before the one of the new value that takes its place.
    new: Reader<'w>,
    /// Up to this offset of the old value both are equal from here on.
    run: usize,
    /// So much deeper the new value may nest.
    levels: usize,
    steps: Option<Steps<'w>>,
    edits: Option<&'w mut Edits>,
    marks: Option<&'w mut Marks>,
    /// All that follows is equal: the walk has ended before the end of the values.
    is_over: bool,
}

impl Advance<'_> {
    /// Where the new value ends.
    fn end(&self) -> usize {
        let left = if self.is_over { self.old.bytes().len() - self.old.offset() } else { 0 };
        self.new.offset() + left
    }

    /// Finds how much is equal from here on.
    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn sync(&mut self) {
        let from = self.old.offset();
        let before = self.old.bytes();
        self.run = from + common_prefix(before.get(from..).unwrap_or_default(), self.new.rest());
        self.is_over = self.run == before.len();
    }

    /// Moves both past bytes that are equal, which the old scanner has passed since it was at `from`.
    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn follow(&mut self, from: usize) {
        self.new.pass(self.old.offset() - from);
    }

    /// Moves past two values that are not equal, byte by byte. Says whether anything was noted.
    fn value(&mut self, node: NodeId) -> Result<bool, Stop> {
        let (old, new) = (self.old, self.new.clone());
        let Some((size, token)) = self.old.container() else { return self.replace(node) };
        if old.offset() + size > self.run {
            return self.replace(node);
        }
        let start = self.note(Edit::Map(0));
        self.old = old.at(old.offset() + size);
        self.follow(old.offset());
        let parts = self.steps.as_ref().map_or(Parts::Free, |steps| steps.parts(node));
        self.levels = self.levels.saturating_sub(1);
        let noted = match token {
            Token::Map(count) => self.map(count, parts)?.map(|edits| (edits, Edit::Map(edits))),
            Token::Array(count) => {
                let edits = self.list(count, parts)?;
                Some((edits, Edit::List(edits)))
            }
            _ => None,
        };
        self.levels += 1;
        let Some((count, edit)) = noted else {
            self.forget(start);
            (self.old, self.new) = (old, new);
            self.sync();
            return self.replace(node);
        };
        if matches!(parts, Parts::Whole) {
            self.judge(node, old.offset(), new.offset())?;
        }
        if count == 0 {
            self.forget(start);
        } else if let Some(edits) = &mut self.edits {
            edits.set(start, edit);
        }
        Ok(count > 0)
    }

    /// Moves past two values of which the new one is to be checked from its first byte to its last.
    fn replace(&mut self, node: NodeId) -> Result<bool, Stop> {
        let (was, is) = (self.old, self.new.offset());
        self.new.part(self.levels).map_err(|_| Stop)?;
        self.judge(node, was.offset(), is)?;
        self.old.skip();
        if let Some(marks) = &mut self.marks {
            let end = self.old.offset();
            marks.note(end, end - was.offset(), self.new.offset() - is);
            if was.container().is_some() {
                marks.lose();
            }
        }
        self.sync();
        if self.edits.is_none() {
            return Ok(false);
        }
        let edit = edit(was, is, self.new.all());
        if let Some(edit) = edit {
            self.note(edit);
        }
        Ok(edit.is_some())
    }

    /// Moves past what is equal of the parts of a container from `index` on, each of so many values. Its first part is at
    /// `first`. Returns how many parts that are.
    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn pass(&mut self, first: usize, index: usize, count: usize, values: usize) -> usize {
        let from = self.old.offset();
        let mut at = index;
        if let Some((offset, marked)) = self.marks.as_ref().and_then(|marks| marks.find(first, self.run))
            && marked > index
        {
            self.old = self.old.at(offset);
            at = marked;
        }
        at += self.old.pass(count - at, values, self.run);
        self.follow(from);
        at - index
    }

    /// Moves past the entries of maps with as many of them; `None` if their names are not the same. Returns how many were
    /// noted.
    fn map(&mut self, count: usize, parts: Parts) -> Result<Option<usize>, Stop> {
        let mut noted = 0;
        let mut expected = match (&self.steps, parts) {
            (Some(steps), Parts::Entries(rules)) => steps.first(rules),
            _ => 0,
        };
        let (first, mut index) = (self.old.offset(), 0);
        while index < count {
            let passed = self.pass(first, index, count, 2);
            index += passed;
            if index == count {
                break;
            }
            index += 1;
            let (from, named) = (self.old.offset(), self.new.offset());
            let name = key(&mut self.old);
            if self.old.offset() > self.run {
                return Ok(None);
            }
            self.follow(from);
            let node = match (&mut self.steps, parts) {
                (Some(steps), Parts::Entries(rules)) => {
                    expected = expected.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
                    steps.entry(rules, named, name, &mut expected).ok_or(Stop)?
                }
                _ => ANYTHING,
            };
            noted += self.part(named, node)?;
            if self.is_over {
                break;
            }
        }
        Ok(Some(noted))
    }

    /// Moves past the elements of lists of the same length. Returns how many were noted.
    fn list(&mut self, count: usize, parts: Parts) -> Result<usize, Stop> {
        let node = if let Parts::Elements(node) = parts { node } else { ANYTHING };
        let mut noted = 0;
        let (first, mut index) = (self.old.offset(), 0);
        while index < count {
            index += self.pass(first, index, count, 1);
            if index == count {
                break;
            }
            noted += self.part(index, node)?;
            if self.is_over {
                break;
            }
            index += 1;
        }
        Ok(noted)
    }

    /// Moves past two parts that are not equal, and notes what differs under where that is. Returns how many were noted.
    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn part(&mut self, place: usize, node: NodeId) -> Result<usize, Stop> {
        let start = self.edits.as_ref().map_or(0, |edits| edits.len());
        if let Some(edits) = &mut self.edits {
            edits.place(place);
        }
        if self.value(node)? {
            return Ok(1);
        }
        self.forget(start);
        Ok(0)
    }

    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn judge(&mut self, node: NodeId, was: usize, is: usize) -> Result<(), Stop> {
        let passes = self.steps.as_mut().is_none_or(|steps| steps.passes(node, is, Some(was)));
        if passes { Ok(()) } else { Err(Stop) }
    }

    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn note(&mut self, edit: Edit) -> usize {
        self.edits.as_mut().map_or(0, |edits| edits.push(edit))
    }

    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn forget(&mut self, start: usize) {
        if let Some(edits) = &mut self.edits {
            edits.truncate(start);
        }
    }
}

/// What to note of the old value at `was` and the new one at `is` in `bytes`; nothing where they are one to a host.
fn edit(was: Scanner<'_>, is: usize, bytes: &[u8]) -> Option<Edit> {
    let is_short = |marker: u8| matches!(marker, 0x00..=0x7f | 0xa0..=0xc3 | 0xe0..=0xff);
    let (before, after) = (was.marker().unwrap_or_default(), bytes.get(is).copied().unwrap_or_default());
    // Of what is written in the shortest way, other bytes are another value.
    if is_short(before) && is_short(after) {
        return Some(Edit::Fresh(is));
    }
    let (mut old, mut new) = (was, Scanner::new(EncodedValue::trusted(bytes)).at(is));
    let differs = match (old.token(), new.token()) {
        (Some(Token::Map(_)), Some(Token::Map(_))) | (Some(Token::Array(_)), Some(Token::Array(_))) => {
            return Some(Edit::Compare { old: was.offset(), new: is });
        }
        (Some(before), Some(after)) => !says_the_same(before, after),
        _ => true,
    };
    differs.then_some(Edit::Fresh(is))
}
