//! The words of the reconciler's interface: what goes in, what comes out.

use core::time::Duration;

use crate::protocol::limits::MAX_SEQUENCE;

/// An epoch, interned by the host: equal numbers are equal epochs. [`EpochId::NONE`] says that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EpochId(pub u32);

impl EpochId {
    /// No epoch: the envelope is a plain one, as an authority without histories sends it.
    pub const NONE: Self = Self(0);

    /// Whether this is [`EpochId::NONE`].
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// The name of a value that the host keeps. The machine never sees the value and makes no tokens itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u32);

/// The name of one question to the gate, good for one [`judged`](super::Replica::judged).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub(super) u32);

impl Ticket {
    /// The ticket as a number, for a host that passes it through a language without newtypes.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The ticket of a number that [`Ticket::get`] gave.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// A schema version, interned by the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Version {
    /// The host's number for the text, given back by [`version`](super::Replica::version) once it is applied.
    pub id: u32,
    /// The part before the dot; `None` where the version is absent or malformed, which passes (rule 2).
    pub major: Option<u32>,
}

/// All that the reconciler may know of an envelope or a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// The history it belongs to.
    pub epoch: EpochId,
    /// Its number. Unchecked: whatever is no integer in 0..=2^53-1 comes in as [`Header::NO_SEQUENCE`] (rule 1).
    pub sequence: u64,
    /// The subscriber's own previous sequence, where the authority filters or conflates.
    pub prev: Option<u64>,
    /// The schema version it was written under.
    pub version: Version,
}

impl Header {
    /// Stands for anything that is no sequence: a fraction, a negative number, a text.
    pub const NO_SEQUENCE: u64 = u64::MAX;

    /// A header of the seed's kind: no epoch, no `prev`, no version.
    #[must_use]
    pub const fn plain(sequence: u64) -> Self {
        Self { epoch: EpochId::NONE, sequence, prev: None, version: Version { id: 0, major: None } }
    }

    /// A header within an epoch.
    #[must_use]
    pub const fn new(epoch: EpochId, sequence: u64) -> Self {
        Self { epoch, ..Self::plain(sequence) }
    }

    /// Whether its number is one (rule 1).
    pub(super) const fn has_sequence(&self) -> bool {
        self.sequence <= MAX_SEQUENCE
    }

    pub(super) const fn is_well_formed(&self) -> bool {
        self.has_sequence()
            && match self.prev {
                Some(prev) => prev < self.sequence,
                None => true,
            }
    }

    /// The sequence that must be settled before this one is in order.
    pub(super) const fn needs(&self) -> u64 {
        match self.prev {
            Some(prev) => prev,
            None => self.sequence.saturating_sub(1),
        }
    }

    /// Whether this header continues an order that is settled up to `cursor` (rule 6); also true of what lies at or
    /// below it.
    pub(super) const fn continues(&self, cursor: u64) -> bool {
        self.needs() <= cursor
    }
}

/// A point in one history, as the machine knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The history.
    pub epoch: EpochId,
    /// The point in it.
    pub sequence: u64,
}

/// What is replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// One value: every envelope carries the whole of it.
    #[default]
    Object,
    /// The rows of a datastore: every envelope carries one operation.
    Collection,
}

/// What to do with a receipt beyond a gap (rule 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnGap {
    /// Hold it back and ask the authority.
    #[default]
    Refetch,
    /// Take the whole value that it carries as the new base. Objects only; on a collection it means `Refetch`.
    Commit,
}

/// How one replica behaves. Never changes during its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    /// What is replicated.
    pub kind: Kind,
    /// The major schema version that the client understands; `None` lets every version pass (rule 2).
    pub declared_major: Option<u32>,
    /// What to do with a receipt beyond a gap.
    pub on_gap: OnGap,
    /// Whether failed attempts are repeated (rule 10).
    pub retry: bool,
    /// Whether the host can refetch at all.
    pub has_refetch: bool,
    /// Whether the transport keeps the order of what it carries. On others a beacon may overtake receipts (rule 13).
    pub ordered_transport: bool,
    /// Whether there is no gate. Values are then accepted as they come and `offer` never asks for a verdict.
    pub trusted: bool,
    /// How long one attempt may take (rule 8).
    pub attempt_deadline: Duration,
    /// How often beacons come; also the longest backoff (rule 10).
    pub beacon_period: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kind: Kind::Object,
            declared_major: None,
            on_gap: OnGap::Refetch,
            retry: true,
            has_refetch: true,
            ordered_transport: true,
            trusted: false,
            // Long enough for a slow mobile link, short enough that a dead request is not taken for a slow one.
            attempt_deadline: Duration::from_secs(10),
            // The wire's heartbeat: a lost tail is noticed within one of them.
            beacon_period: Duration::from_secs(10),
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A snapshot that nobody asked this machine for: a server-rendered seed, the answer to a subscription.
    Hydration,
    /// An envelope from the transport.
    Receipt,
    /// The answer to [`Effect::Refetch`] of the same attempt: a snapshot.
    Refetch {
        /// The attempt that it answers.
        attempt: u32,
    },
}

/// What the gate said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The value fits; from now on the token names the gate's output (rule 3).
    Accepted,
    /// The value does not fit, or the gate threw or returned a promise.
    Refused,
}

