//! One connection's side of the server: its frames, its answers, its timers.

use alloc::{format, string::ToString, sync::Arc, vec::Vec};
use core::time::Duration;

use super::{
    ConnectionId, Server, WriteError,
    admission::{Grant, Refusal, Resource, watched},
    datastore::Table,
    hub::{Asked, Cursor, Followed, Outflow, Phase, Subject, Wish},
    kv::check_name,
    storage::{Recollection, Reply, Storage, StorageError, Value},
};
use crate::protocol::{
    ClientMessage, CloseCode, EncodedValue, ErrorCode, Operation, Position, Reader, RequestId, ServerMessage,
    Subscription, SubscriptionId, Target, Timestamp, Writer,
    limits::{MAX_FRAME_BYTES, MAX_SEQUENCE, MAX_SUBSCRIPTIONS, SLOWEST_LINE},
};

/// Answers under way to one connection, in bytes, above which the next ones wait: enough to fill a fast line between
/// two reports, and with the largest answer on top still below what a slow reader is dropped for.
const OUTFLOW_BYTES: usize = MAX_FRAME_BYTES / 4;

/// Who asks for an operation.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) connection: ConnectionId,
    /// Under which its requests are remembered.
    pub(super) client: Arc<str>,
    /// Who that is, and what it may do.
    pub(super) grant: Arc<Grant>,
}

impl Caller {
    /// One whose node has seen to what it may do.
    pub(super) fn permitted(connection: ConnectionId, client: &str, user: &str) -> Self {
        Self { connection, client: client.into(), grant: Grant::everything(user).into() }
    }
}

/// What an operation did.
#[derive(Debug)]
struct Effect {
    position: Option<Position>,
    /// What it says of its outcome beside that.
    result: Option<Value>,
    /// Whether it changed what outlives the process.
    is_durable: bool,
}

impl Effect {
    fn at(position: Option<Position>, is_durable: bool) -> Self {
        Self { position, result: None, is_durable: is_durable && position.is_some() }
    }
}

/// What a connection may have asked for without reading the answers: all its subscriptions, twice.
const MAX_ASKED: usize = 2 * MAX_SUBSCRIPTIONS;

impl<S: Storage> Server<S> {
    /// A connection was made.
    pub fn handle_connect(&mut self, now: Timestamp, connection: ConnectionId) {
        self.observe(now);
        let due = now + self.options.greeting;
        self.hub.connect(now, connection, due);
    }

    /// A connection is gone. What it sent before still counts.
    pub fn handle_disconnect(&mut self, now: Timestamp, connection: ConnectionId) {
        self.observe(now);
        self.hub.disconnect(connection);
        self.outbox.forget(connection);
        self.let_go(connection);
    }

    /// Sees to what a connection that is gone has left behind.
    pub(super) fn let_go(&mut self, connection: ConnectionId) {
        if self.replication.is_on() {
            self.propose_departure(connection);
        } else {
            self.release_fields(connection);
        }
    }

    /// A connection's frame arrived: one or more messages. Frames of connections that are gone are ignored.
    ///
    /// A frame that cannot be read ends its connection; the messages before the fault count.
    pub fn handle_frame(&mut self, now: Timestamp, connection: ConnectionId, frame: &[u8]) {
        self.observe(now);
        let Some(about) = self.hub.connection(connection) else {
            return;
        };
        (about.heard, about.arrived) = (now, 0);
        if self.close_expired(now, connection) {
            return;
        }
        let largest = self.options.limits.frame_bytes.min(MAX_FRAME_BYTES);
        if frame.len() > largest {
            let reason = format!("a frame is at most {largest} bytes");
            self.close(connection, CloseCode::LimitExceeded, &reason, None);
            return;
        }
        let mut reader = Reader::new(frame);
        while !reader.is_empty() && self.hub.connection(connection).is_some() {
            match ClientMessage::decode(&mut reader) {
                Ok(message) => self.message(now, connection, message),
                Err(error) => self.close(connection, CloseCode::Malformed, &error.to_string(), None),
            }
        }
    }

