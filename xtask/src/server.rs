//! The native server as a child process.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::shell::{self, Interrupted, Outcome, Shell};

/// The real data that the demo and its check start from.
const COUNTRIES: &str = "node_modules/world-countries/countries.json";

/// How long the server may take until it answers, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// Builds the server. Tests, demo and check all use this one binary.
pub(crate) fn build(shell: &Shell) -> anyhow::Result<()> {
    shell.step("server binary", "cargo build --profile server --package tidewire-server", || {
        shell.run(&mut shell.cargo([
            "build",
            "--locked",
            "--profile",
            "server",
            "--package",
            "tidewire-server",
        ]))?;
        Ok(Outcome::Done("built".to_owned()))
    })
}

/// The binary that [`build`] makes.
pub(crate) fn binary(shell: &Shell) -> PathBuf {
    shell.target().join("server/tidewire-server").with_extension(std::env::consts::EXE_EXTENSION)
}

/// Imports the countries into a data directory, unless that was done before: a second import would take back what
/// people have edited since.
pub(crate) fn import_countries(shell: &Shell, data: &Path) -> anyhow::Result<Outcome> {
    let marker = data.join("countries.imported");
    let files = fs::read_dir(data).map_or(0, Iterator::count);
    // A marker without a database beside it is what is left when somebody deleted the database.
    if marker.is_file() && files > 1 {
        return Ok(Outcome::Fresh);
    }
    fs::create_dir_all(data)
        .with_context(|| format!("cannot create the data directory {}", data.display()))?;
    let mut import = shell.command(&binary(shell).to_string_lossy());
    import.args(["import", COUNTRIES, "--datastore", "countries", "--primary", "cca3", "--data"]).arg(data);
    shell.run(&mut import)?;
    fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))?;
    Ok(Outcome::Done("imported".to_owned()))
}

/// Ports of the loopback interface that nobody uses, no two of them the same.
pub(crate) fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    // All are held until the last is found.
    let listeners = (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let listeners = listeners.collect::<Result<Vec<_>, _>>().context("cannot find free ports")?;
    let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port()));
    ports.collect::<Result<_, std::io::Error>>().context("cannot find free ports")
}

/// A port of the loopback interface that nobody uses.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    free_ports(1)?.pop().context("cannot find a free port")
}

/// A server that was started, and how to start it again.
#[derive(Debug)]
pub(crate) struct Server {
    binary: PathBuf,
    www: PathBuf,
    data: PathBuf,
    port: u16,
    log: Option<PathBuf>,
    child: Child,
}

impl Server {
    /// Starts the server and waits until it answers. What it says goes to the terminal, or is appended to `log`.
    pub(crate) fn start(shell: &Shell, port: u16, data: &Path, log: Option<&Path>) -> anyhow::Result<Self> {
        let (binary, www) = (binary(shell), shell.root().join("www/dist"));
        let child = spawn(&binary, &www, data, port, log)?;
        let mut server =
            Self { binary, www, data: data.to_path_buf(), port, log: log.map(Path::to_path_buf), child };
        server.wait_until_healthy()?;
        Ok(server)
    }

    /// Where the page is.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().context("cannot kill the server")?;
        self.child.wait().context("cannot wait for the server").map(drop)
    }

    /// Starts a server that has ended again, on the same port and data.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        if self.ended()?.is_some() {
            self.child = spawn(&self.binary, &self.www, &self.data, self.port, self.log.as_deref())?;
        }
        self.wait_until_healthy()
    }

    /// How the server ended, if it has.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("lost the server")
    }

    /// Asks the server to end, waits for it, and says how it went.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.ask_to_end();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the server was asked to end and ended with {status}"),
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
        bail!("the server did not end within {} of being asked to, and was killed", shell::seconds(PATIENCE))
    }

    fn ask_to_end(&mut self) {
        #[cfg(unix)]
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // Fails only if the server has ended by itself, which the caller sees at once.
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        #[cfg(not(unix))]
        let _ = self.child.kill();
    }

    fn wait_until_healthy(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                let log = self
                    .log
                    .as_ref()
                    .map_or_else(String::new, |log| format!("; what it said: {}", log.display()));
                bail!("the server ended with {status} while it started{log}");
            }
            if is_healthy(self.port) {
                return Ok(());
            }
            if shell::is_interrupted() {
                return Err(Interrupted.into());
            }
            if began.elapsed() > PATIENCE {
                bail!("the server did not answer on port {} within {}", self.port, shell::seconds(PATIENCE));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        shell::end_group(&mut self.child);
    }
}

fn spawn(binary: &Path, www: &Path, data: &Path, port: u16, log: Option<&Path>) -> anyhow::Result<Child> {
    let mut command = std::process::Command::new(binary);
    command.arg("serve").args(["--listen", &format!("127.0.0.1:{port}")]);
    command.arg("--data").arg(data).arg("--www").arg(www).stdin(Stdio::null());
    if let Some(log) = log {
        let open = || File::options().create(true).append(true).open(log);
        let out = open().with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
        command.stdout(out).stderr(err);
    }
    shell::own_group(&mut command);
    command.spawn().with_context(|| format!("cannot start {}", binary.display()))
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 2"))
}
