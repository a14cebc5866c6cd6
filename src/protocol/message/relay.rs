//! Envelopes of clients, passed on as they are.

use super::Fields;
use crate::protocol::{
    msgpack::{DecodeError, EncodedValue, Reader},
    position::{Epoch, Sequence},
    tokens::Tokens,
};

/// An envelope that a client publishes on a key of its own: the server passes it on and knows nothing of its history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed<'a> {
    /// What it is about.
    pub key: &'a str,
    /// The change's number, as the publisher counts.
    pub sequence: Sequence,
    /// The sequence before, where it is not `sequence - 1`.
    pub prev: Option<Sequence>,
    /// The schema version of the value.
    pub version: Option<&'a str>,
    /// The publisher's history, if it names one.
    pub epoch: Option<Epoch>,
    /// The new value; `None` for a deletion.
    pub value: Option<EncodedValue<'a>>,
}

impl<'a> Relayed<'a> {
    /// Reads the fields after the kind.
    pub(super) fn read(fields: &mut Fields<'_, 'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: fields.next(Reader::key)?,
            sequence: fields.next(Reader::sequence)?,
            prev: fields.optional(Reader::sequence)?,
            version: fields.optional(Reader::str)?,
            epoch: fields.optional(Reader::epoch)?,
            value: if fields.next(Reader::bool)? { Some(fields.next(Reader::value)?) } else { None },
        })
    }

    /// Writes the whole message or operation of this kind.
    pub(super) fn write(self, kind: u64, writer: &mut impl Tokens) {
        writer.array(if self.value.is_some() { 8 } else { 7 });
        writer.u64(kind);
        writer.str(self.key);
        writer.u64(self.sequence.get());
        writer.optional(self.prev, |writer, prev| writer.u64(prev.get()));
        writer.optional(self.version, Tokens::str);
        writer.optional(self.epoch, Tokens::epoch);
        writer.bool(self.value.is_some());
        if let Some(value) = self.value {
            writer.value(value);
        }
    }
}
