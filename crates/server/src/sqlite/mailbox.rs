//! Mailboxes in SQLite.

use std::{ops::ControlFlow, sync::Arc};

use rusqlite::{OptionalExtension, Row, params};
use tidewire::{
    protocol::Timestamp,
    server::storage::{MailboxStorage, Notification, StorageError, Trace, Value, VisitPending},
};

use super::{Sqlite, malformed, millis, number, while_doing};

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let millis: Option<i64> = row.get(column)?;
    millis
        .map(|millis| u64::try_from(millis).map(Timestamp::from_millis).map_err(|_| malformed(column)))
        .transpose()
}

/// The columns that [`notification`] reads, in its order.
macro_rules! columns {
    () => {
        "number, trace, sender, target, pack, suit, created, expires, delivered, replied, reply"
    };
}

fn notification(row: &Row<'_>) -> rusqlite::Result<(u64, Notification)> {
    let number = u64::try_from(row.get::<_, i64>(0)?).map_err(|_| malformed(0))?;
    let due = |column| time(row, column)?.ok_or_else(|| malformed(column));
    let reply = row.get_ref(10)?.as_blob_or_null()?.map(Arc::from);
    let notification = Notification {
        trace: Trace::from_bytes(row.get(1)?),
        from: row.get(2)?,
        to: row.get(3)?,
        pack: row.get_ref(4)?.as_blob()?.into(),
        suit: row.get(5)?,
        created: due(6)?,
        expires: due(7)?,
        delivered: time(row, 8)?,
        reply: time(row, 9)?.zip(reply),
    };
    Ok((number, notification))
}

impl MailboxStorage for Sqlite {
    fn put_notification(&mut self, notification: &Notification) -> Result<(), StorageError> {
        let Notification { trace, from, to, pack, suit, created, expires, delivered, reply } = notification;
        self.database
            .prepare_cached(
                "INSERT INTO notifications
                 (trace, sender, target, pack, suit, created, expires, delivered, replied, reply)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    trace.as_bytes(),
                    &**from,
                    &**to,
                    &**pack,
                    suit,
                    millis(*created),
                    millis(*expires),
                    delivered.map(millis),
                    reply.as_ref().map(|(at, _)| millis(*at)),
                    reply.as_ref().map(|(_, reply)| &**reply)
                ])
            })
            .map(drop)
            .map_err(while_doing("writing a notification"))
    }

    fn notification(&self, trace: Trace) -> Result<Option<Notification>, StorageError> {
        self.database
            .prepare_cached(concat!("SELECT ", columns!(), " FROM notifications WHERE trace = ?1"))
            .and_then(|mut statement| statement.query_row([trace.as_bytes()], notification).optional())
            .map(|found| found.map(|(_, notification)| notification))
            .map_err(while_doing("reading a notification"))
    }

    fn set_delivered(&mut self, trace: Trace, at: Timestamp) -> Result<(), StorageError> {
        self.database
            .prepare_cached("UPDATE notifications SET delivered = ?2 WHERE trace = ?1")
            .and_then(|mut statement| statement.execute(params![trace.as_bytes(), millis(at)]))
            .map(drop)
            .map_err(while_doing("marking a notification as delivered"))
    }

    fn set_notification_reply(
        &mut self,
        trace: Trace,
        at: Timestamp,
        reply: &Value,
    ) -> Result<(), StorageError> {
        self.database
            .prepare_cached("UPDATE notifications SET replied = ?2, reply = ?3 WHERE trace = ?1")
            .and_then(|mut statement| statement.execute(params![trace.as_bytes(), millis(at), &**reply]))
            .map(drop)
            .map_err(while_doing("writing a reply to a notification"))
    }

    fn remove_notification(&mut self, trace: Trace) -> Result<(), StorageError> {
        self.database
            .prepare_cached("DELETE FROM notifications WHERE trace = ?1")
            .and_then(|mut statement| statement.execute([trace.as_bytes()]))
            .map(drop)
            .map_err(while_doing("removing a notification"))
    }

    fn pending(&self, to: &str, after: u64, visit: VisitPending<'_>) -> Result<(), StorageError> {
        self.database
            .prepare_cached(concat!(
                "SELECT ",
                columns!(),
                " FROM notifications WHERE target = ?1 AND number > ?2 AND delivered IS NULL ORDER BY number"
            ))
            .and_then(|mut statement| {
                let mut rows = statement.query(params![to, number(after)])?;
                while let Some(row) = rows.next()? {
                    let (number, notification) = notification(row)?;
                    if let ControlFlow::Break(()) = visit(number, &notification) {
                        break;
                    }
                }
                Ok(())
            })
            .map_err(while_doing("reading a mailbox"))
    }

    fn pending_count(&self, to: &str) -> Result<usize, StorageError> {
        self.database
            .prepare_cached("SELECT count(*) FROM notifications WHERE target = ?1 AND delivered IS NULL")
            .and_then(|mut statement| statement.query_row([to], |row| row.get::<_, i64>(0)))
            .map(|count| usize::try_from(count).unwrap_or(0))
            .map_err(while_doing("counting a mailbox"))
    }

    fn evict_pending(&mut self, to: &str, keep: usize) -> Result<(), StorageError> {
        self.database
            .prepare_cached(
                "DELETE FROM notifications
                 WHERE target = ?1 AND delivered IS NULL AND number <= (
                     SELECT number FROM notifications WHERE target = ?1 AND delivered IS NULL
                     ORDER BY number DESC LIMIT 1 OFFSET ?2
                 )",
            )
            .and_then(|mut statement| statement.execute(params![to, i64::try_from(keep).unwrap_or(i64::MAX)]))
            .map(drop)
            .map_err(while_doing("evicting old notifications"))
    }

    fn purge_notifications(&mut self, now: Timestamp) -> Result<usize, StorageError> {
        self.database
            .prepare_cached("DELETE FROM notifications WHERE expires < ?1")
            .and_then(|mut statement| statement.execute([millis(now)]))
            .map_err(while_doing("purging notifications"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire::{
        protocol::EncodedValue,
        server::{Options, Server},
    };

    #[test]
    fn mailboxes_survive_a_reopened_database() {
        let directory = tempfile::tempdir().unwrap();
        let now = Timestamp::from_millis(1_700_000_000_000);
        let open =
            |seed| Server::open(Sqlite::open(directory.path()).unwrap(), Options::new([seed; 32])).unwrap();
        let mut server = open(1);
        let mut put = |suit| server.notify(now, "bob", EncodedValue::NIL, suit, None).unwrap();
        let (first, second) = (put(true), put(false));
        let replied = server.reply(now, first.trace, EncodedValue::NIL).unwrap();
        server.commit(now).unwrap();
        drop(server);
        let mut server = open(2);
        assert_eq!(server.notification(now, first.trace).unwrap(), Some(replied));
        let drained = server.drain(now, "bob").unwrap();
        assert_eq!(drained.iter().map(|found| found.trace).collect::<Vec<_>>(), [first.trace, second.trace]);
        drop(server);
        // The drain was not committed.
        assert_eq!(open(3).pending_notifications("bob").unwrap(), 2);
    }
}
