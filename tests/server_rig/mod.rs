//! Two parties over frames: the server module on one side, bytes of clients on the other, a clock in the hand.

#![allow(dead_code, reason = "each test file uses its part of the rig")]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

pub(crate) mod dice;
pub(crate) mod faulty;
pub(crate) mod kv;
pub(crate) mod replica;

use std::{collections::HashMap, time::Duration};

use tidewire::{
    protocol::{
        Answer, ClientMessage, EncodedValue, Open, Operation, Position, Reader, RequestId, ServerMessage,
        Subscription, SubscriptionId, Target, Timestamp, TopicId, Writer,
    },
    server::{
        Action, CommitError, ConnectionId, Options, Server,
        storage::{Memory, Storage},
    },
};

/// What a connection received and how it ended.
#[derive(Debug, Default, Clone)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    pub(crate) frames: usize,
    pub(crate) closed: Option<(u16, String)>,
}

impl Inbox {
    pub(crate) fn messages(&self) -> Vec<ServerMessage<'_>> {
        let mut reader = Reader::new(&self.bytes);
        let mut messages = Vec::new();
        while !reader.is_empty() {
            messages.push(ServerMessage::decode(&mut reader).unwrap());
        }
        messages
    }

    /// The only message.
    #[track_caller]
    pub(crate) fn one(&self) -> ServerMessage<'_> {
        let mut messages = self.messages();
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages.remove(0)
    }

    /// The only answer, with its topic.
    #[track_caller]
    pub(crate) fn answer(&self) -> (TopicId, tidewire::protocol::Epoch, Answer<'_>) {
        let mut answers = self.messages().into_iter().filter_map(|message| match message {
            ServerMessage::Answer { topic, epoch, answer, .. } => Some((topic, epoch, answer)),
            _ => None,
        });
        let answer = answers.next().unwrap_or_else(|| panic!("no answer in {:?}", self.messages()));
        assert!(answers.next().is_none(), "several answers in {:?}", self.messages());
        answer
    }

    /// Sequence, key and value of every envelope.
    pub(crate) fn envelopes(&self) -> Vec<(u64, Option<String>, Option<Vec<u8>>)> {
        let envelope = |message: ServerMessage<'_>| match message {
            ServerMessage::Envelope { sequence, key, value, .. } => {
                Some((sequence.get(), key.map(str::to_owned), value.map(|value| value.as_bytes().to_vec())))
            }
            _ => None,
        };
        self.messages().into_iter().filter_map(envelope).collect()
    }

    /// The codes of every refusal and denial.
    pub(crate) fn codes(&self) -> Vec<u16> {
        let code = |message: ServerMessage<'_>| match message {
            ServerMessage::Refusal { code, .. } | ServerMessage::Denied { code, .. } => Some(code),
            _ => None,
        };
        self.messages().into_iter().filter_map(code).collect()
    }

    /// The position of the only acknowledgement.
    #[track_caller]
    pub(crate) fn ack(&self) -> Option<Position> {
        let mut acks = self.messages().into_iter().filter_map(|message| match message {
            ServerMessage::Ack { position, .. } => Some(position),
            _ => None,
        });
        let ack = acks.next().unwrap_or_else(|| panic!("no ack in {:?}", self.messages()));
        assert!(acks.next().is_none(), "several acks in {:?}", self.messages());
        ack
    }
}

pub(crate) struct Rig<S = Memory> {
    pub(crate) server: Server<S>,
    pub(crate) now: Timestamp,
    inboxes: HashMap<ConnectionId, Inbox>,
    /// Whether the host reports at once that frames have left.
    pub(crate) drains: bool,
    last: u64,
}

pub(crate) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

impl Rig<Memory> {
    pub(crate) fn new() -> Self {
        Self::over(Memory::new())
    }
}

impl<S: Storage> Rig<S> {
    pub(crate) fn over(storage: S) -> Self {
        Self::configured(storage, Options::new([1; 32]))
    }

    pub(crate) fn configured(storage: S, options: Options) -> Self {
        Self::with(Server::open(storage, options).unwrap())
    }

    pub(crate) fn with(server: Server<S>) -> Self {
        Self { server, now: START, inboxes: HashMap::new(), drains: true, last: 0 }
    }

    /// The same storage under a new process.
    pub(crate) fn restart(self) -> Self {
        let (now, last) = (self.now, self.last);
        let mut rig = Self::over(self.server.into_storage().unwrap());
        (rig.now, rig.last) = (now, last);
        rig
    }

