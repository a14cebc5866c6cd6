//! What the kv store costs over SQLite, side by side with statements that are prepared once and run by hand on the same
//! connection.
//!
//! `cargo xtask bench kv`. The bar: a get reaches at least 0.8 times the rate of the statement.
//! The sides take turns in short rounds, so that a busy machine slows both; the best round of each counts.

#![allow(clippy::unwrap_used, reason = "a benchmark whose failures are panics")]
#![allow(missing_docs, reason = "a program")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use rusqlite::params;
use tidewire::{
    protocol::{EncodedValue, Timestamp, Writer},
    server::{Options, Server},
};
use tidewire_server::sqlite::Sqlite;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const KEYS: usize = 10_000;
const ROUNDS: usize = 40;
const BAR: f64 = 0.8;

/// The best time of each side for the same number of operations.
struct Race {
    name: &'static str,
    operations: usize,
    ours: Duration,
    bare: Duration,
}

impl Race {
    fn print(&self) {
        let rate = |time: Duration| self.operations as f64 / time.as_secs_f64() / 1_000.0;
        let (ours, bare) = (rate(self.ours), rate(self.bare));
        println!("{:<32} {ours:>9.0} {bare:>9.0} {:>6.2}", self.name, ours / bare);
    }

    fn ratio(&self) -> f64 {
        self.bare.as_secs_f64() / self.ours.as_secs_f64()
    }
}

fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

fn server(storage: Sqlite) -> Server<Sqlite> {
    Server::open(storage, Options::new([1; 32])).unwrap()
}

/// Lets both sides run in turns over one storage.
fn race(
    storage: &mut Option<Sqlite>,
    name: &'static str,
    operations: usize,
    mut ours: impl FnMut(&mut Server<Sqlite>),
    mut bare: impl FnMut(&Sqlite),
) -> Race {
    let mut race = Race { name, operations, ours: Duration::MAX, bare: Duration::MAX };
    for _ in 0..ROUNDS {
        let mut server = server(storage.take().unwrap());
        race.ours = race.ours.min(timed(|| ours(&mut server)));
        let database = server.into_storage().unwrap();
        race.bare = race.bare.min(timed(|| bare(&database)));
        *storage = Some(database);
    }
    race.print();
    race
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key:{n}")).collect();
    let mut writer = Writer::new();
    writer.str(&"x".repeat(100));
    let bytes = writer.into_bytes();
    let value = EncodedValue::check(&bytes).unwrap();
    let mut filled = server(Sqlite::open(directory.path()).unwrap());
    for key in &keys {
        filled.kv(NOW).set("group", key, value).unwrap();
    }
    filled.commit(NOW).unwrap();
    let mut storage = Some(filled.into_storage().unwrap());
    println!("{:<32} {:>9} {:>9} {:>6}", "thousands a second", "kv", "bare", "ratio");

    let get = race(
        &mut storage,
        "get, 100 bytes, of 10,000 keys",
        KEYS,
        |server| {
            let kv = server.kv(NOW);
            for key in &keys {
                black_box(kv.get("group", key).unwrap());
            }
        },
        |database| {
            let mut statement =
                database.connection().prepare("SELECT value FROM kv WHERE name = ?1 AND key = ?2").unwrap();
            for key in &keys {
                let value: Vec<u8> = statement.query_row(["group", key], |row| row.get(0)).unwrap();
                black_box(value);
            }
        },
    );
    race(
        &mut storage,
        "get_all of 10,000 keys",
        KEYS,
        |server| {
            black_box(server.kv(NOW).get_all("group").unwrap());
        },
        |database| {
            let query = "SELECT key, value FROM kv WHERE name = ?1";
            let mut statement = database.connection().prepare(query).unwrap();
            let rows = statement.query_map(["group"], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            black_box(rows.collect::<Result<std::collections::BTreeMap<String, Vec<u8>>, _>>().unwrap());
        },
    );
    race(
        &mut storage,
        "set, 10,000 in a transaction",
        KEYS,
        |server| {
            for key in &keys {
                server.kv(NOW).set("group", key, value).unwrap();
            }
            server.commit(NOW).unwrap();
        },
        |database| {
            let database = database.connection();
            let set = "INSERT INTO kv (name, key, value, expires) VALUES (?1, ?2, ?3, NULL)
                       ON CONFLICT (name, key) DO UPDATE SET value = excluded.value, expires = NULL";
            database.execute_batch("BEGIN IMMEDIATE").unwrap();
            let mut statement = database.prepare(set).unwrap();
            for key in &keys {
                statement.execute(params!["group", key, bytes]).unwrap();
            }
            database.execute_batch("COMMIT").unwrap();
        },
    );
    assert!(
        get.ratio() >= BAR,
        "a get reaches {:.2} times the bare statement, the bar is {BAR}",
        get.ratio()
    );
}
