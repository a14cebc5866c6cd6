//! Where a value stands in its history: epoch, sequence, position, lineage.

use alloc::{string::String, vec, vec::Vec};
use core::{fmt, str::FromStr};

use thiserror::Error;

use super::limits::{MAX_LINEAGE, MAX_SEQUENCE};

/// The random 128-bit id of one history.
///
/// An authority that cannot prove that it kept every sequence it has shown mints a new epoch (DESIGN rule 12).
/// Sequences of two epochs are never compared. On the wire it is 16 bytes, in text 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch([u8; 16]);

impl Epoch {
    /// An epoch from 128 random bits.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes as they travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The 32 lower-case hex digits.
    #[must_use]
    pub fn text(&self) -> String {
        let digit = |nibble: u8| char::from(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
        let mut text = String::with_capacity(32);
        for byte in self.0 {
            text.push(digit(byte >> 4));
            text.push(digit(byte & 15));
        }
        text
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Epoch({self})")
    }
}

/// A text that is no epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an epoch is 32 lower-case hex digits")]
pub struct ParseEpochError;

impl FromStr for Epoch {
    type Err = ParseEpochError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return Err(ParseEpochError);
        }
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(ParseEpochError),
        };
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

/// The number of a change within one epoch: per key for objects, per datastore for collections. At most 2^53 - 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(u64);

impl Sequence {
    /// Before the first change.
    pub const ZERO: Self = Self(0);
    /// The largest sequence.
    pub const MAX: Self = Self(MAX_SEQUENCE);

    /// The sequence `number`, or `None` beyond 2^53 - 1.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number <= MAX_SEQUENCE { Some(Self(number)) } else { None }
    }

    /// The sequence that JavaScript holds as a float, or `None` where that is no integer in range.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "`as` saturates, and what it changed does not come back the same"
    )]
    pub fn from_float(number: f64) -> Option<Self> {
        let sequence = Self::new(number as u64)?;
        if sequence.0 as f64 == number { Some(sequence) } else { None }
    }

    /// The sequence as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next sequence, or `None` where the epoch is used up.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "#{}", self.0)
    }
}

/// A point in one history.
///
/// A position means nothing without its epoch: sequence 10 of a recreated datastore is another change than sequence
/// 10 before it, and a client that compared the two would either skip changes or wait for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The history.
    pub epoch: Epoch,
    /// The point in it.
    pub sequence: Sequence,
}

/// The epochs that an authority's present one descends from, newest first, each with the last sequence kept of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage(Vec<Position>);

impl Lineage {
    /// A lineage from its entries, newest first; those beyond the limit are dropped.
    #[must_use]
    pub fn new(mut entries: Vec<Position>) -> Self {
        entries.truncate(MAX_LINEAGE);
        Self(entries)
    }

    /// The entries, newest first.
    #[must_use]
    pub fn entries(&self) -> &[Position] {
        &self.0
    }

    /// The lineage of the history that follows `last`.
    #[must_use]
    pub fn succeeded_by(&self, last: Position) -> Self {
        let mut entries = vec![last];
        entries.extend(self.0.iter().filter(|entry| entry.epoch != last.epoch));
        Self::new(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_is_a_sequence_only_where_it_is_an_integer_in_range() {
        assert_eq!(Sequence::from_float(7.0).map(Sequence::get), Some(7));
        assert_eq!(Sequence::from_float(9_007_199_254_740_991.0), Some(Sequence::MAX));
        for number in [0.5, -1.0, -0.5, 9_007_199_254_740_992.0, f64::INFINITY, f64::NAN] {
            assert_eq!(Sequence::from_float(number), None, "{number}");
        }
    }

    #[test]
    fn an_epoch_reads_back_from_its_text() {
        let epoch = Epoch::from_bytes(std::array::from_fn(|index| u8::try_from(index * 17).unwrap()));
        assert_eq!(epoch.to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert_eq!("00112233445566778899AABBCCDDEEFF".parse::<Epoch>(), Err(ParseEpochError));
        assert_eq!("0011".parse::<Epoch>(), Err(ParseEpochError));
    }

    #[test]
    fn a_sequence_ends_at_the_largest_exact_javascript_integer() {
        assert_eq!(Sequence::new(9_007_199_254_740_991), Some(Sequence::MAX));
        assert_eq!(Sequence::new(9_007_199_254_740_992), None);
        assert_eq!(Sequence::MAX.next(), None);
    }

    #[test]
    fn a_lineage_keeps_the_eight_newest_epochs_and_each_once() {
        let position =
            |n: u8| Position { epoch: Epoch::from_bytes([n; 16]), sequence: Sequence(u64::from(n)) };
        let mut lineage = Lineage::default();
        for n in 0..12 {
            lineage = lineage.succeeded_by(position(n));
        }
        assert_eq!(lineage.entries().len(), MAX_LINEAGE);
        assert_eq!(lineage.entries()[0], position(11));
        assert_eq!(lineage.succeeded_by(position(11)).entries().len(), MAX_LINEAGE);
    }
}
