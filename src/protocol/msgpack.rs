//! MessagePack tokens: a reader that trusts nothing, and a writer.
//!
//! Values are checked once, here, and travel on as bytes. A value is any MessagePack without extension types, with
//! strings as map keys, UTF-8 in every string, and at most [`MAX_DEPTH`] levels.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use rmp::encode;
use thiserror::Error;

use super::limits::{MAX_DEPTH, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use super::position::{Epoch, Sequence};
use super::scan::{Scanner, Token, is_ascii, shape};

/// Bytes that are no message of this protocol. The connection that sent them is closed with this as the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end inside a token.
    #[error("the frame ends inside a message")]
    Truncated,
    /// Another type of token was due.
    #[error("expected {expected} at byte {at}")]
    Unexpected {
        /// What was due.
        expected: &'static str,
        /// Offset in the frame.
        at: usize,
    },
    /// A string is not UTF-8.
    #[error("a string at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Offset in the frame.
        at: usize,
    },
    /// A value nests too deeply.
    #[error("a value nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A value is too large.
    #[error("a value is larger than {MAX_VALUE_BYTES} bytes")]
    TooLarge,
    /// A key, id or record key is empty or too long.
    #[error("a key is empty or longer than {MAX_KEY_BYTES} bytes")]
    BadKey,
    /// An integer does not fit its field.
    #[error("the number at byte {at} is out of range")]
    OutOfRange {
        /// Offset in the frame.
        at: usize,
    },
    /// A message of a kind that this version does not know.
    #[error("message kind {0} is not known")]
    UnknownKind(u64),
    /// A text frame that is no JSON, or JSON that has no place in the protocol.
    #[error("the text frame is not valid JSON for this protocol")]
    NotJson,
}

/// A well-formed encoded value that lies in somebody else's buffer.
///
/// Only [`Reader::value`] and [`EncodedValue::check`] make one, so code that holds it need not check again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedValue<'a>(&'a [u8]);

impl<'a> EncodedValue<'a> {
    /// The encoding of nil.
    pub const NIL: EncodedValue<'static> = EncodedValue(&[0xc0]);

    /// Checks that `bytes` are exactly one well-formed value.
    ///
    /// # Errors
    /// What is wrong with them, as [`DecodeError`].
    pub fn check(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = reader.value()?;
        if reader.is_empty() { Ok(value) } else { Err(reader.unexpected("the end of the value")) }
    }

    /// Takes bytes that were checked before, such as those read back from storage that only checked values enter.
    #[must_use]
    pub const fn trusted(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The fields of a map in their order; `None` where the value is none.
    #[must_use]
    pub fn fields(self) -> Option<impl Iterator<Item = (&'a str, Self)>> {
        let mut scanner = Scanner::new(self);
        let Some(Token::Map(count)) = scanner.token() else { return None };
        let fields = (0..count).map_while(move |_| {
            let Some(Token::Str(name)) = scanner.token() else { return None };
            Some((core::str::from_utf8(name).ok()?, scanner.value()?))
        });
        Some(fields)
    }

    /// The value of the string field `name`, if the value is a map that has it. Costs a walk over the map's top level.
    #[must_use]
    pub fn string_field(self, name: &str) -> Option<&'a str> {
        let mut scanner = Scanner::new(self);
        let Some(Token::Map(count)) = scanner.token() else { return None };
        let mut found = None;
        for _ in 0..count {
            let is_it = scanner.token() == Some(Token::Str(name.as_bytes()));
            let value = scanner.value()?;
            if is_it {
                found = match Scanner::new(value).token() {
                    Some(Token::Str(text)) => core::str::from_utf8(text).ok(),
                    _ => None,
                };
            }
        }
        found
    }
}

