//! One slot per replica: what it is about, its reconciler and the values that it shows.

use alloc::{boxed::Box, vec::Vec};

use super::{
    cells::{CellId, Cells},
    collection::{Page, PagePlace, Rows, Staging},
    feeds::Feed,
    gates::GateId,
    writes::Subject,
};
use crate::{
    gate::Fault,
    protocol::{Open, OpenPool, Target, TopicId},
    replica::{Compact, Kind, OnGap, Options, Token},
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
#[derive(Debug, Clone, Copy)]
pub struct OwnOptions {
    /// Whether the host judges values.
    pub is_gated: bool,
    /// The major schema version that the host understands.
    pub declared_major: Option<u32>,
    /// What to do with a receipt beyond a gap.
    pub on_gap: OnGap,
    /// Whether the host can refetch.
    pub has_refetch: bool,
    /// Whether failed refetches are tried again.
    pub retry: bool,
}

/// What a replica is about.
#[derive(Debug)]
pub(super) enum About {
    /// An object of the authority.
    Object {
        key: Box<str>,
        /// The value shown; `None` before the first, and once it is deleted.
        shown: Option<CellId>,
    },
    /// A datastore or merge pool of the authority.
    Collection(Box<Collection>),
    /// Something without a history.
    Feed(Box<Feed>),
    /// Something that the host's own transport carries. Values are judged before they may be held back, so the
    /// ticket under which the host keeps a gate's output is remembered until it is shown.
    Own { judged: Vec<(Token, u32)> },
}

/// What a collection is the replica of, and how to open it where it does not exist.
#[derive(Debug)]
pub(super) enum Origin {
    /// A datastore: whether permanent, and its primary field.
    Datastore(Option<(bool, Box<str>)>),
    /// A merge pool, with the fields of this client that go with its connection.
    Pool(Option<OpenPool>, Presence),
}

/// The fields of a pool that a client wrote, and what their values are, encoded.
pub(super) type Presence = Vec<(Box<str>, Box<[u8]>)>;

/// The replica of one datastore or merge pool.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) id: Box<str>,
    pub(super) origin: Origin,
    pub(super) rows: Rows,
    pub(super) staging: Option<Staging>,
    /// The pages that were asked for on this link and have not come, also those of a snapshot that is over: a page that
    /// is none of them begins a snapshot.
    pub(super) asked: Vec<PagePlace>,
    /// Pages that are offered to the replica, by their tokens.
    pub(super) pages: Vec<(Token, Page)>,
}

/// A tail that the server announced, and of which envelopes are still to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    pub(super) attempt: u32,
    pub(super) left: u32,
}

/// What a slot holds.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) about: About,
    pub(super) replica: Compact,
    pub(super) gate: Option<GateId>,
    /// The history that it follows on the present link.
    pub(super) topic: Option<TopicId>,
    /// There are many slots, and few to which any of this happens.
    aside: Option<Box<Aside>>,
    /// The change list that names its value: the host has not heard of what is shown while that is the present one.
    pub(super) told_in: u32,
}

/// What a slot holds while something happens to it.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Why the gate refused the value that it judged last.
    pub(super) fault: Option<Fault>,
    /// Values that the replica judges, holds back or keeps in quarantine.
    pub(super) owned: Vec<CellId>,
    pub(super) tail: Option<Tail>,
    pub(super) denial: Option<Box<str>>,
}

impl Slot {
    fn new(about: About, options: Options, seed: u64) -> Self {
        let replica = Compact::new(options, seed);
        Self { about, replica, gate: None, topic: None, aside: None, told_in: 0 }
    }

    pub(super) fn object(key: Box<str>, is_gated: bool, seed: u64) -> Self {
        let options = Options { trusted: !is_gated, ..Options::default() };
        Self::new(About::Object { key, shown: None }, options, seed)
    }

    pub(super) fn collection(id: Box<str>, origin: Origin, is_gated: bool, seed: u64) -> Self {
        let options = Options { kind: Kind::Collection, trusted: !is_gated, ..Options::default() };
        let collection = Collection {
            id,
            origin,
            rows: Rows::new(seed),
            staging: None,
            asked: Vec::new(),
            pages: Vec::new(),
        };
        Self::new(About::Collection(Box::new(collection)), options, seed)
    }

