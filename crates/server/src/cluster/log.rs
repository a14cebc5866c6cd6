//! The log: a JetStream stream with one subject, read in order without gaps, and written to without waiting.
//!
//! Nothing here knows what a record says. A reader that comes back after a pause makes sure that the stream is still the
//! one it has read: what stands at its position must be what stood there.

use std::{mem, sync::Arc, time::Duration};

use async_nats::{
    Client, ConnectOptions,
    connection::State as Link,
    jetstream::{
        self, Context, ErrorCode,
        consumer::{AckPolicy, DeliverPolicy, pull},
        context::GetStreamErrorKind,
        message::PublishMessage,
        stream::{Config, DiscardPolicy, LastRawMessageErrorKind, StorageType, Stream},
    },
};
use axum::body::Bytes;
use futures_util::{FutureExt, StreamExt};
use thiserror::Error;
use tidewire::protocol::Timestamp;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep, timeout},
};

use super::{Cluster, record::fold};
use crate::host::{Host, Input};

/// How long the log's server may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often the connection is tried: one that is dead is given up after two tries that nothing answered.
const PING: Duration = Duration::from_secs(2);

/// How often the log's server says that it is there while there is nothing to read.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long nothing may come before it is looked whether there is something: members give a sign of life more often.
const QUIET: Duration = Duration::from_secs(5);

/// How long to wait before the log is tried again.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a log that seems to be another one is given to be the same after all.
const AGAIN: Duration = Duration::from_secs(1);

/// Records that are read ahead: a few megabytes at most.
const READ_AHEAD: usize = 16;

/// Records that are handed over together at most.
const TOGETHER: usize = 64;

/// KiB of records that were read and are not applied: while a disk fails, the log is not read on.
const WAITING_KIB: usize = 32 * 1024;

/// Bytes that a stream made here keeps: what a node that is behind may miss without a copy of the database.
const KEPT_BYTES: i64 = 1024 * 1024 * 1024;

/// The least that the log's server must take in one message.
const LEAST_PAYLOAD: usize = 1024 * 1024;

/// The log cannot be used.
#[derive(Debug, Error)]
pub enum LogError {
    /// There is no connection.
    #[error(
        "cannot connect to NATS at {servers} ({source}); look whether nats-server runs there, with JetStream (-js)"
    )]
    Connect {
        /// Where.
        servers: String,
        /// Why.
        source: async_nats::ConnectError,
    },
    /// The server loses data.
    #[error("nats-server {0} may lose what it has acknowledged; use another version than 2.10.20 to 2.10.22")]
    Unsafe(String),
    /// The server is too old.
    #[error("nats-server {0} is too old; use version 2.9 or later")]
    Old(String),
    /// The server takes only small messages.
    #[error("nats-server takes messages of at most {0} bytes; set its max_payload to 1MB or more")]
    SmallMessages(usize),
    /// A stream of this name is made for something else.
    #[error(
        "the stream {name} is not what the log needs ({why}); remove it or choose another name with --nats-service"
    )]
    Stream {
        /// Its name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The server does not answer, or with an error.
    #[error("the log cannot be {doing} ({why})")]
    Failed {
        /// What was done.
        doing: &'static str,
        /// Why.
        why: String,
    },
}

impl LogError {
    /// Whether it may be over in a moment.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Failed { .. })
    }
}

fn failed(doing: &'static str) -> impl Fn(Box<dyn std::error::Error + Send + Sync>) -> LogError {
    move |error| LogError::Failed { doing, why: error.to_string() }
}

/// A record, as the log has it.
#[derive(Debug)]
pub struct Arrived {
    /// Its place in the log.
    pub sequence: u64,
    /// When the log took it in, by the log's clock.
    pub at: Timestamp,
    /// What it says.
    pub payload: Bytes,
    /// Room among what was read and is not applied; given back with the record.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// What the log tells the host.
#[derive(Debug)]
pub enum Event {
    /// These records come next.
    Arrived(Vec<Arrived>),
    /// Whether it can be reached.
    Reachable(bool),
    /// What stood at the host's position does not stand there any more, or what comes after it is gone.
    Elsewhere,
}

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The sequence of the last record that was read.
    pub(super) position: u64,
    /// What its bytes came to.
    pub(super) mark: u64,
}

/// What the stream has at the moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// A connection to the log.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) client: Client,
    context: Context,
    stream: Stream,
    subject: String,
    /// What the name of every subject of this service begins with.
    pub(super) prefix: String,
    pub(super) replicas: usize,
}

/// Whether a version of nats-server may be used.
fn check_version(version: &str) -> Result<(), LogError> {
    let mut parts = version.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let mut next = || parts.next().unwrap_or_default();
    match (next(), next(), next()) {
        (2, 10, 20..=22) => Err(LogError::Unsafe(version.to_owned())),
        (0..=1, ..) | (2, 0..=8, _) => Err(LogError::Old(version.to_owned())),
        _ => Ok(()),
    }
}

