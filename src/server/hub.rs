//! Who is connected, who follows what, and when a connection is next due.
//!
//! A *topic* is one history under the number that envelopes carry: a target under one epoch. It exists as long as
//! somebody follows it. A connection that goes takes everything it had along: [`Hub::residue`] counts what is left.

use alloc::{boxed::Box, collections::VecDeque, format, string::String, sync::Arc, vec::Vec};

use hashbrown::{Equivalent, HashMap};

use super::{
    ConnectionId, Residue,
    admission::{Grant, Reading, renewal},
    counters::Census,
    kv::{WatcherId, Watchers},
    limits::Allowance,
    query::Questions,
};
use crate::protocol::{Epoch, Position, Sequence, SubscriptionId, Timestamp, TopicId};
use crate::server::ordered::{Lookup, OrderedMap, OrderedSet, Seed};

/// What a topic or subscription is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    Object(Arc<str>),
    Datastore(Arc<str>),
    Pool(Arc<str>),
}

/// A subject by its borrowed name, which finds its topic without an allocation. The variants are those of [`Subject`],
/// in the same order, so that both hash to the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Name<'a> {
    Object(&'a str),
    Datastore(&'a str),
    Pool(&'a str),
}

impl Subject {
    fn name(&self) -> Name<'_> {
        match self {
            Self::Object(key) => Name::Object(key),
            Self::Datastore(id) => Name::Datastore(id),
            Self::Pool(id) => Name::Pool(id),
        }
    }
}

impl Equivalent<Subject> for Name<'_> {
    fn equivalent(&self, subject: &Subject) -> bool {
        *self == subject.name()
    }
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) subject: Subject,
    pub(super) epoch: Epoch,
    /// The last sequence sent to its followers.
    pub(super) head: Sequence,
    /// The tick in which `head` last moved.
    moved: u64,
    followers: OrderedSet<(ConnectionId, SubscriptionId)>,
}

impl Topic {
    /// The connections that follow the topic, each once.
    pub(super) fn connections(&self) -> Vec<ConnectionId> {
        let mut connections = Vec::with_capacity(self.followers.len());
        connections.extend(self.followers.iter().map(|(connection, _)| *connection));
        connections.dedup();
        connections
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    /// When it last sent anything.
    pub(super) heard: Timestamp,
    /// Bytes that have come since of a frame that is not whole yet.
    pub(super) arrived: usize,
    due: Timestamp,
}

/// Where a connection stands. The only way forward is `hello`; the way out is removal from the hub.
#[derive(Debug)]
pub(super) enum Phase {
    /// Connected, nothing said yet. Ends with `hello`, or when its time is up.
    Greeting,
    /// Greeted.
    Live(Box<Session>),
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) number: u64,
    /// One page or process, over all its connections: the client id of its `hello`, and who says so. Nobody is taken
    /// for another user's client by naming its id.
    pub(super) client: Arc<str>,
    /// Who that is, by its token, and what it may do: whose mailbox it reads, and whose view it has.
    pub(super) grant: Arc<Grant>,
    /// When it is asked for another token; `None`: it was asked, or need not be.
    pub(super) renewal: Option<Timestamp>,
    pub(super) subscriptions: OrderedMap<SubscriptionId, Followed>,
    /// What is asked for and not yet answered, in order.
    pub(super) asked: VecDeque<Asked>,
    pub(super) questions: Questions,
    /// Subscriptions to the client's mailbox, each with the number of the last notification sent.
    pub(super) mailboxes: OrderedMap<SubscriptionId, u64>,
    pub(super) outflow: Outflow,
    /// What it may still ask for.
    pub(super) allowance: Allowance,
    beacons: u64,
    /// The tick after the one that the last beacon reported.
    reported: u64,
}

/// Whether answers may be sent: a client that asks for more than it reads waits, instead of filling memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outflow {
    /// So many bytes of answers are under way.
    Open(usize),
    /// Too many are; the host reports when they have left.
    Full,
}

/// A subscription.
#[derive(Debug)]
pub(super) enum Followed {
    /// Its answer has not been sent; it hears nothing yet.
    Waiting(Subject),
    /// It hears every envelope of this topic.
    Topic(TopicId),
    /// It hears what comes into the mailbox of this client, its own.
    Mailbox(Arc<str>),
    /// It hears the events of this watcher of the kv store.
    Watch(WatcherId),
    /// It hears what clients relay on this key.
    Relay(Arc<str>),
}

