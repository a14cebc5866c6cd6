//! Snapshots: seeds and the results of refetches, and the change from one epoch to the next (rules 5 and 9).

use alloc::boxed::Box;

use crate::protocol::Timestamp;

use super::{
    Base, Replica,
    epochs::Lineage,
    receipt::{Standing, Subject},
    recovery::{Cause, Outcome, Request},
    types::{Effect, EpochId, Header, Mark, Offer, Place, Reason, Token},
};

impl Replica {
    /// Rule 1, for a snapshot: `request` is what it answers, `None` for hydration.
    pub(super) fn run_snapshot(
        &mut self,
        now: Timestamp,
        request: Option<Request>,
        header: Header,
        token: Token,
        lineage: &Lineage,
    ) -> Offer {
        if let Err(reason) = self.admit_snapshot(now, request, &header, lineage) {
            return Offer::Drop(reason);
        }
        if self.foreign_major(&header).is_some() {
            self.stats.schema_skews += 1;
            self.refuse_snapshot(now, request, &header);
            return Offer::Drop(Reason::Skew);
        }
        self.judge(now, Subject::Snapshot { header, token, request, lineage: Box::from(lineage) })
    }

    /// What a header alone decides: is it well formed, and may its epoch be installed? If not, the attempt has failed.
    pub(super) fn admit_snapshot(
        &mut self,
        now: Timestamp,
        request: Option<Request>,
        header: &Header,
        lineage: &Lineage,
    ) -> Result<(), Reason> {
        let verdict = if header.is_well_formed() {
            let standing = self.standing(header.epoch);
            if standing == Standing::Own {
                // Rule 8: the authority speaks of the applied epoch, so the sighting before the request was a ghost.
                self.settle_sightings(request.map(|request| request.attempt));
            }
            self.prove(standing, header.epoch, lineage)
        } else {
            Err(Reason::Malformed)
        };
        match verdict {
            Ok(()) | Err(Reason::Unproven) => self.see(now, header.epoch, header.sequence),
            Err(Reason::Retired) => self.stats.ignored_stale += u64::from(request.is_none()),
            Err(Reason::Malformed) => self.stats.parse_errors += 1,
            Err(_) => self.stats.parse_errors += u64::from(request.is_none()),
        }
        if let Err(reason) = verdict {
            match request {
                Some(request) => self.fail(now, request, Outcome::Failed),
                None if reason == Reason::Unproven => self.start(now, Cause::Missing),
                None => {}
            }
        }
        verdict
    }

    /// Rule 9: whether a snapshot of this epoch may take the applied one's place.
    pub(super) fn prove(&self, standing: Standing, epoch: EpochId, lineage: &Lineage) -> Result<(), Reason> {
        let descends = || lineage.iter().any(|(ancestor, _)| Some(*ancestor) == self.epoch());
        match standing {
            Standing::First | Standing::Own => Ok(()),
            Standing::Plain => Err(Reason::Plain),
            Standing::Retired => descends().then_some(()).ok_or(Reason::Retired),
            Standing::Unknown => {
                let from_none = self.epoch() == Some(EpochId::NONE);
                (from_none || descends() || self.session.vouches_for(epoch))
                    .then_some(())
                    .ok_or(Reason::Unproven)
            }
        }
    }

    /// A snapshot that gate or version refused. Of an unknown epoch it stays as a sighting.
    pub(super) fn refuse_snapshot(&mut self, now: Timestamp, request: Option<Request>, header: &Header) {
        match request {
            Some(request) => self.fail(now, request, Outcome::Refused),
            None => {
                let is_old = self
                    .position()
                    .is_some_and(|at| at.epoch == header.epoch && header.sequence <= at.sequence);
                if !is_old {
                    self.ledger.outcome = Outcome::Refused;
                    self.start(now, Cause::Missing);
                }
            }
        }
    }

