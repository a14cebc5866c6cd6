//! A storage in memory as a backup of itself.

use alloc::sync::Arc;

use super::Memory;
use crate::{
    protocol::{Epoch, Lineage, Position, Sequence},
    server::ordered::OrderedSet,
};

impl Memory {
    /// What was committed, as a storage of its own. Values are shared, not copied.
    #[must_use]
    pub fn backup(&self) -> Self {
        Self {
            history: self.history.clone(),
            objects: self.objects.clone(),
            lineages: self.lineages.clone(),
            datastores: self.datastores.clone(),
            clients: self.clients.clone(),
            groups: self.groups.clone(),
            mailboxes: self.mailboxes.clone(),
            ..Self::default()
        }
    }

    /// Gives every history a new epoch, whose lineage begins with the old one: what a backup needs before a server goes
    /// on with it, for others may have seen what came after it.
    pub fn renew(&mut self, mut fresh: impl FnMut() -> Epoch) {
        if let Some(history) = &mut self.history {
            let old = history.epoch;
            let mut head = Sequence::ZERO;
            // Each object has sequences of its own, so each keeps where it stood.
            for (key, object) in &self.objects {
                let last = Position { epoch: old, sequence: object.sequence };
                head = head.max(last.sequence);
                let before = self.lineages.get(key).map(|lineage| lineage.succeeded_by(last));
                self.lineages.insert(key.clone(), before.unwrap_or_else(|| Lineage::new([last].into())));
            }
            history.lineage = history.lineage.succeeded_by(Position { epoch: old, sequence: head });
            history.epoch = fresh();
        }
        // A run that is repeated draws the same epochs for the same datastores.
        let ids: OrderedSet<Arc<str>> = self.datastores.keys().cloned().collect();
        for id in ids {
            if let Some(table) = self.datastores.get_mut(&id) {
                let last = Position { epoch: table.about.epoch, sequence: table.about.head };
                table.about.lineage = table.about.lineage.succeeded_by(last);
                table.about.epoch = fresh();
            }
        }
    }

    /// Where an object stood in the epochs before the present one.
    pub(super) fn lineage_of(&self, key: &str) -> Lineage {
        let all = self.history.as_ref().map(|history| history.lineage.clone()).unwrap_or_default();
        if self.lineages.is_empty() {
            return all;
        }
        let own = self.lineages.get(key).map(Lineage::entries).unwrap_or_default();
        let kept = |epoch| own.iter().find(|entry| entry.epoch == epoch);
        // Of an object that did not exist when an epoch ended, nothing was kept.
        let entry = |ended: &Position| Position {
            epoch: ended.epoch,
            sequence: kept(ended.epoch).map_or(Sequence::ZERO, |entry| entry.sequence),
        };
        Lineage::new(all.entries().iter().map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::storage::{Storage, Stored, StoredHistory};

    fn stored(sequence: u64) -> Stored {
        let sequence = Sequence::new(sequence).expect("a small number is a sequence");
        Stored { sequence, version: None, value: Some([1].into()) }
    }

    #[test]
    fn a_backup_keeps_what_was_and_a_renewed_one_says_where_each_object_stood() {
        let epochs: [Epoch; 3] = [[1; 16], [2; 16], [3; 16]].map(Epoch::from_bytes);
        let mut memory = Memory::new();
        memory.begin().unwrap();
        memory.set_history(&StoredHistory { epoch: epochs[0], lineage: Lineage::default() }).unwrap();
        memory.set_object("a", stored(4)).unwrap();
        memory.commit().unwrap();
        let mut backup = memory.backup();
        memory.begin().unwrap();
        memory.set_object("a", stored(5)).unwrap();
        memory.set_object("b", stored(1)).unwrap();
        memory.commit().unwrap();

        backup.renew(|| epochs[1]);
        assert_eq!(backup.history().unwrap().unwrap().epoch, epochs[1]);
        assert_eq!(backup.object("b").unwrap(), None);
        let stood = |memory: &Memory, key: &str| {
            let lineage = memory.object_lineage(key).unwrap();
            lineage.entries().iter().map(|entry| (entry.epoch, entry.sequence.get())).collect::<Vec<_>>()
        };
        assert_eq!(stood(&backup, "a"), [(epochs[0], 4)]);
        assert_eq!(stood(&backup, "b"), [(epochs[0], 0)]);

        backup.begin().unwrap();
        backup.set_object("b", stored(2)).unwrap();
        backup.commit().unwrap();
        backup.renew(|| epochs[2]);
        assert_eq!(stood(&backup, "a"), [(epochs[1], 4), (epochs[0], 4)]);
        assert_eq!(stood(&backup, "b"), [(epochs[1], 2), (epochs[0], 0)]);
    }
}
