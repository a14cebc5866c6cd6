//! The program's run over a value.
//!
//! [`Walk::run`] judges the value at an offset by a node and returns where the value ends. Where `old` is given, it is
//! the offset of a value in the old bytes that has passed the same node: entries of it that come again with the same
//! bytes are passed over.

use super::{
    ANYTHING, Dialect, Fault, Gate, List, NOTHING, NodeId, ObjectRules, Op, Patterns, Span, keyword::Keyword,
    kind, number::Number, pointer,
};
use crate::protocol::{DecodeError, EncodedValue, Head, Reader};

/// Steps that every check may take, and how many more for each byte of the value. A step is about ten nanoseconds; no
/// sensible schema needs a tenth of them.
const STEPS: usize = 1 << 16;
const STEPS_PER_BYTE: usize = 32;

/// So many bytes are passed over in the time of a step.
const BYTES_PER_STEP: usize = 16;

/// So many names are compared in the time of a step.
const COMPARED_PER_STEP: usize = 16;

/// The most nodes inside each other: several for each level of the deepest value, and few enough for any stack.
const MAX_FRAMES: usize = 400;

/// How many entries of the old value are looked at to find the one that a new entry follows.
const WINDOW: usize = 4;

/// The largest integer that JavaScript reads as a number.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// A verdict that is no; the walk knows what broke which rule where.
pub(super) struct Stop;

pub(super) type Step<T> = Result<T, Stop>;

impl From<DecodeError> for Stop {
    /// Only checked values come in, so nobody sees this.
    fn from(_: DecodeError) -> Self {
        Self
    }
}

pub(super) fn check(
    gate: &Gate,
    old: Option<EncodedValue<'_>>,
    value: EncodedValue<'_>,
    host: &dyn Patterns,
) -> Result<(), Fault> {
    let bytes = value.as_bytes();
    let old = old.map(EncodedValue::as_bytes);
    if old.is_some_and(|old| is_same(old, bytes)) {
        return Ok(());
    }
    let steps = STEPS + bytes.len().saturating_mul(STEPS_PER_BYTE);
    let mut walk = Walk {
        gate,
        host,
        bytes,
        old: old.unwrap_or_default(),
        steps,
        frames: 0,
        at: 0,
        rule: Keyword::TooComplex,
    };
    match walk.run(gate.root, 0, old.map(|_| 0)) {
        Ok(_) => Ok(()),
        Err(Stop) => Err(Fault { path: pointer::write(bytes, walk.at), rule: walk.rule.text() }),
    }
}

/// Where the value at an offset ends.
pub(super) fn skip(bytes: &[u8], at: usize) -> Result<usize, DecodeError> {
    let mut reader = Reader::resumed(bytes, at);
    reader.skip()?;
    Ok(reader.offset())
}

/// Whether both hold the same bytes. In a page, the comparison that comes with the language goes byte by byte.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    a.1 == b.1
        && a.0.len() == b.0.len()
        && a.0.iter().zip(b.0).all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
}

pub(super) struct Walk<'a> {
    pub(super) gate: &'a Gate,
    host: &'a dyn Patterns,
    pub(super) bytes: &'a [u8],
    old: &'a [u8],
    steps: usize,
    frames: usize,
    /// What the last refusal was about.
    at: usize,
    rule: Keyword,
}

/// Entries of an old container that are still to come.
#[derive(Clone, Copy)]
struct Before {
    at: usize,
    left: usize,
}

impl<'a> Walk<'a> {
    fn fail<T>(&mut self, at: usize, rule: Keyword) -> Step<T> {
        (self.at, self.rule) = (at, rule);
        Err(Stop)
    }

