//! Three nodes over three servers of NATS under load, while they are killed, paused, started again, and their disks full.
//!
//! A schedule is what happens to whom and when, made of a seed. `cargo xtask test --cluster` runs ten of them;
//! `TIDEWIRE_SCHEDULES` and `TIDEWIRE_SCHEDULE_SECONDS` say how many and how long, `TIDEWIRE_SCHEDULE` runs one seed,
//! and `TIDEWIRE_SCHEDULE_LOGS` names a directory for what the nodes say. Where a schedule fails, it tells how each node stands:
//! whether its process lives, what its gauges say, what it lacks of what the others have, and what it said last.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tidewire_native::{Client, Collection, Error, Open};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{
    appends::{self, Transaction},
    balancer::Balancer,
    fill,
    nats::{Nats, signal},
    node_with_a_disk,
    rig::Program,
};

const NODES: usize = 3;
const CLIENTS: u64 = 8;
/// Writes of one client that are under way at a time.
const WINDOW: usize = 4;
const APPENDERS: u64 = 3;

/// Longer than it takes until a node that was left alone is well again on a busy machine.
const RECOVERY: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    id: String,
    number: u64,
}

/// What happens to somebody.
#[derive(Debug, Clone, Copy)]
enum Strike {
    /// It is killed, and started again after a while.
    Kill,
    /// It is stopped in its tracks, and goes on after a while.
    Pause,
    /// Its disk is full for a while.
    Fill,
}

#[derive(Debug, Clone, Copy)]
enum Victim {
    Node(usize),
    Nats(usize),
}

struct Service {
    nats: Vec<Nats>,
    data: Vec<TempDir>,
    nodes: Vec<Option<Program>>,
    balancer: Balancer,
    /// Where what the nodes say is, by name; the directory goes with the service, if it is its own.
    logs: PathBuf,
    _own: TempDir,
}

impl Service {
    async fn start() -> Self {
        let nats = spawn_blocking(|| Nats::cluster(NODES)).await.unwrap();
        let data: Vec<_> = (0..NODES).map(|_| tempfile::tempdir().unwrap()).collect();
        let balancer = Balancer::start(NODES).await;
        let own = tempfile::tempdir().unwrap();
        let logs = told("TIDEWIRE_SCHEDULE_LOGS").unwrap_or_else(|| own.path().to_owned());
        let nodes = (0..NODES).map(|_| None).collect();
        let mut service = Self { nats, data, nodes, balancer, logs, _own: own };
        for node in 0..NODES {
            service.start_node(node).await;
        }
        service
    }

    fn urls(&self) -> String {
        self.nats.iter().map(Nats::url).collect::<Vec<_>>().join(",")
    }

    fn log(&self, node: usize) -> PathBuf {
        self.logs.join(format!("node-{node}.log"))
    }

    async fn start_node(&mut self, node: usize) {
        let (data, urls) = (self.data[node].path().to_owned(), self.urls());
        let (name, log) = (format!("node-{node}"), self.log(node));
        let program = spawn_blocking(move || node_with_a_disk(&urls, &data, &name, Some(&log)));
        let program = timeout(RECOVERY, program).await.expect("a node becomes a member").unwrap();
        self.balancer.place(node, Some(program.address.clone()));
        self.nodes[node] = Some(program);
    }

    async fn strike(&mut self, strike: Strike, victim: Victim, pause: Duration) {
        match (strike, victim) {
            (Strike::Kill, Victim::Node(node)) => {
                self.balancer.place(node, None);
                self.nodes[node].take().unwrap().kill();
                sleep(pause).await;
                self.start_node(node).await;
            }
            (Strike::Pause, Victim::Node(node)) => {
                let id = self.nodes[node].as_ref().unwrap().id();
                signal(id, "-STOP");
                sleep(pause).await;
                signal(id, "-CONT");
            }
            (Strike::Fill, Victim::Node(node)) => {
                let id = self.nodes[node].as_ref().unwrap().id();
                fill(id, true);
                sleep(pause).await;
                fill(id, false);
            }
            (Strike::Kill, Victim::Nats(server)) => {
                self.nats[server].kill();
                sleep(pause).await;
                self.nats[server].start_again();
            }
            (Strike::Pause | Strike::Fill, Victim::Nats(server)) => {
                signal(self.nats[server].id(), "-STOP");
                sleep(pause).await;
                signal(self.nats[server].id(), "-CONT");
            }
        }
    }

