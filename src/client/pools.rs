//! Merge pools: collections whose records are fields, and the fields that go with their writer's connection.

use alloc::vec::Vec;

use super::{
    Client, WriteError, check_key,
    slot::{About, Collection, Origin, Slot, SlotId},
};
use crate::protocol::{EncodedValue, OpenPool, Operation, Timestamp, Writer};

impl Client {
    /// Subscribes a merge pool, opening it where it does not exist as `open` says; `None`: only if it exists.
    ///
    /// In a pool with presence, the fields that this client merges while it is subscribed are merged again in every
    /// session, as the authority takes them away with each connection.
    ///
    /// # Errors
    /// If the id is over its limit.
    pub fn subscribe_pool(
        &mut self,
        id: &str,
        open: Option<OpenPool>,
        gated: bool,
    ) -> Result<SlotId, WriteError> {
        check_key(id)?;
        let origin = Origin::Pool(open, Vec::new());
        let slot = Slot::collection(id.into(), origin, gated, self.random.u64(..));
        Ok(self.subscribe(slot))
    }

    /// Remembers what is merged into a pool with presence.
    pub(super) fn keep_presence(&mut self, pool: &str, fields: EncodedValue<'_>) {
        for slot in self
            .numbers(&|slot| matches!(&slot.about, About::Collection(collection) if *collection.id == *pool))
        {
            let Some(Collection { origin: Origin::Pool(Some(OpenPool { presence: true }), mine), .. }) =
                self.collection(slot)
            else {
                continue;
            };
            for (name, value) in fields.fields().into_iter().flatten() {
                mine.retain(|(known, _)| **known != *name);
                if value != EncodedValue::NIL {
                    mine.push((name.into(), value.as_bytes().into()));
                }
            }
            // Another slot of the same pool would say the same.
            return;
        }
    }

    /// Merges this client's presence again, in a new session.
    pub(super) fn send_presence(&mut self, now: Timestamp) {
        for slot in self.numbers(&|slot| matches!(slot.about, About::Collection(_))) {
            let Some(Collection { id, origin: Origin::Pool(_, mine), .. }) = self.collection(slot) else {
                continue;
            };
            if mine.is_empty() {
                continue;
            }
            let mut fields = Writer::new();
            fields.map(mine.len());
            for (name, value) in mine {
                fields.str(name);
                fields.value(EncodedValue::trusted(value));
            }
            let (pool, fields) = (id.clone(), fields.into_bytes());
            let merge = Operation::Merge { pool: &pool, fields: EncodedValue::trusted(&fields) };
            // Where there is no room for a write more, what waits has not been answered for long either.
            let _ = self.writes.add(now, merge.encode(&mut Writer::new()));
            self.send_writes();
        }
    }
}
