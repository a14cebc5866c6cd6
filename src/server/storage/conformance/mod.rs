//! The contract of a storage, as a test: every implementation passes [`run`].

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod kv;
mod mailbox;

use std::{ops::ControlFlow, sync::Arc};

use super::{KEPT_REPLIES, Recollection, Reply, Storage, Stored, StoredDatastore, StoredHistory};
use crate::protocol::{Epoch, Lineage, Position, Sequence, Timestamp};

/// Runs the whole suite, each case over a new storage.
///
/// # Panics
/// If the storage breaks the contract.
pub fn run<S: Storage>(mut make: impl FnMut() -> S) {
    what_is_committed_is_read_back(make());
    reads_see_the_open_transaction_and_nothing_of_a_rolled_back_one(make());
    any_text_is_a_key(make());
    changes_come_in_the_order_of_their_sequences(make());
    a_removed_datastore_leaves_no_records(make());
    only_the_newest_deletions_are_kept(make());
    a_reply_is_remembered_for_the_last_thousand_numbers(make());
    replies_are_forgotten_by_age_and_never_become_new_again(make());
    kv::run(&mut make);
    mailbox::run(make);
}

fn sequence(number: u64) -> Sequence {
    Sequence::new(number).unwrap()
}

fn epoch(byte: u8) -> Epoch {
    Epoch::from_bytes([byte; 16])
}

fn stored(number: u64, value: Option<&[u8]>) -> Stored {
    Stored { sequence: sequence(number), version: None, value: value.map(Into::into) }
}

fn about(head: u64) -> StoredDatastore {
    StoredDatastore {
        primary: "id".into(),
        epoch: epoch(1),
        lineage: Lineage::new(vec![Position { epoch: epoch(9), sequence: sequence(4) }]),
        head: sequence(head),
        floor: Sequence::ZERO,
        expires: None,
    }
}

fn committed<S: Storage>(storage: &mut S, write: impl FnOnce(&mut S)) {
    storage.begin().unwrap();
    write(storage);
    storage.commit().unwrap();
}

fn changes(storage: &dyn Storage, id: &str, after: u64) -> Vec<(String, Stored)> {
    let mut found = Vec::new();
    let visit = &mut |key: &Arc<str>, stored: &Stored| {
        found.push((key.to_string(), stored.clone()));
        ControlFlow::Continue(())
    };
    storage.changes(id, sequence(after), visit).unwrap();
    found
}

fn what_is_committed_is_read_back(mut storage: impl Storage) {
    assert_eq!(storage.history().unwrap(), None);
    assert_eq!(storage.object("k").unwrap(), None);
    assert_eq!(storage.datastore("d").unwrap(), None);
    assert_eq!(storage.record("d", "r").unwrap(), None);
    let history = StoredHistory { epoch: epoch(3), lineage: about(0).lineage };
    let versioned = Stored { version: Some("3.1".into()), ..stored(7, Some(b"value")) };
    let expiring =
        StoredDatastore { expires: Some(Timestamp::from_millis(5)), floor: sequence(2), ..about(8) };
    committed(&mut storage, |storage| {
        storage.set_history(&history).unwrap();
        storage.set_object("k", versioned.clone()).unwrap();
        storage.set_datastore("d", &about(0)).unwrap();
        storage.set_record("d", "r", stored(8, Some(b"record"))).unwrap();
        storage.set_datastore("d", &expiring).unwrap();
    });
    assert_eq!(storage.history().unwrap(), Some(history));
    assert_eq!(storage.object("k").unwrap(), Some(versioned));
    assert_eq!(storage.object_sequence("k").unwrap(), Some(sequence(7)));
    assert_eq!(storage.object_sequence("absent").unwrap(), None);
    assert_eq!(storage.datastore("d").unwrap(), Some(expiring));
    assert_eq!(storage.record("d", "r").unwrap(), Some(stored(8, Some(b"record"))));
    committed(&mut storage, |storage| storage.set_object("k", stored(9, None)).unwrap());
    assert_eq!(storage.object("k").unwrap(), Some(stored(9, None)));
}