    pub(crate) fn connect(&mut self) -> ConnectionId {
        self.last += 1;
        let connection = ConnectionId(self.last);
        self.server.handle_connect(self.now, connection);
        connection
    }

    /// A connection that has said hello, and heard the welcome.
    pub(crate) fn client(&mut self, client: &str) -> ConnectionId {
        self.client_of(client, client)
    }

    /// A client of `subject`, who may have several.
    pub(crate) fn client_of(&mut self, subject: &str, client: &str) -> ConnectionId {
        let connection = self.connect();
        self.send(connection, &ClientMessage::Hello { client, token: Some(subject) });
        let welcome = self.take(connection);
        assert!(matches!(welcome.one(), ServerMessage::Welcome { .. }));
        connection
    }

    /// Hands a frame in, without a commit.
    pub(crate) fn feed(&mut self, connection: ConnectionId, messages: &[ClientMessage<'_>]) {
        let mut writer = Writer::new();
        for message in messages {
            message.encode(&mut writer);
        }
        self.server.handle_frame(self.now, connection, &writer.into_bytes());
    }

    pub(crate) fn send(&mut self, connection: ConnectionId, message: &ClientMessage<'_>) {
        self.feed(connection, std::slice::from_ref(message));
        self.commit().unwrap();
    }

    pub(crate) fn commit(&mut self) -> Result<(), CommitError> {
        let result = self.server.commit(self.now);
        self.collect();
        result
    }

    pub(crate) fn collect(&mut self) {
        while let Some(transmit) = self.server.poll_transmit() {
            let inbox = self.inboxes.entry(transmit.connection).or_default();
            assert_eq!(inbox.closed, None, "nothing is sent after a close");
            match transmit.action {
                Action::Frame(frame) => {
                    inbox.bytes.extend_from_slice(&frame);
                    inbox.frames += 1;
                }
                Action::Close { code, reason } => inbox.closed = Some((code, reason)),
            }
            if transmit.report && self.drains {
                self.server.handle_drained(self.now, transmit.connection);
                self.server.commit(self.now).unwrap();
            }
        }
    }

    /// What a connection received since it was last asked.
    pub(crate) fn take(&mut self, connection: ConnectionId) -> Inbox {
        self.collect();
        self.inboxes.remove(&connection).unwrap_or_default()
    }

    /// Lets time pass, and the server do what is due on the way.
    pub(crate) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.server.handle_timeout(self.now);
            self.commit().unwrap();
        }
        self.now = end;
    }

    pub(crate) fn subscribe(
        &mut self,
        connection: ConnectionId,
        id: SubscriptionId,
        target: Target<'_>,
        position: Option<Position>,
    ) -> Inbox {
        self.send(connection, &ClientMessage::Subscribe(vec![Subscription { id, target, position }]));
        self.take(connection)
    }

    pub(crate) fn write(
        &mut self,
        connection: ConnectionId,
        request: RequestId,
        operation: Operation<'_>,
    ) -> Inbox {
        self.send(connection, &ClientMessage::Write { request, operation });
        self.take(connection)
    }

    /// A permanent datastore named by `id`.
    pub(crate) fn open(&mut self, id: &str) {
        let open = Open { permanent: true, primary: "id" };
        self.server.open_datastore(self.now, id, open, None).unwrap();
        self.commit().unwrap();
    }

    /// Sets a record as the authority itself.
    pub(crate) fn set(&mut self, id: &str, key: &str, n: u64) -> Position {
        let bytes = record(key, n);
        let position = self.server.set(self.now, id, EncodedValue::check(&bytes).unwrap()).unwrap();
        self.commit().unwrap();
        position
    }
}

/// `{ "id": key, "n": n }`.
pub(crate) fn record(key: &str, n: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.map(2);
    writer.str("id");
    writer.str(key);
    writer.str("n");
    writer.u64(n);
    writer.into_bytes()
}

/// `{ "id": key, "text": ... }` of about `size` bytes.
pub(crate) fn large_record(key: &str, size: usize) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.map(2);
    writer.str("id");
    writer.str(key);
    writer.str("text");
    writer.str(&"x".repeat(size));
    writer.into_bytes()
}

pub(crate) fn number(n: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u64(n);
    writer.into_bytes()
}

pub(crate) const fn datastore(id: &str) -> Target<'_> {
    Target::Datastore { id, open: None }
}
