//! From a schema to a gate.

use alloc::{borrow::ToOwned, string::String, vec, vec::Vec};

use super::{
    ANYTHING, Dialect, Gate, List, NOTHING, Node, NodeId, ObjectRules, Op, Patterns, Property, Span,
    Unsupported,
    keyword::{self, Keyword},
    kind,
    number::Number,
    pointer,
};
use crate::protocol::{EncodedValue, Head, Reader};

/// A node whose schema is not compiled yet: nothing is known of it.
const UNKNOWN: Node = Node { kinds: kind::ANY, reach: kind::ANY, first: 0, end: 0 };

/// How many properties of one object can be required by a bit.
const MAX_BITS: u32 = 64;

impl Gate {
    /// Compiles the JSON Schema that `schema` encodes. References stay inside the schema, and may be recursive.
    ///
    /// # Errors
    /// Which keyword cannot be compiled. A keyword that is not known counts: what is misspelt must not pass for checked.
    pub fn compile(
        schema: EncodedValue<'_>,
        dialect: Dialect,
        host: &mut dyn Patterns,
    ) -> Result<Self, Unsupported> {
        let mut compiler = Compiler {
            schema,
            id: schema.string_field(Keyword::Id.text()).unwrap_or_default(),
            gate: Self {
                schema: schema.as_bytes().into(),
                dialect,
                root: ANYTHING,
                nodes: Vec::new(),
                ops: Vec::new(),
                links: Vec::new(),
                objects: Vec::new(),
                properties: Vec::new(),
                patterns: Vec::new(),
                constants: Vec::new(),
            },
            targets: Vec::new(),
            pending: Vec::new(),
            host,
        };
        match compiler.run() {
            Ok(()) => Ok(compiler.gate),
            Err(Refusal { at, keyword }) => {
                Err(Unsupported { path: pointer::write(schema.as_bytes(), at), keyword })
            }
        }
    }
}

/// What cannot be compiled: a keyword of the schema object at an offset.
struct Refusal {
    at: usize,
    keyword: String,
}

type Compiled<T> = Result<T, Refusal>;

struct Compiler<'a> {
    schema: EncodedValue<'a>,
    /// The schema's own `$id`.
    id: &'a str,
    gate: Gate,
    /// The nodes of what was referred to, by its offset.
    targets: Vec<(usize, NodeId)>,
    /// Those of them that are not compiled: a chain of references must not become one of calls.
    pending: Vec<(EncodedValue<'a>, NodeId)>,
    host: &'a mut dyn Patterns,
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn head(value: EncodedValue<'_>) -> Head<'_> {
    Reader::new(value.as_bytes()).head().unwrap_or(Head::Nil)
}

fn text(value: EncodedValue<'_>) -> Option<&str> {
    match head(value) {
        Head::Str(bytes) => core::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn number(value: EncodedValue<'_>) -> Option<Number> {
    Number::of(head(value))
}

fn field<'a>(schema: EncodedValue<'a>, keyword: Keyword) -> Option<EncodedValue<'a>> {
    find(schema, keyword.text().as_bytes())
}

fn find<'a>(map: EncodedValue<'a>, name: &[u8]) -> Option<EncodedValue<'a>> {
    map.fields()?.find(|(key, _)| key.as_bytes() == name).map(|(_, value)| value)
}

fn kinds_of(head: Head<'_>) -> u8 {
    match head {
        Head::Nil => kind::NULL,
        Head::Bool(_) => kind::BOOLEAN,
        Head::Map(_) => kind::OBJECT,
        Head::Array(_) => kind::ARRAY,
        Head::Str(_) => kind::STRING,
        Head::Natural(_) | Head::Negative(_) | Head::Float(_) => kind::FRACTION | kind::INTEGER,
        Head::Bin(_) => kind::FOREIGN,
    }
}

