//! What delivering costs the native server, beside what would be taken instead of it.
//!
//! Each server runs as a process of its own, all at once, and the same clients speak to each in turn, in one run: a
//! machine that is slow for a while is so for all of them. [`contestant`] starts the servers and reads what they use,
//! [`peer`] speaks their protocols, [`fan_out`], [`idle`], [`reconnect`], [`cluster`] and
//! [`inputs`] are the measurements.

mod cluster;
mod contestant;
mod fan_out;
mod idle;
mod inputs;
mod peer;
mod reconnect;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tokio::runtime;

/// Sockets of both ends, and some files.
const OPEN_FILES: u64 = 30_000;

#[derive(Debug, Parser)]
#[command(
    name = "tidewire-load",
    about = "Load for the native server and for what would be taken instead of it"
)]
struct Options {
    #[command(flatten)]
    programs: Programs,
    /// Where to write the figures, as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    measurement: Measurement,
}

/// What the contestants are run with.
#[derive(Debug, Args)]
pub(crate) struct Programs {
    /// The native server.
    #[arg(long, value_name = "FILE")]
    server: PathBuf,
    /// The NATS server.
    #[arg(long, value_name = "FILE", default_value = "nats-server")]
    nats: PathBuf,
    /// The scripts that run the contestants on Node.
    #[arg(long, value_name = "DIR", default_value = "crates/load/rivals")]
    rivals: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    /// One writer, many subscribers of one key.
    FanOut {
        #[arg(long, default_value_t = 1_000)]
        subscribers: u64,
        /// Values written per round.
        #[arg(long, default_value_t = 200)]
        values: u64,
        /// Values that may be written and not yet delivered to everybody.
        #[arg(long, default_value_t = 64)]
        window: u64,
        #[arg(long, default_value_t = 9)]
        rounds: usize,
    },
    /// Memory of connections that only listen.
    Idle {
        #[arg(long, default_value_t = 10_000)]
        connections: usize,
        #[arg(long, default_value_t = 10)]
        subscriptions: usize,
    },
    /// What a node of a cluster does, beside a server of its own.
    Cluster {
        /// Seconds of writes per round.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
        #[arg(long, default_value_t = 600)]
        subscribers: usize,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// What a connection costs, and what a subscription adds: the inputs of a model of many clients.
    Inputs {
        #[arg(long, default_value_t = 5_000)]
        connections: usize,
        #[arg(long, default_value_t = 50)]
        subscriptions: usize,
    },
    /// How long clients take to come back after the server was killed.
    Reconnect {
        #[arg(long, default_value_t = 5_000)]
        clients: usize,
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("error: a bar is missed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every bar is met.
fn run(options: &Options) -> anyhow::Result<bool> {
    rlimit::increase_nofile_limit(OPEN_FILES).context("the system allows too few open files")?;
    // The servers need a core of their own.
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let report = runtime.block_on(async {
        match options.measurement {
            Measurement::FanOut { subscribers, values, window, rounds } => {
                fan_out::measure(&options.programs, subscribers, values, window, rounds).await
            }
            Measurement::Idle { connections, subscriptions } => {
                idle::measure(&options.programs, connections, subscriptions).await
            }
            Measurement::Cluster { seconds, subscribers, rounds } => {
                cluster::measure(&options.programs, seconds, subscribers, rounds).await
            }
            Measurement::Inputs { connections, subscriptions } => {
                inputs::measure(&options.programs, connections, subscriptions).await
            }
            Measurement::Reconnect { clients, rounds } => {
                reconnect::measure(&options.programs, clients, rounds).await
            }
        }
    })?;
    print!("{}", report.text());
    if let Some(file) = &options.json {
        write(file, &report.json()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(report.is_passed())
}

fn write(file: &Path, json: &str) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(file, json)
}
