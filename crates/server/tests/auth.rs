//! Tokens: real ones, over a real socket and over HTTP.
//!
//! The private keys under `keys` were made for these tests and are good for nothing else.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod rig;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet},
};
use rig::{Client, Program, ask, messages, program, run};
use serde_json::{Value, json};
use tidewire::protocol::{
    ClientMessage, CloseCode, EncodedValue, ErrorCode, Open, Operation, Query, SUBPROTOCOL_MSGPACK,
    ServerMessage, Subscription, Target, from_json,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const UNAUTHORIZED: u16 = CloseCode::Unauthorized.number();
const FORBIDDEN: u16 = ErrorCode::Forbidden.number();
const LEEWAY: i64 = 30;

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// What Ada may do for the next hour.
fn claims() -> Value {
    json!({ "sub": "ada", "exp": now() + 3_600, "tidewire": {
        "read": ["object:user:*", "datastore:todos", "kv:settings"],
        "write": ["object:user:*", "mailbox:bob"],
    }})
}

fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

fn hs256(claims: &Value) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn secret_file(directory: &Path, secret: &str) -> PathBuf {
    let file = directory.join("secret");
    fs::write(&file, format!("{secret}\n")).unwrap();
    file
}

fn start(data: &Path) -> Program {
    let file = secret_file(data, SECRET);
    Program::start(data, &["--jwt-secret", file.to_str().unwrap()])
}

/// Base64 for the web, of text that needs none of the padding.
fn encoded(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits: Vec<bool> =
        text.bytes().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let digit = |bits: &[bool]| {
        let number =
            bits.iter().enumerate().map(|(index, bit)| usize::from(*bit) << (5 - index)).sum::<usize>();
        char::from(DIGITS[number])
    };
    bits.chunks(6).map(digit).collect()
}

/// Says hello; the connection if it was welcomed, else how it was closed.
async fn hello(server: &Program, token: Option<&str>) -> Result<Client, (u16, String)> {
    static PAGES: AtomicU32 = AtomicU32::new(0);
    let page = PAGES.fetch_add(1, Ordering::Relaxed).to_string();
    let mut client = Client::dial(&server.address, Some(SUBPROTOCOL_MSGPACK), None).await.unwrap();
    client.send(&[ClientMessage::Hello { client: &page, token }]).await;
    loop {
        let frame = client.frame().await?;
        match messages(&frame)[0] {
            ServerMessage::Welcome { .. } => return Ok(client),
            ServerMessage::Goodbye { .. } => {}
            ref other => panic!("{other:?}"),
        }
    }
}

async fn refused(server: &Program, token: Option<&str>) -> String {
    match hello(server, token).await {
        Ok(_) => panic!("welcomed with {token:?}"),
        Err((code, reason)) => {
            assert_eq!(code, UNAUTHORIZED, "{reason}");
            reason
        }
    }
}

/// The code that a subscription is denied with; 0 if it is answered.
async fn subscribed(client: &mut Client, target: Target<'_>) -> u16 {
    client.send(&[ClientMessage::Subscribe(vec![Subscription { id: 1, target, position: None }])]).await;
    let frame = client.frame().await.unwrap();
    match messages(&frame)[0] {
        ServerMessage::Denied { code, .. } => code,
        ServerMessage::Answer { .. } | ServerMessage::Following { .. } => 0,
        ref other => panic!("{other:?}"),
    }
}

async fn asked(client: &mut Client, about: Query<'_>) -> u16 {
    client.send(&[ClientMessage::Query { query: 1, about }]).await;
    let frame = client.frame().await.unwrap();
    match messages(&frame)[0] {
        ServerMessage::Result { outcome, .. } => outcome.err().map_or(0, |(code, _)| code),
        ref other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_a_token_that_is_signed_with_the_key_and_of_the_time_is_let_in() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    assert!(hello(&server, Some(&hs256(&claims()))).await.is_ok());
    let wrong = EncodingKey::from_secret(b"fedcba9876543210fedcba9876543210");
    let other = encode(&Header::new(Algorithm::HS256), &claims(), &wrong).unwrap();
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let longer = encode(&Header::new(Algorithm::HS384), &claims(), &secret).unwrap();
    let body = claims().to_string();
    let none = format!("{}.{}.", encoded(r#"{"alg":"none","typ":"JWT"}"#), encoded(&body));
    let good = hs256(&claims());
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (head, _) = signed.split_once('.').unwrap();
    let signature = good.rsplit_once('.').unwrap().1;
    let swapped = format!("{head}.{}.{signature}", encoded(&with(claims(), "sub", "root").to_string()));
    let no_end = json!({ "sub": "ada", "tidewire": { "read": ["*"] } });
    let mut critical = Header::new(Algorithm::HS256);
    critical.crit = Some(vec!["unheard".to_owned()]);
    let critical = encode(&critical, &claims(), &secret).unwrap();
    for (token, reason) in [
        (None, "a token is needed"),
        (Some(String::new()), "no signed JSON Web Token"),
        (Some("nonsense".to_owned()), "no signed JSON Web Token"),
        (Some(other), "signature"),
        (Some(swapped), "signature"),
        (Some(format!("{signed}.")), "signature"),
        (Some(none), "no signed JSON Web Token"),
        (Some(longer), "algorithm"),
        (Some(critical), "critical"),
        (Some(hs256(&with(claims(), "exp", now() - LEEWAY - 5))), "expired"),
        (Some(hs256(&with(claims(), "exp", "soon"))), "claims"),
        (Some(hs256(&with(claims(), "exp", (now() + 60).to_string()))), "claims"),
        (Some(hs256(&no_end)), "claims"),
        (Some(hs256(&with(claims(), "nbf", now() + LEEWAY + 60))), "not valid yet"),
        (Some(hs256(&with(claims(), "nbf", "0"))), "claims"),
        (Some(hs256(&with(claims(), "sub", ""))), "1 to 1024"),
        (Some(hs256(&with(claims(), "sub", "server"))), "server"),
        (Some(hs256(&with(claims(), "aud", "elsewhere"))), "audience"),
        (Some(hs256(&with(claims(), "tidewire", json!({ "read": ["everything"] })))), "pattern"),
    ] {
        let said = refused(&server, token.as_deref()).await;
        assert!(said.contains(reason), "{token:?}: {said}");
    }
    // Within the leeway, clocks may differ.
    for token in [with(claims(), "exp", now() - 5), with(claims(), "nbf", now() + 5)] {
        assert!(hello(&server, Some(&hs256(&token))).await.is_ok());
    }
}

#[tokio::test]
async fn a_token_lets_its_user_do_what_it_says_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let mut ada = hello(&server, Some(&hs256(&claims()))).await.unwrap();
    assert_eq!(subscribed(&mut ada, Target::Object("user:1")).await, 0);
    assert_eq!(subscribed(&mut ada, Target::Mailbox).await, 0);
    assert_eq!(subscribed(&mut ada, Target::Object("order:1")).await, FORBIDDEN);
    let open = Some(Open { permanent: true, primary: "id" });
    assert_eq!(subscribed(&mut ada, Target::Datastore { id: "orders", open }).await, FORBIDDEN);
    assert_eq!(subscribed(&mut ada, Target::Watch { group: "*", key: "*" }).await, FORBIDDEN);
    assert_eq!(asked(&mut ada, Query::KvGet { group: "settings", key: "k" }).await, 0);
    assert_eq!(asked(&mut ada, Query::KvGet { group: "secrets", key: "k" }).await, FORBIDDEN);
    ada.put(1, "user:1", "1").await;
    let bytes = from_json("1").unwrap();
    let value = EncodedValue::check(&bytes).unwrap();
    for (request, operation) in [
        (2, Operation::Put { key: "order:1", value }),
        (3, Operation::Delete { key: "order:1" }),
        (4, Operation::Set { datastore: "todos", value }),
        (5, Operation::Notify { to: "carol", pack: value, suit: false, ttl: None }),
    ] {
        ada.send(&[ClientMessage::Write { request, operation }]).await;
        assert_eq!(ada.reply(request).await, Err(FORBIDDEN), "request {request}");
    }
    let powerless = json!({ "sub": "eve", "exp": now() + 60 });
    let mut eve = hello(&server, Some(&hs256(&powerless))).await.unwrap();
    assert_eq!(subscribed(&mut eve, Target::Object("user:1")).await, FORBIDDEN);
}

#[tokio::test]
async fn a_connection_ends_with_its_token_unless_it_is_renewed_in_time_by_the_same_user() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let ends = |seconds: i64| hs256(&with(claims(), "exp", now() + seconds - LEEWAY));
    let began = Instant::now();
    let mut left = hello(&server, Some(&ends(4))).await.unwrap();
    let mut kept = hello(&server, Some(&ends(4))).await.unwrap();
    let mut asked = false;
    while !asked {
        let frame = kept.frame().await.unwrap();
        asked = messages(&frame).iter().any(|message| matches!(message, ServerMessage::Renew { .. }));
    }
    kept.send(&[ClientMessage::Token(&ends(3_600))]).await;
    let (code, reason) = left.close().await;
    assert_eq!(code, UNAUTHORIZED);
    assert!(reason.contains("expired"), "{reason}");
    assert!(began.elapsed() > Duration::from_millis(2_900), "not before its time: {:?}", began.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    kept.put(1, "user:1", "1").await;
    kept.send(&[ClientMessage::Token(&hs256(&with(claims(), "sub", "bob")))]).await;
    let (code, reason) = kept.close().await;
    assert_eq!(code, UNAUTHORIZED);
    assert!(reason.contains("another user"), "{reason}");
}

#[tokio::test]
async fn a_public_key_checks_its_own_algorithm_alone_and_is_found_by_its_id() {
    let data = tempfile::tempdir().unwrap();
    let der =
        |name: &str| fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)).unwrap();
    let keys = [
        ("r", Algorithm::RS256, EncodingKey::from_rsa_der(&der("rsa.der"))),
        ("e", Algorithm::ES256, EncodingKey::from_ec_der(&der("ec.der"))),
        ("d", Algorithm::EdDSA, EncodingKey::from_ed_der(&der("ed.der"))),
    ];
    let mut set = JwkSet { keys: Vec::new() };
    for (id, algorithm, key) in &keys {
        let mut public = Jwk::from_encoding_key(key, *algorithm).unwrap();
        public.common.key_id = Some((*id).to_owned());
        set.keys.push(public);
    }
    // What is published is no secret, even where it says so.
    let published = EncodingKey::from_secret(SECRET.as_bytes());
    set.keys.push(Jwk::from_encoding_key(&published, Algorithm::HS256).unwrap());
    let file = data.path().join("jwks.json");
    fs::write(&file, serde_json::to_vec(&set).unwrap()).unwrap();
    let server = Program::start(data.path(), &["--jwks", file.to_str().unwrap(), "--jwt-audience", "sync"]);
    let claims = with(claims(), "aud", json!(["other", "sync"]));
    let header = |algorithm, id: Option<&str>| {
        let mut header = Header::new(algorithm);
        header.kid = id.map(str::to_owned);
        header
    };
    for (id, algorithm, key) in &keys {
        for id in [Some(*id), None] {
            let token = encode(&header(*algorithm, id), &claims, key).unwrap();
            assert!(hello(&server, Some(&token)).await.is_ok(), "{algorithm:?} {id:?}");
        }
        let token = encode(&header(*algorithm, Some("other")), &claims, key).unwrap();
        assert!(refused(&server, Some(&token)).await.contains("key"));
    }
    assert!(refused(&server, Some(&hs256(&claims))).await.contains("algorithm"));
    // The oldest trick: the public key, which everybody knows, as the secret of an HMAC.
    let public = serde_json::to_value(&set.keys[0]).unwrap();
    for guess in [public["n"].as_str().unwrap(), &serde_json::to_string(&set.keys[0]).unwrap()] {
        let forged = EncodingKey::from_secret(guess.as_bytes());
        let token = encode(&header(Algorithm::HS256, Some("r")), &claims, &forged).unwrap();
        assert!(refused(&server, Some(&token)).await.contains("algorithm"));
    }
    let token = encode(&header(Algorithm::RS512, Some("r")), &claims, &keys[0].2).unwrap();
    assert!(refused(&server, Some(&token)).await.contains("algorithm"));
    let elsewhere = with(claims.clone(), "aud", "other");
    let token = encode(&header(Algorithm::ES256, Some("e")), &elsewhere, &keys[1].2).unwrap();
    assert!(refused(&server, Some(&token)).await.contains("audience"));
}

#[tokio::test]
async fn http_asks_for_the_same_token_and_holds_to_it() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path());
    let bearer = |token: &str| format!("Bearer {token}");
    let (good, late) = (bearer(&hs256(&claims())), bearer(&hs256(&with(claims(), "exp", 1))));
    let status = |method: &str, path: &str, token: Option<&str>| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(token.map(|token| ("authorization", token)));
        let (head, body) = ask(&server.address, method, path, &headers, "1");
        let code: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!(code == 401, head.contains("www-authenticate: bearer"), "{head}");
        assert!(!body.contains("eyJ"), "a token is told to nobody: {body}");
        code
    };
    for (method, path, token, expected) in [
        ("PUT", "/v1/objects/user:1", None, 401),
        ("PUT", "/v1/objects/user:1", Some(&*late), 401),
        ("PUT", "/v1/objects/user:1", Some("Basic YTpi"), 401),
        ("PUT", "/v1/objects/user:1", Some("Bearer"), 401),
        ("PUT", "/v1/objects/user:1", Some(&*good), 200),
        ("PUT", "/v1/objects/order:1", Some(&*good), 403),
        ("DELETE", "/v1/objects/order:1", Some(&*good), 403),
        ("DELETE", "/v1/objects/order:1", None, 401),
        ("GET", "/v1/objects/user:1", None, 401),
        ("GET", "/v1/objects/user:1", Some(&*good), 200),
        ("GET", "/v1/objects/user:2", Some(&*good), 404),
        ("GET", "/v1/objects/order:1", Some(&*good), 403),
        ("GET", "/v1/datastores/todos", None, 401),
        ("GET", "/v1/datastores/todos", Some(&*good), 404),
        ("GET", "/v1/datastores/orders", Some(&*good), 403),
        ("GET", "/healthz", None, 200),
    ] {
        assert_eq!(status(method, path, token), expected, "{method} {path} {token:?}");
    }
}

