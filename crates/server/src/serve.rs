//! `tidewire-server serve`: from options to a running server, and back to silence.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use axum::Router;
use thiserror::Error;
use tidewire::server::{self, Admission, Options, Rules, Server};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
    time::{interval, timeout},
};

use crate::{
    Limits,
    cluster::{Cluster, EnterError, Node},
    door::Door,
    health::{Condition, Health},
    host::{Conduct, Host, HostError, Input},
    keys::{Keys, KeysError, Sources},
    listen,
    metrics::{Metrics, UPKEEP},
    sqlite::{self, Sqlite},
    web::{Origins, Web},
};

/// How often servers and clients hear from each other, unless configured.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long the last words to clients may take at the end.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// What to serve, and how.
///
/// ```no_run
/// use tidewire::server::{EVERYONE, Projection, Rule, Rules};
/// use tidewire_server::Builder;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let named = |value: tidewire::protocol::EncodedValue<'_>| {
///     value.string_field("name").map(drop).ok_or("name: missing".to_owned())
/// };
/// let rules = Rules::new()
///     .viewer("self", |view| Ok(view.key.strip_prefix("user:") == Some(view.viewer)))
///     .object("user:*", Rule::new().gate(named).projection(Projection::new().others(EVERYONE).field("email", "self")));
/// Builder::new("data")
///     .listen("127.0.0.1:4400".parse()?)
///     .rules(rules)
///     .serve(|address| println!("http://{address}/"), std::future::pending())
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    data: PathBuf,
    listen: SocketAddr,
    metrics_listen: Option<SocketAddr>,
    www: Option<PathBuf>,
    allow_origin: Vec<String>,
    trust_proxy: Vec<IpAddr>,
    open: bool,
    keys: Sources,
    limits: Limits,
    heartbeat: Duration,
    rules: Rules,
    cluster: Option<Cluster>,
}

