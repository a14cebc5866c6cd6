//! The reconciler: which of the envelopes and snapshots that arrive is shown, and when to ask the authority again.
//!
//! [`Replica`] is one pure machine per key. It reads no clock, draws no randomness but from a given seed, does no I/O
//! and **never sees a value**: it judges [`Header`]s, and names the values that the host keeps by [`Token`]. So the
//! same machine serves JavaScript objects, encoded bytes and Rust types. Its rules are PROTOCOL.md, part "Replica";
//! "rule 8" in a comment is a number there.
//!
//! # Where to read
//!
//! | file | rules |
//! |---|---|
//! | `receipt.rs` | 1-7: what comes from the transport, the hold-back |
//! | `snapshot.rs` | 5, 9: hydration, results, change of epoch |
//! | `recovery.rs` | 8, 10: one request at a time, retry |
//! | `beacon.rs` | 11-13: epochs sighted, rollback, lost tails |
//! | `staging.rs` | collections: paged snapshots |
//! | `buffer.rs`, `epochs.rs` | what is remembered of envelopes and of histories |
//! | `compact.rs` | a replica at rest, in little memory |
//! | `typed.rs` | [`Typed`]: the machine with its values, for Rust applications |
//!
//! # The contract for the host
//!
//! Methods come in four kinds: **inputs** (`offer`, `receive`, `judged`, `handle_*`), **commands** (`refresh`, `dispose`),
//! **outputs** (`poll_effect`, `poll_timeout`) and getters. After each input or command, call
//! [`poll_effect`](Replica::poll_effect) until it gives `None` and carry the effects out in that order; then set one
//! timer for [`poll_timeout`](Replica::poll_timeout) and call [`handle_timeout`](Replica::handle_timeout) when it is
//! due. `now` never goes back.
//!
//! The gate runs outside of every borrow. While a verdict is outstanding every other input queues inside the machine
//! and takes its turn after [`judged`](Replica::judged), so a gate may publish, refresh or dispose.
//!
//! When the link is lost, fail the attempt in flight ([`attempt`](Replica::attempt)) by
//! [`handle_failure`](Replica::handle_failure). When a session begins, call
//! [`handle_session`](Replica::handle_session) before anything that it brings. An answer that is a tail is receipts, and
//! then [`handle_current`](Replica::handle_current).
//!
//! A token belongs to the machine from [`Offer::Held`], [`Offer::Judge`] or [`Offer::Settled`] on, until an effect
//! gives it back: [`Effect::Discard`], or `previous` of [`Effect::Install`] and [`Effect::Quarantine`]. Of
//! collections, an `Install`, `Quarantine` or `Page` hands the token over for good: the host keeps rows by key.
//!
//! ```
//! use tidewire::{protocol::Timestamp, replica::{Effect, Header, Offer, Options, Replica, Source, Token, Verdict}};
//!
//! let now = Timestamp::from_millis(0);
//! let mut replica = Replica::new(Options::default(), 7);
//! let Offer::Judge(ticket) = replica.offer(now, Source::Receipt, Header::plain(1), Token(1), 0, &[]) else {
//!     panic!("a first receipt crosses the gate");
//! };
//! replica.judged(now, ticket, Verdict::Accepted);
//! assert!(matches!(replica.poll_effect(), Some(Effect::Install { token: Token(1), .. })));
//!
//! // Sequence 2 is lost: 3 is held back, and the authority is asked.
//! let Offer::Judge(ticket) = replica.offer(now, Source::Receipt, Header::plain(3), Token(3), 0, &[]) else {
//!     panic!("and so does every other");
//! };
//! replica.judged(now, ticket, Verdict::Accepted);
//! assert_eq!(replica.position().map(|mark| mark.sequence), Some(1));
//! # assert!(matches!(replica.poll_effect(), Some(Effect::Ready)));
//! assert!(matches!(replica.poll_effect(), Some(Effect::Refetch { attempt: 1, .. })));
//! ```

use alloc::boxed::Box;

mod beacon;
mod buffer;
mod compact;
mod epochs;
mod receipt;
mod recovery;
mod snapshot;
mod staging;
mod typed;
mod types;

use alloc::collections::VecDeque;
use core::hash::{Hash, Hasher};

use crate::protocol::Timestamp;

