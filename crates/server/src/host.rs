//! The thread that owns the server module: group commit, time, and the queues of the connections.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    cluster::{Event, Replica},
    health::{self, Health},
    metrics::{Meter, Observation},
};
use axum::body::Bytes;
use thiserror::Error;
use tidewire::{
    protocol::{CloseCode, DecodeError, EncodedValue, Lineage, Position, Timestamp, server_frame_to_json},
    server::{
        Action, CommitError, ConnectionId, Datastore, Grant, Object, Refusal, Resource, Server, Snapshot,
        WriteError,
        storage::{Storage, StorageError},
    },
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::timeout,
};

pub use tidewire::server::Condition;

/// Bytes that may wait for a connection, unless configured. A reader that is further behind is dropped and resumes later:
/// it would hold memory that all others need.
pub const BACKLOG_BYTES: usize = 1024 * 1024;

/// Inputs that may wait for the thread; beyond them the connections stop reading, and their peers stop sending.
const WAITING_INPUTS: usize = 256;

/// Inputs that share one commit at most: the wait for the disk is spread over many, and none waits long.
const BATCH_INPUTS: usize = 1_024;

/// When clients that are sent away by a restart shall come back, the first of them: about what a restart takes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often a storage that has failed is tried: soon enough that nobody stays away for long, and rare enough for a disk
/// that is full.
const PROBE_PERIOD: Duration = Duration::from_secs(1);

/// How long the storage of a node may fail before its clients are sent away, and how long until those that came meanwhile
/// are: the disks of other nodes may work, or fail as well.
const LENIENCE: Duration = Duration::from_secs(5);
const NEXT_LENIENCE: Duration = Duration::from_secs(30);

/// What a connection's task tells the host.
#[derive(Debug)]
pub enum Input {
    /// A connection was made; this is its outgoing queue.
    Connect(ConnectionId, Outlet),
    /// So many more bytes of a frame arrived, which is not whole yet.
    Arriving(ConnectionId, usize),
    /// Its frame arrived.
    Frame(ConnectionId, Vec<u8>),
    /// A frame that was to be reported has left.
    Drained(ConnectionId),
    /// It broke the rules below the protocol.
    Refuse(ConnectionId, CloseCode, String),
    /// It is gone.
    Disconnect(ConnectionId),
    /// Something is asked that needs no connection, with the token of who asks.
    Call(Option<String>, Call),
    /// Somebody looks at the metrics.
    Observe(oneshot::Sender<Observation>),
    /// The log of the cluster has something to say.
    Log(Event),
    /// Say goodbye to all and end.
    Shutdown,
}

/// What is asked without a connection. The answer leaves once what it rests on is committed.
#[derive(Debug)]
pub enum Call {
    /// An object, and the epochs before its own.
    Object(String, Answer<(Option<Object>, Lineage)>),
    /// A datastore with all its records.
    Datastore(String, Answer<Option<(Datastore, Snapshot)>>),
    /// Sets an object's value; `None` deletes it.
    Write {
        /// The object.
        key: String,
        /// Its new value, encoded and checked.
        value: Option<Vec<u8>>,
        /// When only.
        condition: Condition,
        /// Told the position of the change; `None` where there was nothing to change.
        answer: Answer<Option<Position>>,
    },
}

/// Where an answer goes.
pub type Answer<T> = oneshot::Sender<Result<T, CallError>>;

