//! Running other programs and showing how far a task has come.
//!
//! A task is a list of steps. A step prints one line when it ends; while it runs, a terminal shows a live line with the
//! last thing the program said, and a log file gets a sign of life every twenty seconds. The whole output of a program
//! goes to `target/xtask/logs`, and to the terminal only with `--verbose` or when the program fails.

use std::{
    cell::RefCell,
    env,
    ffi::OsString,
    fmt, fs,
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

/// Set by Ctrl-C and by a polite request to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How often a waiting task looks at its child and at Ctrl-C.
const TICK: Duration = Duration::from_millis(100);

/// How often a step says that it is alive when nobody watches a terminal.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// Longer than any single program of a healthy run takes, so that a hang ends.
pub(crate) const DEFAULT_LIMIT: Duration = Duration::from_secs(20 * 60);

/// Lines of a failed program that are shown; the log file has them all.
const SHOWN_ON_FAILURE: usize = 150;

/// The user asked to stop.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// How a step ended well.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// It did its work.
    Done(String),
    /// Nothing had changed since it last did.
    Fresh,
    /// It could not run here, for the reason given.
    Skipped(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(note) => f.write_str(note),
            Self::Fresh => f.write_str("up to date"),
            Self::Skipped(why) => write!(f, "SKIPPED: {why}"),
        }
    }
}

/// Where a task stands and how it talks.
#[derive(Debug)]
pub(crate) struct Shell {
    root: PathBuf,
    target: PathBuf,
    verbose: bool,
    is_terminal: bool,
    began: Instant,
    step: RefCell<String>,
    path: RefCell<Vec<PathBuf>>,
    summary: RefCell<Vec<(String, Duration, Outcome)>>,
}

