//! Stable numbers for what went wrong. PROTOCOL.md holds the same tables.

/// Why the authority refused a request or a subscription.
///
/// The number is stable. 1 to 99 are errors of the request; 100 and up are of the moment and worth another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The request is not well-formed for its target, for instance a record without its primary field.
    InvalidRequest = 1,
    /// No such object, datastore or record.
    NotFound = 2,
    /// The caller may not do this.
    Forbidden = 3,
    /// The value did not pass the write gate.
    InvalidValue = 4,
    /// A key, value or frame is over its limit.
    LimitExceeded = 5,
    /// The request's id is too old to know whether it ran; it was not run again.
    RequestExpired = 6,
    /// The authority owns the key: nothing is relayed on it.
    Conflict = 7,
    /// A namespace of the kv store holds all that its quota allows.
    QuotaExceeded = 8,
    /// The storage could not commit. Nothing was changed.
    StorageFailed = 100,
    /// The server is closing or too busy, or what computes an object has failed.
    Unavailable = 101,
}

impl ErrorCode {
    /// Every code of this version.
    pub const ALL: [Self; 10] = [
        Self::InvalidRequest,
        Self::NotFound,
        Self::Forbidden,
        Self::InvalidValue,
        Self::LimitExceeded,
        Self::RequestExpired,
        Self::Conflict,
        Self::QuotaExceeded,
        Self::StorageFailed,
        Self::Unavailable,
    ];

    /// The number as it travels.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The code of this number, if this version has it.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        Self::is_retryable_number(self.number())
    }

    /// Whether a request that was refused with this number, be it of a later version, may succeed later.
    #[must_use]
    pub const fn is_retryable_number(number: u16) -> bool {
        number >= 100
    }

    /// The code's name in the field's words, such as `not_found`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::NotFound => "not_found",
            Self::Forbidden => "forbidden",
            Self::InvalidValue => "invalid_value",
            Self::LimitExceeded => "limit_exceeded",
            Self::RequestExpired => "request_expired",
            Self::Conflict => "conflict",
            Self::QuotaExceeded => "quota_exceeded",
            Self::StorageFailed => "storage_failed",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why a connection was closed: a WebSocket close code.
///
/// 4000 to 4499: come back (after the time given in `goodbye`, else after a backoff). 4500 to 4999: terminal, coming
/// back unchanged would end the same way. Of the standard codes only 1000 sent by the client itself is terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum CloseCode {
    /// The server is restarting.
    Restarting = 4000,
    /// The connection was silent for too long.
    Silent = 4001,
    /// The client read too slowly; its backlog was dropped.
    SlowConsumer = 4002,
    /// The server failed inside.
    Internal = 4003,
    /// Messages or writes came faster than the server takes them from one connection.
    RateLimited = 4004,
    /// A frame was no message of the protocol.
    Malformed = 4500,
    /// A message was well-formed but not allowed now, such as one before `hello`.
    Unexpected = 4501,
    /// A limit was exceeded.
    LimitExceeded = 4502,
    /// The version or codec is not spoken here.
    Unsupported = 4503,
    /// The token was refused.
    Unauthorized = 4504,
}

impl CloseCode {
    /// Every code of this version.
    pub const ALL: [Self; 10] = [
        Self::Restarting,
        Self::Silent,
        Self::SlowConsumer,
        Self::Internal,
        Self::RateLimited,
        Self::Malformed,
        Self::Unexpected,
        Self::LimitExceeded,
        Self::Unsupported,
        Self::Unauthorized,
    ];

    /// The number as it travels.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The code's name in the field's words, such as `slow_consumer`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Restarting => "restarting",
            Self::Silent => "silent",
            Self::SlowConsumer => "slow_consumer",
            Self::Internal => "internal",
            Self::RateLimited => "rate_limited",
            Self::Malformed => "malformed",
            Self::Unexpected => "unexpected",
            Self::LimitExceeded => "limit_exceeded",
            Self::Unsupported => "unsupported",
            Self::Unauthorized => "unauthorized",
        }
    }

    /// The code of this number, if it is one of this protocol.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// Whether a client that was closed with `code` stays away.
    #[must_use]
    pub const fn is_terminal(code: u16) -> bool {
        matches!(code, 4500..=4999)
    }
}
