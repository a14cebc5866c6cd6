//! The whole server module against maps and vectors: two hundred watchers and subscribers over objects, datastores,
//! pools, mailboxes and the kv store, while batches are undone, processes end, connections break and readers fall
//! behind. What each has put together from its frames is what the model says, after every comparison.

#![cfg(all(feature = "server", feature = "json"))]
#![allow(clippy::unwrap_used, reason = "a test whose failures are panics")]

mod oracle;
mod server_rig;

#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;
#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

use std::collections::BTreeSet;

use oracle::{model::Met, run::Run};

/// Operations of a run.
const OPERATIONS: u64 = 5_000;

#[cfg(not(target_arch = "wasm32"))]
const SEEDS: u64 = 4;
/// A browser takes longer.
#[cfg(target_arch = "wasm32")]
const SEEDS: u64 = 1;

/// Prints the seed of a run that fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        #[cfg(not(target_arch = "wasm32"))]
        if std::thread::panicking() {
            eprintln!("the seed that fails is {}", self.0);
        }
    }
}

#[test]
fn everybody_has_put_together_what_plain_maps_say() {
    let mut met = BTreeSet::new();
    for seed in 0..SEEDS {
        let failing = Seed(seed);
        let mut run = Run::new(failing.0);
        while run.operations < OPERATIONS {
            run.step();
        }
        met.extend(run.end().into_keys());
    }
    let missed: Vec<_> = Met::ALL.into_iter().filter(|what| !met.contains(what)).collect();
    assert_eq!(missed, [], "no run came across these");
}
