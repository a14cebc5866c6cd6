//! A cluster on this machine: three servers of NATS, three nodes, and one address in front of them.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    build,
    server::{self, free_ports},
    setup,
    shell::{self, Shell},
};

const NODES: usize = 3;

/// How long the cluster may take until every node is a member.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a process that has ended stays away.
const ABSENCE: Duration = Duration::from_secs(3);

/// Ended, with all that it started, when it is dropped.
struct Process {
    name: String,
    program: String,
    arguments: Vec<String>,
    log: std::path::PathBuf,
    child: Child,
    ended: Option<Instant>,
}

impl Process {
    fn start(
        shell: &Shell,
        name: String,
        program: &str,
        arguments: Vec<String>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let child = spawn(shell, program, &arguments, log)?;
        Ok(Self { name, program: program.to_owned(), arguments, log: log.to_owned(), child, ended: None })
    }

    /// Starts it again some time after it has ended, whoever ended it.
    fn look(&mut self, shell: &Shell) -> anyhow::Result<()> {
        match self.ended {
            None => {
                if let Some(status) = self.child.try_wait()? {
                    println!(
                        "{} has ended ({status}); it starts again in {} s",
                        self.name,
                        ABSENCE.as_secs()
                    );
                    self.ended = Some(Instant::now());
                }
            }
            Some(ended) if ended.elapsed() >= ABSENCE => {
                self.child = spawn(shell, &self.program, &self.arguments, &self.log)?;
                self.ended = None;
                println!("{} is started again: process {}", self.name, self.child.id());
            }
            Some(_) => {}
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        shell::end_group(&mut self.child);
    }
}

fn spawn(shell: &Shell, program: &str, arguments: &[String], log: &Path) -> anyhow::Result<Child> {
    let mut command = shell.command(program);
    let open = || fs::File::options().create(true).append(true).open(log);
    let out = open().with_context(|| format!("cannot write {}", log.display()))?;
    command.args(arguments).stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
    shell::own_group(&mut command);
    command.spawn().with_context(|| format!("cannot start {program}"))
}

/// `cargo xtask cluster`: runs until Ctrl-C.
pub(crate) fn serve(shell: &Shell, port: u16) -> anyhow::Result<()> {
    setup::for_build(shell)?;
    setup::for_cluster(shell)?;
    build::everything(shell)?;
    server::build(shell)?;
    let front = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("port {port} cannot be used; choose another with --port"))?;
    let scratch = shell.scratch().join("cluster");
    // What a cluster of before has left behind.
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;

    let free = free_ports(3 * NODES)?;
    let (nats, ports) = free.split_at(2 * NODES);
    let ports = ports.to_vec();
    let (mut processes, urls) = start_nats(shell, &scratch, nats)?;
    for (node, port) in ports.iter().enumerate() {
        let name = format!("node-{node}");
        let data = scratch.join(&name);
        let mut arguments: Vec<String> =
            ["serve", "--nats", &urls, "--node", &name, "--listen"].map(str::to_owned).into();
        arguments.extend([format!("127.0.0.1:{port}"), "--data".to_owned(), data.display().to_string()]);
        arguments.extend(["--www".to_owned(), shell.root().join("www/dist").display().to_string()]);
        let log = scratch.join(format!("{name}.log"));
        let binary = server::binary(shell);
        processes.push(Process::start(shell, name, &binary.to_string_lossy(), arguments, &log)?);
    }
    let began = Instant::now();
    while !ports.iter().all(|port| is_ready(*port)) {
        if shell::is_interrupted() {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!("the nodes do not become members; what they said is in {}", scratch.display());
        }
        for process in &mut processes {
            process.look(shell)?;
        }
        thread::sleep(Duration::from_millis(50));
    }
    for (process, port) in processes[NODES..].iter().zip(&ports) {
        println!("{}: http://127.0.0.1:{port}/ (process {})", process.name, process.child.id());
    }
    println!(
        "all of them: http://127.0.0.1:{}/; kill one and the page goes on, Ctrl-C ends all",
        front.local_addr()?.port()
    );
    thread::spawn(move || balance(&front, &ports));
    while !shell::is_interrupted() {
        for process in &mut processes {
            process.look(shell)?;
        }
        thread::sleep(Duration::from_millis(100));
    }
    drop(processes);
    // The databases are of no use without their log.
    let _ = fs::remove_dir_all(&scratch);
    Ok(())
}

fn start_nats(shell: &Shell, scratch: &Path, ports: &[u16]) -> anyhow::Result<(Vec<Process>, String)> {
    let (ports, routes) = ports.split_at(NODES);
    let peers: Vec<_> = routes.iter().map(|port| format!("nats-route://127.0.0.1:{port}")).collect();
    let mut processes = Vec::new();
    for (number, (port, route)) in ports.iter().zip(routes).enumerate() {
        let name = format!("nats-{number}");
        let store = scratch.join(&name);
        let config = scratch.join(format!("{name}.conf"));
        let text = format!(
            "server_name: {name}\nlisten: 127.0.0.1:{port}\njetstream {{ store_dir: {store:?}, max_file: 8GB }}\n\
             cluster {{ name: tidewire, listen: 127.0.0.1:{route}, routes: [{}] }}\n",
            peers.join(", ")
        );
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let arguments = vec!["--config".to_owned(), config.display().to_string()];
        let log = scratch.join(format!("{name}.log"));
        processes.push(Process::start(shell, name, "nats-server", arguments, &log)?);
    }
    let urls: Vec<_> = ports.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect();
    Ok((processes, urls.join(",")))
}

fn is_ready(port: u16) -> bool {
    let ask = || -> io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(500))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Sends each connection to a node that is ready, each to the next one.
fn balance(front: &TcpListener, ports: &[u16]) {
    let next = AtomicUsize::new(0);
    while let Ok((client, _)) = front.accept() {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        let port = (0..ports.len()).map(|at| ports[(at + turn) % ports.len()]).find(|port| is_ready(*port));
        let Some(port) = port else { continue };
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
        let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
        thread::spawn(move || pass(from, server));
        thread::spawn(move || pass(to, client));
    }
}

/// Passes on what comes, until either side ends.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = to.set_nodelay(true);
    let _ = io::copy(&mut from, &mut to);
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
}
