//! What a client says.

use alloc::vec::Vec;

use super::{
    Fields, Operation, Query, QueryId, RequestId, SubscriptionId, kind, list, position, write_position,
};
use crate::protocol::{
    msgpack::{DecodeError, Reader},
    position::Position,
    tokens::Tokens,
};

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
    /// One merge pool, by public id: a collection whose records are the pool's fields.
    Pool {
        /// The public id.
        id: &'a str,
        /// How to open it where it does not exist; `None`: do not.
        open: Option<OpenPool>,
    },
    /// The caller's own mailbox.
    Mailbox,
    /// The changes of the kv store; `*` stands for every group, or every key of the group.
    Watch {
        /// The group.
        group: &'a str,
        /// The key.
        key: &'a str,
    },
    /// What clients relay on a key.
    Relay(&'a str),
}

/// How to open a merge pool that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpenPool {
    /// Whether a field goes with the connection that wrote it last.
    pub presence: bool,
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
    /// Asks a question. Answered by `result`; it may be asked again, as it changes nothing.
    Query {
        /// The client's number for it.
        query: QueryId,
        /// The question.
        about: Query<'a>,
    },
    /// The application has taken these notifications, by trace. The authority sends them no more.
    Delivered(Vec<&'a str>),
    /// Another proof of who is calling, in the place of the one of `hello` and for the same user.
    Token(&'a str),
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
            2 => {
                let id = fields.next(Reader::key)?;
                let presence = fields.optional(Reader::bool)?;
                Target::Pool { id, open: presence.map(|presence| OpenPool { presence }) }
            }
            3 => Target::Mailbox,
            4 => Target::Watch { group: fields.next(Reader::str)?, key: fields.next(Reader::str)? },
            5 => Target::Relay(fields.next(Reader::key)?),
            other => return Err(DecodeError::UnknownKind(other)),
        };
        fields.close()?;
        Ok(target)
    }

    fn write(self, writer: &mut impl Tokens) {
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
            Target::Pool { id, open } => {
                writer.array(if open.is_some() { 3 } else { 2 });
                writer.u64(2);
                writer.str(id);
                if let Some(open) = open {
                    writer.bool(open.presence);
                }
            }
            Target::Mailbox => {
                writer.array(1);
                writer.u64(3);
            }
            Target::Watch { group, key } => {
                writer.array(3);
                writer.u64(4);
                writer.str(group);
                writer.str(key);
            }
            Target::Relay(key) => {
                writer.array(2);
                writer.u64(5);
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
            kind::QUERY => {
                ClientMessage::Query { query: fields.next(Reader::u32)?, about: fields.next(Query::read)? }
            }
            kind::DELIVERED => ClientMessage::Delivered(fields.next(|reader| list(reader, Reader::str))?),
            kind::TOKEN => ClientMessage::Token(fields.next(Reader::str)?),
            other => return Err(DecodeError::UnknownKind(other)),
        };
        fields.close()?;
        Ok(message)
    }

    /// Appends the message to a frame.
    #[expect(
        clippy::inline_always,
        reason = "a client knows which kind it sends, and holds the code of those alone"
    )]
    #[inline(always)]
    pub fn encode(&self, writer: &mut impl Tokens) {
        match self {
            ClientMessage::Hello { client, token } => {
                writer.array(3);
                writer.u64(kind::HELLO);
                writer.str(client);
                writer.optional(*token, Tokens::str);
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
            ClientMessage::Query { query, about } => {
                writer.array(3);
                writer.u64(kind::QUERY);
                writer.u64(u64::from(*query));
                about.write(writer);
            }
            ClientMessage::Delivered(traces) => {
                writer.array(2);
                writer.u64(kind::DELIVERED);
                writer.array(traces.len());
                for trace in traces {
                    writer.str(trace);
                }
            }
            ClientMessage::Token(token) => {
                writer.array(2);
                writer.u64(kind::TOKEN);
                writer.str(token);
            }
        }
    }
}
