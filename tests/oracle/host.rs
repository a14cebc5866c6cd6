//! What the host itself hears and reads: watchers, a callback, getters; each against the model.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use tidewire::{
    protocol::{EncodedValue, KvEventKind, Timestamp},
    server::{EVERY, KvEvent, Record, Server, WATCHER_CAPACITY, Watched, WatcherId, storage::Trace},
};

use super::model::{Change, Event, Model, Name, Subject};
use crate::server_rig::{dice::Dice, faulty::Faulty};

/// What is set in this group, the callback sets in the other.
pub(crate) const ASK: Name = "ask";
pub(crate) const ECHO: Name = "echo";

const PATTERNS: [(Name, Name); 4] = [(EVERY, EVERY), ("", EVERY), (ASK, ""), (EVERY, "k")];

/// A watcher of the host, and what waits for it.
#[derive(Debug)]
struct Watcher {
    id: WatcherId,
    group: Name,
    key: Name,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug, Clone, Copy)]
enum Waiting {
    Event(usize),
    Dropped(u64),
}

/// The host's ears in one process of the server.
#[derive(Debug)]
pub(crate) struct Host {
    watchers: Vec<Watcher>,
    called: Arc<Mutex<Vec<KvEvent>>>,
    /// The number of the first event that was not looked at.
    next: usize,
}

fn is_same(event: &Event, told: &KvEvent) -> bool {
    (event.kind, event.group, event.key, event.at) == (told.kind, &*told.group, &*told.key, told.at)
        && event.val.map(|val| val.plain()).as_deref() == told.value.as_deref()
}

impl Host {
    pub(crate) fn new(server: &mut Server<Faulty>, now: Timestamp, model: &Model) -> Self {
        let called = Arc::new(Mutex::new(Vec::new()));
        let calls = called.clone();
        server.kv(now).on_change(move |server, now, event| {
            calls.lock().unwrap().push(event.clone());
            if &*event.group == ASK
                && let Some(value) = &event.value
            {
                let _ = server.kv(now).set(ECHO, &event.key, EncodedValue::check(value).unwrap());
            }
        });
        let watcher = |(group, key)| {
            let id = server.kv(now).watch(group, key).unwrap();
            Watcher { id, group, key, waiting: VecDeque::new() }
        };
        Self { watchers: PATTERNS.map(watcher).into(), called, next: model.events.len() }
    }

    /// Listens to what a commit has told, and has the model do what the callback did about it.
    pub(crate) fn hear(&mut self, now: Timestamp, model: &mut Model) {
        let called = std::mem::take(&mut *self.called.lock().unwrap());
        let fresh = &model.events[self.next..];
        assert_eq!(called.len(), fresh.len(), "the callback hears every event once");
        assert!(
            fresh.iter().zip(&called).all(|(event, told)| is_same(event, told)),
            "{fresh:?} is not {called:?}"
        );
        for (index, event) in model.events.iter().enumerate().skip(self.next) {
            for watcher in &mut self.watchers {
                if event.is_for(watcher.group, watcher.key) {
                    watcher.push(index);
                }
            }
        }
        let asked = fresh.iter().filter(|event| event.group == ASK && event.kind == KvEventKind::Set);
        let asked: Vec<_> = asked.copied().collect();
        self.next = model.events.len();
        for Event { key, val, .. } in asked {
            model.change_kv(now, Change::Set { group: ECHO, key, val: val.unwrap(), ttl: None });
        }
    }

