//! What a restore says of the epochs that the database in place has had, and the backup knows nothing of.
//!
//! A backup that is restored twice is the ancestor of two histories that do not know each other. Clients that followed the
//! first would find nothing of it in the lineage of the second, and could not tell how much they had seen that is no more.
//! But the database that is replaced knows where it came from: as much as it and the backup have of an epoch that both
//! descend from is what the backup has of every epoch since. Not here: the restore itself.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};
use tidewire::protocol::{Epoch, Lineage, Position, Sequence};

use crate::sqlite::{epoch, lineage, lineage_bytes, sequence};

/// The histories of a database that is to be replaced.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    /// That of the objects, newest epoch first.
    history: Vec<Epoch>,
    /// Where each object stood in them.
    objects: HashMap<String, Vec<Position>>,
    /// Those of the datastores by their ids, newest first.
    datastores: HashMap<String, Vec<Position>>,
}

impl Replaced {
    /// Reads the histories of a sound database.
    pub(crate) fn read(database: &Connection) -> rusqlite::Result<Self> {
        let chain = |row: &rusqlite::Row<'_>, at: usize| {
            let last = Position { epoch: epoch(row, at)?, sequence: sequence(row, at + 1)? };
            Ok::<_, rusqlite::Error>(lineage(row, at + 2)?.succeeded_by(last).entries().to_vec())
        };
        let history = database
            .prepare("SELECT epoch, lineage FROM history")?
            .query_row([], |row| {
                let before = lineage(row, 1)?;
                let before = before.entries().iter().map(|entry| entry.epoch);
                Ok(std::iter::once(epoch(row, 0)?).chain(before).collect())
            })
            .optional()?
            .unwrap_or_default();
        let objects = database
            .prepare("SELECT key, epoch, sequence, coalesce(objects.lineage, x'') FROM objects, history")?
            .query_map([], |row| Ok((row.get(0)?, chain(row, 1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let datastores = database
            .prepare("SELECT id, epoch, head, lineage FROM datastores")?
            .query_map([], |row| Ok((row.get(0)?, chain(row, 1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { history, objects, datastores })
    }

    /// Adds what the backup has of them to the lineages of a backup whose histories are renewed.
    pub(crate) fn adopt(&self, transaction: &Connection) -> rusqlite::Result<()> {
        self.adopt_objects(transaction)?;
        let datastores: Vec<(i64, String, Lineage)> = transaction
            .prepare("SELECT number, id, lineage FROM datastores")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, lineage(row, 2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (number, id, own) in datastores {
            let Some(theirs) = self.datastores.get(&id) else { continue };
            let epochs = theirs.iter().map(|entry| entry.epoch);
            if let Some(unknown) = Unknown::of(epochs, &own) {
                transaction.execute(
                    "UPDATE datastores SET lineage = ?2 WHERE number = ?1",
                    params![number, lineage_bytes(&unknown.before(&own, theirs))],
                )?;
            }
        }
        Ok(())
    }

    fn adopt_objects(&self, transaction: &Connection) -> rusqlite::Result<()> {
        let own = transaction
            .prepare("SELECT lineage FROM history")?
            .query_row([], |row| lineage(row, 0))
            .optional()?
            .unwrap_or_default();
        let Some(unknown) = Unknown::of(self.history.iter().copied(), &own) else { return Ok(()) };
        // In the history itself there is only one place for all objects: none.
        let all = unknown.before(&own, &[]);
        transaction.execute("UPDATE history SET lineage = ?1", params![lineage_bytes(&all)])?;
        let objects: Vec<(String, Lineage)> = transaction
            .prepare("SELECT key, coalesce(lineage, x'') FROM objects")?
            .query_map([], |row| Ok((row.get(0)?, lineage(row, 1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let mut set = transaction.prepare("UPDATE objects SET lineage = ?2 WHERE key = ?1")?;
        for (key, own) in objects {
            let theirs = self.objects.get(&key).map_or(&[][..], Vec::as_slice);
            set.execute(params![key, lineage_bytes(&unknown.before(&own, theirs))])?;
        }
        Ok(())
    }
}

/// Epochs that a backup knows nothing of, and the newest before them that it knows.
struct Unknown {
    epochs: Vec<Epoch>,
    common: Epoch,
}

impl Unknown {
    /// Of those, newest first, that are not in `own`; `None` if there are none, or nothing is known of any.
    fn of(theirs: impl Iterator<Item = Epoch>, own: &Lineage) -> Option<Self> {
        let is_known = |epoch: &Epoch| own.entries().iter().any(|entry| entry.epoch == *epoch);
        let mut epochs = Vec::new();
        for epoch in theirs {
            if is_known(&epoch) {
                return (!epochs.is_empty()).then_some(Self { epochs, common: epoch });
            }
            epochs.push(epoch);
        }
        None
    }

    /// The lineage `own` with how much it has of them, where the other side stood at `theirs`. What is in neither list stood
    /// at the beginning.
    fn before(&self, own: &Lineage, theirs: &[Position]) -> Lineage {
        let stood = |entries: &[Position], epoch: Epoch| {
            let entry = entries.iter().find(|entry| entry.epoch == epoch);
            entry.map_or(Sequence::ZERO, |entry| entry.sequence)
        };
        // Up to here the two are one; each went on by itself.
        let shared = stood(own.entries(), self.common).min(stood(theirs, self.common));
        let kept = |epoch: &Epoch| Position { epoch: *epoch, sequence: stood(theirs, *epoch).min(shared) };
        let kept = self.epochs.iter().map(kept);
        Lineage::new(kept.chain(own.entries().iter().copied()).collect())
    }
}
