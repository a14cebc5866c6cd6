//! The end-to-end check: the built page, in headless Chromium, against the real server.
//!
//! The check itself is `www/e2e/check.mjs`. It finds all it needs in its environment: `TIDEWIRE_URL` (the page),
//! `TIDEWIRE_RESTART_URL` (see `control`), `TIDEWIRE_SCREENSHOTS` (a directory that exists) and `TIDEWIRE_CHROMIUM`
//! (the browser's program). It prints what it asserts and exits with 0, or says what failed.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{
    control,
    server::{self, Server},
    setup::Browser,
    shell::{Outcome, Shell},
};

const SCRIPT: &str = "www/e2e/check.mjs";

/// Several times what the check takes on two cores.
const LIMIT: Duration = Duration::from_secs(240);

/// Runs the check as a step of its own, with a fresh database and a free port.
pub(crate) fn run(shell: &Shell, browser: &Browser) -> anyhow::Result<()> {
    shell.step("end to end", "cargo xtask demo --check", || {
        let results = shell.target().join("demo");
        let data = results.join("data");
        for dir in [&results, &data] {
            recreate(dir)?;
        }
        server::import_countries(shell, &data)?;
        let log = results.join("server.log");
        let server = Server::start(shell, server::free_port()?, &data, Some(&log))?;
        let url = server.url();
        let shared = Arc::new(Mutex::new(Some(server)));

        let mut script = shell.command("node");
        script.arg(SCRIPT);
        let control = control::serve(control::of_server(Arc::clone(&shared)))?;
        script.env("TIDEWIRE_URL", &url).env("TIDEWIRE_RESTART_URL", control);
        script.env("TIDEWIRE_SCREENSHOTS", &results).env("TIDEWIRE_CHROMIUM", &browser.program);
        let checked = shell.run_within(LIMIT, &mut script);

        let server = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
        checked.with_context(|| format!("the server's log: {}", log.display()))?;
        server.context("the check ended without its server")?.stop()?;
        let screenshots = count_screenshots(&results)?;
        ensure!(screenshots > 0, "the check saved no screenshot in {}", results.display());
        Ok(Outcome::Done(format!("passed, {screenshots} screenshots in {}", results.display())))
    })
}

pub(crate) fn recreate(dir: &Path) -> anyhow::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

pub(crate) fn count_screenshots(dir: &Path) -> anyhow::Result<usize> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    Ok(entries.flatten().filter(|entry| entry.path().extension().is_some_and(|kind| kind == "png")).count())
}