/// Why nothing was done or told.
#[derive(Debug, Clone, Error)]
pub enum CallError {
    /// The token, or its absence, is refused.
    #[error(transparent)]
    Unauthorized(#[from] Refusal),
    /// The server module refuses.
    #[error(transparent)]
    Refused(#[from] WriteError),
    /// The condition does not hold.
    #[error("the object has changed; read it again and decide anew")]
    Changed,
    /// The batch was undone.
    #[error("the storage failed; nothing was changed")]
    Undone,
    /// The node is no member of its cluster any more, or ends.
    #[error("the write may have been done; read before repeating it")]
    Unknown,
    /// The server ends.
    #[error("the server is closing")]
    Ended,
}

/// What the host tells a connection's task.
#[derive(Debug)]
pub enum Outgoing {
    /// Send this; `report` when it has left.
    Frame {
        /// The frame, in the connection's codec.
        bytes: Bytes,
        /// Whether to tell the host.
        report: bool,
    },
    /// It has said hello, as this user. For logs.
    Greeted(Arc<str>),
    /// Close the socket.
    Close {
        /// The close code.
        code: u16,
        /// For people.
        reason: String,
    },
}

/// What a connection's frames are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Binary frames.
    MessagePack,
    /// Text frames.
    Json,
}

/// A connection's outgoing queue, from the host's side.
#[derive(Debug)]
pub struct Outlet {
    codec: Codec,
    queue: mpsc::UnboundedSender<Outgoing>,
    backlog: Arc<AtomicUsize>,
    /// Whether its task was told who it is.
    is_known: bool,
    /// Evicts the connection: whatever is queued is not sent any more.
    evict: oneshot::Sender<()>,
}

/// The same queue, from the task's side.
#[derive(Debug)]
pub struct Inlet {
    /// What to send, in order.
    pub queue: mpsc::UnboundedReceiver<Outgoing>,
    /// Bytes that wait; the task subtracts what it has sent.
    pub backlog: Arc<AtomicUsize>,
    /// Says that the connection is evicted.
    pub eviction: oneshot::Receiver<()>,
}

/// The two sides of a new connection's queue.
#[must_use]
pub fn queue(codec: Codec) -> (Outlet, Inlet) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (evict, eviction) = oneshot::channel();
    let backlog = Arc::new(AtomicUsize::new(0));
    let outlet = Outlet { codec, queue: sender, backlog: backlog.clone(), is_known: false, evict };
    (outlet, Inlet { queue: receiver, backlog, eviction })
}

/// The host ended for another reason than being told to.
#[derive(Debug, Error)]
pub enum HostError {
    /// The storage is of no more use. What was acknowledged is on disk.
    #[error("{0}; everything that was acknowledged is on disk, restart once the disk is in order")]
    Storage(#[from] CommitError),
    /// The log goes on from a state that this node does not have.
    #[error("the log goes on from a state that this node does not have; it gets that from another node")]
    Rebuild,
    /// A record of the log is of another version.
    #[error("the log has a record that this version cannot read ({0}); run the same version on all nodes")]
    Unreadable(#[source] DecodeError),
    /// Another node calls itself the same.
    #[error("another node of the cluster is called {0} too; give each its own name with --node")]
    SameName(String),
    /// Two nodes made different things of the same log.
    #[error(
        "this node and another one do not agree at position {position} of the log; start it over an empty data directory, and keep a copy of this one for a report"
    )]
    Diverged {
        /// The last position that they were compared at.
        position: u64,
    },
    /// The system gives no randomness.
    #[error("the system refuses what the server needs ({0})")]
    System(#[source] std::io::Error),
    /// A fault in the server.
    #[error("the server failed inside; everything that was acknowledged is on disk")]
    Panicked,
}

/// Wall-clock time that never goes back while the process lives.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    origin: Timestamp,
}

impl Clock {
    /// A clock that starts with the system's.
    #[must_use]
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin = Timestamp::default() + since;
        Self { started: Instant::now(), origin }
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.origin + self.started.elapsed()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// The way to the host's thread.
#[derive(Debug, Clone)]
pub struct Host {
    inputs: mpsc::Sender<Input>,
}

/// How the thread goes about its work.
#[derive(Debug, Clone)]
pub struct Conduct {
    /// Bytes that may wait for a connection.
    pub backlog_bytes: usize,
    /// Where it notes how the storage is.
    pub health: Arc<Health>,
    /// Where it notes its commits.
    pub meter: Meter,
}

impl Default for Conduct {
    fn default() -> Self {
        Self { backlog_bytes: BACKLOG_BYTES, health: Arc::default(), meter: Meter::default() }
    }
}

/// A thread that has not started: what is sent to its [`Host`] waits.
#[derive(Debug)]
pub struct Waiting {
    inputs: mpsc::Receiver<Input>,
}

/// How a thread ended, and what was sent to it after that.
pub(crate) type End = (Waiting, Result<(), HostError>);

impl Waiting {
    /// Starts the thread. The receiver yields how it ended.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start<S: Storage + Send + 'static>(
        self,
        server: Server<S>,
        conduct: Conduct,
    ) -> std::io::Result<oneshot::Receiver<Result<(), HostError>>> {
        // What comes from now on waits for the thread at most.
        conduct.health.set(health::Condition::Ready);
        let end = self.start_with(server, conduct, None)?;
        let (ended, told) = oneshot::channel();
        tokio::spawn(async move {
            let end = end.await.map_or(Err(HostError::Panicked), |(_, end)| end);
            // Nobody waits for the end any more where the receiver is gone.
            let _ = ended.send(end);
        });
        Ok(told)
    }

