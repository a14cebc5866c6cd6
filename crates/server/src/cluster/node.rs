//! A node from its start to its end: entered, followed, and entered again when the log goes on without it.

use std::{path::PathBuf, pin::Pin, time::Duration};

use tidewire::server::{Options, Server};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Cluster,
    enter::{Entered, enter},
    log::Place,
    peers::Standing,
    replica::Replica,
};
use crate::{
    health::{self, Condition},
    host::{Conduct, Host, HostError, Input, Waiting},
    serve::ServeError,
    sqlite::Sqlite,
};

/// How long the last records may take to leave.
const PATIENCE: Duration = Duration::from_secs(3);

/// One of the servers of a service.
pub(crate) struct Node {
    pub(crate) data: PathBuf,
    pub(crate) cluster: Cluster,
    pub(crate) options: Options,
    pub(crate) conduct: Conduct,
}

/// How a node stopped following the log.
enum End {
    /// It was told to.
    Stopped,
    /// It needs another state.
    Elsewhere(Waiting),
}

impl Node {
    /// Runs until `stop` yields; `ready` is called once, when the node is a member for the first time.
    pub(crate) async fn run(
        self,
        host: &Host,
        mut waiting: Waiting,
        ready: impl FnOnce(),
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), ServeError> {
        let mut ready = Some(ready);
        loop {
            let entered = tokio::select! {
                entered = enter(&self.data, &self.cluster) => entered?,
                () = &mut stop => return Ok(()),
            };
            match self.follow(entered, host, waiting, &mut ready, stop.as_mut()).await? {
                End::Stopped => return Ok(()),
                End::Elsewhere(again) => {
                    tracing::warn!("{}", HostError::Rebuild);
                    self.conduct.health.set(Condition::Opening);
                    waiting = again;
                }
            }
        }
    }

    async fn follow(
        &self,
        entered: Entered,
        host: &Host,
        waiting: Waiting,
        ready: &mut Option<impl FnOnce()>,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<End, ServeError> {
        let Entered { sqlite, state, log, peers, name } = entered;
        let about = health::Node { name: name.clone(), replicas: log.replicas };
        tracing::info!(node = %name, position = state.seen.position, "{}", about.promise());
        self.conduct.health.introduce(about);
        let place = Place { position: state.seen.position, mark: state.mark };
        let options = Options { replicated: true, ..self.options.clone() };
        let server = Server::open(sqlite, options)?;
        let (records, outgoing) = mpsc::unbounded_channel();
        let (joined, has_joined) = oneshot::channel();
        let replica = Replica::new(name, state, Sqlite::note_cluster, records, joined)?;
        self.conduct.health.set(Condition::Joining);
        let started = waiting.start_with(server, self.conduct.clone(), Some(replica));
        let mut end = started.map_err(ServeError::System)?;
        let writing = tokio::spawn(log.clone().write(outgoing));
        let following = tokio::spawn(log.follow(place, host.clone()));
        let member = async {
            // It fails where the thread has ended, which is told by `end`.
            if has_joined.await.is_ok() {
                peers.stand(Standing::member());
                if let Some(ready) = ready.take() {
                    // The thread says so too, a moment later; whoever is told now comes now.
                    self.conduct.health.set(Condition::Ready);
                    ready();
                }
            }
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            () = &mut stop => None,
            ended = &mut end => Some(ended),
            () = member => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                tracing::info!("stopping");
                self.conduct.health.set(Condition::Stopping);
                host.send(Input::Shutdown).await;
                end.await
            }
        };
        following.abort();
        // The thread is gone, and with it whatever wrote to the task.
        let _ = timeout(PATIENCE, writing).await;
        match ended {
            Ok((_, Ok(()))) => Ok(End::Stopped),
            Ok((waiting, Err(HostError::Rebuild))) => Ok(End::Elsewhere(waiting)),
            Ok((_, Err(error))) => Err(error.into()),
            Err(_) => Err(HostError::Panicked.into()),
        }
    }
}
