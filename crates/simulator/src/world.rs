//! One run: an authority, clients, a faulty network between them, and one clock.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use tidewire::{
    protocol::Timestamp,
    replica::{EpochId, Mark, Status, Ticket, Token},
};

use crate::{
    authority::{Authority, State},
    client::{Answer, Client, Fault, Message, Step},
    ledger::{Kind, Ledger},
    mix::Mix,
    random::Random,
};

/// One tick.
pub const TICK: Duration = Duration::from_millis(100);
/// How often beacons go out.
pub const BEACON_PERIOD: Duration = Duration::from_secs(10);
/// How long one attempt may take.
pub const ATTEMPT_DEADLINE: Duration = Duration::from_secs(5);
/// Beacon periods in which everything must have converged once the faults have stopped.
const PERIODS: u64 = 3;
/// Ticks for the last request's way there and back.
const ROUND_TRIP: u64 = 4;

const BEACON_TICKS: u64 = 100;

#[derive(Debug, Clone)]
enum Event {
    Deliver(Message),
    Request { attempt: u32, position: Option<Mark> },
}

/// What a run came to.
#[derive(Debug, Default, Clone)]
pub struct Summary {
    /// Refetches of all clients.
    pub refetches: u64,
    /// Values applied by all clients.
    pub applied: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// A number that two runs of one seed share.
    pub digest: u64,
}

struct World<'l> {
    mix: Mix,
    random: Random,
    authority: Authority,
    clients: Vec<Client>,
    /// When, in which order, for whom.
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: BTreeMap<u64, Event>,
    order: u64,
    tick: u64,
    sessions: u64,
    is_calm: bool,
    ledger: &'l mut Ledger,
    summary: Summary,
}

/// Runs a mix to its end.
///
/// # Errors
///
/// The first thing that did not hold.
pub fn run(mix: &Mix, ledger: &mut Ledger) -> Result<Summary, Fault> {
    let mut random = Random::new(mix.seed ^ 0x7469_6465);
    let clients = (0..mix.clients).map(|_| Client::new(mix, random.bits())).collect();
    let mut world = World {
        authority: Authority::new(mix.has_epochs),
        mix: mix.clone(),
        random,
        clients,
        queue: BinaryHeap::new(),
        events: BTreeMap::new(),
        order: 0,
        tick: 0,
        sessions: 1,
        is_calm: false,
        ledger,
        summary: Summary::default(),
    };
    world.play().map_err(|fault| format!("tick {}: {fault}", world.tick))?;
    for client in &world.clients {
        let stats = client.replica.stats();
        world.summary.refetches += stats.refetches;
        world.summary.applied += stats.applied;
    }
    Ok(world.summary)
}

