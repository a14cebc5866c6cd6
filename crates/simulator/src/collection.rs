//! The same for a collection: a model datastore, paged snapshots, and clients that keep tables.
//!
//! Faults are those of the [`Mix`] that a datastore can suffer: no `rollback` (an authority that rewrites sequences in
//! one epoch makes tables of two histories, which rule 12 does not detect), and no corrupted copies (a refused row
//! waits for its next good version and asks for nothing, so it would not converge).

use std::collections::BTreeMap;

use tidewire::{
    protocol::Timestamp,
    replica::{
        Effect, EpochId, Header, Kind as ReplicaKind, Mark, Offer, Options, Page, Place, Replica, Source,
        Status, Token, Verdict, Version,
    },
};

use crate::{
    authority::Value,
    ledger::{Kind, Ledger, Phase},
    mix::Mix,
    object::{ATTEMPT_DEADLINE, BEACON_PERIOD, BEACON_TICKS, PERIODS, TICK},
    random::Random,
    rig::{Fault, Rig, Summary, World},
};

const KEYS: u64 = 12;
const PAGE_ROWS: usize = 4;

type Key = u64;
/// A row: its last change, and its value (`None`: deleted).
type Row = (u64, Option<Value>);

#[derive(Debug, Clone)]
enum Message {
    Operation {
        header: Header,
        key: Key,
        value: Option<Value>,
    },
    Beacon {
        session: u64,
        n: u64,
        epoch: EpochId,
        head: u64,
    },
    Page {
        attempt: Option<u32>,
        header: Header,
        lineage: Vec<(EpochId, u64)>,
        rows: Vec<(Key, Row)>,
        number: u32,
        head: u64,
        next: Option<Key>,
    },
    Current {
        attempt: u32,
        epoch: EpochId,
        head: u64,
    },
    Failure {
        attempt: u32,
    },
    Refresh,
}

/// Asks for the next page of a snapshot.
#[derive(Debug, Clone, Copy)]
struct Pull {
    attempt: Option<u32>,
    epoch: EpochId,
    sequence: u64,
    number: u32,
    from: Key,
}

#[derive(Debug, Clone)]
enum Event {
    Deliver(Message),
    Request { attempt: u32, position: Option<Mark>, withhold: bool },
    Pull(Pull),
}

#[derive(Debug)]
struct Datastore {
    epoch: EpochId,
    sequence: u64,
    rows: BTreeMap<Key, (u64, Value)>,
    log: Vec<(u64, Key, Option<Value>)>,
    lineage: Vec<(EpochId, u64)>,
    /// Every table that ever was, by position.
    tables: BTreeMap<(EpochId, u64), BTreeMap<Key, (u64, Value)>>,
    writes: u64,
}

impl Datastore {
    fn new() -> Self {
        let epoch = EpochId(1);
        Self {
            epoch,
            sequence: 0,
            rows: BTreeMap::new(),
            log: Vec::new(),
            lineage: Vec::new(),
            tables: BTreeMap::from([((epoch, 0), BTreeMap::new())]),
            writes: 0,
        }
    }

    fn write(&mut self, random: &mut Random, is_bad: bool, major: u32) -> (Header, Key, Option<Value>) {
        self.writes += 1;
        self.sequence += 1;
        let key = random.below(KEYS);
        let value = (random.below(4) > 0).then_some(Value { number: self.writes, is_bad, major });
        match value {
            Some(value) => self.rows.insert(key, (self.sequence, value)),
            None => self.rows.remove(&key),
        };
        self.log.push((self.sequence, key, value));
        self.tables.insert((self.epoch, self.sequence), self.rows.clone());
        (self.header_of(self.sequence, value), key, value)
    }

    fn header_of(&self, sequence: u64, value: Option<Value>) -> Header {
        let major = value.map(|value| value.major);
        Header { epoch: self.epoch, sequence, prev: None, version: Version { id: major.unwrap_or(0), major } }
    }

    /// A restart that may lose the last writes, under a new epoch.
    fn restart(&mut self, lost: u64) {
        let kept = self.sequence.saturating_sub(lost);
        if let Some(table) = self.tables.get(&(self.epoch, kept)) {
            self.rows = table.clone();
            self.lineage.insert(0, (self.epoch, kept));
        } else {
            self.lineage.insert(0, (self.epoch, self.sequence));
        }
        self.lineage.truncate(8);
        self.epoch = EpochId(self.epoch.0 + 1);
        self.sequence = 0;
        for row in self.rows.values_mut() {
            row.0 = 0;
        }
        self.log.clear();
        self.tables.insert((self.epoch, 0), self.rows.clone());
    }
}