    /// Starts the thread, of a node of a cluster if there is a `replica`. The receiver also yields what was sent to the
    /// thread after its end.
    pub(crate) fn start_with<S: Storage + Send + 'static>(
        self,
        server: Server<S>,
        conduct: Conduct,
        replica: Option<Replica<S>>,
    ) -> std::io::Result<oneshot::Receiver<End>> {
        let (ended, end) = oneshot::channel();
        let runtime = Handle::current();
        thread::Builder::new().name("tidewire".to_owned()).spawn(move || {
            let mut inputs = self.inputs;
            let thread = Thread {
                server,
                replica,
                conduct,
                clock: Clock::new(),
                outlets: HashMap::new(),
                answers: Vec::new(),
                probe_due: None,
                parting_due: None,
            };
            let end = thread.run(&runtime, &mut inputs);
            let _ = ended.send((Self { inputs }, end));
        })?;
        Ok(end)
    }
}

impl Host {
    /// A way to a thread that is yet to be started.
    #[must_use]
    pub fn prepare() -> (Self, Waiting) {
        let (inputs, receiver) = mpsc::channel(WAITING_INPUTS);
        (Self { inputs }, Waiting { inputs: receiver })
    }

    /// Hands an input over, once there is room. `false`: the host has ended.
    pub async fn send(&self, input: Input) -> bool {
        self.inputs.send(input).await.is_ok()
    }

    /// Asks with a token, and waits for the answer.
    ///
    /// # Errors
    /// Why nothing was done.
    pub async fn call<T>(
        &self,
        token: Option<String>,
        call: impl FnOnce(Answer<T>) -> Call,
    ) -> Result<T, CallError> {
        let (answer, told) = oneshot::channel();
        if !self.send(Input::Call(token, call(answer))).await {
            return Err(CallError::Ended);
        }
        told.await.unwrap_or(Err(CallError::Ended))
    }
}

/// Sends an answer, or says that the batch was undone.
type Held = Box<dyn FnOnce(bool)>;

fn held<T: 'static>(answer: Answer<T>, told: Result<T, CallError>) -> Held {
    Box::new(move |is_committed| {
        // The caller may be gone.
        let _ = answer.send(if is_committed { told } else { Err(CallError::Undone) });
    })
}

struct Thread<S> {
    server: Server<S>,
    /// The part of a node in its cluster.
    replica: Option<Replica<S>>,
    conduct: Conduct,
    clock: Clock,
    outlets: HashMap<ConnectionId, Outlet>,
    /// Answers of this batch, until it is committed.
    answers: Vec<Held>,
    /// When a storage that has failed is tried next.
    probe_due: Option<Timestamp>,
    /// When the clients of a node whose storage fails go elsewhere.
    parting_due: Option<Timestamp>,
}

impl<S: Storage> Thread<S> {
    fn run(mut self, runtime: &Handle, inputs: &mut mpsc::Receiver<Input>) -> Result<(), HostError> {
        let ended = self.work(runtime, inputs);
        if ended.is_err() && self.replica.is_some() {
            // The other nodes are there for them.
            self.server.close_all(CloseCode::Restarting, "the node goes", Some(RETRY_AFTER));
            if self.server.commit(self.clock.now()).is_ok() {
                self.transmit();
            }
        }
        ended
    }

    fn work(&mut self, runtime: &Handle, inputs: &mut mpsc::Receiver<Input>) -> Result<(), HostError> {
        let mut is_ending = false;
        while !is_ending {
            let now = self.clock.now();
            let replica_due = self.replica.as_ref().and_then(|replica| replica.next_due(now));
            let due = self.server.poll_timeout().into_iter().chain(self.probe_due).chain(replica_due).min();
            let wait = due.map_or(Duration::MAX, |due| due.since(now));
            let first = runtime.block_on(async { timeout(wait, inputs.recv()).await });
            let now = self.clock.now();
            let mut count = u32::from(matches!(first, Ok(Some(_))));
            match first {
                Ok(Some(input)) => is_ending |= self.input(now, input),
                Ok(None) => is_ending = true,
                Err(_elapsed) => {}
            }
            for _ in 1..BATCH_INPUTS {
                match inputs.try_recv() {
                    Ok(input) => is_ending |= self.input(now, input),
                    Err(_) => break,
                }
                count += 1;
            }
            if self.server.poll_timeout().is_some_and(|due| due <= now) {
                self.server.handle_timeout(now);
            }
            if self.probe_due.is_some_and(|due| due <= now) {
                self.probe(now)?;
            }
            if let Some(replica) = &mut self.replica {
                replica.apply(&mut self.server, now)?;
            }
            let is_committed = self.commit(now, count)?;
            for answer in self.answers.drain(..) {
                answer(is_committed);
            }
            self.transmit();
            if !is_ending && let Some(replica) = &mut self.replica {
                replica.flush(&mut self.server, now)?;
                let is_well = replica.is_well();
                self.conduct.health.turn(is_well, replica.has_joined());
            }
        }
        Ok(())
    }

