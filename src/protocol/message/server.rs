//! What a server says.

use alloc::vec::Vec;

use super::{
    Fields, QueryId, Relayed, RequestId, SubscriptionId, TopicId, kind, lineage, list, position,
    write_lineage, write_position,
};
use crate::protocol::{
    msgpack::{DecodeError, EncodedValue, Reader},
    position::{Epoch, Lineage, Position, Sequence},
    tokens::Tokens,
};

/// One row of a snapshot page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The sequence of the record's last change; it may be above the snapshot's.
    pub sequence: Sequence,
    /// The record.
    pub key: &'a str,
    /// Its value.
    pub value: EncodedValue<'a>,
    /// The schema version it was written under.
    pub version: Option<&'a str>,
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
        /// A number of [`ErrorCode`](crate::protocol::ErrorCode).
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
        /// The epoch and sequence that it got; `None` where nothing had to change, or the target has no history.
        position: Option<Position>,
        /// What the operation says of its outcome beside that: a notification's trace.
        result: Option<EncodedValue<'a>>,
    },
    /// A write is refused; nothing changed.
    Refusal {
        /// The client's number for it.
        request: RequestId,
        /// A number of [`ErrorCode`](crate::protocol::ErrorCode).
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
    /// The answer to a question.
    Result {
        /// The client's number for it.
        query: QueryId,
        /// The answer.
        outcome: Result<Option<EncodedValue<'a>>, (u16, &'a str)>,
    },
    /// A subscription to what has no history, a mailbox or a watch, is in place.
    Following {
        /// The subscription.
        subscription: SubscriptionId,
    },
    /// A notification that waits in the mailbox. It is sent again in every session until it is `delivered`.
    Notification {
        /// The subscription.
        subscription: SubscriptionId,
        /// Its id: 32 hex digits.
        trace: &'a str,
        /// Who sent it.
        from: &'a str,
        /// The payload.
        pack: EncodedValue<'a>,
        /// Whether a reply is expected.
        suit: bool,
        /// When it was put, in milliseconds since 1970.
        created: u64,
        /// When it ends.
        expires: u64,
    },
    /// Somebody replied to a suit notification that the owner of this mailbox sent.
    Reply {
        /// The subscription.
        subscription: SubscriptionId,
        /// The notification.
        trace: &'a str,
        /// The reply.
        reply: EncodedValue<'a>,
    },
    /// The kv store changed.
    Event {
        /// The watch.
        subscription: SubscriptionId,
        /// What happened.
        kind: KvEventKind,
        /// The group.
        group: &'a str,
        /// The key; empty for a whole group.
        key: &'a str,
        /// The new value of a key that was set.
        value: Option<EncodedValue<'a>>,
        /// When, in milliseconds since 1970.
        at: u64,
    },
    /// The watch was behind, and so many events of it are lost: read again what you need.
    Dropped {
        /// The watch.
        subscription: SubscriptionId,
        /// How many.
        count: u64,
    },
    /// The token is about to expire: send another, or the connection is closed as `unauthorized`.
    Renew {
        /// Milliseconds that are left.
        left: u32,
    },
    /// What another client, or this one, relays on a key that is followed. Sent once per connection, however many of its
    /// subscriptions follow the key.
    Relayed(Relayed<'a>),
}

/// All of a change but the value, which comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced<'a> {
    /// The history that changed.
    pub topic: TopicId,
    /// The change's number.
    pub sequence: Sequence,
    /// The subscriber's own previous position, where it is not `sequence - 1`.
    pub prev: Option<Sequence>,
    /// The schema version the value was written under.
    pub version: Option<&'a str>,
    /// The record's key; `None` for an object.
    pub key: Option<&'a str>,
}

impl<'a> Announced<'a> {
    /// Reads what stands before the value, where the next message is an envelope with a value and without fields that are
    /// not known here. Of any other the reader may be anywhere in it.
    #[must_use]
    pub fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        // An array of eight.
        let [0x98, kind, ..] = reader.rest() else { return None };
        if u64::from(*kind) != kind::ENVELOPE {
            return None;
        }
        reader.pass(2);
        let announced = Self {
            topic: reader.u32().ok()?,
            sequence: reader.sequence().ok()?,
            prev: reader.optional(Reader::sequence).ok()?,
            version: reader.optional(Reader::str).ok()?,
            key: reader.optional(Reader::key).ok()?,
        };
        reader.bool().ok()?.then_some(announced)
    }
}

