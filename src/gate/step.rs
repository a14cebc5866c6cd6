//! A gate for whoever goes over a value and the one before it at the same time, and so knows what did not change.

use super::{ANYTHING, Gate, NodeId, Op, Patterns, keyword::Keyword, kind, number::Number, walk::Walk};
use crate::protocol::{EncodedValue, is_ascii, is_same};

/// What speaks of the parts of an array or a map. All else that is asked of one whose predecessor has as many, and a map's
/// under the same names in the same order, is met, as the one before met it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Parts {
    /// Nothing.
    Free,
    /// Rules for each entry of a map, by its name.
    Entries(u32),
    /// A node for all elements of an array.
    Elements(NodeId),
    /// It has to be judged as a whole.
    Whole,
}

impl Parts {
    /// What speaks of each element.
    pub(crate) const fn element(self) -> NodeId {
        if let Self::Elements(node) = self { node } else { ANYTHING }
    }
}

/// As many references to references are followed before a container is judged as a whole.
const MAX_REFERENCES: usize = 8;

/// The run of a gate over a value, part by part.
pub(crate) struct Steps<'a>(Walk<'a>);

impl<'a> Steps<'a> {
    /// Of `bytes`, which begin with the new value, only what was checked may be judged. It may take as many steps as a value
    /// of `length` bytes: what follows it in its buffer gives it no right to more.
    pub(crate) fn new(gate: &'a Gate, host: &'a dyn Patterns, bytes: &'a [u8], length: usize) -> Self {
        Self(Walk::new(gate, host, EncodedValue::trusted(bytes), length))
    }

    /// The node of the whole value.
    pub(crate) fn root(&self) -> NodeId {
        self.0.gate.root
    }

    /// Whether the value at `at` passes a node.
    pub(crate) fn passes(&mut self, node: NodeId, at: usize) -> bool {
        node == ANYTHING || self.is_plain(node, at) || self.0.runs(node, at, true)
    }

    /// Whether the container at `at` passes a node whose `parts` its parts have passed. One of the same length and names as its
    /// predecessor, which has passed, mostly does; of a regrouped one the number of its parts is given.
    pub(crate) fn fits(&mut self, node: NodeId, parts: Parts, at: usize, regrouped: Option<usize>) -> bool {
        match (parts, regrouped) {
            (Parts::Whole, _) => self.0.runs(node, at, true),
            (Parts::Elements(_), Some(count)) => self.0.has_size(node, at, count),
            (_, Some(_)) if node != ANYTHING => self.0.runs(node, at, false),
            _ => true,
        }
    }

    /// Whether the value at `at` is one of those that change most, and passes for sure: it takes a tenth of the time to
    /// see that.
    fn is_plain(&self, node: NodeId, at: usize) -> bool {
        let bytes = self.0.new.bytes().get(at..).unwrap_or_default();
        let (kinds, number) = match bytes {
            [number @ 0x00..=0x7f, ..] | [0xcc, number, ..] => (kind::INTEGER, u64::from(*number)),
            [0xcd, high, low, ..] => (kind::INTEGER, u64::from(u16::from_be_bytes([*high, *low]))),
            [0xcb, float @ ..] => {
                let float = float.first_chunk().map(|float| f64::from_be_bytes(*float));
                if !float.is_some_and(f64::is_finite) {
                    return false;
                }
                (kind::INTEGER | kind::FRACTION, 0)
            }
            [0xa0..=0xbf, ..] => (kind::STRING, 0),
            [0xc2 | 0xc3, ..] => (kind::BOOLEAN, 0),
            [0xc0, ..] => (kind::NULL, 0),
            _ => return false,
        };
        Plain { gate: self.0.gate, bytes, kinds, number }.passes(node, 2)
    }

