//! The task that drives the client machine: bytes, time and commands in, frames and updates out.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use tidewire::{
    client::{CellId, Change, Client, Output, SlotId},
    protocol::{Operation, Query, QueryId, Reader, RequestId, ServerMessage, Timestamp},
    replica::Verdict,
    session::{Generation, Phase},
};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use crate::{
    Connection, Error,
    link::{ABNORMAL, Addresses, Event, Link},
    services::{Done, Teller, Told, Value},
    subscription::{Decoded, Meta, Subscriber, Update},
    token::Tokens,
};

/// Something to do between two inputs.
pub(crate) type Command = Box<dyn FnOnce(&mut Driver) + Send>;

/// Frames that may wait for the driver; beyond them the links stop reading.
const WAITING_EVENTS: usize = 64;

/// What a settled write's code means beside the authority's numbers.
const DONE: u16 = 0;
const UNKNOWN: u16 = u16::MAX;

pub(crate) struct Driver {
    pub(crate) client: Client,
    addresses: Addresses,
    /// Where tokens come from, if they are asked for.
    tokens: Option<Tokens>,
    started: Instant,
    commands: mpsc::UnboundedReceiver<Command>,
    connection: watch::Sender<Connection>,
    link: Option<Link>,
    /// Kept for the links to come.
    heard: mpsc::Sender<(Generation, Event)>,
    events: mpsc::Receiver<(Generation, Event)>,
    subscribers: HashMap<SlotId, Arc<dyn Subscriber>>,
    writes: HashMap<RequestId, Done<Option<String>>>,
    queries: HashMap<QueryId, Done<Option<Value>>>,
    feeds: HashMap<SlotId, Teller>,
    /// What gates have decoded, until the client forgets the cell.
    decoded: HashMap<CellId, Decoded>,
    /// How often each copy was rolled back, if it ever was.
    rollbacks: HashMap<SlotId, u32>,
    changes: Vec<Change>,
}

impl Driver {
    pub(crate) fn new(
        client: Client,
        addresses: Addresses,
        tokens: Option<Tokens>,
        commands: mpsc::UnboundedReceiver<Command>,
        connection: watch::Sender<Connection>,
    ) -> Self {
        let (heard, events) = mpsc::channel(WAITING_EVENTS);
        Self {
            client,
            addresses,
            tokens,
            started: Instant::now(),
            commands,
            connection,
            link: None,
            heard,
            events,
            subscribers: HashMap::new(),
            writes: HashMap::new(),
            queries: HashMap::new(),
            feeds: HashMap::new(),
            decoded: HashMap::new(),
            rollbacks: HashMap::new(),
            changes: Vec::new(),
        }
    }

