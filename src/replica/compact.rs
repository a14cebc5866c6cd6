//! A replica that takes little memory while nothing happens to it: of most clients nearly all are so, nearly always.
//!
//! A [`Replica`] has room for a recovery, a hold-back, sightings, a question to the gate and what waits behind it. At
//! rest all of that is empty, and what is left are a few numbers. [`Compact`] keeps those alone, and makes the machine
//! of them when something comes that is not simply the next receipt. No rule is written here: a test holds both forms
//! to the same answers.

use alloc::boxed::Box;

use crate::protocol::Timestamp;

use super::{
    Base, History, Mark, Replica,
    epochs::{Lineage, Retired, Session},
    recovery::{Outcome, Recovery},
    types::{
        Effect, EpochId, Header, Kind, Offer, OnGap, Options, Source, Stats, Status, Ticket, Token, Verdict,
    },
};

/// A [`Replica`] in the least room that it needs now. It answers as that does.
#[derive(Debug)]
pub(crate) enum Compact {
    /// Nothing is going on. Exits: any input but the next receipt -> `Awake`.
    Resting(Resting),
    /// Exits: [`Compact::rest`], where nothing is going on any more -> `Resting`.
    Awake(Box<Replica>),
}

/// What is left of a replica at rest.
#[derive(Debug)]
pub(crate) struct Resting {
    marks: Marks,
    epoch: EpochId,
    version: u32,
    shown: Token,
    applied: u32,
    tickets: u32,
    declared_major: u32,
    last_beacon: u32,
    /// Of the jitter: half of what the machine has, which is as random.
    seed: u32,
    more: Option<Box<More>>,
    /// P, and C: they are one at rest. Means nothing while nothing is applied.
    sequence: u64,
    moved_at: Timestamp,
    session: u64,
    earlier_head: u64,
}

/// All that is yes or no about a replica at rest, its options among them. The options with durations are the defaults, or
/// it does not rest.
#[derive(Debug, Clone, Copy, Default)]
struct Marks(u32);

impl Marks {
    const COLLECTION: Self = Self(1);
    const COMMIT: Self = Self(1 << 1);
    const RETRY: Self = Self(1 << 2);
    const HAS_REFETCH: Self = Self(1 << 3);
    const ORDERED: Self = Self(1 << 4);
    const TRUSTED: Self = Self(1 << 5);
    const DECLARED_MAJOR: Self = Self(1 << 6);
    const APPLIED: Self = Self(1 << 7);
    const CALM: Self = Self(1 << 8);
    const ABSENT: Self = Self(1 << 9);
    const SHOWN: Self = Self(1 << 10);
    const SESSION: Self = Self(1 << 11);
    const DECLARED_SESSION: Self = Self(1 << 12);
    const HAS_BEACONS: Self = Self(1 << 13);
    /// The session speaks for the applied epoch.
    const VOICE: Self = Self(1 << 14);
    /// A receipt of the applied epoch came in this session.
    const RECEIPT: Self = Self(1 << 15);
    const BEACON: Self = Self(1 << 16);
    const EARLIER_HEAD: Self = Self(1 << 17);

    fn of(marks: impl IntoIterator<Item = (Self, bool)>) -> Self {
        Self(marks.into_iter().filter(|(_, is)| *is).fold(0, |all, (mark, _)| all | mark.0))
    }

    #[inline]
    const fn has(self, mark: Self) -> bool {
        self.0 & mark.0 != 0
    }
}

/// What only those have who recovered once, or to whom something else happened.
#[derive(Debug)]
struct More {
    stats: Stats,
    retired: Retired,
    last_snapshot: Option<Mark>,
    attempt: u32,
    restarts: u32,
}

impl Compact {
    /// As [`Replica::new`].
    pub(crate) fn new(options: Options, seed: u64) -> Self {
        let mut replica = Self::Awake(Box::new(Replica::new(options, seed)));
        replica.rest();
        replica
    }

    // Getters.

    pub(crate) fn position(&self) -> Option<Mark> {
        match self {
            Self::Resting(resting) => resting.position(),
            Self::Awake(replica) => replica.position(),
        }
    }

