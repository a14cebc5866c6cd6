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

/// Of every marker how many bytes its token has, 0 where more must be read to know that, and how many values are inside.
const SHAPES: [(u8, u8); 256] = shapes();

const fn shapes() -> [(u8, u8); 256] {
    let mut shapes = [(1, 0); 256];
    let mut marker = 0;
    while marker < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "five bits")]
        let low = (marker & 0x1f) as u8;
        shapes[marker] = match marker {
            0x80..=0x8f => (1, low * 2),
            0x90..=0x9f => (1, low - 0x10),
            0xa0..=0xbf => (1 + low, 0),
            0xcc | 0xd0 => (2, 0),
            0xcd | 0xd1 => (3, 0),
            0xca | 0xce | 0xd2 => (5, 0),
            0xcb | 0xcf | 0xd3 => (9, 0),
            0xc1 | 0xc4..=0xc9 | 0xd4..=0xdf => (0, 0),
            _ => (1, 0),
        };
        marker += 1;
    }
    shapes
}

/// How many bytes the token of a marker has, and how many values are inside; none where more must be read to know that.
#[inline]
pub(super) fn shape(marker: u8) -> Option<(usize, usize)> {
    let (size, inside) = SHAPES[usize::from(marker)];
    (size > 0).then_some((usize::from(size), usize::from(inside)))
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

    /// The next token's first byte, which says what it is.
    #[must_use]
    pub fn marker(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
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

    /// The so many bytes after the marker.
    #[inline]
    fn after<const COUNT: usize>(&self) -> Option<[u8; COUNT]> {
        self.bytes.get(self.at + 1..)?.first_chunk().copied()
    }

    /// The big-endian number in the `width` bytes after the marker: 1, 2, 4 or 8.
    pub(super) fn number(&self, width: usize) -> Option<u64> {
        Some(match width {
            1 => u64::from(u8::from_be_bytes(self.after()?)),
            2 => u64::from(u16::from_be_bytes(self.after()?)),
            4 => u64::from(u32::from_be_bytes(self.after()?)),
            8 => u64::from_be_bytes(self.after()?),
            _ => 0,
        })
    }

    /// The head of the next token; `None` where the bytes end in it.
    #[inline(never)]
    pub(super) fn head(&self) -> Option<Head> {
        let marker = *self.bytes.get(self.at)?;
        if let Some((size, inside)) = shape(marker) {
            return Some(Head { size: 1, payload: size - 1, inside });
        }
        let (width, times) = match marker {
            0xc4..=0xc6 => (1 << (marker - 0xc4), 0),
            0xd9..=0xdb => (1 << (marker - 0xd9), 0),
            0xdc | 0xdd => (2 << (marker - 0xdc), 1),
            0xde | 0xdf => (2 << (marker - 0xde), 2),
            // Of a type that no value has.
            _ => (0, 0),
        };
        let length = usize::try_from(self.number(width)?).ok()?;
        let payload = if times == 0 { length } else { 0 };
        Some(Head { size: 1 + width, payload, inside: length.saturating_mul(times) })
    }

    /// The next token's text, which a name of a map is, and moves past it. Empty where it is no text.
    #[inline]
    pub fn name(&mut self) -> &'a [u8] {
        if let Some(marker @ 0xa0..=0xbf) = self.bytes.get(self.at) {
            let start = self.at + 1;
            self.at = start + usize::from(marker & 0x1f);
            return self.bytes.get(start..self.at).unwrap_or_default();
        }
        if let Some(Token::Str(name)) = self.token() { name } else { &[] }
    }

    /// The next token where it begins an array or a map, and how many bytes it has.
    #[must_use]
    pub fn container(&self) -> Option<(usize, Token<'a>)> {
        let marker = *self.bytes.get(self.at)?;
        let is_map = match marker {
            0x80..=0x8f | 0xde | 0xdf => true,
            0x90..=0x9f | 0xdc | 0xdd => false,
            _ => return None,
        };
        let Head { size, inside, .. } = self.head()?;
        Some((size, if is_map { Token::Map(inside / 2) } else { Token::Array(inside) }))
    }

    /// Moves past the next value, whatever is in it.
    #[inline]
    pub fn skip(&mut self) {
        match self.bytes.get(self.at).map(|marker| SHAPES[usize::from(*marker)]) {
            Some((size @ 1.., 0)) => self.at += usize::from(size),
            _ => {
                self.skip_to(usize::MAX);
            }
        }
    }

    /// Moves past the next value if it ends at `limit` or before. Says whether; if not, the scanner is somewhere in it.
    #[inline(never)]
    pub fn skip_to(&mut self, limit: usize) -> bool {
        self.skip_within(limit)
    }

    /// Moves past entries of so many values each, as long as they end at `limit` or before; at most `most`. Returns how
    /// many.
    #[inline(never)]
    pub fn pass(&mut self, most: usize, values: usize, limit: usize) -> usize {
        let bytes = self.bytes;
        let limit = limit.min(bytes.len());
        let (mut at, mut passed, mut left) = (self.at, 0, values);
        while passed < most && at < limit {
            let (size, inside) = SHAPES[usize::from(bytes[at])];
            if size > 0 {
                at += usize::from(size);
                left += usize::from(inside);
            } else {
                let Some(Head { size, payload, inside }) = self.at(at).head() else { break };
                at = at.saturating_add(size).saturating_add(payload);
                left = left.saturating_add(inside);
            }
            if at > limit {
                break;
            }
            left -= 1;
            if left == 0 {
                (self.at, left) = (at, values);
                passed += 1;
            }
        }
        passed
    }

    #[inline]
    fn skip_within(&mut self, limit: usize) -> bool {
        let mut left = 1_usize;
        while left > 0 {
            let Some(marker) = self.bytes.get(self.at) else { return false };
            left -= 1;
            if let Some((size, inside)) = shape(*marker) {
                self.at += size;
                left += inside;
            } else {
                let Some(Head { size, payload, inside }) = self.head() else { return false };
                self.at = self.at.saturating_add(size).saturating_add(payload);
                left = left.saturating_add(inside);
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
        let token = match marker {
            0x00..=0x7f => Token::Int(i64::from(marker)),
            0xe0..=0xff => Token::Int(i64::from(marker.cast_signed())),
            0x80..=0x8f | 0xde | 0xdf => Token::Map(inside / 2),
            0x90..=0x9f | 0xdc | 0xdd => Token::Array(inside),
            0xd9..=0xdb | 0xa0..=0xbf => Token::Str(self.bytes.get(start..end)?),
            0xc4..=0xc6 => Token::Bin(self.bytes.get(start..end)?),
            0xc2 => Token::Bool(false),
            0xc3 => Token::Bool(true),
            0xca => Token::Float(f64::from(f32::from_be_bytes(self.after()?))),
            0xcb => Token::Float(f64::from_be_bytes(self.after()?)),
            0xcc..=0xcf => {
                let number = self.number(payload)?;
                i64::try_from(number).map_or(Token::Large(number), Token::Int)
            }
            0xd0..=0xd3 => {
                let unused = 64 - 8 * payload;
                Token::Int((self.number(payload)? << unused).cast_signed() >> unused)
            }
            // Nil; the check lets no other marker in.
            0xc0 | 0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => Token::Nil,
        };
        self.at = end;
        Some(token)
    }
}

/// How many bytes at the beginning are equal. Four words of eight bytes at a time, because wasm has no comparison of
/// memory but a call, and that goes byte by byte.
#[must_use]
pub fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let length = one.len().min(other.len());
    let (one, other) = (&one[..length], &other[..length]);
    let blocks = one.as_chunks::<32>().0.iter().zip(other.as_chunks::<32>().0);
    let same = blocks.take_while(|(a, b)| is_same_block(a, b)).count() * 32;
    let words = one[same..].as_chunks::<8>().0.iter().zip(other[same..].as_chunks::<8>().0);
    let mut at = same;
    for (a, b) in words {
        let differing = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differing != 0 {
            return at + differing.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = one[at..].iter().zip(&other[at..]);
    at + rest.take_while(|(a, b)| a == b).count()
}

#[inline]
fn is_same_block(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let words = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0);
    words.fold(0, |all, (a, b)| all | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b))) == 0
}

/// Whether both hold the same bytes.
#[must_use]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    let (words, rest) = one.as_chunks::<8>();
    let (others, other_rest) = other.as_chunks::<8>();
    // Most are few, so no call is made.
    one.len() == other.len()
        && words.iter().zip(others).all(|(a, b)| u64::from_ne_bytes(*a) == u64::from_ne_bytes(*b))
        && rest.iter().zip(other_rest).all(|(a, b)| a == b)
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
