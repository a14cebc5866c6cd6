//! Benchmarks, each a table of what is ours beside what is bare, with the bars that have to be met.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};

use crate::{
    build, server, setup,
    shell::{Outcome, Shell},
    stamp::{self, Step},
};

/// Far above what a table takes, its build from nothing included.
const LIMIT: Duration = Duration::from_secs(20 * 60);

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The server module: sets and snapshots in memory, durable sets over SQLite, memory per record.
    Server {
        /// Only the rows with this in their names.
        row: Option<String>,
    },
    /// The kv store over SQLite.
    Kv,
    /// The native server under load, beside nats-server, socket.io and ws: fan-out, idle connections, reconnects.
    Load {
        /// Only this measurement.
        measurement: Option<Load>,
    },
    /// The npm package in browsers and Node, beside plain JavaScript and what else there is. Writes target/bench/client.json.
    Client(Client),
}

/// What a server has to bear.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Load {
    /// One writer, a thousand subscribers.
    FanOut,
    /// Ten thousand connections that only listen.
    Idle,
    /// Five thousand clients after the server was killed.
    Reconnect,
    /// A node of a cluster, beside a server of its own.
    Cluster,
    /// What a connection costs, and what a subscription adds.
    Inputs,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::FanOut => "fan-out",
            Self::Idle => "idle",
            Self::Reconnect => "reconnect",
            Self::Cluster => "cluster",
            Self::Inputs => "inputs",
        }
    }
}

/// What of the client to measure.
#[derive(Debug, Default, Args)]
pub(crate) struct Client {
    /// Only in these, of chromium, firefox and node.
    #[arg(long = "in", value_name = "PLACES")]
    places: Option<String>,
    /// Rounds that count.
    #[arg(long)]
    rounds: Option<u32>,
    /// Only workloads of these names, or `memory`, `start`, `download`.
    workloads: Vec<String>,
}

/// `cargo xtask bench`.
pub(crate) fn run(shell: &Shell, bench: Option<Bench>) -> anyhow::Result<()> {
    match bench {
        Some(Bench::Server { row }) => measure(shell, "server", row.as_deref()),
        Some(Bench::Kv) => measure(shell, "kv", None),
        Some(Bench::Load { measurement }) => load(shell, measurement),
        Some(Bench::Client(what)) => client(shell, &what),
        None => {
            // Every table, also where an earlier one misses a bar.
            let all = [
                measure(shell, "server", None),
                measure(shell, "kv", None),
                load(shell, None),
                client(shell, &Client::default()),
            ];
            all.into_iter().collect()
        }
    }
}

/// Bundles the client's benchmark; needs the npm package.
pub(crate) fn build_client(shell: &Shell) -> anyhow::Result<()> {
    let step = Step {
        name: "bench",
        inputs: &["bench", "pkg/bench", "pkg/src", "pkg/dist", "package-lock.json"],
        also: "",
        outputs: &["bench/dist"],
    };
    shell.step("client benchmark's modules", "npm run build --workspace bench", || {
        stamp::unless_fresh(shell, step, || {
            shell.run(shell.command("npm").args(["run", "build", "--workspace", "bench"]))?;
            Ok(Outcome::Done("built".to_owned()))
        })
    })
}

/// Runs the client's benchmark and shows its tables.
fn client(shell: &Shell, what: &Client) -> anyhow::Result<()> {
    setup::for_build(shell)?;
    let browser = setup::for_client_bench(shell)?;
    build::package(shell)?;
    build_client(shell)?;
    shell.step("client benchmark", "cargo xtask bench client", || {
        let mut node = shell.command("node");
        node.arg("bench/run.mjs").env("CHROME", &browser.program);
        node.arg("--out").arg(shell.target().join("bench/client.json"));
        if let Some(places) = &what.places {
            node.args(["--in", places]);
        }
        if let Some(rounds) = what.rounds {
            node.args(["--rounds", &rounds.to_string()]);
        }
        let output =
            shell.run_within(LIMIT, node.args(&what.workloads)).context("not everything was measured")?;
        for line in output.lines().filter(|line| !line.starts_with("measuring")) {
            shell.say(line);
        }
        let bars = output.lines().next_back().unwrap_or_default();
        if !bars.ends_with(" 0 missed") {
            bail!("{bars}");
        }
        Ok(Outcome::Done("every bar is met".to_owned()))
    })
}

/// Runs a benchmark of the native server's package, and shows its table.
fn measure(shell: &Shell, bench: &str, row: Option<&str>) -> anyhow::Result<()> {
    shell.step(&format!("{bench} benchmark"), &format!("cargo xtask bench {bench}"), || {
        // As the server is shipped, not as a test is built.
        let mut cargo = shell.cargo(["bench", "--locked", "--profile", "server"]);
        cargo.args(["--package", "tidewire-server", "--bench", bench, "--"]).args(row);
        let output =
            shell.run_within(LIMIT, &mut cargo).context("a bar is missed, or nothing was measured")?;
        for line in output.lines().skip_while(|line| !line.contains("ratio")) {
            shell.say(line);
        }
        Ok(Outcome::Done("every bar is met".to_owned()))
    })
}

/// Puts load on the server and on others, and shows what it cost them.
fn load(shell: &Shell, only: Option<Load>) -> anyhow::Result<()> {
    setup::for_load(shell)?;
    server::build(shell)?;
    shell.step("load generator", "cargo build --release --package tidewire-load", || {
        shell.run(&mut shell.cargo(["build", "--locked", "--release", "--package", "tidewire-load"]))?;
        Ok(Outcome::Done("built".to_owned()))
    })?;
    let all = [Load::FanOut, Load::Idle, Load::Reconnect, Load::Cluster, Load::Inputs];
    for measurement in only.map_or(all.to_vec(), |only| vec![only]) {
        let name = measurement.name();
        shell.step(&format!("{name} benchmark"), &format!("cargo xtask bench load {name}"), || {
            let program = shell.target().join("release/tidewire-load");
            let mut command = shell.command(&program.to_string_lossy());
            command.arg("--server").arg(server::binary(shell));
            command.arg("--json").arg(shell.target().join(format!("bench/{name}.json"))).arg(name);
            let output =
                shell.run_within(LIMIT, &mut command).context("a bar is missed, or nothing was measured")?;
            for line in output.lines().skip_while(|line| !line.starts_with('#')) {
                shell.say(line);
            }
            Ok(Outcome::Done("every bar is met".to_owned()))
        })?;
    }
    Ok(())
}