fn reads_see_the_open_transaction_and_nothing_of_a_rolled_back_one(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        storage.set_object("old", stored(1, Some(b"1"))).unwrap();
        storage.set_datastore("d", &about(1)).unwrap();
        storage.set_record("d", "old", stored(1, Some(b"1"))).unwrap();
        storage.set_datastore("gone", &about(1)).unwrap();
        storage.set_record("gone", "r", stored(1, Some(b"1"))).unwrap();
    });
    let reply = Reply::done(None);
    storage.begin().unwrap();
    storage.set_history(&StoredHistory { epoch: epoch(1), lineage: Lineage::default() }).unwrap();
    storage.set_object("old", stored(2, Some(b"2"))).unwrap();
    storage.set_object("new", stored(1, Some(b"1"))).unwrap();
    storage.set_datastore("d", &about(3)).unwrap();
    storage.set_record("d", "old", stored(2, None)).unwrap();
    storage.set_record("d", "new", stored(3, Some(b"3"))).unwrap();
    storage.remove_datastore("gone").unwrap();
    storage.set_datastore("fresh", &about(0)).unwrap();
    storage.set_reply(Timestamp::from_millis(1), "c", 1, &reply).unwrap();
    assert_eq!(storage.object("old").unwrap(), Some(stored(2, Some(b"2"))));
    assert_eq!(changes(&storage, "d", 0).len(), 2);
    assert_eq!(storage.datastore("gone").unwrap(), None);
    assert_eq!(storage.reply("c", 1).unwrap(), Recollection::Answered(reply));
    storage.rollback().unwrap();
    assert_eq!(storage.history().unwrap(), None);
    assert_eq!(storage.object("old").unwrap(), Some(stored(1, Some(b"1"))));
    assert_eq!(storage.object("new").unwrap(), None);
    assert_eq!(storage.datastore("d").unwrap(), Some(about(1)));
    assert_eq!(changes(&storage, "d", 0), [("old".to_owned(), stored(1, Some(b"1")))]);
    assert_eq!(changes(&storage, "gone", 0).len(), 1);
    assert_eq!(storage.datastore("fresh").unwrap(), None);
    assert_eq!(storage.reply("c", 1).unwrap(), Recollection::New);
    storage.rollback().unwrap();
    committed(&mut storage, |storage| storage.set_object("new", stored(1, Some(b"again"))).unwrap());
    assert_eq!(storage.object("new").unwrap(), Some(stored(1, Some(b"again"))));
}

fn any_text_is_a_key(mut storage: impl Storage) {
    let long = "k".repeat(10_000);
    let keys = ["", "\0", "a\0b", "a", "A", "مرحبا", "世界", "%_'\";--", "*", &long];
    committed(&mut storage, |storage| {
        for (key, number) in keys.iter().zip(1..) {
            storage.set_object(key, stored(number, Some(key.as_bytes()))).unwrap();
            storage.set_datastore(key, &about(number)).unwrap();
            storage.set_record(key, "r", stored(1, Some(key.as_bytes()))).unwrap();
            storage.set_record(keys[0], key, stored(100 + number, Some(key.as_bytes()))).unwrap();
            storage.set_reply(Timestamp::default(), key, number, &Reply::done(None)).unwrap();
        }
    });
    for (key, number) in keys.iter().zip(1..) {
        assert_eq!(storage.object(key).unwrap(), Some(stored(number, Some(key.as_bytes()))), "{key:?}");
        assert_eq!(storage.datastore(key).unwrap().unwrap().head, sequence(number), "{key:?}");
        assert_eq!(
            storage.record(keys[0], key).unwrap().unwrap().sequence,
            sequence(100 + number),
            "{key:?}"
        );
        assert_eq!(storage.reply(key, number).unwrap(), Recollection::Answered(Reply::done(None)), "{key:?}");
    }
}

fn changes_come_in_the_order_of_their_sequences(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        storage.set_datastore("d", &about(5)).unwrap();
        storage.set_datastore("other", &about(1)).unwrap();
        storage.set_record("other", "x", stored(3, Some(b"x"))).unwrap();
        for (key, number, value) in [
            ("a", 1, Some(b"1")),
            ("b", 2, Some(b"2")),
            ("c", 3, Some(b"3")),
            ("a", 4, Some(b"4")),
            ("b", 5, None),
        ] {
            storage.set_record("d", key, stored(number, value.map(|value| &value[..]))).unwrap();
        }
    });
    let keys = |after| -> Vec<(String, u64)> {
        let found = changes(&storage, "d", after);
        found.into_iter().map(|(key, stored)| (key, stored.sequence.get())).collect()
    };
    assert_eq!(keys(0), [("c".to_owned(), 3), ("a".to_owned(), 4), ("b".to_owned(), 5)]);
    assert_eq!(keys(3), [("a".to_owned(), 4), ("b".to_owned(), 5)]);
    assert!(keys(5).is_empty());
    let mut seen = 0;
    let visit = &mut |_: &Arc<str>, _: &Stored| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    storage.changes("d", Sequence::ZERO, visit).unwrap();
    assert_eq!(seen, 2);
    assert!(changes(&storage, "absent", 0).is_empty());
}

