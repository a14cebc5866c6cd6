//! Every test there is.

use std::{process::Command, time::Duration};

use anyhow::{Context, ensure};

use crate::{
    autobahn, build, check, cluster, fuzz, server, setup,
    setup::Browser,
    shell::{DEFAULT_LIMIT, Outcome, Shell},
    size, soak,
};

/// Above what the tests of the cluster take, and what comes before and after each of ten schedules.
const CLUSTER_LIMIT: Duration = Duration::from_secs(35 * 60);

/// `cargo xtask test`.
pub(crate) fn run(shell: &Shell, all: bool) -> anyhow::Result<()> {
    everything(shell, all)?;
    shell.print_summary();
    Ok(())
}

/// How many seconds a schedule of the cluster lasts.
pub(crate) const SCHEDULE_SECONDS: u64 = 60;

/// `cargo xtask test --cluster`: the tests of the cluster, and ten schedules of kills and pauses.
pub(crate) fn cluster(shell: &Shell, seconds: u64) -> anyhow::Result<()> {
    setup::for_cluster(shell)?;
    schedules(shell, seconds)?;
    shell.print_summary();
    Ok(())
}

fn schedules(shell: &Shell, seconds: u64) -> anyhow::Result<()> {
    shell.step("ten schedules of a cluster", "cargo xtask test --cluster", || {
        let mut cargo =
            shell.cargo(["test", "--locked", "--package", "tidewire-server", "--test", "cluster"]);
        cargo.env("TIDEWIRE_SCHEDULES", "10").env("TIDEWIRE_SCHEDULE_SECONDS", seconds.to_string());
        let limit = CLUSTER_LIMIT + 10 * Duration::from_secs(seconds);
        let tests = passed(&shell.run_within(limit, &mut cargo)?);
        ensure!(tests > 0, "no test ran");
        Ok(Outcome::Done(format!("{tests} tests passed, no acknowledged write lost")))
    })
}

/// Sets up, builds, and runs the tests; the first failure ends it.
pub(crate) fn everything(shell: &Shell, all: bool) -> anyhow::Result<()> {
    setup::for_build(shell)?;
    let browser = setup::for_tests(shell)?;
    build::everything(shell)?;
    server::build(shell)?;
    step(shell, "native tests", "cargo test --workspace", &mut native(shell, &[]))?;
    soak::simulation(shell, soak::SEEDS)?;
    soak::stack(shell, soak::STACK_SEEDS)?;
    soak::model(shell)?;
    wasm(shell, &browser, Runtime::Chromium, false)?;
    wasm(shell, &browser, Runtime::Firefox, false)?;
    wasm(shell, &browser, Runtime::Node, false)?;
    let mut npm = shell.command("npm");
    npm.args(["test", "--workspace", "pkg"]).env("TIDEWIRE_SERVER", server::binary(shell));
    // The corpus of numbers and names crosses the engines of both browsers too.
    npm.env("TIDEWIRE_CHROMIUM", &browser.program).env("TIDEWIRE_FIREFOX", setup::firefox(shell)?);
    shell.step("npm package tests", "npm test --workspace pkg", || {
        shell.run(&mut npm)?;
        Ok(Outcome::Done("passed".to_owned()))
    })?;
    let firefox = setup::firefox(shell)?;
    let mut patching = shell.command("node");
    patching.arg("pkg/scripts/patching.mjs").arg(&browser.program).arg(firefox);
    let alone = "node pkg/scripts/patching.mjs chromium firefox";
    shell.step("structural sharing in browsers", alone, || {
        shell.run(&mut patching)?;
        Ok(Outcome::Done("passed".to_owned()))
    })?;
    shell.step("client benchmark's smoke", "npm run smoke --workspace bench", || {
        shell.run(shell.command("npm").args(["run", "smoke", "--workspace", "bench"]))?;
        Ok(Outcome::Done("every contestant ends right".to_owned()))
    })?;
    size::no_growth(shell)?;
    fixtures(shell, &browser, if all { &[] } else { &QUICK_FIXTURES })?;
    check::run(shell, &browser)?;
    cluster::run_check(shell, &browser)?;
    if all {
        // Optimised code reorders what debug code does not, and has no overflow checks. Our tools are tested enough.
        let optimised = ["--profile", "optimised", "--exclude", "xtask", "--exclude", "tidewire-load"];
        let alone = "cargo test --workspace --profile optimised";
        step(shell, "native tests, optimised", alone, &mut native(shell, &optimised))?;
        wasm(shell, &browser, Runtime::Chromium, true)?;
        schedules(shell, SCHEDULE_SECONDS)?;
        fuzz::all(shell, None, fuzz::SECONDS)?;
        autobahn::check(shell)?;
    }
    Ok(())
}

