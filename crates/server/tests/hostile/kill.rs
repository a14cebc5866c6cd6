//! The server is killed under load, again and again, and once put back to a backup: what it acknowledged stays, what it
//! said stays true, and clients come back by themselves.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use tidewire::protocol::Position;
use tidewire_native::{Client as Native, Collection, Error, Object, Open};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::rig::{Client, Program, run, tap::Tap};

const CYCLES: usize = 20;
const WRITERS: usize = 4;

/// New records of a round; with them comes one that is written over.
const FRESH: u64 = 24;

/// Longer than anything here takes on a busy machine, and than a write waits for its answer.
const PATIENCE: Duration = Duration::from_secs(40);

const TABLE: Option<Open<'_>> = Some(Open { permanent: true, primary: "id" });

/// A record, and an object's value.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Entry {
    id: String,
    number: u64,
    /// So that a page of the database holds few of them.
    filler: String,
}

impl Entry {
    fn new(id: String, number: u64) -> Self {
        Self { id, number, filler: "~".repeat(usize::try_from(number % 7).unwrap() * 60) }
    }
}

/// A client that follows everything, and writes until it is told to stop.
struct Writer {
    name: usize,
    client: Native,
    table: Collection<Entry>,
    objects: Vec<Object<Entry>>,
}

impl Writer {
    async fn start(address: &str, name: usize) -> Self {
        let client = Native::connect(&format!("ws://{address}/v1/sync"), None).unwrap();
        let mut table = client.datastore("log", TABLE).await.unwrap();
        within("the first snapshot", table.ready()).await.unwrap();
        let mut objects = Vec::new();
        for owner in 0..WRITERS {
            objects.push(client.object(&format!("counter:{owner}")).await.unwrap());
        }
        Self { name, client, table, objects }
    }

    /// One round: records that nobody ever writes again, one that is written over and over, and an object.
    async fn write(&self, round: u64) -> Result<(), Error> {
        let fresh = |n| Entry::new(format!("{}:{round}:{n}", self.name), round);
        let records: Vec<_> =
            (0..FRESH).map(fresh).chain([Entry::new(format!("{}:hot", self.name), round)]).collect();
        let records = try_join_all(records.iter().map(|record| self.table.set(record)));
        let count = Entry::new(format!("{}", self.name), round);
        let key = format!("counter:{}", self.name);
        let counted = self.client.put(&key, &count);
        tokio::try_join!(records, counted).map(drop)
    }

    /// What this client shows: every record and every object, with where they stand.
    fn shown(&self) -> (Option<u64>, Vec<Entry>, Vec<Option<Arc<Entry>>>) {
        let rows = self.table.rows().values().map(|row| (**row).clone()).collect();
        (self.table.meta().sequence, rows, self.objects.iter().map(Object::get).collect())
    }

