//! The reconciler: judges the headers of inbound values and says which value is shown. It never sees a value.

use std::{collections::VecDeque, time::Duration};

use crate::protocol::{Timestamp, limits::MAX_SEQUENCE};

/// An interned epoch: only equality means something. The host interns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EpochId(pub u32);

impl EpochId {
    /// The envelope carries no epoch.
    pub const NONE: Self = Self(0);
}

/// An interned schema version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// The host's number for the text; 0 for none.
    pub id: u32,
    /// The major part; `None` where the version is absent or malformed.
    pub major: Option<u32>,
}

/// What the reconciler sees of an envelope or snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The history.
    pub epoch: EpochId,
    /// The position in it; beyond 2^53 - 1 it is malformed.
    pub sequence: u64,
    /// The subscriber's own previous position, where the authority sends it.
    pub prev: Option<u64>,
    /// The schema version.
    pub version: Version,
}

/// Names a value that the host keeps for the reconciler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u32);

/// Names one verdict that the host owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u32);

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A snapshot that no attempt asked for: a seed, or the answer to a subscription.
    Hydration,
    /// A live envelope.
    Receipt,
    /// The result of a refetch.
    Refetch {
        /// The attempt.
        attempt: u32,
    },
}

/// The answer to an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Not wanted; the host may forget the value.
    Dropped,
    /// To be judged by the gate; the host answers with [`Replica::judged`].
    Judge(Ticket),
}

/// What the gate said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The value may be shown.
    Accepted,
    /// It may not.
    Refused,
}

/// What the host has to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Show this value.
    Install {
        /// The value.
        token: Token,
    },
    /// Forget this value.
    Discard {
        /// The value.
        token: Token,
    },
    /// Ask the authority for a snapshot or the missing tail.
    Refetch {
        /// The number to answer with.
        attempt: u32,
        /// Where the replica stands.
        position: Option<(EpochId, u64)>,
    },
}

/// See the variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Current as far as is known.
    Ok,
    /// Nothing applied, or the last refetch failed.
    Stale,
    /// The last value was refused.
    Skew,
    /// A refetch is in flight.
    Refetching,
}

/// Counters for observers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Values shown.
    pub applied: u32,
    /// Stale, duplicate or out-of-order receipts.
    pub ignored_stale: u32,
    /// Receipts beyond the next one.
    pub gaps: u32,
    /// Values that the gate refused, and malformed headers.
    pub parse_errors: u32,
    /// Refetches asked for.
    pub refetches: u32,
}

/// The reconciler of one key.
#[derive(Debug)]
pub struct Replica {
    has_refetch: bool,
    applied: Option<(EpochId, u64)>,
    cursor: Option<u64>,
    version: Version,
    attempt: u32,
    in_flight: Option<Timestamp>,
    retry_at: Option<Timestamp>,
    status: Status,
    pending: Option<(Ticket, Header, Source, Token)>,
    tickets: u32,
    stats: Stats,
    effects: VecDeque<Effect>,
}

const DEADLINE: Duration = Duration::from_secs(10);

impl Replica {
    /// A replica that has seen nothing.
    #[must_use]
    pub fn new(has_refetch: bool) -> Self {
        Self {
            has_refetch,
            applied: None,
            cursor: None,
            version: Version::default(),
            attempt: 0,
            in_flight: None,
            retry_at: None,
            status: Status::Stale,
            pending: None,
            tickets: 0,
            stats: Stats::default(),
            effects: VecDeque::new(),
        }
    }

    /// The applied position.
    #[must_use]
    pub fn position(&self) -> Option<(EpochId, u64)> {
        self.applied
    }

    /// The sequence up to which order is settled.
    #[must_use]
    pub fn cursor(&self) -> Option<u64> {
        self.cursor
    }

    /// The number of the last refetch.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The schema version of the applied value.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// See [`Status`].
    #[must_use]
    pub fn status(&self) -> Status {
        if self.in_flight.is_some() { Status::Refetching } else { self.status }
    }

