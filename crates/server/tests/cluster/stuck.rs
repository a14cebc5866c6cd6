//! Nodes that wait for what does not come: of another node that has died meanwhile, of a copy of the log that is stuck.

use std::time::Duration;

use tokio::{sync::mpsc, time::timeout};

use crate::{
    eventually,
    line::{Fate, Line},
    nats::{Nats, signal},
    node, object,
    rig::{Client, Program},
};

/// How long a node may wait for another one's answer, look for another, and have what it gives.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_giver_dies_before_it_answers_takes_the_database_of_another() {
    let data = tempfile::tempdir().unwrap();
    let alone = Program::start(data.path(), &[]);
    Client::connect(&alone.address, "c").await.put(1, "k", "1").await;
    alone.kill();
    let nats = Nats::start();
    let line = Line::start(&nats.url()).await;
    // The log begins with what it brought, so that others need a copy of it.
    let giver = Program::start(data.path(), &["--nats", &line.url, "--node", "giver"]);
    let (asked, mut is_asked) = mpsc::unbounded_channel();
    let process = giver.id();
    line.judge(move |delivery| {
        if delivery.subject.starts_with("tidewire.tidewire.copy.") {
            signal(process, "-KILL");
            asked.send(()).unwrap();
            return Fate::IsLost;
        }
        Fate::Arrives
    });
    let (joining, url) = (tempfile::tempdir().unwrap(), nats.url());
    let arguments = ["--nats", &url, "--node", "joining"];
    let dying = async {
        timeout(PATIENCE, is_asked.recv()).await.expect("it is asked for a copy").unwrap();
        giver.kill();
        node(&nats, data.path(), "giver")
    };
    let (joined, giver) = tokio::join!(Program::start_within(PATIENCE, joining.path(), &arguments), dying);
    let joined = joined.expect("it does not wait for the dead");
    assert_eq!(object(&joined.address, "k").unwrap().2, "1");
    assert_eq!(object(&joined.address, "k"), object(&giver.address, "k"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_copy_of_the_log_is_stuck_reads_another() {
    let nats = Nats::start();
    let line = Line::start(&nats.url()).await;
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = node(&nats, one.path(), "one");
    let second = Program::start(other.path(), &["--nats", &line.url, "--node", "other"]);
    let mut client = Client::connect(&first.address, "c").await;
    client.put(1, "k", "1").await;
    eventually("the other has it", || object(&second.address, "k").is_some()).await;
    // What follows the log at present says that it is well, and brings nothing any more.
    let mut stuck = None;
    line.judge(move |delivery| {
        let (connection, subscription) = delivery.to;
        let to = (connection, subscription.to_owned());
        let is_stuck =
            delivery.subject == "tidewire.tidewire.log" && *stuck.get_or_insert_with(|| to.clone()) == to;
        if is_stuck { Fate::IsLost } else { Fate::Arrives }
    });
    client.put(2, "k", "2").await;
    eventually("it looks for what must be there", || {
        object(&second.address, "k").is_some_and(|(_, sequence, _)| sequence == 2)
    })
    .await;
}
