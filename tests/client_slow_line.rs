//! Real clients and the real server over a line that carries so many bytes a second, on a virtual clock.
//!
//! PROTOCOL.md, "Heartbeat", says what a line must carry; R8.9 says when an answer is given up.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tidewire::{
    client::{Change, Client, Output, SlotId},
    protocol::{
        ClientMessage, EncodedValue, KvChange, Open, Operation, Query, Reader, RequestId, Timestamp, Writer,
    },
    replica::Status,
    server::{Action, ConnectionId, Options, Server, Transmit, storage::Memory},
    session::{Generation, Phase},
};

const OPEN: Open<'static> = Open { permanent: true, primary: "id" };
const KIB: usize = 1024;
/// What sockets and routers take before the server's host notices that nothing moves.
const BUFFER: usize = 128 * KIB;
/// What messages, rows and the welcome add to the values.
const OVERHEAD: f64 = 1.05;

/// What the server's host tells of a frame before it is whole.
const PART: usize = 4 * KIB;

/// Towards the server: one frame after the other, and of each what has come of it so far.
#[derive(Default)]
struct Uplink {
    arrivals: VecDeque<(Timestamp, Arrival)>,
    /// When the last one is through.
    free: Timestamp,
}

enum Arrival {
    Part(usize),
    Frame(Vec<u8>),
}

/// Towards the client: one frame after the other.
#[derive(Default)]
struct Line {
    /// When each arrives, and whether the server is told that it has left.
    frames: VecDeque<(Timestamp, Arc<[u8]>)>,
    /// Frames whose leaving is reported, and when they have left.
    reports: VecDeque<Timestamp>,
    /// When the last one is through.
    free: Timestamp,
}

struct Rig {
    now: Timestamp,
    server: Server<Memory>,
    client: Client,
    link: Option<(Generation, ConnectionId)>,
    line: Line,
    rate: usize,
    up: Uplink,
    /// Bytes a second towards the server, where they take any time.
    up_rate: Option<usize>,
    /// Whether nothing arrives any more on the present link.
    is_dead: bool,
    /// All that the server gave to its line.
    carried: usize,
    /// All that the client gave to its.
    sent: usize,
    links: u64,
    /// How many of the client's next messages of a kind are lost.
    swallow: usize,
    swallows: fn(&ClientMessage<'_>) -> bool,
    swallowed: usize,
    /// How writes and questions ended: no code is an answer.
    settled: Vec<(RequestId, u16)>,
    answered: Vec<bool>,
}

impl Rig {
    fn new(rate: usize) -> Self {
        let now = Timestamp::from_millis(1_700_000_000_000);
        Self {
            now,
            server: Server::open(Memory::new(), Options::new([7; 32])).unwrap(),
            client: Client::new([1; 16], None),
            link: None,
            line: Line { free: now, ..Line::default() },
            rate,
            up: Uplink { free: now, ..Uplink::default() },
            up_rate: None,
            is_dead: false,
            carried: 0,
            sent: 0,
            links: 0,
            swallow: 0,
            swallows: |message| matches!(message, ClientMessage::Page { .. }),
            swallowed: 0,
            settled: Vec::new(),
            answered: Vec::new(),
        }
    }

    /// One whose line is slow towards the server.
    fn slow_towards_the_server(rate: usize) -> Self {
        Self { up_rate: Some(rate), ..Self::new(1_000 * KIB) }
    }

    /// A datastore with so many rows of so many bytes.
    fn fill(&mut self, id: &str, rows: usize, bytes: usize) {
        self.server.open_datastore(self.now, id, OPEN, None).unwrap();
        for row in 0..rows {
            let value = value(&format!("row{row}"), bytes);
            let value = EncodedValue::check(&value).unwrap();
            self.server.set(self.now, id, value).unwrap();
        }
        self.server.commit(self.now).unwrap();
    }

    fn start(&mut self) {
        self.client.start(self.now);
        self.settle();
    }

