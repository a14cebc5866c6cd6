//! All that a change has to pass: the tests, then every static check.

use std::{process::Command, time::Duration};

use crate::{
    setup,
    shell::{self, Outcome, Shell},
    size, test,
};

/// Fetching the advisories takes seconds where their host can be reached at all.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// `cargo xtask ci`.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    test::everything(shell, false)?;
    setup::for_checks(shell)?;
    static_checks(shell)?;
    size::measure(shell)?;
    shell.print_summary();
    Ok(())
}

fn static_checks(shell: &Shell) -> anyhow::Result<()> {
    check(shell, "format", &mut shell.cargo(["fmt", "--all", "--check"]))?;
    let native = ["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    check(shell, "clippy", &mut shell.cargo(native))?;
    let wasm = ["--lib", "--target", "wasm32-unknown-unknown", "--", "--deny", "warnings"];
    check(shell, "clippy for wasm", shell.cargo(["clippy", "--locked", "--package", "tidewire"]).args(wasm))?;
    let core = ["check", "--locked", "--package", "tidewire", "--no-default-features", "--lib"];
    check(shell, "pure core", &mut shell.cargo(core))?;
    let mut docs = shell.cargo(["doc", "--locked", "--workspace", "--no-deps"]);
    check(shell, "documentation", docs.env("RUSTDOCFLAGS", "--deny warnings"))?;
    for workspace in ["pkg", "bench", "www"] {
        let name = format!("types of {workspace}");
        check(shell, &name, shell.command("npm").args(["run", "typecheck", "--workspace", workspace]))?;
    }
    check(shell, "licences and sources", &mut deny(shell, &["check", "licenses", "bans", "sources"]))?;
    shell.step("advisories", "cargo deny check advisories", || advisories(shell))
}

fn check(shell: &Shell, name: &str, command: &mut Command) -> anyhow::Result<()> {
    let alone = shell::display(command);
    shell.step(name, &alone, || {
        shell.run(command)?;
        Ok(Outcome::Done("passed".to_owned()))
    })
}

fn deny(shell: &Shell, args: &[&str]) -> Command {
    let mut command = shell.command("cargo-deny");
    // Called by its own name it still expects the name that cargo would have passed.
    command.args(["--locked", "--all-features"]).args(args);
    command
}

fn advisories(shell: &Shell) -> anyhow::Result<Outcome> {
    match shell.probe_within(FETCH_LIMIT, &mut deny(shell, &["fetch", "db"]))? {
        true => {
            shell.run(&mut deny(shell, &["check", "--disable-fetch", "advisories"]))?;
            Ok(Outcome::Done("passed".to_owned()))
        }
        false => Ok(Outcome::Skipped("the advisory database cannot be reached from here".to_owned())),
    }
}
