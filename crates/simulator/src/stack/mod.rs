//! The whole stack on one seeded clock: the real server over a disk that fails, real clients, links that break.
//!
//! After every step each client is checked against the [`oracle`]: what it shows at a position is what was committed
//! there, positions do not go back, writes end once and truthfully, nobody is silent for ever. After the faults stop,
//! and without a further write, all clients are live and show what the server has, within the longest silence, two beacon
//! periods and the longest backoff; and once they have gone, the server holds nothing for them.

mod disk;
mod link;
mod mix;
mod oracle;
mod peer;
mod strike;

use std::{collections::BTreeMap, time::Duration};

use tidewire::{
    client::Output,
    protocol::{Answer, ClientMessage, Reader, ServerMessage, Timestamp},
    server::{Action, CommitError, ConnectionId, Options, Residue, Server},
    session::Generation,
};

pub use self::mix::{Mix, Phase, Rates, Trouble};
use self::{
    disk::Disk,
    link::{Down, Link, Up},
    oracle::{Backup, Oracle},
    peer::{MAX_SLOTS, Peer, index},
};
use crate::{
    ledger::Ledger,
    random::Random,
    rig::{Fault, Rig, Summary, World},
};

const TICK: Duration = Duration::from_millis(1);
/// Ticks between two pulses, at which applications act and troubles strike.
const PULSE: u64 = 200;
/// The longest silence that a client takes for a slow line, two beacon periods and the longest backoff, with what a
/// restarting server may ask for on top.
const CONVERGENCE: u64 = 250_000 + 2 * 10_000 + 30_000 + RETRY_AFTER;
/// The longest wait that a closing server asks for.
const RETRY_AFTER: u64 = 2_000;
/// Steps at one tick after which something is going in circles.
const MOST_STEPS: u32 = 20_000;
/// When the server's clock starts.
const EPOCH: u64 = 1_700_000_000_000;
const HOUR: i64 = 60 * 60 * 1_000;
/// A link that ended without a close frame.
const ABNORMAL: u16 = 1006;

/// The whole stack.
#[derive(Debug)]
pub struct Stack;

impl World for Stack {
    type Mix = Mix;
    type Kind = Trouble;
    type Phase = Phase;

    fn run(mix: &Mix, ledger: &mut Ledger<Trouble, Phase>) -> Result<Summary, Fault> {
        let random = Random::new(mix.seed ^ 0x7374_6163_6b00);
        let mut run = Run {
            mix,
            rig: Rig::new(random, TICK, ledger),
            server: None,
            disk: Disk::new(),
            process: 0,
            skew: 0,
            is_commit_due: false,
            oracle: Oracle::default(),
            backup: None,
            peers: Vec::new(),
            links: Vec::new(),
            connections: BTreeMap::new(),
            writes: 0,
        };
        run.play().map_err(|fault| format!("{} ms: {fault}", run.rig.tick()))?;
        for peer in &run.peers {
            peer.sum(&mut run.rig.summary);
        }
        Ok(run.rig.summary)
    }
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// Applications act, troubles strike.
    Pulse,
    /// The server's process starts.
    Boot,
    /// The batch ends.
    Commit,
    /// Something arrives at the server over a link.
    Up,
    /// Something arrives at a client over a link.
    Down,
    /// The server's host is told that a link is broken.
    BrokenUp,
    /// A client's host is told that a link is broken.
    BrokenDown,
    /// Frames have left.
    Drained,
    /// A client wakes up.
    Wake,
}

struct Run<'l> {
    mix: &'l Mix,
    rig: Rig<'l, Event, Trouble, Phase>,
    /// `None` while its process is down.
    server: Option<Server<Disk>>,
    disk: Disk,
    process: u32,
    /// How far the server's clock is off, in milliseconds.
    skew: i64,
    is_commit_due: bool,
    oracle: Oracle,
    backup: Option<Backup>,
    peers: Vec<Peer>,
    links: Vec<Link>,
    connections: BTreeMap<ConnectionId, usize>,
    writes: u64,
}

