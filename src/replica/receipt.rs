//! Receipts: what comes from the transport, and the hold-back it may have to wait in (rules 1-7).

use alloc::boxed::Box;

use crate::protocol::Timestamp;

use super::{
    Base, Judging, Replica,
    buffer::Content,
    epochs::Lineage,
    recovery::{Cause, Outcome, Request},
    types::{
        Effect, EpochId, Header, Kind, Offer, OnGap, Place, Quarantined, Reason, Source, Ticket, Token,
        Verdict,
    },
};

/// What a verdict is about.
#[derive(Debug, Clone, Hash)]
pub(super) enum Subject {
    /// In order, with nothing else going on: once accepted it is shown, and nothing follows.
    Next {
        header: Header,
        token: Token,
    },
    Receipt {
        header: Header,
        token: Token,
        weight: u32,
    },
    /// Held back ungated, because its epoch was unknown; in order now.
    Drained {
        header: Header,
        token: Token,
    },
    Snapshot {
        header: Header,
        token: Token,
        request: Option<Request>,
        lineage: Box<Lineage>,
    },
}

/// What is left to decide once the hold-back is drained: only then is it known whether something is missing.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Closing {
    /// The attempt whose snapshot was installed.
    pub(super) answered: Option<Request>,
    /// A recovery to start, if something is still missing.
    pub(super) cause: Option<Cause>,
}

/// How an epoch stands to the applied one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing is applied: any epoch may come first.
    First,
    /// The applied one, or the fenced one.
    Own,
    /// None, while the applied value has one.
    Plain,
    Retired,
    Unknown,
}

/// Where a receipt goes (rule 6).
enum Course {
    /// At or below what is applied.
    Stale,
    /// In order, or a good copy of what was refused before (rule 4): shown, and the cursor is this afterwards.
    Apply { cursor: u64 },
    /// Beyond a gap, and taken as the new base (`commit`).
    Leap,
    /// Beyond a gap.
    Gap,
}

impl Replica {
    /// Whether a receipt may take the short way: nothing else is going on, it is in order, and its version fits. Then
    /// what `run_offer` would do comes down to the gate and `install_next`; a test holds both ways to the same trace.
    #[inline]
    pub(crate) fn is_next(&self, header: &Header) -> bool {
        if !self.is_calm || self.judging.is_some() || !header.has_sequence() {
            return false;
        }
        let Base::At { epoch, cursor, .. } = self.base else { return false };
        let is_in_order = header.continues(cursor) && header.sequence > cursor;
        let is_foreign = matches!((self.options.declared_major, header.version.major),
            (Some(declared), Some(major)) if declared != major);
        header.epoch == epoch && is_in_order && !is_foreign
    }

    /// Shows a receipt that took the short way, and gives back what was shown before. The newest sequence seen is left
    /// behind: it says nothing while it is below the applied one.
    #[inline]
    pub(super) fn install_next(&mut self, now: Timestamp, header: &Header, token: Token) -> Option<Token> {
        let sequence = header.sequence;
        self.base = Base::At { epoch: header.epoch, sequence, cursor: sequence, moved_at: now };
        self.version = header.version.id;
        self.stats.applied += 1;
        // Of a collection there is never a token: it shows rows.
        self.shown.as_mut().map(|shown| core::mem::replace(shown, token))
    }

    /// Rule 1: disposed, well-formed, epoch, schema version, parse, sequence. `offer` has checked the first.
    pub(super) fn run_offer(
        &mut self,
        now: Timestamp,
        source: Source,
        header: Header,
        token: Token,
        weight: u32,
        lineage: &Lineage,
    ) -> Offer {
        match source {
            Source::Receipt => self.run_receipt(now, header, token, weight),
            Source::Hydration => self.run_snapshot(now, None, header, token, lineage),
            Source::Refetch { attempt } => match self.request(attempt) {
                None => Offer::Drop(Reason::OldGeneration),
                Some(request) if self.is_late(request) => {
                    self.succeed(now, request);
                    Offer::Drop(Reason::Late)
                }
                Some(request) => self.run_snapshot(now, Some(request), header, token, lineage),
            },
        }
    }