/// The applications of `pkg/fixtures` that need few packages.
const QUICK_FIXTURES: [&str; 6] = ["node-esm", "node-cjs", "bare", "csp", "esbuild", "lint"];

/// Installs the packed package in applications, and runs them; with no names, in all of them.
fn fixtures(shell: &Shell, browser: &Browser, names: &[&str]) -> anyhow::Result<()> {
    let alone = format!("node pkg/fixtures/run.mjs {}", names.join(" "));
    shell.step("package in applications", &alone, || {
        let mut node = shell.command("node");
        node.arg("pkg/fixtures/run.mjs").args(names).env("CHROME", &browser.program);
        let output = shell.run_within(DEFAULT_LIMIT, &mut node)?;
        let works = output.lines().filter(|line| line.starts_with("ok ")).count();
        ensure!(works > 0, "no application ran");
        Ok(Outcome::Done(format!("{works} work")))
    })
}

fn native(shell: &Shell, more: &[&str]) -> Command {
    // The simulator is tested with optimised code, by its own step.
    let mut cargo = shell.cargo(["test", "--locked", "--workspace", "--exclude", "tidewire-simulator"]);
    cargo.args(more);
    cargo
}

/// Where wasm runs. Chromium runs every suite; the others those whose traces all runtimes must agree on.
#[derive(Debug, Clone, Copy)]
enum Runtime {
    Chromium,
    Firefox,
    Node,
}

fn wasm(shell: &Shell, browser: &Browser, runtime: Runtime, release: bool) -> anyhow::Result<()> {
    let mut pack = shell.command("wasm-pack");
    // The set-up has installed all that wasm-pack would download.
    pack.args(["test", "--mode", "no-install"]);
    let (name, alone) = match runtime {
        Runtime::Chromium => {
            pack.args(["--headless", "--chrome", "--chromedriver"]).arg(&browser.driver);
            ("wasm in Chromium", "wasm-pack test --headless --chrome")
        }
        Runtime::Firefox => {
            let driver = shell.find(&["geckodriver"]).context("the set-up left no geckodriver")?;
            pack.args(["--headless", "--firefox", "--geckodriver"])
                .arg(driver)
                .args(["--test", "replica_specs"]);
            ("wasm in Firefox", "wasm-pack test --headless --firefox --test replica_specs")
        }
        Runtime::Node => {
            pack.args(["--node", "--test", "replica_specs_node"]);
            ("wasm in Node", "wasm-pack test --node --test replica_specs_node")
        }
    };
    if release {
        // Of every test file a file: optimising each as one piece would take longer than all tests.
        pack.arg("--release")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    }
    // More than one test file takes longer than the runner's twenty seconds on a busy machine.
    pack.env("WASM_BINDGEN_TEST_TIMEOUT", "120");
    step(shell, &if release { format!("{name}, release") } else { name.to_owned() }, alone, &mut pack)
}

fn step(shell: &Shell, name: &str, alone: &str, command: &mut Command) -> anyhow::Result<()> {
    shell.step(name, alone, || {
        // Much of it is compiling, which takes a machine with other work to do twice as long.
        let tests = passed(&shell.run_within(2 * DEFAULT_LIMIT, command)?);
        // A filter, a feature or a renamed directory that loses all tests must not look like success.
        ensure!(tests > 0, "no test ran");
        Ok(Outcome::Done(format!("{tests} passed")))
    })
}

/// How many tests the output of `cargo test`, or of the wasm runner, says have passed.
fn passed(output: &str) -> u32 {
    output
        .lines()
        .filter_map(|line| {
            line.trim().strip_prefix("test result: ok. ")?.split_whitespace().next()?.parse::<u32>().ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_of_all_binaries_are_counted() {
        let output =
            "running 2 tests\ntest result: ok. 2 passed; 0 failed\n\ntest result: ok. 40 passed; 0 failed\n";
        assert_eq!(passed(output), 42);
    }
}