impl<'a> Compiler<'a> {
    fn run(&mut self) -> Compiled<()> {
        self.gate.nodes.extend([UNKNOWN, UNKNOWN]);
        self.finish(NOTHING, kind::ANY, 0, &[Op::Never]);
        self.gate.root = self.target(self.schema);
        while let Some((schema, node)) = self.pending.pop() {
            self.compile(schema, node)?;
        }
        Ok(())
    }

    /// The node of something that is referred to, compiled now or later.
    fn target(&mut self, schema: EncodedValue<'a>) -> NodeId {
        let at = self.offset(schema);
        if let Some((_, node)) = self.targets.iter().find(|(target, _)| *target == at) {
            return *node;
        }
        let node = self.reserve();
        self.targets.push((at, node));
        self.pending.push((schema, node));
        node
    }

    fn reserve(&mut self) -> NodeId {
        self.gate.nodes.push(UNKNOWN);
        small(self.gate.nodes.len() - 1)
    }

    fn finish(&mut self, node: NodeId, kinds: u8, reach: u8, ops: &[Op]) {
        let first = small(self.gate.ops.len());
        self.gate.ops.extend_from_slice(ops);
        let end = small(self.gate.ops.len());
        self.gate.nodes[node as usize] = Node { kinds, reach, first, end };
    }

    fn reach(&self, node: NodeId) -> u8 {
        self.gate.nodes[node as usize].reach
    }

    /// The node of a schema that lies inside another.
    fn node(&mut self, schema: EncodedValue<'a>) -> Compiled<NodeId> {
        match head(schema) {
            Head::Bool(true) | Head::Map(0) => return Ok(ANYTHING),
            Head::Bool(false) => return Ok(NOTHING),
            // A reference alone needs no node of its own.
            Head::Map(1) => {
                if let Some(reference) = field(schema, Keyword::Ref) {
                    return self.resolve(schema, reference);
                }
            }
            _ => {}
        }
        let node = self.reserve();
        self.compile(schema, node)?;
        Ok(node)
    }

    fn nodes(&mut self, at: EncodedValue<'a>, keyword: Keyword, list: EncodedValue<'a>) -> Compiled<List> {
        let items = self.items(at, keyword, list)?;
        // Not while the items are compiled: lists inside of them must not come between.
        let mut nodes = Vec::new();
        for item in items {
            nodes.push(self.node(item)?);
        }
        let first = small(self.gate.links.len());
        self.gate.links.extend(nodes);
        Ok(List { first, end: small(self.gate.links.len()) })
    }

