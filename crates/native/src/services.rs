//! What has no history: relays, the mailbox, watches and questions. What comes waits in a bounded queue for whoever reads
//! it; what does not fit is counted, and told in its place.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tidewire::{
    client::SlotId,
    protocol::{
        EncodedValue, Epoch, KvChange, KvEventKind, Operation, Query, Relayed, Sequence, ServerMessage,
    },
};
use tokio::sync::{mpsc, oneshot};

use crate::{Client, Ended, Error, Handle, driver::Driver, encoded};

/// Messages that may wait for a reader: a full mailbox.
pub(crate) const WAITING_MESSAGES: usize = 1_024;

/// A value as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Arc<[u8]>);

impl Value {
    /// The value as `T`.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, rmp_serde::decode::Error> {
        rmp_serde::from_slice(&self.0)
    }

    /// Its MessagePack.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<EncodedValue<'_>> for Value {
    fn from(value: EncodedValue<'_>) -> Self {
        Self(value.as_bytes().into())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Value({} bytes)", self.0.len())
    }
}

/// An envelope that clients relay to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<T = Value> {
    /// The whole value; `None` for a deletion.
    pub value: Option<T>,
    /// The change's number, as the publisher counts.
    pub sequence: u64,
    /// The sequence before, where it is not `sequence - 1`.
    pub prev: Option<u64>,
    /// The schema version of the value, `"major.minor"`.
    pub schema_version: Option<String>,
    /// The publisher's history, if it names one.
    pub epoch: Option<Epoch>,
}

/// What a relay tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayEvent {
    /// From now on nothing is missed. Comes first, and again after every lost connection.
    Following,
    /// An envelope was published.
    Published(Envelope),
    /// So many envelopes are lost here, as this program reads more slowly than they come.
    Dropped(u64),
}

/// What a watch of the kv store tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvEvent {
    /// From now on nothing is missed. Comes first, and again after every lost connection: read what you need.
    Following,
    /// A key was set.
    Set {
        /// Its group.
        group: String,
        /// The key.
        key: String,
        /// Its value.
        value: Value,
        /// When, in milliseconds since 1970.
        at: u64,
    },
    /// A key was deleted.
    Delete {
        /// Its group.
        group: String,
        /// The key.
        key: String,
        /// When, in milliseconds since 1970.
        at: u64,
    },
    /// A group was deleted with all its keys.
    DeleteGroup {
        /// The group.
        group: String,
        /// When, in milliseconds since 1970.
        at: u64,
    },
    /// So many events are lost here: read again what you need.
    Dropped(u64),
}

/// A notification that waited in the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its id: 32 hex digits.
    pub trace: String,
    /// Who sent it.
    pub from: String,
    /// The payload.
    pub pack: Value,
    /// Whether a reply is asked for.
    pub suit: bool,
    /// When it was sent, in milliseconds since 1970.
    pub created: u64,
    /// When it ends.
    pub expires: u64,
}

/// What the mailbox tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboxEvent {
    /// The mailbox is followed. Comes first, and again after every lost connection: replies that came meanwhile are told
    /// by [`Client::notification`] alone.
    Following,
    /// A notification. It comes again in the next session unless [`Inbox::taken`] is called.
    Notification(Notification),
    /// Somebody replied to a notification of this user.
    Reply {
        /// The notification.
        trace: String,
        /// The reply.
        reply: Value,
    },
    /// So many replies are lost here, as this program reads more slowly than they come.
    Dropped(u64),
}

/// What became of a notification. Times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NotificationStatus {
    /// Who sent it.
    pub from: String,
    /// Whose mailbox it is in.
    pub to: String,
    /// Whether a reply is asked for.
    pub suit: bool,
    /// When it was sent.
    pub created: u64,
    /// When it ends.
    pub expires: u64,
    /// When it was taken.
    pub delivered: Option<u64>,
    /// When the last reply came.
    pub replied: Option<u64>,
}

/// Where an outcome goes.
pub(crate) type Done<R> = oneshot::Sender<Result<R, Error>>;

/// A message on its way to its reader.
#[derive(Debug)]
pub(crate) enum Told {
    /// The message, as it came.
    Message(Box<[u8]>),
    Denied(String),
}

/// The driver's end of a feed.
#[derive(Debug)]
pub(crate) struct Teller {
    sender: mpsc::Sender<(u64, Told)>,
    /// Messages that did not fit since the last one that did.
    dropped: u64,
}

impl Teller {
    pub(crate) fn new() -> (Self, mpsc::Receiver<(u64, Told)>) {
        let (sender, receiver) = mpsc::channel(WAITING_MESSAGES);
        (Self { sender, dropped: 0 }, receiver)
    }

