//! A client: what it has put together from its frames, each of which is held against the model as it comes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use tidewire::{
    protocol::{
        Answer, EncodedValue, Epoch, KvEventKind, Open, OpenPool, Reader, RequestId, ServerMessage,
        Subscription, Target, Timestamp, TopicId,
    },
    server::{ConnectionId, WATCHER_CAPACITY, storage::Trace},
};

use super::model::{Met, Model, Name, Subject, Table, Val, Write};
use crate::server_rig::replica::Replica;

/// What a subscription follows, and what it has heard.
#[derive(Debug)]
pub(crate) enum What {
    History { subject: Subject, replica: Replica },
    Mailbox(Mailbox),
    Watch(Watch),
}

#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    told: BTreeSet<u64>,
    last_arrival: u64,
    /// The replies that the open batch has for it.
    pub(crate) replies: VecDeque<(u64, Val)>,
}

#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) group: Name,
    pub(crate) key: Name,
    /// The number of the first event that it was not told.
    pub(crate) next: usize,
    /// In which batches the last events were told.
    told: VecDeque<u64>,
}

impl Watch {
    pub(crate) const fn new(group: Name, key: Name) -> Self {
        Self { group, key, next: 0, told: VecDeque::new() }
    }

    /// The next event that is for it.
    fn due(&self, model: &Model) -> Option<usize> {
        (self.next..model.events.len()).find(|index| model.events[*index].is_for(self.group, self.key))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not subscribed.
    Ended,
    /// Subscribed, not answered.
    Asked,
    Following,
}

#[derive(Debug)]
pub(crate) struct Sub {
    pub(crate) what: What,
    pub(crate) phase: Phase,
    /// The batch in which it was last begun or ended: that happens once in each.
    pub(crate) touched: u64,
}

impl Sub {
    pub(crate) const fn new(what: What) -> Self {
        Self { what, phase: Phase::Ended, touched: u64::MAX }
    }
}

/// What came with a frame and is the run's business.
#[derive(Debug)]
pub(crate) enum Told {
    Reply { request: RequestId, outcome: Outcome },
    Trace { note: u64, trace: Trace },
    Result { query: u32, value: Option<Vec<u8>>, code: Option<u16> },
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Done { position: Option<tidewire::protocol::Position>, trace: Option<Trace> },
    Refused(u16),
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) user: Name,
    pub(crate) connection: Option<ConnectionId>,
    /// It takes its time to read.
    pub(crate) is_slow: bool,
    /// The server waits for a report that what was sent has left.
    pub(crate) is_stalled: bool,
    pub(crate) subs: Vec<Sub>,
    pub(crate) heard: Timestamp,
    pub(crate) last_request: RequestId,
    /// The write that it has no answer to.
    pub(crate) unanswered: Option<(RequestId, Write)>,
    /// The batch in which it last sent one: that happens once in each.
    pub(crate) wrote: u64,
    /// The last write that has an answer.
    pub(crate) answered: Option<(RequestId, Write)>,
    topics: HashMap<TopicId, (usize, Epoch)>,
    last_event: usize,
}

/// The number in a plain value.
fn number_of(value: EncodedValue<'_>) -> u64 {
    let text = Reader::new(value.as_bytes()).str().unwrap();
    text.split_once(':').unwrap().0.parse().unwrap()
}

impl Client {
    pub(crate) fn new(id: String, user: Name, is_slow: bool, start: Timestamp, subs: Vec<Sub>) -> Self {
        Self {
            id,
            user,
            connection: None,
            is_slow,
            is_stalled: false,
            subs,
            heard: start,
            last_request: 0,
            unanswered: None,
            wrote: u64::MAX,
            answered: None,
            topics: HashMap::new(),
            last_event: 0,
        }
    }

    /// The connection is gone; what was put together stays, but for a snapshot that came in part.
    pub(crate) fn lose(&mut self) {
        self.connection = None;
        self.is_stalled = false;
        self.topics.clear();
        self.last_event = 0;
        for sub in &mut self.subs {
            sub.end();
        }
    }

    /// Its write has an answer.
    pub(crate) fn answer(&mut self) {
        self.answered = self.unanswered.take();
    }

