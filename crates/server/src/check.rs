//! `tidewire-server check`: is the database what the server takes it for?
//!
//! SQLite looks at its own pages and indices; this looks at what they say. A server that runs is not disturbed: all is
//! read in one transaction, which sees the database as of its beginning.

use std::{fmt, path::Path};

use rusqlite::Connection;
use thiserror::Error;
use tidewire::protocol::EncodedValue;

use crate::sqlite::{self, DATABASE, open, replies::Replies};

/// Faults of which are told; whoever has more needs no longer list.
const TOLD: usize = 20;

/// What a sound database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Objects, deleted ones included.
    pub objects: i64,
    /// Permanent datastores.
    pub datastores: i64,
    /// Their records, deletions that are remembered included.
    pub records: i64,
    /// Clients whose requests are remembered.
    pub clients: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { objects, datastores, records, clients } = self;
        write!(
            formatter,
            "sound: {objects} objects, {records} records in {datastores} datastores, {clients} clients"
        )
    }
}

/// The database is not sound, or cannot be looked at.
#[derive(Debug, Error)]
pub enum CheckError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] sqlite::OpenError),
    /// It cannot be read on.
    #[error("the database cannot be read ({0})")]
    Read(#[from] rusqlite::Error),
    /// It was written by an older version.
    #[error(
        "the database has an older schema; start the server once, which brings it up to date, then check it"
    )]
    Older,
    /// It is not as it should be.
    #[error("the database is not sound: {}; keep a copy of it and restore a backup", .0.join("; "))]
    Unsound(Vec<String>),
}

/// What must find nothing, and what it has found.
const INVARIANTS: [(&str, &str); 9] = [
    ("there is not one history", "SELECT count(*) FROM history HAVING count(*) <> 1"),
    (
        "an epoch or lineage is malformed",
        "SELECT epoch FROM (SELECT epoch, lineage FROM history UNION ALL SELECT epoch, lineage FROM datastores)
         WHERE octet_length(epoch) <> 16 OR octet_length(lineage) % 24 <> 0 OR octet_length(lineage) > 192",
    ),
    (
        "two histories have one epoch",
        "SELECT hex(epoch) FROM (SELECT epoch FROM history UNION ALL SELECT epoch FROM datastores)
         GROUP BY epoch HAVING count(*) > 1",
    ),
    (
        "a sequence is out of range",
        "SELECT key FROM (SELECT key, sequence FROM objects UNION ALL SELECT key, sequence FROM records)
         WHERE sequence NOT BETWEEN 1 AND 9007199254740991",
    ),
    (
        "a datastore's head is below its floor or out of range",
        "SELECT id FROM datastores WHERE floor > head OR floor < 0 OR head > 9007199254740991",
    ),
    (
        "a record is beyond its datastore's head",
        "SELECT id || ' ' || key FROM records JOIN datastores ON number = datastore WHERE sequence > head",
    ),
    (
        "two records of a datastore have one sequence",
        "SELECT datastore || ' ' || sequence FROM records GROUP BY datastore, sequence HAVING count(*) > 1",
    ),
    (
        "a record belongs to no datastore",
        "SELECT key FROM records WHERE datastore NOT IN (SELECT number FROM datastores)",
    ),
    ("a remembered request is out of range", "SELECT client FROM requests WHERE floor < 0 OR seen < 0"),
];

/// Checks the database of a data directory.
///
/// # Errors
/// What is wrong with it.
pub fn check(directory: &Path) -> Result<Report, CheckError> {
    let database = open::read(&directory.join(DATABASE))?;
    database.execute_batch("BEGIN")?;
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let faults = pages(&database)?;
    if !faults.is_empty() {
        return Err(CheckError::Unsound(faults));
    }
    if usize::try_from(version) != Ok(open::SCHEMA_VERSION) {
        return Err(CheckError::Older);
    }
    let mut faults = Vec::new();
    for (fault, query) in INVARIANTS {
        let mut statement = database.prepare(query)?;
        let mut rows = statement.query([])?;
        if let Some(row) = rows.next()? {
            let found: rusqlite::types::Value = row.get(0)?;
            faults.push(format!("{fault} ({})", shown(&found)));
        }
    }
    values(&database, &mut faults)?;
    let clients = match Replies::read_all(&database) {
        Ok(clients) => clients,
        Err(error) => {
            faults.push(format!("the remembered requests cannot be read ({error})"));
            0
        }
    };
    if !faults.is_empty() {
        return Err(CheckError::Unsound(faults));
    }
    let count = |table| database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0));
    Ok(Report {
        objects: count("objects")?,
        datastores: count("datastores")?,
        records: count("records")?,
        clients,
    })
}

fn shown(value: &rusqlite::types::Value) -> String {
    match value {
        rusqlite::types::Value::Text(text) => text.clone(),
        rusqlite::types::Value::Integer(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

/// What SQLite finds in its own structures.
pub(crate) fn pages(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = database.prepare(&format!("PRAGMA integrity_check({TOLD})"))?;
    let found = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

/// Looks for values that are none, and for records under another name than their own.
fn values(database: &Connection, faults: &mut Vec<String>) -> rusqlite::Result<()> {
    let mut statement = database.prepare(
        "SELECT key, value, NULL FROM objects WHERE value IS NOT NULL UNION ALL
         SELECT key, value, primary_field FROM records JOIN datastores ON number = datastore
         WHERE value IS NOT NULL",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()?.filter(|_| faults.len() < TOLD) {
        let (key, bytes) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_blob()?);
        let primary = row.get_ref(2)?.as_str_or_null()?;
        match EncodedValue::check(bytes) {
            Err(error) => faults.push(format!("the value of {key} is malformed ({error})")),
            Ok(value) => {
                if primary.is_some_and(|primary| value.string_field(primary) != Some(key)) {
                    faults.push(format!("the record {key} calls itself otherwise"));
                }
            }
        }
    }
    Ok(())
}
