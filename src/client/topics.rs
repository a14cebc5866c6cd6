//! The server's numbers for histories on the present link, and who follows each.

use alloc::vec::Vec;

use super::slot::SlotId;
use crate::{protocol::TopicId, replica::EpochId};

/// A history that the server sends once, however many replicas here follow it.
#[derive(Debug)]
pub(super) struct Topic {
    number: TopicId,
    pub(super) epoch: EpochId,
    pub(super) slots: Vec<SlotId>,
}

/// All of them, in the order of their numbers: a server counts them up, so a new one goes to the end.
#[derive(Debug, Default)]
pub(super) struct Topics(Vec<Topic>);

impl Topics {
    fn find(&self, number: TopicId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&number, |topic| topic.number)
    }

    pub(super) fn get(&self, number: TopicId) -> Option<&Topic> {
        self.0.get(self.find(number).ok()?)
    }

    /// `slot` follows a topic from now on, which is about `epoch`.
    pub(super) fn follow(&mut self, number: TopicId, epoch: EpochId, slot: SlotId) {
        let place = self.find(number).unwrap_or_else(|place| {
            self.0.insert(place, Topic { number, epoch, slots: Vec::new() });
            place
        });
        let topic = &mut self.0[place];
        topic.epoch = epoch;
        if !topic.slots.contains(&slot) {
            topic.slots.push(slot);
        }
    }

    /// `slot` follows a topic no more. A topic that nobody follows is forgotten.
    pub(super) fn leave(&mut self, number: TopicId, slot: SlotId) {
        let Ok(place) = self.find(number) else { return };
        let followers = &mut self.0[place].slots;
        followers.retain(|follower| *follower != slot);
        if followers.is_empty() {
            self.0.remove(place);
        }
    }

    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
