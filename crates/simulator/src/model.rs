//! Exhaustive model checking of the production reconciler, by `stateright`.
//!
//! One authority and a few replicas over a network that loses, repeats and reorders: what was sent stays in the network
//! and may be delivered at any time, any number of times, or never. Every interleaving within the bounds is visited.
//! Time stands still but for the timers that run out, which may happen at any moment; whatever must have lasted has.
//!
//! Replicas share nothing but the authority, so a search with one of them is as good as one with many wherever a
//! property speaks of each; two that have changed places count as one state.
//!
//! What can be searched to the end, by the example `model`, with two threads and less than 6 GiB:
//!
//! | replicas | writes | restarts | attempts | beacons | corruptions | refreshes | | states | depth |
//! |---|---|---|---|---|---|---|---|---|---|
//! | 2 | 1 | 1 | 2 | 1 | 0 | 0 | | 807,234 | 27 |
//! | 1 | 3 | 1 | 2 | 1 | 0 | 0 | | 448,000 | 22 |
//! | 1 | 2 | 1 | 2 | 2 | 0 | 0 | and a rewind | 669,060 | 23 |
//! | 1 | 2 | 0 | 2 | 1 | 1 | 1 | and a rewind | 93,784 | 18 |
//!
//! Each more write or attempt takes about eight times as many. Two replicas with four writes and a restart are out of
//! reach: that search stops after 3.5 million visits, at depth 10. `tests/model.rs` runs smaller ones and holds that
//! together they see every transition of [`properties`](Model::properties) that is expected sometimes.
//!
//! In every state: no position goes back, what is shown is what the authority had there, one request is in flight at
//! most; and from every state on, a network that works again leads to the authority's present value.

use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use stateright::{Model, Property};
use tidewire::{
    protocol::Timestamp,
    replica::{Effect, EpochId, Header, Mark, Offer, Options, Replica, Source, Status, Token, Verdict},
};

const NOW: Timestamp = Timestamp::from_millis(2);
/// Steps of a network that works again until all must be well.
const CALM_ROUNDS: u64 = 12;

/// The bounds of the search.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Replicas.
    pub replicas: usize,
    /// Writes.
    pub writes: u32,
    /// Restarts: each mints an epoch and may begin to count anew, or lose the last write.
    pub restarts: u32,
    /// Requests per replica.
    pub attempts: u32,
    /// Beacons per replica.
    pub beacons: u64,
    /// Copies that the gate refuses.
    pub corruptions: u32,
    /// Calls of `refresh`.
    pub refreshes: u32,
    /// Whether the authority may end by losing its last write without minting an epoch, which it never should.
    pub rewinds: bool,
}

/// A message on its way, for one replica. It is never used up. It comes after the hello of its session, which the epoch
/// tells here; it may come long after that session is over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    Receipt { to: usize, epoch: u32, sequence: u64, value: u32 },
    Beacon { to: usize, session: u64, n: u64, epoch: u32, head: u64 },
    Snapshot { to: usize, attempt: u32, epoch: u32, sequence: u64, value: u32, lineage: Vec<(u32, u64)> },
    Null { to: usize, attempt: u32 },
}

#[derive(Debug, Clone, Hash)]
struct Authority {
    epoch: u32,
    sequence: u64,
    value: Option<u32>,
    session: u64,
    lineage: Vec<(u32, u64)>,
    writes: u32,
    restarts: u32,
    has_rewound: bool,
    /// Every value that ever was, by position.
    past: Vec<(u32, u64, Option<u32>)>,
}

#[derive(Debug, Clone, Hash)]
struct Client {
    replica: Replica,
    shown: Option<Token>,
    session: u64,
    beacons: u64,
    in_flight: Option<u32>,
    position: Option<Mark>,
    has_rolled_back: bool,
    has_dropped_late: bool,
    has_refused_answer: bool,
    has_drained: bool,
    fault: Option<&'static str>,
}

