//! `tidewire-server backup` and `restore`.
//!
//! A backup is the database as of one moment, in one file. A restore puts it back under new epochs: changes made after
//! the backup are lost, clients have seen them, and their sequences will be given to other changes. The lineage says
//! how much of the old epochs was kept, so that every client can tell whether it saw more.

use std::{
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
    params,
};
use thiserror::Error;
use tidewire::protocol::{Epoch, Lineage, Position, Sequence};

use crate::{
    check,
    replaced::Replaced,
    serve,
    sqlite::{self, DATABASE, epoch, lineage, lineage_bytes, open, sequence},
};

/// How often a copy is tried again where the server is in its way.
const TRIES: usize = 50;
/// How long between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// There is no backup. Nothing was changed.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The file is there already.
    #[error("{} exists; name a file that does not", .0.display())]
    Exists(PathBuf),
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] sqlite::OpenError),
    /// It cannot be copied.
    #[error("the database cannot be copied to {} ({source})", path.display())]
    Copy {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: CopyError,
    },
}

/// Nothing was restored. The database that was in place is there still.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// There is no such file.
    #[error("there is no file {}", .0.display())]
    NoBackup(PathBuf),
    /// A database is in place.
    #[error("there is a database in {}; add --replace to put it aside", .0.display())]
    InPlace(PathBuf),
    /// The directory or the backup cannot be used.
    #[error(transparent)]
    Open(#[from] sqlite::OpenError),
    /// The backup is damaged.
    #[error("the backup is damaged: {}; use another", .0.join("; "))]
    Damaged(Vec<String>),
    /// It cannot be put in place.
    #[error("the backup cannot be put into {} ({source})", path.display())]
    Copy {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: CopyError,
    },
}

/// Why a database is not copied.
#[derive(Debug, Error)]
pub enum CopyError {
    /// SQLite failed.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The file system failed.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The server was in the way all the time.
    #[error("it is busy; try again")]
    Busy,
    /// The copy is not what it should be.
    #[error("the copy is damaged: {}", .0.join("; "))]
    Damaged(Vec<String>),
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Histories that go on under new epochs: that of the objects, and one for every datastore.
    pub histories: usize,
    /// Where the database is now that was in place.
    pub aside: Option<PathBuf>,
}

impl fmt::Display for Restored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "restored, {} histories go on under new epochs", self.histories)?;
        match &self.aside {
            Some(aside) => write!(formatter, "; what was there is {} now", aside.display()),
            None => Ok(()),
        }
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

/// Copies the database of a data directory, which a server may be using, into a file. Returns the file's size.
///
/// # Errors
/// Why there is no backup.
pub fn backup(directory: &Path, file: &Path) -> Result<u64, BackupError> {
    if file.exists() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let source = open::read(&directory.join(DATABASE))?;
    let failed = |source| BackupError::Copy { path: file.to_owned(), source };
    let partial = with_ending(file, ".partial");
    let copied = copy(&source, &partial).and_then(|()| put_in_place(&partial, file));
    if copied.is_err() {
        // Half a backup is of no use; that it cannot be removed either is not the news.
        let _ = fs::remove_file(&partial);
    }
    copied.map_err(failed)?;
    fs::metadata(file).map(|about| about.len()).map_err(|error| failed(error.into()))
}

/// Copies a database as of one moment, and looks at the copy.
fn copy(source: &Connection, to: &Path) -> Result<(), CopyError> {
    let _ = fs::remove_file(to);
    let mut target = Connection::open(to)?;
    {
        let backup = Backup::new(source, &mut target)?;
        let mut tries = 0;
        // All pages in one step: between two steps a write of the server would make it begin again, and under steady
        // writes it would never end. Nobody waits meanwhile, as a reader of the log stops no writer.
        loop {
            match backup.step(-1)? {
                StepResult::Done => break,
                _ if tries < TRIES => {
                    tries += 1;
                    thread::sleep(PAUSE);
                }
                _ => return Err(CopyError::Busy),
            }
        }
    }
    // One file, without a log beside it.
    target.pragma_update(None, "journal_mode", "DELETE")?;
    let faults = check::pages(&target)?;
    if faults.is_empty() { Ok(()) } else { Err(CopyError::Damaged(faults)) }
}

/// Gives a file its name, for good.
fn put_in_place(from: &Path, to: &Path) -> Result<(), CopyError> {
    fs::File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    // Some systems cannot open a directory; there the name is as durable as it gets.
    if let Some(directory) = to.parent().filter(|directory| !directory.as_os_str().is_empty())
        && let Ok(directory) = fs::File::open(directory)
    {
        let _ = directory.sync_all();
    }
    Ok(())
}

