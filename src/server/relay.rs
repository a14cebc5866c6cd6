//! Envelopes that clients publish to each other: the seed's dumb pipe, over the server.
//!
//! Nothing is retained and nothing is judged: whoever follows a key at the moment hears of it, in the order of arrival,
//! the publisher too. It has a permission of its own, and there is none for a key that the authority owns: what was ever
//! written as an object, or is named in the table of objects, is the authority's word alone.

use alloc::{sync::Arc, vec::Vec};

use super::{
    ConnectionId, Server, WriteError,
    object::{check_key, check_value},
    storage::Storage,
};
use crate::protocol::{Relayed, ServerMessage, SubscriptionId};

impl<S: Storage> Server<S> {
    /// Passes an envelope on to all who follow its key.
    ///
    /// # Errors
    /// Why it was refused.
    pub(super) fn relay(&mut self, envelope: Relayed<'_>) -> Result<(), WriteError> {
        check_key("key", envelope.key)?;
        if let Some(value) = envelope.value {
            check_value("value", value)?;
        }
        // In a cluster its node has looked at the rules.
        let is_ruled = !self.replication.is_applying() && self.is_ruled(envelope.key);
        let head = self.durable.object_sequence(envelope.key);
        if is_ruled || self.sound(head)?.is_some() {
            return Err(WriteError::Owned);
        }
        let mut followers: Vec<_> =
            self.hub.relay_followers(envelope.key).into_iter().map(|(connection, _)| connection).collect();
        followers.dedup();
        self.outbox.broadcast(followers, &ServerMessage::Relayed(envelope));
        Ok(())
    }

    /// Whether the table of objects names a key.
    pub(super) fn is_ruled(&self, key: &str) -> bool {
        let rules = &self.options.rules;
        rules.of_object(key).is_some() || rules.resolver_of(key).is_some()
    }

    /// Lets a subscription hear what is relayed on a key.
    pub(super) fn follow_relay(&mut self, connection: ConnectionId, subscription: SubscriptionId, key: &str) {
        self.hub.follow_relay(connection, subscription, Arc::from(key));
        self.outbox.send(connection, &ServerMessage::Following { subscription });
    }
}
