//! Server-authoritative records, live in the browser.

pub mod protocol;
#[cfg(feature = "server")]
pub mod server;
#[cfg(all(any(feature = "wasm-client", feature = "wasm-server"), target_arch = "wasm32"))]
mod wasm;