/// A change of one row on its way, or a page's rows.
#[derive(Debug, Clone)]
enum Kept {
    Operation { key: Key, row: Row },
    Page { rows: Vec<(Key, Row)>, pull: Option<Pull> },
}

#[derive(Debug)]
struct Client {
    replica: Replica,
    rows: BTreeMap<Key, Row>,
    staging: Option<BTreeMap<Key, Row>>,
    kept: BTreeMap<Token, Kept>,
    tokens: u32,
    session: u64,
    beacons: u64,
    in_flight: Option<u32>,
    outbox: Vec<Event>,
    position: Option<Mark>,
    /// Operations that the authority withholds while it sends pages.
    withheld: Option<Vec<Message>>,
}

impl Client {
    fn new(mix: &Mix, seed: u64) -> Self {
        let options = Options {
            kind: ReplicaKind::Collection,
            declared_major: (mix.foreign > 0).then_some(1),
            ordered_transport: mix.delay == 0,
            trusted: mix.is_trusted,
            attempt_deadline: ATTEMPT_DEADLINE,
            beacon_period: BEACON_PERIOD,
            ..Options::default()
        };
        Self {
            replica: Replica::new(options, seed),
            rows: BTreeMap::new(),
            staging: None,
            kept: BTreeMap::new(),
            tokens: 0,
            session: 1,
            beacons: 0,
            in_flight: None,
            outbox: Vec::new(),
            position: None,
            withheld: None,
        }
    }

    fn phase(&self) -> Phase {
        Phase::of(self.replica.status(), self.replica.position().is_some())
    }

    fn keep(&mut self, kept: Kept) -> Token {
        self.tokens += 1;
        self.kept.insert(Token(self.tokens), kept);
        Token(self.tokens)
    }

    fn feed(&mut self, now: Timestamp, message: Message) -> Result<(), Fault> {
        let (token, offer) = match message {
            Message::Operation { header, key, value } => {
                let token = self.keep(Kept::Operation { key, row: (header.sequence, value) });
                (token, self.replica.offer(now, Source::Receipt, header, token, 50, &[]))
            }
            Message::Page { attempt, header, lineage, rows, number, head, next } => {
                let source = attempt.map_or(Source::Hydration, |attempt| Source::Refetch { attempt });
                let (epoch, sequence) = (header.epoch, header.sequence);
                let pull = next.map(|from| Pull { attempt, epoch, sequence, number: number + 1, from });
                let token = self.keep(Kept::Page { rows, pull });
                let page = Page { token, number, head, is_last: next.is_none() };
                let offer = self.replica.offer_page(now, source, header, page, &lineage);
                (token, offer)
            }
            Message::Beacon { session, n, epoch, head } => {
                self.replica.handle_beacon(now, session, n, epoch, head);
                return self.drain(now);
            }
            Message::Current { attempt, epoch, head } => {
                self.replica.handle_current(now, attempt, epoch, head);
                return self.drain(now);
            }
            Message::Failure { attempt } => {
                self.replica.handle_failure(now, attempt);
                return self.drain(now);
            }
            Message::Refresh => {
                self.replica.refresh(now);
                return self.drain(now);
            }
        };
        match offer {
            Offer::Drop(_) => {
                self.kept.remove(&token);
            }
            Offer::Judge(ticket) => {
                let verdict = self.gate(token)?;
                self.replica.judged(now, ticket, verdict);
            }
            Offer::Held | Offer::Settled => {}
            Offer::Installed { .. } => self.install(token, Place::Live)?,
        }
        self.drain(now)
    }

    fn gate(&self, token: Token) -> Result<Verdict, Fault> {
        match self.kept.get(&token) {
            Some(Kept::Operation { row: (_, value), .. }) => {
                Ok(if value.is_some_and(|value| value.is_bad) { Verdict::Refused } else { Verdict::Accepted })
            }
            Some(Kept::Page { .. }) | None => Err(format!("{token:?} is judged, but no operation")),
        }
    }

