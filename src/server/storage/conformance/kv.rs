//! The kv store's part of the contract.

use alloc::{
    borrow::ToOwned,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::ops::ControlFlow;

use super::committed;
use crate::{
    protocol::Timestamp,
    server::storage::{KvEntry, Storage, Value},
};

const NOW: Timestamp = Timestamp::from_millis(1_000);

pub(super) fn run<S: Storage>(mut make: impl FnMut() -> S) {
    an_entry_is_read_back_and_replaced_whole(make());
    the_groups_of_any_text_are_kept_apart(make());
    an_expired_entry_is_in_no_list_and_no_count(make());
    an_entry_in_the_place_of_an_expired_one_counts_once(make());
    a_prefix_is_taken_literally_and_ends_where_it_says(make());
    a_removed_entry_or_group_leaves_no_count(make());
    only_expired_entries_are_purged(make());
    a_rolled_back_transaction_leaves_entries_and_counts_as_they_were(make());
}

fn entry(value: &[u8], expires: Option<u64>) -> KvEntry {
    KvEntry { value: value.into(), expires: expires.map(Timestamp::from_millis) }
}

fn entries(storage: &dyn Storage, now: Timestamp, group: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let visit = &mut |key: &str, value: &Value| {
        found.push((key.to_owned(), value.clone()));
        ControlFlow::Continue(())
    };
    storage.kv_entries(now, group, visit).unwrap();
    found
}

fn keys(storage: &dyn Storage, now: Timestamp, group: &str) -> Vec<String> {
    entries(storage, now, group).into_iter().map(|(key, _)| key).collect()
}

fn groups(storage: &dyn Storage, now: Timestamp, prefix: &str) -> Vec<(String, u64)> {
    let found = storage.kv_groups(now, prefix).unwrap();
    found.into_iter().map(|(name, count): (Arc<str>, u64)| (name.to_string(), count)).collect()
}

fn named(groups: &[(&str, u64)]) -> Vec<(String, u64)> {
    groups.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn an_entry_is_read_back_and_replaced_whole(mut storage: impl Storage) {
    assert_eq!(storage.kv("g", "k").unwrap(), None);
    assert_eq!(storage.kv_count(NOW, "g").unwrap(), 0);
    assert!(groups(&storage, NOW, "").is_empty());
    committed(&mut storage, |storage| storage.set_kv("g", "k", entry(b"1", Some(2_000))).unwrap());
    assert_eq!(storage.kv("g", "k").unwrap(), Some(entry(b"1", Some(2_000))));
    committed(&mut storage, |storage| {
        storage.set_kv("g", "k", entry(b"", None)).unwrap();
        storage.set_kv("g", "a", entry(b"2", None)).unwrap();
    });
    assert_eq!(storage.kv("g", "k").unwrap(), Some(entry(b"", None)));
    assert_eq!(
        entries(&storage, NOW, "g"),
        [("a".to_owned(), b"2"[..].into()), ("k".to_owned(), b""[..].into())]
    );
    assert_eq!(storage.kv_count(NOW, "g").unwrap(), 2);
    let mut seen = 0;
    let visit = &mut |_: &str, _: &Value| {
        seen += 1;
        ControlFlow::Break(())
    };
    storage.kv_entries(NOW, "g", visit).unwrap();
    assert_eq!(seen, 1);
}

fn the_groups_of_any_text_are_kept_apart(mut storage: impl Storage) {
    let long = "k".repeat(10_000);
    let names = ["", "\0", "a\0b", "a", "A", "مرحبا", "世界", "%_'\";--", "*", &long, "\u{10FFFF}"];
    committed(&mut storage, |storage| {
        for group in names {
            for key in names {
                storage.set_kv(group, key, entry(format!("{group}/{key}").as_bytes(), None)).unwrap();
            }
        }
    });
    let mut sorted = names;
    sorted.sort_unstable();
    for group in names {
        assert_eq!(keys(&storage, NOW, group), sorted, "{group:?}");
        for key in names {
            let expected = entry(format!("{group}/{key}").as_bytes(), None);
            assert_eq!(storage.kv(group, key).unwrap(), Some(expected), "{group:?} {key:?}");
        }
    }
    assert_eq!(groups(&storage, NOW, ""), named(&sorted.map(|name| (name, 11))));
}

fn an_expired_entry_is_in_no_list_and_no_count(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        storage.set_kv("g", "for ever", entry(b"1", None)).unwrap();
        storage.set_kv("g", "later", entry(b"2", Some(1_001))).unwrap();
        storage.set_kv("g", "now", entry(b"3", Some(1_000))).unwrap();
        storage.set_kv("gone", "earlier", entry(b"4", Some(1))).unwrap();
        // No clock shows it, but it may be asked for.
        storage.set_kv("g", "at the end of time", entry(b"5", Some(u64::MAX))).unwrap();
    });
    assert_eq!(keys(&storage, NOW, "g"), ["at the end of time", "for ever", "later"]);
    assert_eq!(storage.kv_count(NOW, "g").unwrap(), 3);
    assert_eq!(storage.kv_count(NOW, "gone").unwrap(), 0);
    assert_eq!(groups(&storage, NOW, ""), named(&[("g", 3)]));
    // The clock went back: nothing was purged, so all of it is there.
    let before = Timestamp::from_millis(0);
    assert_eq!(groups(&storage, before, ""), named(&[("g", 4), ("gone", 1)]));
    // And ten years ahead.
    let ahead = Timestamp::from_millis(10 * 365 * 86_400_000);
    assert_eq!(keys(&storage, ahead, "g"), ["at the end of time", "for ever"]);
    assert_eq!(storage.kv("g", "now").unwrap(), Some(entry(b"3", Some(1_000))));
}

