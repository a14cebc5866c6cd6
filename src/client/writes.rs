//! Writes under way: kept until the authority's answer is here and the replica shows their effect.

use alloc::{borrow::ToOwned, boxed::Box, string::String, vec::Vec};
use core::time::Duration;

use super::{Change, Client, MAX_WRITE_BYTES, WriteError, check_key, check_value};
use crate::protocol::{
    self, EncodedOperation, EncodedValue, ErrorCode, KvChange, Operation, Position, Relayed, RequestId,
    Timestamp, Writer,
};

/// Most request numbers between the oldest unanswered write and the newest one sent. The authority remembers its replies
/// to the last 1,000 of a client; a write beyond, sent again after a reconnect, would be refused as expired.
const WINDOW: u64 = 500;

/// Most writes that may be under way: those of a person in half an hour offline, or a short burst of a program.
pub(super) const MAX_WRITES: usize = 10_000;

/// Most bytes of writes under way: sixteen frames.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// A write without an answer by then is given up, unless a slow line is still carrying it: long enough for a reconnect, short
/// enough for a person.
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
    Pool(Box<str>),
    /// Nothing that a replica shows.
    Other,
}

impl Subject {
    fn of(operation: EncodedOperation<'_>) -> Self {
        match operation.subject() {
            protocol::Subject::Object(key) => Self::Object(key.into()),
            protocol::Subject::Datastore(id) => Self::Datastore(id.into()),
            protocol::Subject::Pool(id, _) => Self::Pool(id.into()),
            protocol::Subject::Other => Self::Other,
        }
    }
}

/// One write. Ends by an answer, by local application, or by the deadline and the line.
#[derive(Debug)]
pub(super) struct Write {
    subject: Subject,
    /// The encoded message: the same bytes however often it is sent.
    message: Box<[u8]>,
    stage: Stage,
    made: Timestamp,
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

/// All writes under way, in the order of their requests.
#[derive(Debug, Default)]
pub(super) struct Writes {
    writes: Vec<(RequestId, Write)>,
    last: RequestId,
    /// The newest one sent on the present link.
    sent: RequestId,
    bytes: usize,
    acknowledged: usize,
    /// When the last answer to a write came, or all that was not answered was sent again: so nothing that is not answered was
    /// sent later, but what was made later.
    moved: Timestamp,
}

impl Writes {
    pub(super) fn add(
        &mut self,
        now: Timestamp,
        operation: EncodedOperation<'_>,
    ) -> Result<RequestId, WriteError> {
        if self.writes.len() >= MAX_WRITES || self.bytes >= MAX_WAITING_BYTES {
            return Err(WriteError::Waiting(self.writes.len()));
        }
        let (request, subject) = (self.last + 1, Subject::of(operation));
        let mut message = Writer::new();
        operation.write(request, &mut message);
        let message: Box<[u8]> = message.into_bytes().into();
        if message.len() > MAX_WRITE_BYTES {
            return Err(WriteError::Large(message.len()));
        }
        self.last = request;
        self.bytes += message.len();
        let write = Write { subject, message, stage: Stage::Queued, made: now };
        self.writes.push((request, write));
        Ok(request)
    }

    fn index(&self, request: RequestId) -> Option<usize> {
        self.writes.binary_search_by_key(&request, |(number, _)| *number).ok()
    }

    pub(super) fn stage(&self, request: RequestId) -> Option<Stage> {
        self.writes.get(self.index(request)?).map(|(_, write)| write.stage)
    }

    /// The authority has done it; its replica does not show it yet.
    pub(super) fn acknowledge(&mut self, request: RequestId, position: Position) {
        let Some(index) = self.index(request) else { return };
        if let Some((_, write)) = self.writes.get_mut(index) {
            self.acknowledged += usize::from(!write.is_acknowledged());
            write.stage = Stage::Acknowledged(position);
        }
    }

    pub(super) fn forget(&mut self, request: RequestId) {
        let Some(index) = self.index(request) else { return };
        let (_, write) = self.writes.remove(index);
        self.bytes -= write.message.len();
        self.acknowledged -= usize::from(write.is_acknowledged());
    }

    /// There is another link: everything unanswered is to be sent again.
    pub(super) const fn rewind(&mut self, now: Timestamp) {
        self.sent = 0;
        self.moved = now;
    }

    /// A write was answered, so that others may be sent.
    pub(super) const fn note_answer(&mut self, now: Timestamp) {
        self.moved = now;
    }

    /// How much they are.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The message of the next write to send on this link, if there is one and the authority remembers as many replies;
    /// it counts as sent.
    pub(super) fn next_to_send(&mut self) -> Option<&[u8]> {
        let mut unanswered = self.writes.iter().filter(|(_, write)| !write.is_acknowledged());
        let end = unanswered.next()?.0 + WINDOW;
        let sent = self.sent;
        let mut rest = self.writes.iter_mut();
        let (request, write) = rest.find(|(request, write)| *request > sent && !write.is_acknowledged())?;
        if *request >= end {
            return None;
        }
        self.sent = *request;
        write.stage = Stage::Sent;
        Some(&write.message)
    }

    /// The requests whose acknowledged position `is_shown`.
    pub(super) fn shown(&self, is_shown: impl Fn(&Subject, Position) -> bool) -> Vec<RequestId> {
        self.requests(&|write| match write.stage {
            Stage::Acknowledged(position) => is_shown(&write.subject, position),
            Stage::Queued | Stage::Sent => false,
        })
    }