    pub(crate) fn cursor(&self) -> Option<u64> {
        match self {
            Self::Resting(resting) => resting.position().map(|mark| mark.sequence),
            Self::Awake(replica) => replica.cursor(),
        }
    }

    pub(crate) fn epoch(&self) -> Option<EpochId> {
        match self {
            Self::Resting(resting) => resting.position().map(|mark| mark.epoch),
            Self::Awake(replica) => replica.epoch(),
        }
    }

    pub(crate) fn version(&self) -> u32 {
        match self {
            Self::Resting(resting) => resting.version,
            Self::Awake(replica) => replica.version(),
        }
    }

    pub(crate) fn declared_major(&self) -> Option<u32> {
        match self {
            Self::Resting(resting) => resting.declared_major(),
            Self::Awake(replica) => replica.options().declared_major,
        }
    }

    /// Whether there is no gate.
    pub(crate) const fn is_trusted(&self) -> bool {
        match self {
            Self::Resting(resting) => resting.marks.has(Marks::TRUSTED),
            Self::Awake(replica) => replica.options.trusted,
        }
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            // At rest nothing that was seen is missing.
            Self::Resting(resting) if resting.position().is_none() || resting.marks.has(Marks::ABSENT) => {
                Status::Stale
            }
            Self::Resting(_) => Status::Ok,
            Self::Awake(replica) => replica.status(),
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        match self {
            Self::Resting(resting) => resting.stats(),
            Self::Awake(replica) => replica.stats(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        match self {
            Self::Resting(_) => true,
            Self::Awake(replica) => replica.is_idle(),
        }
    }

    pub(crate) fn attempt(&self) -> Option<u32> {
        match self {
            Self::Resting(_) => None,
            Self::Awake(replica) => replica.attempt(),
        }
    }

    #[inline]
    pub(crate) fn is_next(&self, header: &Header) -> bool {
        match self {
            Self::Resting(resting) => resting.is_next(header),
            Self::Awake(replica) => replica.is_next(header),
        }
    }

    // Inputs.

    /// For whatever is not said below.
    pub(crate) fn wake(&mut self) -> &mut Replica {
        if let Self::Resting(resting) = self {
            *self = Self::Awake(Box::new(resting.wake()));
        }
        match self {
            Self::Awake(replica) => replica,
            Self::Resting(_) => unreachable!("it was woken above"),
        }
    }

    pub(crate) fn offer(
        &mut self,
        now: Timestamp,
        source: Source,
        header: Header,
        token: Token,
        weight: u32,
        lineage: &Lineage,
    ) -> Offer {
        match self {
            Self::Resting(resting)
                if source == Source::Receipt
                    && resting.marks.has(Marks::TRUSTED)
                    && resting.is_next(&header) =>
            {
                Offer::Installed { previous: resting.install_next(now, &header, token) }
            }
            Self::Resting(_) | Self::Awake(_) => {
                self.wake().offer(now, source, header, token, weight, lineage)
            }
        }
    }

    #[inline]
    pub(crate) fn receive(
        &mut self,
        now: Timestamp,
        header: Header,
        token: Token,
        weight: u32,
        gate: impl FnOnce() -> Verdict,
    ) -> Offer {
        let Self::Resting(resting) = self else {
            return self.wake().receive(now, header, token, weight, gate);
        };
        if !resting.is_next(&header) {
            return self.wake().receive(now, header, token, weight, gate);
        }
        if resting.marks.has(Marks::TRUSTED) || gate() == Verdict::Accepted {
            return Offer::Installed { previous: resting.install_next(now, &header, token) };
        }
        self.wake().receive(now, header, token, weight, || Verdict::Refused)
    }

    pub(crate) fn judged(&mut self, now: Timestamp, ticket: Ticket, verdict: Verdict) {
        // At rest no question is open.
        if let Self::Awake(replica) = self {
            replica.judged(now, ticket, verdict);
        }
    }

    // Outputs.

    #[inline]
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        match self {
            Self::Resting(_) => None,
            Self::Awake(replica) => replica.poll_effect(),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Resting(_) => None,
            Self::Awake(replica) => replica.poll_timeout(),
        }
    }

    /// Gives back the memory that only beginnings and recoveries need, if none is under way.
    pub(crate) fn rest(&mut self) {
        if let Self::Awake(replica) = self
            && let Some(resting) = Resting::of(replica)
        {
            *self = Self::Resting(resting);
        }
    }
}

impl Resting {
    /// The form at rest of a replica; `None` while anything is going on.
    fn of(replica: &mut Replica) -> Option<Self> {
        let Replica { options, base, own, session, ledger, recovery, effects, .. } = &*replica;
        let is_quiet = *recovery == Recovery::Idle
            && effects.is_empty()
            && replica.queue.is_empty()
            && replica.judging.is_none()
            && replica.closing.is_none()
            && replica.staging.is_none()
            && replica.quarantine.is_none()
            && replica.last_lower.is_none()
            && replica.sightings.is_empty()
            && own.held.len() == 0
            && !replica.is_disposed
            && (ledger.failures, ledger.outcome, ledger.repeat) == (0, Outcome::Good, None);
        if !is_quiet {
            return None;
        }
        let (epoch, sequence, moved_at) = match *base {
            Base::Empty if own.newest.is_none() => (EpochId::NONE, 0, Timestamp::default()),
            // The newest sequence seen says nothing while it is not above the applied one.
            Base::At { epoch, sequence, cursor, moved_at }
                if cursor == sequence && replica.is_satisfied() =>
            {
                (epoch, sequence, moved_at)
            }
            Base::Empty | Base::At { .. } | Base::Fenced { .. } => return None,
        };
        let is_applied = replica.is_applied();
        let defaults = Options::default();
        let is_plain = (options.attempt_deadline, options.beacon_period)
            == (defaults.attempt_deadline, defaults.beacon_period);
        // What a session says before there is a value is soon about one.
        let own_epoch = is_applied.then_some(epoch);
        let (voice, receipt) = (session.voice(), session.heard_receipt());
        let is_of_own = [voice, receipt].iter().all(|heard| heard.is_none() || *heard == own_epoch);
        let is_counted = session.below_applied.is_none() && session.below_newest.is_none();
        let last_beacon = u32::try_from(session.last_beacon.unwrap_or(0)).ok()?;
        if !(is_plain && is_of_own && is_counted) {
            return None;
        }
        let marks = Marks::of([
            (Marks::COLLECTION, options.kind == Kind::Collection),
            (Marks::COMMIT, options.on_gap == OnGap::Commit),
            (Marks::RETRY, options.retry),
            (Marks::HAS_REFETCH, options.has_refetch),
            (Marks::ORDERED, options.ordered_transport),
            (Marks::TRUSTED, options.trusted),
            (Marks::DECLARED_MAJOR, options.declared_major.is_some()),
            (Marks::APPLIED, is_applied),
            (Marks::CALM, replica.is_calm),
            (Marks::ABSENT, replica.absent),
            (Marks::SHOWN, replica.shown.is_some()),
            (Marks::SESSION, session.number.is_some()),
            (Marks::DECLARED_SESSION, session.is_declared),
            (Marks::HAS_BEACONS, session.has_beacons()),
            (Marks::VOICE, voice.is_some()),
            (Marks::RECEIPT, receipt.is_some()),
            (Marks::BEACON, session.last_beacon.is_some()),
            (Marks::EARLIER_HEAD, session.earlier_head.is_some()),
        ]);
        let applied = u32::try_from(replica.stats.applied).unwrap_or(0);
        let stats = Stats { applied: replica.stats.applied - u64::from(applied), ..replica.stats };
        let is_usual = stats == Stats::default()
            && replica.retired.is_empty()
            && (replica.last_snapshot, ledger.attempt, replica.restarts) == (None, 0, 0);
        Some(Self {
            marks,
            epoch,
            version: replica.version,
            shown: replica.shown.unwrap_or(Token(0)),
            applied,
            tickets: replica.tickets,
            declared_major: options.declared_major.unwrap_or(0),
            last_beacon,
            seed: ledger.seed(),
            sequence,
            moved_at,
            session: session.number.unwrap_or(0),
            earlier_head: session.earlier_head.unwrap_or(0),
            more: (!is_usual).then(|| {
                Box::new(More {
                    stats,
                    retired: core::mem::take(&mut replica.retired),
                    last_snapshot: replica.last_snapshot,
                    attempt: replica.ledger.attempt,
                    restarts: replica.restarts,
                })
            }),
        })
    }