impl Shell {
    /// Finds the workspace and starts to listen for Ctrl-C.
    pub(crate) fn new(verbose: bool) -> anyhow::Result<Self> {
        ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst))
            .context("cannot listen for Ctrl-C")?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has to lie inside the workspace")?
            .to_path_buf();
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        Ok(Self {
            path: RefCell::new(vec![root.join("node_modules/.bin")]),
            root,
            target,
            verbose,
            is_terminal: std::io::stdout().is_terminal(),
            began: Instant::now(),
            step: RefCell::default(),
            summary: RefCell::default(),
        })
    }

    /// The workspace's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where xtask keeps logs, stamps and intermediate files.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.target.join("xtask")
    }

    /// Puts a directory of programs in front of all others, for every later command.
    pub(crate) fn prepend_path(&self, dir: PathBuf) {
        let mut path = self.path.borrow_mut();
        if !path.contains(&dir) {
            path.insert(0, dir);
        }
    }

    /// The search path that later commands get.
    pub(crate) fn search_path(&self) -> OsString {
        let inherited = env::var_os("PATH").unwrap_or_default();
        let dirs = self.path.borrow().iter().cloned().chain(env::split_paths(&inherited)).collect::<Vec<_>>();
        env::join_paths(dirs).unwrap_or(inherited)
    }

    /// The first program of one of these names on the search path.
    pub(crate) fn find(&self, names: &[&str]) -> Option<PathBuf> {
        let path = self.search_path();
        names.iter().find_map(|name| {
            env::split_paths(&path)
                .map(|dir| dir.join(name).with_extension(env::consts::EXE_EXTENSION))
                .find(|file| file.is_file())
        })
    }

    /// A command that runs at the root with the tools of the set-up on its path.
    pub(crate) fn command(&self, program: &str) -> Command {
        // Found here, because a changed PATH does not count when the system looks for the program itself.
        let found = self.find(&[program]).unwrap_or_else(|| PathBuf::from(program));
        let mut command = Command::new(found);
        command.current_dir(&self.root).env("PATH", self.search_path()).stdin(Stdio::null());
        command
    }

    /// Cargo, of the toolchain that runs this task.
    pub(crate) fn cargo<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = self.command("cargo");
        command.args(args);
        command
    }

    /// What a command prints, or nothing if it cannot run or fails: for questions such as `node --version`.
    pub(crate) fn ask(&self, program: &str, args: &[&str]) -> Option<String> {
        let output = self.command(program).args(args).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs one step and reports it. `alone` is the command that runs just this step again.
    pub(crate) fn step(
        &self,
        name: &str,
        alone: &str,
        work: impl FnOnce() -> anyhow::Result<Outcome>,
    ) -> anyhow::Result<()> {
        self.prepare(name, work).map_err(|error| {
            if error.is::<Interrupted>() {
                return error;
            }
            error.context(format!("{name} failed; to run just this: {alone}"))
        })
    }

    /// Like [`step`](Self::step), for a step of the set-up, whose error says by itself what to do.
    pub(crate) fn prepare(
        &self,
        name: &str,
        work: impl FnOnce() -> anyhow::Result<Outcome>,
    ) -> anyhow::Result<()> {
        if is_interrupted() {
            return Err(Interrupted.into());
        }
        name.clone_into(&mut self.step.borrow_mut());
        self.live("");
        let began = Instant::now();
        let outcome = work();
        self.clear_live();
        let took = began.elapsed();
        match outcome {
            Ok(outcome) => {
                println!("[{}] {name}: {outcome} ({})", self.clock(), seconds(took));
                self.summary.borrow_mut().push((name.to_owned(), took, outcome));
                Ok(())
            }
            Err(error) => {
                if !error.is::<Interrupted>() {
                    println!("[{}] {name}: FAILED ({})", self.clock(), seconds(took));
                }
                Err(error)
            }
        }
    }

    /// One line about something that a step installs or found out.
    pub(crate) fn say(&self, message: &str) {
        self.clear_live();
        println!("[{}] {message}", self.clock());
    }

    /// A table of all steps so far.
    pub(crate) fn print_summary(&self) {
        let summary = self.summary.borrow();
        let width = summary.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        println!();
        for (name, took, outcome) in summary.iter() {
            println!("  {name:<width$}  {:>8}  {outcome}", seconds(*took));
        }
        println!("  {:<width$}  {:>8}", "all", seconds(self.began.elapsed()));
    }

    /// Runs a command to its end; an exit code other than 0 is an error that shows what the command said.
    pub(crate) fn run(&self, command: &mut Command) -> anyhow::Result<()> {
        self.run_within(DEFAULT_LIMIT, command).map(drop)
    }

    /// Like [`run`](Self::run), but with a time limit, and returns what the command printed.
    pub(crate) fn run_within(&self, limit: Duration, command: &mut Command) -> anyhow::Result<String> {
        let shown = display(command);
        let log = self.log_file()?;
        if self.verbose {
            self.say(&format!("$ {shown}"));
        }
        own_group(command);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let lines = collect(&mut child);
        let mut output = Vec::new();
        let ended = self.wait(&mut child, &lines, limit, &mut output);
        // Written even when the wait was cut short: that is when somebody wants to read it.
        fs::write(&log, output.join("\n") + "\n")
            .with_context(|| format!("cannot write {}", log.display()))?;
        let status = ended.map_err(|stop| {
            end_group(&mut child);
            match stop {
                Stop::Interrupted => Interrupted.into(),
                Stop::Overdue => {
                    self.show_tail(&output);
                    anyhow::anyhow!(
                        "`{shown}` did not end within {}; its output: {}",
                        seconds(limit),
                        log.display()
                    )
                }
                Stop::Lost(error) => anyhow::Error::new(error).context(format!("lost `{shown}`")),
            }
        })?;
        if !status.success() {
            self.show_tail(&output);
            bail!("`{shown}` ended with {status}; its whole output: {}", log.display());
        }
        Ok(output.join("\n"))
    }

    /// Does the command succeed? Its failure, and being too slow, are answers and not errors.
    pub(crate) fn probe_within(&self, limit: Duration, command: &mut Command) -> anyhow::Result<bool> {
        own_group(command);
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.with_context(|| format!("cannot start `{}`", display(command)))?;
        let lines = collect(&mut child);
        match self.wait(&mut child, &lines, limit, &mut Vec::new()) {
            Ok(status) => Ok(status.success()),
            Err(stop) => {
                end_group(&mut child);
                if matches!(stop, Stop::Interrupted) { Err(Interrupted.into()) } else { Ok(false) }
            }
        }
    }

    fn wait(
        &self,
        child: &mut Child,
        lines: &mpsc::Receiver<String>,
        limit: Duration,
        output: &mut Vec<String>,
    ) -> Result<ExitStatus, Stop> {
        let began = Instant::now();
        let mut last_sign = began;
        loop {
            match lines.recv_timeout(TICK) {
                Ok(line) => {
                    self.take_line(line, output);
                    // Drain what is there, so that a chatty program is not redrawn line by line.
                    for line in lines.try_iter() {
                        self.take_line(line, output);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                // Both pipes are closed, which may be a moment before the end.
                Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(TICK / 10),
            }
            if let Some(status) = child.try_wait().map_err(Stop::Lost)? {
                // What the pipes still hold; a grandchild that keeps them open must not keep us.
                while let Ok(line) = lines.recv_timeout(TICK) {
                    self.take_line(line, output);
                }
                return Ok(status);
            }
            if INTERRUPTED.load(Ordering::SeqCst) {
                return Err(Stop::Interrupted);
            }
            if began.elapsed() > limit {
                return Err(Stop::Overdue);
            }
            let last = output.iter().rev().find(|line| !line.trim().is_empty()).map_or("", String::as_str);
            self.live(last);
            if last_sign.elapsed() > SIGN_OF_LIFE && !self.is_terminal {
                last_sign = Instant::now();
                println!("[{}] {} … {}", self.clock(), self.step.borrow(), shorten(last, 80));
            }
        }
    }

    fn take_line(&self, line: String, output: &mut Vec<String>) {
        if self.verbose {
            self.clear_live();
            println!("    {line}");
        }
        output.push(line);
    }

    fn show_tail(&self, output: &[String]) {
        self.clear_live();
        if self.verbose {
            return;
        }
        let skipped = output.len().saturating_sub(SHOWN_ON_FAILURE);
        if skipped > 0 {
            println!("    … {skipped} lines before this");
        }
        for line in &output[skipped..] {
            println!("    {line}");
        }
    }

    fn log_file(&self) -> anyhow::Result<PathBuf> {
        let dir = self.scratch().join("logs");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let name = self.step.borrow().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        Ok(dir.join(format!("{name}.log")))
    }

    fn clock(&self) -> String {
        format!("{:>6.1}s", self.began.elapsed().as_secs_f64())
    }

    fn live(&self, last: &str) {
        if self.is_terminal {
            print!("\r\x1b[2K[{}] {} … {}", self.clock(), self.step.borrow(), shorten(last.trim(), 40));
            flush();
        }
    }

    fn clear_live(&self) {
        if self.is_terminal {
            print!("\r\x1b[2K");
            flush();
        }
    }
}

/// Why a wait for a child ended before the child did.
enum Stop {
    Interrupted,
    Overdue,
    Lost(std::io::Error),
}

/// Has the user asked to stop?
pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// `1.2 s`, or `2 min 3 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

/// Gives the child a process group of its own: Ctrl-C then reaches only xtask, which ends the whole group.
pub(crate) fn own_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Ends a child and all that it started, and waits for it.
pub(crate) fn end_group(child: &mut Child) {
    #[cfg(unix)]
    if let Ok(group) = i32::try_from(child.id()) {
        let _ =
            nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGKILL);
    }
    // Both fail only if the child is gone already, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
}

fn collect(child: &mut Child) -> mpsc::Receiver<String> {
    fn forward(stream: Option<impl Read + Send + 'static>, lines: mpsc::Sender<String>) {
        let Some(stream) = stream else { return };
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let Ok(line) = line else { return };
                if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
            }
        });
    }
    let (sender, receiver) = mpsc::channel();
    forward(child.stdout.take(), sender.clone());
    forward(child.stderr.take(), sender);
    receiver
}

/// A command as one would type it.
pub(crate) fn display(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn shorten(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        text.to_owned()
    } else {
        text.chars().take(limit).chain(['…']).collect()
    }
}

fn flush() {
    // A terminal that has gone away is noticed by the next println.
    let _ = std::io::stdout().flush();
}
