//! A run: the server, its clients and the model, driven by a seed.

mod mix;

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    time::Duration,
};

use tidewire::{
    protocol::{
        ClientMessage, CloseCode, ErrorCode, Operation, Query, Reader, ServerMessage, Timestamp, Writer,
        limits::MAX_VALUE_BYTES,
    },
    server::{
        Action, CommitError, ConnectionId, EVERY, EVERYONE, Options, Projection, Residue, Rule, Rules,
        Server, WriteError, storage::Trace,
    },
};

use mix::{bytes_of, change_bytes, kv_changes, value};

use super::{
    client::{Client, Mailbox, Outcome, Phase, Sub, Told, Watch, What},
    host::{self, ASK, ECHO, Host},
    model::{Met, Model, Name, Reply, SERVER, Subject, Write},
};
use crate::server_rig::{
    START,
    dice::Dice,
    faulty::{Fault, Faulty},
    replica::Replica,
};

const USERS: [Name; 8] = ["ada", "bob", "cyd", "dee", "eve", "fay", "gus", "世"];
const CLIENTS: usize = 40;
/// The datastore and the group of the kv store with large values in them.
const LARGE: Name = "large";
const OBJECTS: [Name; 5] = ["user:1", "user:%", "plain", "\0", "مرحبا"];
const DATASTORES: [Name; 4] = [LARGE, "user cards", "drafts", "user drafts"];
const POOLS: [Name; 2] = ["board", "cursors"];
const ROWS: [Name; 9] = ["a", "b", "c", "d", "%_", "'\";--", "\0", "世", "مرحبا"];
const GROUPS: [Name; 5] = ["", LARGE, "%_", ASK, ECHO];
const KEYS: [Name; 4] = ["", "k", "\0", "世"];
const WATCHED: [(Name, Name); 6] =
    [(EVERY, EVERY), (LARGE, EVERY), ("", "k"), (EVERY, ""), (ASK, EVERY), (ECHO, "k")];
/// A client says something before the server takes it for dead, whatever time passes in between.
const PING: Duration = Duration::from_secs(8);
const FLUSH: Duration = Duration::from_millis(50);
/// Batches between two comparisons.
const COMPARED: u64 = 8;

fn rules() -> Rules {
    let projection =
        || Projection::new().field("secret", "owner").field("hidden", "unheard of").others(EVERYONE);
    Rules::new()
        .viewer("owner", |view| Ok(view.value.string_field("owner") == Some(view.viewer)))
        .object("user:*", Rule::new().projection(projection()))
        .datastore("user *", Rule::new().projection(projection()))
}

fn open(storage: Faulty, process: u8) -> Server<Faulty> {
    let mut options = Options::new([process; 32]);
    options.rules = rules();
    Server::open(storage, options).unwrap()
}

pub(crate) struct Run {
    server: Server<Faulty>,
    fault: Rc<Cell<Fault>>,
    now: Timestamp,
    model: Model,
    host: Host,
    clients: Vec<Client>,
    dice: Dice,
    pub(crate) operations: u64,
    processes: u8,
    last_connection: u64,
    last_val: u64,
    /// What the writes of the open batch are to be answered.
    expected: BTreeMap<(usize, u64), Reply>,
    /// What questions are to be answered; `None`: they wait, for an answer that is as new as its moment.
    questions: BTreeMap<(usize, u32), Option<Vec<u8>>>,
    last_question: u32,
    traces: HashMap<u64, Trace>,
    /// Whether the storage has failed in the open batch.
    has_failed: bool,
}

