//! One slot per replica: what it is about, its reconciler and the values that it shows.

use std::collections::VecDeque;

use super::{
    cells::{CellId, Cells},
    collection::{Rows, Staging},
    writes::Owned,
};
use crate::{
    protocol::{Open, Target},
    replica::{Header, Replica, Source},
};

/// Names one replica of a client. Above 0, and not used again soon, so a late answer meets nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u32);

impl SlotId {
    /// The number, as it crosses to the host and to the server.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The slot of a number that came from [`Self::number`].
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// How a replica over an own transport behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnOptions {
    /// Whether the host can refetch.
    pub has_refetch: bool,
}

/// An input that came while a verdict is outstanding.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) source: Source,
    pub(super) header: Header,
    pub(super) value: Option<Box<[u8]>>,
}

/// The replica of one object.
#[derive(Debug)]
pub(super) struct Object {
    key: Box<str>,
    pub(super) is_gated: bool,
    pub(super) replica: Replica,
    pub(super) value: Option<CellId>,
    /// Whether the host owes a verdict; inputs queue behind it, so that values are judged in order.
    pub(super) is_judging: bool,
    pub(super) queue: VecDeque<Queued>,
    denial: Option<Box<str>>,
}

impl Object {
    pub(super) fn new(key: Box<str>, is_gated: bool, _seed: u64) -> Self {
        Self {
            key,
            is_gated,
            replica: Replica::new(true),
            value: None,
            is_judging: false,
            queue: VecDeque::new(),
            denial: None,
        }
    }
}

/// The replica of one datastore.
#[derive(Debug)]
pub(super) struct Collection {
    id: Box<str>,
    /// How to open the datastore where it does not exist.
    open: Option<(bool, Box<str>)>,
    pub(super) is_gated: bool,
    pub(super) replica: Replica,
    pub(super) rows: Rows,
    pub(super) staging: Option<Staging>,
    denial: Option<Box<str>>,
}

impl Collection {
    pub(super) fn new(id: Box<str>, open: Option<(bool, Box<str>)>, is_gated: bool, seed: u64) -> Self {
        Self {
            id,
            open,
            is_gated,
            replica: Replica::new(true),
            rows: Rows::new(seed),
            staging: None,
            denial: None,
        }
    }
}

/// A replica whose transport and values are the host's.
#[derive(Debug)]
pub(super) struct Own {
    replica: Replica,
}

impl Own {
    pub(super) fn new(options: OwnOptions, _seed: u64) -> Self {
        Self { replica: Replica::new(options.has_refetch) }
    }
}

/// What a slot holds.
#[derive(Debug)]
pub(super) enum Slot {
    Object(Object),
    Collection(Collection),
    Own(Own),
}

impl Slot {
    pub(super) const fn replica(&self) -> &Replica {
        match self {
            Self::Object(object) => &object.replica,
            Self::Collection(collection) => &collection.replica,
            Self::Own(own) => &own.replica,
        }
    }

    pub(super) const fn replica_mut(&mut self) -> &mut Replica {
        match self {
            Self::Object(object) => &mut object.replica,
            Self::Collection(collection) => &mut collection.replica,
            Self::Own(own) => &mut own.replica,
        }
    }

    /// Whether the session feeds it.
    pub(super) const fn is_remote(&self) -> bool {
        self.target().is_some()
    }

    /// What it asks the server for.
    pub(super) const fn target(&self) -> Option<Target<'_>> {
        match self {
            Self::Object(object) => Some(Target::Object(&object.key)),
            Self::Collection(collection) => {
                let open = match &collection.open {
                    Some((permanent, primary)) => Some(Open { permanent: *permanent, primary }),
                    None => None,
                };
                Some(Target::Datastore { id: &collection.id, open })
            }
            Self::Own(_) => None,
        }
    }

    pub(super) fn is_target_of(&self, operation: &Owned) -> bool {
        match (self, operation) {
            (Self::Object(object), Owned::Put { key, .. } | Owned::Delete { key }) => object.key == *key,
            (
                Self::Collection(collection),
                Owned::Set { datastore, .. } | Owned::Remove { datastore, .. },
            ) => collection.id == *datastore,
            (Self::Object(_) | Self::Collection(_) | Self::Own(_), _) => false,
        }
    }

    pub(super) fn denial(&self) -> Option<&str> {
        match self {
            Self::Object(object) => object.denial.as_deref(),
            Self::Collection(collection) => collection.denial.as_deref(),
            Self::Own(_) => None,
        }
    }

    pub(super) fn deny(&mut self, message: &str) {
        match self {
            Self::Object(object) => object.denial = Some(message.into()),
            Self::Collection(collection) => collection.denial = Some(message.into()),
            Self::Own(_) => {}
        }
    }

    /// Gives back the cells of a slot that is forgotten.
    pub(super) fn abandon(self, cells: &mut Cells) {
        match self {
            Self::Object(object) => {
                if let Some(cell) = object.value {
                    cells.retire(cell);
                }
            }
            Self::Collection(collection) => {
                for cell in collection.rows.cells() {
                    cells.retire(cell);
                }
                if let Some(staging) = collection.staging {
                    staging.abandon(cells);
                }
            }
            Self::Own(_) => {}
        }
    }
}
