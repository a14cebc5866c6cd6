//! The servers under load: how each is started, and what it uses.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep},
};

use crate::{Programs, peer};

/// How long a server may take until it accepts connections.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whom to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contestant {
    Tidewire,
    Nats,
    SocketIo,
    Ws,
}

impl Contestant {
    pub(crate) const ALL: [Self; 4] = [Self::Tidewire, Self::Nats, Self::SocketIo, Self::Ws];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tidewire => "tidewire",
            Self::Nats => "nats-server",
            Self::SocketIo => "socket.io",
            Self::Ws => "ws",
        }
    }

    fn command(self, programs: &Programs, scratch: &Path, port: u16) -> anyhow::Result<Command> {
        let mut command = match self {
            Self::Tidewire => {
                let mut command = Command::new(&programs.server);
                command.arg("serve").arg("--data").arg(scratch.join("data"));
                command.args(["--listen", &format!("127.0.0.1:{port}")]);
                // The others limit nobody.
                command.args(["--message-rate", "0", "--write-rate", "0", "--max-connections", "65536"]);
                command
            }
            Self::Nats => {
                let config = scratch.join("nats.conf");
                let text = format!(
                    "listen: 127.0.0.1:-1\nwebsocket {{ listen: \"127.0.0.1:{port}\", no_tls: true }}\nmax_connections: 64K\n"
                );
                fs::write(&config, text)?;
                let mut command = Command::new(&programs.nats);
                command.arg("--config").arg(config);
                command
            }
            Self::SocketIo | Self::Ws => {
                let script = if self == Self::Ws { "ws.mjs" } else { "socketio.mjs" };
                let mut command = Command::new("node");
                command.arg(programs.rivals.join(script)).arg(port.to_string());
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) contestant: Contestant,
    pub(crate) address: SocketAddr,
    child: Child,
    scratch: TempDir,
    /// What it is told beside the usual.
    extra: Vec<String>,
}

impl Running {
    pub(crate) async fn start(contestant: Contestant, programs: &Programs) -> anyhow::Result<Self> {
        Self::start_with(contestant, programs, &[]).await
    }

    /// Starts it with more arguments than usual.
    pub(crate) async fn start_with(
        contestant: Contestant,
        programs: &Programs,
        extra: &[&str],
    ) -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let extra: Vec<_> = extra.iter().map(|&argument| argument.to_owned()).collect();
        let child = spawn(contestant, programs, scratch.path(), address, &extra).await?;
        Ok(Self { contestant, address, child, scratch, extra })
    }

    /// Ends it without a word, and starts it again over the same data.
    pub(crate) async fn crash(&mut self, programs: &Programs) -> anyhow::Result<()> {
        self.child.kill().await?;
        self.child = spawn(self.contestant, programs, self.scratch.path(), self.address, &self.extra).await?;
        Ok(())
    }

    /// Seconds of all cores since it was started, of its threads that have ended too: by the process's own clock, which
    /// counts nanoseconds. What `/proc` shows counts hundredths of a second.
    #[cfg(target_os = "linux")]
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let id = self.child.id().context("the server has ended")?;
        let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(id.try_into()?))?;
        Ok(Duration::from(clock.now()?).as_secs_f64())
    }

    /// Seconds of all cores since it was started.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let milliseconds = self.look(sysinfo::Process::accumulated_cpu_time)?;
        Ok(Duration::from_millis(milliseconds).as_secs_f64())
    }

    /// Resident memory.
    pub(crate) fn memory_bytes(&self) -> anyhow::Result<u64> {
        self.look(sysinfo::Process::memory)
    }

    fn look<T>(&self, at: impl Fn(&sysinfo::Process) -> T) -> anyhow::Result<T> {
        let id = Pid::from_u32(self.child.id().context("the server has ended")?);
        let mut system = System::new();
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), false, what);
        system.process(id).map(at).with_context(|| format!("{} has ended", self.contestant.name()))
    }
}

/// All of them.
pub(crate) async fn start_all(programs: &Programs) -> anyhow::Result<Vec<Running>> {
    let mut all = Vec::new();
    for contestant in Contestant::ALL {
        all.push(Running::start(contestant, programs).await?);
    }
    Ok(all)
}

async fn spawn(
    contestant: Contestant,
    programs: &Programs,
    scratch: &Path,
    address: SocketAddr,
    extra: &[String],
) -> anyhow::Result<Child> {
    let name = contestant.name();
    let mut command = contestant.command(programs, scratch, address.port())?;
    let mut child = command.args(extra).spawn().with_context(|| format!("cannot start {name}"))?;
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(address).await.is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("{name} ended at once ({status})");
        }
        if Instant::now() > end {
            bail!("{name} accepts no connection on {address}");
        }
        sleep(Duration::from_millis(2)).await;
    }
    // Ours accepts connections before its database is open, and lets nobody in until then; a node, only once its log is
    // there, which is for others to wait for.
    while contestant == Contestant::Tidewire
        && extra.is_empty()
        && peer::dial(contestant, address).await.is_err()
    {
        if Instant::now() > end {
            bail!("{name} lets nobody in on {address}");
        }
        sleep(Duration::from_millis(2)).await;
    }
    Ok(child)
}
