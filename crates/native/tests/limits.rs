//! A client that is faster than the server lets it, and a server with rules of its own.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

use std::{path::Path, time::Duration};

use tidewire::{
    protocol::EncodedValue,
    server::{Rate, Rule, Rules},
};
use tidewire_native::{Client, Error, ErrorCode};
use tidewire_server::{Builder, Limits};
use tokio::{sync::oneshot, time::timeout};

/// Longer than anything here takes on a busy machine, and shorter than a client waits for a write.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server in this process; it stops when the sender is dropped.
async fn serve(data: &Path, with: impl FnOnce(Builder) -> Builder) -> (String, oneshot::Sender<()>) {
    let server = with(Builder::new(data).listen("127.0.0.1:0".parse().unwrap()));
    let ((said, ready), (stop, stopped)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(server.serve(|address| said.send(address).unwrap(), async { drop(stopped.await) }));
    let address = timeout(PATIENCE, ready).await.unwrap().unwrap();
    (format!("ws://{address}/v1/sync"), stop)
}

#[tokio::test]
async fn a_client_above_its_rate_is_sent_away_and_yet_each_of_its_writes_is_done_once() {
    let data = tempfile::tempdir().unwrap();
    let mut limits = Limits::default();
    limits.connection.writes = Some(Rate { per_second: 400, burst: 100 });
    let (url, _stop) = serve(data.path(), |server| server.limits(limits)).await;
    let client = Client::connect(&url, None).unwrap();
    let object = client.object::<u32>("k").await.unwrap();
    let writes: Vec<_> = (0..250_u32)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { client.put("k", &n).await })
        })
        .collect();
    for write in writes {
        timeout(PATIENCE, write).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(object.meta().sequence, Some(250));
    client.close().await;
}

#[tokio::test]
async fn a_program_that_builds_its_own_server_decides_what_is_stored() {
    let data = tempfile::tempdir().unwrap();
    let named = |value: EncodedValue<'_>| {
        value.string_field("name").map(drop).ok_or_else(|| "name: missing".to_owned())
    };
    let rules = Rules::new().object("user:*", Rule::new().gate(named));
    let (url, _stop) = serve(data.path(), |server| server.rules(rules)).await;
    let client = Client::connect(&url, None).unwrap();
    let refused = timeout(PATIENCE, client.put("user:1", &7)).await.unwrap().unwrap_err();
    let Error::Refused { code, message } = &refused else { panic!("{refused}") };
    assert_eq!(*code, ErrorCode::InvalidValue.number());
    assert!(message.contains("name: missing"), "{message}");
    timeout(PATIENCE, client.put("other:1", &7)).await.unwrap().unwrap();
    client.close().await;
}
