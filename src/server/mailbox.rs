//! Mailboxes: notifications that wait for a user until they are taken, and the replies to those that want one.
//!
//! A mailbox belongs to a user, by the name that the session's token proves. What is put into it is durable, lives for a
//! day unless it is put for another time, and makes room for newer ones beyond a thousand, so nothing grows without
//! limit if the user never comes. The trace of a notification is known to its sender and its target alone, and tells
//! them what became of it.
//!
//! A follower is sent what is pending, in order, as fast as it reads: per subscription only the number of the last one
//! sent is kept, the rest is read from the storage when there is room. What a client has not said to be `delivered` is
//! sent again in its next session.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use super::{
    ConnectionId, Server, WriteError,
    hub::Outflow,
    object::{check_key, check_value},
    storage::{Notification, Storage, StorageError, Trace, Value},
};
use crate::protocol::{
    EncodedValue, ServerMessage, SubscriptionId, Timestamp,
    limits::{MAX_MAILBOX, MAX_NOTIFICATION_LIFE, MAX_REPLY_BYTES},
};

/// Who the authority itself is to those it notifies. No user may be called so.
pub(super) const SERVER: &str = "server";

/// How long a notification lives unless it is put for another time.
const DEFAULT_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

impl<S: Storage> Server<S> {
    /// What became of a notification; `None` if there is none with this trace, or it has expired.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn notification(&self, now: Timestamp, trace: Trace) -> Result<Option<Notification>, StorageError> {
        Ok(self.durable.notification(trace)?.filter(|notification| !notification.is_expired(now)))
    }

    /// How many notifications wait in a mailbox. Those that have expired count until they are purged.
    ///
    /// # Errors
    /// If the storage cannot be read.
    pub fn pending_notifications(&self, to: &str) -> Result<usize, StorageError> {
        self.durable.pending_count(to)
    }

    /// Puts a notification from the authority, `"server"`, into a mailbox, for `life` or for 24 hours.
    ///
    /// A mailbox that is full loses its oldest pending notification, for its sender too.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn notify(
        &mut self,
        now: Timestamp,
        to: &str,
        pack: EncodedValue<'_>,
        suit: bool,
        life: Option<Duration>,
    ) -> Result<Notification, WriteError> {
        self.notify_from(now, SERVER, to, pack, suit, life)
    }

    /// [`notify`](Self::notify), on behalf of a client.
    pub(super) fn notify_from(
        &mut self,
        now: Timestamp,
        from: &str,
        to: &str,
        pack: EncodedValue<'_>,
        suit: bool,
        life: Option<Duration>,
    ) -> Result<Notification, WriteError> {
        self.observe(now);
        check_key("to", to)?;
        check_value("pack", pack)?;
        let life = life.filter(|life| !life.is_zero()).unwrap_or(DEFAULT_LIFE);
        if life > MAX_NOTIFICATION_LIFE {
            return Err(WriteError::LivesTooLong { life });
        }
        let notification = Notification {
            trace: self.random.trace(),
            from: from.into(),
            to: to.into(),
            pack: pack.as_bytes().into(),
            suit,
            created: now,
            expires: now + life,
            delivered: None,
            reply: None,
        };
        self.on_storage(true, |storage| {
            storage.evict_pending(to, MAX_MAILBOX - 1)?;
            storage.put_notification(&notification)
        })?;
        for (connection, _) in self.hub.mailbox_followers(to) {
            self.answer_asked(now, connection);
        }
        Ok(notification)
    }

    /// Takes all pending notifications out of a mailbox, in order, and marks them as delivered. Those that have expired
    /// are removed instead.
    ///
    /// # Errors
    /// If the storage cannot be written to.
    pub fn drain(&mut self, now: Timestamp, to: &str) -> Result<Vec<Notification>, WriteError> {
        self.observe(now);
        let mut pending = Vec::new();
        let read = self.durable.pending(to, 0, &mut |_, notification| {
            pending.push(notification.clone());
            ControlFlow::Continue(())
        });
        self.sound(read)?;
        let (expired, mut live): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|notification| notification.is_expired(now));
        self.on_storage(true, |storage| {
            for notification in expired {
                storage.remove_notification(notification.trace)?;
            }
            for notification in &mut live {
                storage.set_delivered(notification.trace, now)?;
                notification.delivered = Some(now);
            }
            Ok(())
        })?;
        Ok(live)
    }

    /// Marks notifications as delivered to `user`, as its client says. What is not pending in its own mailbox is left
    /// alone.
    pub(super) fn delivered(&mut self, now: Timestamp, user: &str, traces: &[&str]) {
        for trace in traces.iter().filter_map(|trace| trace.parse().ok()) {
            let found = self.durable.notification(trace);
            // Where the storage failed, the commit says so; the client is sent them again.
            if let Ok(Some(notification)) = self.sound(found)
                && *notification.to == *user
                && notification.delivered.is_none()
            {
                let _ = self.on_storage(true, |storage| storage.set_delivered(trace, now));
            }
        }
    }

    /// Records the reply to a notification that wants one, in the place of any before it, and tells its sender.
    ///
    /// # Errors
    /// Why it was refused.
    pub fn reply(
        &mut self,
        now: Timestamp,
        trace: Trace,
        reply: EncodedValue<'_>,
    ) -> Result<Notification, WriteError> {
        self.observe(now);
        let found = self.notification(now, trace);
        let notification = self.sound(found)?.ok_or(WriteError::NoNotification)?;
        if !notification.suit {
            return Err(WriteError::NoReplyWanted);
        }
        let length = reply.as_bytes().len();
        if length > MAX_REPLY_BYTES {
            return Err(WriteError::ReplyTooLarge { length });
        }
        let value: Value = reply.as_bytes().into();
        self.on_storage(true, |storage| storage.set_notification_reply(trace, now, &value))?;
        let text = trace.to_string();
        for (connection, subscription) in self.hub.mailbox_followers(&notification.from) {
            let message = ServerMessage::Reply { subscription, trace: &text, reply };
            let size = self.outbox.answer(connection, &message);
            self.count_outflow(connection, size);
        }
        Ok(Notification { reply: Some((now, value)), ..notification })
    }

    /// [`reply`](Self::reply), on behalf of a client: nobody but the target may.
    pub(super) fn reply_from(
        &mut self,
        now: Timestamp,
        user: &str,
        trace: &str,
        reply: EncodedValue<'_>,
    ) -> Result<(), WriteError> {
        let trace = trace.parse().map_err(|_| WriteError::NoNotification)?;
        let found = self.notification(now, trace);
        let is_target = self.sound(found)?.is_some_and(|notification| *notification.to == *user);
        if !is_target {
            return Err(WriteError::NoNotification);
        }
        self.reply(now, trace, reply).map(drop)
    }

    /// Removes every notification that has expired, and says how many; the janitor does it every minute.
    ///
    /// # Errors
    /// If the storage cannot be written to.
    pub fn purge_notifications(&mut self, now: Timestamp) -> Result<usize, WriteError> {
        self.observe(now);
        self.on_storage(true, |storage| storage.purge_notifications(now))
    }

    /// Lets a subscription follow its user's mailbox, from the oldest pending notification on.
    pub(super) fn follow_mailbox(&mut self, connection: ConnectionId, subscription: SubscriptionId) {
        self.hub.follow_mailbox(connection, subscription);
        // Should the batch be undone, it begins anew.
        self.batch.mailboxes.insert((connection, subscription), 0);
        self.outbox.send(connection, &ServerMessage::Following { subscription });
    }

    /// Sends a connection the pending notifications that it was not sent yet, as far as it reads them.
    pub(super) fn send_notifications(&mut self, now: Timestamp, connection: ConnectionId) {
        let Some(session) = self.hub.session(connection) else {
            return;
        };
        let user = session.grant.user.clone();
        let mailboxes: Vec<_> = session.mailboxes.keys().copied().collect();
        for subscription in mailboxes {
            while self.send_notification(now, connection, &user, subscription) {}
        }
    }

    /// Sends the next notification of a subscription; `false` if there is none, or no room.
    fn send_notification(
        &mut self,
        now: Timestamp,
        connection: ConnectionId,
        user: &Arc<str>,
        subscription: SubscriptionId,
    ) -> bool {
        let Some(session) = self.hub.session(connection).filter(|session| session.outflow != Outflow::Full)
        else {
            return false;
        };
        let Some(sent) = session.mailboxes.get(&subscription).copied() else {
            return false;
        };
        let mut next = None;
        let read = self.durable.pending(user, sent, &mut |number, notification| {
            if notification.is_expired(now) {
                return ControlFlow::Continue(());
            }
            next = Some((number, notification.clone()));
            ControlFlow::Break(())
        });
        let (Ok(()), Some((number, notification))) = (self.sound(read), next) else {
            return false;
        };
        self.batch.mailboxes.entry((connection, subscription)).or_insert(sent);
        if let Some(session) = self.hub.session(connection) {
            session.mailboxes.insert(subscription, number);
        }
        let message = ServerMessage::Notification {
            subscription,
            trace: &notification.trace.to_string(),
            from: &notification.from,
            pack: EncodedValue::trusted(&notification.pack),
            suit: notification.suit,
            created: notification.created.as_millis(),
            expires: notification.expires.as_millis(),
        };
        let size = self.outbox.answer(connection, &message);
        self.count_outflow(connection, size);
        true
    }
}