    /// What a node says of the parts of a container whose predecessor has passed it, and the node that says it.
    pub(crate) fn parts(&self, mut node: NodeId, is_map: bool) -> (NodeId, Parts) {
        let gate = self.0.gate;
        for _ in 0..MAX_REFERENCES {
            if node == ANYTHING {
                return (node, Parts::Free);
            }
            let rules = gate.nodes[node as usize];
            let ops = &gate.ops[rules.first as usize..rules.end as usize];
            match ops {
                [Op::All(other)] => {
                    node = *other;
                    continue;
                }
                // The predecessor has passed the only one that allows its kind.
                [Op::Any { nodes, is_disjoint: true }] => {
                    let kind = if is_map { kind::OBJECT } else { kind::ARRAY };
                    let mut nodes = gate.links[nodes.first as usize..nodes.end as usize].iter();
                    if let Some(other) = nodes.find(|other| gate.nodes[**other as usize].reach & kind != 0) {
                        node = *other;
                        continue;
                    }
                }
                _ => {}
            }
            let mut parts = Parts::Free;
            for op in ops {
                parts = match (op, parts) {
                    (Op::Size { .. } | Op::Bound { .. } | Op::Pattern(_) | Op::Has(_), parts) => parts,
                    (Op::Object(_), parts) if !is_map => parts,
                    (Op::Array { .. }, parts) if is_map => parts,
                    (Op::Object(rules), Parts::Free) => {
                        let patterns = gate.objects[*rules as usize].patterns;
                        if patterns.first < patterns.end { Parts::Whole } else { Parts::Entries(*rules) }
                    }
                    (Op::Array { first, others }, Parts::Free) if first.first == first.end => {
                        Parts::Elements(*others)
                    }
                    _ => Parts::Whole,
                };
            }
            return (node, parts);
        }
        (node, Parts::Whole)
    }

    /// The node of an entry. `expected` is where its name may be among the properties, and then where the next one may be.
    pub(crate) fn entry(&mut self, rules: u32, at: usize, name: &[u8], expected: &mut u32) -> Option<NodeId> {
        let rules = &self.0.gate.objects[rules as usize];
        let property = self.0.property(rules, at, name, expected).ok()?;
        Some(property.and_then(|property| property.node).unwrap_or(rules.others))
    }

    /// Where the first property of these rules is.
    pub(crate) fn first(&self, rules: u32) -> u32 {
        self.0.gate.objects[rules as usize].properties.first
    }
}

/// A short scalar.
struct Plain<'a> {
    gate: &'a Gate,
    /// Its encoding, and whatever follows.
    bytes: &'a [u8],
    /// The kinds that it may be of.
    kinds: u8,
    /// What it is if it is an integer.
    number: u64,
}

impl Plain<'_> {
    /// Whether it passes for sure.
    fn passes(&self, node: NodeId, most_references: usize) -> bool {
        let gate = self.gate;
        let node = gate.nodes[node as usize];
        node.kinds & self.kinds == self.kinds
            && gate.ops[node.first as usize..node.end as usize].iter().all(|op| match op {
                Op::OneOfConstants { constants, .. } => {
                    let mut all = gate.constants[constants.first as usize..constants.end as usize].iter();
                    all.any(|constant| {
                        let constant = gate.name(*constant);
                        self.bytes.get(..constant.len()).is_some_and(|bytes| is_same(bytes, constant))
                    })
                }
                Op::Bound { limit: Number::Integer { is_negative, magnitude }, rule } => {
                    self.kinds == kind::INTEGER
                        && match rule {
                            Keyword::Minimum => *is_negative || self.number >= *magnitude,
                            Keyword::Maximum => !is_negative && self.number <= *magnitude,
                            _ => false,
                        }
                }
                Op::Size { limit, rule } => {
                    let [0xa0..=0xbf, text @ ..] = self.bytes else { return false };
                    let text = &text[..usize::from(self.bytes[0] & 0x1f).min(text.len())];
                    // Of other characters, some libraries count each as one and some as two.
                    is_ascii(text)
                        && match rule {
                            Keyword::MinLength => text.len() >= *limit as usize,
                            Keyword::MaxLength => text.len() <= *limit as usize,
                            _ => false,
                        }
                }
                Op::All(other) => most_references > 0 && self.passes(*other, most_references - 1),
                _ => false,
            })
    }
}
