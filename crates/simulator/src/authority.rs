//! The model authority of one object: small enough to be seen to be right.

use std::collections::BTreeMap;

use tidewire::replica::{EpochId, Header, Version};

/// A value: what it is and what the gate of any client says to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// Its identity. Every write makes a new one.
    pub number: u64,
    /// Whether a gate refuses it.
    pub is_bad: bool,
    /// The major schema version it is written under.
    pub major: u32,
}

/// A state of the object at some position.
#[derive(Debug, Clone)]
pub struct State {
    /// The history.
    pub epoch: EpochId,
    /// The head.
    pub sequence: u64,
    /// The value; `None` before the first write of the epoch.
    pub value: Option<Value>,
    /// The epochs before, newest first.
    pub lineage: Vec<(EpochId, u64)>,
    /// The last sequence that was sent to subscribers.
    pub sent: u64,
}

impl State {
    /// The header of its snapshot.
    #[must_use]
    pub fn header(&self) -> Header {
        let major = self.value.map(|value| value.major);
        Header {
            epoch: self.epoch,
            sequence: self.sequence,
            prev: None,
            version: Version { id: major.unwrap_or(0), major },
        }
    }
}

/// The authority, with all it has ever said.
#[derive(Debug)]
pub struct Authority {
    /// What is true now.
    pub state: State,
    /// Every value that was ever true at a position. More than one only where rule 12 was broken.
    pub shown: BTreeMap<(EpochId, u64), Vec<Option<u64>>>,
    /// Older states, for lagging and dead snapshots.
    pub past: Vec<State>,
    /// The present session.
    pub session: u64,
    /// The beacons of the session.
    pub beacons: u64,
    epochs: u32,
    writes: u64,
    /// Whether a sequence was used again that no epoch tells apart from the first.
    pub has_reset: bool,
}

impl Authority {
    /// An authority that has written nothing.
    #[must_use]
    pub fn new(has_epochs: bool) -> Self {
        let epoch = if has_epochs { EpochId(1) } else { EpochId::NONE };
        Self {
            state: State { epoch, sequence: 0, value: None, lineage: Vec::new(), sent: 0 },
            shown: BTreeMap::new(),
            past: Vec::new(),
            session: 1,
            beacons: 0,
            epochs: u32::from(has_epochs),
            writes: 0,
            has_reset: false,
        }
    }

    /// Writes a value; gives the envelope, unless the change is hidden from subscribers.
    pub fn write(
        &mut self,
        is_bad: bool,
        major: u32,
        is_hidden: bool,
        has_prev: bool,
    ) -> Option<(Header, Value)> {
        self.past.push(self.state.clone());
        self.writes += 1;
        self.state.sequence += 1;
        // The first value of an epoch is never hidden: there would be nothing to show.
        let envelope = if is_hidden && self.state.value.is_some() {
            None
        } else {
            let value = Value { number: self.writes, is_bad, major };
            self.state.value = Some(value);
            let sent = std::mem::replace(&mut self.state.sent, self.state.sequence);
            let prev = (has_prev || sent + 1 != self.state.sequence).then_some(sent);
            Some((Header { prev, ..self.state.header() }, value))
        };
        self.note();
        envelope
    }

    fn note(&mut self) {
        let number = self.state.value.map(|value| value.number);
        let values = self.shown.entry((self.state.epoch, self.state.sequence)).or_default();
        if !values.contains(&number) {
            values.push(number);
        }
    }

    /// A restart: a new session, and a new epoch where there are epochs. `kept` is how many sequences are lost;
    /// `resets` begins to count at 0.
    pub fn restart(&mut self, lost: usize, resets: bool) {
        self.past.push(self.state.clone());
        self.session += 1;
        self.beacons = 0;
        if self.state.epoch.is_none() {
            if resets || lost > 0 {
                self.roll_back(lost.max(1));
            }
            if resets {
                self.has_reset = true;
                self.state.sequence = 0;
                self.state.sent = 0;
                self.state.value = None;
            }
            return;
        }
        let same: Vec<_> =
            self.past.iter().filter(|state| state.epoch == self.state.epoch).cloned().collect();
        if let Some(state) = same.get(same.len().saturating_sub(1 + lost)) {
            self.state = state.clone();
        }
        let kept = (self.state.epoch, self.state.sequence);
        self.epochs += 1;
        self.state.lineage.insert(0, kept);
        self.state.lineage.truncate(8);
        self.state.epoch = EpochId(self.epochs);
        if resets {
            self.state.sequence = 0;
            self.state.sent = 0;
            self.state.value = None;
        }
        self.note();
    }

    /// Goes back within the epoch, which rule 12 forbids.
    pub fn roll_back(&mut self, lost: usize) {
        let same: Vec<_> =
            self.past.iter().filter(|state| state.epoch == self.state.epoch).cloned().collect();
        if same.is_empty() {
            return;
        }
        self.has_reset = true;
        let state = same[same.len().saturating_sub(lost)].clone();
        self.past.push(self.state.clone());
        self.state = State { lineage: self.state.lineage.clone(), ..state };
    }
}
