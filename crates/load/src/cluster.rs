//! What it costs to be one of several: acknowledged writes of a node beside those of a server of its own, and what
//! delivering costs each of three nodes beside what it costs one.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    Programs,
    contestant::{Contestant, Running},
    peer::Peer,
    table::{Bound, Report, median},
};

const NODES: usize = 3;

/// Connections that write, and writes of each that are not acknowledged yet.
const WRITERS: usize = 32;
const WINDOW: u64 = 32;

/// Values of a round of deliveries: with 600 subscribers half a second of CPU or more, beside which what a node does anyway
/// is nothing.
const VALUES: u64 = 2_000;

/// How long a server may take until clients are let in, and a round until it has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server does after the last delivery is its cost too.
const REST: Duration = Duration::from_millis(200);

/// A server of NATS with JetStream.
struct Log {
    url: String,
    _child: Child,
    _scratch: TempDir,
}

impl Log {
    async fn start(programs: &Programs) -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let config = scratch.path().join("nats.conf");
        let store = scratch.path().join("store");
        fs::write(
            &config,
            format!("listen: 127.0.0.1:{port}\njetstream {{ store_dir: {store:?}, max_file: 8GB }}\n"),
        )?;
        let mut command = Command::new(&programs.nats);
        command.arg("--config").arg(config).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot start nats-server")?;
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            if Instant::now() > end {
                bail!("nats-server accepts no connection");
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { url: format!("nats://127.0.0.1:{port}"), _child: child, _scratch: scratch })
    }
}

pub(crate) async fn measure(
    programs: &Programs,
    seconds: u64,
    subscribers: usize,
    rounds: usize,
) -> anyhow::Result<Report> {
    let log = Log::start(programs).await?;
    let alone = Running::start(Contestant::Tidewire, programs).await?;
    let mut nodes = Vec::new();
    for number in 0..NODES {
        let name = format!("node-{number}");
        nodes.push(
            Running::start_with(Contestant::Tidewire, programs, &["--nats", &log.url, "--node", &name])
                .await?,
        );
        admitted(nodes[number].address).await?;
    }
    // A node of a service of its own, so that the others do none of its work.
    let (mut own, mut ratios, mut shared) = (Vec::new(), Vec::new(), Vec::new());
    let single = Log::start(programs).await?;
    let lone =
        Running::start_with(Contestant::Tidewire, programs, &["--nats", &single.url, "--node", "lone"])
            .await?;
    admitted(lone.address).await?;
    for round in 0..=rounds {
        eprintln!("writes, round {round} of {rounds}");
        let length = Duration::from_secs(seconds);
        let (mine, theirs) =
            (writes(alone.address, length, round).await?, writes(lone.address, length, round).await?);
        // The first one fills caches.
        if round > 0 {
            own.push(mine);
            shared.push(theirs);
            ratios.push(theirs / mine);
        }
    }
    drop((lone, single));

    let (mut one, mut three) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        eprintln!("deliveries, round {round} of {rounds}");
        let together = deliver(&nodes, &[subscribers, 0, 0], 2 * round).await?;
        let apart = deliver(&nodes, &[subscribers.div_ceil(3); NODES], 2 * round + 1).await?;
        if round > 0 {
            one.push(together);
            three.push(apart);
        }
    }
    let title = format!(
        "{WRITERS} connections that write 200-byte objects with {WINDOW} unacknowledged each for {seconds} s, and \
         {VALUES} values to {subscribers} subscribers; medians of {rounds} rounds"
    );
    let mut report = Report::new(title, &["figure"]);
    report.row("acknowledged writes/s, a server of its own", &[median(own)]);
    report.row("acknowledged writes/s, one node over one nats-server", &[median(shared)]);
    report.row("CPU ms of the busiest node, all subscribers on it", &[1e3 * median(one.clone())]);
    report.row("CPU ms of the busiest node, subscribers on three", &[1e3 * median(three.clone())]);
    report.bar("writes of a node, of those of a server of its own", median(ratios), Bound::AtLeast(0.5));
    let scale = one.iter().zip(&three).map(|(one, three)| one / three).collect();
    report.bar("deliveries of three nodes, of those of one", median(scale), Bound::AtLeast(2.0));
    Ok(report)
}

/// Waits until a node lets clients in.
async fn admitted(address: SocketAddr) -> anyhow::Result<()> {
    let open = async {
        while Peer::open(Contestant::Tidewire, address, 0, &[]).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, open).await.context("a node does not become a member")
}

/// Acknowledged writes a second.
async fn writes(address: SocketAddr, length: Duration, round: usize) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        writers.spawn(async move {
            // Another client in each round, or its requests would be repetitions.
            let name = (round + 1) * 10_000 + number;
            let mut peer = Peer::open(Contestant::Tidewire, address, name, &[]).await?;
            let key = format!("writes:{number}");
            let (mut sent, mut done) = (0, 0);
            while start.elapsed() < length {
                while sent < done + WINDOW {
                    sent += 1;
                    peer.publish(&key, sent).await?;
                }
                done += peer.acknowledgements().await?;
            }
            anyhow::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(writer) = writers.join_next().await {
        done += writer??;
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    Ok(done as f64 / start.elapsed().as_secs_f64())
}

/// CPU seconds of the busiest node while values reach so many subscribers on each.
async fn deliver(nodes: &[Running], subscribers: &[usize], round: usize) -> anyhow::Result<f64> {
    let key = "deliveries".to_owned();
    let mut receivers = JoinSet::new();
    let mut peers = Vec::new();
    let mut name = (round + 1) * 100_000;
    for (node, count) in nodes.iter().zip(subscribers) {
        for _ in 0..*count {
            name += 1;
            peers.push(
                Peer::open(Contestant::Tidewire, node.address, name, std::slice::from_ref(&key)).await?,
            );
        }
    }
    let mut writer = Peer::open(Contestant::Tidewire, nodes[0].address, name + 1, &[]).await?;
    let before: Vec<_> = nodes.iter().map(Running::cpu_seconds).collect::<Result<_, _>>()?;
    for mut peer in peers {
        receivers.spawn(async move {
            let mut count = 0;
            while count < VALUES {
                count += peer.receive().await?;
            }
            anyhow::Ok(peer)
        });
    }
    let mut done = 0;
    for value in 1..=VALUES {
        writer.publish(&key, value).await?;
        while value > done + WINDOW {
            done += writer.acknowledgements().await?;
        }
    }
    let mut peers = Vec::new();
    let receive = async {
        while let Some(peer) = receivers.join_next().await {
            // Kept, or their goodbyes would be counted.
            peers.push(peer??);
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, receive).await.context("values are missing")??;
    sleep(REST).await;
    let after: Vec<_> = nodes.iter().map(Running::cpu_seconds).collect::<Result<_, _>>()?;
    Ok(after.iter().zip(&before).map(|(after, before)| after - before).fold(0.0, f64::max))
}