    /// Hands a message on; `false` if there is no room.
    pub(crate) fn tell(&mut self, told: Told) -> bool {
        let is_told = self.sender.try_send((self.dropped, told)).is_ok();
        self.dropped = if is_told { 0 } else { self.dropped + 1 };
        is_told
    }
}

/// A reader's end of a feed.
#[derive(Debug)]
struct Reader {
    messages: mpsc::Receiver<(u64, Told)>,
    /// What came after messages that were lost.
    next: Option<Told>,
    handle: Handle,
}

/// What comes out of a feed.
enum Heard {
    Message(Box<[u8]>),
    Dropped(u64),
}

impl Reader {
    async fn recv(&mut self) -> Result<Heard, Ended> {
        let told = match self.next.take() {
            Some(told) => told,
            None => match self.messages.recv().await {
                Some((0, told)) => told,
                Some((dropped, told)) => {
                    self.next = Some(told);
                    return Ok(Heard::Dropped(dropped));
                }
                None => return Err(Ended::Closed),
            },
        };
        match told {
            Told::Message(bytes) => Ok(Heard::Message(bytes)),
            Told::Denied(reason) => Err(Ended::Denied(reason)),
        }
    }
}

/// A message of a feed, which the client has checked.
fn message(bytes: &[u8]) -> Option<ServerMessage<'_>> {
    ServerMessage::decode(&mut tidewire::protocol::Reader::new(bytes)).ok()
}

/// What clients relay on one key. Dropped, it is followed no more.
#[derive(Debug)]
pub struct Relay(Reader);

impl Relay {
    /// Waits for the next event.
    ///
    /// # Errors
    /// If there will be none.
    pub async fn recv(&mut self) -> Result<RelayEvent, Ended> {
        loop {
            let bytes = match self.0.recv().await? {
                Heard::Message(bytes) => bytes,
                Heard::Dropped(count) => return Ok(RelayEvent::Dropped(count)),
            };
            match message(&bytes) {
                Some(ServerMessage::Following { .. }) => return Ok(RelayEvent::Following),
                Some(ServerMessage::Relayed(envelope)) => {
                    return Ok(RelayEvent::Published(Envelope {
                        value: envelope.value.map(Value::from),
                        sequence: envelope.sequence.get(),
                        prev: envelope.prev.map(Sequence::get),
                        schema_version: envelope.version.map(str::to_owned),
                        epoch: envelope.epoch,
                    }));
                }
                _ => {}
            }
        }
    }
}

/// A watch of the kv store. Dropped, it ends.
#[derive(Debug)]
pub struct Watch(Reader);

impl Watch {
    /// Waits for the next event.
    ///
    /// # Errors
    /// If there will be none.
    pub async fn recv(&mut self) -> Result<KvEvent, Ended> {
        loop {
            let bytes = match self.0.recv().await? {
                Heard::Message(bytes) => bytes,
                Heard::Dropped(count) => return Ok(KvEvent::Dropped(count)),
            };
            match message(&bytes) {
                Some(ServerMessage::Following { .. }) => return Ok(KvEvent::Following),
                Some(ServerMessage::Dropped { count, .. }) => return Ok(KvEvent::Dropped(count)),
                Some(ServerMessage::Event { kind, group, key, value, at, .. }) => {
                    let (group, key) = (group.to_owned(), key.to_owned());
                    return Ok(match kind {
                        KvEventKind::Set => {
                            let value = value.unwrap_or(EncodedValue::NIL).into();
                            KvEvent::Set { group, key, value, at }
                        }
                        KvEventKind::Delete => KvEvent::Delete { group, key, at },
                        KvEventKind::DeleteGroup => KvEvent::DeleteGroup { group, at },
                    });
                }
                _ => {}
            }
        }
    }
}

/// The mailbox of this client's user. Dropped, it is followed no more.
#[derive(Debug)]
pub struct Inbox(Reader);

impl Inbox {
    /// Waits for the next event.
    ///
    /// # Errors
    /// If there will be none.
    pub async fn recv(&mut self) -> Result<InboxEvent, Ended> {
        loop {
            let bytes = match self.0.recv().await? {
                Heard::Message(bytes) => bytes,
                Heard::Dropped(count) => return Ok(InboxEvent::Dropped(count)),
            };
            match message(&bytes) {
                Some(ServerMessage::Following { .. }) => return Ok(InboxEvent::Following),
                Some(ServerMessage::Notification { trace, from, pack, suit, created, expires, .. }) => {
                    let (trace, from) = (trace.to_owned(), from.to_owned());
                    let notification =
                        Notification { trace, from, pack: pack.into(), suit, created, expires };
                    return Ok(InboxEvent::Notification(notification));
                }
                Some(ServerMessage::Reply { trace, reply, .. }) => {
                    return Ok(InboxEvent::Reply { trace: trace.to_owned(), reply: reply.into() });
                }
                _ => {}
            }
        }
    }

