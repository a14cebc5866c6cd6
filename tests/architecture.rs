//! Who may use whom, held against the sources.
//!
//! Every file is read as tokens, so comments, strings and formatting cannot hide or fake a use, and paths inside macros
//! count as well. Each path is resolved to the layer or the crate it names and then judged by the rules below, which
//! are those of ARCHITECTURE.md. A layer that does not exist yet has no files and breaks no rule.

#![cfg(not(target_arch = "wasm32"))]

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Each layer of the library, and the other layers it may use.
const LAYERS: [(&str, &[&str]); 8] = [
    ("protocol", &[]),
    ("gate", &["protocol"]),
    ("value", &["protocol", "gate"]),
    ("session", &["protocol"]),
    ("replica", &["protocol"]),
    ("client", &["protocol", "gate", "value", "session", "replica"]),
    ("server", &["protocol", "gate"]),
    ("wasm", &["protocol", "gate", "value", "session", "replica", "client", "server"]),
];

/// Crates of hosts: a runtime, sockets, a database. They exist only in `crates/`.
const HOST_CRATES: [&str; 4] = ["tokio", "axum", "rusqlite", "async_nats"];

/// The layers that may touch JavaScript.
const BROWSER_LAYERS: [&str; 1] = ["wasm"];

/// The longest a hand-written file may be.
const MAX_LINES: usize = 800;

/// Where hand-written files lie, and what is one.
const WRITTEN: [&str; 9] = ["benches", "crates", "examples", "fuzz", "pkg", "src", "tests", "www", "xtask"];
const KINDS: [&str; 10] = ["rs", "ts", "tsx", "mts", "js", "mjs", "cjs", "css", "html", "svelte"];
const GENERATED: [&str; 3] = ["node_modules", "dist", "target"];

#[derive(Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

#[test]
fn every_layer_uses_only_what_it_may() {
    let root = root();
    let sources = ["src", "crates"].iter().flat_map(|dir| files_under(&root.join(dir)));
    let rust = sources.filter(|file| file.extension().is_some_and(|kind| kind == "rs")).collect::<Vec<_>>();
    assert!(!rust.is_empty(), "found no sources under {}", root.display());
    let violations = rust.iter().flat_map(|file| check_source(&relative(file), &read(file)));
    report(&violations.collect::<Vec<_>>());
}

#[test]
fn the_library_depends_on_no_crate_of_a_host() {
    report(&check_manifest("Cargo.toml", &read(&root().join("Cargo.toml"))));
}

#[test]
fn no_hand_written_file_is_too_long() {
    let files = WRITTEN.iter().flat_map(|dir| files_under(&root().join(dir)));
    let written =
        files.filter(|file| file.extension().is_some_and(|kind| KINDS.iter().any(|known| kind == *known)));
    report(&written.filter_map(|file| check_length(&relative(&file), &read(&file))).collect::<Vec<_>>());
}

#[track_caller]
fn report(violations: &[Violation]) {
    let lines = violations.iter().map(|violation| format!("\n  {violation}")).collect::<String>();
    assert!(violations.is_empty(), "the architecture is broken:{lines}");
}

// ---- the rules ----

/// All that one Rust file does and may not. `file` is its path from the root, with `/`.
fn check_source(file: &str, source: &str) -> Vec<Violation> {
    let violation = |line, rule| Violation { file: file.to_owned(), line, rule };
    let tokens = match source.parse::<TokenStream>() {
        Ok(tokens) => tokens,
        Err(error) => return vec![violation(error.span().start().line, format!("not Rust: {error}"))],
    };
    let mut paths = Vec::new();
    collect_paths(tokens, &module_of(file), &mut paths);
    paths.into_iter().filter_map(|used| judge(file, &used).map(|rule| violation(used.line, rule))).collect()
}

