//! How much the native server lets in: the defaults, each with its reason.

use tidewire::server::{self, Rate};

use crate::host::BACKLOG_BYTES;

/// How much the server lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// WebSockets at a time.
    pub connections: usize,
    /// WebSockets from one address, or from one /64 of version 6. Those of this machine are not counted.
    pub connections_per_address: usize,
    /// Bytes that may wait for a connection before it is evicted.
    pub backlog_bytes: usize,
    /// What one connection may ask for.
    pub connection: server::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // At 20 KB for an idle one that is 400 MB, which a small machine has.
            connections: 20_000,
            // An office behind one address; far from what would fill the house.
            connections_per_address: 1_000,
            backlog_bytes: BACKLOG_BYTES,
            connection: server::Limits {
                // Sixty cursors a second into many pools, and all 10,000 subscriptions at once and once more.
                messages: Some(Rate { per_second: 5_000, burst: 50_000 }),
                // A tenth of what a good disk commits, so that one client leaves room for the others.
                writes: Some(Rate { per_second: 2_000, burst: 20_000 }),
                ..server::Limits::default()
            },
        }
    }
}
