//! The reference server module: it owns the values, orders the changes and says who must be told what.
//!
//! [`Server`] is a machine without transport, clock, threads or randomness of its own: the same code answers inside a
//! browser page and inside the native server. The parts: `hub` knows who is connected and follows what, `object`,
//! `datastore`, `pool`, `mailbox` and `kv` hold the rules of what they are named after, `rules` those of the application
//! and `apply` has them followed, `admission` knows what each caller may do, `outbox` holds back what is to be sent until it
//! is true, [`storage`] keeps what must last. Not here: sockets, files, time.

mod admission;
mod apply;
mod counters;
mod datastore;
mod hub;
mod kv;
mod limits;
mod mailbox;
mod object;
mod ordered;
mod outbox;
mod pool;
mod query;
mod random;
mod relay;
mod replicated;
mod rules;
mod session;
pub mod storage;

use alloc::{
    borrow::ToOwned,
    boxed::Box,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;

use thiserror::Error;

pub use admission::{Admission, Check, Grant, PatternError, Permissions, Refusal, Resource};
pub use counters::{Answers, Census, Counters, Tally};
pub use datastore::{Datastore, Record, Snapshot};
pub use kv::{
    CallbackId, EVERY, GetError, Kv, KvEvent, Namespace, NamespaceError, Quota, RenderError, Scoped,
    WATCHER_CAPACITY, Watched, WatcherId,
};
pub use limits::{Limits, Rate};
pub use object::Object;
pub use pool::Pool;
pub use replicated::{Applied, CallOutcome, CallRefusal, Condition, Moment, Origin};
pub use rules::{EVERYONE, Gate, Hosted, Projection, Resolver, Rule, Rules, View, ViewerRule};

use crate::protocol::{
    CloseCode, ErrorCode, Lineage, QueryId, RequestId, ServerMessage, SubscriptionId, Timestamp,
    limits::{MAX_KEY_BYTES, MAX_NOTIFICATION_LIFE, MAX_POOL_FIELDS, MAX_REPLY_BYTES, MAX_VALUE_BYTES},
};
use crate::server::ordered::{OrderedMap, OrderedSet};
use datastore::Shelf;
use hub::{Hub, Subject};
use kv::Changes;
use outbox::Outbox;
use pool::Pools;
use random::Random;
use replicated::Replication;
use storage::{Memory, Storage, StorageError, StoredHistory};

/// A connection, as its host numbers it. A number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// How a server behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where all randomness comes from. From the operating system, except where a run has to be repeatable.
    pub seed: [u8; 32],
    /// Time between two beacons; a client that is silent for two and a half of them is gone.
    pub heartbeat: Duration,
    /// How long a connection may stay without `hello`.
    pub greeting: Duration,
    /// Whether clients may have templates of theirs rendered. A template can take more memory than anything else that
    /// a client may send, so they may not, unless the clients are trusted.
    pub renders_for_clients: bool,
    /// How long a pool gathers changes between two broadcasts.
    pub flush_interval: Duration,
    /// Who may come in, and what they may do.
    pub admission: Admission,
    /// How much one connection may ask for.
    pub limits: Limits,
    /// What holds for which objects and datastores.
    pub rules: Rules,
    /// Whether the server is one of several over one log (feature `replicated`): it changes only what the log says, see
    /// [`Server::poll_proposal`].
    pub replicated: bool,
}

impl Options {
    /// The defaults with a seed.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            seed,
            // Below the idle limits of common proxies (30 s and up), and rare enough to cost nothing.
            heartbeat: Duration::from_secs(10),
            // Several round trips over a very slow line.
            greeting: Duration::from_secs(15),
            renders_for_clients: false,
            // Twenty times a second: what moves still looks like moving, and a hundred writers cost no more than one.
            flush_interval: Duration::from_millis(50),
            admission: Admission::Open,
            limits: Limits::default(),
            rules: Rules::new(),
            replicated: false,
        }
    }
}

