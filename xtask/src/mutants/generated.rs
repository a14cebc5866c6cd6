//! The mutants that `cargo-mutants` makes of `src/replica`: each operator, match guard and function body replaced. None
//! may survive the quick suites, but those of `tests/mutants-accepted.txt`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::{SKIPPED, TESTS, copy_sources};
use crate::{
    setup,
    shell::{Outcome, Shell},
};

const ACCEPTED: &str = "tests/mutants-accepted.txt";

/// All of them: one takes about a second.
const LIMIT: Duration = Duration::from_secs(3 * 3_600);

/// What `cargo-mutants` writes down.
#[derive(Debug, Deserialize)]
struct Report {
    outcomes: Vec<Trial>,
}

#[derive(Debug, Deserialize)]
struct Trial {
    scenario: Scenario,
    summary: Summary,
}

#[derive(Debug, Deserialize)]
enum Scenario {
    Baseline,
    Mutant { name: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Summary {
    Success,
    CaughtMutant,
    MissedMutant,
    Unviable,
    Failure,
    Timeout,
}

/// `cargo xtask mutants --generated`.
pub(crate) fn run(shell: &Shell, name: Option<&str>) -> anyhow::Result<()> {
    setup::for_mutants(shell)?;
    let accepted =
        fs::read_to_string(shell.root().join(ACCEPTED)).with_context(|| format!("cannot read {ACCEPTED}"))?;
    let accepted = read_accepted(&accepted)?;
    let copy = shell.target().join("mutants/source");
    copy_sources(shell, &copy)?;
    let output = shell.target().join("mutants/generated");
    let mut report = None;
    shell.step("generated mutants", "cargo xtask mutants --generated", || {
        // It also fails where a mutant survives; the report says which.
        shell.probe_within(LIMIT, &mut command(shell, &copy, &output, name))?;
        let path = output.join("mutants.out/outcomes.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text: Report =
            serde_json::from_str(&text).context("the report of cargo-mutants is not as expected")?;
        let count = text.outcomes.len().saturating_sub(1);
        report = Some(text);
        Ok(Outcome::Done(format!("{count} tried")))
    })?;
    let Report { outcomes } = report.context("the step made a report")?;
    let is_sound =
        |trial: &Trial| matches!(trial.scenario, Scenario::Baseline) && trial.summary == Summary::Success;
    ensure!(
        outcomes.iter().any(is_sound),
        "the suites fail on the sources as they are, or cargo-mutants did not run; see {}",
        output.join("mutants.out/log").display()
    );
    for line in table(&outcomes) {
        println!("{line}");
    }
    let survivors: BTreeSet<_> = outcomes
        .iter()
        .filter(|trial| trial.summary == Summary::MissedMutant)
        .filter_map(|trial| trial.scenario.mutant())
        .collect();
    let unknown: Vec<_> =
        survivors.iter().filter(|mutant| !accepted.contains(&without_place(mutant))).collect();
    ensure!(
        unknown.is_empty(),
        "{} mutants survived: {unknown:#?}; test what they break, or drop the code that decides nothing, or list \
         them with a reason in {ACCEPTED}",
        unknown.len()
    );
    let survived: BTreeSet<_> = survivors.iter().map(|mutant| without_place(mutant)).collect();
    let stale: Vec<_> = accepted.difference(&survived).filter(|_| name.is_none()).collect();
    ensure!(stale.is_empty(), "killed by now, so take them out of {ACCEPTED}: {stale:#?}");
    shell.say(&format!("no mutant survives but the {} that are accepted", survived.len()));
    Ok(())
}

impl Scenario {
    fn mutant(&self) -> Option<&str> {
        match self {
            Self::Baseline => None,
            Self::Mutant { name } => Some(name),
        }
    }
}

fn command(shell: &Shell, copy: &Path, output: &Path, name: Option<&str>) -> Command {
    // The machine stays usable: it runs for many minutes.
    let mut command = if shell.find(&["nice"]).is_some() {
        let mut nice = shell.command("nice");
        nice.args(["-n", "10", "cargo"]);
        nice
    } else {
        shell.cargo([])
    };
    command.current_dir(copy).args(["mutants", "--in-place", "--no-config", "--cap-lints=true"]);
    command.args(["--file=src/replica/**", "--package=tidewire", "--no-default-features"]);
    // The suites take a second, so one that takes longer goes round in circles.
    command.args(["--timeout=20", "--build-timeout=300", "--colors=never"]).arg("--output").arg(output);
    command.args(TESTS.map(|test| format!("--cargo-arg={test}")));
    if let Some(name) = name {
        command.arg("--re").arg(escape(name));
    }
    command.args(["--", "--", "--skip", SKIPPED]);
    // What makes one mutant cheap: incremental, nothing optimised, nothing to debug.
    command.env("CARGO_TARGET_DIR", shell.target().join("mutants/target"));
    for profile in ["DEV", "TEST"] {
        command.env(format!("CARGO_PROFILE_{profile}_DEBUG"), "0");
    }
    command.env("RUST_BACKTRACE", "0");
    command
}

/// `text` as a regular expression that finds it.
fn escape(text: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ' ';
    text.chars().flat_map(|letter| [(!is_plain(letter)).then_some('\\'), Some(letter)]).flatten().collect()
}

/// The names of the list: a line `name | reason` each. Lines that begin with `#` are comments.
fn read_accepted(text: &str) -> anyhow::Result<BTreeSet<String>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, reason) = line
                .rsplit_once(" | ")
                .with_context(|| format!("{ACCEPTED}: `{line}` has no reason; write `name | reason`"))?;
            ensure!(!reason.trim().is_empty(), "{ACCEPTED}: `{name}` has no reason");
            Ok(name.trim().to_owned())
        })
        .collect()
}