    /// Runs until the slots are ready and at rest; says how many seconds that took, `None` if it takes longer than `limit`.
    fn until_ready(&mut self, slots: &[SlotId], limit: Duration) -> Option<f64> {
        let started = self.now;
        while !slots.iter().all(|slot| self.client.is_ready(*slot) && self.client.status(*slot) == Status::Ok)
        {
            self.step();
            if self.now.since(started) > limit {
                return None;
            }
        }
        Some(self.now.since(started).as_secs_f64())
    }

    /// Runs until so many writes have ended; says how many seconds that took.
    fn until_settled(&mut self, writes: usize, limit: Duration) -> f64 {
        let started = self.now;
        while self.settled.len() < writes {
            self.step();
            assert!(self.now.since(started) <= limit, "{} writes have ended", self.settled.len());
        }
        self.now.since(started).as_secs_f64()
    }

    fn put(&mut self, key: &str, bytes: usize) -> RequestId {
        let value = value("1", bytes);
        let request = self.client.put(self.now, key, EncodedValue::check(&value).unwrap()).unwrap();
        self.settle();
        request
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.step();
        }
    }

    /// To whatever is next.
    fn step(&mut self) {
        let frame = self.line.frames.front().map(|(at, _)| *at);
        let report = self.line.reports.front().copied();
        let arrival = self.up.arrivals.front().map(|(at, _)| *at);
        let due = [self.client.poll_timeout(), self.server.poll_timeout(), frame, report, arrival];
        let due = due.into_iter().flatten().min().expect("somebody waits for something");
        assert!(due.since(self.now) <= Duration::from_secs(60), "and never for long");
        self.now = self.now.max(due);
        if self.line.reports.pop_front_if(|at| *at <= self.now).is_some()
            && let Some((_, connection)) = self.link
        {
            self.server.handle_drained(self.now, connection);
        }
        if let Some((_, frame)) = self.line.frames.pop_front_if(|(at, _)| *at <= self.now)
            && let Some((link, _)) = self.link
        {
            self.client.handle_frame(self.now, link, &frame);
        }
        if let Some((_, arrival)) = self.up.arrivals.pop_front_if(|(at, _)| *at <= self.now) {
            self.arrive(arrival);
        }
        self.server.handle_timeout(self.now);
        self.client.handle_timeout(self.now);
        self.settle();
        self.now = self.now.max(Timestamp::from_millis(due.as_millis() + 1));
    }

