//! Several servers that are one service, over a real nats-server.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

#[path = "../rig/mod.rs"]
mod rig;

mod appends;
mod balancer;
mod line;
mod nats;
mod one_history;
mod schedules;
mod stuck;
mod trouble;

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nats::Nats;
use rig::{Program, get};

/// A server that is part of the service.
pub(crate) fn node(nats: &Nats, data: &Path, name: &str) -> Program {
    Program::start(data, &["--nats", &nats.url(), "--node", name])
}

/// The same on a disk that [`fill`] fills; what it says is added to a file.
pub(crate) fn node_with_a_disk(urls: &str, data: &Path, name: &str, log: Option<&Path>) -> Program {
    let mut shell = Command::new("sh");
    // Without the trap, the signal that comes with the limit would end the server.
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tidewire-server")]);
    let log = log.and_then(|path| File::options().create(true).append(true).open(path).ok());
    shell.stderr(log.map_or_else(Stdio::null, Stdio::from));
    Program::run(shell, data, &["--nats", urls, "--node", name])
}

/// Fills the disk of a node, or gives it room again: no file may grow beyond the limit, and none be written behind it.
pub(crate) fn fill(node: u32, is_full: bool) {
    let limit = if is_full { "--fsize=4096:" } else { "--fsize=unlimited:" };
    let done = Command::new("prlimit").args(["--pid", &node.to_string(), limit]).status();
    assert!(done.unwrap().success());
}

/// Asks again until it is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..400 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never came true: {what}");
}

/// The position that an object stands at, by HTTP: its epoch, sequence and value.
pub(crate) fn object(address: &str, key: &str) -> Option<(String, u64, String)> {
    let (head, body) = get(address, &format!("/v1/objects/{key}"));
    if !head.starts_with("http/1.1 200") {
        return None;
    }
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let epoch = body["epoch"].as_str().unwrap().to_owned();
    Some((epoch, body["sequence"].as_u64().unwrap(), body["value"].to_string()))
}
