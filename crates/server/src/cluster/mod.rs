//! Several servers that are one service, over a log in NATS JetStream. `docs/scaling.md` says how they agree.
//!
//! [`enter`](enter::enter) brings a database to where the log can be followed from, [`log`] reads and writes the log,
//! [`replica`] is the host's part, [`state`] what all nodes know of each other, [`record`] what travels.

mod enter;
mod log;
mod node;
mod peers;
mod record;
mod replica;
mod state;

use std::path::PathBuf;

pub use enter::EnterError;
pub use log::{Arrived, Event, LogError};
pub(crate) use node::Node;
pub use peers::PeerError;
pub use replica::Observation;
pub(crate) use replica::Replica;

/// Which cluster a server is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The addresses of nats-server, as in `nats://127.0.0.1:4222`; one that answers is enough.
    pub servers: Vec<String>,
    /// The name of the service: servers of one name are one service.
    pub service: String,
    /// What this node is called; `None`: what its data directory says, which is made at random.
    pub node: Option<String>,
    /// How many servers of NATS keep the log; `None`: three, or one where there are fewer.
    pub replicas: Option<usize>,
    /// A file with what NATS wants to know.
    pub credentials: Option<PathBuf>,
}