/// A server cannot be opened over a storage.
#[derive(Debug, Error)]
#[error("the storage cannot be opened: {0}")]
pub struct OpenError(#[from] StorageError);

/// A write is refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The caller's grant does not reach so far.
    #[error("your token does not let you {verb} {resource}; ask for one that does")]
    Forbidden {
        /// `"read"` or `"write"`.
        verb: &'static str,
        /// Of what, as a pattern would name it.
        resource: Box<str>,
    },
    /// The datastore does not exist or has expired.
    #[error("no such datastore; open it with a `kind` to make it")]
    NoDatastore,
    /// The pool does not exist or has expired.
    #[error("no such pool; open it with `create` to make it")]
    NoPool,
    /// What was merged into a pool is no map.
    #[error("`fields` is no map; merge a map of fields to their values, nil to take one away")]
    NoFields,
    /// A pool would have too many fields, or one merge names too many.
    #[error("`fields` makes {count} fields; a pool has at most {MAX_POOL_FIELDS}, use a datastore for more")]
    TooManyFields {
        /// How many it would be.
        count: usize,
    },
    /// There is no such notification, or it is not in the caller's mailbox; it cannot tell which.
    #[error("no such notification; it has expired, made room for others, or is not yours")]
    NoNotification,
    /// The notification is no suit.
    #[error("the notification wants no reply; put one into its sender's mailbox")]
    NoReplyWanted,
    /// A reply is too large.
    #[error(
        "`reply` has {length} bytes; it has at most {MAX_REPLY_BYTES}, split it into several notifications"
    )]
    ReplyTooLarge {
        /// Its encoded size in bytes.
        length: usize,
    },
    /// A notification would wait for too long.
    #[error("`ttl` is {} ms; it is at most {} ms", kv::millis(*life), kv::millis(MAX_NOTIFICATION_LIFE))]
    LivesTooLong {
        /// How long it would.
        life: Duration,
    },
    /// The record does not say its name.
    #[error(
        "the record has no text in its primary field `{field}`; put its name there, as text even if it is a number"
    )]
    NoPrimary {
        /// The field that names records of this datastore.
        field: Arc<str>,
    },
    /// A name is empty or too long.
    #[error("`{field}` has {length} bytes; it has 1 to {MAX_KEY_BYTES} bytes of text")]
    BadKey {
        /// What it names.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A value is too large.
    #[error("`{field}` has {length} bytes; it has at most {MAX_VALUE_BYTES}, split it into several")]
    TooLarge {
        /// Which value.
        field: &'static str,
        /// Its encoded size in bytes.
        length: usize,
    },
    /// The name of a group or key is too long.
    #[error("`{field}` has {length} bytes; it has at most {MAX_KEY_BYTES} bytes of text")]
    TooLong {
        /// What it names.
        field: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A namespace holds all that it may.
    #[error("the namespace has all the {limit} {what} that it may have; delete some first")]
    QuotaExceeded {
        /// `"keys"` or `"groups"`.
        what: &'static str,
        /// How many it may have.
        limit: u64,
    },
    /// The value did not pass the write gate of its rule.
    #[error("the value is refused: {reason}")]
    InvalidValue {
        /// What the rule said.
        reason: Arc<str>,
    },
    /// The object was never written, and what computes it failed.
    #[error("the object's first value cannot be computed now; ask again later")]
    Unresolved {
        /// What the resolver, or the gate that its value did not pass, said; not for clients.
        reason: Arc<str>,
    },
    /// All sequences of the epoch are used.
    #[error("the history has no sequences left")]
    Exhausted,
    /// The key of what was to be relayed is an object of the authority's.
    #[error("the key belongs to the authority; put the object instead, or relay under another key")]
    Owned,
    /// The storage failed. The whole batch is undone by the next [`Server::commit`], which says why.
    #[error("the storage failed; nothing was changed")]
    StorageFailed,
}

impl WriteError {
    /// The error's number on the wire.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Forbidden { .. } => ErrorCode::Forbidden,
            Self::NoDatastore | Self::NoPool | Self::NoNotification => ErrorCode::NotFound,
            Self::NoPrimary { .. } | Self::NoFields | Self::NoReplyWanted => ErrorCode::InvalidRequest,
            Self::BadKey { .. }
            | Self::TooLarge { .. }
            | Self::TooLong { .. }
            | Self::TooManyFields { .. }
            | Self::ReplyTooLarge { .. }
            | Self::LivesTooLong { .. }
            | Self::Exhausted => ErrorCode::LimitExceeded,
            Self::QuotaExceeded { .. } => ErrorCode::QuotaExceeded,
            Self::Owned => ErrorCode::Conflict,
            Self::InvalidValue { .. } => ErrorCode::InvalidValue,
            Self::Unresolved { .. } => ErrorCode::Unavailable,
            Self::StorageFailed => ErrorCode::StorageFailed,
        }
    }
}

