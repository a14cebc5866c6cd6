//! Opening a database: whose file it is, whether it is sound, and what it lacks of the present schema.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, config::DbConfig};
use thiserror::Error;

use super::{Sqlite, replies::Replies};

/// The database's file in the data directory.
pub const DATABASE: &str = "tidewire.db";
/// The file whose lock says that a process uses the data directory.
const LOCK: &str = "tidewire.lock";
/// "TIDE": tells our databases from others.
const APPLICATION_ID: i64 = 0x5449_4445;
/// What makes a database of version `n` one of version `n + 1`; a new one starts at 0. A step is never changed once
/// it was released.
const STEPS: [&str; 5] = [
    include_str!("../schema/1.sql"),
    include_str!("../schema/2.sql"),
    include_str!("../schema/3.sql"),
    include_str!("../schema/4.sql"),
    include_str!("../schema/5.sql"),
];
/// The version that all steps lead to.
const SCHEMA_VERSION: usize = STEPS.len();
/// Larger databases are not read through at every start; it would take longer than a second.
const CHECKED_BYTES: u64 = 256 * 1024 * 1024;

/// A data directory cannot be used. Nothing in it was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory cannot be made or written to.
    #[error("the data directory {} cannot be used ({source}); choose another with --data or correct its permissions", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the data directory {} is in use by another tidewire-server; stop that one first or choose another with --data", .0.display())]
    InUse(PathBuf),
    /// The file belongs to another program.
    #[error("{} is a database of another program; choose another directory with --data", .0.display())]
    Foreign(PathBuf),
    /// The file was written by another version.
    #[error("{} has schema version {found}, this tidewire-server reads up to version {SCHEMA_VERSION}; use the version that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The file is damaged.
    #[error("{} is damaged ({detail}); keep a copy of it and its -wal file, and put a backup in its place or move both away to start empty", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// The log is there without its database.
    #[error("{} is missing while its -wal file is there; put the database back, or move the -wal file away to start empty", .0.display())]
    Missing(PathBuf),
    /// SQLite fails otherwise.
    #[error("{} cannot be opened ({source})", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

impl Sqlite {
    /// The storage in `directory`, made where there is none.
    ///
    /// # Errors
    /// If the directory or the database in it cannot be used; both are left as they were.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Directory { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(unusable)?;
        let lock = File::options().create(true).append(true).open(directory.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(directory.to_owned())),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let path = directory.join(DATABASE);
        let size = fs::metadata(&path).map_or(0, |about| about.len());
        if size == 0 && fs::metadata(log_of(&path)).is_ok_and(|about| about.len() > 0) {
            return Err(OpenError::Missing(path));
        }
        let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                OpenError::Damaged { path: path.clone(), detail: source.to_string() }
            }
            Some(
                rusqlite::ErrorCode::CannotOpen
                | rusqlite::ErrorCode::PermissionDenied
                | rusqlite::ErrorCode::ReadOnly,
            ) => unusable(io::Error::other(source.to_string())),
            _ => OpenError::Sqlite { path: path.clone(), source },
        };
        let database = Connection::open(&path).map_err(failed)?;
        if size > 0 {
            recognise(&database, &path, size).map_err(|error| match error {
                Unrecognised::Sqlite(source) => failed(source),
                Unrecognised::Other(error) => error,
            })?;
        }
        prepare(&database).map_err(failed)?;
        let replies = Replies::load(&database).map_err(failed)?;
        Ok(Self { database, replies, _lock: lock })
    }
}

fn log_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push("-wal");
    name.into()
}

enum Unrecognised {
    Sqlite(rusqlite::Error),
    Other(OpenError),
}

impl From<rusqlite::Error> for Unrecognised {
    fn from(source: rusqlite::Error) -> Self {
        Self::Sqlite(source)
    }
}

/// Makes sure that an existing file is a sound database of ours, before anything is written to it.
fn recognise(database: &Connection, path: &Path, size: u64) -> Result<(), Unrecognised> {
    let number = |pragma| database.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if number("application_id")? != APPLICATION_ID {
        return Err(Unrecognised::Other(OpenError::Foreign(path.to_owned())));
    }
    let found = number("user_version")?;
    if !usize::try_from(found).is_ok_and(|found| (1..=SCHEMA_VERSION).contains(&found)) {
        return Err(Unrecognised::Other(OpenError::Version { path: path.to_owned(), found }));
    }
    if size <= CHECKED_BYTES {
        let detail: String = database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if detail != "ok" {
            // The last line names the fault; the ones before it say which file.
            let detail = detail.lines().last().unwrap_or_default().to_owned();
            return Err(Unrecognised::Other(OpenError::Damaged { path: path.to_owned(), detail }));
        }
    }
    Ok(())
}

fn prepare(database: &Connection) -> rusqlite::Result<()> {
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    // A commit that returned is on disk: what was acknowledged survives a power cut.
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    database.set_prepared_statement_cache_capacity(64);
    migrate(database)
}

/// Takes the steps that the database lacks, each whole or not at all.
fn migrate(database: &Connection) -> rusqlite::Result<()> {
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (step, version) in STEPS.iter().zip(1_i64..).filter(|(_, after)| *after > version) {
        database.execute_batch("BEGIN IMMEDIATE")?;
        database.execute_batch(step)?;
        database.pragma_update(None, "application_id", APPLICATION_ID)?;
        database.pragma_update(None, "user_version", version)?;
        database.execute_batch("COMMIT")?;
        tracing::debug!(version, "the database has a new schema version");
    }
    Ok(())
}
