//! Servers that run one log: whatever is asked of whom, and whoever starts again when, all come to the same.

#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

use std::time::Duration;

use tidewire::{
    protocol::{
        ClientMessage, EncodedValue, KvChange, Open, OpenPool, Operation, Reader, ServerMessage,
        Subscription, Target, Timestamp, Writer, from_json,
    },
    server::{Action, Condition, ConnectionId, Moment, Options, Origin, Server, storage::Memory},
};

const NODES: usize = 3;

/// What the log has: who put it there, when, the randomness of its own, and the entry. An empty one: its node is gone.
type Log = Vec<(Origin, Timestamp, [u8; 32], Vec<u8>)>;

struct Node {
    server: Option<Server<Memory>>,
    origin: Origin,
    /// How much of the log it has run, and what each entry came to.
    fingerprints: Vec<u64>,
    connections: Vec<ConnectionId>,
    next_connection: u64,
    acknowledged: usize,
}

fn options(seed: u8) -> Options {
    Options { replicated: true, flush_interval: Duration::from_millis(50), ..Options::new([seed; 32]) }
}

/// The local clock of a node: each is wrong by another hour.
fn local(node: usize, now: Timestamp) -> Timestamp {
    now + Duration::from_secs(3_600 * node as u64)
}

impl Node {
    fn new(number: usize) -> Self {
        let seed = u8::try_from(number).unwrap();
        let mut server = Server::open(Memory::new(), options(seed)).unwrap();
        // The epoch of the objects is the founder's business.
        let history = tidewire::server::storage::StoredHistory {
            epoch: tidewire::protocol::Epoch::from_bytes([9; 16]),
            lineage: tidewire::protocol::Lineage::default(),
        };
        server.note(|storage| tidewire::server::storage::Storage::set_history(storage, &history)).unwrap();
        server.commit(Timestamp::from_millis(1)).unwrap();
        let server = Server::open(server.into_storage().unwrap(), options(seed)).unwrap();
        let mut node = Self {
            server: Some(server),
            origin: Origin(1),
            fingerprints: Vec::new(),
            connections: Vec::new(),
            next_connection: 1,
            acknowledged: 0,
        };
        node.enter(Origin(u32::try_from(number).unwrap() + 1));
        node
    }

    fn server(&mut self) -> &mut Server<Memory> {
        self.server.as_mut().unwrap()
    }

    fn enter(&mut self, origin: Origin) {
        self.origin = origin;
        self.server().join(origin);
    }

    fn send(&mut self, now: Timestamp, connection: ConnectionId, messages: &[ClientMessage<'_>]) {
        let mut writer = Writer::new();
        for message in messages {
            message.encode(&mut writer);
        }
        self.server().handle_frame(now, connection, &writer.into_bytes());
    }

    fn connect(&mut self, now: Timestamp, client: &str) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.server().handle_connect(now, connection);
        self.send(now, connection, &[ClientMessage::Hello { client, token: None }]);
        self.connections.push(connection);
        connection
    }

    /// Ends the batch: what is proposed goes into the log, and replies are counted.
    fn commit(&mut self, now: Timestamp, log: &mut Log, at: Timestamp, dice: &mut fastrand::Rng) {
        let origin = self.origin;
        self.server().commit(now).unwrap();
        while let Some(transmit) = self.server().poll_transmit() {
            let Action::Frame(frame) = transmit.action else { continue };
            let mut reader = Reader::new(&frame);
            while !reader.is_empty() {
                let message = ServerMessage::decode(&mut reader).unwrap();
                self.acknowledged += usize::from(matches!(message, ServerMessage::Ack { .. }));
            }
            if transmit.report {
                self.server().handle_drained(now, transmit.connection);
            }
        }
        while let Some(entry) = self.server().poll_proposal() {
            log.push((origin, at, [dice.u8(..); 32], entry));
        }
    }

    /// Runs some of what the log has that it has not run.
    fn run(&mut self, number: usize, now: Timestamp, log: &Log, count: usize) {
        for index in self.fingerprints.len()..log.len().min(self.fingerprints.len().saturating_add(count)) {
            let (origin, at, seed, entry) = &log[index];
            let before = index.checked_sub(1).map_or(Timestamp::default(), |before| log[before].1);
            let moment = Moment { at: *at, now: local(number, now) };
            let server = self.server();
            server.reseed(*seed);
            let fingerprint = if entry.is_empty() {
                server.expel(moment, *origin);
                0
            } else {
                server.handle_entry(moment, *origin, entry).unwrap().fingerprint
            };
            server.sweep(moment, before, false);
            self.fingerprints.push(fingerprint);
        }
    }

    /// Everything that clients can see, as text.
    fn contents(&mut self, at: Timestamp) -> String {
        let server = self.server();
        let mut text = String::new();
        for key in ["a", "b"] {
            text += &format!("{key}: {:?}\n", server.object(key).unwrap());
        }
        for id in ["forever", "for a while"] {
            text += &format!("{id}: {:?}\n", server.snapshot(at, id).unwrap());
        }
        text += &format!("pool: {:?}\n", server.pool_fields(at, "doc").unwrap());
        text += &format!("kv: {:?}\n", server.kv(at).get_all("g").unwrap());
        text += &format!("mailbox: {:?}\n", server.pending_notifications("client 1").unwrap());
        text
    }
}