impl Builder {
    /// A server over the data directory `data`, for the programs of this machine.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 4400)),
            metrics_listen: None,
            www: None,
            allow_origin: Vec::new(),
            trust_proxy: Vec::new(),
            open: false,
            keys: Sources::default(),
            limits: Limits::default(),
            heartbeat: HEARTBEAT,
            rules: Rules::new(),
            cluster: None,
        }
    }

    /// The address to listen on; port 0 takes a free one.
    #[must_use]
    pub const fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// An address of its own for `/metrics`, `/healthz` and `/readyz`, which answers everybody who reaches it. Without
    /// it `/metrics` answers programs of this machine.
    #[must_use]
    pub const fn metrics_listen(mut self, address: SocketAddr) -> Self {
        self.metrics_listen = Some(address);
        self
    }

    /// A directory of files to serve beside the API.
    #[must_use]
    pub fn www(mut self, directory: impl Into<PathBuf>) -> Self {
        self.www = Some(directory.into());
        self
    }

    /// Lets the pages of an origin connect, such as `https://app.example.com`.
    #[must_use]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.allow_origin.push(origin.into());
        self
    }

    /// Takes the word of a proxy at this address, in `X-Forwarded-For`, for where its clients are from.
    #[must_use]
    pub fn trust_proxy(mut self, address: IpAddr) -> Self {
        self.trust_proxy.push(address.to_canonical());
        self
    }

    /// Lets everybody who reaches the server use it, if `open`.
    #[must_use]
    pub const fn open(mut self, open: bool) -> Self {
        self.open = open;
        self
    }

    /// What tokens are checked with. Without any, only programs of this machine may reach the server, unless it is open.
    #[must_use]
    pub fn keys(mut self, keys: Sources) -> Self {
        self.keys = keys;
        self
    }

    /// How much the server lets in.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How often each client hears from the server and the server from it; who is silent for two and a half of them is gone.
    /// Default: 10 s. A shorter one notices sooner what is gone, and takes a slow line for a dead one sooner.
    #[must_use]
    pub const fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// What holds for which objects and datastores.
    #[must_use]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Makes the server one of several that are one service. They have the same rules, limits and keys.
    #[must_use]
    pub fn cluster(mut self, cluster: Cluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Serves until `stop` yields, then says goodbye to every client, commits and returns.
    ///
    /// `ready` hears the address once the database is open and clients are let in; before that, `/readyz` and everything
    /// else but `/healthz` answers 503.
    ///
    /// # Errors
    /// Why the server does not run, or why it ended by itself.
    pub async fn serve(
        self,
        ready: impl FnOnce(SocketAddr),
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let is_local = self.listen.ip().is_loopback();
        let keys = self.check()?;
        let listener = bind(self.listen, "--listen")?;
        let address = listener.local_addr().map_err(ServeError::System)?;
        let metrics_listener =
            self.metrics_listen.map(|address| bind(address, "--metrics-listen")).transpose()?;

        let (host, waiting) = Host::prepare();
        let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::new()));
        let (alive, last_connection) = mpsc::channel(1);
        let Limits { connections, connections_per_address, backlog_bytes, connection } = self.limits;
        let web = Arc::new(Web {
            host: host.clone(),
            origins: Origins { allowed: self.allow_origin, is_local },
            health: health.clone(),
            metrics: metrics.clone(),
            door: Door::new(connections, connections_per_address, self.trust_proxy).into(),
            frame_bytes: connection.frame_bytes.min(server::Limits::default().frame_bytes),
            backlog_bytes,
            connections: AtomicU64::new(1),
            alive,
        });
        let (shut, shutdown) = watch::channel(());
        let mut running = vec![run(listener, web.router(self.www), shutdown.clone())];
        running.extend(metrics_listener.map(|listener| run(listener, web.metrics_router(), shutdown)));
        drop(web);
        let upkeep = tokio::spawn({
            let metrics = metrics.clone();
            async move {
                let mut ticks = interval(UPKEEP);
                loop {
                    ticks.tick().await;
                    metrics.upkeep();
                }
            }
        });
        let doors = Doors { health, host, running, upkeep, shut, last_connection };

        let mut options = Options::new(seed().map_err(ServeError::System)?);
        options.admission = keys.map_or(Admission::Open, Keys::into_admission);
        options.limits = connection;
        options.heartbeat = self.heartbeat;
        options.rules = self.rules;
        let data = self.data;
        let mut stop = pin!(stop);
        let conduct = Conduct { backlog_bytes, health: doors.health.clone(), meter: metrics.meter() };
        let ready = || {
            tracing::info!(%address, "ready");
            ready(address);
        };
        if let Some(cluster) = self.cluster {
            let node = Node { data, cluster, options, conduct };
            let result = node.run(&doors.host, waiting, ready, stop).await;
            return doors.close(result).await;
        }
        // It may take seconds, and the probes are answered meanwhile.
        let opening = spawn_blocking(move || open(&data, options));
        let opened = tokio::select! {
            opened = opening => opened.unwrap_or(Err(HostError::Panicked.into())),
            () = &mut stop => return doors.close(Ok(())).await,
        };
        let server = match opened {
            Ok(server) => server,
            Err(error) => return doors.close(Err(error)).await,
        };
        let mut end = waiting.start(server, conduct).map_err(ServeError::System)?;
        ready();

        let ended = tokio::select! {
            () = stop => None,
            ended = &mut end => Some(ended),
        };
        let result = match ended {
            Some(ended) => ended,
            None => {
                tracing::info!("stopping");
                doors.health.set(Condition::Stopping);
                doors.host.send(Input::Shutdown).await;
                end.await
            }
        };
        doors.close(result.unwrap_or(Err(HostError::Panicked)).map_err(ServeError::from)).await
    }

    /// What can be said before anything is opened.
    fn check(&self) -> Result<Option<Keys>, ServeError> {
        let keys = Keys::load(&self.keys)?;
        if keys.is_some() && self.open {
            return Err(ServeError::OpenWithKeys);
        }
        if keys.is_none() && !self.listen.ip().is_loopback() && !self.open {
            return Err(ServeError::NotLocal(self.listen));
        }
        match self.www.as_ref().filter(|page| !page.is_dir()) {
            Some(page) => Err(ServeError::NoPage(page.clone())),
            None => Ok(keys),
        }
    }
}

