//! What every storage keeps of mailboxes.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::{Storage, Timestamp, committed};
use crate::server::storage::mailbox::{Notification, Trace};

pub(super) fn run<S: Storage>(mut make: impl FnMut() -> S) {
    a_notification_is_read_back_with_what_became_of_it(make());
    what_is_pending_comes_in_the_order_of_its_arrival_and_under_rising_numbers(make());
    what_is_delivered_is_pending_no_more_and_still_known(make());
    only_the_newest_pending_ones_are_kept_and_the_others_are_not_known_any_more(make());
    what_has_expired_is_purged_from_both_indexes_and_counted(make());
    a_number_is_not_given_again_after_its_notification_was_removed(make());
    a_rollback_leaves_nothing_of_what_was_done_to_mailboxes(make());
    any_text_names_a_mailbox(make());
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn trace(number: u8) -> Trace {
    Trace::from_bytes([number; 16])
}

fn notification(number: u8, to: &str) -> Notification {
    Notification {
        trace: trace(number),
        from: "sender".into(),
        to: to.into(),
        pack: [0x01, number][..].into(),
        suit: number.is_multiple_of(2),
        created: at(10),
        expires: at(1_000 + u64::from(number)),
        delivered: None,
        reply: None,
    }
}

fn pending(storage: &impl Storage, to: &str, after: u64) -> Vec<(u64, Notification)> {
    let mut found = Vec::new();
    let visit = &mut |number, notification: &Notification| {
        found.push((number, notification.clone()));
        ControlFlow::Continue(())
    };
    storage.pending(to, after, visit).unwrap();
    found
}

fn traces(storage: &impl Storage, to: &str) -> Vec<Trace> {
    pending(storage, to, 0).into_iter().map(|(_, notification)| notification.trace).collect()
}

fn a_notification_is_read_back_with_what_became_of_it(mut storage: impl Storage) {
    assert_eq!(storage.notification(trace(1)).unwrap(), None);
    let mut expected =
        Notification { suit: true, expires: at(u64::from(u32::MAX) * 1_000), ..notification(1, "b") };
    committed(&mut storage, |storage| storage.put_notification(&expected).unwrap());
    assert_eq!(storage.notification(trace(1)).unwrap(), Some(expected.clone()));
    for reply in [&[0x01][..], &[0x02, 0x03]] {
        committed(&mut storage, |storage| {
            storage.set_delivered(trace(1), at(20)).unwrap();
            storage.set_notification_reply(trace(1), at(30), &reply.into()).unwrap();
            // Nobody knows this one.
            storage.set_delivered(trace(9), at(20)).unwrap();
            storage.set_notification_reply(trace(9), at(20), &reply.into()).unwrap();
            storage.remove_notification(trace(9)).unwrap();
        });
        (expected.delivered, expected.reply) = (Some(at(20)), Some((at(30), reply.into())));
        assert_eq!(storage.notification(trace(1)).unwrap(), Some(expected.clone()));
    }
    assert_eq!(storage.notification(trace(9)).unwrap(), None);
    committed(&mut storage, |storage| storage.remove_notification(trace(1)).unwrap());
    assert_eq!(storage.notification(trace(1)).unwrap(), None);
}

fn what_is_pending_comes_in_the_order_of_its_arrival_and_under_rising_numbers(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        for (number, to) in [(3, "b"), (1, "b"), (9, "c"), (2, "b")] {
            storage.put_notification(&notification(number, to)).unwrap();
        }
    });
    assert_eq!(traces(&storage, "b"), [trace(3), trace(1), trace(2)]);
    assert_eq!(storage.pending_count("b").unwrap(), 3);
    assert_eq!(storage.pending_count("absent").unwrap(), 0);
    let found = pending(&storage, "b", 0);
    assert!(found[0].0 > 0 && found.is_sorted_by_key(|(number, _)| *number), "{found:?}");
    assert_eq!(pending(&storage, "b", found[0].0), found[1..]);
    assert!(pending(&storage, "b", found[2].0).is_empty());
    let mut seen = 0;
    let visit = &mut |_, _: &Notification| {
        seen += 1;
        ControlFlow::Break(())
    };
    storage.pending("b", 0, visit).unwrap();
    assert_eq!(seen, 1);
}

fn what_is_delivered_is_pending_no_more_and_still_known(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        storage.put_notification(&notification(1, "b")).unwrap();
        storage.put_notification(&notification(2, "b")).unwrap();
        storage.set_delivered(trace(1), at(20)).unwrap();
    });
    assert_eq!(traces(&storage, "b"), [trace(2)]);
    assert_eq!(storage.pending_count("b").unwrap(), 1);
    assert_eq!(storage.notification(trace(1)).unwrap().unwrap().delivered, Some(at(20)));
}

