//! The kv store in SQLite.

use std::{ops::ControlFlow, sync::Arc};

use rusqlite::{OptionalExtension, Row, params, types::Value as Bound};
use tidewire::{
    protocol::Timestamp,
    server::storage::{KvEntry, KvStorage, StorageError, Value, VisitKv},
};

use super::{Sqlite, malformed, millis, while_doing};

/// The least text above all that begin with `prefix`, or what SQLite sorts above all text.
fn end_of(prefix: &str) -> Bound {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        // A range of characters steps over the surrogates, which are none.
        if let Some(next) = (last..=char::MAX).nth(1) {
            end.push(next);
            return Bound::Text(end);
        }
    }
    Bound::Blob(Vec::new())
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| malformed(column))
}

impl KvStorage for Sqlite {
    fn kv(&self, group: &str, key: &str) -> Result<Option<KvEntry>, StorageError> {
        let entry = |row: &Row<'_>| {
            let expires: Option<i64> = row.get(1)?;
            let expires = expires.map(|millis| Timestamp::from_millis(u64::try_from(millis).unwrap_or(0)));
            Ok(KvEntry { value: row.get_ref(0)?.as_blob()?.into(), expires })
        };
        self.database
            .prepare_cached("SELECT value, expires FROM kv WHERE name = ?1 AND key = ?2")
            .and_then(|mut statement| statement.query_row([group, key], entry).optional())
            .map_err(while_doing("reading a key"))
    }

    fn kv_entries(&self, now: Timestamp, group: &str, visit: VisitKv<'_>) -> Result<(), StorageError> {
        self.database
            .prepare_cached(
                "SELECT key, value FROM kv WHERE name = ?1 AND (expires IS NULL OR expires > ?2) ORDER BY key",
            )
            .and_then(|mut statement| {
                let mut rows = statement.query(params![group, millis(now)])?;
                while let Some(row) = rows.next()? {
                    let value: Value = row.get_ref(1)?.as_blob()?.into();
                    if let ControlFlow::Break(()) = visit(row.get_ref(0)?.as_str()?, &value) {
                        break;
                    }
                }
                Ok(())
            })
            .map_err(while_doing("reading a group"))
    }

    fn kv_count(&self, now: Timestamp, group: &str) -> Result<u64, StorageError> {
        self.database
            .prepare_cached(
                "SELECT entries - (SELECT count(*) FROM kv WHERE kv.name = ?1 AND expires <= ?2)
                 FROM kv_groups WHERE name = ?1",
            )
            .and_then(|mut statement| {
                statement.query_row(params![group, millis(now)], |row| count(row, 0)).optional()
            })
            .map(Option::unwrap_or_default)
            .map_err(while_doing("counting keys"))
    }

    fn kv_groups(&self, now: Timestamp, prefix: &str) -> Result<Vec<(Arc<str>, u64)>, StorageError> {
        self.database
            .prepare_cached(
                "SELECT name, entries - (SELECT count(*) FROM kv WHERE kv.name = kv_groups.name AND expires <= ?3)
                     AS live
                 FROM kv_groups WHERE name >= ?1 AND name < ?2 AND live > 0 ORDER BY name",
            )
            .and_then(|mut statement| {
                let read = |row: &Row<'_>| Ok((row.get(0)?, count(row, 1)?));
                statement.query_map(params![prefix, end_of(prefix), millis(now)], read)?.collect()
            })
            .map_err(while_doing("reading the groups"))
    }

    fn set_kv(&mut self, group: &str, key: &str, entry: KvEntry) -> Result<(), StorageError> {
        self.database
            .prepare_cached(
                "INSERT INTO kv (name, key, value, expires) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name, key) DO UPDATE SET value = excluded.value, expires = excluded.expires",
            )
            .and_then(|mut statement| {
                statement.execute(params![group, key, &*entry.value, entry.expires.map(millis)])
            })
            .map(drop)
            .map_err(while_doing("writing a key"))
    }

    fn remove_kv(&mut self, group: &str, key: &str) -> Result<(), StorageError> {
        self.database
            .prepare_cached("DELETE FROM kv WHERE name = ?1 AND key = ?2")
            .and_then(|mut statement| statement.execute([group, key]))
            .map(drop)
            .map_err(while_doing("removing a key"))
    }

    fn remove_kv_group(&mut self, group: &str) -> Result<(), StorageError> {
        self.database
            .prepare_cached("DELETE FROM kv WHERE name = ?1")
            .and_then(|mut statement| statement.execute([group]))
            .map(drop)
            .map_err(while_doing("removing a group"))
    }

    fn purge_kv(&mut self, now: Timestamp) -> Result<u64, StorageError> {
        self.database
            .prepare_cached("DELETE FROM kv WHERE expires <= ?1")
            .and_then(|mut statement| statement.execute([millis(now)]))
            .map(|purged| u64::try_from(purged).unwrap_or(u64::MAX))
            .map_err(while_doing("purging keys"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_the_least_text_above_it() {
        let text = |text: &str| Bound::Text(text.to_owned());
        assert_eq!(end_of("a:"), text("a;"));
        assert_eq!(end_of("a\u{D7FF}"), text("a\u{E000}"));
        assert_eq!(end_of("a\u{10FFFF}\u{10FFFF}"), text("b"));
        assert_eq!(end_of("\u{10FFFF}"), Bound::Blob(Vec::new()));
        assert_eq!(end_of(""), Bound::Blob(Vec::new()));
    }

    /// The plan of a query, as SQLite tells it.
    fn plan(storage: &Sqlite, query: &str) -> String {
        let mut statement = storage.database.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let steps = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn no_count_and_no_purge_reads_the_whole_table() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Sqlite::open(directory.path()).unwrap();
        let count = "SELECT count(*) FROM kv WHERE kv.name = 'g' AND expires <= 5";
        assert!(plan(&storage, count).contains("COVERING INDEX kv_expiring (name=? AND expires<?)"));
        let purge = "DELETE FROM kv WHERE expires <= 5";
        assert!(plan(&storage, purge).contains("INDEX kv_by_expiry (expires<?)"));
        let range = "SELECT name FROM kv_groups WHERE name >= 'a' AND name < 'b' ORDER BY name";
        assert_eq!(plan(&storage, range), "SEARCH kv_groups USING PRIMARY KEY (name>? AND name<?)");
        let group = "SELECT key FROM kv WHERE name = 'g' AND (expires IS NULL OR expires > 5) ORDER BY key";
        let group = plan(&storage, group);
        assert!(group.contains("SEARCH") && group.contains("name=?") && !group.contains("B-TREE"), "{group}");
    }
}