    /// So many more bytes of a frame that is not whole yet have arrived from a connection: a host that can tell says so every
    /// few KiB, for a large frame takes long over a slow line, and is no silence.
    ///
    /// As many as the slowest line carries in a heartbeat are a sign of life; fewer hold nothing up.
    pub fn handle_arriving(&mut self, now: Timestamp, connection: ConnectionId, bytes: usize) {
        self.observe(now);
        let millis = usize::try_from(self.options.heartbeat.as_millis()).unwrap_or(usize::MAX);
        let sign_of_life = SLOWEST_LINE.saturating_mul(millis) / 1_000;
        let Some(about) = self.hub.connection(connection) else { return };
        about.arrived = about.arrived.saturating_add(bytes);
        // Whoever has not said hello has nothing large to say.
        if about.arrived >= sign_of_life && matches!(about.phase, Phase::Live(_)) {
            (about.heard, about.arrived) = (now, 0);
        }
    }

    /// A frame that was sent with [`report`](super::Transmit::report) has left, and with it all before it.
    pub fn handle_drained(&mut self, now: Timestamp, connection: ConnectionId) {
        self.observe(now);
        if let Some(session) = self.hub.session(connection) {
            session.outflow = Outflow::Open(0);
            self.answer_asked(now, connection);
            self.send_events(connection);
        }
    }

    fn message(&mut self, now: Timestamp, connection: ConnectionId, message: ClientMessage<'_>) {
        self.outbox.counters.messages += 1;
        if let ClientMessage::Hello { client, token } = message {
            return self.hello(now, connection, client, token);
        }
        let Some(session) = self.hub.session(connection) else {
            self.close(connection, CloseCode::Unexpected, "the first message is hello", None);
            return;
        };
        if let Err((rate, what)) = session.allowance.take(now, &self.options.limits, &message) {
            let reason = format!("at most {} {what} a second come from one connection", rate.per_second);
            // A connection begins with all it may ask for at once; to come back earlier must gain nothing.
            self.close(connection, CloseCode::RateLimited, &reason, Some(rate.recovery()));
            return;
        }
        match message {
            ClientMessage::Hello { .. } => {}
            ClientMessage::Query { query, about } => {
                self.take_query(connection, query, about);
                self.answer_asked(now, connection);
            }
            ClientMessage::Delivered(traces) => {
                let user = session.grant.user.clone();
                if self.replication.is_on() {
                    self.propose_delivered(&user, &traces);
                } else {
                    self.delivered(now, &user, &traces);
                }
            }
            ClientMessage::Subscribe(subscriptions) => {
                for subscription in subscriptions {
                    self.subscribe(now, connection, subscription);
                }
                self.answer_asked(now, connection);
            }
            ClientMessage::Unsubscribe(subscription) => {
                self.hub.unsubscribe(connection, subscription);
            }
            ClientMessage::Write { request, operation } => {
                let (client, grant) = (session.client.clone(), session.grant.clone());
                let caller = Caller { connection, client, grant };
                self.write(now, &caller, request, &operation);
            }
            ClientMessage::Refetch { subscription, attempt, position } => {
                self.ask(connection, Asked { subscription, attempt, wish: Wish::Since(position) });
                self.answer_asked(now, connection);
            }
            ClientMessage::Page { subscription, attempt, cursor } => {
                if let Some(cursor) = Cursor::from_text(cursor) {
                    self.ask(connection, Asked { subscription, attempt, wish: Wish::Page(cursor) });
                    self.answer_asked(now, connection);
                } else {
                    let message = "the cursor is not one of this server";
                    self.deny(connection, subscription, attempt, ErrorCode::InvalidRequest, message);
                }
            }
            ClientMessage::Token(token) => self.renew(now, connection, token),
            ClientMessage::Ping => {
                self.outbox.send(connection, &ServerMessage::Pong);
            }
        }
    }

    fn hello(&mut self, now: Timestamp, connection: ConnectionId, client: &str, token: Option<&str>) {
        let grant = match self.admit_client(now, client, token) {
            Ok(grant) => grant,
            Err(Refusal(reason)) => {
                self.close(connection, CloseCode::Unauthorized, &reason, None);
                return;
            }
        };
        // As one text that no other user's client has.
        let client: Arc<str> = format!("{}:{}{client}", grant.user.len(), grant.user).into();
        // What is still on its way over an older connection must not run after what the client does on this one: it
        // may have been told by now that it did not.
        if let Some(older) = self.hub.connection_of(&client).filter(|older| *older != connection) {
            self.close(older, CloseCode::Silent, "the client is connected anew", None);
        }
        let number = self.random.session();
        if !self.hub.greet(now, connection, number, client.clone(), grant) {
            self.close(connection, CloseCode::Unexpected, "hello comes once", None);
            return;
        }
        let heartbeat = u32::try_from(self.options.heartbeat.as_millis()).unwrap_or(u32::MAX);
        self.outbox.send(connection, &ServerMessage::Welcome { session: number, heartbeat });
        if self.replication.is_on() {
            self.propose_greeting(now, connection, &client);
        }
        self.hub.schedule(connection, now + self.options.heartbeat);
    }

