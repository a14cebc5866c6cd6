//! How long all clients take to be current again after the server was killed, beside as many bare connects.

use std::time::Duration;

use anyhow::Context;
use tidewire_native::{Client, Object};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    Programs,
    contestant::{Contestant, Running},
    peer,
    table::{Bound, Report, median},
};

/// Far above what coming back takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// What everybody follows.
const KEY: &str = "reconnect";

pub(crate) async fn measure(programs: &Programs, clients: usize, rounds: usize) -> anyhow::Result<Report> {
    let mut server = Running::start(Contestant::Tidewire, programs).await?;
    let url = format!("ws://{}/v1/sync", server.address);
    let writer = Client::connect(&url, None)?;
    writer.put(KEY, &0_u64).await?;
    eprintln!("{clients} clients connect");
    let mut crowd = Vec::with_capacity(clients);
    for _ in 0..clients {
        let client = Client::connect(&url, None)?;
        let object = client.object::<u64>(KEY).await?;
        crowd.push((client, object));
    }
    until_all_show(&mut crowd, 0).await?;

    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}: killed");
        let number = u64::try_from(round)?;
        server.crash(programs).await?;
        let start = Instant::now();
        // A value that nobody has: whoever shows it is connected and current.
        writer.put(KEY, &number).await?;
        until_all_show(&mut crowd, number).await?;
        ours.push(start.elapsed().as_secs_f64());

        eprintln!("round {round} of {rounds}: {clients} bare connects");
        let other = Running::start(Contestant::Tidewire, programs).await?;
        let start = Instant::now();
        let mut dials = JoinSet::new();
        for _ in 0..clients {
            let address = other.address;
            dials.spawn(async move { peer::dial(Contestant::Tidewire, address).await });
        }
        let mut sockets = Vec::with_capacity(clients);
        while let Some(socket) = dials.join_next().await {
            sockets.push(socket??);
        }
        bare.push(start.elapsed().as_secs_f64());
    }
    let title = format!("{clients} clients after the server was killed; medians of {rounds} rounds");
    let mut report = Report::new(title, &["seconds"]);
    report.row("current again", &[median(ours.clone())]);
    report.row("bare connects", &[median(bare.clone())]);
    let ratio = median(ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect());
    report.bar("times the bare connects", ratio, Bound::AtMost(3.0));
    Ok(report)
}

async fn until_all_show(crowd: &mut [(Client, Object<u64>)], number: u64) -> anyhow::Result<()> {
    let all = async {
        for (_, object) in crowd {
            object.wait_for(|value| value == Some(&number)).await?;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, all).await.context("some clients do not come back")?
}