fn message(dice: &mut fastrand::Rng, node: &mut Node, now: Timestamp, request: u64) {
    let client = format!("client {}", dice.u8(..4));
    if node.connections.is_empty() || dice.u8(..8) == 0 {
        node.connect(now, &client);
    }
    let connection = node.connections[dice.usize(..node.connections.len())];
    let json = format!(r#"{{"id":"{}","n":{}}}"#, dice.u8(..5), dice.u8(..));
    let (bytes, field) =
        (from_json(&json).unwrap(), from_json(&format!(r#"{{"f{}":1}}"#, dice.u8(..4))).unwrap());
    let (value, fields) = (EncodedValue::check(&bytes).unwrap(), EncodedValue::check(&field).unwrap());
    let datastore = if dice.bool() { "forever" } else { "for a while" };
    let key = if dice.bool() { "a" } else { "b" };
    let operation = match dice.u8(..9) {
        0 => Operation::Put { key, value },
        1 => Operation::Delete { key },
        2 | 3 => Operation::Set { datastore, value },
        4 => Operation::Remove { datastore, key: "1" },
        5 => Operation::Merge { pool: "doc", fields },
        6 => Operation::Notify { to: "client 1", pack: value, suit: false, ttl: Some(90_000) },
        7 => Operation::Kv(vec![KvChange::Set { group: "g", key, value, ttl: Some(60_000) }]),
        _ => {
            let open = Open { permanent: datastore == "forever", primary: "id" };
            let subscriptions = vec![
                Subscription {
                    id: 1,
                    target: Target::Datastore { id: datastore, open: Some(open) },
                    position: None,
                },
                Subscription {
                    id: 2,
                    target: Target::Pool { id: "doc", open: Some(OpenPool { presence: true }) },
                    position: None,
                },
            ];
            return node.send(now, connection, &[ClientMessage::Subscribe(subscriptions)]);
        }
    };
    node.send(now, connection, &[ClientMessage::Write { request, operation }]);
}

#[test]
fn all_that_have_run_the_same_log_have_the_same() {
    for seed in 0..40 {
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut nodes: Vec<_> = (0..NODES).map(Node::new).collect();
        let mut log = Log::new();
        let mut at = Timestamp::from_millis(1_700_000_000_000);
        let mut origins = NODES;
        for step in 1..400 {
            at = at + Duration::from_millis(dice.u64(1..2_000));
            let number = dice.usize(..NODES);
            let node = &mut nodes[number];
            let now = local(number, at);
            match dice.u8(..20) {
                0 if !node.connections.is_empty() => {
                    let connection = node.connections.swap_remove(dice.usize(..node.connections.len()));
                    node.server().handle_disconnect(now, connection);
                }
                1 => {
                    // It starts again from what it has stored, under another number; the others hear that it is gone.
                    node.commit(now, &mut log, at, &mut dice);
                    let storage = node.server.take().unwrap().into_storage().unwrap();
                    let own = u8::try_from(number).unwrap();
                    node.server = Some(Server::open(storage, options(own)).unwrap());
                    node.connections.clear();
                    log.push((node.origin, at, [0; 32], Vec::new()));
                    origins += 1;
                    node.enter(Origin(u32::try_from(origins).unwrap()));
                }
                2 | 3 => node.server().handle_timeout(now),
                _ => message(&mut dice, node, now, step),
            }
            let count = dice.usize(..6);
            node.run(number, now, &log, count);
            node.commit(now, &mut log, at, &mut dice);
        }
        // What a last round proposes is run too.
        for _ in 0..3 {
            for (number, node) in nodes.iter_mut().enumerate() {
                node.run(number, at, &log, usize::MAX);
                node.commit(local(number, at), &mut log, at, &mut dice);
            }
        }
        assert!(
            nodes.iter().map(|node| node.acknowledged).sum::<usize>() > 20,
            "seed {seed}: too little happened"
        );
        let contents: Vec<_> = nodes.iter_mut().map(|node| node.contents(at)).collect();
        for (node, other) in nodes.iter().zip(&contents) {
            assert_eq!(node.fingerprints, nodes[0].fingerprints, "seed {seed}");
            assert_eq!(*other, contents[0], "seed {seed}");
        }
    }
}

#[test]
fn nothing_changes_before_the_log_says_so_and_a_conditional_write_is_decided_there() {
    let mut node = Node::new(0);
    let now = Timestamp::from_millis(1_700_000_000_000);
    let (mut log, mut dice) = (Log::new(), fastrand::Rng::with_seed(1));
    let bytes = from_json("1").unwrap();
    let value = EncodedValue::check(&bytes).unwrap();
    node.server().propose_call(1, "a", Some(value), Condition::Absent).unwrap();
    node.server().propose_call(2, "a", Some(value), Condition::Absent).unwrap();
    node.commit(now, &mut log, now, &mut dice);
    assert_eq!(node.server().object("a").unwrap(), None);
    let outcomes: Vec<_> = log
        .iter()
        .map(|(origin, at, _, entry)| {
            let moment = Moment { at: *at, now };
            node.server().handle_entry(moment, *origin, entry).unwrap().call.unwrap()
        })
        .collect();
    assert!(matches!(&outcomes[0], (1, Ok(Some(position))) if position.sequence.get() == 1), "{outcomes:?}");
    assert_eq!(outcomes[1], (2, Err(tidewire::server::CallRefusal::Changed)));
}
