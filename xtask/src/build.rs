//! The npm package and the demo page.
//!
//! One wasm file for the client and one for the reference server, each from one `cargo build`; then the TypeScript
//! facade over both, then the page that imports the package by its name.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, ensure};

use crate::{
    bench, setup,
    shell::{Outcome, Shell},
    stamp::{self, Step},
};

/// How wasm-opt is called, which is worth a twentieth of the bytes and costs no speed on frames. Rust keeps the end of
/// its stack in the lowest memory, so nothing lies there. No `--all-features`: wasm-opt must keep to the features that
/// the file declares, or browsers refuse it.
const WASM_OPT: [&str; 8] = [
    "--flatten",
    "--rereloop",
    "-O3",
    "-Os",
    "--converge",
    "--low-memory-unused",
    "--strip-debug",
    "--strip-producers",
];

/// One of the two wasm files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wasm {
    /// The client alone: what a page downloads.
    Client,
    /// The reference server module, for tests, demos and offline work.
    Server,
}

impl Wasm {
    /// Its directory's name in `pkg/dist/wasm`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    fn feature(self) -> &'static str {
        match self {
            Self::Client => "wasm-client",
            Self::Server => "wasm-server",
        }
    }

    /// The client takes in frames as fast as they come; the server in the page has time. (Of the client, "z" would take
    /// 1 KB off, and a third longer; "3" would add 3 KB and save no time.)
    fn opt_level(self) -> &'static str {
        match self {
            Self::Client => "s",
            Self::Server => "z",
        }
    }

    /// The file as it is shipped, relative to the root.
    pub(crate) fn shipped(self) -> String {
        format!("pkg/dist/wasm/{}/tidewire_bg.wasm", self.name())
    }

    /// The same file before its function names were stripped.
    pub(crate) fn with_names(self, shell: &Shell) -> PathBuf {
        self.glue_dir(shell).join("tidewire_bg.wasm")
    }

    fn glue_dir(self, shell: &Shell) -> PathBuf {
        shell.scratch().join("wasm").join(self.name())
    }
}

/// `cargo xtask build`.
pub(crate) fn run(shell: &Shell) -> anyhow::Result<()> {
    setup::for_build(shell)?;
    everything(shell)?;
    shell.say("built: pkg/dist (the npm package), www/dist (the page)");
    Ok(())
}

/// Builds the package and the page, on a machine that is set up.
pub(crate) fn everything(shell: &Shell) -> anyhow::Result<()> {
    package(shell)?;
    // The page runs the benchmark in its visitor's browser, and shows the results of the last run.
    bench::build_client(shell)?;
    let step = Step {
        name: "www",
        inputs: &[
            "www",
            "bench/src",
            "bench/dist",
            "docs",
            "README.md",
            "PROTOCOL.md",
            "ARCHITECTURE.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
            "src/protocol/code.rs",
            "pkg/package.json",
            "pkg/src",
            "pkg/dist",
            "package-lock.json",
        ],
        also: "",
        outputs: &["www/dist"],
    };
    shell.step("page", "cargo xtask build", || stamp::unless_fresh(shell, step, || npm_build(shell, "www")))
}

/// Builds the npm package alone.
pub(crate) fn package(shell: &Shell) -> anyhow::Result<()> {
    let alone = "cargo xtask build";
    shell.step("client wasm", alone, || wasm(shell, Wasm::Client))?;
    shell.step("server wasm", alone, || wasm(shell, Wasm::Server))?;
    let step = Step {
        name: "pkg",
        inputs: &["pkg", "pkg/dist/wasm", "package-lock.json", "LICENSE-MIT", "LICENSE-APACHE"],
        also: "",
        outputs: &["pkg/dist"],
    };
    shell.step("npm package", alone, || stamp::unless_fresh(shell, step, || npm_build(shell, "pkg")))
}

fn npm_build(shell: &Shell, workspace: &str) -> anyhow::Result<Outcome> {
    shell.run(shell.command("npm").args(["run", "build", "--workspace", workspace]))?;
    Ok(Outcome::Done("built".to_owned()))
}

