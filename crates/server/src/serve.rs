//! `tidewire-server serve`: from options to a running server, and back to silence.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use thiserror::Error;
use tidewire::server::{self, Admission, Options, Server};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    host::{Host, HostError, Input},
    keys::{Keys, KeysError, Sources},
    listen,
    sqlite::{self, Sqlite},
    web::{Origins, Web},
};

/// How long the last words to clients may take at the end.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// What to serve.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// The data directory.
    pub data: PathBuf,
    /// The directory of the page.
    pub www: Option<PathBuf>,
    /// Further origins whose pages may connect.
    pub allow_origin: Vec<String>,
    /// Whether everybody who reaches the server may use it.
    pub open: bool,
    /// What tokens are checked with. Without any, only programs of this machine may reach the server, unless it is
    /// `open`.
    pub keys: Sources,
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
    #[error("{0} is taken by another program; stop that one or choose another port with --listen")]
    Taken(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({source}); choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] sqlite::OpenError),
    /// The database cannot be read.
    #[error(transparent)]
    Open(#[from] server::OpenError),
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

/// Serves until `stop` yields, then says goodbye to every client, commits and returns.
///
/// `ready` hears the address as soon as connections are accepted.
///
/// # Errors
/// Why the server does not run, or why it ended by itself.
pub async fn serve(
    config: Config,
    ready: impl FnOnce(SocketAddr),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let is_local = config.listen.ip().is_loopback();
    let keys = Keys::load(&config.keys)?;
    if keys.is_some() && config.open {
        return Err(ServeError::OpenWithKeys);
    }
    if keys.is_none() && !is_local && !config.open {
        return Err(ServeError::NotLocal(config.listen));
    }
    if let Some(page) = config.www.as_ref().filter(|page| !page.is_dir()) {
        return Err(ServeError::NoPage(page.clone()));
    }
    let listener = TcpListener::bind(config.listen).await.map_err(|source| match source.kind() {
        ErrorKind::AddrInUse => ServeError::Taken(config.listen),
        _ => ServeError::Listen { address: config.listen, source },
    })?;
    let address = listener.local_addr().map_err(ServeError::System)?;

    let storage = Sqlite::open(&config.data)?;
    let mut options = Options::new(seed().map_err(ServeError::System)?);
    options.admission = keys.map_or(Admission::Open, Keys::into_admission);
    let server = Server::open(storage, options)?;
    let (host, mut end) = Host::start(server).map_err(ServeError::System)?;

    let (alive, mut last_connection) = mpsc::channel(1);
    let origins = Origins { allowed: config.allow_origin, is_local };
    let router = Web::new(host.clone(), origins, alive).router(config.www);
    let (shut, shutdown) = oneshot::channel::<()>();
    let http = tokio::spawn(listen::serve(listener, router, async {
        let _ = shutdown.await;
    }));
    ready(address);

    let ended = tokio::select! {
        () = stop => None,
        ended = &mut end => Some(ended),
    };
    let result = match ended {
        Some(ended) => ended,
        None => {
            tracing::info!("stopping");
            host.send(Input::Shutdown).await;
            end.await
        }
    };
    let _ = shut.send(());
    drop(host);
    let farewell = async {
        let _ = http.await;
        while last_connection.recv().await.is_some() {}
    };
    if timeout(SHUTDOWN_PATIENCE, farewell).await.is_err() {
        tracing::info!("some clients did not answer the goodbye");
    }
    Ok(result.unwrap_or(Err(HostError::Panicked))?)
}
