//! The native client against the native server: real sockets, a real database.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

use std::{net::SocketAddr, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use tidewire_native::{Client, Connection, Ended, Error, ErrorCode, Open, Status};
use tidewire_server::Builder;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Server {
    async fn start(data: &Path, listen: &str) -> Self {
        let server = Builder::new(data).listen(listen.parse().unwrap());
        let ((said, ready), (stop, stopped)) = (oneshot::channel(), oneshot::channel());
        let stopped = async { drop(stopped.await) };
        let served = tokio::spawn(async move {
            server.serve(|address| said.send(address).unwrap(), stopped).await.unwrap();
        });
        let address = timeout(PATIENCE, ready).await.unwrap().unwrap();
        Self { address, stop, served }
    }

    fn url(&self) -> String {
        format!("ws://{}/v1/sync", self.address)
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(PATIENCE, self.served).await.unwrap().unwrap();
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Country {
    cca3: String,
    native: String,
    #[serde(default)]
    borders: Vec<String>,
}

fn country(cca3: &str, native: &str) -> Country {
    Country { cca3: cca3.to_owned(), native: native.to_owned(), borders: vec!["FRA".to_owned()] }
}

const COUNTRIES: Option<Open<'_>> = Some(Open { permanent: true, primary: "cca3" });

async fn within<T>(wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.expect("it happens in time")
}

#[tokio::test]
async fn a_write_is_shown_by_its_own_client_when_it_resolves_and_by_others_soon() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "127.0.0.1:0").await;
    let (writer, reader) =
        (Client::connect(&server.url(), None).unwrap(), Client::connect(&server.url(), None).unwrap());
    let mut seen = within(reader.object::<Country>("it")).await.unwrap();
    let own = within(writer.object::<Country>("it")).await.unwrap();
    within(writer.put("it", &country("ITA", "Italia"))).await.unwrap();
    assert_eq!(own.get().as_deref(), Some(&country("ITA", "Italia")));
    within(seen.wait_for(|value| value == Some(&country("ITA", "Italia")))).await.unwrap();
    assert_eq!((seen.meta().sequence, seen.meta().status), (Some(1), Status::Ok));
    within(writer.delete("it")).await.unwrap();
    assert_eq!(own.get(), None);
    within(seen.wait_for(|value| value.is_none())).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_collection_follows_sets_and_removals_over_a_restart_of_the_server() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "127.0.0.1:0").await;
    let (url, address) = (server.url(), server.address.to_string());
    let client = Client::connect(&url, None).unwrap();
    let mut countries = within(client.datastore::<Country>("countries", COUNTRIES)).await.unwrap();
    within(countries.ready()).await.unwrap();
    for n in 0..100 {
        within(countries.set(&country(&format!("C{n}"), "国"))).await.unwrap();
    }
    within(countries.remove("C7")).await.unwrap();
    assert_eq!(countries.rows().len(), 99);
    assert_eq!(countries.get("C8").unwrap().native, "国");

    let mut connection = client.connection();
    server.stop().await;
    let is_away = |connection: &Connection| matches!(connection, Connection::Reconnecting { .. });
    within(connection.wait_for(is_away)).await.unwrap();
    assert_eq!(countries.rows().len(), 99, "what is shown stays");
    let (set, queued) = (country("C7", "again"), client.clone());
    let queued = tokio::spawn(async move { queued.set("countries", &set).await });
    let server = Server::start(data.path(), &address).await;
    within(queued).await.unwrap().unwrap();
    assert_eq!(countries.rows().len(), 100);
    within(connection.wait_for(|connection| *connection == Connection::Live)).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_value_of_another_shape_is_refused_and_the_last_good_one_stays() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "127.0.0.1:0").await;
    let client = Client::connect(&server.url(), None).unwrap();
    let mut object = within(client.object::<Country>("it")).await.unwrap();
    within(client.put("it", &country("ITA", "Italia"))).await.unwrap();
    within(client.put("it", &"no country")).await.unwrap();
    while object.meta().stats.parse_errors == 0 {
        within(object.changed()).await.unwrap();
    }
    assert_eq!(object.get().as_deref(), Some(&country("ITA", "Italia")));
    within(object.put(&country("ITA", "Italia!"))).await.unwrap();
    assert_eq!(object.get().unwrap().native, "Italia!");
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_is_a_typed_error_that_says_why() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "127.0.0.1:0").await;
    assert!(Client::connect("http://127.0.0.1/", None).is_err());
    let client = Client::connect(&server.url(), None).unwrap();
    assert!(matches!(within(client.object::<u32>("")).await, Err(Error::Limit(_))));
    let refused = within(client.set("absent", &country("ITA", ""))).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Refused { code, .. } if *code == ErrorCode::NotFound.number()),
        "{refused}"
    );
    assert!(!refused.is_retryable());
    let mut absent = within(client.datastore::<Country>("absent", None)).await.unwrap();
    assert!(matches!(within(absent.ready()).await, Err(Ended::Denied(_))));
    within(client.close()).await;
    assert!(matches!(within(client.put("k", &1)).await, Err(Error::Closed)));
    assert!(matches!(&*client.connection().borrow(), Connection::Closed { code: 1000, .. }));
    server.stop().await;
}

#[tokio::test]
async fn the_task_ends_with_the_last_handle_and_the_server_sees_it_go() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), "127.0.0.1:0").await;
    let client = Client::connect(&server.url(), None).unwrap();
    let mut connection = client.connection();
    let object = within(client.object::<u32>("k")).await.unwrap();
    within(connection.wait_for(|connection| *connection == Connection::Live)).await.unwrap();
    drop(client);
    assert!(connection.has_changed().is_ok(), "the object still holds it");
    drop(object);
    while within(connection.changed()).await.is_ok() {}
    server.stop().await;
}
