//! One writer, many subscribers of one key: values delivered per second, and what they cost the server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    Programs,
    contestant::{self, Contestant, Running},
    peer::Peer,
    table::{Bound, Report, median},
};

/// What is written to.
const KEY: &str = "fan.out";

/// How often the writer looks whether it may go on.
const PAUSE: Duration = Duration::from_micros(500);

/// Far above what a round takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a server does after the last delivery is its cost too.
const REST: Duration = Duration::from_millis(100);

/// How many connections are opened at a time.
const DIALS: usize = 50;

/// A contestant with all its connections.
#[derive(Debug)]
struct Crowd {
    server: Running,
    subscribers: u64,
    delivered: Arc<AtomicU64>,
    written: u64,
    writer: mpsc::Sender<u64>,
    tasks: JoinSet<anyhow::Result<()>>,
    rates: Vec<f64>,
    costs: Vec<f64>,
}

pub(crate) async fn measure(
    programs: &Programs,
    subscribers: u64,
    values: u64,
    window: u64,
    rounds: usize,
) -> anyhow::Result<Report> {
    let mut crowds = Vec::new();
    for server in contestant::start_all(programs).await? {
        eprintln!("{}: {subscribers} subscribers connect", server.contestant.name());
        crowds.push(Crowd::gather(server, subscribers).await?);
    }
    for round in 0..=rounds {
        eprintln!("round {round} of {rounds}");
        for crowd in &mut crowds {
            let name = crowd.server.contestant.name();
            let (rate, cost) = crowd.round(values, window).await.with_context(|| name)?;
            // The first one fills caches and compiles JavaScript.
            if round > 0 {
                crowd.rates.push(rate);
                crowd.costs.push(cost);
            }
        }
    }
    Ok(report(&crowds, subscribers, values, window, rounds))
}

fn report(crowds: &[Crowd], subscribers: u64, values: u64, window: u64, rounds: usize) -> Report {
    let title = format!(
        "one writer, {subscribers} subscribers of one key, 200-byte values, at most {window} not yet with \
         everybody; medians of {rounds} rounds of {values} values"
    );
    let mut report = Report::new(title, &["delivered/s", "CPU s per million"]);
    for crowd in crowds {
        let figures = [median(crowd.rates.clone()), median(crowd.costs.clone())];
        report.row(crowd.server.contestant.name(), &figures);
    }
    let of = |contestant| crowds.iter().find(|crowd| crowd.server.contestant == contestant);
    let ratio = |ours: &[f64], theirs: &[f64]| {
        median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect())
    };
    if let (Some(ours), Some(socket_io), Some(nats)) =
        (of(Contestant::Tidewire), of(Contestant::SocketIo), of(Contestant::Nats))
    {
        let rate = ratio(&ours.rates, &socket_io.rates);
        report.bar("delivered per second, of socket.io's", rate, Bound::AtLeast(3.0));
        let cost = ratio(&nats.costs, &ours.costs);
        report.bar("delivered per CPU second, of nats-server's", cost, Bound::AtLeast(1.0));
    }
    report
}

impl Crowd {
    async fn gather(server: Running, subscribers: u64) -> anyhow::Result<Self> {
        let (contestant, address) = (server.contestant, server.address);
        let delivered = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let keys = [KEY.to_owned()];
        let names: Vec<usize> = (0..).take(usize::try_from(subscribers)?).collect();
        for some in names.chunks(DIALS) {
            let mut opening = JoinSet::new();
            for name in some.iter().copied() {
                let keys = keys.clone();
                opening.spawn(async move { Peer::open(contestant, address, name, &keys).await });
            }
            while let Some(peer) = opening.join_next().await {
                let (mut peer, delivered) = (peer??, Arc::clone(&delivered));
                tasks.spawn(async move {
                    loop {
                        delivered.fetch_add(peer.receive().await?, Ordering::Relaxed);
                    }
                });
            }
        }
        let mut peer = Peer::open(contestant, address, names.len(), &[]).await?;
        let (writer, mut values) = mpsc::channel(1);
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    value = values.recv() => match value {
                        Some(value) => peer.publish(KEY, value).await?,
                        None => return Ok(()),
                    },
                    heard = peer.receive() => drop(heard?),
                }
            }
        });
        Ok(Self {
            server,
            subscribers,
            delivered,
            written: 0,
            writer,
            tasks,
            rates: Vec::new(),
            costs: Vec::new(),
        })
    }

    /// Deliveries per second, and CPU seconds of the server for a million of them.
    async fn round(&mut self, values: u64, window: u64) -> anyhow::Result<(f64, f64)> {
        let (cpu, start) = (self.server.cpu_seconds()?, Instant::now());
        timeout(PATIENCE, self.deliver(values, window)).await.context("values are missing")??;
        let seconds = start.elapsed().as_secs_f64();
        sleep(REST).await;
        let cpu = self.server.cpu_seconds()? - cpu;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let deliveries = (values * self.subscribers) as f64;
        Ok((deliveries / seconds, cpu / deliveries * 1e6))
    }

    async fn deliver(&mut self, values: u64, window: u64) -> anyhow::Result<()> {
        for _ in 0..values {
            self.until((self.written + 1).saturating_sub(window)).await?;
            self.written += 1;
            self.writer.send(self.written).await.context("the writer has ended")?;
        }
        self.until(self.written).await?;
        let delivered = self.delivered.load(Ordering::Relaxed);
        ensure!(delivered == self.written * self.subscribers, "{delivered} values came, more than were sent");
        Ok(())
    }

    /// Waits until so many values have reached everybody.
    async fn until(&mut self, values: u64) -> anyhow::Result<()> {
        while self.delivered.load(Ordering::Relaxed) < values * self.subscribers {
            if let Some(ended) = self.tasks.try_join_next() {
                ended??;
            }
            sleep(PAUSE).await;
        }
        Ok(())
    }
}
