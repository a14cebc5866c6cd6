//! The schema gate: a JSON Schema compiled to a flat program that runs over encoded values.
//!
//! [`Gate::compile`] takes the schema, and [`Gate::check`] runs it over a value. For the successor of a value that has
//! passed, `value` asks only about what differs ([`Steps`]), so the cost follows the change. Nothing is decoded and no tree
//! is built. Which keywords there are, and what they mean for values that
//! JSON has not, is in `docs/gate.md`. Not here: what becomes of a refused value (that is `replica`), and whether a
//! schema library's own definition may be compiled at all (that is the facade).

mod compile;
mod equal;
mod keyword;
mod number;
mod pointer;
mod step;
mod walk;

use alloc::{boxed::Box, string::String, vec::Vec};

use thiserror::Error;

pub(crate) use self::step::{Parts, Steps};
use self::{keyword::Keyword, number::Number};
use crate::protocol::EncodedValue;

/// Where there are threads, whatever a client holds may move to another.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
pub trait Movable: Send {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Send + ?Sized> Movable for T {}
/// A page has one thread, and what belongs to JavaScript stays there.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub trait Movable {}
#[cfg(target_arch = "wasm32")]
impl<T: ?Sized> Movable for T {}

/// Regular expressions are the host's: in a page, JavaScript's own.
pub trait Patterns: Movable {
    /// Makes a pattern ready and returns its number; `None` where it is none that the host understands.
    fn prepare(&mut self, pattern: &str) -> Option<u32>;

    /// Whether a pattern that was made ready occurs in `text`.
    fn is_match(&self, pattern: u32, text: &str) -> bool;
}

/// For schemas without patterns: one that has any cannot be compiled.
impl Patterns for () {
    fn prepare(&mut self, _: &str) -> Option<u32> {
        None
    }

    fn is_match(&self, _: u32, _: &str) -> bool {
        false
    }
}

/// What a verdict says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Whether the value is valid by JSON Schema.
    Json,
    /// Whether a schema library in JavaScript accepts the value as it is and changes nothing about it. A fault says
    /// that this is not certain: then the library itself decides. The schema speaks of what JavaScript makes of the
    /// value (how long a string is, libraries do not agree on), and `additionalProperties: false` stands for keys that a library
    /// refuses or takes away.
    Library,
}

/// A keyword of a schema that cannot be compiled, or says what it may not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the schema at `{path}` uses `{keyword}` in a way that gates do not support")]
pub struct Unsupported {
    /// A JSON Pointer to the schema object that has the keyword.
    pub path: String,
    /// The keyword.
    pub keyword: String,
}

/// Why a value did not pass. It holds nothing of the value but the way to the place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the value at `{path}` breaks `{rule}`")]
pub struct Fault {
    /// A JSON Pointer to the part of the value that broke the rule.
    pub path: String,
    /// The keyword, `false` where the schema allows nothing, or `too_complex` where the check took too many steps.
    pub rule: &'static str,
}

/// A compiled schema.
///
/// ```
/// use tidewire::{gate::{Dialect, Gate}, protocol::{EncodedValue, from_json}};
///
/// let schema = from_json(r#"{ "type": "object", "properties": { "age": { "type": "integer", "minimum": 0 } } }"#)?;
/// let gate = Gate::compile(EncodedValue::check(&schema)?, Dialect::Json, &mut ())?;
///
/// let (good, bad) = (from_json(r#"{ "age": 36 }"#)?, from_json(r#"{ "age": -1 }"#)?);
/// let good = EncodedValue::check(&good)?;
/// assert_eq!(gate.check(good, &()), Ok(()));
/// let fault = gate.check_against(good, EncodedValue::check(&bad)?, &()).unwrap_err();
/// assert_eq!((fault.path.as_str(), fault.rule), ("/age", "minimum"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Gate {
    /// The schema's own bytes: names and constants are spans of them.
    schema: Box<[u8]>,
    dialect: Dialect,
    root: NodeId,
    nodes: Vec<Node>,
    ops: Vec<Op>,
    /// Lists of nodes that ops refer to.
    links: Vec<NodeId>,
    objects: Vec<ObjectRules>,
    properties: Vec<Property>,
    patterns: Vec<(u32, NodeId)>,
    constants: Vec<Span>,
}