    /// The whole machine again.
    fn wake(&mut self) -> Replica {
        let has = |mark| self.marks.has(mark);
        let options = Options {
            kind: if has(Marks::COLLECTION) { Kind::Collection } else { Kind::Object },
            declared_major: self.declared_major(),
            on_gap: if has(Marks::COMMIT) { OnGap::Commit } else { OnGap::Refetch },
            retry: has(Marks::RETRY),
            has_refetch: has(Marks::HAS_REFETCH),
            ordered_transport: has(Marks::ORDERED),
            trusted: has(Marks::TRUSTED),
            ..Options::default()
        };
        let mut replica = Replica::new(options, u64::from(self.seed));
        if let Some(Mark { epoch, sequence }) = self.position() {
            replica.base = Base::At { epoch, sequence, cursor: sequence, moved_at: self.moved_at };
            replica.own = History::new(epoch);
        }
        replica.is_calm = has(Marks::CALM);
        replica.absent = has(Marks::ABSENT);
        replica.shown = has(Marks::SHOWN).then_some(self.shown);
        replica.version = self.version;
        replica.tickets = self.tickets;
        replica.stats = self.stats();
        replica.session = Session::again(
            (
                has(Marks::SESSION).then_some(self.session),
                has(Marks::DECLARED_SESSION),
                has(Marks::HAS_BEACONS),
            ),
            (has(Marks::VOICE).then_some(self.epoch), has(Marks::RECEIPT).then_some(self.epoch)),
            (
                has(Marks::BEACON).then_some(u64::from(self.last_beacon)),
                has(Marks::EARLIER_HEAD).then_some(self.earlier_head),
            ),
        );
        if let Some(more) = self.more.take() {
            replica.retired = more.retired;
            replica.last_snapshot = more.last_snapshot;
            replica.ledger.attempt = more.attempt;
            replica.restarts = more.restarts;
        }
        replica
    }

