//! Chromium and its driver, from the system.

use std::{env, path::PathBuf};

use anyhow::{Context, bail};

use super::present;
use crate::shell::{Outcome, Shell};

const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The browser that tests run in.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    /// The browser itself.
    pub(crate) program: PathBuf,
    /// `chromedriver`, of the same version.
    pub(crate) driver: PathBuf,
}

/// Finds both, or installs both where that is the system's way and we may.
pub(super) fn install(shell: &Shell) -> anyhow::Result<(Browser, Outcome)> {
    if let Some(browser) = find(shell) {
        return Ok((browser, present()));
    }
    let is_root = shell.ask("id", &["-u"]).is_some_and(|id| id == "0");
    let is_debian = ["apt-get", "dpkg"].iter().all(|program| shell.find(&[program]).is_some());
    if !is_root || !is_debian {
        bail!(
            "the browser tests need Chromium and chromedriver of the same version; on Debian run `apt-get install \
             chromium chromium-driver`, elsewhere install both and set CHROME and CHROMEDRIVER to their paths"
        );
    }
    shell.say("installing: apt-get install chromium chromium-driver");
    let offline = "cannot install Chromium; connect to the network and run this again, or install chromium and \
                   chromium-driver from another source";
    for args in
        [&["update"][..], &["install", "--yes", "--no-install-recommends", "chromium", "chromium-driver"]]
    {
        let mut command = shell.command("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "Acquire::Retries=1"]).args(args);
        shell.run(&mut command).context(offline)?;
    }
    let browser =
        find(shell).context("apt-get installed no `chromium` and `chromedriver`; install both by hand")?;
    Ok((browser, Outcome::Done("installed".to_owned())))
}

fn find(shell: &Shell) -> Option<Browser> {
    let named = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_file());
    // Hosted CI machines name the directory of a driver that is not on the path.
    let beside =
        || named_dir("CHROMEWEBDRIVER").map(|dir| dir.join("chromedriver")).filter(|path| path.is_file());
    Some(Browser {
        program: named("CHROME").or_else(|| shell.find(&BROWSERS))?,
        driver: named("CHROMEDRIVER").or_else(beside).or_else(|| shell.find(&["chromedriver"]))?,
    })
}

fn named_dir(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_dir())
}