/// Everything there is at one moment.
#[derive(Debug, Clone)]
pub struct State {
    authority: Authority,
    clients: Vec<Client>,
    network: BTreeSet<Message>,
    corruptions: u32,
    refreshes: u32,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let Self { authority, clients, network, corruptions, refreshes } = self;
        (authority, clients, network, corruptions, refreshes).hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        digest(self) == digest(other)
    }
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// What can happen next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Action {
    Write,
    Restart { lost: u64, resets: bool },
    Rewind,
    Connect(usize),
    Beacon(usize),
    Serve(usize),
    Deliver(usize),
    Corrupt(usize),
    Fail(usize),
    Wake(usize),
    Refresh(usize),
}

impl Message {
    fn to(&self) -> usize {
        let (Self::Receipt { to, .. }
        | Self::Beacon { to, .. }
        | Self::Snapshot { to, .. }
        | Self::Null { to, .. }) = self;
        *to
    }

    /// Of two replicas, to the other one.
    fn readdressed(mut self) -> Self {
        let (Self::Receipt { to, .. }
        | Self::Beacon { to, .. }
        | Self::Snapshot { to, .. }
        | Self::Null { to, .. }) = &mut self;
        *to = 1 - *to;
        self
    }

    fn can_arrive(&self, state: &State) -> bool {
        let session = state.clients[self.to()].session;
        match self {
            Self::Receipt { epoch, .. } | Self::Snapshot { epoch, .. } => u64::from(*epoch) <= session,
            Self::Beacon { session: of, .. } => *of <= session,
            Self::Null { .. } => true,
        }
    }
}

impl Authority {
    fn write(&mut self) {
        self.writes += 1;
        self.sequence += 1;
        self.value = Some(self.writes);
        self.past.push((self.epoch, self.sequence, self.value));
    }

    fn restart(&mut self, lost: u64, resets: bool) {
        self.restarts += 1;
        self.session += 1;
        let kept = self.sequence.saturating_sub(lost);
        self.value = self.value_at(kept);
        self.lineage.insert(0, (self.epoch, kept));
        self.epoch += 1;
        self.sequence = if resets { 0 } else { kept };
        if resets {
            self.value = None;
        }
        self.past.push((self.epoch, self.sequence, self.value));
    }

    /// Loses the last write and goes on as if it had never been: the lie that a fence is for. Nothing is written after
    /// it, as a sequence that names two values is beyond every rule.
    fn rewind(&mut self) {
        self.has_rewound = true;
        self.sequence -= 1;
        self.value = self.value_at(self.sequence);
    }

    fn value_at(&self, sequence: u64) -> Option<u32> {
        let is_it = |(epoch, at, _): &&(u32, u64, _)| *epoch == self.epoch && *at == sequence;
        self.past.iter().rev().find(is_it).and_then(|(.., value)| *value)
    }

    fn snapshot(&self, to: usize, attempt: u32) -> Message {
        match self.value {
            Some(value) => Message::Snapshot {
                to,
                attempt,
                epoch: self.epoch,
                sequence: self.sequence,
                value,
                lineage: self.lineage.clone(),
            },
            None => Message::Null { to, attempt },
        }
    }
}

/// A token names a value by its number, so that equal states have equal tokens.
fn token_of(value: u32) -> Token {
    Token(value)
}