    /// Ends the nodes, one after the other, and says what their databases have.
    fn end(mut self) -> Vec<String> {
        for node in &mut self.nodes {
            let mut program = node.take().unwrap();
            program.terminate();
            program.wait();
        }
        self.data.iter().map(|data| contents(data.path())).collect()
    }
}

/// What a database has that all nodes must have alike, as text.
fn contents(data: &Path) -> String {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(data.join("tidewire.db"), flags).unwrap();
    let queries = [
        "SELECT hex(epoch) || hex(lineage) FROM history",
        "SELECT key || ' ' || sequence || ' ' || hex(value) FROM objects ORDER BY key",
        "SELECT id || ' ' || hex(epoch) || ' ' || head FROM datastores ORDER BY id",
        "SELECT id || ' ' || key || ' ' || sequence || ' ' || hex(value) FROM records JOIN datastores
         ON number = datastore WHERE value IS NOT NULL ORDER BY id, key",
    ];
    let rows = queries.iter().flat_map(|query| {
        let mut statement = database.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// What a writer has done: which of its records were acknowledged, and which may have been.
struct Written {
    client: Client,
    /// All records of everybody, as it has followed them from the beginning.
    replica: Collection<Row>,
    done: Vec<String>,
    unknown: Vec<String>,
}

/// Sets records of its own until `end`.
async fn writer(url: String, number: u64, end: Instant) -> Written {
    let client = Client::connect(&url, None).unwrap();
    let replica =
        client.datastore::<Row>("load", Some(Open { permanent: true, primary: "id" })).await.unwrap();
    let (mut done, mut unknown) = (Vec::new(), Vec::new());
    let mut under_way: JoinSet<(String, Result<(), Error>)> = JoinSet::new();
    let mut count = 0;
    loop {
        let goes_on = Instant::now() < end;
        while goes_on && under_way.len() < WINDOW {
            count += 1;
            let (client, id) = (client.clone(), format!("{number}-{count}"));
            under_way.spawn(async move {
                let set = client.set("load", &Row { id: id.clone(), number: count }).await;
                (id, set)
            });
        }
        let Some(ended) = under_way.join_next().await else { break };
        match ended.unwrap() {
            (id, Ok(())) => done.push(id),
            (id, Err(Error::OutcomeUnknown)) => unknown.push(id),
            (id, Err(error)) => panic!("{id}: {error}"),
        }
    }
    Written { client, replica, done, unknown }
}

async fn play(seed: u64, length: Duration) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut service = Service::start().await;
    let end = Instant::now() + length;
    let url = format!("ws://{}/v1/sync", service.balancer.address);
    let writers: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(writer(url.clone(), number, end))).collect();
    let appenders: Vec<_> = (1..=APPENDERS)
        .map(|number| tokio::spawn(appends::appender(service.balancer.clone(), number, dice.u64(..), end)))
        .collect();
    // A replica that is there from the beginning to the end.
    let watcher = Client::connect(&url, None).unwrap();
    let open = Some(Open { permanent: true, primary: "id" });
    let replica = watcher.datastore::<Row>("load", open).await.unwrap();

    let mut story = Vec::new();
    while Instant::now() < end {
        let (strike, victim) = if dice.u8(..3) > 0 {
            let strike = [Strike::Kill, Strike::Pause, Strike::Fill][dice.usize(..3)];
            (strike, Victim::Node(dice.usize(..NODES)))
        } else {
            let strike = if dice.bool() { Strike::Kill } else { Strike::Pause };
            (strike, Victim::Nats(dice.usize(..NODES)))
        };
        // Sometimes for long enough to be expelled.
        let pause = Duration::from_millis(if dice.u8(..4) == 0 { 13_000 } else { dice.u64(200..2_500) });
        let pause = pause.min(length);
        story.push((strike, victim, pause));
        service.strike(strike, victim, pause).await;
        sleep(Duration::from_millis(dice.u64(100..1_500))).await;
    }

    let mut rows = BTreeMap::new();
    let (mut acknowledged, mut unclear) = (0, 0);
    let mut replicas = vec![(watcher, replica)];
    for writer in writers {
        let written = timeout(RECOVERY, writer).await.expect("writers end").unwrap();
        let Written { client, replica, done, unknown } = written;
        acknowledged += done.len();
        unclear += unknown.len();
        rows.extend(done.into_iter().map(|id| (id, true)).chain(unknown.into_iter().map(|id| (id, false))));
        replicas.push((client, replica));
    }
    let mut history: Vec<Transaction> = Vec::new();
    for appender in appenders {
        history.extend(timeout(RECOVERY, appender).await.expect("appenders end").unwrap());
    }
    assert!(acknowledged > 0, "nothing was written; {story:?}");

    // All nodes come to the same, and so does the replica.
    let Ok(last) = timeout(RECOVERY, settle(&service)).await else {
        let stand = stand(&mut service).await;
        panic!("the nodes do not come to the same; seed {seed}, {story:?}\n{stand}");
    };
    for (id, is_acknowledged) in &rows {
        let is_there = last.rows.contains_key(id);
        assert!(is_there || !is_acknowledged, "{id} was acknowledged and is lost; seed {seed}, {story:?}");
    }
    assert!(last.rows.keys().all(|id| rows.contains_key(id)), "a row that nobody wrote; seed {seed}");
    let mut sequences: Vec<_> = last.rows.values().collect();
    sequences.sort_unstable();
    sequences.dedup();
    assert_eq!(sequences.len(), last.rows.len(), "a sequence was given twice; seed {seed}, {story:?}");
    // All replicas are equal, those of the writers and of who only listened.
    let mut shown: Option<Vec<Row>> = None;
    for (client, mut replica) in replicas {
        let shows_all = async {
            while replica.rows().len() < last.rows.len() {
                replica.changed().await.unwrap();
            }
        };
        timeout(RECOVERY, shows_all).await.expect("every replica shows every row");
        let mut rows: Vec<Row> = replica.rows().values().map(|row| Row::clone(row)).collect();
        rows.sort_by(|one, other| one.id.cmp(&other.id));
        assert!(
            rows.iter().map(|row| &row.id).eq(last.rows.keys()),
            "a replica differs; seed {seed}, {story:?}"
        );
        assert!(shown.as_ref().is_none_or(|shown| *shown == rows), "replicas differ; seed {seed}, {story:?}");
        shown = Some(rows);
        client.close().await;
    }
    let faults = appends::check(&history, &last.lists);
    assert!(faults.is_empty(), "seed {seed}, {story:?}:\n{}", faults.join("\n"));
    let contents = spawn_blocking(move || service.end()).await.unwrap();
    if let Some(other) = contents.iter().find(|other| **other != contents[0]) {
        let directory = env::temp_dir();
        for (name, text) in [("one", &contents[0]), ("other", other)] {
            let _ = fs::write(directory.join(format!("tidewire-{seed}-{name}.txt")), text);
        }
        panic!("two databases differ; seed {seed}, {story:?}; see {}", directory.display());
    }
    eprintln!(
        "schedule {seed}: {} strikes, {acknowledged} writes acknowledged, {unclear} of unknown outcome, {} appends: {story:?}",
        story.len(),
        history.len()
    );
}

/// What all nodes have, once it is the same.
struct Last {
    /// The sequence of each row.
    rows: BTreeMap<String, u64>,
    lists: BTreeMap<u64, Vec<u64>>,
}

async fn settle(service: &Service) -> Last {
    loop {
        let mut seen = Vec::new();
        for address in service.balancer.up() {
            seen.push(timeout(RECOVERY / 6, look(&address)).await.ok().flatten());
        }
        if seen.len() == NODES
            && let Some(first) = &seen[0]
            && seen.iter().all(|other| other.as_ref() == Some(first))
        {
            let (rows, lists) = seen.swap_remove(0).expect("it was just looked at");
            return Last { rows, lists };
        }
        sleep(Duration::from_millis(300)).await;
    }
}

/// How the log and each node stand, for people.
async fn stand(service: &mut Service) -> String {
    let mut told = vec![
        timeout(Duration::from_secs(10), log(&service.urls()))
            .await
            .unwrap_or_else(|_| "the log: no answer".to_owned()),
    ];
    let mut seen = Vec::new();
    for node in 0..NODES {
        let Some(address) = service.nodes[node].as_ref().map(|program| program.address.clone()) else {
            continue;
        };
        seen.push((node, timeout(RECOVERY / 6, look(&address)).await.ok().flatten()));
    }
    let all: BTreeMap<_, _> = seen.iter().flat_map(|(_, seen)| seen).flat_map(|(rows, _)| rows).collect();
    let longest = |list| seen.iter().flat_map(|(_, seen)| seen).map(|(_, lists)| lists[list].len()).max();
    for (node, seen) in &seen {
        let log = service.log(*node);
        let program = service.nodes[*node].as_mut().expect("it was just looked at");
        let ended = program.ended();
        told.push(format!("node-{node} at {}, process {}, ended: {ended:?}", program.address, program.id()));
        for path in ["/readyz", "/metrics"] {
            let answer = crate::balancer::request(&program.address, "GET", path, None, "");
            let answer = timeout(Duration::from_secs(5), answer).await.ok().flatten();
            let body = answer.map_or_else(|| "no answer".to_owned(), |answer| answer.body);
            let lines = body.lines().filter(|line| path == "/readyz" || line.starts_with("tidewire_log_"));
            told.push(format!("  {path}: {}", lines.collect::<Vec<_>>().join("; ")));
        }
        match seen {
            Some((rows, lists)) => {
                let other = |(id, sequence): &(&&String, &&u64)| rows.get(**id) != Some(**sequence);
                let differs: Vec<_> = all.iter().filter(other).take(5).collect();
                told.push(format!("  {} of {} rows; not as elsewhere: {differs:?}", rows.len(), all.len()));
                let short = lists.iter().filter(|(list, items)| Some(items.len()) != longest(list));
                told.push(format!(
                    "  lists that are shorter than elsewhere: {:?}",
                    short.map(|(list, items)| (list, items.len())).collect::<Vec<_>>()
                ));
            }
            None => told.push("  what it has cannot be read".to_owned()),
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        let said: Vec<_> = said.lines().collect();
        told.extend(said[said.len().saturating_sub(12)..].iter().map(|line| format!("  | {line}")));
    }
    told.join("\n")
}

/// What the stream has, and how its copies stand.
async fn log(urls: &str) -> String {
    let servers: Vec<_> = urls.split(',').collect();
    let look = async {
        let client = async_nats::connect(servers.as_slice()).await.map_err(|error| error.to_string())?;
        let context = async_nats::jetstream::new(client);
        let stream = context.get_stream("TIDEWIRE_tidewire").await.map_err(|error| error.to_string())?;
        let about = stream.cached_info();
        Ok::<_, String>(format!(
            "the log: {} to {}, {:?}",
            about.state.first_sequence, about.state.last_sequence, about.cluster
        ))
    };
    look.await.unwrap_or_else(|error| format!("the log: {error}"))
}

type Seen = (BTreeMap<String, u64>, BTreeMap<u64, Vec<u64>>);

async fn look(address: &str) -> Option<Seen> {
    let answer = crate::balancer::request(address, "GET", "/v1/datastores/load", None, "").await?;
    let body: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
    let row = |row: &serde_json::Value| Some((row["key"].as_str()?.to_owned(), row["sequence"].as_u64()?));
    let rows = body["records"].as_array()?.iter().map(row).collect::<Option<_>>()?;
    let mut lists = BTreeMap::new();
    for list in 0..appends::LISTS {
        lists.insert(list, appends::read(address, list).await?.0);
    }
    Some((rows, lists))
}

fn told<T: std::str::FromStr>(name: &str) -> Option<T> {
    env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_whoever_is_killed_or_paused() {
    let seconds = told("TIDEWIRE_SCHEDULE_SECONDS").unwrap_or(4);
    let length = Duration::from_secs(seconds);
    let first: u64 = told("TIDEWIRE_SCHEDULE").unwrap_or(1);
    let count: u64 =
        if env::var("TIDEWIRE_SCHEDULE").is_ok() { 1 } else { told("TIDEWIRE_SCHEDULES").unwrap_or(1) };
    for seed in first..first + count {
        play(seed, length).await;
    }
}