/// Puts a backup into a data directory that no server uses. With `replace`, a database that is there is kept beside it.
///
/// # Errors
/// Why nothing was restored.
pub fn restore(file: &Path, directory: &Path, replace: bool) -> Result<Restored, RestoreError> {
    if !file.is_file() {
        return Err(RestoreError::NoBackup(file.to_owned()));
    }
    let _lock = open::lock(directory)?;
    let path = directory.join(DATABASE);
    let is_there = [path.clone(), open::log_of(&path)].iter().any(|path| path.exists());
    if is_there && !replace {
        return Err(RestoreError::InPlace(directory.to_owned()));
    }
    let failed = |source| RestoreError::Copy { path: directory.to_owned(), source };
    let source = open::read(file)?;
    let faults = check::pages(&source).map_err(|error| open::failed(file, error))?;
    if !faults.is_empty() {
        return Err(RestoreError::Damaged(faults));
    }
    // One that cannot be read is why a backup is restored, often.
    let in_place = open::read(&path).ok().and_then(|database| Replaced::read(&database).ok());
    let partial = directory.join("tidewire.db.restoring");
    let renewed = copy(&source, &partial).and_then(|()| renew_file(&partial, &in_place.unwrap_or_default()));
    let histories = match renewed {
        Ok(histories) => histories,
        Err(error) => {
            let _ = fs::remove_file(&partial);
            return Err(failed(error));
        }
    };
    let aside = if is_there { Some(put_aside(&path).map_err(|error| failed(error.into()))?) } else { None };
    put_in_place(&partial, &path).map_err(failed)?;
    Ok(Restored { histories, aside })
}

/// Puts a sound database into a data directory that no server uses. What is there is kept beside it if `keep`; then its
/// new name is returned.
pub(crate) fn replace(file: &Path, directory: &Path, keep: bool) -> Result<Option<PathBuf>, CopyError> {
    let faults = check::pages(&Connection::open(file)?)?;
    if !faults.is_empty() {
        return Err(CopyError::Damaged(faults));
    }
    let path = directory.join(DATABASE);
    let aside = if path.exists() { Some(put_aside(&path)?) } else { None };
    put_in_place(file, &path)?;
    if let Some(aside) = aside.as_ref().filter(|_| !keep) {
        fs::remove_file(aside)?;
        // Most often there is none.
        let _ = fs::remove_file(open::log_of(aside));
    }
    Ok(aside.filter(|_| keep))
}

/// Renames a database with its log, so that the two still belong together. Returns its new name.
fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let aside = with_ending(path, &format!(".replaced-{now}"));
    // The index of the log is made anew wherever it is missing.
    let _ = fs::remove_file(with_ending(path, "-shm"));
    // The log last: a log without its database is refused, while a database without its log would pass for an older one.
    for ending in ["", "-wal"] {
        let from = with_ending(path, ending);
        if from.exists() {
            fs::rename(from, with_ending(&aside, ending))?;
        }
    }
    Ok(aside)
}

/// Gives every history of a database a new epoch, whose lineage begins with the old one. Returns how many there are.
fn renew_file(path: &Path, in_place: &Replaced) -> Result<usize, CopyError> {
    let mut database = Connection::open(path)?;
    open::bring_up_to_date(&database)?;
    let transaction = database.transaction()?;
    let fresh = || serve::seed().map(|seed| Epoch::from_bytes(std::array::from_fn(|index| seed[index])));
    let histories = renew(&transaction, |_| fresh())?;
    in_place.adopt(&transaction)?;
    // It is no place of any log any more.
    transaction.execute("DELETE FROM cluster", [])?;
    transaction.commit()?;
    Ok(histories)
}

/// The same in an open transaction; `fresh` makes the new epoch of an old one.
pub(crate) fn renew(
    transaction: &Connection,
    fresh: impl Fn(Epoch) -> io::Result<Epoch>,
) -> Result<usize, CopyError> {
    let mut histories = 0;

    let objects = transaction
        .prepare("SELECT epoch, lineage FROM history")?
        .query_map([], |row| Ok((epoch(row, 0)?, lineage(row, 1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for (old, before) in objects {
        // Each object has sequences of its own, so each keeps where it stood. In the history itself there is only one
        // place for all of them.
        let mut heads = transaction.prepare("SELECT key, sequence, coalesce(lineage, x'') FROM objects")?;
        let mut set = transaction.prepare("UPDATE objects SET lineage = ?2 WHERE key = ?1")?;
        let mut rows = heads.query([])?;
        let mut head = Sequence::ZERO;
        let mut moved = Vec::new();
        while let Some(row) = rows.next()? {
            let last = Position { epoch: old, sequence: sequence(row, 1)? };
            head = head.max(last.sequence);
            moved.push((row.get::<_, String>(0)?, lineage(row, 2)?.succeeded_by(last)));
        }
        drop(rows);
        for (key, lineage) in moved {
            set.execute(params![key, lineage_bytes(&lineage)])?;
        }
        let after = before.succeeded_by(Position { epoch: old, sequence: head });
        transaction.execute(
            "UPDATE history SET epoch = ?1, lineage = ?2",
            params![fresh(old)?.as_bytes(), lineage_bytes(&after)],
        )?;
        histories += 1;
    }

    let datastores: Vec<(i64, Position, Lineage)> = transaction
        .prepare("SELECT number, epoch, head, lineage FROM datastores")?
        .query_map([], |row| {
            let last = Position { epoch: epoch(row, 1)?, sequence: sequence(row, 2)? };
            Ok((row.get(0)?, last, lineage(row, 3)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (number, last, before) in datastores {
        transaction.execute(
            "UPDATE datastores SET epoch = ?2, lineage = ?3 WHERE number = ?1",
            params![number, fresh(last.epoch)?.as_bytes(), lineage_bytes(&before.succeeded_by(last))],
        )?;
        histories += 1;
    }
    Ok(histories)
}
