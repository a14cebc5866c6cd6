//! What a storage keeps of mailboxes.

use alloc::sync::Arc;
use core::{fmt, ops::ControlFlow, str::FromStr};

use thiserror::Error;

use super::{StorageError, Value};
use crate::protocol::{Epoch, Timestamp};

/// The id of a notification: whoever knows it may ask what became of it, so nobody can guess one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trace([u8; 16]);

impl Trace {
    /// The trace with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&Epoch::from_bytes(self.0).text())
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Trace({self})")
    }
}

/// A text that is no trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a trace is 32 lower-case hex digits")]
pub struct ParseTraceError;

impl FromStr for Trace {
    type Err = ParseTraceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Its text is that of the other 16 random bytes.
        text.parse().map(|epoch: Epoch| Self(*epoch.as_bytes())).map_err(|_| ParseTraceError)
    }
}

/// A message that waits in somebody's mailbox, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its id.
    pub trace: Trace,
    /// Who put it: a client id, or `"server"`.
    pub from: Arc<str>,
    /// Whose mailbox it is in: a client id.
    pub to: Arc<str>,
    /// The payload, encoded.
    pub pack: Value,
    /// Whether a reply is expected.
    pub suit: bool,
    /// When it was put.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// When it was delivered; `None`: it is pending.
    pub delivered: Option<Timestamp>,
    /// The last reply to it, and when that came.
    pub reply: Option<(Timestamp, Value)>,
}

impl Notification {
    /// Whether it has ended.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now > self.expires
    }
}

/// Receives pending notifications with their numbers one by one, until it breaks off.
pub type VisitPending<'v> = &'v mut dyn FnMut(u64, &Notification) -> ControlFlow<()>;

/// The part of a [`Storage`](super::Storage) that keeps mailboxes: notifications by trace, and of every mailbox those
/// that are pending, in the order of their arrival. Transactions, errors and keys are as they say there.
pub trait MailboxStorage {
    /// Adds a notification that is pending, as the newest of its mailbox.
    ///
    /// # Errors
    /// If the storage cannot be written to, as for every method below that writes.
    fn put_notification(&mut self, notification: &Notification) -> Result<(), StorageError>;

    /// A notification, pending or delivered, expired or not.
    ///
    /// # Errors
    /// If the storage cannot be read, as for every method below that only reads.
    fn notification(&self, trace: Trace) -> Result<Option<Notification>, StorageError>;

    /// Takes a notification out of those that are pending; it stays known by its trace.
    ///
    /// # Errors
    /// See [`put_notification`](MailboxStorage::put_notification).
    fn set_delivered(&mut self, trace: Trace, at: Timestamp) -> Result<(), StorageError>;

    /// Records a reply, in the place of any before it.
    ///
    /// # Errors
    /// See [`put_notification`](MailboxStorage::put_notification).
    fn set_notification_reply(
        &mut self,
        trace: Trace,
        at: Timestamp,
        reply: &Value,
    ) -> Result<(), StorageError>;

    /// Removes a notification, if it is there.
    ///
    /// # Errors
    /// See [`put_notification`](MailboxStorage::put_notification).
    fn remove_notification(&mut self, trace: Trace) -> Result<(), StorageError>;

    /// The pending notifications of a mailbox in the order of their arrival, from those numbered above `after` on.
    /// Numbers are the storage's own: they rise with every arrival and are not used again, whatever is removed.
    ///
    /// # Errors
    /// See [`notification`](MailboxStorage::notification).
    fn pending(&self, to: &str, after: u64, visit: VisitPending<'_>) -> Result<(), StorageError>;

    /// How many notifications of a mailbox are pending.
    ///
    /// # Errors
    /// See [`notification`](MailboxStorage::notification).
    fn pending_count(&self, to: &str) -> Result<usize, StorageError>;

    /// Removes all but the newest `keep` pending notifications of a mailbox, by trace too.
    ///
    /// # Errors
    /// See [`put_notification`](MailboxStorage::put_notification).
    fn evict_pending(&mut self, to: &str, keep: usize) -> Result<(), StorageError>;

    /// Removes all notifications that have [expired](Notification::is_expired), and says how many.
    ///
    /// # Errors
    /// See [`put_notification`](MailboxStorage::put_notification).
    fn purge_notifications(&mut self, now: Timestamp) -> Result<usize, StorageError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_32_lower_case_hex_digits_and_reads_back_from_them() {
        let trace = Trace::from_bytes(std::array::from_fn(|index| u8::try_from(index).unwrap()));
        assert_eq!(trace.to_string(), "000102030405060708090a0b0c0d0e0f");
        assert_eq!(trace.to_string().parse(), Ok(trace));
        for text in ["", "+00102030405060708090a0b0c0d0e0f", "000102030405060708090A0B0C0D0E0F", "00"] {
            assert_eq!(text.parse::<Trace>(), Err(ParseTraceError), "{text}");
        }
    }
}
