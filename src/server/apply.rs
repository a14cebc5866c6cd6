//! The application's rules at work: values are gated, resolved, and shown to each viewer as it may see them.

use alloc::{borrow::Cow, string::ToString, sync::Arc, vec, vec::Vec};

use super::{
    ConnectionId, Object, Record, Server, Snapshot, WriteError,
    hub::Topic,
    object::check_value,
    rules::{Projection, Rule, View, strip},
    storage::{Storage, StorageError},
};
use crate::protocol::{EncodedValue, Sequence, ServerMessage, Timestamp, TopicId};

/// A change, as its topic's followers are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) topic: TopicId,
    pub(super) sequence: Sequence,
    pub(super) version: Option<&'a str>,
    /// The record; `None` for an object.
    pub(super) key: Option<&'a str>,
    /// The object's key or the record's.
    pub(super) name: &'a str,
    pub(super) value: Option<EncodedValue<'a>>,
}

impl<'a> Change<'a> {
    fn envelope(self, value: Option<EncodedValue<'a>>) -> ServerMessage<'a> {
        let Self { topic, sequence, version, key, .. } = self;
        ServerMessage::Envelope { topic, sequence, prev: None, version, key, value }
    }
}

/// Checks a value by its rule.
pub(super) fn check_rule(rule: Option<&Arc<Rule>>, value: EncodedValue<'_>) -> Result<(), WriteError> {
    let checked = rule.map_or(Ok(()), |rule| rule.check(value));
    checked.map_err(|reason| WriteError::InvalidValue { reason: reason.into() })
}

impl<S: Storage> Server<S> {
    /// Has an object that was never written computed, if something computes it.
    pub(super) fn resolve(&mut self, now: Timestamp, key: &str) -> Result<(), WriteError> {
        let Some(resolver) = self.options.rules.resolver_of(key) else {
            return Ok(());
        };
        if let Some(done) = self.batch.resolved.get(key) {
            return done.clone();
        }
        let head = self.durable.object_sequence(key);
        if self.sound(head)?.is_some() {
            return Ok(());
        }
        let unresolved = |reason: &str| WriteError::Unresolved { reason: reason.into() };
        let outcome = match resolver(now, key) {
            Ok(Some(bytes)) => self.put_resolved(key, &bytes).map_err(|error| match error {
                WriteError::StorageFailed => error,
                error => unresolved(&error.to_string()),
            }),
            Ok(None) => Ok(()),
            Err(reason) => Err(unresolved(&reason)),
        };
        // A failed storage ends the batch for all.
        if outcome != Err(WriteError::StorageFailed) {
            self.batch.resolved.insert(key.into(), outcome.clone());
        }
        outcome
    }

    fn put_resolved(&mut self, key: &str, bytes: &[u8]) -> Result<(), WriteError> {
        let value = EncodedValue::check(bytes)
            .map_err(|error| WriteError::InvalidValue { reason: error.to_string().into() })?;
        check_value("value", value)?;
        let rule = self.options.rules.of_object(key);
        check_rule(rule.as_ref(), value)?;
        if self.replication.is_on() {
            // Whoever asks comes again after a moment, as for whatever cannot be computed now.
            self.propose_resolved(key, value);
            return Err(WriteError::Unresolved { reason: "the log has not ordered it yet".into() });
        }
        self.change_object(key, rule.as_ref(), Sequence::ZERO, Some(value)).map(drop)
    }

    /// An object as `viewer` may see it, computed if it was never written; `None`: there is no value and never was one.
    ///
    /// # Errors
    /// Why it cannot be computed.
    pub fn read_as(&mut self, now: Timestamp, viewer: &str, key: &str) -> Result<Option<Object>, WriteError> {
        let object = self.read(now, key)?;
        let projection = self.options.rules.of_object(key).and_then(|rule| rule.projected());
        let Some(projection) = projection else {
            return Ok(object);
        };
        Ok(object.map(|object| {
            let value = object.value.as_deref().map(|value| {
                let view = View { viewer, key, value: EncodedValue::trusted(value) };
                self.options.rules.project(&projection, &view).into()
            });
            Object { value, ..object }
        }))
    }

    /// All records of a datastore as `viewer` may see them.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn snapshot_as(
        &self,
        now: Timestamp,
        viewer: &str,
        id: &str,
    ) -> Result<Option<Snapshot>, StorageError> {
        let mut snapshot = self.snapshot(now, id)?;
        let projection = self.options.rules.of_datastore(id).and_then(|rule| rule.projected());
        if let (Some(snapshot), Some(projection)) = (&mut snapshot, projection) {
            for Record { key, value, .. } in &mut snapshot.records {
                let view = View { viewer, key, value: EncodedValue::trusted(value) };
                *value = self.options.rules.project(&projection, &view).into();
            }
        }
        Ok(snapshot)
    }

    /// Tells the followers of a topic of a change, each as much as it may see.
    pub(super) fn publish(&mut self, rule: Option<&Arc<Rule>>, change: Change<'_>) {
        let projection = rule.and_then(|rule| rule.projected());
        let (Some(projection), Some(value)) = (projection, change.value) else {
            self.outbox.publish(&self.hub, change.topic, &change.envelope(change.value));
            return;
        };
        let followers = self.hub.topic(change.topic).map(Topic::connections).unwrap_or_default();
        let mut groups: Vec<(Option<Vec<bool>>, Vec<ConnectionId>)> = Vec::new();
        for connection in followers {
            let Some(session) = self.hub.session(connection) else {
                continue;
            };
            let view = View { viewer: &session.grant.user, key: change.name, value };
            let visible = self.options.rules.visible(&projection, &view);
            match groups.iter_mut().find(|(seen, _)| *seen == visible) {
                Some((_, group)) => group.push(connection),
                None => groups.push((visible, vec![connection])),
            }
        }
        for (visible, group) in groups {
            let bytes = strip(value, visible.as_deref());
            let envelope = change.envelope(Some(EncodedValue::trusted(&bytes)));
            self.outbox.publish_to(&self.hub, change.topic, group, &envelope);
        }
    }

    /// What the client of a connection sees of a value.
    pub(super) fn seen_by<'v>(
        &mut self,
        connection: ConnectionId,
        projection: Option<&Arc<Projection>>,
        key: &str,
        value: &'v [u8],
    ) -> Cow<'v, [u8]> {
        let Some(projection) = projection else {
            return Cow::Borrowed(value);
        };
        let value = EncodedValue::trusted(value);
        match self.hub.session(connection) {
            Some(session) => {
                let view = View { viewer: &session.grant.user, key, value };
                Cow::Owned(self.options.rules.project(projection, &view))
            }
            None => Cow::Owned(strip(value, None)),
        }
    }
}
