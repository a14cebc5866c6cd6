//! What every world stands on: one clock, one queue of events, one source of chance, one ledger.

use std::{cmp::Reverse, collections::BTreeMap, collections::BinaryHeap, fmt, time::Duration};

use tidewire::protocol::Timestamp;

use crate::{
    ledger::{Axis, Kind, Ledger, Phase},
    mix::Mix,
    random::Random,
};

/// What did not hold, in words.
pub type Fault = String;

/// What a run came to.
#[derive(Debug, Default, Clone)]
pub struct Summary {
    /// Refetches of all clients.
    pub refetches: u64,
    /// Values applied by all clients.
    pub applied: u64,
    /// Messages or frames delivered.
    pub delivered: u64,
    /// A number that two runs of one seed share.
    pub digest: u64,
}

impl Summary {
    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        self.refetches += other.refetches;
        self.applied += other.applied;
        self.delivered += other.delivered;
    }

    /// Folds what was seen of a client into the digest.
    pub fn digest(&mut self, word: u64) {
        self.digest = (self.digest ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(7);
    }
}

/// What one seed draws, and what shrinking takes apart.
pub trait Draw: Clone + fmt::Debug + PartialEq {
    /// What `seed` draws.
    fn draw(seed: u64) -> Self;

    /// Simpler ones, each with one fault less.
    fn simpler(&self) -> Vec<Self>;
}

/// Something to play seeds in.
pub trait World {
    /// What can go wrong, and how often.
    type Mix: Draw;
    /// The kinds of faults.
    type Kind: Axis;
    /// What a client may be doing when one strikes.
    type Phase: Axis;

    /// Plays a mix to its end.
    ///
    /// # Errors
    ///
    /// The first thing that did not hold.
    fn run(mix: &Self::Mix, ledger: &mut Ledger<Self::Kind, Self::Phase>) -> Result<Summary, Fault>;
}

/// The ledger of a world.
pub type LedgerOf<W> = Ledger<<W as World>::Kind, <W as World>::Phase>;

/// The simplest mix that fails as `mix` does, and how it fails.
///
/// Gives `None` where `mix` does not fail.
#[must_use]
pub fn shrink<W: World>(mix: &W::Mix) -> Option<(W::Mix, Fault)> {
    let mut mix = mix.clone();
    let mut fault = W::run(&mix, &mut Ledger::default()).err()?;
    'simpler: loop {
        for simpler in mix.simpler() {
            if let Err(other) = W::run(&simpler, &mut Ledger::default()) {
                mix = simpler;
                fault = other;
                continue 'simpler;
            }
        }
        return Some((mix, fault));
    }
}

/// The clock, the events to come, chance and the ledger of one run.
#[derive(Debug)]
pub struct Rig<'l, E, K: Axis, P: Axis> {
    /// The run's source of chance.
    pub random: Random,
    /// Whether the faults have stopped.
    pub is_calm: bool,
    /// What the run has come to so far.
    pub summary: Summary,
    ledger: &'l mut Ledger<K, P>,
    /// How long one tick is.
    length: Duration,
    tick: u64,
    /// When, in which order, for whom.
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: BTreeMap<u64, E>,
    order: u64,
}

impl<'l, E, K: Axis, P: Axis> Rig<'l, E, K, P> {
    /// At tick 0, with nothing to come.
    pub fn new(random: Random, length: Duration, ledger: &'l mut Ledger<K, P>) -> Self {
        Self {
            random,
            is_calm: false,
            summary: Summary::default(),
            ledger,
            length,
            tick: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            order: 0,
        }
    }

    /// The tick that it is.
    #[must_use]
    pub const fn tick(&self) -> u64 {
        self.tick
    }

    /// The time that it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let ticks = u32::try_from(self.tick).unwrap_or(u32::MAX);
        Timestamp::from_millis(1_000) + self.length * ticks
    }

    /// Lets time pass up to `tick`.
    pub fn pass_to(&mut self, tick: u64) {
        self.tick = self.tick.max(tick);
    }

    /// Has `event` come to `to` at tick `at`, after all that come to anybody at that tick already.
    pub fn schedule(&mut self, to: usize, at: u64, event: E) {
        self.order += 1;
        self.events.insert(self.order, event);
        self.queue.push(Reverse((at, self.order, to)));
    }

    /// The next event that is due, and whose it is.
    pub fn poll(&mut self) -> Option<(usize, E)> {
        while let Some(Reverse((at, order, to))) = self.queue.peek().copied()
            && at <= self.tick
        {
            self.queue.pop();
            if let Some(event) = self.events.remove(&order) {
                return Some((to, event));
            }
        }
        None
    }

    /// When the next event is due.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next event of `to` that `pick` picks out of its turn.
    pub fn overtake(&mut self, to: usize, pick: impl Fn(&E) -> bool) -> Option<E> {
        let theirs = self.queue.iter().filter(|Reverse((_, order, receiver))| {
            *receiver == to && self.events.get(order).is_some_and(&pick)
        });
        let (_, order) = theirs.map(|Reverse((at, order, _))| (*at, *order)).min()?;
        self.events.remove(&order)
    }

    /// Whether a fault of `per_mille` in a thousand strikes; the ledger notes in which phase.
    pub fn strikes(&mut self, per_mille: u32, kind: K, phase: impl FnOnce() -> P) -> bool {
        let strikes = !self.is_calm && self.random.chance(per_mille);
        if strikes {
            self.ledger.note(kind, phase());
        }
        strikes
    }

    /// Notes a fault that struck.
    pub fn note(&mut self, kind: K, phase: P) {
        self.ledger.note(kind, phase);
    }

    /// A delay of up to `longest` ticks; none once the faults have stopped.
    pub fn delay(&mut self, longest: u64) -> u64 {
        if self.is_calm { 0 } else { self.random.below(longest + 1) }
    }
}

impl<E> Rig<'_, E, Kind, Phase> {
    /// Sends something over a link that loses, delays and reorders.
    pub fn send(&mut self, to: usize, phase: Phase, mix: &Mix, event: E) {
        if self.strikes(mix.drop, Kind::Drop, || phase) {
            return;
        }
        let delay = self.delay(mix.delay);
        if delay > 1 {
            self.note(Kind::Delay, phase);
        }
        self.schedule(to, self.tick + 1 + delay, event);
    }
}