    /// Polls some of what waits, or all.
    pub(crate) fn poll(&mut self, server: &mut Server<Faulty>, model: &Model, mut dice: Option<&mut Dice>) {
        for watcher in &mut self.watchers {
            let most = dice.as_mut().map_or(usize::MAX, |dice| dice.index(6));
            for _ in 0..most {
                let told = server.poll_watcher(watcher.id);
                let is_right = match (&told, watcher.waiting.pop_front()) {
                    (Some(Watched::Event(told)), Some(Waiting::Event(index))) => {
                        is_same(&model.events[index], told)
                    }
                    (Some(Watched::Dropped(told)), Some(Waiting::Dropped(count))) => *told == count,
                    (None, None) => break,
                    _ => false,
                };
                assert!(is_right, "a watcher of {:?} {:?} is told {told:?}", watcher.group, watcher.key);
            }
        }
    }
}

impl Watcher {
    fn push(&mut self, index: usize) {
        let events = self.waiting.iter().filter(|waiting| matches!(waiting, Waiting::Event(_))).count();
        if events < WATCHER_CAPACITY {
            self.waiting.push_back(Waiting::Event(index));
        } else if let Some(Waiting::Dropped(count)) = self.waiting.back_mut() {
            *count += 1;
        } else {
            self.waiting.push_back(Waiting::Dropped(1));
        }
    }
}

/// Reads everything there is.
pub(crate) fn compare(
    server: &mut Server<Faulty>,
    now: Timestamp,
    model: &mut Model,
    traces: &HashMap<u64, Trace>,
    groups: &[Name],
) {
    let subjects: Vec<_> = model.state.tables.keys().copied().collect();
    for subject in subjects {
        let found = match subject {
            Subject::Object(key) => server.object(key).unwrap().map(|object| {
                let (sequence, version) = (object.position.sequence, object.version);
                let record = |value| Record { key: "".into(), sequence, version, value };
                (object.position, object.value.map(record).into_iter().collect())
            }),
            Subject::Datastore(id) => {
                server.snapshot(now, id).unwrap().map(|all| (all.position, all.records))
            }
            Subject::Pool(id) => server.pool_fields(now, id).unwrap().map(|all| (all.position, all.records)),
        };
        let Some((position, records)) = found else {
            assert!(model.table(now, subject).is_none(), "{subject:?} is gone");
            continue;
        };
        let generation = model.generation_of(subject, position.epoch);
        let table = model.table(now, subject).expect("a history that is there");
        assert_eq!((generation, position.sequence.get()), (table.generation, table.head), "{subject:?}");
        assert_eq!(records.len(), table.rows.len(), "{subject:?}");
        assert!(records.is_sorted_by_key(|record| record.sequence), "{subject:?}");
        for Record { key, sequence, value, .. } in records {
            let (at, val) = table.rows.get(&*key).expect("a row that is there");
            let (name, _) = table.rows.get_key_value(&*key).unwrap();
            assert!(*at == sequence.get() && val.row(subject, name, None) == *value, "{subject:?} {key:?}");
        }
    }
    for group in groups {
        let found = server.kv(now).get_all(group).unwrap();
        let found: BTreeMap<&str, &[u8]> = found.iter().map(|(key, value)| (&**key, &**value)).collect();
        let expected = model.group(now, group);
        let expected: BTreeMap<&str, Vec<u8>> =
            expected.into_iter().map(|(key, val)| (key, val.plain())).collect();
        let is_equal = found.len() == expected.len()
            && expected.iter().all(|(key, value)| found.get(key) == Some(&value.as_slice()));
        assert!(is_equal, "group {group:?}");
    }
    for (n, trace) in traces {
        let found = server.notification(now, *trace).unwrap();
        let known = model.state.notes.get(n).filter(|note| now <= note.expires);
        assert_eq!(found.is_some(), known.is_some(), "notification {n}");
        if let (Some(found), Some(known)) = (found, known) {
            assert_eq!((&*found.to, &*found.from), (known.to, known.from));
            assert_eq!(found.delivered.is_some(), known.delivered.is_some(), "the mark of notification {n}");
            let replied = known.reply.map(|val| val.plain());
            assert!(
                found.reply.as_ref().map(|(_, reply)| &**reply) == replied.as_deref(),
                "the reply to {n}"
            );
        }
    }
}
