//! Server-authoritative records, live in the browser.

pub mod protocol;
pub mod replica;
