//! The next version of a value: checked, judged and compared with the one before, in one walk.
//!
//! The value before is well-formed and has passed the gate. So wherever the next one has the same bytes at the same
//! place of the same structure, nothing has to be asked: equal bytes are passed over by words of memory, and the tokens
//! walked over are those of the old value that lie around a difference. What differs is checked as a peer's bytes are,
//! judged by the node that speaks of its place, and noted ([`Edits`]) for the tape of whoever has the value before.
//!
//! Maps with the same names in the same order are walked in lockstep, and so are lists of the same length. Where a list
//! has another length, what is equal at its beginning and at its end stays, and the elements between are paired; where a
//! map has other names, from the first of them on the old fields are looked for by name. Nothing is compared more than a few
//! times per level of nesting, however hostile the values.
//!
//! Nothing says where the next value ends in its frame; but encodings delimit themselves, so it ends where the walk does.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    edits::{Edit, Edits},
    fields::Fields,
    marks::Marks,
    tape::{MAX_EXACT, Tape, key},
};
use crate::{
    gate::{ANYTHING, Fault, Gate, NodeId, Parts, Patterns, Steps},
    protocol::{EncodedValue, Reader, Scanner, Token, common_prefix, is_same, limits, repeats_name},
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
    let bytes = reader.rest();
    let end = walk(old, bytes, 0, gate, edits, marks).filter(|end| *end <= limits::MAX_VALUE_BYTES)?;
    reader.pass(end);
    bytes.get(..end).map(EncodedValue::trusted)
}

impl Gate {
    /// Whether `value` passes, if `old` has passed this very gate. The verdict is that of [`Self::check`]; its cost follows
    /// the change.
    ///
    /// # Errors
    /// Where the value broke which rule.
    pub fn check_against(
        &self,
        old: EncodedValue<'_>,
        value: EncodedValue<'_>,
        host: &dyn Patterns,
    ) -> Result<(), Fault> {
        let bytes = value.as_bytes();
        match walk(old, bytes, bytes.len(), Some((self, host)), None, None) {
            Some(_) => Ok(()),
            None => self.check(value, host),
        }
    }
}

impl Tape {
    /// Writes how to get from `old` to `new`, for a host that has `old` as it came out of a tape.
    pub fn patch(&mut self, old: EncodedValue<'_>, new: EncodedValue<'_>) {
        let mut edits = core::mem::take(&mut self.edits);
        edits.clear();
        let bytes = new.as_bytes();
        // Of a value that was checked nothing is refused.
        let _ = walk(old, bytes, bytes.len(), None, Some(&mut edits), None);
        self.replay(&edits, 0, old, new);
        self.edits = edits;
    }
}

/// Walks over `old` and the value that `bytes` begin with, of which so many were checked before. Returns where it ends.
fn walk(
    old: EncodedValue<'_>,
    bytes: &[u8],
    checked: usize,
    gate: Option<(&Gate, &dyn Patterns)>,
    edits: Option<&mut Edits>,
    marks: Option<&mut Marks>,
) -> Option<usize> {
    let before = old.as_bytes();
    let run = common_prefix(before, bytes);
    if run == before.len() {
        if let Some(edits) = edits {
            edits.push(Edit::SAME);
        }
        return Some(run);
    }
    let mut walk = Advance {
        old: Scanner::new(old),
        new: Reader::new(bytes),
        run,
        checked: 0..checked,
        levels: limits::MAX_DEPTH,
        steps: gate.map(|(gate, host)| Steps::new(gate, host, bytes, before.len())),
        edits,
        marks,
        is_aligned: true,
        is_over: false,
    };
    let node = walk.steps.as_ref().map_or(ANYTHING, Steps::root);
    let Ok(is_changed) = walk.value(node) else { return None };
    let end = walk.end();
    if !is_changed {
        walk.note(Edit::SAME);
    }
    Some(end)
}

struct Advance<'w> {
    /// Before a token of the old value ...
    old: Scanner<'w>,
    /// ... and here before the one of the new value that takes its place.
    new: Reader<'w>,
    /// Up to this offset of the old value both are equal from here on.
    run: usize,
    /// What of the new value was checked and lies ahead.
    checked: Range<usize>,
    /// So much deeper the new value may nest.
    levels: usize,
    steps: Option<Steps<'w>>,
    edits: Option<&'w mut Edits>,
    marks: Option<&'w mut Marks>,
    /// Both have as many parts to come in whatever they are in, so if all bytes that follow are equal, the values are.
    is_aligned: bool,
    /// All that follows is equal: the walk has ended before the end of the values.
    is_over: bool,
}

impl<'w> Advance<'w> {
    /// Where the new value ends.
    fn end(&self) -> usize {
        let left = if self.is_over { self.old.bytes().len() - self.old.offset() } else { 0 };
        self.new.offset() + left
    }

