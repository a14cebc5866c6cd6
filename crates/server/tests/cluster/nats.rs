//! The real nats-server with JetStream, on a free port, over a directory of its own.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Longer than a start takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Sends a process a signal.
pub(crate) fn signal(process: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &process.to_string()]).status().unwrap().success());
}

/// A process that is killed at the end.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One nats-server.
pub(crate) struct Nats {
    process: Process,
    port: u16,
    /// What its settings say of the others.
    cluster: String,
    directory: TempDir,
}

fn start(directory: &Path, port: u16, cluster: &str) -> Process {
    let config = directory.join("nats.conf");
    let store = directory.join("store");
    let listen = format!("server_name: nats-{port}\nlisten: 127.0.0.1:{port}\n");
    let text = format!("{listen}jetstream {{ store_dir: {store:?}, max_file: 4GB }}\n{cluster}");
    fs::write(&config, text).unwrap();
    let child = Command::new("nats-server")
        .args(["-c", config.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nats-server is on the PATH; `cargo xtask test` installs it");
    let begun = Instant::now();
    while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(begun.elapsed() < PATIENCE, "nats-server does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    Process(child)
}

impl Nats {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (port, cluster) = (free_port(), String::new());
        Self { process: start(directory.path(), port, &cluster), port, cluster, directory }
    }

    /// Several that are one.
    pub(crate) fn cluster(count: usize) -> Vec<Self> {
        let ports: Vec<_> = (0..2 * count).map(|_| free_port()).collect();
        let (ports, routes) = ports.split_at(count);
        let urls: Vec<_> = routes.iter().map(|port| format!("nats-route://127.0.0.1:{port}")).collect();
        let urls = urls.join(", ");
        let start = |(port, route): (&u16, &u16)| {
            let cluster = format!("cluster {{ name: test, listen: 127.0.0.1:{route}, routes: [{urls}] }}\n");
            let directory = tempfile::tempdir().unwrap();
            Self { process: start(directory.path(), *port, &cluster), port: *port, cluster, directory }
        };
        ports.iter().zip(routes).map(start).collect()
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    pub(crate) fn start_again(&mut self) {
        self.process = start(self.directory.path(), self.port, &self.cluster);
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Everything that was stored is gone.
    pub(crate) fn forget(&mut self) {
        self.kill();
        fs::remove_dir_all(self.store()).unwrap();
        self.start_again();
    }
}