/// Something to answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) subscription: SubscriptionId,
    pub(super) attempt: u32,
    pub(super) wish: Wish,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Wish {
    /// What changed since a position; `None`: everything.
    Since(Option<Position>),
    /// The next page of a snapshot.
    Page(Cursor),
}

/// Where a snapshot goes on. It travels to the client and back as text, so nothing of it is kept here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) session: u64,
    pub(super) topic: TopicId,
    /// The position of the whole snapshot.
    pub(super) snapshot: Sequence,
    /// The last row sent.
    pub(super) after: Sequence,
}

impl Cursor {
    pub(super) fn to_text(self) -> String {
        format!("{:x}.{:x}.{:x}.{:x}", self.session, self.topic, self.snapshot.get(), self.after.get())
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| u64::from_str_radix(part, 16).ok());
        let mut next = || parts.next().flatten();
        Some(Self {
            session: next()?,
            topic: TopicId::try_from(next()?).ok()?,
            snapshot: Sequence::new(next()?)?,
            after: Sequence::new(next()?)?,
        })
    }
}

/// Subscriptions by the name of what they follow.
type Followers = OrderedMap<Arc<str>, OrderedSet<(ConnectionId, SubscriptionId)>>;

fn leave(followers: &mut Followers, name: &str, who: (ConnectionId, SubscriptionId)) {
    if let Some(those) = followers.get_mut(name) {
        those.remove(&who);
        if those.is_empty() {
            followers.remove(name);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Hub {
    connections: OrderedMap<ConnectionId, Connection>,
    /// The connection that each client said hello on.
    clients: Lookup<Arc<str>, ConnectionId>,
    topics: OrderedMap<TopicId, Topic>,
    current: HashMap<Subject, TopicId, Seed>,
    /// Who follows the mailbox of a user.
    mailboxes: Followers,
    /// Who follows what clients relay on a key.
    relays: Followers,
    last_topic: TopicId,
    /// Ordered by when they are due, so that the next one costs no search.
    timers: OrderedSet<(Timestamp, ConnectionId)>,
    tick: u64,
    /// Who watches the kv store.
    pub(super) watchers: Watchers,
}

impl Hub {
    pub(super) fn census(&self) -> Census {
        let mut census = Census { topics: self.topics.len(), ..Census::default() };
        for connection in self.connections.values() {
            match &connection.phase {
                Phase::Greeting => census.greeting += 1,
                Phase::Live(session) => {
                    census.sessions += 1;
                    census.subscriptions += session.subscriptions.len();
                }
            }
        }
        census
    }

    /// Who a connection is, once it has said hello.
    pub(super) fn user(&self, id: ConnectionId) -> Option<&Arc<str>> {
        match &self.connections.get(&id)?.phase {
            Phase::Greeting => None,
            Phase::Live(session) => Some(&session.grant.user),
        }
    }

    pub(super) fn residue(&self) -> Residue {
        Residue {
            connections: self.connections.len().max(self.clients.len()),
            topics: self.topics.len().max(self.current.len()),
            subscriptions: self.topics.values().map(|topic| topic.followers.len()).sum::<usize>()
                + self.watchers.subscribed()
                + self
                    .connections
                    .values()
                    .map(|connection| match &connection.phase {
                        Phase::Greeting => 0,
                        Phase::Live(session) => session.subscriptions.len(),
                    })
                    .sum::<usize>(),
            timers: self.timers.len(),
            ownerships: 0,
            mailboxes: self.mailboxes.values().map(OrderedSet::len).sum(),
            relays: self.relays.values().map(OrderedSet::len).sum(),
        }
    }

    pub(super) fn connect(&mut self, now: Timestamp, id: ConnectionId, due: Timestamp) {
        self.disconnect(id);
        self.connections.insert(id, Connection { phase: Phase::Greeting, heard: now, arrived: 0, due });
        self.timers.insert((due, id));
    }

    /// The connection that a client said hello on.
    pub(super) fn connection_of(&self, client: &str) -> Option<ConnectionId> {
        self.clients.get(client).copied()
    }

    /// Starts the session of a connection that is still greeting; `false` if it is not.
    pub(super) fn greet(
        &mut self,
        now: Timestamp,
        id: ConnectionId,
        number: u64,
        client: Arc<str>,
        grant: Grant,
    ) -> bool {
        let tick = self.tick;
        match self.connections.get_mut(&id) {
            Some(Connection { phase: phase @ Phase::Greeting, .. }) => {
                self.clients.insert(client.clone(), id);
                *phase = Phase::Live(Box::new(Session {
                    number,
                    client,
                    renewal: renewal(now, grant.expires),
                    grant: grant.into(),
                    subscriptions: OrderedMap::new(),
                    asked: VecDeque::new(),
                    questions: Questions::default(),
                    mailboxes: OrderedMap::new(),
                    outflow: Outflow::Open(0),
                    allowance: Allowance::new(now),
                    beacons: 0,
                    reported: tick,
                }));
                true
            }
            _ => false,
        }
    }

    pub(super) fn disconnect(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        self.timers.remove(&(connection.due, id));
        if let Phase::Live(session) = connection.phase {
            if self.clients.get(&session.client) == Some(&id) {
                self.clients.remove(&session.client);
            }
            for (subscription, followed) in session.subscriptions {
                self.leave(id, subscription, &followed);
            }
        }
        self.watchers.forget(id);
    }

    pub(super) fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(&id)
    }

    pub(super) fn session(&mut self, id: ConnectionId) -> Option<&mut Session> {
        match self.connections.get_mut(&id) {
            Some(Connection { phase: Phase::Live(session), .. }) => Some(session),
            _ => None,
        }
    }

    pub(super) fn connections(&self) -> Vec<ConnectionId> {
        self.connections.keys().copied().collect()
    }

    pub(super) fn topic(&self, id: TopicId) -> Option<&Topic> {
        self.topics.get(&id)
    }

    /// The topic of a subject, if anybody follows it.
    pub(super) fn current(&self, subject: &Subject) -> Option<TopicId> {
        self.current.get(subject).copied()
    }

    /// The topic of what is called so, if anybody follows it.
    pub(super) fn named(&self, name: Name<'_>) -> Option<TopicId> {
        self.current.get(&name).copied()
    }

    /// Moves the head of a topic.
    pub(super) fn advance(&mut self, topic: TopicId, head: Sequence) {
        if let Some(topic) = self.topics.get_mut(&topic) {
            topic.head = head;
            topic.moved = self.tick;
        }
    }

    /// Puts a subscription on hold until its next answer, in the place of any before it under that number.
    pub(super) fn hold(&mut self, id: ConnectionId, subscription: SubscriptionId, subject: Subject) {
        if let Some(session) = self.session(id) {
            let before = session.subscriptions.insert(subscription, Followed::Waiting(subject));
            if let Some(before) = before {
                self.leave(id, subscription, &before);
            }
        }
    }

    /// Has a subscription hear of the kv store from the event `since` on, in the place of any before it.
    pub(super) fn watch(
        &mut self,
        id: ConnectionId,
        subscription: SubscriptionId,
        group: &str,
        key: &str,
        since: u64,
    ) {
        if self.session(id).is_none() {
            return;
        }
        let watcher = self.watchers.watch(group, key, since, Some((id, subscription)));
        let session = self.session(id);
        let before =
            session.and_then(|session| session.subscriptions.insert(subscription, Followed::Watch(watcher)));
        if let Some(before) = before {
            self.leave(id, subscription, &before);
        }
    }

    /// Whether more may be sent to a connection that reads at its own pace.
    pub(super) fn has_room(&mut self, id: ConnectionId) -> bool {
        self.session(id).is_some_and(|session| session.outflow != Outflow::Full)
    }

    /// What a history that a subscription follows is of.
    pub(super) fn subject(&mut self, id: ConnectionId, subscription: SubscriptionId) -> Option<Subject> {
        match self.session(id)?.subscriptions.get(&subscription)? {
            Followed::Waiting(subject) => Some(subject.clone()),
            Followed::Topic(topic) => {
                let topic = *topic;
                self.topics.get(&topic).map(|topic| topic.subject.clone())
            }
            Followed::Watch(_) | Followed::Mailbox(_) | Followed::Relay(_) => None,
        }
    }

    /// What the subscriptions of a connection read, but for its own mailbox.
    pub(super) fn read_by(&self, id: ConnectionId) -> Vec<(SubscriptionId, Reading)> {
        let Some(Connection { phase: Phase::Live(session), .. }) = self.connections.get(&id) else {
            return Vec::new();
        };
        let reading = |followed: &Followed| match followed {
            Followed::Waiting(subject) => Some(Reading::History(subject.clone())),
            Followed::Topic(topic) => {
                self.topics.get(topic).map(|topic| Reading::History(topic.subject.clone()))
            }
            Followed::Mailbox(_) => None,
            Followed::Relay(key) => Some(Reading::Relay(key.clone())),
            Followed::Watch(watcher) => {
                self.watchers.group(*watcher).map(|group| Reading::Watch(group.into()))
            }
        };
        let subscriptions = session.subscriptions.iter();
        subscriptions.filter_map(|(number, followed)| Some((*number, reading(followed)?))).collect()
    }

    /// Lets a subscription hear the envelopes of its subject's history under `epoch`.
    pub(super) fn follow(
        &mut self,
        id: ConnectionId,
        subscription: SubscriptionId,
        subject: &Subject,
        epoch: Epoch,
        head: Sequence,
    ) -> TopicId {
        let current = self.current(subject);
        let current =
            current.filter(|topic| self.topics.get(topic).is_some_and(|topic| topic.epoch == epoch));
        let number = current.unwrap_or_else(|| self.start(subject, epoch, head));
        if let Some(session) = self.session(id) {
            let before = session.subscriptions.insert(subscription, Followed::Topic(number));
            match before {
                Some(Followed::Topic(before)) if before == number => return number,
                Some(before) => self.leave(id, subscription, &before),
                None => {}
            }
            if let Some(topic) = self.topics.get_mut(&number) {
                topic.followers.insert((id, subscription));
            }
        }
        number
    }

    fn start(&mut self, subject: &Subject, epoch: Epoch, head: Sequence) -> TopicId {
        loop {
            self.last_topic = self.last_topic.wrapping_add(1);
            if !self.topics.contains_key(&self.last_topic) {
                break;
            }
        }
        let moved = self.tick;
        let topic = Topic { subject: subject.clone(), epoch, head, moved, followers: OrderedSet::new() };
        self.topics.insert(self.last_topic, topic);
        self.current.insert(subject.clone(), self.last_topic);
        self.last_topic
    }

    /// Ends a subscription; `false` if there is none.
    pub(super) fn unsubscribe(&mut self, id: ConnectionId, subscription: SubscriptionId) -> bool {
        let Some(session) = self.session(id) else {
            return false;
        };
        session.asked.retain(|asked| asked.subscription != subscription);
        let Some(followed) = session.subscriptions.remove(&subscription) else {
            return false;
        };
        self.leave(id, subscription, &followed);
        true
    }

    fn leave(&mut self, id: ConnectionId, subscription: SubscriptionId, followed: &Followed) {
        let number = match followed {
            Followed::Waiting(_) => return,
            Followed::Mailbox(client) => return self.leave_mailbox(id, subscription, client),
            Followed::Relay(key) => return self.leave_relay(id, subscription, key),
            Followed::Watch(watcher) => {
                self.watchers.unwatch(*watcher);
                return;
            }
            Followed::Topic(number) => number,
        };
        if let Some(topic) = self.topics.get_mut(number) {
            topic.followers.remove(&(id, subscription));
            if topic.followers.is_empty() {
                let subject = topic.subject.clone();
                self.topics.remove(number);
                if self.current.get(&subject) == Some(number) {
                    self.current.remove(&subject);
                }
            }
        }
    }

    /// Lets a subscription hear what comes into its user's mailbox, in the place of any before it under that number.
    pub(super) fn follow_mailbox(&mut self, id: ConnectionId, subscription: SubscriptionId) {
        let Some(session) = self.session(id) else {
            return;
        };
        let user = session.grant.user.clone();
        let before = session.subscriptions.insert(subscription, Followed::Mailbox(user.clone()));
        if let Some(before) = before {
            self.leave(id, subscription, &before);
        }
        if let Some(session) = self.session(id) {
            session.mailboxes.insert(subscription, 0);
        }
        self.mailboxes.entry(user).or_default().insert((id, subscription));
    }

    fn leave_mailbox(&mut self, id: ConnectionId, subscription: SubscriptionId, user: &str) {
        if let Some(session) = self.session(id) {
            session.mailboxes.remove(&subscription);
        }
        leave(&mut self.mailboxes, user, (id, subscription));
    }

    /// All subscriptions to the mailbox of a user.
    pub(super) fn mailbox_followers(&self, user: &str) -> Vec<(ConnectionId, SubscriptionId)> {
        self.mailboxes.get(user).into_iter().flatten().copied().collect()
    }

    /// Lets a subscription hear what is relayed on a key, in the place of any before it under that number.
    pub(super) fn follow_relay(&mut self, id: ConnectionId, subscription: SubscriptionId, key: Arc<str>) {
        let Some(session) = self.session(id) else {
            return;
        };
        let before = session.subscriptions.insert(subscription, Followed::Relay(key.clone()));
        if let Some(before) = before {
            self.leave(id, subscription, &before);
        }
        self.relays.entry(key).or_default().insert((id, subscription));
    }

    fn leave_relay(&mut self, id: ConnectionId, subscription: SubscriptionId, key: &str) {
        leave(&mut self.relays, key, (id, subscription));
    }

    /// All subscriptions to what is relayed on a key, those of one connection side by side.
    pub(super) fn relay_followers(&self, key: &str) -> Vec<(ConnectionId, SubscriptionId)> {
        self.relays.get(key).into_iter().flatten().copied().collect()
    }

    /// All subscriptions to a subject that have their answer.
    pub(super) fn followers(&self, subject: &Subject) -> Vec<(ConnectionId, SubscriptionId)> {
        let topic = self.current.get(subject).and_then(|topic| self.topics.get(topic));
        topic.map(|topic| topic.followers.iter().copied().collect()).unwrap_or_default()
    }

    /// The number and heads of a connection's next beacon.
    pub(super) fn beacon(&mut self, id: ConnectionId) -> Option<(u64, Vec<(TopicId, Sequence)>)> {
        let Some(Connection { phase: Phase::Live(session), .. }) = self.connections.get_mut(&id) else {
            return None;
        };
        let mut heads = OrderedMap::new();
        for followed in session.subscriptions.values() {
            if let Followed::Topic(number) = followed
                && let Some(topic) = self.topics.get(number)
                && topic.moved >= session.reported
            {
                heads.insert(*number, topic.head);
            }
        }
        self.tick += 1;
        session.reported = self.tick;
        session.beacons += 1;
        Some((session.beacons, heads.into_iter().collect()))
    }

    /// Has every head reported again: those of a batch that was undone were never sent.
    pub(super) fn report_all(&mut self) {
        for topic in self.topics.values_mut() {
            topic.moved = self.tick;
        }
    }

    /// Corrects the head of a topic after a batch was undone.
    pub(super) fn reset_head(&mut self, topic: TopicId, head: Sequence) {
        if let Some(topic) = self.topics.get_mut(&topic) {
            topic.head = head;
        }
    }

    pub(super) fn topics(&self) -> Vec<(TopicId, Subject, Epoch)> {
        self.topics.iter().map(|(number, topic)| (*number, topic.subject.clone(), topic.epoch)).collect()
    }

    /// Has a connection served at `due`, or earlier if its grant asks for it.
    pub(super) fn schedule(&mut self, id: ConnectionId, due: Timestamp) {
        if let Some(connection) = self.connections.get_mut(&id) {
            let due = match &connection.phase {
                Phase::Greeting => due,
                Phase::Live(session) => session.due_by(due),
            };
            self.timers.remove(&(connection.due, id));
            connection.due = due;
            self.timers.insert((due, id));
        }
    }

    /// Has a connection served earlier, if its new grant asks for it.
    pub(super) fn reschedule(&mut self, id: ConnectionId) {
        if let Some(due) = self.connections.get(&id).map(|connection| connection.due) {
            self.schedule(id, due);
        }
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// A connection that is due, and since when.
    pub(super) fn due(&self, now: Timestamp) -> Option<(ConnectionId, Timestamp)> {
        self.timers.first().filter(|(due, _)| *due <= now).map(|(due, id)| (*id, *due))
    }

    /// Takes the present for the beginning of every wait: the clock went back, so the waits mean nothing any more.
    pub(super) fn restart_waits(&mut self, now: Timestamp) {
        for id in self.connections() {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.heard = now;
            }
            self.schedule(id, now);
        }
    }
}
