//! What a client may ask the authority to do, and what it may ask to be told.

use alloc::vec::Vec;

use super::{Fields, QueryId, Relayed, RequestId, kind, list};
use crate::protocol::{
    msgpack::{DecodeError, EncodedValue, Reader, Writer},
    tokens::Tokens,
};

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Sets an object's value.
    Put {
        /// The object.
        key: &'a str,
        /// Its new value.
        value: EncodedValue<'a>,
    },
    /// Deletes an object.
    Delete {
        /// The object.
        key: &'a str,
    },
    /// Inserts or replaces a record; its primary field names it.
    Set {
        /// The datastore's public id.
        datastore: &'a str,
        /// The whole record.
        value: EncodedValue<'a>,
    },
    /// Deletes a record.
    Remove {
        /// The datastore's public id.
        datastore: &'a str,
        /// The record.
        key: &'a str,
    },
    /// Merges fields into a pool.
    Merge {
        /// The pool's public id.
        pool: &'a str,
        /// A map of fields to their new values; nil takes a field away.
        fields: EncodedValue<'a>,
    },
    /// Puts a notification into a mailbox. Acknowledged with its trace as the result.
    Notify {
        /// Whose mailbox.
        to: &'a str,
        /// The payload.
        pack: EncodedValue<'a>,
        /// Whether a reply is expected.
        suit: bool,
        /// Milliseconds that it may wait; `None`: the server's default.
        ttl: Option<u64>,
    },
    /// Replies to a suit notification.
    Reply {
        /// The notification.
        trace: &'a str,
        /// The reply.
        reply: EncodedValue<'a>,
    },
    /// Changes the kv store: all of these, in this order, or none.
    Kv(Vec<KvChange<'a>>),
    /// Passes an envelope on to whoever follows its key at the moment. The authority keeps nothing of it.
    Relay(Relayed<'a>),
}

/// One change of the kv store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvChange<'a> {
    /// Sets a key.
    Set {
        /// The group.
        group: &'a str,
        /// The key.
        key: &'a str,
        /// Its new value.
        value: EncodedValue<'a>,
        /// Milliseconds that it lives; `None`: for ever.
        ttl: Option<u64>,
    },
    /// Deletes a key.
    Delete {
        /// The group.
        group: &'a str,
        /// The key.
        key: &'a str,
    },
    /// Deletes a group with all its keys.
    DeleteGroup {
        /// The group.
        group: &'a str,
    },
}

/// What can be asked for without changing anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query<'a> {
    /// What became of a notification: a map of its state. Its sender and its target may ask.
    Notification {
        /// The notification.
        trace: &'a str,
    },
    /// A key's value; no value where it is not set.
    KvGet {
        /// The group.
        group: &'a str,
        /// The key.
        key: &'a str,
    },
    /// A map of all keys of a group.
    KvGetAll {
        /// The group.
        group: &'a str,
    },
    /// How many keys a group has.
    KvCount {
        /// The group.
        group: &'a str,
    },
    /// How many keys all groups have whose names begin with a prefix.
    KvCountAll {
        /// The prefix, literally.
        prefix: &'a str,
    },
    /// The names of all groups that begin with a prefix.
    KvGroups {
        /// The prefix, literally.
        prefix: &'a str,
    },
    /// A template with the values of a group in the places of their keys.
    KvRender {
        /// The template.
        template: &'a str,
        /// The group.
        group: &'a str,
    },
}

