//! Pools, the mailbox, the kv store and relays of the native client against the native server.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};
use tidewire_native::{
    Client, Ended, Envelope, Error, ErrorCode, InboxEvent, KvChanges, KvEvent, OpenPool, RelayEvent,
};
use tidewire_server::Builder;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    _data: tempfile::TempDir,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Server {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let server = Builder::new(data.path()).listen("127.0.0.1:0".parse().unwrap());
        let ((said, ready), (stop, stopped)) = (oneshot::channel(), oneshot::channel());
        let stopped = async { drop(stopped.await) };
        let served = tokio::spawn(async move {
            server.serve(|address| said.send(address).unwrap(), stopped).await.unwrap();
        });
        let address = timeout(PATIENCE, ready).await.unwrap().unwrap();
        Self { _data: data, address, stop, served }
    }

    fn client(&self, user: Option<&str>) -> Client {
        Client::connect(&format!("ws://{}/v1/sync", self.address), user.map(str::to_owned)).unwrap()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.served).await.unwrap().unwrap();
    }
}

async fn within<T>(wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.expect("it happens in time")
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Cursor {
    x: u32,
    y: u32,
}

#[tokio::test]
async fn the_members_of_a_pool_see_each_others_fields_and_who_is_gone() {
    let server = Server::start().await;
    let (ada, bob) = (server.client(None), server.client(None));
    let open = Some(OpenPool { presence: true });
    let at_ada = within(ada.pool::<Cursor>("doc", open)).await.unwrap();
    let mut at_bob = within(bob.pool::<Cursor>("doc", open)).await.unwrap();
    within(at_ada.merge(&BTreeMap::from([("ada", Cursor { x: 1, y: 2 })]))).await.unwrap();
    assert_eq!(at_ada.get("ada").as_deref(), Some(&Cursor { x: 1, y: 2 }));
    within(at_bob.wait_for(|fields| fields.len() == 1)).await.unwrap();
    within(at_bob.merge(&BTreeMap::from([("bob", Cursor { x: 3, y: 4 })]))).await.unwrap();
    drop((ada, at_ada));
    within(at_bob.wait_for(|fields| fields.keys().eq(["bob"]))).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_notification_is_taken_once_and_its_reply_is_found() {
    let server = Server::start().await;
    let ada = server.client(Some("ada"));
    let trace = within(ada.notify("bob", &"lunch?", true, Some(Duration::from_secs(60)))).await.unwrap();
    assert_eq!(trace.len(), 32);
    let mut replies = within(ada.inbox()).await.unwrap();
    assert_eq!(within(replies.recv()).await, Ok(InboxEvent::Following));

    let bob = server.client(Some("bob"));
    let mut inbox = within(bob.inbox()).await.unwrap();
    assert_eq!(within(inbox.recv()).await, Ok(InboxEvent::Following));
    let Ok(InboxEvent::Notification(notification)) = within(inbox.recv()).await else {
        panic!("no notification")
    };
    assert_eq!((&*notification.from, &*notification.trace, notification.suit), ("ada", &*trace, true));
    assert_eq!(notification.pack.decode::<String>().unwrap(), "lunch?");
    within(inbox.reply(&notification, &"at one")).await.unwrap();
    inbox.taken(&notification);

    let Ok(InboxEvent::Reply { trace: replied, reply }) = within(replies.recv()).await else {
        panic!("no reply")
    };
    assert_eq!((replied, reply.decode::<String>().unwrap()), (trace.clone(), "at one".to_owned()));
    assert_eq!(within(ada.reply_to::<String>(&trace)).await.unwrap().as_deref(), Some("at one"));
    within(async {
        while within(ada.notification(&trace)).await.unwrap().unwrap().delivered.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(within(ada.notification(&"0".repeat(32))).await.unwrap(), None);
    server.stop().await;
}

#[tokio::test]
async fn the_kv_store_answers_and_a_watch_tells_what_changes() {
    let server = Server::start().await;
    let client = server.client(None);
    let settings = client.kv("settings");
    let mut watch = within(settings.watch("*")).await.unwrap();
    assert_eq!(within(watch.recv()).await, Ok(KvEvent::Following));
    assert_eq!(within(settings.get::<u32>("n")).await.unwrap(), None);
    within(settings.set("n", &5_u32, None)).await.unwrap();
    within(settings.set("gone", &1_u32, Some(Duration::from_millis(1)))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(within(settings.get::<u32>("n")).await.unwrap(), Some(5));
    assert!(matches!(within(settings.get::<String>("n")).await, Err(Error::Decode(_))));
    assert_eq!(
        within(settings.get_all::<BTreeMap<String, u32>>()).await.unwrap(),
        BTreeMap::from([("n".to_owned(), 5)])
    );
    assert_eq!(within(settings.count()).await.unwrap(), 1);
    within(settings.delete("n")).await.unwrap();
    within(settings.delete_group()).await.unwrap();
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(match within(watch.recv()).await.unwrap() {
            KvEvent::Set { key, .. } => format!("set {key}"),
            KvEvent::Delete { key, .. } => format!("delete {key}"),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(kinds, ["set n", "set gone", "delete n"]);
    server.stop().await;
}

#[tokio::test]
async fn changes_of_the_kv_store_are_made_together_and_groups_are_found_by_their_prefix() {
    let server = Server::start().await;
    let client = server.client(None);
    let mut changes = KvChanges::new();
    changes.set("app:a", "n", &1_u32, None).unwrap().set("app:b", "n", &2_u32, None).unwrap();
    changes
        .set("other", "n", &3_u32, None)
        .unwrap()
        .delete("app:a", "n")
        .set("app:a", "m", &4_u32, None)
        .unwrap();
    within(client.change_kv(changes)).await.unwrap();
    assert_eq!(within(client.kv_groups("app:")).await.unwrap(), ["app:a", "app:b"]);
    assert_eq!(within(client.kv_groups("")).await.unwrap(), ["app:a", "app:b", "other"]);
    assert_eq!(within(client.kv_count("app:")).await.unwrap(), 2);
    assert_eq!(within(client.kv("app:a").get::<u32>("n")).await.unwrap(), None);
    // One that cannot be made takes the others with it.
    let mut changes = KvChanges::new();
    changes
        .delete_group("other")
        .set("app:b", "n", &5_u32, None)
        .unwrap()
        .set("x", &"k".repeat(5_000), &6_u32, None)
        .unwrap();
    assert!(matches!(within(client.change_kv(changes)).await, Err(Error::Refused { .. } | Error::Limit(_))));
    assert_eq!(within(client.kv("other").get::<u32>("n")).await.unwrap(), Some(3));
    assert_eq!(within(client.kv("app:b").get::<u32>("n")).await.unwrap(), Some(2));
    within(client.change_kv(KvChanges::new())).await.unwrap();
    // This server renders for nobody.
    assert!(matches!(within(client.kv("other").render("{{ n }}")).await, Err(Error::Refused { .. })));
    server.stop().await;
}

#[tokio::test]
async fn an_envelope_reaches_who_follows_its_key_and_a_key_of_the_authority_refuses_it() {
    let server = Server::start().await;
    let (ada, bob) = (server.client(None), server.client(None));
    let mut relay = within(bob.relay("game")).await.unwrap();
    assert_eq!(within(relay.recv()).await, Ok(RelayEvent::Following));
    let envelope = Envelope {
        value: Some("move".to_owned()),
        sequence: 7,
        prev: Some(5),
        schema_version: Some("1.0".to_owned()),
        epoch: None,
    };
    within(ada.publish("game", &envelope)).await.unwrap();
    let Ok(RelayEvent::Published(heard)) = within(relay.recv()).await else { panic!("no envelope") };
    assert_eq!((heard.sequence, heard.prev, heard.schema_version.as_deref()), (7, Some(5), Some("1.0")));
    assert_eq!(heard.value.unwrap().decode::<String>().unwrap(), "move");

    within(ada.put("user:1", &1_u32)).await.unwrap();
    let refused = within(ada.publish("user:1", &envelope)).await;
    assert!(matches!(refused, Err(Error::Refused { code, .. }) if code == ErrorCode::Conflict.number()));
    let too_large = Envelope { sequence: 1 << 53, ..envelope };
    assert!(matches!(within(ada.publish("game", &too_large)).await, Err(Error::Sequence(_))));

    bob.close().await;
    assert_eq!(within(relay.recv()).await, Err(Ended::Closed));
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_how_much_it_has_lost_and_where() {
    let server = Server::start().await;
    let (ada, bob) = (server.client(None), server.client(None));
    let mut relay = within(bob.relay("k")).await.unwrap();
    assert_eq!(within(relay.recv()).await, Ok(RelayEvent::Following));
    let envelope =
        |sequence| Envelope::<()> { value: None, sequence, prev: None, schema_version: None, epoch: None };
    let published =
        |sequence| Envelope { value: None, sequence, prev: None, schema_version: None, epoch: None };
    for sequence in 0..1_030 {
        within(ada.publish("k", &envelope(sequence))).await.unwrap();
    }
    // Its answer comes after all of them, on the same connection.
    within(bob.kv("g").count()).await.unwrap();
    for sequence in 0..1_024 {
        assert_eq!(within(relay.recv()).await, Ok(RelayEvent::Published(published(sequence))));
    }
    within(ada.publish("k", &envelope(2_000))).await.unwrap();
    assert_eq!(within(relay.recv()).await, Ok(RelayEvent::Dropped(6)));
    assert_eq!(within(relay.recv()).await, Ok(RelayEvent::Published(published(2_000))));
    server.stop().await;
}
