//! The kv store of the running program: many clients at once, over real sockets, on a real file.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod rig;

use rig::{Client, Program, messages};
use tidewire::protocol::{
    ClientMessage, EncodedValue, KvChange, Operation, Query, ServerMessage, Subscription, Target, Timestamp,
    Writer, to_json,
};
use tidewire::server::{Options, Server};
use tidewire_server::sqlite::Sqlite;

const CLIENTS: u64 = 10;
const ROUNDS: u64 = 30;

fn number(n: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u64(n);
    writer.into_bytes()
}

async fn set(client: &mut Client, request: u64, key: &str, n: u64, ttl: Option<u64>) {
    let bytes = number(n);
    let value = EncodedValue::check(&bytes).unwrap();
    let operation = Operation::Kv(vec![KvChange::Set { group: "g", key, value, ttl }]);
    client.send(&[ClientMessage::Write { request, operation }]).await;
    client.reply(request).await.unwrap();
}

async fn ask(client: &mut Client, about: Query<'_>) -> Option<String> {
    client.send(&[ClientMessage::Query { query: 1, about }]).await;
    loop {
        let frame = client.frame().await.unwrap();
        for message in messages(&frame) {
            if let ServerMessage::Result { query: 1, outcome } = message {
                return outcome.unwrap().map(|value| to_json(value).unwrap());
            }
        }
    }
}

async fn watch(client: &mut Client, id: u32) {
    let target = Target::Watch { group: "g", key: "*" };
    client.send(&[ClientMessage::Subscribe(vec![Subscription { id, target, position: None }])]).await;
    loop {
        let frame = client.frame().await.unwrap();
        if messages(&frame).contains(&ServerMessage::Following { subscription: id }) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_set_and_get_with_10_clients() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = server.address.clone();
            tokio::spawn(async move {
                let mut connection = Client::connect(&address, &format!("c{client}")).await;
                let key = format!("key{client}");
                for n in 1..=ROUNDS {
                    set(&mut connection, n, &key, n, None).await;
                    let about = Query::KvGet { group: "g", key: &key };
                    assert_eq!(ask(&mut connection, about).await, Some(n.to_string()));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    // What was acknowledged survives a kill.
    server.kill();
    let server = Program::start(data.path(), &[]);
    let mut client = Client::connect(&server.address, "after").await;
    assert_eq!(ask(&mut client, Query::KvCount { group: "g" }).await, Some(CLIENTS.to_string()));
    let last = ask(&mut client, Query::KvGetAll { group: "g" }).await.unwrap();
    assert_eq!(last.matches(":30").count(), 10, "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_ttl_access() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = server.address.clone();
            tokio::spawn(async move {
                let mut connection = Client::connect(&address, &format!("c{client}")).await;
                let key = format!("key{client}");
                for n in 1..=ROUNDS {
                    // Half of them live for ever, half are gone at once.
                    let ttl = (client % 2 == 0).then_some(0);
                    set(&mut connection, n, &key, n, ttl).await;
                    let found = ask(&mut connection, Query::KvGet { group: "g", key: &key }).await;
                    assert_eq!(found, ttl.is_none().then(|| n.to_string()));
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let mut client = Client::connect(&server.address, "after").await;
    assert_eq!(ask(&mut client, Query::KvCountAll { prefix: "" }).await, Some("5".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_watch_and_unwatch_while_sets_happen() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut steady = Client::connect(&server.address, "steady").await;
    watch(&mut steady, 1).await;
    let address = server.address.clone();
    let writer = tokio::spawn(async move {
        let mut writer = Client::connect(&address, "writer").await;
        for n in 1..=10 * ROUNDS {
            set(&mut writer, n, "k", n, None).await;
        }
    });
    let watchers: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = server.address.clone();
            tokio::spawn(async move {
                let mut connection = Client::connect(&address, &format!("c{client}")).await;
                for id in 1..=10 {
                    watch(&mut connection, id).await;
                    connection.send(&[ClientMessage::Unsubscribe(id)]).await;
                }
            })
        })
        .collect();
    for task in watchers.into_iter().chain([writer]) {
        task.await.unwrap();
    }
    // Who read all the time has every event, in the order of the writes.
    let mut next = 1;
    while next <= 10 * ROUNDS {
        let frame = steady.frame().await.unwrap();
        for message in messages(&frame) {
            if let ServerMessage::Event { value: Some(value), .. } = message {
                assert_eq!(value.as_bytes(), number(next));
                next += 1;
            }
        }
    }
}

#[test]
fn a_file_behaves_like_memory_and_is_in_wal_mode() {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let data = tempfile::tempdir().unwrap();
    let bytes = number(1);
    let value = EncodedValue::check(&bytes).unwrap();
    let open = || Server::open(Sqlite::open(data.path()).unwrap(), Options::new([1; 32])).unwrap();
    let mut server = open();
    server.kv(now).set("g", "kept", value).unwrap();
    server.commit(now).unwrap();
    server.kv(now).set("g", "never committed", value).unwrap();
    let storage = server.into_storage().unwrap();
    let mode: String = storage.connection().query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    drop(storage);
    let mut server = open();
    assert_eq!(server.kv(now).get_all("g").unwrap().into_keys().collect::<Vec<_>>(), ["kept".into()]);
}
