//! `tidewire-server export`: the records of a permanent datastore, or all objects, as lines of JSON.
//!
//! `import` reads the same values back. A server that runs is not disturbed: all is read in one transaction, which sees
//! the database as of its beginning. Not here: positions and epochs, which only a backup keeps.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OptionalExtension, Row};
use thiserror::Error;
use tidewire::protocol::{EncodedValue, frame_value_to_json};

use crate::sqlite::{self, DATABASE, open};

/// What to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The records of the permanent datastore of this id: a line is a record.
    Datastore(String),
    /// All objects: a line is `{ "key": ..., "value": ... }`.
    Objects,
}

/// Not all was exported.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] sqlite::OpenError),
    /// It cannot be read on.
    #[error("the database cannot be read ({0})")]
    Read(#[from] rusqlite::Error),
    /// It was written by an older version.
    #[error("the database has an older schema; start the server once, which brings it up to date")]
    Older,
    /// There is no such datastore.
    #[error("there is no permanent datastore {0}; temporary ones are only in the server's memory")]
    NoDatastore(String),
    /// A value is none.
    #[error("the value of {key} is malformed ({source}); see `tidewire-server check`")]
    Malformed {
        /// Its key.
        key: String,
        /// Why.
        source: tidewire::protocol::DecodeError,
    },
    /// The file is there already, or cannot be made.
    #[error("cannot make {} ({source}); name a file that does not exist", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody who was to take it did not.
    #[error("the export cannot be written ({0}); it is not complete")]
    Write(#[source] io::Error),
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Lines.
    pub count: u64,
    /// The field that names a record, where there are records.
    pub primary: Option<String>,
}

/// Exports to a new file or, without one, to `other`; in the order of the keys, so that two exports can be compared.
///
/// # Errors
/// Why nothing, or not everything, was exported.
pub fn export(
    directory: &Path,
    source: &Source,
    file: Option<&Path>,
    other: impl Write,
) -> Result<Report, ExportError> {
    let database = open::read(&directory.join(DATABASE))?;
    database.execute_batch("BEGIN")?;
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if usize::try_from(version) != Ok(open::SCHEMA_VERSION) {
        return Err(ExportError::Older);
    }
    let primary = primary(&database, source)?;
    let count = match file {
        None => lines(&database, source, BufWriter::new(other))?,
        Some(path) => {
            let file = File::create_new(path)
                .map_err(|source| ExportError::Create { path: path.to_owned(), source })?;
            let mut writer = BufWriter::new(&file);
            let count = lines(&database, source, &mut writer)?;
            drop(writer);
            file.sync_all().map_err(ExportError::Write)?;
            count
        }
    };
    Ok(Report { count, primary })
}

/// The field that names the records of a datastore.
fn primary(database: &Connection, source: &Source) -> Result<Option<String>, ExportError> {
    let Source::Datastore(id) = source else {
        return Ok(None);
    };
    let found = database
        .query_row("SELECT primary_field FROM datastores WHERE id = ?1", [id], |row| row.get(0))
        .optional()?;
    found.map(Some).ok_or_else(|| ExportError::NoDatastore(id.clone()))
}

fn lines(database: &Connection, source: &Source, mut to: impl Write) -> Result<u64, ExportError> {
    let (query, id) = match source {
        Source::Datastore(id) => (
            "SELECT key, value FROM records
             WHERE datastore = (SELECT number FROM datastores WHERE id = ?1) AND value IS NOT NULL ORDER BY key",
            id.as_str(),
        ),
        Source::Objects => {
            ("SELECT key, value FROM objects WHERE value IS NOT NULL AND ?1 = '' ORDER BY key", "")
        }
    };
    let mut statement = database.prepare(query)?;
    let mut rows = statement.query([id])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let (key, value) = read(row)?;
        match source {
            Source::Datastore(_) => writeln!(to, "{value}"),
            Source::Objects => writeln!(to, "{{\"key\":{},\"value\":{value}}}", serde_json::json!(key)),
        }
        .map_err(ExportError::Write)?;
        count += 1;
    }
    to.flush().map_err(ExportError::Write)?;
    Ok(count)
}

/// A key, and its value as JSON.
fn read(row: &Row<'_>) -> Result<(String, String), ExportError> {
    let key: String = row.get(0)?;
    let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
    match EncodedValue::check(bytes) {
        Ok(value) => Ok((key, frame_value_to_json(value))),
        Err(source) => Err(ExportError::Malformed { key, source }),
    }
}
