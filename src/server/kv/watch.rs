//! Who watches the kv store, and the events that wait for each.
//!
//! A watcher is one of the host's, which polls it, or a subscription of a connection, whose events leave as the
//! connection has room for them. Either way at most [`WATCHER_CAPACITY`] events wait; what comes beyond is dropped and
//! counted, and the count stands in the queue where the events are missing. So whoever reads again after it has read
//! everything that came before the loss, and nothing older follows.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::KvEvent;
use crate::{
    protocol::{KvEventKind, SubscriptionId},
    server::ConnectionId,
};

/// Events that wait for a watcher at most (that of the channels in the design this follows): enough for a burst, and
/// a reader that is further behind does better to read again.
pub const WATCHER_CAPACITY: usize = 16;

/// What stands for every group, or for every key of a group.
pub const EVERY: &str = "*";

/// A watcher, as the server numbers it. A number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(u64);

/// What a watcher hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// A change.
    Event(KvEvent),
    /// So many events are missing here: read again what matters.
    Dropped(u64),
}

/// A subscription of a connection.
type Subscriber = (ConnectionId, SubscriptionId);

#[derive(Debug)]
struct Watcher {
    group: Arc<str>,
    key: Arc<str>,
    /// The number of the first event that it may hear: what was written before it came is not for it.
    since: u64,
    subscriber: Option<Subscriber>,
    /// What waits, with the number of the (first) event that each is about.
    queue: VecDeque<(u64, Watched)>,
    /// The events among them.
    waiting: usize,
}

impl Watcher {
    fn push(&mut self, number: u64, event: &KvEvent) {
        if self.waiting < WATCHER_CAPACITY {
            self.waiting += 1;
            self.queue.push_back((number, Watched::Event(event.clone())));
        } else if let Some((_, Watched::Dropped(count))) = self.queue.back_mut() {
            *count += 1;
        } else {
            self.queue.push_back((number, Watched::Dropped(1)));
        }
    }

    fn pop(&mut self) -> Option<Watched> {
        let (_, watched) = self.queue.pop_front()?;
        self.waiting -= usize::from(matches!(watched, Watched::Event(_)));
        Some(watched)
    }

    fn head(&self) -> Option<u64> {
        self.queue.front().map(|(number, _)| *number)
    }
}

/// All watchers, by what they watch.
#[derive(Debug, Default)]
pub(in crate::server) struct Watchers {
    watchers: BTreeMap<WatcherId, Watcher>,
    by_pattern: BTreeMap<Arc<str>, BTreeMap<Arc<str>, BTreeSet<WatcherId>>>,
    /// Per connection its watchers for which something waits, by the number of what is first: over all watchers of
    /// one connection, too, events leave in the order of the writes.
    waiting: BTreeMap<ConnectionId, BTreeSet<(u64, WatcherId)>>,
    last: u64,
}

impl Watchers {
    pub(in crate::server) fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// How many of the watchers are subscriptions.
    pub(in crate::server) fn subscribed(&self) -> usize {
        self.watchers.values().filter(|watcher| watcher.subscriber.is_some()).count()
    }

    pub(in crate::server) fn watch(
        &mut self,
        group: &str,
        key: &str,
        since: u64,
        subscriber: Option<Subscriber>,
    ) -> WatcherId {
        self.last += 1;
        let id = WatcherId(self.last);
        let (group, key): (Arc<str>, Arc<str>) = (group.into(), key.into());
        let keys = self.by_pattern.entry(group.clone()).or_default();
        keys.entry(key.clone()).or_default().insert(id);
        let watcher = Watcher { group, key, since, subscriber, queue: VecDeque::new(), waiting: 0 };
        self.watchers.insert(id, watcher);
        id
    }

    /// Ends a watcher with all that waits for it; `false` if it has ended before.
    pub(in crate::server) fn unwatch(&mut self, id: WatcherId) -> bool {
        let Some(watcher) = self.watchers.remove(&id) else {
            return false;
        };
        if let Some(keys) = self.by_pattern.get_mut(&watcher.group) {
            if let Some(ids) = keys.get_mut(&watcher.key) {
                ids.remove(&id);
            }
            keys.retain(|_, ids| !ids.is_empty());
            if keys.is_empty() {
                self.by_pattern.remove(&watcher.group);
            }
        }
        if let (Some((connection, _)), Some(head)) = (watcher.subscriber, watcher.head()) {
            self.forget_waiting(connection, head, id);
        }
        true
    }

