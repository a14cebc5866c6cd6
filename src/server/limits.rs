//! How much one connection may ask for.
//!
//! A rate is a bucket of tokens, counted in whole numbers from the time that every input brings along: the same inputs
//! run dry at the same message, in a test, in a page and in the native server.

use core::time::Duration;

use crate::protocol::{
    ClientMessage, Operation, Timestamp,
    limits::{MAX_FRAME_BYTES, MAX_SUBSCRIPTIONS},
};

/// What one connection may ask for. Beyond its limits it is closed, with a code that says whether to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a frame; never more than the protocol allows.
    pub frame_bytes: usize,
    /// Subscriptions at a time; one more is denied.
    pub subscriptions: usize,
    /// How fast messages may come: a `subscribe` counts once for each subscription in it, `delivered` for each trace.
    pub messages: Option<Rate>,
    /// How fast writes may come: one of the kv store counts once for each of its changes.
    pub writes: Option<Rate>,
}

impl Default for Limits {
    /// What the protocol allows, at any rate: a server whose clients are its own has no need to slow them down.
    fn default() -> Self {
        Self { frame_bytes: MAX_FRAME_BYTES, subscriptions: MAX_SUBSCRIPTIONS, messages: None, writes: None }
    }
}

/// How fast something may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In the long run; at least one.
    pub per_second: u32,
    /// At once, after a while of less.
    pub burst: u32,
}

impl Rate {
    fn full(self) -> u64 {
        u64::from(self.burst) * 1_000
    }

    /// How long an empty bucket takes to be full again: who comes back after this has gained nothing. A minute at most,
    /// whatever was configured.
    pub(super) fn recovery(self) -> Duration {
        let full = Duration::from_millis(self.full().div_ceil(u64::from(self.per_second.max(1))));
        full.min(Duration::from_secs(60))
    }
}

/// What is left of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    /// In thousandths: a rate per second adds its own number of them every millisecond.
    left: u64,
    at: Timestamp,
}

impl Bucket {
    const fn new(now: Timestamp) -> Self {
        Self { left: u64::MAX, at: now }
    }

    /// Takes `cost`, if there is as much.
    fn take(&mut self, now: Timestamp, rate: Rate, cost: u64) -> bool {
        // A clock that went back adds nothing.
        let waited = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let added = waited.saturating_mul(u64::from(rate.per_second.max(1)));
        (self.left, self.at) = (self.left.saturating_add(added).min(rate.full()), now);
        let cost = cost.saturating_mul(1_000);
        let is_enough = cost <= self.left;
        if is_enough {
            self.left -= cost;
        }
        is_enough
    }
}

/// What a session has left of its rates.
#[derive(Debug)]
pub(super) struct Allowance {
    messages: Bucket,
    writes: Bucket,
}

impl Allowance {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { messages: Bucket::new(now), writes: Bucket::new(now) }
    }

    /// Takes what a message costs.
    ///
    /// # Errors
    /// With the rate that the client is above.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        limits: &Limits,
        message: &ClientMessage<'_>,
    ) -> Result<(), (Rate, &'static str)> {
        if let Some(rate) = limits.messages
            && !self.messages.take(now, rate, weight(message))
        {
            return Err((rate, "messages"));
        }
        if let (Some(rate), ClientMessage::Write { operation, .. }) = (limits.writes, message)
            && !self.writes.take(now, rate, changes(operation))
        {
            return Err((rate, "writes"));
        }
        Ok(())
    }
}

/// What a message costs: about one for each thing that has to be looked up for it.
fn weight(message: &ClientMessage<'_>) -> u64 {
    let count = match message {
        ClientMessage::Subscribe(subscriptions) => subscriptions.len(),
        ClientMessage::Delivered(traces) => traces.len(),
        ClientMessage::Write { operation, .. } => return changes(operation),
        ClientMessage::Hello { .. }
        | ClientMessage::Unsubscribe(_)
        | ClientMessage::Refetch { .. }
        | ClientMessage::Page { .. }
        | ClientMessage::Ping
        | ClientMessage::Query { .. }
        | ClientMessage::Token(_) => 1,
    };
    count.max(1) as u64
}

fn changes(operation: &Operation<'_>) -> u64 {
    match operation {
        Operation::Kv(changes) => changes.len().max(1) as u64,
        Operation::Put { .. }
        | Operation::Delete { .. }
        | Operation::Set { .. }
        | Operation::Remove { .. }
        | Operation::Merge { .. }
        | Operation::Notify { .. }
        | Operation::Reply { .. }
        | Operation::Relay(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::protocol::KvChange;

    const RATE: Rate = Rate { per_second: 10, burst: 5 };

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_for_each_tenth_of_a_second() {
        let mut bucket = Bucket::new(at(1_000));
        for n in 0..5 {
            assert!(bucket.take(at(1_000), RATE, 1), "{n}");
        }
        assert!(!bucket.take(at(1_099), RATE, 1));
        assert!(bucket.take(at(1_100), RATE, 1));
        assert!(!bucket.take(at(1_100), RATE, 1));
    }

    #[test]
    fn a_long_silence_saves_no_more_than_the_burst() {
        let mut bucket = Bucket::new(at(0));
        assert!(bucket.take(at(10_000_000), RATE, 5));
        assert!(!bucket.take(at(10_000_000), RATE, 1));
        assert!(!Bucket::new(at(0)).take(at(0), RATE, 6));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing_and_takes_nothing() {
        let mut bucket = Bucket::new(at(50_000));
        assert!(bucket.take(at(50_000), RATE, 5));
        assert!(!bucket.take(at(0), RATE, 1));
        assert!(bucket.take(at(100), RATE, 1));
    }

    #[test]
    fn whoever_waits_for_the_recovery_finds_the_bucket_full() {
        let mut bucket = Bucket::new(at(0));
        assert!(bucket.take(at(0), RATE, 5));
        assert!(bucket.take(at(0) + RATE.recovery(), RATE, 5));
    }

    #[test]
    fn a_change_of_many_keys_costs_as_much_as_many_changes() {
        let change = KvChange::Delete { group: "g", key: "k" };
        let message = ClientMessage::Write { request: 1, operation: Operation::Kv(vec![change; 6]) };
        let limits = Limits { writes: Some(RATE), ..Limits::default() };
        let mut allowance = Allowance::new(at(0));
        assert_eq!(allowance.take(at(0), &limits, &message), Err((RATE, "writes")));
        assert_eq!(allowance.take(at(0), &Limits::default(), &message), Ok(()));
    }
}
