//! The host's part in a cluster: it puts what the server module proposes into the log, and has the module run what the
//! log says.
//!
//! A record that was sent and does not come back is sent again with all that followed it: every reader counts a member's
//! records and takes each once, in order. A node that finds itself thrown out forgets what it had proposed, sends its
//! clients away and joins again under another number; what counted before still counts.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    time::Duration,
};

use axum::body::Bytes;
use tidewire::{
    protocol::{DecodeError, Position, Timestamp},
    server::{
        CallOutcome, CallRefusal, Moment, Server,
        storage::{Storage, StorageError},
    },
};
use tokio::sync::{mpsc, oneshot};

use super::{
    log::Arrived,
    record::{Body, MemberId, Record, fold},
    state::{BEAT, State},
};
use crate::{
    host::{Answer, CallError, HostError},
    serve::seed,
};

/// Bytes of entries in one record: what the server of the log takes in one message is twice as much by default.
const RECORD_BYTES: usize = 480 * 1024;

/// Records under way: the next ones gather while these are written, so a slow log has larger records, not more.
const WINDOW: usize = 8;

/// Records that share a commit at most.
const BATCH_RECORDS: usize = 64;

/// How long a record may take to come back before it is sent again, at first and at most: a log that is slow must not be
/// made slower.
const PATIENCE: Duration = Duration::from_secs(2);
const LONGEST_PATIENCE: Duration = Duration::from_secs(16);

/// Bytes of entries that may wait for a log that is out of reach, beyond which the clients are sent away.
const MAX_WAITING: usize = 64 * 1024 * 1024;

/// When a batch that could not be stored is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// When clients that are sent away shall come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Writes what is known of the log beside the records.
pub(crate) type Store<S> = fn(&mut S, &[u8]) -> Result<(), StorageError>;

/// How a node is in its cluster, in figures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observation {
    /// How far it has applied the log.
    pub position: u64,
    /// How many nodes are members.
    pub members: usize,
    /// Its records that are on their way to the log.
    pub under_way: usize,
    /// Bytes that wait to go there.
    pub waiting_bytes: usize,
}

/// A record that is under way.
struct Sent {
    number: u64,
    bytes: Bytes,
    at: Timestamp,
}

/// The host's part.
pub(crate) struct Replica<S> {
    name: String,
    id: MemberId,
    state: State,
    /// The state as of the last commit, as it is stored.
    stored: Vec<u8>,
    store: Store<S>,
    log: mpsc::UnboundedSender<Bytes>,
    /// What the log said and is not applied.
    waiting: VecDeque<Arrived>,
    /// What the open batch has applied.
    applied: Vec<Arrived>,
    /// Nothing is applied before this: the storage has failed.
    retry_at: Option<Timestamp>,
    /// The number of the next record.
    next_number: u64,
    proposals: VecDeque<Vec<u8>>,
    proposed_bytes: usize,
    sent: VecDeque<Sent>,
    patience: Duration,
    last_sent: Timestamp,
    calls: HashMap<u64, Answer<Option<Position>>>,
    last_call: u64,
    /// Outcomes of the open batch.
    outcomes: Vec<(u64, CallOutcome)>,
    is_reachable: bool,
    has_joined: bool,
    /// Told when the node is a member for the first time.
    joined: Option<oneshot::Sender<()>>,
    /// Whether the log goes on from a state that this node does not have.
    is_elsewhere: bool,
}

impl<S: Storage> Replica<S> {
    pub(super) fn new(
        name: String,
        state: State,
        store: Store<S>,
        log: mpsc::UnboundedSender<Bytes>,
        joined: oneshot::Sender<()>,
    ) -> Result<Self, HostError> {
        let stored = state.encode();
        Ok(Self {
            name,
            id: member_id()?,
            state,
            stored,
            store,
            log,
            waiting: VecDeque::new(),
            applied: Vec::new(),
            retry_at: None,
            next_number: 0,
            proposals: VecDeque::new(),
            proposed_bytes: 0,
            sent: VecDeque::new(),
            patience: PATIENCE,
            last_sent: Timestamp::default(),
            calls: HashMap::new(),
            last_call: 0,
            outcomes: Vec::new(),
            is_reachable: true,
            has_joined: false,
            joined: Some(joined),
            is_elsewhere: false,
        })
    }

    /// Whether the node is a member, and the log can be reached.
    pub(crate) const fn is_well(&self) -> bool {
        self.has_joined && self.is_reachable
    }

    /// Whether the node was a member, now or at any time since it joined last.
    pub(crate) const fn has_joined(&self) -> bool {
        self.has_joined
    }

