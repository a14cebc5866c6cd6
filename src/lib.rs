//! Server-authoritative records, live in the browser.
//!
//! A server owns every value and stamps every change with a sequence. A client holds read-only replicas: each gates
//! what comes in, reconciles it by `(epoch, sequence)`, recovers from gaps on its own, and says what changed. Both
//! sides are sans-IO: they read no clock, open no socket and start no thread. Hosts move the bytes.
//!
//! ```text
//!             bytes in                                              changes out
//!   transport ───────► client ─┬─► session    is the link alive? ─┐      ▲
//!                              ├─► protocol   what does it say?   ├──────┘
//!                              ├─► replica    may it be shown?    │
//!                              └─► cells      the values, as bytes ┘
//!                                  value      what to build of them, and what changed
//!
//!   host      ───────► server ─┬─► protocol   what is asked?
//!                              ├─► object, datastore   the rules  ───► frames to connections, after the commit
//!                              ├─► hub        who must be told?
//!                              └─► storage    what must last
//! ```
//!
//! Layers, from the inside out:
//!
//! - [`protocol`]: messages, codecs, positions, limits. Nothing else decodes a peer's bytes.
//! - [`gate`]: a schema compiled to run over encoded values.
//! - [`replica`]: the reconciler. It judges headers and never sees a value.
//! - [`value`]: encoded values on their way to a host that wants objects: tapes, and differences.
//! - [`session`]: one connection after another: dial, greet, stay alive, come back.
//! - [`client`]: all of a client behind one surface.
//! - [`server`]: the reference server module, the same in a page and in the native server.
//!
//! The client and the server above, joined by hand:
//!
//! ```
#![doc = include_str!("../examples/in_process.rs")]
//! ```

// The crate needs an allocator and nothing else of the platform: so the wasm files carry no formatting code for panics
// that nobody could read there.
#![cfg_attr(not(test), no_std)]

extern crate alloc;
// Anywhere but in the shipped wasm files, `std` brings allocator and panic handler.
#[cfg(not(all(target_arch = "wasm32", feature = "bare")))]
extern crate std;

pub mod client;
pub mod gate;
pub mod protocol;
pub mod replica;
#[cfg(feature = "server")]
pub mod server;
pub mod session;
pub mod value;
#[cfg(all(any(feature = "wasm-client", feature = "wasm-server"), target_arch = "wasm32"))]
mod wasm;

/// The README's Rust runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
