//! Whether the server may be sent clients.

use std::sync::{
    OnceLock,
    atomic::{AtomicU8, Ordering},
};

/// How the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Condition {
    /// The database is being opened. Next: `Ready`.
    Opening,
    /// The database is open, and the node becomes a member of its cluster. Next: `Ready`, `Opening`, `Stopping`.
    Joining,
    /// All is well. Next: `Failing`, `Apart`, `Joining`, `Stopping`.
    Ready,
    /// The log of the cluster is out of reach: reads are answered, writes wait. Next: `Ready`, `Joining`, `Stopping`.
    Apart,
    /// The last commit failed: reads are answered, writes are refused. Next: `Ready`, `Stopping`.
    Failing,
    /// Everybody is being sent away. The end.
    Stopping,
}

impl Condition {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening the database",
            Self::Joining => "joining the cluster",
            Self::Ready => "ready",
            Self::Apart => "the log is out of reach",
            Self::Failing => "the storage fails",
            Self::Stopping => "stopping",
        }
    }

    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Opening,
            1 => Self::Joining,
            2 => Self::Ready,
            3 => Self::Apart,
            4 => Self::Failing,
            _ => Self::Stopping,
        }
    }
}

/// What an acknowledgement of a server of its own means.
const ALONE: &str =
    "acknowledged: committed to this server's disk, or kept in its memory where it was opened as temporary";

/// About a node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is called.
    pub name: String,
    /// How many servers of NATS keep the log.
    pub replicas: usize,
}

impl Node {
    /// What an acknowledgement means.
    #[must_use]
    pub fn promise(&self) -> String {
        let kept = match self.replicas {
            1 => "one server of NATS keeps".to_owned(),
            count => format!("{count} servers of NATS keep"),
        };
        format!("acknowledged: in the log, which {kept}, and committed to this node's disk")
    }
}

/// The server's condition, for all its threads.
#[derive(Debug)]
pub struct Health {
    condition: AtomicU8,
    /// About the node, once that is known.
    node: OnceLock<Node>,
}

impl Default for Health {
    fn default() -> Self {
        Self { condition: AtomicU8::new(Condition::Opening as u8), node: OnceLock::new() }
    }
}

impl Health {
    /// How the server is.
    #[must_use]
    pub fn condition(&self) -> Condition {
        Condition::from_number(self.condition.load(Ordering::Relaxed))
    }

    /// About the node; `None` for a server of its own.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.node.get()
    }

    /// What an acknowledgement means; `None` before it is known whose database this is.
    #[must_use]
    pub fn promise(&self) -> Option<String> {
        match (self.node(), self.condition()) {
            (Some(node), _) => Some(node.promise()),
            (None, Condition::Opening) => None,
            (None, _) => Some(ALONE.to_owned()),
        }
    }

    /// Notes which node this is. What was noted first stays.
    pub(crate) fn introduce(&self, node: Node) {
        let _ = self.node.set(node);
    }

    /// Notes how a node is in its cluster. A storage that fails is the worse trouble.
    pub(crate) fn turn(&self, is_well: bool, has_joined: bool) {
        let condition = match (self.condition(), is_well, has_joined) {
            (Condition::Failing, _, true) => return,
            (_, true, _) => Condition::Ready,
            (_, false, true) => Condition::Apart,
            (_, false, false) => Condition::Joining,
        };
        self.set(condition);
    }

    /// Notes another condition. A server that stops does nothing else any more.
    pub fn set(&self, condition: Condition) {
        let keep = |now| (Condition::from_number(now) != Condition::Stopping).then_some(condition as u8);
        // It fails only where there is nothing to change.
        let _ = self.condition.fetch_update(Ordering::Relaxed, Ordering::Relaxed, keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_acknowledgement_means_is_said_once_it_is_known() {
        let health = Health::default();
        assert_eq!(health.promise(), None);
        health.set(Condition::Ready);
        assert!(health.promise().is_some_and(|promise| promise.contains("this server's disk")));
        health.introduce(Node { name: "one".to_owned(), replicas: 3 });
        assert!(health.promise().is_some_and(|promise| promise.contains("3 servers of NATS keep")));
    }

    #[test]
    fn a_server_that_stops_is_never_ready_again() {
        let health = Health::default();
        assert_eq!(health.condition(), Condition::Opening);
        for condition in [Condition::Ready, Condition::Failing, Condition::Ready, Condition::Stopping] {
            health.set(condition);
            assert_eq!(health.condition(), condition);
        }
        health.set(Condition::Ready);
        assert_eq!(health.condition(), Condition::Stopping);
    }
}
