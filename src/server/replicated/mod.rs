//! A server that is one of several over one ordered log.
//!
//! Such a server changes nothing when a client asks for it. It makes an [entry](entry) of what was asked, which its host
//! puts into the log ([`Server::poll_proposal`]), and runs every entry of the log, its own and the others', in the log's
//! order ([`Server::handle_entry`]). What an entry does rests on the entry, the state and the log's time alone; so all
//! servers that have run the same entries have the same sequences, epochs and replies. Reads, subscriptions and sessions
//! are the node's own affair and never enter the log.
//!
//! Nothing is kept in memory only: datastores that expire, pools and the replies to all requests are in the durable
//! storage, so a node that starts again goes on where its storage is. Not here: the log itself, who its members are, and
//! when one is given up.

mod entry;
mod pools;

use alloc::{collections::VecDeque, string::ToString, sync::Arc, vec::Vec};
use core::{mem, time::Duration};

use super::{
    ConnectionId, FORGET_PERIOD, PURGE_PERIOD, Server, WriteError,
    apply::check_rule,
    hub::Subject,
    ordered::{OrderedMap, OrderedSet},
    random::Random,
    rules::Rule,
    session::Caller,
    storage::{Reply, Storage, StorageError},
};
use crate::protocol::{
    CloseCode, DecodeError, EncodedValue, Open, OpenPool, Operation, Position, Reader, Relayed, RequestId,
    Timestamp,
};
use entry::{Entry, Verdict};
pub(super) use pools::is_pool;

/// How long what a new session asks for waits for the log to come as far as it was at the hello. So whoever comes from
/// another node finds what was acknowledged there; after that, what is here is better than nothing.
const BARRIER: Duration = Duration::from_secs(2);

/// Bits of a connection's number in the numbers of all nodes' connections.
const CONNECTION_BITS: u32 = 40;

/// When a write without a connection may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// In any case.
    Always,
    /// If the object still stands at this position.
    At(Position),
    /// If there is no such object.
    Absent,
}

/// A member of the cluster from its joining to its end, as the log numbers it. A number is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u32);

impl Origin {
    /// One of its connections, among those of all nodes.
    const fn connection(self, connection: u64) -> ConnectionId {
        ConnectionId((self.0 as u64) << CONNECTION_BITS | connection & ((1 << CONNECTION_BITS) - 1))
    }
}

/// When something is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the log, the same on all nodes. It never goes back.
    pub at: Timestamp,
    /// By the clock of this node.
    pub now: Timestamp,
}

/// What applying an entry came to.
#[derive(Debug, Default)]
pub struct Applied {
    /// Says the same on every node whose state is the same.
    pub fingerprint: u64,
    /// The outcome of one of this node's [`Server::propose_call`], under its number.
    pub call: Option<(u64, CallOutcome)>,
}

/// The outcome of a write without a connection: the position of the change, or `None` where there was nothing to change.
pub type CallOutcome = Result<Option<Position>, CallRefusal>;

/// Why a write without a connection did not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallRefusal {
    /// Its condition does not hold.
    Changed,
    /// The server refuses it.
    Refused(WriteError),
}

/// The entry that is being applied.
#[derive(Debug)]
struct Applying {
    moment: Moment,
    /// The schema version that its node stamps it with.
    version: Option<Arc<str>>,
}

/// What is to be opened: whether it is a pool, and its id.
type Opening = (bool, Arc<str>);

/// What a server keeps because it is one of several.
#[derive(Debug, Default)]
pub(super) struct Replication {
    is_on: bool,
    origin: Option<Origin>,
    proposals: VecDeque<Vec<u8>>,
    applying: Option<Applying>,
    /// Where the randomness of the entries comes from; that of the node is for what stays on it.
    random: Option<Random>,
    /// Connections whose hello is not in the log yet, with whether what they ask for waits.
    greeting: OrderedMap<ConnectionId, bool>,
    /// When those wait no longer, in order.
    barriers: VecDeque<(Timestamp, ConnectionId)>,
    /// What this node has asked the log to open, and how often.
    opening: OrderedMap<Opening, usize>,
    /// Connections with a question about one of those.
    waiting: OrderedSet<ConnectionId>,
    /// Connections whose fields may have to go with them.
    merged: OrderedSet<ConnectionId>,
}

