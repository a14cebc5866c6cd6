//! Replicas whose transport and values are the host's own: only headers come in.

use super::{
    Client, Offered, OwnOptions, Pending,
    change::Change,
    slot::{Slot, SlotId},
};
use crate::{
    protocol::Timestamp,
    replica::{Header, Offer, Place, Source, Token, Verdict},
};

impl Client {
    /// Adds a replica whose transport is the host's.
    pub fn add_own(&mut self, options: OwnOptions) -> SlotId {
        let seed = self.random.u64(..);
        self.insert(Slot::own(options, seed))
    }

    /// Offers a value of an own transport by its header.
    pub fn offer(
        &mut self,
        now: Timestamp,
        slot: SlotId,
        source: Source,
        header: Header,
        token: Token,
    ) -> Offered {
        let header = Header { version: self.version(header.version.id), ..header };
        let Some(replica) = self.replica_mut(slot) else { return Offered::Dropped };
        let offered = match replica.offer(now, source, header, token, 0, &[]) {
            Offer::Drop(_) => Offered::Dropped,
            Offer::Judge(ticket) => Offered::Judge(self.owe(Pending::Value { slot, ticket, token })),
            Offer::Installed { previous } => {
                self.install(slot, token, previous, Place::Live);
                Offered::Kept
            }
            Offer::Held | Offer::Settled => Offered::Kept,
        };
        self.settle_replica(now, slot);
        offered
    }

    /// Whether a value of an own transport is the next one in order, with nothing else going on: then the host may run
    /// its gate at once, and have it shown by [`Self::show_own`].
    #[must_use]
    pub fn is_next(&self, slot: SlotId, header: Header) -> bool {
        let Some(entry) = self.slots.get(slot.number()).filter(|entry| !entry.is_remote()) else {
            return false;
        };
        // What its major number is matters only to those who declare one.
        let is_version_of_note = entry.replica.declared_major().is_some();
        let version = if is_version_of_note { self.version(header.version.id) } else { header.version };
        entry.replica.is_next(&Header { version, ..header })
    }

    /// Shows a value of an own transport that has passed the gate, if it is the next one in order. Says whether; then no
    /// change tells of it. When it came is not asked: that matters to beacons alone, and own transports have none.
    pub fn show_own(&mut self, slot: SlotId, header: Header, token: Token) -> bool {
        let is_next = self.is_next(slot, header);
        if let Some(replica) = self.replica_mut(slot).filter(|_| is_next) {
            replica.receive(Timestamp::default(), header, token, 0, || Verdict::Accepted);
        }
        is_next
    }

    /// Whether all that is new is that an own-transport replica shows a value of its host: then that is not told as a
    /// change any more. Of most inputs it is so, and a host that has the answer at hand need not read a list.
    pub fn take_install(&mut self) -> bool {
        let [Change::Install { slot, .. }, rest @ ..] = &self.changes[..] else { return false };
        let is_all = rest.iter().all(|change| match change {
            Change::Meta { slot: other } | Change::Discard { slot: other, .. } => other == slot,
            _ => false,
        });
        if is_all {
            self.changes.clear();
        }
        is_all
    }

    /// A refetch of an own transport found no value.
    pub fn refetch_null(&mut self, now: Timestamp, slot: SlotId, attempt: u32) {
        self.with_replica(now, slot, |replica| replica.handle_null(now, attempt));
    }

    /// A refetch of an own transport failed.
    pub fn refetch_failed(&mut self, now: Timestamp, slot: SlotId, attempt: u32) {
        self.with_replica(now, slot, |replica| replica.handle_failure(now, attempt));
    }
}