/// A batch was undone: its writes are refused with `storage_failed`, and nobody saw them.
#[derive(Debug, Error)]
pub enum CommitError {
    /// The server stands where it stood before the batch and goes on.
    #[error("a batch was undone: {0}")]
    Undone(#[source] StorageError),
    /// The storage cannot be brought back to its last commit. The host closes every connection and ends.
    #[error("the storage is lost: {0}")]
    Lost(#[source] StorageError),
}

/// What the host does for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The connection.
    pub connection: ConnectionId,
    /// What to do.
    pub action: Action<Arc<[u8]>>,
    /// Whether to call [`Server::handle_drained`] when this, and with it all before it, has left.
    pub report: bool,
}

/// What is done for a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<Frame> {
    /// Send this frame. The connections that get the same changes share its bytes.
    Frame(Frame),
    /// Close it, after what was sent before. The connection is forgotten already.
    Close {
        /// The close code, most often one of [`CloseCode`].
        code: u16,
        /// For people.
        reason: String,
    },
}

/// What a server holds for connections: all zero when nobody is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Residue {
    /// Connections.
    pub connections: usize,
    /// Histories that somebody follows.
    pub topics: usize,
    /// Subscriptions, each counted on both its sides.
    pub subscriptions: usize,
    /// Connections that wait for a point in time.
    pub timers: usize,
    /// Fields of pools that go with a connection, and connections that wait for a pool.
    pub ownerships: usize,
    /// Subscriptions to mailboxes.
    pub mailboxes: usize,
    /// Subscriptions to what clients relay.
    pub relays: usize,
}

/// The inputs since the last commit, as far as a failure has to be told.
#[derive(Debug, Default)]
struct Batch {
    /// Whether the durable storage has a transaction open. One that nothing was written to costs no disk access.
    is_open: bool,
    writes: Vec<(ConnectionId, RequestId)>,
    queries: Vec<(ConnectionId, QueryId)>,
    asked: OrderedSet<(ConnectionId, SubscriptionId, u32)>,
    /// Of every subscription to a mailbox that was sent something, how far it had been sent before.
    mailboxes: OrderedMap<(ConnectionId, SubscriptionId), u64>,
    /// The datastores whose heads moved.
    moved: Vec<usize>,
    /// The objects whose resolvers were asked, without a value to store.
    resolved: OrderedMap<Arc<str>, Result<(), WriteError>>,
    failure: Option<StorageError>,
}

