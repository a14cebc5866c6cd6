//! Whatever a node is asked, all of them answer alike.

use std::collections::BTreeSet;

use tidewire::protocol::{
    ClientMessage, EncodedValue, KvChange, OpenPool, Operation, ServerMessage, Subscription, Target,
    from_json, to_json,
};

use crate::{
    eventually,
    nats::Nats,
    node, object,
    rig::{Client, ask, get, messages},
};

async fn subscribe(client: &mut Client, id: u32, target: Target<'_>) {
    client.send(&[ClientMessage::Subscribe(vec![Subscription { id, target, position: None }])]).await;
}

/// Reads on until a message is what is looked for.
async fn until<T>(client: &mut Client, mut find: impl FnMut(&ServerMessage<'_>) -> Option<T>) -> T {
    loop {
        let frame = client.frame().await.unwrap();
        if let Some(found) = messages(&frame).iter().find_map(&mut find) {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_one_node_reaches_the_followers_on_another_at_the_same_position() {
    let nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (node(&nats, one.path(), "one"), node(&nats, other.path(), "other"));
    let mut writer = Client::connect(&one.address, "writer").await;
    let mut reader = Client::connect(&other.address, "reader").await;

    let first = writer.put(1, "user:1", r#"{"name":"Ada"}"#).await;
    assert_eq!(first.sequence.get(), 1);
    assert_eq!(reader.object(1, "user:1", None).await, r#"1 {"name":"Ada"}"#);
    let second = writer.put(2, "user:1", r#"{"name":"Grace"}"#).await;
    let seen = until(&mut reader, |message| match message {
        ServerMessage::Envelope { sequence, value: Some(value), .. } => {
            Some((*sequence, to_json(*value).unwrap()))
        }
        _ => None,
    });
    assert_eq!(seen.await, (second.sequence, r#"{"name":"Grace"}"#.to_owned()));
    assert_eq!(first.epoch, second.epoch);
    assert_eq!(object(&one.address, "user:1"), object(&other.address, "user:1"));

    // A datastore that the one opens is there for the other.
    assert_eq!(writer.rows("todos", "id").await, (0, vec![]));
    let position = writer.set(3, "todos", r#"{"id":"a","title":"one"}"#).await;
    let (at, rows) = Client::connect(&other.address, "third").await.rows("todos", "id").await;
    assert_eq!((at, rows), (position.sequence.get(), vec![("a".to_owned(), 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_to_one_key_on_two_nodes_get_one_sequence_each() {
    const WRITES: u64 = 200;
    let nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (node(&nats, one.path(), "one"), node(&nats, other.path(), "other"));
    let write = async |address: String, name: &'static str| {
        let mut client = Client::connect(&address, name).await;
        let mut sequences = Vec::new();
        for request in 1..=WRITES {
            sequences.push(client.put(request, "counter", &request.to_string()).await.sequence.get());
        }
        sequences
    };
    let (left, right) =
        tokio::join!(write(one.address.clone(), "left"), write(other.address.clone(), "right"));
    assert!(left.is_sorted() && right.is_sorted());
    let all: BTreeSet<_> = left.iter().chain(&right).copied().collect();
    assert_eq!(all, (1..=2 * WRITES).collect(), "each sequence once, none left out");
    eventually("both have the last one", || {
        object(&one.address, "counter") == object(&other.address, "counter")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_at_another_node_and_its_write_runs_once() {
    let nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (node(&nats, one.path(), "one"), node(&nats, other.path(), "other"));
    let mut client = Client::connect(&one.address, "traveller").await;
    let position = client.put(1, "k", "1").await;
    drop(client);
    let mut client = Client::connect(&other.address, "traveller").await;
    assert_eq!(client.object(1, "k", Some(position)).await, "Current");
    assert_eq!(client.put(1, "k", "1").await, position, "repeated, not run again");
    assert_eq!(client.put(2, "k", "2").await.sequence.get(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_know_all_nodes_go_on_when_one_dies() {
    let nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (node(&nats, one.path(), "one"), node(&nats, other.path(), "other"));
    let urls = [&one.address, &other.address].map(|address| format!("ws://{address}/v1/sync"));
    // That all of them begin with the same node happens once in 65,000 runs.
    let connect = || tidewire_native::Client::connect_any(urls.iter().map(String::as_str), None).unwrap();
    let clients: Vec<_> = (0..16).map(|_| connect()).collect();
    for client in &clients {
        client.put("k", &1).await.unwrap();
    }
    one.kill();
    for (number, client) in clients.iter().enumerate() {
        client.put("k", &(number + 2)).await.unwrap();
    }
    assert_eq!(object(&other.address, "k").unwrap().1, 32, "each write ran once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_at_another_node_ends_the_connection_before_it() {
    let nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (node(&nats, one.path(), "one"), node(&nats, other.path(), "other"));
    let mut before = Client::connect(&one.address, "same").await;
    before.put(1, "k", "1").await;
    let mut after = Client::connect(&other.address, "same").await;
    assert_eq!(before.close().await.0, 4001);
    after.put(2, "k", "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_crosses_nodes() {
    let nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (node(&nats, one.path(), "one"), node(&nats, other.path(), "other"));
    let mut here = Client::connect(&one.address, "here").await;
    let mut there = Client::connect(&other.address, "there").await;
    subscribe(&mut there, 1, Target::Mailbox).await;
    subscribe(&mut there, 2, Target::Watch { group: "g", key: "*" }).await;
    subscribe(&mut there, 3, Target::Relay("cursor:1")).await;
    let mut following = 0;
    while following < 3 {
        let frame = there.frame().await.unwrap();
        let told = messages(&frame);
        following += told.iter().filter(|message| matches!(message, ServerMessage::Following { .. })).count();
    }
    let bytes = from_json("7").unwrap();
    let value = EncodedValue::check(&bytes).unwrap();
    let relayed = tidewire::protocol::Relayed {
        key: "cursor:1",
        sequence: tidewire::protocol::Sequence::new(1).unwrap(),
        prev: None,
        version: None,
        epoch: None,
        value: Some(value),
    };
    let operations = [
        Operation::Notify { to: "there", pack: value, suit: false, ttl: None },
        Operation::Kv(vec![KvChange::Set { group: "g", key: "k", value, ttl: None }]),
        Operation::Relay(relayed),
    ];
    for (operation, request) in operations.into_iter().zip(1..) {
        here.send(&[ClientMessage::Write { request, operation }]).await;
        here.reply(request).await.unwrap();
    }
    let mut heard = BTreeSet::new();
    while heard.len() < 3 {
        let frame = there.frame().await.unwrap();
        for message in messages(&frame) {
            match message {
                ServerMessage::Notification { from, .. } => heard.insert(format!("from {from}")),
                ServerMessage::Event { group, key, .. } => heard.insert(format!("{group}/{key}")),
                ServerMessage::Relayed(envelope) => heard.insert(envelope.key.to_owned()),
                _ => false,
            };
        }
    }
    let expected = ["cursor:1", "from here", "g/k"].map(str::to_owned);
    assert_eq!(heard, BTreeSet::from(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_presence_of_a_client_goes_with_its_connection_or_its_node() {
    let nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (node(&nats, one.path(), "one"), node(&nats, other.path(), "other"));
    let target = || Target::Pool { id: "doc", open: Some(OpenPool { presence: true }) };
    let mut watcher = Client::connect(&other.address, "watcher").await;
    subscribe(&mut watcher, 1, target()).await;
    let enter = async |name: &'static str| {
        let mut client = Client::connect(&one.address, name).await;
        subscribe(&mut client, 1, target()).await;
        let bytes = from_json(&format!("{{{name:?}:1}}")).unwrap();
        let fields = EncodedValue::check(&bytes).unwrap();
        client
            .send(&[ClientMessage::Write { request: 1, operation: Operation::Merge { pool: "doc", fields } }])
            .await;
        client.reply(1).await.unwrap();
        client
    };
    let (leaving, _staying) = (enter("leaving").await, enter("staying").await);
    let gone = |name: &'static str| {
        move |message: &ServerMessage<'_>| match message {
            ServerMessage::Envelope { key: Some(key), value: None, .. } if *key == name => Some(()),
            _ => None,
        }
    };
    drop(leaving);
    until(&mut watcher, gone("leaving")).await;
    one.kill();
    // The others notice by its silence.
    let ping = async {
        let mut pinger = Client::connect(&other.address, "pinger").await;
        for request in 1.. {
            pinger.put(request, "tick", "1").await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = until(&mut watcher, gone("staying")) => {}
        () = ping => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_write_over_http_is_decided_by_the_log() {
    let nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (node(&nats, one.path(), "one"), node(&nats, other.path(), "other"));
    let put = |address: &str, condition: &[(&str, &str)], body: &str| {
        let headers = [&[("content-type", "application/json")], condition].concat();
        ask(address, "PUT", "/v1/objects/k", &headers, body).0
    };
    let created = put(&one.address, &[("if-none-match", "*")], "1");
    assert!(created.starts_with("http/1.1 200"), "{created}");
    let again = put(&other.address, &[("if-none-match", "*")], "2");
    assert!(again.starts_with("http/1.1 412"), "{again}");
    assert!(get(&other.address, "/readyz").1.starts_with("ready"));
}
