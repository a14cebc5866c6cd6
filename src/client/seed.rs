//! Replicas that begin where another client stood: with what a page was rendered from on its server.
//!
//! A seed crosses the gate like everything else (rule 1), and is subscribed from its position. So a host keeps
//! subscriptions back ([`Client::hold_subscriptions`]), makes its replicas, seeds them ([`Client::seed`]), answers
//! whatever it is asked to judge, and lets the subscriptions go ([`Client::send_subscribed`]), all before it returns to
//! its event loop.

use super::{
    Client,
    receive::{Envelope, Incoming},
    slot::{Slot, SlotId},
};
use crate::{
    protocol::{EncodedValue, Position, Row, Timestamp},
    replica::{EpochId, Source},
};

/// What a replica showed elsewhere.
#[derive(Debug, Clone, Copy)]
pub enum Seed<'a> {
    /// An object.
    Object {
        /// The schema version of its value.
        version: Option<&'a str>,
        /// `None` where it was deleted.
        value: Option<EncodedValue<'a>>,
    },
    /// All rows of a datastore.
    Rows(&'a [Row<'a>]),
}

impl Client {
    /// Keeps the subscriptions of the replicas that are made from now on back.
    pub fn hold_subscriptions(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Subscribes what was kept back.
    pub fn send_subscribed(&mut self) {
        let held = self.held.take().unwrap_or_default();
        if !held.is_empty() && self.session.live_link().is_some() {
            self.send_subscriptions(&held);
        }
    }

    /// Adds a replica, and subscribes it unless that is kept back.
    pub(super) fn subscribe(&mut self, slot: Slot) -> SlotId {
        let id = self.insert(slot);
        match &mut self.held {
            Some(held) => held.push(id),
            None if self.session.live_link().is_some() => self.send_subscriptions(&[id]),
            None => {}
        }
        id
    }

    /// Gives a replica what was shown elsewhere, at which position. What does not fit the replica, or is older than
    /// what it has, changes nothing.
    pub fn seed(&mut self, now: Timestamp, slot: SlotId, position: Position, seed: Seed<'_>) {
        let epoch = EpochId(self.epochs.number(&position.epoch.text()));
        match seed {
            Seed::Object { version, value } => {
                let header = self.header(epoch, position.sequence, None, version);
                let envelope = Envelope { header, key: None, value };
                self.receive_value(now, slot, Source::Hydration, envelope, &[]);
            }
            // A row that is newer than all of them says that this is no whole snapshot.
            Seed::Rows(rows) if rows.iter().all(|row| row.sequence <= position.sequence) => {
                let header = self.header(epoch, position.sequence, None, None);
                let page = Incoming { source: Source::Hydration, header, rows, next: None, attempt: 0 };
                self.receive_page(now, slot, &page, &[]);
            }
            Seed::Rows(_) => {}
        }
    }
}
