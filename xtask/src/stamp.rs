//! Skipping work whose inputs have not changed.
//!
//! A stamp is a digest of all inputs and all outputs of a step, written after the step. Contents count, not times: a
//! checkout that touches every file rebuilds nothing, and an output that somebody changed or deleted is built again.

use std::{
    fs,
    hash::{DefaultHasher, Hasher},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::shell::{Outcome, Shell};

/// Directories inside an input that hold what was made from it, or what the set-up installed.
const NOT_INPUTS: [&str; 5] = ["node_modules", "dist", "target", ".git", "test-results"];

/// What a step reads and writes, relative to the workspace's root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'a> {
    /// Names the stamp's file.
    pub(crate) name: &'a str,
    /// Files and directories that the step reads; one that does not exist counts as empty.
    pub(crate) inputs: &'a [&'a str],
    /// Anything else that decides the result, such as a tool's version.
    pub(crate) also: &'a str,
    /// Files and directories that the step writes.
    pub(crate) outputs: &'a [&'a str],
}

/// Does `work` unless its stamp says that it would change nothing.
pub(crate) fn unless_fresh(
    shell: &Shell,
    step: Step<'_>,
    work: impl FnOnce() -> anyhow::Result<Outcome>,
) -> anyhow::Result<Outcome> {
    let dir = shell.scratch().join("stamps");
    let file = dir.join(step.name);
    let missing = step.outputs.iter().any(|output| !shell.root().join(output).exists());
    if !missing && fs::read_to_string(&file).is_ok_and(|old| digest(shell, step).is_ok_and(|now| now == old))
    {
        return Ok(Outcome::Fresh);
    }
    let outcome = work()?;
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    fs::write(&file, digest(shell, step)?).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(outcome)
}

fn digest(shell: &Shell, step: Step<'_>) -> anyhow::Result<String> {
    let mut hasher = DefaultHasher::new();
    hasher.write(step.also.as_bytes());
    for path in step.inputs.iter().chain(step.outputs) {
        for file in files_under(&shell.root().join(path))? {
            let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            hasher.write(file.strip_prefix(shell.root()).unwrap_or(&file).as_os_str().as_encoded_bytes());
            hasher.write_usize(content.len());
            hasher.write(&content);
        }
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

/// All files at or under a path, in a fixed order, without what is generated or installed inside it.
pub(crate) fn files_under(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let mut entries = fs::read_dir(path)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
        })
        .with_context(|| format!("cannot list {}", path.display()))?;
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        if entry.file_name().is_none_or(|name| NOT_INPUTS.iter().all(|skipped| name != *skipped)) {
            files.extend(files_under(&entry)?);
        }
    }
    Ok(files)
}
