//! The command line: what it does, and the one sentence it says when it cannot.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod rig;

use std::{fs, net::TcpListener, path::Path};

use rig::{Client, Program, run};

/// Runs a command that must fail with one sentence that says all of `hints`.
#[track_caller]
fn fails(arguments: &[&str], hints: &[&str]) {
    let (is_success, _, complaint) = run(arguments);
    assert!(!is_success, "{arguments:?}");
    assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
    for hint in hints {
        assert!(complaint.contains(hint), "{complaint:?} does not say {hint:?}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn serve(data: &Path) -> [&str; 5] {
    ["serve", "--listen", "127.0.0.1:0", "--data", text(data)]
}

fn import<'a>(file: &'a Path, data: &'a Path) -> Vec<&'a str> {
    vec!["import", text(file), "--datastore", "d", "--primary", "code", "--data", text(data)]
}

#[test]
fn a_taken_port_is_named() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    fails(&["serve", "--listen", &address, "--data", text(data.path())], &[&address, "taken", "--listen"]);
}

#[test]
fn listening_beyond_this_machine_needs_a_word() {
    let data = tempfile::tempdir().unwrap();
    fails(&["serve", "--listen", "0.0.0.0:0", "--data", text(data.path())], &["--open"]);
}

#[test]
fn a_missing_page_and_an_unusable_data_directory_are_named() {
    let data = tempfile::tempdir().unwrap();
    let mut arguments = serve(data.path()).to_vec();
    arguments.extend(["--www", "no/such/page"]);
    fails(&arguments, &["no/such/page", "--www"]);
    let file = data.path().join("file");
    fs::write(&file, "").unwrap();
    fails(&serve(&file), &["data directory", "--data"]);
}

#[test]
fn a_foreign_a_damaged_and_another_versions_database_are_refused_and_left_as_they_are() {
    for (hints, spoil) in [
        (&["another program"][..], foreign as fn(&Path)),
        (&["damaged", "backup"], not_a_database),
        (&["damaged", "backup"], scribbled),
        (&["schema version 99", "reads up to version"], newer),
        (&["missing", "-wal"], lost),
    ] {
        let data = tempfile::tempdir().unwrap();
        let source = data.path().join("records.json");
        let records: Vec<_> =
            (0..2_000).map(|n| format!(r#"{{"code":"c{n}","text":"{}"}}"#, "x".repeat(99))).collect();
        fs::write(&source, records.join("\n")).unwrap();
        assert!(run(&import(&source, data.path())).0);
        spoil(data.path());
        let before = files(data.path());
        fails(&serve(data.path()), hints);
        fails(&import(&source, data.path()), hints);
        assert_eq!(files(data.path()), before, "{hints:?}");
    }
}

/// The bytes of every file that matters.
fn files(data: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !text(path).ends_with("-shm"))
        .map(|path| (text(&path).to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn foreign(data: &Path) {
    let path = data.join("tidewire.db");
    fs::remove_file(&path).unwrap();
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)").unwrap();
}

fn not_a_database(data: &Path) {
    fs::write(data.join("tidewire.db"), "these are not the bytes you are looking for ".repeat(100)).unwrap();
}

fn scribbled(data: &Path) {
    let path = data.join("tidewire.db");
    let mut bytes = fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4_096).step_by(7) {
        *byte ^= 0x55;
    }
    fs::write(path, bytes).unwrap();
}

fn newer(data: &Path) {
    let database = rusqlite::Connection::open(data.join("tidewire.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
}

fn lost(data: &Path) {
    fs::remove_file(data.join("tidewire.db")).unwrap();
    fs::write(data.join("tidewire.db-wal"), "what was acknowledged last").unwrap();
}

#[tokio::test]
async fn an_import_is_complete_and_running_it_again_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let source = data.path().join("records.json");
    fs::write(
        &source,
        r#"[{"code":"ARE","native":"الإمارات"},{"code":"CHN","native":"中国"},{"code":"RUS","n":[1.5,null]}]"#,
    )
    .unwrap();
    let (is_success, said, _) = run(&import(&source, data.path()));
    assert!(is_success);
    assert_eq!(said, "d: 3 records written, 0 unchanged\n");
    assert_eq!(run(&import(&source, data.path())).1, "d: 0 records written, 3 unchanged\n");
    let server = Program::start(data.path(), &[]);
    let mut client = Client::connect(&server.address, "c").await;
    let (head, rows) = client.rows("d", "code").await;
    assert_eq!(head, 3);
    assert_eq!(rows, [("ARE".to_owned(), 1), ("CHN".to_owned(), 2), ("RUS".to_owned(), 3)]);
    client.set(1, "d", r#"{"code":"CHN","native":"changed"}"#).await;
    server.kill();
    let mut if_empty = import(&source, data.path());
    if_empty.push("--if-empty");
    assert_eq!(run(&if_empty).1, "d: holds records already, left alone\n");
    // Only the one that differs is written.
    assert_eq!(run(&import(&source, data.path())).1, "d: 1 records written, 2 unchanged\n");
}

#[test]
fn a_bad_file_is_refused_whole_and_the_error_says_where() {
    let data = tempfile::tempdir().unwrap();
    let store = data.path().join("store");
    let source = data.path().join("records.json");
    let deep = format!("[{{\"code\":\"a\",\"deep\":{}1{}}}]", "[".repeat(70), "]".repeat(70));
    let large = format!("{{\"code\":\"a\"}}\n{{\"code\":\"b\",\"text\":\"{}\"}}", "x".repeat(300_000));
    for (content, hints) in [
        (r#"[{"code":"a"},{"kode":"b"}]"#, &["record 2", "code", "--primary"][..]),
        (r#"[{"code":"a"},{"code":7}]"#, &["record 2", "code"]),
        ("{\"code\":\"a\"}\n{\"code\":\"b\"}\n{\"code\":\"a\"}", &["record 3", "same name", "record 1"]),
        ("{\"code\":\"a\"}\n{\"code\":", &["not valid JSON", "line 2"]),
        (r#"[{"code":"a"}"#, &["not valid JSON", "line 1"]),
        (&deep, &["record 1", "deeper than 64"]),
        (&large, &["record 2", "larger than 262144 bytes"]),
    ] {
        fs::write(&source, content).unwrap();
        fails(&import(&source, &store), hints);
        assert!(!store.exists(), "{content:.40}");
    }
    fails(&import(&data.path().join("absent.json"), &store), &["absent.json", "cannot be read"]);
}

#[test]
fn an_import_into_a_table_with_another_primary_field_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let source = data.path().join("records.json");
    fs::write(&source, r#"[{"code":"a","id":"1"}]"#).unwrap();
    assert!(run(&import(&source, data.path())).0);
    let arguments = ["import", text(&source), "--datastore", "d", "--data", text(data.path())];
    fails(&arguments, &["permanent with the primary field code", "--primary"]);
}

#[test]
fn a_data_directory_in_use_is_neither_served_nor_imported_into() {
    let data = tempfile::tempdir().unwrap();
    let source = data.path().join("records.json");
    fs::write(&source, r#"[{"code":"a"}]"#).unwrap();
    let _server = Program::start(data.path(), &[]);
    fails(&serve(data.path()), &["in use by another tidewire-server"]);
    fails(&import(&source, data.path()), &["in use by another tidewire-server"]);
}

#[test]
fn unknown_flags_are_refused_and_the_version_is_told() {
    assert!(!run(&["serve", "--lisen", "x"]).0);
    assert!(run(&["--version"]).1.starts_with("tidewire-server "));
}
