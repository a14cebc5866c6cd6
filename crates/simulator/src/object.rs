//! One run: an authority, clients, a faulty network between them, and one clock.

use std::time::Duration;

use tidewire::replica::{EpochId, Mark, Status, Ticket, Token};

use crate::{
    authority::{Authority, State},
    client::{Answer, Client, Message, Step},
    ledger::{Kind, Ledger, Phase},
    mix::Mix,
    random::Random,
    rig::{Fault, Rig, Summary, World},
};

/// One tick.
pub const TICK: Duration = Duration::from_millis(100);
/// How often beacons go out.
pub const BEACON_PERIOD: Duration = Duration::from_secs(10);
/// How long one attempt may take.
pub const ATTEMPT_DEADLINE: Duration = Duration::from_secs(5);
/// Beacon periods in which everything must have converged once the faults have stopped: three, and what the last attempt of
/// those that were lost has more time than the first (R8.9).
pub(crate) const PERIODS: u64 = 5;
/// Ticks for the last request's way there and back.
const ROUND_TRIP: u64 = 4;

/// The same in ticks.
pub(crate) const BEACON_TICKS: u64 = 100;

#[derive(Debug, Clone)]
enum Event {
    Deliver(Message),
    Request { attempt: u32, position: Option<Mark> },
}

/// An object, its clients, and a network that loses, repeats, delays and reorders.
#[derive(Debug)]
pub struct Objects;

impl World for Objects {
    type Mix = Mix;
    type Kind = Kind;
    type Phase = Phase;

