//! Server-authoritative records, live in the browser.

// Without the server, the crate needs an allocator and nothing else of the platform: so the client's wasm file carries
// no formatting code for panics that nobody could read there.
#![cfg_attr(not(any(test, feature = "server")), no_std)]

extern crate alloc;
// On any other target than the client's wasm file, `std` brings allocator and panic handler.
#[cfg(not(all(target_arch = "wasm32", feature = "wasm-client")))]
extern crate std;

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
