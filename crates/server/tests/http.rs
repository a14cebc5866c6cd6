//! Objects and datastores over plain HTTP.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod rig;

use rig::{Client, Program, ask, get};

const JSON: (&str, &str) = ("content-type", "application/json");

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| line.split_once(": ").filter(|(known, _)| *known == name)).map(|(_, it)| it)
}

#[tokio::test]
async fn a_put_is_read_back_by_http_and_reaches_whoever_follows_the_object() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut watcher = Client::connect(&server.address, "watcher").await;
    watcher.object(1, "user/1:ü", None).await;
    let value = r#"{"name":"Ada","n":9007199254740993,"bytes":{"$":["bin","AAEC"]}}"#;
    let path = "/v1/objects/user/1:%C3%BC";
    let (head, body) = ask(&server.address, "PUT", path, &[JSON], value);
    assert_eq!(status(&head), 200, "{head}{body}");
    let put: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(put["sequence"], 1);
    let (head, body) = get(&server.address, path);
    let epoch = put["epoch"].as_str().unwrap();
    assert_eq!(
        body,
        format!(r#"{{"value":{value},"schema_version":null,"epoch":"{epoch}","sequence":1,"lineage":[]}}"#)
    );
    assert_eq!(header(&head, "etag"), Some(&*format!("\"{epoch}-1\"")));
    let frame = watcher.frame().await.unwrap();
    assert!(format!("{:?}", rig::messages(&frame)[0]).starts_with("Envelope"));

    let (head, _) = ask(&server.address, "DELETE", path, &[], "");
    assert_eq!(status(&head), 200);
    assert_eq!(status(&get(&server.address, path).0), 404);
    assert_eq!(status(&ask(&server.address, "DELETE", path, &[], "").0), 404);
}

#[tokio::test]
async fn an_unchanged_value_is_not_sent_again_and_a_write_may_depend_on_what_was_read() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let put = |conditions: &[(&str, &str)], value: &str| {
        let headers = [&[JSON], conditions].concat();
        let (head, body) = ask(&server.address, "PUT", "/v1/objects/k", &headers, value);
        (status(&head), header(&head, "etag").unwrap_or_default().to_owned(), body)
    };
    let (code, first, _) = put(&[("if-none-match", "*")], "1");
    assert_eq!(code, 200);
    assert_eq!(put(&[("if-none-match", "*")], "2").0, 412);
    let (code, second, _) = put(&[("if-match", &first)], "2");
    assert_eq!(code, 200);
    let (code, _, body) = put(&[("if-match", &first)], "3");
    assert_eq!(code, 412);
    assert!(body.contains(r#""name":"conflict""#), "{body}");
    assert_eq!(put(&[("if-match", "yesterday")], "3").0, 400);
    let (head, body) = ask(&server.address, "GET", "/v1/objects/k", &[("if-none-match", &second)], "");
    assert_eq!((status(&head), body.as_str()), (304, ""));
    let (head, body) = ask(&server.address, "GET", "/v1/objects/k", &[("if-none-match", &first)], "");
    assert_eq!(status(&head), 200);
    assert!(body.starts_with(r#"{"value":2,"#));
}

#[tokio::test]
async fn a_datastore_is_read_whole_in_the_order_of_its_sequences_in_either_codec() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let mut client = Client::connect(&server.address, "c").await;
    client.rows("countries", "cca3").await;
    for (request, record) in
        [(1, r#"{"cca3":"ITA","n":1}"#), (2, r#"{"cca3":"FRA"}"#), (3, r#"{"cca3":"ITA"}"#)]
    {
        client.set(request, "countries", record).await;
    }
    let (head, body) = get(&server.address, "/v1/datastores/countries");
    assert_eq!(header(&head, "content-type"), Some("application/json"));
    let read: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&read["primary"], &read["sequence"]), (&"cca3".into(), &3.into()));
    let rows: Vec<_> =
        read["records"].as_array().unwrap().iter().map(|row| (&row["key"], &row["sequence"])).collect();
    assert_eq!(rows, [(&"FRA".into(), &2.into()), (&"ITA".into(), &3.into())]);
    let msgpack = [("accept", "application/msgpack")];
    let (head, _) = ask(&server.address, "GET", "/v1/datastores/countries", &msgpack, "");
    assert_eq!(header(&head, "content-type"), Some("application/msgpack"));
    assert_eq!(status(&get(&server.address, "/v1/datastores/absent").0), 404);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_in_a_code_and_a_sentence() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &[]);
    let long = "k".repeat(1_025);
    let large = format!("\"{}\"", "x".repeat(256 * 1024));
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    for (path, kind, body, code, word) in [
        ("/v1/objects/k", "text/plain", "1", 400, "Content-Type"),
        ("/v1/objects/k", "application/json", "{", 400, "JSON"),
        ("/v1/objects/k", "application/json", deep.as_str(), 400, "64"),
        ("/v1/objects/k", "application/json", &large, 413, "value"),
        ("/v1/objects/k", "application/msgpack", "\u{1}\u{1}", 400, "end"),
        (&*format!("/v1/objects/{long}"), "application/json", "1", 413, "key"),
    ] {
        let (head, said) = ask(&server.address, "PUT", path, &[("content-type", kind)], body);
        assert_eq!(status(&head), code, "{said}");
        assert!(said.contains(r#""retryable":false"#) && said.contains(word), "{said}");
    }
    assert_eq!(status(&get(&server.address, "/v1/objects/k").0), 404, "nothing was written");
}

#[tokio::test]
async fn pages_of_other_origins_and_names_that_others_pointed_here_are_turned_away() {
    let data = tempfile::tempdir().unwrap();
    let server = Program::start(data.path(), &["--allow-origin", "https://app.example.com"]);
    let read = |headers: &[(&str, &str)]| ask(&server.address, "GET", "/v1/objects/k", headers, "").0;
    assert_eq!(status(&read(&[("origin", "https://evil.example")])), 403);
    assert_eq!(status(&read(&[("host", "evil.example:4400")])), 403);
    assert_eq!(status(&read(&[("host", "app.example.com")])), 404);
    let allowed = read(&[("origin", "https://app.example.com")]);
    assert_eq!(status(&allowed), 404);
    assert_eq!(header(&allowed, "access-control-allow-origin"), Some("https://app.example.com"));
    let preflight = [("origin", "https://app.example.com"), ("access-control-request-method", "PUT")];
    let (head, _) = ask(&server.address, "OPTIONS", "/v1/objects/k", &preflight, "");
    assert!(header(&head, "access-control-allow-methods").unwrap().contains("put"), "{head}");
}
