//! What write requests were answered with.
//!
//! A reply is written with the effect that it speaks of, in the same transaction, and it is hardly ever read. So the
//! replies of a transaction are appended to a log as one row, whatever clients they are for. What the log holds is held
//! in memory too, by client; when it has grown, every client in it is written as one row, and both are emptied. A row
//! per reply would touch as many pages of the database as all records do.

use std::collections::{HashMap, VecDeque};

use rusqlite::{Connection, OptionalExtension, Row, params};
use tidewire::{
    protocol::{DecodeError, Epoch, Position, Reader, RequestId, Timestamp, Writer},
    server::storage::{KEPT_REPLIES, Recollection, Reply},
};

use super::{malformed, millis, number};

/// Replies in the log above which it is folded. Folding writes up to a thousand replies for each client, so it must be
/// rare; and reading so many takes some ten milliseconds at the next start.
const LOGGED: usize = 32_768;

/// Bytes of the log above which it is folded.
const LOGGED_BYTES: usize = 4 * 1024 * 1024;

/// The requests of one client.
#[derive(Debug, Default)]
struct Client {
    /// The lowest number that is not forgotten.
    floor: RequestId,
    seen: Timestamp,
    /// In the order of their requests, which is nearly always that in which they are given.
    replies: VecDeque<(RequestId, Timestamp, Reply)>,
}

impl Client {
    fn place(&self, request: RequestId) -> Result<usize, usize> {
        match self.replies.back() {
            Some((newest, ..)) if *newest >= request => {
                self.replies.binary_search_by_key(&request, |(request, ..)| *request)
            }
            _ => Err(self.replies.len()),
        }
    }

    fn recall(&self, request: RequestId) -> Recollection {
        let kept = self.place(request).ok().and_then(|place| self.replies.get(place));
        match kept {
            _ if request < self.floor => Recollection::Forgotten,
            Some((.., reply)) => Recollection::Answered(reply.clone()),
            None => Recollection::New,
        }
    }

    fn remember(&mut self, now: Timestamp, request: RequestId, reply: Reply) {
        self.seen = now;
        match self.place(request) {
            Ok(place) => self.replies[place] = (request, now, reply),
            Err(place) => self.replies.insert(place, (request, now, reply)),
        }
        self.floor = self.floor.max((request + 1).saturating_sub(KEPT_REPLIES));
        while self.replies.front().is_some_and(|(oldest, ..)| *oldest < self.floor) {
            self.replies.pop_front();
        }
    }

    fn forget(&mut self, before: Timestamp) {
        for (request, ..) in self.replies.iter().filter(|(_, at, _)| *at < before) {
            self.floor = self.floor.max(*request + 1);
        }
        self.replies.retain(|(request, ..)| *request >= self.floor);
    }

    /// The columns floor, seen and replies, beginning with `first`.
    fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Self> {
        let unsigned =
            |column| -> rusqlite::Result<u64> { Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0)) };
        let mut client = Self {
            floor: unsigned(first)?,
            seen: Timestamp::from_millis(unsigned(first + 1)?),
            replies: VecDeque::new(),
        };
        let mut reader = Reader::new(row.get_ref(first + 2)?.as_blob()?);
        let mut before = Before::default();
        while !reader.is_empty() {
            let (request, at, reply) = before.read(&mut reader).map_err(|_| malformed(first + 2))?;
            client.replies.push_back((request, at, reply));
        }
        client.replies.make_contiguous().sort_by_key(|(request, ..)| *request);
        Ok(client)
    }

    fn write(&self, database: &Connection, id: &str) -> rusqlite::Result<()> {
        let (mut writer, mut before) = (Writer::new(), Before::default());
        for (request, at, reply) in &self.replies {
            before.write(&mut writer, *request, *at, reply);
        }
        let oldest = self.replies.iter().map(|(_, at, _)| *at).min();
        database
            .prepare_cached(
                "INSERT INTO requests (client, floor, seen, oldest, replies) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (client) DO UPDATE
                 SET floor = excluded.floor, seen = excluded.seen, oldest = excluded.oldest,
                     replies = excluded.replies",
            )?
            .execute(params![
                id,
                number(self.floor),
                millis(self.seen),
                oldest.map(millis),
                writer.into_bytes()
            ])
            .map(drop)
    }

    fn load(database: &Connection, id: &str) -> rusqlite::Result<Option<Self>> {
        database
            .prepare_cached("SELECT floor, seen, replies FROM requests WHERE client = ?1")?
            .query_row([id], |row| Self::read(row, 0))
            .optional()
    }
}

