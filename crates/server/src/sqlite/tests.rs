//! The storage's own matters: schema steps, and the log of replies.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

use std::path::Path;

use rusqlite::Connection;
use tidewire::{
    protocol::{Epoch, Position, Sequence, Timestamp},
    server::storage::{KEPT_REPLIES, Recollection, Reply, Storage, conformance},
};

use super::{
    DATABASE, Sqlite,
    open::{SCHEMA_VERSION, STEPS, migrate},
};

#[test]
fn sqlite_is_a_storage() {
    let mut directories = Vec::new();
    conformance::run(|| {
        let directory = tempfile::tempdir().unwrap();
        let storage = Sqlite::open(directory.path()).unwrap();
        directories.push(directory);
        storage
    });
}

fn version(database: &Connection) -> usize {
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    usize::try_from(version).unwrap()
}

fn rows(database: &Connection, table: &str) -> rusqlite::Result<i64> {
    database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
}

/// A database as its first version wrote it, with everything in it.
fn first_version(path: &Path) {
    let database = Connection::open(path).unwrap();
    migrate(&database, &STEPS[..1]).unwrap();
    let epoch = "x'11111111111111111111111111111111'";
    database
        .execute_batch(&format!(
            "INSERT INTO history VALUES (1, {epoch}, x'');
             INSERT INTO objects VALUES ('k', 7, '3.1', x'01'), ('gone', 2, NULL, NULL);
             INSERT INTO datastores VALUES (5, 'd', 'id', {epoch}, x'', 9, 3, NULL);
             INSERT INTO records VALUES (5, 'a', 8, NULL, x'02'), (5, 'b', 9, NULL, NULL);
             INSERT INTO replies VALUES
                 ('c', 0, 10, NULL, NULL, NULL, NULL),
                 ('c', 1, 20, NULL, NULL, {epoch}, 7),
                 ('c', 2, 30, 2, 'keine Tür', NULL, NULL),
                 ('far', 5000, 30, NULL, NULL, {epoch}, 1),
                 ('far', 6, 30, NULL, NULL, NULL, NULL);
             INSERT INTO clients VALUES ('c', 1, 5), ('silent', 4, 5);"
        ))
        .unwrap();
    assert_eq!(version(&database), 1);
}

#[test]
fn a_database_of_the_first_version_is_brought_up_to_date_and_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    first_version(&directory.path().join(DATABASE));
    for _ in 0..2 {
        let storage = Sqlite::open(directory.path()).unwrap();
        assert_eq!(version(&storage.database), SCHEMA_VERSION);
        let epoch = Epoch::from_bytes([0x11; 16]);
        assert_eq!(storage.history().unwrap().unwrap().epoch, epoch);
        let object = storage.object("k").unwrap().unwrap();
        assert_eq!((object.sequence.get(), object.version.as_deref()), (7, Some("3.1")));
        assert_eq!(object.value.as_deref(), Some(&[1][..]));
        assert_eq!(storage.object("gone").unwrap().unwrap().value, None);
        let about = storage.datastore("d").unwrap().unwrap();
        assert_eq!((about.epoch, about.head.get(), about.floor.get()), (epoch, 9, 3));
        assert_eq!(storage.record("d", "a").unwrap().unwrap().sequence.get(), 8);
        assert_eq!(storage.record("d", "b").unwrap().unwrap().value, None);
        let recall = |client, request| storage.reply(client, request).unwrap();
        let at = |sequence| {
            let position = Position { epoch, sequence: Sequence::new(sequence).unwrap() };
            Recollection::Answered(Reply::done(Some(position)))
        };
        assert_eq!(recall("c", 0), Recollection::Forgotten);
        assert_eq!(recall("c", 1), at(7));
        let refused = Reply::Refused { code: 2, message: "keine Tür".into() };
        assert_eq!(recall("c", 2), Recollection::Answered(refused));
        assert_eq!(recall("c", 3), Recollection::New);
        assert_eq!(recall("far", 5_000), at(1));
        assert_eq!(recall("far", 6), Recollection::Forgotten);
        assert_eq!(recall("far", 5_001 - KEPT_REPLIES), Recollection::New);
        assert_eq!(recall("silent", 3), Recollection::Forgotten);
        assert_eq!(recall("silent", 4), Recollection::New);
    }
}

#[test]
fn a_step_that_fails_leaves_the_version_before_it_with_everything_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(DATABASE);
    first_version(&path);
    let database = Connection::open(&path).unwrap();
    let broken = "CREATE TABLE half (done INTEGER); DROP TABLE objects; INSERT INTO nowhere VALUES (1)";
    assert!(migrate(&database, &[STEPS[0], STEPS[1], broken]).is_err());
    assert_eq!(version(&database), 2);
    assert_eq!(rows(&database, "objects").unwrap(), 2);
    assert!(rows(&database, "half").is_err());
    drop(database);
    let storage = Sqlite::open(directory.path()).unwrap();
    assert_eq!(storage.object("k").unwrap().unwrap().sequence.get(), 7);
}

#[test]
fn the_log_of_replies_is_folded_into_rows_and_read_back_from_both() {
    let directory = tempfile::tempdir().unwrap();
    let at = Timestamp::from_millis;
    let knows_all = |storage: &Sqlite| {
        let recall = |request| storage.reply("c7", request).unwrap();
        (1..=600).all(|request| matches!(recall(request), Recollection::Answered(_)))
            && recall(601) == Recollection::New
    };
    let mut storage = Sqlite::open(directory.path()).unwrap();
    for request in 1..=600 {
        storage.begin().unwrap();
        for client in 0..60 {
            storage.set_reply(at(request), &format!("c{client}"), request, &Reply::done(None)).unwrap();
        }
        storage.commit().unwrap();
    }
    for _ in 0..2 {
        assert_eq!(rows(&storage.database, "requests").unwrap(), 60);
        assert_eq!(rows(&storage.database, "request_log").unwrap(), 53);
        assert!(knows_all(&storage));
        drop(storage);
        storage = Sqlite::open(directory.path()).unwrap();
    }
    // What a transaction that is rolled back remembered is not known, whatever it folded.
    storage.begin().unwrap();
    for request in 601..40_000 {
        storage.set_reply(at(1), "c7", request, &Reply::done(None)).unwrap();
    }
    storage.forget_replies(at(0), at(0)).unwrap();
    storage.rollback().unwrap();
    assert!(knows_all(&storage));
    assert_eq!(rows(&storage.database, "request_log").unwrap(), 53);
}