    fn compile(&mut self, schema: EncodedValue<'a>, node: NodeId) -> Compiled<()> {
        let (mut kinds, mut reach) = (kind::ANY, kind::ANY);
        let mut ops = Vec::new();
        let mut has_object = false;
        let mut has_array = false;
        let Some(fields) = schema.fields() else {
            match head(schema) {
                Head::Bool(true) => {}
                Head::Bool(false) => ops.push(Op::Never),
                _ => return Err(self.refusal(schema, "no schema")),
            }
            self.finish(node, kinds, reach, &ops);
            return Ok(());
        };
        for (name, value) in fields {
            let Some(keyword) = Keyword::find(name) else {
                if keyword::is_annotation(name) {
                    continue;
                }
                return Err(self.refusal(schema, name));
            };
            let bad = |compiler: &Self| compiler.refusal(schema, name);
            match keyword {
                Keyword::Type => {
                    kinds = self.kinds(schema, value)?;
                    reach &= kinds;
                }
                Keyword::Enum | Keyword::Const => {
                    let values = match keyword {
                        Keyword::Const => Vec::from([value]),
                        _ => self.items(schema, keyword, value)?,
                    };
                    let first = small(self.gate.constants.len());
                    let mut constants_reach = 0;
                    for constant in values {
                        constants_reach |= kinds_of(head(constant));
                        let span = self.span(constant.as_bytes());
                        self.gate.constants.push(span);
                    }
                    reach &= constants_reach;
                    let constants = List { first, end: small(self.gate.constants.len()) };
                    ops.push(Op::OneOfConstants { constants, rule: keyword });
                }
                Keyword::Minimum
                | Keyword::Maximum
                | Keyword::ExclusiveMinimum
                | Keyword::ExclusiveMaximum
                | Keyword::MultipleOf => {
                    let limit = number(value)
                        .filter(|limit| keyword != Keyword::MultipleOf || limit.is_above_zero())
                        .ok_or_else(|| bad(self))?;
                    ops.push(Op::Bound { limit, rule: keyword });
                }
                Keyword::MinLength
                | Keyword::MaxLength
                | Keyword::MinItems
                | Keyword::MaxItems
                | Keyword::MinProperties
                | Keyword::MaxProperties => {
                    let limit = number(value).and_then(Number::count).ok_or_else(|| bad(self))?;
                    ops.push(Op::Size { limit, rule: keyword });
                }
                Keyword::Pattern => {
                    let pattern = text(value).and_then(|source| self.host.prepare(source));
                    ops.push(Op::Pattern(pattern.ok_or_else(|| bad(self))?));
                }
                Keyword::Properties
                | Keyword::PatternProperties
                | Keyword::AdditionalProperties
                | Keyword::PropertyNames
                | Keyword::Required => {
                    if !core::mem::replace(&mut has_object, true) {
                        self.object(schema, &mut ops)?;
                    }
                }
                Keyword::DependentRequired => {
                    for (name, required) in value.fields().ok_or_else(|| bad(self))? {
                        let node = self.reserve();
                        let mut inner = Vec::new();
                        let names = self.names(schema, keyword, required)?;
                        self.rules(Vec::new(), &names, Vec::new(), ANYTHING, ANYTHING, &mut inner);
                        self.finish(node, kind::ANY, kind::ANY, &inner);
                        ops.push(Op::Depends { name: self.span(name.as_bytes()), node });
                    }
                }
                Keyword::DependentSchemas => {
                    for (name, inner) in value.fields().ok_or_else(|| bad(self))? {
                        let node = self.node(inner)?;
                        ops.push(Op::Depends { name: self.span(name.as_bytes()), node });
                    }
                }
                Keyword::Items | Keyword::PrefixItems => {
                    if !core::mem::replace(&mut has_array, true) {
                        let first = match field(schema, Keyword::PrefixItems) {
                            Some(first) => self.nodes(schema, Keyword::PrefixItems, first)?,
                            None => List { first: 0, end: 0 },
                        };
                        let others = self.optional(field(schema, Keyword::Items))?;
                        ops.push(Op::Array { first, others });
                    }
                }
                Keyword::Contains => {
                    let least = self.count(schema, Keyword::MinContains, 1)?;
                    let most = self.count(schema, Keyword::MaxContains, u32::MAX)?;
                    ops.push(Op::Contains { node: self.node(value)?, least, most });
                }
                Keyword::UniqueItems => match head(value) {
                    Head::Bool(true) => ops.push(Op::Unique),
                    Head::Bool(false) => {}
                    _ => return Err(bad(self)),
                },
                Keyword::AllOf => {
                    let nodes = self.nodes(schema, keyword, value)?;
                    for link in nodes.first..nodes.end {
                        let node = self.gate.links[link as usize];
                        reach &= self.reach(node);
                        ops.push(Op::All(node));
                    }
                }
                Keyword::AnyOf => {
                    let nodes = self.nodes(schema, keyword, value)?;
                    let (mut all, mut is_disjoint) = (0, true);
                    for link in nodes.first..nodes.end {
                        let option = self.reach(self.gate.links[link as usize]);
                        is_disjoint &= all & option == 0;
                        all |= option;
                    }
                    reach &= all;
                    ops.push(Op::Any { nodes, is_disjoint });
                }
                Keyword::OneOf => ops.push(Op::One(self.nodes(schema, keyword, value)?)),
                Keyword::Not => ops.push(Op::Not(self.node(value)?)),
                Keyword::If => {
                    let condition = self.node(value)?;
                    let then = self.optional(field(schema, Keyword::Then))?;
                    let otherwise = self.optional(field(schema, Keyword::Else))?;
                    ops.push(Op::If { condition, then, otherwise });
                }
                Keyword::Ref => ops.push(Op::All(self.resolve(schema, value)?)),
                Keyword::Schema => {
                    text(value).filter(|text| text.contains("/2020-12/")).ok_or_else(|| bad(self))?;
                }
                // Another `$id` would give the references beside it another base.
                Keyword::Id => {
                    text(value).filter(|_| self.offset(schema) == 0).ok_or_else(|| bad(self))?;
                }
                Keyword::MinContains | Keyword::MaxContains | Keyword::Then | Keyword::Else => {}
                Keyword::Never | Keyword::TooComplex | Keyword::Unsure => return Err(bad(self)),
            }
        }
        self.finish(node, kinds, reach, &ops);
        Ok(())
    }

