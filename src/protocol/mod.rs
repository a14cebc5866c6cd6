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
mod time;

pub use code::{CloseCode, ErrorCode};
#[cfg(feature = "json")]
pub use json::{from_json, to_json};
pub use message::{
    Answer, ClientMessage, KvChange, KvEventKind, Open, OpenPool, Operation, Query, QueryId, RequestId, Row,
    ServerMessage, Subscription, SubscriptionId, Target, TopicId,
};
pub use msgpack::{DecodeError, EncodedValue, Reader, Writer};
pub use position::{Epoch, Lineage, ParseEpochError, Position, Sequence};
pub use time::Timestamp;

/// The WebSocket subprotocol of this version with MessagePack frames.
pub const SUBPROTOCOL_MSGPACK: &str = "tidewire.v1.msgpack";

#[cfg(test)]
mod tests;