/// What the wasm files are compiled with, beside the release profile.
fn rust_flags(shell: &Shell, which: Wasm) -> Vec<String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let paths = [(home, "/cargo"), (Some(shell.root().to_owned()), "/tidewire")];
    let remapped = paths.into_iter().filter_map(|(path, name)| {
        // The files must not name places on the machine that built them.
        Some(format!("--remap-path-prefix={}={name}", path?.display()))
    });
    // Half of the limit for inlining of level "s": a twentieth fewer bytes, and frames are taken in as fast. Thrice that of
    // level "z", where to call the smallest functions takes more than to repeat them.
    let inlining = match which {
        Wasm::Client => "--inline-threshold=25",
        Wasm::Server => "--inline-threshold=15",
    };
    // Loops that count with more variables than they have, and loads that are repeated so that one of them may be left
    // out: what LLVM does there to be fast takes bytes and brings nothing in an engine, which compiles it all again.
    let plain = ["--disable-lsr", "--enable-pre=false"];
    let backend = plain.into_iter().chain([inlining]).map(|argument| format!("-Cllvm-args={argument}"));
    remapped.chain(backend).collect()
}

fn wasm(shell: &Shell, which: Wasm) -> anyhow::Result<Outcome> {
    let output = format!("pkg/dist/wasm/{}", which.name());
    let compiler = shell.ask("rustc", &["--version"]).context("rustc does not run")?;
    let step = Step {
        name: &format!("wasm-{}", which.name()),
        // The lock files decide the versions of wasm-bindgen and wasm-opt.
        inputs: &[
            "src",
            "Cargo.toml",
            "Cargo.lock",
            ".cargo/config.toml",
            "package-lock.json",
            "xtask/src/build.rs",
        ],
        also: &compiler,
        outputs: &[&output],
    };
    stamp::unless_fresh(shell, step, || {
        let mut cargo = shell.cargo(["rustc", "--locked", "--release", "--lib", "--package", "tidewire"]);
        cargo.args([
            // With the crate's rlib beside it, cargo would leave link-time optimisation out.
            "--crate-type",
            "cdylib",
            "--target",
            "wasm32-unknown-unknown",
            "--no-default-features",
            "--features",
            // Without `std`, whose formatting of panics nobody could read there.
            &format!("bare,{}", which.feature()),
        ]);
        cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", which.opt_level());
        shell.run(cargo.env("CARGO_ENCODED_RUSTFLAGS", rust_flags(shell, which).join("\x1f")))?;

        let built = shell.target().join("wasm32-unknown-unknown/release/tidewire.wasm");
        let glue = which.glue_dir(shell);
        if glue.exists() {
            fs::remove_dir_all(&glue).with_context(|| format!("cannot empty {}", glue.display()))?;
        }
        let mut bindgen = shell.command("wasm-bindgen");
        // Without the default path, a bundler copies only the wasm file that the facade names.
        bindgen.args([
            "--target",
            "web",
            "--omit-default-module-path",
            "--out-name",
            "tidewire",
            "--out-dir",
        ]);
        shell.run(bindgen.arg(&glue).arg(&built))?;

        let shipped = shell.root().join(&output);
        fs::create_dir_all(&shipped).with_context(|| format!("cannot create {}", shipped.display()))?;
        for file in stamp::files_under(&glue)? {
            let name = file.file_name().context("a file of wasm-bindgen has no name")?;
            if name != "tidewire_bg.wasm" {
                fs::copy(&file, shipped.join(name))
                    .with_context(|| format!("cannot copy {}", file.display()))?;
            }
        }
        let mut opt = shell.command("wasm-opt");
        opt.args(WASM_OPT).arg(which.with_names(shell));
        shell.run(opt.arg("-o").arg(shell.root().join(which.shipped())))?;
        let size = fs::metadata(shell.root().join(which.shipped())).context("wasm-opt wrote no file")?.len();
        ensure!(size > 0, "wasm-opt wrote an empty file");
        Ok(Outcome::Done(format!("built, {size} bytes")))
    })
}
