//! Opening a database: whose file it is, whether it is sound, and what it lacks of the present schema.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, config::DbConfig};
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
pub(super) const STEPS: [&str; 6] = [
    include_str!("../schema/1.sql"),
    include_str!("../schema/2.sql"),
    include_str!("../schema/3.sql"),
    include_str!("../schema/4.sql"),
    include_str!("../schema/5.sql"),
    include_str!("../schema/6.sql"),
];
/// The version that all steps lead to.
pub(crate) const SCHEMA_VERSION: usize = STEPS.len();
/// How long a reader waits where the server is in its way, which it is for moments only.
const PATIENCE: Duration = Duration::from_secs(5);
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
    /// There is none.
    #[error("there is no database in {}; name its directory with --data", .0.display())]
    Absent(PathBuf),
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
        let lock = lock(directory)?;
        let path = directory.join(DATABASE);
        let size = fs::metadata(&path).map_or(0, |about| about.len());
        if size == 0 && fs::metadata(log_of(&path)).is_ok_and(|about| about.len() > 0) {
            return Err(OpenError::Missing(path));
        }
        let failed = |source| failed(&path, source);
        let database = Connection::open(&path).map_err(failed)?;
        if size > 0 {
            recognise(&database, &path, size <= CHECKED_BYTES)?;
        }
        prepare(&database).map_err(failed)?;
        let replies = Replies::load(&database).map_err(failed)?;
        Ok(Self { database, replies, numbers: HashMap::new(), _lock: lock })
    }
}

/// Makes the directory where there is none, and takes it for this process.
pub(crate) fn lock(directory: &Path) -> Result<File, OpenError> {
    let unusable = |source| OpenError::Directory { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(unusable)?;
    let lock = File::options().create(true).append(true).open(directory.join(LOCK)).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

/// Opens a database that may be in use for reading.
pub(crate) fn read(path: &Path) -> Result<Connection, OpenError> {
    if !path.is_file() {
        return Err(OpenError::Absent(path.parent().unwrap_or(path).to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags).map_err(|source| failed(path, source))?;
    database.busy_timeout(PATIENCE).map_err(|source| failed(path, source))?;
    recognise(&database, path, false)?;
    Ok(database)
}

/// The file of the log that belongs to a database.
pub(crate) fn log_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push("-wal");
    name.into()
}

/// What a failure of SQLite on a file means.
pub(crate) fn failed(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { path, detail: source.to_string() }
        }
        Some(
            rusqlite::ErrorCode::CannotOpen
            | rusqlite::ErrorCode::PermissionDenied
            | rusqlite::ErrorCode::ReadOnly,
        ) => OpenError::Directory {
            path: path.parent().map_or_else(|| path.clone(), Path::to_owned),
            source: io::Error::other(source.to_string()),
        },
        _ => OpenError::Sqlite { path, source },
    }
}

/// Makes sure that an existing file is a database of ours, and if `whole` a sound one, before anything is written to
/// it.
pub(crate) fn recognise(database: &Connection, path: &Path, whole: bool) -> Result<(), OpenError> {
    let failed = |source| failed(path, source);
    let number = |pragma| database.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    if number("application_id").map_err(failed)? != APPLICATION_ID {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    let found = number("user_version").map_err(failed)?;
    if !usize::try_from(found).is_ok_and(|found| (1..=SCHEMA_VERSION).contains(&found)) {
        return Err(OpenError::Version { path: path.to_owned(), found });
    }
    if whole {
        let detail: String =
            database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if detail != "ok" {
            // The last line names the fault; the ones before it say which file.
            let detail = detail.lines().last().unwrap_or_default().to_owned();
            return Err(OpenError::Damaged { path: path.to_owned(), detail });
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
    bring_up_to_date(database)
}

/// Brings a database of ours to the present schema.
pub(crate) fn bring_up_to_date(database: &Connection) -> rusqlite::Result<()> {
    migrate(database, &STEPS)
}

/// Takes the steps that the database lacks, each whole or not at all.
pub(super) fn migrate(database: &Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (step, version) in steps.iter().zip(1_i64..).filter(|(_, after)| *after > version) {
        // Dropped without a commit, it is rolled back.
        let transaction = Transaction::new_unchecked(database, TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
        tracing::debug!(version, "the database has a new schema version");
    }
    Ok(())
}
