//! Two versions of a value compared, and what is different written to a tape.
//!
//! Cost follows the change: before and after the changed bytes everything is equal, which one comparison of memory
//! tells, so the walk over the tokens there looks at one version only and ends where the equal end begins. In between,
//! maps with the same names in the same order are walked in lockstep. Nothing is compared more than once per level of
//! nesting, however hostile the values.

use alloc::{vec, vec::Vec};

use super::{
    names::hash,
    tape::{MAX_EXACT, Op, Tape, key},
};
use crate::protocol::{self, EncodedValue, Scanner, Token, common_prefix, common_suffix};

/// How many old names a new one is compared with where many changed their places. Beyond that the field counts as new:
/// it is built again, and only its identity is lost.
const MAX_PROBES: usize = 16;

impl Tape {
    /// Writes how to get from `old` to `new`, for a host that has `old` as it came out of a tape.
    pub fn patch(&mut self, old: EncodedValue<'_>, new: EncodedValue<'_>) {
        let (before, after) = (old.as_bytes(), new.as_bytes());
        let prefix = common_prefix(before, after);
        if prefix == before.len() && prefix == after.len() {
            self.op(Op::Same, 0);
            return;
        }
        let suffix = common_suffix(before, after);
        let mut diff = Diff {
            tape: self,
            old: Scanner::new(old),
            new: Scanner::new(new),
            prefix,
            tail: before.len() - suffix,
            shift: after.len().wrapping_sub(before.len()),
            is_over: false,
        };
        diff.node();
    }
}

/// Whether these bytes are the same. Most are few: a call to compare them would take longer.
fn is_same(one: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    one.zip(other).is_some_and(|(one, other)| protocol::is_same(one, other))
}

/// Whether two scalars that are written in different ways are one to a host.
pub(super) fn says_the_same(one: Token<'_>, other: Token<'_>) -> bool {
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

struct Diff<'a, 't> {
    tape: &'t mut Tape,
    old: Scanner<'a>,
    new: Scanner<'a>,
    /// So many bytes at the beginning are equal.
    prefix: usize,
    /// From this offset of the old value on all is equal ...
    tail: usize,
    /// ... to what lies so many bytes further in the new one (wrapping).
    shift: usize,
    /// Both have come to the equal end: there is nothing more to find, and the scanners stay behind.
    is_over: bool,
}

impl<'a> Diff<'a, '_> {
    /// Whether all that follows is equal.
    fn is_at_tail(&self) -> bool {
        self.old.offset() >= self.tail && self.old.offset().wrapping_add(self.shift) == self.new.offset()
    }

    /// Moves past two equal values; else moves nothing.
    #[inline]
    fn pass_equal(&mut self) -> bool {
        let (from, to) = (self.old.offset(), self.new.offset());
        let mut end = self.old;
        if from == to && from <= self.prefix {
            // If it does not end in the equal beginning, the first difference lies in it.
            let is_equal = end.skip_to(self.prefix);
            if is_equal {
                (self.old, self.new) = (end, self.new.at(end.offset()));
            }
            return is_equal;
        }
        end.skip();
        let length = end.offset() - from;
        let is_equal = self.is_at_tail() || {
            // Encodings delimit themselves: as many equal bytes are the same value.
            let (old, new) = (self.old.bytes(), self.new.bytes());
            is_same(old.get(from..from + length), new.get(to..to + length))
        };
        if is_equal {
            self.old = end;
            self.new = self.new.at(to + length);
        }
        is_equal
    }

    /// Moves past the entries of so many values each, at most `most`, that lie in the equal beginning. Returns how many.
    fn pass_prefix(&mut self, most: usize, values: usize) -> usize {
        if self.old.offset() != self.new.offset() {
            return 0;
        }
        let passed = self.old.pass(most, values, self.prefix);
        self.new = self.new.at(self.old.offset());
        passed
    }

    /// Writes the new value, which has no counterpart, and moves past it.
    fn fresh(&mut self) {
        self.tape.node(&mut self.new);
    }

    /// Writes how the next old value becomes the next new one, and moves past both. The two are not equal, byte by byte.
    fn node(&mut self) {
        let (old, new) = (self.old, self.new);
        match (self.old.token(), self.new.token()) {
            (Some(Token::Map(before)), Some(Token::Map(after))) => self.map(before, after),
            (Some(Token::Array(before)), Some(Token::Array(after))) if before == after => self.list(before),
            (Some(Token::Array(before)), Some(Token::Array(after))) => self.splice(before, after),
            (Some(before), Some(after)) if says_the_same(before, after) => self.tape.op(Op::Same, 0),
            _ => {
                (self.old, self.new) = (old, new);
                self.old.skip();
                self.fresh();
            }
        }
    }

    /// As [`Self::node`], and puts the scanners behind the values where they stayed at the equal end though more is to
    /// be done.
    fn node_and_go_on(&mut self) {
        let (mut old, mut new) = (self.old, self.new);
        self.node();
        if self.is_over {
            self.is_over = false;
            old.skip();
            new.skip();
            (self.old, self.new) = (old, new);
        }
    }

    fn map(&mut self, before: usize, after: usize) {
        let start = self.tape.words.len();
        self.tape.op(Op::EditMap, 0);
        let mut edits = 0;
        let both = before.min(after);
        let passed = self.pass_prefix(both, 2);
        for index in passed..both {
            if before == after && self.is_at_tail() {
                self.is_over = true;
                break;
            }
            let (old, new) = (self.old, self.new);
            let name = key(&mut self.new);
            if !is_same(Some(key(&mut self.old)), Some(name)) {
                (self.old, self.new) = (old, new);
                return self.reorder(start, edits, [before - index, after - index]);
            }
            if self.pass_equal() {
                continue;
            }
            edits += 1;
            self.tape.name(name);
            if before == after {
                self.node();
                if self.is_over {
                    break;
                }
            } else {
                self.node_and_go_on();
            }
        }
        if before > after {
            return self.reorder(start, edits, [before - both, 0]);
        }
        for _ in both..after {
            edits += 1;
            self.tape.name(key(&mut self.new));
            self.fresh();
        }
        self.head(start, Op::EditMap, edits);
    }

    /// The rest of two maps whose names are not the same, or in another order: `left` is how many fields the old map has
    /// left, and how many the new one.
    fn reorder(&mut self, start: usize, edits: usize, left: [usize; 2]) {
        let [before, after] = left;
        self.head(start, Op::ReorderMap, edits);
        let mut rest = Fields::read(&mut self.old, before);
        let behind = self.old;
        self.tape.word(before);
        for (name, _) in &rest.fields {
            self.tape.name(name);
        }
        self.tape.word(after);
        for _ in 0..after {
            let name = key(&mut self.new);
            self.tape.name(name);
            match rest.find(name) {
                Some(at) => {
                    self.old = self.old.at(at);
                    if self.pass_equal() { self.tape.op(Op::Same, 0) } else { self.node_and_go_on() }
                }
                None => self.fresh(),
            }
        }
        self.old = behind;
    }

    /// Lists of the same length: element by element.
    fn list(&mut self, count: usize) {
        let start = self.tape.words.len();
        self.tape.op(Op::EditList, 0);
        let mut edits = 0;
        for index in self.pass_prefix(count, 1)..count {
            if self.is_at_tail() {
                self.is_over = true;
            } else if !self.pass_equal() {
                edits += 1;
                self.tape.word(index);
                self.node();
            }
            if self.is_over {
                break;
            }
        }
        self.head(start, Op::EditList, edits);
    }

    /// Lists of different lengths: what is equal at the beginning and at the end stays, the elements between take the
    /// place of the old ones between.
    fn splice(&mut self, before: usize, after: usize) {
        let mut first = 0;
        while first < before.min(after) && self.pass_equal() {
            first += 1;
        }
        let (olds, news) = (offsets(&mut self.old, before - first), offsets(&mut self.new, after - first));
        let behind = (self.old, self.new);
        let (old_bytes, new_bytes) = (self.old.bytes(), self.new.bytes());
        let pairs = olds.windows(2).rev().zip(news.windows(2).rev());
        let last = pairs
            .take_while(|(old, new)| is_same(old_bytes.get(old[0]..old[1]), new_bytes.get(new[0]..new[1])))
            .count();
        self.tape.op(Op::SpliceList, after);
        self.tape.word(first);
        self.tape.word(last);
        for index in 0..after - first - last {
            self.new = self.new.at(news[index]);
            if index < before - first - last {
                self.old = self.old.at(olds[index]);
                if self.pass_equal() { self.tape.op(Op::Same, 0) } else { self.node_and_go_on() }
            } else {
                self.fresh();
            }
        }
        (self.old, self.new) = behind;
    }

    /// Fills in the first word of a node whose argument is known now.
    fn head(&mut self, start: usize, op: Op, argument: usize) {
        let end = self.tape.words.len();
        self.tape.op(op, argument);
        self.tape.words.swap(start, end);
        self.tape.words.truncate(end);
    }
}