    fn drain(&mut self, now: Timestamp) -> Result<(), Fault> {
        while let Some(effect) = self.replica.poll_effect() {
            match effect {
                Effect::Judge { ticket, token } => {
                    let verdict = self.gate(token)?;
                    self.replica.judged(now, ticket, verdict);
                }
                Effect::Install { token, place, .. } => self.install(token, place)?,
                Effect::Quarantine { token, .. } | Effect::Discard { token } => {
                    if self.kept.remove(&token).is_none() {
                        return Err(format!("{token:?} is given back twice"));
                    }
                }
                Effect::Refetch { attempt, position, withhold } => {
                    self.in_flight = Some(attempt);
                    self.outbox.push(Event::Request { attempt, position, withhold });
                }
                Effect::Abort { .. } | Effect::Rollback { .. } | Effect::Ready => {}
                Effect::Stage => self.staging = Some(BTreeMap::new()),
                Effect::Unstage => self.staging = None,
                Effect::Page { token } => self.take_page(token)?,
                Effect::Swap => {
                    let mut rows = self.staging.take().ok_or("a swap without a staging table")?;
                    rows.retain(|_, row| row.1.is_some());
                    self.rows = rows;
                }
            }
        }
        Ok(())
    }

    fn install(&mut self, token: Token, place: Place) -> Result<(), Fault> {
        let Some(Kept::Operation { key, row }) = self.kept.remove(&token) else {
            return Err(format!("{token:?} is installed, but unknown"));
        };
        if place != Place::Live {
            fold(self.staging.as_mut().ok_or("an operation for no staging table")?, key, row);
        }
        if place != Place::Staging {
            match row.1 {
                Some(_) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
        Ok(())
    }

    fn take_page(&mut self, token: Token) -> Result<(), Fault> {
        let Some(Kept::Page { rows, pull }) = self.kept.remove(&token) else {
            return Err(format!("{token:?} is no page"));
        };
        let staging = self.staging.as_mut().ok_or("a page for no staging table")?;
        for (key, row) in rows {
            if row.1.is_some_and(|value| value.is_bad) {
                self.replica.count_refused_row();
                if let Some(good) = self.rows.get(&key) {
                    fold(staging, key, (row.0, good.1));
                }
            } else {
                fold(staging, key, row);
            }
        }
        self.outbox.extend(pull.map(Event::Pull));
        Ok(())
    }

    fn check(&mut self, store: &Datastore) -> Result<(), Fault> {
        let position = self.replica.position();
        if let (Some(before), Some(after)) = (self.position, position)
            && (after.epoch < before.epoch || after.epoch == before.epoch && after.sequence < before.sequence)
        {
            return Err(format!("the position went back from {before:?} to {after:?}"));
        }
        self.position = position;
        let Some(mark) = position else { return Ok(()) };
        let Some(table) = store.tables.get(&(mark.epoch, mark.sequence)) else {
            return Err(format!("{mark:?} never was"));
        };
        self.compare(table).map_err(|fault| format!("at {mark:?} {fault}"))
    }

    /// A row whose present value the gate refuses may show any older one.
    fn compare(&self, table: &BTreeMap<Key, (u64, Value)>) -> Result<(), Fault> {
        let declared = self.replica.options().declared_major;
        let is_refused = |value: &Value| value.is_bad || declared.is_some_and(|major| major != value.major);
        for key in 0..KEYS {
            let theirs = table.get(&key).map(|row| row.1);
            let ours = self.rows.get(&key).and_then(|row| row.1);
            if theirs.as_ref().is_some_and(is_refused) {
                continue;
            }
            if ours.map(|value| value.number) != theirs.map(|value| value.number) {
                return Err(format!("row {key} is {ours:?}, the authority had {theirs:?}"));
            }
        }
        Ok(())
    }
}

/// By key and sequence: the newer wins, a deletion too.
fn fold(table: &mut BTreeMap<Key, Row>, key: Key, row: Row) {
    if table.get(&key).is_none_or(|present| present.0 <= row.0) {
        table.insert(key, row);
    }
}

/// A datastore, its clients, and the same network.
#[derive(Debug)]
pub struct Collections;

impl World for Collections {
    type Mix = Mix;
    type Kind = Kind;
    type Phase = Phase;

    fn run(mix: &Mix, ledger: &mut Ledger<Kind, Phase>) -> Result<Summary, Fault> {
        let mut random = Random::new(mix.seed ^ 0x0077_6972_6500);
        let clients = (0..mix.clients).map(|_| Client::new(mix, random.bits())).collect();
        let mut run = Run {
            mix: mix.clone(),
            store: Datastore::new(),
            clients,
            sessions: 0,
            rig: Rig::new(random, TICK, ledger),
        };
        run.play().map_err(|fault| format!("tick {}: {fault}", run.rig.tick()))?;
        for client in &run.clients {
            let stats = client.replica.stats();
            run.rig.summary.refetches += stats.refetches;
            run.rig.summary.applied += stats.applied;
        }
        Ok(run.rig.summary)
    }
}

struct Run<'l> {
    mix: Mix,
    store: Datastore,
    clients: Vec<Client>,
    sessions: u64,
    rig: Rig<'l, Event, Kind, Phase>,
}

impl Run<'_> {
    fn play(&mut self) -> Result<(), Fault> {
        for _ in 0..self.rig.random.below(30) {
            self.write();
        }
        for client in 0..self.clients.len() {
            self.connect(client);
        }
        for _ in 0..self.mix.ticks {
            self.strike()?;
            self.pass_tick()?;
        }
        self.rig.is_calm = true;
        for _ in 0..PERIODS * BEACON_TICKS {
            self.pass_tick()?;
        }
        let head = Mark { epoch: self.store.epoch, sequence: self.store.sequence };
        for client in &self.clients {
            if client.replica.position() != Some(head) {
                return Err(format!("not converged: the authority is at {head:?}: {:?}", client.replica));
            }
            client.compare(&self.store.rows)?;
            if client.replica.status() != Status::Ok || client.staging.is_some() || !client.kept.is_empty() {
                return Err(format!("converged, but {} are kept: {:?}", client.kept.len(), client.replica));
            }
        }
        Ok(())
    }

