//! Somebody else's tests of WebSockets, against the WebSocket of the server: Autobahn's groups 1 to 7, 9 and 10. The
//! groups 12 and 13 are about compression, which the server does not offer.
//!
//! The suite is of Python 2, which few systems have any more; where there is none, the task says so and is done.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use crate::{
    setup,
    shell::{self, Outcome, Shell},
};

const SUITE: &str = "autobahntestsuite";
const VERSION: &str = "0.8.2";

const GROUPS: [&str; 9] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"];

/// How many cases those groups have: fewer would mean that some did not run.
const CASES: usize = 301;

/// Cases whose text breaks off in the middle of a message of several frames: the suite would have it refused at once,
/// and takes it when it is refused at the end.
const LATER_THAN_COULD_BE: [&str; 2] = ["6.4.3", "6.4.4"];

/// Many times what the suite takes.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// What the suite says of one case.
#[derive(Debug, Deserialize)]
struct Verdict {
    behavior: String,
    #[serde(rename = "behaviorClose")]
    close: String,
}

type Report = std::collections::BTreeMap<String, std::collections::BTreeMap<String, Verdict>>;

/// `cargo xtask autobahn`.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    check(shell)?;
    shell.print_summary();
    Ok(())
}

/// Runs the suite as a step, or says why not.
pub(crate) fn check(shell: &Shell) -> anyhow::Result<()> {
    shell.step("autobahn", "cargo xtask autobahn", || {
        let Some(python) = python(shell) else {
            let missing = format!(
                "there is no Python 2 here, which {SUITE} {VERSION} needs; install one so that `python2` runs it"
            );
            return Ok(Outcome::Skipped(missing));
        };
        let packages = install(shell, &python)?;
        shell.run(&mut shell.cargo([
            "build", "--locked", "--profile", "server", "--package", "tidewire-server", "--example", "echo",
        ]))?;
        let results = shell.target().join("autobahn");
        if results.exists() {
            fs::remove_dir_all(&results).with_context(|| format!("cannot empty {}", results.display()))?;
        }
        fs::create_dir_all(&results).with_context(|| format!("cannot make {}", results.display()))?;
        let echo = Echo::start(shell)?;
        let script = format!(
            "import site; site.addsitedir({:?}); from autobahntestsuite.wstest import run; run()",
            packages.display().to_string()
        );
        let specification = serde_json::json!({
            "outdir": results, "servers": [{ "agent": "tidewire", "url": echo.url }],
            "cases": GROUPS, "exclude-cases": [], "exclude-agent-cases": {},
        });
        let file = results.join("specification.json");
        fs::write(&file, specification.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
        let mut suite = shell.command(&python.to_string_lossy());
        suite.args(["-c", &script, "--mode", "fuzzingclient", "--spec"]).arg(&file);
        shell.run_within(LIMIT, &mut suite)?;
        drop(echo);
        let index = results.join("index.json");
        let report = fs::read(&index).with_context(|| format!("the suite left no {}", index.display()))?;
        let report: Report = serde_json::from_slice(&report).context("the suite's report is of another form")?;
        Ok(Outcome::Done(judged(&report)?))
    })
}

/// A Python 2: on the path, or among those that pyenv keeps.
fn python(shell: &Shell) -> Option<PathBuf> {
    let on_path = ["python2.7", "python2", "pypy"].map(|name| shell.find(&[name]));
    let kept = env::var_os("PYENV_ROOT").map(PathBuf::from);
    let kept = kept.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".pyenv")))?.join("versions");
    let kept =
        fs::read_dir(kept).into_iter().flatten().flatten().map(|version| version.path().join("bin/python"));
    let is_two = |python: &PathBuf| {
        let asked = shell.ask(&python.to_string_lossy(), &["-c", "import sys; print(sys.version_info[0])"]);
        asked.is_some_and(|major| major == "2")
    };
    on_path.into_iter().flatten().chain(kept).find(is_two)
}

/// Installs the suite into the tool cache, if it is not there.
fn install(shell: &Shell, python: &Path) -> anyhow::Result<PathBuf> {
    let packages = setup::tool_directory(shell, SUITE, VERSION);
    let is_complete = packages.join(format!("{SUITE}-{VERSION}.dist-info")).is_dir()
        || packages.join(format!("{SUITE}-{VERSION}-py2.7.egg-info")).is_dir();
    if !is_complete {
        shell.say(&format!("installing {SUITE} {VERSION} into {}", packages.display()));
        let mut pip = shell.command(&python.to_string_lossy());
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--upgrade", "--target"])
            .arg(&packages);
        shell.run(pip.arg(format!("{SUITE}=={VERSION}"))).with_context(|| {
            format!("cannot install {SUITE}; connect to the network, or see that this Python has pip and a C compiler")
        })?;
    }
    Ok(packages)
}

/// Fails for a case that failed or did not run.
fn judged(report: &Report) -> anyhow::Result<String> {
    let cases = report.get("tidewire").context("the suite's report has another agent")?;
    let is_well = |name: &str, said: &str| match said {
        "OK" | "INFORMATIONAL" => true,
        "NON-STRICT" => LATER_THAN_COULD_BE.contains(&name),
        _ => false,
    };
    let bad = cases.iter().filter(|(name, it)| !is_well(name, &it.behavior) || !is_well(name, &it.close));
    let bad: Vec<_> = bad.map(|(name, it)| format!("{name} ({}, {})", it.behavior, it.close)).collect();
    if !bad.is_empty() {
        bail!("cases that do not pass: {}", bad.join(", "));
    }
    ensure!(cases.len() == CASES, "{} cases ran, {CASES} are due", cases.len());
    Ok(format!("{CASES} cases, 0 failed"))
}

/// The server's WebSocket, which says everything again.
struct Echo {
    child: Child,
    url: String,
}

impl Echo {
    fn start(shell: &Shell) -> anyhow::Result<Self> {
        let program = shell.target().join("server/examples/echo").with_extension(env::consts::EXE_EXTENSION);
        let mut command = shell.command(&program.to_string_lossy());
        shell::own_group(&mut command);
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start the echo server")?;
        let mut line = String::new();
        let told = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
        let mut echo = Self { child, url: String::new() };
        told.context("the echo server has no output")?.context("the echo server says nothing")?;
        let url =
            line.trim().strip_prefix("listening on ").context("the echo server does not say where it is")?;
        url.clone_into(&mut echo.url);
        Ok(echo)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        shell::end_group(&mut self.child);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(changes: &[(&str, &str)]) -> Report {
        let name = |number| format!("1.{number}");
        let verdict = |behavior: &str| Verdict { behavior: behavior.to_owned(), close: "OK".to_owned() };
        let mut cases: std::collections::BTreeMap<_, _> =
            (0..CASES).map(|n| (name(n), verdict("OK"))).collect();
        for (name, behavior) in changes {
            cases.remove("1.0");
            cases.insert((*name).to_owned(), verdict(behavior));
        }
        Report::from([("tidewire".to_owned(), cases)])
    }

    #[test]
    fn a_case_that_failed_or_did_not_run_fails_the_task() {
        assert!(judged(&report(&[])).is_ok());
        assert!(judged(&report(&[("6.4.3", "NON-STRICT")])).is_ok());
        assert!(judged(&report(&[("6.4.5", "NON-STRICT")])).is_err());
        assert!(judged(&report(&[("6.4.3", "FAILED")])).is_err());
        let mut fewer = report(&[]);
        fewer.values_mut().for_each(|cases| drop(cases.pop_first()));
        assert!(judged(&fewer).is_err());
    }
}
