//! Which fault struck in which phase: a fault that never fires proves nothing.

use std::{fmt, marker::PhantomData};

use tidewire::replica::Status;

/// One side of a ledger: a few values, all of them known.
pub trait Axis: Copy + fmt::Debug + PartialEq + Send + 'static {
    /// All of them, in order.
    const ALL: &'static [Self];

    /// Its place among them.
    fn index(self) -> usize;
}

/// Declares an enum that is an [`Axis`].
macro_rules! axis {
    ($(#[$meta:meta])* $name:ident { $($(#[$about:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$about])* $variant),+ }

        impl $crate::ledger::Axis for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(crate) use axis;

axis! {
    /// What can strike a replica. [`Mix`](crate::Mix) documents each.
    #[expect(missing_docs, reason = "the names say it")]
    Kind {
        Drop, Duplicate, Delay, Corrupt, Poison, Foreign, Hidden, RefetchFailure, RefetchLoss, Lagging, Dead, Restart,
        Reset, Rollback, Disconnect, Refresh, Reentrant, Dispose,
    }
}

axis! {
    /// What a replica was doing when a fault struck.
    Phase {
        /// Nothing is applied, nothing asked.
        Empty,
        /// Nothing is applied; a request is in flight.
        EmptyRefetching,
        /// All is well.
        Ok,
        /// A request is in flight.
        Refetching,
        /// Something is missing.
        Stale,
        /// The newest value was refused.
        Skew,
    }
}

impl Phase {
    /// The phase of a replica with this status, which has applied something or not.
    #[must_use]
    pub const fn of(status: Status, has_position: bool) -> Self {
        match (status, has_position) {
            (Status::Refetching, false) => Self::EmptyRefetching,
            (_, false) => Self::Empty,
            (Status::Ok, true) => Self::Ok,
            (Status::Refetching, true) => Self::Refetching,
            (Status::Stale, true) => Self::Stale,
            (Status::Skew, true) => Self::Skew,
        }
    }

    /// Whether a request is in flight.
    #[must_use]
    pub const fn is_refetching(self) -> bool {
        matches!(self, Self::EmptyRefetching | Self::Refetching)
    }
}

/// Counts per fault and phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger<K, P> {
    counts: Vec<u64>,
    axes: PhantomData<(K, P)>,
}

impl<K: Axis, P: Axis> Default for Ledger<K, P> {
    fn default() -> Self {
        Self { counts: vec![0; K::ALL.len() * P::ALL.len()], axes: PhantomData }
    }
}

impl<K: Axis, P: Axis> Ledger<K, P> {
    /// Notes that a fault struck in a phase.
    pub fn note(&mut self, kind: K, phase: P) {
        self.counts[kind.index() * P::ALL.len() + phase.index()] += 1;
    }

    /// How often a fault struck in a phase.
    #[must_use]
    pub fn count(&self, kind: K, phase: P) -> u64 {
        self.counts[kind.index() * P::ALL.len() + phase.index()]
    }

    /// Adds another ledger's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// The pairs of fault and phase that never came up.
    #[must_use]
    pub fn missing(&self) -> Vec<(K, P)> {
        let pairs = K::ALL.iter().flat_map(|kind| P::ALL.iter().map(|phase| (*kind, *phase)));
        pairs.filter(|(kind, phase)| self.count(*kind, *phase) == 0).collect()
    }
}

impl<K: Axis, P: Axis> fmt::Display for Ledger<K, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:16}", "fault \\ phase")?;
        for phase in P::ALL {
            write!(formatter, "{:>16}", format!("{phase:?}"))?;
        }
        for kind in K::ALL {
            write!(formatter, "\n{:16}", format!("{kind:?}"))?;
            for phase in P::ALL {
                write!(formatter, "{:>16}", self.count(*kind, *phase))?;
            }
        }
        Ok(())
    }
}