use epochs::{History, Lineage, Retired, Session, Sightings};
use receipt::{Closing, Subject};
use recovery::{Ledger, Outcome, Recovery};
use staging::Staging;

pub(crate) use compact::Compact;
pub use typed::{Meta, Output, Refused, Typed};
pub use types::{
    Effect, EpochId, Header, Kind, Mark, Offer, OnGap, Options, Page, Place, Quarantined, Reason, Source,
    Stats, Status, Ticket, Token, Verdict, Version,
};

/// Where the shown value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Base {
    /// Nothing was ever applied. Exits: the first good value (a collection: the first complete snapshot) -> `At`.
    Empty,
    /// A value is shown that was the authority's at this position. Exits: a fence -> `Fenced`; whatever applies moves
    /// it within `At`.
    At {
        epoch: EpochId,
        /// P: the sequence of what is shown.
        sequence: u64,
        /// C: the sequence up to which order is settled; at or above P, above it where values were refused.
        cursor: u64,
        /// When P last moved (rule 12).
        moved_at: Timestamp,
    },
    /// The authority went back within this epoch: the value is kept, its position means nothing (rule 12). Exits: a
    /// snapshot of the epoch, of any sequence, or of another one by rule 9 -> `At`; with `commit` a receipt -> `At`.
    Fenced { epoch: EpochId },
}

/// A question to the gate that is not answered yet.
#[derive(Debug, Clone, Hash)]
struct Judging {
    ticket: Ticket,
    subject: Subject,
}

/// An input that came while a verdict was outstanding.
#[derive(Debug, Clone, Hash)]
enum Input {
    Offer { source: Source, header: Header, token: Token, weight: u32, lineage: Box<Lineage> },
    Page { source: Source, header: Header, page: Page, lineage: Box<Lineage> },
    Current { attempt: u32, epoch: EpochId, head: u64 },
    Null { attempt: u32 },
    Failure { attempt: u32 },
    Beacon { session: u64, n: u64, epoch: EpochId, head: u64 },
    Session { session: u64, epoch: Option<EpochId> },
    Refresh,
    Timeout,
}

/// The read-only copy of one key: judges headers, holds back, recovers. See the [module](self) for the contract.
#[derive(Debug, Clone)]
pub struct Replica {
    options: Options,
    is_disposed: bool,
    /// Nothing is going on but receipts in order: they take the short way.
    is_calm: bool,
    base: Base,
    /// The applied epoch's history. Means nothing while the base is empty.
    own: History,
    sightings: Sightings,
    retired: Retired,
    session: Session,
    recovery: Recovery,
    ledger: Ledger,
    /// A `null` that was final and is not cleared yet (rule 10).
    absent: bool,
    /// The snapshot before this one, where it was an attempt's (rule 9).
    last_snapshot: Option<Mark>,
    /// A plain snapshot below the applied one that answered a `refresh`, and where it was asked for (rule 9).
    last_lower: Option<Box<(u64, Option<Mark>)>>,
    staging: Option<Box<Staging>>,
    restarts: u32,
    shown: Option<Token>,
    version: u32,
    quarantine: Option<Quarantined>,
    stats: Stats,
    judging: Option<Judging>,
    tickets: u32,
    /// What the input under way leaves to be decided once the hold-back is drained.
    closing: Option<Box<Closing>>,
    queue: VecDeque<(Timestamp, Input)>,
    effects: VecDeque<Effect>,
}

/// What decides its future: all but the counters and the generator of jitter. Model checking tells states apart by it.
impl Hash for Replica {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self {
            options, is_disposed, is_calm: _, base, own, sightings, retired, session, recovery, ..
        } = self;
        (options, is_disposed, base, own, sightings, retired, session, recovery).hash(hasher);
        let Self { ledger, absent, last_snapshot, last_lower, staging, restarts, shown, version, .. } = self;
        (ledger, absent, last_snapshot, last_lower, staging, restarts, shown, version).hash(hasher);
        let Self { quarantine, judging, closing, queue, effects, stats: _, tickets: _, .. } = self;
        (quarantine, judging, closing, queue, effects).hash(hasher);
    }
}

