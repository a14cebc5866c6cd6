//! Recovery: one request at a time, what ends it, what repeats it (rules 8 and 10).

use core::{
    hash::{Hash, Hasher},
    time::Duration,
};

use crate::protocol::Timestamp;

use super::{
    Base, Replica,
    types::{Effect, EpochId, Kind, Mark},
};

/// The first backoff: the longest wait after one failed attempt. It doubles up to one beacon period.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// How often the deadline of an attempt doubles. To 40 s: whoever loses requests must not wait much longer than it takes to
/// ask again; those that a session carries have their own time ([`Replica::extend`]).
const MAX_OVERRUNS: u32 = 2;

/// How much longer a host gives what it knows to be on its way before it looks again.
const EXTENSION: Duration = Duration::from_secs(1);

/// Where the recovery stands. One request is in flight at most, and one is remembered at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Recovery {
    /// Nothing is asked and nothing is due. Exits: a cause to ask -> `InFlight`, or -> `Backoff` where the same cause
    /// was asked about before.
    Idle,
    /// A request is out. Exits: its answer, failure or deadline -> `Idle`, `Backoff`, or `InFlight` anew for the
    /// remembered request; a fence or `dispose` -> `Idle`.
    InFlight(Request),
    /// An attempt failed. Exits: its time comes, or `refresh` -> `InFlight`; satisfied, or `dispose` -> `Idle`.
    Backoff {
        until: Timestamp,
        /// Whether the next request answers a `refresh`: then satisfaction does not cancel it.
        refresh: bool,
    },
}

/// The request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) attempt: u32,
    /// When it was sent, or its answer last came on.
    pub(super) since: Timestamp,
    pub(super) deadline: Timestamp,
    /// Where the replica stood when it was sent.
    pub(super) asked_at: Option<Mark>,
    /// Whether it answers a `refresh`: then its result is never late.
    pub(super) refresh: bool,
    pub(super) remembered: Remembered,
}

/// What happened while a request was in flight that a later one must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Remembered {
    Nothing,
    Recovery,
    Refresh,
}

/// Why a recovery starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cause {
    /// A gap, a first refusal, an unknown epoch, a fence, a refused seed.
    Missing,
    /// A receipt that the gate refused.
    Refused(EpochId, u64),
    /// A receipt of a foreign major version.
    Foreign(u32),
    /// A beacon's head: never remembered, because the next beacon says it again (rule 13).
    Tail,
}

/// How the last attempt ended, as far as the status shows it (rule 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// Nothing went wrong since the recovery was last satisfied.
    Good,
    /// The last attempt failed, was null or was behind.
    Failed,
    /// The last attempt or receipt was refused by gate or version.
    Refused,
}

/// Everything about asking again but the request itself.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    /// The number of the newest attempt.
    pub(super) attempt: u32,
    /// Failed attempts since the last satisfaction.
    pub(super) failures: u32,
    /// Attempts that ran into their deadlines with nothing of an answer, since the last satisfaction.
    pub(super) overruns: u32,
    pub(super) outcome: Outcome,
    /// The last cause of rule 4 and how often it came again.
    pub(super) repeat: Option<(Cause, u32)>,
    random: u64,
}

/// All but the generator: the same machine with another seed waits for other times, and decides the same.
impl Hash for Ledger {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { attempt, failures, overruns, outcome, repeat, random: _ } = self;
        (attempt, failures, overruns, outcome, repeat).hash(hasher);
    }
}

impl Ledger {
    pub(super) const fn new(seed: u64) -> Self {
        Self { attempt: 0, failures: 0, overruns: 0, outcome: Outcome::Good, repeat: None, random: seed }
    }

    /// Half of what the generator has: enough to go on with.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half changes with every draw as the whole does"
    )]
    pub(super) const fn seed(&self) -> u32 {
        self.random as u32
    }

    /// SplitMix64: all that full jitter needs.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Exponential backoff with full jitter, capped at one beacon period (rule 10).
    fn backoff(&mut self, exponent: u32, cap: Duration) -> Duration {
        let longest = FIRST_BACKOFF.saturating_mul(1 << exponent.min(16)).min(cap);
        let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).max(1);
        Duration::from_millis(1 + self.next_random() % millis)
    }
}

impl Replica {
    /// Rule 8: something is applied, and nothing at or below the newest sequence seen is missing or quarantined.
    ///
    /// For an object everything below the applied value is in it. For a collection applied and cursor are one.
    #[must_use]
    pub fn is_satisfied(&self) -> bool {
        match self.base {
            Base::Empty | Base::Fenced { .. } => false,
            Base::At { sequence, .. } => {
                self.sightings.is_empty() && self.own.newest.is_none_or(|newest| newest <= sequence)
            }
        }
    }