/// The rule that a path breaks, if it does.
fn judge(file: &str, used: &Used) -> Option<String> {
    let in_library = file.starts_with("src/");
    let layer = layer_of(file);
    let shown = used.to_string();
    match &used.target {
        // The root (`lib.rs`) may name every layer; it is the list of what is public.
        Target::Ours(_) if layer.is_none() => None,
        Target::Ours(path) => {
            let layer = layer?;
            let allowed = LAYERS.iter().find(|(name, _)| *name == layer).map(|(_, allowed)| *allowed)?;
            match path.first().map(String::as_str) {
                Some(name) if name == layer || allowed.contains(&name) => None,
                Some(name) if LAYERS.iter().any(|(known, _)| *known == name) => {
                    let may =
                        if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
                    Some(format!("`{layer}` may use {may}; here it uses `{name}` ({shown})"))
                }
                _ => Some(format!("a layer names the module it uses, not the crate's root ({shown})")),
            }
        }
        Target::Theirs(path) => {
            let name = path.first().map(String::as_str)?;
            if in_library && HOST_CRATES.contains(&name) {
                return Some(format!("`{name}` exists only in crates/ ({shown})"));
            }
            if is_browser_crate(name) && !layer.is_some_and(|layer| BROWSER_LAYERS.contains(&layer)) {
                return Some(format!("`{name}` exists only in src/wasm ({shown})"));
            }
            if in_library && reads_a_clock(path) {
                return Some(format!("no clock is read here; time comes in as an argument ({shown})"));
            }
            if name == "tidewire" && path.get(1).is_some_and(|module| module == "wasm") {
                return Some(format!("nobody uses `wasm` ({shown})"));
            }
            None
        }
    }
}

fn is_browser_crate(name: &str) -> bool {
    matches!(name, "web_sys" | "js_sys" | "wasm_bindgen" | "wasm_bindgen_futures" | "serde_wasm_bindgen")
        || name.starts_with("gloo")
}

/// `std::time` without a name behind it would let the clocks in unseen.
fn reads_a_clock(path: &[String]) -> bool {
    match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["std", "time"] => true,
        ["std", "time", name, ..] => matches!(name, "Instant" | "SystemTime" | "UNIX_EPOCH" | "*" | "self"),
        _ => false,
    }
}

/// Dependencies of the library itself; those that the workspace shares with `crates/` are not among them.
fn check_manifest(file: &str, manifest: &str) -> Vec<Violation> {
    let mut section = String::new();
    let mut violations = Vec::new();
    for (line, text) in (1..).zip(manifest.lines()) {
        if let Some(header) = text.trim().strip_prefix('[') {
            header.trim_end_matches(']').clone_into(&mut section);
        }
        let named = text.split(['=', '.', ' ']).next().unwrap_or_default().replace('-', "_");
        let in_header = section.rsplit_once("dependencies.").map(|(_, name)| name.replace('-', "_"));
        let is_dependency = section.ends_with("dependencies") && section != "workspace.dependencies";
        let host = HOST_CRATES
            .iter()
            .find(|host| (is_dependency && named == **host) || in_header.as_deref() == Some(**host));
        if let Some(host) = host {
            let rule = format!("`{host}` exists only in crates/");
            violations.push(Violation { file: file.to_owned(), line, rule });
            section.clear();
        }
    }
    violations
}

fn check_length(file: &str, text: &str) -> Option<Violation> {
    let lines = text.lines().count();
    let rule = format!("{lines} lines; a file has at most {MAX_LINES}");
    (lines > MAX_LINES).then(|| Violation { file: file.to_owned(), line: MAX_LINES + 1, rule })
}

// ---- reading paths out of tokens ----

/// What a path names.
#[derive(Debug)]
enum Target {
    /// Something in this crate, from its root.
    Ours(Vec<String>),
    /// Another crate, or a name that is in scope.
    Theirs(Vec<String>),
}

#[derive(Debug)]
struct Used {
    target: Target,
    line: usize,
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Ours(path) => write!(f, "crate::{}", path.join("::")),
            Target::Theirs(path) => f.write_str(&path.join("::")),
        }
    }
}

/// The module that a file of the library is; empty for its root.
fn module_of(file: &str) -> Vec<String> {
    let inner = file.strip_prefix("src/").unwrap_or_default().trim_end_matches(".rs");
    let mut module = inner.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    module
}

/// The layer that a file belongs to: none for `lib.rs` and for files outside the library.
fn layer_of(file: &str) -> Option<&'static str> {
    let module = module_of(file);
    let first = module.first()?;
    LAYERS.iter().find(|(name, _)| name == first).map(|(name, _)| *name)
}

