//! A million clients that come back: to what is left of a service after some of its nodes died, or to all of it.
//!
//! The sessions are real ones on a virtual clock. A node is a queue that lets so many clients in a second and refuses
//! whom it has no place for. Either something in front of the nodes sends each dial to the next one that is there, or each
//! client has the addresses of all nodes, dead ones too, and takes them in turn. `cargo run --profile simulation -p tidewire-simulator --example storm -- 1000000` prints
//! the table of docs/scaling.md.

#![allow(clippy::unwrap_used, reason = "a program that cannot go on says where")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::{cmp::Reverse, collections::BinaryHeap, env, time::Duration};

use tidewire::{
    protocol::Timestamp,
    session::{Action, Generation, Session},
};

const HEARTBEAT: Duration = Duration::from_secs(10);

/// Clients that one node lets in a second, as `cargo xtask bench load reconnect` measures with both ends on two cores.
const RATE: u64 = 3_000;

/// Dials that may wait at a node; the system refuses those beyond.
const BACKLOG: u64 = 4_096;

/// What comes when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A session has something to do.
    Due,
    /// A node has let this dial in.
    Welcome(Generation),
}

/// How a dial finds its node.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// What stands in front of the nodes sends each dial to the next one that is there.
    Balancer,
    /// A client takes the addresses in turn, in an order of its own.
    OwnOrder,
    /// All clients take them in the same order.
    SameOrder,
}

struct Storm {
    way: Way,
    /// How many nodes there are, dead ones too: those are the last.
    nodes: usize,
    /// Whether the clients were at any node, or only at those that are dead.
    is_everywhere: bool,
    /// How many dials each client has made.
    turns: Vec<u32>,
    sessions: Vec<Session>,
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    /// Until when each node is busy, in microseconds.
    busy: Vec<u64>,
    live: Vec<bool>,
    dials: u64,
    refused: u64,
    /// Dials of each second.
    rates: Vec<u64>,
}

/// What a storm came to.
struct Told {
    half: f64,
    most: f64,
    all: f64,
    peak: u64,
    dials: f64,
}

impl Storm {
    /// Sessions that were live and lose their links at time zero; of `nodes`, so many are left.
    fn new(way: Way, clients: usize, is_everywhere: bool, nodes: usize, left: usize) -> Self {
        let now = Timestamp::from_millis(0);
        let mut storm = Self {
            way,
            nodes,
            is_everywhere,
            turns: vec![0; clients],
            sessions: Vec::with_capacity(clients),
            events: BinaryHeap::with_capacity(clients),
            busy: vec![0; left],
            live: vec![false; clients],
            dials: 0,
            refused: 0,
            rates: Vec::new(),
        };
        for client in 0..clients {
            let mut session = Session::new(format!("{client}"), None, client as u64);
            if !matches!(way, Way::Balancer) {
                session.take_turns(u32::try_from(nodes).unwrap());
            }
            session.start(now);
            let link = dialed(&mut session).unwrap();
            session.handle_opened(now, link);
            session.handle_welcome(now, HEARTBEAT);
            session.handle_useful();
            while session.poll_action().is_some() {}
            session.handle_closed(now, link, 1006, "");
            storm.sessions.push(session);
            storm.schedule(client);
        }
        storm
    }

    fn schedule(&mut self, client: usize) {
        if let Some(due) = self.sessions[client].poll_timeout() {
            self.events.push(Reverse((due.as_millis(), client, Event::Due)));
        }
    }

