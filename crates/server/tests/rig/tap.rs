//! A relay between clients and a server that reads along. It outlives both, so it knows what the server has told,
//! whatever became of the server and of whom it told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use futures_util::{SinkExt, StreamExt};
use tidewire::protocol::{
    Answer, ClientMessage, Epoch, Operation, Position, Reader, RequestId, Sequence, ServerMessage,
    SubscriptionId, Target, TopicId,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        http::header::SEC_WEBSOCKET_PROTOCOL as PROTOCOL,
    },
};

use super::{Client, messages};

/// What is said about one target at one position: the record, if it is of one, and the value.
type Told = (String, Option<Vec<u8>>);

/// Everything that was asked and told, over all connections and lives of the server.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Writes, by client and request: their target, and what they put there.
    pub(crate) asked: HashMap<(String, RequestId), (String, Told)>,
    /// Their acknowledgements.
    pub(crate) acknowledged: HashMap<(String, RequestId), Position>,
    /// What stands at each position of each target.
    told: HashMap<(String, Position), Told>,
    /// Writes that were sent again.
    pub(crate) repeats: usize,
    /// What must never be.
    pub(crate) faults: Vec<String>,
}

impl Ledger {
    fn ask(&mut self, client: &str, request: RequestId, operation: &Operation<'_>) {
        let asked = match *operation {
            Operation::Put { key, value } => {
                (format!("object {key}"), (String::new(), Some(value.as_bytes().to_vec())))
            }
            Operation::Set { datastore, value } => {
                let record = value.string_field("id").unwrap_or_default().to_owned();
                (format!("datastore {datastore}"), (record, Some(value.as_bytes().to_vec())))
            }
            ref other => panic!("the ledger does not know {other:?}"),
        };
        let name = (client.to_owned(), request);
        match self.asked.get(&name) {
            Some(before) if *before == asked => self.repeats += 1,
            Some(_) => self.faults.push(format!("{name:?} is two different requests")),
            None => drop(self.asked.insert(name, asked)),
        }
    }

    fn acknowledge(&mut self, client: &str, request: RequestId, position: Option<Position>) {
        let name = (client.to_owned(), request);
        let (Some((target, told)), Some(position)) = (self.asked.get(&name).cloned(), position) else {
            self.faults.push(format!("{name:?} was never asked, or changed nothing"));
            return;
        };
        let before = self.acknowledged.insert(name.clone(), position);
        if before.is_some_and(|before| before != position) {
            self.faults.push(format!("{name:?} was acknowledged at {before:?} and at {position:?}"));
        }
        self.tell(target, position, &told);
    }

    fn tell(&mut self, target: String, position: Position, told: &Told) {
        let before = self.told.entry((target, position)).or_insert_with(|| told.clone());
        if before != told {
            self.faults.push(format!("{position:?} names {before:?} and {told:?}"));
        }
    }

    /// What was acknowledged of a target, by sequence.
    pub(crate) fn of(&self, target: &str) -> Vec<(Position, Told)> {
        let all = self.acknowledged.iter();
        let mut of: Vec<_> = all
            .filter(|(name, _)| self.asked[*name].0 == target)
            .map(|(name, position)| (*position, self.asked[name].1.clone()))
            .collect();
        of.sort_by_key(|(position, _)| position.sequence);
        of
    }

    /// Panics where something was told that must never be: a position that names two values, a request with two
    /// answers, requests of one client that ran in another order than they were made in.
    pub(crate) fn check(&self) {
        assert_eq!(self.faults, Vec::<String>::new());
        let mut last = HashMap::<(&str, &str, Epoch), Sequence>::new();
        let mut acknowledged: Vec<_> = self.acknowledged.iter().collect();
        acknowledged.sort_by_key(|((_, request), _)| *request);
        for (name, position) in acknowledged {
            let of = (&*name.0, &*self.asked[name].0, position.epoch);
            let before = last.insert(of, position.sequence);
            assert!(before.is_none_or(|before| before < position.sequence), "{name:?} ran too early");
        }
    }
}

/// The relay.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) address: String,
    server: Arc<Mutex<String>>,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
}

