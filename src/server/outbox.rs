//! What is to be sent, held back until the batch that caused it is committed.
//!
//! Envelopes of one topic gather into one frame that all its followers share, or all of them that see the same of its
//! values; acknowledgements of one connection gather
//! into one frame. Everything else keeps its place in line. Before a topic's answer goes into the line, the envelopes
//! gathered for that topic go in, so that a follower never sees a change and its own snapshot in the wrong order.

use alloc::{collections::VecDeque, string::String, sync::Arc, vec::Vec};

use super::{Action, ConnectionId, Transmit, counters::Counters, hub::Hub};
use crate::protocol::{ServerMessage, TopicId, Writer};
use crate::server::ordered::OrderedMap;

/// A frame is closed above this size: large enough to carry hundreds of small changes, small enough that a change
/// behind it does not wait.
const FRAME_BYTES: usize = 64 * 1024;

#[derive(Debug)]
enum Staged {
    Frame {
        to: ConnectionId,
        bytes: Vec<u8>,
        /// Whether it speaks of what the batch did, and falls with it.
        needs_commit: bool,
        report: bool,
    },
    /// Changes; they always need the commit.
    Shared {
        to: Vec<ConnectionId>,
        bytes: Vec<u8>,
    },
    Close {
        to: ConnectionId,
        code: u16,
        reason: String,
    },
}

/// Whom gathered changes are for.
#[derive(Debug, PartialEq, Eq)]
enum To {
    /// Everybody who follows their topic.
    All,
    /// These of them, in ascending order.
    Some(Vec<ConnectionId>),
}

impl To {
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Some(one), Self::Some(other)) => one.iter().any(|id| other.binary_search(id).is_ok()),
            (Self::All, _) | (_, Self::All) => true,
        }
    }
}

/// Changes of one topic that the same connections get.
#[derive(Debug)]
struct Gathered {
    to: To,
    writer: Writer,
    /// How many changes.
    count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    staged: Vec<Staged>,
    envelopes: OrderedMap<TopicId, Vec<Gathered>>,
    replies: OrderedMap<ConnectionId, Writer>,
    released: VecDeque<Transmit>,
    /// What was done, as far as it is certain.
    pub(super) counters: Counters,
    /// What the batch did, if it is committed.
    uncommitted: Counters,
}

impl Outbox {
    /// Stages a message that stays true whatever becomes of the batch. Returns its size.
    pub(super) fn send(&mut self, to: ConnectionId, message: &ServerMessage<'_>) -> usize {
        self.stage(to, message, false)
    }

    /// Stages a message that speaks of what the batch read or did. Returns its size.
    pub(super) fn answer(&mut self, to: ConnectionId, message: &ServerMessage<'_>) -> usize {
        self.stage(to, message, true)
    }

    fn stage(&mut self, to: ConnectionId, message: &ServerMessage<'_>, needs_commit: bool) -> usize {
        let counters = if needs_commit { &mut self.uncommitted } else { &mut self.counters };
        counters.count(message);
        let mut writer = Writer::new();
        message.encode(&mut writer);
        let size = writer.len();
        self.staged.push(Staged::Frame { to, bytes: writer.into_bytes(), needs_commit, report: false });
        size
    }

    /// Has the host report when everything staged for `to` so far has left.
    pub(super) fn report(&mut self, to: ConnectionId) {
        let mut frames = self.staged.iter_mut().rev().filter_map(|staged| match staged {
            Staged::Frame { to: receiver, report, .. } if *receiver == to => Some(report),
            Staged::Frame { .. } | Staged::Shared { .. } | Staged::Close { .. } => None,
        });
        if let Some(report) = frames.next() {
            *report = true;
        }
    }

    /// Gathers a reply to a write.
    pub(super) fn reply(&mut self, to: ConnectionId, message: &ServerMessage<'_>) {
        self.uncommitted.count(message);
        let writer = self.replies.entry(to).or_default();
        message.encode(writer);
        if writer.len() >= FRAME_BYTES {
            self.flush_replies(to);
        }
    }

    fn flush_replies(&mut self, to: ConnectionId) {
        if let Some(writer) = self.replies.remove(&to) {
            let bytes = writer.into_bytes();
            self.staged.push(Staged::Frame { to, bytes, needs_commit: true, report: false });
        }
    }

    /// Gathers a change for all who follow its topic.
    pub(super) fn publish(&mut self, hub: &Hub, topic: TopicId, envelope: &ServerMessage<'_>) {
        self.gather(hub, topic, To::All, envelope);
    }

    /// Gathers a change as some of its followers see it; they come in ascending order.
    pub(super) fn publish_to(
        &mut self,
        hub: &Hub,
        topic: TopicId,
        to: Vec<ConnectionId>,
        envelope: &ServerMessage<'_>,
    ) {
        self.gather(hub, topic, To::Some(to), envelope);
    }

