//! Limits of the wire. Each has its reason in one line; PROTOCOL.md repeats the table.

use core::time::Duration;

/// Largest sequence: 2^53 - 1, the largest integer that a JavaScript number holds exactly.
pub const MAX_SEQUENCE: u64 = (1 << 53) - 1;

/// Longest key, id or record key in bytes of UTF-8: room for any sensible name, too short to be a payload.
pub const MAX_KEY_BYTES: usize = 1024;

/// Deepest nesting of a value: far above real records, far below any stack (JavaScript's included).
pub const MAX_DEPTH: usize = 64;

/// Largest encoded value in bytes: a record that is larger belongs into several records.
pub const MAX_VALUE_BYTES: usize = 256 * 1024;

/// Largest frame in bytes, in either direction: four of the largest values, so one page always fits.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// Longest schema version, client id or token in bytes.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Most subscriptions that one connection may hold.
pub const MAX_SUBSCRIPTIONS: usize = 10_000;

/// Most entries of a lineage: older epochs of an authority are forgotten.
pub const MAX_LINEAGE: usize = 8;

/// Longest life of a notification: nothing waits in a mailbox for ever.
pub const MAX_NOTIFICATION_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Most pending notifications of a mailbox; the oldest makes room: who is away for so long wants the newest.
pub const MAX_MAILBOX: usize = 1_024;

/// Largest reply to a notification in bytes: a value with room for the rest of the notification's state around it.
pub const MAX_REPLY_BYTES: usize = MAX_VALUE_BYTES - 4 * 1024;

/// Most fields of a merge pool, and of one merge: a pool is what the people at one document share; more is a datastore.
pub const MAX_POOL_FIELDS: usize = 1_024;

/// Bytes a second that the slowest line carries over which everything arrives in the end, in either direction. What comes
/// slower than that may be held for dead.
pub const SLOWEST_LINE: usize = 2 * 1024;

/// Bytes of rows after which a snapshot page is closed: a quarter of a frame, so that live changes pass between pages.
pub const PAGE_BYTES: usize = 256 * 1024;