    fn subscribe(&mut self, now: Timestamp, connection: ConnectionId, asked: Subscription<'_>) {
        let Some(session) = self.hub.session(connection) else {
            return;
        };
        let known = &session.subscriptions;
        if known.len() >= self.options.limits.subscriptions.min(MAX_SUBSCRIPTIONS)
            && !known.contains_key(&asked.id)
        {
            let message = "the connection has all the subscriptions it may have";
            self.deny(connection, asked.id, 0, ErrorCode::LimitExceeded, message);
            return;
        }
        session.asked.retain(|before| before.subscription != asked.id);
        let grant = session.grant.clone();
        let read = match asked.target {
            Target::Object(key) => Some(Resource::Object(key)),
            Target::Datastore { id, .. } => Some(Resource::Datastore(id)),
            Target::Pool { id, .. } => Some(Resource::Pool(id)),
            Target::Watch { group, .. } => Some(watched(group)),
            Target::Relay(key) => Some(Resource::Relay(key)),
            Target::Mailbox => None,
        };
        if let Some(Err(error)) = read.map(|resource| grant.check_read(resource)) {
            self.hub.unsubscribe(connection, asked.id);
            self.deny(connection, asked.id, 0, error.code(), &error.to_string());
            return;
        }
        // Whoever may only read looks whether it is there.
        let may_open = read.is_some_and(|resource| grant.write.allow(resource));
        let subject = match asked.target {
            Target::Object(key) => Subject::Object(key.into()),
            Target::Datastore { id, open } => {
                if let Some(open) = open.filter(|_| may_open)
                    && let Err(error) = self.ensure_datastore(now, id, open)
                    && error != WriteError::StorageFailed
                {
                    self.hub.unsubscribe(connection, asked.id);
                    self.deny(connection, asked.id, 0, error.code(), &error.to_string());
                    return;
                }
                Subject::Datastore(id.into())
            }
            Target::Pool { id, open } => {
                if let Some(open) = open.filter(|_| may_open)
                    && let Err(error) = self.ensure_pool(now, id, open)
                    && error != WriteError::StorageFailed
                {
                    self.hub.unsubscribe(connection, asked.id);
                    self.deny(connection, asked.id, 0, error.code(), &error.to_string());
                    return;
                }
                Subject::Pool(id.into())
            }
            Target::Mailbox => return self.follow_mailbox(connection, asked.id),
            Target::Relay(key) => return self.follow_relay(connection, asked.id, key),
            Target::Watch { group, key } => {
                if let Err(error) = check_name("group", group).and_then(|()| check_name("key", key)) {
                    self.hub.unsubscribe(connection, asked.id);
                    self.deny(connection, asked.id, 0, error.code(), &error.to_string());
                    return;
                }
                let since = self.changes.next_number();
                self.hub.watch(connection, asked.id, group, key, since);
                self.outbox.send(connection, &ServerMessage::Following { subscription: asked.id });
                return;
            }
        };
        self.hub.hold(connection, asked.id, subject);
        let wish = Wish::Since(asked.position);
        self.ask(connection, Asked { subscription: asked.id, attempt: 0, wish });
    }

    /// Has every subscription to a subject answered anew: its history was replaced by another.
    pub(super) fn restart_followers(&mut self, now: Timestamp, subject: &Subject) {
        let followers = self.hub.followers(subject);
        for (connection, subscription) in &followers {
            self.hub.hold(*connection, *subscription, subject.clone());
            let asked = Asked { subscription: *subscription, attempt: 0, wish: Wish::Since(None) };
            self.ask(*connection, asked);
        }
        for (connection, _) in followers {
            self.answer_asked(now, connection);
        }
    }

    /// Ends every subscription to a subject that is gone.
    pub(super) fn dismiss_followers(&mut self, subject: &Subject, message: &str) {
        for (connection, subscription) in self.hub.followers(subject) {
            self.hub.unsubscribe(connection, subscription);
            self.deny(connection, subscription, 0, ErrorCode::NotFound, message);
        }
    }

    fn ask(&mut self, connection: ConnectionId, asked: Asked) {
        let Some(session) = self.hub.session(connection) else {
            return;
        };
        if session.asked.len() >= MAX_ASKED {
            let reason = "too many questions whose answers were not read";
            self.close(connection, CloseCode::LimitExceeded, reason, None);
            return;
        }
        session.asked.push_back(asked);
        self.batch.asked.insert((connection, asked.subscription, asked.attempt));
    }