impl Client {
    fn deliver(&mut self, message: &Message, is_bad: bool) {
        match message {
            Message::Receipt { epoch, sequence, value, .. } => {
                let header = Header::new(EpochId(*epoch), *sequence);
                let offer = self.replica.offer(NOW, Source::Receipt, header, token_of(*value), 1, &[]);
                self.judge(offer, is_bad);
            }
            Message::Beacon { session, n, epoch, head, .. } => {
                self.replica.handle_beacon(NOW, *session, *n, EpochId(*epoch), *head);
            }
            Message::Snapshot { attempt, epoch, sequence, value, lineage, .. } => {
                self.answered(*attempt);
                let header = Header::new(EpochId(*epoch), *sequence);
                let lineage: Vec<_> = lineage.iter().map(|(epoch, kept)| (EpochId(*epoch), *kept)).collect();
                let source = Source::Refetch { attempt: *attempt };
                let offer = self.replica.offer(NOW, source, header, token_of(*value), 1, &lineage);
                self.has_dropped_late |= matches!(offer, Offer::Drop(_));
                self.has_refused_answer |= is_bad && matches!(offer, Offer::Judge(_));
                self.judge(offer, is_bad);
            }
            Message::Null { attempt, .. } => {
                self.answered(*attempt);
                self.replica.handle_null(NOW, *attempt);
            }
        }
        self.drain();
    }

    fn answered(&mut self, attempt: u32) {
        if self.in_flight == Some(attempt) {
            self.in_flight = None;
        }
    }

    fn judge(&mut self, offer: Offer, is_bad: bool) {
        if let Offer::Judge(ticket) = offer {
            let verdict = if is_bad { Verdict::Refused } else { Verdict::Accepted };
            self.replica.judged(NOW, ticket, verdict);
        }
    }

    fn drain(&mut self) {
        let mut installed = 0;
        while let Some(effect) = self.replica.poll_effect() {
            match effect {
                Effect::Judge { ticket, .. } => self.replica.judged(NOW, ticket, Verdict::Accepted),
                Effect::Install { token, previous, .. } => {
                    if previous != self.shown {
                        self.fault = Some("another value was shown than is given back");
                    }
                    self.shown = Some(token);
                    installed += 1;
                }
                Effect::Refetch { attempt, .. } => {
                    if self.in_flight.replace(attempt).is_some() {
                        self.fault = Some("two requests are in flight");
                    }
                }
                Effect::Abort { attempt } => self.answered(attempt),
                Effect::Rollback { .. } => self.has_rolled_back = true,
                Effect::Quarantine { .. } | Effect::Discard { .. } | Effect::Ready => {}
                Effect::Stage | Effect::Page { .. } | Effect::Swap | Effect::Unstage => {
                    self.fault = Some("an object has no staging table");
                }
            }
        }
        self.has_drained |= installed > 1;
    }

    fn check(&mut self, authority: &Authority) {
        let position = self.replica.position();
        if let (Some(before), Some(after)) = (self.position, position)
            && (after.epoch, after.sequence) < (before.epoch, before.sequence)
        {
            self.fault = Some("the position went back");
        }
        self.position = position;
        if let Some(mark) = position {
            let shown = self.shown.map(|token| token.0);
            let is_true = authority.past.iter().any(|(epoch, sequence, value)| {
                *epoch == mark.epoch.0 && *sequence == mark.sequence && *value == shown
            });
            if !is_true {
                self.fault = Some("what is shown never was");
            }
        }
        if self.in_flight.is_some() == self.replica.is_idle() {
            self.fault = Some("idle with a request in flight");
        }
    }

    fn has_converged(&self, authority: &Authority) -> bool {
        let at = Mark { epoch: EpochId(authority.epoch), sequence: authority.sequence };
        match authority.value {
            Some(value) => {
                self.replica.position() == Some(at)
                    && self.shown == Some(token_of(value))
                    && self.replica.status() == Status::Ok
            }
            // Nothing to show: what was shown stays.
            None => true,
        }
    }
}

impl State {
    /// Replicas are alike, so of all orders of them one is enough.
    fn put_in_order(&mut self) {
        if let [first, second] = self.clients.as_mut_slice()
            && digest(first) > digest(second)
        {
            std::mem::swap(first, second);
            self.network = std::mem::take(&mut self.network).into_iter().map(Message::readdressed).collect();
        }
    }

