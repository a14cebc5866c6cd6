//! Collections: a snapshot comes in pages while the table lives on, and takes its place at once when it is whole.
//!
//! The machine keeps positions only; the host keeps the staging table and folds rows and operations into it by
//! (key, sequence), deletions as tombstones.

use alloc::{boxed::Box, vec::Vec};

use crate::protocol::Timestamp;

use super::{
    Base, Input, Replica,
    buffer::Content,
    epochs::Lineage,
    recovery::{Cause, Recovery, Remembered},
    types::{Effect, Header, Kind, Mark, Offer, Page, Place, Reason, Source, Token},
};

/// Restarts after lost history before the authority is asked to withhold operations.
const MAX_RESTARTS: u32 = 3;
/// Operations that may wait for an earlier one, on unordered transports: only their numbers are kept.
const MAX_AHEAD: usize = 65_536;

/// A snapshot on its way. Exits: whole and contiguous -> swapped in; lost history, another snapshot, its attempt's
/// end, a fence or `dispose` -> dropped.
#[derive(Debug, Clone, Hash)]
pub(super) struct Staging {
    /// The attempt that it answers; `None` for the answer to a subscription.
    attempt: Option<u32>,
    /// The snapshot's header: its sequence is fixed by the first page.
    header: Header,
    lineage: Box<Lineage>,
    /// The sequence up to which pages and operations are whole.
    cursor: u64,
    /// Operations beyond a gap: sequence and what it needs, by sequence.
    ahead: Vec<(u64, u64)>,
    /// Pages so far.
    pages: u32,
    /// The largest head of a page: rows may be newer than the snapshot, so the operations must reach it.
    until: u64,
    is_complete: bool,
    /// History was lost: operations from the snapshot on will never be contiguous.
    is_broken: bool,
    /// When its last page came.
    since: Timestamp,
    deadline: Timestamp,
}

impl Staging {
    /// Its own deadline, where no attempt has one for it.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.attempt.is_none().then_some(self.deadline)
    }

    pub(super) fn answers(&self, attempt: u32) -> bool {
        self.attempt == Some(attempt)
    }

    /// When its last page came, where it is past its own deadline.
    pub(super) fn overdue_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.deadline().filter(|deadline| *deadline <= now).map(|_| self.since)
    }

    pub(super) fn extend(&mut self, now: Timestamp, later: Timestamp) {
        if self.deadline <= now {
            self.deadline = later;
        }
    }

    fn holds(&self, header: &Header) -> bool {
        header.epoch == self.header.epoch
            && header.sequence > self.cursor
            && self.place(header.sequence).is_err()
    }

    /// Where `sequence` is in `ahead`, or else belongs.
    fn place(&self, sequence: u64) -> Result<usize, usize> {
        self.ahead.binary_search_by_key(&sequence, |(sequence, _)| *sequence)
    }

    fn is_whole(&self) -> bool {
        self.is_complete && self.cursor >= self.until && self.ahead.is_empty()
    }
}