/// Where the next `count` values begin, and where the last of them ends.
fn offsets(scanner: &mut Scanner<'_>, count: usize) -> Vec<usize> {
    let mut offsets = Vec::with_capacity(count + 1);
    offsets.push(scanner.offset());
    for _ in 0..count {
        scanner.skip();
        offsets.push(scanner.offset());
    }
    offsets
}

/// Fields of an old map, to be found by name.
struct Fields<'a> {
    /// Name, and where the value begins.
    fields: Vec<(&'a [u8], usize)>,
    /// The field after the one found last. Mostly fields only moved together, so this is where to look first.
    next: usize,
    /// Numbers of fields plus one by the hash of their names; 0 is free. Made when it is needed.
    table: Vec<usize>,
}

impl<'a> Fields<'a> {
    fn read(scanner: &mut Scanner<'a>, count: usize) -> Self {
        let mut fields = Vec::with_capacity(count);
        for _ in 0..count {
            let name = key(scanner);
            fields.push((name, scanner.offset()));
            scanner.skip();
        }
        Self { fields, next: 0, table: Vec::new() }
    }

    fn find(&mut self, name: &[u8]) -> Option<usize> {
        let near = self.fields.iter().enumerate().skip(self.next).take(2);
        let found = near.into_iter().find(|(_, (known, _))| *known == name).map(|(index, _)| index);
        let index = found.or_else(|| self.look_up(name))?;
        self.next = index + 1;
        Some(self.fields[index].1)
    }

    fn look_up(&mut self, name: &[u8]) -> Option<usize> {
        if self.table.is_empty() {
            self.table = vec![0; (2 * self.fields.len()).next_power_of_two()];
            for (index, (name, _)) in self.fields.iter().enumerate() {
                let places = places(name, self.table.len());
                if let Some(place) = places.into_iter().find(|place| self.table[*place] == 0) {
                    self.table[place] = index + 1;
                }
            }
        }
        let mut places = places(name, self.table.len());
        places
            .find_map(|place| self.table[place].checked_sub(1).filter(|index| self.fields[*index].0 == name))
    }
}

/// Where a name may be in a table of `size`, a power of two.
fn places(name: &[u8], size: usize) -> impl Iterator<Item = usize> {
    let first = hash(name);
    (0..MAX_PROBES).map(move |probe| (first + probe) & (size - 1))
}
