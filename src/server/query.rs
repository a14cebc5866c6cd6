//! Questions of clients, which change nothing.
//!
//! The answers share the window of what a connection has asked for: a question that comes while too much is under way
//! waits in its encoded form, and a client that goes on asking without reading loses its connection.

use alloc::{
    borrow::ToOwned,
    collections::VecDeque,
    string::{String, ToString},
    vec::Vec,
};

use super::{
    ConnectionId, Server, WriteError,
    hub::Outflow,
    storage::{Notification, Storage},
};
use crate::protocol::{
    ClientMessage, CloseCode, EncodedValue, ErrorCode, Query, QueryId, Reader, ServerMessage, Timestamp,
    Writer, limits::MAX_FRAME_BYTES,
};

/// Bytes of questions that may wait for one connection: as many as one frame brings.
const MAX_WAITING_BYTES: usize = MAX_FRAME_BYTES;

/// The questions of a connection that wait, encoded as they came.
#[derive(Debug, Default)]
pub(super) struct Questions {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Questions {
    /// Adds a question; `false` if there is no room.
    fn push(&mut self, question: Vec<u8>) -> bool {
        let has_room = self.bytes + question.len() <= MAX_WAITING_BYTES;
        if has_room {
            self.bytes += question.len();
            self.waiting.push_back(question);
        }
        has_room
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let question = self.waiting.pop_front()?;
        self.bytes -= question.len();
        Some(question)
    }
}

impl<S: Storage> Server<S> {
    /// Takes a question; [`answer_asked`](Self::answer_asked) answers it.
    pub(super) fn take_query(&mut self, connection: ConnectionId, query: QueryId, about: Query<'_>) {
        let Some(session) = self.hub.session(connection) else {
            return;
        };
        let mut writer = Writer::new();
        ClientMessage::Query { query, about }.encode(&mut writer);
        if !session.questions.push(writer.into_bytes()) {
            let reason = "too many questions whose answers were not read";
            self.close(connection, CloseCode::LimitExceeded, reason, None);
        }
    }

    /// Answers the questions of a connection, as far as it reads the answers.
    pub(super) fn answer_queries(&mut self, now: Timestamp, connection: ConnectionId) {
        while let Some(session) =
            self.hub.session(connection).filter(|session| session.outflow != Outflow::Full)
            && let Some(question) = session.questions.pop()
        {
            let grant = session.grant.clone();
            let Ok(ClientMessage::Query { query, about }) =
                ClientMessage::decode(&mut Reader::new(&question))
            else {
                continue;
            };
            // Where the storage fails, the commit takes the answer back and says so.
            self.batch.queries.push((connection, query));
            let outcome = match grant.check_query(&about) {
                Ok(()) => self.query(now, &grant.user, about),
                Err(error) => Err((error.code(), error.to_string())),
            };
            let outcome = match &outcome {
                Ok(value) => Ok(value.as_deref().map(EncodedValue::trusted)),
                Err((code, message)) => Err((code.number(), &**message)),
            };
            let size = self.outbox.answer(connection, &ServerMessage::Result { query, outcome });
            self.count_outflow(connection, size);
        }
    }

    fn query(
        &mut self,
        now: Timestamp,
        user: &str,
        about: Query<'_>,
    ) -> Result<Option<Vec<u8>>, (ErrorCode, String)> {
        match about {
            Query::Notification { trace } => {
                let notification = self.notification_of(now, user, trace);
                let notification = notification.map_err(|error| (error.code(), error.to_string()))?;
                Ok(Some(state(&notification)))
            }
            Query::KvRender { .. } if !self.options.renders_for_clients => {
                let message =
                    "this server renders no templates of clients; read the values and render them yourself";
                Err((ErrorCode::Forbidden, message.to_owned()))
            }
            Query::KvGet { .. }
            | Query::KvGetAll { .. }
            | Query::KvCount { .. }
            | Query::KvCountAll { .. }
            | Query::KvGroups { .. }
            | Query::KvRender { .. } => {
                self.kv(now).answer(about).map_err(|error| (error.code(), error.to_string()))
            }
        }
    }

    /// A notification that `user` has sent or received.
    fn notification_of(
        &mut self,
        now: Timestamp,
        user: &str,
        trace: &str,
    ) -> Result<Notification, WriteError> {
        let trace = trace.parse().map_err(|_| WriteError::NoNotification)?;
        let found = self.notification(now, trace);
        let found = self.sound(found)?;
        found.filter(|found| *found.from == *user || *found.to == *user).ok_or(WriteError::NoNotification)
    }
}

/// What became of a notification, as a map. The payload is not repeated.
fn state(notification: &Notification) -> Vec<u8> {
    let mut writer = Writer::new();
    let millis = |writer: &mut Writer, at: Timestamp| writer.u64(at.as_millis());
    writer.map(8);
    writer.str("from");
    writer.str(&notification.from);
    writer.str("to");
    writer.str(&notification.to);
    writer.str("suit");
    writer.bool(notification.suit);
    writer.str("created");
    millis(&mut writer, notification.created);
    writer.str("expires");
    millis(&mut writer, notification.expires);
    writer.str("delivered");
    writer.optional(notification.delivered, millis);
    writer.str("replied");
    writer.optional(notification.reply.as_ref().map(|(at, _)| *at), millis);
    writer.str("reply");
    writer.value(
        notification.reply.as_ref().map_or(EncodedValue::NIL, |(_, reply)| EncodedValue::trusted(reply)),
    );
    writer.into_bytes()
}
