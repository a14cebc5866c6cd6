//! Histories: what is known of each epoch, which of them are over, and whose word counts (rules 9, 11).

use alloc::vec::Vec;

use crate::protocol::Timestamp;

use super::{
    buffer::HoldBack,
    types::{EpochId, Token},
};

/// Retired epochs that are remembered: as many as a lineage can name.
const MAX_RETIRED: usize = 8;
/// Unknown epochs that are followed at once (rule 7): more than a cluster can plausibly mint while one client looks.
pub(super) const MAX_UNKNOWN: usize = 4;

/// The epochs before the applied one, newest first: each with the last sequence kept of it.
pub(super) type Lineage = [(EpochId, u64)];

/// What is known of one epoch.
#[derive(Debug, Clone, Hash)]
pub(super) struct History {
    pub(super) epoch: EpochId,
    /// The newest sequence seen: receipts (refused ones too), snapshots, heads of beacons.
    pub(super) newest: Option<u64>,
    /// When `newest` last rose (rule 12).
    pub(super) rose_at: Timestamp,
    /// The newest attempt when this epoch was last seen: an answer to a later one settles the sighting (rule 8).
    pub(super) seen_after: u32,
    pub(super) held: HoldBack,
}

impl History {
    pub(super) fn new(epoch: EpochId) -> Self {
        Self { epoch, newest: None, rose_at: Timestamp::default(), seen_after: 0, held: HoldBack::default() }
    }

    pub(super) fn raise(&mut self, now: Timestamp, sequence: u64) {
        if self.newest.is_none_or(|newest| newest < sequence) {
            self.newest = Some(sequence);
            self.rose_at = now;
        }
    }
}

/// The histories that are not the applied one: sighted, neither installed nor retired.
///
/// While there is any, the recovery is unsatisfied (rule 8).
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Sightings(Vec<History>);

impl Sightings {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &History> {
        self.0.iter()
    }

    /// The history of `epoch`, made if it is new; then the oldest goes where there are too many.
    pub(super) fn sight(&mut self, epoch: EpochId, attempt: u32, discard: impl FnMut(Token)) -> &mut History {
        let index = self.0.iter().position(|history| history.epoch == epoch).unwrap_or_else(|| {
            if self.0.len() == MAX_UNKNOWN {
                self.0.remove(0).held.clear(discard);
            }
            self.0.push(History::new(epoch));
            self.0.len() - 1
        });
        let history = &mut self.0[index];
        history.seen_after = attempt;
        history
    }

    pub(super) fn take(&mut self, epoch: EpochId) -> Option<History> {
        let index = self.0.iter().position(|history| history.epoch == epoch)?;
        Some(self.0.remove(index))
    }

    /// Drops the sightings for which `is_over` holds.
    pub(super) fn drop_where(
        &mut self,
        mut is_over: impl FnMut(&History) -> bool,
        mut discard: impl FnMut(Token),
    ) {
        self.0.retain_mut(|history| {
            let over = is_over(history);
            if over {
                history.held.clear(&mut discard);
            }
            !over
        });
    }

    pub(super) fn clear_held(&mut self, mut discard: impl FnMut(Token)) {
        for history in &mut self.0 {
            history.held.clear(&mut discard);
            history.newest = None;
        }
    }
}

/// The epochs that are over, newest last.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Retired(Vec<EpochId>);

impl Retired {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, epoch: EpochId) -> bool {
        self.0.contains(&epoch)
    }

    pub(super) fn add(&mut self, epoch: EpochId) {
        if epoch.is_none() {
            return;
        }
        self.remove(epoch);
        if self.0.len() == MAX_RETIRED {
            self.0.remove(0);
        }
        self.0.push(epoch);
    }

    pub(super) fn remove(&mut self, epoch: EpochId) {
        self.0.retain(|retired| *retired != epoch);
    }
}

/// What the present session has said: which epoch it speaks for, and the counts of its beacons (rule 13).
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Session {
    /// The present session; `None` where the transport has none, until its first beacon.
    pub(super) number: Option<u64>,
    /// Whether the number comes from a hello. If not, a later beacon with a higher one begins a session.
    pub(super) is_declared: bool,
    /// The epoch of the newest hello or beacon of this session.
    voice: Option<EpochId>,
    /// The epoch of the newest receipt of this session.
    receipt: Option<EpochId>,
    /// Whether this transport has beacons: then a receipt proves nothing (rule 9).
    has_beacons: bool,
    /// The number of the newest beacon.
    pub(super) last_beacon: Option<u64>,
    /// The head of the beacon before, where it was of the applied epoch.
    pub(super) earlier_head: Option<u64>,
    /// When the beacon before came, where its head was below the applied position.
    pub(super) below_applied: Option<Timestamp>,
    /// When the beacon before came, where its head was below the newest sequence seen, but not below the applied one.
    pub(super) below_newest: Option<Timestamp>,
}

impl Session {
    pub(super) fn begin(&mut self, number: u64, is_declared: bool) {
        *self = Self { number: Some(number), is_declared, has_beacons: self.has_beacons, ..Self::default() };
    }

    /// What a session without counts under way has said: its number, whether a hello gave it, whether it has beacons;
    /// the newest voice and receipt; the newest beacon and head.
    pub(super) fn again(
        (number, is_declared, has_beacons): (Option<u64>, bool, bool),
        (voice, receipt): (Option<EpochId>, Option<EpochId>),
        (last_beacon, earlier_head): (Option<u64>, Option<u64>),
    ) -> Self {
        Self {
            number,
            is_declared,
            voice,
            receipt,
            has_beacons,
            last_beacon,
            earlier_head,
            below_applied: None,
            below_newest: None,
        }
    }

    pub(super) const fn voice(&self) -> Option<EpochId> {
        self.voice
    }

    pub(super) const fn has_beacons(&self) -> bool {
        self.has_beacons
    }

    pub(super) fn hear_hello(&mut self, epoch: EpochId) {
        self.voice = Some(epoch);
    }

    pub(super) fn hear_beacon(&mut self, epoch: EpochId) {
        self.voice = Some(epoch);
        self.has_beacons = true;
    }

    pub(super) fn hear_receipt(&mut self, epoch: EpochId) {
        self.receipt = Some(epoch);
    }

    pub(super) const fn heard_receipt(&self) -> Option<EpochId> {
        self.receipt
    }

    /// Whether the present session speaks for `epoch` (rule 9).
    pub(super) fn vouches_for(&self, epoch: EpochId) -> bool {
        match self.voice {
            Some(voice) => voice == epoch,
            None => !self.has_beacons && self.receipt == Some(epoch),
        }
    }

    /// Forgets the counts that were about the position before.
    pub(super) fn restart_counts(&mut self) {
        self.earlier_head = None;
        self.below_applied = None;
        self.below_newest = None;
    }
}