    /// What is under way for a subscription that is not: in one message, with all positions.
    pub(crate) fn subscription(&self, sub: usize) -> Subscription<'static> {
        let (target, position) = match &self.subs[sub].what {
            What::History { subject, replica } => {
                let target = match *subject {
                    Subject::Object(key) => Target::Object(key),
                    Subject::Datastore(id) => Target::Datastore { id, open: Some(open_datastore(*subject)) },
                    Subject::Pool(id) => {
                        Target::Pool { id, open: Some(OpenPool { presence: subject.has_presence() }) }
                    }
                };
                (target, replica.position)
            }
            What::Mailbox(_) => (Target::Mailbox, None),
            What::Watch(watch) => (Target::Watch { group: watch.group, key: watch.key }, None),
        };
        Subscription { id: u32::try_from(sub).unwrap(), target, position }
    }

    fn sub(&mut self, id: u32) -> &mut Sub {
        &mut self.subs[usize::try_from(id).unwrap()]
    }

    /// Takes a message, of the batch `released`, which was undone or not.
    pub(crate) fn take(
        &mut self,
        model: &mut Model,
        now: Timestamp,
        released: u64,
        is_undone: bool,
        message: ServerMessage<'_>,
    ) -> Option<Told> {
        let user = self.user;
        match message {
            ServerMessage::Answer { subscription, attempt, topic, epoch, ref answer } => {
                assert_eq!(attempt, 0);
                let sub = self.sub(subscription);
                if sub.phase == Phase::Ended {
                    return None;
                }
                let What::History { subject, replica } = &mut sub.what else {
                    panic!("a history for subscription {subscription}")
                };
                let (subject, generation) = (*subject, model.generation_of(*subject, epoch));
                let place = |sequence| (subject, generation, sequence);
                if replica.position.is_some_and(|position| position.epoch != epoch) {
                    model.meet(Met::NewEpoch);
                }
                match answer {
                    Answer::Page { rows, .. } => {
                        if replica.is_paging {
                            model.meet(Met::LaterPage);
                        }
                        for row in rows {
                            let value = Some(row.value.as_bytes());
                            model.check_row(place(row.sequence.get()), row.key, user, value);
                        }
                    }
                    Answer::Snapshot { sequence, value, .. } => {
                        model.check_row(place(sequence.get()), "", user, Some(value.as_bytes()));
                    }
                    Answer::Absent { sequence } if sequence.get() > 0 => {
                        model.check_row(place(sequence.get()), "", user, None);
                    }
                    Answer::Tail { .. } => model.meet(Met::Tail),
                    Answer::Absent { .. } | Answer::Current => {}
                }
                replica.take_message(message);
                sub.phase = Phase::Following;
                self.topics.insert(topic, (usize::try_from(subscription).unwrap(), epoch));
            }
            ServerMessage::Envelope { topic, sequence, prev, key, value, .. } => {
                let (index, epoch) = self.topics[&topic];
                let sub = &mut self.subs[index];
                let What::History { subject, replica } = &mut sub.what else { unreachable!() };
                let is_of_it = replica.position.is_some_and(|position| position.epoch == epoch);
                if sub.phase != Phase::Following || !is_of_it {
                    return None;
                }
                let place = (*subject, model.generation_of(*subject, epoch), sequence.get());
                let value = value.map(EncodedValue::as_bytes);
                model.check_row(place, key.unwrap_or_default(), user, value);
                if replica.tail > 0 && prev.is_some() {
                    model.meet(Met::SparseTail);
                }
                replica.take_message(message);
            }
            ServerMessage::Beacon { heads, .. } => self.check_heads(&heads),
            ServerMessage::Denied { subscription, attempt, code, .. } => {
                assert_eq!(attempt, 0);
                let sub = self.sub(subscription);
                if let What::History { subject, .. } = sub.what {
                    let is_gone = code == 2 && model.table(now, subject).is_none();
                    assert!(is_gone || code == 100 && is_undone, "{subject:?} is denied with {code}");
                    model.meet(if is_gone { Met::Expired } else { Met::DeniedByUndo });
                }
                sub.end();
            }
            ServerMessage::Ack { request, position, result } => {
                let trace = result.map(|trace| Reader::new(trace.as_bytes()).str().unwrap().parse().unwrap());
                return Some(Told::Reply { request, outcome: Outcome::Done { position, trace } });
            }
            ServerMessage::Refusal { request, code, .. } => {
                return Some(Told::Reply { request, outcome: Outcome::Refused(code) });
            }
            ServerMessage::Notification { subscription, trace, from, pack, suit, created, expires } => {
                let sub = self.sub(subscription);
                let What::Mailbox(mailbox) = &mut sub.what else { unreachable!() };
                if sub.phase == Phase::Ended {
                    return None;
                }
                let note = number_of(pack);
                let Some(known) = model.state.notes.get(&note) else {
                    panic!("notification {note} was never committed");
                };
                assert_eq!((known.to, known.from, known.suit), (user, from, suit));
                assert_eq!(known.pack.plain(), pack.as_bytes());
                let times = (Timestamp::from_millis(created), Timestamp::from_millis(expires));
                assert_eq!((known.created, known.expires), times);
                let is_late = known.delivered.is_some_and(|batch| batch < released);
                assert!(!is_late, "notification {note} is told after it was delivered");
                assert!(mailbox.last_arrival < known.arrival, "notifications out of order");
                mailbox.last_arrival = known.arrival;
                mailbox.told.insert(note);
                let trace = trace.parse().unwrap();
                model.meet(Met::Notification);
                return Some(Told::Trace { note, trace });
            }
            ServerMessage::Reply { subscription, reply, trace } => {
                let sub = self.sub(subscription);
                let What::Mailbox(mailbox) = &mut sub.what else { unreachable!() };
                if sub.phase == Phase::Ended {
                    return None;
                }
                let (note, val) = mailbox.replies.pop_front().expect("a reply that was written");
                assert_eq!(val.plain(), reply.as_bytes());
                model.meet(Met::Reply);
                return Some(Told::Trace { note, trace: trace.parse().unwrap() });
            }
            ServerMessage::Event { subscription, kind, group, key, value, at } => {
                let event = (kind, group, key, value.map(EncodedValue::as_bytes), at);
                self.take_event(model, released, subscription, event);
            }
            ServerMessage::Dropped { subscription, count } => {
                self.take_dropped(model, subscription, count);
            }
            ServerMessage::Result { query, outcome } => {
                let (value, code) = match outcome {
                    Ok(value) => (value.map(|value| value.as_bytes().to_vec()), None),
                    Err((code, _)) => (None, Some(code)),
                };
                return Some(Told::Result { query, value, code });
            }
            ServerMessage::Welcome { .. }
            | ServerMessage::Following { .. }
            | ServerMessage::Goodbye { .. }
            | ServerMessage::Renew { .. }
            | ServerMessage::Relayed(_)
            | ServerMessage::Pong => {}
        }
        None
    }

    /// A head is the last sequence that was sent.
    fn check_heads(&self, heads: &[(TopicId, tidewire::protocol::Sequence)]) {
        for (topic, head) in heads {
            let Some((index, epoch)) = self.topics.get(topic) else {
                panic!("a beacon of topic {topic}, which was never answered");
            };
            if let Sub { what: What::History { replica, subject }, phase: Phase::Following, .. } =
                &self.subs[*index]
                && let Some(position) = replica.position.filter(|position| position.epoch == *epoch)
            {
                assert_eq!(*head, position.sequence, "the head of {subject:?}");
            }
        }
    }

    fn take_event(
        &mut self,
        model: &mut Model,
        released: u64,
        subscription: u32,
        (kind, group, key, value, at): (KvEventKind, &str, &str, Option<&[u8]>, u64),
    ) {
        let last = self.last_event;
        let sub = self.sub(subscription);
        let What::Watch(watch) = &mut sub.what else { unreachable!() };
        if sub.phase == Phase::Ended {
            return;
        }
        let Some(index) = watch.due(model) else {
            panic!("an event that was never committed: {kind:?} {group:?} {key:?}");
        };
        let event = &model.events[index];
        assert_eq!((event.kind, event.group, event.key, event.at.as_millis()), (kind, group, key, at));
        assert!(event.val.map(|val| val.plain()).as_deref() == value, "another value of {group:?} {key:?}");
        assert!(last <= index, "events of one connection out of order");
        model.meet(Met::Event);
        watch.next = index + 1;
        watch.told.push_back(released);
        if watch.told.len() > WATCHER_CAPACITY {
            watch.told.pop_front();
        }
        self.last_event = index;
    }

    /// Events may be missing only where as many as may wait did so when they were written.
    fn take_dropped(&mut self, model: &mut Model, subscription: u32, count: u64) {
        let sub = self.sub(subscription);
        let What::Watch(watch) = &mut sub.what else { unreachable!() };
        if sub.phase == Phase::Ended {
            return;
        }
        for _ in 0..count {
            let index = watch.due(model).expect("as many events as were dropped");
            let is_full = watch.told.len() == WATCHER_CAPACITY
                && watch.told.iter().all(|told| *told >= model.events[index].batch);
            assert!(is_full, "an event is dropped though there was room for it");
            model.meet(Met::Dropped);
            watch.next = index + 1;
        }
    }

    /// Whether everything has come that it asked for.
    pub(crate) fn is_answered(&self) -> bool {
        self.subs.iter().all(|sub| match &sub.what {
            What::History { replica, .. } => sub.phase == Phase::Following && !replica.is_paging,
            What::Mailbox(_) | What::Watch(_) => sub.phase == Phase::Following,
        })
    }

    /// Holds what it has put together against the model.
    pub(crate) fn compare(&self, model: &mut Model, now: Timestamp) {
        for sub in self.subs.iter().filter(|sub| sub.phase == Phase::Following) {
            match &sub.what {
                What::History { subject, replica } => self.compare_history(model, now, *subject, replica),
                What::Mailbox(mailbox) => {
                    assert!(mailbox.replies.is_empty(), "replies are missing: {:?}", mailbox.replies);
                    let pending = model.state.notes.values();
                    for note in pending.filter(|note| note.to == self.user && note.is_pending(now)) {
                        let has = self.is_stalled || mailbox.told.contains(&note.pack.n);
                        assert!(has, "{} was never told of {note:?}", self.id);
                    }
                }
                What::Watch(watch) => {
                    let due = watch.due(model).filter(|_| !self.is_stalled);
                    assert_eq!(due.map(|due| &model.events[due]), None, "{} was not told", self.id);
                }
            }
        }
    }

    fn compare_history(&self, model: &mut Model, now: Timestamp, subject: Subject, replica: &Replica) {
        if replica.is_paging {
            assert!(self.is_stalled, "a page is missing");
            return;
        }
        let position = replica.position.expect("a history that was answered has a position");
        let generation = model.generation_of(subject, position.epoch);
        let empty = Table::default();
        let table = match (subject, model.table(now, subject)) {
            (_, Some(table)) => table,
            (Subject::Object(_), None) => &empty,
            // It is over; who follows it is told at the next purge.
            (Subject::Datastore(_) | Subject::Pool(_), None) => return,
        };
        if generation != table.generation {
            assert!(self.is_stalled, "{} follows a {subject:?} of before", self.id);
            return;
        }
        assert_eq!(position.sequence.get(), table.head, "{} at {subject:?}", self.id);
        assert_eq!(replica.tail, 0, "envelopes of a tail are missing");
        // Every row was held against what was committed under its sequence when it came.
        let rows: BTreeMap<_, _> = table.rows.iter().map(|(key, (sequence, _))| (*key, *sequence)).collect();
        assert_eq!(replica.sequences().collect::<BTreeMap<_, _>>(), rows, "{} at {subject:?}", self.id);
    }

    /// The notifications that it was told of, and may say to be delivered.
    pub(crate) fn told(&self) -> impl Iterator<Item = u64> {
        let told = self.subs.iter().map(|sub| match &sub.what {
            What::Mailbox(mailbox) => mailbox.told.iter().copied().collect(),
            What::History { .. } | What::Watch(_) => Vec::new(),
        });
        told.flatten().collect::<Vec<_>>().into_iter()
    }
}

impl Sub {
    /// It is ended, at the server too.
    pub(crate) fn end(&mut self) {
        self.phase = Phase::Ended;
        match &mut self.what {
            What::History { replica, .. } => {
                // Half a snapshot is no position to go on from.
                if replica.is_paging {
                    *replica = Replica::default();
                }
                replica.tail = 0;
            }
            What::Mailbox(mailbox) => *mailbox = Mailbox::default(),
            What::Watch(watch) => watch.told.clear(),
        }
    }
}

pub(crate) fn open_datastore(subject: Subject) -> Open<'static> {
    Open { permanent: !subject.is_temporary(), primary: "id" }
}
