//! Randomness from the host's seed: epochs, public ids, traces and session numbers.

use alloc::{
    borrow::ToOwned,
    string::{String, ToString},
};
use rand_chacha::{
    ChaCha12Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::storage::Trace;
use crate::protocol::{Epoch, limits::MAX_SEQUENCE};

/// A generator whose output does not tell its state: public ids must not be guessable from the epochs on the wire.
#[derive(Debug)]
pub(super) struct Random(ChaCha12Rng);

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    pub(super) fn epoch(&mut self) -> Epoch {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        Epoch::from_bytes(bytes)
    }

    /// A public id of 24 hex digits.
    pub(super) fn public_id(&mut self) -> String {
        self.epoch().to_string()[..24].to_owned()
    }

    pub(super) fn trace(&mut self) -> Trace {
        let mut bytes = [0; 16];
        self.0.fill_bytes(&mut bytes);
        Trace::from_bytes(bytes)
    }

    /// A number that JavaScript holds exactly.
    pub(super) fn session(&mut self) -> u64 {
        self.0.next_u64() & MAX_SEQUENCE
    }
}