    /// Answers what a connection has asked for, as far as it reads its answers.
    pub(super) fn answer_asked(&mut self, now: Timestamp, connection: ConnectionId) {
        if self.replication.holds(connection) {
            return;
        }
        let mut held = Vec::new();
        while let Some(session) = self.hub.session(connection) {
            if session.outflow == Outflow::Full {
                break;
            }
            let Some(asked) = session.asked.pop_front() else {
                break;
            };
            let subject = self.hub.subject(connection, asked.subscription);
            if subject.as_ref().is_some_and(|subject| self.replication.is_opening(subject)) {
                self.replication.wait(connection);
                held.push(asked);
                continue;
            }
            if let Some(Subject::Pool(id)) = subject
                && !self.settle_pool(now, &id)
            {
                held.push(asked);
                continue;
            }
            self.batch.asked.insert((connection, asked.subscription, asked.attempt));
            let size = self.answer(now, connection, asked);
            self.count_outflow(connection, size);
        }
        if let Some(session) = self.hub.session(connection)
            && !held.is_empty()
        {
            for asked in held.into_iter().rev() {
                session.asked.push_front(asked);
            }
            self.pools.wait(connection);
        }
        self.answer_queries(now, connection);
        self.send_notifications(now, connection);
    }

    /// Counts what was just staged for a connection against what may be under way to it.
    pub(super) fn count_outflow(&mut self, connection: ConnectionId, size: usize) {
        if let Some(session) = self.hub.session(connection)
            && let Outflow::Open(before) = session.outflow
        {
            session.outflow = if before + size < OUTFLOW_BYTES {
                Outflow::Open(before + size)
            } else {
                self.outbox.report(connection);
                Outflow::Full
            };
        }
    }

    /// Answers one question; returns the size of the answer.
    fn answer(&mut self, now: Timestamp, connection: ConnectionId, asked: Asked) -> usize {
        let Asked { subscription, attempt, wish } = asked;
        let Some(subject) = self.hub.subject(connection, subscription) else {
            return self.deny(connection, subscription, attempt, ErrorCode::NotFound, "no such subscription");
        };
        let grant = self.hub.session(connection).map(|session| session.grant.clone());
        let permitted = grant.map_or(Ok(()), |grant| grant.check_read(subject.resource()));
        if let Err(error) = permitted {
            if attempt == 0 {
                self.hub.unsubscribe(connection, subscription);
            }
            return self.deny(connection, subscription, attempt, error.code(), &error.to_string());
        }
        let resolved = match (&subject, wish) {
            (Subject::Object(key), Wish::Since(_)) => self.resolve(now, key),
            (Subject::Object(_), Wish::Page(_)) | (Subject::Datastore(_) | Subject::Pool(_), _) => Ok(()),
        };
        // What was published before the answer is part of it, and goes first.
        if let Some(topic) = self.hub.current(&subject) {
            self.outbox.flush(&self.hub, topic);
        }
        let answered = match (&subject, wish) {
            (Subject::Object(key), Wish::Since(position)) => {
                resolved.and_then(|()| self.answer_object(connection, subscription, attempt, key, position))
            }
            (Subject::Object(_), Wish::Page(_)) => {
                return self.deny(
                    connection,
                    subscription,
                    attempt,
                    ErrorCode::InvalidRequest,
                    "an object has no pages",
                );
            }
            (Subject::Datastore(id), wish) => self
                .datastore_table(now, id)
                .and_then(|table| self.answer_wish(connection, subscription, attempt, &table, wish)),
            (Subject::Pool(id), wish) => self
                .pool_table(now, id)
                .and_then(|table| self.answer_wish(connection, subscription, attempt, &table, wish)),
        };
        match answered {
            Ok(size) => size,
            // The commit denies it.
            Err(WriteError::StorageFailed) => 0,
            Err(error) => {
                if attempt == 0 {
                    self.hub.unsubscribe(connection, subscription);
                }
                // It rests on what the batch read, unlike the denials above.
                let (code, message) = (error.code().number(), error.to_string());
                let denied = ServerMessage::Denied { subscription, attempt, code, message: &message };
                self.outbox.answer(connection, &denied)
            }
        }
    }

