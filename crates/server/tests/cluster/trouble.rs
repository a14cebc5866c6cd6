//! Nodes and logs that come and go.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener},
    thread,
    time::Duration,
};

use tidewire::protocol::{ClientMessage, CloseCode, EncodedValue, Operation, ServerMessage};

use crate::{
    eventually, fill,
    nats::{Nats, signal},
    node, node_with_a_disk, object,
    rig::{Client, Program, get, messages},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_again_catches_up_and_a_new_one_has_everything() {
    let nats = Nats::start();
    let (one, other, third) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = node(&nats, one.path(), "one");
    let second = node(&nats, other.path(), "other");
    let mut client = Client::connect(&first.address, "c").await;
    client.put(1, "k", "1").await;
    eventually("the other has it", || object(&second.address, "k").is_some()).await;
    second.kill();
    client.put(2, "k", "2").await;
    let second = node(&nats, other.path(), "other");
    let new = node(&nats, third.path(), "third");
    for address in [&second.address, &new.address] {
        eventually("it has caught up", || object(address, "k") == object(&first.address, "k")).await;
    }
    assert_eq!(object(&new.address, "k").unwrap().1, 2);
}

/// A server of NATS that is paused may hold what it was sent, and store it long after its sender has died.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_former_self_of_a_node_has_sent_changes_nothing_however_late_it_comes() {
    let nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = node(&nats, one.path(), "one");
    let second = node(&nats, other.path(), "other");
    let mut client = Client::connect(&first.address, "c").await;
    client.put(1, "k", "1").await;
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = context.get_stream("TIDEWIRE_tidewire").await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    first.kill();
    let mut first = node(&nats, one.path(), "one");
    // All but the record that founded the log.
    for sequence in 2..=last {
        let record = stream.get_raw_message(sequence).await.unwrap();
        context.publish(record.subject, record.payload).await.unwrap().await.unwrap();
    }
    let mut client = Client::connect(&first.address, "c").await;
    client.put(2, "k", "2").await;
    eventually("the other has it", || {
        object(&second.address, "k").is_some_and(|(_, sequence, _)| sequence == 2)
    })
    .await;
    assert_eq!(first.ended(), None);
    assert_eq!(object(&first.address, "k"), object(&second.address, "k"));
}

/// Says that it is a nats-server of some version, to everybody who connects.
fn impostor(version: &str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let about = format!(
        r#"INFO {{"server_id":"x","server_name":"x","version":"{version}","proto":1,"go":"","host":"127.0.0.1","port":{},"headers":true,"max_payload":1048576,"jetstream":true,"client_id":1,"client_ip":"127.0.0.1","nonce":"","cluster":"","connect_urls":[],"ldm":false}}"#,
        address.port()
    );
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(format!("{about}\r\n").as_bytes());
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(line)) = lines.next() {
                if line == "PING" {
                    let _ = stream.write_all(b"PONG\r\n");
                }
            }
        }
    });
    format!("nats://{address}")
}

