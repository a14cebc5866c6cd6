//! What can go wrong in a run of the whole stack, and how often.

use std::fmt;

use crate::{
    ledger::{Axis, axis},
    random::Random,
    rig::Draw,
};

axis! {
    /// What can go wrong.
    Trouble {
        /// A link delivers nothing for a while, then everything.
        Stall,
        /// A link delivers nothing any more, and nobody is told.
        HalfOpen,
        /// The same, but in one direction only.
        OneWay,
        /// A link breaks, with what is on it; each side is told sooner or later.
        Cut,
        /// The server closes a connection, and may say when to come back.
        Close,
        /// The server drops a connection with its backlog, as of a slow reader.
        Evict,
        /// A dial is refused.
        Refuse,
        /// A dial is never answered.
        Hang,
        /// What has left is reported late, and the reader is slow.
        Slow,
        /// A client sleeps: nothing reaches it, its timers stand still.
        Sleep,
        /// A client is told that the network may be back.
        Nudge,
        /// A page is closed, with a word to the server or without, and another opened.
        Reload,
        /// A server's frame is no protocol.
        Garbage,
        /// The server's clock goes back an hour.
        ClockBack,
        /// The server's clock goes ten years ahead.
        ClockAhead,
        /// An operation of the storage fails.
        DiskFailure,
        /// The storage fails and cannot go back.
        DiskLoss,
        /// The server's process dies, perhaps in the middle of a batch.
        Crash,
        /// The server restarts in good order.
        Restart,
        /// The server is restored from a backup.
        Restore,
        /// A datastore is opened for a few seconds only.
        ShortLife,
        /// A value that gates refuse is written.
        Poison,
    }
}

axis! {
    /// What a client was doing when it struck.
    Phase {
        /// Dialing or greeting.
        Connecting,
        /// Waiting to dial.
        Waiting,
        /// Live, and something has no first value yet.
        Empty,
        /// Live, and something is not up to date as far as it knows.
        Behind,
        /// Live, and all is well.
        Live,
        /// Live, and a write is under way.
        Writing,
        /// Asleep.
        Asleep,
    }
}

/// How often each trouble comes: per hundred thousand pulses, and clients where it strikes one.
#[derive(Clone, PartialEq, Eq)]
pub struct Rates([u32; Trouble::ALL.len()]);

impl fmt::Debug for Rates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates = Trouble::ALL.iter().zip(self.0).filter(|(_, rate)| *rate > 0);
        formatter.debug_map().entries(rates).finish()
    }
}

/// The troubles and options of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    /// The seed of the run.
    pub seed: u64,
    /// How long the faults last, in pulses.
    pub pulses: u64,
    /// How many clients there are.
    pub clients: u32,
    /// The longest way of a frame, in milliseconds.
    pub latency: u64,
    /// Writes per thousand pulses and clients.
    pub writes: u32,
    /// Subscriptions and their ends, per thousand pulses and clients.
    pub churn: u32,
    /// Batches of more than one input, per thousand.
    pub batches: u32,
    /// Bytes that values are made longer by.
    pub filler: usize,
    /// How often each trouble comes.
    pub rates: Rates,
}

impl Mix {
    /// How often a trouble comes.
    #[must_use]
    pub fn rate(&self, trouble: Trouble) -> u32 {
        self.rates.0[trouble.index()]
    }
}

impl Draw for Mix {
    fn draw(seed: u64) -> Self {
        let random = &mut Random::new(seed ^ 0x0053_5441_434b);
        let mut rates = Rates([0; Trouble::ALL.len()]);
        for rate in &mut rates.0 {
            if random.below(2) == 0 {
                *rate = u32::try_from(50 + random.below(950)).unwrap_or(0);
            }
        }
        // Snapshots of several pages and full outflows need large values; they are slow, so they are rare.
        let is_large = random.below(12) == 0;
        Self {
            seed,
            pulses: 40 + random.below(if is_large { 120 } else { 400 }),
            clients: 1 + u32::try_from(random.below(4)).unwrap_or(0),
            latency: [1, 20, 200, 2_000][usize::try_from(random.below(4)).unwrap_or(0)],
            writes: 10 + u32::try_from(random.below(if is_large { 150 } else { 300 })).unwrap_or(0),
            churn: u32::try_from(random.below(80)).unwrap_or(0),
            batches: u32::try_from(random.below(800)).unwrap_or(0),
            filler: if is_large { 40_000 + usize::try_from(random.below(60_000)).unwrap_or(0) } else { 0 },
            rates,
        }
    }

    fn simpler(&self) -> Vec<Self> {
        let mut mixes = Vec::new();
        let mut push = |change: &dyn Fn(&mut Self)| {
            let mut mix = self.clone();
            change(&mut mix);
            if mix != *self {
                mixes.push(mix);
            }
        };
        push(&|m| m.pulses /= 2);
        push(&|m| m.pulses = m.pulses * 9 / 10);
        push(&|m| m.clients = 1);
        push(&|m| m.clients = m.clients.min(2));
        for trouble in Trouble::ALL {
            push(&|m| m.rates.0[trouble.index()] = 0);
        }
        push(&|m| m.filler = 0);
        push(&|m| m.batches = 0);
        push(&|m| m.churn = 0);
        push(&|m| m.latency = 1);
        push(&|m| m.writes /= 2);
        mixes
    }
}