impl Replica {
    /// A replica to which nothing was applied yet. `seed` feeds the jitter of its backoff and nothing else.
    #[must_use]
    pub fn new(options: Options, seed: u64) -> Self {
        Self {
            options,
            is_disposed: false,
            is_calm: false,
            base: Base::Empty,
            own: History::new(EpochId::NONE),
            sightings: Sightings::default(),
            retired: Retired::default(),
            session: Session::default(),
            recovery: Recovery::Idle,
            ledger: Ledger::new(seed),
            absent: false,
            last_snapshot: None,
            last_lower: None,
            staging: None,
            restarts: 0,
            shown: None,
            version: 0,
            quarantine: None,
            stats: Stats::default(),
            judging: None,
            tickets: 0,
            closing: None,
            queue: VecDeque::new(),
            effects: VecDeque::new(),
        }
    }

    // Inputs.

    /// A value arrived. `weight` is what it costs to hold it back, in bytes (0 for JavaScript objects). `lineage` is
    /// what the snapshot carried, newest first; empty for receipts.
    ///
    /// Of a collection, `Source::Receipt` only: its snapshots come by [`offer_page`](Self::offer_page).
    #[inline]
    pub fn offer(
        &mut self,
        now: Timestamp,
        source: Source,
        header: Header,
        token: Token,
        weight: u32,
        lineage: &Lineage,
    ) -> Offer {
        if source == Source::Receipt && self.is_next(&header) {
            return if self.options.trusted {
                Offer::Installed { previous: self.install_next(now, &header, token) }
            } else {
                Offer::Judge(self.ask_next(now, header, token))
            };
        }
        self.offer_any(now, source, header, token, weight, lineage)
    }

    /// A receipt, with a gate that is a plain function: it is asked at most once, inside, so it must not call back. As
    /// [`offer`](Self::offer) and [`judged`](Self::judged) in one, and cheaper; [`Offer::Judge`] does not come out.
    /// Questions about what was held back still come as [`Effect::Judge`].
    #[inline]
    pub fn receive(
        &mut self,
        now: Timestamp,
        header: Header,
        token: Token,
        weight: u32,
        gate: impl FnOnce() -> Verdict,
    ) -> Offer {
        if !self.is_next(&header) {
            let offer = self.offer_any(now, Source::Receipt, header, token, weight, &[]);
            let Offer::Judge(ticket) = offer else { return offer };
            self.judged_any(now, ticket, gate());
            return Offer::Settled;
        }
        if !self.options.trusted && gate() == Verdict::Refused {
            let ticket = self.ask_next(now, header, token);
            self.judged_any(now, ticket, Verdict::Refused);
            return Offer::Settled;
        }
        Offer::Installed { previous: self.install_next(now, &header, token) }
    }

    #[inline(never)]
    fn offer_any(
        &mut self,
        now: Timestamp,
        source: Source,
        header: Header,
        token: Token,
        weight: u32,
        lineage: &Lineage,
    ) -> Offer {
        if self.is_disposed {
            return Offer::Drop(Reason::Disposed);
        }
        if self.judging.is_some() {
            let lineage = Box::from(lineage);
            self.queue.push_back((now, Input::Offer { source, header, token, weight, lineage }));
            return Offer::Held;
        }
        let offer = self.run_offer(now, source, header, token, weight, lineage);
        self.mark_calm();
        offer
    }

    /// A page of a collection's snapshot arrived. The token names its rows; the header is that of the whole snapshot.
    ///
    /// The host answers [`Effect::Page`] by folding the page's rows into the staging table by (key, sequence), and
    /// pulls the next page. See PROTOCOL.md, "Collections".
    pub fn offer_page(
        &mut self,
        now: Timestamp,
        source: Source,
        header: Header,
        page: Page,
        lineage: &Lineage,
    ) -> Offer {
        if self.is_disposed {
            return Offer::Drop(Reason::Disposed);
        }
        if self.judging.is_some() {
            let lineage = Box::from(lineage);
            self.queue.push_back((now, Input::Page { source, header, page, lineage }));
            return Offer::Held;
        }
        let offer = self.run_page(now, source, header, page, lineage);
        self.mark_calm();
        offer
    }