impl Run {
    pub(crate) fn new(seed: u64) -> Self {
        let (storage, fault) = Faulty::new();
        let mut server = open(storage, 0);
        let model = Model::default();
        let host = Host::new(&mut server, START, &model);
        let mut dice = Dice(seed);
        let history = |subject| Sub::new(What::History { subject, replica: Replica::default() });
        let client = |index: usize| {
            let (group, key) = WATCHED[index % WATCHED.len()];
            let (second_group, second_key) = dice.pick(&WATCHED);
            let mut subs = vec![
                history(Subject::Object(OBJECTS[index % OBJECTS.len()])),
                history(Subject::Datastore(DATASTORES[index % DATASTORES.len()])),
                history(Subject::Pool(POOLS[index % POOLS.len()])),
                Sub::new(What::Watch(Watch::new(group, key))),
            ];
            subs.push(Sub::new(if dice.one_in(4) {
                What::Watch(Watch::new(second_group, second_key))
            } else {
                What::Mailbox(Mailbox::default())
            }));
            let is_slow = dice.one_in(4);
            Client::new(format!("client {index}"), USERS[index % USERS.len()], is_slow, START, subs)
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self {
            server,
            fault,
            now: START,
            model,
            host,
            clients,
            dice,
            operations: 0,
            processes: 0,
            last_connection: 0,
            last_val: 0,
            expected: BTreeMap::new(),
            questions: BTreeMap::new(),
            last_question: 0,
            traces: HashMap::new(),
            has_failed: false,
        }
    }

    /// One batch, with what comes between two of them.
    pub(crate) fn step(&mut self) {
        let fault = match self.dice.roll(18) {
            0 | 1 => Fault::Commit,
            2 => Fault::Record,
            _ => Fault::None,
        };
        self.fault.set(fault);
        self.report_drained(40);
        for _ in 0..self.dice.roll(10) {
            self.operations += 1;
            self.operation();
        }
        match self.dice.roll(200) {
            0 => return self.end_process(),
            1 => return self.close_process(),
            2 => {
                // The batch is committed, and nobody hears of it.
                self.commit_silently();
                return self.end_process();
            }
            _ => {}
        }
        self.commit();
        self.pass_time();
        if self.model.batch.is_multiple_of(COMPARED) || self.dice.one_in(20) {
            let is_whole = self.dice.one_in(6);
            self.compare(is_whole);
        }
    }

    /// Compares once more, and sees that nothing is left of anybody.
    pub(crate) fn end(mut self) -> BTreeMap<Met, u64> {
        self.compare(true);
        for index in 0..CLIENTS {
            self.disconnect(index);
        }
        self.commit();
        self.advance(FLUSH);
        assert_eq!(self.server.residue(), Residue::default());
        self.model.met
    }

    // What happens

    fn operation(&mut self) {
        let client = self.dice.index(CLIENTS);
        match self.dice.roll(100) {
            0..=4 => self.disconnect(client),
            // A connection may take the place of one that is still there.
            5..=9 => self.connect(client),
            10..=12 => self.toggle(client),
            13..=20 => self.say_delivered(client),
            21..=40 => {
                let write = self.any_write();
                self.write_as_authority(&write);
            }
            _ => self.write_as(client),
        }
    }

    fn write_as_authority(&mut self, write: &Write) {
        let (now, bytes) = (self.now, bytes_of(write));
        let expected = self.model.write(now, None, SERVER, write);
        let done = match *write {
            Write::Put { key, .. } => self.server.put(now, key, value(&bytes)).map(Some),
            Write::Delete { key } => self.server.delete(now, key),
            Write::Set { datastore, .. } => self.server.set(now, datastore, value(&bytes)).map(Some),
            Write::Remove { datastore, key } => self.server.remove(now, datastore, key),
            Write::Merge { pool, .. } => self.server.merge(now, pool, value(&bytes)),
            Write::Notify { to, suit, ttl, pack } => {
                let life = ttl.map(Duration::from_millis);
                self.server.notify(now, to, value(&bytes), suit, life).map(|notification| {
                    self.note_trace(pack.n, notification.trace);
                    None
                })
            }
            // The authority may reply in anybody's place; the model has it say so.
            Write::Reply { note, val } => {
                let to = self.model.state.notes.get(&note).map_or(SERVER, |note| note.to);
                let expected = self.model.write(now, None, to, write);
                self.expect_told(write, expected);
                let done = self.server.reply(now, self.traces[&note], value(&val.plain()));
                return self.check_done(expected, done.map(|_| None));
            }
            Write::Kv(ref changes) => {
                let bytes: Vec<_> = changes.iter().map(change_bytes).collect();
                self.server.kv(now).apply(&kv_changes(changes, &bytes)).map(|()| None)
            }
        };
        self.check_done(expected, done);
    }

    fn check_done(
        &mut self,
        expected: Reply,
        done: Result<Option<tidewire::protocol::Position>, WriteError>,
    ) {
        match (expected, done) {
            (_, Err(WriteError::StorageFailed)) => {
                assert_ne!(self.fault.get(), Fault::None);
                self.has_failed = true;
            }
            // The batch may have failed before: what it says then is of no account.
            _ if self.fault.get() == Fault::Record => {}
            (Reply::Refused(code), Err(error)) => assert_eq!(error.code(), code),
            (Reply::Done(place, _), Ok(position)) => self.check_position(place, position),
            (expected, done) => panic!("{done:?} is not {expected:?}"),
        }
    }

    fn check_position(
        &mut self,
        place: Option<(Subject, u32, u64)>,
        position: Option<tidewire::protocol::Position>,
    ) {
        let known = place.zip(position).map(|((subject, ..), position)| {
            (subject, self.model.generation_of(subject, position.epoch), position.sequence.get())
        });
        assert_eq!((known, position.is_some()), (place, place.is_some()));
    }

    fn note_trace(&mut self, note: u64, trace: Trace) {
        let known = *self.traces.entry(note).or_insert(trace);
        assert_eq!(known, trace, "the trace of notification {note}");
    }

    fn write_as(&mut self, index: usize) {
        let client = &self.clients[index];
        if client.connection.is_none() || client.wrote == self.model.batch {
            return;
        }
        if client.unanswered.is_none() && self.dice.one_in(8) {
            // It did hear, and asks again.
            let client = &mut self.clients[index];
            client.unanswered = client.answered.clone();
        }
        if self.clients[index].unanswered.is_none() {
            let write = self.any_write();
            let client = &mut self.clients[index];
            client.last_request += 1;
            client.unanswered = Some((client.last_request, write));
        }
        self.send_unanswered(index);
    }

    /// Sends the write that has no answer yet, for the first time or again.
    fn send_unanswered(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let (Some(connection), Some((request, write))) = (client.connection, client.unanswered.clone())
        else {
            return;
        };
        client.wrote = self.model.batch;
        let user = client.user;
        let (reply, is_first) = self.model.write_once(self.now, index, (connection, user), request, &write);
        if is_first {
            self.expect_told(&write, reply);
        }
        self.expected.insert((index, request), reply);
        let bytes = bytes_of(&write);
        let several: Vec<_> = match &write {
            Write::Kv(changes) => changes.iter().map(change_bytes).collect(),
            _ => Vec::new(),
        };
        let trace = match write {
            Write::Reply { note, .. } => self.traces[&note].to_string(),
            _ => String::new(),
        };
        let operation = match write {
            Write::Put { key, .. } => Operation::Put { key, value: value(&bytes) },
            Write::Delete { key } => Operation::Delete { key },
            Write::Set { datastore, .. } => Operation::Set { datastore, value: value(&bytes) },
            Write::Remove { datastore, key } => Operation::Remove { datastore, key },
            Write::Merge { pool, .. } => Operation::Merge { pool, fields: value(&bytes) },
            Write::Notify { to, suit, ttl, .. } => Operation::Notify { to, pack: value(&bytes), suit, ttl },
            Write::Reply { .. } => Operation::Reply { trace: &trace, reply: value(&bytes) },
            Write::Kv(ref changes) => Operation::Kv(kv_changes(changes, &several)),
        };
        self.feed(index, &[ClientMessage::Write { request, operation }]);
    }

    /// A reply is told to whoever follows the sender's mailbox at that moment.
    fn expect_told(&mut self, write: &Write, reply: Reply) {
        let (Write::Reply { note, val }, Reply::Done(..)) = (write, reply) else {
            return;
        };
        let from = self.model.state.notes[note].from;
        for client in self.clients.iter_mut().filter(|client| client.user == from) {
            for sub in client.subs.iter_mut().filter(|sub| sub.phase == Phase::Following) {
                if let What::Mailbox(mailbox) = &mut sub.what {
                    mailbox.replies.push_back((*note, *val));
                }
            }
        }
    }

    fn say_delivered(&mut self, index: usize) {
        if self.clients[index].connection.is_none() {
            return;
        }
        let user = self.clients[index].user;
        let told: Vec<_> = self.clients[index].told().collect();
        let (count, all) = (self.dice.index(8).min(told.len()), self.dice.one_in(2));
        let mut notes: Vec<_> = (0..count).map(|_| self.dice.pick(&told)).collect();
        notes.extend(told.into_iter().filter(|_| all));
        // Of anybody's: what is not its own is left alone.
        notes.extend(self.any_note());
        for note in &notes {
            self.model.deliver(user, *note);
        }
        let traces: Vec<_> = notes.iter().map(|note| self.traces[note].to_string()).collect();
        let traces = traces.iter().map(String::as_str).collect();
        self.feed(index, &[ClientMessage::Delivered(traces)]);
    }

    // Connections

    fn feed(&mut self, index: usize, messages: &[ClientMessage<'_>]) {
        let mut writer = Writer::new();
        for message in messages {
            message.encode(&mut writer);
        }
        let client = &mut self.clients[index];
        client.heard = self.now;
        self.server.handle_frame(self.now, client.connection.unwrap(), &writer.into_bytes());
    }

    fn forget(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if let Some(connection) = client.connection {
            self.model.release(self.now, connection);
        }
        client.lose();
        self.expected.retain(|(owner, _), _| *owner != index);
        self.questions.retain(|(owner, _), _| *owner != index);
    }

    fn disconnect(&mut self, index: usize) {
        if let Some(connection) = self.clients[index].connection {
            self.forget(index);
            self.server.handle_disconnect(self.now, connection);
        }
    }

    fn connect(&mut self, index: usize) {
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        self.server.handle_connect(self.now, connection);
        self.forget(index);
        self.clients[index].connection = Some(connection);
        let (id, user) = (self.clients[index].id.clone(), self.clients[index].user);
        self.feed(index, &[ClientMessage::Hello { client: &id, token: Some(user) }]);
        self.subscribe(index, &[0, 1, 2, 3, 4]);
        self.send_unanswered(index);
    }

    fn subscribe(&mut self, index: usize, subs: &[usize]) {
        for sub in subs {
            // Not everybody remembers where it stood.
            if let What::History { replica, .. } = &mut self.clients[index].subs[*sub].what
                && self.dice.one_in(6)
            {
                *replica = Replica::default();
            }
        }
        let subscriptions = subs.iter().map(|sub| self.clients[index].subscription(*sub)).collect();
        let next = self.model.next_event();
        for sub in subs {
            let sub = &mut self.clients[index].subs[*sub];
            sub.touched = self.model.batch;
            sub.phase = Phase::Following;
            match &mut sub.what {
                What::History { subject, .. } => {
                    sub.phase = Phase::Asked;
                    if !matches!(subject, Subject::Object(_)) {
                        self.model.open(self.now, *subject);
                    }
                }
                What::Mailbox(_) => {}
                What::Watch(watch) => watch.next = next,
            }
        }
        self.feed(index, &[ClientMessage::Subscribe(subscriptions)]);
    }

    /// Ends a subscription, or begins it again where it stood.
    fn toggle(&mut self, index: usize) {
        let which = self.dice.index(5);
        let sub = &mut self.clients[index].subs[which];
        let is_first = std::mem::replace(&mut sub.touched, self.model.batch) != self.model.batch;
        let phase = sub.phase;
        if self.clients[index].connection.is_none() || !is_first {
            return;
        }
        if phase == Phase::Ended {
            self.subscribe(index, &[which]);
        } else {
            self.clients[index].subs[which].end();
            self.feed(index, &[ClientMessage::Unsubscribe(u32::try_from(which).unwrap())]);
        }
    }

    /// What was sent has left, at once or, for the slow, once in `patience` times.
    fn report_drained(&mut self, patience: u64) {
        for index in 0..CLIENTS {
            let client = &self.clients[index];
            if client.is_stalled && (!client.is_slow || self.dice.one_in(patience)) {
                let connection = client.connection.unwrap();
                self.clients[index].is_stalled = false;
                self.server.handle_drained(self.now, connection);
            }
        }
    }

    /// Asks for the next page of every snapshot that goes on.
    fn pull_pages(&mut self) {
        for index in 0..CLIENTS {
            for sub in 0..self.clients[index].subs.len() {
                let subscription = u32::try_from(sub).unwrap();
                if let What::History { replica, .. } = &mut self.clients[index].subs[sub].what
                    && let Some(cursor) = replica.next.take()
                {
                    let page = ClientMessage::Page { subscription, attempt: 0, cursor: &cursor };
                    self.feed(index, &[page]);
                }
            }
        }
    }

    // Batches

    fn commit(&mut self) {
        let released = self.model.batch;
        assert_eq!(self.server.poll_transmit(), None, "something leaves before the commit");
        self.listen();
        let result = self.server.commit(self.now);
        let fault = self.fault.replace(Fault::None);
        assert!(result.is_err() || !std::mem::take(&mut self.has_failed), "a batch that failed is committed");
        self.has_failed = false;
        match &result {
            Ok(()) => {
                self.model.commit();
                self.host.hear(self.now, &mut self.model);
            }
            Err(CommitError::Undone(_)) => {
                assert_ne!(fault, Fault::None, "a batch is undone without a reason");
                self.undo();
            }
            Err(CommitError::Lost(error)) => panic!("{error}"),
        }
        self.collect(released, result.is_err(), false);
        assert!(self.expected.is_empty(), "writes without an answer: {:?}", self.expected);
    }

    /// Polls the host's watchers a few times, at any moment: they know of nothing that is not committed.
    fn listen(&mut self) {
        if self.dice.one_in(4) {
            self.host.poll(&mut self.server, &self.model, Some(&mut self.dice));
        }
    }

    fn undo(&mut self) {
        self.model.undo();
        for ((client, request), reply) in &mut self.expected {
            *reply = self.model.reply_if_undone(*client, *request);
        }
        let committed = self.model.events.len();
        for sub in self.clients.iter_mut().flat_map(|client| &mut client.subs) {
            match &mut sub.what {
                What::Watch(watch) => watch.next = watch.next.min(committed),
                What::Mailbox(mailbox) => mailbox.replies.clear(),
                What::History { .. } => {}
            }
        }
        let there: BTreeSet<_> = self.clients.iter().filter_map(|client| client.connection).collect();
        self.model.release_departed(self.now, |connection| there.contains(&connection));
    }

    /// Takes what the server has released.
    fn collect(&mut self, released: u64, is_undone: bool, is_closing: bool) {
        while let Some(transmit) = self.server.poll_transmit() {
            let owner = self.clients.iter().position(|client| client.connection == Some(transmit.connection));
            // A connection that another has taken the place of is told so.
            let Some(index) = owner else {
                continue;
            };
            match transmit.action {
                Action::Frame(frame) => {
                    let mut reader = Reader::new(&frame);
                    while !reader.is_empty() {
                        let message = ServerMessage::decode(&mut reader).unwrap();
                        let client = &mut self.clients[index];
                        let told = client.take(&mut self.model, self.now, released, is_undone, message);
                        if let Some(told) = told {
                            self.take(index, told);
                        }
                    }
                }
                Action::Close { code, reason } => assert!(is_closing, "closed with {code}: {reason}"),
            }
            if transmit.report {
                self.clients[index].is_stalled = true;
                self.model.meet(Met::Stalled);
            }
        }
    }

    fn take(&mut self, index: usize, told: Told) {
        match told {
            Told::Trace { note, trace } => self.note_trace(note, trace),
            Told::Result { query, value, code } => {
                let expected = self.questions.remove(&(index, query)).expect("a question that was asked");
                self.model.meet(Met::Answer);
                let is_large = expected.as_ref().is_some_and(|value| value.len() > MAX_VALUE_BYTES);
                if is_large {
                    assert_eq!(code, Some(ErrorCode::LimitExceeded.number()));
                } else if expected.is_some() {
                    assert!(code.is_none() && value == expected, "the answer to a question");
                }
            }
            Told::Reply { request, outcome } => {
                let expected = self.expected.remove(&(index, request)).expect("a write that was sent");
                match (expected, outcome) {
                    (Reply::Done(place, note), Outcome::Done { position, trace }) => {
                        self.check_position(place, position);
                        assert_eq!(note.is_some(), trace.is_some());
                        if let (Some(note), Some(trace)) = (note, trace) {
                            self.note_trace(note, trace);
                        }
                        self.clients[index].answer();
                    }
                    (Reply::Refused(expected), Outcome::Refused(code)) => {
                        assert_eq!(code, expected.number());
                        // What the storage could not do is asked for again, under the same number.
                        if expected != ErrorCode::StorageFailed {
                            self.clients[index].answer();
                        }
                    }
                    (expected, outcome) => panic!("{outcome:?} is not {expected:?}"),
                }
            }
        }
    }

    // Time

    fn pass_time(&mut self) {
        let time = match self.dice.roll(300) {
            // The host was asleep: nobody is taken for dead.
            0 => {
                self.now = self.now + Duration::from_secs(61 * 60);
                Duration::ZERO
            }
            1..=12 => Duration::from_millis(self.dice.roll(8_000)),
            _ => Duration::from_millis(self.dice.roll(40)),
        };
        self.advance(time);
    }

    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        for index in 0..CLIENTS {
            let client = &self.clients[index];
            if client.connection.is_some() && end.since(client.heard) > PING {
                self.feed(index, &[ClientMessage::Ping]);
            }
        }
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.server.handle_timeout(self.now);
            self.commit();
        }
        self.now = end;
    }

