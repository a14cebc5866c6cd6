//! Equality as JSON Schema means it: numbers by what they are, maps whatever their order.

use alloc::vec;

use super::{
    number::Number,
    walk::{Step, Stop, Walk},
};
use crate::protocol::{Scanner, Token};

/// An odd number with as many ones as zeros, to spread bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(hash: u64, more: u64) -> u64 {
    let mixed = (hash ^ more).wrapping_mul(SPREAD);
    mixed ^ mixed >> 29
}

impl Walk<'_> {
    /// Whether two values are equal. If so, both scanners are behind them.
    pub(super) fn is_equal(&mut self, one: &mut Scanner<'_>, other: &mut Scanner<'_>) -> Step<bool> {
        self.charge(one.offset(), 1)?;
        let (a, b) = (one.token().ok_or(Stop)?, other.token().ok_or(Stop)?);
        match (a, b) {
            (Token::Array(count), Token::Array(others)) => {
                if count != others {
                    return Ok(false);
                }
                for _ in 0..count {
                    if !self.is_equal(one, other)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Token::Map(count), Token::Map(others)) => {
                if count != others {
                    return Ok(false);
                }
                let begin = *other;
                // Mostly the entries of both come in the same order, so the search goes on from the last find.
                let mut next = 0;
                for _ in 0..count {
                    let Some(Token::Str(name)) = one.token() else { return Ok(false) };
                    let mut is_found = false;
                    for _ in 0..count {
                        self.charge(one.offset(), 1)?;
                        if next == count {
                            (next, *other) = (0, begin);
                        }
                        next += 1;
                        is_found = other.token() == Some(Token::Str(name));
                        if is_found {
                            break;
                        }
                        other.skip();
                    }
                    if !is_found || !self.is_equal(one, other)? {
                        return Ok(false);
                    }
                }
                for _ in next..count {
                    other.skip();
                    other.skip();
                }
                Ok(true)
            }
            _ => Ok(match (Number::of(a), Number::of(b)) {
                (Some(a), Some(b)) => a.compare(b).is_eq(),
                (None, None) => a == b,
                _ => false,
            }),
        }
    }

    /// Whether no two elements of an array are equal. A table of their hashes finds the pairs to compare.
    pub(super) fn is_unique(&mut self, at: usize, inner: usize, count: usize) -> Step<bool> {
        let slots = count.saturating_mul(2).next_power_of_two();
        self.charge(at, slots / 8)?;
        // Hash and offset of an element; no element is at offset 0.
        let mut table = vec![(0_u64, 0_usize); slots];
        let mut scanner = self.new.at(inner);
        for _ in 0..count {
            let start = scanner.offset();
            let hash = self.hash(&mut scanner)?;
            #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits count")]
            let mut slot = hash as usize & (slots - 1);
            while table[slot].1 > 0 {
                self.charge(start, 1)?;
                let (other_hash, other) = table[slot];
                if other_hash == hash && self.is_equal(&mut self.new.at(start), &mut self.new.at(other))? {
                    return Ok(false);
                }
                slot = (slot + 1) & (slots - 1);
            }
            table[slot] = (hash, start);
        }
        Ok(true)
    }

    /// A number that equal values share.
    fn hash(&mut self, scanner: &mut Scanner<'_>) -> Step<u64> {
        self.charge(scanner.offset(), 1)?;
        let token = scanner.token().ok_or(Stop)?;
        Ok(match (token, Number::of(token)) {
            (_, Some(Number::Integer { magnitude, .. })) => mix(1, magnitude),
            (Token::Float(float), _) => mix(2, float.to_bits()),
            (Token::Str(bytes) | Token::Bin(bytes), _) => {
                bytes.iter().fold(3, |hash, byte| mix(hash, u64::from(*byte)))
            }
            (Token::Array(count), _) => {
                let mut hash = 4;
                for _ in 0..count {
                    hash = mix(hash, self.hash(scanner)?);
                }
                hash
            }
            (Token::Map(count), _) => {
                let mut sum = 5_u64;
                for _ in 0..count {
                    let name = self.hash(scanner)?;
                    sum = sum.wrapping_add(mix(name, self.hash(scanner)?));
                }
                sum
            }
            (Token::Bool(value), _) => u64::from(value),
            (Token::Nil | Token::Int(_) | Token::Large(_), _) => 6,
        })
    }
}