    /// Answers a question about a table.
    fn answer_wish(
        &mut self,
        connection: ConnectionId,
        subscription: SubscriptionId,
        attempt: u32,
        table: &Table,
        wish: Wish,
    ) -> Result<usize, WriteError> {
        let cursor = match wish {
            Wish::Since(position) => {
                return self.answer_table(connection, subscription, attempt, table, position);
            }
            Wish::Page(cursor) => cursor,
        };
        let session = self.hub.session(connection);
        let Some(session) = session.filter(|session| session.number == cursor.session) else {
            let message = "the cursor is of another session; ask for a new snapshot";
            return Ok(self.deny(connection, subscription, attempt, ErrorCode::InvalidRequest, message));
        };
        let followed = session.subscriptions.get(&subscription);
        if !matches!(followed, Some(Followed::Topic(topic)) if *topic == cursor.topic) {
            // The table was replaced by another of its name, whose first page is on its way unasked. A denial would end
            // the subscription.
            return Ok(0);
        }
        self.answer_page(connection, subscription, attempt, table, cursor)
    }

    pub(super) fn deny(
        &mut self,
        connection: ConnectionId,
        subscription: SubscriptionId,
        attempt: u32,
        code: ErrorCode,
        message: &str,
    ) -> usize {
        let denied = ServerMessage::Denied { subscription, attempt, code: code.number(), message };
        self.outbox.send(connection, &denied)
    }

    fn write(&mut self, now: Timestamp, caller: &Caller, request: RequestId, operation: &Operation<'_>) {
        if self.replication.is_on() {
            self.propose_write(caller, request, operation);
            return;
        }
        self.batch.writes.push((caller.connection, request));
        // Else the commit refuses it, with all others of the batch.
        if let Ok(reply) = self.write_once(now, caller, request, operation, None) {
            self.tell_reply(caller.connection, request, &reply);
        }
    }

    /// Tells a client what became of its request.
    pub(super) fn tell_reply(&mut self, connection: ConnectionId, request: RequestId, reply: &Reply) {
        if self.hub.session(connection).is_some() {
            self.outbox.reply(connection, &reply_message(request, reply));
        }
    }

    /// Runs a request unless it ran before, or gives it the `refusal` that it has already. Only a failed storage is an
    /// error.
    pub(super) fn write_once(
        &mut self,
        now: Timestamp,
        caller: &Caller,
        request: RequestId,
        operation: &Operation<'_>,
        refusal: Option<Reply>,
    ) -> Result<Reply, WriteError> {
        let client = &*caller.client;
        if request > MAX_SEQUENCE {
            let message = "request numbers end at 2^53 - 1".into();
            return Ok(Reply::Refused { code: ErrorCode::InvalidRequest.number(), message });
        }
        let remembered = self.recollect(client, request);
        match self.sound(remembered)? {
            Recollection::Answered(reply) => return Ok(reply),
            Recollection::Forgotten => return Ok(expired()),
            Recollection::New => {}
        }
        let (reply, is_durable) = match refusal.map_or_else(|| Ok(self.run(now, caller, operation)), Err) {
            Ok(Ok(Effect { position, result, is_durable })) => (Reply::Done { position, result }, is_durable),
            Ok(Err(WriteError::StorageFailed)) => return Err(WriteError::StorageFailed),
            Ok(Err(error)) => {
                let message: Arc<str> = error.to_string().into();
                (Reply::Refused { code: error.code().number(), message }, false)
            }
            Err(refusal) => (refusal, false),
        };
        let is_durable = self.is_kept(is_durable);
        // What changed nothing durable need not be remembered longer than the process lives: the connection that could
        // repeat it ends with the process, and to run it again does no harm.
        self.on_storage(is_durable, |storage| storage.set_reply(now, client, request, &reply))?;
        Ok(reply)
    }

    /// What is known about a request, in either storage.
    fn recollect(&self, client: &str, request: RequestId) -> Result<Recollection, StorageError> {
        match self.temporary.reply(client, request)? {
            Recollection::New => self.durable.reply(client, request),
            known @ (Recollection::Answered(_) | Recollection::Forgotten) => Ok(known),
        }
    }

    /// Answers the writes of a batch that was undone. One that only repeated what an earlier batch did did run.
    pub(super) fn answer_undone(
        &mut self,
        writes: Vec<(ConnectionId, RequestId)>,
    ) -> Result<(), StorageError> {
        for (connection, request) in writes {
            let Some(session) = self.hub.session(connection) else {
                continue;
            };
            let client = session.client.clone();
            let reply = match self.recollect(&client, request)? {
                Recollection::Answered(reply) => reply,
                Recollection::Forgotten => expired(),
                Recollection::New => Reply::Refused {
                    code: ErrorCode::StorageFailed.number(),
                    message: WriteError::StorageFailed.to_string().into(),
                },
            };
            self.outbox.send(connection, &reply_message(request, &reply));
        }
        Ok(())
    }

