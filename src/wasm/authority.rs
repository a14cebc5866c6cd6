//! What the authority itself does with a server in the page, and what it sees there.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::server::{ServerCore, refused, sequence, time, undecodable, unread};
use crate::{
    protocol::{EncodedValue, KvChange, Open, OpenPool, Timestamp, Writer},
    server::{
        GetError, Object, WriteError,
        storage::{Notification, Trace, Value},
    },
};

/// A lifetime in milliseconds; none where it is negative.
fn life(ttl: f64) -> Option<Duration> {
    (ttl >= 0.0).then(|| Duration::from_millis(time(ttl).as_millis()))
}

fn trace(text: &str) -> Result<Trace, JsValue> {
    text.parse().map_err(|_| refused(WriteError::NoNotification))
}

fn write_object(object: Object) -> Option<Vec<u8>> {
    let Object { position, version, value } = object;
    let value = value?;
    let mut envelope = Writer::new();
    envelope.map(3 + usize::from(version.is_some()));
    envelope.str("value");
    envelope.value(EncodedValue::trusted(&value));
    if let Some(version) = version {
        envelope.str("schema_version");
        envelope.str(&version);
    }
    envelope.str("sequence");
    envelope.u64(position.sequence.get());
    envelope.str("epoch");
    envelope.str(&position.epoch.to_string());
    Some(envelope.into_bytes())
}

/// Names and values, one after the other: a map of JavaScript would put names that look like numbers first.
fn write_entries<'v>(entries: impl ExactSizeIterator<Item = (&'v str, &'v Value)>) -> Vec<u8> {
    let mut list = Writer::new();
    list.array(2 * entries.len());
    for (name, value) in entries {
        list.str(name);
        list.value(EncodedValue::trusted(value));
    }
    list.into_bytes()
}

fn write_time(writer: &mut Writer, name: &str, at: Option<Timestamp>) {
    writer.str(name);
    writer.optional(at, |writer, at| writer.u64(at.as_millis()));
}

fn write_notification(writer: &mut Writer, notification: &Notification) {
    writer.map(9);
    writer.str("trace");
    writer.str(&notification.trace.to_string());
    writer.str("from");
    writer.str(&notification.from);
    writer.str("to");
    writer.str(&notification.to);
    writer.str("pack");
    writer.value(EncodedValue::trusted(&notification.pack));
    writer.str("suit");
    writer.bool(notification.suit);
    write_time(writer, "created", Some(notification.created));
    write_time(writer, "expires", Some(notification.expires));
    write_time(writer, "delivered", notification.delivered);
    writer.str("reply");
    writer.optional(notification.reply.as_ref(), |writer, (_, reply)| {
        writer.value(EncodedValue::trusted(reply));
    });
}

#[wasm_bindgen]
impl ServerCore {
    // ---- changes; each returns the sequence, or -1 where there was nothing to change

    /// Opens a datastore; an empty id stands for a fresh one. Returns its id.
    #[wasm_bindgen(js_name = openDatastore)]
    pub fn open_datastore(
        &mut self,
        now: f64,
        id: &str,
        permanent: bool,
        primary: &str,
    ) -> Result<String, JsValue> {
        let now = time(now);
        let opened = self.server.open_datastore(now, id, Open { permanent, primary }, None);
        self.commit(now)?;
        opened.map(|datastore| datastore.id.to_string()).map_err(refused)
    }

    /// Sets a record of a datastore.
    pub fn set(&mut self, now: f64, datastore: &str, bytes: &[u8]) -> Result<f64, JsValue> {
        let now = time(now);
        let value = EncodedValue::check(bytes).map_err(undecodable)?;
        let position = self.server.set(now, datastore, value);
        self.commit(now)?;
        position.map(|position| sequence(Some(position))).map_err(refused)
    }

    /// Deletes a record of a datastore.
    pub fn remove(&mut self, now: f64, datastore: &str, key: &str) -> Result<f64, JsValue> {
        let now = time(now);
        let position = self.server.remove(now, datastore, key);
        self.commit(now)?;
        position.map(sequence).map_err(refused)
    }

    /// Sets an object.
    pub fn put(&mut self, now: f64, key: &str, bytes: &[u8]) -> Result<f64, JsValue> {
        let now = time(now);
        let value = EncodedValue::check(bytes).map_err(undecodable)?;
        let position = self.server.put(now, key, value);
        self.commit(now)?;
        position.map(|position| sequence(Some(position))).map_err(refused)
    }

    /// Deletes an object.
    pub fn delete(&mut self, now: f64, key: &str) -> Result<f64, JsValue> {
        let now = time(now);
        let position = self.server.delete(now, key);
        self.commit(now)?;
        position.map(sequence).map_err(refused)
    }

    /// Opens a merge pool; an empty id stands for a fresh one. Returns its id.
    #[wasm_bindgen(js_name = openPool)]
    pub fn open_pool(&mut self, now: f64, id: &str, presence: bool) -> Result<String, JsValue> {
        let now = time(now);
        let opened = self.server.open_pool(now, id, OpenPool { presence }, None);
        self.commit(now)?;
        opened.map(|pool| pool.id.to_string()).map_err(refused)
    }