impl World<'_> {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000 + self.tick * 100)
    }

    fn play(&mut self) -> Result<(), Fault> {
        self.begin()?;
        for _ in 0..self.mix.ticks {
            self.strike()?;
            self.pass_tick()?;
        }
        self.stop_faults()?;
        let mut converged_at = None;
        // An authority that broke rule 12 is mended by a fence, which needs two beacons after the position last moved.
        let periods = PERIODS + u64::from(self.authority.has_reset);
        for _ in 0..periods * BEACON_TICKS + ROUND_TRIP {
            self.pass_tick()?;
            if converged_at.is_none() && self.all_converged() {
                converged_at = Some(self.tick);
            }
        }
        self.judge_convergence()
    }

    fn begin(&mut self) -> Result<(), Fault> {
        if self.mix.has_hello {
            let (now, epoch) = (self.now(), self.authority.state.epoch);
            for client in &mut self.clients {
                client.replica.handle_session(now, 1, Some(epoch));
            }
        }
        if self.mix.hydration > 0 {
            let older = self.authority.write(false, 1, false, self.mix.has_prev).is_some();
            let state = self.authority.state.clone();
            if self.mix.hydration == 2 {
                self.write();
                self.write();
            }
            for client in 0..self.clients.len() {
                let Some(value) = state.value.filter(|_| older) else { continue };
                let message = Message::Hydration(state.clone(), value);
                let late = if self.mix.hydration == 3 { self.random.below(60) } else { 0 };
                self.schedule(client, self.tick + late, Event::Deliver(message));
            }
        }
        self.deliver_due()
    }

    /// Writes, restarts, and what else may happen at the authority or at a client in one tick.
    fn strike(&mut self) -> Result<(), Fault> {
        if self.random.chance(self.mix.writes) {
            self.write();
        }
        if self.random.chance(self.mix.restart) && self.random.chance(100) {
            let resets = self.random.below(2) == 0;
            let lost = usize::try_from(self.random.below(3)).unwrap_or(0);
            self.note_all(if resets { Kind::Reset } else { Kind::Restart });
            self.authority.restart(lost, resets);
            for client in 0..self.clients.len() {
                self.connect(client);
            }
        }
        if self.random.chance(self.mix.rollback) && self.random.chance(100) {
            self.note_all(Kind::Rollback);
            let lost = 1 + usize::try_from(self.random.below(4)).unwrap_or(0);
            self.authority.roll_back(lost);
        }
        for client in 0..self.clients.len() {
            if self.random.chance(self.mix.disconnect) && self.random.chance(100) {
                self.note(client, Kind::Disconnect);
                self.connect(client);
            }
            if self.random.chance(self.mix.refresh) && self.random.chance(200) {
                self.note(client, Kind::Refresh);
                self.feed(client, Message::Refresh)?;
            }
        }
        Ok(())
    }

    fn write(&mut self) {
        let is_bad = self.fires(self.mix.poison, Kind::Poison);
        let major = if self.fires(self.mix.foreign, Kind::Foreign) { 2 } else { 1 };
        let is_hidden = self.fires(self.mix.hidden, Kind::Hidden);
        let Some((header, value)) = self.authority.write(is_bad, major, is_hidden, self.mix.has_prev) else {
            return;
        };
        for client in 0..self.clients.len() {
            let copies = if self.strikes(client, self.mix.duplicate, Kind::Duplicate) { 2 } else { 1 };
            for _ in 0..copies {
                let mut copy = value;
                copy.is_bad |= self.strikes(client, self.mix.corrupt, Kind::Corrupt);
                self.send(client, Message::Envelope(header, copy));
            }
        }
    }

    /// A fault at the authority: it strikes every client.
    fn fires(&mut self, rate: u32, kind: Kind) -> bool {
        let fires = !self.is_calm && self.random.chance(rate);
        if fires {
            self.note_all(kind);
        }
        fires
    }

    /// A fault on the way to one client.
    fn strikes(&mut self, client: usize, rate: u32, kind: Kind) -> bool {
        let strikes = !self.is_calm && self.random.chance(rate);
        if strikes {
            self.note(client, kind);
        }
        strikes
    }

    fn note(&mut self, client: usize, kind: Kind) {
        let replica = &self.clients[client].replica;
        self.ledger.note(kind, replica.status(), replica.position().is_some());
    }

    fn note_all(&mut self, kind: Kind) {
        for client in 0..self.clients.len() {
            self.note(client, kind);
        }
    }

    fn send(&mut self, client: usize, message: Message) {
        if self.strikes(client, self.mix.drop, Kind::Drop) {
            return;
        }
        let delay = if self.is_calm { 0 } else { self.random.below(self.mix.delay + 1) };
        if delay > 1 {
            self.note(client, Kind::Delay);
        }
        self.schedule(client, self.tick + 1 + delay, Event::Deliver(message));
    }

    fn schedule(&mut self, client: usize, at: u64, event: Event) {
        self.order += 1;
        self.events.insert(self.order, event);
        self.queue.push(Reverse((at, self.order, client)));
    }

    /// A new session of one client.
    fn connect(&mut self, client: usize) {
        self.sessions += 1;
        let (now, session) = (self.now(), self.sessions);
        let state = self.authority.state.clone();
        self.clients[client].session = session;
        self.clients[client].beacons = 0;
        if self.mix.has_hello {
            self.clients[client].replica.handle_session(now, session, Some(state.epoch));
            // The answer to the subscription.
            if let Some(value) = state.value {
                self.send(client, Message::Hydration(state, value));
            }
        }
    }

    fn send_beacons(&mut self) {
        let (epoch, head) = (self.authority.state.epoch, self.authority.state.sequence);
        for client in 0..self.clients.len() {
            self.clients[client].beacons += 1;
            let (session, n) = (self.clients[client].session, self.clients[client].beacons);
            self.send(client, Message::Beacon { session, n, epoch, head });
        }
    }

    fn pass_tick(&mut self) -> Result<(), Fault> {
        self.tick += 1;
        if self.tick.is_multiple_of(BEACON_TICKS) {
            self.send_beacons();
        }
        self.deliver_due()?;
        let now = self.now();
        for client in 0..self.clients.len() {
            while self.clients[client].replica.poll_timeout().is_some_and(|due| due <= now) {
                self.clients[client].replica.handle_timeout(now);
                self.settle(client, None)?;
            }
        }
        Ok(())
    }

    fn deliver_due(&mut self) -> Result<(), Fault> {
        while let Some(Reverse((at, order, client))) = self.queue.peek().copied()
            && at <= self.tick
        {
            self.queue.pop();
            let Some(event) = self.events.remove(&order) else { continue };
            match event {
                Event::Deliver(message) => self.feed(client, message)?,
                Event::Request { attempt, position } => self.answer(client, attempt, position),
            }
        }
        Ok(())
    }

    fn feed(&mut self, client: usize, message: Message) -> Result<(), Fault> {
        self.summary.delivered += 1;
        let now = self.now();
        let question = self.clients[client].feed(now, message)?;
        self.settle(client, question)
    }

    /// Drains a client's effects, answers its gate's questions, and checks it.
    fn settle(&mut self, client: usize, mut question: Option<(Ticket, Token)>) -> Result<(), Fault> {
        let now = self.now();
        loop {
            if let Some((ticket, token)) = question.take() {
                if self.strikes(client, self.mix.reentrant, Kind::Reentrant) {
                    self.overtake(client)?;
                }
                self.clients[client].judge(now, ticket, token)?;
            }
            match self.clients[client].step()? {
                None => break,
                Some(Step::Done) => {}
                Some(Step::Judge(ticket, token)) => question = Some((ticket, token)),
            }
        }
        for (attempt, position) in std::mem::take(&mut self.clients[client].requests) {
            let there = self.tick + 1 + if self.is_calm { 0 } else { self.random.below(self.mix.delay + 1) };
            self.schedule(client, there, Event::Request { attempt, position });
        }
        let summary = &mut self.summary;
        let mark = self.clients[client].replica.position();
        let word = mark.map_or(0, |mark| u64::from(mark.epoch.0) << 40 | mark.sequence);
        summary.digest = (summary.digest ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(7);
        if self.clients[client].is_disposed() {
            return Ok(());
        }
        self.clients[client].check(&self.authority)
    }

    /// While a gate runs, the next message for the client arrives.
    fn overtake(&mut self, client: usize) -> Result<(), Fault> {
        let next = self.queue.iter().filter(|Reverse((_, order, to))| {
            *to == client && matches!(self.events.get(order), Some(Event::Deliver(_)))
        });
        let Some(order) = next.map(|Reverse((at, order, _))| (*at, *order)).min().map(|(_, order)| order)
        else {
            return Ok(());
        };
        let Some(Event::Deliver(message)) = self.events.remove(&order) else { return Ok(()) };
        let now = self.now();
        match self.clients[client].feed(now, message)? {
            None => Ok(()),
            Some(_) => Err("a second question was raised while one was outstanding".into()),
        }
    }

    fn answer(&mut self, client: usize, attempt: u32, position: Option<Mark>) {
        if self.strikes(client, self.mix.refetch_loss, Kind::RefetchLoss) {
            return;
        }
        let state = self.state_to_answer_with(client);
        let answer = if self.strikes(client, self.mix.refetch_failure, Kind::RefetchFailure) {
            Answer::Failure
        } else if position == Some(Mark { epoch: state.epoch, sequence: state.sequence })
            && self.random.below(4) == 0
        {
            Answer::Current(state.epoch, state.sequence)
        } else if let Some(mut value) = state.value {
            value.is_bad |= self.strikes(client, self.mix.corrupt, Kind::Corrupt);
            Answer::Snapshot(state, value)
        } else {
            Answer::Null
        };
        let delay = if self.is_calm { 0 } else { self.random.below(self.mix.delay + 1) };
        self.schedule(client, self.tick + 1 + delay, Event::Deliver(Message::Answer(attempt, answer)));
    }

    fn state_to_answer_with(&mut self, client: usize) -> State {
        let present = self.authority.state.epoch;
        let pick = |states: Vec<&State>, random: &mut Random| {
            let index = usize::try_from(random.below(states.len() as u64)).unwrap_or(0);
            states.get(index).map(|state| (*state).clone())
        };
        if self.strikes(client, self.mix.dead, Kind::Dead) {
            let dead = self.authority.past.iter().filter(|state| state.epoch != present).collect();
            if let Some(state) = pick(dead, &mut self.random) {
                return state;
            }
        }
        if self.strikes(client, self.mix.lagging, Kind::Lagging) {
            let same =
                self.authority.past.iter().filter(|state| state.epoch == present).rev().take(8).collect();
            if let Some(state) = pick(same, &mut self.random) {
                return state;
            }
        }
        self.authority.state.clone()
    }

    fn stop_faults(&mut self) -> Result<(), Fault> {
        if self.authority.state.value.is_none() {
            self.write();
        }
        for client in 0..self.clients.len() {
            if self.random.chance(self.mix.dispose) {
                self.note(client, Kind::Dispose);
                self.clients[client].dispose();
            }
        }
        self.is_calm = true;
        Ok(())
    }

    fn all_converged(&self) -> bool {
        self.clients.iter().all(|client| client.is_disposed() || client.has_converged(&self.authority))
    }

    fn judge_convergence(&mut self) -> Result<(), Fault> {
        let state = self.authority.state.clone();
        let is_refusable =
            state.value.is_some_and(|value| value.is_bad || value.major != 1 && self.mix.foreign > 0);
        let has_hidden_reset = self.authority.has_reset && state.epoch == EpochId::NONE;
        for client in 0..self.clients.len() {
            if self.clients[client].is_disposed() {
                if self.clients[client].replica.poll_effect().is_some() {
                    return Err("an effect came out after dispose".into());
                }
                continue;
            }
            if is_refusable || !self.mix.has_refetch {
                continue;
            }
            if has_hidden_reset && !self.clients[client].has_converged(&self.authority) {
                // Rule 11: without epochs a reset is invisible until `refresh`.
                self.feed(client, Message::Refresh)?;
                for _ in 0..PERIODS * BEACON_TICKS {
                    self.pass_tick()?;
                }
            }
            let has_rewritten = self.authority.has_reset;
            let client = &self.clients[client];
            if !client.has_converged(&self.authority) {
                let at = client.replica.position();
                let same_place = at == Some(Mark { epoch: state.epoch, sequence: state.sequence });
                if has_rewritten && same_place {
                    // Rule 12: a sequence rewritten up to P in one epoch is not detected without a digest.
                    continue;
                }
                return Err(format!(
                    "not converged: at {at:?}, {:?}, the authority is at {:?} {}: {:?}",
                    client.replica.status(),
                    state.epoch,
                    state.sequence,
                    client.replica
                ));
            }
            if client.replica.status() != Status::Ok {
                return Err(format!("converged, but {:?}: {:?}", client.replica.status(), client.replica));
            }
            if client.replica.held() != 0 {
                return Err(format!("converged, but {} are held back", client.replica.held()));
            }
        }
        Ok(())
    }
}