    fn settle(&mut self) {
        loop {
            let mut changes = Vec::new();
            self.client.poll_changes(&mut changes);
            for change in &changes {
                match change {
                    Change::Denied { .. } => panic!("everything is allowed"),
                    Change::Settled { request, code } => self.settled.push((*request, *code)),
                    Change::Answered { cell, .. } => self.answered.push(cell.is_some()),
                    _ => {}
                }
            }
            let mut is_quiet = changes.is_empty();
            while let Some(output) = self.client.poll_output() {
                is_quiet = false;
                self.perform(output);
            }
            self.server.commit(self.now).unwrap();
            while let Some(Transmit { connection, action, report }) = self.server.poll_transmit() {
                is_quiet = false;
                self.carry(connection, action, report);
            }
            if is_quiet {
                return;
            }
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Fetch(..) => panic!("no token is needed here"),
            Output::Dial(link) => {
                self.links += 1;
                let connection = ConnectionId(self.links);
                self.link = Some((link, connection));
                self.line = Line { free: self.now, ..Line::default() };
                self.up = Uplink { free: self.now, ..Uplink::default() };
                self.server.handle_connect(self.now, connection);
                self.client.handle_opened(self.now, link);
            }
            Output::Transmit(_, frame) => {
                assert!(self.link.is_some(), "a link to send on");
                self.sent += frame.len();
                let Some(rate) = self.up_rate else { return self.arrive(Arrival::Frame(frame)) };
                let starts = self.up.free.max(self.now);
                let after =
                    |bytes: usize| starts + Duration::from_millis((bytes * 1_000).div_ceil(rate) as u64);
                let parts =
                    (1..=(frame.len() - 1) / PART).map(|part| (after(part * PART), Arrival::Part(PART)));
                self.up.arrivals.extend(parts);
                self.up.free = after(frame.len());
                self.up.arrivals.push_back((self.up.free, Arrival::Frame(frame)));
            }
            Output::Hang { .. } => {
                let (_, connection) = self.link.take().expect("a link to hang up");
                self.up.arrivals.clear();
                self.server.handle_disconnect(self.now, connection);
            }
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        let Some((_, connection)) = self.link else { return };
        match arrival {
            Arrival::Part(bytes) => self.server.handle_arriving(self.now, connection, bytes),
            Arrival::Frame(frame) if self.swallow > 0 && has(&frame, self.swallows) => {
                self.swallow -= 1;
                self.swallowed += 1;
            }
            Arrival::Frame(frame) => self.server.handle_frame(self.now, connection, &frame),
        }
    }

    fn carry(&mut self, connection: ConnectionId, action: Action<Arc<[u8]>>, report: bool) {
        if self.link.is_none_or(|(_, present)| present != connection) {
            return;
        }
        let frame = match action {
            Action::Frame(frame) => frame,
            Action::Close { code, reason } => {
                assert!(self.is_dead, "the server closes a link that is only slow");
                let (link, connection) = self.link.take().expect("a link to close");
                self.server.handle_disconnect(self.now, connection);
                return self.client.handle_closed(self.now, link, code, &reason);
            }
        };
        self.carried += frame.len();
        let takes = |bytes: usize| Duration::from_millis((bytes * 1_000).div_ceil(self.rate) as u64);
        let starts = self.line.free.max(self.now);
        let arrives = starts + takes(frame.len());
        self.line.free = arrives;
        if report {
            // It has left when no more than the buffer holds is still to come of it.
            let rest = frame.len().min(BUFFER);
            self.line.reports.push_back(starts + takes(frame.len() - rest));
        }
        self.line.frames.push_back((arrives, frame));
    }
}

fn has(frame: &[u8], is_it: fn(&ClientMessage<'_>) -> bool) -> bool {
    let mut reader = Reader::new(frame);
    std::iter::from_fn(|| (!reader.is_empty()).then(|| ClientMessage::decode(&mut reader).unwrap()))
        .any(|message| is_it(&message))
}

/// A map with an `id` and so many bytes more.
fn value(id: &str, bytes: usize) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.map(2);
    writer.str("id");
    writer.str(id);
    writer.str("text");
    writer.str(&"~".repeat(bytes));
    writer.into_bytes()
}

#[test]
fn a_datastore_of_many_pages_comes_over_a_line_as_slow_as_is_promised() {
    for rate in [2, 5, 10, 20, 50, 200] {
        let mut rig = Rig::new(rate * KIB);
        rig.fill("todos", 400, 4 * KIB);
        let slot = rig.client.subscribe_datastore("todos", None, "id", false).unwrap();
        rig.start();
        let took = rig.until_ready(&[slot], Duration::from_secs(4 * 60 * 60));
        let took = took.unwrap_or_else(|| panic!("never, at {rate} KiB/s"));
        assert_eq!(rig.client.row_count(slot), 400);
        let least = 1_600.0 / rate as f64;
        // Until it is known that the line is slow and not dead, four links are given up, one of them after a page.
        let learning = if rate <= 10 { 25.0 + 40.0 + 70.0 + 130.0 + 130.0 } else { 0.0 };
        assert!(took <= least * OVERHEAD + learning + 1.0, "{took} s at {rate} KiB/s, at least {least} s");
        if rate > 10 {
            assert_eq!(rig.links, 1, "at {rate} KiB/s");
            let carried = rig.carried as f64 / (1_600.0 * KIB as f64);
            assert!(carried < OVERHEAD, "nothing is sent twice: {carried} times at {rate} KiB/s");
        }
    }
}

#[test]
fn many_datastores_take_turns_on_a_slow_line_and_none_is_asked_for_twice() {
    let mut rig = Rig::new(50 * KIB);
    let slots: Vec<_> = (0..40)
        .map(|number| {
            let id = format!("store{number}");
            rig.fill(&id, 100, 4 * KIB);
            rig.client.subscribe_datastore(&id, None, "id", false).unwrap()
        })
        .collect();
    rig.start();
    let took = rig.until_ready(&slots, Duration::from_secs(60 * 60)).expect("it ends");
    let carried = rig.carried as f64 / (40.0 * 400.0 * KIB as f64);
    assert!(carried < OVERHEAD, "{carried} times in {took} s");
    assert_eq!(rig.links, 1);
}

#[test]
fn the_largest_value_comes_over_a_line_as_slow_as_is_promised() {
    let mut rig = Rig::new(2 * KIB);
    let text = value("1", 255 * KIB);
    rig.server.put(rig.now, "scene", EncodedValue::check(&text).unwrap()).unwrap();
    rig.server.commit(rig.now).unwrap();
    let slot = rig.client.subscribe_object("scene", false).unwrap();
    rig.start();
    let took = rig.until_ready(&[slot], Duration::from_secs(60 * 60)).expect("it ends");
    assert!(took < 25.0 + 40.0 + 70.0 + 130.0 + 140.0, "{took} s");
}

#[test]
fn a_question_that_a_server_has_lost_is_asked_again_though_it_answers_pings() {
    let mut rig = Rig::new(200 * KIB);
    rig.fill("todos", 400, 4 * KIB);
    rig.swallow = 1;
    let slot = rig.client.subscribe_datastore("todos", None, "id", false).unwrap();
    rig.start();
    let took = rig.until_ready(&[slot], Duration::from_secs(60)).expect("it ends");
    assert_eq!((rig.swallowed, rig.links), (1, 1));
    // The deadline, at most a heartbeat and a half until a ping tells, and the snapshot again.
    assert!(took < 10.0 + 15.0 + 2.0 * 8.0 + 1.0, "{took} s");
}

#[test]
fn a_slow_line_that_dies_is_noticed_in_bounded_time() {
    let mut rig = Rig::new(5 * KIB);
    rig.fill("todos", 400, 4 * KIB);
    let slot = rig.client.subscribe_datastore("todos", None, "id", false).unwrap();
    rig.start();
    rig.until_ready(&[slot], Duration::from_secs(60 * 60)).expect("it ends");
    let links = rig.links;
    rig.rate = 1;
    rig.line.free = rig.now + Duration::from_secs(24 * 60 * 60);
    let dead = rig.now;
    while rig.client.phase() == Phase::Live {
        rig.step();
    }
    assert!(rig.now.since(dead) <= Duration::from_secs(260), "{:?}", rig.now.since(dead));
    rig.rate = 200 * KIB;
    rig.pass(Duration::from_secs(30));
    assert_eq!((rig.client.phase(), rig.links), (Phase::Live, links + 1));
}

#[test]
fn the_largest_value_leaves_over_a_line_as_slow_as_is_promised_and_is_sent_once() {
    for rate in [2, 3, 5, 10, 50] {
        let mut rig = Rig::slow_towards_the_server(rate * KIB);
        rig.start();
        let request = rig.put("scene", 255 * KIB);
        let took = rig.until_settled(1, Duration::from_secs(60 * 60));
        assert_eq!(rig.settled, [(request, 0)], "at {rate} KiB/s");
        assert!(took <= 256.0 / rate as f64 * OVERHEAD + 1.0, "{took} s at {rate} KiB/s");
        assert_eq!(rig.links, 1, "at {rate} KiB/s");
        let sent = rig.sent as f64 / (255.0 * KIB as f64);
        assert!(sent < OVERHEAD, "{sent} times at {rate} KiB/s");
    }
}

#[test]
fn many_writes_take_their_turns_on_a_slow_line_and_none_is_late() {
    let mut rig = Rig::slow_towards_the_server(2 * KIB);
    rig.start();
    for n in 0..600 {
        rig.put(&format!("key{n}"), 2 * KIB);
    }
    let took = rig.until_settled(600, Duration::from_secs(60 * 60));
    assert!(rig.settled.iter().all(|(_, code)| *code == 0), "{:?}", rig.settled);
    assert!(took <= 600.0 * OVERHEAD + 1.0, "{took} s");
    assert_eq!(rig.links, 1);
}

#[test]
fn a_question_waits_for_the_write_before_it_on_a_slow_line() {
    let mut rig = Rig::slow_towards_the_server(2 * KIB);
    rig.start();
    rig.put("scene", 255 * KIB);
    rig.client.query(rig.now, Query::KvCount { group: "g" }).unwrap();
    rig.until_settled(1, Duration::from_secs(140));
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.answered, [true]);
}