    /// The gate's answer. A ticket that is not the outstanding one is ignored: its question is over.
    #[inline]
    pub fn judged(&mut self, now: Timestamp, ticket: Ticket, verdict: Verdict) {
        if let Some(Judging { ticket: asked, subject: Subject::Next { header, token } }) = &self.judging
            && (*asked, verdict) == (ticket, Verdict::Accepted)
        {
            let (header, token) = (*header, *token);
            self.judging = None;
            let previous = self.install_next(now, &header, token);
            self.effects.push_back(Effect::Install { token, previous, place: Place::Live });
            if !self.queue.is_empty() {
                self.pump();
                self.mark_calm();
            }
            return;
        }
        self.judged_any(now, ticket, verdict);
    }

    #[inline(never)]
    fn judged_any(&mut self, now: Timestamp, ticket: Ticket, verdict: Verdict) {
        let Some(judging) = self.judging.take_if(|judging| judging.ticket == ticket) else { return };
        self.rule(now, judging.subject, verdict);
        self.pump();
        self.mark_calm();
    }

    /// The attempt's answer: with what was sent before it the replica stands at `head` (an empty or finished tail).
    pub fn handle_current(&mut self, now: Timestamp, attempt: u32, epoch: EpochId, head: u64) {
        self.input(now, Input::Current { attempt, epoch, head });
    }

    /// The attempt's answer: the authority has no value (rule 10).
    pub fn handle_null(&mut self, now: Timestamp, attempt: u32) {
        self.input(now, Input::Null { attempt });
    }

    /// The attempt failed: an error, or the link was lost (rule 10).
    pub fn handle_failure(&mut self, now: Timestamp, attempt: u32) {
        self.input(now, Input::Failure { attempt });
    }

    /// A beacon: the `n`th of `session`, which has sent this subscriber everything up to `head` (rule 13).
    pub fn handle_beacon(&mut self, now: Timestamp, session: u64, n: u64, epoch: EpochId, head: u64) {
        self.input(now, Input::Beacon { session, n, epoch, head });
    }

    /// The hello of a session, new or the same: which epoch it speaks for, where it says so. Over the wire that is
    /// the answer to the subscription; call this before offering what the answer carries.
    pub fn handle_session(&mut self, now: Timestamp, session: u64, epoch: Option<EpochId>) {
        self.input(now, Input::Session { session, epoch });
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come. Calling it early does nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.input(now, Input::Timeout);
    }

    // Commands.

    /// Asks the authority, whatever is known: also the way to notice a reset where there are no epochs (rule 11).
    pub fn refresh(&mut self, now: Timestamp) {
        self.input(now, Input::Refresh);
    }

    /// Ends this replica. The request in flight is aborted; nothing else comes out, whatever comes in. The host frees
    /// every value that it keeps for it.
    pub fn dispose(&mut self) {
        if self.is_disposed {
            return;
        }
        self.is_disposed = true;
        self.is_calm = false;
        self.effects.clear();
        self.staging = None;
        self.abandon();
        self.judging = None;
        self.queue.clear();
        self.own.held.clear(|_| {});
        self.sightings = Sightings::default();
    }

    // Outputs.

    /// The next thing to do, in order.
    #[inline]
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let request = match self.recovery {
            Recovery::Idle => None,
            Recovery::InFlight(request) => Some(request.deadline),
            Recovery::Backoff { until, .. } => Some(until),
        };
        let staging = self.staging.as_ref().and_then(|staging| staging.deadline());
        match (request, staging) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    // Getters.

    /// P: where the shown value stands. `None` before the first value and behind a fence.
    #[must_use]
    pub fn position(&self) -> Option<Mark> {
        match self.base {
            Base::Empty | Base::Fenced { .. } => None,
            Base::At { epoch, sequence, .. } => Some(Mark { epoch, sequence }),
        }
    }

    /// C: the sequence up to which order is settled.
    #[must_use]
    pub fn cursor(&self) -> Option<u64> {
        match self.base {
            Base::Empty | Base::Fenced { .. } => None,
            Base::At { cursor, .. } => Some(cursor),
        }
    }

    /// The epoch of what is shown, also behind a fence.
    #[must_use]
    pub fn epoch(&self) -> Option<EpochId> {
        match self.base {
            Base::Empty => None,
            Base::At { epoch, .. } | Base::Fenced { epoch } => Some(epoch),
        }
    }

