//! What a page downloads, and the proof that the client's part holds no server code.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, bail, ensure};

use crate::{
    build::{self, Wasm},
    setup,
    shell::{Outcome, Shell},
    stamp,
};

/// What a page imports that has a session and replicas: everything but the transports that are not the session's own, the
/// HTTP refetch among them.
const PAGE: &str = "export { TidewireError, configureSynced, connect, createClientReplica, init, synced } from 'tidewire';\n";

/// The same, with the server in the page.
const PAGE_SERVER: &str = "export { ReferenceServer } from 'tidewire/server';\n";

/// Namespaces keep every export alive, and apart what two entry points call the same.
const WHOLE: &str = "export * as client from 'tidewire';\nexport * as server from 'tidewire/server';\n";

/// The client: wasm and facade as one page downloads them.
const CLIENT_BUDGET: usize = 40 * 1024;

/// The client with the reference server in the page.
const WITH_SERVER_BUDGET: usize = 120 * 1024;

/// Where the figures are that no download may grow over.
const DOCUMENT: &str = "docs/size.md";

/// Another release of the compiler may take a hundredth more.
const SLACK: usize = 100;

/// Marks of the server module in a wasm file that still has its function names: the path in readable and in both
/// mangled forms.
const SERVER_MARKS: [&str; 3] = ["tidewire::server::", "8tidewire6server", "src/server/"];

/// `cargo xtask size`.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    setup::for_build(shell)?;
    build::package(shell)?;
    measure(shell)
}

/// Prints all sizes of a package that is built, and fails beyond the budget.
pub(crate) fn measure(shell: &Shell) -> anyhow::Result<()> {
    let alone = "cargo xtask size";
    shell.step("no server code in the client", alone, || no_server_code(shell))?;
    shell.step("size", alone, || {
        let mut table = Vec::new();
        let dist = shell.root().join("pkg/dist");
        for file in stamp::files_under(&dist)?.iter().filter(|file| is_shipped_code(file)) {
            let name = file.strip_prefix(&dist).unwrap_or(file).to_string_lossy();
            table.push(Row::of(&name, &[&read(file)?])?);
        }
        let (alone, with_server) = downloads(shell)?;
        let verdict = verdict(&[(&alone, CLIENT_BUDGET), (&with_server, WITH_SERVER_BUDGET)]);
        let (client, server) = (shipped(shell, Wasm::Client)?, shipped(shell, Wasm::Server)?);
        table.push(Row::of("every export of both", &[&bundle(shell, WHOLE)?, &client, &server])?);
        table.extend([alone, with_server]);
        print_table(shell, &table);
        verdict.map(Outcome::Done)
    })
}

/// What a page downloads: with the client alone, and with the server in the page.
fn downloads(shell: &Shell) -> anyhow::Result<(Row, Row)> {
    let (client, server) = (shipped(shell, Wasm::Client)?, shipped(shell, Wasm::Server)?);
    let alone = Row::of("client download", &[&bundle(shell, PAGE)?, &client])?;
    let both_facades = bundle(shell, &format!("{PAGE}{PAGE_SERVER}"))?;
    let with_server = Row::of("with the server", &[&both_facades, &client, &server])?;
    Ok((alone, with_server))
}

/// Fails if a download of a package that is built has grown over what `docs/size.md` says of it: while a budget is missed, no byte
/// may come unseen.
pub(crate) fn no_growth(shell: &Shell) -> anyhow::Result<()> {
    shell.step("size, no growth", "cargo xtask size", || {
        let document = String::from_utf8(read(&shell.root().join(DOCUMENT))?).context("no text")?;
        let (alone, with_server) = downloads(shell)?;
        let mut parts = Vec::new();
        for row in [alone, with_server] {
            let [_, _, brotli] = row.sizes;
            let said = documented(&document, &row.name)
                .with_context(|| format!("{DOCUMENT} does not say how large \"{}\" is", row.name))?;
            ensure!(
                brotli <= said + said / SLACK,
                "{} has grown to {brotli} bytes after brotli, from {said}; take the bytes back, or say in {DOCUMENT} what they are for and \
                 write the new figure there",
                row.name
            );
            parts.push(format!("{} {brotli} bytes", row.name));
        }
        Ok(Outcome::Done(parts.join(", ")))
    })
}

/// The figure that the document has for a download, in its table's first column of figures.
fn documented(document: &str, name: &str) -> Option<usize> {
    let cells = document.lines().find_map(|line| line.strip_prefix(&format!("| {name} | ")))?;
    cells.split(" |").next()?.replace(',', "").parse().ok()
}

fn verdict(budgets: &[(&Row, usize)]) -> anyhow::Result<String> {
    let mut parts = Vec::new();
    for (row, budget) in budgets {
        let [_, _, brotli] = row.sizes;
        if brotli > *budget {
            bail!(
                "{} is {brotli} bytes after brotli, {} over its budget of {budget}",
                row.name,
                brotli - budget
            );
        }
        parts.push(format!("{} {brotli} of {budget} bytes", row.name));
    }
    Ok(parts.join(", "))
}