#[test]
fn large_answers_to_questions_take_their_turns_and_none_is_late() {
    let mut rig = Rig::new(1_000 * KIB);
    rig.start();
    let value = value("1", 255 * KIB);
    let set = KvChange::Set { group: "g", key: "k", value: EncodedValue::check(&value).unwrap(), ttl: None };
    rig.client.write(rig.now, Operation::Kv(vec![set])).unwrap();
    rig.settle();
    rig.rate = 15 * KIB;
    for _ in 0..4 {
        rig.client.query(rig.now, Query::KvGet { group: "g", key: "k" }).unwrap();
    }
    rig.settle();
    rig.pass(Duration::from_secs(4 * 256 / 15 + 2));
    assert_eq!(rig.answered, [true; 4]);
    assert_eq!(rig.links, 1);
}

#[test]
fn a_person_who_comes_back_to_the_page_ends_no_link_that_is_busy_with_a_large_write() {
    let mut rig = Rig::slow_towards_the_server(4 * KIB);
    rig.start();
    rig.put("scene", 255 * KIB);
    while rig.settled.is_empty() {
        rig.client.nudge(rig.now);
        rig.settle();
        rig.pass(Duration::from_millis(5_200));
    }
    assert_eq!((rig.links, rig.settled[0].1), (1, 0));
}

