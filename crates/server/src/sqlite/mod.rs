//! The storage over SQLite: one file in WAL mode, every commit on disk before it returns.

mod kv;
mod mailbox;
pub(crate) mod open;
pub(crate) mod replies;

use std::{collections::HashMap, fs::File, ops::ControlFlow, sync::Arc};

use rusqlite::{Connection, OptionalExtension, Row, params};
use tidewire::{
    protocol::{Epoch, Lineage, Position, RequestId, Sequence, Timestamp},
    server::storage::{
        Recollection, Reply, Storage, StorageError, Stored, StoredDatastore, StoredHistory, Visit,
    },
};

pub use open::{DATABASE, OpenError};
use replies::Replies;

/// A storage in a data directory, which it keeps locked.
#[derive(Debug)]
pub struct Sqlite {
    database: Connection,
    replies: Replies,
    /// The numbers by which records name their datastores: looking one up for every record costs a tenth of writing it.
    numbers: HashMap<String, i64>,
    _lock: File,
}

impl Sqlite {
    /// The connection, for tools that look at the database beside the server: measurements, checks.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.database
    }

    fn number(&mut self, datastore: &str) -> rusqlite::Result<i64> {
        if let Some(number) = self.numbers.get(datastore) {
            return Ok(*number);
        }
        let mut statement = self.database.prepare_cached("SELECT number FROM datastores WHERE id = ?1")?;
        let number = statement.query_row([datastore], |row| row.get(0))?;
        self.numbers.insert(datastore.to_owned(), number);
        Ok(number)
    }
}

fn while_doing(doing: &'static str) -> impl Fn(rusqlite::Error) -> StorageError {
    move |source| StorageError::new(doing, source)
}

fn malformed(column: usize) -> rusqlite::Error {
    let source = "a stored value is out of its range".into();
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, source)
}

pub(crate) fn sequence(row: &Row<'_>, column: usize) -> rusqlite::Result<Sequence> {
    let number = u64::try_from(row.get::<_, i64>(column)?).ok();
    number.and_then(Sequence::new).ok_or_else(|| malformed(column))
}

pub(crate) fn epoch(row: &Row<'_>, column: usize) -> rusqlite::Result<Epoch> {
    Ok(Epoch::from_bytes(row.get(column)?))
}

/// Numbers of this protocol end at 2^53, so they fit SQLite's.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn millis(time: Timestamp) -> i64 {
    number(time.as_millis())
}

/// A lineage as it is stored: per entry the epoch and the sequence, 24 bytes.
pub(crate) fn lineage_bytes(lineage: &Lineage) -> Vec<u8> {
    let entry = |entry: &Position| {
        let mut bytes = entry.epoch.as_bytes().to_vec();
        bytes.extend_from_slice(&entry.sequence.get().to_be_bytes());
        bytes
    };
    lineage.entries().iter().flat_map(entry).collect()
}

pub(crate) fn lineage(row: &Row<'_>, column: usize) -> rusqlite::Result<Lineage> {
    let bytes: Vec<u8> = row.get(column)?;
    let entry = |bytes: &[u8]| {
        let (epoch, sequence) = bytes.split_at_checked(16)?;
        Some(Position {
            epoch: Epoch::from_bytes(epoch.try_into().ok()?),
            sequence: Sequence::new(u64::from_be_bytes(sequence.try_into().ok()?))?,
        })
    };
    let entries: Option<Vec<_>> = bytes.chunks(24).map(entry).collect();
    entries.map(Lineage::new).ok_or_else(|| malformed(column))
}

/// A change from the columns sequence, version, value, beginning with `first`.
fn stored(row: &Row<'_>, first: usize) -> rusqlite::Result<Stored> {
    let value = row.get_ref(first + 2)?.as_blob_or_null()?;
    Ok(Stored { sequence: sequence(row, first)?, version: row.get(first + 1)?, value: value.map(Arc::from) })
}

impl Storage for Sqlite {
    fn begin(&mut self) -> Result<(), StorageError> {
        self.database.execute_batch("BEGIN IMMEDIATE").map_err(while_doing("beginning a transaction"))
    }

    fn commit(&mut self) -> Result<(), StorageError> {
        self.replies.store(&self.database).map_err(while_doing("writing replies"))?;
        self.database.execute_batch("COMMIT").map_err(while_doing("committing"))
    }

    fn rollback(&mut self) -> Result<(), StorageError> {
        // SQLite ends the transaction on its own after some failures.
        if !self.database.is_autocommit() {
            self.database.execute_batch("ROLLBACK").map_err(while_doing("rolling back"))?;
        }
        self.numbers.clear();
        self.replies = Replies::load(&self.database).map_err(while_doing("reading replies"))?;
        Ok(())
    }