    /// Rule 9, once the gate has passed the value.
    pub(super) fn accept_snapshot(
        &mut self,
        now: Timestamp,
        request: Option<Request>,
        header: &Header,
        token: Token,
        lineage: &Lineage,
    ) {
        let before = self.position();
        let is_below = before.is_some_and(|at| at.epoch == header.epoch && header.sequence < at.sequence);
        if is_below && !self.takes_lower(request, header) {
            self.effects.push_back(Effect::Discard { token });
            match request {
                Some(request) => self.fail(now, request, Outcome::Failed),
                None => self.stats.ignored_stale += 1,
            }
            return;
        }
        self.last_lower = None;
        let mark = Mark { epoch: header.epoch, sequence: header.sequence };
        let is_equal = request.is_some() && self.last_snapshot == Some(mark);
        if is_below || request.is_some_and(|request| request.refresh) {
            self.forget_newer();
            self.see(now, header.epoch, header.sequence);
        }
        let cursor = match self.base {
            Base::At { epoch, cursor, .. } if epoch == header.epoch && !is_below => {
                cursor.max(header.sequence)
            }
            Base::At { .. } | Base::Empty | Base::Fenced { .. } => header.sequence,
        };
        self.install(now, header, token, cursor, Place::Live);
        if is_equal {
            self.lower(now, header.sequence);
        }
        self.last_snapshot = request.map(|_| mark);
        self.succeed_lineage(before, header, lineage);
        self.settle_sightings(request.map(|request| request.attempt));
        self.closing().answered = request;
        if request.is_none() {
            self.closing().cause = Some(Cause::Tail);
        }
    }

    /// Rule 9, no epochs at all: a lower snapshot counts if it is the second in a row, both equal and both asked for
    /// at this position, in answer to `refresh`.
    fn takes_lower(&mut self, request: Option<Request>, header: &Header) -> bool {
        let Some(request) = request else { return false };
        if !header.epoch.is_none() || !request.refresh || request.asked_at != self.position() {
            self.last_lower = None;
            return false;
        }
        let this = Some((header.sequence, request.asked_at));
        let is_second = self.last_lower.as_deref() == this.as_ref();
        self.last_lower = this.map(Box::new);
        is_second
    }

    /// What follows from a snapshot's lineage: the epochs before it are over, and a replica that was beyond what the
    /// authority kept says so (rule 12).
    pub(super) fn succeed_lineage(&mut self, before: Option<Mark>, header: &Header, lineage: &Lineage) {
        for (ancestor, _) in lineage.iter().rev() {
            if *ancestor != header.epoch {
                self.retired.add(*ancestor);
            }
        }
        if let Some(before) = before {
            if before.epoch != header.epoch {
                self.retired.add(before.epoch);
            }
            let kept = if before.epoch == header.epoch {
                Some(header.sequence)
            } else {
                lineage.iter().find(|(ancestor, _)| *ancestor == before.epoch).map(|(_, kept)| *kept)
            };
            if let Some(kept) = kept.filter(|kept| *kept < before.sequence) {
                self.effects.push_back(Effect::Rollback { from: before, kept });
            }
        }
        let (retired, effects) = (&self.retired, &mut self.effects);
        self.sightings.drop_where(
            |history| retired.contains(history.epoch),
            |token| effects.push_back(Effect::Discard { token }),
        );
    }

    /// Rule 8: the answer to `attempt` settles every sighting from before it was sent; their held envelopes go.
    pub(super) fn settle_sightings(&mut self, attempt: Option<u32>) {
        let Some(attempt) = attempt else { return };
        let effects = &mut self.effects;
        self.sightings.drop_where(
            |history| history.seen_after < attempt,
            |token| effects.push_back(Effect::Discard { token }),
        );
    }

    /// Rule 9: a result of `refresh` drops the hold-back and the newest sequence seen.
    pub(super) fn forget_newer(&mut self) {
        let effects = &mut self.effects;
        let mut discard = |token| effects.push_back(Effect::Discard { token });
        self.own.held.clear(&mut discard);
        self.own.newest = None;
        self.sightings.clear_held(&mut discard);
    }
}
