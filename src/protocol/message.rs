//! Every message of the wire, and its MessagePack form.
//!
//! A message is an array: its kind, then its fields in order. A decoder ignores further elements, so that a later
//! minor version can add fields at the end. A frame is one or more messages, one after the other.
//!
//! Entry points: [`ClientMessage::decode`], [`ServerMessage::decode`] and their `encode`.

use alloc::vec::Vec;

use super::{
    msgpack::{DecodeError, EncodedValue, Reader, Writer},
    position::{Epoch, Lineage, Position, Sequence},
};

/// The client's number for one of its subscriptions, the same over all its sessions.
pub type SubscriptionId = u32;

/// The server's number for one history (a target under one epoch), the same for all its subscribers, so that an
/// envelope is encoded once for all of them. Valid within one session.
pub type TopicId = u32;

/// The client's number for one write, unique within the client id of its `hello`.
pub type RequestId = u64;

/// What a subscription is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target<'a> {
    /// One object, by key.
    Object(&'a str),
    /// One datastore, by public id. Opened if it does not exist, as `open` says; an open one is only looked at.
    Datastore {
        /// The public id.
        id: &'a str,
        /// How to open it where it does not exist; `None`: do not.
        open: Option<Open<'a>>,
    },
}

/// How to open a datastore that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Open<'a> {
    /// Whether it never expires.
    pub permanent: bool,
    /// The field that names a record.
    pub primary: &'a str,
}

/// One subscription in a `subscribe` message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The client's number for it.
    pub id: SubscriptionId,
    /// What it is about.
    pub target: Target<'a>,
    /// Where the client's replica stands; `None` asks for a snapshot.
    pub position: Option<Position>,
}

/// What a write does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// A message from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// The first message of a session.
    Hello {
        /// The client's random id; request numbers are unique within it.
        client: &'a str,
        /// Proof of who is calling.
        token: Option<&'a str>,
    },
    /// (Re)subscribes, all keys at once. Each is answered by an `answer`.
    Subscribe(Vec<Subscription<'a>>),
    /// Ends a subscription.
    Unsubscribe(SubscriptionId),
    /// Asks for a change. Answered by `ack` or `refusal`, once however often it is sent.
    Write {
        /// The client's number for it.
        request: RequestId,
        /// What to do.
        operation: Operation<'a>,
    },
    /// Asks for what the replica lacks. Answered by an `answer` with the same attempt.
    Refetch {
        /// The subscription.
        subscription: SubscriptionId,
        /// The replica's number for this attempt, above 0.
        attempt: u32,
        /// Where the replica stands; `None` asks for a snapshot.
        position: Option<Position>,
    },
    /// Asks for the next page of a snapshot.
    Page {
        /// The subscription.
        subscription: SubscriptionId,
        /// The attempt of the answer that began the snapshot.
        attempt: u32,
        /// `next` of the page before.
        cursor: &'a str,
    },
    /// Asks for a `pong`.
    Ping,
}

/// One row of a snapshot page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The sequence of the record's last change; it may be above the snapshot's.
    pub sequence: Sequence,
    /// The record.
    pub key: &'a str,
    /// Its value.
    pub value: EncodedValue<'a>,
}

/// What a subscription or refetch is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The replica's position is the head.
    Current,
    /// `count` envelopes follow, the first with the replica's position as its `prev`, the last at the head.
    Tail {
        /// How many.
        count: u32,
    },
    /// An object's value.
    Snapshot {
        /// The head.
        sequence: Sequence,
        /// The schema version it was written under.
        version: Option<&'a str>,
        /// The value.
        value: EncodedValue<'a>,
        /// The epochs before this one.
        lineage: Lineage,
    },
    /// One page of a datastore's records.
    Page {
        /// The position of the whole snapshot, fixed by its first page.
        sequence: Sequence,
        /// The records of this page.
        rows: Vec<Row<'a>>,
        /// What to send in `page` for the next one; `None` on the last.
        next: Option<&'a str>,
        /// The epochs before this one.
        lineage: Lineage,
    },
    /// The authority holds no value for this object.
    Absent {
        /// The head of the object's history: 0 where it was never written.
        sequence: Sequence,
    },
}