impl<'a> Operation<'a> {
    /// What it is about.
    #[must_use]
    pub const fn subject(&self) -> Subject<'a> {
        match *self {
            Operation::Put { key, .. } | Operation::Delete { key } => Subject::Object(key),
            Operation::Set { datastore, .. } | Operation::Remove { datastore, .. } => {
                Subject::Datastore(datastore)
            }
            Operation::Merge { pool, fields } => Subject::Pool(pool, fields),
            Operation::Notify { .. } | Operation::Reply { .. } | Operation::Relay(_) | Operation::Kv(_) => {
                Subject::Other
            }
        }
    }

    /// Encodes it into `buffer`.
    pub fn encode<'b>(&self, buffer: &'b mut Writer) -> EncodedOperation<'b>
    where
        'a: 'b,
    {
        self.write(buffer);
        EncodedOperation { bytes: buffer.as_bytes(), subject: self.subject() }
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut fields = Fields::open(reader)?;
        let operation = match fields.next(Reader::u64)? {
            0 => Operation::Put { key: fields.next(Reader::key)?, value: fields.next(Reader::value)? },
            1 => Operation::Delete { key: fields.next(Reader::key)? },
            2 => Operation::Set { datastore: fields.next(Reader::key)?, value: fields.next(Reader::value)? },
            3 => Operation::Remove { datastore: fields.next(Reader::key)?, key: fields.next(Reader::key)? },
            4 => Operation::Merge { pool: fields.next(Reader::key)?, fields: fields.next(Reader::value)? },
            5 => Operation::Notify {
                to: fields.next(Reader::key)?,
                pack: fields.next(Reader::value)?,
                suit: fields.next(Reader::bool)?,
                ttl: fields.optional(Reader::u64)?,
            },
            6 => Operation::Reply { trace: fields.next(Reader::str)?, reply: fields.next(Reader::value)? },
            7 => Operation::Kv(fields.next(|reader| list(reader, KvChange::read))?),
            8 => Operation::Relay(Relayed::read(&mut fields)?),
            other => return Err(DecodeError::UnknownKind(other)),
        };
        fields.close()?;
        Ok(operation)
    }

    #[expect(
        clippy::inline_always,
        reason = "a client writes one kind by itself, and holds the code of that one"
    )]
    #[inline(always)]
    pub(super) fn write(&self, writer: &mut impl Tokens) {
        match *self {
            Operation::Put { key, value } => {
                writer.array(3);
                writer.u64(0);
                writer.str(key);
                writer.value(value);
            }
            Operation::Delete { key } => {
                writer.array(2);
                writer.u64(1);
                writer.str(key);
            }
            Operation::Set { datastore, value } => {
                writer.array(3);
                writer.u64(2);
                writer.str(datastore);
                writer.value(value);
            }
            Operation::Remove { datastore, key } => {
                writer.array(3);
                writer.u64(3);
                writer.str(datastore);
                writer.str(key);
            }
            Operation::Merge { pool, fields } => {
                writer.array(3);
                writer.u64(4);
                writer.str(pool);
                writer.value(fields);
            }
            Operation::Notify { to, pack, suit, ttl } => {
                writer.array(5);
                writer.u64(5);
                writer.str(to);
                writer.value(pack);
                writer.bool(suit);
                writer.optional(ttl, Tokens::u64);
            }
            Operation::Reply { trace, reply } => {
                writer.array(3);
                writer.u64(6);
                writer.str(trace);
                writer.value(reply);
            }
            Operation::Kv(ref changes) => {
                writer.array(2);
                writer.u64(7);
                writer.array(changes.len());
                for change in changes {
                    change.write(writer);
                }
            }
            Operation::Relay(envelope) => envelope.write(8, writer),
        }
    }
}

impl<'a> KvChange<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut fields = Fields::open(reader)?;
        let change = match fields.next(Reader::u64)? {
            0 => KvChange::Set {
                group: fields.next(Reader::str)?,
                key: fields.next(Reader::str)?,
                value: fields.next(Reader::value)?,
                ttl: fields.optional(Reader::u64)?,
            },
            1 => KvChange::Delete { group: fields.next(Reader::str)?, key: fields.next(Reader::str)? },
            2 => KvChange::DeleteGroup { group: fields.next(Reader::str)? },
            other => return Err(DecodeError::UnknownKind(other)),
        };
        fields.close()?;
        Ok(change)
    }

    fn write(self, writer: &mut impl Tokens) {
        match self {
            KvChange::Set { group, key, value, ttl } => {
                writer.array(5);
                writer.u64(0);
                writer.str(group);
                writer.str(key);
                writer.value(value);
                writer.optional(ttl, Tokens::u64);
            }
            KvChange::Delete { group, key } => {
                writer.array(3);
                writer.u64(1);
                writer.str(group);
                writer.str(key);
            }
            KvChange::DeleteGroup { group } => {
                writer.array(2);
                writer.u64(2);
                writer.str(group);
            }
        }
    }
}

