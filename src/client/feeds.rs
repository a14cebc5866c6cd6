//! What is followed without a history: what clients relay, the client's mailbox, watches of the kv store.
//!
//! There is nothing to reconcile, so what comes is handed on as it came: the host hears of a cell that holds the whole
//! message, and reads it before it asks for the next changes. Only notifications are told once each, however often the
//! authority sends them.

use alloc::{boxed::Box, vec::Vec};

use super::{
    Change, Client, WriteError,
    cells::Cell,
    check_key,
    slot::{About, Slot, SlotId},
};
use crate::protocol::{ClientMessage, Heard, Target, limits::MAX_MAILBOX};

/// What is followed.
#[derive(Debug)]
pub(super) enum Followed {
    Relay(Box<str>),
    Mailbox,
    Watch { group: Box<str>, key: Box<str> },
}

/// One subscription without a history.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) followed: Followed,
    /// Whether the authority said on the present link that nothing is missed from now on.
    pub(super) is_following: bool,
}

impl Feed {
    pub(super) fn target(&self) -> Target<'_> {
        match &self.followed {
            Followed::Relay(key) => Target::Relay(key),
            Followed::Mailbox => Target::Mailbox,
            Followed::Watch { group, key } => Target::Watch { group, key },
        }
    }
}

/// The notifications that the authority may send again, by trace. It holds [`MAX_MAILBOX`] of them, the newest.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    /// The host has them, and has not said what became of them.
    in_hand: Vec<Box<str>>,
    /// The application has taken them.
    taken: Vec<Box<str>>,
}

impl Mailbox {
    fn push(traces: &mut Vec<Box<str>>, trace: &str) {
        if traces.len() == MAX_MAILBOX {
            traces.remove(0);
        }
        traces.push(trace.into());
    }
}

fn has(traces: &[Box<str>], trace: &str) -> bool {
    traces.iter().any(|known| &**known == trace)
}

impl Client {
    /// Follows what clients relay on a key, this one's own envelopes too.
    ///
    /// # Errors
    /// If the key is over its limit.
    pub fn follow_relay(&mut self, key: &str) -> Result<SlotId, WriteError> {
        check_key(key)?;
        let slot = self.follow(Followed::Relay(key.into()));
        let place = self.first_relay(key);
        self.relays.insert(place, slot);
        Ok(slot)
    }

    /// Follows the mailbox of the client's user. A notification is told once, and again in a later session unless the
    /// host says that it was taken ([`Self::taken`]).
    pub fn follow_mailbox(&mut self) -> SlotId {
        self.follow(Followed::Mailbox)
    }

    /// Watches the kv store; `*` stands for every group, or every key of the group.
    pub fn watch(&mut self, group: &str, key: &str) -> SlotId {
        self.follow(Followed::Watch { group: group.into(), key: key.into() })
    }

    /// What became of notifications that were told: the application has taken them, or else has failed to.
    pub fn taken(&mut self, traces: &[&str], is_taken: bool) {
        let Mailbox { in_hand, taken } = &mut self.mailbox;
        in_hand.retain(|known| !traces.contains(&&**known));
        if is_taken && !traces.is_empty() {
            for trace in traces {
                Mailbox::push(taken, trace);
            }
            // Without a link they are sent again in the next session, and then it is said again.
            if self.session.live_link().is_some() {
                self.send(&ClientMessage::Delivered(traces.to_vec()));
            }
        }
    }

    fn follow(&mut self, followed: Followed) -> SlotId {
        let slot = Slot::feed(Feed { followed, is_following: false });
        self.subscribe(slot)
    }

    /// The feed of a slot, if it is one.
    pub(super) fn feed_mut(&mut self, slot: SlotId) -> Option<&mut Feed> {
        match &mut self.slots.get_mut(slot.number())?.about {
            About::Feed(feed) => Some(feed),
            About::Object { .. } | About::Collection(_) | About::Own { .. } => None,
        }
    }

    /// The place of the first slot that follows a key, or of one that would.
    #[inline(never)]
    fn first_relay(&self, key: &str) -> usize {
        self.relays.partition_point(|slot| self.relayed_key(*slot) < Some(key))
    }

    fn relayed_key(&self, slot: SlotId) -> Option<&str> {
        match &self.slots.get(slot.number())?.about {
            About::Feed(feed) => match &feed.followed {
                Followed::Relay(key) => Some(key),
                Followed::Mailbox | Followed::Watch { .. } => None,
            },
            About::Object { .. } | About::Collection(_) | About::Own { .. } => None,
        }
    }

    /// Takes a message that is handed on, which came as `message`.
    pub(super) fn hear(&mut self, heard: &Heard<'_>, message: &[u8]) {
        match *heard {
            Heard::Result(query) => self.receive_result(query, message),
            Heard::Following(slot) => self.receive_following(SlotId::from_number(slot), message),
            Heard::Notification { subscription, trace } => {
                self.receive_notification(SlotId::from_number(subscription), trace, message);
            }
            Heard::Told(slot) => self.hand_on(SlotId::from_number(slot), message),
            Heard::Relayed(key) => self.receive_relayed(key, message),
            Heard::Message(_) | Heard::Unknown => {}
        }
    }

    /// The authority says that a feed is in place.
    fn receive_following(&mut self, slot: SlotId, message: &[u8]) {
        self.session.handle_useful();
        let Some(feed) = self.feed_mut(slot) else { return };
        feed.is_following = true;
        self.hand_on(slot, message);
    }

    /// A notification came, perhaps not for the first time.
    fn receive_notification(&mut self, slot: SlotId, trace: &str, message: &[u8]) {
        if has(&self.mailbox.taken, trace) {
            self.send(&ClientMessage::Delivered([trace].into()));
        } else if !has(&self.mailbox.in_hand, trace) && self.feed_mut(slot).is_some() {
            Mailbox::push(&mut self.mailbox.in_hand, trace);
            self.hand_on(slot, message);
        }
    }

    /// An envelope of a client came, once for all who follow its key.
    fn receive_relayed(&mut self, key: &str, message: &[u8]) {
        let mut cell = None;
        let mut index = self.first_relay(key);
        while let Some(slot) =
            self.relays.get(index).copied().filter(|slot| self.relayed_key(*slot) == Some(key))
        {
            let cell = *cell.get_or_insert_with(|| self.cells.pass(Cell::message(message)));
            self.changes.push(Change::Fed { slot, cell });
            index += 1;
        }
    }

    /// Tells the host of a message, if it is of a feed.
    fn hand_on(&mut self, slot: SlotId, message: &[u8]) {
        if self.feed_mut(slot).is_some() {
            let cell = self.cells.pass(Cell::message(message));
            self.changes.push(Change::Fed { slot, cell });
        }
    }
}
