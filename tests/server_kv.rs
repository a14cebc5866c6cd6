//! The kv store's matrix: values and odd keys (phase 0), expiry (1), namespaces and quotas (2), events (3).

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod server_rig;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::{collections::BTreeMap, time::Duration};

use server_rig::{
    Rig,
    kv::{HOUR, all, get, heard, kv, names, read, set, set_for, text, value},
};
use tidewire::{
    protocol::{EncodedValue, KvChange, Timestamp},
    server::{EVERY, GetError, Kv, Namespace, NamespaceError, Quota, WriteError, storage::Memory},
};

mod phase_0 {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn get_on_non_existent_group_vs_non_existent_key() {
        let mut rig = Rig::new();
        match kv(&mut rig).get("config", "theme") {
            Err(error @ GetError::NoGroup { .. }) => {
                assert_eq!(error.to_string(), "no group `config`; set a key in it first");
            }
            other => panic!("{other:?}"),
        }
        set(&mut rig, "config", "colour", "red");
        match kv(&mut rig).get("config", "theme") {
            Err(error @ GetError::NoKey { .. }) => {
                assert_eq!(error.to_string(), "no key `theme` in the group `config`; set it first");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(get(&mut rig, "config", "colour").unwrap(), "red");
    }

    #[test]
    fn delete_group_then_get_all_returns_empty() {
        let mut rig = Rig::new();
        set(&mut rig, "g", "a", "1");
        set(&mut rig, "g", "b", "2");
        set(&mut rig, "h", "a", "3");
        assert!(kv(&mut rig).delete_group("g").unwrap());
        assert!(all(&mut rig, "g").is_empty());
        assert_eq!(kv(&mut rig).count("g").unwrap(), 0);
        assert_eq!(all(&mut rig, "h").len(), 1);
        assert!(!kv(&mut rig).delete_group("g").unwrap());
    }

    #[test]
    fn count_after_bulk_inserts() {
        let mut rig = Rig::new();
        for n in 0..500 {
            kv(&mut rig).set("bulk", &format!("key{n}"), value(&text("v"))).unwrap();
        }
        rig.commit().unwrap();
        assert_eq!(kv(&mut rig).count("bulk").unwrap(), 500);
        set(&mut rig, "bulk", "key0", "again");
        assert_eq!(kv(&mut rig).count("bulk").unwrap(), 500);
    }

    #[test]
    fn a_set_replaces_what_was_there_and_a_delete_says_whether_it_was() {
        let mut rig = Rig::new();
        set(&mut rig, "g", "k", "1");
        set(&mut rig, "g", "k", "2");
        assert_eq!(get(&mut rig, "g", "k").unwrap(), "2");
        assert!(kv(&mut rig).delete("g", "k").unwrap());
        assert!(!kv(&mut rig).delete("g", "k").unwrap());
        assert_eq!(get(&mut rig, "g", "k"), None);
    }

    #[test]
    fn edge_cases() {
        let mut rig = Rig::new();
        // Empty, NUL, Arabic, CJK, an emoji, what SQL and wildcards are made of.
        let odd =
            ["", "\0", "a\0b", "مرحبا", "世界你好", "🦀", "'; DROP TABLE kv; --", "%_'\";--", "*", "a:b"];
        for group in odd {
            for key in odd {
                set(&mut rig, group, key, &format!("{group}|{key}"));
            }
        }
        for group in odd {
            assert_eq!(kv(&mut rig).count(group).unwrap(), 10, "{group:?}");
            for key in odd {
                assert_eq!(get(&mut rig, group, key).unwrap(), format!("{group}|{key}"));
            }
        }
        set(&mut rig, "g", "empty value", "");
        assert_eq!(get(&mut rig, "g", "empty value").unwrap(), "");
        assert!(kv(&mut rig).delete("", "").unwrap());
        assert_eq!(kv(&mut rig).count("").unwrap(), 9);
    }

    #[test]
    fn a_very_long_key_is_refused_by_name_and_limit() {
        let mut rig = Rig::new();
        let (longest, long) = ("k".repeat(1_024), "k".repeat(10_000));
        set(&mut rig, &longest, &longest, "1");
        assert_eq!(get(&mut rig, &longest, &longest).unwrap(), "1");
        let bytes = text("1");
        let refused = [
            (kv(&mut rig).set("g", &long, value(&bytes)), "key"),
            (kv(&mut rig).set(&long, "k", value(&bytes)), "group"),
            (kv(&mut rig).delete(&long, "k").map(drop), "group"),
            (kv(&mut rig).delete("g", &long).map(drop), "key"),
            (kv(&mut rig).delete_group(&long).map(drop), "group"),
            (kv(&mut rig).watch(&long, "k").map(drop), "group"),
            (kv(&mut rig).watch("g", &long).map(drop), "key"),
        ];
        for (result, field) in refused {
            let error = result.unwrap_err();
            assert_eq!(error, WriteError::TooLong { field, length: 10_000 });
            assert!(error.to_string().contains("at most 1024 bytes"), "{error}");
        }
        assert_eq!(kv(&mut rig).count_all("").unwrap(), 1);
    }

    #[test]
    fn a_value_over_the_limit_is_refused() {
        let mut rig = Rig::new();
        let bytes = text(&"x".repeat(256 * 1024));
        let length = bytes.len();
        let refused = kv(&mut rig).set("g", "k", EncodedValue::trusted(&bytes)).unwrap_err();
        assert_eq!(refused, WriteError::TooLarge { field: "value", length });
        assert_eq!(kv(&mut rig).count("g").unwrap(), 0);
    }

    #[test]
    fn any_encoded_value_is_a_value() {
        let mut rig = Rig::new();
        for json in ["null", "true", "-1.5", "[]", r#"{"a":[1,{"b":"c"}]}"#] {
            let bytes = tidewire::protocol::from_json(json).unwrap();
            kv(&mut rig).set("g", json, value(&bytes)).unwrap();
            assert_eq!(*kv(&mut rig).get("g", json).unwrap(), *bytes);
        }
    }

    #[test]
    fn what_was_committed_survives_a_restart() {
        let mut rig = Rig::new();
        set(&mut rig, "g", "k", "kept");
        set_for(&mut rig, "g", "t", "for an hour", HOUR);
        kv(&mut rig).set("g", "never", value(&text("committed"))).unwrap();
        let mut rig = rig.restart();
        assert_eq!(all(&mut rig, "g").into_keys().collect::<Vec<_>>(), ["k", "t"]);
        rig.now = rig.now + HOUR;
        assert_eq!(all(&mut rig, "g").into_keys().collect::<Vec<_>>(), ["k"]);
    }

    #[test]
    fn a_transaction_over_several_keys_applies_whole_or_not_at_all() {
        let mut rig = Rig::new();
        set(&mut rig, "a", "old", "1");
        let watcher = kv(&mut rig).watch(EVERY, EVERY).unwrap();
        let (one, long) = (text("1"), "k".repeat(10_000));
        let first = KvChange::Set { group: "a", key: "new", value: value(&one), ttl: None };
        let bad = KvChange::Delete { group: "a", key: &long };
        let refused = kv(&mut rig).apply(&[KvChange::DeleteGroup { group: "a" }, first, bad]).unwrap_err();
        assert_eq!(refused, WriteError::TooLong { field: "key", length: 10_000 });
        rig.commit().unwrap();
        assert_eq!(all(&mut rig, "a").into_keys().collect::<Vec<_>>(), ["old"]);
        assert!(heard(&mut rig, watcher).is_empty());
        kv(&mut rig).apply(&[KvChange::DeleteGroup { group: "a" }, first]).unwrap();
        assert!(heard(&mut rig, watcher).is_empty(), "not before the commit");
        rig.commit().unwrap();
        assert_eq!(all(&mut rig, "a").into_keys().collect::<Vec<_>>(), ["new"]);
        assert_eq!(heard(&mut rig, watcher), ["delete_group a/", "set a/new=1"]);
    }

    /// On one thread, concurrency is the interleaving of callers within and across batches.
    #[test]
    fn concurrent_set_and_get_with_10_callers() {
        let mut rig = Rig::new();
        for round in 0..20 {
            for caller in 0..10 {
                let key = format!("key{caller}");
                kv(&mut rig).set("g", &key, value(&text(&round.to_string()))).unwrap();
                assert_eq!(get(&mut rig, "g", &key).unwrap(), round.to_string());
                if (round + caller) % 3 == 0 {
                    rig.commit().unwrap();
                }
            }
        }
        rig.commit().unwrap();
        assert_eq!(kv(&mut rig).count("g").unwrap(), 10);
        assert!(all(&mut rig, "g").values().all(|last| last == "19"));
    }
}

#[cfg(feature = "render")]
mod phase_0_render {
    use super::*;
    use tidewire::server::RenderError;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn json(rig: &mut Rig, group: &str, key: &str, json: &str) {
        let bytes = tidewire::protocol::from_json(json).unwrap();
        kv(rig).set(group, key, value(&bytes)).unwrap();
    }

