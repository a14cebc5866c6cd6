//! The parts of the oracle test: the model, clients that are held against it, and the run that drives both.

#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

pub(crate) mod client;
pub(crate) mod host;
pub(crate) mod model;
pub(crate) mod run;
