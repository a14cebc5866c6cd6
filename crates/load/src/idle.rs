//! Memory of connections that follow some keys and hear nothing.

use std::time::Duration;

use tokio::{task::JoinSet, time::sleep};

use crate::{
    Programs,
    contestant::{Contestant, Running},
    peer::Peer,
    table::{Bound, Report},
};

/// A server may tidy up first.
pub(crate) const REST: Duration = Duration::from_secs(2);

/// How many connections are opened at a time.
const DIALS: usize = 50;

/// How many keys there are.
const KEYS: usize = 1_000;

pub(crate) async fn measure(
    programs: &Programs,
    connections: usize,
    subscriptions: usize,
) -> anyhow::Result<Report> {
    let title =
        format!("{connections} connections that follow {subscriptions} of {KEYS} keys each and hear nothing");
    let mut report = Report::new(title, &["KiB a connection"]);
    for contestant in Contestant::ALL {
        eprintln!("{}: {connections} clients connect", contestant.name());
        let server = Running::start(contestant, programs).await?;
        // What it needs for the first one is not what it needs for each.
        let first = Peer::open(contestant, server.address, connections, &["warm.up".to_owned()]).await?;
        sleep(REST).await;
        let before = server.memory_bytes()?;
        let peers = connect(contestant, &server, connections, subscriptions).await?;
        sleep(REST).await;
        let grown = server.memory_bytes()?.saturating_sub(before);
        drop((first, peers));
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let each = grown as f64 / 1_024.0 / connections as f64;
        report.row(contestant.name(), &[each]);
        if contestant == Contestant::Tidewire {
            report.bar("KiB a connection", each, Bound::AtMost(20.0));
        }
    }
    Ok(report)
}

/// Connects so many clients that follow so many keys each.
pub(crate) async fn connect(
    contestant: Contestant,
    server: &Running,
    connections: usize,
    subscriptions: usize,
) -> anyhow::Result<Vec<Peer>> {
    let (address, mut peers) = (server.address, Vec::with_capacity(connections));
    let names: Vec<usize> = (0..connections).collect();
    for some in names.chunks(DIALS) {
        let mut opening = JoinSet::new();
        for name in some.iter().copied() {
            let keys: Vec<String> =
                (0..subscriptions).map(|nth| format!("key.{}", (name + nth * 97) % KEYS)).collect();
            opening.spawn(async move { Peer::open(contestant, address, name, &keys).await });
        }
        while let Some(peer) = opening.join_next().await {
            peers.push(peer??);
        }
    }
    Ok(peers)
}