/// The authority: objects, datastores, the kv store, and everybody who follows them.
///
/// The contract with its host, on one thread:
///
/// - **Inputs** ([`handle_connect`](Self::handle_connect), [`handle_frame`](Self::handle_frame),
///   [`handle_drained`](Self::handle_drained), [`handle_disconnect`](Self::handle_disconnect),
///   [`handle_timeout`](Self::handle_timeout)) and **commands** ([`put`](Self::put), [`delete`](Self::delete),
///   [`open_datastore`](Self::open_datastore), [`set`](Self::set), [`remove`](Self::remove),
///   [`open_pool`](Self::open_pool), [`merge`](Self::merge), [`notify`](Self::notify), [`drain`](Self::drain),
///   [`reply`](Self::reply), [`kv`](Self::kv),
///   [`close`](Self::close)) belong to a batch, which the first of them opens.
/// - [`commit`](Self::commit) ends the batch. Nothing that the batch did can be polled before, and nothing of it
///   remains if it fails. Many inputs in one batch share one write to disk.
/// - **Outputs**: after every commit, [`poll_transmit`](Self::poll_transmit) until `None`, and
///   [`poll_watcher`](Self::poll_watcher) for watchers of the host's own; then
///   [`poll_timeout`](Self::poll_timeout) says when to call `handle_timeout` at the latest.
/// - **Getters** read what the batch has done so far.
///
/// Time is wall-clock time, since expiry has to survive a restart. It may jump: a jump back restarts all waits, and
/// nobody is taken for dead because the host itself was asleep.
///
/// ```
/// use tidewire::{
///     protocol::{EncodedValue, Timestamp, from_json},
///     server::{Options, Server, storage::Memory},
/// };
///
/// let now = Timestamp::from_millis(1_700_000_000_000);
/// let mut server = Server::open(Memory::new(), Options::new([7; 32]))?;
/// let value = from_json(r#"{"name":"Ada"}"#)?;
/// let position = server.put(now, "user:1", EncodedValue::check(&value)?)?;
/// server.commit(now)?;
/// assert_eq!(position.sequence.get(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Server<S> {
    options: Options,
    random: Random,
    durable: S,
    /// What expires or may be forgotten at the end of the process.
    temporary: Memory,
    pools: Pools,
    history: StoredHistory,
    datastores: Shelf,
    hub: Hub,
    outbox: Outbox,
    /// What changed in the kv store and is not told yet.
    changes: Changes<S>,
    batch: Batch,
    /// Whether the callbacks of the last commit did what waits for the next one, and for no input.
    is_unfinished: bool,
    /// The latest time that was passed in.
    clock: Timestamp,
    /// When expired datastores are purged next.
    purge_due: Timestamp,
    /// When old replies are forgotten next.
    forget_due: Timestamp,
    /// Until when no client is forgotten whole: the clock jumped, so how long one has been silent is not known.
    spare_until: Timestamp,
    replication: Replication,
}

/// Time between two clients that are asked back: to greet one and answer its subscriptions takes less.
const BETWEEN_RETURNS: Duration = Duration::from_millis(1);
/// How often expired datastores are purged: they are invisible from the moment they expire, so this is only memory.
const PURGE_PERIOD: Duration = Duration::from_secs(60);
/// How often old replies are forgotten.
const FORGET_PERIOD: Duration = Duration::from_secs(60 * 60);
/// How long a reply is remembered (DESIGN §7).
const REPLY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// A step of the clock that is no passing of time: a server looks at it every minute.
const LEAP: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a silent client id is known at all: far beyond the life of a page that could still repeat a request.
const CLIENT_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Server<Memory> {
    /// A server over a backup: every history goes on under a new epoch.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn restore(backup: Memory, options: Options) -> Result<Self, OpenError> {
        let mut server = Self::open(backup, options)?;
        server.durable.renew(|| server.random.epoch());
        if let Some(history) = server.durable.history()? {
            server.history = history;
        }
        Ok(server)
    }

    /// What is committed, as a storage of its own. What is temporary is not in it.
    #[must_use]
    pub fn backup(&self) -> Memory {
        self.durable.backup()
    }
}

