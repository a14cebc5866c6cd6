//! A collection as a client keeps it, without the rules for what is lost: here nothing may be.

use std::collections::BTreeMap;

use super::Inbox;
use tidewire::protocol::{Answer, Position, Sequence, ServerMessage};

/// A collection. Envelopes have to go on from where it stands, or it panics.
#[derive(Debug, Default, Clone)]
pub(crate) struct Replica {
    pub(crate) position: Option<Position>,
    fields: BTreeMap<String, (u64, Option<Vec<u8>>)>,
    pub(crate) next: Option<String>,
    /// Whether a snapshot has begun and its last page has not come.
    pub(crate) is_paging: bool,
    /// The batch that answered it was undone: it has to subscribe again.
    pub(crate) is_denied: bool,
}

impl Replica {
    pub(crate) fn take(&mut self, inbox: &Inbox) {
        for message in inbox.messages() {
            match message {
                ServerMessage::Answer {
                    epoch, answer: Answer::Page { sequence, rows, next, .. }, ..
                } => {
                    if !self.is_paging {
                        self.fields.clear();
                    }
                    self.is_paging = next.is_some();
                    for row in rows {
                        let bytes = row.value.as_bytes().to_vec();
                        self.put(row.key, row.sequence.get(), Some(bytes));
                    }
                    // Envelopes that came between two pages are beyond the snapshot already.
                    let known = self.position.filter(|position| position.epoch == epoch);
                    let sequence = known.map_or(sequence, |known| known.sequence.max(sequence));
                    self.position = Some(Position { epoch, sequence });
                    self.next = next.map(str::to_owned);
                }
                ServerMessage::Envelope { sequence, prev, key: Some(key), value, .. } => {
                    let position = self.position.as_mut().unwrap();
                    let prev = prev.map_or(sequence.get() - 1, Sequence::get);
                    assert_eq!(prev, position.sequence.get(), "a gap before {sequence}");
                    position.sequence = sequence;
                    self.put(key, sequence.get(), value.map(|value| value.as_bytes().to_vec()));
                }
                ServerMessage::Denied { .. } => self.is_denied = true,
                _ => {}
            }
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
}