    /// The application has taken a notification: it does not come again.
    pub fn taken(&self, notification: &Notification) {
        let trace = notification.trace.clone();
        // A driver that is gone tells nobody; the notification comes again.
        let _ = self.0.handle.client.commands.send(Box::new(move |driver| {
            driver.client.taken(&[&trace], true);
        }));
    }

    /// Replies to a notification. Resolves when that is durable.
    ///
    /// # Errors
    /// Why it was not done, or that nobody knows.
    pub async fn reply<T: Serialize>(&self, notification: &Notification, reply: &T) -> Result<(), Error> {
        let (trace, reply) = (notification.trace.clone(), encoded(reply)?);
        let reply = move |driver: &mut Driver, done| {
            driver.write(Operation::Reply { trace: &trace, reply: EncodedValue::trusted(&reply) }, done);
        };
        self.0.handle.client.request(reply).await.map(drop)
    }
}

/// One group of the kv store. Nothing is kept here: every answer is the authority's.
#[derive(Debug, Clone)]
pub struct Kv {
    pub(crate) client: Client,
    pub(crate) group: Arc<str>,
}

impl Kv {
    /// The value of a key; `None` where it is not set.
    ///
    /// # Errors
    /// Why there is no answer, or that the value is no `T`.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let (group, key) = (self.group.clone(), key.to_owned());
        let answer = self
            .client
            .ask(move |driver, done| driver.ask(Query::KvGet { group: &group, key: &key }, done))
            .await?;
        answer.map(|value| decoded(&value)).transpose()
    }

    /// All keys with their values, as a map or any struct that is made of one.
    ///
    /// # Errors
    /// Why there is no answer, or that the values are no `T`.
    pub async fn get_all<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let group = self.group.clone();
        self.client.answer(move |driver, done| driver.ask(Query::KvGetAll { group: &group }, done)).await
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn count(&self) -> Result<u64, Error> {
        let group = self.group.clone();
        self.client.answer(move |driver, done| driver.ask(Query::KvCount { group: &group }, done)).await
    }

    /// Sets a key, for `ttl` or for ever. Resolves when that is durable.
    ///
    /// # Errors
    /// Why it was not done, or that nobody knows.
    pub async fn set<T: Serialize>(&self, key: &str, value: &T, ttl: Option<Duration>) -> Result<(), Error> {
        let (group, key, value) = (self.group.clone(), key.to_owned(), encoded(value)?);
        let ttl = ttl.map(millis);
        let set = move |driver: &mut Driver, done| {
            let value = EncodedValue::trusted(&value);
            driver.write(Operation::Kv(vec![KvChange::Set { group: &group, key: &key, value, ttl }]), done);
        };
        self.client.request(set).await.map(drop)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// As [`Kv::set`].
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let (group, key) = (self.group.clone(), key.to_owned());
        let delete = move |driver: &mut Driver, done| {
            driver.write(Operation::Kv(vec![KvChange::Delete { group: &group, key: &key }]), done);
        };
        self.client.request(delete).await.map(drop)
    }

    /// Deletes the group with all its keys.
    ///
    /// # Errors
    /// As [`Kv::set`].
    pub async fn delete_group(&self) -> Result<(), Error> {
        let group = self.group.clone();
        let delete = move |driver: &mut Driver, done| {
            driver.write(Operation::Kv(vec![KvChange::DeleteGroup { group: &group }]), done);
        };
        self.client.request(delete).await.map(drop)
    }

    /// Watches a key, or all of the group with `"*"`; all groups if the group is `"*"` too.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn watch(&self, key: &str) -> Result<Watch, Error> {
        let (group, key) = (self.group.clone(), key.to_owned());
        self.client.follow(move |client| Ok(client.watch(&group, &key))).await.map(Watch)
    }
}

impl Client {
    /// Publishes an envelope to all who follow its key at the moment. The authority keeps nothing of it.
    ///
    /// # Errors
    /// Why it was not done, or that nobody knows; a sequence beyond 2^53 - 1 is [`Error::Sequence`].
    pub async fn publish<T: Serialize>(&self, key: &str, envelope: &Envelope<T>) -> Result<(), Error> {
        let key = key.to_owned();
        let value = envelope.value.as_ref().map(encoded).transpose()?;
        let number = |sequence| Sequence::new(sequence).ok_or(Error::Sequence(sequence));
        let (sequence, prev) = (number(envelope.sequence)?, envelope.prev.map(number).transpose()?);
        let (version, epoch) = (envelope.schema_version.clone(), envelope.epoch);
        let publish = move |driver: &mut Driver, done| {
            let value = value.as_deref().map(EncodedValue::trusted);
            let version = version.as_deref();
            driver
                .write(Operation::Relay(Relayed { key: &key, sequence, prev, version, epoch, value }), done);
        };
        self.request(publish).await.map(drop)
    }