    fn run_receipt(&mut self, now: Timestamp, header: Header, token: Token, weight: u32) -> Offer {
        if !header.is_well_formed() {
            self.stats.parse_errors += 1;
            return Offer::Drop(Reason::Malformed);
        }
        match self.standing(header.epoch) {
            Standing::Retired => {
                self.stats.ignored_stale += 1;
                return Offer::Drop(Reason::Retired);
            }
            Standing::Plain => {
                self.stats.parse_errors += 1;
                return Offer::Drop(Reason::Plain);
            }
            Standing::Unknown => {
                self.session.hear_receipt(header.epoch);
                if !self.takes_unknown() && !self.is_staged(&header) {
                    self.see(now, header.epoch, header.sequence);
                    self.hold(&header, Content::Raw(token), weight);
                    self.start(now, Cause::Missing);
                    return Offer::Held;
                }
            }
            Standing::First | Standing::Own => self.session.hear_receipt(header.epoch),
        }
        self.see(now, header.epoch, header.sequence);
        if let Some(major) = self.foreign_major(&header) {
            self.stats.schema_skews += 1;
            self.refuse_receipt(now, &header, Cause::Foreign(major));
            self.drain(now);
            return Offer::Drop(Reason::Skew);
        }
        self.judge(now, Subject::Receipt { header, token, weight })
    }

    /// Asks the gate; without one the verdict is at hand.
    pub(super) fn judge(&mut self, now: Timestamp, subject: Subject) -> Offer {
        if self.options.trusted {
            self.rule(now, subject, Verdict::Accepted);
            return Offer::Settled;
        }
        Offer::Judge(self.ask(subject))
    }

    /// The question about a receipt that takes the short way.
    #[inline]
    pub(super) fn ask_next(&mut self, now: Timestamp, header: Header, token: Token) -> Ticket {
        self.own.raise(now, header.sequence);
        self.ask(Subject::Next { header, token })
    }

    #[inline]
    fn ask(&mut self, subject: Subject) -> Ticket {
        self.tickets = self.tickets.wrapping_add(1);
        let ticket = Ticket(self.tickets);
        self.judging = Some(Judging { ticket, subject });
        ticket
    }

    /// Carries a verdict out.
    pub(super) fn rule(&mut self, now: Timestamp, subject: Subject, verdict: Verdict) {
        match (subject, verdict) {
            (Subject::Receipt { header, token, weight }, Verdict::Accepted) => {
                self.ledger.repeat = None;
                self.accept_receipt(now, &header, token, weight);
            }
            (Subject::Next { header, token }, Verdict::Accepted) => {
                self.accept_receipt(now, &header, token, 0);
            }
            (Subject::Receipt { header, token, .. } | Subject::Next { header, token }, Verdict::Refused) => {
                self.stats.parse_errors += 1;
                self.quarantine(&header, token);
                self.refuse_receipt(now, &header, Cause::Refused(header.epoch, header.sequence));
            }
            (Subject::Drained { header, token }, Verdict::Accepted) => self.settle(now, &header, token),
            (Subject::Drained { header, token }, Verdict::Refused) => {
                self.stats.parse_errors += 1;
                self.quarantine(&header, token);
                self.settle_refused(now, &header, Cause::Refused(header.epoch, header.sequence));
            }
            (Subject::Snapshot { header, token, request, lineage }, Verdict::Accepted) => {
                self.accept_snapshot(now, request, &header, token, &lineage);
            }
            (Subject::Snapshot { header, token, request, .. }, Verdict::Refused) => {
                self.stats.parse_errors += 1;
                self.quarantine(&header, token);
                self.refuse_snapshot(now, request, &header);
            }
        }
        self.drain(now);
    }

    fn accept_receipt(&mut self, now: Timestamp, header: &Header, token: Token, weight: u32) {
        let is_staged = self.stage(header);
        match self.course(header) {
            Course::Stale => {
                self.stats.ignored_stale += 1;
                self.effects.push_back(Effect::Discard { token });
            }
            Course::Apply { cursor } => {
                let place = if is_staged { Place::Both } else { Place::Live };
                self.install(now, header, token, cursor, place);
            }
            Course::Leap => {
                self.stats.gaps += 1;
                self.install(now, header, token, header.sequence, Place::Live);
            }
            Course::Gap => {
                if is_staged {
                    self.install_staged(token);
                } else {
                    self.stats.gaps += 1;
                    self.hold(header, Content::Good(token), weight);
                    self.closing().cause = Some(Cause::Missing);
                }
            }
        }
    }

    /// Rule 6, and rule 4's last sentence.
    fn course(&self, header: &Header) -> Course {
        let is_object = self.options.kind == Kind::Object;
        let commits = is_object && self.options.on_gap == OnGap::Commit;
        let base = Course::Apply { cursor: header.sequence };
        match self.base {
            // Rule 5; but of a collection only a complete snapshot is a base.
            Base::Empty if is_object => base,
            Base::Fenced { .. } if commits => base,
            Base::At { epoch, .. } if epoch != header.epoch && commits => base,
            Base::At { epoch, sequence, cursor, .. } if epoch == header.epoch => {
                if header.sequence <= sequence {
                    Course::Stale
                } else if header.sequence <= cursor {
                    Course::Apply { cursor }
                } else if header.continues(cursor) {
                    base
                } else if commits {
                    Course::Leap
                } else {
                    Course::Gap
                }
            }
            Base::Empty | Base::Fenced { .. } | Base::At { .. } => Course::Gap,
        }
    }