    pub(super) fn charge(&mut self, at: usize, steps: usize) -> Step<()> {
        match self.steps.checked_sub(steps) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => self.fail(at, Keyword::TooComplex),
        }
    }

    /// Where the value at an offset ends.
    fn end(&mut self, at: usize) -> Step<usize> {
        let end = skip(self.bytes, at)?;
        self.charge(at, (end - at) / BYTES_PER_STEP)?;
        Ok(end)
    }

    fn run(&mut self, node: NodeId, at: usize, old: Option<usize>) -> Step<usize> {
        if node == ANYTHING {
            return self.end(at);
        }
        self.charge(at, 1)?;
        if self.frames == MAX_FRAMES {
            return self.fail(at, Keyword::TooComplex);
        }
        self.frames += 1;
        let end = self.judge(node, at, old);
        self.frames -= 1;
        end
    }

    fn judge(&mut self, node: NodeId, at: usize, old: Option<usize>) -> Step<usize> {
        let gate = self.gate;
        let node = gate.nodes[node as usize];
        let mut reader = Reader::resumed(self.bytes, at);
        let head = reader.head()?;
        let inner = reader.offset();
        let number = Number::of(head);
        let kind = match head {
            Head::Nil => kind::NULL,
            Head::Bool(_) => kind::BOOLEAN,
            Head::Map(_) => kind::OBJECT,
            Head::Array(_) => kind::ARRAY,
            Head::Str(_) => kind::STRING,
            _ => match number {
                Some(number) if number.is_integer() => kind::INTEGER,
                Some(_) => kind::FRACTION,
                None => kind::FOREIGN,
            },
        };
        if gate.dialect == Dialect::Library && is_special(head, node.kinds) {
            return self.fail(at, Keyword::Unsure);
        }
        if node.kinds & kind == 0 {
            return self.fail(at, Keyword::Type);
        }
        let mut end = if let Head::Map(1..) | Head::Array(1..) = head { None } else { Some(inner) };
        for op in &gate.ops[node.first as usize..node.end as usize] {
            match (*op, head) {
                (Op::Never, _) => return self.fail(at, Keyword::Never),
                (Op::OneOfConstants { constants, rule }, _) => {
                    let mut is_one = false;
                    for constant in &gate.constants[constants.first as usize..constants.end as usize] {
                        let mut one = Reader::resumed(self.bytes, at);
                        let mut other = Reader::resumed(&gate.schema, constant.start as usize);
                        is_one = is_one || self.is_equal(&mut one, &mut other)?;
                    }
                    if !is_one {
                        return self.fail(at, rule);
                    }
                }
                (Op::Bound { limit, rule }, _) => {
                    if number.is_some_and(|number| !is_within(number, limit, rule)) {
                        return self.fail(at, rule);
                    }
                }
                (Op::Size { limit, rule }, _) => self.size(at, head, limit, rule)?,
                (Op::Pattern(pattern), Head::Str(text)) => {
                    self.charge(at, text.len() / BYTES_PER_STEP)?;
                    if !self.is_match(pattern, text) {
                        return self.fail(at, Keyword::Pattern);
                    }
                }
                (Op::Object(rules), Head::Map(count)) => {
                    end = Some(self.object(&gate.objects[rules as usize], at, inner, count, old)?);
                }
                (Op::Has(name), Head::Map(count)) => {
                    if !self.has(at, inner, count, name)? {
                        return self.fail(at, Keyword::Required);
                    }
                }
                (Op::Depends { name, node }, Head::Map(count)) => {
                    if self.has(at, inner, count, name)? {
                        self.run(node, at, None)?;
                    }
                }
                (Op::Array { first, others }, Head::Array(count)) => {
                    end = Some(self.array(first, others, at, inner, count, old)?);
                }
                (Op::Contains { node, least, most }, Head::Array(count)) => {
                    self.contains(node, least, most, at, inner, count)?;
                }
                (Op::Unique, Head::Array(count)) => {
                    if !self.is_unique(at, inner, count)? {
                        return self.fail(at, Keyword::UniqueItems);
                    }
                }
                (Op::All(node), _) => end = Some(self.run(node, at, old)?),
                (Op::Any { nodes, is_disjoint }, _) => {
                    // Only where one option alone can pass is it known which one `old` has passed.
                    let old = old.filter(|_| is_disjoint);
                    let Some((_, found)) = self.first_passing(nodes, at, old)? else {
                        return self.fail(at, Keyword::AnyOf);
                    };
                    end = Some(found);
                }
                (Op::One(nodes), _) => {
                    let Some((link, found)) = self.first_passing(nodes, at, None)? else {
                        return self.fail(at, Keyword::OneOf);
                    };
                    let others = List { first: link + 1, end: nodes.end };
                    if self.first_passing(others, at, None)?.is_some() {
                        return self.fail(at, Keyword::OneOf);
                    }
                    end = Some(found);
                }
                (Op::Not(node), _) => {
                    if self.passes(node, at, None)?.is_some() {
                        return self.fail(at, Keyword::Not);
                    }
                }
                (Op::If { condition, then, otherwise }, _) => {
                    let node = if self.passes(condition, at, None)?.is_some() { then } else { otherwise };
                    if node != ANYTHING {
                        self.run(node, at, None)?;
                    }
                }
                // What an op does not speak of.
                (
                    Op::Pattern(_)
                    | Op::Object(_)
                    | Op::Has(_)
                    | Op::Depends { .. }
                    | Op::Array { .. }
                    | Op::Contains { .. }
                    | Op::Unique,
                    _,
                ) => {}
            }
        }
        end.map_or_else(|| self.end(at), Ok)
    }

    /// Where the value ends if it passes; none if it does not.
    fn passes(&mut self, node: NodeId, at: usize, old: Option<usize>) -> Step<Option<usize>> {
        match self.run(node, at, old) {
            Ok(end) => Ok(Some(end)),
            Err(stop) if self.rule.is_final() => Err(stop),
            Err(_) => Ok(None),
        }
    }

    fn first_passing(&mut self, nodes: List, at: usize, old: Option<usize>) -> Step<Option<(u32, usize)>> {
        for link in nodes.first..nodes.end {
            if let Some(end) = self.passes(self.gate.links[link as usize], at, old)? {
                return Ok(Some((link, end)));
            }
        }
        Ok(None)
    }

    fn size(&mut self, at: usize, head: Head<'_>, limit: u32, rule: Keyword) -> Step<()> {
        let size = match (head, rule) {
            (Head::Str(text), Keyword::MinLength | Keyword::MaxLength) => {
                self.charge(at, text.len() / BYTES_PER_STEP)?;
                // Libraries do not agree on how long what lies beyond the basic plane is.
                if self.gate.dialect == Dialect::Library && text.iter().any(|byte| *byte >= 0xf0) {
                    return self.fail(at, Keyword::Unsure);
                }
                // Every code point has one byte that continues none.
                text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
            }
            (Head::Array(count), Keyword::MinItems | Keyword::MaxItems)
            | (Head::Map(count), Keyword::MinProperties | Keyword::MaxProperties) => count,
            _ => return Ok(()),
        };
        let is_least = matches!(rule, Keyword::MinLength | Keyword::MinItems | Keyword::MinProperties);
        let limit = limit as usize;
        let is_within = if is_least { size >= limit } else { size <= limit };
        if is_within { Ok(()) } else { self.fail(at, rule) }
    }

    fn is_match(&self, pattern: u32, text: &[u8]) -> bool {
        core::str::from_utf8(text).is_ok_and(|text| self.host.is_match(pattern, text))
    }

    // ---- maps

    fn object(
        &mut self,
        rules: &ObjectRules,
        at: usize,
        inner: usize,
        count: usize,
        old: Option<usize>,
    ) -> Step<usize> {
        let gate = self.gate;
        let mut before = old.and_then(|old| self.before(old, true));
        let mut reader = Reader::resumed(self.bytes, inner);
        let mut seen = 0;
        // Entries mostly come in the order of their properties.
        let mut expected = rules.properties.first;
        let mut stray = None;
        for _ in 0..count {
            self.charge(at, 1)?;
            let name_at = reader.offset();
            let Head::Str(name) = reader.head()? else { return Err(DecodeError::Truncated.into()) };
            let start = reader.offset();
            self.charge(at, (rules.properties.end - rules.properties.first) as usize / COMPARED_PER_STEP)?;
            let property = self.property(rules.properties, name, expected).map(|index| {
                expected = index + 1;
                gate.properties[index as usize]
            });
            seen |= property.map_or(0, |property| property.bit);
            let mut end = None;
            let mut was = None;
            if let Some(before) = &mut before
                && let Some(found) = self.entry(before, name)?
            {
                let new = self.end(start)?;
                let is_same = self.repeats(found, start, new);
                before.at = if is_same { found + (new - start) } else { skip(self.old, found)? };
                before.left -= 1;
                if is_same {
                    reader = Reader::resumed(self.bytes, new);
                    continue;
                }
                was = Some(found);
            }
            let mut is_named = false;
            if let Some(node) = property.and_then(|property| property.node) {
                is_named = true;
                end = Some(self.run(node, start, was)?);
            } else if gate.dialect == Dialect::Library && is_inherited(name) {
                return self.fail(at, Keyword::Unsure);
            }
            for (pattern, node) in &gate.patterns[rules.patterns.first as usize..rules.patterns.end as usize]
            {
                if self.is_match(*pattern, name) {
                    is_named = true;
                    end = Some(self.run(*node, start, was)?);
                }
            }
            if !is_named && rules.others != ANYTHING {
                if rules.others != NOTHING {
                    end = Some(self.run(rules.others, start, was)?);
                } else if gate.dialect == Dialect::Json {
                    return self.fail(start, Keyword::AdditionalProperties);
                } else {
                    // A library may refuse the key or take it away; if the object fails anyway, it fails.
                    stray = Some(start);
                }
            }
            if rules.names != ANYTHING && was.is_none() && self.passes(rules.names, name_at, None)?.is_none()
            {
                return self.fail(at, Keyword::PropertyNames);
            }
            let end = match end {
                Some(end) => end,
                None => self.end(start)?,
            };
            reader = Reader::resumed(self.bytes, end);
        }
        if seen != rules.required {
            return self.fail(at, Keyword::Required);
        }
        match stray {
            Some(at) => self.fail(at, Keyword::Unsure),
            None => Ok(reader.offset()),
        }
    }

    /// The property of a name. The search begins with the one that is expected.
    fn property(&self, properties: List, name: &[u8], expected: u32) -> Option<u32> {
        let gate = self.gate;
        (expected..properties.end)
            .chain(properties.first..expected)
            .find(|index| gate.name(gate.properties[*index as usize].name) == name)
    }

    /// Whether a map has a key.
    fn has(&mut self, at: usize, inner: usize, count: usize, name: Span) -> Step<bool> {
        let mut reader = Reader::resumed(self.bytes, inner);
        for _ in 0..count {
            self.charge(at, 1)?;
            if reader.head()? == Head::Str(self.gate.name(name)) {
                return Ok(true);
            }
            reader = Reader::resumed(self.bytes, self.end(reader.offset())?);
        }
        Ok(false)
    }

    // ---- arrays

    fn array(
        &mut self,
        first: List,
        others: NodeId,
        at: usize,
        inner: usize,
        count: usize,
        old: Option<usize>,
    ) -> Step<usize> {
        let has_first = first.first != first.end;
        let mut before = old.and_then(|old| self.before(old, false));
        let mut start = inner;
        for index in 0..count {
            self.charge(at, 1)?;
            let left = count - index;
            let mut was = None;
            if let Some(earlier) = &mut before {
                let end = self.end(start)?;
                let mut is_same = false;
                for _ in 0..WINDOW {
                    is_same = earlier.left > 0 && self.repeats(earlier.at, start, end);
                    // Elements were taken out: the next one that stayed comes a little later.
                    if is_same || earlier.left <= left || has_first {
                        break;
                    }
                    *earlier = Before { at: skip(self.old, earlier.at)?, left: earlier.left - 1 };
                }
                if is_same {
                    *earlier = Before { at: earlier.at + (end - start), left: earlier.left - 1 };
                    start = end;
                    continue;
                }
                // Elements were put in: the old one is waited for.
                if earlier.left == left {
                    was = Some(earlier.at);
                    *earlier = Before { at: skip(self.old, earlier.at)?, left: left - 1 };
                } else if has_first {
                    before = None;
                }
            }
            let link = (first.first..first.end).nth(index);
            let node = link.map_or(others, |link| self.gate.links[link as usize]);
            if node == NOTHING {
                return self.fail(start, if link.is_some() { Keyword::Never } else { Keyword::Items });
            }
            start = self.run(node, start, was)?;
        }
        Ok(start)
    }

    fn contains(
        &mut self,
        node: NodeId,
        least: u32,
        most: u32,
        at: usize,
        inner: usize,
        count: usize,
    ) -> Step<()> {
        let mut start = inner;
        let mut found = 0_u32;
        for _ in 0..count {
            self.charge(at, 1)?;
            let end = match self.passes(node, start, None)? {
                Some(end) => {
                    found += 1;
                    end
                }
                None => self.end(start)?,
            };
            start = end;
        }
        if found < least {
            return self.fail(at, Keyword::Contains);
        }
        if found > most { self.fail(at, Keyword::MaxContains) } else { Ok(()) }
    }

    // ---- the old value

    /// The entries of an old container; none where it was another kind of value.
    fn before(&self, old: usize, is_map: bool) -> Option<Before> {
        let mut reader = Reader::resumed(self.old, old);
        let left = match reader.head().ok()? {
            Head::Map(count) if is_map => count,
            Head::Array(count) if !is_map => count,
            _ => return None,
        };
        Some(Before { at: reader.offset(), left })
    }

    /// Where the old map has the value of a name, if that is among the next entries; then `before` is at that value.
    fn entry(&self, before: &mut Before, name: &[u8]) -> Step<Option<usize>> {
        let mut probe = *before;
        for _ in 0..WINDOW {
            if probe.left == 0 {
                break;
            }
            let mut reader = Reader::resumed(self.old, probe.at);
            let is_it = reader.head()? == Head::Str(name);
            let at = reader.offset();
            if is_it {
                *before = Before { at, left: probe.left };
                return Ok(Some(at));
            }
            probe = Before { at: skip(self.old, at)?, left: probe.left - 1 };
        }
        Ok(None)
    }

    /// Whether the old bytes from `old` on begin with the new value. No value begins with another, so then it is one.
    fn repeats(&self, old: usize, start: usize, end: usize) -> bool {
        let new = self.bytes.get(start..end).unwrap_or_default();
        self.old.get(old..old + new.len()).is_some_and(|old| is_same(old, new))
    }
}