/// Reads tokens from a frame.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether all bytes are read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The offset of the next token.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.at
    }

    pub(crate) const fn unexpected(&self, expected: &'static str) -> DecodeError {
        DecodeError::Unexpected { expected, at: self.at }
    }

    /// The next token's first byte, which says what it is.
    pub(crate) fn marker(&self) -> Result<u8, DecodeError> {
        self.bytes.get(self.at).copied().ok_or(DecodeError::Truncated)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(count).ok_or(DecodeError::Truncated)?;
        let taken = self.bytes.get(self.at..end).ok_or(DecodeError::Truncated)?;
        self.at = end;
        Ok(taken)
    }

    /// The big-endian number in the `count` bytes after the marker.
    fn number(&mut self, count: usize) -> Result<u64, DecodeError> {
        let number = Scanner::resumed(self.bytes, self.at).number(count).ok_or(DecodeError::Truncated)?;
        self.at += count + 1;
        Ok(number)
    }

    /// What a token says of its own length: one of the `fixed` markers in its low bits, one of the `sized` ones in the
    /// bytes after it, `width` of them after the first such marker and twice as many after each that follows.
    #[inline(never)]
    fn length(
        &mut self,
        fixed: RangeInclusive<u8>,
        sized: RangeInclusive<u8>,
        width: usize,
        expected: &'static str,
    ) -> Result<usize, DecodeError> {
        let marker = self.marker()?;
        if fixed.contains(&marker) {
            self.at += 1;
            return Ok(usize::from(marker - fixed.start()));
        }
        if !sized.contains(&marker) {
            return Err(self.unexpected(expected));
        }
        let length = self.number(width << (marker - sized.start()))?;
        usize::try_from(length).map_err(|_| DecodeError::Truncated)
    }

    /// An integer that is not negative.
    ///
    /// # Errors
    /// If the next token is none.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        let at = self.at;
        match self.marker()? {
            number @ 0x00..=0x7f => {
                self.at += 1;
                Ok(u64::from(number))
            }
            marker @ 0xcc..=0xcf => self.number(1 << (marker - 0xcc)),
            // JavaScript encoders write large integers as floats.
            0xcb => {
                let float = f64::from_bits(self.number(8)?);
                Sequence::from_float(float).map(Sequence::get).ok_or(DecodeError::OutOfRange { at })
            }
            _ => Err(self.unexpected("an unsigned integer")),
        }
    }

    /// An integer of 64 bits with a sign.
    ///
    /// # Errors
    /// If the next token is none.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        let at = self.at;
        match self.marker()? {
            number @ 0xe0..=0xff => {
                self.at += 1;
                Ok(i64::from(number.cast_signed()))
            }
            marker @ 0xd0..=0xd3 => self.signed(1 << (marker - 0xd0)),
            _ => i64::try_from(self.u64()?).map_err(|_| DecodeError::OutOfRange { at }),
        }
    }

    /// The big-endian number with a sign in the `count` bytes after the marker.
    fn signed(&mut self, count: usize) -> Result<i64, DecodeError> {
        let unused = 64 - 8 * count;
        Ok((self.number(count)? << unused).cast_signed() >> unused)
    }

    /// A float, of 32 or 64 bits.
    ///
    /// # Errors
    /// If the next token is none.
    pub fn float(&mut self) -> Result<f64, DecodeError> {
        match self.marker()? {
            0xca => {
                let bits = self.number(4)?;
                Ok(f64::from(f32::from_bits(u32::try_from(bits).expect("four bytes fit"))))
            }
            0xcb => self.number(8).map(f64::from_bits),
            _ => Err(self.unexpected("a float")),
        }
    }

    /// A `u32`.
    ///
    /// # Errors
    /// If the next token is no integer in its range.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        let at = self.at;
        u32::try_from(self.u64()?).map_err(|_| DecodeError::OutOfRange { at })
    }

    /// A sequence.
    ///
    /// # Errors
    /// If the next token is no integer in `0..=2^53 - 1`.
    pub fn sequence(&mut self) -> Result<Sequence, DecodeError> {
        let at = self.at;
        Sequence::new(self.u64()?).ok_or(DecodeError::OutOfRange { at })
    }

    /// A boolean.
    ///
    /// # Errors
    /// If the next token is none.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        let value = match self.marker()? {
            0xc3 => true,
            0xc2 => false,
            _ => return Err(self.unexpected("a boolean")),
        };
        self.at += 1;
        Ok(value)
    }

    /// A string.
    ///
    /// # Errors
    /// If the next token is none, or is not UTF-8.
    pub fn str(&mut self) -> Result<&'a str, DecodeError> {
        let at = self.at;
        core::str::from_utf8(self.text()?).map_err(|_| DecodeError::NotUtf8 { at })
    }

    /// The bytes of a string, which may be anything.
    fn text(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.length(0xa0..=0xbf, 0xd9..=0xdb, 1, "a string")?;
        self.take(length)
    }

    /// A key, id or record key: a string of 1 to [`MAX_KEY_BYTES`] bytes.
    ///
    /// # Errors
    /// If the next token is none.
    pub fn key(&mut self) -> Result<&'a str, DecodeError> {
        let key = self.str()?;
        if (1..=MAX_KEY_BYTES).contains(&key.len()) { Ok(key) } else { Err(DecodeError::BadKey) }
    }

    /// Binary data.
    ///
    /// # Errors
    /// If the next token is none.
    pub fn bin(&mut self) -> Result<&'a [u8], DecodeError> {
        // No marker says the length of binary data itself.
        let none = RangeInclusive::new(1, 0);
        let length = self.length(none, 0xc4..=0xc6, 1, "binary data")?;
        self.take(length)
    }

    /// An epoch: 16 bytes of binary data or, as JSON has none, their 32 hex digits.
    ///
    /// # Errors
    /// If the next token is none.
    pub fn epoch(&mut self) -> Result<Epoch, DecodeError> {
        let error = self.unexpected("an epoch of 16 bytes");
        #[cfg(feature = "json")]
        if let Ok(text) = self.clone().str() {
            self.str()?;
            return text.parse().map_err(|_| error);
        }
        self.bin()?.try_into().map(Epoch::from_bytes).map_err(|_| error)
    }

    /// The number of elements of the array that starts here.
    ///
    /// # Errors
    /// If the next token starts no array.
    pub fn array(&mut self) -> Result<usize, DecodeError> {
        self.length(0x90..=0x9f, 0xdc..=0xdd, 2, "an array")
    }

    /// The number of entries of the map that starts here.
    ///
    /// # Errors
    /// If the next token starts no map.
    pub fn map(&mut self) -> Result<usize, DecodeError> {
        self.length(0x80..=0x8f, 0xde..=0xdf, 2, "a map")
    }

    /// `None` for nil, else what `read` reads.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.marker()? == 0xc0 {
            self.at += 1;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// A whole value, checked: well-formed, UTF-8, string keys, no extension types, not too deep, not too large.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn value(&mut self) -> Result<EncodedValue<'a>, DecodeError> {
        let start = self.at;
        self.part(MAX_DEPTH)?;
        let value = &self.bytes[start..self.at];
        if value.len() > MAX_VALUE_BYTES { Err(DecodeError::TooLarge) } else { Ok(EncodedValue(value)) }
    }

    /// All bytes.
    pub(crate) const fn all(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes that are left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Moves past so many bytes, which were checked before or are equal to such.
    pub(crate) const fn pass(&mut self, count: usize) {
        self.at += count;
    }

    /// Moves past one value inside of another, checking all of it. It may nest `levels` deep.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn part(&mut self, levels: usize) -> Result<(), DecodeError> {
        // Short texts and numbers are most of what changes.
        if let Some(marker) = self.bytes.get(self.at)
            && !matches!(marker, 0x80..=0x9f)
            && let Some((size, _)) = shape(*marker)
        {
            let at = self.at;
            let token = self.take(size)?;
            return if let 0xa0..=0xbf = marker { check_text(&token[1..], at) } else { Ok(()) };
        }
        self.walk(levels)
    }

    /// Moves past one value. Without recursion: `open` holds what containers still lack, doubled, and odd for those of
    /// maps.
    fn walk(&mut self, levels: usize) -> Result<(), DecodeError> {
        let mut open = [0_u32; MAX_DEPTH];
        let open = open.get_mut(..levels).unwrap_or_default();
        let mut depth = 0;
        let mut state = 2_u32;
        loop {
            // Of what a map lacks an even number is left before each name.
            let is_key_due = state & 3 == 1;
            state -= 2;
            let marker = self.marker()?;
            let mut inside = 0;
            match shape(marker) {
                // Names of fields and short texts are half of all tokens.
                Some((size, _)) if matches!(marker, 0xa0..=0xbf) => {
                    let at = self.at;
                    check_text(&self.take(size)?[1..], at)?;
                }
                Some((size, within)) if !is_key_due => {
                    self.take(size)?;
                    inside = within;
                }
                _ => inside = self.walk_long(marker, is_key_due)?,
            }
            if let 0x80..=0x9f | 0xdc..=0xdf = marker {
                *open.get_mut(depth).ok_or(DecodeError::TooDeep)? = state;
                depth += 1;
                // More than any frame has bytes is as good as all that is claimed.
                let lacking = u32::try_from(inside).unwrap_or(u32::MAX).min(u32::MAX / 4) * 2;
                state = lacking | u32::from(matches!(marker, 0x80..=0x8f | 0xde | 0xdf));
            }
            while state < 2 {
                if depth == 0 {
                    return Ok(());
                }
                depth -= 1;
                state = open[depth];
            }
        }
    }

    /// Moves past a token whose marker does not say its length. Returns how many values are inside.
    #[inline(never)]
    fn walk_long(&mut self, marker: u8, is_key_due: bool) -> Result<usize, DecodeError> {
        let is_text = matches!(marker, 0xd9..=0xdb);
        if is_key_due && !is_text {
            return Err(self.unexpected("a string as map key"));
        }
        if let 0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 = marker {
            return Err(self.unexpected("a value without extension types"));
        }
        let at = self.at;
        let head = Scanner::resumed(self.bytes, at).head().ok_or(DecodeError::Truncated)?;
        self.take(head.size)?;
        let payload = self.take(head.payload)?;
        if is_text {
            check_text(payload, at)?;
        }
        Ok(head.inside)
    }
}

