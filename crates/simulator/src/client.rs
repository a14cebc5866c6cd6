//! One client: the real reconciler, the values it names, and what must hold after every step.

use std::collections::BTreeMap;

use tidewire::{
    protocol::Timestamp,
    replica::{
        Effect, EpochId, Header, Mark, Offer, OnGap, Options, Replica, Source, Stats, Ticket, Token, Verdict,
    },
};

use crate::{
    authority::{Authority, State, Value},
    ledger::Phase,
    mix::Mix,
    rig::Fault,
};

/// Most envelopes that one epoch's hold-back may keep, over the applied epoch and four unknown ones.
const MAX_HELD: usize = 5 * 1_024;

/// What arrives at a client.
#[derive(Debug, Clone)]
pub enum Message {
    /// A change.
    Envelope(Header, Value),
    /// A head.
    Beacon {
        /// Of which session.
        session: u64,
        /// The how manieth.
        n: u64,
        /// Of which history.
        epoch: EpochId,
        /// Up to where.
        head: u64,
    },
    /// A snapshot that nobody asked for.
    Hydration(State, Value),
    /// The answer to an attempt.
    Answer(u32, Answer),
    /// `refresh()` was called.
    Refresh,
}

/// The answer to an attempt.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The state, and the copy of its value that arrives.
    Snapshot(State, Value),
    /// With what was sent, you are there.
    Current(EpochId, u64),
    /// There is no value.
    Null,
    /// An error.
    Failure,
}

/// One client of a run.
#[derive(Debug)]
pub struct Client {
    /// The machine under test.
    pub replica: Replica,
    /// The session that it is in.
    pub session: u64,
    /// Beacons sent in that session.
    pub beacons: u64,
    /// The requests that came out, for the world to carry: attempt and position.
    pub requests: Vec<(u32, Option<Mark>)>,
    values: BTreeMap<Token, Value>,
    tokens: u32,
    shown: Option<Token>,
    quarantined: Option<Token>,
    in_flight: Option<u32>,
    position: Option<Mark>,
    rolled_back: bool,
    may_change_back: bool,
    is_disposed: bool,
    stats: Stats,
}

fn counters(stats: &Stats) -> [u64; 9] {
    let Stats {
        applied,
        ignored_stale,
        gaps,
        parse_errors,
        refetches,
        schema_skews,
        quarantined,
        buffered,
        retries,
    } = *stats;
    [applied, ignored_stale, gaps, parse_errors, refetches, schema_skews, quarantined, buffered, retries]
}

impl Client {
    /// A client with the options of the mix.
    #[must_use]
    pub fn new(mix: &Mix, seed: u64) -> Self {
        let options = Options {
            declared_major: (mix.foreign > 0).then_some(1),
            on_gap: if mix.commits { OnGap::Commit } else { OnGap::Refetch },
            has_refetch: mix.has_refetch,
            ordered_transport: mix.is_ordered,
            trusted: mix.is_trusted,
            attempt_deadline: crate::object::ATTEMPT_DEADLINE,
            beacon_period: crate::object::BEACON_PERIOD,
            ..Options::default()
        };
        Self {
            replica: Replica::new(options, seed),
            session: 1,
            beacons: 0,
            requests: Vec::new(),
            values: BTreeMap::new(),
            tokens: 0,
            shown: None,
            quarantined: None,
            in_flight: None,
            position: None,
            rolled_back: false,
            // Without a hello a late beacon may be the only voice there is, and without refetch `commit` takes
            // receipts of any unknown epoch.
            may_change_back: !mix.has_hello || (mix.commits && !mix.has_refetch),
            is_disposed: false,
            stats: Stats::default(),
        }
    }

    fn keep(&mut self, value: Value) -> Token {
        self.tokens += 1;
        self.values.insert(Token(self.tokens), value);
        Token(self.tokens)
    }

    /// Feeds one message; a question to the gate that it raises is given back, to be answered by `judge`.
    pub fn feed(&mut self, now: Timestamp, message: Message) -> Result<Option<(Ticket, Token)>, Fault> {
        let offered = match message {
            Message::Envelope(header, value) => {
                let token = self.keep(value);
                Some((token, self.replica.offer(now, Source::Receipt, header, token, 100, &[])))
            }
            Message::Hydration(state, value) => {
                let token = self.keep(value);
                let (header, lineage) = (state.header(), &state.lineage);
                Some((token, self.replica.offer(now, Source::Hydration, header, token, 100, lineage)))
            }
            Message::Answer(attempt, answer) => {
                if self.in_flight == Some(attempt) {
                    self.in_flight = None;
                }
                match answer {
                    Answer::Snapshot(state, value) => {
                        let token = self.keep(value);
                        let (source, header) = (Source::Refetch { attempt }, state.header());
                        Some((token, self.replica.offer(now, source, header, token, 100, &state.lineage)))
                    }
                    Answer::Current(epoch, head) => {
                        self.replica.handle_current(now, attempt, epoch, head);
                        None
                    }
                    Answer::Null => {
                        self.replica.handle_null(now, attempt);
                        None
                    }
                    Answer::Failure => {
                        self.replica.handle_failure(now, attempt);
                        None
                    }
                }
            }
            Message::Beacon { session, n, epoch, head } => {
                self.replica.handle_beacon(now, session, n, epoch, head);
                None
            }
            Message::Refresh => {
                self.replica.refresh(now);
                None
            }
        };
        match offered {
            None | Some((_, Offer::Held | Offer::Settled)) => Ok(None),
            Some((token, Offer::Judge(ticket))) => Ok(Some((ticket, token))),
            Some((token, Offer::Drop(_))) => {
                self.values.remove(&token);
                Ok(None)
            }
            Some((token, Offer::Installed { previous })) => self.show(token, previous).map(|()| None),
        }
    }

