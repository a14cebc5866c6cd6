//! The program's run over a value.
//!
//! [`Walk::run`] judges the value at an offset by a node and returns where the value ends.

use super::{
    ANYTHING, Dialect, Fault, Gate, List, NOTHING, NodeId, ObjectRules, Op, Patterns, Property, Span,
    keyword::Keyword, kind, number::Number, pointer,
};
use crate::protocol::{EncodedValue, Scanner, Token, is_same};

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

/// The largest integer that JavaScript reads as a number.
const MAX_SAFE: u64 = (1 << 53) - 1;

/// A verdict that is no; the walk knows what broke which rule where.
pub(super) struct Stop;

pub(super) type Step<T> = Result<T, Stop>;

pub(super) fn check(gate: &Gate, value: EncodedValue<'_>, host: &dyn Patterns) -> Result<(), Fault> {
    let mut walk = Walk::new(gate, host, value, value.as_bytes().len());
    match walk.run(gate.root, 0) {
        Ok(_) => Ok(()),
        Err(Stop) => Err(Fault { path: pointer::write(value, walk.at), rule: walk.rule.text() }),
    }
}

pub(super) struct Walk<'a> {
    pub(super) gate: &'a Gate,
    host: &'a dyn Patterns,
    pub(super) new: Scanner<'a>,
    steps: usize,
    frames: usize,
    /// Nothing is asked of the parts of the container that is judged.
    is_shallow: bool,
    /// What the last refusal was about.
    at: usize,
    rule: Keyword,
}

