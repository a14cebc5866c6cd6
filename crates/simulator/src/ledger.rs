//! Which fault struck in which phase: a fault that never fires proves nothing.

use std::fmt;

use tidewire::replica::Status;

macro_rules! kinds {
    ($($kind:ident),+ $(,)?) => {
        /// Every kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names say it; `Mix` documents each")]
        pub enum Kind { $($kind),+ }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];
        }
    };
}

kinds!(
    Drop,
    Duplicate,
    Delay,
    Corrupt,
    Poison,
    Foreign,
    Hidden,
    RefetchFailure,
    RefetchLoss,
    Lagging,
    Dead,
    Restart,
    Reset,
    Rollback,
    Disconnect,
    Refresh,
    Reentrant,
    Dispose,
);

/// What a client was doing when a fault struck.
pub const PHASES: [&str; 6] = ["empty", "empty, refetching", "ok", "refetching", "stale", "skew"];

/// Counts per fault and phase.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    counts: [[u64; PHASES.len()]; Kind::ALL.len()],
}

impl Ledger {
    /// Notes that a fault struck a client of this status.
    pub fn note(&mut self, kind: Kind, status: Status, has_position: bool) {
        let phase = match (status, has_position) {
            (Status::Refetching, false) => 1,
            (_, false) => 0,
            (Status::Ok, true) => 2,
            (Status::Refetching, true) => 3,
            (Status::Stale, true) => 4,
            (Status::Skew, true) => 5,
        };
        self.counts[kind as usize][phase] += 1;
    }

    /// Adds another ledger's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().flatten().zip(other.counts.iter().flatten()) {
            *mine += theirs;
        }
    }

    /// The pairs of fault and phase that never came up.
    #[must_use]
    pub fn missing(&self) -> Vec<(Kind, &'static str)> {
        let mut missing = Vec::new();
        for kind in Kind::ALL {
            for (phase, count) in PHASES.into_iter().zip(self.counts[*kind as usize]) {
                if count == 0 {
                    missing.push((*kind, phase));
                }
            }
        }
        missing
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:16}", "fault \\ phase")?;
        for phase in PHASES {
            write!(formatter, "{phase:>20}")?;
        }
        for kind in Kind::ALL {
            write!(formatter, "\n{:16}", format!("{kind:?}"))?;
            for count in self.counts[*kind as usize] {
                write!(formatter, "{count:>20}")?;
            }
        }
        Ok(())
    }
}