#[test]
fn a_nats_server_that_may_lose_what_it_acknowledged_is_refused() {
    for (version, why) in [
        ("2.10.20", "may lose what it has acknowledged"),
        ("2.10.21", "may lose what it has acknowledged"),
        ("2.10.22", "may lose what it has acknowledged"),
        ("2.8.4", "is too old"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let (url, data) = (impostor(version), data.path().to_str().unwrap());
        let (succeeded, said, complaint) =
            crate::rig::run(&["serve", "--listen", "127.0.0.1:0", "--data", data, "--nats", &url]);
        assert!(!succeeded && complaint.contains(why) && complaint.contains(version), "{complaint}");
        assert!(!said.contains("listening"), "{said}");
    }
}

#[test]
fn a_node_says_what_its_acknowledgements_mean_and_what_it_is_called() {
    let nats = Nats::start();
    let data = tempfile::tempdir().unwrap();
    let server = node(&nats, data.path(), "one");
    let (head, body) = get(&server.address, "/readyz");
    assert!(head.contains("x-tidewire-node: one"), "{head}");
    let promise =
        "acknowledged: in the log, which one server of NATS keeps, and committed to this node's disk";
    assert_eq!(body, format!("ready\n{promise}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_out_of_reach_stops_writes_and_not_reads() {
    let mut nats = Nats::start();
    let data = tempfile::tempdir().unwrap();
    let server = node(&nats, data.path(), "one");
    let mut client = Client::connect(&server.address, "c").await;
    client.put(1, "k", "1").await;
    nats.kill();
    eventually("it says so", || get(&server.address, "/readyz").1.starts_with("the log is out of reach"))
        .await;
    assert_eq!(object(&server.address, "k").unwrap().2, "1");
    let write = client.put(2, "k", "2");
    tokio::pin!(write);
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut write).await.is_err());
    nats.start_again();
    assert_eq!(write.await.sequence.get(), 2);
    eventually("it is well again", || get(&server.address, "/readyz").1.starts_with("ready")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_lost_goes_on_under_a_new_epoch_with_all_data() {
    let mut nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (node(&nats, one.path(), "one"), node(&nats, other.path(), "other"));
    let mut client = Client::connect(&first.address, "c").await;
    client.put(1, "k", "1").await;
    let before = object(&first.address, "k").unwrap();
    nats.forget();
    let has_gone_on = |address: &str| {
        object(address, "k")
            .is_some_and(|(epoch, sequence, value)| epoch != before.0 && sequence == 1 && value == "1")
    };
    for server in [&first, &second] {
        eventually("it goes on", || has_gone_on(&server.address)).await;
        eventually("it is ready", || get(&server.address, "/readyz").1.starts_with("ready")).await;
    }
    let mut client = Client::connect(&second.address, "c").await;
    assert_eq!(client.put(2, "k", "2").await.sequence.get(), 2);
    eventually("both have it", || object(&first.address, "k") == object(&second.address, "k")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_alone_brings_its_data_and_others_take_a_copy() {
    let data = tempfile::tempdir().unwrap();
    let alone = Program::start(data.path(), &[]);
    let mut client = Client::connect(&alone.address, "c").await;
    client.put(1, "k", "1").await;
    alone.kill();
    let nats = Nats::start();
    let other = tempfile::tempdir().unwrap();
    let (first, second) = (node(&nats, data.path(), "one"), node(&nats, other.path(), "other"));
    assert_eq!(object(&second.address, "k").unwrap().2, "1");
    let mut client = Client::connect(&second.address, "c").await;
    client.put(2, "k", "2").await;
    eventually("both have it", || object(&first.address, "k") == object(&second.address, "k")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_of_its_own_is_not_mixed_with_that_of_a_service() {
    let nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let alone = Program::start(other.path(), &[]);
    Client::connect(&alone.address, "c").await.put(1, "k", "1").await;
    alone.kill();
    let _first = node(&nats, one.path(), "one");
    let data = other.path().to_str().unwrap();
    let (succeeded, _, complaint) =
        crate::rig::run(&["serve", "--listen", "127.0.0.1:0", "--data", data, "--nats", &nats.url()]);
    assert!(!succeeded && complaint.contains("a history of its own"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_further_behind_than_the_log_reaches_copies_another() {
    let nats = Nats::start();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let short = async_nats::jetstream::stream::Config {
        name: "TIDEWIRE_tidewire".to_owned(),
        subjects: vec!["tidewire.tidewire.log".to_owned()],
        max_messages: 10,
        ..Default::default()
    };
    async_nats::jetstream::new(client).create_stream(short).await.unwrap();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (node(&nats, one.path(), "one"), node(&nats, other.path(), "other"));
    let mut client = Client::connect(&first.address, "c").await;
    let mut request = 0;
    let mut write_many = async || {
        for _ in 0..40 {
            request += 1;
            client.put(request, "k", &request.to_string()).await;
        }
    };
    write_many().await;
    eventually("the other has it", || object(&first.address, "k") == object(&second.address, "k")).await;
    // While it is away, and while it cannot run.
    second.kill();
    write_many().await;
    let second = node(&nats, other.path(), "other");
    eventually("it has copied", || object(&first.address, "k") == object(&second.address, "k")).await;
    signal(second.id(), "-STOP");
    write_many().await;
    signal(second.id(), "-CONT");
    eventually("it has copied again", || object(&first.address, "k") == object(&second.address, "k")).await;
    assert_eq!(object(&second.address, "k").unwrap().1, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_is_full_acknowledges_nothing_and_has_everything_once_there_is_room() {
    let nats = Nats::start();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = node_with_a_disk(&nats.url(), one.path(), "one", None);
    let second = node(&nats, other.path(), "other");
    let mut here = Client::connect(&first.address, "here").await;
    let mut there = Client::connect(&second.address, "there").await;
    let before = here.put(1, "k", "1").await;
    eventually("the other has it", || object(&second.address, "k").is_some()).await;

    fill(first.id(), true);
    let bytes = [0x02];
    let operation = || Operation::Put { key: "k", value: EncodedValue::check(&bytes).unwrap() };
    here.send(&[ClientMessage::Write { request: 2, operation: operation() }]).await;
    // It is in the log, so the other has it; who asked for it hears nothing, and the first shows what it has on its disk.
    eventually("the other has it", || object(&second.address, "k").unwrap().1 == 2).await;
    eventually("it says so", || get(&first.address, "/readyz").1.starts_with("the storage fails")).await;
    assert!(get(&first.address, "/readyz").0.starts_with("http/1.1 503"));
    assert_eq!(object(&first.address, "k").unwrap().1, 1);
    // What it cannot store holds nobody up.
    there.put(1, "k", "3").await;
    // Its clients are sent to where their writes are answered, with no answer before.
    let goodbye = async {
        loop {
            match here.frame().await {
                Ok(frame) => assert!(
                    !messages(&frame).iter().any(|told| matches!(told, ServerMessage::Ack { .. })),
                    "acknowledged by a node that could not store it"
                ),
                Err((code, _)) => return code,
            }
        }
    };
    let code = tokio::time::timeout(Duration::from_secs(15), goodbye).await.expect("it is sent away");
    assert_eq!(code, CloseCode::Restarting.number());
    let mut moved = Client::connect(&second.address, "here").await;
    moved.send(&[ClientMessage::Write { request: 2, operation: operation() }]).await;
    let repeated = moved.reply(2).await.unwrap().unwrap();
    assert_eq!((repeated.epoch, repeated.sequence.get()), (before.epoch, 2), "repeated, not run again");

    fill(first.id(), false);
    eventually("it is well again", || get(&first.address, "/readyz").1.starts_with("ready")).await;
    eventually("it has everything", || object(&first.address, "k") == object(&second.address, "k")).await;
    assert_eq!(object(&first.address, "k").unwrap().1, 3);
    let mut here = Client::connect(&first.address, "late").await;
    assert_eq!(here.put(1, "k", "4").await.sequence.get(), 4);

    // The same, and it dies before there is room.
    fill(first.id(), true);
    there.put(2, "k", "5").await;
    eventually("it fails", || get(&first.address, "/readyz").1.starts_with("the storage fails")).await;
    first.kill();
    let first = node(&nats, one.path(), "one");
    eventually("it has everything", || object(&first.address, "k") == object(&second.address, "k")).await;
    assert_eq!(object(&first.address, "k").unwrap().1, 5);
}