/// What a client makes of a message. It needs no more of those that it hands on than whom they are for: their other
/// fields are well-formed values, and whoever reads them may find that they are of another type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A message that the client understands.
    Message(ServerMessage<'a>),
    /// `result`.
    Result(QueryId),
    /// `following`.
    Following(SubscriptionId),
    /// `notification`.
    Notification {
        /// The subscription.
        subscription: SubscriptionId,
        /// Its id.
        trace: &'a str,
    },
    /// `reply`, `event` or `dropped`.
    Told(SubscriptionId),
    /// `relayed`, with its key.
    Relayed(&'a str),
    /// A message of a kind that is not known here, as those of later minor versions.
    Unknown,
}

impl<'a> Heard<'a> {
    /// Reads the next message of a frame, and moves past it.
    ///
    /// # Errors
    /// If the bytes are no message; the frame cannot be read on.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let mut fields = Fields::open(reader)?;
        let kind = fields.next(Reader::u64)?;
        let heard = match ServerMessage::read(kind, &mut fields)? {
            Some(message) => Self::Message(message),
            None => match kind {
                kind::RELAYED => Self::Relayed(fields.next(Reader::key)?),
                kind::RESULT..=kind::DROPPED => {
                    let number = fields.next(Reader::u32)?;
                    match kind {
                        kind::RESULT => Self::Result(number),
                        kind::FOLLOWING => Self::Following(number),
                        kind::NOTIFICATION => {
                            Self::Notification { subscription: number, trace: fields.next(Reader::str)? }
                        }
                        _ => Self::Told(number),
                    }
                }
                _ => Self::Unknown,
            },
        };
        fields.close()?;
        Ok(heard)
    }
}

/// What happened in the kv store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum KvEventKind {
    /// A key was created or updated.
    Set = 0,
    /// A single key was removed.
    Delete = 1,
    /// All keys of a group were removed.
    DeleteGroup = 2,
}