fn a_removed_datastore_leaves_no_records(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        storage.set_datastore("d", &about(1)).unwrap();
        storage.set_record("d", "r", stored(1, Some(b"1"))).unwrap();
    });
    committed(&mut storage, |storage| {
        storage.remove_datastore("d").unwrap();
        storage.remove_datastore("absent").unwrap();
        storage.set_datastore("d", &about(0)).unwrap();
    });
    assert_eq!(storage.datastore("d").unwrap(), Some(about(0)));
    assert_eq!(storage.record("d", "r").unwrap(), None);
    assert!(changes(&storage, "d", 0).is_empty());
}

fn only_the_newest_deletions_are_kept(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        storage.set_datastore("d", &about(6)).unwrap();
        storage.set_record("d", "kept", stored(1, Some(b"1"))).unwrap();
        for number in 2..=6 {
            storage.set_record("d", &format!("r{number}"), stored(number, None)).unwrap();
        }
    });
    storage.begin().unwrap();
    assert_eq!(storage.forget_deletions("d", 2).unwrap(), Some(sequence(4)));
    assert_eq!(storage.forget_deletions("d", 2).unwrap(), None);
    storage.commit().unwrap();
    let left: Vec<_> = changes(&storage, "d", 0).into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, ["kept", "r5", "r6"]);
}

fn a_reply_is_remembered_for_the_last_thousand_numbers(mut storage: impl Storage) {
    let now = Timestamp::from_millis(1);
    let reply = |number| Reply::done(Some(Position { epoch: epoch(1), sequence: sequence(number) }));
    let refused = Reply::Refused { code: 2, message: "no such datastore".into() };
    assert_eq!(storage.reply("c", 1).unwrap(), Recollection::New);
    committed(&mut storage, |storage| {
        storage.set_reply(now, "c", 0, &refused).unwrap();
        for number in 1..=KEPT_REPLIES {
            storage.set_reply(now, "c", number, &reply(number)).unwrap();
        }
        storage.set_reply(now, "other", 0, &refused).unwrap();
    });
    assert_eq!(storage.reply("c", 0).unwrap(), Recollection::Forgotten);
    assert_eq!(storage.reply("c", 1).unwrap(), Recollection::Answered(reply(1)));
    assert_eq!(storage.reply("c", KEPT_REPLIES).unwrap(), Recollection::Answered(reply(KEPT_REPLIES)));
    assert_eq!(storage.reply("c", KEPT_REPLIES + 1).unwrap(), Recollection::New);
    assert_eq!(storage.reply("other", 0).unwrap(), Recollection::Answered(refused));
    committed(&mut storage, |storage| {
        storage.set_reply(now, "c", 3 * KEPT_REPLIES, &reply(1)).unwrap();
    });
    assert_eq!(storage.reply("c", KEPT_REPLIES).unwrap(), Recollection::Forgotten);
}

fn replies_are_forgotten_by_age_and_never_become_new_again(mut storage: impl Storage) {
    let at = Timestamp::from_millis;
    committed(&mut storage, |storage| {
        storage.set_reply(at(10), "c", 1, &Reply::done(None)).unwrap();
        storage.set_reply(at(20), "c", 2, &Reply::done(None)).unwrap();
        storage.set_reply(at(5), "silent", 7, &Reply::done(None)).unwrap();
    });
    committed(&mut storage, |storage| storage.forget_replies(at(20), at(0)).unwrap());
    assert_eq!(storage.reply("c", 1).unwrap(), Recollection::Forgotten);
    assert_eq!(storage.reply("c", 2).unwrap(), Recollection::Answered(Reply::done(None)));
    assert_eq!(storage.reply("c", 3).unwrap(), Recollection::New);
    assert_eq!(storage.reply("silent", 7).unwrap(), Recollection::Forgotten);
    committed(&mut storage, |storage| storage.forget_replies(at(20), at(10)).unwrap());
    assert_eq!(storage.reply("silent", 7).unwrap(), Recollection::New);
    assert_eq!(storage.reply("c", 1).unwrap(), Recollection::Forgotten);
}