    /// Rule 4. The caller has counted the refusal; the value is gone or in the quarantine slot.
    fn refuse_receipt(&mut self, now: Timestamp, header: &Header, cause: Cause) {
        let is_staged = self.stage(header);
        match self.base {
            Base::At { epoch, sequence, .. } if epoch == header.epoch && header.sequence <= sequence => {}
            Base::At { epoch, cursor, .. } if epoch == header.epoch && header.continues(cursor) => {
                self.settle_refused(now, header, cause);
            }
            // The staging table will bring it; until then the row keeps what it has.
            Base::Empty | Base::At { .. } | Base::Fenced { .. } if is_staged => {}
            Base::At { epoch, .. } | Base::Fenced { epoch } if epoch == header.epoch => {
                self.ledger.outcome = Outcome::Refused;
                self.stats.gaps += 1;
                self.hold(header, Content::Refused, 0);
                self.closing().cause = Some(cause);
            }
            Base::Empty | Base::At { .. } | Base::Fenced { .. } => {
                self.ledger.outcome = Outcome::Refused;
                self.closing().cause = Some(cause);
            }
        }
    }

    /// Rule 4: a refused value in order moves the cursor, so that its successor is no gap, and asks for a good copy.
    /// A collection's bad row moves the position too, and asks for nothing.
    fn settle_refused(&mut self, now: Timestamp, header: &Header, cause: Cause) {
        let Base::At { sequence, cursor, moved_at, .. } = &mut self.base else { return };
        *cursor = (*cursor).max(header.sequence);
        match self.options.kind {
            Kind::Collection => {
                *sequence = *cursor;
                *moved_at = now;
            }
            Kind::Object => {
                self.ledger.outcome = Outcome::Refused;
                self.closing().cause = Some(cause);
            }
        }
    }

    /// An envelope of the hold-back that is in order now and passed the gate.
    fn settle(&mut self, now: Timestamp, header: &Header, token: Token) {
        match self.course(header) {
            Course::Apply { cursor } => self.install(now, header, token, cursor, Place::Live),
            // What is drained is in order, so there is no gap before it.
            Course::Stale | Course::Leap | Course::Gap => {
                self.stats.ignored_stale += 1;
                self.effects.push_back(Effect::Discard { token });
            }
        }
    }

    /// Rule 7: whenever the cursor moves, the hold-back drains in order. Stops where the gate must be asked; goes on
    /// after its verdict. Once all is drained, what the input left open is closed.
    pub(super) fn drain(&mut self, now: Timestamp) {
        while let Base::At { epoch, cursor, .. } = self.base
            && let Some((header, content)) = self.own.held.take_next(epoch, cursor)
        {
            match content {
                Content::Good(token) => self.settle(now, &header, token),
                Content::Refused if header.sequence > cursor => {
                    self.settle_refused(now, &header, Cause::Refused(epoch, header.sequence));
                }
                Content::Refused => {}
                Content::Raw(token) if self.applied_sequence() >= Some(header.sequence) => {
                    self.stats.ignored_stale += 1;
                    self.effects.push_back(Effect::Discard { token });
                }
                Content::Raw(token) => {
                    if let Some(major) = self.foreign_major(&header) {
                        self.stats.schema_skews += 1;
                        self.effects.push_back(Effect::Discard { token });
                        self.settle_refused(now, &header, Cause::Foreign(major));
                    } else if let Offer::Judge(ticket) = self.judge(now, Subject::Drained { header, token }) {
                        self.effects.push_back(Effect::Judge { ticket, token });
                        return;
                    }
                }
            }
        }
        self.close(now);
    }

    fn close(&mut self, now: Timestamp) {
        self.cancel_if_satisfied();
        let closing = self.closing.take().map(|closing| *closing).unwrap_or_default();
        if let Some(request) = closing.answered {
            self.succeed(now, request);
        }
        if let Some(cause) = closing.cause {
            self.start(now, cause);
        }
        self.finish_staging(now);
    }