/// A message from a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// The answer to `hello`.
    Welcome {
        /// The session's number; beacons of other sessions are dropped.
        session: u64,
        /// Milliseconds between two beacons; after two and a half of them without a message the link is dead.
        heartbeat: u32,
    },
    /// The answer to one subscription, refetch or page.
    Answer {
        /// The subscription.
        subscription: SubscriptionId,
        /// The attempt of the refetch; 0 for a subscription.
        attempt: u32,
        /// The number under which its envelopes come.
        topic: TopicId,
        /// The epoch that the topic is about.
        epoch: Epoch,
        /// The answer.
        answer: Answer<'a>,
    },
    /// A subscription, refetch or page that cannot be answered.
    Denied {
        /// The subscription.
        subscription: SubscriptionId,
        /// The attempt of the refetch; 0 for a subscription.
        attempt: u32,
        /// A number of [`ErrorCode`](super::ErrorCode).
        code: u16,
        /// For people.
        message: &'a str,
    },
    /// A change: the whole new value of an object or record.
    Envelope {
        /// The history that changed.
        topic: TopicId,
        /// The change's number.
        sequence: Sequence,
        /// The subscriber's own previous position, where it is not `sequence - 1`.
        prev: Option<Sequence>,
        /// The schema version the value was written under.
        version: Option<&'a str>,
        /// The record; `None` for an object.
        key: Option<&'a str>,
        /// The new value; `None` for a deletion.
        value: Option<EncodedValue<'a>>,
    },
    /// Signs of life and the heads of the topics that moved since the last beacon.
    Beacon {
        /// Counts up within the session.
        number: u64,
        /// Per topic the last sequence sent to, or deliberately skipped for, this subscriber.
        heads: Vec<(TopicId, Sequence)>,
    },
    /// A write is done and durable.
    Ack {
        /// The client's number for it.
        request: RequestId,
        /// The epoch and sequence that it got; `None` where nothing had to change.
        position: Option<Position>,
    },
    /// A write is refused; nothing changed.
    Refusal {
        /// The client's number for it.
        request: RequestId,
        /// A number of [`ErrorCode`](super::ErrorCode).
        code: u16,
        /// For people: what is wrong and what to do.
        message: &'a str,
    },
    /// The answer to `ping`.
    Pong,
    /// The connection is about to be closed by the server.
    Goodbye {
        /// The close code that follows.
        code: u16,
        /// For people.
        reason: &'a str,
        /// Milliseconds to wait before coming back, where the server has a wish.
        retry_after: Option<u32>,
    },
}

mod kind {
    pub(super) const HELLO: u64 = 1;
    pub(super) const SUBSCRIBE: u64 = 2;
    pub(super) const UNSUBSCRIBE: u64 = 3;
    pub(super) const WRITE: u64 = 4;
    pub(super) const REFETCH: u64 = 5;
    pub(super) const PAGE: u64 = 6;
    pub(super) const PING: u64 = 7;

    pub(super) const WELCOME: u64 = 64;
    pub(super) const ANSWER: u64 = 65;
    pub(super) const DENIED: u64 = 66;
    pub(super) const ENVELOPE: u64 = 67;
    pub(super) const BEACON: u64 = 68;
    pub(super) const ACK: u64 = 69;
    pub(super) const REFUSAL: u64 = 70;
    pub(super) const PONG: u64 = 71;
    pub(super) const GOODBYE: u64 = 72;
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

fn write_position(writer: &mut Writer, position: Position) {
    writer.array(2);
    writer.bin(position.epoch.as_bytes());
    writer.u64(position.sequence.get());
}

fn lineage(reader: &mut Reader<'_>) -> Result<Lineage, DecodeError> {
    list(reader, position).map(Lineage::new)
}

fn write_lineage(writer: &mut Writer, lineage: &Lineage) {
    writer.array(lineage.entries().len());
    for entry in lineage.entries() {
        write_position(writer, *entry);
    }
}

impl<'a> Target<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut fields = Fields::open(reader)?;
        let target = match fields.next(Reader::u64)? {
            0 => Target::Object(fields.next(Reader::key)?),
            1 => {
                let id = fields.next(Reader::key)?;
                let permanent = fields.optional(Reader::bool)?;
                let primary = fields.optional(Reader::key)?;
                let open = permanent.map(|permanent| Open { permanent, primary: primary.unwrap_or("id") });
                Target::Datastore { id, open }
            }
            other => return Err(DecodeError::UnknownKind(other)),
        };
        fields.close()?;
        Ok(target)
    }

    fn write(self, writer: &mut Writer) {
        match self {
            Target::Object(key) => {
                writer.array(2);
                writer.u64(0);
                writer.str(key);
            }
            Target::Datastore { id, open } => {
                writer.array(if open.is_some() { 4 } else { 2 });
                writer.u64(1);
                writer.str(id);
                if let Some(open) = open {
                    writer.bool(open.permanent);
                    writer.str(open.primary);
                }
            }
        }
    }
}