fn collect_paths(tokens: TokenStream, module: &[String], found: &mut Vec<Used>) {
    let tokens = tokens.into_iter().collect::<Vec<_>>();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => {
                // The body of an inline module is one level deeper, which counts for `super`.
                let inline = match at.checked_sub(2).map(|start| &tokens[start..at]) {
                    Some([TokenTree::Ident(word), TokenTree::Ident(name)]) if word == "mod" => {
                        Some(name.to_string())
                    }
                    _ => None,
                };
                let inner = module.iter().cloned().chain(inline).collect::<Vec<_>>();
                collect_paths(group.stream(), &inner, found);
                at += 1;
            }
            TokenTree::Ident(_) => at = read_path(&tokens, at, &[], module, found),
            _ => at += 1,
        }
    }
}

/// Reads the path that starts at `at`, in a `use` tree with its branches, and returns where it ends.
fn read_path(
    tokens: &[TokenTree],
    mut at: usize,
    prefix: &[String],
    module: &[String],
    found: &mut Vec<Used>,
) -> usize {
    let line = tokens[at].span().start().line;
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(name)) => path.push(name.to_string().trim_start_matches("r#").to_owned()),
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => path.push("*".to_owned()),
            Some(TokenTree::Group(branches)) if branches.delimiter() == Delimiter::Brace => {
                let branches = branches.stream().into_iter().collect::<Vec<_>>();
                for branch in
                    branches.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ','))
                {
                    if !branch.is_empty() {
                        read_path(branch, 0, &path, module, found);
                    }
                }
                return at + 1;
            }
            // A turbofish or the like: the path ends, what follows is read on its own.
            _ => break,
        }
        at += 1;
        let is_separator = matches!(
            tokens.get(at..at + 2),
            Some([TokenTree::Punct(a), TokenTree::Punct(b)]) if a.as_char() == ':' && b.as_char() == ':'
        );
        if !is_separator {
            break;
        }
        at += 2;
    }
    // A lone word is a keyword or a name in scope, unless it renames the root.
    let renames = matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == "as");
    if path.len() > 1 || renames {
        found.push(Used { target: resolve(&path, module), line });
    }
    at
}

fn resolve(path: &[String], module: &[String]) -> Target {
    let mut base = match path.first().map(String::as_str) {
        Some("crate") => Vec::new(),
        Some("self") => module.to_vec(),
        Some("super") => module.split_last().map(|(_, outer)| outer.to_vec()).unwrap_or_default(),
        _ => return Target::Theirs(path.to_vec()),
    };
    for part in &path[1..] {
        match part.as_str() {
            "super" => drop(base.pop()),
            "self" => {}
            name => base.push(name.to_owned()),
        }
    }
    Target::Ours(base)
}

// ---- files ----

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn relative(file: &Path) -> String {
    file.strip_prefix(root())
        .expect("every file was found under the root")
        .to_string_lossy()
        .replace('\\', "/")
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()))
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.map(|entry| entry.expect("a directory of the workspace can be listed")) {
        let path = entry.path();
        let is_generated = GENERATED.iter().any(|name| entry.file_name() == *name);
        match path.is_dir() {
            true if !is_generated => files.extend(files_under(&path)),
            true => {}
            false => files.push(path),
        }
    }
    files.sort();
    files
}

// ---- the rules can fail ----

/// The rule that planted code breaks, and on which line.
#[track_caller]
fn planted(file: &str, source: &str) -> (usize, String) {
    let violations = check_source(file, source);
    let [violation] = &violations[..] else { panic!("one violation was planted, found {violations:?}") };
    (violation.line, violation.rule.clone())
}

#[track_caller]
fn clean(file: &str, source: &str) {
    assert_eq!(check_source(file, source), []);
}

#[test]
fn a_use_of_a_forbidden_layer_is_found_with_its_line() {
    let (line, rule) = planted("src/gate/mod.rs", "//! A gate.\n\nuse crate::replica::Replica;\n");
    assert_eq!(line, 3);
    assert_eq!(rule, "`gate` may use protocol; here it uses `replica` (crate::replica::Replica)");
}

#[test]
fn a_forbidden_layer_is_found_among_the_branches_of_one_use() {
    let source = "use crate::{\n    protocol::{Epoch, Sequence},\n    server::{self, Hub},\n};";
    let violations = check_source("src/client/mod.rs", source);
    assert_eq!(violations.len(), 2, "`server` itself and `server::Hub`: {violations:?}");
    assert!(violations.iter().all(|violation| violation.line == 3), "{violations:?}");
}

