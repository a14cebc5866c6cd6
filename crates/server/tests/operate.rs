//! Running the program: what it tells of itself, what it is told, and what it does when things go wrong.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod rig;

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rig::{Client, Program, ask, get, program, run};
use tidewire::protocol::{
    ClientMessage, CloseCode, EncodedValue, ErrorCode, Operation, SUBPROTOCOL_JSON, Subscription, Target,
};
use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest, http::HeaderValue};

/// Every sample of `/metrics`, by its name with its labels.
fn scrape(address: &str) -> BTreeMap<String, f64> {
    let (head, body) = get(address, "/metrics");
    assert!(head.starts_with("http/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    let samples = body.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Asks until the answer is as wanted.
#[track_caller]
fn until<T>(mut look: impl FnMut() -> T, is_wanted: impl Fn(&T) -> bool) -> T {
    let started = Instant::now();
    loop {
        let seen = look();
        if is_wanted(&seen) {
            return seen;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "it did not come to that");
        sleep(Duration::from_millis(20));
    }
}

fn status(address: &str, path: &str) -> u16 {
    get(address, path).0[9..12].parse().unwrap()
}

#[tokio::test]
async fn what_clients_do_shows_in_the_metrics() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let before = scrape(&server.address);
    assert_eq!(before["tidewire_ready"], 1.0);
    assert_eq!(before["tidewire_writes_total{outcome=\"done\"}"], 0.0);
    let mut ada = Client::connect(&server.address, "ada").await;
    let mut bob = Client::connect(&server.address, "bob").await;
    ada.object(1, "k", None).await;
    let first = bob.put(1, "k", "1").await;
    bob.put(2, "k", "2").await;
    bob.object(1, "k", Some(first)).await;
    bob.send(&[ClientMessage::Write {
        request: 3,
        operation: Operation::Set { datastore: "d", value: EncodedValue::NIL },
    }])
    .await;
    assert_eq!(bob.reply(3).await, Err(ErrorCode::NotFound.number()));
    let seen = scrape(&server.address);
    for (name, expected) in [
        ("tidewire_connections", 2.0),
        ("tidewire_sessions", 2.0),
        ("tidewire_subscriptions", 2.0),
        ("tidewire_connections_opened_total", 2.0),
        ("tidewire_received_messages_total", 7.0),
        ("tidewire_writes_total{outcome=\"done\"}", 2.0),
        ("tidewire_writes_total{outcome=\"not_found\"}", 1.0),
        ("tidewire_answers_total{asked=\"subscribe\",answer=\"absent\"}", 1.0),
        ("tidewire_answers_total{asked=\"subscribe\",answer=\"tail\"}", 1.0),
        ("tidewire_answers_total{asked=\"refetch\",answer=\"snapshot\"}", 0.0),
        // Two changes to one follower, and a tail.
        ("tidewire_sent_envelopes_total", 3.0),
        ("tidewire_commits_total", 2.0),
        ("tidewire_commit_seconds_count", 2.0),
        ("tidewire_storage_failures_total", 0.0),
        // What has not happened is 0, not missing.
        ("tidewire_writes_total{outcome=\"storage_failed\"}", 0.0),
        ("tidewire_connections_closed_total{reason=\"slow_consumer\"}", 0.0),
        ("tidewire_connections_refused_total{reason=\"connections\"}", 0.0),
    ] {
        assert_eq!(seen.get(name), Some(&expected), "{name} in {seen:#?}");
    }
    assert!(seen["tidewire_received_bytes_total"] > 50.0 && seen["tidewire_sent_bytes_total"] > 50.0);
    assert!(seen["tidewire_batch_inputs_count"] >= 4.0, "{seen:#?}");
    ada.raw(tokio_tungstenite::tungstenite::Message::text("[7]")).await;
    ada.close().await;
    drop(bob);
    // What the connections' tasks count, they count when they come to it.
    until(
        || scrape(&server.address),
        |seen| {
            let closed =
                |reason| seen.get(&format!("tidewire_connections_closed_total{{reason=\"{reason}\"}}"));
            let is_empty = seen["tidewire_connections"] == 0.0 && seen["tidewire_backlog_bytes"] == 0.0;
            is_empty && closed("malformed") == Some(&1.0) && closed("client") == Some(&1.0)
        },
    );
}

#[test]
fn metrics_are_for_this_machine_and_not_for_whom_a_proxy_on_it_asks() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let asked =
        |headers: &[(&str, &str)]| ask(&server.address, "GET", "/metrics", headers, "").0[9..12].to_owned();
    assert_eq!(asked(&[]), "200");
    assert_eq!(asked(&[("x-forwarded-for", "203.0.113.7")]), "404");
    assert_eq!(asked(&[("forwarded", "for=203.0.113.7")]), "404");
    assert_eq!(asked(&[("host", "evil.example.com")]), "404");
}

#[test]
fn an_address_of_its_own_for_metrics_says_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let _server = Program::start(data.path(), &["--metrics-listen", &free]);
    assert_eq!(scrape(&free)["tidewire_ready"], 1.0);
    // Whoever reaches it is meant to.
    assert!(ask(&free, "GET", "/metrics", &[("x-forwarded-for", "203.0.113.7")], "").0.contains("200"));
    assert_eq!((status(&free, "/readyz"), status(&free, "/healthz")), (200, 200));
    assert_eq!((status(&free, "/v1/objects/k"), status(&free, "/v1/sync")), (404, 404));
}

