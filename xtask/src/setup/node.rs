//! Node and the npm packages of the workspace.

use anyhow::{Context, bail};

use crate::{
    shell::{Outcome, Shell},
    stamp::{self, Step},
};

/// The oldest major version of Node that everything is tested with.
const OLDEST_NODE: u32 = 20;

/// Installs exactly what `package-lock.json` says, if it says something new.
pub(super) fn install(shell: &Shell) -> anyhow::Result<Outcome> {
    let version = shell.ask("node", &["--version"]).context(format!(
        "Node is missing; install Node {OLDEST_NODE} or newer with npm (https://nodejs.org)"
    ))?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < OLDEST_NODE) {
        bail!("Node {version} is too old; install Node {OLDEST_NODE} or newer");
    }
    if shell.find(&["npm"]).is_none() {
        bail!("npm is missing; install it beside Node (https://nodejs.org)");
    }
    let step = Step {
        name: "npm",
        inputs: &[
            "package.json",
            "package-lock.json",
            "bench/package.json",
            "pkg/package.json",
            "www/package.json",
        ],
        also: &version,
        // npm writes this last, so an interrupted installation has none.
        outputs: &["node_modules/.package-lock.json"],
    };
    stamp::unless_fresh(shell, step, || {
        shell.say("installing the npm packages of package-lock.json into node_modules");
        let mut command = shell.command("npm");
        command.args(["ci", "--no-audit", "--no-fund"]);
        // Fail within seconds when there is no network.
        command.args(["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]);
        shell.run(&mut command).context(
            "cannot install the npm packages; connect to the network and run this again \
             (and after a change to a package.json, run `npm install` and commit package-lock.json)",
        )?;
        Ok(Outcome::Done("installed".to_owned()))
    })
}