    fn run(
        &mut self,
        now: Timestamp,
        caller: &Caller,
        operation: &Operation<'_>,
    ) -> Result<Effect, WriteError> {
        caller.grant.check_operation(operation)?;
        match *operation {
            Operation::Put { key, value } => Ok(Effect::at(Some(self.put(now, key, value)?), true)),
            Operation::Delete { key } => Ok(Effect::at(self.delete(now, key)?, true)),
            Operation::Set { datastore, value } => {
                let position = self.set(now, datastore, value)?;
                Ok(Effect::at(Some(position), self.is_permanent(datastore)))
            }
            Operation::Remove { datastore, key } => {
                let position = self.remove(now, datastore, key)?;
                Ok(Effect::at(position, self.is_permanent(datastore)))
            }
            Operation::Merge { pool, fields } => {
                Ok(Effect::at(self.merge_from(now, pool, fields, Some(caller.connection))?, false))
            }
            Operation::Notify { to, pack, suit, ttl } => {
                let life = ttl.map(Duration::from_millis);
                let notification = self.notify_from(now, &caller.grant.user, to, pack, suit, life)?;
                let mut trace = Writer::new();
                trace.str(&notification.trace.to_string());
                Ok(Effect { position: None, result: Some(trace.into_bytes().into()), is_durable: true })
            }
            Operation::Reply { trace, reply } => {
                self.reply_from(now, &caller.grant.user, trace, reply)?;
                Ok(Effect { position: None, result: None, is_durable: true })
            }
            Operation::Relay(envelope) => {
                self.relay(envelope)?;
                Ok(Effect::at(None, false))
            }
            Operation::Kv(ref changes) => {
                self.kv(now).apply(changes)?;
                Ok(Effect { position: None, result: None, is_durable: true })
            }
        }
    }

    /// Serves every connection that is due.
    pub(super) fn serve_timers(&mut self, now: Timestamp) {
        let heartbeat = self.options.heartbeat;
        let patience = heartbeat * 5 / 2;
        while let Some((connection, due)) = self.hub.due(now) {
            // A host that comes so late was asleep itself: the silence proves nothing.
            let is_late = now.since(due) > heartbeat;
            let Some(about) = self.hub.connection(connection) else {
                return;
            };
            if is_late {
                about.heard = now;
            }
            let silence = now.since(about.heard);
            match about.phase {
                Phase::Greeting if silence >= self.options.greeting => {
                    self.close(connection, CloseCode::Silent, "no hello came", None);
                }
                Phase::Greeting => {
                    let due = now + (self.options.greeting - silence);
                    self.hub.schedule(connection, due);
                }
                Phase::Live(ref session) if session.grant.has_expired(now) => {
                    self.close_expired(now, connection);
                }
                Phase::Live(_) if silence >= patience => {
                    self.close(connection, CloseCode::Silent, "nothing was heard for too long", None);
                }
                Phase::Live(_) => {
                    if let Some((number, heads)) = self.hub.beacon(connection) {
                        // A head that came before its change would look like a missing one.
                        for (topic, _) in &heads {
                            self.outbox.flush(&self.hub, *topic);
                        }
                        self.outbox.answer(connection, &ServerMessage::Beacon { number, heads });
                    }
                    self.ask_for_token(now, connection);
                    // Whatever a batch that was undone has left over.
                    self.answer_asked(now, connection);
                    // Never zero: this loop ends.
                    let wait = heartbeat.min(patience - silence).max(Duration::from_millis(1));
                    self.hub.schedule(connection, now + wait);
                }
            }
        }
    }
}

fn expired() -> Reply {
    Reply::Refused {
        code: ErrorCode::RequestExpired.number(),
        message: "the request is too old to know whether it ran; read, and ask again under a new number"
            .into(),
    }
}

fn reply_message(request: RequestId, reply: &Reply) -> ServerMessage<'_> {
    match reply {
        Reply::Done { position, result } => ServerMessage::Ack {
            request,
            position: *position,
            result: result.as_deref().map(EncodedValue::trusted),
        },
        Reply::Refused { code, message } => ServerMessage::Refusal { request, code: *code, message },
    }
}
