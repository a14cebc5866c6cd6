//! What `export` writes, `import` reads back.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod rig;

use std::{fs, path::Path};

use rig::{Client, Program, get, run};
use tidewire::protocol::{
    ClientMessage, EncodedValue, Open, Operation, Subscription, Target, Writer, frame_value_to_json,
};

/// Runs a command that must succeed; returns what it printed.
#[track_caller]
fn works(arguments: &[&str]) -> String {
    let (is_success, said, complaint) = run(arguments);
    assert!(is_success, "{arguments:?}: {complaint}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Values that JSON has no words for, or that a careless reader changes.
fn values() -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    let mut value = |write: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::new();
        writer.map(2);
        writer.str("id");
        writer.str(&format!("r{:03}", values.len()));
        writer.str("value");
        write(&mut writer);
        values.push(writer.into_bytes());
    };
    value(&|writer| writer.u64(u64::MAX));
    value(&|writer| writer.i64(i64::MIN));
    for number in [-0.0, 1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 5e-324, 1.797_693_134_862_315_7e308]
    {
        value(&|writer| writer.f64(number));
    }
    // A reader that is a little quick with the last digit changes about one in ten.
    let mut state = 1_u64;
    for _ in 0..200 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = f64::from_bits(state);
        if !number.is_nan() {
            value(&|writer| writer.f64(number));
        }
    }
    value(&|writer| {
        writer.map(1);
        writer.str("$");
        writer.str("not an escape");
    });
    value(&|writer| writer.str("line\nbreak \u{2028} \u{0} \"quote\" 🌊"));
    values
}

#[tokio::test]
async fn an_export_of_a_running_server_is_read_back_exactly_and_in_the_same_order() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut client = Client::connect(&server.address, "c").await;
    let open = Some(Open { permanent: true, primary: "id" });
    let target = Target::Datastore { id: "d", open };
    client.send(&[ClientMessage::Subscribe(vec![Subscription { id: 1, target, position: None }])]).await;
    let values = values();
    for (bytes, n) in values.iter().rev().zip(1_u64..) {
        let value = EncodedValue::check(bytes).unwrap();
        let set = Operation::Set { datastore: "d", value };
        let key = format!("object/{n}\"\\");
        let put = Operation::Put { key: &key, value };
        client
            .send(&[
                ClientMessage::Write { request: 2 * n, operation: set },
                ClientMessage::Write { request: 2 * n + 1, operation: put },
            ])
            .await;
        client.reply(2 * n + 1).await.unwrap();
    }
    client.put(2_000, "gone", "1").await;
    client
        .send(&[ClientMessage::Write { request: 2_001, operation: Operation::Delete { key: "gone" } }])
        .await;
    client.reply(2_001).await.unwrap();
    let records = works(&["export", "--datastore", "d", "--data", text(data.path())]);
    let objects = works(&["export", "--objects", "--data", text(data.path())]);
    server.kill();

    let expected: Vec<_> =
        values.iter().map(|bytes| frame_value_to_json(EncodedValue::check(bytes).unwrap())).collect();
    assert_eq!(records.lines().collect::<Vec<_>>(), expected);
    assert_eq!(objects.lines().count(), values.len());
    assert!(!objects.contains("gone"));

    let other = tempfile::tempdir().unwrap();
    let [records_file, objects_file] = ["records", "objects"].map(|name| other.path().join(name));
    fs::write(&records_file, &records).unwrap();
    fs::write(&objects_file, &objects).unwrap();
    let store = other.path().join("store");
    let count = values.len();
    let said = works(&["import", text(&records_file), "--datastore", "d", "--data", text(&store)]);
    assert_eq!(said, format!("d: {count} records written, 0 unchanged\n"));
    let said = works(&["import", text(&objects_file), "--objects", "--data", text(&store)]);
    assert_eq!(said, format!("objects: {count} records written, 0 unchanged\n"));
    assert_eq!(works(&["export", "--datastore", "d", "--data", text(&store)]), records);
    assert_eq!(works(&["export", "--objects", "--data", text(&store)]), objects);
    // Read back into where it came from, it changes nothing: the values are the same to the bit.
    for arguments in [
        ["import", text(&records_file), "--datastore=d", "--data", text(data.path())],
        ["import", text(&objects_file), "--objects", "--data", text(data.path())],
    ] {
        assert!(works(&arguments).ends_with(&format!(": 0 records written, {count} unchanged\n")));
    }
}

#[test]
fn an_export_takes_no_other_files_place_and_says_what_is_not_there() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("objects");
    fs::write(&file, "{\"key\":\"k\",\"value\":[1]}\n").unwrap();
    let store = data.path().join("store");
    works(&["import", text(&file), "--objects", "--data", text(&store)]);
    for (arguments, hints) in [
        (
            &["export", "--datastore", "nope", "--data", text(&store)][..],
            &["no permanent datastore nope"][..],
        ),
        (
            &["export", "--objects", "--data", text(&store), "--output", text(&file)],
            &["cannot make", "not exist"],
        ),
        (&["export", "--objects", "--data", text(data.path())], &["no database in"]),
    ] {
        let (is_success, said, complaint) = run(arguments);
        assert!(!is_success && said.is_empty(), "{said}");
        assert!(hints.iter().all(|hint| complaint.contains(hint)), "{complaint}");
    }
    let output = data.path().join("out");
    assert_eq!(works(&["export", "--objects", "--data", text(&store), "--output", text(&output)]), "");
    assert_eq!(fs::read_to_string(&output).unwrap(), fs::read_to_string(&file).unwrap());
    for arguments in [&["export"][..], &["export", "--objects", "--datastore", "d"]] {
        assert!(!run(arguments).0, "{arguments:?}");
    }
}

#[test]
fn what_is_no_object_is_refused_with_its_number() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("objects");
    for line in [
        r#"{"key":"k"}"#,
        r#"{"key":"","value":1}"#,
        r#"{"key":1,"value":1}"#,
        r#"{"key":"k","value":1,"x":1}"#,
        "7",
    ] {
        fs::write(&file, format!("{{\"key\":\"a\",\"value\":1}}\n{line}\n")).unwrap();
        let (is_success, _, complaint) =
            run(&["import", text(&file), "--objects", "--data", text(&data.path().join("s"))]);
        assert!(
            !is_success && complaint.contains("record 2") && complaint.contains("nothing was imported"),
            "{complaint}"
        );
    }
}

#[test]
fn an_import_follows_the_files_table() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("tidewire.toml");
    fs::write(&config, "data = 'store'\n[objects.'user:*']\nschema_version = '1.2'\n").unwrap();
    let file = data.path().join("objects");
    fs::write(&file, "{\"key\":\"user:1\",\"value\":1}\n").unwrap();
    works(&["import", text(&file), "--objects", "--config", text(&config)]);
    let server = Program::start(&data.path().join("store"), &[]);
    let (_, body) = get(&server.address, "/v1/objects/user:1");
    assert!(body.contains(r#""schema_version":"1.2""#), "{body}");
}