impl Run<'_> {
    fn play(&mut self) -> Result<(), Fault> {
        self.boot()?;
        for _ in 0..self.mix.clients {
            self.join()?;
        }
        self.rig.schedule(0, 1, Event::Pulse);
        self.pass_until(self.mix.pulses * PULSE)?;
        self.stop_faults()?;
        self.pass_until(self.rig.tick() + CONVERGENCE)?;
        let now = self.server_now();
        for peer in self.peers.iter().filter(|peer| !peer.is_gone()) {
            peer.judge(now, &self.oracle).map_err(|fault| format!("client {}: {fault}", peer.number))?;
        }
        self.leave()
    }

    fn stop_faults(&mut self) -> Result<(), Fault> {
        self.rig.is_calm = true;
        self.disk.set_trouble(disk::Trouble::None);
        for link in &mut self.links {
            link.lag = 0;
        }
        for peer in 0..self.peers.len() {
            if self.peers[peer].wakes.is_some() && !self.peers[peer].is_gone() {
                self.wake(peer)?;
                self.deliver_deferred(peer);
            }
        }
        if self.server.is_none() { self.boot() } else { Ok(()) }
    }

    /// What waits for a client that was woken before its time comes now.
    fn deliver_deferred(&mut self, peer: usize) {
        for (number, link) in self.links.iter().enumerate().filter(|(_, link)| link.peer == peer) {
            for _ in 0..link.down.len() {
                self.rig.schedule(number, self.rig.tick(), Event::Down);
            }
        }
    }

    /// A page is opened.
    fn join(&mut self) -> Result<(), Fault> {
        let peer = self.peers.len();
        self.peers.push(Peer::new(peer, self.rig.random.bits()));
        for _ in 0..2 {
            self.peers[peer].subscribe(&mut self.rig.random)?;
        }
        let now = self.rig.now();
        self.peers[peer].client.start(now);
        self.settle(peer)
    }

    /// A page goes, with a word to the server or without.
    fn part(&mut self, peer: usize, is_told: bool) -> Result<(), Fault> {
        let now = self.rig.now();
        let outputs = self.peers[peer].leave(now, &mut self.oracle)?;
        if is_told {
            for output in outputs {
                self.carry(peer, output);
            }
        } else if let Some((_, link)) = self.peers[peer].link {
            self.links[link].up.cut(0);
            self.links[link].down.cut(0);
        }
        Ok(())
    }

    /// All clients go; nothing of them may stay behind.
    fn leave(&mut self) -> Result<(), Fault> {
        for peer in 0..self.peers.len() {
            if !self.peers[peer].is_gone() {
                self.part(peer, true)?;
            }
        }
        self.pass_until(self.rig.tick() + 1_000)?;
        let server = self.server.as_ref().ok_or("the server is down")?;
        if server.residue() != Residue::default() || !server.is_idle() {
            return Err(format!("all clients have gone, and the server holds {:?}", server.residue()));
        }
        Ok(())
    }

    // ---- time

    fn server_now(&self) -> Timestamp {
        let now = i64::try_from(EPOCH + self.rig.tick()).unwrap_or(i64::MAX);
        Timestamp::from_millis(u64::try_from(now + self.skew).unwrap_or(0))
    }

    /// The tick at which it is `time` at the server.
    fn tick_of(&self, time: Timestamp) -> u64 {
        let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let start = i64::try_from(EPOCH).unwrap_or(i64::MAX);
        u64::try_from(time.saturating_sub(start).saturating_sub(self.skew)).unwrap_or(0)
    }

    fn next_due(&self) -> Option<u64> {
        let origin = self.rig.now().as_millis() - self.rig.tick();
        let awake = self.peers.iter().filter(|peer| peer.wakes.is_none());
        let clients = awake.filter_map(|peer| peer.client.poll_timeout());
        let clients = clients.map(|due| due.as_millis().saturating_sub(origin));
        let server = self.server.as_ref().and_then(Server::poll_timeout).map(|due| self.tick_of(due));
        clients.chain(server).chain(self.rig.next_due()).min()
    }

    fn pass_until(&mut self, end: u64) -> Result<(), Fault> {
        let mut steps = 0;
        while let Some(due) = self.next_due().filter(|due| *due <= end) {
            steps = if due > self.rig.tick() { 0 } else { steps + 1 };
            if steps > MOST_STEPS {
                return Err("time stands still: something is due again and again".into());
            }
            self.rig.pass_to(due);
            while let Some((to, event)) = self.rig.poll() {
                self.happen(to, event)?;
            }
            self.serve_timers()?;
        }
        self.rig.pass_to(end);
        Ok(())
    }

    fn serve_timers(&mut self) -> Result<(), Fault> {
        let now = self.server_now();
        if let Some(server) = &mut self.server
            && server.poll_timeout().is_some_and(|due| due <= now)
        {
            server.handle_timeout(now);
            self.commit()?;
        }
        let now = self.rig.now();
        for peer in 0..self.peers.len() {
            let client = &mut self.peers[peer].client;
            if client.poll_timeout().is_some_and(|due| due <= now) && self.peers[peer].wakes.is_none() {
                self.peers[peer].client.handle_timeout(now);
                self.settle(peer)?;
            }
        }
        Ok(())
    }

    fn happen(&mut self, to: usize, event: Event) -> Result<(), Fault> {
        match event {
            Event::Pulse => self.pulse(),
            Event::Boot if self.server.is_none() => self.boot(),
            Event::Commit if self.is_commit_due => self.commit(),
            Event::Up => self.arrive_up(to),
            Event::Down => self.arrive_down(to),
            Event::BrokenUp => {
                let connection = self.links[to].connection;
                self.oracle.disconnect(connection);
                self.connections.remove(&connection);
                self.with_server(to, |server, now| server.handle_disconnect(now, connection))
            }
            Event::BrokenDown => {
                let Link { peer, generation, .. } = self.links[to];
                if let Some(wakes) = self.peers[peer].wakes {
                    self.rig.schedule(to, wakes, event);
                    return Ok(());
                }
                self.closed(peer, generation, ABNORMAL, "")
            }
            Event::Drained => {
                let connection = self.links[to].connection;
                self.with_server(to, |server, now| server.handle_drained(now, connection))
            }
            Event::Wake if self.peers[to].wakes.is_some_and(|at| at <= self.rig.tick()) => self.wake(to),
            Event::Boot | Event::Commit | Event::Wake => Ok(()),
        }
    }

    // ---- links

    fn latency(&mut self) -> u64 {
        let longest = if self.rig.is_calm { self.mix.latency.min(200) } else { self.mix.latency };
        self.rig.tick() + 1 + self.rig.random.below(longest)
    }

    fn send_up(&mut self, link: usize, item: Up) {
        let at = self.latency();
        if let Some(at) = self.links[link].up.put(at, item) {
            self.rig.schedule(link, at, Event::Up);
        }
    }

    fn send_down(&mut self, link: usize, item: Down) {
        let at = self.latency();
        if let Some(at) = self.links[link].down.put(at, item) {
            self.rig.schedule(link, at, Event::Down);
        }
    }

    fn arrive_up(&mut self, number: usize) -> Result<(), Fault> {
        let tick = self.rig.tick();
        let link = &mut self.links[number];
        let item = match link.up.take(tick) {
            Ok(Some(item)) => item,
            Ok(None) => return Ok(()),
            Err(later) => {
                self.rig.schedule(number, later, Event::Up);
                return Ok(());
            }
        };
        let (peer, connection) = (link.peer, link.connection);
        match item {
            Up::Dial if self.server.is_none() || link.process != self.process => {
                self.send_down(number, Down::Closed { code: ABNORMAL, reason: String::new() });
                Ok(())
            }
            Up::Dial => {
                self.connections.insert(connection, number);
                self.send_down(number, Down::Opened);
                self.with_server(number, |server, now| server.handle_connect(now, connection))
            }
            Up::Frame(frame) => {
                let now = self.server_now();
                if self.connections.contains_key(&connection) {
                    self.rig.summary.delivered += 1;
                    let mut reader = Reader::new(&frame);
                    while !reader.is_empty() {
                        let message =
                            ClientMessage::decode(&mut reader).map_err(|error| error.to_string())?;
                        self.oracle.message(now, connection, peer, &message);
                    }
                }
                self.with_server(number, |server, now| server.handle_frame(now, connection, &frame))
            }
            Up::Close => {
                self.oracle.disconnect(connection);
                self.connections.remove(&connection);
                self.with_server(number, |server, now| server.handle_disconnect(now, connection))
            }
        }
    }

    fn arrive_down(&mut self, number: usize) -> Result<(), Fault> {
        let tick = self.rig.tick();
        let peer = self.links[number].peer;
        if let Some(wakes) = self.peers[peer].wakes {
            self.rig.schedule(number, wakes, Event::Down);
            return Ok(());
        }
        let link = &mut self.links[number];
        let generation = link.generation;
        let item = match link.down.take(tick) {
            Ok(Some(item)) => item,
            Ok(None) => return Ok(()),
            Err(later) => {
                self.rig.schedule(number, later, Event::Down);
                return Ok(());
            }
        };
        let now = self.rig.now();
        let about = &mut self.peers[peer];
        match item {
            Down::Opened => about.client.handle_opened(now, generation),
            Down::Frame(frame) => {
                self.rig.summary.delivered += 1;
                if about.link.is_some_and(|(present, _)| present == generation) {
                    about.note_answers(&frame);
                }
                about.client.handle_frame(now, generation, &frame);
            }
            Down::Closed { code, reason } => return self.closed(peer, generation, code, &reason),
        }
        self.settle(peer)
    }

    fn closed(&mut self, peer: usize, generation: Generation, code: u16, reason: &str) -> Result<(), Fault> {
        let now = self.rig.now();
        let about = &mut self.peers[peer];
        about.link.take_if(|(present, _)| *present == generation);
        about.client.handle_closed(now, generation, code, reason);
        self.settle(peer)
    }

    /// Drains a client, checks it, and carries out what it asked for.
    fn settle(&mut self, peer: usize) -> Result<(), Fault> {
        let now = self.rig.now();
        let outputs = self.peers[peer]
            .drain(now, &mut self.oracle)
            .map_err(|fault| format!("client {peer}: {fault}"))?;
        self.rig.summary.digest(outputs.len() as u64 + (self.rig.tick() << 8));
        for output in outputs {
            self.carry(peer, output);
        }
        Ok(())
    }

    fn carry(&mut self, peer: usize, output: Output) {
        match output {
            // Nobody here has a token.
            Output::Fetch(..) => {}
            Output::Dial(generation) => self.dial(peer, generation),
            Output::Transmit(generation, frame) => {
                if let Some((_, link)) = self.peers[peer].link.filter(|(present, _)| *present == generation) {
                    self.send_up(link, Up::Frame(frame));
                }
            }
            Output::Hang { link: generation, .. } => {
                if let Some((_, link)) = self.peers[peer].link.take_if(|(present, _)| *present == generation)
                {
                    self.send_up(link, Up::Close);
                }
            }
        }
    }

    fn dial(&mut self, peer: usize, generation: Generation) {
        let number = self.links.len();
        let connection = ConnectionId(number as u64 + 1);
        self.links.push(Link::new(peer, generation, connection, self.process));
        self.peers[peer].link = Some((generation, number));
        self.peers[peer].is_link_sound = true;
        if self.strikes(peer, Trouble::Refuse, 100) {
            self.send_down(number, Down::Closed { code: ABNORMAL, reason: String::new() });
        } else if self.strikes(peer, Trouble::Hang, 100) {
            self.links[number].up.cut(0);
        } else {
            self.send_up(number, Up::Dial);
        }
    }

    /// Breaks a link; a side that is told is told soon.
    fn break_link(&mut self, number: usize, tells_server: bool) {
        let random = &mut self.rig.random;
        let link = &mut self.links[number];
        self.peers[link.peer].trouble_link(number);
        link.up.cut(index(random, link.up.len() + 1));
        link.down.cut(index(random, link.down.len() + 1));
        let tick = self.rig.tick();
        for (event, is_told) in [(Event::BrokenDown, true), (Event::BrokenUp, tells_server)] {
            let wait = self.rig.random.below(1_000);
            if is_told && self.rig.random.below(4) > 0 {
                self.rig.schedule(number, tick + wait, event);
            }
        }
    }

    // ---- the server and its host

    /// Hands an input over a link to the server, unless it is of another process.
    fn with_server(
        &mut self,
        link: usize,
        input: impl FnOnce(&mut Server<Disk>, Timestamp),
    ) -> Result<(), Fault> {
        let now = self.server_now();
        let Some(server) = self.server.as_mut().filter(|_| self.links[link].process == self.process) else {
            return Ok(());
        };
        input(server, now);
        if !self.is_commit_due && self.rig.random.chance(self.mix.batches) {
            self.is_commit_due = true;
            let at = self.rig.tick() + self.rig.random.below(30);
            self.rig.schedule(0, at, Event::Commit);
        }
        if self.is_commit_due { Ok(()) } else { self.commit() }
    }

    fn commit(&mut self) -> Result<(), Fault> {
        if self.end_batch()? {
            self.transmit()?;
        }
        Ok(())
    }

    /// Commits; `false` where that ended the process.
    fn end_batch(&mut self) -> Result<bool, Fault> {
        self.is_commit_due = false;
        let now = self.server_now();
        let Some(server) = &mut self.server else { return Ok(false) };
        match server.commit(now) {
            Ok(()) => self.oracle.commit(now, server, &self.disk)?,
            Err(CommitError::Undone(_)) => self.oracle.undo(),
            Err(CommitError::Lost(_)) => {
                self.crash();
                self.boot_later();
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn transmit(&mut self) -> Result<(), Fault> {
        while let Some(transmit) = self.server.as_mut().and_then(Server::poll_transmit) {
            let Some(link) = self.connections.get(&transmit.connection).copied() else { continue };
            match transmit.action {
                Action::Frame(frame) => {
                    self.check_frame(link, &frame)?;
                    self.send_down(link, Down::Frame(frame));
                    if transmit.report {
                        let at = self.latency() + self.links[link].lag;
                        self.rig.schedule(link, at, Event::Drained);
                    }
                }
                Action::Close { code, reason } => {
                    let peer = self.links[link].peer;
                    self.peers[peer].trouble_link(link);
                    self.oracle.disconnect(transmit.connection);
                    self.connections.remove(&transmit.connection);
                    self.send_down(link, Down::Closed { code, reason });
                }
            }
        }
        let Some(server) = &self.server else { return Ok(()) };
        if !server.is_idle() {
            return Err("the server has something left after its batch".into());
        }
        let (residue, count) = (server.residue(), self.connections.len());
        // Each subscription counts on both its sides.
        let is_bounded = residue.connections == count
            && residue.timers == count
            && residue.subscriptions <= 2 * MAX_SLOTS * count
            && residue.topics <= residue.subscriptions;
        if is_bounded { Ok(()) } else { Err(format!("the server holds {residue:?} for {count} connections")) }
    }

    /// What leaves the server must be true.
    fn check_frame(&mut self, link: usize, frame: &[u8]) -> Result<(), Fault> {
        let peer = self.links[link].peer;
        let mut reader = Reader::new(frame);
        while !reader.is_empty() {
            match ServerMessage::decode(&mut reader).map_err(|error| error.to_string())? {
                ServerMessage::Ack { request, position, .. } => {
                    self.oracle.check_ack((peer, request), position)?;
                }
                ServerMessage::Answer { subscription, epoch, answer: Answer::Tail { .. }, .. } => {
                    self.peers[peer].note_tail(subscription, epoch, &self.oracle);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn boot(&mut self) -> Result<(), Fault> {
        self.process += 1;
        let mut seed = [0; 32];
        for part in seed.chunks_mut(8) {
            part.copy_from_slice(&self.rig.random.bits().to_le_bytes());
        }
        let server = Server::open(self.disk.clone(), Options::new(seed));
        self.server = Some(server.map_err(|error| error.to_string())?);
        self.commit()
    }

    fn boot_later(&mut self) {
        let wait = [100, 2_000, 40_000][index(&mut self.rig.random, 3)];
        let at = self.rig.tick() + self.rig.random.below(wait);
        self.rig.schedule(0, at, Event::Boot);
    }

    /// The process is gone, and with it whatever it had not committed.
    fn crash(&mut self) {
        self.server = None;
        self.is_commit_due = false;
        self.disk.crash();
        self.oracle.crash();
        for number in std::mem::take(&mut self.connections).into_values() {
            self.break_link(number, false);
        }
    }
}