    /// The new value, for whoever looks at what comes next.
    const fn ahead(&self) -> Scanner<'w> {
        Scanner::new(EncodedValue::trusted(self.new.all())).at(self.new.offset())
    }

    /// Finds how much is equal from here on.
    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn sync(&mut self) {
        let from = self.old.offset();
        let before = self.old.bytes();
        self.run = from + common_prefix(before.get(from..).unwrap_or_default(), self.new.rest());
        self.is_over = self.is_aligned && self.run == before.len();
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
        let Some((size, was)) = old.container() else { return self.replace(node) };
        let has_same_head = old.offset() + size <= self.run;
        let head = if has_same_head { Some((size, was)) } else { self.ahead().container() };
        let (new_size, is_map, before, after) = match (was, head) {
            (Token::Map(before), Some((size, Token::Map(after)))) => (size, true, before, after),
            (Token::Array(before), Some((size, Token::Array(after)))) => (size, false, before, after),
            _ => return self.replace(node),
        };
        let start = self.note(Edit::SAME);
        let was_aligned = self.is_aligned;
        self.is_aligned &= before == after;
        self.old = old.at(old.offset() + size);
        self.new.pass(new_size);
        if !has_same_head {
            self.sync();
        }
        let (rules, parts) =
            self.steps.as_ref().map_or((ANYTHING, Parts::Free), |steps| steps.parts(node, is_map));
        self.levels = self.levels.saturating_sub(1);
        let edit = if is_map {
            self.map([before, after], parts)?
        } else if before == after {
            self.list(before, parts)?
        } else {
            self.splice([before, after], parts, &new, was_aligned)?
        };
        self.levels += 1;
        let is_regrouped = before != after || matches!(edit, Edit::Reorder(_));
        if is_regrouped {
            if let Some(marks) = &mut self.marks {
                marks.lose();
            }
            let mut map = Scanner::new(EncodedValue::trusted(new.rest()));
            if is_map && !self.checked.contains(&new.offset()) && repeats_name(&mut map) {
                return Err(Stop);
            }
            self.is_aligned = was_aligned;
            if !self.is_over {
                self.sync();
            }
        }
        if let Some(steps) = &mut self.steps
            && !steps.fits(rules, parts, new.offset(), is_regrouped.then_some(after))
        {
            return Err(Stop);
        }
        let is_noted = !matches!(edit, Edit::Map(0) | Edit::List(0));
        if !is_noted {
            self.forget(start);
        } else if let Some(edits) = &mut self.edits {
            edits.set(start, edit);
        }
        Ok(is_noted)
    }

    /// Moves past two values of which the new one is to be checked from its first byte to its last.
    fn replace(&mut self, node: NodeId) -> Result<bool, Stop> {
        let (was, is) = (self.old, self.new.offset());
        self.take(node)?;
        self.old.skip();
        if let Some(marks) = &mut self.marks {
            let end = self.old.offset();
            marks.note(end, end - was.offset(), self.new.offset() - is);
            if was.container().is_some() {
                marks.lose();
            }
        }
        self.sync();
        let is_noted = self.edits.is_some() && differs(was, self.new.all(), is);
        if is_noted {
            self.note(Edit::Fresh(is));
        }
        Ok(is_noted)
    }

    /// Moves past a new value, checks and judges it.
    fn take(&mut self, node: NodeId) -> Result<(), Stop> {
        let is = self.new.offset();
        if self.checked.contains(&is) {
            let mut ahead = self.ahead();
            ahead.skip();
            self.new.pass(ahead.offset() - is);
        } else {
            self.new.part(self.levels).map_err(|_| Stop)?;
        }
        let passes = self.steps.as_mut().is_none_or(|steps| steps.passes(node, is));
        if passes { Ok(()) } else { Err(Stop) }
    }

    /// Moves past what is equal of the parts of a container from `index` on, each of so many values. Its first part is at
    /// `first`. Returns how many parts that are.
    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn pass(&mut self, first: usize, index: usize, count: usize, values: usize) -> usize {
        let from = self.old.offset();
        let mut at = index;
        if let Some((offset, marked)) = self.marks.as_ref().and_then(|marks| marks.find(first, self.run))
            && (index + 1..=count).contains(&marked)
        {
            self.old = self.old.at(offset);
            at = marked;
        }
        at += self.old.pass(count - at, values, self.run);
        self.follow(from);
        at - index
    }

    /// Moves past the entries of two maps. Whether a name comes twice where they are not the same is left to the caller.
    fn map(&mut self, [before, after]: [usize; 2], parts: Parts) -> Result<Edit, Stop> {
        let both = before.min(after);
        let mut noted = 0;
        let mut expected = match (&self.steps, parts) {
            (Some(steps), Parts::Entries(rules)) => steps.first(rules),
            _ => 0,
        };
        let (first, mut index) = (self.old.offset(), 0);
        while index < both {
            let passed = self.pass(first, index, both, 2);
            index += passed;
            if index == both {
                break;
            }
            expected = expected.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
            let (from, named) = (self.old.offset(), self.new.offset());
            let name = key(&mut self.old);
            if self.old.offset() > self.run {
                self.old = self.old.at(from);
                let left = [before - index, after - index];
                return self.reorder(noted, left, parts, expected);
            }
            index += 1;
            self.follow(from);
            let node = self.entry(parts, named, name, &mut expected)?;
            noted += self.part(named, node)?;
            if self.is_over {
                break;
            }
        }
        if before > after {
            return self.reorder(noted, [before - both, 0], parts, expected);
        }
        for _ in both..after {
            let (_, node) = self.name(parts, &mut expected)?;
            self.fresh(node)?;
        }
        Ok(Edit::Map(noted + after - both))
    }

    /// The rest of two maps whose names are not the same, or in another order: `left` is how many fields the old map has
    /// left, and how many the new one.
    fn reorder(
        &mut self,
        noted: usize,
        [before, after]: [usize; 2],
        parts: Parts,
        mut expected: u32,
    ) -> Result<Edit, Stop> {
        self.is_aligned = false;
        self.place(before);
        let mut fields = Vec::with_capacity(before);
        for _ in 0..before {
            self.place(self.old.offset());
            fields.push((key(&mut self.old), self.old.offset()));
            self.old.skip();
        }
        let (mut fields, behind) = (Fields::new(fields), self.old);
        self.place(after);
        for _ in 0..after {
            let (name, node) = self.name(parts, &mut expected)?;
            match fields.find(name) {
                Some(at) => {
                    self.old = behind.at(at);
                    self.pair(node)?;
                }
                None => self.fresh(node)?,
            }
        }
        self.old = behind;
        Ok(Edit::Reorder(noted))
    }

    /// Moves past the elements of lists of the same length.
    fn list(&mut self, count: usize, parts: Parts) -> Result<Edit, Stop> {
        let mut noted = 0;
        let (first, mut index) = (self.old.offset(), 0);
        while index < count {
            index += self.pass(first, index, count, 1);
            if index == count {
                break;
            }
            noted += self.part(index, parts.element())?;
            if self.is_over {
                break;
            }
            index += 1;
        }
        Ok(Edit::List(noted))
    }

    /// Moves past the elements of lists of different lengths, the new one of which begins at `start`: what is equal at the
    /// beginning and at the end stays, the elements between take the place of the old ones between. What surrounds the
    /// lists may be aligned.
    // Apart: it would make the frame of all that walks through it larger.
    #[inline(never)]
    fn splice(
        &mut self,
        [before, after]: [usize; 2],
        parts: Parts,
        start: &Reader<'w>,
        is_aligned: bool,
    ) -> Result<Edit, Stop> {
        let from = self.old.offset();
        let first = self.old.pass(before.min(after), 1, self.run);
        self.follow(from);
        self.place(first);
        // Mostly elements were only put in, or only taken out, at one place.
        let (old, new, noted) =
            (self.old, self.new.clone(), self.edits.as_ref().map_or(0, |edits| edits.len()));
        let staying = before.min(after) - first;
        self.place(staying);
        self.place(after.saturating_sub(before));
        for _ in before..after {
            self.fresh(parts.element())?;
        }
        for _ in after..before {
            self.old.skip();
        }
        self.is_aligned = is_aligned;
        self.sync();
        let from = self.old.offset();
        if self.is_over || self.old.pass(staying, 1, self.run) == staying {
            self.follow(from);
            return Ok(Edit::Splice(after));
        }
        self.is_aligned = false;
        self.forget(noted);
        (self.old, self.new) = (old, new);
        self.vouch(start)?;
        let (olds, news) = (offsets(self.old, before - first), offsets(self.ahead(), after - first));
        let (old_bytes, new_bytes) = (self.old.bytes(), self.new.all());
        let ends = olds.windows(2).rev().zip(news.windows(2).rev());
        let is_equal = |(old, new): &(&[usize], &[usize])| {
            let (old, new) = (old_bytes.get(old[0]..old[1]), new_bytes.get(new[0]..new[1]));
            old.zip(new).is_some_and(|(old, new)| is_same(old, new))
        };
        let last = ends.take_while(is_equal).count();
        let (between, paired) = (after - first - last, before - first - last);
        self.place(last);
        self.place(between);
        for index in 0..between {
            match olds[..paired].get(index) {
                Some(old) => {
                    self.old = self.old.at(*old);
                    self.pair(parts.element())?;
                }
                None => self.fresh(parts.element())?,
            }
        }
        self.old = self.old.at(olds[before - first]);
        self.new.pass(news[after - first] - self.new.offset());
        Ok(Edit::Splice(after))
    }

    /// Moves past two parts that are not equal, and notes what differs under where that is. Returns how many were noted.
    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn part(&mut self, place: usize, node: NodeId) -> Result<usize, Stop> {
        let start = self.edits.as_ref().map_or(0, |edits| edits.len());
        self.place(place);
        if self.value(node)? {
            return Ok(1);
        }
        self.forget(start);
        Ok(0)
    }

    /// Moves past two values that may be equal, and notes one edit.
    fn pair(&mut self, node: NodeId) -> Result<(), Stop> {
        let from = self.old.offset();
        let mut end = self.old;
        end.skip();
        let before = self.old.bytes().get(from..end.offset()).unwrap_or_default();
        self.run = from + common_prefix(before, self.new.rest());
        if self.run == end.offset() {
            self.old = end;
            self.follow(from);
            self.note(Edit::SAME);
        } else if !self.value(node)? {
            self.note(Edit::SAME);
        }
        Ok(())
    }

    /// Moves past a new value that has no counterpart.
    fn fresh(&mut self, node: NodeId) -> Result<(), Stop> {
        self.note(Edit::Fresh(self.new.offset()));
        self.take(node)
    }

    /// Moves past a name of the new map, and notes it. Returns it, and what speaks of its entry.
    fn name(&mut self, parts: Parts, expected: &mut u32) -> Result<(&'w [u8], NodeId), Stop> {
        let named = self.new.offset();
        self.place(named);
        let name = self.new.str().map_err(|_| Stop)?.as_bytes();
        Ok((name, self.entry(parts, named, name, expected)?))
    }

    /// What speaks of an entry of a map.
    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn entry(&mut self, parts: Parts, named: usize, name: &[u8], expected: &mut u32) -> Result<NodeId, Stop> {
        match (&mut self.steps, parts) {
            (Some(steps), Parts::Entries(rules)) => steps.entry(rules, named, name, expected).ok_or(Stop),
            _ => Ok(ANYTHING),
        }
    }

    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn note(&mut self, edit: Edit) -> usize {
        self.edits.as_mut().map_or(0, |edits| edits.push(edit))
    }

    fn place(&mut self, place: usize) {
        if let Some(edits) = &mut self.edits {
            edits.place(place);
        }
    }

    #[expect(clippy::inline_always, reason = "a call would take as long as what it does")]
    #[inline(always)]
    fn forget(&mut self, start: usize) {
        if let Some(edits) = &mut self.edits {
            edits.truncate(start);
        }
    }

    /// Sees to it that the new container that begins at `start` was checked, to its end.
    fn vouch(&mut self, start: &Reader<'w>) -> Result<(), Stop> {
        if !self.checked.contains(&start.offset()) {
            let mut end = start.clone();
            end.part(self.levels + 1).map_err(|_| Stop)?;
            self.checked = start.offset()..end.offset();
        }
        Ok(())
    }
}

