//! Checking, backing up and restoring: what is put back is what was there, and every client can tell what is lost.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod rig;

use std::{fs, path::Path};

use rig::{Client, Program, messages, run};
use rusqlite::Connection;
use tidewire::protocol::{
    Answer, ClientMessage, Epoch, Lineage, Open, Position, ServerMessage, Subscription, Target,
};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let (is_success, said, complaint) = run(arguments);
    assert!(is_success, "{arguments:?}: {complaint}");
    said
}

#[track_caller]
fn fails(arguments: &[&str], hint: &str) {
    let (is_success, _, complaint) = run(arguments);
    assert!(!is_success, "{arguments:?}");
    assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
    assert!(complaint.contains(hint), "{complaint:?} does not say {hint:?}");
}

/// Subscribes, and returns the epoch, the sequence and the lineage of the snapshot.
async fn snapshot(client: &mut Client, target: Target<'_>, position: Position) -> (Epoch, u64, Lineage) {
    let subscription = Subscription { id: 9, target, position: Some(position) };
    client.send(&[ClientMessage::Subscribe(vec![subscription])]).await;
    let frame = client.frame().await.unwrap();
    for message in messages(&frame) {
        if let ServerMessage::Answer { epoch, answer, .. } = message {
            return match answer {
                Answer::Snapshot { sequence, lineage, .. } | Answer::Page { sequence, lineage, .. } => {
                    (epoch, sequence.get(), lineage)
                }
                other => panic!("{other:?}"),
            };
        }
    }
    panic!("no answer");
}

fn kept(lineage: &Lineage) -> Vec<(Epoch, u64)> {
    lineage.entries().iter().map(|entry| (entry.epoch, entry.sequence.get())).collect()
}

const DATASTORE: Target<'static> =
    Target::Datastore { id: "d", open: Some(Open { permanent: true, primary: "id" }) };