    /// See [`Stats`].
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether no refetch is in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_none()
    }

    /// Offers a value by its header.
    pub fn offer(&mut self, now: Timestamp, source: Source, header: Header, token: Token) -> Offer {
        if header.sequence > MAX_SEQUENCE || header.prev.is_some_and(|prev| prev >= header.sequence) {
            self.stats.parse_errors += 1;
            return Offer::Dropped;
        }
        match source {
            Source::Refetch { attempt } if attempt != self.attempt || self.in_flight.is_none() => {
                return Offer::Dropped;
            }
            Source::Refetch { .. } => self.in_flight = None,
            Source::Hydration | Source::Receipt => {}
        }
        if let Some((epoch, _)) = self.applied {
            let cursor = self.cursor.unwrap_or(0);
            match source {
                Source::Receipt if epoch != header.epoch => {
                    self.recover(now);
                    return Offer::Dropped;
                }
                Source::Receipt if header.sequence <= cursor => {
                    self.stats.ignored_stale += 1;
                    return Offer::Dropped;
                }
                Source::Receipt if header.prev.unwrap_or(header.sequence - 1) > cursor => {
                    self.stats.gaps += 1;
                    self.recover(now);
                    return Offer::Dropped;
                }
                Source::Hydration | Source::Refetch { .. }
                    if epoch == header.epoch && header.sequence < cursor =>
                {
                    self.stats.ignored_stale += 1;
                    return Offer::Dropped;
                }
                Source::Receipt | Source::Hydration | Source::Refetch { .. } => {}
            }
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.pending = Some((ticket, header, source, token));
        Offer::Judge(ticket)
    }

    /// The gate's verdict.
    pub fn judged(&mut self, now: Timestamp, ticket: Ticket, verdict: Verdict) {
        let Some((expected, header, source, token)) = self.pending.take() else { return };
        if expected != ticket {
            self.pending = Some((expected, header, source, token));
            return;
        }
        match verdict {
            Verdict::Accepted => {
                self.applied = Some((header.epoch, header.sequence));
                self.cursor = Some(header.sequence);
                self.version = header.version;
                self.stats.applied += 1;
                self.status = Status::Ok;
                self.retry_at = None;
                self.effects.push_back(Effect::Install { token });
            }
            Verdict::Refused => {
                self.stats.parse_errors += 1;
                self.status = Status::Skew;
                self.effects.push_back(Effect::Discard { token });
                if !matches!(source, Source::Refetch { .. }) {
                    self.recover(now);
                }
            }
        }
    }

    /// The refetch failed.
    pub fn handle_failure(&mut self, now: Timestamp, attempt: u32) {
        if attempt == self.attempt && self.in_flight.take().is_some() {
            self.status = Status::Stale;
            self.retry_at = Some(now + Duration::from_secs(2));
        }
    }

    /// The refetch found nothing.
    pub fn handle_null(&mut self, attempt: u32) {
        if attempt == self.attempt && self.in_flight.take().is_some() {
            self.status = Status::Stale;
        }
    }

    /// The refetch found that nothing, or only a tail that follows as receipts, is missing.
    pub fn handle_current(&mut self, attempt: u32) {
        if attempt == self.attempt && self.in_flight.take().is_some() {
            self.status = Status::Ok;
        }
    }

    /// The authority's head.
    pub fn handle_beacon(&mut self, now: Timestamp, epoch: EpochId, head: u64) {
        if let Some((applied, _)) = self.applied
            && (applied != epoch || self.cursor.unwrap_or(0) < head)
        {
            self.recover(now);
        }
    }

    /// A deadline has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.in_flight.is_some_and(|deadline| deadline <= now) {
            self.handle_failure(now, self.attempt);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.recover(now);
        }
    }

    /// Asks the authority again.
    pub fn refresh(&mut self, now: Timestamp) {
        self.recover(now);
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [self.in_flight, self.retry_at].into_iter().flatten().min()
    }

    /// What to do next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn recover(&mut self, now: Timestamp) {
        self.retry_at = None;
        if !self.has_refetch {
            self.status = Status::Stale;
        } else if self.in_flight.is_none() {
            self.attempt += 1;
            self.in_flight = Some(now + DEADLINE);
            self.stats.refetches += 1;
            self.effects.push_back(Effect::Refetch { attempt: self.attempt, position: self.applied });
        }
    }
}
