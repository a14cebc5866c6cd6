//! Do the reconciler's tests fail when the reconciler is wrong? Each mutant of `tests/mutants.json` says how to make it
//! wrong; a suite that fails, or never ends, has killed it. `generated` asks the same of mutants that a tool makes.

pub(crate) mod generated;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::shell::{Outcome, Shell};

/// One way to be wrong: a text of a source file, which is there once, and what stands in its place.
#[derive(Debug, Deserialize)]
struct Mutant {
    name: String,
    file: String,
    old: String,
    new: String,
}

/// The suites that take less than a second.
const TESTS: [&str; 6] = [
    // A machine at rest is held to one that never rests there.
    "--lib",
    "--test=replica_specs",
    "--test=replica_transitions",
    "--test=replica_contract",
    "--test=replica_cost",
    "--test=replica_typed",
];

/// The comparison of traces only says that something is different, which is no judgement.
const SKIPPED: &str = "every_runtime_leaves_the_same_trace";

/// The suites, cheapest first; a mutant meets the next one only if it survives the one before.
fn suites() -> [(&'static str, Vec<&'static str>); 2] {
    let mut quick = vec!["--no-default-features", "--package=tidewire"];
    quick.extend(TESTS);
    quick.extend(["--", "--skip", SKIPPED]);
    [
        ("specs and table", quick),
        ("simulation and model", vec!["--package=tidewire-simulator", "--profile=simulation"]),
    ]
}

/// A suite that takes longer than this does not end: without a mutant each takes a tenth of it.
const LIMIT: Duration = Duration::from_secs(180);

/// `cargo xtask mutants`.
pub(crate) fn run(shell: &Shell, name: Option<&str>) -> anyhow::Result<()> {
    let list = shell.root().join("tests/mutants.json");
    let list = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let mut mutants: Vec<Mutant> =
        serde_json::from_str(&list).context("tests/mutants.json is not as expected")?;
    if let Some(name) = name {
        mutants.retain(|mutant| mutant.name.contains(name));
        ensure!(!mutants.is_empty(), "no mutant of tests/mutants.json has `{name}` in its name");
    }
    let copy = shell.target().join("mutants/source");
    copy_sources(shell, &copy)?;
    shell.step("without a mutant", "cargo xtask mutants", || {
        let killer = first_failure(shell, &copy)?;
        ensure!(killer.is_none(), "the suites fail on the sources as they are; run `cargo xtask test` first");
        Ok(Outcome::Done("all suites pass".to_owned()))
    })?;
    let mut survivors = Vec::new();
    for (index, mutant) in mutants.iter().enumerate() {
        let verdict =
            try_mutant(shell, &copy, mutant).with_context(|| format!("the mutant `{}`", mutant.name))?;
        let told = verdict.map_or("SURVIVED".to_owned(), |suite| format!("killed by {suite}"));
        shell.say(&format!("{}/{} {}: {told}", index + 1, mutants.len(), mutant.name));
        if verdict.is_none() {
            survivors.push(mutant.name.as_str());
        }
    }
    ensure!(
        survivors.is_empty(),
        "{} of {} mutants survived: {survivors:#?}",
        survivors.len(),
        mutants.len()
    );
    shell.say(&format!("all {} mutants are killed", mutants.len()));
    Ok(())
}

/// Applies a mutant, names the suite that kills it, and takes it back.
fn try_mutant(shell: &Shell, copy: &Path, mutant: &Mutant) -> anyhow::Result<Option<&'static str>> {
    let path = copy.join(&mutant.file);
    let source = fs::read_to_string(&path).with_context(|| format!("cannot read {}", mutant.file))?;
    let found = source.matches(&mutant.old).count();
    ensure!(
        found == 1,
        "its old text is in {} {found} times, not once; bring the list up to date",
        mutant.file
    );
    fs::write(&path, source.replacen(&mutant.old, &mutant.new, 1))?;
    let killer = first_failure(shell, copy);
    fs::write(&path, source)?;
    killer
}

/// The first suite that fails.
fn first_failure(shell: &Shell, copy: &Path) -> anyhow::Result<Option<&'static str>> {
    for (name, args) in suites() {
        let command = |more: &[&str]| {
            let mut cargo = shell.cargo(["test", "--quiet"]);
            cargo.arg("--target-dir").arg(shell.target().join("mutants/target")).args(more).args(&args);
            cargo.current_dir(copy).env("RUST_BACKTRACE", "0").env("RUSTFLAGS", "--cap-lints allow");
            cargo
        };
        // What does not compile was never run, so it is no kill.
        shell.run(&mut command(&["--no-run"]))?;
        if !shell.probe_within(LIMIT, &mut command(&[]))? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The sources as they are in the work tree, where a mutant harms nobody.
fn copy_sources(shell: &Shell, copy: &Path) -> anyhow::Result<()> {
    let files = shell.ask(
        "git",
        &["ls-files", "Cargo.*", "src", "tests", "benches", "examples", "crates", "xtask", "*.md"],
    );
    let files = files.context("cannot list the sources; is this a git checkout?")?;
    if copy.exists() {
        fs::remove_dir_all(copy)?;
    }
    for file in files.lines() {
        let (from, to) = (shell.root().join(file), copy.join(file));
        fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
        // A file that is deleted but not yet committed as such.
        if from.is_file() {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}