/// `src/a.rs:12:5: replace …` as `src/a.rs: replace …`: lines move.
fn without_place(name: &str) -> String {
    let mut parts = name.splitn(4, ':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(file), Some(_), Some(_), Some(what)) => format!("{file}:{what}"),
        _ => name.to_owned(),
    }
}

/// The table of docs/mutants.md: a line for each file.
fn table(outcomes: &[Trial]) -> Vec<String> {
    let mut files: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
    for trial in outcomes {
        let Some(name) = trial.scenario.mutant() else { continue };
        let column = match trial.summary {
            Summary::CaughtMutant => 1,
            Summary::Timeout => 2,
            Summary::MissedMutant => 3,
            Summary::Unviable | Summary::Success | Summary::Failure => 4,
        };
        let file = name.split(':').next().unwrap_or_default();
        for row in [file, "all"] {
            let counts = files.entry(row).or_default();
            counts[0] += 1;
            counts[column] += 1;
        }
    }
    let all = files.remove("all").unwrap_or_default();
    let lines = files.into_iter().chain([("all", all)]).map(|(file, counts)| {
        format!("| `{file}` | {} |", counts.map(|count| count.to_string()).join(" | "))
    });
    let head = [
        "| file | mutants | killed | never ended | survived | did not compile |",
        "|---|---|---|---|---|---|",
    ];
    head.into_iter().map(str::to_owned).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_wherever_its_line_has_gone() {
        let name = "src/replica/a.rs:12:5: replace match guard a::b == 1 with true in X::y";
        assert_eq!(without_place(name), "src/replica/a.rs: replace match guard a::b == 1 with true in X::y");
    }

    #[test]
    fn an_accepted_mutant_has_a_reason() {
        let text = "# about\n\nsrc/a.rs: replace || with && in f | they are never both\n";
        let expected = BTreeSet::from(["src/a.rs: replace || with && in f".to_owned()]);
        assert_eq!(read_accepted(text).ok(), Some(expected));
        assert!(read_accepted("src/a.rs: replace || with && in f\n").is_err());
    }

    #[test]
    fn a_filter_means_what_it_says() {
        assert_eq!(escape("a.rs: f(x)"), "a\\.rs\\: f\\(x\\)");
    }
}
