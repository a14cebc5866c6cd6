//! Real clients and the real server, joined in memory on a virtual clock.

#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{collections::VecDeque, time::Duration};

use tidewire::{
    client::{Change, Client, Output, SlotId},
    gate::Fault,
    protocol::{EncodedValue, QueryId, RequestId, Timestamp, from_json, server_frame_to_json, to_json},
    replica::Verdict,
    server::{Action, ConnectionId, Options, Server, Transmit, storage::Memory},
    session::Generation,
};

/// Says what a client's gate says: `false` refuses.
pub(crate) type Gate = fn(&str) -> bool;

pub(crate) struct Peer {
    pub(crate) client: Client,
    pub(crate) gate: Gate,
    pub(crate) link: Option<(Generation, ConnectionId)>,
    pub(crate) inbox: VecDeque<Vec<u8>>,
    pub(crate) changes: Vec<Change>,
    pub(crate) faults: Vec<Fault>,
    /// What feeds told, as messages of the wire in JSON.
    pub(crate) told: Vec<(SlotId, String)>,
    /// How questions ended, as messages of the wire in JSON.
    pub(crate) answers: Vec<(QueryId, Option<String>)>,
}

pub(crate) struct Rig {
    pub(crate) now: Timestamp,
    pub(crate) server: Server<Memory>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) connections: u64,
    pub(crate) is_up: bool,
    /// Connections whose peers read nothing, and the frames that wait for each.
    clogged: Vec<(ConnectionId, u32)>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let server = Server::open(Memory::new(), Options::new([7; 32])).unwrap();
        let now = Timestamp::from_millis(1_700_000_000_000);
        Self { now, server, peers: Vec::new(), connections: 0, is_up: true, clogged: Vec::new() }
    }

    pub(crate) fn connect(&mut self, gate: Gate) -> usize {
        self.connect_as(gate, None)
    }

    /// Connects a client of a user.
    pub(crate) fn connect_as(&mut self, gate: Gate, user: Option<&str>) -> usize {
        let index = self.peers.len();
        let seed = [u8::try_from(index).unwrap() + 1; 16];
        let mut client = Client::new(seed, user.map(str::to_owned));
        client.start(self.now);
        self.peers.push(Peer {
            client,
            gate,
            link: None,
            inbox: VecDeque::new(),
            changes: Vec::new(),
            faults: Vec::new(),
            told: Vec::new(),
            answers: Vec::new(),
        });
        self.settle();
        index
    }

    /// Carries frames to and fro until nobody has anything to say.
    pub(crate) fn settle(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for index in 0..self.peers.len() {
                moved |= self.drive(index);
            }
            self.server.commit(self.now).unwrap();
            while let Some(Transmit { connection, action, report }) = self.server.poll_transmit() {
                moved = true;
                let peer =
                    self.peers.iter_mut().find(|peer| peer.link.is_some_and(|(_, id)| id == connection));
                match (action, peer) {
                    (Action::Frame(frame), Some(peer)) => peer.inbox.push_back(frame.to_vec()),
                    (Action::Close { code, reason }, Some(peer)) => {
                        let (link, _) = peer.link.take().unwrap();
                        peer.client.handle_closed(self.now, link, code, &reason);
                    }
                    (_, None) => {}
                }
                if report {
                    match self.clogged.iter_mut().find(|(clogged, _)| *clogged == connection) {
                        Some((_, waiting)) => *waiting += 1,
                        None => self.server.handle_drained(self.now, connection),
                    }
                }
            }
        }
    }

    /// From now on a peer's socket takes nothing more.
    pub(crate) fn clog(&mut self, index: usize) {
        let (_, connection) = self.peers[index].link.expect("a link");
        self.clogged.push((connection, 0));
    }

    /// The sockets take again what waits for them.
    pub(crate) fn unclog(&mut self) {
        for (connection, waiting) in std::mem::take(&mut self.clogged) {
            for _ in 0..waiting {
                self.server.handle_drained(self.now, connection);
            }
        }
        self.settle();
    }

    fn drive(&mut self, index: usize) -> bool {
        let Self { now, server, peers, connections, is_up, clogged: _ } = self;
        let peer = &mut peers[index];
        let mut moved = false;
        while let Some(output) = peer.client.poll_output() {
            moved = true;
            match output {
                Output::Fetch(..) => panic!("no token is needed here"),
                Output::Dial(link) if *is_up => {
                    *connections += 1;
                    let connection = ConnectionId(*connections);
                    peer.link = Some((link, connection));
                    server.handle_connect(*now, connection);
                    peer.client.handle_opened(*now, link);
                }
                Output::Dial(link) => peer.client.handle_closed(*now, link, 1006, ""),
                Output::Transmit(_, frame) => {
                    let (_, connection) = peer.link.expect("a link to send on");
                    server.handle_frame(*now, connection, &frame);
                }
                Output::Hang { .. } => {
                    if let Some((_, connection)) = peer.link.take() {
                        server.handle_disconnect(*now, connection);
                    }
                    peer.inbox.clear();
                }
            }
        }
        while let Some(frame) = peer.inbox.pop_front() {
            moved = true;
            if let Some((link, _)) = peer.link {
                peer.client.handle_frame(*now, link, &frame);
            }
        }
        let mut changes = Vec::new();
        peer.client.poll_changes(&mut changes);
        moved |= !changes.is_empty();
        for change in &changes {
            if let Change::Judge { cell, ticket, .. } = *change {
                let value = peer.client.value(cell).map(|value| to_json(value).unwrap()).unwrap_or_default();
                let verdict = if (peer.gate)(&value) { Verdict::Accepted } else { Verdict::Refused };
                peer.client.judged(*now, ticket, verdict);
            }
            if let Change::Quarantined { fault, .. } = *change {
                peer.faults.extend(peer.client.fault(fault).cloned());
            }
            let message = |cell| {
                let message = peer.client.value(cell).expect("what is told is there while the list is read");
                server_frame_to_json(message.as_bytes()).unwrap()
            };
            match *change {
                Change::Fed { slot, cell } => peer.told.push((slot, message(cell))),
                Change::Answered { query, cell } => peer.answers.push((query, cell.map(message))),
                _ => {}
            }
        }
        peer.changes.extend(changes);
        moved
    }

    /// Breaks the link of a peer, without a word to either side's machine beyond what a socket would say.
    pub(crate) fn drop_link(&mut self, index: usize) {
        let (link, connection) = self.peers[index].link.take().expect("a link");
        self.peers[index].inbox.clear();
        self.server.handle_disconnect(self.now, connection);
        self.peers[index].client.handle_closed(self.now, link, 1006, "");
        self.settle();
    }

    /// Breaks the link of a peer before its answers come: with `is_heard` after the server has taken what the peer has
    /// sent last, else before.
    pub(crate) fn cut(&mut self, index: usize, is_heard: bool) {
        let (_, connection) = self.peers[index].link.expect("a link");
        while let Some(output) = self.peers[index].client.poll_output() {
            if let (true, Output::Transmit(_, frame)) = (is_heard, output) {
                self.server.handle_frame(self.now, connection, &frame);
            }
        }
        self.server.commit(self.now).unwrap();
        while self.server.poll_transmit().is_some() {}
        self.drop_link(index);
    }

    pub(crate) fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let clients = self.peers.iter().filter_map(|peer| peer.client.poll_timeout());
            let due = clients.chain(self.server.poll_timeout()).min().filter(|due| *due <= end);
            self.now = due.unwrap_or(end).max(self.now);
            self.server.handle_timeout(self.now);
            for peer in &mut self.peers {
                peer.client.handle_timeout(self.now);
            }
            self.settle();
            if due.is_none() {
                break;
            }
            self.now = self.now + Duration::from_millis(1);
        }
    }

    pub(crate) fn rows(&self, index: usize, slot: SlotId) -> Vec<String> {
        let client = &self.peers[index].client;
        let mut rows: Vec<_> = client
            .rows(slot)
            .map(|cell| to_json(client.value(cell).expect("a shown row has a value")).unwrap())
            .collect();
        rows.sort();
        rows
    }

    pub(crate) fn object(&self, index: usize, slot: SlotId) -> Option<String> {
        let client = &self.peers[index].client;
        client.object(slot).and_then(|cell| client.value(cell)).map(|value| to_json(value).unwrap())
    }

    pub(crate) fn set(&mut self, index: usize, datastore: &str, json: &str) -> u64 {
        let bytes = from_json(json).unwrap();
        let value = EncodedValue::check(&bytes).unwrap();
        let request = self.peers[index].client.set(self.now, datastore, value).unwrap();
        self.settle();
        request
    }

    /// What the feed of a slot told since the last call, without the subscription's number.
    pub(crate) fn told(&mut self, index: usize, slot: SlotId) -> Vec<String> {
        let number = format!(",{}", slot.number());
        let (of_slot, others) =
            std::mem::take(&mut self.peers[index].told).into_iter().partition(|(told, _)| *told == slot);
        self.peers[index].told = others;
        let of_slot: Vec<(SlotId, String)> = of_slot;
        of_slot.into_iter().map(|(_, message)| message.replacen(&number, "", 1)).collect()
    }

    /// How a question ended.
    pub(crate) fn answer(&self, index: usize, query: QueryId) -> Option<Option<&str>> {
        let mut answers = self.peers[index].answers.iter();
        answers.find(|(answered, _)| *answered == query).map(|(_, answer)| answer.as_deref())
    }

    pub(crate) fn settled(&self, index: usize, request: RequestId) -> Option<u16> {
        self.peers[index].changes.iter().find_map(|change| match change {
            Change::Settled { request: settled, code } if *settled == request => Some(*code),
            _ => None,
        })
    }
}

pub(crate) const ANY: Gate = |_| true;
