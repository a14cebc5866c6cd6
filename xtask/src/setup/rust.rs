//! Parts of the Rust toolchain.

use std::path::Path;

use anyhow::{Context, bail};

use super::present;
use crate::shell::{Outcome, Shell};

const TARGET: &str = "wasm32-unknown-unknown";

/// The standard library for wasm.
pub(super) fn wasm_target(shell: &Shell) -> anyhow::Result<Outcome> {
    let dir = shell
        .ask("rustc", &["--print", "target-libdir", "--target", TARGET])
        .context("rustc does not run; install Rust from https://rustup.rs")?;
    if Path::new(&dir).read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Ok(present());
    }
    rustup(shell, &["target", "add", TARGET])
}

/// The parts that the static checks use.
pub(super) fn components(shell: &Shell) -> anyhow::Result<Outcome> {
    if shell.ask("cargo", &["clippy", "--version"]).is_some()
        && shell.ask("cargo", &["fmt", "--version"]).is_some()
    {
        return Ok(present());
    }
    rustup(shell, &["component", "add", "clippy", "rustfmt"])
}

fn rustup(shell: &Shell, args: &[&str]) -> anyhow::Result<Outcome> {
    let shown = format!("rustup {}", args.join(" "));
    if shell.find(&["rustup"]).is_none() {
        bail!("this Rust was installed without rustup; install what `{shown}` would, then run this again");
    }
    shell.say(&format!("installing: {shown}"));
    shell
        .run(shell.command("rustup").args(args))
        .with_context(|| format!("`{shown}` needs the network; connect and run this again"))?;
    Ok(Outcome::Done("installed".to_owned()))
}