fn open(data: &Path, options: Options) -> Result<Server<Sqlite>, ServeError> {
    let storage = Sqlite::open(data)?;
    if storage.is_of_cluster().map_err(|error| sqlite::open::failed(data, error))? {
        return Err(ServeError::OfCluster(data.to_owned()));
    }
    Ok(Server::open(storage, options)?)
}

/// How many connections may wait to be accepted. Those who come back all at once after a restart find a longer queue than
/// the usual 1,024: a connection that finds none is tried again by its system after a whole second.
const BACKLOG: u32 = 4096;

/// Needs a runtime.
fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ServeError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // So that a server can follow another at once. Elsewhere than on Unix it would let two share a port.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => ServeError::Taken { address, flag },
        _ => ServeError::Listen { address, flag, source },
    })
}

/// Answers at a listener until the shutdown.
fn run(
    listener: TcpListener,
    router: Router,
    mut shutdown: watch::Receiver<()>,
) -> JoinHandle<io::Result<()>> {
    tokio::spawn(listen::serve(listener, router, async move {
        // It never changes: its end is the word.
        let _ = shutdown.changed().await;
    }))
}

/// What is open to the outside, to be closed at the end.
struct Doors {
    health: Arc<Health>,
    host: Host,
    running: Vec<JoinHandle<io::Result<()>>>,
    upkeep: JoinHandle<()>,
    shut: watch::Sender<()>,
    last_connection: mpsc::Receiver<()>,
}

impl Doors {
    /// Lets the last words out, and closes.
    async fn close(self, result: Result<(), ServeError>) -> Result<(), ServeError> {
        let Self { health, host, running, upkeep, shut, mut last_connection } = self;
        health.set(Condition::Stopping);
        upkeep.abort();
        drop(shut);
        drop(host);
        let farewell = async {
            for listener in running {
                let _ = listener.await;
            }
            while last_connection.recv().await.is_some() {}
        };
        if timeout(SHUTDOWN_PATIENCE, farewell).await.is_err() {
            tracing::info!("some clients did not answer the goodbye");
        }
        result
    }
}

/// The server does not run, or ended by itself.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Reachable by others, and open to all of them.
    #[error(
        "{0} can be reached from other machines, and everybody who reaches it could read and write everything; add \
         --open if that is meant, check tokens with --jwt-secret or --jwks, or listen on 127.0.0.1"
    )]
    NotLocal(SocketAddr),
    /// Open to all, and to those with a token only.
    #[error("--open lets everybody in, keys only those who have a token; leave one of them out")]
    OpenWithKeys,
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The page is not there.
    #[error("there is no directory {}; build the page first or leave --www out", .0.display())]
    NoPage(PathBuf),
    /// The port is taken.
    #[error("{address} is taken by another program; stop that one or choose another port with {flag}")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// What it is given with.
        flag: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({source}); choose another address with {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What it is given with.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] sqlite::OpenError),
    /// The database cannot be read.
    #[error(transparent)]
    Open(#[from] server::OpenError),
    /// The database is that of a node of a cluster.
    #[error(
        "{} is the data directory of a node of a cluster; add --nats, or go on alone from a backup of it, restored into an \
         empty directory", .0.display()
    )]
    OfCluster(PathBuf),
    /// The node cannot become part of its cluster.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The system gives no randomness or threads.
    #[error("the system refuses what the server needs ({0})")]
    System(#[source] io::Error),
    /// The server ended by itself.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Randomness from the system.
///
/// # Errors
/// If it has none.
pub fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}