impl<'a> Operation<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut fields = Fields::open(reader)?;
        let operation = match fields.next(Reader::u64)? {
            0 => Operation::Put { key: fields.next(Reader::key)?, value: fields.next(Reader::value)? },
            1 => Operation::Delete { key: fields.next(Reader::key)? },
            2 => Operation::Set { datastore: fields.next(Reader::key)?, value: fields.next(Reader::value)? },
            3 => Operation::Remove { datastore: fields.next(Reader::key)?, key: fields.next(Reader::key)? },
            other => return Err(DecodeError::UnknownKind(other)),
        };
        fields.close()?;
        Ok(operation)
    }

    fn write(self, writer: &mut Writer) {
        match self {
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
        }
    }
}

impl<'a> ClientMessage<'a> {
    /// Reads the next message of a frame.
    ///
    /// # Errors
    /// If the bytes are no message; the frame cannot be read on.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut fields = Fields::open(reader)?;
        let message = match fields.next(Reader::u64)? {
            kind::HELLO => ClientMessage::Hello {
                client: fields.next(Reader::key)?,
                token: fields.optional(Reader::str)?,
            },
            kind::SUBSCRIBE => ClientMessage::Subscribe(fields.next(|reader| {
                list(reader, |reader| {
                    let mut fields = Fields::open(reader)?;
                    let subscription = Subscription {
                        id: fields.next(Reader::u32)?,
                        target: fields.next(Target::read)?,
                        position: fields.optional(position)?,
                    };
                    fields.close()?;
                    Ok(subscription)
                })
            })?),
            kind::UNSUBSCRIBE => ClientMessage::Unsubscribe(fields.next(Reader::u32)?),
            kind::WRITE => ClientMessage::Write {
                request: fields.next(Reader::u64)?,
                operation: fields.next(Operation::read)?,
            },
            kind::REFETCH => ClientMessage::Refetch {
                subscription: fields.next(Reader::u32)?,
                attempt: fields.next(Reader::u32)?,
                position: fields.optional(position)?,
            },
            kind::PAGE => ClientMessage::Page {
                subscription: fields.next(Reader::u32)?,
                attempt: fields.next(Reader::u32)?,
                cursor: fields.next(Reader::key)?,
            },
            kind::PING => ClientMessage::Ping,
            other => return Err(DecodeError::UnknownKind(other)),
        };
        fields.close()?;
        Ok(message)
    }

    /// Appends the message to a frame.
    pub fn encode(&self, writer: &mut Writer) {
        match self {
            ClientMessage::Hello { client, token } => {
                writer.array(3);
                writer.u64(kind::HELLO);
                writer.str(client);
                writer.optional(*token, Writer::str);
            }
            ClientMessage::Subscribe(subscriptions) => {
                writer.array(2);
                writer.u64(kind::SUBSCRIBE);
                writer.array(subscriptions.len());
                for subscription in subscriptions {
                    writer.array(3);
                    writer.u64(u64::from(subscription.id));
                    subscription.target.write(writer);
                    writer.optional(subscription.position, write_position);
                }
            }
            ClientMessage::Unsubscribe(subscription) => {
                writer.array(2);
                writer.u64(kind::UNSUBSCRIBE);
                writer.u64(u64::from(*subscription));
            }
            ClientMessage::Write { request, operation } => {
                writer.array(3);
                writer.u64(kind::WRITE);
                writer.u64(*request);
                operation.write(writer);
            }
            ClientMessage::Refetch { subscription, attempt, position } => {
                writer.array(4);
                writer.u64(kind::REFETCH);
                writer.u64(u64::from(*subscription));
                writer.u64(u64::from(*attempt));
                writer.optional(*position, write_position);
            }
            ClientMessage::Page { subscription, attempt, cursor } => {
                writer.array(4);
                writer.u64(kind::PAGE);
                writer.u64(u64::from(*subscription));
                writer.u64(u64::from(*attempt));
                writer.str(cursor);
            }
            ClientMessage::Ping => {
                writer.array(1);
                writer.u64(kind::PING);
            }
        }
    }
}

