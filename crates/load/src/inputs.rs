//! What the model of docs/scaling.md starts from: what a connection costs, and what each of its subscriptions adds.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    Programs,
    contestant::{Contestant, Running},
    idle::{REST, connect},
    peer::Peer,
    table::Report,
};

/// Several beacons of every connection.
const LISTENING: Duration = Duration::from_secs(40);

/// What connections cost that follow so many keys.
struct Cost {
    bytes: f64,
    /// Microseconds of CPU to let one in.
    entry: f64,
    /// Microseconds of CPU for each second that one is there.
    presence: f64,
}

pub(crate) async fn measure(
    programs: &Programs,
    connections: usize,
    subscriptions: usize,
) -> anyhow::Result<Report> {
    let bare = cost(programs, connections, 0).await?;
    let full = cost(programs, connections, subscriptions).await?;
    let title = format!(
        "what a connection costs, and what each of {subscriptions} subscriptions adds; {connections} connections"
    );
    let mut report = Report::new(title, &["a connection", "a subscription"]);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let each = |full: f64, bare: f64| (full - bare) / subscriptions as f64;
    for (name, bare, full) in [
        ("bytes of memory", bare.bytes, full.bytes),
        ("µs of CPU to let it in", bare.entry, full.entry),
        ("µs of CPU for each second that it is there", bare.presence, full.presence),
    ] {
        report.row(name, &[bare, each(full, bare)]);
    }
    Ok(report)
}

async fn cost(programs: &Programs, connections: usize, subscriptions: usize) -> anyhow::Result<Cost> {
    eprintln!("{connections} clients with {subscriptions} subscriptions connect");
    let server = Running::start(Contestant::Tidewire, programs).await?;
    // What it needs for the first one is not what it needs for each.
    let first =
        Peer::open(Contestant::Tidewire, server.address, connections, &["warm.up".to_owned()]).await?;
    sleep(REST).await;
    let (bytes, cpu) = (server.memory_bytes()?, server.cpu_seconds()?);
    let peers = connect(Contestant::Tidewire, &server, connections, subscriptions).await?;
    sleep(REST).await;
    let (grown, entered) = (server.memory_bytes()?.saturating_sub(bytes), server.cpu_seconds()?);
    let start = Instant::now();
    let (end, ended) = watch::channel(false);
    let mut listening = JoinSet::new();
    for mut peer in peers {
        let mut ended = ended.clone();
        listening.spawn(async move {
            loop {
                tokio::select! {
                    // It answers the server's beacons.
                    heard = peer.receive() => drop(heard?),
                    _ = ended.wait_for(|is_over| *is_over) => return anyhow::Ok(peer),
                }
            }
        });
    }
    sleep(LISTENING).await;
    let (present, length) = (server.cpu_seconds()? - entered, start.elapsed().as_secs_f64());
    end.send_replace(true);
    while let Some(peer) = listening.join_next().await {
        drop(peer??);
    }
    drop(first);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let (grown, count) = (grown as f64, connections as f64);
    Ok(Cost {
        bytes: grown / count,
        entry: (entered - cpu) / count * 1e6,
        presence: present / count / length * 1e6,
    })
}
