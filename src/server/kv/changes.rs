//! What changed in the kv store: held back until the commit, then told to watchers and callbacks.

use std::{collections::VecDeque, fmt, mem, sync::Arc};

use super::Watched;
use crate::{
    protocol::{EncodedValue, KvEventKind, ServerMessage, Timestamp},
    server::{
        ConnectionId, Server,
        storage::{Storage, Value},
    },
};

/// A change of the kv store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvEvent {
    /// What happened.
    pub kind: KvEventKind,
    /// The group, with its namespace.
    pub group: Arc<str>,
    /// The key; empty for a whole group.
    pub key: Arc<str>,
    /// The new value of a key that was set.
    pub value: Option<Value>,
    /// When.
    pub at: Timestamp,
}

/// A callback, as the server numbers it. A number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallbackId(u64);

pub(super) type Callback<S> = Box<dyn FnMut(&mut Server<S>, Timestamp, &KvEvent) + Send>;

struct Registered<S> {
    id: CallbackId,
    /// The number of the first event that it may hear.
    since: u64,
    /// `None` while it runs.
    callback: Option<Callback<S>>,
}

/// The changes that are not told yet, and the callbacks to be told.
pub(in crate::server) struct Changes<S> {
    /// Those of the open batch.
    pending: Vec<KvEvent>,
    /// The number of the first of them. Numbers rise over all batches, undone ones among them.
    first: u64,
    /// In the order of their registrations.
    callbacks: Vec<Registered<S>>,
    last: u64,
    /// Committed, and still to be told to the callbacks.
    untold: VecDeque<(u64, KvEvent)>,
    /// Whether a callback runs at the moment.
    is_telling: bool,
}

impl<S> Default for Changes<S> {
    fn default() -> Self {
        Self {
            pending: Vec::new(),
            first: 0,
            callbacks: Vec::new(),
            last: 0,
            untold: VecDeque::new(),
            is_telling: false,
        }
    }
}

impl<S> fmt::Debug for Changes<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Changes")
            .field("pending", &self.pending)
            .field("callbacks", &self.callbacks.len())
            .field("untold", &self.untold)
            .finish_non_exhaustive()
    }
}

impl<S> Changes<S> {
    /// The number that the next event will have.
    pub(in crate::server) fn next_number(&self) -> u64 {
        // A count of things in memory fits.
        self.first + self.pending.len() as u64
    }

    pub(super) fn has_callbacks(&self) -> bool {
        !self.callbacks.is_empty()
    }

    pub(super) fn note(&mut self, event: KvEvent) {
        self.pending.push(event);
    }

    pub(super) fn register(&mut self, callback: Callback<S>) -> CallbackId {
        self.last += 1;
        let id = CallbackId(self.last);
        self.callbacks.push(Registered { id, since: self.next_number(), callback: Some(callback) });
        id
    }

    pub(super) fn unregister(&mut self, id: CallbackId) -> bool {
        let before = self.callbacks.len();
        self.callbacks.retain(|registered| registered.id != id);
        self.callbacks.len() < before
    }

    /// Takes the changes of the batch, numbered; it has ended.
    fn take(&mut self) -> impl Iterator<Item = (u64, KvEvent)> + use<S> {
        let first = self.first;
        self.first = self.next_number();
        (first..).zip(mem::take(&mut self.pending))
    }

    /// Drops the changes of a batch that was undone.
    pub(in crate::server) fn retract(&mut self) {
        self.first = self.next_number();
        self.pending.clear();
    }
}

impl<S: Storage> Server<S> {
    /// Tells the watchers what the batch changed, and remembers it for the callbacks. The batch is committed.
    pub(in crate::server) fn tell_watchers(&mut self) {
        for (number, event) in self.changes.take() {
            for connection in self.hub.watchers.tell(number, &event) {
                self.send_events(connection);
            }
            if self.changes.has_callbacks() {
                self.changes.untold.push_back((number, event));
            }
        }
    }

    /// Sends a connection the events that wait for it, as long as it has room. They are committed.
    pub(in crate::server) fn send_events(&mut self, connection: ConnectionId) {
        while self.hub.has_room(connection) {
            let Some((subscription, watched)) = self.hub.watchers.next_for(connection) else {
                return;
            };
            let message = match &watched {
                Watched::Event(event) => ServerMessage::Event {
                    subscription,
                    kind: event.kind,
                    group: &event.group,
                    key: &event.key,
                    value: event.value.as_deref().map(EncodedValue::trusted),
                    at: event.at.as_millis(),
                },
                Watched::Dropped(count) => ServerMessage::Dropped { subscription, count: *count },
            };
            let size = self.outbox.send(connection, &message);
            self.count_outflow(connection, size);
        }
    }

    /// Tells the callbacks, one event after the other. A callback that commits what it wrote does not get in here a
    /// second time: its events wait for their turn.
    pub(in crate::server) fn tell_callbacks(&mut self, now: Timestamp) {
        if mem::replace(&mut self.changes.is_telling, true) {
            return;
        }
        while let Some((number, event)) = self.changes.untold.pop_front() {
            let mut last = CallbackId(0);
            while let Some(next) = self.changes.callbacks.iter_mut().find(|registered| registered.id > last) {
                last = next.id;
                let Some(mut callback) = next.callback.take_if(|_| next.since <= number) else {
                    continue;
                };
                callback(self, now, &event);
                // Unless it took itself out.
                if let Some(same) = self.changes.callbacks.iter_mut().find(|known| known.id == last) {
                    same.callback = Some(callback);
                }
            }
        }
        self.changes.is_telling = false;
    }
}