    /// Shows a value, or folds an operation in. State first: the host runs user code only after all of it (rule 14).
    pub(super) fn install(
        &mut self,
        now: Timestamp,
        header: &Header,
        token: Token,
        cursor: u64,
        place: Place,
    ) {
        if self.epoch() != Some(header.epoch) {
            self.adopt(header.epoch);
        }
        let moved_at = match self.base {
            Base::At { epoch, sequence, moved_at, .. }
                if epoch == header.epoch && sequence == header.sequence =>
            {
                moved_at
            }
            Base::At { .. } | Base::Empty | Base::Fenced { .. } => now,
        };
        let is_first = self.base == Base::Empty;
        self.base = Base::At { epoch: header.epoch, sequence: header.sequence, cursor, moved_at };
        self.stats.applied += 1;
        self.version = header.version.id;
        self.absent = false;
        let previous = match self.options.kind {
            Kind::Object => self.shown.replace(token),
            Kind::Collection => None,
        };
        self.effects.push_back(Effect::Install { token, previous, place });
        if let Some(quarantined) = self.quarantine
            && (quarantined.epoch != header.epoch || quarantined.sequence <= header.sequence)
        {
            self.release_quarantine();
        }
        if is_first {
            self.effects.push_back(Effect::Ready);
        }
    }

    /// Makes `epoch` the applied one and retires the one before; what was known of it as a sighting is kept, what was
    /// known of the one before is not.
    pub(super) fn adopt(&mut self, epoch: EpochId) {
        let history = self.sightings.take(epoch).unwrap_or_else(|| super::History::new(epoch));
        let mut before = core::mem::replace(&mut self.own, history);
        before.held.clear(|token| self.effects.push_back(Effect::Discard { token }));
        if let Some(left) = self.epoch() {
            self.retired.add(left);
        }
        // A sighting may have lost its request to a final `null` while nothing was applied.
        self.closing().cause.get_or_insert(Cause::Tail);
        self.session.restart_counts();
        self.ledger.repeat = None;
        self.last_snapshot = None;
        self.last_lower = None;
    }

    pub(super) fn standing(&self, epoch: EpochId) -> Standing {
        let Some(own) = self.epoch() else { return Standing::First };
        if epoch == own {
            Standing::Own
        } else if epoch.is_none() {
            Standing::Plain
        } else if self.retired.contains(epoch) {
            Standing::Retired
        } else {
            Standing::Unknown
        }
    }

    /// Rule 7: with `commit` and no way to ask, a receipt of an unknown epoch is a base.
    fn takes_unknown(&self) -> bool {
        self.options.kind == Kind::Object && self.options.on_gap == OnGap::Commit && !self.options.has_refetch
    }

    /// Notes that `sequence` of `epoch` exists. Of an epoch that is not the applied one that is a sighting (rule 11).
    pub(super) fn see(&mut self, now: Timestamp, epoch: EpochId, sequence: u64) {
        if self.epoch() == Some(epoch) {
            self.own.raise(now, sequence);
        } else {
            self.sight(epoch).raise(now, sequence);
        }
    }

    pub(super) fn sight(&mut self, epoch: EpochId) -> &mut super::History {
        let effects = &mut self.effects;
        self.sightings.sight(epoch, self.ledger.attempt, |token| effects.push_back(Effect::Discard { token }))
    }

    fn hold(&mut self, header: &Header, content: Content, weight: u32) {
        self.stats.buffered += 1;
        let is_own = self.epoch() == Some(header.epoch);
        let effects = &mut self.effects;
        let attempt = self.ledger.attempt;
        let history = if is_own {
            &mut self.own
        } else {
            self.sightings.sight(header.epoch, attempt, |token| effects.push_back(Effect::Discard { token }))
        };
        history.held.hold(header, content, weight, |token| effects.push_back(Effect::Discard { token }));
    }

    /// Rule 2: the major version, where it is not the declared one.
    pub(super) fn foreign_major(&self, header: &Header) -> Option<u32> {
        let declared = self.options.declared_major?;
        header.version.major.filter(|major| *major != declared)
    }

    /// Rule 3. What is at or below the applied sequence only counts (rule 4).
    pub(super) fn quarantine(&mut self, header: &Header, token: Token) {
        if self.position().is_some_and(|at| at.epoch == header.epoch && header.sequence <= at.sequence) {
            self.effects.push_back(Effect::Discard { token });
            return;
        }
        self.stats.quarantined += 1;
        let (previous, place) = match self.options.kind {
            Kind::Object => {
                let slot = Quarantined { token, epoch: header.epoch, sequence: header.sequence };
                (self.quarantine.replace(slot).map(|before| before.token), Place::Live)
            }
            Kind::Collection => (None, self.place_of(header)),
        };
        self.effects.push_back(Effect::Quarantine { token, sequence: header.sequence, previous, place });
    }

    pub(super) fn release_quarantine(&mut self) {
        if let Some(before) = self.quarantine.take() {
            self.effects.push_back(Effect::Discard { token: before.token });
        }
    }
}
