//! Packages of the system.

use anyhow::{Context, bail};

use super::present;
use crate::shell::{Outcome, Shell};

/// Finds nats-server, or installs it where that is the system's way and we may.
pub(super) fn nats_server(shell: &Shell) -> anyhow::Result<Outcome> {
    if shell.find(&["nats-server"]).is_some() {
        return Ok(present());
    }
    let by_hand = "this needs nats-server; on Debian run `apt-get install nats-server`, elsewhere install it so that \
                   `nats-server` is on the PATH";
    apt_get(shell, &["nats-server"], by_hand)?;
    Ok(Outcome::Done("installed".to_owned()))
}

/// Installs packages of Debian; where that is not possible the error is `by_hand`.
pub(super) fn apt_get(shell: &Shell, packages: &[&str], by_hand: &str) -> anyhow::Result<()> {
    let is_root = shell.ask("id", &["-u"]).is_some_and(|id| id == "0");
    let is_debian = ["apt-get", "dpkg"].iter().all(|program| shell.find(&[program]).is_some());
    if !is_root || !is_debian {
        bail!("{by_hand}");
    }
    let packages_text = packages.join(" ");
    shell.say(&format!("installing: apt-get install {packages_text}"));
    let install = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    for args in [&["update"][..], &install] {
        let mut command = shell.command("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "Acquire::Retries=1"]).args(args);
        shell.run(&mut command).with_context(|| {
            format!(
                "cannot install {packages_text}; connect to the network and run this again, or install it from \
                 another source"
            )
        })?;
    }
    Ok(())
}