    // Processes

    fn end_process(&mut self) {
        self.fault.set(Fault::None);
        self.model.undo();
        self.processes += 1;
        let (placeholder, _) = Faulty::new();
        let server = std::mem::replace(&mut self.server, open(placeholder, 0));
        self.server = open(server.into_storage().unwrap(), self.processes);
        self.has_failed = false;
        self.expected.clear();
        self.questions.clear();
        for client in &mut self.clients {
            client.lose();
        }
        self.model.restart();
        self.host = Host::new(&mut self.server, self.now, &self.model);
    }

    fn close_process(&mut self) {
        self.commit();
        self.server.close_all(CloseCode::Restarting, "the server is restarting", None);
        let released = self.model.batch;
        self.server.commit(self.now).unwrap();
        self.model.commit();
        self.collect(released, false, true);
        self.end_process();
    }

    fn commit_silently(&mut self) {
        if self.server.commit(self.now).is_ok() {
            self.model.commit();
        }
    }

    // Comparisons

    /// Has everybody catch up, and compares. A part of the slow ones stays behind, unless it `is_whole`.
    fn compare(&mut self, is_whole: bool) {
        for index in 0..CLIENTS {
            if self.clients[index].connection.is_none() {
                self.connect(index);
            }
        }
        for round in 0.. {
            assert!(round < 200, "it does not come to rest");
            if round % 10 == 0 {
                self.subscribe_again();
            }
            self.report_drained(if is_whole { 1 } else { 100 });
            self.pull_pages();
            self.commit();
            self.advance(FLUSH);
            let is_at_rest = |client: &Client| {
                let stays_behind = client.is_slow && !is_whole;
                if client.is_stalled { stays_behind } else { client.is_answered() }
            };
            if self.clients.iter().all(is_at_rest) && self.server.is_idle() {
                break;
            }
        }
        host::compare(&mut self.server, self.now, &mut self.model, &self.traces, &GROUPS);
        self.host.poll(&mut self.server, &self.model, None);
        for client in &self.clients {
            client.compare(&mut self.model, self.now);
        }
        self.ask();
    }

    fn subscribe_again(&mut self) {
        for index in 0..CLIENTS {
            let subs = self.clients[index].subs.iter().enumerate();
            let ended = subs.filter(|(_, sub)| sub.phase == Phase::Ended && sub.touched != self.model.batch);
            let ended: Vec<_> = ended.map(|(index, _)| index).collect();
            if !ended.is_empty() {
                self.subscribe(index, &ended);
            }
        }
    }

    /// Asks questions about the kv store.
    fn ask(&mut self) {
        for group in GROUPS {
            let index = self.dice.index(CLIENTS);
            if self.clients[index].is_stalled {
                continue;
            }
            let entries = self.model.group(self.now, group);
            let mut writer = Writer::new();
            writer.map(entries.len());
            for (key, val) in entries {
                writer.str(key);
                writer.value(value(&val.plain()));
            }
            self.last_question += 1;
            let query = self.last_question;
            self.questions.insert((index, query), Some(writer.into_bytes()));
            self.feed(index, &[ClientMessage::Query { query, about: Query::KvGetAll { group } }]);
        }
        self.commit();
        for ((index, _), expected) in &mut self.questions {
            assert!(self.clients[*index].is_stalled, "a question without an answer");
            *expected = None;
        }
    }
}
