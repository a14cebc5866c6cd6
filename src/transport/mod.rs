//! Transports: bytes and lifecycle, nothing else. What the bytes mean is not their business.

mod websocket;

pub use websocket::{LinkEvent, WebSocketLink};