    fn gather(&mut self, hub: &Hub, topic: TopicId, to: To, envelope: &ServerMessage<'_>) {
        let parts = self.envelopes.entry(topic).or_default();
        // A change may join an earlier part unless one of its receivers has something due after that.
        let last = parts.iter().rposition(|part| part.to.meets(&to));
        let index = match last.filter(|last| parts[*last].to == to) {
            Some(same) => same,
            None => {
                parts.push(Gathered { to, writer: Writer::new(), count: 0 });
                parts.len() - 1
            }
        };
        let part = &mut parts[index];
        envelope.encode(&mut part.writer);
        part.count += 1;
        if part.writer.len() >= FRAME_BYTES {
            self.flush(hub, topic);
        }
    }

    /// Stages a message for several connections, who share its bytes. It falls with the batch.
    pub(super) fn broadcast(&mut self, to: Vec<ConnectionId>, message: &ServerMessage<'_>) {
        if to.is_empty() {
            return;
        }
        self.uncommitted.relayed += to.len() as u64;
        let mut writer = Writer::new();
        message.encode(&mut writer);
        // One after the other for the same receivers share a frame.
        match self.staged.last_mut() {
            Some(Staged::Shared { to: same, bytes }) if *same == to && bytes.len() < FRAME_BYTES => {
                bytes.extend_from_slice(&writer.into_bytes());
            }
            _ => self.staged.push(Staged::Shared { to, bytes: writer.into_bytes() }),
        }
    }

    /// Puts the gathered changes of a topic in line.
    pub(super) fn flush(&mut self, hub: &Hub, topic: TopicId) {
        let Some(parts) = self.envelopes.remove(&topic) else {
            return;
        };
        let Some(topic) = hub.topic(topic) else {
            return;
        };
        for Gathered { to, writer, count } in parts {
            let mut connections = topic.connections();
            if let To::Some(to) = to {
                connections.retain(|connection| to.binary_search(connection).is_ok());
            }
            self.uncommitted.envelopes += count * connections.len() as u64;
            self.staged.push(Staged::Shared { to: connections, bytes: writer.into_bytes() });
        }
    }

    /// Stages the end of a connection.
    pub(super) fn close(&mut self, to: ConnectionId, code: u16, reason: String) {
        self.flush_replies(to);
        self.staged.push(Staged::Close { to, code, reason });
    }

    /// Drops what the batch did; it was undone. Returns the connections that wait for a report which will not come.
    pub(super) fn retract(&mut self) -> Vec<ConnectionId> {
        self.envelopes.clear();
        self.replies.clear();
        self.uncommitted = Counters::default();
        let mut unreported = Vec::new();
        self.staged.retain(|staged| match staged {
            Staged::Frame { to, needs_commit: true, report, .. } => {
                unreported.extend(report.then_some(*to));
                false
            }
            Staged::Shared { .. } => false,
            Staged::Frame { needs_commit: false, .. } | Staged::Close { .. } => true,
        });
        unreported
    }

    /// Lets everything staged go.
    pub(super) fn release(&mut self, hub: &Hub) {
        while let Some(topic) = self.envelopes.first_key_value().map(|(topic, _)| *topic) {
            self.flush(hub, topic);
        }
        while let Some(connection) = self.replies.first_key_value().map(|(connection, _)| *connection) {
            self.flush_replies(connection);
        }
        self.counters.absorb(core::mem::take(&mut self.uncommitted));
        let mut open: Option<(ConnectionId, Vec<u8>)> = None;
        for staged in core::mem::take(&mut self.staged) {
            match staged {
                Staged::Frame { to, bytes, report, .. } => {
                    open = match open.take() {
                        Some((same, mut frame)) if same == to && frame.len() + bytes.len() <= FRAME_BYTES => {
                            frame.extend_from_slice(&bytes);
                            Some((to, frame))
                        }
                        before => {
                            self.finish(before, false);
                            Some((to, bytes))
                        }
                    };
                    if report {
                        self.finish(open.take(), true);
                    }
                }
                Staged::Shared { to, bytes } => {
                    self.finish(open.take(), false);
                    let frame: Arc<[u8]> = bytes.into();
                    self.released.extend(to.into_iter().map(|connection| {
                        let action = Action::Frame(frame.clone());
                        Transmit { connection, action, report: false }
                    }));
                }
                Staged::Close { to: connection, code, reason } => {
                    self.finish(open.take(), false);
                    let action = Action::Close { code, reason };
                    self.released.push_back(Transmit { connection, action, report: false });
                }
            }
        }
        self.finish(open, false);
    }

    fn finish(&mut self, frame: Option<(ConnectionId, Vec<u8>)>, report: bool) {
        if let Some((connection, bytes)) = frame {
            self.released.push_back(Transmit { connection, action: Action::Frame(bytes.into()), report });
        }
    }

    /// Drops what is staged or released for a connection that is gone.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.replies.remove(&connection);
        self.staged.retain(|staged| match staged {
            Staged::Frame { to, .. } | Staged::Close { to, .. } => *to != connection,
            Staged::Shared { .. } => true,
        });
        self.released.retain(|transmit| transmit.connection != connection);
    }

    pub(super) fn poll(&mut self) -> Option<Transmit> {
        self.released.pop_front()
    }

    /// Whether something waits for the commit.
    pub(super) fn has_staged(&self) -> bool {
        !(self.staged.is_empty() && self.envelopes.is_empty() && self.replies.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.has_staged() && self.released.is_empty()
    }
}