#[inline]
fn check_text(text: &[u8], at: usize) -> Result<(), DecodeError> {
    if is_ascii(text) || core::str::from_utf8(text).is_ok() {
        Ok(())
    } else {
        Err(DecodeError::NotUtf8 { at })
    }
}

/// Writes tokens, each in its shortest form.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// `rmp` writes to anything fallible; a vector is not, so there is no error to look at.
fn written<T, E>(_: Result<T, E>) {}

impl Writer {
    /// A writer with nothing written.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// The bytes written so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The number of bytes written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing is written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes nil.
    pub fn nil(&mut self) {
        written(encode::write_nil(&mut self.bytes));
    }

    /// Writes a boolean.
    pub fn bool(&mut self, value: bool) {
        written(encode::write_bool(&mut self.bytes, value));
    }

    /// Writes an integer that is not negative.
    pub fn u64(&mut self, value: u64) {
        written(encode::write_uint(&mut self.bytes, value));
    }

    /// Writes an integer.
    pub fn i64(&mut self, value: i64) {
        written(encode::write_sint(&mut self.bytes, value));
    }

    /// Writes a float.
    pub fn f64(&mut self, value: f64) {
        written(encode::write_f64(&mut self.bytes, value));
    }

    /// Writes a string.
    pub fn str(&mut self, value: &str) {
        written(encode::write_str(&mut self.bytes, value));
    }