    /// Follows what clients relay on a key, this one's own envelopes too.
    ///
    /// # Errors
    /// If the key is over its limit, or the client closed.
    pub async fn relay(&self, key: &str) -> Result<Relay, Error> {
        let key = key.to_owned();
        self.follow(move |client| Ok(client.follow_relay(&key)?)).await.map(Relay)
    }

    /// Puts a notification into a user's mailbox, for `ttl` or 24 hours, and returns its trace. With `suit` a reply is
    /// asked for.
    ///
    /// # Errors
    /// Why it was not done, or that nobody knows.
    pub async fn notify<T: Serialize>(
        &self,
        to: &str,
        pack: &T,
        suit: bool,
        ttl: Option<Duration>,
    ) -> Result<String, Error> {
        let (to, pack, ttl) = (to.to_owned(), encoded(pack)?, ttl.map(millis));
        let notify = move |driver: &mut Driver, done| {
            driver.write(Operation::Notify { to: &to, pack: EncodedValue::trusted(&pack), suit, ttl }, done);
        };
        Ok(self.request(notify).await?.unwrap_or_default())
    }

    /// Follows the mailbox of this client's user. One reader is enough: a notification goes to one of several.
    ///
    /// # Errors
    /// If the client is closed.
    pub async fn inbox(&self) -> Result<Inbox, Error> {
        self.follow(|client| Ok(client.follow_mailbox())).await.map(Inbox)
    }

    /// What became of a notification that this user sent or received; `None` if there is none, or it has expired.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn notification(&self, trace: &str) -> Result<Option<NotificationStatus>, Error> {
        let trace = trace.to_owned();
        match self.answer(move |driver, done| driver.ask(Query::Notification { trace: &trace }, done)).await {
            Err(Error::Refused { code, .. }) if code == crate::ErrorCode::NotFound.number() => Ok(None),
            status => status.map(Some),
        }
    }

    /// The last reply to a notification of this user.
    ///
    /// # Errors
    /// Why there is no answer, or that the reply is no `T`.
    pub async fn reply_to<T: DeserializeOwned>(&self, trace: &str) -> Result<Option<T>, Error> {
        #[derive(Deserialize)]
        struct Replied<T> {
            replied: Option<u64>,
            reply: Option<T>,
        }
        let trace = trace.to_owned();
        let status: Replied<T> =
            self.answer(move |driver, done| driver.ask(Query::Notification { trace: &trace }, done)).await?;
        Ok(status.replied.and(status.reply))
    }

    /// One group of the kv store; `"*"` stands for all of them, to watch.
    #[must_use]
    pub fn kv(&self, group: &str) -> Kv {
        Kv { client: self.clone(), group: group.into() }
    }

    /// Starts a feed and returns the reader's end.
    async fn follow(
        &self,
        start: impl FnOnce(&mut tidewire::client::Client) -> Result<SlotId, Error> + Send + 'static,
    ) -> Result<Reader, Error> {
        let (teller, messages) = Teller::new();
        let slot = self
            .run(move |driver| {
                let slot = start(&mut driver.client)?;
                driver.tell(slot, teller);
                Ok(slot)
            })
            .await?;
        Ok(Reader { messages, next: None, handle: self.handle(slot) })
    }

    /// Has the driver ask a question, and waits for the answer.
    async fn ask(
        &self,
        start: impl FnOnce(&mut Driver, Done<Option<Value>>) + Send + 'static,
    ) -> Result<Option<Value>, Error> {
        self.request(start).await
    }

    /// As [`Self::ask`], where there is an answer in any case.
    pub(crate) async fn answer<T: DeserializeOwned>(
        &self,
        start: impl FnOnce(&mut Driver, Done<Option<Value>>) + Send + 'static,
    ) -> Result<T, Error> {
        let answer = self.ask(start).await?;
        decoded(&answer.unwrap_or_else(|| EncodedValue::NIL.into()))
    }

    /// Has the driver start something, and waits for the outcome.
    pub(crate) async fn request<R: Send + 'static>(
        &self,
        start: impl FnOnce(&mut Driver, Done<R>) + Send + 'static,
    ) -> Result<R, Error> {
        let (done, outcome) = oneshot::channel();
        self.run(move |driver| {
            start(driver, done);
            Ok(())
        })
        .await?;
        outcome.await.map_err(|_| Error::Closed)?
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn decoded<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    value.decode().map_err(|error| Error::Decode(Arc::new(error)))
}
