//! The native Tidewire server: the reference server module behind a WebSocket, over SQLite.
//!
//! A connection is a task that only moves bytes ([`web`]). One thread owns the module and its storage ([`host`]): it
//! takes what has arrived, runs it as one batch, commits it to disk ([`sqlite`]) and lets the answers go. Who may do what
//! is decided in the module, by what tokens say that are signed with one of the [`keys`].
//!
//! A program of your own runs the same server with rules in Rust: see [`Builder`].

pub mod backup;
pub mod check;
pub mod cluster;
pub mod config;
mod door;
pub mod export;
pub mod gate;
pub mod health;
pub mod host;
mod http;
pub mod import;
pub mod keys;
mod limits;
pub mod listen;
pub mod metrics;
mod pattern;
mod replaced;
pub mod serve;
pub mod sqlite;
pub mod web;

pub use limits::Limits;
pub use serve::Builder;