    pub(super) fn feed(feed: Feed) -> Self {
        // A replica that nothing is ever offered to.
        Self::new(About::Feed(Box::new(feed)), Options { trusted: true, ..Options::default() }, 0)
    }

    pub(super) fn own(options: OwnOptions, seed: u64) -> Self {
        let options = Options {
            trusted: !options.is_gated,
            declared_major: options.declared_major,
            on_gap: options.on_gap,
            has_refetch: options.has_refetch,
            retry: options.retry,
            ordered_transport: false,
            ..Options::default()
        };
        Self::new(About::Own { judged: Vec::new() }, options, seed)
    }

    /// Whether the session feeds it.
    pub(super) const fn is_remote(&self) -> bool {
        !matches!(self.about, About::Own { .. })
    }

    /// Whether values are judged, by the gate or else by the host.
    pub(super) const fn is_gated(&self) -> bool {
        !self.replica.is_trusted()
    }

    /// Whether it has a history, which its replica follows.
    pub(super) const fn is_replica(&self) -> bool {
        !matches!(self.about, About::Feed(_))
    }

    /// Gives back the memory that only beginnings and recoveries need.
    pub(super) fn rest(&mut self) {
        self.replica.rest();
        let is_empty = |aside: &mut Box<Aside>| {
            aside.owned.is_empty() && aside.fault.is_none() && aside.tail.is_none() && aside.denial.is_none()
        };
        drop(self.aside.take_if(is_empty));
    }

    /// What it holds while something happens to it, to be changed.
    pub(super) fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    /// The same, where there is any.
    pub(super) fn aside_mut(&mut self) -> Option<&mut Aside> {
        self.aside.as_deref_mut()
    }

    /// A tail whose envelopes are still to come.
    pub(super) fn tail(&self) -> Option<Tail> {
        self.aside.as_ref()?.tail
    }

    /// Why its subscription was denied.
    pub(super) fn denial(&self) -> Option<&str> {
        self.aside.as_ref()?.denial.as_deref()
    }

    /// What it asks the server for.
    pub(super) fn target(&self) -> Option<Target<'_>> {
        match &self.about {
            About::Object { key, .. } => Some(Target::Object(key)),
            About::Collection(collection) => {
                let id = &collection.id;
                Some(match &collection.origin {
                    Origin::Datastore(open) => {
                        let open = open.as_ref();
                        let open = open.map(|(permanent, primary)| Open { permanent: *permanent, primary });
                        Target::Datastore { id, open }
                    }
                    Origin::Pool(open, _) => Target::Pool { id, open: *open },
                })
            }
            About::Feed(feed) => Some(feed.target()),
            About::Own { .. } => None,
        }
    }

    pub(super) fn is_about(&self, subject: &Subject) -> bool {
        match (&self.about, subject) {
            (About::Object { key, .. }, Subject::Object(written)) => key == written,
            (About::Collection(collection), Subject::Datastore(written)) => {
                matches!(collection.origin, Origin::Datastore(_)) && collection.id == *written
            }
            (About::Collection(collection), Subject::Pool(written)) => {
                matches!(collection.origin, Origin::Pool(..)) && collection.id == *written
            }
            (About::Object { .. } | About::Collection(_) | About::Feed(_) | About::Own { .. }, _) => false,
        }
    }

    /// Gives back the cells of a slot that is forgotten.
    pub(super) fn abandon(mut self, cells: &mut Cells) {
        match &mut self.about {
            About::Object { shown, .. } => {
                if let Some(cell) = shown {
                    cells.retire(*cell);
                }
            }
            About::Collection(collection) => {
                for cell in collection.rows.cells() {
                    cells.retire(cell);
                }
                if let Some(staging) = collection.staging.take() {
                    staging.abandon(cells);
                }
                for (_, page) in collection.pages.drain(..) {
                    page.abandon(cells);
                }
            }
            About::Feed(_) | About::Own { .. } => {}
        }
        for cell in self.aside.into_iter().flat_map(|aside| aside.owned) {
            cells.retire(cell);
        }
    }

    /// The replica gives a value back, or hands it over.
    pub(super) fn disown(&mut self, cell: CellId) {
        let Some(aside) = &mut self.aside else { return };
        if let Some(index) = aside.owned.iter().rposition(|owned| *owned == cell) {
            aside.owned.swap_remove(index);
        }
    }
}
