//! Encoded values on their way to a host that wants objects: what to build, and after a change only what to rebuild.
//!
//! A value is kept as MessagePack bytes. A host that looks at it gets a **tape**: numbers that it reads from the first
//! to the last, and beside them one text that all strings are cut from. So crossing into JavaScript costs two calls for
//! any number of values, where a decoder there would pay per string (`ARCHITECTURE.md`, "How values travel").
//!
//! When the host still has the object of an earlier version, the tape says how to get from that object to the new one:
//! what is equal is not mentioned, so it keeps its identity, and only what changed is built.
//!
//! | file | duty |
//! |---|---|
//! | `tape.rs` | the format, and whole values |
//! | `advance.rs` | two versions of a value compared, the new one checked and judged as it comes |
//! | `edits.rs` | what that found to be different |
//! | `marks.rs` | where the parts of a large value begin |
//! | `fields.rs` | fields of a map, found by name |
//! | `names.rs` | names of fields, which cross once |
//! | `path.rs` | a part of a value |
//!
//! Start at [`Tape`], and for what comes in at [`advance`]. Deliberately not here: which version a host has (`client`),
//! and what a value must look like (`gate`).

mod advance;
mod edits;
mod fields;
mod marks;
mod names;
mod path;
mod tape;

pub use advance::advance;
pub use edits::Edits;
pub use marks::Marks;
pub use path::Path;
pub use tape::{Op, Tape};
