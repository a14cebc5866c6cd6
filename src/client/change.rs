//! The way out: what the host does for the client, and what it hears of it.

use alloc::vec::Vec;

use super::{cells::CellId, slot::SlotId};
use crate::{
    protocol::{QueryId, RequestId},
    replica::Token,
    session::{Generation, TokenReason},
};

/// A verdict that the host owes, as it crosses to the host. Above 0.
pub type HostTicket = u32;

/// What the host does for the client, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Fetch a token, and say what came of it with [`Client::handle_token`](super::Client::handle_token).
    Fetch(Generation, TokenReason),
    /// Open a new link.
    Dial(Generation),
    /// Send a frame.
    Transmit(Generation, Vec<u8>),
    /// Close a link and forget it.
    Hang {
        /// The link.
        link: Generation,
        /// The close code.
        code: u16,
    },
}

/// What changed, for whoever shows it. In order of happening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// An object shows another value.
    Value {
        /// The object's slot.
        slot: SlotId,
        /// The value; `None`: deleted.
        cell: Option<CellId>,
        /// The ticket of its verdict; 0 where it has no gate.
        ticket: HostTicket,
    },
    /// A collection that showed no row shows a snapshot. [`Client::rows`](super::Client::rows) has them all, with what
    /// other changes of the list say of them.
    Table {
        /// The collection's slot.
        slot: SlotId,
    },
    /// A collection shows a new or other row.
    Row {
        /// The collection's slot.
        slot: SlotId,
        /// The row.
        cell: CellId,
        /// The cell in whose place it is shown; `None`: the row is new.
        previous: Option<CellId>,
        /// The ticket of its verdict; 0 where it has no gate.
        ticket: HostTicket,
    },
    /// A collection lost a row.
    Gone {
        /// The collection's slot.
        slot: SlotId,
        /// The row as it was.
        cell: CellId,
    },
    /// The host's gate is asked; answered with [`Client::judged`](super::Client::judged).
    Judge {
        /// The slot.
        slot: SlotId,
        /// The value.
        cell: CellId,
        /// What to answer with.
        ticket: HostTicket,
    },
    /// Position, status or counters of a slot changed.
    Meta {
        /// The slot.
        slot: SlotId,
    },
    /// A write ended; [`Client::settlement`](super::Client::settlement) has the message.
    Settled {
        /// The write.
        request: RequestId,
        /// 0 done, 65535 unknown, else a number of [`ErrorCode`](crate::protocol::ErrorCode).
        code: u16,
    },
    /// A question ended.
    Answered {
        /// The question.
        query: QueryId,
        /// The whole `result` message, until the next change list; `None`: no answer came in time.
        cell: Option<CellId>,
    },
    /// A message about what has no history.
    Fed {
        /// The slot of a relay, the mailbox or a watch.
        slot: SlotId,
        /// The whole message as it came, until the next change list.
        cell: CellId,
    },
    /// The session's phase changed.
    Link,
    /// An own-transport replica shows the host's value.
    Install {
        /// The slot.
        slot: SlotId,
        /// The host's value.
        token: Token,
        /// The ticket of its verdict.
        ticket: HostTicket,
    },
    /// The host may forget a value that it offered.
    Discard {
        /// The slot.
        slot: SlotId,
        /// The host's value.
        token: Token,
    },
    /// An own-transport replica asks its host to refetch.
    Refetch {
        /// The slot.
        slot: SlotId,
        /// The number to answer with.
        attempt: u32,
    },
    /// An own-transport replica needs the verdict on a value that it held back.
    JudgeOwn {
        /// The slot.
        slot: SlotId,
        /// The host's value.
        token: Token,
        /// What to answer with.
        ticket: HostTicket,
    },
    /// An own-transport replica wants an attempt's request aborted.
    Abort {
        /// The slot.
        slot: SlotId,
        /// The attempt.
        attempt: u32,
    },
    /// The authority went back behind what was shown.
    RolledBack {
        /// The slot.
        slot: SlotId,
    },
    /// A value was refused and is kept from view.
    Quarantined {
        /// The slot.
        slot: SlotId,
        /// What [`Client::fault`](super::Client::fault) says about it, until the next list; 0 where the host refused it.
        fault: u32,
    },
    /// The authority denied a subscription; [`Client::denial`](super::Client::denial) has the message.
    Denied {
        /// The slot.
        slot: SlotId,
    },
    /// A cell that was announced is forgotten.
    Freed {
        /// The cell.
        cell: CellId,
    },
}