    /// Plays until everybody is live; nobody is let in before `outage`.
    fn play(&mut self, outage: u64) -> Told {
        let clients = self.sessions.len();
        let mut arrivals = Vec::with_capacity(clients);
        while arrivals.len() < clients {
            let Reverse((at, client, event)) = self.events.pop().unwrap();
            if self.live[client] {
                continue;
            }
            let now = Timestamp::from_millis(at);
            match event {
                Event::Due => {
                    self.sessions[client].handle_timeout(now);
                    if let Some(link) = dialed(&mut self.sessions[client]) {
                        self.dial(at, client, link, outage);
                    }
                    self.schedule(client);
                }
                Event::Welcome(link) => {
                    let session = &mut self.sessions[client];
                    session.handle_opened(now, link);
                    // A dial that its client has given up was let in for nothing.
                    if session.handle_welcome(now, HEARTBEAT) {
                        session.handle_useful();
                        self.live[client] = true;
                        arrivals.push(at);
                    }
                }
            }
        }
        arrivals.sort_unstable();
        let after = |part: f64| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
            let index = ((clients as f64 * part) as usize).min(clients - 1);
            arrivals[index].saturating_sub(outage) as f64 / 1_000.0
        };
        Told {
            half: after(0.5),
            most: after(0.99),
            all: after(1.0),
            peak: self.rates.iter().copied().max().unwrap_or_default(),
            dials: self.dials as f64 / clients as f64,
        }
    }

    fn dial(&mut self, at: u64, client: usize, link: Generation, outage: u64) {
        self.dials += 1;
        let second = usize::try_from(at / 1_000).unwrap();
        if self.rates.len() <= second {
            self.rates.resize(second + 1, 0);
        }
        self.rates[second] += 1;
        let now = Timestamp::from_millis(at);
        let node = self.node(client);
        if node >= self.busy.len() {
            self.refused += 1;
            self.sessions[client].handle_closed(now, link, 1006, "");
            return;
        }
        let busy = self.busy[node].max(at * 1_000);
        let waiting = (busy - at * 1_000) * RATE / 1_000_000;
        if at < outage || waiting >= BACKLOG {
            self.refused += 1;
            self.sessions[client].handle_closed(now, link, 1006, "");
            return;
        }
        self.busy[node] = busy + 1_000_000 / RATE;
        self.events.push(Reverse((self.busy[node].div_ceil(1_000), client, Event::Welcome(link))));
    }
}

impl Storm {
    /// Where a client's next dial goes.
    fn node(&mut self, client: usize) -> usize {
        self.turns[client] += 1;
        let (turn, left) = (self.turns[client] as usize, self.busy.len());
        let first =
            if self.is_everywhere { client % self.nodes } else { left + client % (self.nodes - left) };
        match self.way {
            Way::Balancer => usize::try_from(self.dials).unwrap() % left,
            Way::SameOrder => (first + turn) % self.nodes,
            Way::OwnOrder => {
                let mut order: Vec<usize> = (0..self.nodes).collect();
                fastrand::Rng::with_seed(client as u64).shuffle(&mut order);
                let place = order.iter().position(|node| *node == first).unwrap();
                order[(place + turn) % self.nodes]
            }
        }
    }
}

fn dialed(session: &mut Session) -> Option<Generation> {
    let dialed = std::iter::from_fn(|| session.poll_action())
        .filter_map(|action| if let Action::Dial(link) = action { Some(link) } else { None });
    dialed.last()
}

fn main() {
    let clients: usize = env::args().nth(1).map_or(1_000_000, |count| count.parse().unwrap());
    // As many nodes as docs/scaling.md gives so many clients, and at least three.
    let nodes = (clients / 20_000).max(3);
    println!("{clients} clients, {nodes} nodes that let {RATE} in a second each");
    println!("| what happened | come back | half | 99 % | all | least | most dials/s | dials each |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    let row = |way, what: &str, lost: usize, left: usize, outage: u64| {
        let told = Storm::new(way, lost, lost == clients, nodes, left).play(outage);
        let least = lost as f64 / (left as f64 * RATE as f64);
        let Told { half, most, all, peak, dials } = told;
        println!(
            "| {what} | {lost} | {half:.1} s | {most:.1} s | {all:.1} s | {least:.1} s | {peak} | {dials:.2} |"
        );
    };
    for (way, name) in [(Way::Balancer, "one address"), (Way::OwnOrder, "all addresses")] {
        row(way, &format!("one node dies; {name}"), clients / nodes, nodes - 1, 0);
        row(
            way,
            &format!("a third of the nodes die; {name}"),
            clients / nodes * (nodes / 3),
            nodes - nodes / 3,
            0,
        );
        row(way, &format!("all links break at once, all nodes are there; {name}"), clients, nodes, 0);
        row(way, &format!("all nodes are away for ten seconds; {name}"), clients, nodes, 10_000);
        row(way, &format!("all nodes are away for two minutes; {name}"), clients, nodes, 120_000);
        row(way, &format!("all links break, half of the nodes are there; {name}"), clients, nodes / 2, 0);
    }
    row(Way::SameOrder, "one node dies; all addresses, in the same order", clients / nodes, nodes - 1, 0);
}