    fn declared_major(&self) -> Option<u32> {
        self.marks.has(Marks::DECLARED_MAJOR).then_some(self.declared_major)
    }

    fn position(&self) -> Option<Mark> {
        self.marks.has(Marks::APPLIED).then_some(Mark { epoch: self.epoch, sequence: self.sequence })
    }

    fn stats(&self) -> Stats {
        let stats = self.more.as_ref().map(|more| more.stats).unwrap_or_default();
        Stats { applied: stats.applied + u64::from(self.applied), ..stats }
    }

    /// As [`Replica::is_next`].
    #[inline]
    fn is_next(&self, header: &Header) -> bool {
        self.marks.has(Marks::CALM)
            && header.has_sequence()
            && header.continues(self.sequence)
            && header.sequence > self.sequence
            && header.epoch == self.epoch
            && !matches!((self.declared_major(), header.version.major),
                (Some(declared), Some(major)) if declared != major)
            // Who has seen more than can be counted here stays awake.
            && self.applied < u32::MAX
    }

    /// As the machine does it.
    #[inline]
    fn install_next(&mut self, now: Timestamp, header: &Header, token: Token) -> Option<Token> {
        self.sequence = header.sequence;
        self.moved_at = now;
        self.version = header.version.id;
        self.applied += 1;
        // Of a collection there is never a token: it shows rows.
        self.marks.has(Marks::SHOWN).then(|| core::mem::replace(&mut self.shown, token))
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::{
        super::{Page, Version},
        *,
    };

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    /// One machine that stays awake, and one that rests whenever it can.
    struct Pair {
        plain: Replica,
        compact: Compact,
        now: Timestamp,
        rested: u32,
    }

    impl Pair {
        fn both(&mut self, input: impl Fn(&mut Replica, Timestamp)) {
            input(&mut self.plain, self.now);
            input(self.compact.wake(), self.now);
        }

        fn offer(&mut self, source: Source, header: Header, token: Token, verdict: Verdict) {
            assert_eq!(self.plain.is_next(&header), self.compact.is_next(&header));
            if source == Source::Receipt && token.0.is_multiple_of(2) {
                let received = self.plain.receive(self.now, header, token, 0, || verdict);
                assert_eq!(self.compact.receive(self.now, header, token, 0, || verdict), received);
                return;
            }
            let offered = self.plain.offer(self.now, source, header, token, 9, &[]);
            assert_eq!(self.compact.offer(self.now, source, header, token, 9, &[]), offered);
            if let Offer::Judge(ticket) = offered {
                self.plain.judged(self.now, ticket, verdict);
                self.compact.judged(self.now, ticket, verdict);
            }
        }

        /// Carries the effects out, and holds one machine to the other.
        fn compare(&mut self, verdict: Verdict) {
            loop {
                let effect = self.plain.poll_effect();
                assert_eq!(self.compact.poll_effect(), effect);
                match effect {
                    None => break,
                    Some(Effect::Judge { ticket, .. }) => {
                        self.plain.judged(self.now, ticket, verdict);
                        self.compact.judged(self.now, ticket, verdict);
                    }
                    Some(_) => {}
                }
            }
            self.compact.rest();
            if matches!(self.compact, Compact::Resting(_)) {
                self.rested += 1;
                assert_eq!(known(self.compact.wake()), known(&self.plain));
                self.compact.rest();
            }
            let Self { plain, compact, .. } = self;
            assert_eq!(compact.position(), plain.position());
            assert_eq!(compact.cursor(), plain.cursor());
            assert_eq!(compact.epoch(), plain.epoch());
            assert_eq!(compact.version(), plain.version());
            assert_eq!(compact.declared_major(), plain.options().declared_major);
            assert_eq!(compact.status(), plain.status());
            assert_eq!(compact.stats(), plain.stats());
            assert_eq!(compact.is_idle(), plain.is_idle());
            assert_eq!(compact.attempt(), plain.attempt());
            assert_eq!(compact.poll_timeout().is_some(), plain.poll_timeout().is_some());
        }

        fn timeout(&mut self) {
            let due = [self.plain.poll_timeout(), self.compact.poll_timeout()].into_iter().flatten().max();
            // Their jitter differs, so the later one decides for both.
            if due.is_some_and(|due| due <= self.now) {
                self.both(Replica::handle_timeout);
            }
        }
    }

    /// What a machine knows, and may show in its answers much later.
    fn known(replica: &Replica) -> String {
        let Replica { session, retired, last_snapshot, restarts, base, own, absent, shown, tickets, .. } =
            replica;
        let missing =
            own.newest.filter(|newest| replica.position().is_none_or(|mark| mark.sequence < *newest));
        format!("{:?}", (session, retired, last_snapshot, restarts, base, missing, absent, shown, tickets))
    }

    fn options(random: &mut fastrand::Rng) -> Options {
        Options {
            kind: if random.u8(..4) == 0 { Kind::Collection } else { Kind::Object },
            declared_major: (random.u8(..3) == 0).then_some(1),
            on_gap: if random.u8(..4) == 0 { OnGap::Commit } else { OnGap::Refetch },
            retry: random.u8(..4) > 0,
            has_refetch: random.u8(..4) > 0,
            ordered_transport: random.bool(),
            trusted: random.bool(),
            ..Options::default()
        }
    }

    fn step(pair: &mut Pair, random: &mut fastrand::Rng, number: u32, session: u64) {
        let epoch = EpochId(if random.u8(..12) == 0 { random.u32(..3) } else { 1 });
        let at = pair.plain.position().map_or(0, |mark| mark.sequence);
        let near = if random.u8(..3) > 0 { at + 1 } else { (at + random.u64(..4)).saturating_sub(1) };
        let prev = (random.u8(..4) == 0).then(|| near.saturating_sub(random.u64(1..3)));
        let major = (random.u8(..3) == 0).then(|| random.u32(1..3));
        let header =
            Header { epoch, sequence: near, prev, version: Version { id: major.unwrap_or(0), major } };
        let token = Token(number);
        let verdict = if random.u8(..8) == 0 { Verdict::Refused } else { Verdict::Accepted };
        let attempt = pair.plain.attempt().unwrap_or(random.u32(..3));
        let is_object = pair.plain.options().kind == Kind::Object;
        // A beacon may come twice, or late.
        let count = u64::from(number.saturating_sub(if random.u8(..4) == 0 { random.u32(1..4) } else { 0 }));
        match random.u8(..24) {
            0..=10 => pair.offer(Source::Receipt, header, token, verdict),
            11 | 12 if is_object => pair.offer(Source::Hydration, header, token, verdict),
            13 | 14 if is_object => pair.offer(Source::Refetch { attempt }, header, token, verdict),
            11..=14 => {
                let page = Page { token, number: 0, head: near, is_last: true };
                let source = if random.bool() { Source::Hydration } else { Source::Refetch { attempt } };
                pair.both(|replica, now| {
                    replica.offer_page(now, source, header, page, &[]);
                });
            }
            15 => pair.both(|replica, now| replica.handle_current(now, attempt, epoch, near)),
            16 => pair.both(|replica, now| replica.handle_null(now, attempt)),
            17 => pair.both(|replica, now| replica.handle_failure(now, attempt)),
            18 | 19 => {
                pair.both(|replica, now| {
                    replica.handle_beacon(now, session, count, epoch, near);
                });
            }
            20 => pair.both(|replica, now| replica.handle_session(now, session, Some(epoch))),
            21 => pair.both(Replica::refresh),
            _ => pair.timeout(),
        }
        pair.compare(verdict);
    }

    #[test]
    fn a_replica_that_rests_whenever_it_can_answers_as_one_that_never_does() {
        let mut rested = 0;
        let mut steps = 0;
        for seed in 0..2_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let options = options(&mut random);
            let mut pair = Pair {
                plain: Replica::new(options, seed),
                compact: Compact::new(options, seed),
                now: Timestamp::from_millis(0),
                rested: 0,
            };
            let mut session = 1;
            for number in 1..80 {
                pair.now = pair.now + Duration::from_millis(random.u64(..6_000));
                session += u64::from(random.u8(..20) == 0);
                step(&mut pair, &mut random, number, session);
                steps += 1;
            }
            rested += pair.rested;
        }
        assert!(rested > steps / 4, "it rested after {rested} of {steps} steps");
    }