impl Replica {
    pub(super) fn run_page(
        &mut self,
        now: Timestamp,
        source: Source,
        header: Header,
        page: Page,
        lineage: &Lineage,
    ) -> Offer {
        if self.options.kind != Kind::Collection {
            return Offer::Drop(Reason::Malformed);
        }
        let request = match source {
            Source::Receipt => return Offer::Drop(Reason::Malformed),
            Source::Hydration => None,
            Source::Refetch { attempt } => match self.request(attempt) {
                None => return Offer::Drop(Reason::OldGeneration),
                Some(request) if self.is_late(request) => {
                    self.drop_staging();
                    self.succeed(now, request);
                    return Offer::Drop(Reason::Late);
                }
                Some(request) => Some(request),
            },
        };
        let attempt = request.map(|request| request.attempt);
        let goes_on = self.staging.as_ref().is_some_and(|staging| {
            staging.attempt == attempt
                && staging.header.epoch == header.epoch
                && staging.header.sequence == header.sequence
        });
        // A later page belongs to the snapshot that it was pulled for, or to one that is over.
        let pages = self.staging.as_ref().filter(|_| goes_on).map_or(0, |staging| staging.pages);
        if page.number > pages {
            return Offer::Drop(Reason::OldGeneration);
        }
        if !goes_on {
            if let Err(reason) = self.admit_snapshot(now, request, &header, lineage) {
                return Offer::Drop(reason);
            }
            if self.position().is_some_and(|at| at.epoch == header.epoch && header.sequence < at.sequence) {
                match request {
                    Some(request) => self.fail(now, request, super::Outcome::Failed),
                    None => self.stats.ignored_stale += 1,
                }
                return Offer::Drop(Reason::Older);
            }
            self.begin_staging(now, attempt, header, lineage);
        }
        let deadline = now + self.options.attempt_deadline;
        if let Some(staging) = &mut self.staging {
            staging.pages = staging.pages.max(page.number.saturating_add(1));
            staging.until = staging.until.max(page.head);
            staging.is_complete |= page.is_last;
            staging.since = now;
            staging.deadline = deadline;
        }
        // Every page shows that the authority is at work.
        if let Recovery::InFlight(request) = &mut self.recovery
            && Some(request.attempt) == attempt
        {
            request.since = now;
            request.deadline = deadline;
        }
        self.effects.push_back(Effect::Page { token: page.token });
        self.drain(now);
        self.pump();
        Offer::Settled
    }

    fn begin_staging(&mut self, now: Timestamp, attempt: Option<u32>, header: Header, lineage: &Lineage) {
        self.drop_staging();
        self.effects.push_back(Effect::Stage);
        self.staging = Some(Box::new(Staging {
            attempt,
            header,
            lineage: Box::from(lineage),
            cursor: header.sequence,
            ahead: Vec::new(),
            pages: 0,
            until: header.sequence,
            is_complete: false,
            is_broken: false,
            since: now,
            deadline: now + self.options.attempt_deadline,
        }));
        self.stage_held(now, header);
    }

    /// What was held back beyond the snapshot folds into it, outside the hold-back's limit.
    fn stage_held(&mut self, now: Timestamp, snapshot: Header) {
        let is_own = self.epoch() == Some(snapshot.epoch);
        let held = if is_own {
            core::mem::take(&mut self.own.held)
        } else {
            core::mem::take(&mut self.sight(snapshot.epoch).held)
        };
        for (header, content) in held.into_entries(snapshot.epoch) {
            match content {
                Content::Refused => {
                    self.stage(&header);
                }
                Content::Good(token) if self.stage(&header) => self.install_staged(token),
                Content::Good(token) | Content::Raw(token) if !self.is_staged(&header) => {
                    self.effects.push_back(Effect::Discard { token });
                }
                Content::Good(token) | Content::Raw(token) => {
                    let source = Source::Receipt;
                    let lineage = Box::default();
                    self.queue.push_back((now, Input::Offer { source, header, token, weight: 0, lineage }));
                }
            }
        }
    }

    /// Whether the operation would fold into the staging table.
    pub(super) fn is_staged(&self, header: &Header) -> bool {
        self.staging.as_ref().is_some_and(|staging| staging.holds(header))
    }

    /// Settles an operation's place in the staging table; `true` if it folds in.
    pub(super) fn stage(&mut self, header: &Header) -> bool {
        let is_ordered = self.options.ordered_transport;
        let Some(staging) = self.staging.as_mut().filter(|staging| staging.holds(header)) else {
            return false;
        };
        if header.continues(staging.cursor) {
            staging.cursor = header.sequence;
            let mut settled = 0;
            while let Some((sequence, needs)) = staging.ahead.get(settled)
                && *needs <= staging.cursor
            {
                staging.cursor = staging.cursor.max(*sequence);
                settled += 1;
            }
            staging.ahead.drain(..settled);
        } else {
            let place = staging.place(header.sequence).unwrap_or_else(|place| place);
            staging.ahead.insert(place, (header.sequence, header.needs()));
            staging.is_broken |= is_ordered || staging.ahead.len() > MAX_AHEAD;
        }
        true
    }

    pub(super) fn install_staged(&mut self, token: Token) {
        self.effects.push_back(Effect::Install { token, previous: None, place: Place::Staging });
    }