/// The replies of a database.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// Everybody whom the log speaks of, each with everything that is known.
    clients: HashMap<String, Client>,
    /// The next row of the log.
    pending: Writer,
    before: Before,
    /// Replies in the log.
    logged: usize,
    logged_bytes: usize,
}

impl Replies {
    /// What the log of a database says.
    pub(super) fn load(database: &Connection) -> rusqlite::Result<Self> {
        let mut replies = Self::default();
        let mut statement = database.prepare("SELECT replies FROM request_log ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let bytes = row.get_ref(0)?.as_blob()?;
            replies.logged_bytes += bytes.len();
            let (mut reader, mut before) = (Reader::new(bytes), Before::default());
            while !reader.is_empty() {
                let client = before.read_client(&mut reader).map(str::to_owned);
                let entry = client.and_then(|client| Ok((client, before.read(&mut reader)?)));
                let (client, (request, at, reply)) = entry.map_err(|_| malformed(0))?;
                replies.client(database, &client)?.remember(at, request, reply);
                replies.logged += 1;
            }
        }
        Ok(replies)
    }

    /// Reads everything that is remembered; how many clients there are rows of.
    pub(crate) fn read_all(database: &Connection) -> rusqlite::Result<usize> {
        Self::load(database)?;
        let mut statement = database.prepare("SELECT floor, seen, replies FROM requests")?;
        let mut rows = statement.query([])?;
        let mut clients = 0;
        while let Some(row) = rows.next()? {
            Client::read(row, 0)?;
            clients += 1;
        }
        Ok(clients)
    }

    pub(super) fn recall(
        &self,
        database: &Connection,
        client: &str,
        request: RequestId,
    ) -> rusqlite::Result<Recollection> {
        if let Some(client) = self.clients.get(client) {
            return Ok(client.recall(request));
        }
        let stored = Client::load(database, client)?;
        Ok(stored.map_or(Recollection::New, |client| client.recall(request)))
    }

    pub(super) fn remember(
        &mut self,
        database: &Connection,
        now: Timestamp,
        client: &str,
        request: RequestId,
        reply: &Reply,
    ) -> rusqlite::Result<()> {
        self.client(database, client)?.remember(now, request, reply.clone());
        self.before.write_client(&mut self.pending, client);
        self.before.write(&mut self.pending, request, now, reply);
        self.logged += 1;
        Ok(())
    }

    fn client(&mut self, database: &Connection, id: &str) -> rusqlite::Result<&mut Client> {
        if !self.clients.contains_key(id) {
            let client = Client::load(database, id)?.unwrap_or_default();
            self.clients.insert(id.to_owned(), client);
        }
        Ok(self.clients.get_mut(id).expect("it was just inserted where it was missing"))
    }