    /// Starts a recovery, unless nothing is missing (rules 4, 7, 8, 11, 13).
    pub(super) fn start(&mut self, now: Timestamp, cause: Cause) {
        // The answer to a subscription, page by page, is on its way already; its own deadline asks if it stops.
        let is_coming = self.staging.as_ref().is_some_and(|staging| staging.deadline().is_some());
        if !self.options.has_refetch || self.is_satisfied() || is_coming {
            return;
        }
        match &mut self.recovery {
            Recovery::InFlight(request) => {
                if cause != Cause::Tail {
                    request.remembered = request.remembered.max(Remembered::Recovery);
                }
            }
            // A recovery that starts during a backoff does not shorten it.
            Recovery::Backoff { .. } => {}
            Recovery::Idle => match self.repeats(cause) {
                Some(times) => {
                    let wait = self.ledger.backoff(times, self.options.beacon_period);
                    self.recovery = Recovery::Backoff { until: now + wait, refresh: false };
                }
                None => self.launch(now, false),
            },
        }
    }

    /// How often this cause came before, where rule 4 lets repeats wait.
    fn repeats(&mut self, cause: Cause) -> Option<u32> {
        match cause {
            Cause::Missing | Cause::Tail => None,
            Cause::Refused(..) | Cause::Foreign(_) => match &mut self.ledger.repeat {
                Some((last, times)) if *last == cause => {
                    *times = times.saturating_add(1);
                    Some(*times - 1)
                }
                Some(_) | None => {
                    self.ledger.repeat = Some((cause, 0));
                    None
                }
            },
        }
    }

    /// Sends a request.
    pub(super) fn launch(&mut self, now: Timestamp, refresh: bool) {
        self.ledger.attempt = self.ledger.attempt.wrapping_add(1).max(1);
        self.stats.refetches += 1;
        let attempt = self.ledger.attempt;
        let position = self.position();
        self.recovery = Recovery::InFlight(Request {
            attempt,
            since: now,
            deadline: now + self.options.attempt_deadline * 2u32.pow(self.ledger.overruns),
            asked_at: position,
            refresh,
            remembered: Remembered::Nothing,
        });
        let withhold = self.withholds();
        self.effects.push_back(Effect::Refetch { attempt, position, withhold });
    }