impl<S: Storage> Server<S> {
    /// A server over what `storage` holds.
    ///
    /// # Errors
    /// If the storage cannot be read, or a new one not be written to.
    pub fn open(mut storage: S, options: Options) -> Result<Self, OpenError> {
        let mut random = Random::new(options.seed);
        let history = match storage.history()? {
            Some(history) => history,
            None => {
                let history = StoredHistory { epoch: random.epoch(), lineage: Lineage::default() };
                storage.begin()?;
                storage.set_history(&history)?;
                storage.commit()?;
                history
            }
        };
        let mut temporary = Memory::new();
        temporary.begin()?;
        let mut pools = Pools::default();
        pools.begin();
        let mut server = Self {
            replication: Replication::new(options.replicated),
            options,
            random,
            durable: storage,
            temporary,
            pools,
            history,
            datastores: Shelf::default(),
            hub: Hub::default(),
            outbox: Outbox::default(),
            changes: Changes::default(),
            batch: Batch::default(),
            is_unfinished: false,
            clock: Timestamp::default(),
            purge_due: Timestamp::default(),
            forget_due: Timestamp::default(),
            spare_until: Timestamp::default(),
        };
        if server.replication.is_on() {
            server.take_up_pools()?;
        }
        Ok(server)
    }

    /// Ends the server and gives its storage back. Uncommitted inputs are undone.
    ///
    /// # Errors
    /// If the storage cannot be brought back to its last commit.
    pub fn into_storage(mut self) -> Result<S, StorageError> {
        if self.batch.is_open {
            self.durable.rollback()?;
        }
        Ok(self.durable)
    }

    // Getters

    /// What the server holds for connections.
    #[must_use]
    pub fn residue(&self) -> Residue {
        Residue { ownerships: self.pools.residue(), ..self.hub.residue() }
    }

