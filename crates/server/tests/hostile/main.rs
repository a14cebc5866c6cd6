//! What a server has to live through: peers that die, that lie and that never end, lines that go dead, and its own
//! death. In one program, so that the tests that mostly wait do it at the same time.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

#[path = "../rig/mod.rs"]
mod rig;

mod bombs;
mod codes;
mod flaps;
mod half_open;
mod kill;