impl Tap {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (server, ledger) = (Arc::<Mutex<String>>::default(), Arc::<Mutex<Ledger>>::default());
        let tap = Self { address, server: server.clone(), ledger: ledger.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.lock().unwrap().clone();
                tokio::spawn(relay(stream, server, ledger.clone()));
            }
        });
        tap
    }

    /// Where the server is from now on.
    pub(crate) fn point_to(&self, server: &str) {
        server.clone_into(&mut self.server.lock().unwrap());
    }
}

/// Relays one connection until either side is gone; then the other is dropped without a word.
async fn relay(stream: TcpStream, server: String, ledger: Arc<Mutex<Ledger>>) {
    let mut protocol = None;
    #[expect(clippy::result_large_err, reason = "the type is the library's")]
    let echo = |request: &Request, mut response: Response| {
        protocol = request.headers().get(PROTOCOL).cloned();
        response.headers_mut().extend(protocol.clone().map(|value| (PROTOCOL, value)));
        Ok(response)
    };
    let Ok(mut below) = accept_hdr_async(stream, echo).await else { return };
    let protocol = protocol.unwrap();
    let Ok(Client { socket: mut above }) = Client::dial(&server, protocol.to_str().ok(), None).await else {
        return;
    };
    let mut reading = Reading::default();
    loop {
        tokio::select! {
            Some(Ok(message)) = below.next() => {
                if let Message::Binary(frame) = &message {
                    reading.client(frame, &mut ledger.lock().unwrap());
                }
                if above.send(message).await.is_err() { return }
            }
            Some(Ok(message)) = above.next() => {
                if let Message::Binary(frame) = &message {
                    reading.server(frame, &mut ledger.lock().unwrap());
                }
                if below.send(message).await.is_err() { return }
            }
            else => return,
        }
    }
}

/// What one connection has said so far.
#[derive(Default)]
struct Reading {
    client: String,
    subscriptions: HashMap<SubscriptionId, String>,
    topics: HashMap<TopicId, (String, Epoch)>,
}

impl Reading {
    fn client(&mut self, frame: &[u8], ledger: &mut Ledger) {
        let mut reader = Reader::new(frame);
        while !reader.is_empty() {
            match ClientMessage::decode(&mut reader).unwrap() {
                ClientMessage::Hello { client, .. } => client.clone_into(&mut self.client),
                ClientMessage::Subscribe(subscriptions) => {
                    self.subscriptions.extend(subscriptions.into_iter().map(|subscription| {
                        let target = match subscription.target {
                            Target::Object(key) => format!("object {key}"),
                            Target::Datastore { id, .. } => format!("datastore {id}"),
                            other => panic!("the ledger does not know {other:?}"),
                        };
                        (subscription.id, target)
                    }));
                }
                ClientMessage::Write { request, operation } => ledger.ask(&self.client, request, &operation),
                _ => {}
            }
        }
    }

    fn server(&mut self, frame: &[u8], ledger: &mut Ledger) {
        for message in messages(frame) {
            match message {
                ServerMessage::Answer { subscription, topic, epoch, answer, .. } => {
                    let target = self.subscriptions[&subscription].clone();
                    self.topics.insert(topic, (target.clone(), epoch));
                    match answer {
                        Answer::Snapshot { sequence, value, .. } => {
                            let told = (String::new(), Some(value.as_bytes().to_vec()));
                            ledger.tell(target, Position { epoch, sequence }, &told);
                        }
                        Answer::Page { rows, .. } => {
                            for row in rows {
                                let told = (row.key.to_owned(), Some(row.value.as_bytes().to_vec()));
                                ledger.tell(
                                    target.clone(),
                                    Position { epoch, sequence: row.sequence },
                                    &told,
                                );
                            }
                        }
                        Answer::Current | Answer::Tail { .. } | Answer::Absent { .. } => {}
                    }
                }
                ServerMessage::Envelope { topic, sequence, key, value, .. } => {
                    let (target, epoch) = self.topics[&topic].clone();
                    let value = value.map(|value| value.as_bytes().to_vec());
                    let told = (key.unwrap_or_default().to_owned(), value);
                    ledger.tell(target, Position { epoch, sequence }, &told);
                }
                ServerMessage::Ack { request, position, .. } => {
                    ledger.acknowledge(&self.client, request, position);
                }
                ServerMessage::Refusal { request, code, message } => {
                    ledger.faults.push(format!("{request} was refused: {code} {message}"));
                }
                _ => {}
            }
        }
    }
}
