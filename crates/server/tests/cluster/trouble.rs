//! Nodes and logs that come and go.

use std::time::Duration;

use crate::{
    eventually,
    nats::{Nats, signal},
    node, object,
    rig::{Client, Program, get},
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
