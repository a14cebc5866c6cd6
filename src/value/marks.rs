//! Where the parts of a large value begin, so that the one which holds a certain byte is found without a walk over all
//! before it.

use alloc::{boxed::Box, vec::Vec};

use crate::protocol::{EncodedValue, Scanner, Token};

/// Smaller values are walked over as fast.
const MIN_BYTES: usize = 1024;

/// So far apart two marks are at least.
const DISTANCE: usize = 128;

/// Most differences of a new version whose marks are moved; with more they are made anew.
const MAX_MOVES: usize = 16;

/// A part that begins here.
#[derive(Debug, Clone, Copy)]
struct Mark {
    offset: u32,
    /// How many parts of its container are before it.
    index: u32,
}

/// A container with marks.
#[derive(Debug, Clone, Copy)]
struct Marked {
    /// Where its first part begins.
    offset: u32,
    /// Its marks, in the list of all.
    first: u32,
    end: u32,
}

/// The marks of one value; none were made yet of what is new.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    containers: Box<[Marked]>,
    marks: Box<[Mark]>,
    /// What has become longer or shorter on the way to the next version: where the old part ends, and by how much.
    moves: Vec<(u32, i32)>,
    /// Whether the parts were marked.
    is_made: bool,
    /// The next version has other parts.
    is_lost: bool,
}

#[expect(clippy::cast_possible_truncation, reason = "a value has fewer than 2^27 bytes")]
const fn small(number: usize) -> u32 {
    number as u32
}

impl Marks {
    /// Whether a value is large enough to need marks.
    #[must_use]
    pub const fn are_for(value: EncodedValue<'_>) -> bool {
        value.as_bytes().len() >= MIN_BYTES
    }

    /// The marks of a value.
    #[must_use]
    pub fn of(value: EncodedValue<'_>) -> Self {
        let (mut containers, mut marks) = (Vec::new(), Vec::new());
        mark(&mut Scanner::new(value), &mut containers, &mut marks);
        Self { containers: containers.into(), marks: marks.into(), is_made: true, ..Self::default() }
    }

    /// The last part marked that begins at `limit` or before, of the container whose first part is at `first`: where it
    /// begins, and how many parts are before it.
    pub(super) fn find(&self, first: usize, limit: usize) -> Option<(usize, usize)> {
        let place = self.containers.binary_search_by_key(&small(first), |marked| marked.offset).ok()?;
        let Marked { first, end, .. } = self.containers[place];
        let marks = &self.marks[first as usize..end as usize];
        let after = marks.partition_point(|mark| mark.offset as usize <= limit);
        let Mark { offset, index } = marks[after.checked_sub(1)?];
        Some((offset as usize, index as usize))
    }

    /// The part of the old version that ends at `end` has become one of another length.
    pub(super) fn note(&mut self, end: usize, before: usize, after: usize) {
        if before == after {
            return;
        }
        match i32::try_from(after).ok().zip(i32::try_from(before).ok()) {
            Some((after, before)) if self.moves.len() < MAX_MOVES => {
                self.moves.push((small(end), after - before));
            }
            _ => self.is_lost = true,
        }
    }

    /// The next version has other parts.
    pub(super) const fn lose(&mut self) {
        self.is_lost = true;
    }

    /// Makes these the marks of `value`, the next version. They are made once a version has the parts of the one before:
    /// a list that always grows is not marked again and again in vain.
    #[must_use]
    pub fn moved(mut self, value: EncodedValue<'_>) -> Self {
        if self.is_lost {
            return Self::default();
        }
        if !self.is_made {
            return Self::of(value);
        }
        let offsets = self.marks.iter_mut().map(|mark| &mut mark.offset);
        for offset in offsets.chain(self.containers.iter_mut().map(|marked| &mut marked.offset)) {
            let moves = self.moves.iter().take_while(|(end, _)| end <= offset);
            *offset = offset.wrapping_add_signed(moves.map(|(_, by)| by).sum());
        }
        self.moves.clear();
        self
    }
}

/// Marks the parts of the value that the scanner is at, and moves past it. Containers come in the order of their places.
fn mark(scanner: &mut Scanner<'_>, containers: &mut Vec<Marked>, marks: &mut Vec<Mark>) {
    let (count, values) = match scanner.token() {
        Some(Token::Map(count)) => (count, 2),
        Some(Token::Array(count)) => (count, 1),
        _ => return,
    };
    let place = containers.len();
    let mut last = scanner.offset();
    containers.push(Marked { offset: small(last), first: 0, end: 0 });
    let mut own = Vec::new();
    for index in 0..count {
        let offset = scanner.offset();
        if offset - last >= DISTANCE {
            own.push(Mark { offset: small(offset), index: small(index) });
            last = offset;
        }
        if values == 2 {
            scanner.name();
        }
        mark(scanner, containers, marks);
    }
    if own.is_empty() && place + 1 == containers.len() {
        containers.truncate(place);
        return;
    }
    let first = small(marks.len());
    marks.append(&mut own);
    containers[place] = Marked { first, end: small(marks.len()), ..containers[place] };
}