    /// Writes binary data.
    pub fn bin(&mut self, value: &[u8]) {
        written(encode::write_bin(&mut self.bytes, value));
    }

    /// Starts an array of `length` elements.
    pub fn array(&mut self, length: usize) {
        written(encode::write_array_len(&mut self.bytes, u32::try_from(length).unwrap_or(u32::MAX)));
    }

    /// Starts a map of `length` entries.
    pub fn map(&mut self, length: usize) {
        written(encode::write_map_len(&mut self.bytes, u32::try_from(length).unwrap_or(u32::MAX)));
    }

    /// Writes a value that is encoded already.
    pub fn value(&mut self, value: EncodedValue<'_>) {
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// Writes nil for `None`, else what `write` writes.
    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.nil(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::limits::MAX_SEQUENCE;

    fn nested(depth: usize) -> Vec<u8> {
        let mut bytes = vec![0x91; depth];
        bytes.push(0xc0);
        bytes
    }

    #[test]
    fn a_value_nests_up_to_the_limit_and_no_deeper() {
        assert!(EncodedValue::check(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(EncodedValue::check(&nested(MAX_DEPTH + 1)), Err(DecodeError::TooDeep));
        assert_eq!(EncodedValue::check(&nested(100_000)), Err(DecodeError::TooDeep));
    }

    #[test]
    fn a_length_beyond_the_frame_is_truncation_and_allocates_nothing() {
        for bytes in [
            &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
            &[0xdb, 0xff, 0xff, 0xff, 0xff, b'a'],
            &[0xdf, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(EncodedValue::check(bytes), Err(DecodeError::Truncated));
        }
    }

    #[test]
    fn a_map_takes_strings_only_as_keys() {
        assert!(EncodedValue::check(&[0x81, 0xa1, b'a', 0x01]).is_ok());
        assert!(matches!(
            EncodedValue::check(&[0x81, 0x01, 0x01]),
            Err(DecodeError::Unexpected { at: 1, .. })
        ));
        assert!(matches!(
            EncodedValue::check(&[0x82, 0xa1, b'a', 0x90, 0x01, 0x01]),
            Err(DecodeError::Unexpected { at: 4, .. })
        ));
    }

    #[test]
    fn extension_types_and_broken_text_are_refused() {
        assert!(EncodedValue::check(&[0xd4, 0x01, 0x00]).is_err());
        assert_eq!(EncodedValue::check(&[0xa1, 0xff]), Err(DecodeError::NotUtf8 { at: 0 }));
    }

    #[test]
    fn a_sequence_beyond_the_exact_integers_is_refused_not_rounded() {
        let mut writer = Writer::new();
        writer.u64(MAX_SEQUENCE);
        writer.u64(MAX_SEQUENCE + 1);
        let bytes = writer.into_bytes();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.sequence(), Ok(Sequence::MAX));
        assert_eq!(reader.sequence(), Err(DecodeError::OutOfRange { at: 9 }));
    }

    #[test]
    fn the_string_field_of_a_map_is_found_behind_nested_values() {
        let mut writer = Writer::new();
        writer.map(3);
        writer.str("nested");
        writer.map(1);
        writer.str("id");
        writer.str("inner");
        writer.str("id");
        writer.str("outer");
        writer.str("n");
        writer.u64(1);
        let bytes = writer.into_bytes();
        let value = EncodedValue::check(&bytes).unwrap();
        assert_eq!(value.string_field("id"), Some("outer"));
        assert_eq!(value.string_field("n"), None);
        assert_eq!(value.string_field("absent"), None);
    }
}
