//! A collection, or an object, as a client keeps it, without the rules for what is lost: here nothing may be.

use std::collections::BTreeMap;

use super::Inbox;
use tidewire::protocol::{Answer, Epoch, Position, Sequence, ServerMessage};

/// A collection, or an object as its only field, without a name. Envelopes have to go on from where it stands, or it
/// panics.
#[derive(Debug, Default, Clone)]
pub(crate) struct Replica {
    pub(crate) position: Option<Position>,
    fields: BTreeMap<String, (u64, Option<Vec<u8>>)>,
    pub(crate) next: Option<String>,
    /// Whether a snapshot has begun and its last page has not come.
    pub(crate) is_paging: bool,
    /// The batch that answered it was undone: it has to subscribe again.
    pub(crate) is_denied: bool,
    /// Envelopes of a tail that are still to come.
    pub(crate) tail: u32,
}

impl Replica {
    pub(crate) fn take(&mut self, inbox: &Inbox) {
        for message in inbox.messages() {
            self.take_message(message);
        }
    }

    pub(crate) fn take_message(&mut self, message: ServerMessage<'_>) {
        match message {
            ServerMessage::Answer { epoch, answer, .. } => self.take_answer(epoch, answer),
            ServerMessage::Envelope { sequence, prev, key, value, .. } => {
                let position = self.position.as_mut().unwrap();
                let prev = prev.map_or(sequence.get() - 1, Sequence::get);
                assert_eq!(prev, position.sequence.get(), "a gap before {sequence}");
                position.sequence = sequence;
                self.tail = self.tail.saturating_sub(1);
                let value = value.map(|value| value.as_bytes().to_vec());
                self.put(key.unwrap_or_default(), sequence.get(), value);
            }
            ServerMessage::Denied { .. } => self.is_denied = true,
            _ => {}
        }
    }

    fn take_answer(&mut self, epoch: Epoch, answer: Answer<'_>) {
        let known = self.position.filter(|position| position.epoch == epoch);
        match answer {
            Answer::Page { sequence, rows, next, .. } => {
                if !self.is_paging || known.is_none() {
                    self.fields.clear();
                }
                self.is_paging = next.is_some();
                for row in rows {
                    self.put(row.key, row.sequence.get(), Some(row.value.as_bytes().to_vec()));
                }
                // Envelopes that came between two pages are beyond the snapshot already.
                let sequence = known.map_or(sequence, |known| known.sequence.max(sequence));
                self.position = Some(Position { epoch, sequence });
                self.next = next.map(str::to_owned);
            }
            Answer::Snapshot { sequence, value, .. } => {
                self.fields.clear();
                self.put("", sequence.get(), Some(value.as_bytes().to_vec()));
                self.position = Some(Position { epoch, sequence });
            }
            Answer::Absent { sequence } => {
                self.fields.clear();
                self.position = Some(Position { epoch, sequence });
            }
            Answer::Tail { count } => {
                assert!(known.is_some(), "a tail of another epoch");
                self.tail = count;
            }
            Answer::Current => assert!(known.is_some(), "current in another epoch"),
        }
    }

    fn put(&mut self, key: &str, sequence: u64, value: Option<Vec<u8>>) {
        if self.fields.get(key).is_none_or(|(known, _)| *known < sequence) {
            self.fields.insert(key.to_owned(), (sequence, value));
        }
    }

    pub(crate) fn live(&self) -> BTreeMap<String, Vec<u8>> {
        let live =
            |(key, (_, value)): (&String, &(u64, Option<Vec<u8>>))| Some((key.clone(), value.clone()?));
        self.fields.iter().filter_map(live).collect()
    }

    /// The last change of every field that has a value.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = (&str, u64)> {
        let live = self.fields.iter().filter(|(_, (_, value))| value.is_some());
        live.map(|(key, (sequence, _))| (key.as_str(), *sequence))
    }
}
