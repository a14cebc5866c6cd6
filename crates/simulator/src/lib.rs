//! Seeded networks and clocks around the real machines.
//!
//! A seed draws a mix of faults, a [`World`] plays it to the end, and [`shrink`] takes faults out of a failing mix for
//! as long as it still fails. All worlds stand on one [`rig`]. There are three:
//!
//! - [`Objects`] and [`Collections`]: the real reconciler, over a link that loses, repeats, delays and reorders, from an
//!   authority that is a model. After every step each client is checked: its position never goes back between fences,
//!   what it shows is what the authority had at that position, one request is in flight at most, the hold-back is
//!   bounded, every value is named once. After the faults stop, and without a further write, every replica must show
//!   what is true within three beacon periods.
//! - [`Stack`]: the real server, sessions and clients, over links as WebSockets are and a disk that fails.
//!
//! [`model`] searches every interleaving of a small network instead.

pub mod authority;
pub mod client;
pub mod collection;
pub mod ledger;
pub mod mix;
pub mod model;
pub mod object;
pub mod random;
pub mod rig;
pub mod stack;

pub use collection::Collections;
pub use ledger::Ledger;
pub use mix::Mix;
pub use object::Objects;
pub use rig::{Draw, Summary, World, shrink};
pub use stack::Stack;