impl Replication {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, ..Self::default() }
    }

    /// Whether the server is one of several. Without the feature this is known to the compiler, and none of it is in
    /// the page's server.
    pub(super) const fn is_on(&self) -> bool {
        cfg!(feature = "replicated") && self.is_on
    }

    pub(super) const fn is_applying(&self) -> bool {
        cfg!(feature = "replicated") && self.applying.is_some()
    }

    /// Whether what a connection asks for waits for its hello.
    pub(super) fn holds(&self, connection: ConnectionId) -> bool {
        self.is_on() && self.greeting.get(&connection).copied().unwrap_or_default()
    }

    /// Whether what a subscription is about is not there yet, but asked for.
    pub(super) fn is_opening(&self, subject: &Subject) -> bool {
        let opening = match subject {
            Subject::Object(_) => return false,
            Subject::Datastore(id) => (false, id.clone()),
            Subject::Pool(id) => (true, id.clone()),
        };
        self.is_on() && self.opening.contains_key(&opening)
    }

    /// Has a connection's questions asked again once something was opened.
    pub(super) fn wait(&mut self, connection: ConnectionId) {
        self.waiting.insert(connection);
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.barriers.front().map(|(due, _)| *due)
    }

    fn propose(&mut self, entry: &Entry<'_>) {
        self.proposals.push_back(entry.encode());
    }
}

impl<S: Storage> Server<S> {
    // Inputs of the host

    /// The node is a member under this number from now on: its entries count.
    pub fn join(&mut self, origin: Origin) {
        self.replication.origin = Some(origin);
    }

    /// The node is no member any more: none of what it proposed will count, and every client has to go elsewhere.
    pub fn leave(&mut self, retry_after: Option<Duration>) {
        self.replication = Replication::new(self.replication.is_on);
        self.close_all(CloseCode::Restarting, "the node has left the cluster", retry_after);
        // The members that are left have seen to the fields of those connections.
        self.replication.proposals.clear();
    }

    /// The randomness of the entries that follow comes from `seed`, the same on all nodes.
    pub fn reseed(&mut self, seed: [u8; 32]) {
        self.replication.random = Some(Random::new(seed));
    }

    /// Runs the next entry of the log, which `origin` has put there. Part of the batch, like every input.
    ///
    /// # Errors
    /// If it is none of this version.
    pub fn handle_entry(
        &mut self,
        moment: Moment,
        origin: Origin,
        entry: &[u8],
    ) -> Result<Applied, DecodeError> {
        let entry = Entry::decode(&mut Reader::new(entry))?;
        let version = match &entry {
            Entry::Write { verdict: Verdict::Permitted { version }, .. }
            | Entry::Call { version, .. }
            | Entry::Resolved { version, .. } => version.map(Arc::from),
            _ => None,
        };
        Ok(self.replay(moment, version, |server| server.run_entry(moment.at, origin, &entry)))
    }

    /// A member is gone: its connections are.
    pub fn expel(&mut self, moment: Moment, origin: Origin) {
        self.replay(moment, None, |server| {
            let (first, after) = (origin.connection(0), Origin(origin.0 + 1).connection(0));
            for owner in server.pools.owners_in(first, after) {
                server.release_fields(owner);
            }
        });
    }

    /// Removes what has expired, and forgets old replies and silent clients, if the log's time has come to it since
    /// `before`. No client is forgotten whole if the clock of the log `has_leapt`: how long one has been silent is not
    /// known then.
    pub fn sweep(&mut self, moment: Moment, before: Timestamp, has_leapt: bool) {
        let count =
            |time: Timestamp, period: Duration| time.since(Timestamp::default()).as_secs() / period.as_secs();
        let has_passed = |period| count(before, period) != count(moment.at, period);
        if !has_passed(PURGE_PERIOD) {
            return;
        }
        self.replay(moment, None, |server| {
            server.purge(moment.at);
            // Failures are noted for the commit.
            let _ = server.kv(moment.at).purge_expired();
            server.purge_pools(moment.at);
            let _ = server.purge_notifications(moment.at);
            if has_passed(FORGET_PERIOD) {
                server.forget_replies(moment.at, has_leapt);
            }
        });
    }

