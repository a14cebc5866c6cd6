//! Every task of the workspace, behind `cargo xtask <task>`.
//!
//! One module per task; `setup` holds what a task needs on the machine, `shell` runs other programs. A task installs
//! what it misses and says so, and does nothing twice: a step whose inputs have not changed is skipped.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

mod autobahn;
mod bench;
mod build;
mod check;
mod ci;
mod cluster;
mod control;
mod demo;
mod fuzz;
mod mutants;
mod server;
mod setup;
mod shell;
mod size;
mod soak;
mod stamp;
mod test;

use shell::Shell;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The tasks of the Tidewire workspace")]
struct Options {
    /// Show all output of the programs that a task runs.
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build everything, start the server with real data and serve the demo page.
    Demo {
        /// The port to listen on.
        #[arg(long, default_value_t = 4400)]
        port: u16,
        /// Where the server keeps its database.
        #[arg(long, value_name = "DIR", default_value = "data")]
        data: PathBuf,
        /// Drive the page once in headless Chromium, on a free port with data of its own, and exit.
        #[arg(long)]
        check: bool,
    },
    /// Run every test: native, simulation, wasm in browsers and Node, npm package, end to end.
    Test {
        /// Also run the long tiers: the native and the wasm tests once more as release builds, and the fuzz targets.
        #[arg(long)]
        all: bool,
        /// Only the cluster, by ten schedules of kills and pauses.
        #[arg(long)]
        cluster: bool,
        /// How long each of these schedules lasts.
        #[arg(long, requires = "cluster", default_value_t = test::SCHEDULE_SECONDS)]
        seconds: u64,
    },
    /// Start three servers of NATS and three nodes on this machine, and one address in front of them.
    Cluster {
        /// The port of that address.
        #[arg(long, default_value_t = 4400)]
        port: u16,
        /// Drive its page once in headless Chromium, kill the node that serves it, and exit.
        #[arg(long)]
        check: bool,
    },
    /// Build the npm package and the demo page.
    Build,
    /// Everything that `test` does, then all static checks and the size budget.
    Ci,
    /// Measure what a page downloads, and fail beyond the budget.
    Size,
    /// Measure against the bars, side by side with what is bare. Without a name: all that there is.
    Bench {
        #[command(subcommand)]
        bench: Option<bench::Bench>,
    },
    /// Play more seeds of the simulation than a test run does.
    Soak {
        /// How many.
        #[arg(long, default_value_t = 1_000_000)]
        seeds: u64,
        /// Only those of the whole stack; without it, a tenth of the seeds are.
        #[arg(long)]
        stack: bool,
    },
    /// Run the Autobahn test suite against the WebSocket of the server; skipped where there is no Python 2.
    Autobahn,
    /// Look for inputs that break a decoder, the server or the client.
    Fuzz {
        /// Only the targets with this in their name.
        name: Option<String>,
        /// How long, for each target.
        #[arg(long, default_value_t = fuzz::SECONDS)]
        seconds: u64,
    },
    /// Make the reconciler wrong in every way of tests/mutants.json, and fail unless its tests notice each.
    Mutants {
        /// Only those with this in their name.
        name: Option<String>,
        /// Not those of the list, but all that cargo-mutants makes of the reconciler's sources.
        #[arg(long)]
        generated: bool,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<shell::Interrupted>() => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<()> {
    let shell = Shell::new(options.verbose)?;
    match options.task {
        Task::Demo { check: true, .. } => demo::check(&shell),
        Task::Demo { port, data, check: false } => demo::serve(&shell, port, &data),
        Task::Test { all, cluster: false, .. } => test::run(&shell, all),
        Task::Test { cluster: true, seconds, .. } => test::cluster(&shell, seconds),
        Task::Cluster { check: true, .. } => cluster::check(&shell),
        Task::Cluster { port, check: false } => cluster::serve(&shell, port),
        Task::Build => build::run(&shell),
        Task::Ci => ci::run(&shell),
        Task::Size => size::run(&shell),
        Task::Bench { bench } => bench::run(&shell, bench),
        Task::Soak { seeds, stack } => soak::run(&shell, seeds, stack),
        Task::Autobahn => autobahn::run(&shell),
        Task::Fuzz { name, seconds } => fuzz::run(&shell, name.as_deref(), seconds),
        Task::Mutants { name, generated: false } => mutants::run(&shell, name.as_deref()),
        Task::Mutants { name, generated: true } => mutants::generated::run(&shell, name.as_deref()),
    }
}
