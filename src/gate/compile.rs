//! From a schema to a gate.

use alloc::{borrow::ToOwned, vec, vec::Vec};

use super::{
    ANYTHING, Dialect, Gate, List, NOTHING, Node, NodeId, ObjectRules, Op, Patterns, Property, Span,
    Unsupported,
    keyword::{self, Keyword},
    kind,
    number::Number,
    pointer,
};
use crate::protocol::{EncodedValue, Scanner, Token};

/// A node whose schema is not compiled yet: nothing is known of it.
const UNKNOWN: Node = Node { kinds: kind::ANY, reach: kind::ANY, first: 0, end: 0 };

/// The rules of an object of which nothing is asked.
const NO_RULES: ObjectRules = ObjectRules {
    properties: List { first: 0, end: 0 },
    patterns: List { first: 0, end: 0 },
    others: ANYTHING,
    names: ANYTHING,
    required: 0,
};

/// The version of JSON Schema that gates speak.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

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
            at: 0,
            keyword: "",
        };
        match compiler.run() {
            Ok(()) => Ok(compiler.gate),
            Err(Refused) => Err(Unsupported {
                path: pointer::write(schema, compiler.at),
                keyword: compiler.keyword.to_owned(),
            }),
        }
    }
}

/// Something cannot be compiled; the compiler knows what.
#[derive(Clone, Copy)]
struct Refused;