    fn run(mix: &Mix, ledger: &mut Ledger<Kind, Phase>) -> Result<Summary, Fault> {
        let mut random = Random::new(mix.seed ^ 0x7469_6465);
        let clients = (0..mix.clients).map(|_| Client::new(mix, random.bits())).collect();
        let mut run = Run {
            authority: Authority::new(mix.has_epochs),
            mix: mix.clone(),
            clients,
            sessions: 1,
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
    authority: Authority,
    clients: Vec<Client>,
    sessions: u64,
    rig: Rig<'l, Event, Kind, Phase>,
}

impl Run<'_> {
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
                converged_at = Some(self.rig.tick());
            }
        }
        self.judge_convergence()
    }

    fn begin(&mut self) -> Result<(), Fault> {
        if self.mix.has_hello {
            let (now, epoch) = (self.rig.now(), self.authority.state.epoch);
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
                let late = if self.mix.hydration == 3 { self.rig.random.below(60) } else { 0 };
                self.rig.schedule(client, self.rig.tick() + late, Event::Deliver(message));
            }
        }
        self.deliver_due()
    }

    /// Writes, restarts, and what else may happen at the authority or at a client in one tick.
    fn strike(&mut self) -> Result<(), Fault> {
        if self.rig.random.chance(self.mix.writes) {
            self.write();
        }
        if self.rig.random.chance(self.mix.restart) && self.rig.random.chance(100) {
            let resets = self.rig.random.below(2) == 0;
            let lost = usize::try_from(self.rig.random.below(3)).unwrap_or(0);
            self.note_all(if resets { Kind::Reset } else { Kind::Restart });
            self.authority.restart(lost, resets);
            for client in 0..self.clients.len() {
                self.connect(client);
            }
        }
        if self.rig.random.chance(self.mix.rollback) && self.rig.random.chance(100) {
            self.note_all(Kind::Rollback);
            let lost = 1 + usize::try_from(self.rig.random.below(4)).unwrap_or(0);
            self.authority.roll_back(lost);
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
        let fires = !self.rig.is_calm && self.rig.random.chance(rate);
        if fires {
            self.note_all(kind);
        }
        fires
    }

    /// A fault on the way to one client.
    fn strikes(&mut self, client: usize, rate: u32, kind: Kind) -> bool {
        let Self { rig, clients, .. } = self;
        rig.strikes(rate, kind, || clients[client].phase())
    }

    fn note(&mut self, client: usize, kind: Kind) {
        self.rig.note(kind, self.clients[client].phase());
    }

    fn note_all(&mut self, kind: Kind) {
        for client in 0..self.clients.len() {
            self.note(client, kind);
        }
    }

    fn send(&mut self, client: usize, message: Message) {
        let phase = self.clients[client].phase();
        self.rig.send(client, phase, &self.mix, Event::Deliver(message));
    }

    /// A new session of one client.
    fn connect(&mut self, client: usize) {
        self.sessions += 1;
        let (now, session) = (self.rig.now(), self.sessions);
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
        self.rig.pass_to(self.rig.tick() + 1);
        if self.rig.tick().is_multiple_of(BEACON_TICKS) {
            self.send_beacons();
        }
        self.deliver_due()?;
        let now = self.rig.now();
        for client in 0..self.clients.len() {
            while self.clients[client].replica.poll_timeout().is_some_and(|due| due <= now) {
                self.clients[client].replica.handle_timeout(now);
                self.settle(client, None)?;
            }
        }
        Ok(())
    }

    fn deliver_due(&mut self) -> Result<(), Fault> {
        while let Some((client, event)) = self.rig.poll() {
            match event {
                Event::Deliver(message) => self.feed(client, message)?,
                Event::Request { attempt, position } => self.answer(client, attempt, position),
            }
        }
        Ok(())
    }

    fn feed(&mut self, client: usize, message: Message) -> Result<(), Fault> {
        self.rig.summary.delivered += 1;
        let now = self.rig.now();
        let question = self.clients[client].feed(now, message)?;
        self.settle(client, question)
    }

    /// Drains a client's effects, answers its gate's questions, and checks it.
    fn settle(&mut self, client: usize, mut question: Option<(Ticket, Token)>) -> Result<(), Fault> {
        let now = self.rig.now();
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
            let there = self.rig.tick() + 1 + self.rig.delay(self.mix.delay);
            self.rig.schedule(client, there, Event::Request { attempt, position });
        }
        let mark = self.clients[client].replica.position();
        self.rig.summary.digest(mark.map_or(0, |mark| u64::from(mark.epoch.0) << 40 | mark.sequence));
        if self.clients[client].is_disposed() {
            return Ok(());
        }
        self.clients[client].check(&self.authority)
    }

    /// While a gate runs, the next message for the client arrives.
    fn overtake(&mut self, client: usize) -> Result<(), Fault> {
        let message = self.rig.overtake(client, |event| matches!(event, Event::Deliver(_)));
        let Some(Event::Deliver(message)) = message else { return Ok(()) };
        let now = self.rig.now();
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
            && self.rig.random.below(4) == 0
        {
            Answer::Current(state.epoch, state.sequence)
        } else if let Some(mut value) = state.value {
            value.is_bad |= self.strikes(client, self.mix.corrupt, Kind::Corrupt);
            Answer::Snapshot(state, value)
        } else {
            Answer::Null
        };
        let delay = self.rig.delay(self.mix.delay);
        self.rig.schedule(
            client,
            self.rig.tick() + 1 + delay,
            Event::Deliver(Message::Answer(attempt, answer)),
        );
    }

    fn state_to_answer_with(&mut self, client: usize) -> State {
        let present = self.authority.state.epoch;
        let pick = |states: Vec<&State>, random: &mut Random| {
            let index = usize::try_from(random.below(states.len() as u64)).unwrap_or(0);
            states.get(index).map(|state| (*state).clone())
        };
        if self.strikes(client, self.mix.dead, Kind::Dead) {
            let dead = self.authority.past.iter().filter(|state| state.epoch != present).collect();
            if let Some(state) = pick(dead, &mut self.rig.random) {
                return state;
            }
        }
        if self.strikes(client, self.mix.lagging, Kind::Lagging) {
            let same =
                self.authority.past.iter().filter(|state| state.epoch == present).rev().take(8).collect();
            if let Some(state) = pick(same, &mut self.rig.random) {
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
            if self.rig.random.chance(self.mix.dispose) {
                self.note(client, Kind::Dispose);
                self.clients[client].dispose();
            }
        }
        self.rig.is_calm = true;
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
