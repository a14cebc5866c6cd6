//! Server-authoritative records, live in the browser.

pub mod client;
pub mod protocol;
pub mod replica;
#[cfg(feature = "server")]
pub mod server;
pub mod session;
#[cfg(all(feature = "web", target_arch = "wasm32"))]
pub mod transport;
#[cfg(all(any(feature = "wasm-client", feature = "wasm-server"), target_arch = "wasm32"))]
mod wasm;
