//! What the tasks need on the machine, and how it gets there.
//!
//! Every part first looks whether all is there, which takes milliseconds, and only then installs, saying what and
//! where. Nothing is installed outside the workspace but the Rust target, tools in the user's cache, and (as root, for
//! tests) the system's Chromium and Firefox.

mod browser;
mod node;
mod rust;
mod system;
mod tools;

use std::path::PathBuf;

use crate::shell::{Outcome, Shell};

pub(crate) use browser::Browser;

/// What building the npm package and the page needs.
pub(crate) fn for_build(shell: &Shell) -> anyhow::Result<()> {
    shell.prepare("rust target", || rust::wasm_target(shell))?;
    shell.prepare("wasm-bindgen", || tools::install(shell, &tools::wasm_bindgen(shell)?))?;
    shell.prepare("npm packages", || node::install(shell))
}

/// What the tests need on top: wasm-pack, and the browsers with their drivers.
pub(crate) fn for_tests(shell: &Shell) -> anyhow::Result<Browser> {
    for_cluster(shell)?;
    shell.prepare("wasm-pack", || tools::install(shell, &tools::WASM_PACK))?;
    shell.prepare("firefox", || browser::firefox(shell))?;
    shell.prepare("geckodriver", || browser::geckodriver(shell))?;
    for_check(shell)
}

/// Firefox itself, once [`for_tests`] has set it up.
pub(crate) fn firefox(shell: &Shell) -> anyhow::Result<PathBuf> {
    browser::find_firefox(shell).ok_or_else(|| anyhow::anyhow!("the set-up of Firefox ended without one"))
}

/// What the client's benchmark needs on top: browsers, without Firefox's driver.
pub(crate) fn for_client_bench(shell: &Shell) -> anyhow::Result<Browser> {
    shell.prepare("firefox", || browser::firefox(shell))?;
    for_check(shell)
}

/// What the end-to-end check needs on top: the browser with its driver.
pub(crate) fn for_check(shell: &Shell) -> anyhow::Result<Browser> {
    let mut browser = None;
    shell.prepare("chromium", || {
        let (found, outcome) = browser::chromium(shell)?;
        browser = Some(found);
        Ok(outcome)
    })?;
    browser.ok_or_else(|| anyhow::anyhow!("the set-up of Chromium ended without one"))
}

/// What the static checks need on top.
pub(crate) fn for_checks(shell: &Shell) -> anyhow::Result<()> {
    shell.prepare("rust components", || rust::components(shell))?;
    shell.prepare("cargo-deny", || tools::install(shell, &tools::CARGO_DENY))
}

/// What a cluster needs.
pub(crate) fn for_cluster(shell: &Shell) -> anyhow::Result<()> {
    shell.prepare("nats-server", || system::nats_server(shell))
}

/// What putting load on the server and on others needs.
pub(crate) fn for_load(shell: &Shell) -> anyhow::Result<()> {
    shell.prepare("npm packages", || node::install(shell))?;
    for_cluster(shell)
}

/// What making mutants needs.
pub(crate) fn for_mutants(shell: &Shell) -> anyhow::Result<()> {
    shell.prepare("cargo-mutants", || tools::install(shell, &tools::CARGO_MUTANTS))
}

/// Where one version of a tool is kept that no other part of the set-up installs.
pub(crate) fn tool_directory(shell: &Shell, name: &str, version: &str) -> PathBuf {
    cache(shell).join(format!("{name}-{version}"))
}

/// Where tools are kept: one directory for each tool and version, shared by all checkouts of this user.
fn cache(shell: &Shell) -> PathBuf {
    let dir = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    dir("XDG_CACHE_HOME")
        .or_else(|| dir("HOME").map(|home| home.join(".cache")))
        .or_else(|| dir("LOCALAPPDATA"))
        .map_or_else(|| shell.target().join("tools"), |cache| cache.join("tidewire"))
}

fn present() -> Outcome {
    Outcome::Done("present".to_owned())
}
