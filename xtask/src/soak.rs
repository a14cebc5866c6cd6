//! More of everything than a test can play: seeded schedules of a hostile network, around the reconciler and around the
//! whole stack, and every interleaving of a small one.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::shell::{Outcome, Shell};

/// How many seeds every test run plays.
pub(crate) const SEEDS: u64 = 100_000;
/// How many of the whole stack, which take ten times as long.
pub(crate) const STACK_SEEDS: u64 = 16_000;
/// Two replicas, four writes, one restart, two attempts, one beacon, one corruption and one refresh.
const BOUNDS: [&str; 7] = ["2", "4", "1", "2", "1", "1", "1"];
/// How many thousand states a test run visits; many are reached by several ways.
const VISITED: &str = "3500";
/// At least so many of them are different.
const STATES: u64 = 1_000_000;
/// Far above what either takes; a search that does not end is a fault.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// `cargo xtask soak --seeds N [--stack]`.
pub(crate) fn run(shell: &Shell, seeds: u64, stack_only: bool) -> anyhow::Result<()> {
    if !stack_only {
        simulation(shell, seeds)?;
    }
    stack(shell, if stack_only { seeds } else { seeds / 10 })?;
    shell.print_summary();
    Ok(())
}

/// The simulator's own tests, then `seeds` schedules of objects and a quarter as many of collections, which take four
/// times as long.
pub(crate) fn simulation(shell: &Shell, seeds: u64) -> anyhow::Result<()> {
    let alone = format!("cargo xtask soak --seeds {seeds}");
    shell.step("simulation", &alone, || {
        shell.run(&mut simulator(shell, "test", &[]))?;
        let objects = play(shell, seeds, &[])?;
        let collections = play(shell, seeds / 4, &["--collections"])?;
        Ok(Outcome::Done(format!("{objects}; collections: {collections}")))
    })
}

/// `seeds` schedules of the whole stack.
pub(crate) fn stack(shell: &Shell, seeds: u64) -> anyhow::Result<()> {
    let alone = format!("cargo xtask soak --stack --seeds {seeds}");
    shell.step("simulation of the whole stack", &alone, || {
        Ok(Outcome::Done(play(shell, seeds, &["--stack"])?))
    })
}

/// Plays seeds from 0 on and returns what the simulator says of them in the end.
fn play(shell: &Shell, seeds: u64, more: &[&str]) -> anyhow::Result<String> {
    let seeds = seeds.to_string();
    let args = [&["--bin", "tidewire-simulator", "--", "--seeds", &seeds], more].concat();
    let output = shell.run_within(LIMIT, &mut simulator(shell, "run", &args))?;
    let told =
        output.lines().rfind(|line| line.contains(" seeds from ")).context("the simulator told nothing")?;
    Ok(told.to_owned())
}

/// Every interleaving, up to a number of states.
pub(crate) fn model(shell: &Shell) -> anyhow::Result<()> {
    let args = [&["--example", "model", "--"], &BOUNDS[..], &[VISITED]].concat();
    let mut search = simulator(shell, "run", &args);
    let alone = crate::shell::display(&search);
    shell.step("model", &alone, || {
        let output = shell.run_within(LIMIT, &mut search)?;
        let told =
            output.lines().find(|line| line.contains(" unique states")).context("the search told nothing")?;
        let states = told.split_whitespace().next().and_then(|count| count.parse::<u64>().ok());
        let states = states.context("the search did not say how many states it saw")?;
        ensure!(states >= STATES, "only {states} different states, {STATES} are due");
        Ok(Outcome::Done(told.to_owned()))
    })
}

fn simulator(shell: &Shell, command: &str, args: &[&str]) -> std::process::Command {
    let mut cargo = shell.cargo(["--quiet", command, "--locked", "--package", "tidewire-simulator"]);
    cargo.args(["--profile", "simulation"]).args(args);
    cargo
}
