//! A cluster on this machine: three servers of NATS, three nodes, and one address in front of them.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use crate::{
    build, check, control,
    server::{self, free_ports},
    setup::{self, Browser},
    shell::{self, Interrupted, Outcome, Shell},
};

const NODES: usize = 3;

/// How long the cluster may take until every node is a member.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a process that has ended stays away.
const ABSENCE: Duration = Duration::from_secs(3);

/// Several times what the check takes on two cores.
const CHECK_LIMIT: Duration = Duration::from_secs(180);

/// Ended, with all that it started, when it is dropped.
struct Process {
    name: String,
    /// Where it listens.
    port: u16,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Child,
    ended: Option<Instant>,
}

impl Process {
    fn start(
        name: String,
        port: u16,
        program: PathBuf,
        arguments: Vec<String>,
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let child = spawn(&program, &arguments, &log)?;
        Ok(Self { name, port, program, arguments, log, child, ended: None })
    }

    /// Starts it again some time after it has ended, whoever ended it; says what there is to say.
    fn look(&mut self) -> anyhow::Result<Option<String>> {
        match self.ended {
            None => Ok(self.child.try_wait()?.map(|status| {
                self.ended = Some(Instant::now());
                let pause = ABSENCE.as_secs();
                format!("{} has ended ({status}); it starts again in {pause} s", self.name)
            })),
            Some(ended) if ended.elapsed() >= ABSENCE => {
                self.child = spawn(&self.program, &self.arguments, &self.log)?;
                self.ended = None;
                Ok(Some(format!("{} is started again: process {}", self.name, self.child.id())))
            }
            Some(_) => Ok(None),
        }
    }

    /// In a word, for the page.
    fn condition(&mut self) -> &'static str {
        // Whoever looks next notes that it has ended.
        let is_down = self.ended.is_some() || matches!(self.child.try_wait(), Ok(Some(_)));
        match is_down {
            true => "down",
            false if is_ready(self.port) => "ready",
            false => "joining",
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        shell::end_group(&mut self.child);
    }
}

fn spawn(program: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    let open = || fs::File::options().create(true).append(true).open(log);
    let out = open().with_context(|| format!("cannot write {}", log.display()))?;
    command.args(arguments).stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
    shell::own_group(&mut command);
    command.spawn().with_context(|| format!("cannot start {}", program.display()))
}

/// All processes; those of NATS first. Everything ends when it is dropped.
struct Cluster {
    processes: Arc<Mutex<Vec<Process>>>,
    ports: Vec<u16>,
    scratch: PathBuf,
}

impl Cluster {
    /// Starts everything, with the countries in it, and waits until all nodes are members.
    fn start(shell: &Shell, scratch: PathBuf) -> anyhow::Result<Self> {
        // What a cluster of before has left behind.
        check::recreate(&scratch)?;
        let free = free_ports(3 * NODES)?;
        let (nats, ports) = free.split_at(2 * NODES);
        let (processes, urls) = start_nats(shell, &scratch, nats)?;
        let cluster = Self { processes: Arc::new(Mutex::new(processes)), ports: ports.to_vec(), scratch };
        for (node, port) in cluster.ports.iter().enumerate() {
            let name = format!("node-{node}");
            let data = cluster.scratch.join(&name);
            if node == 0 {
                // The others copy what the first one begins the log with.
                server::import_countries(shell, &data)?;
            }
            let mut arguments: Vec<String> =
                ["serve", "--nats", &urls, "--node", &name, "--listen"].map(str::to_owned).into();
            arguments.extend([format!("127.0.0.1:{port}"), "--data".to_owned(), data.display().to_string()]);
            arguments.extend(["--www".to_owned(), shell.root().join("www/dist").display().to_string()]);
            let log = cluster.scratch.join(format!("{name}.log"));
            let process = Process::start(name, *port, server::binary(shell), arguments, log)?;
            cluster.held().push(process);
            cluster.wait_for(*port)?;
        }
        Ok(cluster)
    }