    /// Ends the batch of so many inputs; `false` if it was undone.
    fn commit(&mut self, now: Timestamp, inputs: u32) -> Result<bool, HostError> {
        let before = self.server.counters().commits;
        let started = Instant::now();
        let committed = self.server.commit(now);
        if inputs > 0 {
            self.conduct.meter.batch_inputs.record(inputs);
        }
        match committed {
            Ok(()) => {
                if let Some(replica) = &mut self.replica {
                    replica.committed();
                }
                // One that wrote nothing says nothing about the storage.
                if self.server.counters().commits > before {
                    self.conduct.meter.commit_seconds.record(started.elapsed());
                    self.note_success();
                }
                Ok(true)
            }
            Err(CommitError::Undone(error)) => {
                // Once it is known that the storage fails, every write says so again.
                match self.probe_due {
                    None => tracing::error!("a batch was undone: {error}"),
                    Some(_) => tracing::debug!("a batch was undone: {error}"),
                }
                if let Some(replica) = &mut self.replica {
                    replica.undone(now);
                }
                self.probe(now)?;
                Ok(false)
            }
            Err(error @ CommitError::Lost(_)) => Err(self.lost(error)),
        }
    }

    /// A batch was undone: is it the storage, or was it something in that batch?
    fn probe(&mut self, now: Timestamp) -> Result<(), HostError> {
        self.server.probe(now);
        match self.server.commit(now) {
            Ok(()) => self.note_success(),
            Err(CommitError::Undone(_)) => {
                if self.probe_due.is_none() {
                    tracing::error!("the storage fails; writes are refused until it works again");
                }
                self.conduct.health.set(health::Condition::Failing);
                self.probe_due = Some(now + PROBE_PERIOD);
                if self.replica.is_some() {
                    self.part(now)?;
                }
            }
            Err(error @ CommitError::Lost(_)) => return Err(self.lost(error)),
        }
        Ok(())
    }

    /// Sends the clients of a node whose storage fails to the others, where their writes are answered.
    fn part(&mut self, now: Timestamp) -> Result<(), HostError> {
        let due = *self.parting_due.get_or_insert(now + LENIENCE);
        if now < due {
            return Ok(());
        }
        self.parting_due = Some(now + NEXT_LENIENCE);
        tracing::warn!("the storage still fails; the clients are sent to the other nodes");
        self.server.close_all(CloseCode::Restarting, "the storage of this node fails", Some(RETRY_AFTER));
        match self.server.commit(now) {
            Ok(()) | Err(CommitError::Undone(_)) => Ok(()),
            Err(error @ CommitError::Lost(_)) => Err(self.lost(error)),
        }
    }

    fn note_success(&mut self) {
        self.parting_due = None;
        if self.probe_due.take().is_some() {
            tracing::info!("the storage works again");
            self.conduct.health.set(health::Condition::Ready);
        }
    }

    fn lost(&self, error: CommitError) -> HostError {
        self.conduct.health.set(health::Condition::Stopping);
        error.into()
    }

    /// Takes one input; `true` if it is the last.
    fn input(&mut self, now: Timestamp, input: Input) -> bool {
        match input {
            Input::Connect(connection, outlet) => {
                self.outlets.insert(connection, outlet);
                self.server.handle_connect(now, connection);
            }
            Input::Frame(connection, frame) => self.server.handle_frame(now, connection, &frame),
            Input::Arriving(connection, bytes) => self.server.handle_arriving(now, connection, bytes),
            Input::Drained(connection) => self.server.handle_drained(now, connection),
            Input::Refuse(connection, code, reason) => self.server.close(connection, code, &reason, None),
            Input::Disconnect(connection) => {
                self.outlets.remove(&connection);
                self.server.handle_disconnect(now, connection);
            }
            Input::Call(token, call) => {
                let grant = self.server.admit(now, token.as_deref());
                match (call, &mut self.replica) {
                    (Call::Write { key, value, condition, answer }, Some(replica)) => {
                        let server = &mut self.server;
                        replica.call(answer, |number| {
                            grant?.check_write(Resource::Object(&key))?;
                            let value = value.as_deref().map(EncodedValue::trusted);
                            Ok(server.propose_call(number, &key, value, condition)?)
                        });
                    }
                    (call, _) => {
                        let answer = self.call(now, grant, call);
                        self.answers.push(answer);
                    }
                }
            }
            Input::Log(event) => {
                if let Some(replica) = &mut self.replica {
                    match event {
                        Event::Arrived(records) => replica.arrive(records),
                        Event::Reachable(is_reachable) => replica.reach(is_reachable),
                        Event::Elsewhere => replica.rebuild(),
                    }
                }
            }
            Input::Observe(observer) => {
                // Whoever looked may be gone.
                let _ = observer.send(self.observe());
            }
            Input::Shutdown => {
                self.conduct.health.set(health::Condition::Stopping);
                let reason = "the server is restarting";
                self.server.close_all(CloseCode::Restarting, reason, Some(RETRY_AFTER));
                if let Some(replica) = &mut self.replica {
                    replica.leave(&mut self.server, now);
                }
                return true;
            }
        }
        false
    }