    /// The host's number of the applied schema version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Rule 15: the first that matches.
    #[must_use]
    pub fn status(&self) -> Status {
        if matches!(self.recovery, Recovery::InFlight(_)) {
            return Status::Refetching;
        }
        if !self.is_applied() || self.absent {
            return Status::Stale;
        }
        if self.is_satisfied() && !matches!(self.recovery, Recovery::Backoff { refresh: true, .. }) {
            return Status::Ok;
        }
        match self.ledger.outcome {
            _ if !self.options.has_refetch => Status::Stale,
            Outcome::Failed => Status::Stale,
            Outcome::Refused => Status::Skew,
            Outcome::Good => Status::Ok,
        }
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Whether no request is in flight, and so none remembered. A backoff is idle (rule 15).
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !matches!(self.recovery, Recovery::InFlight(_))
    }

    /// The attempt in flight.
    #[must_use]
    pub fn attempt(&self) -> Option<u32> {
        match self.recovery {
            Recovery::InFlight(request) => Some(request.attempt),
            Recovery::Idle | Recovery::Backoff { .. } => None,
        }
    }

    /// How many epochs are sighted that are neither installed nor retired (rule 11).
    #[must_use]
    pub fn sighted(&self) -> usize {
        self.sightings.iter().count()
    }

    /// Whether the replica is disposed.
    #[must_use]
    pub fn is_disposed(&self) -> bool {
        self.is_disposed
    }

    /// Object: what is in the quarantine slot.
    #[must_use]
    pub fn quarantined(&self) -> Option<Quarantined> {
        self.quarantine
    }

    /// How many envelopes are held back, of all epochs.
    #[must_use]
    pub fn held(&self) -> usize {
        self.own.held.len() + self.sightings.iter().map(|history| history.held.len()).sum::<usize>()
    }

    /// What the envelopes held back weigh, of all epochs.
    #[must_use]
    pub fn held_weight(&self) -> u64 {
        self.own.held.weight() + self.sightings.iter().map(|history| history.held.weight()).sum::<u64>()
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    // The way every input takes.

    fn input(&mut self, now: Timestamp, input: Input) {
        if self.is_disposed {
            return;
        }
        if self.judging.is_some() {
            self.queue.push_back((now, input));
            return;
        }
        self.run(now, input);
        self.mark_calm();
    }

    fn closing(&mut self) -> &mut Closing {
        self.closing.get_or_insert_default()
    }

    fn pump(&mut self) {
        while self.judging.is_none()
            && let Some((now, input)) = self.queue.pop_front()
        {
            self.run(now, input);
        }
    }

    fn run(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Offer { source, header, token, weight, lineage } => {
                match self.run_offer(now, source, header, token, weight, &lineage) {
                    Offer::Drop(_) => self.effects.push_back(Effect::Discard { token }),
                    Offer::Judge(ticket) => self.effects.push_back(Effect::Judge { ticket, token }),
                    Offer::Held | Offer::Settled | Offer::Installed { .. } => {}
                }
            }
            Input::Page { source, header, page, lineage } => {
                if let Offer::Drop(_) = self.run_page(now, source, header, page, &lineage) {
                    self.effects.push_back(Effect::Discard { token: page.token });
                }
            }
            Input::Current { attempt, epoch, head } => self.run_current(now, attempt, epoch, head),
            Input::Null { attempt } => self.run_null(now, attempt),
            Input::Failure { attempt } => self.run_failure(now, attempt),
            Input::Beacon { session, n, epoch, head } => self.run_beacon(now, session, n, epoch, head),
            Input::Session { session, epoch } => self.run_session(session, epoch),
            Input::Refresh => self.run_refresh(now),
            Input::Timeout => self.run_timeout(now),
        }
    }

    fn mark_calm(&mut self) {
        self.is_calm = !self.is_disposed
            && matches!(self.base, Base::At { sequence, cursor, .. } if sequence == cursor)
            // So nothing is held back either.
            && self.is_satisfied()
            && self.recovery == Recovery::Idle
            && self.ledger.repeat.is_none()
            && self.ledger.outcome == Outcome::Good
            && self.session.heard_receipt() == self.epoch()
            && self.quarantine.is_none()
            && self.staging.is_none()
            && !self.absent;
    }

    const fn is_applied(&self) -> bool {
        matches!(self.base, Base::At { .. })
    }

    fn applied_sequence(&self) -> Option<u64> {
        self.position().map(|mark| mark.sequence)
    }
}