#[test]
fn keys_that_are_of_no_use_are_refused_at_the_start_in_one_sentence() {
    let data = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let file = data.path().join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let good = at("good", SECRET);
    let short = at("short", "secret");
    let text = at("text", "no keys");
    let empty =
        at("empty", r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"EC","crv":"P-521","x":"","y":""}]}"#);
    let missing = data.path().join("missing");
    for (arguments, sentence) in [
        (vec!["--jwt-secret", missing.to_str().unwrap()], "cannot read"),
        (vec!["--jwt-secret", &short], "openssl rand -hex 32"),
        (vec!["--jwks", &text], "no JSON Web Key Set"),
        (vec!["--jwks", &empty], "no public key"),
        (vec!["--jwt-audience", "me"], "--jwt-audience needs keys"),
        (vec!["--jwt-secret", &good, "--open"], "leave one of them out"),
        (vec!["--listen", "0.0.0.0:0"], "--jwt-secret or --jwks"),
    ] {
        let (succeeded, _, said) =
            run(&[&["serve", "--data", data.path().to_str().unwrap()], &*arguments].concat());
        assert!(!succeeded, "{arguments:?}");
        assert!(said.starts_with("error: ") && said.trim().lines().count() == 1, "{said}");
        assert!(said.contains(sentence), "{said}");
    }
    let refused = program()
        .args(["serve"])
        .stderr(std::process::Stdio::piped())
        .env("TIDEWIRE_JWT_SECRET", "")
        .output()
        .unwrap();
    assert!(!refused.status.success(), "an empty secret is a mistake, not a wish for an open server");
}