#[test]
fn a_server_that_still_opens_its_database_lives_and_is_not_ready() {
    let data = tempfile::tempdir().unwrap();
    Program::start(data.path(), &[]).kill();
    let database = rusqlite::Connection::open(data.path().join("tidewire.db")).unwrap();
    // Whoever opens it has to wait for this to end.
    database.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut child = program()
        .args(["serve", "--listen", &address, "--data", data.path().to_str().unwrap()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until(|| std::net::TcpStream::connect(&address).is_ok(), |is_there| *is_there);
    assert_eq!(get(&address, "/readyz").1, "opening the database\n");
    assert_eq!((status(&address, "/readyz"), status(&address, "/healthz")), (503, 200));
    assert_eq!(scrape(&address)["tidewire_ready"], 0.0);
    let (head, _) = get(&address, "/v1/objects/k");
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: 1"), "{head}");
    drop(database);
    until(|| status(&address, "/readyz"), |status| *status == 200);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A limit on the size of files is a disk that is full, and can be taken away again.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_refuses_writes_and_readiness_and_room_gives_both_back() {
    let data = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    // Without the trap, the signal that comes with the limit would end the server.
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_tidewire-server")]);
    shell.stderr(Stdio::null());
    let server = Program::run(shell, data.path(), &[]);
    let mut client = Client::connect(&server.address, "c").await;
    let before = client.put(1, "k", "1").await;
    let limit = |bytes: &str| {
        let id = server.id().to_string();
        let done = Command::new("prlimit").args(["--pid", &id, &format!("--fsize={bytes}:")]).status();
        assert!(done.unwrap().success());
    };
    limit("4096");
    let bytes = [0x01];
    let operation = Operation::Put { key: "k", value: EncodedValue::check(&bytes).unwrap() };
    client.send(&[ClientMessage::Write { request: 2, operation }]).await;
    assert_eq!(client.reply(2).await, Err(ErrorCode::StorageFailed.number()));
    assert!(get(&server.address, "/readyz").1.starts_with("the storage fails\nacknowledged: committed"));
    assert_eq!((status(&server.address, "/readyz"), status(&server.address, "/healthz")), (503, 200));
    // What is there can still be read, and the socket is open.
    assert_eq!(status(&server.address, "/v1/objects/k"), 200);
    let seen = scrape(&server.address);
    assert!(seen["tidewire_storage_failures_total"] >= 1.0 && seen["tidewire_ready"] == 0.0, "{seen:#?}");
    limit("unlimited");
    until(|| status(&server.address, "/readyz"), |status| *status == 200);
    let after = client.put(2, "k", "1").await;
    assert_eq!((after.epoch, after.sequence), (before.epoch, before.sequence.next().unwrap()));
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_that_stops_is_not_ready_and_lets_nobody_in() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Program::start(data.path(), &[]);
    // A client that does not answer the goodbye keeps the server around for a moment.
    let _client = Client::connect(&server.address, "c").await;
    let mut probe = std::net::TcpStream::connect(&server.address).unwrap();
    sleep(Duration::from_millis(50));
    server.terminate();
    sleep(Duration::from_millis(300));
    let asked = std::io::Write::write_all(
        &mut probe,
        b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    );
    let mut answer = String::new();
    if asked.is_ok() && probe.read_to_string(&mut answer).is_ok() && !answer.is_empty() {
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("stopping\n"), "{answer}");
    }
    assert!(std::net::TcpStream::connect(&server.address).is_err());
    assert_eq!(tokio::task::spawn_blocking(move || server.wait()).await.unwrap(), Some(0));
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let data = tempfile::tempdir().unwrap();
    let [page, other] = ["page", "other"].map(|name| data.path().join(name));
    for page in [&page, &other] {
        fs::create_dir(page).unwrap();
        fs::write(page.join("index.html"), page.to_str().unwrap()).unwrap();
    }
    let config = data.path().join("tidewire.toml");
    fs::write(&config, "www = 'page'\nallow_origin = ['https://file.example.com']\n").unwrap();
    let config = config.to_str().unwrap();
    let server = Program::start(data.path(), &["--config", config]);
    assert_eq!(get(&server.address, "/").1, page.to_str().unwrap());
    let mut command = program();
    command.env("TIDEWIRE_CONFIG", config).env("TIDEWIRE_WWW", &other);
    let elsewhere = tempfile::tempdir().unwrap();
    let server = Program::run(command, elsewhere.path(), &[]);
    assert_eq!(get(&server.address, "/").1, other.to_str().unwrap());
    let mut command = program();
    command.env("TIDEWIRE_WWW", &other);
    let elsewhere = tempfile::tempdir().unwrap();
    let server = Program::run(command, elsewhere.path(), &["--www", page.to_str().unwrap()]);
    assert_eq!(get(&server.address, "/").1, page.to_str().unwrap());
}

#[test]
fn a_mistake_in_the_file_ends_the_start_with_one_sentence() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("tidewire.toml");
    fs::write(&config, "open = false\n\n[limits]\nwrite_rates = 5\n").unwrap();
    let config = config.to_str().unwrap();
    for command in ["serve", "check"] {
        let (is_success, _, complaint) = run(&[command, "--config", config]);
        assert!(!is_success);
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        assert!(complaint.contains("tidewire.toml, line 4: `write_rates`"), "{complaint}");
    }
    let (is_success, _, complaint) = run(&["serve", "--config", "no/such.toml"]);
    assert!(
        !is_success && complaint.contains("no/such.toml") && complaint.contains("--config"),
        "{complaint}"
    );
}

#[tokio::test]
async fn the_files_table_stamps_versions_and_shows_each_user_its_part() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("tidewire.toml");
    fs::write(
        &config,
        "[objects.'user:*']\nschema_version = '2.1'\nproject = { email = 'user-in-key', '*' = 'everyone' }\n\
         [datastores.todos]\nproject = { text = 'user-in-field:owner', owner = 'everyone' }\n",
    )
    .unwrap();
    let server = Program::start(data.path(), &["--config", config.to_str().unwrap()]);
    // Where tokens are not checked, a client is who its token says.
    let mut readers = Vec::new();
    for user in ["ada", "bob"] {
        let mut client = Client::dial(&server.address, Some(SUBPROTOCOL_JSON), None).await.unwrap();
        let hello = format!(
            r#"[[1,"{user}","{user}"],[2,[[1,[0,"user:ada"],null],[2,[1,"todos",true,"owner"],null]]]]"#
        );
        client.raw(tokio_tungstenite::tungstenite::Message::text(hello)).await;
        let mut answers = 0;
        while answers < 2 {
            answers += client.text().await.unwrap().matches("[65,").count();
        }
        readers.push(client);
    }
    readers[0]
        .raw(tokio_tungstenite::tungstenite::Message::text(
            r#"[[4,1,[0,"user:ada",{"name":"Ada","email":"a@b.c"}]],[4,2,[2,"todos",{"owner":"ada","text":"t","x":1}]]]"#,
        ))
        .await;
    let mut seen = Vec::new();
    for client in &mut readers {
        let mut envelopes = String::new();
        while envelopes.matches("true,").count() < 2 {
            let frame = client.text().await.unwrap();
            if frame.contains("[67,") {
                envelopes.push_str(&frame);
            }
        }
        seen.push(envelopes);
    }
    assert!(seen[0].contains(r#""2.1",null,true,{"name":"Ada","email":"a@b.c"}"#), "{}", seen[0]);
    assert!(seen[0].contains(r#"true,{"owner":"ada","text":"t"}"#), "{}", seen[0]);
    assert!(seen[1].contains(r#""2.1",null,true,{"name":"Ada"}"#), "{}", seen[1]);
    assert!(seen[1].contains(r#"true,{"owner":"ada"}"#), "{}", seen[1]);
}

#[tokio::test]
async fn the_files_schemas_decide_what_is_stored_by_whatever_way_it_comes() {
    let data = tempfile::tempdir().unwrap();
    let config = data.path().join("tidewire.toml");
    let schema =
        r#"{"type":"object","required":["name"],"properties":{"name":{"type":"string","pattern":"^\\w+$"}}}"#;
    fs::write(data.path().join("user.json"), schema).unwrap();
    fs::write(
        &config,
        "data = 'store'\n[objects.'user:*']\nschema = 'user.json'\n\
         [datastores.todos.schema]\ntype = 'object'\nrequired = ['id', 'text']\n",
    )
    .unwrap();
    let server = Program::start(data.path(), &["--config", config.to_str().unwrap()]);
    let put = |json: &str| {
        let headers = [("content-type", "application/json")];
        let (head, body) = ask(&server.address, "PUT", "/v1/objects/user:1", &headers, json);
        (head[9..12].to_owned(), body)
    };
    assert_eq!(put(r#"{"name":"ada"}"#).0, "200");
    let (status, body) = put(r#"{"name":"a da"}"#);
    assert!(status == "422" && body.contains("the value at `/name` breaks `pattern`"), "{status} {body}");
    let mut client = Client::connect(&server.address, "c").await;
    client.rows("todos", "id").await;
    client.set(1, "todos", r#"{"id":"1","text":"t"}"#).await;
    let bytes = tidewire::protocol::from_json(r#"{"id":"2"}"#).unwrap();
    let operation = Operation::Set { datastore: "todos", value: EncodedValue::check(&bytes).unwrap() };
    client.send(&[ClientMessage::Write { request: 2, operation }]).await;
    assert_eq!(client.reply(2).await, Err(ErrorCode::InvalidValue.number()));
    server.kill();
    let file = data.path().join("users");
    fs::write(&file, "{\"key\":\"user:2\",\"value\":{\"name\":7}}\n").unwrap();
    let arguments = ["import", file.to_str().unwrap(), "--objects", "--config", config.to_str().unwrap()];
    let (is_success, _, complaint) = run(&arguments);
    assert!(!is_success && complaint.contains("`/name` breaks `type`"), "{complaint}");
}

fn refused(dialled: Result<Client, Error>) -> u16 {
    match dialled {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
        Ok(_) => 101,
    }
}

#[tokio::test]
async fn a_full_house_turns_clients_away_until_one_leaves_and_one_address_cannot_fill_it() {
    let data = tempfile::tempdir().unwrap();
    let limits =
        ["--max-connections", "3", "--max-connections-per-address", "2", "--trust-proxy", "127.0.0.1"];
    let server = Program::start(data.path(), &limits);
    let dial = |from: &'static str| {
        let mut request = format!("ws://{}/v1/sync", server.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(SUBPROTOCOL_JSON));
        request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static(from));
        Client::dial_with(request)
    };
    let first = dial("192.0.2.1").await.unwrap();
    let _second = dial("192.0.2.1").await.unwrap();
    assert_eq!(refused(dial("192.0.2.1").await), 503);
    let _third = dial("192.0.2.2").await.unwrap();
    assert_eq!(refused(dial("192.0.2.3").await), 503);
    drop(first);
    let started = Instant::now();
    while refused(dial("192.0.2.3").await) != 101 {
        assert!(started.elapsed() < Duration::from_secs(20));
    }
    let seen = scrape(&server.address);
    assert!(seen["tidewire_connections_refused_total{reason=\"connections_per_address\"}"] >= 1.0);
    assert!(seen["tidewire_connections_refused_total{reason=\"connections\"}"] >= 1.0);
}

#[tokio::test]
async fn a_client_that_writes_too_fast_is_sent_away_and_its_acknowledged_writes_stand() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &["--write-rate", "1", "--write-burst", "5"]);
    let mut client = Client::connect(&server.address, "c").await;
    let bytes = [0x01];
    let value = EncodedValue::check(&bytes).unwrap();
    let writes: Vec<_> = (1..=6)
        .map(|request| ClientMessage::Write { request, operation: Operation::Put { key: "k", value } })
        .collect();
    client.send(&writes).await;
    assert_eq!(client.reply(5).await.unwrap().unwrap().sequence.get(), 5);
    assert_eq!(client.close().await.0, CloseCode::RateLimited.number());
    // The sixth never ran: it does now.
    let mut client = Client::connect(&server.address, "c").await;
    assert_eq!(client.put(6, "k", "1").await.sequence.get(), 6);
    let seen = scrape(&server.address);
    assert_eq!(seen["tidewire_connections_closed_total{reason=\"rate_limited\"}"], 1.0);
}

#[tokio::test]
async fn a_slow_reader_is_evicted_and_resumes_where_it_stood_while_others_go_on() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut slow = Client::connect(&server.address, "slow").await;
    let mut quick = Client::connect(&server.address, "quick").await;
    let mut writer = Client::connect(&server.address, "writer").await;
    let start = writer.put(1, "k", "0").await;
    for client in [&mut slow, &mut quick] {
        let target = Target::Object("k");
        client
            .send(&[ClientMessage::Subscribe(vec![Subscription { id: 1, target, position: Some(start) }])])
            .await;
    }
    assert!(!quick.frame().await.unwrap().is_empty());
    let value = format!("\"{}\"", "x".repeat(200_000));
    // More than all buffers between the server and the one that does not read; the other one reads each before the next.
    let mut last = start;
    for request in 2..=100 {
        last = writer.put(request, "k", &value).await;
        let frame = quick.frame().await.unwrap();
        assert!(frame.len() > 200_000, "{request}");
    }
    let seen = until(
        || scrape(&server.address),
        |seen| seen["tidewire_connections_closed_total{reason=\"slow_consumer\"}"] == 1.0,
    );
    assert!(seen["tidewire_backlog_bytes"] <= 1024.0 * 1024.0, "{seen:#?}");
    drop(slow);
    let mut slow = Client::connect(&server.address, "slow").await;
    assert_eq!(slow.object(1, "k", Some(start)).await, "Tail { count: 1 }");
    assert_eq!(slow.object(2, "k", Some(last)).await, "Current");
}

fn logged(
    data: &Path,
    arguments: &[&str],
    secret: Option<&str>,
) -> (Program, std::thread::JoinHandle<String>) {
    let mut command = program();
    command.stderr(Stdio::piped());
    if let Some(secret) = secret {
        command.env("TIDEWIRE_JWT_SECRET", secret);
    }
    let mut server = Program::run(command, data, arguments);
    let mut log = server.log();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        text
    });
    (server, reader)
}

#[tokio::test]
async fn logs_say_who_came_from_where_and_neither_values_nor_tokens() {
    let data = tempfile::tempdir().unwrap();
    let (server, log) = logged(data.path(), &["--log", "json", "--verbose"], None);
    let mut client = Client::connect(&server.address, "the-client").await;
    client.put(1, "k", "\"a payload\"").await;
    client.send(&[ClientMessage::Hello { client: "again", token: Some("hush") }]).await;
    assert_eq!(client.close().await.0, CloseCode::Unexpected.number());
    let (server_again, log_again) = logged(
        tempfile::tempdir().unwrap().path(),
        &["--log", "json", "--verbose"],
        Some("0123456789abcdef0123456789abcdef"),
    );
    let mut stranger = Client::dial(&server_again.address, Some(SUBPROTOCOL_JSON), None).await.unwrap();
    stranger.raw(tokio_tungstenite::tungstenite::Message::text(r#"[[1,"c","hush.hush.hush"]]"#)).await;
    assert_eq!(stranger.close().await.0, CloseCode::Unauthorized.number());
    server.kill();
    server_again.kill();
    let (log, log_again) = (log.join().unwrap(), log_again.join().unwrap());
    let closed = log.lines().find(|line| line.contains("\"message\":\"closed\"")).unwrap();
    for part in [
        "\"level\":\"INFO\"",
        "\"code\":4501",
        "\"user\":\"the-client\"",
        "\"address\":\"127.0.0.1\"",
        "\"id\":1",
    ] {
        assert!(closed.contains(part), "{closed} does not say {part}");
    }
    assert!(log_again.contains("\"code\":4504"), "{log_again}");
    for (text, log) in [("a payload", &log), ("hush", &log), ("hush", &log_again), ("0123456789", &log_again)]
    {
        assert!(!log.contains(text), "{log}");
    }
    assert!(log.lines().chain(log_again.lines()).all(|line| line.starts_with('{') && line.ends_with('}')));
}