    /// Merges a map of fields into a pool.
    pub fn merge(&mut self, now: f64, pool: &str, bytes: &[u8]) -> Result<f64, JsValue> {
        let now = time(now);
        let fields = EncodedValue::check(bytes).map_err(undecodable)?;
        let position = self.server.merge(now, pool, fields);
        self.commit(now)?;
        position.map(sequence).map_err(refused)
    }

    /// Puts a notification into a mailbox, for `ttl` milliseconds or, if that is negative, for a day. Returns its trace.
    pub fn notify(
        &mut self,
        now: f64,
        to: &str,
        bytes: &[u8],
        suit: bool,
        ttl: f64,
    ) -> Result<String, JsValue> {
        let now = time(now);
        let pack = EncodedValue::check(bytes).map_err(undecodable)?;
        let put = self.server.notify(now, to, pack, suit, life(ttl));
        self.commit(now)?;
        put.map(|notification| notification.trace.to_string()).map_err(refused)
    }

    /// Replies to a suit notification in the name of its target.
    pub fn reply(&mut self, now: f64, text: &str, bytes: &[u8]) -> Result<(), JsValue> {
        let now = time(now);
        let reply = EncodedValue::check(bytes).map_err(undecodable)?;
        let replied = self.server.reply(now, trace(text)?, reply);
        self.commit(now)?;
        replied.map(drop).map_err(refused)
    }

    /// Sets a key of the kv store, for `ttl` milliseconds or, if that is negative, for ever.
    #[wasm_bindgen(js_name = kvSet)]
    pub fn kv_set(
        &mut self,
        now: f64,
        group: &str,
        key: &str,
        bytes: &[u8],
        ttl: f64,
    ) -> Result<(), JsValue> {
        let now = time(now);
        let value = EncodedValue::check(bytes).map_err(undecodable)?;
        let ttl = life(ttl).map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        let set = self.server.kv(now).apply(&[KvChange::Set { group, key, value, ttl }]);
        self.commit(now)?;
        set.map_err(refused)
    }

    /// Deletes a key of the kv store or, without one, a group; `false` where there was nothing to delete.
    #[wasm_bindgen(js_name = kvDelete)]
    pub fn kv_delete(&mut self, now: f64, group: &str, key: Option<String>) -> Result<bool, JsValue> {
        let now = time(now);
        let mut kv = self.server.kv(now);
        let deleted = match key {
            Some(key) => kv.delete(group, &key),
            None => kv.delete_group(group),
        };
        self.commit(now)?;
        deleted.map_err(refused)
    }

    // ---- reads; each returns an encoded value, or nothing where there is none

    /// An object, computed where it was never written, as an envelope.
    pub fn object(&mut self, now: f64, key: &str) -> Result<Option<Vec<u8>>, JsValue> {
        let now = time(now);
        let object = self.server.read(now, key);
        self.commit(now)?;
        Ok(object.map_err(refused)?.and_then(write_object))
    }

    /// The records of a datastore or, of a pool, its fields: each key before its value.
    pub fn records(&self, now: f64, is_pool: bool, id: &str) -> Result<Option<Vec<u8>>, JsValue> {
        let now = time(now);
        let snapshot = if is_pool { self.server.pool_fields(now, id) } else { self.server.snapshot(now, id) };
        let snapshot = snapshot.map_err(|error| unread(&error))?;
        Ok(snapshot.map(|all| write_entries(all.records.iter().map(|record| (&*record.key, &record.value)))))
    }

    /// What became of a notification.
    pub fn notification(&self, now: f64, text: &str) -> Result<Option<Vec<u8>>, JsValue> {
        let Ok(trace) = text.parse() else { return Ok(None) };
        let found = self.server.notification(time(now), trace).map_err(|error| unread(&error))?;
        Ok(found.map(|notification| {
            let mut writer = Writer::new();
            write_notification(&mut writer, &notification);
            writer.into_bytes()
        }))
    }

    /// Takes all notifications out of a mailbox.
    pub fn drain(&mut self, now: f64, to: &str) -> Result<Vec<u8>, JsValue> {
        let now = time(now);
        let drained = self.server.drain(now, to);
        self.commit(now)?;
        let drained = drained.map_err(refused)?;
        let mut writer = Writer::new();
        writer.array(drained.len());
        for notification in &drained {
            write_notification(&mut writer, notification);
        }
        Ok(writer.into_bytes())
    }

    /// A key of the kv store or, without one, all of a group: each key before its value.
    #[wasm_bindgen(js_name = kvGet)]
    pub fn kv_get(&mut self, now: f64, group: &str, key: Option<String>) -> Result<Option<Vec<u8>>, JsValue> {
        let kv = self.server.kv(time(now));
        if let Some(key) = key {
            return match kv.get(group, &key) {
                Ok(value) => Ok(Some(value.to_vec())),
                Err(GetError::NoGroup { .. } | GetError::NoKey { .. }) => Ok(None),
                Err(GetError::Storage(error)) => Err(unread(&error)),
            };
        }
        let entries = kv.entries(group).map_err(|error| unread(&error))?;
        Ok(Some(write_entries(entries.iter().map(|(key, value)| (&**key, value)))))
    }
}