    /// Writes what the host keeps beside the records, in the batch's transaction.
    ///
    /// # Errors
    /// If the storage failed, now or earlier in the batch.
    pub fn note(&mut self, write: impl FnOnce(&mut S) -> Result<(), StorageError>) -> Result<(), WriteError> {
        if self.batch.failure.is_some() {
            return Err(WriteError::StorageFailed);
        }
        let begun = if self.batch.is_open { Ok(()) } else { self.durable.begin() };
        self.batch.is_open |= begun.is_ok();
        let written = begun.and_then(|()| write(&mut self.durable));
        self.sound(written)
    }

    /// Has the log asked to write an object, under a number of the host's that the [outcome](Applied::call) comes with.
    ///
    /// # Errors
    /// If it is refused before it goes there.
    pub fn propose_call(
        &mut self,
        number: u64,
        key: &str,
        value: Option<EncodedValue<'_>>,
        condition: Condition,
    ) -> Result<(), WriteError> {
        let rule = self.options.rules.of_object(key);
        if let Some(value) = value {
            check_rule(rule.as_ref(), value)?;
        }
        let version = rule.and_then(|rule| rule.version());
        let version = version.as_deref();
        self.replication.propose(&Entry::Call { number, key, version, value, condition });
        Ok(())
    }

    // Outputs of the host

    /// The next thing to put into the log, after what was polled before. It needs no commit: nothing has happened yet.
    pub fn poll_proposal(&mut self) -> Option<Vec<u8>> {
        self.replication.proposals.pop_front()
    }

