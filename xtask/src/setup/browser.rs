//! Browsers and their drivers: Chromium's and Firefox's packages from the system, geckodriver from the tool cache.

use std::{env, path::PathBuf};

use anyhow::Context;

use super::{present, system::apt_get, tools};
use crate::shell::{Outcome, Shell};

const CHROMIUM: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const FIREFOX: [&str; 2] = ["firefox", "firefox-esr"];

/// The browser that most tests run in.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    /// The browser itself.
    pub(crate) program: PathBuf,
    /// `chromedriver`, of the same version.
    pub(crate) driver: PathBuf,
}

/// Finds Chromium and its driver, or installs both where that is the system's way and we may.
pub(super) fn chromium(shell: &Shell) -> anyhow::Result<(Browser, Outcome)> {
    if let Some(browser) = find_chromium(shell) {
        return Ok((browser, present()));
    }
    let by_hand = "the browser tests need Chromium and chromedriver of the same version; on Debian run `apt-get \
                   install chromium chromium-driver`, elsewhere install both and set CHROME and CHROMEDRIVER to \
                   their paths";
    apt_get(shell, &["chromium", "chromium-driver"], by_hand)?;
    let browser = find_chromium(shell)
        .context("apt-get installed no `chromium` and `chromedriver`; install both by hand")?;
    Ok((browser, Outcome::Done("installed".to_owned())))
}

/// Finds Firefox, or installs it where that is the system's way and we may.
pub(super) fn firefox(shell: &Shell) -> anyhow::Result<Outcome> {
    if find_firefox(shell).is_some() {
        return Ok(present());
    }
    let by_hand = "the browser tests need Firefox; on Debian run `apt-get install firefox-esr`, elsewhere install it \
                   so that `firefox` is on the PATH";
    apt_get(shell, &["firefox-esr"], by_hand)?;
    Ok(Outcome::Done("installed".to_owned()))
}

/// Firefox, if it is there.
pub(super) fn find_firefox(shell: &Shell) -> Option<PathBuf> {
    shell.find(&FIREFOX)
}

/// Finds geckodriver, or builds it into the tool cache.
pub(super) fn geckodriver(shell: &Shell) -> anyhow::Result<Outcome> {
    tools::install(shell, &tools::GECKODRIVER)
}

fn find_chromium(shell: &Shell) -> Option<Browser> {
    let named = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_file());
    // Hosted CI machines name the directory of a driver that is not on the path.
    let beside =
        || named_dir("CHROMEWEBDRIVER").map(|dir| dir.join("chromedriver")).filter(|path| path.is_file());
    Some(Browser {
        program: named("CHROME").or_else(|| shell.find(&CHROMIUM))?,
        driver: named("CHROMEDRIVER").or_else(beside).or_else(|| shell.find(&["chromedriver"]))?,
    })
}

fn named_dir(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_dir())
}
