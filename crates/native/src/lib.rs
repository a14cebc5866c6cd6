//! The Tidewire client for Rust programs.
//!
//! [`Client::connect`] starts one task that drives the same machine as the browser package: it dials, resumes, recovers
//! from gaps and repeats unanswered writes by itself. An [`Object`] or a [`Collection`] is a live, read-only copy whose
//! values are any `T: Deserialize`: a value that does not deserialize is refused as by a schema, and the last good one
//! stays. Writes resolve once they are durable at the authority *and* shown by the copies of this client.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use tidewire_native::{Client, Open};
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! struct Todo {
//!     id: String,
//!     title: String,
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("ws://127.0.0.1:4400/v1/sync", None)?;
//! let mut todos = client.datastore::<Todo>("todos", Some(Open { permanent: true, primary: "id" })).await?;
//! todos.ready().await?;
//! todos.set(&Todo { id: "1".to_owned(), title: "write it down".to_owned() }).await?;
//! for (id, todo) in &*todos.rows() {
//!     println!("{id}: {}", todo.title);
//! }
//! todos.changed().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Beside those there are merge pools ([`Client::pool`]), notifications that wait for their target ([`Client::notify`],
//! [`Client::inbox`]), the kv store ([`Client::kv`]) and envelopes between clients ([`Client::publish`], [`Client::relay`]):
//!
//! ```no_run
//! use tidewire_native::{Client, InboxEvent, KvEvent};
//!
//! # async fn example(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let settings = client.kv("settings");
//! settings.set("theme", &"dark", None).await?;
//! let mut watch = settings.watch("*").await?;
//! if let KvEvent::Following | KvEvent::Dropped(_) = watch.recv().await? {
//!     println!("{:?}", settings.get::<String>("theme").await?);
//! }
//!
//! let mut inbox = client.inbox().await?;
//! loop {
//!     if let InboxEvent::Notification(notification) = inbox.recv().await? {
//!         println!("{}: {}", notification.from, notification.pack.decode::<String>()?);
//!         inbox.taken(&notification);
//!     }
//! }
//! # }
//! ```
//!
//! Not here: rules. What is shown and when a link is dead is decided in `tidewire::client`.

mod collection;
mod driver;
mod kv;
mod link;
mod object;
mod pool;
mod services;
mod subscription;
mod token;

use std::{fmt, io, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

pub use collection::Collection;
pub use kv::KvChanges;
pub use object::Object;
pub use pool::{Fields, Pool};
pub use services::{
    Envelope, Inbox, InboxEvent, Kv, KvEvent, Notification, NotificationStatus, Relay, RelayEvent, Value,
    Watch,
};
pub use subscription::{Ended, Meta};
pub use tidewire::{
    client::QueryError,
    protocol::{ErrorCode, Open, OpenPool},
    replica::{Stats, Status},
    session::TokenReason,
};

use driver::{Command, Driver};
use tidewire::{
    client::{SlotId, WriteError as OverLimit},
    protocol::{EncodedValue, Operation},
};
use token::Tokens;

/// Where the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// The first connection is being made.
    Connecting,
    /// The server has welcomed this client.
    Live,
    /// The connection was lost; the client comes back by itself. What is shown stays.
    Reconnecting {
        /// Why the last one ended, for people.
        reason: String,
    },
    /// Over: closed by the application, or by a server that would close it again.
    Closed {
        /// The close code.
        code: u16,
        /// For people.
        reason: String,
    },
}

/// A client cannot be made.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The address is none of a WebSocket.
    #[error("{0:?} is no address of a WebSocket; it begins with ws:// or wss://")]
    Address(String),
    /// There is no address at all.
    #[error("no address was given; name one server at least")]
    NoAddress,
    /// The system has no randomness for the client's id.
    #[error("the system has no randomness ({0})")]
    System(#[source] io::Error),
}

/// A subscription or write did not happen, or its outcome is not known.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum Error {
    /// A key or value is over its limit, or too much waits for the authority already. Nothing was sent.
    #[error(transparent)]
    Limit(#[from] OverLimit),
    /// The value cannot be written as MessagePack. Nothing was sent.
    #[error("the value cannot be encoded: {0}")]
    Encode(Arc<rmp_serde::encode::Error>),
    /// A question is over its limit, or too much waits for the authority already. Nothing was sent.
    #[error(transparent)]
    Question(#[from] QueryError),
    /// The value is not of the type that was asked for.
    #[error("the value cannot be decoded: {0}")]
    Decode(Arc<rmp_serde::decode::Error>),
    /// A sequence is too large. Nothing was sent.
    #[error("a sequence is at most 2^53 - 1, this one is {0}")]
    Sequence(u64),
    /// No answer came in time, to a question that changes nothing.
    #[error("no answer came in time: ask again")]
    Unanswered,
    /// The authority refused. Nothing changed.
    #[error("{message}")]
    Refused {
        /// A number of [`ErrorCode`].
        code: u16,
        /// What is wrong and what to do.
        message: String,
    },
    /// The write was sent, but no answer came in time: it may have happened.
    #[error("no answer came in time; the write may have been done: look before repeating it")]
    OutcomeUnknown,
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => ErrorCode::is_retryable_number(*code),
            Self::OutcomeUnknown
            | Self::Unanswered
            | Self::Limit(OverLimit::Waiting(_))
            | Self::Question(QueryError::Waiting(_)) => true,
            Self::Limit(_)
            | Self::Question(_)
            | Self::Encode(_)
            | Self::Decode(_)
            | Self::Sequence(_)
            | Self::Closed => false,
        }
    }
}

