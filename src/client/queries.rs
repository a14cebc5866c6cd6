//! Questions under way. They change nothing, so each is asked anew on every link until it is answered.

use alloc::{boxed::Box, vec::Vec};
use core::time::Duration;

use thiserror::Error;

use super::{Change, Client, cells::Cell};
use crate::protocol::{EncodedQuery, EncodedValue, Query, QueryId, Timestamp, Writer, limits};

/// Most questions that may wait for an answer: more than a page has fields.
const MAX_WAITING: usize = 1_000;

/// Most bytes of them: half of what the authority lets wait.
const MAX_WAITING_BYTES: usize = limits::MAX_FRAME_BYTES / 2;

/// A question without an answer by then is given up, unless it may still come: as long as a write waits.
const DEADLINE: Duration = Duration::from_secs(30);

/// A question that cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum QueryError {
    /// It is too long to be sent.
    #[error("a question has at most {max} bytes, this one has {0}", max = limits::MAX_VALUE_BYTES)]
    Long(usize),
    /// Too much waits for the authority already.
    #[error("{0} questions wait for the server already: wait until some of them are answered")]
    Waiting(usize),
}

#[derive(Debug)]
struct Asked {
    query: QueryId,
    message: Box<[u8]>,
    at: Timestamp,
}

/// All questions under way, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Queries {
    asked: Vec<Asked>,
    last: QueryId,
    bytes: usize,
}

impl Queries {
    /// The earliest deadline: questions are asked in the order of time, so it is the first one's.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.asked.first().map(|asked| asked.at + DEADLINE)
    }

    fn forget(&mut self, query: QueryId) -> bool {
        let index = self.asked.iter().position(|asked| asked.query == query);
        index.map(|index| self.bytes -= self.asked.remove(index).message.len()).is_some()
    }
}

impl Client {
    /// Asks a question; [`Change::Answered`] tells the answer.
    ///
    /// # Errors
    /// If it is too long, or too many wait already.
    pub fn query(&mut self, now: Timestamp, about: Query<'_>) -> Result<QueryId, QueryError> {
        self.query_encoded(now, about.encode(&mut Writer::new()))
    }

    /// As [`Self::query`], of a question that the host has encoded.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn query_encoded(&mut self, now: Timestamp, about: EncodedQuery<'_>) -> Result<QueryId, QueryError> {
        let mut writer = Writer::new();
        let query = self.queries.last.wrapping_add(1);
        about.write(query, &mut writer);
        let message: Box<[u8]> = writer.into_bytes().into();
        if message.len() > limits::MAX_VALUE_BYTES {
            return Err(QueryError::Long(message.len()));
        }
        let Queries { asked, last, bytes } = &mut self.queries;
        if asked.len() >= MAX_WAITING || *bytes + message.len() > MAX_WAITING_BYTES {
            return Err(QueryError::Waiting(asked.len()));
        }
        *last = query;
        *bytes += message.len();
        asked.push(Asked { query, message, at: now });
        let from = asked.len() - 1;
        self.ask_from(from);
        Ok(query)
    }

    /// Asks all that is not answered, on a new link.
    pub(super) fn ask_again(&mut self) {
        self.ask_from(0);
    }

    fn ask_from(&mut self, index: usize) {
        if self.session.live_link().is_some() {
            for asked in self.queries.asked.get(index..).unwrap_or_default() {
                self.outbox.value(EncodedValue::trusted(&asked.message));
            }
            self.cut_frame();
        }
    }

    /// An answer came.
    pub(super) fn receive_result(&mut self, query: QueryId, message: &[u8]) {
        self.session.handle_useful();
        if self.queries.forget(query) {
            let cell = self.cells.pass(Cell::message(message));
            self.changes.push(Change::Answered { query, cell: Some(cell) });
        }
    }

    /// Gives up the questions whose deadline has come and whose answers cannot be on their way; without a time, all of them.
    pub(super) fn give_up_queries(&mut self, now: Option<Timestamp>) {
        while let Some(Asked { query, at, .. }) = self.queries.asked.first()
            && now.is_none_or(|now| *at + DEADLINE <= now && !self.session.may_bring(*at))
        {
            let query = *query;
            self.queries.forget(query);
            self.changes.push(Change::Answered { query, cell: None });
        }
    }
}
