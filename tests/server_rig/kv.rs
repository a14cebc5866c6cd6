//! The kv store over the rig, with texts as values.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tidewire::{
    protocol::{EncodedValue, Reader, Writer},
    server::{
        Kv, KvEvent, Watched, WatcherId,
        storage::{Storage, Value},
    },
};

use super::Rig;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// A text as a value.
pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.str(text);
    writer.into_bytes()
}

pub(crate) fn value(bytes: &[u8]) -> EncodedValue<'_> {
    EncodedValue::check(bytes).unwrap()
}

pub(crate) fn read(value: &Value) -> String {
    Reader::new(value).str().unwrap().to_owned()
}

pub(crate) fn kv<S: Storage>(rig: &mut Rig<S>) -> Kv<'_, S> {
    rig.server.kv(rig.now)
}

/// Sets a text, and commits.
#[track_caller]
pub(crate) fn set<S: Storage>(rig: &mut Rig<S>, group: &str, key: &str, to: &str) {
    kv(rig).set(group, key, value(&text(to))).unwrap();
    rig.commit().unwrap();
}

pub(crate) fn set_for<S: Storage>(rig: &mut Rig<S>, group: &str, key: &str, to: &str, ttl: Duration) {
    kv(rig).set_with_ttl(group, key, value(&text(to)), ttl).unwrap();
    rig.commit().unwrap();
}

pub(crate) fn get<S: Storage>(rig: &mut Rig<S>, group: &str, key: &str) -> Option<String> {
    kv(rig).get(group, key).ok().map(|value| read(&value))
}

pub(crate) fn all<S: Storage>(rig: &mut Rig<S>, group: &str) -> BTreeMap<String, String> {
    let entries = kv(rig).get_all(group).unwrap();
    entries.iter().map(|(key, value)| (key.to_string(), read(value))).collect()
}

pub(crate) fn names(groups: &[Arc<str>]) -> Vec<&str> {
    groups.iter().map(|name| &**name).collect()
}

/// Everything that waits for a watcher, in words.
pub(crate) fn heard<S: Storage>(rig: &mut Rig<S>, watcher: WatcherId) -> Vec<String> {
    std::iter::from_fn(|| rig.server.poll_watcher(watcher))
        .map(|watched| match watched {
            Watched::Event(event) => told(&event),
            Watched::Dropped(count) => format!("dropped {count}"),
        })
        .collect()
}

pub(crate) fn told(event: &KvEvent) -> String {
    let value = event.value.as_ref().map(|value| format!("={}", read(value))).unwrap_or_default();
    format!("{} {}/{}{value}", event.kind.name(), event.group, event.key)
}
