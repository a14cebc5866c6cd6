//! A search for inputs that break a decoder, the server or the client: libFuzzer over the targets of `fuzz/`.
//!
//! The instrumentation is a pass of LLVM that stable Rust can switch on, so no other toolchain is needed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use crate::shell::{DEFAULT_LIMIT, Interrupted, Outcome, Shell, display};

/// How long the long tier of the tests looks, per target.
pub(crate) const SECONDS: u64 = 30;

/// Counters for every edge, and what numbers are compared with, as libFuzzer reads them.
const INSTRUMENTATION: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// What one input may take, far above what any does; and inputs that come closer to a comparison count as new ones.
const BOUNDS: [&str; 4] = ["-max_len=65536", "-rss_limit_mb=1024", "-timeout=10", "-use_value_profile=1"];

/// How long to look for a smaller input that fails as well.
const MINIMISING: Duration = Duration::from_secs(30);

/// `cargo xtask fuzz [NAME] --seconds N`.
pub(crate) fn run(shell: &Shell, name: Option<&str>, seconds: u64) -> anyhow::Result<()> {
    all(shell, name, seconds)?;
    shell.print_summary();
    Ok(())
}

/// Builds the targets, and runs those whose name has `name` in it for so many seconds each.
pub(crate) fn all(shell: &Shell, name: Option<&str>, seconds: u64) -> anyhow::Result<()> {
    let programs = programs(shell)?;
    let targets = targets(shell, name)?;
    for target in targets {
        let program = programs.join(&target).with_extension(std::env::consts::EXE_EXTENSION);
        let alone = format!("cargo xtask fuzz {target} --seconds {seconds}");
        shell.step(&format!("fuzz {target}"), &alone, || search(shell, &program, &target, seconds))?;
    }
    Ok(())
}

/// The names of the files in `fuzz/fuzz_targets`; a test holds them to the list in `fuzz/src/lib.rs`.
fn targets(shell: &Shell, name: Option<&str>) -> anyhow::Result<Vec<String>> {
    let directory = shell.root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let stem =
        |file: std::io::Result<fs::DirEntry>| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned());
    let mut targets: Vec<_> =
        files.filter_map(stem).filter(|it| name.is_none_or(|name| it.contains(name))).collect();
    targets.sort();
    ensure!(
        !targets.is_empty(),
        "no target in {} has {:?} in its name",
        directory.display(),
        name.unwrap_or("any")
    );
    Ok(targets)
}

/// Builds the targets; returns where they are.
fn programs(shell: &Shell) -> anyhow::Result<PathBuf> {
    let said =
        shell.ask("rustc", &["-vV"]).context("rustc does not run; install Rust from https://rustup.rs")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let directory = home(shell);
    let mut build = shell.cargo(["build", "--locked", "--release", "--bins"]);
    build.args(["--manifest-path", "fuzz/Cargo.toml", "--target-dir"]).arg(&directory);
    // With a target named, the flags are for what runs there, and not for build scripts.
    build.args(["--target", host]).env("RUSTFLAGS", INSTRUMENTATION.join(" "));
    let alone = display(&build);
    shell.step("fuzz targets", &alone, || {
        shell.run(&mut build)?;
        Ok(Outcome::Done("built".to_owned()))
    })?;
    Ok(directory.join(host).join("release"))
}

/// What the searches keep between runs.
fn home(shell: &Shell) -> PathBuf {
    shell.target().join("fuzz")
}

fn search(shell: &Shell, program: &Path, target: &str, seconds: u64) -> anyhow::Result<Outcome> {
    let home = home(shell);
    let (corpus, seeds, found) =
        (home.join("corpus").join(target), home.join("seeds"), home.join("found").join(target));
    for directory in [&corpus, &seeds.join(target), &found] {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let before = newest(&found);
    let mut search = Command::new(program);
    search.current_dir(shell.root()).env("TIDEWIRE_SEEDS", &seeds).args(BOUNDS);
    search.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={}/", found.display()));
    search.arg(&corpus).arg(seeds.join(target));
    let regressions = shell.root().join("fuzz/regressions").join(target);
    if regressions.is_dir() {
        search.arg(&regressions);
    }
    let limit = Duration::from_secs(seconds) + DEFAULT_LIMIT;
    match shell.run_within(limit, &mut search) {
        Ok(output) => Ok(Outcome::Done(told(&output)?)),
        Err(error) if error.is::<Interrupted>() => Err(error),
        Err(error) => match newest(&found) {
            Some(input) if before.as_ref() != Some(&input) => {
                let small = minimised(shell, program, &input, &regressions)?;
                bail!(
                    "{target} fails for {}; once it is mended, commit that file: the tests replay it ({error})",
                    small.display()
                )
            }
            _ => Err(error),
        },
    }
}

/// What a search says of itself in the end.
fn told(output: &str) -> anyhow::Result<String> {
    let runs = output
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("Done ")?.split(' ').next()?.parse::<u64>().ok())
        .context("the search did not say how many inputs it tried")?;
    ensure!(runs > 0, "the search tried no input");
    let covered = output.lines().rev().find_map(|line| line.split_once(" cov: ")?.1.split(' ').next());
    Ok(format!("{runs} inputs, {} edges reached", covered.unwrap_or("no")))
}

/// The input that was found last.
fn newest(directory: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(directory).ok()?.filter_map(Result::ok);
    files.max_by_key(|file| file.metadata().and_then(|it| it.modified()).ok()).map(|file| file.path())
}

/// A smaller input that fails as well, among those that the tests replay; the same one where there is none.
fn minimised(shell: &Shell, program: &Path, input: &Path, regressions: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(regressions).with_context(|| format!("cannot make {}", regressions.display()))?;
    let name = input.file_name().context("an input is a file")?;
    let small = regressions.join(name);
    let mut minimise = Command::new(program);
    minimise.current_dir(shell.root()).args(["-minimize_crash=1", "-runs=100000"]);
    minimise.arg(format!("-max_total_time={}", MINIMISING.as_secs()));
    minimise.arg(format!("-exact_artifact_path={}", small.display())).arg(input);
    shell.say("looking for a smaller input that fails as well");
    shell.probe_within(4 * MINIMISING, &mut minimise)?;
    let is_good = small.is_file() && !shell.probe_within(MINIMISING, Command::new(program).arg(&small))?;
    if !is_good {
        fs::copy(input, &small).with_context(|| format!("cannot write {}", small.display()))?;
    }
    Ok(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_tells_what_it_tried_and_reached() {
        let output =
            "#2\tINITED cov: 10 ft: 11\n#512\tDONE   cov: 20 ft: 30 corp: 8/1b\nDone 512 runs in 9 second(s)";
        assert_eq!(told(output).ok().as_deref(), Some("512 inputs, 20 edges reached"));
        assert!(told("Done 0 runs in 1 second(s)").is_err());
    }
}