impl KvEventKind {
    /// `"set"`, `"delete"` or `"delete_group"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Delete => "delete",
            Self::DeleteGroup => "delete_group",
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u64()? {
            0 => Ok(Self::Set),
            1 => Ok(Self::Delete),
            2 => Ok(Self::DeleteGroup),
            other => Err(DecodeError::UnknownKind(other)),
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
                            version: fields.optional(Reader::str)?,
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

    fn write(&self, writer: &mut impl Tokens) {
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
                writer.optional(*version, Tokens::str);
                writer.value(*value);
                write_lineage(writer, lineage);
            }
            Answer::Page { sequence, rows, next, lineage } => {
                writer.array(5);
                writer.u64(3);
                writer.u64(sequence.get());
                writer.array(rows.len());
                for row in rows {
                    writer.array(3 + usize::from(row.version.is_some()));
                    writer.u64(row.sequence.get());
                    writer.str(row.key);
                    writer.value(row.value);
                    if let Some(version) = row.version {
                        writer.str(version);
                    }
                }
                writer.optional(*next, Tokens::str);
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
        let kind = fields.next(Reader::u64)?;
        let message = match Self::read(kind, &mut fields)? {
            Some(message) => message,
            None => Self::read_rest(kind, &mut fields)?,
        };
        fields.close()?;
        Ok(message)
    }

    /// Reads the fields of the messages about replicas, writes and the session; `None` for others.
    fn read(kind: u64, fields: &mut Fields<'_, 'a>) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match kind {
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
                result: fields.rest(Reader::value)?,
            },
            kind::REFUSAL => ServerMessage::Refusal {
                request: fields.next(Reader::u64)?,
                code: fields.next(code)?,
                message: fields.next(Reader::str)?,
            },
            kind::PONG => ServerMessage::Pong,
            kind::RENEW => ServerMessage::Renew { left: fields.next(Reader::u32)? },
            kind::GOODBYE => ServerMessage::Goodbye {
                code: fields.next(code)?,
                reason: fields.next(Reader::str)?,
                retry_after: fields.optional(Reader::u32)?,
            },
            _ => return Ok(None),
        }))
    }

    /// All others. Apart, so that a client does not hold the code that reads what it hands on.
    fn read_rest(kind: u64, fields: &mut Fields<'_, 'a>) -> Result<Self, DecodeError> {
        Ok(match kind {
            kind::RESULT => {
                let query = fields.next(Reader::u32)?;
                let refused = fields.optional(code)?;
                let outcome = match refused {
                    Some(code) => Err((code, fields.next(Reader::str)?)),
                    None => Ok(fields.rest(Reader::value)?),
                };
                ServerMessage::Result { query, outcome }
            }
            kind::FOLLOWING => ServerMessage::Following { subscription: fields.next(Reader::u32)? },
            kind::NOTIFICATION => ServerMessage::Notification {
                subscription: fields.next(Reader::u32)?,
                trace: fields.next(Reader::str)?,
                from: fields.next(Reader::str)?,
                pack: fields.next(Reader::value)?,
                suit: fields.next(Reader::bool)?,
                created: fields.next(Reader::u64)?,
                expires: fields.next(Reader::u64)?,
            },
            kind::REPLY => ServerMessage::Reply {
                subscription: fields.next(Reader::u32)?,
                trace: fields.next(Reader::str)?,
                reply: fields.next(Reader::value)?,
            },
            kind::EVENT => ServerMessage::Event {
                subscription: fields.next(Reader::u32)?,
                kind: fields.next(KvEventKind::read)?,
                group: fields.next(Reader::str)?,
                key: fields.next(Reader::str)?,
                at: fields.next(Reader::u64)?,
                value: fields.rest(Reader::value)?,
            },
            kind::RELAYED => ServerMessage::Relayed(Relayed::read(fields)?),
            kind::DROPPED => ServerMessage::Dropped {
                subscription: fields.next(Reader::u32)?,
                count: fields.next(Reader::u64)?,
            },
            other => return Err(DecodeError::UnknownKind(other)),
        })
    }

    /// Appends the message to a frame.
    pub fn encode(&self, writer: &mut impl Tokens) {
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
                writer.epoch(*epoch);
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
                writer.optional(*version, Tokens::str);
                writer.optional(*key, Tokens::str);
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
            ServerMessage::Ack { request, position, result } => {
                writer.array(if result.is_some() { 4 } else { 3 });
                writer.u64(kind::ACK);
                writer.u64(*request);
                writer.optional(*position, write_position);
                if let Some(result) = result {
                    writer.value(*result);
                }
            }
            ServerMessage::Refusal { request, code, message } => {
                writer.array(4);
                writer.u64(kind::REFUSAL);
                writer.u64(*request);
                writer.u64(u64::from(*code));
                writer.str(message);
            }
            ServerMessage::Renew { left } => {
                writer.array(2);
                writer.u64(kind::RENEW);
                writer.u64(u64::from(*left));
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
            ServerMessage::Result { query, outcome } => {
                writer.array(match outcome {
                    Ok(None) => 2,
                    Ok(Some(_)) | Err(_) => 4,
                });
                writer.u64(kind::RESULT);
                writer.u64(u64::from(*query));
                match outcome {
                    Ok(None) => {}
                    Ok(Some(value)) => {
                        writer.nil();
                        writer.value(*value);
                    }
                    Err((code, message)) => {
                        writer.u64(u64::from(*code));
                        writer.str(message);
                    }
                }
            }
            ServerMessage::Following { subscription } => {
                writer.array(2);
                writer.u64(kind::FOLLOWING);
                writer.u64(u64::from(*subscription));
            }
            ServerMessage::Notification { subscription, trace, from, pack, suit, created, expires } => {
                writer.array(8);
                writer.u64(kind::NOTIFICATION);
                writer.u64(u64::from(*subscription));
                writer.str(trace);
                writer.str(from);
                writer.value(*pack);
                writer.bool(*suit);
                writer.u64(*created);
                writer.u64(*expires);
            }
            ServerMessage::Reply { subscription, trace, reply } => {
                writer.array(4);
                writer.u64(kind::REPLY);
                writer.u64(u64::from(*subscription));
                writer.str(trace);
                writer.value(*reply);
            }
            ServerMessage::Event { subscription, kind, group, key, value, at } => {
                writer.array(if value.is_some() { 7 } else { 6 });
                writer.u64(kind::EVENT);
                writer.u64(u64::from(*subscription));
                writer.u64(u64::from(*kind as u8));
                writer.str(group);
                writer.str(key);
                writer.u64(*at);
                if let Some(value) = value {
                    writer.value(*value);
                }
            }
            ServerMessage::Relayed(envelope) => envelope.write(kind::RELAYED, writer),
            ServerMessage::Dropped { subscription, count } => {
                writer.array(3);
                writer.u64(kind::DROPPED);
                writer.u64(u64::from(*subscription));
                writer.u64(*count);
            }
        }
    }
}

fn code(reader: &mut Reader<'_>) -> Result<u16, DecodeError> {
    let at = reader.offset();
    u16::try_from(reader.u64()?).map_err(|_| DecodeError::OutOfRange { at })
}
