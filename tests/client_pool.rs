//! The real client's collection over a merge pool: it follows it as it follows a datastore, and nothing is ever missing.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tidewire::{
    client::{Client, Output, SlotId},
    protocol::{EncodedValue, OpenPool, Operation, Timestamp, from_json},
    replica::Status,
    server::{Action, ConnectionId, Options, Server, Transmit, storage::Memory},
    session::Generation,
};

const POOL: &str = "p";

struct Member {
    client: Client,
    slot: SlotId,
    link: Option<(Generation, ConnectionId)>,
    inbox: VecDeque<Vec<u8>>,
}

struct World {
    now: Timestamp,
    server: Server<Memory>,
    members: Vec<Member>,
    connections: u64,
}

impl World {
    fn new(members: u8, presence: bool) -> Self {
        let server = Server::open(Memory::new(), Options::new([7; 32])).unwrap();
        let now = Timestamp::from_millis(1_700_000_000_000);
        let mut world = Self { now, server, members: Vec::new(), connections: 0 };
        for n in 1..=members {
            let mut client = Client::new([n; 16], None);
            let slot = client.subscribe_pool(POOL, Some(OpenPool { presence }), false).unwrap();
            client.start(now);
            world.members.push(Member { client, slot, link: None, inbox: VecDeque::new() });
            world.settle();
        }
        world
    }

    fn settle(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            for index in 0..self.members.len() {
                moved |= self.drive(index);
            }
            self.server.commit(self.now).unwrap();
            while let Some(Transmit { connection, action, report }) = self.server.poll_transmit() {
                moved = true;
                let member = self
                    .members
                    .iter_mut()
                    .find(|member| member.link.is_some_and(|(_, id)| id == connection));
                if let (Action::Frame(frame), Some(member)) = (action, member) {
                    member.inbox.push_back(frame.to_vec());
                }
                if report {
                    self.server.handle_drained(self.now, connection);
                }
            }
        }
    }

    fn drive(&mut self, index: usize) -> bool {
        let Self { now, server, members, connections } = self;
        let member = &mut members[index];
        let mut moved = false;
        while let Some(output) = member.client.poll_output() {
            moved = true;
            match output {
                Output::Fetch(..) => panic!("no token is needed here"),
                Output::Dial(link) => {
                    *connections += 1;
                    let connection = ConnectionId(*connections);
                    member.link = Some((link, connection));
                    server.handle_connect(*now, connection);
                    member.client.handle_opened(*now, link);
                }
                Output::Transmit(_, frame) => {
                    let (_, connection) = member.link.expect("a link to send on");
                    server.handle_frame(*now, connection, &frame);
                }
                Output::Hang { .. } => panic!("no link is given up here"),
            }
        }
        while let Some(frame) = member.inbox.pop_front() {
            moved = true;
            let (link, _) = member.link.expect("a link that the frame came over");
            member.client.handle_frame(*now, link, &frame);
        }
        let mut changes = Vec::new();
        member.client.poll_changes(&mut changes);
        moved | !changes.is_empty()
    }

    fn drop_link(&mut self, index: usize) {
        let member = &mut self.members[index];
        if let Some((link, connection)) = member.link.take() {
            member.inbox.clear();
            self.server.handle_disconnect(self.now, connection);
            member.client.handle_closed(self.now, link, 1006, "");
        }
    }

    fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let clients = self.members.iter().filter_map(|member| member.client.poll_timeout());
            let due = clients.chain(self.server.poll_timeout()).min().filter(|due| *due <= end);
            self.now = due.unwrap_or(end).max(self.now);
            self.server.handle_timeout(self.now);
            for member in &mut self.members {
                member.client.handle_timeout(self.now);
            }
            self.settle();
            if due.is_none() {
                break;
            }
            self.now = self.now + Duration::from_millis(1);
        }
    }

    fn merge(&mut self, index: usize, json: &str) {
        let bytes = from_json(json).unwrap();
        let fields = EncodedValue::check(&bytes).unwrap();
        self.members[index].client.write(self.now, Operation::Merge { pool: POOL, fields }).unwrap();
        self.settle();
    }

    fn shown(&self, index: usize) -> BTreeMap<String, Vec<u8>> {
        let Member { client, slot, .. } = &self.members[index];
        let row = |cell| {
            let value = client.value(cell).unwrap().as_bytes().to_vec();
            (client.key(cell).unwrap().to_owned(), value)
        };
        client.rows(*slot).map(row).collect()
    }

    fn held(&self) -> BTreeMap<String, Vec<u8>> {
        let fields = self.server.pool_fields(self.now, POOL).unwrap().unwrap().records;
        fields.into_iter().map(|field| (field.key.to_string(), field.value.to_vec())).collect()
    }
}

#[test]
fn members_of_a_busy_pool_see_no_gap_and_ask_for_nothing_whoever_joins_leaves_and_comes_back() {
    for presence in [false, true] {
        let mut world = World::new(4, presence);
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for n in 0..2_000 {
            let index = usize::try_from(random(4)).unwrap();
            if world.members[index].link.is_some() {
                let field = random(20);
                let value = if random(5) == 0 { "null".to_owned() } else { n.to_string() };
                world.merge(index, &format!(r#"{{"f{field}":{value}}}"#));
            }
            if random(50) == 0 {
                world.drop_link(index);
            }
            world.advance(Duration::from_millis(random(12)));
        }
        // Time for those that are away to come back, and for the last broadcast.
        world.advance(Duration::from_secs(60));
        let held = world.held();
        for index in 0..4 {
            let Member { client, slot, link, .. } = &world.members[index];
            assert!(link.is_some());
            assert_eq!(client.status(*slot), Status::Ok);
            assert!(world.shown(index) == held, "member {index}, presence {presence}");
            let stats = client.stats(*slot);
            assert_eq!((stats.gaps, stats.refetches, stats.ignored_stale), (0, 0, 0), "member {index}");
        }
        assert!(!held.is_empty(), "presence {presence}");
        for index in 0..4 {
            world.drop_link(index);
        }
        world.server.commit(world.now).unwrap();
        assert_eq!(world.server.residue().connections, 0);
        assert!(!presence || world.held().is_empty());
    }
}