#[test]
fn a_write_that_a_server_has_lost_is_given_up_though_it_answers_pings() {
    let mut rig = Rig::slow_towards_the_server(20 * KIB);
    rig.swallow = 1;
    rig.swallows = |message| matches!(message, ClientMessage::Write { .. });
    rig.start();
    rig.pass(Duration::from_secs(3));
    let request = rig.put("scene", 255 * KIB);
    let took = rig.until_settled(1, Duration::from_secs(60));
    assert_eq!((&*rig.settled, rig.swallowed, rig.links), (&[(request, u16::MAX)][..], 1, 1));
    assert!((30.0..=45.0).contains(&took), "{took} s");
}

#[test]
fn a_write_over_a_line_that_dies_underway_goes_on_with_the_next_one() {
    let mut rig = Rig::slow_towards_the_server(10 * KIB);
    rig.start();
    let request = rig.put("scene", 255 * KIB);
    rig.pass(Duration::from_secs(2));
    // The server is the first to notice: it hears no more of the frame.
    rig.is_dead = true;
    rig.up.arrivals.clear();
    rig.up.free = rig.now + Duration::from_secs(24 * 60 * 60);
    let dead = rig.now;
    while rig.links == 1 {
        rig.step();
    }
    let noticed = rig.now.since(dead).as_secs();
    assert!((24..=26).contains(&noticed), "{noticed} s");
    rig.until_settled(1, Duration::from_secs(60));
    assert_eq!(rig.settled, [(request, 0)]);
}