    fn observe(&self) -> Observation {
        Observation {
            counters: self.server.counters().clone(),
            census: self.server.census(),
            backlog: self.outlets.values().map(|outlet| outlet.backlog.load(Ordering::Relaxed)).sum(),
            cluster: self.replica.as_ref().map(Replica::observe),
        }
    }

    fn call(&mut self, now: Timestamp, grant: Result<Grant, Refusal>, call: Call) -> Held {
        match call {
            Call::Object(key, answer) => {
                let read = || {
                    let grant = grant?;
                    grant.check_read(Resource::Object(&key))?;
                    let object = self.server.read_as(now, &grant.user, &key)?;
                    let lineage = self.server.object_lineage(&key);
                    Ok((object, lineage.map_err(|_| CallError::Undone)?))
                };
                held(answer, read())
            }
            Call::Datastore(id, answer) => {
                let read = || {
                    let grant = grant?;
                    grant.check_read(Resource::Datastore(&id))?;
                    let undone = |_: StorageError| CallError::Undone;
                    let snapshot = self.server.snapshot_as(now, &grant.user, &id).map_err(undone)?;
                    Ok(self.server.datastore(now, &id).map_err(undone)?.zip(snapshot))
                };
                held(answer, read())
            }
            Call::Write { key, value, condition, answer } => {
                let write = || {
                    grant?.check_write(Resource::Object(&key))?;
                    if !self.server.holds(&key, condition).map_err(|_| CallError::Undone)? {
                        return Err(CallError::Changed);
                    }
                    Ok(match value {
                        Some(value) => Some(self.server.put(now, &key, EncodedValue::trusted(&value))?),
                        None => self.server.delete(now, &key)?,
                    })
                };
                held(answer, write())
            }
        }
    }

    fn transmit(&mut self) {
        let mut texts = Texts::default();
        while let Some(transmit) = self.server.poll_transmit() {
            let Some(outlet) = self.outlets.get_mut(&transmit.connection) else {
                continue;
            };
            if !outlet.is_known
                && let Some(user) = self.server.user(transmit.connection)
            {
                outlet.is_known = true;
                let _ = outlet.queue.send(Outgoing::Greeted(user));
            }
            let outgoing = match transmit.action {
                Action::Frame(frame) => {
                    let bytes = match outlet.codec {
                        Codec::MessagePack => Bytes::from_owner(frame),
                        Codec::Json => texts.of(frame),
                    };
                    let waiting = outlet.backlog.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
                    if waiting > self.conduct.backlog_bytes {
                        self.evict(transmit.connection);
                        continue;
                    }
                    Outgoing::Frame { bytes, report: transmit.report }
                }
                Action::Close { code, reason } => Outgoing::Close { code, reason },
            };
            // A task that is gone reports its disconnection itself.
            let _ = outlet.queue.send(outgoing);
        }
    }

    fn evict(&mut self, connection: ConnectionId) {
        if let Some(outlet) = self.outlets.remove(&connection) {
            let _ = outlet.evict.send(());
        }
        self.server.handle_disconnect(self.clock.now(), connection);
    }
}

/// The JSON frames of one round: a frame that many connections share is transcoded once.
#[derive(Default)]
struct Texts {
    /// By the address of the frame, which is kept, so that no other frame takes the address meanwhile.
    known: HashMap<usize, (Arc<[u8]>, Bytes)>,
}

impl Texts {
    fn of(&mut self, frame: Arc<[u8]>) -> Bytes {
        let address = frame.as_ptr().addr();
        let (_, text) = self.known.entry(address).or_insert_with(|| {
            let text = server_frame_to_json(&frame).expect("the server module encodes what it can decode");
            (frame, Bytes::from(text))
        });
        text.clone()
    }
}