type Compiled<T> = Result<T, Refused>;

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
    /// The schema object that is being compiled, and its keyword: where a refusal is.
    at: usize,
    keyword: &'a str,
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn head(value: EncodedValue<'_>) -> Token<'_> {
    Scanner::new(value).token().unwrap_or(Token::Nil)
}

fn utf8(bytes: &[u8]) -> Compiled<&str> {
    core::str::from_utf8(bytes).map_err(|_| Refused)
}

fn text(value: EncodedValue<'_>) -> Compiled<&str> {
    match head(value) {
        Token::Str(bytes) => utf8(bytes),
        _ => Err(Refused),
    }
}

fn number(value: EncodedValue<'_>) -> Compiled<Number> {
    Number::of(head(value)).ok_or(Refused)
}

fn count(value: EncodedValue<'_>) -> Compiled<u32> {
    number(value)?.count().ok_or(Refused)
}

fn entries(value: EncodedValue<'_>) -> Compiled<Vec<(&str, EncodedValue<'_>)>> {
    let mut scanner = Scanner::new(value);
    let Some(Token::Map(count)) = scanner.token() else { return Err(Refused) };
    let mut entries = Vec::new();
    for _ in 0..count {
        let (Some(Token::Str(name)), Some(value)) = (scanner.token(), scanner.value()) else {
            return Err(Refused);
        };
        entries.push((utf8(name)?, value));
    }
    Ok(entries)
}

fn items(value: EncodedValue<'_>) -> Compiled<Vec<EncodedValue<'_>>> {
    let mut scanner = Scanner::new(value);
    let Some(Token::Array(count)) = scanner.token() else { return Err(Refused) };
    (0..count).map(|_| scanner.value().ok_or(Refused)).collect()
}

fn names(value: EncodedValue<'_>) -> Compiled<Vec<&str>> {
    let mut names = Vec::new();
    for item in items(value)? {
        names.push(text(item)?);
    }
    Ok(names)
}

/// The kinds of values that may equal a constant.
fn kinds_of(constant: EncodedValue<'_>) -> u8 {
    match head(constant) {
        Token::Nil => kind::NULL,
        Token::Bool(_) => kind::BOOLEAN,
        Token::Map(_) => kind::OBJECT,
        Token::Array(_) => kind::ARRAY,
        Token::Str(_) => kind::STRING,
        _ => kind::FRACTION | kind::INTEGER | kind::FOREIGN,
    }
}

fn kinds(value: EncodedValue<'_>) -> Compiled<u8> {
    let names = if let Ok(name) = text(value) { Vec::from([name]) } else { names(value)? };
    let mut kinds = 0;
    for name in names {
        kinds |= match name {
            "null" => kind::NULL,
            "boolean" => kind::BOOLEAN,
            "object" => kind::OBJECT,
            "array" => kind::ARRAY,
            "string" => kind::STRING,
            "number" => kind::FRACTION | kind::INTEGER,
            "integer" => kind::INTEGER,
            _ => return Err(Refused),
        };
    }
    Ok(kinds)
}

/// The keywords of one schema object that others of it speak of.
struct Fields<'s, 'a>(&'s [(&'a str, EncodedValue<'a>)]);

impl<'a> Fields<'_, 'a> {
    fn get(&self, keyword: Keyword) -> Option<EncodedValue<'a>> {
        let name = keyword.text();
        self.0.iter().find(|(field, _)| *field == name).map(|(_, value)| *value)
    }
}

impl<'a> Compiler<'a> {
    fn run(&mut self) -> Compiled<()> {
        self.gate.nodes.extend([UNKNOWN, UNKNOWN]);
        self.finish(NOTHING, UNKNOWN, &[Op::Never]);
        self.gate.root = self.target(self.schema);
        while let Some((schema, node)) = self.pending.pop() {
            self.compile(schema, node)?;
        }
        Ok(())
    }

    /// The node of something that is referred to, compiled later.
    fn target(&mut self, schema: EncodedValue<'a>) -> NodeId {
        let at = self.offset(schema.as_bytes());
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

    fn finish(&mut self, id: NodeId, mut node: Node, ops: &[Op]) {
        node.first = small(self.gate.ops.len());
        self.gate.ops.extend_from_slice(ops);
        node.end = small(self.gate.ops.len());
        self.gate.nodes[id as usize] = node;
    }

    fn reach(&self, node: NodeId) -> u8 {
        self.gate.nodes[node as usize].reach
    }

    /// The node of a schema that lies inside another.
    fn node(&mut self, schema: EncodedValue<'a>) -> Compiled<NodeId> {
        match head(schema) {
            Token::Bool(true) | Token::Map(0) => return Ok(ANYTHING),
            Token::Bool(false) => return Ok(NOTHING),
            // A reference alone needs no node of its own.
            Token::Map(1) => {
                if let [(name, reference)] = entries(schema)?[..]
                    && name == Keyword::Ref.text()
                {
                    (self.at, self.keyword) = (self.offset(schema.as_bytes()), name);
                    return self.resolve(reference);
                }
            }
            _ => {}
        }
        let node = self.reserve();
        self.compile(schema, node)?;
        Ok(node)
    }

    fn optional(&mut self, schema: Option<EncodedValue<'a>>) -> Compiled<NodeId> {
        match schema {
            Some(schema) => self.node(schema),
            None => Ok(ANYTHING),
        }
    }

    fn nodes(&mut self, list: EncodedValue<'a>) -> Compiled<List> {
        // Not while the items are compiled: lists inside of them must not come between.
        let mut nodes = Vec::new();
        for item in items(list)? {
            nodes.push(self.node(item)?);
        }
        let first = small(self.gate.links.len());
        self.gate.links.extend(nodes);
        Ok(List { first, end: small(self.gate.links.len()) })
    }

    fn compile(&mut self, schema: EncodedValue<'a>, id: NodeId) -> Compiled<()> {
        let at = self.offset(schema.as_bytes());
        let mut node = UNKNOWN;
        let mut ops = Vec::new();
        let is_boolean = match head(schema) {
            Token::Bool(true) => true,
            Token::Bool(false) => {
                ops.push(Op::Never);
                true
            }
            _ => false,
        };
        (self.at, self.keyword) = (at, "no schema");
        let all = if is_boolean { Vec::new() } else { entries(schema)? };
        let fields = Fields(&all);
        let (mut has_object, mut has_array) = (false, false);
        for (name, value) in &all {
            (self.at, self.keyword) = (at, name);
            let Some(keyword) = Keyword::find(name) else {
                if keyword::is_annotation(name) {
                    continue;
                }
                return Err(Refused);
            };
            let value = *value;
            match keyword {
                Keyword::Type => {
                    node.kinds = kinds(value)?;
                    node.reach &= node.kinds;
                }
                Keyword::Enum | Keyword::Const => {
                    let values = if keyword == Keyword::Const { Vec::from([value]) } else { items(value)? };
                    let first = small(self.gate.constants.len());
                    let mut reach = 0;
                    for constant in values {
                        reach |= kinds_of(constant);
                        let span = self.span(constant.as_bytes());
                        self.gate.constants.push(span);
                    }
                    node.reach &= reach;
                    let constants = List { first, end: small(self.gate.constants.len()) };
                    ops.push(Op::OneOfConstants { constants, rule: keyword });
                }
                Keyword::Minimum
                | Keyword::Maximum
                | Keyword::ExclusiveMinimum
                | Keyword::ExclusiveMaximum
                | Keyword::MultipleOf => {
                    let limit = number(value)?;
                    if keyword == Keyword::MultipleOf && !limit.is_above_zero() {
                        return Err(Refused);
                    }
                    ops.push(Op::Bound { limit, rule: keyword });
                }
                Keyword::MinLength
                | Keyword::MaxLength
                | Keyword::MinItems
                | Keyword::MaxItems
                | Keyword::MinProperties
                | Keyword::MaxProperties => ops.push(Op::Size { limit: count(value)?, rule: keyword }),
                Keyword::Pattern => ops.push(Op::Pattern(self.pattern(text(value)?)?)),
                Keyword::Properties
                | Keyword::PatternProperties
                | Keyword::AdditionalProperties
                | Keyword::PropertyNames
                | Keyword::Required => {
                    if !core::mem::replace(&mut has_object, true) {
                        self.object(&fields, &mut ops)?;
                    }
                }
                Keyword::DependentRequired => {
                    for (name, required) in entries(value)? {
                        let id = self.reserve();
                        let mut inner = Vec::new();
                        self.rules(Vec::new(), &names(required)?, NO_RULES, &mut inner);
                        self.finish(id, UNKNOWN, &inner);
                        ops.push(Op::Depends { name: self.span(name.as_bytes()), node: id });
                    }
                }
                Keyword::DependentSchemas => {
                    for (name, inner) in entries(value)? {
                        let node = self.node(inner)?;
                        ops.push(Op::Depends { name: self.span(name.as_bytes()), node });
                    }
                }
                Keyword::Items | Keyword::PrefixItems => {
                    if !core::mem::replace(&mut has_array, true) {
                        let first = match fields.get(Keyword::PrefixItems) {
                            Some(first) => self.nodes(first)?,
                            None => List { first: 0, end: 0 },
                        };
                        let others = self.optional(fields.get(Keyword::Items))?;
                        ops.push(Op::Array { first, others });
                    }
                }
                Keyword::Contains => {
                    let least = fields.get(Keyword::MinContains).map_or(Ok(1), count)?;
                    let most = fields.get(Keyword::MaxContains).map_or(Ok(u32::MAX), count)?;
                    ops.push(Op::Contains { node: self.node(value)?, least, most });
                }
                Keyword::UniqueItems => match head(value) {
                    Token::Bool(true) => ops.push(Op::Unique),
                    Token::Bool(false) => {}
                    _ => return Err(Refused),
                },
                Keyword::AllOf => {
                    let nodes = self.nodes(value)?;
                    for link in nodes.first..nodes.end {
                        let one = self.gate.links[link as usize];
                        node.reach &= self.reach(one);
                        ops.push(Op::All(one));
                    }
                }
                Keyword::AnyOf => {
                    let nodes = self.nodes(value)?;
                    let (mut all, mut is_disjoint) = (0, true);
                    for link in nodes.first..nodes.end {
                        let option = self.reach(self.gate.links[link as usize]);
                        is_disjoint &= all & option == 0;
                        all |= option;
                    }
                    node.reach &= all;
                    ops.push(Op::Any { nodes, is_disjoint });
                }
                Keyword::OneOf => ops.push(Op::One(self.nodes(value)?)),
                Keyword::Not => ops.push(Op::Not(self.node(value)?)),
                Keyword::If => {
                    let condition = self.node(value)?;
                    let then = self.optional(fields.get(Keyword::Then))?;
                    let otherwise = self.optional(fields.get(Keyword::Else))?;
                    ops.push(Op::If { condition, then, otherwise });
                }
                Keyword::Ref => ops.push(Op::All(self.resolve(value)?)),
                Keyword::Schema => {
                    if text(value)? != DRAFT {
                        return Err(Refused);
                    }
                }
                // Another `$id` would give the references beside it another base.
                Keyword::Id => {
                    if at > 0 {
                        return Err(Refused);
                    }
                }
                Keyword::MinContains | Keyword::MaxContains | Keyword::Then | Keyword::Else => {}
                Keyword::Never | Keyword::TooComplex | Keyword::Unsure => return Err(Refused),
            }
        }
        self.finish(id, node, &ops);
        Ok(())
    }

    fn pattern(&mut self, source: &str) -> Compiled<u32> {
        self.host.prepare(source).ok_or(Refused)
    }

    fn object(&mut self, fields: &Fields<'_, 'a>, ops: &mut Vec<Op>) -> Compiled<()> {
        let at = self.at;
        let required = match fields.get(Keyword::Required) {
            Some(required) => {
                self.keyword = Keyword::Required.text();
                names(required)?
            }
            None => Vec::new(),
        };
        let mut patterns = Vec::new();
        if let Some(value) = fields.get(Keyword::PatternProperties) {
            self.keyword = Keyword::PatternProperties.text();
            for (source, value) in entries(value)? {
                patterns.push((self.pattern(source)?, value));
            }
        }
        let mut properties = Vec::new();
        if let Some(value) = fields.get(Keyword::Properties) {
            (self.at, self.keyword) = (at, Keyword::Properties.text());
            for (name, value) in entries(value)? {
                properties.push((name, Some(self.node(value)?)));
            }
        }
        let mut named = Vec::new();
        for (pattern, value) in patterns {
            named.push((pattern, self.node(value)?));
        }
        let first = small(self.gate.patterns.len());
        self.gate.patterns.extend(named);
        let rest = ObjectRules {
            patterns: List { first, end: small(self.gate.patterns.len()) },
            others: self.optional(fields.get(Keyword::AdditionalProperties))?,
            names: self.optional(fields.get(Keyword::PropertyNames))?,
            ..NO_RULES
        };
        self.rules(properties, &required, rest, ops);
        Ok(())
    }

    /// Adds rules of an object, and an op that asks for them.
    fn rules(
        &mut self,
        mut properties: Vec<(&'a str, Option<NodeId>)>,
        required: &[&'a str],
        rest: ObjectRules,
        ops: &mut Vec<Op>,
    ) {
        let mut bits = vec![0_u64; properties.len()];
        let mut all = 0_u64;
        for name in required {
            let bit = all.wrapping_add(1);
            if bit == 0 {
                ops.push(Op::Has(self.span(name.as_bytes())));
                continue;
            }
            let index = properties.iter().position(|(known, _)| known == name).unwrap_or(properties.len());
            if index == properties.len() {
                properties.push((name, None));
                bits.push(0);
            }
            if bits[index] == 0 {
                bits[index] = bit;
                all |= bit;
            }
        }
        let first = small(self.gate.properties.len());
        for ((name, node), bit) in properties.into_iter().zip(bits) {
            let name = self.span(name.as_bytes());
            self.gate.properties.push(Property { name, node, bit });
        }
        let properties = List { first, end: small(self.gate.properties.len()) };
        self.gate.objects.push(ObjectRules { properties, required: all, ..rest });
        ops.push(Op::Object(small(self.gate.objects.len() - 1)));
    }

    /// The node of what a reference points to: `#`, a JSON Pointer behind it, or either behind the schema's own `$id`.
    fn resolve(&mut self, reference: EncodedValue<'a>) -> Compiled<NodeId> {
        let reference = text(reference)?.as_bytes();
        let fragment = reference.strip_prefix(self.id.as_bytes()).unwrap_or(reference);
        let pointer = match fragment {
            [b'#', pointer @ ..] => pointer,
            [] => fragment,
            _ => return Err(Refused),
        };
        let target = pointer::read(self.schema, pointer).ok_or(Refused)?;
        Ok(self.target(target))
    }

    /// Where a part of the schema begins.
    fn offset(&self, part: &[u8]) -> usize {
        (part.as_ptr() as usize).wrapping_sub(self.schema.as_bytes().as_ptr() as usize)
    }

    fn span(&self, part: &[u8]) -> Span {
        let start = self.offset(part);
        Span { start: small(start), end: small(start + part.len()) }
    }
}
