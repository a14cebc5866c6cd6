//! The kv store's matrix, phase 3: events, watchers and callbacks, in the process and over the wire.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use server_rig::{
    Rig,
    faulty::{Fault, Faulty},
    kv::{HOUR, get, heard, kv, set, set_for, text, told, value},
};
use tidewire::{
    protocol::{KvChange, KvEventKind},
    server::{
        CallbackId, CommitError, EVERY, Namespace, Server, WATCHER_CAPACITY, Watched, storage::Storage,
    },
};

/// What callbacks heard, in words.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn say(&self, words: String) {
        self.0.lock().unwrap().push(words);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Registers a callback that writes into the log.
    fn register<S: Storage>(&self, rig: &mut Rig<S>) -> CallbackId {
        let log = self.clone();
        kv(rig).on_change(move |_, _, event| log.say(told(event)))
    }
}

mod phase_3 {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn event_types_have_the_names_set_delete_and_delete_group() {
        let kinds = [KvEventKind::Set, KvEventKind::Delete, KvEventKind::DeleteGroup];
        assert_eq!(kinds.map(KvEventKind::name), ["set", "delete", "delete_group"]);
    }

    #[test]
    fn watch_specific_key() {
        let mut rig = Rig::new();
        let watcher = kv(&mut rig).watch("config", "theme").unwrap();
        set(&mut rig, "config", "theme", "dark");
        set(&mut rig, "config", "colour", "red");
        set(&mut rig, "other", "theme", "light");
        match rig.server.poll_watcher(watcher) {
            Some(Watched::Event(event)) => {
                assert_eq!(told(&event), "set config/theme=dark");
                assert_eq!(event.at, rig.now);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(rig.server.poll_watcher(watcher), None);
    }

    #[test]
    fn watch_wildcard() {
        let mut rig = Rig::new();
        let watcher = kv(&mut rig).watch("config", EVERY).unwrap();
        set(&mut rig, "config", "a", "1");
        set(&mut rig, "config", "", "2");
        set(&mut rig, "config", "*", "3");
        set(&mut rig, "other", "a", "4");
        assert_eq!(heard(&mut rig, watcher), ["set config/a=1", "set config/=2", "set config/*=3"]);
    }

    #[test]
    fn watch_all() {
        let mut rig = Rig::new();
        let everything = kv(&mut rig).watch(EVERY, EVERY).unwrap();
        let one_key_of_any_group = kv(&mut rig).watch(EVERY, "k").unwrap();
        set(&mut rig, "a", "k", "1");
        set(&mut rig, "*", "k", "2");
        set(&mut rig, "b", "j", "3");
        kv(&mut rig).delete("a", "k").unwrap();
        kv(&mut rig).delete_group("b").unwrap();
        rig.commit().unwrap();
        assert_eq!(
            heard(&mut rig, everything),
            ["set a/k=1", "set */k=2", "set b/j=3", "delete a/k", "delete_group b/"]
        );
        assert_eq!(heard(&mut rig, one_key_of_any_group), ["set a/k=1", "set */k=2", "delete a/k"]);
    }

    #[test]
    fn unwatch_stops_delivery() {
        let mut rig = Rig::new();
        let watcher = kv(&mut rig).watch("g", EVERY).unwrap();
        set(&mut rig, "g", "k", "1");
        assert!(rig.server.is_watching(watcher));
        assert!(kv(&mut rig).unwatch(watcher));
        assert!(!rig.server.is_watching(watcher));
        set(&mut rig, "g", "k", "2");
        assert_eq!(rig.server.poll_watcher(watcher), None);
        assert!(!kv(&mut rig).unwatch(watcher), "and again does nothing");
        let next = kv(&mut rig).watch("g", EVERY).unwrap();
        assert!(!kv(&mut rig).unwatch(watcher), "nor does it end another watcher");
        assert!(rig.server.is_watching(next));
    }

    #[test]
    fn delete_triggers_event() {
        let mut rig = Rig::new();
        set(&mut rig, "g", "k", "1");
        let watcher = kv(&mut rig).watch("g", "k").unwrap();
        kv(&mut rig).delete("g", "k").unwrap();
        rig.commit().unwrap();
        assert_eq!(heard(&mut rig, watcher), ["delete g/k"]);
    }

    #[test]
    fn a_delete_of_what_is_not_there_triggers_nothing() {
        let mut rig = Rig::new();
        set_for(&mut rig, "g", "expired", "1", Duration::from_secs(1));
        rig.now = rig.now + HOUR;
        let watcher = kv(&mut rig).watch(EVERY, EVERY).unwrap();
        assert!(!kv(&mut rig).delete("g", "expired").unwrap());
        assert!(!kv(&mut rig).delete("g", "k").unwrap());
        assert!(!kv(&mut rig).delete_group("g").unwrap());
        rig.commit().unwrap();
        assert!(heard(&mut rig, watcher).is_empty());
    }

    #[test]
    fn delete_group_triggers_event() {
        let mut rig = Rig::new();
        set(&mut rig, "g", "", "the empty key");
        set(&mut rig, "g", "k", "1");
        let everything = kv(&mut rig).watch("g", EVERY).unwrap();
        let empty_key = kv(&mut rig).watch("g", "").unwrap();
        let key = kv(&mut rig).watch("g", "k").unwrap();
        kv(&mut rig).delete_group("g").unwrap();
        rig.commit().unwrap();
        match rig.server.poll_watcher(everything) {
            Some(Watched::Event(event)) => {
                assert_eq!((event.kind, &*event.group, &*event.key), (KvEventKind::DeleteGroup, "g", ""));
                assert_eq!(event.value, None);
            }
            other => panic!("{other:?}"),
        }
        // A watcher of one key, be it the empty one, hears of keys only.
        assert!(heard(&mut rig, empty_key).is_empty());
        assert!(heard(&mut rig, key).is_empty());
    }

    #[test]
    fn set_with_ttl_triggers_a_set_event_and_its_expiry_none() {
        let mut rig = Rig::new();
        let watcher = kv(&mut rig).watch("g", EVERY).unwrap();
        set_for(&mut rig, "g", "k", "1", Duration::from_secs(1));
        rig.advance(HOUR);
        assert_eq!(heard(&mut rig, watcher), ["set g/k=1"]);
    }

    #[test]
    fn on_change_callback_fires() {
        let mut rig = Rig::new();
        let log = Log::default();
        log.register(&mut rig);
        kv(&mut rig).set("g", "k", value(&text("1"))).unwrap();
        assert!(log.take().is_empty(), "not before the commit");
        rig.commit().unwrap();
        assert_eq!(log.take(), ["set g/k=1"]);
        kv(&mut rig).delete("g", "k").unwrap();
        rig.commit().unwrap();
        assert_eq!(log.take(), ["delete g/k"]);
    }

    #[test]
    fn on_change_unregister() {
        let mut rig = Rig::new();
        let log = Log::default();
        let callback = log.register(&mut rig);
        set(&mut rig, "g", "k", "1");
        assert!(kv(&mut rig).unregister(callback));
        assert!(!kv(&mut rig).unregister(callback), "and again does nothing");
        set(&mut rig, "g", "k", "2");
        assert_eq!(log.take(), ["set g/k=1"]);
    }

    #[test]
    fn buffer_full_does_not_block() {
        let mut rig = Rig::new();
        let watcher = kv(&mut rig).watch("g", EVERY).unwrap();
        for n in 0..WATCHER_CAPACITY + 3 {
            set(&mut rig, "g", "k", &n.to_string());
        }
        assert_eq!(get(&mut rig, "g", "k").unwrap(), "18");
        let waiting = heard(&mut rig, watcher);
        assert_eq!(waiting.len(), 17);
        assert_eq!(waiting[15], "set g/k=15");
        assert_eq!(waiting[16], "dropped 3");
        // It goes on afterwards.
        set(&mut rig, "g", "k", "again");
        assert_eq!(heard(&mut rig, watcher), ["set g/k=again"]);
    }

    #[test]
    fn a_loss_is_told_where_it_happened() {
        let mut rig = Rig::new();
        let watcher = kv(&mut rig).watch("g", EVERY).unwrap();
        for n in 0..18 {
            set(&mut rig, "g", "k", &n.to_string());
        }
        assert!(matches!(rig.server.poll_watcher(watcher), Some(Watched::Event(_))));
        set(&mut rig, "g", "k", "18");
        set(&mut rig, "g", "k", "19");
        let waiting = heard(&mut rig, watcher);
        assert_eq!(waiting[14..], ["set g/k=15", "dropped 2", "set g/k=18", "dropped 1"]);
    }

    #[test]
    fn multiple_watchers_on_the_same_key() {
        let mut rig = Rig::new();
        let watchers: Vec<_> = (0..3).map(|_| kv(&mut rig).watch("g", "k").unwrap()).collect();
        set(&mut rig, "g", "k", "1");
        kv(&mut rig).unwatch(watchers[1]);
        set(&mut rig, "g", "k", "2");
        let heard: Vec<_> = watchers.iter().map(|watcher| heard(&mut rig, *watcher)).collect();
        assert_eq!(heard[0], ["set g/k=1", "set g/k=2"]);
        assert!(heard[1].is_empty());
        assert_eq!(heard[2], heard[0]);
    }

    /// On one thread, concurrency is the interleaving of callers: watchers come and go in the midst of a batch.
    #[test]
    fn concurrent_watch_and_unwatch() {
        let mut rig = Rig::new();
        let mut watchers = Vec::new();
        for n in 0..100 {
            let before = kv(&mut rig).watch("g", EVERY).unwrap();
            kv(&mut rig).set("g", "k", value(&text(&n.to_string()))).unwrap();
            let after = kv(&mut rig).watch("g", EVERY).unwrap();
            watchers.push((n, before, after));
            if n % 10 == 9 {
                rig.commit().unwrap();
                for (n, before, after) in watchers.drain(..) {
                    // Each hears what was written while it watched, in order.
                    let last: Vec<_> = (n..n - n % 10 + 10).map(|n| format!("set g/k={n}")).collect();
                    assert_eq!(heard(&mut rig, before), last);
                    assert_eq!(heard(&mut rig, after), last[1..]);
                    assert!(kv(&mut rig).unwatch(before) && kv(&mut rig).unwatch(after));
                }
            }
        }
    }

    #[test]
    fn scoped_store_events() {
        let mut rig = Rig::new();
        let tenant = Namespace::new("tenant").unwrap();
        let full = kv(&mut rig).watch("tenant:config", EVERY).unwrap();
        let short = kv(&mut rig).watch("config", EVERY).unwrap();
        kv(&mut rig).scoped(&tenant).set("config", "k", value(&text("1"))).unwrap();
        kv(&mut rig).scoped(&tenant).delete("config", "k").unwrap();
        kv(&mut rig).scoped(&tenant).set("config", "j", value(&text("2"))).unwrap();
        kv(&mut rig).scoped(&tenant).delete_group("config").unwrap();
        rig.commit().unwrap();
        assert_eq!(
            heard(&mut rig, full),
            [
                "set tenant:config/k=1",
                "delete tenant:config/k",
                "set tenant:config/j=2",
                "delete_group tenant:config/"
            ]
        );
        assert!(heard(&mut rig, short).is_empty());
    }

    #[test]
    fn event_order_equals_write_order_for_watchers_and_callbacks() {
        let mut rig = Rig::new();
        let log = Log::default();
        log.register(&mut rig);
        let watcher = kv(&mut rig).watch(EVERY, EVERY).unwrap();
        let one = text("1");
        let insert = |group, key| KvChange::Set { group, key, value: value(&one), ttl: None };
        kv(&mut rig)
            .apply(&[
                insert("b", "k"),
                insert("a", "k"),
                KvChange::DeleteGroup { group: "b" },
                insert("b", "k"),
            ])
            .unwrap();
        rig.commit().unwrap();
        let order = ["set b/k=1", "set a/k=1", "delete_group b/", "set b/k=1"];
        assert_eq!(heard(&mut rig, watcher), order);
        assert_eq!(log.take(), order);
    }
}

mod commit_rule {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn nothing_of_an_undone_batch_is_seen() {
        let (storage, fault) = Faulty::new();
        let mut rig = Rig::over(storage);
        let log = Log::default();
        log.register(&mut rig);
        let watcher = kv(&mut rig).watch(EVERY, EVERY).unwrap();
        set(&mut rig, "g", "k", "kept");
        fault.set(Fault::Commit);
        kv(&mut rig).set("g", "k", value(&text("undone"))).unwrap();
        kv(&mut rig).set("h", "k", value(&text("undone"))).unwrap();
        let late = kv(&mut rig).watch(EVERY, EVERY).unwrap();
        assert!(matches!(rig.commit(), Err(CommitError::Undone(_))));
        fault.set(Fault::None);
        assert_eq!(get(&mut rig, "g", "k").unwrap(), "kept");
        assert_eq!(get(&mut rig, "h", "k"), None);
        set(&mut rig, "g", "k", "next");
        assert_eq!(heard(&mut rig, watcher), ["set g/k=kept", "set g/k=next"]);
        assert_eq!(heard(&mut rig, late), ["set g/k=next"]);
        assert_eq!(log.take(), ["set g/k=kept", "set g/k=next"]);
    }
}

mod re_entrancy {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Commits until no callback has anything left to commit.
    fn settle(rig: &mut Rig) {
        while rig.server.poll_timeout().is_some_and(|due| due <= rig.now) {
            rig.server.handle_timeout(rig.now);
            rig.commit().unwrap();
        }
    }

    #[test]
    fn what_a_callback_writes_is_the_next_batch_and_the_server_asks_for_its_commit() {
        let mut rig = Rig::new();
        let log = Log::default();
        log.register(&mut rig);
        kv(&mut rig).on_change(|server, now, event| {
            if &*event.group == "g" {
                let copy = event.value.clone().unwrap();
                server.kv(now).set("copy", &event.key, value(&copy)).unwrap();
            }
        });
        log.register(&mut rig);
        kv(&mut rig).set("g", "a", value(&text("1"))).unwrap();
        kv(&mut rig).set("g", "b", value(&text("2"))).unwrap();
        rig.commit().unwrap();
        let first = ["set g/a=1", "set g/a=1", "set g/b=2", "set g/b=2"];
        assert_eq!(log.take(), first, "told after what came before, not in the middle");
        assert_eq!(get(&mut rig, "copy", "a").unwrap(), "1");
        assert!(!rig.server.is_idle());
        settle(&mut rig);
        assert_eq!(log.take(), ["set copy/a=1", "set copy/a=1", "set copy/b=2", "set copy/b=2"]);
        assert!(rig.server.is_idle());
    }

    #[test]
    fn a_callback_may_commit_what_it_writes() {
        let mut rig = Rig::new();
        let log = Log::default();
        kv(&mut rig).on_change(|server: &mut Server<_>, now, event| {
            if &*event.key == "a" {
                server.kv(now).set("g", "c", value(&text("3"))).unwrap();
                server.commit(now).unwrap();
            }
        });
        log.register(&mut rig);
        kv(&mut rig).set("g", "a", value(&text("1"))).unwrap();
        kv(&mut rig).set("g", "b", value(&text("2"))).unwrap();
        rig.commit().unwrap();
        assert_eq!(log.take(), ["set g/a=1", "set g/b=2", "set g/c=3"]);
        assert!(rig.server.is_idle());
    }

    #[test]
    fn a_callback_may_unregister_itself_and_others_even_for_the_present_change() {
        let mut rig = Rig::new();
        let log = Log::default();
        let later: Arc<Mutex<Vec<CallbackId>>> = Arc::default();
        let others = later.clone();
        kv(&mut rig).on_change(move |server, now, _| {
            for callback in others.lock().unwrap().drain(..) {
                assert!(server.kv(now).unregister(callback));
            }
        });
        let itself = log.register(&mut rig);
        let stays = log.clone();
        kv(&mut rig).on_change(move |_, _, _| stays.say("still there".to_owned()));
        let same: Arc<Mutex<Option<CallbackId>>> = Arc::default();
        let own = same.clone();
        let once = log.clone();
        let callback = kv(&mut rig).on_change(move |server, now, _| {
            once.say("once".to_owned());
            assert!(server.kv(now).unregister(own.lock().unwrap().unwrap()));
        });
        *same.lock().unwrap() = Some(callback);
        later.lock().unwrap().push(itself);
        set(&mut rig, "g", "k", "1");
        set(&mut rig, "g", "k", "2");
        assert_eq!(log.take(), ["still there", "once", "still there"]);
    }

    #[test]
    fn a_callback_may_register_others_and_watch_and_they_hear_what_comes_after() {
        let mut rig = Rig::new();
        let log = Log::default();
        let (known, inner) = (Arc::new(Mutex::new(None)), log.clone());
        let found = known.clone();
        kv(&mut rig).on_change(move |server, now, _| {
            let mut found = found.lock().unwrap();
            if found.is_none() {
                let log = inner.clone();
                server.kv(now).on_change(move |_, _, event| log.say(told(event)));
                *found = Some(server.kv(now).watch(EVERY, EVERY).unwrap());
            }
        });
        kv(&mut rig).set("g", "k", value(&text("1"))).unwrap();
        kv(&mut rig).set("g", "k", value(&text("2"))).unwrap();
        rig.commit().unwrap();
        assert!(log.take().is_empty());
        set(&mut rig, "g", "k", "3");
        assert_eq!(log.take(), ["set g/k=3"]);
        let watcher = known.lock().unwrap().unwrap();
        assert_eq!(heard(&mut rig, watcher), ["set g/k=3"]);
    }
}