impl<'a> Answer<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut fields = Fields::open(reader)?;
        let answer = match fields.next(Reader::u64)? {
            0 => Answer::Current,
            1 => Answer::Tail { count: fields.next(Reader::u32)? },
            2 => Answer::Snapshot {
                sequence: fields.next(Reader::sequence)?,
                version: fields.optional(Reader::str)?,
                value: fields.next(Reader::value)?,
                lineage: fields.next(lineage)?,
            },
            3 => Answer::Page {
                sequence: fields.next(Reader::sequence)?,
                rows: fields.next(|reader| {
                    list(reader, |reader| {
                        let mut fields = Fields::open(reader)?;
                        let row = Row {
                            sequence: fields.next(Reader::sequence)?,
                            key: fields.next(Reader::key)?,
                            value: fields.next(Reader::value)?,
                        };
                        fields.close()?;
                        Ok(row)
                    })
                })?,
                next: fields.optional(Reader::key)?,
                lineage: fields.next(lineage)?,
            },
            4 => Answer::Absent { sequence: fields.next(Reader::sequence)? },
            other => return Err(DecodeError::UnknownKind(other)),
        };
        fields.close()?;
        Ok(answer)
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Answer::Current => {
                writer.array(1);
                writer.u64(0);
            }
            Answer::Tail { count } => {
                writer.array(2);
                writer.u64(1);
                writer.u64(u64::from(*count));
            }
            Answer::Snapshot { sequence, version, value, lineage } => {
                writer.array(5);
                writer.u64(2);
                writer.u64(sequence.get());
                writer.optional(*version, Writer::str);
                writer.value(*value);
                write_lineage(writer, lineage);
            }
            Answer::Page { sequence, rows, next, lineage } => {
                writer.array(5);
                writer.u64(3);
                writer.u64(sequence.get());
                writer.array(rows.len());
                for row in rows {
                    writer.array(3);
                    writer.u64(row.sequence.get());
                    writer.str(row.key);
                    writer.value(row.value);
                }
                writer.optional(*next, Writer::str);
                write_lineage(writer, lineage);
            }
            Answer::Absent { sequence } => {
                writer.array(2);
                writer.u64(4);
                writer.u64(sequence.get());
            }
        }
    }
}