    /// The requests of the writes that `pick` picks.
    pub(super) fn requests(&self, pick: &dyn Fn(&Write) -> bool) -> Vec<RequestId> {
        let mut picked = Vec::new();
        for (request, write) in &self.writes {
            if pick(write) {
                picked.push(*request);
            }
        }
        picked
    }

    pub(super) const fn has_acknowledged(&self) -> bool {
        self.acknowledged > 0
    }

    /// The earliest deadline: requests are made in order of time, so it is the first one's.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.writes.first().map(|(_, write)| write.made + DEADLINE)
    }
}

impl Write {
    const fn is_acknowledged(&self) -> bool {
        matches!(self.stage, Stage::Acknowledged(_))
    }
}

impl Client {
    /// Asks for a change.
    ///
    /// # Errors
    /// If a key, id or value is over its limit, or too much waits for the authority already.
    #[expect(clippy::needless_pass_by_value, reason = "operations are made on the spot")]
    pub fn write(&mut self, now: Timestamp, operation: Operation<'_>) -> Result<RequestId, WriteError> {
        match operation {
            Operation::Put { key, value }
            | Operation::Set { datastore: key, value }
            | Operation::Merge { pool: key, fields: value }
            | Operation::Notify { to: key, pack: value, .. } => {
                check_key(key)?;
                check_value(value)?;
            }
            Operation::Delete { key } => check_key(key)?,
            Operation::Remove { datastore, key } => {
                check_key(datastore)?;
                check_key(key)?;
            }
            Operation::Reply { reply: value, .. } => check_value(value)?,
            Operation::Relay(Relayed { key, value, .. }) => {
                check_key(key)?;
                value.map_or(Ok(()), check_value)?;
            }
            // The authority says which of the names is over a limit, and does nothing.
            Operation::Kv(ref changes) => {
                for change in changes {
                    if let KvChange::Set { value, .. } = *change {
                        check_value(value)?;
                    }
                }
            }
        }
        self.write_encoded(now, operation.encode(&mut Writer::new()))
    }

    /// As [`Self::write`], of an operation that the host has encoded.
    ///
    /// # Errors
    /// If the whole is over its limit, or too much waits for the authority already.
    pub fn write_encoded(
        &mut self,
        now: Timestamp,
        operation: EncodedOperation<'_>,
    ) -> Result<RequestId, WriteError> {
        let request = self.writes.add(now, operation)?;
        if let protocol::Subject::Pool(pool, fields) = operation.subject() {
            self.keep_presence(pool, fields);
        }
        self.send_writes();
        Ok(request)
    }

    /// Sends what may be sent now. Called when there is a new write, a new link, or one write less.
    pub(super) fn send_writes(&mut self) {
        if self.session.live_link().is_none() {
            return;
        }
        while let Some(message) = self.writes.next_to_send() {
            self.outbox.value(EncodedValue::trusted(message));
            self.cut_frame();
        }
    }

    /// Ends the writes whose effect is shown by now.
    pub(super) fn settle_acknowledged(&mut self) {
        if !self.writes.has_acknowledged() {
            return;
        }
        let shown = self.writes.shown(|subject, position| {
            // A write to something that no replica here shows is done with its acknowledgement.
            self.slots.iter().filter(|(_, slot)| slot.is_about(subject)).all(|(_, slot)| {
                let replica = &slot.replica;
                let Some(epoch) = replica.epoch() else { return false };
                let is_same_epoch =
                    self.epochs.text(epoch.0).is_some_and(|text| text.parse() == Ok(position.epoch));
                !is_same_epoch || replica.cursor().is_some_and(|cursor| cursor >= position.sequence.get())
            })
        });
        for request in shown {
            self.settle(request, Outcome::Done);
        }
    }

    pub(super) fn settle(&mut self, request: RequestId, outcome: Outcome) {
        self.writes.forget(request);
        self.send_writes();
        let code = match outcome {
            Outcome::Done => 0,
            Outcome::Unknown => u16::MAX,
            Outcome::Refused { code, message } => {
                self.settlements.push((request, message));
                code
            }
        };
        self.changes.push(Change::Settled { request, code });
    }

    /// Gives up the writes whose deadline has come, but for those that a slow line may still be carrying.
    pub(super) fn give_up_writes(&mut self, now: Timestamp) {
        let (session, moved) = (&self.session, self.writes.moved);
        let late = self.writes.requests(&|write| {
            write.made + DEADLINE <= now
                && (write.is_acknowledged() || !session.may_carry(write.made.max(moved)))
        });
        for request in late {
            self.give_up(request, "there was no connection in time; nothing was sent");
        }
    }

    pub(super) fn give_up(&mut self, request: RequestId, reason: &str) {
        let outcome = match self.writes.stage(request) {
            Some(Stage::Queued) => {
                Outcome::Refused { code: ErrorCode::Unavailable.number(), message: reason.to_owned() }
            }
            Some(Stage::Sent) => Outcome::Unknown,
            // It is durable; that no replica shows it yet is the replica's recovery to mend.
            Some(Stage::Acknowledged(_)) => Outcome::Done,
            None => return,
        };
        self.settle(request, outcome);
    }
}