/// Why a value was dropped without a question to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The replica is disposed.
    Disposed,
    /// It answers an attempt that is not the one in flight (rule 8).
    OldGeneration,
    /// It answers an attempt that nothing needs any more (rule 8).
    Late,
    /// The sequence is no integer in 0..=2^53-1, or `prev` is not below it (rule 1).
    Malformed,
    /// A plain value after values of an epoch (rule 9).
    Plain,
    /// It belongs to a retired epoch (rule 9).
    Retired,
    /// A snapshot of another epoch that nothing vouches for (rule 9).
    Unproven,
    /// Another major schema version (rule 2).
    Skew,
    /// A snapshot of a collection that is older than what is applied (rule 9).
    Older,
}

/// What became of an offered value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Offer {
    /// Not kept. The token is free again; no effect will name it.
    Drop(Reason),
    /// Run the gate on the value, outside every borrow, then call `judged`.
    Judge(Ticket),
    /// Kept: held back, or queued behind an outstanding verdict. An effect will name the token.
    Held,
    /// Dealt with; effects name the token.
    Settled,
    /// Applied in order, with nothing to ask. The token is now shown (of a collection: fold it into the live table);
    /// `previous` is free. No effect follows.
    Installed {
        /// What was shown before.
        previous: Option<Token>,
    },
}

/// Where a collection's operation goes. An object's value always goes [`Place::Live`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// To what is shown.
    Live,
    /// To the staging table only.
    Staging,
    /// To both.
    Both,
}

/// What the host must do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Run the gate on the value, outside every borrow, then call `judged`.
    Judge {
        /// The question.
        ticket: Ticket,
        /// The value.
        token: Token,
    },
    /// Object: show this value. Collection: fold this operation into the place.
    Install {
        /// The value.
        token: Token,
        /// Object: what was shown before; free now.
        previous: Option<Token>,
        /// Where to.
        place: Place,
    },
    /// Put this value into the quarantine slot (object) or the row's (collection), with the gate's reason.
    Quarantine {
        /// The value.
        token: Token,
        /// Its sequence.
        sequence: u64,
        /// Object: what was in the slot before; free now.
        previous: Option<Token>,
        /// Collection: which table the operation would have gone to.
        place: Place,
    },
    /// Forget this value: nothing needs it any more.
    Discard {
        /// The value.
        token: Token,
    },
    /// Ask the authority. Answer with `offer`, `offer_page`, `handle_current`, `handle_null` or `handle_failure`.
    Refetch {
        /// The attempt's number; the answer carries it.
        attempt: u32,
        /// Where the replica stands; `None` asks for a snapshot.
        position: Option<Mark>,
        /// Collection: history was lost three times, so the authority should withhold operations while it sends
        /// pages, and send them as a tail after the last.
        withhold: bool,
    },
    /// Abort this attempt's request. An answer to it would be dropped.
    Abort {
        /// The attempt.
        attempt: u32,
    },
    /// Collection: clear the staging table and begin to fill it.
    Stage,
    /// Collection: gate this page's rows and fold them into the staging table by (key, sequence); then pull the next
    /// page, unless it was the last.
    Page {
        /// The rows.
        token: Token,
    },
    /// Collection: put the staging table in the place of the live one; observers hear the difference, once.
    Swap,
    /// Collection: drop the staging table.
    Unstage,
    /// The authority went back: it kept less than this replica had shown (rule 12).
    Rollback {
        /// Where the replica stood.
        from: Mark,
        /// The last sequence of that history which the authority vouches for.
        kept: u64,
    },
    /// The first value is there.
    Ready,
}

/// The one word for the state of a replica (rule 15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Nothing is known to be missing.
    Ok,
    /// What is shown may be out of date, and the last way to mend that did not work.
    Stale,
    /// The newest value was refused by gate or schema version.
    Skew,
    /// A request is in flight.
    Refetching,
}

/// Counters since the replica was made. They only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Values installed, whatever their source.
    pub applied: u64,
    /// Receipts at or below what is applied, or of a retired epoch.
    pub ignored_stale: u64,
    /// Receipts beyond a gap.
    pub gaps: u64,
    /// Values refused by the gate, and malformed or plain ones (rules 1, 3, 9).
    pub parse_errors: u64,
    /// Calls of refetch.
    pub refetches: u64,
    /// Values of a foreign major version (rule 2).
    pub schema_skews: u64,
    /// Values put into the quarantine slot.
    pub quarantined: u64,
    /// Envelopes put into the hold-back.
    pub buffered: u64,
    /// Refetches that repeat a failed attempt.
    pub retries: u64,
}

/// One page of a collection's snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Page {
    /// The host's name for its rows.
    pub token: Token,
    /// Which one it is, from 0: 0 begins a snapshot, a later one only goes on with the one it belongs to.
    pub number: u32,
    /// The authority's head when it read this page. Where the wire does not say it, the largest sequence among the
    /// page's rows: enough on an ordered link, which has brought every operation before the page.
    pub head: u64,
    /// Whether it is the last.
    pub is_last: bool,
}

/// What is in an object's quarantine slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quarantined {
    /// The value.
    pub token: Token,
    /// Its epoch.
    pub epoch: EpochId,
    /// Its sequence.
    pub sequence: u64,
}
