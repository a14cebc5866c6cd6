//! Every message of the wire, and its MessagePack form.
//!
//! A message is an array: its kind, then its fields in order. A decoder ignores further elements, so that a later
//! minor version can add fields at the end. A frame is one or more messages, one after the other.
//!
//! Entry points: [`ClientMessage::decode`], [`ServerMessage::decode`] and their `encode`.

mod client;
mod operation;
mod relay;
mod server;

use alloc::vec::Vec;

pub use client::{ClientMessage, Open, OpenPool, Subscription, Target};
pub use operation::{EncodedOperation, EncodedQuery, KvChange, Operation, Query, Subject};
pub use relay::Relayed;
pub use server::{Announced, Answer, Heard, KvEventKind, Row, ServerMessage};

use super::{
    msgpack::{DecodeError, Reader},
    position::{Lineage, Position},
    tokens::Tokens,
};

/// The client's number for one of its subscriptions, the same over all its sessions.
pub type SubscriptionId = u32;

/// The server's number for one history (a target under one epoch), the same for all its subscribers, so that an
/// envelope is encoded once for all of them. Valid within one session.
pub type TopicId = u32;

/// The client's number for one write, unique within the client id of its `hello`.
pub type RequestId = u64;

/// The client's number for one question, unique within its session.
pub type QueryId = u32;

mod kind {
    pub(super) const HELLO: u64 = 1;
    pub(super) const SUBSCRIBE: u64 = 2;
    pub(super) const UNSUBSCRIBE: u64 = 3;
    pub(super) const WRITE: u64 = 4;
    pub(super) const REFETCH: u64 = 5;
    pub(super) const PAGE: u64 = 6;
    pub(super) const PING: u64 = 7;
    pub(super) const QUERY: u64 = 8;
    pub(super) const DELIVERED: u64 = 9;
    pub(super) const TOKEN: u64 = 10;

    pub(super) const WELCOME: u64 = 64;
    pub(super) const ANSWER: u64 = 65;
    pub(super) const DENIED: u64 = 66;
    pub(super) const ENVELOPE: u64 = 67;
    pub(super) const BEACON: u64 = 68;
    pub(super) const ACK: u64 = 69;
    pub(super) const REFUSAL: u64 = 70;
    pub(super) const PONG: u64 = 71;
    pub(super) const GOODBYE: u64 = 72;
    pub(super) const RESULT: u64 = 73;
    pub(super) const FOLLOWING: u64 = 74;
    pub(super) const NOTIFICATION: u64 = 75;
    pub(super) const REPLY: u64 = 76;
    pub(super) const EVENT: u64 = 77;
    pub(super) const DROPPED: u64 = 78;
    pub(super) const RENEW: u64 = 79;
    pub(super) const RELAYED: u64 = 80;
}

/// The fields of one message: knows how many of them are left, so that shorter and longer ones decode too.
struct Fields<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: usize,
}

impl<'r, 'a> Fields<'r, 'a> {
    fn open(reader: &'r mut Reader<'a>) -> Result<Self, DecodeError> {
        let left = reader.array()?;
        Ok(Self { reader, left })
    }

    fn next<T>(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.left = self.left.checked_sub(1).ok_or_else(|| self.reader.unexpected("another field"))?;
        read(self.reader)
    }

    fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.reader.optional(read)
    }

    /// A last field that may be left out; nil is a value like others.
    fn rest<T>(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.left == 0 { Ok(None) } else { self.next(read).map(Some) }
    }

    fn close(self) -> Result<(), DecodeError> {
        for _ in 0..self.left {
            self.reader.value()?;
        }
        Ok(())
    }
}

fn list<'a, T>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = reader.array()?;
    // Grows with what is really there, never with a length that a peer merely claims.
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(read(reader)?);
    }
    Ok(items)
}

fn position(reader: &mut Reader<'_>) -> Result<Position, DecodeError> {
    let mut fields = Fields::open(reader)?;
    let position = Position { epoch: fields.next(Reader::epoch)?, sequence: fields.next(Reader::sequence)? };
    fields.close()?;
    Ok(position)
}

fn write_position(writer: &mut impl Tokens, position: Position) {
    writer.array(2);
    writer.epoch(position.epoch);
    writer.u64(position.sequence.get());
}

fn lineage(reader: &mut Reader<'_>) -> Result<Lineage, DecodeError> {
    list(reader, position).map(Lineage::new)
}

fn write_lineage(writer: &mut impl Tokens, lineage: &Lineage) {
    writer.array(lineage.entries().len());
    for entry in lineage.entries() {
        write_position(writer, *entry);
    }
}