    /// What an object's condition comes to.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn holds(&self, key: &str, condition: Condition) -> Result<bool, StorageError> {
        Ok(match condition {
            Condition::Always => true,
            Condition::At(position) => self.object(key)?.is_some_and(|object| object.position == position),
            Condition::Absent => self.object(key)?.is_none_or(|object| object.value.is_none()),
        })
    }

    // Instead of changing something: called by the parts

    pub(super) fn propose_greeting(&mut self, now: Timestamp, connection: ConnectionId, client: &str) {
        self.replication.propose(&Entry::Greeted { connection: connection.0, client });
        self.replication.greeting.insert(connection, true);
        self.replication.barriers.push_back((now + BARRIER, connection));
    }

    pub(super) fn propose_write(&mut self, caller: &Caller, request: RequestId, operation: &Operation<'_>) {
        if matches!(operation, Operation::Merge { .. }) {
            self.replication.merged.insert(caller.connection);
        }
        let judged = caller.grant.check_operation(operation).and_then(|()| self.judge(operation));
        let reason;
        let verdict = match &judged {
            Ok(version) => Verdict::Permitted { version: version.as_deref() },
            Err(error) => {
                reason = error.to_string();
                Verdict::Refused { code: error.code().number(), message: &reason }
            }
        };
        self.replication.propose(&Entry::Write {
            connection: caller.connection.0,
            client: &caller.client,
            user: &caller.grant.user,
            verdict,
            request,
            operation: operation.clone(),
        });
    }

    /// What the rules of this node say to an operation: the schema version that it stamps.
    fn judge(&self, operation: &Operation<'_>) -> Result<Option<Arc<str>>, WriteError> {
        let rules = &self.options.rules;
        let judge = |rule: Option<Arc<Rule>>, value: Option<EncodedValue<'_>>| {
            value.map_or(Ok(()), |value| check_rule(rule.as_ref(), value))?;
            Ok(rule.and_then(|rule| rule.version()))
        };
        match *operation {
            Operation::Put { key, value } => judge(rules.of_object(key), Some(value)),
            Operation::Delete { key } => judge(rules.of_object(key), None),
            Operation::Set { datastore, value } => judge(rules.of_datastore(datastore), Some(value)),
            Operation::Remove { datastore, .. } => judge(rules.of_datastore(datastore), None),
            Operation::Relay(Relayed { key, .. }) => {
                if self.is_ruled(key) {
                    Err(WriteError::Owned)
                } else {
                    Ok(None)
                }
            }
            Operation::Merge { .. }
            | Operation::Notify { .. }
            | Operation::Reply { .. }
            | Operation::Kv(_) => Ok(None),
        }
    }

    pub(super) fn propose_datastore(&mut self, id: &str, open: Open<'_>) {
        let entry = Entry::OpenDatastore { id, is_permanent: open.permanent, primary: open.primary };
        self.replication.propose(&entry);
        *self.replication.opening.entry((false, id.into())).or_default() += 1;
    }

    pub(super) fn propose_pool(&mut self, id: &str, open: OpenPool) {
        self.replication.propose(&Entry::OpenPool { id, presence: open.presence });
        *self.replication.opening.entry((true, id.into())).or_default() += 1;
    }

    pub(super) fn propose_delivered(&mut self, user: &str, traces: &[&str]) {
        self.replication.propose(&Entry::Delivered { user, traces: traces.to_vec() });
    }

    pub(super) fn propose_resolved(&mut self, key: &str, value: EncodedValue<'_>) {
        let version = self.options.rules.of_object(key).and_then(|rule| rule.version());
        self.replication.propose(&Entry::Resolved { key, version: version.as_deref(), value });
    }

    /// A connection of this node is gone.
    pub(super) fn propose_departure(&mut self, connection: ConnectionId) {
        self.replication.greeting.remove(&connection);
        self.replication.waiting.remove(&connection);
        self.pools.forget(connection);
        if self.replication.merged.remove(&connection) {
            self.replication.propose(&Entry::Departed { connection: connection.0 });
        }
    }

    /// Lets go what has waited for the log long enough.
    pub(super) fn lift_barriers(&mut self, now: Timestamp) {
        while let Some((_, connection)) = self.replication.barriers.pop_front_if(|(due, _)| *due <= now) {
            if let Some(is_held @ true) = self.replication.greeting.get_mut(&connection) {
                *is_held = false;
                self.answer_asked(now, connection);
            }
        }
    }

    // Asked by the parts

    /// Whether something is kept in the durable storage that a single server would keep in memory, unless it is
    /// `permanent`.
    pub(super) const fn is_kept(&self, permanent: bool) -> bool {
        permanent || self.replication.is_on()
    }

    /// The present for what stays on this node, where `now` may be that of the log.
    pub(super) fn local(&self, now: Timestamp) -> Timestamp {
        self.replication.applying.as_ref().map_or(now, |applying| applying.moment.now)
    }

    /// The present for what changes: that of the log, while an entry of it is applied.
    pub(super) fn present(&self) -> Timestamp {
        self.replication.applying.as_ref().map_or(self.clock, |applying| applying.moment.at)
    }

    /// Checks a value by its rule, unless its node has done so.
    pub(super) fn pass_rule(
        &self,
        rule: Option<&Arc<Rule>>,
        value: EncodedValue<'_>,
    ) -> Result<(), WriteError> {
        if self.replication.is_applying() { Ok(()) } else { check_rule(rule, value) }
    }

    /// The schema version that is stamped on what is written.
    pub(super) fn stamp(&self, rule: Option<&Arc<Rule>>) -> Option<Arc<str>> {
        match &self.replication.applying {
            Some(applying) if self.replication.is_on() => applying.version.clone(),
            _ => rule.and_then(|rule| rule.version()),
        }
    }

    // Applying

    fn replay<T>(
        &mut self,
        moment: Moment,
        version: Option<Arc<str>>,
        run: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.observe(moment.now);
        let mut random = self.replication.random.take();
        if let Some(random) = &mut random {
            mem::swap(&mut self.random, random);
        }
        self.replication.applying = Some(Applying { moment, version });
        let done = run(self);
        self.replication.applying = None;
        if let Some(random) = &mut random {
            mem::swap(&mut self.random, random);
        }
        self.replication.random = random;
        done
    }

    fn run_entry(&mut self, at: Timestamp, origin: Origin, entry: &Entry<'_>) -> Applied {
        let is_own = self.replication.origin == Some(origin);
        let done = |position: Option<Position>| Applied { fingerprint: fingerprint(position), call: None };
        match *entry {
            Entry::Greeted { connection, client } => {
                self.greeted(ConnectionId(connection), client, is_own);
                Applied::default()
            }
            Entry::Write { connection, client, user, ref verdict, request, ref operation } => {
                let owner = origin.connection(connection);
                let reply = self.write_of(at, owner, (client, user), verdict, request, operation);
                if is_own && let Ok(reply) = &reply {
                    self.tell_reply(ConnectionId(connection), request, reply);
                }
                match reply {
                    Ok(Reply::Done { position, .. }) => done(position),
                    Ok(Reply::Refused { code, .. }) => Applied { fingerprint: u64::from(code), call: None },
                    // The commit undoes it.
                    Err(_) => Applied::default(),
                }
            }
            Entry::OpenDatastore { id, is_permanent, primary } => {
                let open = Open { permanent: is_permanent, primary };
                let opened = self.open_datastore(at, id, open, None);
                self.opened_by_log(at, &(false, id.into()), is_own);
                done(opened.ok().map(|datastore| datastore.position))
            }
            Entry::OpenPool { id, presence } => {
                let opened = self.open_pool(at, id, OpenPool { presence }, None);
                self.opened_by_log(at, &(true, id.into()), is_own);
                done(opened.ok().map(|pool| pool.position))
            }
            Entry::Delivered { user, ref traces } => {
                self.delivered(at, user, traces);
                Applied::default()
            }
            Entry::Departed { connection } => {
                self.release_fields(origin.connection(connection));
                Applied::default()
            }
            Entry::Call { number, key, value, condition, .. } => {
                let outcome = self.call_of(at, key, value, condition);
                let position = outcome.as_ref().ok().copied().flatten();
                Applied { fingerprint: fingerprint(position), call: is_own.then_some((number, outcome)) }
            }
            Entry::Resolved { key, value, .. } => {
                let head = self.durable.object_sequence(key);
                match self.sound(head) {
                    Ok(None) => done(self.put(at, key, value).ok()),
                    Ok(Some(_)) | Err(_) => Applied::default(),
                }
            }
        }
    }

    fn greeted(&mut self, connection: ConnectionId, client: &str, is_own: bool) {
        let now = self.clock;
        if is_own {
            if self.replication.greeting.remove(&connection).is_some() {
                self.answer_asked(now, connection);
            }
        } else if let Some(older) = self.hub.connection_of(client)
            // One whose own hello comes later in the log is the newer one.
            && !self.replication.greeting.contains_key(&older)
        {
            self.close(older, CloseCode::Silent, "the client is connected anew", None);
        }
    }

    fn write_of(
        &mut self,
        at: Timestamp,
        connection: ConnectionId,
        (client, user): (&str, &str),
        verdict: &Verdict<'_>,
        request: RequestId,
        operation: &Operation<'_>,
    ) -> Result<Reply, WriteError> {
        let caller = Caller::permitted(connection, client, user);
        let refusal = match *verdict {
            Verdict::Permitted { .. } => None,
            Verdict::Refused { code, message } => Some(Reply::Refused { code, message: message.into() }),
        };
        self.write_once(at, &caller, request, operation, refusal)
    }

    fn call_of(
        &mut self,
        at: Timestamp,
        key: &str,
        value: Option<EncodedValue<'_>>,
        condition: Condition,
    ) -> CallOutcome {
        let holds = self.holds(key, condition);
        if !self.sound(holds).map_err(CallRefusal::Refused)? {
            return Err(CallRefusal::Changed);
        }
        let done = match value {
            Some(value) => self.put(at, key, value).map(Some),
            None => self.delete(at, key),
        };
        done.map_err(CallRefusal::Refused)
    }

    fn opened_by_log(&mut self, at: Timestamp, opening: &Opening, is_own: bool) {
        if is_own && let Some(count) = self.replication.opening.get_mut(opening) {
            *count -= 1;
            if *count == 0 {
                self.replication.opening.remove(opening);
            }
        }
        let now = self.local(at);
        for connection in mem::take(&mut self.replication.waiting) {
            self.answer_asked(now, connection);
        }
    }
}

/// A number that differs where positions do: FNV-1a.
fn fingerprint(position: Option<Position>) -> u64 {
    let Some(Position { epoch, sequence }) = position else {
        return 0;
    };
    let bytes = epoch.as_bytes().iter().copied().chain(sequence.get().to_be_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