    /// Drives the client until nobody holds it any more.
    pub(crate) async fn run(mut self) {
        self.client.start(self.now());
        loop {
            self.drain();
            if self.client.phase() == Phase::Closed {
                // What is shown stays readable, but nobody waits for a change that cannot come.
                self.subscribers.clear();
                self.feeds.clear();
            }
            let due = self.client.poll_timeout();
            let wait = due.map(|due| due.since(self.now()));
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => command(&mut self),
                    None => break,
                },
                Some((link, event)) = self.events.recv() => self.hear(link, event),
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => {
                    self.client.handle_timeout(self.now());
                }
            }
        }
        self.close();
        self.drain();
    }

    fn now(&self) -> Timestamp {
        Timestamp::default() + self.started.elapsed()
    }

    fn hear(&mut self, link: Generation, event: Event) {
        let now = self.now();
        match event {
            Event::Token(fetched) => {
                let fetched = fetched.as_deref().map_err(String::as_str);
                self.client.handle_token(now, link, fetched);
            }
            Event::Opened => self.client.handle_opened(now, link),
            Event::Frame(frame) => self.client.handle_frame(now, link, &frame),
            Event::Closed { code, reason } => {
                self.link.take_if(|present| present.generation == link);
                self.client.handle_closed(now, link, code, &reason);
            }
        }
    }

    pub(crate) fn close(&mut self) {
        self.client.close(self.now());
    }

    pub(crate) fn attach(&mut self, slot: SlotId, subscriber: Arc<dyn Subscriber>) {
        self.subscribers.insert(slot, subscriber);
    }

    pub(crate) fn detach(&mut self, slot: SlotId) {
        self.subscribers.remove(&slot);
        self.feeds.remove(&slot);
        self.rollbacks.remove(&slot);
        self.client.release(slot);
    }

    /// Hands what a feed brings to `teller`.
    pub(crate) fn tell(&mut self, slot: SlotId, teller: Teller) {
        self.feeds.insert(slot, teller);
    }

    pub(crate) fn ask(&mut self, about: Query<'_>, done: Done<Option<Value>>) {
        let refused = match self.client.query(self.now(), about) {
            Ok(_) if self.client.phase() == Phase::Closed => Error::Closed,
            Ok(query) => {
                self.queries.insert(query, done);
                return;
            }
            Err(error) => error.into(),
        };
        // The caller may be gone.
        let _ = done.send(Err(refused));
    }

    pub(crate) fn write(&mut self, operation: Operation<'_>, done: Done<Option<String>>) {
        let refused = match self.client.write(self.now(), operation) {
            Ok(_) if self.client.phase() == Phase::Closed => Error::Closed,
            Ok(request) => {
                self.writes.insert(request, done);
                return;
            }
            Err(error) => error.into(),
        };
        // The caller may be gone.
        let _ = done.send(Err(refused));
    }

    /// Does what the client asks for, until it asks for nothing.
    fn drain(&mut self) {
        loop {
            while let Some(output) = self.client.poll_output() {
                self.perform(output);
            }
            let mut changes = std::mem::take(&mut self.changes);
            self.client.poll_changes(&mut changes);
            if changes.is_empty() {
                self.changes = changes;
                return;
            }
            let mut updates = BTreeMap::<SlotId, Vec<Update>>::new();
            for change in changes.drain(..) {
                self.change(change, &mut updates);
            }
            self.changes = changes;
            for (slot, updates) in updates {
                if let Some(subscriber) = self.subscribers.get(&slot) {
                    subscriber.apply(updates);
                }
            }
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Fetch(link, reason) => {
                if let Some(tokens) = &self.tokens {
                    let (fetching, heard) = (tokens.fetch(reason), self.heard.clone());
                    tokio::spawn(async move {
                        // The driver is gone with everything that a token could be for.
                        let _ = heard.send((link, Event::Token(fetching.await))).await;
                    });
                }
            }
            Output::Dial(link) => {
                self.link = Some(Link::open(self.addresses.take(), link, self.heard.clone()));
            }
            Output::Transmit(link, frame) => {
                let is_sent = match &self.link {
                    Some(present) if present.generation == link => present.send(frame),
                    _ => return,
                };
                if !is_sent {
                    self.link = None;
                    let reason = "the connection cannot send as fast as this program writes";
                    self.client.handle_closed(self.now(), link, ABNORMAL, reason);
                }
            }
            Output::Hang { link, code } => {
                if let Some(present) = self.link.take_if(|present| present.generation == link) {
                    present.close(code);
                }
            }
        }
    }

    fn change(&mut self, change: Change, updates: &mut BTreeMap<SlotId, Vec<Update>>) {
        let mut update = |slot, update| updates.entry(slot).or_default().push(update);
        match change {
            Change::Judge { slot, cell, ticket } => {
                let verdict =
                    if self.decode(slot, cell).is_some() { Verdict::Accepted } else { Verdict::Refused };
                self.client.judged(self.now(), ticket, verdict);
            }
            Change::Value { slot, cell, .. } => {
                let value = cell.and_then(|cell| self.decode(slot, cell));
                update(slot, Update::Value(value));
                update(slot, Update::Meta(self.meta(slot)));
            }
            Change::Table { slot } => {
                for cell in self.client.rows(slot).collect::<Vec<_>>() {
                    self.change(Change::Row { slot, cell, previous: None, ticket: 0 }, updates);
                }
            }
            Change::Row { slot, cell, .. } => {
                let key = self.client.key(cell).map(str::to_owned);
                if let Some((key, row)) = key.zip(self.decode(slot, cell)) {
                    update(slot, Update::Row(key, row));
                }
            }
            Change::Gone { slot, cell } => {
                if let Some(key) = self.client.key(cell) {
                    update(slot, Update::Gone(key.to_owned()));
                }
            }
            Change::Meta { slot } | Change::Quarantined { slot, .. } => {
                update(slot, Update::Meta(self.meta(slot)));
            }
            Change::RolledBack { slot } => {
                *self.rollbacks.entry(slot).or_default() += 1;
                update(slot, Update::Meta(self.meta(slot)));
            }
            Change::Denied { slot } => {
                let message = self.client.denial(slot).unwrap_or_default().to_owned();
                match self.feeds.get_mut(&slot) {
                    Some(teller) => {
                        // Where there is no room, the reader finds the feed at its end.
                        let _ = teller.tell(Told::Denied(message));
                        self.feeds.remove(&slot);
                    }
                    None => update(slot, Update::Denied(message)),
                }
            }
            Change::Settled { request, code } => self.settle(request, code),
            Change::Link => self.report(),
            Change::Freed { cell } => {
                self.decoded.remove(&cell);
            }
            Change::Answered { query, cell } => self.answer(query, cell),
            Change::Fed { slot, cell } => self.hand_on(slot, cell),
            // No replica here has a transport of its own.
            Change::Install { .. }
            | Change::Discard { .. }
            | Change::Refetch { .. }
            | Change::JudgeOwn { .. }
            | Change::Abort { .. } => {}
        }
    }

    /// The decoded value of a cell; `None` if it does not decode.
    fn decode(&mut self, slot: SlotId, cell: CellId) -> Option<Decoded> {
        if let Some(known) = self.decoded.get(&cell) {
            return Some(known.clone());
        }
        let value = self.client.value(cell)?;
        let decoded = self.subscribers.get(&slot)?.decode(value)?;
        self.decoded.insert(cell, decoded.clone());
        Some(decoded)
    }

    fn meta(&self, slot: SlotId) -> Meta {
        Meta {
            sequence: self.client.sequence(slot),
            epoch: self.client.epoch(slot).and_then(|epoch| epoch.parse().ok()),
            status: self.client.status(slot),
            stats: self.client.stats(slot),
            is_ready: self.client.is_ready(slot),
            rollbacks: self.rollbacks.get(&slot).copied().unwrap_or_default(),
        }
    }

    /// Hands a message of a feed to its reader.
    fn hand_on(&mut self, slot: SlotId, cell: CellId) {
        let Some(message) = self.client.value(cell) else { return };
        let Some(teller) = self.feeds.get_mut(&slot) else { return };
        let bytes = message.as_bytes();
        if !teller.tell(Told::Message(bytes.into()))
            && let Ok(ServerMessage::Notification { trace, .. }) =
                ServerMessage::decode(&mut Reader::new(bytes))
        {
            // It comes again in the next session.
            let trace = trace.to_owned();
            self.client.taken(&[&trace], false);
        }
    }

    fn answer(&mut self, query: QueryId, cell: Option<CellId>) {
        let Some(done) = self.queries.remove(&query) else { return };
        let message = cell.and_then(|cell| self.client.value(cell));
        let result =
            message.and_then(|message| ServerMessage::decode(&mut Reader::new(message.as_bytes())).ok());
        let outcome = match result {
            Some(ServerMessage::Result { outcome: Ok(value), .. }) => Ok(value.map(Value::from)),
            Some(ServerMessage::Result { outcome: Err((code, message)), .. }) => {
                Err(Error::Refused { code, message: message.to_owned() })
            }
            _ if self.client.phase() == Phase::Closed => Err(Error::Closed),
            _ => Err(Error::Unanswered),
        };
        // The caller may be gone.
        let _ = done.send(outcome);
    }

    fn settle(&mut self, request: RequestId, code: u16) {
        let outcome = match code {
            DONE => Ok(self.client.settlement(request)),
            UNKNOWN => Err(Error::OutcomeUnknown),
            code => {
                let message = self.client.settlement(request).unwrap_or_default();
                Err(Error::Refused { code, message })
            }
        };
        if let Some(done) = self.writes.remove(&request) {
            // The caller may be gone.
            let _ = done.send(outcome);
        }
    }

    fn report(&self) {
        let reason = || self.client.reason().to_owned();
        let connection = match self.client.phase() {
            Phase::Live => Connection::Live,
            Phase::Closed => Connection::Closed { code: self.client.close_code(), reason: reason() },
            Phase::Reconnecting { .. } => Connection::Reconnecting { reason: reason() },
            // Dialing again is part of coming back.
            Phase::Idle | Phase::Connecting => match &*self.connection.borrow() {
                Connection::Connecting => Connection::Connecting,
                _ => Connection::Reconnecting { reason: reason() },
            },
        };
        self.connection.send_if_modified(|before| {
            let is_other = *before != connection;
            *before = connection;
            is_other
        });
    }
}