    /// Which tables an operation goes to.
    pub(super) fn place_of(&self, header: &Header) -> Place {
        let is_live = matches!(self.base, Base::At { epoch, cursor, .. }
            if epoch == header.epoch && header.sequence > cursor && header.continues(cursor));
        match (self.is_staged(header), is_live) {
            (true, true) => Place::Both,
            (true, false) => Place::Staging,
            (false, _) => Place::Live,
        }
    }

    /// Swaps the staging table in once it is whole, or begins again where history was lost.
    pub(super) fn finish_staging(&mut self, now: Timestamp) {
        let Some(staging) = &self.staging else { return };
        if staging.is_broken {
            self.restart_staging(now);
        } else if staging.is_whole() {
            self.swap(now);
        }
    }

    fn swap(&mut self, now: Timestamp) {
        let Some(staging) = self.staging.take() else { return };
        let header = Header { sequence: staging.cursor, ..staging.header };
        let request = staging.attempt.and_then(|attempt| self.request(attempt));
        let before = self.position();
        let is_below = before.is_some_and(|at| at.epoch == header.epoch && header.sequence < at.sequence);
        let proof = self.prove(self.standing(header.epoch), header.epoch, &staging.lineage);
        if is_below || proof.is_err() || request.is_some_and(|request| self.is_late(request)) {
            self.effects.push_back(Effect::Unstage);
            if let Some(request) = request {
                self.fail(now, request, super::Outcome::Failed);
            }
            return;
        }
        if request.is_some_and(|request| request.refresh) {
            self.forget_newer();
            self.see(now, header.epoch, header.sequence);
        }
        if self.epoch() != Some(header.epoch) {
            self.adopt(header.epoch);
        }
        let is_first = self.base == Base::Empty;
        self.base = Base::At {
            epoch: header.epoch,
            sequence: header.sequence,
            cursor: header.sequence,
            moved_at: now,
        };
        self.own.raise(now, header.sequence);
        self.stats.applied += 1;
        self.absent = false;
        self.restarts = 0;
        self.last_snapshot = Some(Mark { epoch: header.epoch, sequence: header.sequence });
        self.effects.push_back(Effect::Swap);
        if is_first {
            self.effects.push_back(Effect::Ready);
        }
        self.succeed_lineage(before, &header, &staging.lineage);
        self.settle_sightings(staging.attempt);
        self.closing().answered = request;
        if request.is_none() {
            self.closing().cause = Some(Cause::Tail);
        }
        self.drain(now);
    }

    /// Lost history: the snapshot is asked for again at once, three times; then with operations withheld, once; then
    /// after a backoff.
    fn restart_staging(&mut self, now: Timestamp) {
        let attempt = self.staging.as_ref().and_then(|staging| staging.attempt);
        self.drop_staging();
        self.restarts += 1;
        let Some(request) = attempt.and_then(|attempt| self.request(attempt)) else {
            self.start(now, Cause::Missing);
            return;
        };
        self.effects.push_back(Effect::Abort { attempt: request.attempt });
        if self.restarts <= MAX_RESTARTS + 1 {
            self.launch(now, request.refresh || request.remembered == Remembered::Refresh);
        } else {
            self.fail(now, request, super::Outcome::Failed);
        }
    }

    /// Whether the authority is asked to withhold operations while it sends pages.
    pub(super) fn withholds(&self) -> bool {
        self.restarts > MAX_RESTARTS
    }

    pub(super) fn run_staging_timeout(&mut self, now: Timestamp) {
        if self.staging.as_ref().and_then(|staging| staging.deadline()).is_some_and(|due| due <= now) {
            self.restart_staging(now);
        }
    }

    pub(super) fn drop_staging(&mut self) {
        if self.staging.take().is_some() {
            self.effects.push_back(Effect::Unstage);
        }
    }

    pub(super) fn drop_staging_of(&mut self, attempt: u32) {
        if self.staging.as_ref().is_some_and(|staging| staging.answers(attempt)) {
            self.drop_staging();
            self.restarts = self.restarts.saturating_add(1);
        }
    }

    /// A row of a page was refused by the gate: it is in the row's quarantine, and its last good value stays.
    pub fn count_refused_row(&mut self) {
        self.stats.parse_errors += 1;
        self.stats.quarantined += 1;
    }
}
