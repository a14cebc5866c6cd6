//! What the server costs, beside the least that any program does for the same: `cargo xtask bench server`.
//!
//! Both sides of a row run in turns, round by round, and the medians are compared: a machine that is busy with other
//! things slows both. A row that misses its bar makes the program fail.

#![allow(clippy::unwrap_used, reason = "a benchmark whose failures are panics")]
// A global allocator, here one that counts, cannot be written without.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::HashMap,
    env, fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rusqlite::{Connection, params};
use tidewire::{
    protocol::{ClientMessage, EncodedValue, Open, Operation, Subscription, Target, Timestamp, Writer},
    server::{
        ConnectionId, Options, Server,
        storage::{Memory, Storage},
    },
};
use tidewire_server::sqlite::{DATABASE, Sqlite};

/// Inputs of one commit: what 64 writers who each wait for their answer bring about.
const BATCH: usize = 64;
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Counts the bytes that are allocated. Only the main thread allocates while a row measures, so that plain loads and
/// stores, which cost nothing, count right.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.store(LIVE.load(Relaxed).wrapping_add(layout.size()), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.store(LIVE.load(Relaxed).wrapping_sub(layout.size()), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.store(LIVE.load(Relaxed).wrapping_add(size).wrapping_sub(layout.size()), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What measures the row of this name.
type Measure = fn(&'static str) -> Row;

/// One line of the table.
struct Row {
    what: &'static str,
    ours: String,
    bare: String,
    ratio: f64,
    bar: Bar,
}

enum Bar {
    AtLeast(f64),
    AtMost(f64),
    /// Said for information.
    None,
}

impl Row {
    fn is_met(&self) -> bool {
        match self.bar {
            Bar::AtLeast(bar) => self.ratio >= bar,
            Bar::AtMost(bar) => self.ratio <= bar,
            Bar::None => true,
        }
    }
}

fn main() -> ExitCode {
    // The rows with this in their names; cargo adds flags of its own.
    let wanted = env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let all: [(&'static str, Measure); 5] = [
        ("sets in memory, 100 subscribers", |what| sets(what, BATCH, Bar::AtLeast(0.5))),
        ("the same, each committed alone", |what| sets(what, 1, Bar::None)),
        ("snapshot of 100,000 records", snapshot),
        ("durable sets of 64 writers", durable_sets),
        ("memory of a record beyond its own", memory),
    ];
    let rows: Vec<_> =
        all.iter().filter(|(what, _)| what.contains(&*wanted)).map(|(what, run)| run(what)).collect();
    println!("{:<34} {:>15} {:>15} {:>7} {:>9}", "", "tidewire", "bare", "ratio", "bar");
    for row in &rows {
        let (bar, verdict) = match row.bar {
            Bar::AtLeast(bar) => (format!(">= {bar}"), if row.is_met() { "met" } else { "MISSED" }),
            Bar::AtMost(bar) => (format!("<= {bar}"), if row.is_met() { "met" } else { "MISSED" }),
            Bar::None => (String::new(), ""),
        };
        println!(
            "{:<34} {:>15} {:>15} {:>7.2} {:>9} {verdict}",
            row.what, row.ours, row.bare, row.ratio, bar
        );
    }
    if rows.iter().all(Row::is_met) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Both sides in turns, so many times: the medians of their times, and of what ours is to the other in each round.
fn compare(
    rounds: usize,
    mut ours: impl FnMut() -> Duration,
    mut bare: impl FnMut() -> Duration,
) -> (Duration, Duration, f64) {
    let mut times: Vec<_> = (0..rounds).map(|_| (ours(), bare())).collect();
    let mut median = |of: fn(&(Duration, Duration)) -> f64| {
        times.sort_by(|one, other| of(one).total_cmp(&of(other)));
        of(&times[rounds / 2])
    };
    let seconds = Duration::from_secs_f64;
    (
        seconds(median(|(ours, _)| ours.as_secs_f64())),
        seconds(median(|(_, bare)| bare.as_secs_f64())),
        median(|(ours, bare)| ours.as_secs_f64() / bare.as_secs_f64()),
    )
}

fn per_second(count: usize, time: Duration) -> String {
    let count = f64::from(u32::try_from(count).expect("a benchmark ends before four billion sets"));
    format!("{:.0}/s", count / time.as_secs_f64())
}

/// A record as an application would have it: a name, some text, some numbers.
fn record(key: &str, n: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.map(5);
    for (name, text) in
        [("id", key), ("title", "a task of the usual length, for somebody"), ("state", "open")]
    {
        writer.str(name);
        writer.str(text);
    }
    for (name, number) in [("priority", n % 5), ("changed", 1_700_000_000_000 + n)] {
        writer.str(name);
        writer.u64(number);
    }
    writer.into_bytes()
}

/// So many changes of `keys` records, in an order without order.
fn changes(count: usize, keys: usize) -> Vec<(String, Vec<u8>)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let change = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let key = format!("record-{:06}", state % keys as u64);
        let bytes = record(&key, n as u64);
        (key, bytes)
    };
    (0..count).map(change).collect()
}

fn open<S: Storage>(storage: S) -> Server<S> {
    let mut server = Server::open(storage, Options::new([1; 32])).unwrap();
    server.open_datastore(NOW, "d", Open { permanent: true, primary: "id" }, None).unwrap();
    server.commit(NOW).unwrap();
    server
}

fn frame(message: &ClientMessage<'_>) -> Vec<u8> {
    let mut writer = Writer::new();
    message.encode(&mut writer);
    writer.into_bytes()
}

fn connect<S: Storage>(server: &mut Server<S>, number: u64) -> ConnectionId {
    let connection = ConnectionId(number);
    server.handle_connect(NOW, connection);
    let client = format!("client-{number}");
    server.handle_frame(NOW, connection, &frame(&ClientMessage::Hello { client: &client, token: None }));
    connection
}

/// Commits, and hands every frame to whom it is for.
fn deliver<S: Storage>(server: &mut Server<S>) -> usize {
    server.commit(NOW).unwrap();
    let mut told = 0;
    while let Some(transmit) = server.poll_transmit() {
        black_box(&transmit);
        told += 1;
    }
    told
}

fn sets(what: &'static str, batch: usize, bar: Bar) -> Row {
    const SETS: usize = 128_000;
    const KEYS: usize = 100_000;
    let changes = changes(SETS, KEYS);
    let ours = || {
        let mut server = open(Memory::new());
        for number in 0..100 {
            let connection = connect(&mut server, number);
            let target = Target::Datastore { id: "d", open: None };
            let subscription = Subscription { id: 1, target, position: None };
            server.handle_frame(NOW, connection, &frame(&ClientMessage::Subscribe(vec![subscription])));
        }
        deliver(&mut server);
        let start = Instant::now();
        let mut told = 0;
        for batch in changes.chunks(batch) {
            for (_, bytes) in batch {
                server.set(NOW, "d", EncodedValue::trusted(bytes)).unwrap();
            }
            told += deliver(&mut server);
        }
        assert_eq!(told, SETS / batch * 100);
        start.elapsed()
    };
    let bare = || {
        let mut table = HashMap::new();
        let mut count = 0_u64;
        let start = Instant::now();
        for (key, bytes) in &changes {
            count += 1;
            table.insert(key.clone(), (count, bytes.clone()));
        }
        black_box(&table);
        start.elapsed()
    };
    let (ours, bare, times) = compare(15, ours, bare);
    Row { what, ours: per_second(SETS, ours), bare: per_second(SETS, bare), ratio: 1.0 / times, bar }
}

fn snapshot(what: &'static str) -> Row {
    const RECORDS: usize = 100_000;
    let mut server = open(Memory::new());
    let mut table: HashMap<Arc<str>, (u64, Arc<[u8]>)> = HashMap::new();
    for (n, (key, bytes)) in (1..).zip(changes(3 * RECORDS, RECORDS)) {
        server.set(NOW, "d", EncodedValue::trusted(&bytes)).unwrap();
        table.insert(key.into(), (n, bytes.into()));
    }
    server.commit(NOW).unwrap();
    let ours = || {
        let start = Instant::now();
        let snapshot = server.snapshot(NOW, "d").unwrap().unwrap();
        let time = start.elapsed();
        assert_eq!(black_box(snapshot).records.len(), table.len());
        time
    };
    let bare = || {
        let start = Instant::now();
        let mut records: Vec<_> =
            table.iter().map(|(key, (n, value))| (*n, key.clone(), value.clone())).collect();
        records.sort_unstable_by_key(|(n, ..)| *n);
        let time = start.elapsed();
        black_box(records);
        time
    };
    let (ours, bare, ratio) = compare(61, ours, bare);
    let millis = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    Row { what, ours: millis(ours), bare: millis(bare), ratio, bar: Bar::AtMost(2.0) }
}

/// An empty directory on the disk that cargo builds on.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    directory
}