    fn kinds(&self, schema: EncodedValue<'a>, value: EncodedValue<'a>) -> Compiled<u8> {
        let names = match text(value) {
            Some(name) => Vec::from([name]),
            None => self.names(schema, Keyword::Type, value)?,
        };
        names.iter().try_fold(0, |kinds, name| {
            let kind = match *name {
                "null" => kind::NULL,
                "boolean" => kind::BOOLEAN,
                "object" => kind::OBJECT,
                "array" => kind::ARRAY,
                "string" => kind::STRING,
                "number" => kind::FRACTION | kind::INTEGER,
                "integer" => kind::INTEGER,
                _ => return Err(self.refusal(schema, Keyword::Type.text())),
            };
            Ok(kinds | kind)
        })
    }

    fn object(&mut self, schema: EncodedValue<'a>, ops: &mut Vec<Op>) -> Compiled<()> {
        let mut properties = Vec::new();
        for (name, value) in self.entries(schema, Keyword::Properties)? {
            let node = self.node(value)?;
            properties.push((name, Some(node)));
        }
        let required = match field(schema, Keyword::Required) {
            Some(names) => self.names(schema, Keyword::Required, names)?,
            None => Vec::new(),
        };
        let mut patterns = Vec::new();
        for (source, value) in self.entries(schema, Keyword::PatternProperties)? {
            let pattern = self.host.prepare(source);
            let pattern = pattern.ok_or_else(|| self.refusal(schema, Keyword::PatternProperties.text()))?;
            patterns.push((pattern, self.node(value)?));
        }
        let others = self.optional(field(schema, Keyword::AdditionalProperties))?;
        let names = self.optional(field(schema, Keyword::PropertyNames))?;
        self.rules(properties, &required, patterns, others, names, ops);
        Ok(())
    }

