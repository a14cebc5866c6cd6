//! Server-authoritative records, live in the browser.

pub mod protocol;
#[cfg(feature = "server")]
pub mod server;