impl Log {
    pub(super) async fn connect(cluster: &Cluster) -> Result<Self, LogError> {
        let options = ConnectOptions::new()
            .name("tidewire-server")
            .ping_interval(PING)
            .request_timeout(Some(PATIENCE))
            .connection_timeout(PATIENCE)
            .reconnect_delay_callback(|attempts| PAUSE * u32::try_from(attempts.min(8)).unwrap_or(8));
        let options = match &cluster.credentials {
            Some(file) => options.credentials_file(file).await.map_err(|source| LogError::Failed {
                doing: "entered",
                why: format!("{}: {source}", file.display()),
            })?,
            None => options,
        };
        let client = options
            .connect(cluster.servers.as_slice())
            .await
            .map_err(|source| LogError::Connect { servers: cluster.servers.join(", "), source })?;
        let about = client.server_info();
        check_version(&about.version)?;
        if about.max_payload < LEAST_PAYLOAD {
            return Err(LogError::SmallMessages(about.max_payload));
        }
        let context = jetstream::new(client.clone());
        let prefix = format!("tidewire.{}", cluster.service);
        let subject = format!("{prefix}.log");
        let stream = open(&context, cluster, &subject, about.cluster.is_some()).await?;
        let replicas = stream.cached_info().config.num_replicas;
        Ok(Self { client, context, stream, subject, prefix, replicas })
    }

    /// The version of the server at the other end, if it may be used: another one may have taken the place of the first.
    pub(super) fn check(&self) -> Result<(), LogError> {
        check_version(&self.client.server_info().version)
    }

    pub(super) async fn extent(&self) -> Result<Extent, LogError> {
        match self.context.get_stream(&self.stream.cached_info().config.name).await {
            Ok(stream) => {
                let state = &stream.cached_info().state;
                Ok(Extent { first: state.first_sequence, last: state.last_sequence })
            }
            // A stream that is not there has nothing.
            Err(error) if is_missing(&error.kind()) => Ok(Extent { first: 1, last: 0 }),
            Err(error) => Err(failed("looked at")(error.into())),
        }
    }

    /// The record at a position, if it is there.
    pub(super) async fn read(&self, position: u64) -> Result<Option<Arrived>, LogError> {
        match self.stream.get_raw_message(position).await {
            Ok(message) => Ok(Some(Arrived {
                sequence: message.sequence,
                at: timestamp(message.time.unix_timestamp_nanos()),
                payload: message.payload,
                _room: None,
            })),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(failed("read")(error.into())),
        }
    }