    /// Adds the rules of an object, and an op that asks for them.
    fn rules(
        &mut self,
        mut properties: Vec<(&'a str, Option<NodeId>)>,
        required: &[&'a str],
        patterns: Vec<(u32, NodeId)>,
        others: NodeId,
        names: NodeId,
        ops: &mut Vec<Op>,
    ) {
        let mut bits = vec![0_u64; properties.len()];
        let mut count = 0;
        for name in required {
            if count == MAX_BITS {
                ops.push(Op::Has(self.span(name.as_bytes())));
                continue;
            }
            let index = properties.iter().position(|(known, _)| known == name).unwrap_or(properties.len());
            if index == properties.len() {
                properties.push((name, None));
                bits.push(0);
            }
            if bits[index] == 0 {
                bits[index] = 1 << count;
                count += 1;
            }
        }
        // Sorted by insertion: `sorted` holds indices of `properties`.
        let mut sorted: Vec<usize> = Vec::new();
        for index in 0..properties.len() {
            let place = sorted.partition_point(|other| properties[*other].0 < properties[index].0);
            sorted.insert(place, index);
        }
        let base = self.gate.properties.len();
        let mut places = vec![small(base); properties.len() + 1];
        for (place, index) in sorted.iter().enumerate() {
            places[*index] = small(base + place);
        }
        for index in sorted {
            let (name, node) = properties[index];
            let name = self.span(name.as_bytes());
            self.gate.properties.push(Property { name, node, bit: bits[index], next: places[index + 1] });
        }
        let first = small(self.gate.patterns.len());
        self.gate.patterns.extend(patterns);
        self.gate.objects.push(ObjectRules {
            properties: List { first: small(base), end: small(self.gate.properties.len()) },
            first: places[0],
            patterns: List { first, end: small(self.gate.patterns.len()) },
            others,
            names,
            required: bits.iter().fold(0, |all, bit| all | bit),
        });
        ops.push(Op::Object(small(self.gate.objects.len() - 1)));
    }

    fn optional(&mut self, schema: Option<EncodedValue<'a>>) -> Compiled<NodeId> {
        schema.map_or(Ok(ANYTHING), |schema| self.node(schema))
    }

    fn count(&self, schema: EncodedValue<'a>, keyword: Keyword, default: u32) -> Compiled<u32> {
        let Some(value) = field(schema, keyword) else { return Ok(default) };
        number(value).and_then(Number::count).ok_or_else(|| self.refusal(schema, keyword.text()))
    }

    /// The entries of the map that a keyword has; none where there is no such keyword.
    fn entries(
        &self,
        schema: EncodedValue<'a>,
        keyword: Keyword,
    ) -> Compiled<Vec<(&'a str, EncodedValue<'a>)>> {
        let Some(value) = field(schema, keyword) else { return Ok(Vec::new()) };
        let fields = value.fields().ok_or_else(|| self.refusal(schema, keyword.text()))?;
        Ok(fields.collect())
    }

    fn items(
        &self,
        schema: EncodedValue<'a>,
        keyword: Keyword,
        list: EncodedValue<'a>,
    ) -> Compiled<Vec<EncodedValue<'a>>> {
        let mut reader = Reader::new(list.as_bytes());
        let Ok(count) = reader.array() else { return Err(self.refusal(schema, keyword.text())) };
        Ok((0..count).map_while(|_| reader.value().ok()).collect())
    }

    fn names(
        &self,
        schema: EncodedValue<'a>,
        keyword: Keyword,
        list: EncodedValue<'a>,
    ) -> Compiled<Vec<&'a str>> {
        let names = self.items(schema, keyword, list)?.into_iter().map(text).collect::<Option<_>>();
        names.ok_or_else(|| self.refusal(schema, keyword.text()))
    }

    /// The node of what a reference points to: `#`, a JSON Pointer behind it, or either behind the schema's own `$id`.
    fn resolve(&mut self, schema: EncodedValue<'a>, reference: EncodedValue<'a>) -> Compiled<NodeId> {
        let target = text(reference).and_then(|text| {
            let fragment = text.strip_prefix(self.id).unwrap_or(text);
            let steps = match fragment.strip_prefix('#') {
                Some(steps) => steps,
                None if fragment.is_empty() => fragment,
                None => return None,
            };
            pointer::read(self.schema, steps)
        });
        match target {
            Some(target) => Ok(self.target(target)),
            None => Err(self.refusal(schema, Keyword::Ref.text())),
        }
    }

    fn refusal(&self, schema: EncodedValue<'a>, keyword: &str) -> Refusal {
        Refusal { at: self.offset(schema), keyword: keyword.to_owned() }
    }

    /// Where a part of the schema begins.
    fn offset(&self, part: EncodedValue<'a>) -> usize {
        self.offset_of(part.as_bytes())
    }

    fn offset_of(&self, part: &[u8]) -> usize {
        (part.as_ptr() as usize).wrapping_sub(self.schema.as_bytes().as_ptr() as usize)
    }

    fn span(&self, part: &[u8]) -> Span {
        let start = self.offset_of(part);
        Span { start: small(start), end: small(start + part.len()) }
    }
}
