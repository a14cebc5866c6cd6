//! Objects: one value per key, each key with its own sequence, all under one epoch. They are durable.

use alloc::sync::Arc;

use super::{
    ConnectionId, Server, WriteError,
    apply::Change,
    hub::{Name, Subject},
    rules::Rule,
    storage::{Storage, StorageError, Stored, Value},
};
use crate::protocol::{
    Answer, EncodedValue, Lineage, Position, Sequence, ServerMessage, SubscriptionId, Timestamp,
    limits::{MAX_KEY_BYTES, MAX_VALUE_BYTES},
};

/// An object as the authority has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Where its last change stands.
    pub position: Position,
    /// The schema version that the value was written under.
    pub version: Option<Arc<str>>,
    /// The encoded value; `None`: deleted.
    pub value: Option<Value>,
}

/// Checks the name of something that `field` says.
pub(super) fn check_key(field: &'static str, key: &str) -> Result<(), WriteError> {
    let length = key.len();
    if (1..=MAX_KEY_BYTES).contains(&length) { Ok(()) } else { Err(WriteError::BadKey { field, length }) }
}

/// Checks the size of the value that `field` says.
pub(super) fn check_value(field: &'static str, value: EncodedValue<'_>) -> Result<(), WriteError> {
    let length = value.as_bytes().len();
    if length <= MAX_VALUE_BYTES { Ok(()) } else { Err(WriteError::TooLarge { field, length }) }
}

impl<S: Storage> Server<S> {
    /// An object's last change; `None`: it was never written.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn object(&self, key: &str) -> Result<Option<Object>, StorageError> {
        let stored = self.durable.object(key)?;
        Ok(stored.map(|Stored { sequence, version, value }| Object {
            position: Position { epoch: self.history.epoch, sequence },
            version,
            value,
        }))
    }

    /// Where an object stood in the epochs before the present one.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn object_lineage(&self, key: &str) -> Result<Lineage, StorageError> {
        // The usual case costs no read: nothing was ever restored.
        if self.history.lineage.entries().is_empty() {
            return Ok(Lineage::default());
        }
        self.durable.object_lineage(key)
    }

    /// Sets an object's value.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn put(
        &mut self,
        now: Timestamp,
        key: &str,
        value: EncodedValue<'_>,
    ) -> Result<Position, WriteError> {
        self.observe(now);
        check_key("key", key)?;
        check_value("value", value)?;
        let rule = self.options.rules.of_object(key);
        self.pass_rule(rule.as_ref(), value)?;
        let head = self.durable.object_sequence(key);
        let head = self.sound(head)?;
        self.change_object(key, rule.as_ref(), head.unwrap_or_default(), Some(value))
    }

    /// An object, computed by its resolver if it was never written; `None`: there is no value and never was one.
    ///
    /// # Errors
    /// Why it cannot be computed.
    pub fn read(&mut self, now: Timestamp, key: &str) -> Result<Option<Object>, WriteError> {
        self.observe(now);
        check_key("key", key)?;
        self.resolve(now, key)?;
        let object = self.object(key);
        self.sound(object)
    }

    /// Deletes an object; `None` where there is nothing to delete.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn delete(&mut self, now: Timestamp, key: &str) -> Result<Option<Position>, WriteError> {
        self.observe(now);
        check_key("key", key)?;
        let stored = self.durable.object(key);
        match self.sound(stored)? {
            Some(Stored { sequence, value: Some(_), .. }) => {
                let rule = self.options.rules.of_object(key);
                self.change_object(key, rule.as_ref(), sequence, None).map(Some)
            }
            Some(Stored { value: None, .. }) | None => Ok(None),
        }
    }

    pub(super) fn change_object(
        &mut self,
        key: &str,
        rule: Option<&Arc<Rule>>,
        head: Sequence,
        value: Option<EncodedValue<'_>>,
    ) -> Result<Position, WriteError> {
        let sequence = head.next().ok_or(WriteError::Exhausted)?;
        let version = self.stamp(rule);
        let bytes = value.map(|value| value.as_bytes().into());
        let stored = Stored { sequence, version: version.clone(), value: bytes };
        self.on_storage(true, |storage| storage.set_object(key, stored))?;
        if let Some(topic) = self.hub.named(Name::Object(key)) {
            self.hub.advance(topic, sequence);
            let version = version.as_deref();
            self.publish(rule, Change { topic, sequence, version, key: None, name: key, value });
        }
        Ok(Position { epoch: self.history.epoch, sequence })
    }

    /// Answers what changed on an object since `position`. Its last change alone is its whole tail.
    pub(super) fn answer_object(
        &mut self,
        connection: ConnectionId,
        subscription: SubscriptionId,
        attempt: u32,
        key: &Arc<str>,
        position: Option<Position>,
    ) -> Result<usize, WriteError> {
        let stored = self.durable.object(key);
        let stored = self.sound(stored)?;
        let head = stored.as_ref().map_or(Sequence::ZERO, |stored| stored.sequence);
        let epoch = self.history.epoch;
        let since = position.filter(|position| position.epoch == epoch).map(|position| position.sequence);
        let lineage = self.object_lineage(key);
        let lineage = self.sound(lineage)?;
        let version = stored.as_ref().and_then(|stored| stored.version.as_deref());
        let projection = self.options.rules.of_object(key).and_then(|rule| rule.projected());
        let value = stored.as_ref().and_then(|stored| stored.value.as_deref());
        let value = value.map(|value| self.seen_by(connection, projection.as_ref(), key, value));
        let value = value.as_deref().map(EncodedValue::trusted);
        let answer = match (since, value) {
            (Some(since), _) if since == head => Answer::Current,
            (Some(since), _) if since < head => Answer::Tail { count: 1 },
            (_, Some(value)) => Answer::Snapshot { sequence: head, version, value, lineage },
            (_, None) => Answer::Absent { sequence: head },
        };
        let tail = since.filter(|_| matches!(answer, Answer::Tail { .. }));
        let topic = self.hub.follow(connection, subscription, &Subject::Object(key.clone()), epoch, head);
        let answer = ServerMessage::Answer { subscription, attempt, topic, epoch, answer };
        let mut size = self.outbox.answer(connection, &answer);
        if let Some(since) = tail {
            let prev = Some(since).filter(|since| since.next() != Some(head));
            let envelope = ServerMessage::Envelope { topic, sequence: head, prev, version, key: None, value };
            size += self.outbox.answer(connection, &envelope);
        }
        Ok(size)
    }
}
