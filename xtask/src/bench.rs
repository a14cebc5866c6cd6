//! Benchmarks, each a table of what is ours beside what is bare, with the bars that have to be met.

use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;

use crate::shell::{Outcome, Shell};

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
}

/// `cargo xtask bench`.
pub(crate) fn run(shell: &Shell, bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Server { row } => measure(shell, "server", row.as_deref()),
        Bench::Kv => measure(shell, "kv", None),
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