/// Where the next `count` values begin, and where the last of them ends.
fn offsets(mut scanner: Scanner<'_>, count: usize) -> Vec<usize> {
    let mut offsets = Vec::with_capacity(count + 1);
    offsets.push(scanner.offset());
    for _ in 0..count {
        scanner.skip();
        offsets.push(scanner.offset());
    }
    offsets
}

/// Whether the old value at `was` and the new one at `is` in `bytes`, of which one at least is a scalar, are two to a host.
fn differs(mut was: Scanner<'_>, bytes: &[u8], is: usize) -> bool {
    let is_short = |marker: u8| matches!(marker, 0x00..=0x7f | 0xa0..=0xc3 | 0xe0..=0xff);
    let (before, after) = (was.marker().unwrap_or_default(), bytes.get(is).copied().unwrap_or_default());
    // Of what is written in the shortest way, other bytes are another value.
    if is_short(before) && is_short(after) {
        return true;
    }
    let mut new = Scanner::new(EncodedValue::trusted(bytes)).at(is);
    was.token().zip(new.token()).is_none_or(|(before, after)| !says_the_same(before, after))
}

/// Whether two scalars that are written in different ways are one to a host.
fn says_the_same(one: Token<'_>, other: Token<'_>) -> bool {
    match (one, other) {
        (Token::Float(one), Token::Float(other)) => one.to_bits() == other.to_bits(),
        (Token::Int(int), Token::Float(float)) | (Token::Float(float), Token::Int(int)) => {
            #[expect(clippy::cast_precision_loss, reason = "in the range of exact integers")]
            let exact = int as f64;
            int.unsigned_abs() <= MAX_EXACT && exact.to_bits() == float.to_bits()
        }
        _ => one == other,
    }
}
