//! What can go wrong in one run, and how often. Each seed draws its own mix; shrinking takes faults out of it.

use crate::{random::Random, rig::Draw};

/// The faults and options of one run. Rates are per mille of the events that they can strike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    /// The seed of the run.
    pub seed: u64,
    /// How long the faults last, in ticks of 100 ms.
    pub ticks: u64,
    /// How many clients there are.
    pub clients: u32,
    /// Writes per tick.
    pub writes: u32,
    /// Messages lost.
    pub drop: u32,
    /// Messages delivered twice.
    pub duplicate: u32,
    /// The longest delay of a message, in ticks. Two messages may overtake each other by as much.
    pub delay: u64,
    /// Requests that fail with an error.
    pub refetch_failure: u32,
    /// Requests that are never answered.
    pub refetch_loss: u32,
    /// Snapshots of an older state of the same epoch.
    pub lagging: u32,
    /// Snapshots of an epoch that is over.
    pub dead: u32,
    /// Copies that the gate refuses.
    pub corrupt: u32,
    /// Writes that every gate refuses.
    pub poison: u32,
    /// Writes under another major schema version.
    pub foreign: u32,
    /// Writes that no subscriber may see.
    pub hidden: u32,
    /// Restarts, per ten thousand ticks. The authority mints an epoch (where it has any) and may begin to count anew.
    pub restart: u32,
    /// Rollbacks within an epoch, per ten thousand ticks: an authority that breaks rule 12.
    pub rollback: u32,
    /// Disconnections, per ten thousand ticks and client.
    pub disconnect: u32,
    /// Calls of `refresh`, per ten thousand ticks and client.
    pub refresh: u32,
    /// Inputs that come while a gate runs.
    pub reentrant: u32,
    /// Clients that are disposed at the end of the faults.
    pub dispose: u32,
    /// Whether the authority has epochs.
    pub has_epochs: bool,
    /// Whether envelopes carry `prev` also where nothing was hidden.
    pub has_prev: bool,
    /// Whether sessions say hello.
    pub has_hello: bool,
    /// Whether clients can refetch. Without it only safety is checked.
    pub has_refetch: bool,
    /// Whether clients are told that the transport keeps order.
    pub is_ordered: bool,
    /// Whether clients are made with `onGap: 'commit'`.
    pub commits: bool,
    /// Whether clients have no gate.
    pub is_trusted: bool,
    /// Whether clients get a seed: 0 none, 1 the present state, 2 an older one, 3 one that comes late.
    pub hydration: u8,
}

impl Draw for Mix {
    fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let r = &mut random;
        // Half of the runs are without each kind of fault: rare combinations come up, and simple ones too.
        let mut rate = |limit: u64| -> u32 {
            if r.bits() & 1 == 0 { 0 } else { u32::try_from(r.below(limit + 1)).unwrap_or(0) }
        };
        let (drop, duplicate, delay) = (rate(300), rate(500), u64::from(rate(40)));
        let (refetch_failure, refetch_loss) = (rate(300), rate(200));
        let (lagging, dead, corrupt) = (rate(300), rate(200), rate(200));
        let (poison, foreign, hidden) = (rate(100), rate(100), rate(300));
        let (restart, rollback, disconnect) = (rate(60), rate(40), rate(80));
        let (refresh, reentrant, dispose) = (rate(50), rate(200), rate(100));
        Self {
            seed,
            ticks: 200 + r.below(600),
            clients: 1 + u32::try_from(r.below(2)).unwrap_or(0),
            writes: 20 + u32::try_from(r.below(300)).unwrap_or(0),
            drop,
            duplicate,
            delay,
            refetch_failure,
            refetch_loss,
            lagging,
            dead,
            corrupt,
            poison,
            foreign,
            hidden,
            restart,
            rollback,
            disconnect,
            refresh,
            reentrant,
            dispose,
            has_epochs: r.below(5) > 0,
            has_prev: r.below(2) == 0,
            has_hello: r.below(4) > 0,
            has_refetch: r.below(12) > 0,
            is_ordered: delay == 0 || r.below(2) == 0,
            commits: r.below(4) == 0,
            is_trusted: r.below(8) == 0,
            hydration: u8::try_from(r.below(4)).unwrap_or(0),
        }
        .made_consistent()
    }

    fn simpler(&self) -> Vec<Self> {
        let mut mixes = Vec::new();
        let mut push = |change: &dyn Fn(&mut Self)| {
            let mut mix = self.clone();
            change(&mut mix);
            let mix = mix.made_consistent();
            if mix != *self {
                mixes.push(mix);
            }
        };
        push(&|m| m.clients = 1);
        push(&|m| m.ticks /= 2);
        push(&|m| m.ticks = m.ticks * 9 / 10);
        push(&|m| m.drop = 0);
        push(&|m| m.duplicate = 0);
        push(&|m| m.delay = 0);
        push(&|m| m.delay /= 2);
        push(&|m| m.refetch_failure = 0);
        push(&|m| m.refetch_loss = 0);
        push(&|m| m.lagging = 0);
        push(&|m| m.dead = 0);
        push(&|m| m.corrupt = 0);
        push(&|m| m.poison = 0);
        push(&|m| m.foreign = 0);
        push(&|m| m.hidden = 0);
        push(&|m| m.restart = 0);
        push(&|m| m.rollback = 0);
        push(&|m| m.disconnect = 0);
        push(&|m| m.refresh = 0);
        push(&|m| m.reentrant = 0);
        push(&|m| m.dispose = 0);
        push(&|m| m.hydration = 0);
        push(&|m| m.commits = false);
        push(&|m| m.has_prev = false);
        push(&|m| m.writes /= 2);
        mixes
    }
}

impl Mix {
    /// Without a gate nothing can be refused, so no copy may be bad.
    fn made_consistent(mut self) -> Self {
        if self.is_trusted {
            self.corrupt = 0;
            self.poison = 0;
        }
        self
    }
}
