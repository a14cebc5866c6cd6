//! Mailboxes in memory.

use alloc::{sync::Arc, vec::Vec};
use core::ops::{Bound, ControlFlow};

use super::{
    super::mailbox::{MailboxStorage, Notification, Trace, VisitPending},
    Memory, StorageError, Undo,
};
use crate::server::ordered::{Lookup, OrderedMap, OrderedSet};
use crate::{protocol::Timestamp, server::storage::Value};

/// A notification under the number of its arrival.
pub(super) type Arrived = (u64, Notification);

#[derive(Debug, Clone, Default)]
pub(super) struct Mailboxes {
    known: Lookup<Trace, Arrived>,
    pending: OrderedMap<Arc<str>, OrderedMap<u64, Trace>>,
    by_expiry: OrderedSet<(Timestamp, Trace)>,
    /// The last number given. A rollback does not take it back: numbers only have to rise.
    last: u64,
}

impl Mailboxes {
    /// Puts what is known of a notification into the place of what was, and returns that.
    pub(super) fn replace(&mut self, trace: Trace, arrived: Option<Arrived>) -> Option<Arrived> {
        let before = self.known.remove(&trace);
        if let Some((number, before)) = &before {
            self.by_expiry.remove(&(before.expires, trace));
            if let Some(mailbox) = self.pending.get_mut(&before.to) {
                mailbox.remove(number);
                if mailbox.is_empty() {
                    self.pending.remove(&before.to);
                }
            }
        }
        if let Some((number, notification)) = arrived {
            self.by_expiry.insert((notification.expires, trace));
            if notification.delivered.is_none() {
                self.pending.entry(notification.to.clone()).or_default().insert(number, trace);
            }
            self.known.insert(trace, (number, notification));
        }
        before
    }
}

impl Memory {
    fn replace_notification(&mut self, trace: Trace, arrived: Option<Arrived>) {
        let before = self.mailboxes.replace(trace, arrived);
        self.remember(Undo::Notification(trace, before));
    }

    fn change_notification(&mut self, trace: Trace, change: impl FnOnce(&mut Notification)) {
        if let Some((number, mut notification)) = self.mailboxes.known.get(&trace).cloned() {
            change(&mut notification);
            self.replace_notification(trace, Some((number, notification)));
        }
    }
}

impl MailboxStorage for Memory {
    fn put_notification(&mut self, notification: &Notification) -> Result<(), StorageError> {
        self.mailboxes.last += 1;
        self.replace_notification(notification.trace, Some((self.mailboxes.last, notification.clone())));
        Ok(())
    }

    fn notification(&self, trace: Trace) -> Result<Option<Notification>, StorageError> {
        Ok(self.mailboxes.known.get(&trace).map(|(_, notification)| notification.clone()))
    }

    fn set_delivered(&mut self, trace: Trace, at: Timestamp) -> Result<(), StorageError> {
        self.change_notification(trace, |notification| notification.delivered = Some(at));
        Ok(())
    }

    fn set_notification_reply(
        &mut self,
        trace: Trace,
        at: Timestamp,
        reply: &Value,
    ) -> Result<(), StorageError> {
        self.change_notification(trace, |notification| notification.reply = Some((at, reply.clone())));
        Ok(())
    }

    fn remove_notification(&mut self, trace: Trace) -> Result<(), StorageError> {
        self.replace_notification(trace, None);
        Ok(())
    }

    fn pending(&self, to: &str, after: u64, visit: VisitPending<'_>) -> Result<(), StorageError> {
        let Some(mailbox) = self.mailboxes.pending.get(to) else {
            return Ok(());
        };
        for (number, trace) in mailbox.range((Bound::Excluded(after), Bound::Unbounded)) {
            let (_, notification) = self.mailboxes.known.get(trace).expect("what is pending is known");
            if let ControlFlow::Break(()) = visit(*number, notification) {
                break;
            }
        }
        Ok(())
    }

    fn pending_count(&self, to: &str) -> Result<usize, StorageError> {
        Ok(self.mailboxes.pending.get(to).map_or(0, OrderedMap::len))
    }

    fn evict_pending(&mut self, to: &str, keep: usize) -> Result<(), StorageError> {
        let mailbox = self.mailboxes.pending.get(to);
        let old: Vec<_> =
            mailbox.into_iter().flat_map(|mailbox| mailbox.values().rev().skip(keep).copied()).collect();
        for trace in old {
            self.replace_notification(trace, None);
        }
        Ok(())
    }

    fn purge_notifications(&mut self, now: Timestamp) -> Result<usize, StorageError> {
        let expired = self.mailboxes.by_expiry.iter().take_while(|(expires, _)| now > *expires);
        let expired: Vec<_> = expired.map(|(_, trace)| *trace).collect();
        for trace in &expired {
            self.replace_notification(*trace, None);
        }
        Ok(expired.len())
    }
}