/// A connection to an authority and all that is followed over it. Clones share it; it ends with the last of them and of
/// their objects and collections, or by [`Client::close`].
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    connection: watch::Receiver<Connection>,
}

impl Client {
    /// A client of the authority at `url`, such as `ws://127.0.0.1:4400/v1/sync`. It connects in the background.
    ///
    /// # Errors
    /// If `url` is no address of a WebSocket.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect(url: &str, token: Option<String>) -> Result<Self, ConnectError> {
        Self::start([url], token, None)
    }

    /// A client of a service that is at all of these addresses, those of its nodes. It takes them in an order of its own, the
    /// next one after every attempt that failed and every connection that was lost, after the usual backoff.
    ///
    /// # Errors
    /// If there is none, or one is no address of a WebSocket.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect_any<'a>(
        urls: impl IntoIterator<Item = &'a str>,
        token: Option<String>,
    ) -> Result<Self, ConnectError> {
        Self::start(urls, token, None)
    }

    /// A client that calls `fetch` for a token before every connection, and when the one in use is about to expire.
    ///
    /// A fetch that fails, or takes longer than 10 s, is a failed attempt to connect: another follows after a backoff. A
    /// token that is refused is asked for once more before the client ends.
    ///
    /// # Errors
    /// If `url` is no address of a WebSocket.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect_with<F, E>(
        url: &str,
        fetch: impl Fn(TokenReason) -> F + Send + Sync + 'static,
    ) -> Result<Self, ConnectError>
    where
        F: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display,
    {
        Self::start([url], None, Some(Tokens::new(fetch)))
    }

    fn start<'a>(
        urls: impl IntoIterator<Item = &'a str>,
        token: Option<String>,
        tokens: Option<Tokens>,
    ) -> Result<Self, ConnectError> {
        let parse = |url: &str| link::Address::new(url).ok_or_else(|| ConnectError::Address(url.to_owned()));
        let all = urls.into_iter().map(parse).collect::<Result<_, _>>()?;
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(|error| ConnectError::System(io::Error::other(error)))?;
        let mut order = [0; 16];
        getrandom::fill(&mut order).map_err(|error| ConnectError::System(io::Error::other(error)))?;
        let addresses =
            link::Addresses::new(all, u128::from_be_bytes(order)).ok_or(ConnectError::NoAddress)?;
        let (commands, receiver) = mpsc::unbounded_channel();
        let (status, connection) = watch::channel(Connection::Connecting);
        let mut client = tidewire::client::Client::new(seed, token);
        client.take_turns(addresses.count());
        if tokens.is_some() {
            client.ask_for_tokens();
        }
        tokio::spawn(Driver::new(client, addresses, tokens, receiver, status).run());
        Ok(Self { commands, connection })
    }

    /// Where the connection stands; `changed` on the receiver waits for the next change.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.connection.clone()
    }

    /// Follows an object.
    ///
    /// # Errors
    /// If the key is over its limit, or the client closed.
    pub async fn object<T>(&self, key: &str) -> Result<Object<T>, Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let key: Arc<str> = key.into();
        let (subscriber, state) = object::state();
        let name = key.clone();
        let slot = self
            .run(move |driver| {
                let slot = driver.client.subscribe_object(&name, true)?;
                driver.attach(slot, subscriber);
                Ok(slot)
            })
            .await?;
        Ok(Object::new(key, state, self.handle(slot)))
    }

    /// Follows a datastore, opening it as `open` says where it does not exist.
    ///
    /// # Errors
    /// If a name is over its limit, or the client closed. That it does not exist is told by [`Collection::ready`].
    pub async fn datastore<T>(&self, id: &str, open: Option<Open<'_>>) -> Result<Collection<T>, Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let id: Arc<str> = id.into();
        let (subscriber, state) = collection::state();
        let name = id.clone();
        let (permanent, primary) =
            open.map_or((None, "id".to_owned()), |open| (Some(open.permanent), open.primary.to_owned()));
        let slot = self
            .run(move |driver| {
                let slot = driver.client.subscribe_datastore(&name, permanent, &primary, true)?;
                driver.attach(slot, subscriber);
                Ok(slot)
            })
            .await?;
        Ok(Collection::new(id, state, self.handle(slot)))
    }

    /// Follows a merge pool, opening it as `open` says where it does not exist.
    ///
    /// # Errors
    /// If the id is over its limit, or the client closed. That it does not exist is told by [`Pool::ready`].
    pub async fn pool<T>(&self, id: &str, open: Option<OpenPool>) -> Result<Pool<T>, Error>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let id: Arc<str> = id.into();
        let (subscriber, state) = collection::state();
        let name = id.clone();
        let slot = self
            .run(move |driver| {
                let slot = driver.client.subscribe_pool(&name, open, true)?;
                driver.attach(slot, subscriber);
                Ok(slot)
            })
            .await?;
        Ok(Pool::new(Collection::new(id, state, self.handle(slot))))
    }

    /// Sets an object's value. Resolves when it is durable and the objects of this client show it.
    ///
    /// # Errors
    /// Why it was not done, or that nobody knows.
    pub async fn put<T: Serialize>(&self, key: &str, value: &T) -> Result<(), Error> {
        self.write("", key, encoded(value)?, |_, key, value| Operation::Put { key, value }).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.write("", key, Vec::new(), |_, key, _| Operation::Delete { key }).await
    }

    /// Inserts or replaces a record; the datastore's primary field names it.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn set<T: Serialize>(&self, datastore: &str, record: &T) -> Result<(), Error> {
        let set: Operate = |datastore, _, value| Operation::Set { datastore, value };
        self.write(datastore, "", encoded(record)?, set).await
    }

    /// Merges a map of fields, such as a struct, into a pool; a field that is nil is taken away.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn merge<T: Serialize>(&self, pool: &str, fields: &T) -> Result<(), Error> {
        let merge: Operate = |pool, _, fields| Operation::Merge { pool, fields };
        self.write(pool, "", encoded(fields)?, merge).await
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// As [`Client::put`].
    pub async fn remove(&self, datastore: &str, key: &str) -> Result<(), Error> {
        let remove: Operate = |datastore, key, _| Operation::Remove { datastore, key };
        self.write(datastore, key, Vec::new(), remove).await
    }

    /// Ends the session. What is shown stays readable; writes under way end with an error.
    pub async fn close(&self) {
        let closed = self.run(|driver| {
            driver.close();
            Ok(())
        });
        // It was closed before.
        let _ = closed.await;
    }

    /// Runs `command` on the driver, between two inputs.
    async fn run<R: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Driver) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let (answer, result) = oneshot::channel();
        let command: Command = Box::new(move |driver| {
            // Nobody waits any more where the receiver is gone.
            let _ = answer.send(command(driver));
        });
        self.commands.send(command).map_err(|_| Error::Closed)?;
        result.await.map_err(|_| Error::Closed)?
    }

    async fn write(
        &self,
        datastore: &str,
        key: &str,
        value: Vec<u8>,
        operation: Operate,
    ) -> Result<(), Error> {
        let (datastore, key) = (datastore.to_owned(), key.to_owned());
        let write = move |driver: &mut Driver, done| {
            driver.write(operation(&datastore, &key, EncodedValue::trusted(&value)), done);
        };
        self.request(write).await.map(drop)
    }

    fn handle(&self, slot: SlotId) -> Handle {
        Handle { client: self.clone(), slot }
    }
}

/// Makes an operation of a datastore's id, a key and a value, whichever it needs.
type Operate = for<'a> fn(&'a str, &'a str, EncodedValue<'a>) -> Operation<'a>;

/// Keeps a subscription alive.
#[derive(Debug)]
struct Handle {
    client: Client,
    slot: SlotId,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let slot = self.slot;
        // A driver that is gone has released everything.
        let _ = self.client.commands.send(Box::new(move |driver| driver.detach(slot)));
    }
}

/// The MessagePack of a value, with its structs as maps.
fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    rmp_serde::to_vec_named(value).map_err(|error| Error::Encode(Arc::new(error)))
}
