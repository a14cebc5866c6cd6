//! What the present session says about heads: sightings, lost tails, and an authority that went back (rules 11-13).

use crate::protocol::{Timestamp, limits::MAX_SEQUENCE};

use super::{
    Base, Replica,
    receipt::Standing,
    recovery::Cause,
    types::{Effect, EpochId},
};

impl Replica {
    pub(super) fn run_session(&mut self, session: u64, epoch: Option<EpochId>) {
        if self.session.number != Some(session) || !self.session.is_declared {
            self.session.begin(session, true);
        }
        if let Some(epoch) = epoch {
            self.session.hear_hello(epoch);
        }
    }

    pub(super) fn run_beacon(&mut self, now: Timestamp, session: u64, n: u64, epoch: EpochId, head: u64) {
        if !self.is_present(session) || self.session.last_beacon.is_some_and(|last| n <= last) {
            return;
        }
        self.session.last_beacon = Some(n);
        if head > MAX_SEQUENCE {
            self.stats.parse_errors += 1;
            return;
        }
        match self.standing(epoch) {
            Standing::Plain => self.session.restart_counts(),
            // A late beacon of a retired epoch is of another session or has an older number. So the authority is
            // there, and only its lineage can bring this replica back to it.
            Standing::Retired => {
                self.session.hear_beacon(epoch);
                self.session.restart_counts();
                self.sight(epoch);
                self.start(now, Cause::Missing);
            }
            Standing::Unknown => {
                self.session.hear_beacon(epoch);
                self.session.restart_counts();
                self.see(now, epoch, head);
                self.start(now, Cause::Missing);
            }
            Standing::First => {
                self.session.hear_beacon(epoch);
                self.see(now, epoch, head);
                // Sequence 0 stands before the first change: once the authority has said that there is no value,
                // such a head does not ask again.
                if !(self.absent && head == 0) {
                    self.ask_for_tail(now, head);
                }
            }
            Standing::Own => {
                self.session.hear_beacon(epoch);
                self.hear_head(now, epoch, head);
            }
        }
    }

    /// Rule 13: whether the beacon is of the present session.
    fn is_present(&mut self, session: u64) -> bool {
        match self.session.number {
            Some(present) if self.session.is_declared || session <= present => session == present,
            Some(_) | None => {
                self.session.begin(session, false);
                true
            }
        }
    }

    /// A head of the applied, or fenced, epoch.
    fn hear_head(&mut self, now: Timestamp, epoch: EpochId, head: u64) {
        let deadline = self.options.attempt_deadline;
        if let Base::At { sequence, moved_at, .. } = self.base {
            if head < sequence {
                // Rule 12. Without epochs a reset is invisible until `refresh` (rule 11).
                let counts = |at: Timestamp| !epoch.is_none() && at.since(moved_at) >= deadline;
                let is_second = self.session.below_applied.is_some_and(counts);
                self.session.restart_counts();
                if is_second && counts(now) {
                    self.fence(now, epoch, head);
                } else {
                    self.session.below_applied = Some(now);
                }
                return;
            }
            self.absent = false;
        }
        self.session.below_applied = None;
        if self.own.newest > Some(head) {
            let rose_at = self.own.rose_at;
            let counts = |at: Timestamp| at.since(rose_at) >= deadline;
            if self.session.below_newest.replace(now).is_some_and(counts) && counts(now) {
                self.lower(now, head);
                self.drain(now);
            }
        } else {
            self.session.below_newest = None;
            self.own.raise(now, head);
        }
        self.ask_for_tail(now, head);
    }

    /// Rule 13: a head beyond what is applied is a missing tail. An unordered transport may bring the beacon before
    /// the receipts, so there the head before must be missing still.
    fn ask_for_tail(&mut self, now: Timestamp, head: u64) {
        let applied = self.applied_sequence();
        let earlier = self.session.earlier_head.replace(head);
        let is_missing = applied < Some(head);
        let is_overdue =
            self.options.ordered_transport || earlier.is_some_and(|earlier| applied < Some(earlier));
        if is_missing && is_overdue {
            self.start(now, Cause::Tail);
        }
    }

    /// Rule 12: the authority is behind what this replica shows, in one epoch, and stays there.
    fn fence(&mut self, now: Timestamp, epoch: EpochId, head: u64) {
        let from = self.position();
        self.base = Base::Fenced { epoch };
        let effects = &mut self.effects;
        self.own.held.clear(|token| effects.push_back(Effect::Discard { token }));
        self.own.newest = Some(head);
        self.own.rose_at = now;
        self.release_quarantine();
        self.abandon();
        self.last_snapshot = None;
        self.last_lower = None;
        if let Some(from) = from {
            self.effects.push_back(Effect::Rollback { from, kept: head });
        }
        self.start(now, Cause::Missing);
    }

    /// Rules 9 and 12: what was seen above `head` is no longer there.
    pub(super) fn lower(&mut self, now: Timestamp, head: u64) {
        self.own.newest = Some(head);
        self.own.rose_at = now;
        let effects = &mut self.effects;
        self.own.held.drop_above(head, |token| effects.push_back(Effect::Discard { token }));
        if let Base::At { sequence, cursor, .. } = &mut self.base {
            *cursor = (*cursor).min(head.max(*sequence));
        }
    }
}
