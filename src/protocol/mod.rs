//! The wire: messages, their codecs, positions and limits. Nothing else in the project decodes bytes of a peer.
//!
//! [`ClientMessage`] and [`ServerMessage`] are every message there is; [`Reader`] and [`Writer`] are their
//! MessagePack tokens; values stay [`EncodedValue`]s, checked once on the way in. What each message means is in
//! PROTOCOL.md. Not here: what to answer (that is `server`), when to ask (that is `session` and `replica`).

mod code;
#[cfg(feature = "json")]
mod json;
pub mod limits;
mod message;
mod msgpack;
mod position;
mod scan;
mod time;
mod tokens;
mod unique;

pub use code::{CloseCode, ErrorCode};
#[cfg(feature = "json")]
pub use json::{
    client_frame_to_json, frame_from_json, frame_value_from_json, frame_value_to_json, from_json,
    server_frame_to_json, to_json,
};
pub use message::{
    Announced, Answer, ClientMessage, EncodedOperation, EncodedQuery, Heard, KvChange, KvEventKind, Open,
    OpenPool, Operation, Query, QueryId, Relayed, RequestId, Row, ServerMessage, Subject, Subscription,
    SubscriptionId, Target, TopicId,
};
pub use msgpack::{DecodeError, EncodedValue, Reader, Writer};
pub use position::{Epoch, Lineage, ParseEpochError, Position, Sequence};
pub use scan::{Scanner, Token, common_prefix, is_ascii, is_same};
pub use time::Timestamp;
pub use tokens::Tokens;
pub(crate) use unique::repeats_name;

/// The WebSocket subprotocol of this version with MessagePack frames.
pub const SUBPROTOCOL_MSGPACK: &str = "tidewire.v1.msgpack";

/// The WebSocket subprotocol of this version with JSON frames.
pub const SUBPROTOCOL_JSON: &str = "tidewire.v1.json";

#[cfg(test)]
mod tests;
