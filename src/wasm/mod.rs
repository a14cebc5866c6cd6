//! The surfaces that JavaScript sees: conversions, no rules. The client's and the server's are built into files of
//! their own; the facade in `pkg/src` is their only caller.

#[cfg(feature = "wasm-server")]
mod authority;
#[cfg(all(feature = "bare", not(test)))]
mod bare;
#[cfg(feature = "wasm-client")]
mod client;
#[cfg(feature = "wasm-client")]
mod host;
#[cfg(feature = "wasm-server")]
mod rules;
#[cfg(feature = "wasm-server")]
mod server;