    /// Runs the gate on a value.
    pub fn judge(&mut self, now: Timestamp, ticket: Ticket, token: Token) -> Result<(), Fault> {
        let value = self.values.get(&token).ok_or_else(|| format!("{token:?} is judged but unknown"))?;
        let verdict = if value.is_bad { Verdict::Refused } else { Verdict::Accepted };
        self.replica.judged(now, ticket, verdict);
        Ok(())
    }

    fn show(&mut self, token: Token, previous: Option<Token>) -> Result<(), Fault> {
        if previous != self.shown {
            return Err(format!("{previous:?} is given back, but {:?} was shown", self.shown));
        }
        if let Some(previous) = previous {
            self.values.remove(&previous);
        }
        self.shown = Some(token);
        match self.values.get(&token) {
            None => Err(format!("{token:?} is shown but was discarded")),
            Some(value) if value.is_bad => Err(format!("{token:?} is shown but bad")),
            Some(value)
                if self.replica.options().declared_major.is_some_and(|major| major != value.major) =>
            {
                Err(format!("{token:?} is shown but of a foreign major"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Carries out the next effect; a question to the gate is given back.
    pub fn step(&mut self) -> Result<Option<Step>, Fault> {
        let Some(effect) = self.replica.poll_effect() else { return Ok(None) };
        match effect {
            Effect::Judge { ticket, token } => return Ok(Some(Step::Judge(ticket, token))),
            Effect::Install { token, previous, .. } => self.show(token, previous)?,
            Effect::Quarantine { token, previous, .. } => {
                if previous != self.quarantined {
                    return Err(format!("{previous:?} leaves quarantine, not {:?}", self.quarantined));
                }
                if let Some(previous) = previous {
                    self.values.remove(&previous);
                }
                self.quarantined = Some(token);
            }
            Effect::Discard { token } => {
                if self.shown == Some(token) {
                    return Err(format!("{token:?} is discarded but shown"));
                }
                if self.quarantined == Some(token) {
                    self.quarantined = None;
                }
                if self.values.remove(&token).is_none() {
                    return Err(format!("{token:?} is discarded twice"));
                }
            }
            Effect::Refetch { attempt, position, .. } => {
                if let Some(other) = self.in_flight.replace(attempt) {
                    return Err(format!("attempt {attempt} while {other} is in flight"));
                }
                self.requests.push((attempt, position));
            }
            Effect::Abort { attempt } => {
                if self.in_flight == Some(attempt) {
                    self.in_flight = None;
                }
            }
            Effect::Rollback { .. } => self.rolled_back = true,
            Effect::Ready => {}
            Effect::Stage | Effect::Page { .. } | Effect::Swap | Effect::Unstage => {
                return Err("an object has no staging table".into());
            }
        }
        Ok(Some(Step::Done))
    }

    /// What must hold whenever the effects are drained.
    pub fn check(&mut self, authority: &Authority) -> Result<(), Fault> {
        let position = self.replica.position();
        if let (Some(before), Some(after)) = (self.position, position) {
            let goes_back = if before.epoch == after.epoch {
                after.sequence < before.sequence && !self.rolled_back
            } else {
                after.epoch < before.epoch && !self.may_change_back
            };
            if goes_back {
                return Err(format!("the position went back from {before:?} to {after:?}"));
            }
        }
        self.position = position;
        self.rolled_back = false;
        if let (Some(mark), Some(token)) = (position, self.shown) {
            let shown = self.values.get(&token).map(|value| value.number);
            let values = authority.shown.get(&(mark.epoch, mark.sequence));
            if !values.is_some_and(|values| values.contains(&shown)) {
                return Err(format!("{shown:?} is shown at {mark:?}, where the authority had {values:?}"));
            }
        }
        if self.replica.held() > MAX_HELD {
            return Err(format!("{} envelopes are held back", self.replica.held()));
        }
        let stats = self.replica.stats();
        if counters(&self.stats).into_iter().zip(counters(&stats)).any(|(before, after)| after < before) {
            return Err(format!("a counter went back: {:?} to {stats:?}", self.stats));
        }
        self.stats = stats;
        let named = self.replica.held() + 2;
        if self.values.len() > named + 1 {
            return Err(format!("{} values are kept, but at most {named} are named", self.values.len()));
        }
        if self.in_flight.is_some() == self.replica.is_idle() {
            return Err(format!("in flight is {:?}, idle is {}", self.in_flight, self.replica.is_idle()));
        }
        Ok(())
    }

    /// What it is doing, for the ledger.
    #[must_use]
    pub fn phase(&self) -> Phase {
        Phase::of(self.replica.status(), self.replica.position().is_some())
    }

    /// Whether the replica shows what is true now.
    #[must_use]
    pub fn has_converged(&self, authority: &Authority) -> bool {
        let state = &authority.state;
        let shown = self.shown.and_then(|token| self.values.get(&token)).map(|value| value.number);
        self.replica.position() == Some(Mark { epoch: state.epoch, sequence: state.sequence })
            && shown == state.value.map(|value| value.number)
    }

    /// Ends the replica.
    pub fn dispose(&mut self) {
        self.replica.dispose();
        self.is_disposed = true;
        while self.replica.poll_effect().is_some() {}
        self.in_flight = None;
    }

    /// Whether it was disposed.
    #[must_use]
    pub fn is_disposed(&self) -> bool {
        self.is_disposed
    }
}

/// What one effect asks of the world.
#[derive(Debug)]
pub enum Step {
    /// Nothing more.
    Done,
    /// Run the gate.
    Judge(Ticket, Token),
}
