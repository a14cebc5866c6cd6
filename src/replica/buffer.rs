//! The hold-back: envelopes beyond a gap, kept until order reaches them (rule 7).
//!
//! One per epoch. It keeps headers and tokens; the values stay with the host. Bounded by count and weight.

use alloc::vec::Vec;

use super::types::{EpochId, Header, Token, Version};

/// Most envelopes held back per epoch: a long outage of one request at a high rate, and still little memory.
pub(super) const MAX_HELD: usize = 1_024;
/// Most bytes held back per epoch.
pub(super) const MAX_HELD_WEIGHT: u64 = 256 * 1024;

/// What is held of one envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Content {
    /// Of an unknown epoch: version and gate come when it is drained.
    Raw(Token),
    /// Passed the gate.
    Good(Token),
    /// Refused by gate or version: only the header counts, so that its successor is no gap (rule 4).
    Refused,
}

impl Content {
    const fn token(self) -> Option<Token> {
        match self {
            Self::Raw(token) | Self::Good(token) => Some(token),
            Self::Refused => None,
        }
    }
}

#[derive(Debug, Clone, Copy, Hash)]
struct Held {
    sequence: u64,
    /// The sequence that must be settled before this one is in order.
    needs: u64,
    version: Version,
    weight: u32,
    content: Content,
}

impl Held {
    const fn header(&self, epoch: EpochId) -> Header {
        Header { epoch, sequence: self.sequence, prev: Some(self.needs), version: self.version }
    }
}

/// Envelopes of one epoch beyond a gap, by sequence.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct HoldBack {
    /// In order of their sequences: nearly all come that way, and there are few of them.
    entries: Vec<Held>,
    weight: u64,
    /// No entry is in order below this: spares a search whenever the cursor moves.
    least: u64,
}

impl HoldBack {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn weight(&self) -> u64 {
        self.weight
    }

    /// Holds an envelope. Of two copies of a sequence the better one stays: a good one replaces a refused one, never
    /// the reverse. Tokens that nothing needs any more go to `discard`; on overflow that is the whole buffer (rule 7).
    pub(super) fn hold(
        &mut self,
        header: &Header,
        content: Content,
        weight: u32,
        mut discard: impl FnMut(Token),
    ) {
        let index = self.index(header.sequence);
        if let Some(held) = self.entries.get_mut(index).filter(|held| held.sequence == header.sequence) {
            // Either copy's `prev` is true, so the one that reaches further back decides.
            held.needs = held.needs.min(header.needs());
            self.least = self.least.min(held.needs);
            if held.content != Content::Refused || content == Content::Refused {
                if let Some(token) = content.token() {
                    discard(token);
                }
                return;
            }
            held.content = content;
            held.version = header.version;
            held.weight = weight;
            self.weight += u64::from(weight);
        } else {
            let needs = header.needs();
            let held = Held { sequence: header.sequence, needs, version: header.version, weight, content };
            self.least = if self.entries.is_empty() { needs } else { self.least.min(needs) };
            self.entries.insert(index, held);
            self.weight += u64::from(weight);
        }
        if self.entries.len() > MAX_HELD || self.weight > MAX_HELD_WEIGHT {
            self.clear(discard);
        }
    }

    /// Takes the first envelope that is in order once everything up to `cursor` is settled.
    pub(super) fn take_next(&mut self, epoch: EpochId, cursor: u64) -> Option<(Header, Content)> {
        if self.least > cursor {
            return None;
        }
        let Some(index) = self.entries.iter().position(|held| held.needs <= cursor) else {
            self.least = self.entries.iter().map(|held| held.needs).min().unwrap_or(u64::MAX);
            return None;
        };
        let held = self.entries.remove(index);
        self.weight -= u64::from(held.weight);
        Some((held.header(epoch), held.content))
    }

    /// All that is held, in order.
    pub(super) fn into_entries(self, epoch: EpochId) -> impl Iterator<Item = (Header, Content)> {
        self.entries.into_iter().map(move |held| (held.header(epoch), held.content))
    }

    /// Drops what is above `limit` (rule 12).
    pub(super) fn drop_above(&mut self, limit: u64, mut discard: impl FnMut(Token)) {
        for held in self.entries.drain(self.entries.partition_point(|held| held.sequence <= limit)..) {
            self.weight -= u64::from(held.weight);
            held.content.token().map(&mut discard);
        }
    }

    pub(super) fn clear(&mut self, mut discard: impl FnMut(Token)) {
        self.weight = 0;
        for held in core::mem::take(&mut self.entries) {
            held.content.token().map(&mut discard);
        }
    }

    /// Where `sequence` is, or belongs.
    fn index(&self, sequence: u64) -> usize {
        self.entries.partition_point(|held| held.sequence < sequence)
    }
}