    fn history(&self) -> Result<Option<StoredHistory>, StorageError> {
        self.database
            .prepare_cached("SELECT epoch, lineage FROM history")
            .and_then(|mut statement| {
                let read =
                    |row: &Row<'_>| Ok(StoredHistory { epoch: epoch(row, 0)?, lineage: lineage(row, 1)? });
                statement.query_row([], read).optional()
            })
            .map_err(while_doing("reading the history"))
    }

    fn set_history(&mut self, history: &StoredHistory) -> Result<(), StorageError> {
        self.database
            .execute(
                "INSERT OR REPLACE INTO history (only, epoch, lineage) VALUES (1, ?1, ?2)",
                params![history.epoch.as_bytes(), lineage_bytes(&history.lineage)],
            )
            .map(drop)
            .map_err(while_doing("writing the history"))
    }

    fn object(&self, key: &str) -> Result<Option<Stored>, StorageError> {
        self.database
            .prepare_cached("SELECT sequence, version, value FROM objects WHERE key = ?1")
            .and_then(|mut statement| statement.query_row([key], |row| stored(row, 0)).optional())
            .map_err(while_doing("reading an object"))
    }

    fn object_sequence(&self, key: &str) -> Result<Option<Sequence>, StorageError> {
        self.database
            .prepare_cached("SELECT sequence FROM objects WHERE key = ?1")
            .and_then(|mut statement| statement.query_row([key], |row| sequence(row, 0)).optional())
            .map_err(while_doing("reading an object"))
    }

    fn object_lineage(&self, key: &str) -> Result<Lineage, StorageError> {
        let read = || {
            let own = self
                .database
                .prepare_cached("SELECT lineage FROM objects WHERE key = ?1 AND lineage IS NOT NULL")?
                .query_row([key], |row| lineage(row, 0))
                .optional()?
                .unwrap_or_default();
            let all = self
                .database
                .prepare_cached("SELECT lineage FROM history")?
                .query_row([], |row| lineage(row, 0))?;
            let kept = |epoch| own.entries().iter().find(|entry| entry.epoch == epoch);
            // Of an object that did not exist when an epoch ended, nothing was kept.
            let entry = |ended: &Position| Position {
                epoch: ended.epoch,
                sequence: kept(ended.epoch).map_or(Sequence::ZERO, |entry| entry.sequence),
            };
            Ok(Lineage::new(all.entries().iter().map(entry).collect()))
        };
        read().map_err(while_doing("reading where an object stood"))
    }