    fn rollbacks(&self) -> Vec<u32> {
        let objects = self.objects.iter().map(|object| object.meta().rollbacks);
        [self.table.meta().rollbacks].into_iter().chain(objects).collect()
    }
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

async fn until(what: &str, is_true: impl Fn() -> bool) {
    within(what, async {
        while !is_true() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Writes until `stop` says so; returns the writer and how many rounds it has done.
fn write_on(writer: Writer, mut round: u64, stop: watch::Receiver<bool>) -> JoinHandle<(Writer, u64)> {
    tokio::spawn(async move {
        while !*stop.borrow() {
            within("a round of writes", writer.write(round)).await.unwrap();
            round += 1;
        }
        (writer, round)
    })
}

fn succeeds(arguments: &[&str]) -> String {
    let (is_success, said, complaint) = run(arguments);
    assert!(is_success, "{arguments:?}: {complaint}");
    said
}

/// Entries where they were acknowledged, oldest first.
type Acknowledged = Vec<(Position, Entry)>;

/// What was acknowledged of the table and of each object.
fn acknowledged(tap: &Tap) -> (Acknowledged, Vec<Acknowledged>) {
    let ledger = tap.ledger.lock().unwrap();
    let of = |target: &str| {
        let entry = |value: Option<Vec<u8>>| rmp_serde::from_slice(&value.unwrap()).unwrap();
        ledger.of(target).into_iter().map(|(position, (_, value))| (position, entry(value))).collect()
    };
    (of("datastore log"), (0..WRITERS).map(|owner| of(&format!("object counter:{owner}"))).collect())
}

/// A client that knows nothing yet, and comes while others write, finds all that was acknowledged before.
async fn finds_what_was_acknowledged(tap: &Tap) {
    let (records, counters) = acknowledged(tap);
    let auditor = Writer::start(&tap.address, WRITERS).await;
    for (position, entry) in records {
        let found = auditor.table.get(&entry.id);
        let is_there = found.as_ref().is_some_and(|found| match entry.id.ends_with(":hot") {
            true => found.number >= entry.number,
            false => **found == entry,
        });
        assert!(is_there, "{} was acknowledged at {position:?}, and there is {found:?}", entry.id);
    }
    for (mut object, counters) in auditor.objects.into_iter().zip(counters) {
        let Some((position, newest)) = counters.last() else { continue };
        let is_there = |found: Option<&Entry>| found.is_some_and(|found| found.number >= newest.number);
        within("the object", object.wait_for(is_there)).await.unwrap();
        assert!(object.meta().sequence >= Some(position.sequence.get()));
    }
}

/// With nobody writing: every record stands exactly where its last acknowledgement said.
async fn stands_where_it_was_acknowledged(address: &str, tap: &Tap) {
    let (records, counters) = acknowledged(tap);
    let last: HashMap<_, _> =
        records.into_iter().map(|(position, entry)| (entry.id, position.sequence.get())).collect();
    let mut client = Client::connect(address, "auditor").await;
    let (_, rows) = client.rows("log", "id").await;
    assert_eq!(rows.into_iter().collect::<HashMap<_, _>>(), last);
    for (id, counters) in (2..).zip(counters) {
        let (position, newest) = counters.last().unwrap();
        let found = client.object(id, &format!("counter:{}", newest.id), None).await;
        assert!(found.starts_with(&format!("{} ", position.sequence)), "{position:?}, but {found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_load_and_a_restored_backup_lose_nothing_that_was_acknowledged_unsaid() {
    let directory = tempfile::tempdir().unwrap();
    let (data, backup) = (directory.path().join("data"), directory.path().join("backup.db"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let tap = Tap::start().await;
    let mut server = Program::start(&data, &[]);
    tap.point_to(&server.address);
    let (stop, stopped) = watch::channel(false);
    let mut writers = Vec::new();
    for name in 0..WRITERS {
        writers.push(write_on(Writer::start(&tap.address, name).await, 1, stopped.clone()));
    }

    for cycle in 1..=CYCLES {
        // The load is there before the blow, and the blow comes at no moment of its choosing.
        let before = tap.ledger.lock().unwrap().acknowledged.len();
        until("writes are acknowledged", || tap.ledger.lock().unwrap().acknowledged.len() > before + 100)
            .await;
        sleep(Duration::from_micros(random.u64(0..60_000))).await;
        if cycle == CYCLES / 2 {
            succeeds(&["backup", &text(&backup), "--data", &text(&data)]);
        }
        server.kill();
        // A server that finds the log as it was left, and one after somebody has looked at it.
        if cycle % 2 == 0 {
            assert!(succeeds(&["check", "--data", &text(&data)]).contains("sound"));
        }
        server = Program::start(&data, &[]);
        tap.point_to(&server.address);
        finds_what_was_acknowledged(&tap).await;
        tap.ledger.lock().unwrap().check();
    }

    stop.send(true).unwrap();
    let (mut clients, mut rounds) = (Vec::new(), Vec::new());
    for writer in writers {
        let (client, next) = within("the last round", writer).await.unwrap();
        clients.push(client);
        rounds.push(next - 1);
    }
    until("all clients show the same", || clients.iter().all(|client| client.shown() == clients[0].shown()))
        .await;
    let (head, rows, objects) = clients[0].shown();
    // Had a repeated request run twice, the head would be further.
    let written: u64 = rounds.iter().sum();
    assert_eq!(head, Some(written * (FRESH + 1)));
    assert_eq!(rows.len(), usize::try_from(written * FRESH).unwrap() + WRITERS);
    for (owner, round) in rounds.iter().enumerate() {
        assert_eq!(objects[owner].as_deref(), Some(&Entry::new(owner.to_string(), *round)));
        assert_eq!(clients[0].objects[owner].meta().sequence, Some(*round));
    }
    assert!(clients.iter().flat_map(Writer::rollbacks).all(|rollbacks| rollbacks == 0));
    let (count, repeats) = {
        let ledger = tap.ledger.lock().unwrap();
        ledger.check();
        (ledger.acknowledged.len(), ledger.repeats)
    };
    assert_eq!(u64::try_from(count).unwrap(), written * (FRESH + 2));
    stands_where_it_was_acknowledged(&server.address, &tap).await;
    assert!(repeats > 0, "no kill ever hit a request that was under way");

    // Everybody is ahead of the backup, also who came back just now from the pause that followed it.
    for (client, round) in clients.iter().zip(&rounds) {
        within("a write after the backup", client.write(round + 1)).await.unwrap();
    }
    until("all clients show the same", || clients.iter().all(|client| client.shown() == clients[0].shown()))
        .await;
    let (head, rows, _) = clients[0].shown();
    server.kill();
    succeeds(&["restore", &text(&backup), "--data", &text(&data), "--replace"]);
    assert!(succeeds(&["check", "--data", &text(&data)]).contains("sound"));
    let server = Program::start(&data, &[]);
    tap.point_to(&server.address);
    let rollbacks = || clients.iter().map(Writer::rollbacks).collect::<Vec<_>>();
    let every = timeout(PATIENCE, async {
        while rollbacks().iter().flatten().any(|rollbacks| *rollbacks != 1) {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(every.await.is_ok(), "every copy says once that it was rolled back, but: {:?}", rollbacks());
    for client in &clients {
        within("a write after the restore", client.write(1_000_000)).await.unwrap();
    }
    until("all clients show the same", || clients.iter().all(|client| client.shown() == clients[0].shown()))
        .await;
    let (restored_head, restored, _) = clients[0].shown();
    assert!(restored.len() < rows.len() && restored_head < head);
    let mut fresh = Client::connect(&server.address, "fresh").await;
    let (told_head, told) = fresh.rows("log", "id").await;
    assert_eq!((Some(told_head), told.len()), (restored_head, restored.len()));
    assert!(clients.iter().flat_map(Writer::rollbacks).all(|rollbacks| rollbacks == 1));
    tap.ledger.lock().unwrap().check();
    println!("{CYCLES} kills, {count} acknowledged, {repeats} repeated");
}
