//! A part of a value, named by the way to it.

use alloc::{boxed::Box, vec::Vec};

use crate::protocol::{EncodedValue, Scanner, Token};

/// One step of a way: into the field of a map or, where the word is a number, into the element of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: Box<[u8]>,
    index: Option<usize>,
}

/// The way from a value to one of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Step>);

impl Path {
    /// The way whose steps are these words: field names, or decimal numbers of elements.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let step = |word: &str| {
            // As property names in JavaScript: `01` is no element.
            let is_number = word == "0" || !word.starts_with(['0', '+']);
            Step { name: word.as_bytes().into(), index: word.parse().ok().filter(|_| is_number) }
        };
        Self(words.into_iter().map(step).collect())
    }

    /// The part of `value` at its end; `None` where there is none. Costs a walk over what comes before it.
    #[must_use]
    pub fn find<'v>(&self, value: EncodedValue<'v>) -> Option<EncodedValue<'v>> {
        let mut scanner = Scanner::new(value);
        for step in &self.0 {
            match (scanner.token()?, step.index) {
                (Token::Map(count), _) => {
                    let mut found = None;
                    // Of a name that comes twice the last one counts, as in an object.
                    for _ in 0..count {
                        if scanner.token()? == Token::Str(&step.name) {
                            found = Some(scanner.offset());
                        }
                        scanner.skip();
                    }
                    scanner = scanner.at(found?);
                }
                (Token::Array(count), Some(index)) if index < count => {
                    for _ in 0..index {
                        scanner.skip();
                    }
                }
                _ => return None,
            }
        }
        let start = scanner.offset();
        scanner.skip();
        Some(EncodedValue::trusted(value.as_bytes().get(start..scanner.offset())?))
    }
}