    fn forget_waiting(&mut self, connection: ConnectionId, head: u64, id: WatcherId) {
        if let Some(waiting) = self.waiting.get_mut(&connection) {
            waiting.remove(&(head, id));
            if waiting.is_empty() {
                self.waiting.remove(&connection);
            }
        }
    }

    /// Whether a watcher has not ended.
    pub(in crate::server) fn is_watching(&self, id: WatcherId) -> bool {
        self.watchers.contains_key(&id)
    }

    /// Takes the next of what waits for a watcher of the host.
    pub(in crate::server) fn poll(&mut self, id: WatcherId) -> Option<Watched> {
        self.watchers.get_mut(&id)?.pop()
    }

    /// Gives an event to every watcher that it is for; returns the connections among them.
    pub(in crate::server) fn tell(&mut self, number: u64, event: &KvEvent) -> BTreeSet<ConnectionId> {
        let mut connections = BTreeSet::new();
        for id in self.watching(event) {
            let Some(watcher) = self.watchers.get_mut(&id).filter(|watcher| watcher.since <= number) else {
                continue;
            };
            watcher.push(number, event);
            if let Some((connection, _)) = watcher.subscriber {
                connections.insert(connection);
                if let Some(head) = watcher.head() {
                    self.waiting.entry(connection).or_default().insert((head, id));
                }
            }
        }
        connections
    }

    /// The watchers whose patterns an event fits.
    fn watching(&self, event: &KvEvent) -> BTreeSet<WatcherId> {
        let mut found = BTreeSet::new();
        for group in [&*event.group, EVERY] {
            let Some(keys) = self.by_pattern.get(group) else {
                continue;
            };
            // The empty key of a deleted group names no key: one may be called so.
            let key = (event.kind != KvEventKind::DeleteGroup).then_some(&*event.key);
            for ids in key.into_iter().chain([EVERY]).filter_map(|key| keys.get(key)) {
                found.extend(ids);
            }
        }
        found
    }

    /// Takes what a connection is to be told next, in the order of the writes.
    pub(in crate::server) fn next_for(
        &mut self,
        connection: ConnectionId,
    ) -> Option<(SubscriptionId, Watched)> {
        let (head, id) = *self.waiting.get(&connection)?.first()?;
        self.forget_waiting(connection, head, id);
        let watcher = self.watchers.get_mut(&id)?;
        let watched = watcher.pop()?;
        let (_, subscription) = watcher.subscriber?;
        if let Some(head) = watcher.head() {
            self.waiting.entry(connection).or_default().insert((head, id));
        }
        Some((subscription, watched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Timestamp;

    fn set(group: &str, key: &str) -> KvEvent {
        let kind = KvEventKind::Set;
        KvEvent { kind, group: group.into(), key: key.into(), value: None, at: Timestamp::default() }
    }

    #[test]
    fn an_ended_watcher_leaves_nothing_behind() {
        let mut watchers = Watchers::default();
        let subscriber = Some((ConnectionId(1), 7));
        let first = watchers.watch("g", "*", 0, subscriber);
        let second = watchers.watch("g", "k", 0, subscriber);
        let third = watchers.watch("*", "*", 0, None);
        for number in 0..20 {
            watchers.tell(number, &set("g", "k"));
        }
        for id in [first, second, third] {
            assert!(watchers.unwatch(id));
            assert!(!watchers.unwatch(id));
        }
        assert!(watchers.is_empty());
        assert!(watchers.by_pattern.is_empty());
        assert!(watchers.waiting.is_empty());
    }

    #[test]
    fn over_all_watchers_of_a_connection_events_leave_in_the_order_of_the_writes() {
        let mut watchers = Watchers::default();
        let connection = ConnectionId(1);
        watchers.watch("b", "*", 0, Some((connection, 1)));
        watchers.watch("a", "*", 0, Some((connection, 2)));
        for (number, group) in (0..).zip(["a", "b", "b", "a", "b"]) {
            watchers.tell(number, &set(group, "k"));
        }
        let told = std::iter::from_fn(|| watchers.next_for(connection)).map(|(subscription, _)| subscription);
        assert_eq!(told.collect::<Vec<_>>(), [2, 1, 1, 2, 1]);
    }
}