impl Gate {
    /// Whether this is the gate of that schema.
    pub(crate) fn is_of(&self, schema: EncodedValue<'_>, dialect: Dialect) -> bool {
        *self.schema == *schema.as_bytes() && self.dialect == dialect
    }

    /// What its verdicts say.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether `value` passes.
    ///
    /// Linear in the value for most schemas. Branches and references may make it more; then it is bounded: see
    /// `docs/gate.md`.
    ///
    /// # Errors
    /// Where the value broke which rule.
    pub fn check(&self, value: EncodedValue<'_>, host: &dyn Patterns) -> Result<(), Fault> {
        walk::check(self, value, host)
    }
}

/// The index of a node. The first two are the schemas `true` and `false`.
pub(crate) type NodeId = u32;

pub(crate) const ANYTHING: NodeId = 0;
const NOTHING: NodeId = 1;

/// Kinds of values, as bits.
mod kind {
    pub(super) const NULL: u8 = 1;
    pub(super) const BOOLEAN: u8 = 2;
    pub(super) const OBJECT: u8 = 4;
    pub(super) const ARRAY: u8 = 8;
    pub(super) const STRING: u8 = 16;
    pub(super) const FRACTION: u8 = 32;
    pub(super) const INTEGER: u8 = 64;
    /// What JSON has not: binary data, NaN, infinities. No `type` allows it.
    pub(super) const FOREIGN: u8 = 128;
    pub(super) const ANY: u8 = 255;
}

/// One schema object: the kinds of values that it allows, and what else it asks of them.
#[derive(Debug, Clone, Copy)]
struct Node {
    kinds: u8,
    /// The kinds of which any value can pass all that it asks: as far as that is known, and never too few.
    reach: u8,
    first: u32,
    end: u32,
}

/// Bytes of the schema.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

/// Consecutive entries of one of the gate's lists.
#[derive(Debug, Clone, Copy)]
struct List {
    first: u32,
    end: u32,
}

/// One demand of a schema. It is met by values of kinds that it does not speak of.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// Nothing passes.
    Never,
    /// The value equals one of the constants.
    OneOfConstants { constants: List, rule: Keyword },
    /// A number's bound.
    Bound { limit: Number, rule: Keyword },
    /// A bound of a length or count.
    Size { limit: u32, rule: Keyword },
    /// A string's pattern.
    Pattern(u32),
    /// A map's entries.
    Object(u32),
    /// A map's key that is required, where the object's rules have no room for it.
    Has(Span),
    /// What holds if a map has a key.
    Depends { name: Span, node: NodeId },
    /// An array's elements: the first ones, and the others.
    Array { first: List, others: NodeId },
    /// How many elements of an array pass a node.
    Contains { node: NodeId, least: u32, most: u32 },
    /// No two elements of an array are equal.
    Unique,
    /// Another node.
    All(NodeId),
    /// One of some nodes, at least. Disjoint ones allow different kinds of values, so that at most one can pass.
    Any { nodes: List, is_disjoint: bool },
    /// Exactly one of some nodes.
    One(List),
    /// Not that node.
    Not(NodeId),
    /// One node or another, as a third one decides.
    If { condition: NodeId, then: NodeId, otherwise: NodeId },
}

/// What a schema asks of a map's entries.
#[derive(Debug, Clone, Copy)]
struct ObjectRules {
    properties: List,
    patterns: List,
    /// What entries that no other rule names must be.
    others: NodeId,
    names: NodeId,
    /// The bits of all required properties.
    required: u64,
}

/// A named entry of a map.
#[derive(Debug, Clone, Copy)]
struct Property {
    name: Span,
    /// Of a name that is only required: none.
    node: Option<NodeId>,
    /// Its bit if it is required, else 0.
    bit: u64,
}

#[cfg(test)]
mod tests;