    fn wait_for(&self, port: u16) -> anyhow::Result<()> {
        let began = Instant::now();
        while !is_ready(port) {
            if shell::is_interrupted() {
                return Err(Interrupted.into());
            }
            if began.elapsed() > PATIENCE {
                bail!("the nodes do not become members; what they said is in {}", self.scratch.display());
            }
            look(&mut self.held(), |_| {})?;
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Vec<Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts again what ends, until the cluster does.
    fn keep(&self, tell: fn(&str)) {
        let processes = Arc::clone(&self.processes);
        thread::spawn(move || {
            loop {
                let mut held = processes.lock().unwrap_or_else(PoisonError::into_inner);
                if held.is_empty() {
                    return;
                }
                if let Err(error) = look(&mut held, tell) {
                    tell(&format!("{error:#}"));
                    return;
                }
                drop(held);
                thread::sleep(Duration::from_millis(100));
            }
        });
    }

    /// The address of the page at `port`, which is told where it may ask for the nodes, and have one killed.
    fn page(&self, port: u16) -> anyhow::Result<String> {
        let processes = Arc::clone(&self.processes);
        let address = control::serve(move |request| {
            let mut held = processes.lock().unwrap_or_else(PoisonError::into_inner);
            answer(&mut held, request)
        })?;
        let (_, control) = address.rsplit_once(':').context("an address without a port")?;
        Ok(format!("http://127.0.0.1:{port}/countries.html?cluster={control}"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.held().clear();
    }
}

fn look(processes: &mut [Process], tell: impl Fn(&str)) -> anyhow::Result<()> {
    for process in processes {
        if let Some(news) = process.look()? {
            tell(&news);
        }
    }
    Ok(())
}

/// What the page may ask for: `GET /nodes`, and `POST /kill/NAME`.
fn answer(processes: &mut [Process], request: &str) -> anyhow::Result<String> {
    let nodes = processes.len().saturating_sub(NODES)..;
    if request == "GET /nodes" {
        let node = |process: &mut Process| {
            let condition = process.condition();
            let Process { name, port, .. } = process;
            format!(r#"{{"name":"{name}","url":"ws://127.0.0.1:{port}/v1/sync","condition":"{condition}"}}"#)
        };
        let nodes: Vec<_> = processes[nodes].iter_mut().map(node).collect();
        return Ok(format!("[{}]", nodes.join(",")));
    }
    let name = request.strip_prefix("POST /kill/");
    let node = processes[nodes].iter_mut().find(|process| Some(process.name.as_str()) == name);
    let node = node.with_context(|| {
        format!("no such request: {request}; there are GET /nodes and POST /kill/NAME of a node")
    })?;
    node.child.kill().context("cannot kill the node")?;
    node.child.wait().context("cannot wait for the node")?;
    Ok(String::new())
}

/// `cargo xtask cluster`: runs until Ctrl-C.
pub(crate) fn serve(shell: &Shell, port: u16) -> anyhow::Result<()> {
    let front = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("port {port} cannot be used; choose another with --port"))?;
    setup::for_build(shell)?;
    setup::for_cluster(shell)?;
    build::everything(shell)?;
    server::build(shell)?;
    let cluster = match Cluster::start(shell, shell.scratch().join("cluster")) {
        Err(error) if error.is::<Interrupted>() => return Ok(()),
        started => started?,
    };
    for Process { name, port, child, .. } in &cluster.held()[NODES..] {
        println!("{name}: http://127.0.0.1:{port}/ (process {})", child.id());
    }
    let page = cluster.page(front.local_addr()?.port())?;
    println!("one address in front of them: http://{}/", front.local_addr()?);
    println!("the page, which shows its node: {page}");
    println!("Kill a node there, or its process, and the page goes on. Ctrl-C ends all.");
    cluster.keep(|news| println!("{news}"));
    let ports = cluster.ports.clone();
    thread::spawn(move || balance(&front, &ports));
    while !shell::is_interrupted() {
        thread::sleep(Duration::from_millis(100));
    }
    let scratch = cluster.scratch.clone();
    drop(cluster);
    // The databases are of no use without their log.
    let _ = fs::remove_dir_all(&scratch);
    Ok(())
}

/// `cargo xtask cluster --check`.
pub(crate) fn check(shell: &Shell) -> anyhow::Result<()> {
    setup::for_build(shell)?;
    setup::for_cluster(shell)?;
    let browser = setup::for_check(shell)?;
    build::everything(shell)?;
    server::build(shell)?;
    run_check(shell, &browser)
}

/// The page of a cluster, in headless Chromium: it goes on when its node is killed. All must be built.
pub(crate) fn run_check(shell: &Shell, browser: &Browser) -> anyhow::Result<()> {
    shell.step("a page of a cluster", "cargo xtask cluster --check", || {
        let results = shell.target().join("cluster");
        check::recreate(&results)?;
        let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        let cluster = Cluster::start(shell, results.join("processes"))?;
        cluster.keep(|_| {});
        let (page, ports) = (cluster.page(front.local_addr()?.port())?, cluster.ports.clone());
        thread::spawn(move || balance(&front, &ports));
        let mut script = shell.command("node");
        script.arg("www/e2e/cluster.mjs").env("TIDEWIRE_URL", page);
        script.env("TIDEWIRE_SCREENSHOTS", &results).env("TIDEWIRE_CHROMIUM", &browser.program);
        let checked = shell.run_within(CHECK_LIMIT, &mut script);
        drop(cluster);
        checked
            .with_context(|| format!("what the nodes said is in {}", results.join("processes").display()))?;
        let screenshots = check::count_screenshots(&results)?;
        ensure!(screenshots > 0, "the check saved no screenshot in {}", results.display());
        let _ = fs::remove_dir_all(results.join("processes"));
        Ok(Outcome::Done(format!("passed, {screenshots} screenshots in {}", results.display())))
    })
}

fn start_nats(shell: &Shell, scratch: &Path, ports: &[u16]) -> anyhow::Result<(Vec<Process>, String)> {
    let program = shell.find(&["nats-server"]).context("the set-up left no nats-server")?;
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
        processes.push(Process::start(name, *port, program.clone(), arguments, log)?);
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
