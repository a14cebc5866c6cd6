//! What a server has done since it was opened, in plain numbers: counting costs an addition, and whoever wants to know
//! reads them when it asks ([`Server::counters`](super::Server::counters)).
//!
//! What speaks of a batch counts once the batch is committed: a batch that was undone did nothing.

use alloc::vec::Vec;

use crate::protocol::{Answer, ServerMessage};

/// How often each number came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally(Vec<(u16, u64)>);

impl Tally {
    /// The numbers that came, with how often, in the order in which they first came.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        self.0.iter().copied()
    }

    /// How often this one came.
    #[must_use]
    pub fn of(&self, number: u16) -> u64 {
        self.0.iter().find(|(known, _)| *known == number).map_or(0, |(_, count)| *count)
    }

    fn add(&mut self, number: u16, count: u64) {
        // A dozen numbers at most: codes of errors.
        match self.0.iter_mut().find(|(known, _)| *known == number) {
            Some((_, before)) => *before += count,
            None => self.0.push((number, count)),
        }
    }
}

/// How questions about histories were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answers {
    /// The asker stood at the head.
    pub current: u64,
    /// With the changes that it had missed.
    pub tail: u64,
    /// With the whole value of an object.
    pub snapshot: u64,
    /// With a page of a datastore's or pool's records.
    pub page: u64,
    /// There is no value.
    pub absent: u64,
}

impl Answers {
    const fn count(&mut self, answer: &Answer<'_>) {
        let count = match answer {
            Answer::Current => &mut self.current,
            Answer::Tail { .. } => &mut self.tail,
            Answer::Snapshot { .. } => &mut self.snapshot,
            Answer::Page { .. } => &mut self.page,
            Answer::Absent { .. } => &mut self.absent,
        };
        *count += 1;
    }

    const fn absorb(&mut self, other: &Self) {
        let Self { current, tail, snapshot, page, absent } = other;
        self.current += *current;
        self.tail += *tail;
        self.snapshot += *snapshot;
        self.page += *page;
        self.absent += *absent;
    }
}

/// What a server has done since it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Messages of clients that could be read.
    pub messages: u64,
    /// Writes of clients that were acknowledged, repeated ones included.
    pub acknowledged: u64,
    /// Writes of clients that were refused, by the number of the error.
    pub refused: Tally,
    /// Answers to subscriptions: what clients that come, or come back, cost.
    pub subscribed: Answers,
    /// Answers to refetches and pulled pages: what gaps cost.
    pub refetched: Answers,
    /// Subscriptions and refetches that were denied, by the number of the error.
    pub denied: Tally,
    /// Changes sent, each counted once per connection that it was sent to.
    pub envelopes: u64,
    /// Envelopes of clients passed on, each counted once per connection that it was sent to.
    pub relayed: u64,
    /// Batches that wrote to the durable storage.
    pub commits: u64,
    /// Batches that were undone, as the storage failed.
    pub undone: u64,
}

impl Counters {
    /// Counts a message that goes to one connection.
    pub(super) fn count(&mut self, message: &ServerMessage<'_>) {
        match message {
            ServerMessage::Answer { attempt: 0, answer, .. } => self.subscribed.count(answer),
            ServerMessage::Answer { answer, .. } => self.refetched.count(answer),
            ServerMessage::Denied { code, .. } => self.denied.add(*code, 1),
            ServerMessage::Envelope { .. } => self.envelopes += 1,
            ServerMessage::Ack { .. } => self.acknowledged += 1,
            ServerMessage::Refusal { code, .. } => self.refused.add(*code, 1),
            _ => {}
        }
    }

    /// Adds what a batch has counted.
    pub(super) fn absorb(&mut self, batch: Self) {
        let Self {
            messages,
            acknowledged,
            refused,
            subscribed,
            refetched,
            denied,
            envelopes,
            relayed,
            commits,
            undone,
        } = batch;
        self.messages += messages;
        self.acknowledged += acknowledged;
        self.envelopes += envelopes;
        self.relayed += relayed;
        self.commits += commits;
        self.undone += undone;
        self.subscribed.absorb(&subscribed);
        self.refetched.absorb(&refetched);
        for (number, count) in refused.iter() {
            self.refused.add(number, count);
        }
        for (number, count) in denied.iter() {
            self.denied.add(number, count);
        }
    }
}

/// Who is there at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Connections that have not said hello.
    pub greeting: usize,
    /// Connections that have.
    pub sessions: usize,
    /// Their subscriptions.
    pub subscriptions: usize,
    /// Histories that somebody follows.
    pub topics: usize,
}