/// One line of the table: raw, gzip and brotli bytes.
#[derive(Debug)]
struct Row {
    name: String,
    sizes: [usize; 3],
}

impl Row {
    /// The sum over files that a page fetches one by one, so each is compressed by itself.
    fn of(name: &str, files: &[&[u8]]) -> anyhow::Result<Self> {
        let mut sizes = [0; 3];
        for file in files {
            sizes[0] += file.len();
            sizes[1] += gzip(file)?;
            sizes[2] += brotli(file)?;
        }
        Ok(Self { name: name.to_owned(), sizes })
    }
}

fn print_table(shell: &Shell, rows: &[Row]) {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    shell.say(&format!("{:<width$}  {:>9}  {:>9}  {:>9}", "bytes", "raw", "gzip", "brotli"));
    for Row { name, sizes: [raw, gzip, brotli] } in rows {
        shell.say(&format!("{name:<width$}  {raw:>9}  {gzip:>9}  {brotli:>9}"));
    }
}

fn is_shipped_code(file: &Path) -> bool {
    file.extension().is_some_and(|kind| ["js", "mjs", "cjs", "wasm"].iter().any(|shipped| kind == *shipped))
}

/// What such an entry imports, bundled and minified the way an application would: what the page fetches at first, without
/// what it fetches when it comes to need it.
fn bundle(shell: &Shell, entry: &str) -> anyhow::Result<Vec<u8>> {
    let dir = shell.scratch().join("size");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let (input, output) = (dir.join("entry.mjs"), dir.join("bundle"));
    fs::write(&input, entry).with_context(|| format!("cannot write {}", input.display()))?;
    let mut esbuild = shell.command("esbuild");
    esbuild.arg(&input).args([
        "--bundle",
        "--splitting",
        "--minify",
        "--format=esm",
        "--target=es2022",
        "--platform=browser",
    ]);
    // Resolves the package by its name, as the page does.
    esbuild.env("NODE_PATH", shell.root().join("node_modules"));
    shell.run(esbuild.arg(format!("--outdir={}", output.display())))?;
    read(&output.join("entry.js"))
}

fn no_server_code(shell: &Shell) -> anyhow::Result<Outcome> {
    let count = |which: Wasm| -> anyhow::Result<usize> {
        let bytes = read(&which.with_names(shell))?;
        Ok(SERVER_MARKS.iter().map(|mark| occurrences(&bytes, mark.as_bytes())).sum())
    };
    // Shows that the search finds server code where there is some: else an empty result would prove nothing.
    let in_server = count(Wasm::Server)?;
    ensure!(
        in_server > 0,
        "found no mark of the server module in its own wasm file; the check has gone blind"
    );
    let in_client = count(Wasm::Client)?;
    ensure!(
        in_client == 0,
        "the client's wasm file holds {in_client} marks of the server module (src/server)"
    );
    Ok(Outcome::Done(format!("none (and {in_server} marks in the server's file)")))
}

fn occurrences(bytes: &[u8], mark: &[u8]) -> usize {
    bytes.windows(mark.len()).filter(|window| *window == mark).count()
}

fn gzip(bytes: &[u8]) -> anyhow::Result<usize> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).context("gzip failed")?;
    Ok(encoder.finish().context("gzip failed")?.len())
}

fn brotli(bytes: &[u8]) -> anyhow::Result<usize> {
    let mut compressed = Vec::new();
    let options = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 24, ..Default::default() };
    brotli::BrotliCompress(&mut &*bytes, &mut compressed, &options).context("brotli failed")?;
    Ok(compressed.len())
}

fn shipped(shell: &Shell, which: Wasm) -> anyhow::Result<Vec<u8>> {
    read(&shell.root().join(which.shipped()))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(brotli: usize) -> Row {
        Row { name: "client download".to_owned(), sizes: [0, 0, brotli] }
    }

    #[test]
    fn a_download_of_exactly_the_budget_passes() {
        assert!(verdict(&[(&row(CLIENT_BUDGET), CLIENT_BUDGET)]).is_ok());
    }

    #[test]
    fn one_byte_over_the_budget_fails_and_says_so() {
        let error = verdict(&[(&row(CLIENT_BUDGET + 1), CLIENT_BUDGET)]).unwrap_err();
        assert!(error.to_string().contains("1 over its budget"), "{error}");
    }

    #[test]
    fn the_document_s_own_figure_is_what_a_download_may_not_grow_over() {
        let document = "| | now | bar |\n|---|---|---|\n| client download | 79,818 | 40,960 |\n";
        assert_eq!(documented(document, "client download"), Some(79_818));
        assert_eq!(documented(document, "with the server"), None);
    }

    #[test]
    fn the_document_has_a_figure_for_every_download() {
        let document = include_str!("../../docs/size.md");
        for name in ["client download", "with the server"] {
            assert!(documented(document, name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_mark_is_found_wherever_it_lies() {
        assert_eq!(occurrences(b"x8tidewire6server4hub8tidewire6server", b"8tidewire6server"), 2);
    }
}