impl Gate {
    fn name(&self, span: Span) -> &[u8] {
        &self.schema[span.start as usize..span.end as usize]
    }
}

/// Whether JavaScript makes something of a value that a schema for JSON does not speak of: a `BigInt`, a byte array, or
/// an array where some libraries take any object.
fn is_special(head: Head<'_>, kinds: u8) -> bool {
    match head {
        Head::Natural(number) => number > MAX_SAFE,
        Head::Negative(number) => number.unsigned_abs() > MAX_SAFE,
        Head::Bin(_) => true,
        Head::Array(_) => kinds & (kind::ARRAY | kind::OBJECT) == kind::OBJECT,
        Head::Float(float) => !float.is_finite(),
        Head::Nil | Head::Bool(_) | Head::Str(_) | Head::Map(_) => false,
    }
}

/// Names that libraries pass over, because assigning to them would reach into a prototype.
fn is_inherited(name: &[u8]) -> bool {
    matches!(name, b"__proto__" | b"prototype" | b"constructor")
}

fn is_within(number: Number, limit: Number, rule: Keyword) -> bool {
    let order = number.compare(limit);
    match rule {
        Keyword::Minimum => order.is_ge(),
        Keyword::Maximum => order.is_le(),
        Keyword::ExclusiveMinimum => order.is_gt(),
        Keyword::ExclusiveMaximum => order.is_lt(),
        _ => number.is_multiple_of(limit),
    }
}
