//! A link as a WebSocket is one: ordered both ways, and everything else may happen to it.

use std::{collections::VecDeque, sync::Arc};

use tidewire::{server::ConnectionId, session::Generation};

/// What is on the way to the server.
#[derive(Debug)]
pub(super) enum Up {
    Dial,
    Frame(Vec<u8>),
    Close,
}

/// What is on the way to the client.
#[derive(Debug)]
pub(super) enum Down {
    Opened,
    Frame(Arc<[u8]>),
    Closed { code: u16, reason: String },
}

/// One direction. A token per item is in the world's queue; when it comes up, the oldest item arrives, so that nothing
/// is ever overtaken.
#[derive(Debug)]
pub(super) struct Lane<T> {
    items: VecDeque<T>,
    /// When the last item arrives.
    last: u64,
    /// Nothing arrives before.
    stalled: u64,
    /// Whatever is put on it vanishes.
    is_dead: bool,
}

impl<T> Lane<T> {
    const fn new() -> Self {
        Self { items: VecDeque::new(), last: 0, stalled: 0, is_dead: false }
    }

    /// Puts an item on the lane; gives the tick at which it arrives, or `None` where it vanishes.
    pub(super) fn put(&mut self, at: u64, item: T) -> Option<u64> {
        if self.is_dead {
            return None;
        }
        self.items.push_back(item);
        self.last = self.last.max(at);
        Some(self.last)
    }

    /// The item whose token came up, or when to try again.
    pub(super) fn take(&mut self, now: u64) -> Result<Option<T>, u64> {
        if self.stalled > now { Err(self.stalled) } else { Ok(self.items.pop_front()) }
    }

    /// Delivers nothing before `until`.
    pub(super) fn stall(&mut self, until: u64) {
        self.stalled = self.stalled.max(until);
    }

    /// All but the first `kept` items, and all to come, vanish.
    pub(super) fn cut(&mut self, kept: usize) {
        self.items.truncate(kept);
        self.is_dead = true;
    }

    /// Drops what is on it, and delivers one last item.
    pub(super) fn end(&mut self, at: u64, item: T) -> u64 {
        self.items.clear();
        self.items.push_back(item);
        self.is_dead = true;
        self.stalled = 0;
        at
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: usize,
    pub(super) generation: Generation,
    pub(super) connection: ConnectionId,
    /// The server's process that it leads to.
    pub(super) process: u32,
    pub(super) up: Lane<Up>,
    pub(super) down: Lane<Down>,
    /// How much later than sent its frames are reported to have left.
    pub(super) lag: u64,
}

impl Link {
    pub(super) const fn new(
        peer: usize,
        generation: Generation,
        connection: ConnectionId,
        process: u32,
    ) -> Self {
        Self { peer, generation, connection, process, up: Lane::new(), down: Lane::new(), lag: 0 }
    }
}
