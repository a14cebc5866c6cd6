//! The kv store against a model that is a map and nothing else: what is read, counted and told is equal after every
//! batch, through restarts, undone batches and clocks that jump.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use server_rig::{
    Rig,
    dice::Dice,
    faulty::{Fault, Faulty},
    kv::{all, heard, kv, names, text, value},
};
use tidewire::{
    protocol::{KvChange, Timestamp},
    server::{EVERY, Namespace, Quota, WatcherId, WriteError},
};

const GROUPS: [&str; 6] = ["", "t:a", "t:b", "t:%", "t", "世:界"];
const KEYS: [&str; 5] = ["", "k", "\0", "%_", "مرحبا"];
const QUOTA: Quota = Quota { max_keys: 7, max_groups: 2 };

#[derive(Debug, Clone, Default)]
struct Model {
    entries: BTreeMap<(String, String), (String, Option<Timestamp>)>,
    told: Vec<String>,
}

impl Model {
    fn live(&self, now: Timestamp) -> impl Iterator<Item = (&String, &String, &String)> {
        let is_live = move |expires: &Option<Timestamp>| expires.is_none_or(|expires| expires > now);
        self.entries
            .iter()
            .filter(move |(_, (_, expires))| is_live(expires))
            .map(|((group, key), (value, _))| (group, key, value))
    }

    fn has(&self, now: Timestamp, group: &str, key: &str) -> bool {
        self.live(now).any(|(in_group, name, _)| in_group == group && name == key)
    }

    fn apply(&mut self, now: Timestamp, change: KvChange<'_>, to: &str) {
        match change {
            KvChange::Set { group, key, ttl, .. } => {
                let expires = ttl.map(|ttl| now + Duration::from_millis(ttl));
                self.entries.insert((group.to_owned(), key.to_owned()), (to.to_owned(), expires));
                self.told.push(format!("set {group}/{key}={to}"));
            }
            KvChange::Delete { group, key } => {
                if self.has(now, group, key) {
                    self.told.push(format!("delete {group}/{key}"));
                }
                self.entries.remove(&(group.to_owned(), key.to_owned()));
            }
            KvChange::DeleteGroup { group } => {
                if self.live(now).any(|(name, _, _)| name == group) {
                    self.told.push(format!("delete_group {group}/"));
                }
                self.entries.retain(|(name, _), _| name != group);
            }
        }
    }

    /// Whether a new key fits into the namespace `t`.
    fn fits(&self, now: Timestamp, group: &str, key: &str) -> Result<(), WriteError> {
        let mine = || self.live(now).filter(|(name, _, _)| name.starts_with("t:"));
        let groups: BTreeSet<_> = mine().map(|(name, _, _)| name.as_str()).collect();
        if self.has(now, group, key) {
            return Ok(());
        }
        if mine().count() as u64 >= QUOTA.max_keys {
            return Err(WriteError::QuotaExceeded { what: "keys", limit: QUOTA.max_keys });
        }
        if groups.len() as u64 >= QUOTA.max_groups && !groups.contains(group) {
            return Err(WriteError::QuotaExceeded { what: "groups", limit: QUOTA.max_groups });
        }
        Ok(())
    }
}

struct Run {
    rig: Rig<Faulty>,
    fault: Rc<Cell<Fault>>,
    watcher: WatcherId,
    model: Model,
    dice: Dice,
}

impl Run {
    fn new(seed: u64) -> Self {
        let (storage, fault) = Faulty::new();
        let mut rig = Rig::over(storage);
        let watcher = kv(&mut rig).watch(EVERY, EVERY).unwrap();
        Self { rig, fault, watcher, model: Model::default(), dice: Dice(seed) }
    }

    fn batch(&mut self) {
        let before = self.model.clone();
        let now = self.rig.now;
        for _ in 0..self.dice.roll(5) {
            let (group, key) = (self.dice.pick(&GROUPS), self.dice.pick(&KEYS));
            let to = self.dice.roll(1_000).to_string();
            let bytes = text(&to);
            let ttl = (self.dice.roll(3) == 0).then(|| self.dice.roll(100_000));
            let set = KvChange::Set { group, key, value: value(&bytes), ttl };
            let change = match self.dice.roll(10) {
                0 => KvChange::DeleteGroup { group },
                1..=3 => KvChange::Delete { group, key },
                _ => set,
            };
            if let (KvChange::Set { .. }, Some(short)) = (change, group.strip_prefix("t:")) {
                let tenant = Namespace::new("t").unwrap().with_quota(QUOTA);
                let scoped = KvChange::Set { group: short, key, value: value(&bytes), ttl };
                let done = kv(&mut self.rig).scoped(&tenant).apply(&[scoped]);
                assert_eq!(done, self.model.fits(now, group, key), "{group} {key}");
                if done.is_err() {
                    continue;
                }
            } else {
                kv(&mut self.rig).apply(&[change]).unwrap();
            }
            self.model.apply(now, change, &to);
        }
        let fails = self.dice.roll(8) == 0;
        self.fault.set(if fails { Fault::Commit } else { Fault::None });
        // A batch that wrote nothing has nothing that could fail.
        if self.rig.commit().is_err() {
            self.model = before;
        }
        self.fault.set(Fault::None);
    }

    fn disturb(&mut self) {
        let now = self.rig.now.as_millis();
        match self.dice.roll(30) {
            0 => self.rig.now = Timestamp::from_millis(now - 3_600_000),
            1 => self.rig.now = Timestamp::from_millis(now + 3_600_000),
            2..=4 => {
                // What the janitor takes away is not there for a clock that goes back either.
                kv(&mut self.rig).purge_expired().unwrap();
                self.rig.commit().unwrap();
                let now = self.rig.now;
                self.model.entries.retain(|_, (_, expires)| expires.is_none_or(|expires| expires > now));
            }
            5 => {
                let placeholder = Self::new(0).rig;
                self.rig = std::mem::replace(&mut self.rig, placeholder).restart();
                self.watcher = kv(&mut self.rig).watch(EVERY, EVERY).unwrap();
            }
            _ => self.rig.now = Timestamp::from_millis(now + self.dice.roll(5_000)),
        }
    }

    fn compare(&mut self) {
        let now = self.rig.now;
        let told = heard(&mut self.rig, self.watcher);
        assert_eq!(told, std::mem::take(&mut self.model.told));
        let mut groups: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
        for (group, key, value) in self.model.live(now) {
            groups.entry(group).or_default().insert(key.clone(), value.clone());
        }
        for group in GROUPS {
            let expected = groups.get(group).cloned().unwrap_or_default();
            assert_eq!(kv(&mut self.rig).count(group).unwrap(), expected.len() as u64, "{group:?}");
            assert_eq!(all(&mut self.rig, group), expected, "{group:?}");
        }
        for prefix in ["", "t", "t:", "t:%", "世", "x"] {
            let matching = || groups.iter().filter(|(name, _)| name.starts_with(prefix));
            let count: usize = matching().map(|(_, entries)| entries.len()).sum();
            assert_eq!(kv(&mut self.rig).count_all(prefix).unwrap(), count as u64, "{prefix:?}");
            let found = kv(&mut self.rig).groups(prefix).unwrap();
            assert_eq!(names(&found), matching().map(|(name, _)| *name).collect::<Vec<_>>(), "{prefix:?}");
        }
    }
}

#[test]
fn what_is_read_counted_and_told_is_what_a_plain_map_says() {
    for seed in 0..20 {
        let mut run = Run::new(seed);
        for _ in 0..200 {
            run.batch();
            run.compare();
            run.disturb();
            run.compare();
        }
    }
}