    /// Where something that was asked for is past its deadline: since when nothing came of it. A host that knows the answer to
    /// be on its way calls [`extend`](Self::extend) before [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn overdue_since(&self, now: Timestamp) -> Option<Timestamp> {
        let request = match self.recovery {
            Recovery::InFlight(request) if request.deadline <= now => Some(request.since),
            Recovery::InFlight(_) | Recovery::Idle | Recovery::Backoff { .. } => None,
        };
        request.max(self.staging.as_ref().and_then(|staging| staging.overdue_since(now)))
    }

    /// Gives what is past its deadline a second more.
    pub fn extend(&mut self, now: Timestamp) {
        let later = now + EXTENSION;
        if let Recovery::InFlight(request) = &mut self.recovery
            && request.deadline <= now
        {
            request.deadline = later;
        }
        if let Some(staging) = &mut self.staging {
            staging.extend(now, later);
        }
    }

    /// Rule 8: once nothing is missing, the retry and the remembered request are cancelled; but `refresh` is answered.
    pub(super) fn cancel_if_satisfied(&mut self) {
        // A `refresh` that failed is asked again whatever is known, and its failure shows until it is answered.
        if !self.is_satisfied() || matches!(self.recovery, Recovery::Backoff { refresh: true, .. }) {
            return;
        }
        self.ledger.failures = 0;
        self.ledger.overruns = 0;
        self.ledger.outcome = Outcome::Good;
        match &mut self.recovery {
            Recovery::Idle | Recovery::Backoff { .. } => self.recovery = Recovery::Idle,
            Recovery::InFlight(request) => {
                if request.remembered == Remembered::Recovery {
                    request.remembered = Remembered::Nothing;
                }
            }
        }
    }

    /// The request in flight, if `attempt` is its number.
    pub(super) fn request(&self, attempt: u32) -> Option<Request> {
        match self.recovery {
            Recovery::InFlight(request) if request.attempt == attempt => Some(request),
            Recovery::InFlight(_) | Recovery::Idle | Recovery::Backoff { .. } => None,
        }
    }

    /// The attempt is answered, and nothing needs the answer any more (rule 8).
    pub(super) fn is_late(&self, request: Request) -> bool {
        !request.refresh && self.is_satisfied()
    }

    /// Ends an attempt whose answer was used, or was not needed.
    pub(super) fn succeed(&mut self, now: Timestamp, request: Request) {
        self.recovery = Recovery::Idle;
        self.cancel_if_satisfied();
        if self.own.newest > self.applied_sequence() {
            // Rule 10: behind the newest sequence seen.
            self.fail(now, request, Outcome::Failed);
            return;
        }
        match request.remembered {
            Remembered::Refresh => self.launch(now, true),
            Remembered::Recovery if !self.is_satisfied() => self.launch(now, false),
            Remembered::Recovery | Remembered::Nothing => {
                if !self.is_satisfied() {
                    self.fail(now, Request { refresh: false, ..request }, Outcome::Failed);
                }
            }
        }
    }

    /// Ends an attempt that failed (rule 10). The remembered request merges into the backoff (rule 8).
    pub(super) fn fail(&mut self, now: Timestamp, request: Request, outcome: Outcome) {
        self.drop_staging_of(request.attempt);
        if self.is_late(request) {
            self.succeed(now, request);
            return;
        }
        self.ledger.outcome = outcome;
        if !self.options.retry && request.remembered == Remembered::Nothing {
            self.recovery = Recovery::Idle;
            return;
        }
        let wait = self.ledger.backoff(self.ledger.failures, self.options.beacon_period);
        self.ledger.failures = self.ledger.failures.saturating_add(1);
        self.recovery = Recovery::Backoff {
            until: now + wait,
            refresh: (request.refresh && self.options.retry) || request.remembered == Remembered::Refresh,
        };
    }

    /// Rule 10: no value at the authority is final, unless something newer than the replica is known.
    pub(super) fn run_null(&mut self, now: Timestamp, attempt: u32) {
        let Some(request) = self.request(attempt) else { return };
        if self.is_late(request) {
            self.succeed(now, request);
        } else if self.knows_newer() {
            self.fail(now, request, Outcome::Failed);
        } else {
            self.absent = true;
            self.recovery = Recovery::Idle;
            if request.remembered == Remembered::Refresh {
                self.launch(now, true);
            }
        }
    }

    /// Whether a sequence above the applied one is known. Sequence 0 stands before the first change, so it proves no
    /// value.
    fn knows_newer(&self) -> bool {
        let above = match self.base {
            Base::At { sequence, .. } => sequence,
            Base::Empty | Base::Fenced { .. } => 0,
        };
        self.own.newest.is_some_and(|newest| newest > above)
            || self
                .sightings
                .iter()
                .any(|history| self.is_applied() || history.newest.is_some_and(|newest| newest > 0))
    }

    /// The authority says that with what it has sent the replica stands at `head`.
    pub(super) fn run_current(&mut self, now: Timestamp, attempt: u32, epoch: EpochId, head: u64) {
        let Some(request) = self.request(attempt) else { return };
        if self.is_late(request) {
            self.succeed(now, request);
            return;
        }
        if self.epoch() != Some(epoch) {
            self.fail(now, request, Outcome::Failed);
            return;
        }
        self.settle_sightings(Some(attempt));
        if request.refresh {
            self.forget_newer();
        }
        self.own.raise(now, head);
        self.succeed(now, request);
    }

    pub(super) fn run_failure(&mut self, now: Timestamp, attempt: u32) {
        if let Some(request) = self.request(attempt) {
            self.fail(now, request, Outcome::Failed);
        }
    }

    pub(super) fn run_refresh(&mut self, now: Timestamp) {
        if !self.options.has_refetch {
            return;
        }
        match &mut self.recovery {
            Recovery::InFlight(request) => request.remembered = Remembered::Refresh,
            Recovery::Idle | Recovery::Backoff { .. } => self.launch(now, true),
        }
    }

    pub(super) fn run_timeout(&mut self, now: Timestamp) {
        match self.recovery {
            Recovery::InFlight(request) if request.deadline <= now => {
                // The generation advances: `request` no longer finds this attempt, whatever comes.
                self.effects.push_back(Effect::Abort { attempt: request.attempt });
                // Where its pages came, what is missing was lost: more time brings nothing.
                if self.staging.as_ref().is_none_or(|staging| !staging.answers(request.attempt)) {
                    self.ledger.overruns = (self.ledger.overruns + 1).min(MAX_OVERRUNS);
                }
                self.fail(now, request, Outcome::Failed);
            }
            Recovery::Backoff { until, refresh } if until <= now => {
                if refresh || !self.is_satisfied() {
                    self.stats.retries += 1;
                    self.launch(now, refresh);
                } else {
                    self.recovery = Recovery::Idle;
                }
            }
            Recovery::Idle | Recovery::InFlight(_) | Recovery::Backoff { .. } => {}
        }
        if self.options.kind == Kind::Collection {
            self.run_staging_timeout(now);
        }
    }

    /// Drops the request in flight and the remembered one (rule 12). A backoff goes too: it was about a position that
    /// means nothing any more.
    pub(super) fn abandon(&mut self) {
        if let Recovery::InFlight(request) = self.recovery {
            self.effects.push_back(Effect::Abort { attempt: request.attempt });
        }
        self.recovery = Recovery::Idle;
        self.ledger.failures = 0;
        self.ledger.overruns = 0;
        self.drop_staging();
    }
}