impl<'a> Walk<'a> {
    /// A walk that takes as many steps as a value of `length` bytes may.
    pub(super) fn new(
        gate: &'a Gate,
        host: &'a dyn Patterns,
        value: EncodedValue<'a>,
        length: usize,
    ) -> Self {
        Self {
            gate,
            host,
            new: Scanner::new(value),
            steps: STEPS + length.saturating_mul(STEPS_PER_BYTE),
            frames: 0,
            is_shallow: false,
            at: 0,
            rule: Keyword::TooComplex,
        }
    }

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
        let mut scanner = self.new.at(at);
        scanner.skip();
        self.charge(at, (scanner.offset() - at) / BYTES_PER_STEP)?;
        Ok(scanner.offset())
    }

    fn run(&mut self, node: NodeId, at: usize) -> Step<usize> {
        if node == ANYTHING || (self.is_shallow && self.frames > 0) {
            return self.end(at);
        }
        self.charge(at, 1)?;
        if self.frames == MAX_FRAMES {
            return self.fail(at, Keyword::TooComplex);
        }
        self.frames += 1;
        let end = self.judge(node, at);
        self.frames -= 1;
        end
    }

    /// Whether the value at an offset passes a node or, unless that is asked of the whole of it, may pass if its parts do.
    pub(super) fn runs(&mut self, node: NodeId, at: usize, is_whole: bool) -> bool {
        self.is_shallow = !is_whole;
        self.run(node, at).is_ok()
    }

    /// Whether an array of so many elements is as long as a node asks, which asks nothing else but of its elements.
    pub(super) fn has_size(&mut self, node: NodeId, at: usize, count: usize) -> bool {
        let gate = self.gate;
        let node = gate.nodes[node as usize];
        gate.ops[node.first as usize..node.end as usize].iter().all(|op| match op {
            Op::Size { limit, rule } => self.size(at, Token::Array(count), *limit, *rule).is_ok(),
            _ => true,
        })
    }

    fn judge(&mut self, node: NodeId, at: usize) -> Step<usize> {
        let gate = self.gate;
        let node = gate.nodes[node as usize];
        let mut scanner = self.new.at(at);
        let token = scanner.token().ok_or(Stop)?;
        let inner = scanner.offset();
        let kind = match token {
            Token::Nil => kind::NULL,
            Token::Bool(_) => kind::BOOLEAN,
            Token::Map(_) => kind::OBJECT,
            Token::Array(_) => kind::ARRAY,
            Token::Str(_) => kind::STRING,
            Token::Int(_) | Token::Large(_) => kind::INTEGER,
            Token::Float(_) | Token::Bin(_) => match Number::of(token) {
                Some(number) if number.is_integer() => kind::INTEGER,
                Some(_) => kind::FRACTION,
                None => kind::FOREIGN,
            },
        };
        if gate.dialect == Dialect::Library && is_special(token, node.kinds) {
            return self.fail(at, Keyword::Unsure);
        }
        if node.kinds & kind == 0 {
            return self.fail(at, Keyword::Type);
        }
        let mut end = if let Token::Map(1..) | Token::Array(1..) = token { None } else { Some(inner) };
        let ops = &gate.ops[node.first as usize..node.end as usize];
        for op in ops {
            match (op, token) {
                (Op::Never, _) => return self.fail(at, Keyword::Never),
                (&Op::OneOfConstants { constants, rule }, _) => {
                    let mut is_one = false;
                    for constant in &gate.constants[constants.first as usize..constants.end as usize] {
                        let mut other = gate.constant(*constant);
                        is_one = match (token, other.token()) {
                            // Most constants are short names.
                            (Token::Str(text), Some(Token::Str(constant))) => is_same(text, constant),
                            _ => self.is_equal(&mut self.new.at(at), &mut gate.constant(*constant))?,
                        };
                        if is_one {
                            break;
                        }
                    }
                    if !is_one {
                        return self.fail(at, rule);
                    }
                }
                (&Op::Bound { limit, rule }, _) => {
                    if Number::of(token).is_some_and(|number| !is_within(number, limit, rule)) {
                        return self.fail(at, rule);
                    }
                }
                (&Op::Size { limit, rule }, _) => self.size(at, token, limit, rule)?,
                (&Op::Pattern(pattern), Token::Str(text)) => {
                    self.charge(at, text.len() / BYTES_PER_STEP)?;
                    if !self.is_match(pattern, text) {
                        return self.fail(at, Keyword::Pattern);
                    }
                }
                (&Op::Object(rules), Token::Map(count)) => {
                    end = Some(self.object(&gate.objects[rules as usize], at, inner, count)?);
                }
                (&Op::Has(name), Token::Map(count)) => {
                    if !self.has(at, inner, count, name)? {
                        return self.fail(at, Keyword::Required);
                    }
                }
                (&Op::Depends { name, node }, Token::Map(count)) => {
                    if self.has(at, inner, count, name)? {
                        self.run(node, at)?;
                    }
                }
                (&Op::Array { first, others }, Token::Array(count)) => {
                    end = Some(self.array(first, others, at, inner, count)?);
                }
                (&Op::Contains { node, least, most }, Token::Array(count)) => {
                    self.contains(node, least, most, at, inner, count)?;
                }
                (Op::Unique, Token::Array(count)) => {
                    if !self.is_unique(at, inner, count)? {
                        return self.fail(at, Keyword::UniqueItems);
                    }
                }
                (&Op::All(node), _) => end = Some(self.run(node, at)?),
                (&Op::Any { nodes, .. }, _) => {
                    let Some((_, found)) = self.first_passing(nodes, at)? else {
                        return self.fail(at, Keyword::AnyOf);
                    };
                    end = Some(found);
                }
                (&Op::One(nodes), _) => {
                    let Some((link, found)) = self.first_passing(nodes, at)? else {
                        return self.fail(at, Keyword::OneOf);
                    };
                    let others = List { first: link + 1, end: nodes.end };
                    if self.first_passing(others, at)?.is_some() {
                        return self.fail(at, Keyword::OneOf);
                    }
                    end = Some(found);
                }
                (&Op::Not(node), _) => {
                    if self.passes(node, at)?.is_some() {
                        return self.fail(at, Keyword::Not);
                    }
                }
                (&Op::If { condition, then, otherwise }, _) => {
                    let node = if self.passes(condition, at)?.is_some() { then } else { otherwise };
                    if node != ANYTHING {
                        self.run(node, at)?;
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
    fn passes(&mut self, node: NodeId, at: usize) -> Step<Option<usize>> {
        match self.run(node, at) {
            Ok(end) => Ok(Some(end)),
            Err(stop) if self.rule.is_final() => Err(stop),
            Err(_) => Ok(None),
        }
    }

    fn first_passing(&mut self, nodes: List, at: usize) -> Step<Option<(u32, usize)>> {
        for link in nodes.first..nodes.end {
            if let Some(end) = self.passes(self.gate.links[link as usize], at)? {
                return Ok(Some((link, end)));
            }
        }
        Ok(None)
    }

    fn size(&mut self, at: usize, token: Token<'_>, limit: u32, rule: Keyword) -> Step<()> {
        let size = match (token, rule) {
            (Token::Str(text), Keyword::MinLength | Keyword::MaxLength) => {
                self.charge(at, text.len() / BYTES_PER_STEP)?;
                // Libraries do not agree on how long what lies beyond the basic plane is.
                if self.gate.dialect == Dialect::Library && text.iter().any(|byte| *byte >= 0xf0) {
                    return self.fail(at, Keyword::Unsure);
                }
                // Every code point has one byte that continues none.
                text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
            }
            (Token::Array(count), Keyword::MinItems | Keyword::MaxItems)
            | (Token::Map(count), Keyword::MinProperties | Keyword::MaxProperties) => count,
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

    fn object(&mut self, rules: &ObjectRules, at: usize, inner: usize, count: usize) -> Step<usize> {
        let mut scanner = self.new.at(inner);
        let mut seen = 0;
        // Entries mostly come in the order of their properties.
        let mut expected = rules.properties.first;
        let mut stray = None;
        for _ in 0..count {
            self.charge(at, 1)?;
            let name_at = scanner.offset();
            let Some(Token::Str(name)) = scanner.token() else { return Err(Stop) };
            let start = scanner.offset();
            let property = self.property(rules, start, name, &mut expected)?;
            seen |= property.map_or(0, |property| property.bit);
            let (mut end, is_named) = self.named(rules, property, name, start)?;
            if !is_named && rules.others != ANYTHING {
                if rules.others != NOTHING {
                    end = Some(self.run(rules.others, start)?);
                } else if self.gate.dialect == Dialect::Json {
                    return self.fail(start, Keyword::AdditionalProperties);
                } else {
                    // A library may refuse the key or take it away; if the object fails anyway, it fails.
                    stray = Some(start);
                }
            }
            if rules.names != ANYTHING {
                let is_shallow = core::mem::take(&mut self.is_shallow);
                if self.passes(rules.names, name_at)?.is_none() {
                    return self.fail(at, Keyword::PropertyNames);
                }
                self.is_shallow = is_shallow;
            }
            let end = match end {
                Some(end) => end,
                None => self.end(start)?,
            };
            scanner = scanner.at(end);
        }
        if seen != rules.required {
            return self.fail(at, Keyword::Required);
        }
        match stray {
            Some(at) => self.fail(at, Keyword::Unsure),
            None => Ok(scanner.offset()),
        }
    }

    /// Judges an entry by what speaks of its name. Returns its end, where that is known, and whether anything does.
    fn named(
        &mut self,
        rules: &ObjectRules,
        property: Option<Property>,
        name: &[u8],
        start: usize,
    ) -> Step<(Option<usize>, bool)> {
        let gate = self.gate;
        let (mut end, mut is_named) = (None, false);
        if let Some(node) = property.and_then(|property| property.node) {
            is_named = true;
            end = Some(self.run(node, start)?);
        } else if gate.dialect == Dialect::Library && is_inherited(name) {
            return self.fail(start, Keyword::Unsure);
        }
        for (pattern, node) in &gate.patterns[rules.patterns.first as usize..rules.patterns.end as usize] {
            if self.is_match(*pattern, name) {
                is_named = true;
                end = Some(self.run(*node, start)?);
            }
        }
        Ok((end, is_named))
    }

    /// The property of a name. The search begins with the one that is expected, which is the next one after it.
    pub(super) fn property(
        &mut self,
        rules: &ObjectRules,
        at: usize,
        name: &[u8],
        expected: &mut u32,
    ) -> Step<Option<Property>> {
        let gate = self.gate;
        let List { first, end } = rules.properties;
        self.charge(at, (end - first) as usize / COMPARED_PER_STEP)?;
        let middle = (*expected).min(end);
        let found = (middle..end)
            .chain(first..middle)
            .map(|index| (index, gate.properties[index as usize]))
            .find(|(_, property)| is_same(gate.name(property.name), name));
        Ok(found.map(|(index, property)| {
            *expected = index + 1;
            property
        }))
    }

    /// Whether a map has a key.
    fn has(&mut self, at: usize, inner: usize, count: usize, name: Span) -> Step<bool> {
        let mut scanner = self.new.at(inner);
        for _ in 0..count {
            self.charge(at, 1)?;
            if scanner.token() == Some(Token::Str(self.gate.name(name))) {
                return Ok(true);
            }
            scanner = scanner.at(self.end(scanner.offset())?);
        }
        Ok(false)
    }

    // ---- arrays

    fn array(&mut self, first: List, others: NodeId, at: usize, inner: usize, count: usize) -> Step<usize> {
        let mut start = inner;
        for index in 0..count {
            self.charge(at, 1)?;
            let link = (first.first..first.end).nth(index);
            let node = link.map_or(others, |link| self.gate.links[link as usize]);
            if node == NOTHING {
                return self.fail(start, if link.is_some() { Keyword::Never } else { Keyword::Items });
            }
            start = self.run(node, start)?;
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
            let end = match self.passes(node, start)? {
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
}

impl Gate {
    pub(super) fn name(&self, span: Span) -> &[u8] {
        &self.schema[span.start as usize..span.end as usize]
    }

    fn constant(&self, span: Span) -> Scanner<'_> {
        Scanner::new(EncodedValue::trusted(&self.schema)).at(span.start as usize)
    }
}

/// Whether JavaScript makes something of a value that a schema for JSON does not speak of: a `BigInt`, a byte array, or
/// an array where some libraries take any object.
fn is_special(token: Token<'_>, kinds: u8) -> bool {
    match token {
        Token::Int(number) => number.unsigned_abs() > MAX_SAFE,
        Token::Large(_) | Token::Bin(_) => true,
        Token::Array(_) => kinds & (kind::ARRAY | kind::OBJECT) == kind::OBJECT,
        Token::Float(float) => !float.is_finite(),
        Token::Nil | Token::Bool(_) | Token::Str(_) | Token::Map(_) => false,
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