    #[test]
    fn replicas_that_have_rested_wait_for_times_of_their_own() {
        let wait = |seed| {
            let mut replica = Compact::new(Options { trusted: true, ..Options::default() }, seed);
            for sequence in [1, 2] {
                replica.offer(NOW, Source::Receipt, Header::new(EpochId(1), sequence), Token(0), 0, &[]);
                while replica.poll_effect().is_some() {}
                replica.rest();
                assert!(matches!(replica, Compact::Resting(_)));
            }
            let gapped = Header::new(EpochId(1), 9);
            replica.offer(NOW, Source::Receipt, gapped, Token(0), 0, &[]);
            replica.wake().handle_failure(NOW, 1);
            replica.poll_timeout().map(|due| due.since(NOW).as_millis())
        };
        let waits: alloc::collections::BTreeSet<_> = (0..100).map(wait).collect();
        // Of a thousand times that there are.
        assert!(waits.len() > 80, "{waits:?}");
    }

    #[test]
    fn a_replica_rests_before_it_has_a_value() {
        let Compact::Resting(resting) = Compact::new(Options::default(), 1) else { panic!("it is awake") };
        assert!(resting.more.is_none(), "what few replicas have takes no memory of the others");
    }

    #[test]
    fn a_replica_at_rest_takes_an_eighth_of_a_machine() {
        assert!(size_of::<Compact>() * 8 <= size_of::<Replica>(), "it takes {} bytes", size_of::<Compact>());
    }
}
