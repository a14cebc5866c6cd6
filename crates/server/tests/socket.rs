//! The running program: sockets, durability, and other people's frames.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod rig;

use std::fs;

use rig::{Client, Program, get, messages};
use tidewire::protocol::{
    ClientMessage, CloseCode, EncodedValue, Operation, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, ServerMessage,
    Subscription, Target, limits::MAX_FRAME_BYTES,
};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_change_of_one_client_reaches_another() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut watcher = Client::connect(&server.address, "watcher").await;
    assert_eq!(watcher.object(1, "k", None).await, "Absent { sequence: #0 }");
    let mut writer = Client::connect(&server.address, "writer").await;
    let position = writer.put(1, "k", r#"{"name":"Ada"}"#).await;
    let frame = watcher.frame().await.unwrap();
    match messages(&frame)[0] {
        ServerMessage::Envelope { sequence, value: Some(value), .. } => {
            assert_eq!(sequence, position.sequence);
            assert_eq!(value.string_field("name"), Some("Ada"));
        }
        ref other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn clients_of_either_codec_see_each_others_values() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut text = Client::dial(&server.address, Some(SUBPROTOCOL_JSON), None).await.unwrap();
    text.raw(Message::text(r#"[[1,"text",null],[2,[[1,[0,"k"],null]]]]"#)).await;
    let first = text.text().await.unwrap();
    assert!(first.starts_with("[[64,"), "{first}");
    let mut bytes = Client::connect(&server.address, "bytes").await;
    let position = bytes.put(1, "k", r#"{"name":"Ada"}"#).await;
    let envelope = loop {
        let frame = text.text().await.unwrap();
        if frame.starts_with("[[67,") {
            break frame;
        }
    };
    assert!(envelope.ends_with(r#",1,null,null,null,true,{"name":"Ada"}]]"#), "{envelope}");
    text.raw(Message::text(r#"[[4,1,[0,"k",{"$":["map",{"$":1}]}]]]"#)).await;
    let frame = bytes.object(1, "k", Some(position)).await;
    assert!(frame == "Current" || frame.starts_with("Tail"), "{frame}");
    let acknowledged = loop {
        let frame = text.text().await.unwrap();
        if frame.contains("[69,1,") {
            break frame;
        }
    };
    assert!(acknowledged.contains(&format!(r#"[69,1,["{}",2]]"#, position.epoch.text())), "{acknowledged}");
    assert!(bytes.object(2, "k", None).await.starts_with(r#"2 {"$":1}"#));
}

#[tokio::test]
async fn an_envelope_that_is_relayed_reaches_whoever_follows_its_key_in_their_own_codec() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut bytes = Client::connect(&server.address, "bytes").await;
    bytes
        .send(&[ClientMessage::Subscribe(vec![Subscription {
            id: 1,
            target: Target::Relay("cursor:1"),
            position: None,
        }])])
        .await;
    assert!(matches!(
        messages(&bytes.frame().await.unwrap())[0],
        ServerMessage::Following { subscription: 1 }
    ));
    let mut text = Client::dial(&server.address, Some(SUBPROTOCOL_JSON), None).await.unwrap();
    let epoch = "000102030405060708090a0b0c0d0e0f";
    let envelope = format!(r#""cursor:1",7,null,"1.0","{epoch}",true,{{"x":1}}"#);
    text.raw(Message::text(format!(
        r#"[[1,"text",null],[2,[[1,[5,"cursor:1"],null]]],[4,1,[8,{envelope}]]]"#
    )))
    .await;
    let frame = bytes.frame().await.unwrap();
    let ServerMessage::Relayed(relayed) = messages(&frame)[0] else { panic!("{:?}", messages(&frame)) };
    assert_eq!((relayed.key, relayed.sequence.get(), relayed.prev), ("cursor:1", 7, None));
    assert_eq!(relayed.epoch.unwrap().text(), epoch);
    assert_eq!(tidewire::protocol::to_json(relayed.value.unwrap()).unwrap(), r#"{"x":1}"#);
    let mut own = String::new();
    while !(own.contains(&format!("[80,{envelope}]")) && own.contains("[69,1,null]")) {
        own.push_str(&text.text().await.unwrap());
    }
    // The authority knows nothing of it.
    assert!(get(&server.address, "/v1/objects/cursor:1").0.starts_with("http/1.1 404"));
}

#[tokio::test]
async fn a_frame_of_the_other_codec_or_one_that_is_no_json_ends_the_connection() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    for (protocol, frame) in [
        (SUBPROTOCOL_JSON, Message::binary(vec![0x91, 0x07])),
        (SUBPROTOCOL_JSON, Message::text("[[1,")),
        (SUBPROTOCOL_JSON, Message::text(format!("[{}", "[".repeat(100_000)))),
        (SUBPROTOCOL_MSGPACK, Message::text("[[7]]")),
    ] {
        let mut client = Client::dial(&server.address, Some(protocol), None).await.unwrap();
        client.raw(frame).await;
        let (code, reason) = loop {
            match client.frame().await {
                Ok(_goodbye) => {}
                Err(closed) => break closed,
            }
        };
        assert_eq!(code, CloseCode::Malformed.number(), "{reason}");
    }
}

#[tokio::test]
async fn an_acknowledged_write_survives_a_kill_and_its_sequence_is_never_used_again() {
    let data = tempfile::tempdir().unwrap();
    let mut last = None;
    let mut requests = 1..;
    for round in 1..=5 {
        let server = Program::start(data.path(), &[]);
        let mut client = Client::connect(&server.address, "c").await;
        if let Some(last) = last {
            assert_eq!(client.object(1, "k", Some(last)).await, "Current");
        }
        let (_, rows) = client.rows("d", "id").await;
        assert_eq!(rows.len(), usize::from(round > 1));
        for n in 1..=20 {
            let put = client.put(requests.next().unwrap(), "k", &format!("[{round},{n}]")).await;
            assert_eq!(put.sequence.get(), (round - 1) * 20 + n);
            assert!(last.is_none_or(|last| last.epoch == put.epoch));
            last = Some(put);
            let set = client.set(requests.next().unwrap(), "d", &format!(r#"{{"id":"a","n":{n}}}"#)).await;
            assert_eq!(set.sequence.get(), (round - 1) * 20 + n);
        }
        server.kill();
    }
    let server = Program::start(data.path(), &[]);
    let mut client = Client::connect(&server.address, "other").await;
    assert_eq!(client.object(1, "k", None).await, "100 [5,20]");
    // A request whose answer might have been lost in the kill is answered as before, not run again.
    let mut same = Client::connect(&server.address, "c").await;
    let before = requests.next().unwrap() - 2;
    assert_eq!(same.put(before, "k", "[5,20]").await, last.unwrap());
}

#[tokio::test]
async fn a_malformed_frame_closes_its_own_connection_with_a_reason_and_others_go_on() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut good = Client::connect(&server.address, "good").await;
    let deep = vec![0x91; 100_000];
    let claim = vec![0xdd, 0xff, 0xff, 0xff, 0xff, 0x01];
    for frame in [b"not a message".to_vec(), deep, claim, vec![0xc1]] {
        let mut bad = Client::connect(&server.address, "bad").await;
        bad.raw(Message::binary(frame)).await;
        let frame = bad.frame().await.unwrap();
        assert!(matches!(messages(&frame)[0], ServerMessage::Goodbye { code: 4500, .. }));
        let (code, reason) = bad.close().await;
        assert_eq!(code, CloseCode::Malformed.number());
        assert!(!reason.is_empty());
    }
    let mut text = Client::connect(&server.address, "text").await;
    text.raw(Message::text("[7]")).await;
    assert_eq!(text.close().await.0, CloseCode::Malformed.number());
    let mut large = Client::connect(&server.address, "large").await;
    large.raw(Message::binary(vec![0; MAX_FRAME_BYTES + 1])).await;
    assert_eq!(large.close().await.0, CloseCode::LimitExceeded.number());
    good.put(1, "k", "1").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped_and_the_others_do_not_feel_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut slow = Client::connect(&server.address, "slow").await;
    let subscription = Subscription { id: 1, target: Target::Object("k"), position: None };
    slow.send(&[ClientMessage::Subscribe(vec![subscription])]).await;
    let mut writer = Client::connect(&server.address, "writer").await;
    let value = format!("\"{}\"", "x".repeat(200_000));
    // More than all buffers between the two hold together.
    for request in 1..=150 {
        writer.put(request, "k", &value).await;
    }
    let (code, _) = slow.close().await;
    // The close frame itself waits behind bytes that nobody took; it may not arrive at all.
    assert!([CloseCode::SlowConsumer.number(), 1006].contains(&code), "{code}");
    writer.put(151, "k", "1").await;
}

#[tokio::test]
async fn many_writers_share_a_commit_and_each_gets_its_own_answer() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut clients = Vec::new();
    for n in 0..16 {
        clients.push(Client::connect(&server.address, &format!("c{n}")).await);
    }
    let bytes = [0x01];
    let value = EncodedValue::check(&bytes).unwrap();
    let writes: Vec<_> = (1..=50)
        .map(|request| ClientMessage::Write { request, operation: Operation::Put { key: "k", value } })
        .collect();
    for client in &mut clients {
        client.send(&writes).await;
    }
    let mut sequences = Vec::new();
    for client in &mut clients {
        let mut acks = 0;
        while acks < 50 {
            for message in messages(&client.frame().await.unwrap()) {
                let ServerMessage::Ack { position, .. } = message else { panic!("{message:?}") };
                sequences.push(position.unwrap().sequence.get());
                acks += 1;
            }
        }
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=800).collect::<Vec<_>>());
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_that_is_told_to_end_says_goodbye_and_exits_with_zero() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Program::start(data.path(), &[]);
    let mut client = Client::connect(&server.address, "c").await;
    client.put(1, "k", "1").await;
    server.terminate();
    let frame = client.frame().await.unwrap();
    assert!(matches!(
        messages(&frame)[0],
        ServerMessage::Goodbye { code: 4000, retry_after: Some(1_000), .. }
    ));
    assert_eq!(client.close().await.0, CloseCode::Restarting.number());
    assert_eq!(tokio::task::spawn_blocking(move || server.wait()).await.unwrap(), Some(0));
    // The log was folded into the database: an ordered end leaves one file.
    assert!(!data.path().join("tidewire.db-wal").exists());
}

#[tokio::test]
async fn files_are_served_with_their_types_and_a_word_about_how_long_they_last() {
    let data = tempfile::tempdir().unwrap();
    let page = tempfile::tempdir().unwrap();
    fs::create_dir(page.path().join("assets")).unwrap();
    fs::write(page.path().join("index.html"), "<h1>page</h1>").unwrap();
    fs::write(page.path().join("assets/core-1a2b.wasm"), "wasm").unwrap();
    fs::write(data.path().join("secret"), "secret").unwrap();
    let server = Program::start(data.path(), &["--www", page.path().to_str().unwrap()]);
    let (head, body) = get(&server.address, "/");
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/html"), "{head}");
    assert!(head.contains("cache-control: no-cache"), "{head}");
    assert_eq!(body, "<h1>page</h1>");
    let (head, _) = get(&server.address, "/assets/core-1a2b.wasm");
    assert!(head.contains("content-type: application/wasm"), "{head}");
    assert!(head.contains("cache-control: public, max-age=31536000, immutable"), "{head}");
    for path in ["/absent", "/assets/absent.js", "/../secret", "/%2e%2e/secret", "/assets/..%2f..%2fsecret"] {
        let (head, body) = get(&server.address, path);
        assert!(head.starts_with("http/1.1 4"), "{path}: {head}");
        assert!(!head.contains("immutable"), "{path}: {head}");
        assert_ne!(body, "secret");
    }
    fs::write(page.path().join("404.html"), "<h1>nothing here</h1>").unwrap();
    let (head, body) = get(&server.address, "/absent");
    assert!(head.starts_with("http/1.1 404") && head.contains("content-type: text/html"), "{head}");
    assert_eq!(body, "<h1>nothing here</h1>");
    assert_eq!(get(&server.address, "/healthz").1, "ok\n");
}