#[test]
fn a_path_without_a_use_counts_also_inside_a_macro() {
    let (line, _) = planted("src/server/hub.rs", "fn f() {\n    assert!(crate::client::is_live());\n}");
    assert_eq!(line, 2);
}

#[test]
fn super_is_followed_out_of_the_layer_and_out_of_inline_modules() {
    let (_, rule) = planted("src/session/backoff.rs", "use super::super::replica::Replica;");
    assert!(rule.contains("uses `replica`"), "{rule}");
    planted("src/session/mod.rs", "mod tests { use super::super::wasm::Core; }");
    clean("src/session/mod.rs", "mod tests { use super::*; }");
    clean("src/session/backoff.rs", "use super::{Session, resume::Resume};");
}

#[test]
fn the_roots_own_names_are_no_way_around_a_layer() {
    let (_, rule) = planted("src/value/mod.rs", "use crate::Replica;");
    assert!(rule.contains("not the crate's root"), "{rule}");
    planted("src/value/mod.rs", "use crate::*;");
    planted("src/value/mod.rs", "use crate as root;");
    planted("src/value/mod.rs", "use super::*;");
}

#[test]
fn the_root_and_the_layer_itself_may_be_named() {
    clean("src/lib.rs", "pub mod server;\npub use crate::server::Hub;");
    clean("src/server/hub.rs", "use crate::{gate::Gate, protocol::*, server::storage::Storage};");
    clean("src/wasm/client.rs", "use crate::{client::Client, server::Hub};\nuse wasm_bindgen::prelude::*;");
}

#[test]
fn comments_and_strings_use_nobody() {
    clean(
        "src/protocol/mod.rs",
        "/// See [`crate::server`].\nconst S: &str = \"crate::server::Hub\"; // crate::wasm",
    );
}

#[test]
fn a_crate_of_a_host_is_found_in_the_library_and_let_be_in_crates() {
    let (_, rule) = planted("src/server/mod.rs", "async fn f() { tokio::time::sleep(D).await }");
    assert_eq!(rule, "`tokio` exists only in crates/ (tokio::time::sleep)");
    clean("crates/server/src/main.rs", "use tokio::net::TcpListener;\nuse std::time::Instant;");
}

#[test]
fn browser_objects_are_found_outside_their_layer() {
    planted("src/client/mod.rs", "use js_sys::Uint8Array;");
    planted("src/lib.rs", "fn f(s: gloo_net::websocket::State) {}");
    planted("crates/native/src/lib.rs", "use web_sys::WebSocket;");
    clean("src/wasm/host.rs", "use js_sys::Date;");
}

#[test]
fn a_clock_is_found_in_every_disguise() {
    planted("src/session/mod.rs", "use std::time::{Duration, Instant};");
    planted("src/session/mod.rs", "fn f() { let now = std::time::SystemTime::now(); }");
    planted("src/session/mod.rs", "use std::time;");
    planted("src/session/mod.rs", "use std::{fmt, time::{self}};");
    planted("src/session/mod.rs", "use std::time::*;");
    clean("src/session/mod.rs", "use std::{fmt, time::Duration};");
}

#[test]
fn nobody_uses_wasm_not_even_from_outside() {
    planted("crates/native/src/lib.rs", "use tidewire::wasm::Core;");
}

#[test]
fn a_host_crate_in_the_librarys_manifest_is_found() {
    let manifest = "[workspace.dependencies]\ntokio = \"1\"\n[dependencies]\nrmp = \"0.8\"\ntokio = \"1\"\n\
                    [dev-dependencies.async-nats]\nversion = \"1\"\n";
    let lines =
        check_manifest("Cargo.toml", manifest).iter().map(|violation| violation.line).collect::<Vec<_>>();
    assert_eq!(lines, [5, 6]);
}

#[test]
fn a_file_one_line_too_long_is_found() {
    assert_eq!(check_length("src/lib.rs", &"\n".repeat(MAX_LINES)), None);
    assert!(check_length("src/lib.rs", &"\n".repeat(MAX_LINES + 1)).is_some());
}
