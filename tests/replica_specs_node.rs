//! The specifications of the reconciler as WASM in Node: `wasm-pack test --node --test replica_specs_node`.

#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, reason = "a file that is not as described fails the test")]

pub mod spec_runner;
