//! The server's numbers for histories on the present link, and who follows each.

use alloc::{boxed::Box, vec::Vec};
use core::cell::Cell;

use super::slot::SlotId;
use crate::{protocol::TopicId, replica::EpochId};

/// A history that the server sends once, however many replicas here follow it.
#[derive(Debug)]
pub(super) struct Topic {
    number: TopicId,
    pub(super) epoch: EpochId,
    /// Nearly always it is one.
    first: SlotId,
    #[expect(clippy::box_collection, reason = "a list in every topic would be half of the topic's memory")]
    others: Option<Box<Vec<SlotId>>>,
}

impl Topic {
    /// One of those who follow it.
    pub(super) fn follower(&self, index: usize) -> Option<SlotId> {
        match index.checked_sub(1) {
            None => Some(self.first),
            Some(index) => self.others.as_ref()?.get(index).copied(),
        }
    }
}

/// All of them, in the order of their numbers: a server counts them up, so a new one goes to the end.
#[derive(Debug, Default)]
pub(super) struct Topics {
    list: Vec<Topic>,
    /// Where the last one was found. Servers tend to tell of the same or the next one after it.
    last: Cell<usize>,
}

impl Topics {
    fn find(&self, number: TopicId) -> Result<usize, usize> {
        let last = self.last.get();
        let is_it = |place: &usize| self.list.get(*place).is_some_and(|topic| topic.number == number);
        let near = [last, last + 1].into_iter().find(is_it);
        let found = near.map_or_else(|| self.list.binary_search_by_key(&number, |topic| topic.number), Ok);
        if let Ok(place) = found {
            self.last.set(place);
        }
        found
    }

    pub(super) fn get(&self, number: TopicId) -> Option<&Topic> {
        self.list.get(self.find(number).ok()?)
    }

    /// `slot` follows a topic from now on, which is about `epoch`.
    pub(super) fn follow(&mut self, number: TopicId, epoch: EpochId, slot: SlotId) {
        match self.find(number) {
            Err(place) => {
                if self.list.len() == self.list.capacity() {
                    // There are many, and a list that doubles would have up to as many places to spare.
                    self.list.reserve_exact((self.list.len() / 4).max(8));
                }
                self.list.insert(place, Topic { number, epoch, first: slot, others: None });
            }
            Ok(place) => {
                let topic = &mut self.list[place];
                topic.epoch = epoch;
                if topic.first != slot && !topic.others.as_ref().is_some_and(|others| others.contains(&slot))
                {
                    topic.others.get_or_insert_default().push(slot);
                }
            }
        }
    }

    /// `slot` follows a topic no more. A topic that nobody follows is forgotten.
    pub(super) fn leave(&mut self, number: TopicId, slot: SlotId) {
        let Ok(place) = self.find(number) else { return };
        let topic = &mut self.list[place];
        let others = topic.others.as_mut().filter(|others| !others.is_empty());
        match others {
            Some(others) if topic.first == slot => topic.first = others.remove(0),
            Some(others) => others.retain(|follower| *follower != slot),
            None if topic.first == slot => {
                self.list.remove(place);
            }
            None => {}
        }
    }

    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }
}