fn an_entry_in_the_place_of_an_expired_one_counts_once(mut storage: impl Storage) {
    committed(&mut storage, |storage| storage.set_kv("g", "k", entry(b"1", Some(500))).unwrap());
    committed(&mut storage, |storage| storage.set_kv("g", "k", entry(b"2", Some(2_000))).unwrap());
    assert_eq!(storage.kv_count(NOW, "g").unwrap(), 1);
    committed(&mut storage, |storage| {
        storage.set_kv("g", "k", entry(b"3", None)).unwrap();
        assert_eq!(storage.purge_kv(Timestamp::from_millis(10_000)).unwrap(), 0);
    });
    assert_eq!(storage.kv_count(Timestamp::from_millis(10_000), "g").unwrap(), 1);
}

fn a_prefix_is_taken_literally_and_ends_where_it_says(mut storage: impl Storage) {
    let names =
        ["a%b:x", "a%b:y", "a%b;", "aXb:z", "a_b:x", "b", "ä", "\u{D7FF}x", "\u{E000}", "\u{10FFFF}z"];
    committed(&mut storage, |storage| {
        for name in names {
            storage.set_kv(name, "1", entry(b"1", None)).unwrap();
            storage.set_kv(name, "2", entry(b"2", Some(500))).unwrap();
        }
    });
    assert_eq!(groups(&storage, NOW, "a%b:"), named(&[("a%b:x", 1), ("a%b:y", 1)]));
    assert_eq!(groups(&storage, NOW, "a_"), named(&[("a_b:x", 1)]));
    assert_eq!(groups(&storage, NOW, "%"), named(&[]));
    assert_eq!(groups(&storage, NOW, "\u{D7FF}"), named(&[("\u{D7FF}x", 1)]));
    assert_eq!(groups(&storage, NOW, "\u{10FFFF}"), named(&[("\u{10FFFF}z", 1)]));
    assert_eq!(groups(&storage, NOW, "b"), named(&[("b", 1)]));
    assert_eq!(groups(&storage, NOW, "").len(), names.len());
}

fn a_removed_entry_or_group_leaves_no_count(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        for key in ["a", "b", "c"] {
            storage.set_kv("g", key, entry(b"1", Some(5_000))).unwrap();
            storage.set_kv("h", key, entry(b"1", None)).unwrap();
        }
    });
    committed(&mut storage, |storage| {
        storage.remove_kv("g", "a").unwrap();
        storage.remove_kv("g", "absent").unwrap();
        storage.remove_kv("absent", "a").unwrap();
        storage.remove_kv_group("h").unwrap();
        storage.remove_kv_group("absent").unwrap();
    });
    assert_eq!(groups(&storage, NOW, ""), named(&[("g", 2)]));
    assert!(keys(&storage, NOW, "h").is_empty());
    committed(&mut storage, |storage| {
        storage.remove_kv("g", "b").unwrap();
        storage.remove_kv("g", "c").unwrap();
        storage.set_kv("h", "z", entry(b"2", None)).unwrap();
    });
    assert_eq!(groups(&storage, NOW, ""), named(&[("h", 1)]));
}

fn only_expired_entries_are_purged(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        storage.set_kv("g", "kept", entry(b"1", None)).unwrap();
        storage.set_kv("g", "later", entry(b"2", Some(1_001))).unwrap();
        storage.set_kv("g", "now", entry(b"3", Some(1_000))).unwrap();
        storage.set_kv("gone", "k", entry(b"4", Some(999))).unwrap();
    });
    committed(&mut storage, |storage| assert_eq!(storage.purge_kv(NOW).unwrap(), 2));
    committed(&mut storage, |storage| assert_eq!(storage.purge_kv(NOW).unwrap(), 0));
    assert_eq!(storage.kv("g", "now").unwrap(), None);
    assert_eq!(storage.kv("gone", "k").unwrap(), None);
    assert_eq!(groups(&storage, Timestamp::from_millis(0), ""), named(&[("g", 2)]));
}

fn a_rolled_back_transaction_leaves_entries_and_counts_as_they_were(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        storage.set_kv("g", "a", entry(b"1", Some(2_000))).unwrap();
        storage.set_kv("g", "b", entry(b"2", Some(500))).unwrap();
        storage.set_kv("h", "a", entry(b"3", None)).unwrap();
    });
    storage.begin().unwrap();
    storage.set_kv("g", "a", entry(b"4", None)).unwrap();
    storage.set_kv("g", "new", entry(b"5", Some(3_000))).unwrap();
    storage.set_kv("fresh", "a", entry(b"6", None)).unwrap();
    storage.remove_kv("h", "a").unwrap();
    storage.purge_kv(NOW).unwrap();
    storage.remove_kv_group("g").unwrap();
    storage.set_kv("g", "after", entry(b"7", None)).unwrap();
    assert_eq!(groups(&storage, NOW, ""), named(&[("fresh", 1), ("g", 1)]));
    storage.rollback().unwrap();
    assert_eq!(groups(&storage, NOW, ""), named(&[("g", 1), ("h", 1)]));
    assert_eq!(groups(&storage, Timestamp::from_millis(0), ""), named(&[("g", 2), ("h", 1)]));
    assert_eq!(storage.kv("g", "a").unwrap(), Some(entry(b"1", Some(2_000))));
    assert_eq!(storage.kv_count(Timestamp::from_millis(2_000), "g").unwrap(), 0);
}
