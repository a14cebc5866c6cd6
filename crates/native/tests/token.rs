//! Tokens that are fetched: before every connection, before the end of one, and once more after a refusal.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;
use tidewire_native::{Client, Connection, TokenReason};
use tidewire_server::{
    Builder,
    keys::{LEEWAY, Sources},
};
use tokio::{sync::oneshot, time::timeout};

const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

#[derive(Serialize)]
struct Claims {
    sub: &'static str,
    exp: u64,
    tidewire: Scopes,
}

#[derive(Serialize)]
struct Scopes {
    read: [&'static str; 1],
    write: [&'static str; 1],
}

/// A token that a session of lives for so many seconds from now.
fn token(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let tidewire = Scopes { read: ["*"], write: ["object:mine"] };
    let claims = Claims { sub: "ada", exp: now + seconds - LEEWAY.as_secs(), tidewire };
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

/// A server that takes tokens of the secret; it stops when the sender is dropped.
async fn server(data: &Path) -> (String, oneshot::Sender<()>) {
    let keys = Sources { secret: Some(SECRET.to_vec()), ..Sources::default() };
    let server = Builder::new(data).listen("127.0.0.1:0".parse().unwrap()).keys(keys);
    let ((said, ready), (stop, stopped)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(server.serve(|address| said.send(address).unwrap(), async { drop(stopped.await) }));
    let address = timeout(PATIENCE, ready).await.unwrap().unwrap();
    (format!("ws://{address}/v1/sync"), stop)
}

type Asked = Arc<Mutex<Vec<TokenReason>>>;

/// A client whose `nth` fetch, counted from 0, brings `fetch(nth)`.
fn client(url: &str, fetch: fn(usize) -> Result<String, &'static str>) -> (Client, Asked) {
    let asked = Asked::default();
    let record = asked.clone();
    let client = Client::connect_with(url, move |reason| {
        let mut asked = record.lock().unwrap();
        asked.push(reason);
        std::future::ready(fetch(asked.len() - 1))
    });
    (client.unwrap(), asked)
}

async fn until(client: &Client, wanted: impl Fn(&Connection) -> bool) -> Connection {
    let mut connection = client.connection();
    timeout(PATIENCE, connection.wait_for(wanted)).await.unwrap().unwrap().clone()
}

#[tokio::test]
async fn a_fetch_that_fails_is_tried_again_and_a_stale_token_is_asked_for_anew() {
    let data = tempfile::tempdir().unwrap();
    let (url, _stop) = server(data.path()).await;
    let (client, asked) = client(&url, |nth| match nth {
        0 => Err("the issuer is away"),
        1 => Ok(token(0)),
        _ => Ok(token(3_600)),
    });
    until(&client, |connection| *connection == Connection::Live).await;
    let expected = [TokenReason::Connect, TokenReason::Connect, TokenReason::Refused];
    assert_eq!(*asked.lock().unwrap(), expected);
    client.put("mine", &1).await.unwrap();
    let refused = client.put("yours", &1).await.unwrap_err();
    assert!(refused.to_string().contains("object:yours") && !refused.is_retryable(), "{refused}");
}

#[tokio::test]
async fn two_refusals_in_a_row_end_the_client() {
    let data = tempfile::tempdir().unwrap();
    let (url, _stop) = server(data.path()).await;
    let (client, asked) = client(&url, |_| Ok(token(0)));
    let over = until(&client, |connection| matches!(connection, Connection::Closed { .. })).await;
    assert!(matches!(over, Connection::Closed { code: 4504, .. }), "{over:?}");
    assert_eq!(*asked.lock().unwrap(), [TokenReason::Connect, TokenReason::Refused]);
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_without_a_reconnect() {
    let data = tempfile::tempdir().unwrap();
    let (url, _stop) = server(data.path()).await;
    let (client, asked) = client(&url, |nth| Ok(token(if nth == 0 { 3 } else { 3_600 })));
    until(&client, |connection| *connection == Connection::Live).await;
    let lost = until(&client, |connection| *connection != Connection::Live);
    assert!(timeout(Duration::from_secs(4), lost).await.is_err(), "it lives longer than the first token");
    assert_eq!(*asked.lock().unwrap(), [TokenReason::Connect, TokenReason::Expiring]);
    client.put("mine", &1).await.unwrap();
}