impl<'a> ServerMessage<'a> {
    /// Reads the next message of a frame.
    ///
    /// # Errors
    /// If the bytes are no message; the frame cannot be read on.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut fields = Fields::open(reader)?;
        let message = match fields.next(Reader::u64)? {
            kind::WELCOME => ServerMessage::Welcome {
                session: fields.next(Reader::u64)?,
                heartbeat: fields.next(Reader::u32)?,
            },
            kind::ANSWER => ServerMessage::Answer {
                subscription: fields.next(Reader::u32)?,
                attempt: fields.next(Reader::u32)?,
                topic: fields.next(Reader::u32)?,
                epoch: fields.next(Reader::epoch)?,
                answer: fields.next(Answer::read)?,
            },
            kind::DENIED => ServerMessage::Denied {
                subscription: fields.next(Reader::u32)?,
                attempt: fields.next(Reader::u32)?,
                code: fields.next(code)?,
                message: fields.next(Reader::str)?,
            },
            kind::ENVELOPE => ServerMessage::Envelope {
                topic: fields.next(Reader::u32)?,
                sequence: fields.next(Reader::sequence)?,
                prev: fields.optional(Reader::sequence)?,
                version: fields.optional(Reader::str)?,
                key: fields.optional(Reader::key)?,
                value: if fields.next(Reader::bool)? { Some(fields.next(Reader::value)?) } else { None },
            },
            kind::BEACON => ServerMessage::Beacon {
                number: fields.next(Reader::u64)?,
                heads: fields.next(|reader| {
                    list(reader, |reader| {
                        let mut fields = Fields::open(reader)?;
                        let head = (fields.next(Reader::u32)?, fields.next(Reader::sequence)?);
                        fields.close()?;
                        Ok(head)
                    })
                })?,
            },
            kind::ACK => ServerMessage::Ack {
                request: fields.next(Reader::u64)?,
                position: fields.optional(position)?,
            },
            kind::REFUSAL => ServerMessage::Refusal {
                request: fields.next(Reader::u64)?,
                code: fields.next(code)?,
                message: fields.next(Reader::str)?,
            },
            kind::PONG => ServerMessage::Pong,
            kind::GOODBYE => ServerMessage::Goodbye {
                code: fields.next(code)?,
                reason: fields.next(Reader::str)?,
                retry_after: fields.optional(Reader::u32)?,
            },
            other => return Err(DecodeError::UnknownKind(other)),
        };
        fields.close()?;
        Ok(message)
    }

    /// Appends the message to a frame.
    pub fn encode(&self, writer: &mut Writer) {
        match self {
            ServerMessage::Welcome { session, heartbeat } => {
                writer.array(3);
                writer.u64(kind::WELCOME);
                writer.u64(*session);
                writer.u64(u64::from(*heartbeat));
            }
            ServerMessage::Answer { subscription, attempt, topic, epoch, answer } => {
                writer.array(6);
                writer.u64(kind::ANSWER);
                writer.u64(u64::from(*subscription));
                writer.u64(u64::from(*attempt));
                writer.u64(u64::from(*topic));
                writer.bin(epoch.as_bytes());
                answer.write(writer);
            }
            ServerMessage::Denied { subscription, attempt, code, message } => {
                writer.array(5);
                writer.u64(kind::DENIED);
                writer.u64(u64::from(*subscription));
                writer.u64(u64::from(*attempt));
                writer.u64(u64::from(*code));
                writer.str(message);
            }
            ServerMessage::Envelope { topic, sequence, prev, version, key, value } => {
                writer.array(if value.is_some() { 8 } else { 7 });
                writer.u64(kind::ENVELOPE);
                writer.u64(u64::from(*topic));
                writer.u64(sequence.get());
                writer.optional(*prev, |writer, prev| writer.u64(prev.get()));
                writer.optional(*version, Writer::str);
                writer.optional(*key, Writer::str);
                writer.bool(value.is_some());
                if let Some(value) = value {
                    writer.value(*value);
                }
            }
            ServerMessage::Beacon { number, heads } => {
                writer.array(3);
                writer.u64(kind::BEACON);
                writer.u64(*number);
                writer.array(heads.len());
                for (topic, head) in heads {
                    writer.array(2);
                    writer.u64(u64::from(*topic));
                    writer.u64(head.get());
                }
            }
            ServerMessage::Ack { request, position } => {
                writer.array(3);
                writer.u64(kind::ACK);
                writer.u64(*request);
                writer.optional(*position, write_position);
            }
            ServerMessage::Refusal { request, code, message } => {
                writer.array(4);
                writer.u64(kind::REFUSAL);
                writer.u64(*request);
                writer.u64(u64::from(*code));
                writer.str(message);
            }
            ServerMessage::Pong => {
                writer.array(1);
                writer.u64(kind::PONG);
            }
            ServerMessage::Goodbye { code, reason, retry_after } => {
                writer.array(4);
                writer.u64(kind::GOODBYE);
                writer.u64(u64::from(*code));
                writer.str(reason);
                writer.optional(*retry_after, |writer, millis| writer.u64(u64::from(millis)));
            }
        }
    }
}

fn code(reader: &mut Reader<'_>) -> Result<u16, DecodeError> {
    let at = reader.offset();
    u16::try_from(reader.u64()?).map_err(|_| DecodeError::OutOfRange { at })
}