    fn strike(&mut self) -> Result<(), Fault> {
        if self.rig.random.chance(self.mix.writes) {
            self.write();
        }
        if self.rig.random.chance(self.mix.restart) && self.rig.random.chance(100) {
            let lost = self.rig.random.below(3);
            self.store.restart(lost);
            for client in 0..self.clients.len() {
                self.note(client, Kind::Restart);
                self.connect(client);
            }
        }
        for client in 0..self.clients.len() {
            if self.rig.random.chance(self.mix.disconnect) && self.rig.random.chance(100) {
                self.note(client, Kind::Disconnect);
                self.connect(client);
            }
            if self.rig.random.chance(self.mix.refresh) && self.rig.random.chance(200) {
                self.note(client, Kind::Refresh);
                self.feed(client, Message::Refresh)?;
            }
        }
        Ok(())
    }

    fn strikes(&mut self, client: usize, rate: u32, kind: Kind) -> bool {
        let Self { rig, clients, .. } = self;
        rig.strikes(rate, kind, || clients[client].phase())
    }

    fn note(&mut self, client: usize, kind: Kind) {
        self.rig.note(kind, self.clients[client].phase());
    }

    fn write(&mut self) {
        let is_bad = !self.rig.is_calm && self.rig.random.chance(self.mix.poison);
        let major = if !self.rig.is_calm && self.rig.random.chance(self.mix.foreign) { 2 } else { 1 };
        let (header, key, value) = self.store.write(&mut self.rig.random, is_bad, major);
        for client in 0..self.clients.len() {
            let message = Message::Operation { header, key, value };
            match &mut self.clients[client].withheld {
                Some(withheld) => withheld.push(message),
                None => self.send(client, &message),
            }
        }
    }

    fn send(&mut self, client: usize, message: &Message) {
        let copies = if self.strikes(client, self.mix.duplicate, Kind::Duplicate) { 2 } else { 1 };
        let phase = self.clients[client].phase();
        for _ in 0..copies {
            self.rig.send(client, phase, &self.mix, Event::Deliver(message.clone()));
        }
    }

    /// A new session: the hello, and the first page of the answer to the subscription.
    fn connect(&mut self, client: usize) {
        self.sessions += 1;
        let (now, session, epoch) = (self.rig.now(), self.sessions, self.store.epoch);
        self.clients[client].session = session;
        self.clients[client].beacons = 0;
        self.clients[client].withheld = None;
        self.clients[client].replica.handle_session(now, session, Some(epoch));
        let page = self.page(None, None);
        self.send(client, &page);
    }

