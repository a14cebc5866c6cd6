//! A seeded network and clock around the reconciler.
//!
//! A seed draws a [`Mix`] of faults, a [`World`] plays it to the end, and [`shrink`] takes faults out of a failing mix for
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
pub mod model;
pub mod object;
pub mod random;
pub mod rig;

pub use collection::Collections;
pub use ledger::Ledger;
pub use mix::Mix;
pub use object::Objects;
pub use rig::{Draw, Summary, World, shrink};
