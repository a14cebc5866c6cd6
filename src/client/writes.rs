//! Writes under way: kept until the authority's answer is here and the replica shows their effect.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::time::Duration;

use crate::protocol::{ClientMessage, Operation, Position, RequestId, Timestamp, Writer};

/// A write without an answer by then is given up: long enough for a reconnect, short enough for a person.
const DEADLINE: Duration = Duration::from_secs(30);

/// How a write ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Durable at the authority, and shown by the replica of its target where there is one.
    Done,
    /// Refused; nothing changed.
    Refused {
        /// A number of [`ErrorCode`](crate::protocol::ErrorCode).
        code: u16,
        /// For people.
        message: String,
    },
    /// It was sent, but no answer came in time: it may have happened.
    Unknown,
}

/// What a write changes, as far as a replica here may show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Object(Box<str>),
    Datastore(Box<str>),
    /// Nothing that a replica shows.
    Other,
}

impl Subject {
    fn of(operation: &Operation<'_>) -> Self {
        match *operation {
            Operation::Put { key, .. } | Operation::Delete { key } => Self::Object(key.into()),
            Operation::Set { datastore, .. } | Operation::Remove { datastore, .. } => {
                Self::Datastore(datastore.into())
            }
            Operation::Merge { .. }
            | Operation::Notify { .. }
            | Operation::Reply { .. }
            | Operation::Relay(_)
            | Operation::Kv(_) => Self::Other,
        }
    }
}

/// One write. Ends by an answer, by local application, or by the deadline.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) subject: Subject,
    /// The encoded message: the same bytes however often it is sent.
    pub(super) message: Box<[u8]>,
    pub(super) stage: Stage,
    deadline: Timestamp,
}

/// How far a write has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not sent on any link yet.
    Queued,
    /// Sent at least once, unanswered.
    Sent,
    /// Acknowledged at this position; the replica of its target does not show it yet.
    Acknowledged(Position),
}

/// All writes under way, by request, in the order they were made.
#[derive(Debug, Default)]
pub(super) struct Writes {
    writes: Vec<(RequestId, Write)>,
    last: RequestId,
}

impl Writes {
    pub(super) fn add(&mut self, now: Timestamp, operation: Operation<'_>) -> RequestId {
        self.last += 1;
        let (request, subject) = (self.last, Subject::of(&operation));
        let mut message = Writer::new();
        ClientMessage::Write { request, operation }.encode(&mut message);
        let (message, deadline) = (message.into_bytes().into(), now + DEADLINE);
        self.writes.push((request, Write { subject, message, stage: Stage::Queued, deadline }));
        request
    }

    pub(super) fn get_mut(&mut self, request: RequestId) -> Option<&mut Write> {
        self.writes.iter_mut().find(|(number, _)| *number == request).map(|(_, write)| write)
    }

    pub(super) fn forget(&mut self, request: RequestId) {
        self.writes.retain(|(number, _)| *number != request);
    }

    /// Those that the authority has not answered, in order.
    pub(super) fn unanswered(&self) -> Vec<RequestId> {
        self.requests(|write| !matches!(write.stage, Stage::Acknowledged(_)))
    }

    /// The requests whose acknowledged position `is_shown`.
    pub(super) fn shown(&self, is_shown: impl Fn(&Subject, Position) -> bool) -> Vec<RequestId> {
        self.requests(|write| match write.stage {
            Stage::Acknowledged(position) => is_shown(&write.subject, position),
            Stage::Queued | Stage::Sent => false,
        })
    }

    /// The requests whose deadline has come.
    pub(super) fn overdue(&self, now: Timestamp) -> Vec<RequestId> {
        self.requests(|write| write.deadline <= now)
    }

    /// The requests of the writes that `pick` picks.
    pub(super) fn requests(&self, pick: impl Fn(&Write) -> bool) -> Vec<RequestId> {
        self.writes.iter().filter(|(_, write)| pick(write)).map(|(request, _)| *request).collect()
    }

    pub(super) fn has_acknowledged(&self) -> bool {
        self.writes.iter().any(|(_, write)| matches!(write.stage, Stage::Acknowledged(_)))
    }

    /// The earliest deadline: requests are made in order of time, so it is the first one's.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.writes.first().map(|(_, write)| write.deadline)
    }
}