    /// What the server has done since it was opened.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.outbox.counters
    }

    /// Who is connected.
    #[must_use]
    pub fn census(&self) -> Census {
        self.hub.census()
    }

    /// Who a connection is, once it has said hello.
    #[must_use]
    pub fn user(&self, connection: ConnectionId) -> Option<Arc<str>> {
        self.hub.user(connection).cloned()
    }

    /// Whether there is nothing to send or to commit.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outbox.is_empty() && self.is_settled()
    }

    /// Whether there is nothing to commit.
    fn is_settled(&self) -> bool {
        !self.batch.is_open && !self.outbox.has_staged()
    }

    // Inputs: a peer's are in `session`

    /// Does what is due: beacons, silent connections, expired datastores and keys.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.observe(now);
        self.serve_timers(now);
        if self.replication.is_on() {
            // What expires does so by the log: `sweep`.
            self.lift_barriers(now);
            (self.purge_due, self.forget_due) = (now + PURGE_PERIOD, now + FORGET_PERIOD);
            return;
        }
        if now >= self.purge_due {
            self.purge_due = now + PURGE_PERIOD;
            self.purge(now);
            // A failure is noted for the commit.
            let _ = self.kv(now).purge_expired();
            self.purge_pools(now);
            // A failure is noted for the commit.
            let _ = self.purge_notifications(now);
        }
        if now >= self.forget_due {
            // A host that comes so late was asleep, or its clock jumped: what looks old may be a moment old, and the
            // client about to ask again.
            let is_late = now.since(self.forget_due) > FORGET_PERIOD;
            self.forget_due = now + FORGET_PERIOD;
            if !is_late {
                self.forget_replies(now, now < self.spare_until);
            }
        }
    }

    fn observe(&mut self, now: Timestamp) {
        if self.replication.is_applying() {
            // The log's time says nothing about how long anything here has waited.
            return;
        }
        if now < self.clock {
            self.hub.restart_waits(now);
            self.pools.restart_waits(now);
        }
        if now < self.clock || self.clock == Timestamp::default() {
            (self.purge_due, self.forget_due) = (now + PURGE_PERIOD, now + FORGET_PERIOD);
        }
        let is_leap = now < self.clock || now.since(self.clock) > LEAP;
        if is_leap && self.clock != Timestamp::default() {
            self.spare_until = now + CLIENT_LIFE;
        }
        self.clock = now;
    }

    fn forget_replies(&mut self, now: Timestamp, spares_clients: bool) {
        let before = |life: Duration| {
            Timestamp::from_millis(
                now.as_millis().saturating_sub(u64::try_from(life.as_millis()).unwrap_or(u64::MAX)),
            )
        };
        let replies = before(REPLY_LIFE);
        let clients = if spares_clients { Timestamp::default() } else { before(CLIENT_LIFE) };
        let _ = self.on_storage(true, |storage| storage.forget_replies(replies, clients));
        let _ = self.on_storage(false, |storage| storage.forget_replies(replies, clients));
    }

    /// Has the next commit write to the durable storage, what is there already: whether it can is known afterwards. For
    /// a host whose storage has failed and whose clients are told to stay away.
    pub fn probe(&mut self, now: Timestamp) {
        self.observe(now);
        let history = self.history.clone();
        // A failure is noted for the commit.
        let _ = self.on_storage(true, |storage| storage.set_history(&history));
    }

    // Commands: those on values are in `object`, `datastore`, `pool` and `mailbox`

    /// Closes a connection, with a word to its client.
    pub fn close(
        &mut self,
        connection: ConnectionId,
        code: CloseCode,
        reason: &str,
        retry_after: Option<Duration>,
    ) {
        if self.hub.connection(connection).is_none() {
            return;
        }
        let retry_after = retry_after.map(|wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX));
        self.outbox.send(connection, &ServerMessage::Goodbye { code: code.number(), reason, retry_after });
        self.outbox.close(connection, code.number(), reason.to_owned());
        self.hub.disconnect(connection);
        self.let_go(connection);
    }

    /// Closes every connection. The first is asked back after `retry_after`, each other one a moment later, so that all
    /// together never come faster than a thousand a second.
    pub fn close_all(&mut self, code: CloseCode, reason: &str, retry_after: Option<Duration>) {
        let mut retry_after = retry_after;
        for connection in self.hub.connections() {
            self.close(connection, code, reason, retry_after);
            retry_after = retry_after.map(|wait| wait + BETWEEN_RETURNS);
        }
    }

    /// Ends the batch: makes what it did durable and lets its outputs go.
    ///
    /// # Errors
    /// If the storage failed. The batch is undone and its requests are refused; those refusals can be polled. After
    /// [`CommitError::Lost`] the server must not be used on.
    pub fn commit(&mut self, now: Timestamp) -> Result<(), CommitError> {
        self.observe(now);
        self.flush_pools(now);
        self.store_heads();
        let mut failure = self.batch.failure.take();
        if failure.is_none() && self.batch.is_open {
            failure = self.durable.commit().err();
        }
        let result = match failure {
            None => {
                self.outbox.counters.commits += u64::from(self.batch.is_open);
                // In memory, nothing can fail.
                let _ = self.temporary.commit();
                let _ = self.temporary.begin();
                self.pools.commit();
                self.pools.begin();
                self.batch = Batch::default();
                self.tell_watchers();
                Ok(())
            }
            Some(failure) => self.undo(failure),
        };
        self.outbox.release(&self.hub);
        if result.is_err() && !self.replication.is_on() {
            self.release_departed();
        }
        self.tell_callbacks(now);
        self.is_unfinished = !self.is_settled();
        result
    }

    /// Goes back to the last commit and refuses what the batch was asked.
    fn undo(&mut self, failure: StorageError) -> Result<(), CommitError> {
        self.outbox.counters.undone += 1;
        let batch = core::mem::take(&mut self.batch);
        let _ = self.temporary.rollback();
        let _ = self.temporary.begin();
        self.pools.rollback();
        self.pools.begin();
        let unreported = self.outbox.retract();
        self.changes.retract();
        self.datastores.clear();
        let message = WriteError::StorageFailed.to_string();
        let code = ErrorCode::StorageFailed.number();
        for (connection, query) in batch.queries {
            if self.hub.connection(connection).is_some() {
                self.outbox
                    .send(connection, &ServerMessage::Result { query, outcome: Err((code, &message)) });
            }
        }
        for (connection, subscription, attempt) in batch.asked {
            // A subscription whose answer was never sent is gone; one that only asked again stays.
            if attempt == 0 {
                self.hub.unsubscribe(connection, subscription);
            }
            if self.hub.connection(connection).is_some() {
                let denied = ServerMessage::Denied { subscription, attempt, code, message: &message };
                self.outbox.send(connection, &denied);
            }
        }
        let mut behind = OrderedSet::new();
        for ((connection, subscription), sent) in batch.mailboxes {
            let session = self.hub.session(connection);
            if let Some(before) = session.and_then(|session| session.mailboxes.get_mut(&subscription)) {
                *before = sent;
                behind.insert(connection);
            }
        }
        if batch.is_open
            && let Err(lost) = self.durable.rollback()
        {
            return Err(CommitError::Lost(lost));
        }
        self.answer_undone(batch.writes).map_err(CommitError::Lost)?;
        self.reload().map_err(CommitError::Lost)?;
        // What they wait for a report of will never leave.
        for connection in unreported {
            self.handle_drained(self.clock, connection);
        }
        for connection in behind {
            self.answer_asked(self.clock, connection);
        }
        // All that tells what is committed, and leaves at once: no later batch may take it back.
        if self.batch.failure.is_none() {
            self.batch = Batch::default();
            self.pools.commit();
            self.pools.begin();
        }
        Err(CommitError::Undone(failure))
    }

    /// Brings what is kept in memory about the storage back in line with it.
    fn reload(&mut self) -> Result<(), StorageError> {
        if let Some(history) = self.durable.history()? {
            self.history = history;
        }
        for (topic, subject, _) in self.hub.topics() {
            let head = match &subject {
                Subject::Object(key) => self.durable.object_sequence(key)?,
                Subject::Datastore(id) => self.stored_datastore(id)?.map(|(about, _)| about.head),
                Subject::Pool(id) => self.pools.sent(id),
            };
            self.hub.reset_head(topic, head.unwrap_or_default());
        }
        self.hub.report_all();
        Ok(())
    }

    // Outputs

    /// The next thing to do for a connection, in order.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.poll()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        // Before the first input there is nothing to purge, and no time to count from.
        let is_started = self.clock != Timestamp::default();
        let janitor = is_started.then(|| self.purge_due.min(self.forget_due));
        let unfinished = self.is_unfinished.then_some(self.clock);
        let flush = self.pools.next_due().into_iter().chain(self.replication.next_due());
        self.hub.next_due().into_iter().chain(flush).chain(janitor).chain(unfinished).min()
    }

    // Shared by the parts

    /// Writes to one of the two storages, inside the batch's transaction.
    fn on_storage<T>(
        &mut self,
        is_durable: bool,
        write: impl FnOnce(&mut dyn Storage) -> Result<T, StorageError>,
    ) -> Result<T, WriteError> {
        if self.batch.failure.is_some() {
            return Err(WriteError::StorageFailed);
        }
        let result = if is_durable {
            let begun = if self.batch.is_open { Ok(()) } else { self.durable.begin() };
            self.batch.is_open |= begun.is_ok();
            begun.and_then(|()| write(&mut self.durable))
        } else {
            write(&mut self.temporary)
        };
        self.sound(result)
    }

    /// Notes a failure of the storage for the commit.
    fn sound<T>(&mut self, result: Result<T, StorageError>) -> Result<T, WriteError> {
        result.map_err(|failure| {
            self.batch.failure.get_or_insert(failure);
            WriteError::StorageFailed
        })
    }
}
