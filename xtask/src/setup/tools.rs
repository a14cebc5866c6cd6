//! Cargo tools, each in one version, kept in the user's cache.

use std::{borrow::Cow, fs, path::Path, process::Command};

use anyhow::Context;

use super::{cache, present};
use crate::shell::{DEFAULT_LIMIT, Outcome, Shell};

/// A program that `cargo install` provides.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    package: &'static str,
    /// Known while compiling, or read from `Cargo.lock`.
    version: Cow<'static, str>,
    /// The programs that the tasks use.
    programs: &'static [&'static str],
    /// How each of them is asked for its version.
    asks: &'static [&'static str],
    /// What computes is optimised a little; what only starts other programs is not, as building it takes longer than it
    /// ever runs.
    optimisation: &'static str,
}

const VERSION: &[&str] = &["--version"];

/// Runs the wasm tests in a browser, as contributors do by hand.
pub(super) const WASM_PACK: Tool = Tool {
    package: "wasm-pack",
    version: Cow::Borrowed("0.15.1"),
    programs: &["wasm-pack"],
    asks: VERSION,
    optimisation: "0",
};

/// Drives Firefox for the wasm tests. No package has it.
pub(super) const GECKODRIVER: Tool = Tool {
    package: "geckodriver",
    version: Cow::Borrowed("0.37.1"),
    programs: &["geckodriver"],
    asks: VERSION,
    optimisation: "0",
};

/// Checks licences, sources and advisories of all dependencies.
pub(super) const CARGO_DENY: Tool = Tool {
    package: "cargo-deny",
    version: Cow::Borrowed("0.20.2"),
    programs: &["cargo-deny"],
    asks: VERSION,
    optimisation: "1",
};

/// Makes mutants of the reconciler's sources.
pub(super) const CARGO_MUTANTS: Tool = Tool {
    package: "cargo-mutants",
    version: Cow::Borrowed("27.1.0"),
    programs: &["cargo-mutants"],
    // It believes that cargo has called it.
    asks: &["mutants", "--version"],
    optimisation: "1",
};

/// The glue generator. It must be of exactly the version of the library that the wasm was built with, so the version
/// comes from `Cargo.lock`.
pub(super) fn wasm_bindgen(shell: &Shell) -> anyhow::Result<Tool> {
    let lock = fs::read_to_string(shell.root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let version = locked_version(&lock, "wasm-bindgen")
        .context("Cargo.lock has no wasm-bindgen; run `cargo generate-lockfile`")?;
    Ok(Tool {
        package: "wasm-bindgen-cli",
        version: version.to_owned().into(),
        programs: &["wasm-bindgen", "wasm-bindgen-test-runner"],
        asks: VERSION,
        optimisation: "1",
    })
}

/// Finds the tool on the search path or in the cache, or installs it there. It is then first on the path of every
/// later command.
pub(super) fn install(shell: &Shell, tool: &Tool) -> anyhow::Result<Outcome> {
    if tool.programs.iter().all(|program| tool.is_right(shell, Path::new(program))) {
        return Ok(present());
    }
    let Tool { package, version, programs, .. } = tool;
    // Named after the first program, so that `wasm-bindgen-cli` is found under the name people type.
    let root = cache(shell).join(format!("{}-{version}", programs[0]));
    let bin = root.join("bin");
    if programs.iter().all(|program| tool.is_right(shell, &bin.join(program))) {
        shell.prepend_path(bin);
        return Ok(present());
    }
    shell.say(&format!("installing {package} {version} into {}", root.display()));
    // First with the dependencies that the tool's authors locked. A registry that is a mirror may lack one of them,
    // so then with those that it has.
    if !shell.probe_within(DEFAULT_LIMIT, cargo_install(shell, tool, &root).arg("--locked"))? {
        shell.say(&format!(
            "installing {package} {version} once more, with the newest dependencies this registry has"
        ));
        shell.run(&mut cargo_install(shell, tool, &root)).with_context(|| {
            format!(
                "cannot install {package}; connect to the network and run this again, or run \
                 `cargo install --version {version} --root {} {package}` yourself",
                root.display()
            )
        })?;
    }
    shell.prepend_path(bin);
    Ok(Outcome::Done(format!("installed {version}")))
}

fn cargo_install(shell: &Shell, tool: &Tool, root: &Path) -> Command {
    let mut command = shell.cargo(["install", "--force", "--version"]);
    command.arg(format!("={}", tool.version)).arg("--root").arg(root).arg(tool.package);
    // One target directory for all tools, as they share dependencies; and no time spent on making them fast.
    command.arg("--target-dir").arg(shell.target().join("tools"));
    for (name, value) in
        [("OPT_LEVEL", tool.optimisation), ("LTO", "off"), ("CODEGEN_UNITS", "16"), ("DEBUG", "0")]
    {
        command.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    // Fail within seconds when there is no network.
    command.env("CARGO_NET_RETRY", "1");
    command
}

impl Tool {
    fn is_right(&self, shell: &Shell, program: &Path) -> bool {
        let program = program.to_string_lossy();
        shell
            .ask(&program, self.asks)
            .is_some_and(|said| said.split_whitespace().any(|word| word == self.version))
    }
}

/// The version of a package in the text of a `Cargo.lock`.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "[[package]]\nname = \"wasm-bindgen-macro\"\nversion = \"0.2.9\"\n\n\
                        [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.130\"\n";

    #[test]
    fn the_version_is_that_of_the_package_with_exactly_this_name() {
        assert_eq!(locked_version(LOCK, "wasm-bindgen"), Some("0.2.130"));
    }

    #[test]
    fn a_package_that_is_not_locked_has_no_version() {
        assert_eq!(locked_version(LOCK, "wasm-pack"), None);
    }
}
