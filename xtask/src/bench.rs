//! Benchmarks, each a table of what is ours beside what is bare, with the bars that have to be met.

use std::time::Duration;

use anyhow::Context;
use clap::{Subcommand, ValueEnum};

use crate::{
    server, setup,
    shell::{Outcome, Shell},
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
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::FanOut => "fan-out",
            Self::Idle => "idle",
            Self::Reconnect => "reconnect",
        }
    }
}

/// `cargo xtask bench`.
pub(crate) fn run(shell: &Shell, bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Server { row } => measure(shell, "server", row.as_deref()),
        Bench::Kv => measure(shell, "kv", None),
        Bench::Load { measurement } => load(shell, *measurement),
    }
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
    let all = [Load::FanOut, Load::Idle, Load::Reconnect];
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