/// Writes one object five times, and five records.
async fn write_five(client: &mut Client) {
    client.rows("d", "id").await;
    for n in 1..=5 {
        client.put(n, "k", &n.to_string()).await;
        client.set(100 + n, "d", &format!(r#"{{"id":"{n}"}}"#)).await;
    }
}

#[tokio::test]
async fn a_backup_of_a_running_server_is_restored_under_new_epochs_that_tell_what_was_kept() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("backup.db");
    let directory = data.path().join("data");
    let (old, old_table);
    {
        let server = Program::start(&directory, &[]);
        let mut client = Client::connect(&server.address, "c").await;
        write_five(&mut client).await;
        client.put(200, "other", "1").await;
        assert!(
            succeeds(&["check", "--data", text(&directory)]).contains("2 objects, 5 records in 1 datastores")
        );
        succeeds(&["backup", text(&file), "--data", text(&directory)]);
        fails(&["backup", text(&file), "--data", text(&directory)], "exists");
        // What comes after the backup is lost, and was seen.
        old = client.put(201, "k", "6").await;
        old_table = client.set(202, "d", r#"{"id":"6"}"#).await;
        client.put(203, "late", "1").await;
        let restore = ["restore", text(&file), "--data", text(&directory), "--replace"];
        fails(&restore, "in use by another tidewire-server");
        server.kill();
    }
    fails(&["restore", text(&file), "--data", text(&directory)], "--replace");
    let said = succeeds(&["restore", text(&file), "--data", text(&directory), "--replace"]);
    assert!(said.contains("2 histories go on under new epochs"), "{said}");
    assert!(succeeds(&["check", "--data", text(&directory)]).contains("2 objects, 5 records"));
    {
        let server = Program::start(&directory, &[]);
        let mut client = Client::connect(&server.address, "c").await;
        let (epoch, sequence, lineage) = snapshot(&mut client, Target::Object("k"), old).await;
        assert_ne!(epoch, old.epoch);
        assert_eq!((sequence, kept(&lineage)), (5, vec![(old.epoch, 5)]));
        let (_, sequence, lineage) = snapshot(&mut client, Target::Object("other"), old).await;
        assert_eq!((sequence, kept(&lineage)), (1, vec![(old.epoch, 1)]));
        let (table_epoch, sequence, lineage) = snapshot(&mut client, DATASTORE, old_table).await;
        assert_ne!(table_epoch, old_table.epoch);
        assert_eq!((sequence, kept(&lineage)), (5, vec![(old_table.epoch, 5)]));
        // An object that is new since then kept nothing, and one that was kept goes on.
        let again = client.put(204, "late", "2").await;
        assert_eq!((again.epoch, again.sequence.get()), (epoch, 1));
        let (_, _, lineage) = snapshot(&mut client, Target::Object("late"), old).await;
        assert_eq!(kept(&lineage), [(old.epoch, 0)]);
        assert_eq!(client.put(205, "k", "7").await.sequence.get(), 6);
        let (_, _, lineage) = snapshot(&mut client, Target::Object("k"), old).await;
        assert_eq!(kept(&lineage), [(old.epoch, 5)]);
        // A second restore keeps the first one's epoch in the lineage too.
        let second = data.path().join("second.db");
        succeeds(&["backup", text(&second), "--data", text(&directory)]);
        server.kill();
        succeeds(&["restore", text(&second), "--data", text(&directory), "--replace"]);
        let server = Program::start(&directory, &[]);
        let mut client = Client::connect(&server.address, "c").await;
        let (_, _, lineage) = snapshot(&mut client, Target::Object("k"), old).await;
        assert_eq!(kept(&lineage), [(epoch, 6), (old.epoch, 5)]);
        let (_, _, lineage) = snapshot(&mut client, Target::Object("late"), old).await;
        assert_eq!(kept(&lineage), [(epoch, 1), (old.epoch, 0)]);
        server.kill();
    }
    // What was replaced is a whole database still, with what its log held.
    let aside = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let mut aside: Vec<_> =
        aside.filter(|path| text(path).contains(".replaced-") && !text(path).ends_with("-wal")).collect();
    aside.sort();
    let database = Connection::open(&aside[0]).unwrap();
    let head: i64 =
        database.query_row("SELECT sequence FROM objects WHERE key = 'k'", [], |row| row.get(0)).unwrap();
    assert_eq!(head, 6);
}

#[tokio::test]
async fn whoever_saw_an_epoch_between_two_restores_of_one_backup_is_told_what_was_kept_of_it() {
    let data = tempfile::tempdir().unwrap();
    let (file, directory) = (data.path().join("backup.db"), data.path().join("data"));
    let first;
    {
        let server = Program::start(&directory, &[]);
        let mut client = Client::connect(&server.address, "c").await;
        write_five(&mut client).await;
        first = client.put(6, "other", "1").await.epoch;
        succeeds(&["backup", text(&file), "--data", text(&directory)]);
        server.kill();
    }
    let mut between = Vec::new();
    for round in 1..=3_u64 {
        succeeds(&["restore", text(&file), "--data", text(&directory), "--replace"]);
        let server = Program::start(&directory, &[]);
        let mut client = Client::connect(&server.address, "c").await;
        // Seen by clients, and gone with the next restore.
        let object = client.put(1_000 * round, "k", &format!("\"{round}\"")).await;
        let row = client.set(1_000 * round + 1, "d", r#"{"id":"6"}"#).await;
        let late = client.put(1_000 * round + 2, "late", "1").await;
        assert_eq!((object.sequence.get(), row.sequence.get(), late.sequence.get()), (6, 6, 1));
        between.push((object, row));
        server.kill();
    }
    succeeds(&["restore", text(&file), "--data", text(&directory), "--replace"]);
    assert!(succeeds(&["check", "--data", text(&directory)]).contains("sound"));
    let server = Program::start(&directory, &[]);
    let mut client = Client::connect(&server.address, "c").await;
    let expected = |of: fn(&(Position, Position)) -> Position, kept| {
        let newest_first = between.iter().rev();
        newest_first.map(move |seen| (of(seen).epoch, kept)).collect::<Vec<_>>()
    };
    let last = between.last().unwrap().0;
    let (_, sequence, lineage) = snapshot(&mut client, Target::Object("k"), last).await;
    assert_eq!(sequence, 5);
    assert_eq!(kept(&lineage)[..3], expected(|seen| seen.0, 5)[..]);
    assert_eq!(kept(&lineage)[3..], [(first, 5)]);
    let (_, sequence, lineage) = snapshot(&mut client, DATASTORE, last).await;
    assert_eq!((sequence, lineage.entries().len()), (5, 4));
    assert_eq!(kept(&lineage)[..3], expected(|seen| seen.1, 5)[..]);
    // What was new each time kept nothing.
    client.put(9_000, "late", "2").await;
    let (_, _, lineage) = snapshot(&mut client, Target::Object("late"), last).await;
    assert_eq!(kept(&lineage)[..3], expected(|seen| seen.0, 0)[..]);
}

#[tokio::test]
async fn a_backup_taken_under_steady_writes_is_of_one_moment() {
    let data = tempfile::tempdir().unwrap();
    let (directory, file) = (data.path().join("data"), data.path().join("backup.db"));
    let server = Program::start(&directory, &[]);
    let mut client = Client::connect(&server.address, "c").await;
    client.rows("d", "id").await;
    let filler = "x".repeat(10_000);
    for n in 1..=300 {
        client.set(n, "d", &format!(r#"{{"id":"{n}","text":"{filler}"}}"#)).await;
    }
    let (from, to) = (directory.clone(), file.clone());
    let backup = tokio::task::spawn_blocking(move || run(&["backup", text(&to), "--data", text(&from)]));
    let mut request = 300;
    while !backup.is_finished() {
        request += 1;
        client.set(request, "d", &format!(r#"{{"id":"{}","n":{request}}}"#, request % 300)).await;
    }
    assert!(backup.await.unwrap().0);
    let restored = data.path().join("restored");
    succeeds(&["restore", text(&file), "--data", text(&restored)]);
    assert!(succeeds(&["check", "--data", text(&restored)]).contains("sound"));
    let database = Connection::open(restored.join("tidewire.db")).unwrap();
    let heads = "SELECT head, (SELECT max(sequence) FROM records) FROM datastores";
    let (head, newest): (i64, i64) =
        database.query_row(heads, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(head, newest);
    assert!((300..=i64::try_from(request).unwrap()).contains(&head));
}

#[tokio::test]
async fn a_check_finds_what_is_not_as_it_should_be() {
    let data = tempfile::tempdir().unwrap();
    {
        let server = Program::start(data.path(), &[]);
        let mut client = Client::connect(&server.address, "c").await;
        client.rows("d", "id").await;
        for n in 1..=3 {
            client.set(n, "d", &format!(r#"{{"id":"{n}"}}"#)).await;
        }
        client.put(9, "k", "1").await;
        server.kill();
    }
    let check = ["check", "--data", text(data.path())];
    succeeds(&check);
    for (spoil, mend, hint) in [
        (
            "UPDATE datastores SET head = 2",
            "UPDATE datastores SET head = 3",
            "beyond its datastore's head (d 3)",
        ),
        ("UPDATE datastores SET floor = 9", "UPDATE datastores SET floor = 0", "below its floor"),
        ("UPDATE objects SET value = x'c1'", "UPDATE objects SET value = x'01'", "value of k is malformed"),
        (
            "UPDATE records SET key = 'z' WHERE key = '1'",
            "UPDATE records SET key = '1' WHERE key = 'z'",
            "the record z calls itself otherwise",
        ),
        ("UPDATE objects SET sequence = 0", "UPDATE objects SET sequence = 1", "out of range (k)"),
        (
            "UPDATE request_log SET replies = CAST(x'c1' || replies AS BLOB)",
            "UPDATE request_log SET replies = substr(replies, 2)",
            "requests cannot be read",
        ),
        (
            "INSERT INTO records VALUES (77, 'a', 1, NULL, NULL)",
            "DELETE FROM records WHERE datastore = 77",
            "no datastore",
        ),
        (
            "UPDATE history SET epoch = (SELECT epoch FROM datastores)",
            "UPDATE history SET epoch = randomblob(16)",
            "two histories",
        ),
    ] {
        let database = Connection::open(data.path().join("tidewire.db")).unwrap();
        assert!(database.execute(spoil, []).unwrap() > 0);
        fails(&check, hint);
        assert!(database.execute(mend, []).unwrap() > 0);
        succeeds(&check);
    }
    fails(&["check", "--data", text(&data.path().join("nowhere"))], "no database");
    fails(
        &["backup", text(&data.path().join("b")), "--data", text(&data.path().join("nowhere"))],
        "no database",
    );
}

#[test]
fn what_is_no_backup_is_not_restored_and_leaves_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let directory = data.path().join("data");
    let file = data.path().join("file");
    fails(&["restore", text(&file), "--data", text(&directory)], "there is no file");
    fs::write(&file, "no backup at all, but long enough to be taken for a file ".repeat(100)).unwrap();
    fails(&["restore", text(&file), "--data", text(&directory)], "damaged");
    fs::remove_file(&file).unwrap();
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    fails(&["restore", text(&file), "--data", text(&directory)], "another program");
    let left: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["tidewire.lock"]);
}
