//! Questions of clients, which change nothing.

use super::{ConnectionId, Server, storage::Storage};
use crate::protocol::{EncodedValue, ErrorCode, Query, QueryId, ServerMessage, Timestamp};

impl<S: Storage> Server<S> {
    pub(super) fn query(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        query: QueryId,
        about: Query<'_>,
    ) {
        self.batch.queries.push((connection, query));
        let refused = |code: ErrorCode, message: String| Err((code.number(), message));
        let outcome = match about {
            Query::Notification { .. } => refused(ErrorCode::NotFound, "not served here".to_owned()),
            Query::KvRender { .. } if !self.options.renders_for_clients => {
                let message =
                    "this server renders no templates of clients; read the values and render them yourself";
                refused(ErrorCode::Forbidden, message.to_owned())
            }
            Query::KvGet { .. }
            | Query::KvGetAll { .. }
            | Query::KvCount { .. }
            | Query::KvCountAll { .. }
            | Query::KvGroups { .. }
            | Query::KvRender { .. } => {
                self.kv(now).answer(about).or_else(|error| refused(error.code(), error.to_string()))
            }
        };
        let outcome = match &outcome {
            Ok(value) => Ok(value.as_deref().map(EncodedValue::trusted)),
            Err((code, message)) => Err((*code, &**message)),
        };
        let size = self.outbox.answer(connection, &ServerMessage::Result { query, outcome });
        self.count_outflow(connection, size);
    }
}
