//! `mutants [NAME-PART]`: breaks the reconciler in every way that `tests/mutants.json` lists, one after the other, in a copy
//! of the sources, and tells which test kills each mutant. A mutant that survives is a rule that no test holds.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// From the quick to the thorough: the first that fails has killed the mutant.
const JUDGES: [(&str, &[&str]); 2] = [
    (
        "specifications",
        &[
            "-p",
            "tidewire",
            "--no-default-features",
            "--test",
            "replica_specs",
            "--test",
            "replica_transitions",
            "--test",
            "replica_cost",
            "--test",
            "replica_contract",
        ],
    ),
    ("simulation", &["-p", "tidewire-simulator", "--test", "simulation"]),
];

/// A mutant may loop for ever: that is found out too.
const PATIENCE: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    let wanted = env::args().nth(1).unwrap_or_default();
    match play(&wanted) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(survivors) => {
            eprintln!("{survivors} mutants survived");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn play(wanted: &str) -> Result<usize, Box<dyn std::error::Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let copy = root.join("target/mutants");
    let listed = Command::new("git").args(["ls-files"]).current_dir(&root).output()?;
    for file in String::from_utf8(listed.stdout)?.lines() {
        let target = copy.join(file);
        fs::create_dir_all(target.parent().unwrap_or(&copy))?;
        fs::copy(root.join(file), target)?;
    }
    for (name, arguments) in JUDGES {
        if let Some(death) = judge(&copy, arguments)? {
            return Err(format!("the {name} fail without a mutant: {death}").into());
        }
    }
    let mutants: Vec<Value> = serde_json::from_str(&fs::read_to_string(root.join("tests/mutants.json"))?)?;
    let mut survivors = 0;
    for mutant in &mutants {
        let text = |field: &str| mutant[field].as_str().unwrap_or_default();
        let (name, file) = (text("name"), copy.join(text("file")));
        if !name.contains(wanted) {
            continue;
        }
        let sound = fs::read_to_string(&file)?;
        if sound.matches(text("old")).count() != 1 {
            return Err(format!("`{name}` does not fit its file exactly once: rewrite it").into());
        }
        fs::write(&file, sound.replacen(text("old"), text("new"), 1))?;
        let mut death = None;
        for (judge_name, arguments) in JUDGES {
            if let Some(how) = judge(&copy, arguments)? {
                death = Some(format!("{judge_name}: {how}"));
                break;
            }
        }
        fs::write(&file, sound)?;
        survivors += usize::from(death.is_none());
        println!("| {name} | {} |", death.as_deref().unwrap_or("SURVIVED"));
    }
    Ok(survivors)
}

/// How the mutant in `copy` dies of these tests, if it does.
fn judge(copy: &Path, arguments: &[&str]) -> Result<Option<&'static str>, Box<dyn std::error::Error>> {
    let cargo = |command: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(command).args(arguments).arg("--quiet").current_dir(copy);
        cargo.env("CARGO_TARGET_DIR", copy.join("target")).stdout(Stdio::null()).stderr(Stdio::null());
        cargo
    };
    if !cargo(&["test", "--no-run"]).status()?.success() {
        return Err("a mutant does not compile: rewrite it".into());
    }
    let mut child = cargo(&["test"]).spawn()?;
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait()? {
            return Ok((!status.success()).then_some("failed"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(Some("did not end"))
}