    fn render(rig: &mut Rig, template: &str) -> Result<String, String> {
        kv(rig).render(template, "page").map_err(|error| error.to_string())
    }

    #[test]
    fn render_puts_the_values_of_a_group_in_the_places_of_their_keys() {
        let mut rig = Rig::new();
        json(&mut rig, "page", "user", r#"{"name":"Ada","tags":["a","b"]}"#);
        json(&mut rig, "page", "n", "1.5");
        json(&mut rig, "page", "db.host", r#""<local>""#);
        json(&mut rig, "page", "世界", r#""welt""#);
        set_for(&mut rig, "page", "old", "gone", Duration::from_secs(1));
        rig.now = rig.now + HOUR;
        let template = "{{ user.name }} {{ n }} {{ kv['db.host'] }} {{ kv['世界'] }} \
                        {% for tag in user.tags %}[{{ tag }}]{% endfor %} {{ missing|default('-') }}";
        assert_eq!(render(&mut rig, template).unwrap(), "Ada 1.5 <local> welt [a][b] -");
        // What has expired is not there.
        assert!(render(&mut rig, "{{ old }}").unwrap_err().contains("no value for `old`"));
        json(&mut rig, "page", "kv", r#""a key like others""#);
        assert_eq!(render(&mut rig, "{{ kv }}").unwrap(), "a key like others");
    }

    #[test]
    fn render_with_invalid_template_syntax() {
        let mut rig = Rig::new();
        json(&mut rig, "page", "a", "1");
        for (template, line) in
            [("{{ }}", 1), ("fine\n{% if a %}\n{{ a", 3), ("\n\n{% nothing %}", 3), ("{% raw %}", 1)]
        {
            match kv(&mut rig).render(template, "page") {
                Err(RenderError::Syntax { line: told, detail }) => {
                    assert_eq!(told, line, "{template:?}: {detail}");
                    assert!(!detail.is_empty());
                }
                other => panic!("{template:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn render_with_missing_template_vars() {
        let mut rig = Rig::new();
        json(&mut rig, "page", "user", r#"{"name":"Ada"}"#);
        for (template, missing, at) in [
            ("{{ nme }}", "nme", 1),
            ("{{ nme|upper }}", "nme", 1),
            ("a\nb {{ user.nme }}", "user.nme", 2),
            ("{% for x in list %}{% endfor %}", "list", 1),
            ("{% if flag %}{% endif %}", "flag", 1),
            ("\n\n{{ kv['db.host'] }}", "db.host", 3),
        ] {
            match kv(&mut rig).render(template, "page") {
                Err(RenderError::Missing { name, line }) => {
                    assert!(name.contains(missing), "{template:?}: {name}");
                    assert_eq!(line, at, "{template:?}");
                }
                other => panic!("{template:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn render_with_a_missing_group() {
        let mut rig = Rig::new();
        assert_eq!(render(&mut rig, "{{ a }}").unwrap_err(), "no group `page`; set a key in it first");
    }

    #[test]
    fn render_ends_however_long_the_template_would_run_or_grow() {
        let mut rig = Rig::new();
        json(&mut rig, "page", "a", "1");
        let nested = "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}";
        assert!(render(&mut rig, nested).unwrap_err().contains("steps"));
        let grown = "{% for a in range(10000) %}0123456789012345678901234567890123456789{% endfor %}";
        assert!(matches!(kv(&mut rig).render(grown, "page"), Err(RenderError::TooLarge)));
    }
}

mod phase_1 {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn set_with_ttl_is_there_until_its_time_and_not_after() {
        let mut rig = Rig::new();
        set_for(&mut rig, "g", "k", "v", SECOND);
        rig.now = rig.now + Duration::from_millis(999);
        assert_eq!(get(&mut rig, "g", "k").unwrap(), "v");
        rig.now = rig.now + Duration::from_millis(1);
        assert!(matches!(kv(&mut rig).get("g", "k"), Err(GetError::NoGroup { .. })));
    }

    #[test]
    fn count_get_all_and_groups_exclude_expired_entries() {
        let mut rig = Rig::new();
        set(&mut rig, "g", "stays", "1");
        set_for(&mut rig, "g", "goes", "2", SECOND);
        set_for(&mut rig, "h", "goes", "3", SECOND);
        assert_eq!(kv(&mut rig).count("g").unwrap(), 2);
        rig.now = rig.now + SECOND;
        assert_eq!(kv(&mut rig).count("g").unwrap(), 1);
        assert_eq!(all(&mut rig, "g").into_keys().collect::<Vec<_>>(), ["stays"]);
        assert_eq!(names(&kv(&mut rig).groups("").unwrap()), ["g"]);
        assert_eq!(kv(&mut rig).count_all("").unwrap(), 1);
    }

    #[test]
    fn a_set_without_ttl_takes_the_expiry_away_and_one_with_ttl_gives_one() {
        let mut rig = Rig::new();
        set_for(&mut rig, "g", "k", "1", SECOND);
        set(&mut rig, "g", "k", "2");
        set(&mut rig, "g", "j", "1");
        set_for(&mut rig, "g", "j", "2", SECOND);
        rig.now = rig.now + HOUR;
        assert_eq!(all(&mut rig, "g"), BTreeMap::from([("k".to_owned(), "2".to_owned())]));
    }

    #[test]
    fn purge_expired_removes_what_expired_and_nothing_else() {
        let mut rig = Rig::new();
        set(&mut rig, "g", "stays", "1");
        set_for(&mut rig, "g", "later", "2", HOUR);
        set_for(&mut rig, "g", "goes", "3", SECOND);
        let start = rig.now;
        rig.now = rig.now + SECOND;
        assert_eq!(kv(&mut rig).purge_expired().unwrap(), 1);
        assert_eq!(kv(&mut rig).purge_expired().unwrap(), 0);
        rig.commit().unwrap();
        // It is gone from the storage: a clock that goes back does not bring it back.
        rig.now = start;
        assert_eq!(all(&mut rig, "g").into_keys().collect::<Vec<_>>(), ["later", "stays"]);
    }

    #[test]
    fn the_janitor_purges_every_60_s() {
        let mut rig = Rig::new();
        let start = rig.now;
        set_for(&mut rig, "g", "k", "1", SECOND);
        rig.advance(Duration::from_secs(59));
        assert_eq!(kv_at(&mut rig, start).count("g").unwrap(), 1, "expired, and still in its place");
        rig.advance(Duration::from_secs(2));
        assert_eq!(kv_at(&mut rig, start).count("g").unwrap(), 0);
    }

    /// The store as another clock sees it.
    fn kv_at(rig: &mut Rig, now: Timestamp) -> Kv<'_, Memory> {
        rig.server.kv(now)
    }

    #[test]
    fn a_clock_that_jumps_an_hour_back_keeps_everything_and_one_ten_years_ahead_expires_it() {
        let mut rig = Rig::new();
        let start = rig.now;
        set_for(&mut rig, "g", "k", "1", HOUR);
        set(&mut rig, "g", "for ever", "2");
        rig.now = Timestamp::from_millis(start.as_millis() - 3_600_000);
        rig.server.handle_timeout(rig.now);
        rig.commit().unwrap();
        assert_eq!(kv(&mut rig).count("g").unwrap(), 2);
        // Set by the clock that is behind, it ends an hour later by that clock.
        set_for(&mut rig, "g", "behind", "3", HOUR);
        rig.now = start;
        assert_eq!(all(&mut rig, "g").into_keys().collect::<Vec<_>>(), ["for ever", "k"]);
        rig.now = start + 10 * 365 * 24 * HOUR;
        rig.server.handle_timeout(rig.now);
        rig.commit().unwrap();
        assert_eq!(all(&mut rig, "g").into_keys().collect::<Vec<_>>(), ["for ever"]);
    }

    #[test]
    fn a_ttl_of_zero_is_over_at_once_and_the_longest_never() {
        let mut rig = Rig::new();
        set_for(&mut rig, "g", "zero", "1", Duration::ZERO);
        set_for(&mut rig, "g", "max", "2", Duration::MAX);
        assert_eq!(all(&mut rig, "g").into_keys().collect::<Vec<_>>(), ["max"]);
        rig.now = rig.now + 1_000_000 * HOUR;
        assert_eq!(kv(&mut rig).count("g").unwrap(), 1);
    }

    /// See `phase_0::concurrent_set_and_get_with_10_callers`.
    #[test]
    fn concurrent_ttl_access() {
        let mut rig = Rig::new();
        for round in 0..60_u64 {
            for caller in 0..10 {
                let ttl = Duration::from_millis(1 + (round * 7 + caller) % 40);
                kv(&mut rig).set_with_ttl("g", &format!("k{caller}"), value(&text("v")), ttl).unwrap();
                let count = kv(&mut rig).count("g").unwrap();
                assert_eq!(count, all(&mut rig, "g").len() as u64);
            }
            rig.now = rig.now + Duration::from_millis(5);
            if round % 10 == 0 {
                kv(&mut rig).purge_expired().unwrap();
            }
            rig.commit().unwrap();
        }
        rig.now = rig.now + Duration::from_secs(1);
        assert_eq!(kv(&mut rig).purge_expired().unwrap(), 10);
        assert_eq!(kv(&mut rig).count("g").unwrap(), 0);
    }
}

mod phase_2 {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn quota(max_keys: u64, max_groups: u64) -> Namespace {
        Namespace::new("tenant").unwrap().with_quota(Quota { max_keys, max_groups })
    }

    #[track_caller]
    fn put(rig: &mut Rig, namespace: &Namespace, group: &str, key: &str) -> Result<(), WriteError> {
        let result = kv(rig).scoped(namespace).set(group, key, value(&text("v")));
        rig.commit().unwrap();
        result
    }

    const NO_KEYS: WriteError = WriteError::QuotaExceeded { what: "keys", limit: 5 };
    const NO_GROUPS: WriteError = WriteError::QuotaExceeded { what: "groups", limit: 3 };

    #[test]
    fn a_namespace_is_named_by_letters_digits_and_hyphens() {
        for good in ["a", "Tenant-7", "-", "0"] {
            assert!(Namespace::new(good).is_ok(), "{good:?}");
        }
        assert_eq!(Namespace::new(""), Err(NamespaceError::Empty));
        for (bad, character) in
            [("a:b", ':'), ("a b", ' '), ("a_b", '_'), ("ä", 'ä'), ("a\0", '\0'), ("%", '%')]
        {
            assert_eq!(Namespace::new(bad), Err(NamespaceError::Character(character)), "{bad:?}");
        }
    }

    #[test]
    fn scoped_set_get_delete_use_prefixed_groups() {
        let mut rig = Rig::new();
        let tenant = Namespace::new("tenant").unwrap();
        put(&mut rig, &tenant, "config", "theme").unwrap();
        assert_eq!(get(&mut rig, "tenant:config", "theme").unwrap(), "v");
        assert_eq!(get(&mut rig, "config", "theme"), None);
        assert_eq!(read(&kv(&mut rig).scoped(&tenant).get("config", "theme").unwrap()), "v");
        match kv(&mut rig).scoped(&tenant).get("other", "theme") {
            Err(GetError::NoGroup { group }) => assert_eq!(&*group, "tenant:other"),
            other => panic!("{other:?}"),
        }
        assert!(kv(&mut rig).scoped(&tenant).delete("config", "theme").unwrap());
        assert!(!kv(&mut rig).scoped(&tenant).delete_group("config").unwrap());
        kv(&mut rig).scoped(&tenant).set_with_ttl("config", "t", value(&text("v")), HOUR).unwrap();
        assert_eq!(kv(&mut rig).scoped(&tenant).count("config").unwrap(), 1);
        rig.now = rig.now + HOUR;
        assert_eq!(kv(&mut rig).scoped(&tenant).count("config").unwrap(), 0);
        // The limit is that of the full name.
        let long = "g".repeat(1_024);
        let refused = put(&mut rig, &tenant, &long, "k").unwrap_err();
        assert_eq!(refused, WriteError::TooLong { field: "group", length: 1_031 });
    }

    #[test]
    fn two_namespaces_do_not_collide() {
        let mut rig = Rig::new();
        let (first, second) = (Namespace::new("a").unwrap(), Namespace::new("a-b").unwrap());
        kv(&mut rig).scoped(&first).set("g", "k", value(&text("1"))).unwrap();
        kv(&mut rig).scoped(&second).set("g", "k", value(&text("2"))).unwrap();
        assert_eq!(read(&kv(&mut rig).scoped(&first).get("g", "k").unwrap()), "1");
        assert_eq!(read(&kv(&mut rig).scoped(&second).get("g", "k").unwrap()), "2");
        assert!(kv(&mut rig).scoped(&first).delete_group("g").unwrap());
        assert_eq!(kv(&mut rig).scoped(&second).count("g").unwrap(), 1);
    }

    #[test]
    fn get_all_returns_only_the_scoped_groups_keys() {
        let mut rig = Rig::new();
        let tenant = Namespace::new("tenant").unwrap();
        put(&mut rig, &tenant, "g", "mine").unwrap();
        set(&mut rig, "g", "not mine", "1");
        set(&mut rig, "other:g", "not mine", "1");
        let found = kv(&mut rig).scoped(&tenant).get_all("g").unwrap();
        assert_eq!(found.keys().map(|key| &**key).collect::<Vec<_>>(), ["mine"]);
    }

    #[test]
    fn max_keys_refuses_the_sixth_key() {
        let mut rig = Rig::new();
        let tenant = quota(5, 0);
        for n in 0..5 {
            put(&mut rig, &tenant, &format!("g{}", n % 2), &format!("k{n}")).unwrap();
        }
        let refused = put(&mut rig, &tenant, "g0", "one more").unwrap_err();
        assert_eq!(refused, NO_KEYS);
        assert_eq!(refused.code().name(), "quota_exceeded");
        assert!(refused.to_string().contains("all the 5 keys"), "{refused}");
        // Other namespaces, and the whole store, are not concerned.
        set(&mut rig, "tenant2:g", "k", "1");
        set(&mut rig, "tenant:g", "from outside", "1");
    }

    #[test]
    fn upsert_does_not_count_towards_the_quota() {
        let mut rig = Rig::new();
        let tenant = quota(5, 3);
        for n in 0..5 {
            put(&mut rig, &tenant, "g", &format!("k{n}")).unwrap();
        }
        for n in 0..5 {
            put(&mut rig, &tenant, "g", &format!("k{n}")).unwrap();
        }
        assert_eq!(kv(&mut rig).count_all("tenant:").unwrap(), 5);
    }

    #[test]
    fn delete_and_reinsert_stays_within_the_quota() {
        let mut rig = Rig::new();
        let tenant = quota(5, 0);
        for n in 0..5 {
            put(&mut rig, &tenant, "g", &format!("k{n}")).unwrap();
        }
        for n in 0..5 {
            assert!(kv(&mut rig).scoped(&tenant).delete("g", &format!("k{n}")).unwrap());
            put(&mut rig, &tenant, "g", &format!("new{n}")).unwrap();
            assert_eq!(put(&mut rig, &tenant, "g", "too many"), Err(NO_KEYS));
        }
    }

    #[test]
    fn max_groups_refuses_the_fourth_group() {
        let mut rig = Rig::new();
        let tenant = quota(0, 3);
        for group in ["a", "b", "c"] {
            put(&mut rig, &tenant, group, "k").unwrap();
        }
        assert_eq!(put(&mut rig, &tenant, "d", "k"), Err(NO_GROUPS));
        put(&mut rig, &tenant, "a", "another key of a known group").unwrap();
        assert!(kv(&mut rig).scoped(&tenant).delete_group("b").unwrap());
        put(&mut rig, &tenant, "d", "k").unwrap();
    }

    #[test]
    fn zero_quota_is_unlimited() {
        let mut rig = Rig::new();
        let tenant = quota(0, 0);
        for n in 0..100 {
            put(&mut rig, &tenant, &format!("g{n}"), "k").unwrap();
        }
    }

    #[test]
    fn expired_keys_do_not_count_towards_the_quota() {
        let mut rig = Rig::new();
        let tenant = quota(5, 3);
        for n in 0..5 {
            let bytes = text("v");
            let (group, key) = (format!("g{}", n % 3), format!("k{n}"));
            kv(&mut rig).scoped(&tenant).set_with_ttl(&group, &key, value(&bytes), HOUR).unwrap();
        }
        assert_eq!(put(&mut rig, &tenant, "g0", "one more"), Err(NO_KEYS));
        rig.now = rig.now + HOUR;
        for n in 0..5 {
            // In the place of the expired ones, and beside them.
            put(&mut rig, &tenant, "fresh", &format!("k{n}")).unwrap();
        }
        assert_eq!(put(&mut rig, &tenant, "g0", "k0"), Err(NO_KEYS));
    }

    #[test]
    fn a_transaction_beyond_the_quota_changes_nothing() {
        let mut rig = Rig::new();
        let tenant = quota(5, 3);
        for n in 0..4 {
            put(&mut rig, &tenant, "a", &format!("k{n}")).unwrap();
        }
        let bytes = text("v");
        let insert = |group, key| KvChange::Set { group, key, value: value(&bytes), ttl: None };
        let mut apply = |changes: &[KvChange<'_>]| kv(&mut rig).scoped(&tenant).apply(changes);
        assert_eq!(apply(&[insert("a", "x"), insert("a", "y")]), Err(NO_KEYS));
        // The same key twice is one, and what a change before it deleted makes room.
        apply(&[insert("a", "x"), insert("a", "x"), KvChange::Delete { group: "a", key: "x" }]).unwrap();
        let group = KvChange::DeleteGroup { group: "a" };
        assert_eq!(
            apply(&[group, insert("a", "k0"), insert("b", "1"), insert("c", "1"), insert("d", "1")]),
            Err(NO_GROUPS)
        );
        apply(&[group, insert("b", "1"), insert("c", "1"), insert("d", "1")]).unwrap();
        rig.commit().unwrap();
        assert_eq!(names(&kv(&mut rig).groups("").unwrap()), ["tenant:b", "tenant:c", "tenant:d"]);
    }

    #[test]
    fn count_all_with_mixed_namespaces() {
        let mut rig = Rig::new();
        for group in ["a:1", "a:2", "a-b:1", "b:1", "a"] {
            set(&mut rig, group, "x", "1");
            set(&mut rig, group, "y", "1");
        }
        let mut count = |prefix| kv(&mut rig).count_all(prefix).unwrap();
        assert_eq!([count("a:"), count("a-b:"), count("b:"), count("c:"), count("")], [4, 2, 2, 0, 10]);
    }

    #[test]
    fn count_all_and_groups_take_percent_and_underscore_literally() {
        let mut rig = Rig::new();
        for group in ["a%:1", "ab:1", "a_:1", "a_:2"] {
            set(&mut rig, group, "k", "1");
        }
        let mut count = |prefix| kv(&mut rig).count_all(prefix).unwrap();
        assert_eq!([count("a%"), count("a_:"), count("%"), count("_")], [1, 2, 0, 0]);
        assert_eq!(names(&kv(&mut rig).groups("a_").unwrap()), ["a_:1", "a_:2"]);
    }

    #[test]
    fn groups_returns_a_distinct_list() {
        let mut rig = Rig::new();
        for (group, key) in [("b", "1"), ("a", "1"), ("a", "2"), ("c", "1")] {
            set(&mut rig, group, key, "1");
        }
        assert_eq!(names(&kv(&mut rig).groups("").unwrap()), ["a", "b", "c"]);
        assert_eq!(names(&kv(&mut rig).groups("b").unwrap()), ["b"]);
    }

    #[test]
    fn expired_keys_are_excluded_from_count_all_and_groups() {
        let mut rig = Rig::new();
        set(&mut rig, "a", "1", "1");
        set_for(&mut rig, "a", "2", "1", HOUR);
        set_for(&mut rig, "b", "1", "1", HOUR);
        rig.now = rig.now + HOUR;
        assert_eq!(kv(&mut rig).count_all("").unwrap(), 1);
        assert_eq!(names(&kv(&mut rig).groups("").unwrap()), ["a"]);
    }
}