/// Every writer has one request under way: the server gets 64 frames, commits, and sends 64 acknowledgements.
fn durable_sets(what: &'static str) -> Row {
    // Enough for the log of replies to be folded twice.
    const SETS: usize = 1_100 * BATCH;
    let changes = changes(SETS, 10_000);
    let ours = || {
        let directory = directory("bench-ours");
        let mut server = open(Sqlite::open(&directory).unwrap());
        let writers: Vec<_> = (0..64).map(|number| connect(&mut server, number)).collect();
        deliver(&mut server);
        let frames: Vec<_> = changes
            .iter()
            .enumerate()
            .map(|(n, (_, bytes))| {
                let operation = Operation::Set { datastore: "d", value: EncodedValue::trusted(bytes) };
                frame(&ClientMessage::Write { request: (n / BATCH) as u64 + 1, operation })
            })
            .collect();
        let start = Instant::now();
        for batch in frames.chunks(BATCH) {
            for (writer, frame) in writers.iter().zip(batch) {
                server.handle_frame(NOW, *writer, frame);
            }
            assert_eq!(deliver(&mut server), BATCH);
        }
        let time = start.elapsed();
        drop(server);
        fs::remove_dir_all(&directory).unwrap();
        time
    };
    let bare = || {
        let directory = directory("bench-bare");
        // The same tables and indices.
        drop(open(Sqlite::open(&directory).unwrap()).into_storage().unwrap());
        let database = Connection::open(directory.join(DATABASE)).unwrap();
        database.pragma_update(None, "journal_mode", "WAL").unwrap();
        database.pragma_update(None, "synchronous", "FULL").unwrap();
        let mut set = database
            .prepare(
                "INSERT INTO records (datastore, key, sequence, value) VALUES (1, ?1, ?2, ?3)
                 ON CONFLICT (datastore, key) DO UPDATE SET sequence = excluded.sequence, value = excluded.value",
            )
            .unwrap();
        let mut set_head = database.prepare("UPDATE datastores SET head = ?1 WHERE number = 1").unwrap();
        let mut sequence = 0_i64;
        let start = Instant::now();
        for batch in changes.chunks(BATCH) {
            database.execute_batch("BEGIN IMMEDIATE").unwrap();
            for (key, bytes) in batch {
                sequence += 1;
                set.execute(params![key, sequence, bytes]).unwrap();
            }
            set_head.execute([sequence]).unwrap();
            database.execute_batch("COMMIT").unwrap();
        }
        let time = start.elapsed();
        drop((set, set_head));
        drop(database);
        fs::remove_dir_all(&directory).unwrap();
        time
    };
    let (ours, bare, times) = compare(9, ours, bare);
    Row {
        what,
        ours: per_second(SETS, ours),
        bare: per_second(SETS, bare),
        ratio: 1.0 / times,
        bar: Bar::AtLeast(0.8),
    }
}

/// What a stored record takes beyond its encoded bytes, at the worst of many sizes of the table.
fn memory(what: &'static str) -> Row {
    let mut server = open(Memory::new());
    let before = LIVE.load(Relaxed);
    let (mut encoded, mut worst) = (0, 0_f64);
    for n in 0..120_000_u32 {
        let bytes = record(&format!("record-{n:06}"), u64::from(n));
        encoded += bytes.len();
        server.set(NOW, "d", EncodedValue::trusted(&bytes)).unwrap();
        drop(bytes);
        if n % 64 == 63 {
            server.commit(NOW).unwrap();
            if n > 10_000 {
                let taken = LIVE.load(Relaxed) - before - encoded;
                worst = worst.max(f64::from(u32::try_from(taken).unwrap()) / f64::from(n + 1));
            }
        }
    }
    Row {
        what,
        ours: format!("{worst:.0} bytes"),
        bare: "150 bytes".to_owned(),
        ratio: worst / 150.0,
        bar: Bar::AtMost(1.0),
    }
}