    /// Writes a record right after the one at `last`; `false` if there is another one.
    pub(super) async fn append(&self, last: u64, record: Vec<u8>) -> Result<bool, LogError> {
        let publish = PublishMessage::build().payload(record.into()).expected_last_sequence(last);
        let sent = self.context.send_publish(self.subject.clone(), publish).await;
        let sent = sent.map_err(|error| failed("written to")(error.into()))?;
        match sent.await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == jetstream::context::PublishErrorKind::WrongLastSequence => {
                Ok(false)
            }
            Err(error) => Err(failed("written to")(error.into())),
        }
    }

    /// Whether the log still has what was read of it, and all that comes after.
    pub(super) async fn is_at(&self, place: Place) -> Result<bool, LogError> {
        let Extent { first, last } = self.extent().await?;
        if last < place.position || first > place.position + 1 {
            return Ok(false);
        }
        // Of what is no longer kept, nobody can tell.
        if place.position == 0 || first > place.position {
            return Ok(true);
        }
        let found = self.read(place.position).await?;
        Ok(found.is_some_and(|record| fold(0, &record.payload) == place.mark))
    }

    /// Writes what comes in, in order, until there is no more; then everything has left.
    pub(super) async fn write(self, mut records: mpsc::UnboundedReceiver<Bytes>) {
        while let Some(record) = records.recv().await {
            match self.context.publish(self.subject.clone(), record).await {
                // That it is in the log is known when it is read there; this only says why it is not.
                Ok(acknowledged) => drop(tokio::spawn(async move {
                    if let Err(error) = acknowledged.await {
                        tracing::debug!("a record was not acknowledged ({error})");
                    }
                })),
                Err(error) => tracing::debug!("a record could not be sent ({error})"),
            }
        }
        let _ = timeout(PATIENCE, self.client.flush()).await;
    }

    /// Hands everything after `place` to the host, in order, for as long as it lives.
    pub(super) async fn follow(self, mut place: Place, host: Host) {
        let room = Arc::new(Semaphore::new(WAITING_KIB));
        loop {
            let went_on = async {
                self.check()?;
                if !self.is_at(place).await? {
                    // A server that has just started may not know all yet.
                    sleep(AGAIN).await;
                    if !self.is_at(place).await? {
                        return Ok(false);
                    }
                }
                if !host.send(Input::Log(Event::Reachable(true))).await {
                    return Ok(false);
                }
                self.follow_until_trouble(&mut place, &host, &room).await.map(|()| true)
            };
            match went_on.await {
                Ok(true) => {}
                Ok(false) => {
                    host.send(Input::Log(Event::Elsewhere)).await;
                    return;
                }
                Err(error) => {
                    let error: LogError = error;
                    tracing::warn!("{error}; trying again");
                    if !host.send(Input::Log(Event::Reachable(false))).await {
                        return;
                    }
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn follow_until_trouble(
        &self,
        place: &mut Place,
        host: &Host,
        room: &Arc<Semaphore>,
    ) -> Result<(), LogError> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: place.position + 1 },
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(30),
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| failed("followed")(error.into()))?;
        let messages = consumer.stream().max_messages_per_batch(READ_AHEAD).heartbeat(HEARTBEAT);
        let messages = messages.expires(HEARTBEAT * 10).messages().await;
        let mut messages = messages.map_err(|error| failed("followed")(error.into()))?;
        let mut heard = Instant::now();
        // Where the log ended when nothing had come for a while.
        let mut end = None;
        loop {
            let first = match timeout(HEARTBEAT, messages.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(_elapsed) if self.client.connection_state() == Link::Connected => {
                    // A consumer may be well, and the copy of the log that it reads from be stuck: another may have
                    // another copy.
                    if end.is_some_and(|end| end > place.position) {
                        let why = format!("nothing comes after {}, and there is more", place.position);
                        return Err(LogError::Failed { doing: "followed", why });
                    }
                    if heard.elapsed() > QUIET {
                        end = Some(self.extent().await?.last);
                    }
                    continue;
                }
                Err(_elapsed) => {
                    return Err(LogError::Failed { doing: "followed", why: "disconnected".to_owned() });
                }
            };
            (heard, end) = (Instant::now(), None);
            let mut arrived: Vec<Arrived> = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next.take() {
                let message = message.map_err(|error| failed("followed")(error.into()))?;
                let info = message.info().map_err(failed("followed"))?;
                let (sequence, at) = (info.stream_sequence, timestamp(info.published.unix_timestamp_nanos()));
                if sequence > place.position + 1 {
                    // What is between is gone, or the consumer has lost it: looking again tells.
                    break;
                }
                if sequence == place.position + 1 {
                    let payload = message.payload.clone();
                    *place = Place { position: sequence, mark: fold(0, &payload) };
                    let kib = u32::try_from(payload.len() / 1024 + 1).unwrap_or(u32::MAX);
                    if room.available_permits() < kib as usize && !arrived.is_empty() {
                        // What is held here would never be given back.
                        let together = mem::take(&mut arrived);
                        if !host.send(Input::Log(Event::Arrived(together))).await {
                            return Ok(());
                        }
                    }
                    let room = room.clone().acquire_many_owned(kib).await.ok();
                    arrived.push(Arrived { sequence, at, payload, _room: room });
                }
                if arrived.len() < TOGETHER {
                    next = messages.next().now_or_never().flatten();
                }
            }
            if arrived.is_empty() || !host.send(Input::Log(Event::Arrived(arrived))).await {
                return Ok(());
            }
        }
    }
}

/// The stream of the service, made where there is none.
async fn open(
    context: &Context,
    cluster: &Cluster,
    subject: &str,
    is_clustered: bool,
) -> Result<Stream, LogError> {
    let name = format!("TIDEWIRE_{}", cluster.service);
    let config = |num_replicas| Config {
        name: name.clone(),
        subjects: vec![subject.to_owned()],
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        max_bytes: KEPT_BYTES,
        num_replicas,
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    };
    // As many copies as make sense, where there may be other servers for them.
    let replicas = cluster.replicas.unwrap_or(if is_clustered { 3 } else { 1 });
    let opened = context.get_or_create_stream(config(replicas)).await;
    let stream = opened.map_err(|error| failed("opened")(error.into()))?;
    let found = &stream.cached_info().config;
    let wrong = |why| LogError::Stream { name: name.clone(), why };
    if found.subjects != [subject] {
        return Err(wrong("it has other subjects"));
    }
    if found.storage != StorageType::File {
        return Err(wrong("it is not kept in files"));
    }
    if found.discard != DiscardPolicy::Old {
        return Err(wrong("it refuses what is new"));
    }
    Ok(stream)
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn timestamp(nanos: i128) -> Timestamp {
    Timestamp::from_millis(u64::try_from(nanos / 1_000_000).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_lose_data_or_are_too_old_are_refused() {
        for version in ["2.10.20", "2.10.21", "2.10.22", "2.10.22-RC.1", "2.8.4", "1.4.1"] {
            assert!(check_version(version).is_err(), "{version}");
        }
        for version in ["2.9.10", "2.10.19", "2.10.23", "2.11.0", "3.0.0-dev"] {
            assert!(check_version(version).is_ok(), "{version}");
        }
    }
}