    /// The first page, or the one that is pulled. The snapshot's sequence is that of its first page.
    fn page(&self, attempt: Option<u32>, pull: Option<Pull>) -> Message {
        let (from, number) = pull.map_or((0, 0), |pull| (pull.from, pull.number));
        let sequence = pull.map_or(self.store.sequence, |pull| pull.sequence);
        let rows: Vec<_> = self
            .store
            .rows
            .range(from..)
            .take(PAGE_ROWS)
            .map(|(key, (sequence, value))| (*key, (*sequence, Some(*value))))
            .collect();
        let last = rows.last().map(|(key, _)| *key);
        let next =
            last.filter(|last| self.store.rows.range(last + 1..).next().is_some()).map(|last| last + 1);
        // On an ordered link that loses nothing, the rows say enough.
        let is_sound = self.mix.delay == 0 && self.mix.drop == 0;
        let largest = rows.iter().map(|(_, row)| row.0).max().unwrap_or(0);
        Message::Page {
            attempt,
            header: self.store.header_of(sequence, None),
            lineage: self.store.lineage.clone(),
            rows,
            number,
            head: if is_sound { largest } else { self.store.sequence },
            next,
        }
    }

    fn pass_tick(&mut self) -> Result<(), Fault> {
        self.rig.pass_to(self.rig.tick() + 1);
        if self.rig.tick().is_multiple_of(BEACON_TICKS) {
            let (epoch, head) = (self.store.epoch, self.store.sequence);
            for client in 0..self.clients.len() {
                self.clients[client].beacons += 1;
                let (session, n) = (self.clients[client].session, self.clients[client].beacons);
                self.send(client, &Message::Beacon { session, n, epoch, head });
            }
        }
        while let Some((client, event)) = self.rig.poll() {
            match event {
                Event::Deliver(message) => self.feed(client, message)?,
                Event::Request { attempt, position, withhold } => {
                    self.answer(client, attempt, position, withhold);
                }
                Event::Pull(pull) => self.pull(client, pull),
            }
        }
        let now = self.rig.now();
        for client in 0..self.clients.len() {
            while self.clients[client].replica.poll_timeout().is_some_and(|due| due <= now) {
                self.clients[client].replica.handle_timeout(now);
                self.settle(client)?;
            }
        }
        Ok(())
    }

    fn feed(&mut self, client: usize, message: Message) -> Result<(), Fault> {
        self.rig.summary.delivered += 1;
        let now = self.rig.now();
        self.clients[client].feed(now, message)?;
        self.settle(client)
    }

    fn settle(&mut self, client: usize) -> Result<(), Fault> {
        let now = self.rig.now();
        self.clients[client].drain(now)?;
        for event in std::mem::take(&mut self.clients[client].outbox) {
            let there = self.rig.tick() + 1 + self.rig.delay(self.mix.delay);
            self.rig.schedule(client, there, event);
        }
        self.clients[client].check(&self.store)
    }

    fn answer(&mut self, client: usize, attempt: u32, position: Option<Mark>, withhold: bool) {
        if self.strikes(client, self.mix.refetch_loss, Kind::RefetchLoss) {
            return;
        }
        if self.strikes(client, self.mix.refetch_failure, Kind::RefetchFailure) {
            self.send(client, &Message::Failure { attempt });
            return;
        }
        let (epoch, head) = (self.store.epoch, self.store.sequence);
        if let Some(position) = position.filter(|mark| mark.epoch == epoch && mark.sequence <= head)
            && self.rig.random.below(2) == 0
        {
            let first = self.store.log.iter().position(|(sequence, ..)| *sequence > position.sequence);
            let tail: Vec<_> = self.store.log[first.unwrap_or(self.store.log.len())..].to_vec();
            for (sequence, key, value) in tail {
                let header = self.store.header_of(sequence, value);
                self.send(client, &Message::Operation { header, key, value });
            }
            self.send(client, &Message::Current { attempt, epoch, head });
            return;
        }
        if withhold {
            self.clients[client].withheld = Some(Vec::new());
        }
        let page = self.page(Some(attempt), None);
        self.release_before_last(client, &page);
        self.send(client, &page);
    }

    fn pull(&mut self, client: usize, pull: Pull) {
        if self.strikes(client, self.mix.refetch_loss, Kind::RefetchLoss) {
            return;
        }
        // Another epoch begins its snapshot anew.
        let page = self.page(pull.attempt, Some(pull).filter(|pull| pull.epoch == self.store.epoch));
        self.release_before_last(client, &page);
        self.send(client, &page);
    }

    /// What was withheld goes out as a tail before the last page, so that every operation comes before the page that
    /// was read after it.
    fn release_before_last(&mut self, client: usize, page: &Message) {
        if matches!(page, Message::Page { next: None, .. })
            && let Some(withheld) = self.clients[client].withheld.take()
        {
            for message in withheld {
                self.send(client, &message);
            }
        }
    }
}
