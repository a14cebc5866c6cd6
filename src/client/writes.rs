//! Writes under way: kept until the authority's answer is here and the replica shows their effect.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::time::Duration;

use crate::protocol::{EncodedValue, Operation, Position, RequestId, Timestamp};

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

/// An operation that outlives the caller's buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owned {
    Put { key: Box<str>, value: Box<[u8]> },
    Delete { key: Box<str> },
    Set { datastore: Box<str>, value: Box<[u8]> },
    Remove { datastore: Box<str>, key: Box<str> },
}

impl Owned {
    pub(super) fn of(operation: Operation<'_>) -> Self {
        match operation {
            Operation::Put { key, value } => Self::Put { key: key.into(), value: value.as_bytes().into() },
            Operation::Delete { key } => Self::Delete { key: key.into() },
            Operation::Set { datastore, value } => {
                Self::Set { datastore: datastore.into(), value: value.as_bytes().into() }
            }
            Operation::Remove { datastore, key } => {
                Self::Remove { datastore: datastore.into(), key: key.into() }
            }
        }
    }

    pub(super) fn borrow(&self) -> Operation<'_> {
        match self {
            Self::Put { key, value } => Operation::Put { key, value: EncodedValue::trusted(value) },
            Self::Delete { key } => Operation::Delete { key },
            Self::Set { datastore, value } => {
                Operation::Set { datastore, value: EncodedValue::trusted(value) }
            }
            Self::Remove { datastore, key } => Operation::Remove { datastore, key },
        }
    }
}

/// One write. Ends by an answer, by local application, or by the deadline.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) operation: Owned,
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
    pub(super) fn add(&mut self, now: Timestamp, operation: Owned) -> RequestId {
        self.last += 1;
        self.writes.push((self.last, Write { operation, stage: Stage::Queued, deadline: now + DEADLINE }));
        self.last
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
    pub(super) fn shown(&self, is_shown: impl Fn(&Owned, Position) -> bool) -> Vec<RequestId> {
        self.requests(|write| match write.stage {
            Stage::Acknowledged(position) => is_shown(&write.operation, position),
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