impl<'a> Query<'a> {
    /// Encodes it into `buffer`.
    pub fn encode(self, buffer: &mut Writer) -> EncodedQuery<'_> {
        self.write(buffer);
        EncodedQuery(buffer.as_bytes())
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut fields = Fields::open(reader)?;
        let query = match fields.next(Reader::u64)? {
            0 => Query::Notification { trace: fields.next(Reader::str)? },
            1 => Query::KvGet { group: fields.next(Reader::str)?, key: fields.next(Reader::str)? },
            2 => Query::KvGetAll { group: fields.next(Reader::str)? },
            3 => Query::KvCount { group: fields.next(Reader::str)? },
            4 => Query::KvCountAll { prefix: fields.next(Reader::str)? },
            5 => Query::KvGroups { prefix: fields.next(Reader::str)? },
            6 => Query::KvRender { template: fields.next(Reader::str)?, group: fields.next(Reader::str)? },
            other => return Err(DecodeError::UnknownKind(other)),
        };
        fields.close()?;
        Ok(query)
    }

    pub(super) fn write(self, writer: &mut impl Tokens) {
        let (kind, first, second) = match self {
            Query::Notification { trace } => (0, trace, None),
            Query::KvGet { group, key } => (1, group, Some(key)),
            Query::KvGetAll { group } => (2, group, None),
            Query::KvCount { group } => (3, group, None),
            Query::KvCountAll { prefix } => (4, prefix, None),
            Query::KvGroups { prefix } => (5, prefix, None),
            Query::KvRender { template, group } => (6, template, Some(group)),
        };
        writer.array(2 + usize::from(second.is_some()));
        writer.u64(kind);
        writer.str(first);
        if let Some(second) = second {
            writer.str(second);
        }
    }
}

/// What an operation is about, as far as a client has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// An object.
    Object(&'a str),
    /// A datastore.
    Datastore(&'a str),
    /// A merge pool, and the fields that are merged into it.
    Pool(&'a str, EncodedValue<'a>),
    /// Nothing that a replica shows.
    Other,
}

/// An operation in its encoded form, as a client's host gives it. Its keys and values are within their limits; whether its
/// fields are all there is the authority's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedOperation<'a> {
    bytes: &'a [u8],
    subject: Subject<'a>,
}

impl<'a> EncodedOperation<'a> {
    /// Checks that `bytes` are an operation.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let count = reader.array()?;
        let kind = reader.u64()?;
        let keys = match kind {
            6 | 7 => 0,
            0..=2 | 4 | 5 | 8 => 1,
            3 => 2,
            other => return Err(DecodeError::UnknownKind(other)),
        };
        let key = if keys == 0 { "" } else { reader.key()? };
        if keys == 2 {
            reader.key()?;
        }
        let rest = reader.offset();
        if kind == 7 {
            // A value may be as deep in here as anywhere.
            for _ in 0..reader.array()? {
                for _ in 0..reader.array()? {
                    reader.value()?;
                }
            }
        } else {
            for _ in 1 + keys..count {
                reader.value()?;
            }
        }
        let subject = match kind {
            0 | 1 => Subject::Object(key),
            2 | 3 => Subject::Datastore(key),
            4 => Subject::Pool(key, EncodedValue::trusted(&bytes[rest..])),
            _ => Subject::Other,
        };
        if reader.is_empty() { Ok(Self { bytes, subject }) } else { Err(reader.unexpected("the end")) }
    }

    /// What it is about.
    #[must_use]
    pub const fn subject(self) -> Subject<'a> {
        self.subject
    }

    /// Appends the `write` of this number to a frame.
    pub fn write(self, request: RequestId, writer: &mut Writer) {
        writer.array(3);
        writer.u64(kind::WRITE);
        writer.u64(request);
        writer.value(EncodedValue::trusted(self.bytes));
    }
}

/// A question in its encoded form, as a client's host gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedQuery<'a>(&'a [u8]);

impl<'a> EncodedQuery<'a> {
    /// Checks that `bytes` are a question.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn check(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        EncodedValue::check(bytes).map(|value| Self(value.as_bytes()))
    }

    /// Appends the `query` of this number to a frame.
    pub fn write(self, query: QueryId, writer: &mut Writer) {
        writer.array(3);
        writer.u64(kind::QUERY);
        writer.u64(u64::from(query));
        writer.value(EncodedValue::trusted(self.0));
    }
}