    /// Writes what the transaction remembered; the last thing before its commit.
    pub(super) fn store(&mut self, database: &Connection) -> rusqlite::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.before = Before::default();
        let row = std::mem::take(&mut self.pending).into_bytes();
        database.prepare_cached("INSERT INTO request_log (replies) VALUES (?1)")?.execute([&row])?;
        self.logged_bytes += row.len();
        if self.logged > LOGGED || self.logged_bytes > LOGGED_BYTES { self.fold(database) } else { Ok(()) }
    }

    fn fold(&mut self, database: &Connection) -> rusqlite::Result<()> {
        for (id, client) in &self.clients {
            client.write(database, id)?;
        }
        database.execute("DELETE FROM request_log", [])?;
        *self = Self::default();
        Ok(())
    }

    /// Forgets replies given before `replies`, and clients that asked for nothing since `clients`.
    pub(super) fn forget(
        &mut self,
        database: &Connection,
        replies: Timestamp,
        clients: Timestamp,
    ) -> rusqlite::Result<()> {
        // What is not in the rows yet would keep its age from them.
        self.fold(database)?;
        let mut statement =
            database.prepare("SELECT client, floor, seen, replies FROM requests WHERE oldest < ?1")?;
        let aged = statement
            .query_map([millis(replies)], |row| Ok((row.get::<_, String>(0)?, Client::read(row, 1)?)))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        for (id, mut client) in aged {
            client.forget(replies);
            client.write(database, &id)?;
        }
        database.execute("DELETE FROM requests WHERE seen < ?1", [millis(clients)])?;
        Ok(())
    }
}

/// What the entry before said: what an entry leaves out, because it is the same. Most replies of a row were given at
/// one time, about one history.
#[derive(Debug, Default)]
struct Before {
    client: Option<String>,
    at: Option<Timestamp>,
    epoch: Option<Epoch>,
}

impl Before {
    /// Whose the next reply is; nil: the same client's again.
    fn write_client(&mut self, writer: &mut Writer, client: &str) {
        let is_news = self.client.as_deref() != Some(client);
        writer.optional(is_news.then_some(client), Writer::str);
        if is_news {
            self.client = Some(client.to_owned());
        }
    }

    fn read_client(&mut self, reader: &mut Reader<'_>) -> Result<&str, DecodeError> {
        if let Some(client) = reader.optional(Reader::str)? {
            self.client = Some(client.to_owned());
        }
        self.client.as_deref().ok_or(DecodeError::Truncated)
    }

    /// A request's number, when it was answered (nil: when the one before was), and the answer: code and message, epoch
    /// (empty: the one before) and sequence, result; nil stands for what there is not.
    fn write(&mut self, writer: &mut Writer, request: RequestId, at: Timestamp, reply: &Reply) {
        writer.u64(request);
        let is_later = self.at.replace(at) != Some(at);
        writer.optional(is_later.then_some(at.as_millis()), Writer::u64);
        let (refusal, position, result) = match reply {
            Reply::Refused { code, message } => (Some((code, message)), None, None),
            Reply::Done { position, result } => (None, *position, result.as_deref()),
        };
        match refusal {
            Some((code, message)) => {
                writer.u64(u64::from(*code));
                writer.str(message);
            }
            None => {
                writer.nil();
                writer.nil();
            }
        }
        writer.optional(position, |writer, position| {
            let is_other = self.epoch.replace(position.epoch) != Some(position.epoch);
            writer.bin(if is_other { position.epoch.as_bytes() } else { &[] });
            writer.u64(position.sequence.get());
        });
        writer.optional(result, Writer::bin);
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(RequestId, Timestamp, Reply), DecodeError> {
        let request = reader.u64()?;
        self.at = reader.optional(Reader::u64)?.map(Timestamp::from_millis).or(self.at);
        let at = self.at.ok_or(DecodeError::Truncated)?;
        let (code, message) = (reader.optional(Reader::u32)?, reader.optional(Reader::str)?);
        let position = reader.optional(|reader| {
            let epoch: &[u8] = reader.bin()?;
            self.epoch = epoch.try_into().map(Epoch::from_bytes).ok().or(self.epoch);
            Ok(Position { epoch: self.epoch.ok_or(DecodeError::Truncated)?, sequence: reader.sequence()? })
        })?;
        let result = reader.optional(Reader::bin)?;
        let reply = match (code.and_then(|code| u16::try_from(code).ok()), message) {
            (Some(code), Some(message)) => Reply::Refused { code, message: message.into() },
            _ => Reply::Done { position, result: result.map(Into::into) },
        };
        Ok((request, at, reply))
    }
}