    /// How the node is in its cluster, in figures.
    pub(crate) fn observe(&self) -> Observation {
        Observation {
            position: self.state.seen.position,
            members: self.state.members.len(),
            under_way: self.sent.len(),
            waiting_bytes: self.proposed_bytes,
        }
    }

    // Inputs

    pub(crate) fn arrive(&mut self, records: Vec<Arrived>) {
        self.waiting.extend(records);
    }

    pub(crate) fn reach(&mut self, is_reachable: bool) {
        self.is_reachable = is_reachable;
        if is_reachable {
            // What was under way may be lost.
            self.patience = PATIENCE;
            for sent in &mut self.sent {
                sent.at = Timestamp::default();
            }
        }
    }

    /// The log is another one, or is no longer there from where this node stands.
    pub(crate) const fn rebuild(&mut self) {
        self.is_elsewhere = true;
    }

    /// Has the log asked to run a write; `answer` is told.
    pub(crate) fn call(
        &mut self,
        answer: Answer<Option<Position>>,
        propose: impl FnOnce(u64) -> Result<(), CallError>,
    ) {
        self.last_call += 1;
        match propose(self.last_call) {
            Ok(()) => drop(self.calls.insert(self.last_call, answer)),
            // The caller may be gone.
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// When to look again at the latest.
    pub(crate) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.waiting.is_empty() {
            return Some(self.retry_at.unwrap_or(now));
        }
        if !self.is_reachable {
            return None;
        }
        Some(self.sent.front().map_or(self.last_sent + BEAT, |sent| sent.at + self.patience))
    }

    /// Runs what the log said, as much as may share a commit.
    pub(crate) fn apply(&mut self, server: &mut Server<S>, now: Timestamp) -> Result<(), HostError> {
        if self.is_elsewhere {
            return Err(HostError::Rebuild);
        }
        if self.retry_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        self.retry_at = None;
        let mut has_applied = false;
        while self.applied.len() < BATCH_RECORDS
            && let Some(arrived) = self.waiting.pop_front()
        {
            if arrived.sequence <= self.state.seen.position {
                continue;
            }
            self.run(server, now, &arrived)?;
            self.applied.push(arrived);
            has_applied = true;
        }
        if has_applied {
            let (store, state) = (self.store, self.state.encode());
            // A failure is noted for the commit.
            let _ = server.note(|storage| store(storage, &state));
        }
        Ok(())
    }

    /// The batch is committed.
    pub(crate) fn committed(&mut self) {
        if !self.applied.is_empty() {
            self.applied.clear();
            self.stored = self.state.encode();
            if self.has_joined
                && let Some(joined) = self.joined.take()
            {
                // Nobody may wait for it any more.
                let _ = joined.send(());
            }
        }
        for (number, outcome) in mem::take(&mut self.outcomes) {
            let told = outcome.map_err(|refusal| match refusal {
                CallRefusal::Changed => CallError::Changed,
                CallRefusal::Refused(error) => CallError::Refused(error),
            });
            if let Some(answer) = self.calls.remove(&number) {
                let _ = answer.send(told);
            }
        }
    }

    /// The batch is undone: what it applied is applied again.
    pub(crate) fn undone(&mut self, now: Timestamp) {
        self.outcomes.clear();
        if self.applied.is_empty() {
            return;
        }
        self.state = State::decode(&self.stored).expect("it was encoded by this process");
        for arrived in mem::take(&mut self.applied).into_iter().rev() {
            self.waiting.push_front(arrived);
        }
        self.retry_at = Some(now + RETRY);
    }

    /// Sends what there is to send.
    pub(crate) fn flush(&mut self, server: &mut Server<S>, now: Timestamp) -> Result<(), HostError> {
        while let Some(entry) = server.poll_proposal() {
            self.proposed_bytes += entry.len();
            self.proposals.push_back(entry);
        }
        if self.proposed_bytes > MAX_WAITING {
            tracing::error!("the log is out of reach for too long; the clients are sent away");
            self.rejoin(server)?;
        }
        if !self.is_reachable {
            return Ok(());
        }
        if self.sent.front().is_some_and(|sent| sent.at + self.patience <= now) {
            self.patience = (self.patience * 2).min(LONGEST_PATIENCE);
            tracing::debug!(records = self.sent.len(), "sent again");
            for sent in &mut self.sent {
                sent.at = now;
                let _ = self.log.send(sent.bytes.clone());
            }
            self.last_sent = now;
        }
        if self.next_number == 0 {
            let name = self.name.clone();
            self.send(now, Body::Join { name: &name });
        }
        if !self.has_joined {
            return Ok(());
        }
        while self.sent.len() < WINDOW && !self.proposals.is_empty() {
            let mut bytes = 0;
            let mut entries = Vec::new();
            while let Some(entry) =
                self.proposals.pop_front_if(|entry| bytes == 0 || bytes + entry.len() <= RECORD_BYTES)
            {
                bytes += entry.len();
                entries.push(entry);
            }
            self.proposed_bytes -= bytes;
            let seed = seed().map_err(HostError::System)?;
            self.send(now, Body::Batch { seed, entries: entries.iter().map(Vec::as_slice).collect() });
        }
        if self.sent.is_empty() && self.last_sent + BEAT <= now {
            self.send(now, Body::Batch { seed: [0; 32], entries: Vec::new() });
        }
        Ok(())
    }

    /// Says that the node is none of the members any more; nothing is sent after it.
    pub(crate) fn leave(&mut self, server: &mut Server<S>, now: Timestamp) {
        self.fail_calls();
        if self.has_joined && self.flush(server, now).is_ok() {
            self.send(now, Body::Leave);
        }
    }

    fn send(&mut self, now: Timestamp, body: Body<'_>) {
        let number = self.next_number;
        self.next_number += 1;
        let record = Record { member: self.id, number, seen: self.state.seen, body };
        let bytes = Bytes::from(record.encode());
        // Where the task is gone the host is about to end.
        let _ = self.log.send(bytes.clone());
        self.last_sent = now;
        self.sent.push_back(Sent { number, bytes, at: now });
    }

    fn fail_calls(&mut self) {
        for (_, answer) in self.calls.drain() {
            let _ = answer.send(Err(CallError::Unknown));
        }
    }

    /// Begins anew as a member.
    fn rejoin(&mut self, server: &mut Server<S>) -> Result<(), HostError> {
        server.leave(Some(RETRY_AFTER));
        self.fail_calls();
        self.outcomes.clear();
        self.proposals.clear();
        self.proposed_bytes = 0;
        self.sent.clear();
        self.next_number = 0;
        self.has_joined = false;
        self.id = member_id()?;
        Ok(())
    }

    // Applying

    fn run(&mut self, server: &mut Server<S>, now: Timestamp, arrived: &Arrived) -> Result<(), HostError> {
        if arrived.sequence != self.state.seen.position + 1 {
            return Err(HostError::Rebuild);
        }
        let record = Record::decode(&arrived.payload).map_err(unreadable)?;
        if !self.state.agrees(record.seen) {
            return Err(HostError::Diverged { position: record.seen.position });
        }
        let tick = self.state.tick(arrived.at);
        let moment = Moment { at: self.state.clock, now };
        let mut came_to = 0;
        match record.body {
            Body::Found { .. } => return Err(HostError::Rebuild),
            Body::Join { name } => {
                let former = self.state.join(record.member, name);
                if let Some(former) = former {
                    if former.id == self.id {
                        return Err(HostError::SameName(name.to_owned()));
                    }
                    server.expel(moment, former.origin);
                }
                if record.member == self.id
                    && let Some(member) = self.state.member(self.id)
                {
                    tracing::info!(node = %name, number = member.origin.0, "joined the cluster");
                    server.join(member.origin);
                    self.has_joined = true;
                    self.confirm(0);
                }
            }
            Body::Batch { seed, entries } => {
                if let Some(origin) = self.state.admit(record.member, record.number) {
                    server.reseed(seed);
                    for entry in entries {
                        let applied = server.handle_entry(moment, origin, entry).map_err(unreadable)?;
                        came_to = fold(came_to, &applied.fingerprint.to_be_bytes());
                        self.outcomes.extend(applied.call);
                    }
                    if record.member == self.id {
                        self.confirm(record.number);
                    }
                }
            }
            Body::Leave => {
                if self.state.admit(record.member, record.number).is_some()
                    && let Some(member) = self.state.remove(record.member)
                {
                    server.expel(moment, member.origin);
                }
            }
        }
        for member in self.state.expire() {
            tracing::warn!(node = %member.name, "silent for too long; no member any more");
            server.expel(moment, member.origin);
        }
        server.sweep(moment, tick.before, tick.has_leapt);
        self.state.advance(arrived.sequence, fold(0, &arrived.payload), came_to);
        if self.has_joined && self.state.member(self.id).is_none() {
            tracing::warn!("the others took this node for dead; joining again");
            self.rejoin(server)?;
        }
        Ok(())
    }

    /// A record of this node is in the log.
    fn confirm(&mut self, number: u64) {
        self.patience = PATIENCE;
        while self.sent.pop_front_if(|sent| sent.number <= number).is_some() {}
    }
}

fn unreadable(source: DecodeError) -> HostError {
    HostError::Unreadable(source)
}

fn member_id() -> Result<MemberId, HostError> {
    let seed = seed().map_err(HostError::System)?;
    Ok(std::array::from_fn(|index| seed[index]))
}
