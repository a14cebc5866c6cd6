//! Links that come and go: neither side keeps anything of those that are gone.

use std::{fs, time::Duration};

use futures_util::future::join_all;
use tidewire::protocol::{ClientMessage, SUBPROTOCOL_MSGPACK, Subscription, Target};
use tidewire_native::Client as Native;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::rig::{
    Client, Program,
    proxy::{Lets, Proxy},
};

const FLAPS: usize = 200;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Files that a process has open.
fn open_files(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Connects and goes away: in the middle of the upgrade, before `hello`, with a goodbye, or just so.
async fn flap(address: &str, n: usize) {
    let subscribe = |id, target| Subscription { id, target, position: None };
    match n % 5 {
        0 => {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /v1/sync HTTP/1.1\r\nhost: ").await.unwrap();
        }
        1 => drop(Client::dial(address, Some(SUBPROTOCOL_MSGPACK), None).await.unwrap()),
        way => {
            let mut client = Client::connect(address, &format!("flap{}", n % 7)).await;
            let targets = vec![
                subscribe(1, Target::Object("k")),
                subscribe(2, Target::Watch { group: "*", key: "*" }),
                subscribe(3, Target::Mailbox),
            ];
            client.send(&[ClientMessage::Subscribe(targets)]).await;
            if way > 2 {
                client.frame().await.unwrap();
            }
            if way > 3 {
                client.socket.close(None).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn two_hundred_flaps_leave_a_server_with_the_files_and_the_memory_that_it_had() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut steady = Client::connect(&server.address, "steady").await;
    steady.object(1, "k", None).await;
    let settled = async |files: usize| {
        let few = async {
            while open_files(server.id()) > files {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let left = timeout(PATIENCE, few).await;
        assert!(left.is_ok(), "{} files are open, {files} were", open_files(server.id()));
    };
    let files = open_files(server.id());
    // What a server allocates once, it has allocated after the first of them.
    for n in 0..FLAPS / 2 {
        flap(&server.address, n).await;
    }
    settled(files).await;
    let memory = crate::bombs::resident(server.id());
    for n in 0..FLAPS {
        flap(&server.address, n).await;
    }
    settled(files).await;
    let grown = crate::bombs::resident(server.id()).saturating_sub(memory);
    assert!(grown < 2 * 1024 * 1024, "{FLAPS} flaps cost {grown} bytes");
    steady.put(1, "k", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_lose_their_link_two_hundred_times_have_one_at_a_time_and_all_their_values() {
    const CLIENTS: usize = 20;
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    join_all((0..CLIENTS).map(async |n| {
        let proxy = Proxy::start(&server.address, Lets::ALL).await;
        let client = Native::connect(&format!("ws://{}/v1/sync", proxy.address), None).unwrap();
        let object = client.object::<usize>(&format!("k{n}")).await.unwrap();
        for flap in 1..=FLAPS / CLIENTS {
            timeout(PATIENCE, object.put(&flap)).await.expect("it is written in time").unwrap();
            proxy.cut();
            // A loss that is soon over may pass unseen between two looks at the client; the next line does not.
            let next_line = async {
                while proxy.lines() == flap {
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(PATIENCE, next_line).await.expect("it dials again in time");
        }
        timeout(PATIENCE, object.put(&0)).await.expect("it is written in time").unwrap();
        assert_eq!(object.get().as_deref(), Some(&0));
        assert_eq!(object.meta().sequence, Some((FLAPS / CLIENTS + 1) as u64));
        assert_eq!(proxy.most(), 1, "links at a time");
        assert_eq!(proxy.lines(), FLAPS / CLIENTS + 1);
    }))
    .await;
}