    fn set_object(&mut self, key: &str, object: Stored) -> Result<(), StorageError> {
        self.database
            .prepare_cached(
                "INSERT INTO objects (key, sequence, version, value) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (key) DO UPDATE
                 SET sequence = excluded.sequence, version = excluded.version, value = excluded.value",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    key,
                    number(object.sequence.get()),
                    object.version.as_deref(),
                    object.value.as_deref()
                ])
            })
            .map(drop)
            .map_err(while_doing("writing an object"))
    }

    fn datastore(&self, id: &str) -> Result<Option<StoredDatastore>, StorageError> {
        let read = |row: &Row<'_>| {
            let expires: Option<i64> = row.get(5)?;
            Ok(StoredDatastore {
                primary: row.get(0)?,
                epoch: epoch(row, 1)?,
                lineage: lineage(row, 2)?,
                head: sequence(row, 3)?,
                floor: sequence(row, 4)?,
                expires: expires.map(|millis| Timestamp::from_millis(u64::try_from(millis).unwrap_or(0))),
            })
        };
        self.database
            .prepare_cached(
                "SELECT primary_field, epoch, lineage, head, floor, expires FROM datastores WHERE id = ?1",
            )
            .and_then(|mut statement| statement.query_row([id], read).optional())
            .map_err(while_doing("reading a datastore"))
    }

    fn set_datastore(&mut self, id: &str, datastore: &StoredDatastore) -> Result<(), StorageError> {
        self.database
            .prepare_cached(
                "INSERT INTO datastores (id, primary_field, epoch, lineage, head, floor, expires)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (id) DO UPDATE
                 SET primary_field = excluded.primary_field, epoch = excluded.epoch, lineage = excluded.lineage,
                     head = excluded.head, floor = excluded.floor, expires = excluded.expires",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    id,
                    &*datastore.primary,
                    datastore.epoch.as_bytes(),
                    lineage_bytes(&datastore.lineage),
                    number(datastore.head.get()),
                    number(datastore.floor.get()),
                    datastore.expires.map(millis)
                ])
            })
            .map(drop)
            .map_err(while_doing("writing a datastore"))
    }

    fn expiring(&self) -> Result<Vec<(Arc<str>, Timestamp)>, StorageError> {
        let read = || {
            self.database
                .prepare_cached("SELECT id, expires FROM datastores WHERE expires IS NOT NULL ORDER BY id")?
                .query_map([], |row| {
                    let millis = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
                    Ok((row.get(0)?, Timestamp::from_millis(millis)))
                })?
                .collect::<rusqlite::Result<_>>()
        };
        read().map_err(while_doing("reading which datastores end"))
    }

    fn remove_datastore(&mut self, id: &str) -> Result<(), StorageError> {
        self.numbers.remove(id);
        let records = "DELETE FROM records WHERE datastore = (SELECT number FROM datastores WHERE id = ?1)";
        self.database
            .execute(records, [id])
            .and_then(|_| self.database.execute("DELETE FROM datastores WHERE id = ?1", [id]))
            .map(drop)
            .map_err(while_doing("removing a datastore"))
    }

    fn record(&self, datastore: &str, key: &str) -> Result<Option<Stored>, StorageError> {
        self.database
            .prepare_cached(
                "SELECT sequence, version, value FROM records
                 WHERE datastore = (SELECT number FROM datastores WHERE id = ?1) AND key = ?2",
            )
            .and_then(|mut statement| statement.query_row([datastore, key], |row| stored(row, 0)).optional())
            .map_err(while_doing("reading a record"))
    }

    fn set_record(&mut self, datastore: &str, key: &str, record: Stored) -> Result<(), StorageError> {
        let datastore = self.number(datastore).map_err(while_doing("writing a record"))?;
        self.database
            .prepare_cached(
                "INSERT INTO records (datastore, key, sequence, version, value) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (datastore, key) DO UPDATE
                 SET sequence = excluded.sequence, version = excluded.version, value = excluded.value",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    datastore,
                    key,
                    number(record.sequence.get()),
                    record.version.as_deref(),
                    record.value.as_deref()
                ])
            })
            .map(drop)
            .map_err(while_doing("writing a record"))
    }

    fn changes(&self, datastore: &str, after: Sequence, visit: Visit<'_>) -> Result<(), StorageError> {
        self.database
            .prepare_cached(
                "SELECT key, sequence, version, value FROM records
                 WHERE datastore = (SELECT number FROM datastores WHERE id = ?1) AND sequence > ?2
                 ORDER BY sequence",
            )
            .and_then(|mut statement| {
                let mut rows = statement.query(params![datastore, number(after.get())])?;
                while let Some(row) = rows.next()? {
                    if let ControlFlow::Break(()) = visit(&row.get(0)?, &stored(row, 1)?) {
                        break;
                    }
                }
                Ok(())
            })
            .map_err(while_doing("reading records"))
    }

    fn forget_deletions(&mut self, datastore: &str, keep: usize) -> Result<Option<Sequence>, StorageError> {
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        self.database
            .prepare_cached(
                "SELECT sequence FROM records
                 WHERE datastore = (SELECT number FROM datastores WHERE id = ?1) AND value IS NULL
                 ORDER BY sequence DESC LIMIT 1 OFFSET ?2",
            )
            .and_then(|mut statement| {
                statement.query_row(params![datastore, keep], |row| sequence(row, 0)).optional()
            })
            .and_then(|newest| {
                if let Some(newest) = newest {
                    self.database.execute(
                        "DELETE FROM records
                         WHERE datastore = (SELECT number FROM datastores WHERE id = ?1)
                           AND value IS NULL AND sequence <= ?2",
                        params![datastore, number(newest.get())],
                    )?;
                }
                Ok(newest)
            })
            .map_err(while_doing("forgetting deletions"))
    }

    fn reply(&self, client: &str, request: RequestId) -> Result<Recollection, StorageError> {
        self.replies.recall(&self.database, client, request).map_err(while_doing("reading a reply"))
    }

    fn set_reply(
        &mut self,
        now: Timestamp,
        client: &str,
        request: RequestId,
        reply: &Reply,
    ) -> Result<(), StorageError> {
        let done = self.replies.remember(&self.database, now, client, request, reply);
        done.map_err(while_doing("writing a reply"))
    }

    fn forget_replies(&mut self, replies: Timestamp, clients: Timestamp) -> Result<(), StorageError> {
        let done = self.replies.forget(&self.database, replies, clients);
        done.map_err(while_doing("forgetting replies"))
    }
}

#[cfg(test)]
mod tests;
