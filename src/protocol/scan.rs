//! Tokens of values that were checked before: one look per token, no look at what strings hold.

use super::msgpack::EncodedValue;

/// One token of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token<'a> {
    /// Nil.
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer, except one beyond `i64::MAX`.
    Int(i64),
    /// An integer beyond `i64::MAX`.
    Large(u64),
    /// A float.
    Float(f64),
    /// A string. It is UTF-8: the check of the value has seen to that.
    Str(&'a [u8]),
    /// Binary data.
    Bin(&'a [u8]),
    /// The beginning of an array of so many elements.
    Array(usize),
    /// The beginning of a map of so many entries.
    Map(usize),
}

/// What a token consists of, without what it says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Bytes before the payload: the marker, and a length.
    pub(super) size: usize,
    /// Bytes of payload: of a number, a string, or binary data.
    pub(super) payload: usize,
    /// Values inside: an entry of a map counts twice.
    pub(super) inside: usize,
}

impl Head {
    /// That of a string whose length is in its marker.
    pub(super) const fn short(marker: u8) -> Self {
        Self { size: 1, payload: (marker & 0x1f) as usize, inside: 0 }
    }
}

/// Walks over the tokens of a checked value. Bytes that are none end the walk; they never make it panic.
#[derive(Debug, Clone, Copy)]
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner at the first token of `value`.
    #[must_use]
    pub const fn new(value: EncodedValue<'a>) -> Self {
        Self { bytes: value.as_bytes(), at: 0 }
    }

    /// A scanner of bytes that may be no value, for [`Self::head`].
    pub(super) const fn resumed(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// All bytes of the value.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The offset of the next token.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.at
    }

    /// Goes on from the token at `offset`.
    #[must_use]
    pub const fn at(mut self, offset: usize) -> Self {
        self.at = offset;
        self
    }

    /// The big-endian number in the `count` bytes after the marker.
    fn number(&self, count: usize) -> Option<u64> {
        let bytes = self.bytes.get(self.at + 1..self.at + 1 + count)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&self, count: usize) -> Option<usize> {
        usize::try_from(self.number(count)?).ok()
    }

    /// The head of the next token; `None` where the bytes end in it.
    #[inline(never)]
    pub(super) fn head(&self) -> Option<Head> {
        let marker = *self.bytes.get(self.at)?;
        let scalar = |payload| Head { size: 1, payload, inside: 0 };
        let sized = |count: usize| Some(Head { size: 1 + count, payload: self.length(count)?, inside: 0 });
        let open = |count: usize, times: usize| {
            Some(Head { size: 1 + count, payload: 0, inside: self.length(count)?.saturating_mul(times) })
        };
        Some(match marker {
            0x80..=0x8f => Head { size: 1, payload: 0, inside: usize::from(marker & 0x0f) * 2 },
            0x90..=0x9f => Head { size: 1, payload: 0, inside: usize::from(marker & 0x0f) },
            0xa0..=0xbf => scalar(usize::from(marker & 0x1f)),
            0xc4 | 0xd9 => sized(1)?,
            0xc5 | 0xda => sized(2)?,
            0xc6 | 0xdb => sized(4)?,
            0xcc | 0xd0 => scalar(1),
            0xcd | 0xd1 => scalar(2),
            0xca | 0xce | 0xd2 => scalar(4),
            0xcb | 0xcf | 0xd3 => scalar(8),
            0xdc => open(2, 1)?,
            0xdd => open(4, 1)?,
            0xde => open(2, 2)?,
            0xdf => open(4, 2)?,
            _ => scalar(0),
        })
    }

    /// Moves past the next value, whatever is in it.
    pub fn skip(&mut self) {
        self.skip_to(usize::MAX);
    }

    /// Moves past the next value if it ends at `limit` or before. Says whether; if not, the scanner is somewhere in it.
    #[inline(never)]
    pub fn skip_to(&mut self, limit: usize) -> bool {
        let mut left = 1_usize;
        while left > 0 {
            let Some(marker) = self.bytes.get(self.at).copied() else { return false };
            left -= 1;
            match marker {
                // Most tokens of most values; the rest in the general way.
                0xa0..=0xbf => self.at += 1 + usize::from(marker & 0x1f),
                0x00..=0x7f | 0xe0..=0xff | 0xc0..=0xc3 => self.at += 1,
                0x80..=0x8f => {
                    self.at += 1;
                    left += usize::from(marker & 0x0f) * 2;
                }
                _ => {
                    let Some(Head { size, payload, inside }) = self.head() else { return false };
                    self.at = self.at.saturating_add(size).saturating_add(payload);
                    left = left.saturating_add(inside);
                }
            }
            if self.at > limit {
                return false;
            }
        }
        true
    }

    /// The next value, and moves past it.
    #[inline]
    pub fn value(&mut self) -> Option<EncodedValue<'a>> {
        let start = self.at;
        self.skip();
        self.bytes.get(start..self.at).map(EncodedValue::trusted)
    }

    /// The next token; of an array or a map only its beginning. `None` at the end.
    #[inline(never)]
    pub fn token(&mut self) -> Option<Token<'a>> {
        let marker = *self.bytes.get(self.at)?;
        // Names and short texts are half of all tokens.
        if let 0xa0..=0xbf = marker {
            let start = self.at + 1;
            let end = start + usize::from(marker & 0x1f);
            self.at = end;
            return self.bytes.get(start..end).map(Token::Str);
        }
        let Head { size, payload, inside } = self.head()?;
        let start = self.at.saturating_add(size);
        let end = start.saturating_add(payload);
        let signed = |count: usize| {
            let unused = 64 - 8 * count;
            Some((self.number(count)? << unused).cast_signed() >> unused)
        };
        let unsigned = |count| Some(Token::Int(self.number(count)?.cast_signed()));
        let token = match marker {
            0x00..=0x7f => Token::Int(i64::from(marker)),
            0xe0..=0xff => Token::Int(i64::from(marker.cast_signed())),
            0x80..=0x8f | 0xde | 0xdf => Token::Map(inside / 2),
            0x90..=0x9f | 0xdc | 0xdd => Token::Array(inside),
            0xd9..=0xdb | 0xa0..=0xbf => Token::Str(self.bytes.get(start..end)?),
            0xc4..=0xc6 => Token::Bin(self.bytes.get(start..end)?),
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xca => {
                let bits = u32::try_from(self.number(4)?).unwrap_or_default();
                Token::Float(f64::from(f32::from_bits(bits)))
            }
            0xcb => Token::Float(f64::from_bits(self.number(8)?)),
            0xcc => unsigned(1)?,
            0xcd => unsigned(2)?,
            0xce => unsigned(4)?,
            0xcf => {
                let number = self.number(8)?;
                i64::try_from(number).map_or(Token::Large(number), Token::Int)
            }
            0xd0 => Token::Int(signed(1)?),
            0xd1 => Token::Int(signed(2)?),
            0xd2 => Token::Int(signed(4)?),
            0xd3 => Token::Int(signed(8)?),
            // Nil; the check lets no other marker in.
            0xc0 | 0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => Token::Nil,
        };
        self.at = end;
        Some(token)
    }
}

