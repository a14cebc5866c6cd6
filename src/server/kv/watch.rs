//! Who watches the kv store, and the events that wait for each.
//!
//! A watcher is one of the host's, which polls it, or a subscription of a connection, whose events leave as the
//! connection has room for them. Either way at most [`WATCHER_CAPACITY`] events wait; what comes beyond is dropped and
//! counted, and the count stands in the queue where the events are missing. So whoever reads again after it has read
//! everything that came before the loss, and nothing older follows.

use alloc::{
    boxed::Box,
    collections::{BinaryHeap, VecDeque},
    format,
    vec::Vec,
};
use core::cmp::Reverse;

use super::KvEvent;
use crate::server::ordered::OrderedMap;
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
    pattern: Box<str>,
    /// The number of the first event that it may hear: what was written before it came is not for it.
    since: u64,
    subscriber: Option<Subscriber>,
    /// What waits, with the number of the (first) event that each is about.
    queue: VecDeque<(u64, Watched)>,
    /// The events among them.
    waiting: usize,
}

/// A group and a key, or what stands for them, as one text that no other two have.
fn pattern(group: &str, key: &str) -> Box<str> {
    format!("{}:{group}{key}", group.len()).into()
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
}

/// Watchers of one connection for which something waits, by the number of what is first: over all of them, too, events
/// leave in the order of the writes. One that has ended is skipped when its turn comes.
type Waiting = BinaryHeap<Reverse<(u64, WatcherId)>>;

/// All watchers, by what they watch.
#[derive(Debug, Default)]
pub(in crate::server) struct Watchers {
    watchers: OrderedMap<WatcherId, Watcher>,
    by_pattern: OrderedMap<Box<str>, Vec<WatcherId>>,
    waiting: OrderedMap<ConnectionId, Waiting>,
    last: u64,
}

impl Watchers {
    pub(in crate::server) fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// What is held for connections: their watchers, and those for which something waits.
    pub(in crate::server) fn subscribed(&self) -> usize {
        let subscribed = self.watchers.values().filter(|watcher| watcher.subscriber.is_some()).count();
        subscribed.max(self.waiting.len())
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
        let pattern = pattern(group, key);
        self.by_pattern.entry(pattern.clone()).or_default().push(id);
        let watcher = Watcher { pattern, since, subscriber, queue: VecDeque::new(), waiting: 0 };
        self.watchers.insert(id, watcher);
        id
    }

    /// Ends a watcher with all that waits for it; `false` if it has ended before.
    pub(in crate::server) fn unwatch(&mut self, id: WatcherId) -> bool {
        let Some(watcher) = self.watchers.remove(&id) else {
            return false;
        };
        if let Some(ids) = self.by_pattern.get_mut(&watcher.pattern) {
            ids.retain(|known| *known != id);
            if ids.is_empty() {
                self.by_pattern.remove(&watcher.pattern);
            }
        }
        true
    }

    /// Forgets what waits for a connection; it is gone, and its watchers have ended.
    pub(in crate::server) fn forget(&mut self, connection: ConnectionId) {
        self.waiting.remove(&connection);
    }

    /// The group that a watcher hears of, or [`EVERY`].
    pub(in crate::server) fn group(&self, id: WatcherId) -> Option<&str> {
        let (length, names) = self.watchers.get(&id)?.pattern.split_once(':')?;
        names.get(..length.parse().ok()?)
    }

    /// Whether a watcher has not ended.
    pub(in crate::server) fn is_watching(&self, id: WatcherId) -> bool {
        self.watchers.contains_key(&id)
    }

    /// Takes the next of what waits for a watcher of the host.
    pub(in crate::server) fn poll(&mut self, id: WatcherId) -> Option<Watched> {
        self.watchers.get_mut(&id)?.pop()
    }

    /// Gives an event to every watcher that it is for; returns their connections.
    pub(in crate::server) fn tell(&mut self, number: u64, event: &KvEvent) -> Vec<ConnectionId> {
        let mut connections = Vec::new();
        for pattern in patterns(event) {
            for id in self.by_pattern.get(&pattern).into_iter().flatten() {
                let watcher = self.watchers.get_mut(id).filter(|watcher| watcher.since <= number);
                let Some(watcher) = watcher else {
                    continue;
                };
                let was_idle = watcher.queue.is_empty();
                watcher.push(number, event);
                if let Some((connection, _)) = watcher.subscriber {
                    if was_idle {
                        self.waiting.entry(connection).or_default().push(Reverse((number, *id)));
                    }
                    connections.push(connection);
                }
            }
        }
        connections
    }

    /// Takes what a connection is to be told next, in the order of the writes.
    pub(in crate::server) fn next_for(
        &mut self,
        connection: ConnectionId,
    ) -> Option<(SubscriptionId, Watched)> {
        loop {
            let waiting = self.waiting.get_mut(&connection)?;
            let Some(Reverse((_, id))) = waiting.pop() else {
                self.waiting.remove(&connection);
                return None;
            };
            if let Some(watcher) = self.watchers.get_mut(&id)
                && let Some((_, subscription)) = watcher.subscriber
                && let Some(watched) = watcher.pop()
            {
                if let Some((number, _)) = watcher.queue.front() {
                    waiting.push(Reverse((*number, id)));
                }
                return Some((subscription, watched));
            }
        }
    }
}

/// What watchers that an event is for may watch, each once.
fn patterns(event: &KvEvent) -> impl Iterator<Item = Box<str>> {
    let group = Some(&*event.group).filter(|group| *group != EVERY);
    // The empty key of a deleted group names no key: one may be called so.
    let is_of_a_key = event.kind != KvEventKind::DeleteGroup;
    let key = Some(&*event.key).filter(|key| is_of_a_key && *key != EVERY);
    let groups = [group, Some(EVERY)].into_iter().flatten();
    groups.flat_map(move |group| [key, Some(EVERY)].into_iter().flatten().map(move |key| pattern(group, key)))
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
        assert_eq!(watchers.group(second), Some("g"));
        let third = watchers.watch("*", "*", 0, None);
        for number in 0..20 {
            watchers.tell(number, &set("g", "k"));
        }
        for id in [first, second, third] {
            assert!(watchers.unwatch(id));
            assert!(!watchers.unwatch(id));
        }
        assert_eq!(watchers.next_for(ConnectionId(1)), None);
        assert!(watchers.is_empty());
        assert!(watchers.by_pattern.is_empty());
        assert!(watchers.waiting.is_empty());
    }

    #[test]
    fn no_two_patterns_are_the_same_text() {
        assert_ne!(pattern("a", "bc"), pattern("ab", "c"));
        assert_ne!(pattern("1:", ""), pattern("", "1:"));
        assert_ne!(pattern("", "2:a"), pattern("2:", "a"));
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
