//! A seeded network and clock around the reconciler.
//!
//! A seed draws a [`Mix`] of faults, [`run`] plays it to the end, and [`shrink`] takes faults out of a failing mix for
//! as long as it still fails. After every step each client is checked: its position never goes back between fences,
//! what it shows is what the authority had at that position, one request is in flight at most, the hold-back is
//! bounded, every value is named once. After the faults stop, and without a further write, every replica must show
//! what is true within three beacon periods.
//!
//! Not here: sessions, bytes and storage. The authority is a model; the reconciler is the real one.

pub mod authority;
pub mod client;
pub mod collection;
pub mod ledger;
pub mod mix;
pub mod random;
pub mod world;

pub use ledger::Ledger;
pub use mix::Mix;
pub use world::{Summary, run};

/// How a mix is played: [`run`] for an object, [`collection::run`] for a datastore.
pub type Run = fn(&Mix, &mut Ledger) -> Result<Summary, client::Fault>;

/// The simplest mix that fails as `mix` does, and how it fails.
///
/// Gives `None` where `mix` does not fail.
#[must_use]
pub fn shrink(mix: &Mix, run: Run) -> Option<(Mix, String)> {
    let mut mix = mix.clone();
    let mut fault = run(&mix, &mut Ledger::default()).err()?;
    'simpler: loop {
        for simpler in mix.simpler() {
            if let Err(other) = run(&simpler, &mut Ledger::default()) {
                mix = simpler;
                fault = other;
                continue 'simpler;
            }
        }
        return Some((mix, fault));
    }
}