/// How many bytes at the beginning are equal. Eight at a time, as numbers, because wasm has no comparison of so few bytes
/// but a call, and that goes byte by byte.
#[must_use]
pub fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    let same = words.take_while(|(a, b)| u64::from_ne_bytes(**a) == u64::from_ne_bytes(**b)).count() * 8;
    let rest = one[same..].iter().zip(&other[same..]);
    same + rest.take_while(|(a, b)| a == b).count()
}

/// How many bytes at the end are equal.
#[must_use]
pub fn common_suffix(one: &[u8], other: &[u8]) -> usize {
    let words = one.as_rchunks::<8>().1.iter().rev().zip(other.as_rchunks::<8>().1.iter().rev());
    let same = words.take_while(|(a, b)| u64::from_ne_bytes(**a) == u64::from_ne_bytes(**b)).count() * 8;
    let rest = one[..one.len() - same].iter().rev().zip(other[..other.len() - same].iter().rev());
    same + rest.take_while(|(a, b)| a == b).count()
}

/// Whether both hold the same bytes.
#[must_use]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && common_prefix(one, other) == one.len()
}

/// Whether a text holds ASCII only. By words of eight bytes: twice as fast on wasm32 as by its own words of four.
#[must_use]
#[inline]
pub fn is_ascii(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let all = words.iter().fold(0, |all, word| all | u64::from_ne_bytes(*word));
    let rest = rest.iter().fold(0, |all, byte| all | *byte);
    (all & 0x8080_8080_8080_8080) == 0 && rest < 0x80
}
