//! Random schemas, values that they may accept, and small changes of those.

use serde_json::{Map, Value, json};

const NAMES: [&str; 5] = ["a", "b", "c", "ab", "/~"];
const TEXTS: [&str; 7] = ["", "a", "b", "ab", "abc", "é", "😀a"];
const PATTERNS: [&str; 4] = ["^a", "b$", "^[a-c]*$", "."];

pub(crate) struct Dice(pub(crate) fastrand::Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.0.usize(..times) == 0
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.0.usize(..choices.len())]
    }

    pub(crate) fn value(&mut self, depth: usize) -> Value {
        match self.0.usize(..if depth == 0 { 7 } else { 12 }) {
            0 => Value::Null,
            1 => json!(self.0.bool()),
            2 | 3 => json!(self.0.i64(-3..5)),
            4 => json!(self.0.choice([0.5, 1.0, -0.0, 2.5, 1e300])),
            5 | 6 => json!(self.pick(&TEXTS)),
            7 | 8 => (0..self.0.usize(..5)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let entries =
                    (0..self.0.usize(..5)).map(|_| (self.pick(&NAMES).to_owned(), self.value(depth - 1)));
                Value::Object(entries.collect())
            }
        }
    }

    /// A schema with definitions to refer to.
    pub(crate) fn schema(&mut self) -> Value {
        let mut root = self.part(3, false);
        if let Value::Object(root) = &mut root {
            let defs = ["x", "y"].map(|name| (name.to_owned(), self.part(2, false)));
            root.insert("$defs".to_owned(), Value::Object(defs.into_iter().collect()));
        } else {
            root = json!({ "$ref": "#/$defs/x", "$defs": { "x": self.part(2, false), "y": self.part(2, false) } });
        }
        root
    }

    /// A reference stands for parts of a value only, so that none leads to itself at the same place.
    fn part(&mut self, depth: usize, is_inner: bool) -> Value {
        if is_inner && self.one_in(6) {
            return json!({ "$ref": self.pick(&["#/$defs/x", "#/$defs/y", "#"]) });
        }
        if self.one_in(12) {
            return json!(!self.one_in(3));
        }
        let mut schema = Map::new();
        for _ in 0..=self.0.usize(..3) {
            self.keyword(&mut schema, depth);
        }
        Value::Object(schema)
    }

    fn parts(&mut self, depth: usize) -> Value {
        (0..=self.0.usize(..3)).map(|_| self.part(depth - 1, false)).collect()
    }

    fn named(&mut self, names: &[&str], depth: usize, is_inner: bool) -> Value {
        let entries =
            (0..=self.0.usize(..3)).map(|_| (self.pick(names).to_owned(), self.part(depth - 1, is_inner)));
        Value::Object(entries.collect())
    }

    fn names(&mut self) -> Value {
        let mut names = NAMES.to_vec();
        self.0.shuffle(&mut names);
        names[..self.0.usize(..3)].iter().map(|name| json!(name)).collect()
    }

    fn keyword(&mut self, schema: &mut Map<String, Value>, depth: usize) {
        let choice = self.0.usize(..if depth == 0 { 16 } else { 32 });
        let small = json!(self.0.u32(..4));
        let (name, value) = match choice {
            0..=3 => {
                let types = ["null", "boolean", "object", "array", "string", "number", "integer"];
                let one = json!(self.pick(&types));
                ("type", if self.one_in(3) { json!([one]) } else { one })
            }
            4 => ("enum", (0..4).map(|_| self.value(1)).collect()),
            5 => ("const", self.value(1)),
            6 => ("minimum", json!(self.0.i64(-2..4))),
            7 => ("maximum", json!(self.0.i64(-2..4))),
            8 => ("exclusiveMinimum", json!(0.5)),
            9 => ("multipleOf", json!(self.0.choice([1.0, 2.0, 0.5]))),
            10 => ("minLength", small),
            11 => ("maxLength", small),
            12 => ("pattern", json!(self.pick(&PATTERNS))),
            13 => ("required", self.names()),
            14 => ("maxProperties", small),
            15 => ("uniqueItems", json!(true)),
            16 => ("minItems", small),
            17 => ("maxItems", small),
            18 => ("minProperties", small),
            19..=21 => ("properties", self.named(&NAMES, depth, true)),
            22 => ("patternProperties", self.named(&PATTERNS, depth, true)),
            23 => ("additionalProperties", self.part(depth - 1, true)),
            24 => ("propertyNames", self.part(depth - 1, false)),
            25 => ("items", self.part(depth - 1, true)),
            26 => ("prefixItems", self.parts(depth)),
            27 => {
                if self.one_in(2) {
                    schema.insert("minContains".to_owned(), json!(self.0.u32(..3)));
                    schema.insert("maxContains".to_owned(), json!(self.0.u32(1..3)));
                }
                ("contains", self.part(depth - 1, true))
            }
            28 => (self.pick(&["allOf", "anyOf", "oneOf"]), self.parts(depth)),
            29 => ("not", self.part(depth - 1, false)),
            30 => {
                schema.insert("then".to_owned(), self.part(depth - 1, false));
                schema.insert("else".to_owned(), self.part(depth - 1, false));
                ("if", self.part(depth - 1, false))
            }
            _ if self.one_in(2) => ("dependentSchemas", self.named(&NAMES, depth, false)),
            _ => ("dependentRequired", json!({ self.pick(&NAMES): self.names() })),
        };
        schema.insert(name.to_owned(), value);
    }

    /// Changes something somewhere in a value.
    pub(crate) fn change(&mut self, value: &mut Value) {
        let is_here = self.one_in(4);
        match value {
            Value::Array(items) if !is_here => match self.0.usize(..6) {
                0 => items.insert(self.0.usize(..=items.len()), self.value(1)),
                1 if !items.is_empty() => drop(items.remove(self.0.usize(..items.len()))),
                2 => items.reverse(),
                _ => {
                    if let Some(item) = self.0.choice(items) {
                        self.change(item);
                    }
                }
            },
            Value::Object(entries) if !is_here => {
                let name = self.pick(&NAMES);
                match self.0.usize(..6) {
                    0 => drop(entries.insert(name.to_owned(), self.value(1))),
                    1 => drop(entries.shift_remove(name)),
                    2 => {
                        let mut all: Vec<_> = core::mem::take(entries).into_iter().collect();
                        self.0.shuffle(&mut all);
                        entries.extend(all);
                    }
                    _ => {
                        if let Some((_, inner)) = self.0.choice(entries.iter_mut()) {
                            self.change(inner);
                        }
                    }
                }
            }
            _ => *value = self.value(2),
        }
    }
}