    /// A copy with a network that works again: does every replica catch up, with no further write?
    fn catches_up(&self) -> bool {
        let mut state = self.clone();
        let authority = state.authority.clone();
        state.clients.iter_mut().enumerate().all(|(to, client)| {
            client.replica.handle_session(NOW, authority.session, Some(EpochId(authority.epoch)));
            client.drain();
            for n in 1_000..1_000 + CALM_ROUNDS {
                let (session, epoch, head) = (authority.session, authority.epoch, authority.sequence);
                client.deliver(&Message::Beacon { to, session, n, epoch, head }, false);
                // Between a fence and what mends it there is no position.
                client.check(&authority);
                while let Some(attempt) = client.in_flight {
                    client.deliver(&authority.snapshot(to, attempt), false);
                }
                client.wake();
                client.check(&authority);
                if client.has_converged(&authority) {
                    return client.fault.is_none();
                }
            }
            false
        })
    }
}

impl Client {
    fn wake(&mut self) {
        if self.replica.is_idle()
            && let Some(due) = self.replica.poll_timeout()
        {
            self.replica.handle_timeout(due);
            self.drain();
        }
    }
}

impl Model for Bounds {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let options = Options {
            // Any backoff is one millisecond, so that time takes few values.
            beacon_period: std::time::Duration::from_millis(1),
            // Heads that are too low have been so for long.
            attempt_deadline: std::time::Duration::ZERO,
            ..Options::default()
        };
        let client = || {
            let mut replica = Replica::new(options, 1);
            replica.handle_session(NOW, 1, Some(EpochId(1)));
            Client {
                replica,
                shown: None,
                session: 1,
                beacons: 0,
                in_flight: None,
                position: None,
                has_rolled_back: false,
                has_dropped_late: false,
                has_refused_answer: false,
                has_drained: false,
                fault: None,
            }
        };
        vec![State {
            authority: Authority {
                epoch: 1,
                sequence: 0,
                value: None,
                session: 1,
                lineage: Vec::new(),
                writes: 0,
                restarts: 0,
                has_rewound: false,
                past: Vec::new(),
            },
            clients: (0..self.replicas).map(|_| client()).collect(),
            network: BTreeSet::new(),
            corruptions: 0,
            refreshes: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Authority { writes, restarts, has_rewound, sequence, .. } = state.authority;
        if writes < self.writes && !has_rewound {
            actions.push(Action::Write);
        }
        if self.rewinds && !has_rewound && sequence > 1 {
            actions.push(Action::Rewind);
        }
        if restarts < self.restarts && !has_rewound {
            actions.push(Action::Restart { lost: 0, resets: false });
            actions.push(Action::Restart { lost: 0, resets: true });
            if state.authority.sequence > 1 {
                actions.push(Action::Restart { lost: 1, resets: false });
            }
        }
        for (index, client) in state.clients.iter().enumerate() {
            if client.session != state.authority.session {
                actions.push(Action::Connect(index));
            }
            if client.beacons < self.beacons {
                actions.push(Action::Beacon(index));
            }
            if client.in_flight.is_some() {
                if client.session == state.authority.session {
                    actions.push(Action::Serve(index));
                }
                actions.push(Action::Fail(index));
            } else if client.replica.poll_timeout().is_some() {
                actions.push(Action::Wake(index));
            }
            if state.refreshes < self.refreshes {
                actions.push(Action::Refresh(index));
            }
        }
        for (index, message) in state.network.iter().enumerate() {
            if !message.can_arrive(state) {
                continue;
            }
            actions.push(Action::Deliver(index));
            let can_be_bad = !matches!(message, Message::Beacon { .. } | Message::Null { .. });
            if can_be_bad && state.corruptions < self.corruptions {
                actions.push(Action::Corrupt(index));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Write => {
                state.authority.write();
                let Authority { epoch, sequence, writes: value, .. } = state.authority;
                for to in 0..self.replicas {
                    state.network.insert(Message::Receipt { to, epoch, sequence, value });
                }
            }
            Action::Restart { lost, resets } => state.authority.restart(lost, resets),
            Action::Rewind => state.authority.rewind(),
            Action::Connect(to) => {
                let client = &mut state.clients[to];
                client.session = state.authority.session;
                client.replica.handle_session(NOW, client.session, Some(EpochId(state.authority.epoch)));
                client.drain();
            }
            Action::Beacon(to) => {
                let client = &mut state.clients[to];
                client.beacons += 1;
                let Authority { session, epoch, sequence: head, .. } = state.authority;
                state.network.insert(Message::Beacon { to, session, n: client.beacons, epoch, head });
            }
            Action::Serve(to) => {
                let attempt = state.clients[to].in_flight?;
                if !state.network.insert(state.authority.snapshot(to, attempt)) {
                    return None;
                }
            }
            Action::Deliver(index) | Action::Corrupt(index) => {
                let is_bad = matches!(action, Action::Corrupt(_));
                state.corruptions += u32::from(is_bad);
                let message = last.network.iter().nth(index)?;
                state.clients[message.to()].deliver(message, is_bad);
            }
            Action::Fail(to) => {
                let client = &mut state.clients[to];
                let attempt = client.in_flight.take()?;
                client.replica.handle_failure(NOW, attempt);
                client.drain();
            }
            Action::Wake(to) => state.clients[to].wake(),
            Action::Refresh(to) => {
                state.refreshes += 1;
                state.clients[to].replica.refresh(NOW);
                state.clients[to].drain();
            }
        }
        for client in &mut state.clients {
            client.check(&state.authority);
        }
        state.put_in_order();
        Some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.clients.iter().all(|client| client.replica.stats().refetches <= u64::from(self.attempts))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "nothing goes back, all that is shown was true, one request",
                |_, state: &State| state.clients.iter().all(|client| client.fault.is_none()),
            ),
            Property::always("a network that works again leads to the present value", |_, state: &State| {
                state.catches_up()
            }),
            Property::sometimes("an envelope is held back", |_, state: &State| {
                state.clients.iter().any(|client| client.replica.held() > 0)
            }),
            Property::sometimes("an unknown epoch is sighted", |_, state: &State| {
                state.clients.iter().any(|client| client.replica.sighted() > 0)
            }),
            Property::sometimes("a value is in quarantine", |_, state: &State| {
                state.clients.iter().any(|client| client.replica.quarantined().is_some())
            }),
            Property::sometimes("a rollback is raised", |_, state: &State| {
                state.clients.iter().any(|client| client.has_rolled_back)
            }),
            Property::sometimes("a fence keeps the value and forgets its position", |_, state: &State| {
                state
                    .clients
                    .iter()
                    .any(|client| client.replica.position().is_none() && client.replica.epoch().is_some())
            }),
            Property::sometimes("a hold-back drains", |_, state: &State| {
                state.clients.iter().any(|client| client.has_drained)
            }),
            Property::sometimes("an answer is refused", |_, state: &State| {
                state.clients.iter().any(|client| client.has_refused_answer)
            }),
            Property::sometimes("an answer comes too late", |_, state: &State| {
                state.clients.iter().any(|client| client.has_dropped_late)
            }),
            Property::sometimes("a backoff runs", |_, state: &State| {
                state
                    .clients
                    .iter()
                    .any(|client| client.replica.is_idle() && client.replica.poll_timeout().is_some())
            }),
            Property::sometimes("the second epoch is installed", |_, state: &State| {
                state.clients.iter().any(|client| client.replica.epoch() == Some(EpochId(2)))
            }),
            Property::sometimes("the status is skew", |_, state: &State| {
                state.clients.iter().any(|client| client.replica.status() == Status::Skew)
            }),
            Property::sometimes("every replica shows the last write", |bounds: &Self, state: &State| {
                state.authority.writes == bounds.writes
                    && state.clients.iter().all(|client| client.shown == Some(token_of(bounds.writes)))
            }),
        ]
    }
}