fn only_the_newest_pending_ones_are_kept_and_the_others_are_not_known_any_more(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        for number in 1..=5 {
            storage.put_notification(&notification(number, "b")).unwrap();
        }
        storage.put_notification(&notification(9, "c")).unwrap();
        storage.set_delivered(trace(2), at(20)).unwrap();
    });
    committed(&mut storage, |storage| {
        storage.evict_pending("b", 7).unwrap();
        storage.evict_pending("absent", 0).unwrap();
        storage.evict_pending("b", 2).unwrap();
    });
    assert_eq!(traces(&storage, "b"), [trace(4), trace(5)]);
    assert_eq!(storage.notification(trace(1)).unwrap(), None);
    assert!(storage.notification(trace(2)).unwrap().is_some());
    assert_eq!(traces(&storage, "c"), [trace(9)]);
    committed(&mut storage, |storage| storage.evict_pending("b", 0).unwrap());
    assert!(traces(&storage, "b").is_empty());
}

fn what_has_expired_is_purged_from_both_indexes_and_counted(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        for number in 1..=4 {
            storage.put_notification(&notification(number, "b")).unwrap();
        }
        storage.set_delivered(trace(1), at(20)).unwrap();
    });
    let mut purge = |now| {
        let mut removed = 0;
        committed(&mut storage, |storage| removed = storage.purge_notifications(now).unwrap());
        removed
    };
    // The last moment belongs to the notification.
    assert_eq!(purge(at(1_001)), 0);
    assert_eq!(purge(at(1_003)), 2);
    assert_eq!(purge(at(1_003)), 0);
    assert_eq!(traces(&storage, "b"), [trace(3), trace(4)]);
    assert_eq!(storage.notification(trace(1)).unwrap(), None);
    assert_eq!(storage.notification(trace(2)).unwrap(), None);
}

fn a_number_is_not_given_again_after_its_notification_was_removed(mut storage: impl Storage) {
    committed(&mut storage, |storage| storage.put_notification(&notification(1, "b")).unwrap());
    let first = pending(&storage, "b", 0)[0].0;
    committed(&mut storage, |storage| storage.remove_notification(trace(1)).unwrap());
    committed(&mut storage, |storage| storage.put_notification(&notification(2, "b")).unwrap());
    assert_eq!(pending(&storage, "b", first).len(), 1);
}

fn a_rollback_leaves_nothing_of_what_was_done_to_mailboxes(mut storage: impl Storage) {
    committed(&mut storage, |storage| {
        for number in 1..=4 {
            storage.put_notification(&notification(number, "b")).unwrap();
        }
        storage.set_delivered(trace(4), at(20)).unwrap();
    });
    let before = pending(&storage, "b", 0);
    let delivered = storage.notification(trace(4)).unwrap();
    storage.begin().unwrap();
    storage.put_notification(&notification(5, "b")).unwrap();
    storage.set_delivered(trace(1), at(30)).unwrap();
    storage.set_notification_reply(trace(4), at(30), &[0x01][..].into()).unwrap();
    storage.remove_notification(trace(2)).unwrap();
    storage.evict_pending("b", 1).unwrap();
    storage.purge_notifications(at(5_000)).unwrap();
    assert!(pending(&storage, "b", 0).is_empty());
    storage.rollback().unwrap();
    assert_eq!(pending(&storage, "b", 0), before);
    assert_eq!(storage.notification(trace(4)).unwrap(), delivered);
    assert_eq!(storage.notification(trace(5)).unwrap(), None);
    let mut removed = 0;
    committed(&mut storage, |storage| removed = storage.purge_notifications(at(5_000)).unwrap());
    assert_eq!(removed, 4);
}

fn any_text_names_a_mailbox(mut storage: impl Storage) {
    let long = "k".repeat(10_000);
    let names = ["", "\0", "a\0b", "a", "A", "مرحبا", "世界", "%_'\";--", "*", &long];
    committed(&mut storage, |storage| {
        for (name, number) in names.iter().zip(1..) {
            storage
                .put_notification(&Notification { from: (*name).into(), ..notification(number, name) })
                .unwrap();
        }
    });
    for (name, number) in names.iter().zip(1..) {
        assert_eq!(traces(&storage, name), [trace(number)], "{name:?}");
        assert_eq!(&*storage.notification(trace(number)).unwrap().unwrap().from, *name);
    }
}
