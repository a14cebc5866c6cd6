//! The whole client, sans-IO: one session, many replicas, their values, the writes under way, all timers.
//!
//! [`Client`] is driven alike by the WASM surface and by native hosts. It decides what to ask, send and show; it
//! leaves order to [`crate::replica`], liveness to [`crate::session`], bytes to [`crate::protocol`].
//! Start at [`Client::handle_frame`] for the way in and at [`Client::poll_changes`] for the way out.

mod cells;
mod change;
mod collection;
mod feeds;
mod gates;
mod index;
mod intern;
mod own;
mod paged;
mod pools;
mod queries;
mod receive;
mod seed;
mod slab;
mod slot;
mod topics;
mod values;
mod writes;

use alloc::{collections::VecDeque, string::String, vec::Vec};
use core::time::Duration;

use thiserror::Error;

pub use self::{
    cells::CellId,
    change::{Change, HostTicket, Output},
    gates::GateId,
    queries::QueryError,
    seed::Seed,
    slot::{OwnOptions, SlotId},
    values::Want,
    writes::Outcome,
};
use self::{
    cells::Cells,
    collection::Rows,
    feeds::Mailbox,
    gates::Gates,
    intern::Interner,
    queries::Queries,
    slab::Slab,
    slot::{About, Origin, Slot},
    topics::Topics,
    values::Notes,
    writes::Writes,
};
use crate::{
    protocol::{
        ClientMessage, EncodedValue, Epoch, Operation, Position, RequestId, Sequence, Subscription,
        Timestamp, Writer, limits,
    },
    replica::{Compact, Mark, Replica, Stats, Status, Ticket, Token, Verdict, Version},
    session::{Action, Generation, Phase, Session},
};

/// Frames are cut at this size, so that no message waits behind a megabyte.
const FRAME_TARGET: usize = 64 * 1024;

/// How soon what a slow line may be carrying is looked at again.
const LOOK: Duration = Duration::from_secs(5);

/// Largest write: it fits a frame with whatever else is in that.
const MAX_WRITE_BYTES: usize = limits::MAX_FRAME_BYTES - FRAME_TARGET;

/// What became of an offered value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// The host may forget it.
    Dropped,
    /// The host keeps it until a change names it.
    Kept,
    /// The host judges it now, with [`Client::judged`].
    Judge(HostTicket),
}

/// A write that cannot be sent as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WriteError {
    /// The key is empty or too long.
    #[error("a key has 1 to {max} bytes, this one has {0}", max = limits::MAX_KEY_BYTES)]
    Key(usize),
    /// The value is too large.
    #[error("a value has at most {max} bytes, this one has {0}: split it into several records", max = limits::MAX_VALUE_BYTES)]
    Value(usize),
    /// The write as a whole is too large.
    #[error("a write has at most {MAX_WRITE_BYTES} bytes, this one has {0}: split it into several writes")]
    Large(usize),
    /// Too much waits for the authority already.
    #[error("{0} writes wait for the server already: wait until some of them have ended")]
    Waiting(usize),
}

/// A verdict that the host owes, and what it is about.
#[derive(Debug, Clone, Copy)]
enum Pending {
    /// A value that a replica asks about.
    Value { slot: SlotId, ticket: Ticket, token: Token },
    /// A row of a snapshot's page.
    Row { slot: SlotId, cell: CellId },
}

/// The client machine.
///
/// Methods come in four kinds: getters, `handle_*` inputs, commands, and `poll_*` outputs. The contract of a host:
/// after every input or command, drain [`Client::poll_output`] and [`Client::poll_changes`] (answering every
/// [`Change::Judge`] with [`Client::judged`], until no change is left), then read [`Client::poll_timeout`]. Time is
/// the first argument and never goes back.
#[derive(Debug)]
pub struct Client {
    session: Session,
    /// The server's number of the present session.
    session_number: u64,
    phase: Phase,
    slots: Slab<Slot>,
    /// The server's numbers on the present link.
    topics: Topics,
    epochs: Interner,
    versions: Interner,
    cells: Cells,
    notes: Notes,
    gates: Gates,
    writes: Writes,
    settlements: Vec<(RequestId, String)>,
    queries: Queries,
    /// The slots that follow what is relayed, in the order of their keys.
    relays: Vec<SlotId>,
    mailbox: Mailbox,
    last_page: u32,
    /// The subscriptions that wait for their replicas' seeds, while that is so.
    held: Option<Vec<SlotId>>,
    pending: Slab<Pending>,
    /// No replica has a deadline before this.
    timer: Option<Timestamp>,
    /// When to look again at the writes and questions whose deadlines are over, but which a slow line may be carrying.
    look: Timestamp,
    changes: Vec<Change>,
    /// The number of the present change list.
    list: u32,
    outputs: VecDeque<Output>,
    /// Messages for the present link that are not in a frame yet.
    outbox: Writer,
    random: fastrand::Rng,
}

impl Client {
    /// A client whose session has not started. `seed` is 128 random bits: they name the client, so no two clients may
    /// share them, and they spread its reconnects.
    #[must_use]
    pub fn new(seed: [u8; 16], token: Option<String>) -> Self {
        let number = u128::from_le_bytes(seed);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are folded in")]
        let folded = (number >> 64) as u64 ^ number as u64;
        Self {
            session: Session::new(Epoch::from_bytes(seed).text(), token, folded),
            session_number: 0,
            phase: Phase::Idle,
            slots: Slab::new(),
            topics: Topics::default(),
            epochs: Interner::new(folded),
            versions: Interner::new(folded),
            cells: Cells::default(),
            notes: Notes::default(),
            gates: Gates::default(),
            writes: Writes::default(),
            settlements: Vec::new(),
            queries: Queries::default(),
            relays: Vec::new(),
            mailbox: Mailbox::default(),
            last_page: 0,
            held: None,
            pending: Slab::new(),
            timer: None,
            look: Timestamp::default(),
            changes: Vec::new(),
            list: 1,
            outputs: VecDeque::new(),
            outbox: Writer::new(),
            random: fastrand::Rng::with_seed(folded.rotate_left(32)),
        }
    }

    // ---- getters

    /// Where the session stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.session.phase()
    }

    /// Why the last link ended, for people.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.session.reason()
    }

    /// The close code of the last link; 0 if none.
    #[must_use]
    pub const fn close_code(&self) -> u16 {
        self.session.code()
    }

    /// The encoded value in a cell; `None` for a deletion or a cell that is forgotten.
    #[must_use]
    pub fn value(&self, cell: CellId) -> Option<EncodedValue<'_>> {
        self.cells.get(cell)?.value()
    }

    /// The record key of a cell.
    #[must_use]
    pub fn key(&self, cell: CellId) -> Option<&str> {
        self.cells.key(cell)
    }

    /// The sequence of a cell.
    #[must_use]
    pub fn cell_sequence(&self, cell: CellId) -> u64 {
        self.cells.get(cell).map_or(0, |cell| cell.sequence)
    }

    /// The ticket under which a cell's value was judged; 0: it was not.
    #[must_use]
    pub fn ticket(&self, cell: CellId) -> HostTicket {
        self.cells.get(cell).map_or(0, |cell| cell.ticket)
    }

    /// The value that an object shows.
    #[must_use]
    pub fn object(&self, slot: SlotId) -> Option<CellId> {
        match &self.slots.get(slot.number())?.about {
            About::Object { shown, .. } => *shown,
            About::Collection(_) | About::Feed(_) | About::Own { .. } => None,
        }
    }

    /// The rows that a collection shows, in no order.
    pub fn rows(&self, slot: SlotId) -> impl Iterator<Item = CellId> {
        let mut cells = self.collection_rows(slot).map(Rows::cells);
        core::iter::from_fn(move || cells.as_mut()?.next())
    }

    /// One row of a collection.
    #[must_use]
    pub fn row(&self, slot: SlotId, key: &str) -> Option<CellId> {
        self.collection_rows(slot)?.get(&self.cells, key)
    }

    /// How many rows a collection shows.
    #[must_use]
    pub fn row_count(&self, slot: SlotId) -> usize {
        self.collection_rows(slot).map_or(0, Rows::len)
    }

    /// The sequence of the applied value.
    #[must_use]
    pub fn sequence(&self, slot: SlotId) -> Option<u64> {
        self.replica(slot)?.position().map(|mark| mark.sequence)
    }

    /// The sequence up to which order is settled.
    #[must_use]
    pub fn cursor(&self, slot: SlotId) -> Option<u64> {
        self.replica(slot)?.cursor()
    }

    /// The epoch of the applied value, as text.
    #[must_use]
    pub fn epoch(&self, slot: SlotId) -> Option<&str> {
        self.epochs.text(self.replica(slot)?.epoch()?.0)
    }

    /// The schema version of the applied value.
    #[must_use]
    pub fn schema_version(&self, slot: SlotId) -> Option<&str> {
        self.versions.text(self.replica(slot)?.version())
    }

    /// The status of a replica; a forgotten one is stale.
    #[must_use]
    pub fn status(&self, slot: SlotId) -> Status {
        self.replica(slot).map_or(Status::Stale, Compact::status)
    }

    /// The counters of a replica.
    #[must_use]
    pub fn stats(&self, slot: SlotId) -> Stats {
        self.replica(slot).map(Compact::stats).unwrap_or_default()
    }

    /// Whether the first value (of a collection: the first snapshot) is here; of what has no history, whether the authority
    /// feeds it on the present link.
    #[must_use]
    pub fn is_ready(&self, slot: SlotId) -> bool {
        match self.slots.get(slot.number()).map(|slot| &slot.about) {
            Some(About::Feed(feed)) => feed.is_following,
            _ => self.sequence(slot).is_some(),
        }
    }

    /// Whether no refetch is in flight.
    #[must_use]
    pub fn is_idle(&self, slot: SlotId) -> bool {
        self.replica(slot).is_none_or(Compact::is_idle)
    }

    /// Why a subscription was denied.
    #[must_use]
    pub fn denial(&self, slot: SlotId) -> Option<&str> {
        self.slots.get(slot.number())?.denial()
    }

    /// The message of a refused write, or the trace of a notification that was put; read once.
    pub fn settlement(&mut self, request: RequestId) -> Option<String> {
        let index = self.settlements.iter().position(|(number, _)| *number == request)?;
        Some(self.settlements.swap_remove(index).1)
    }

    // ---- commands

    /// From now on every link is opened with this token.
    pub fn use_token(&mut self, token: &str) {
        self.session.use_token(token);
    }

    /// From now on the host is asked for a token before every link, and when the one in use is about to expire.
    pub fn ask_for_tokens(&mut self) {
        self.session.ask_for_tokens();
    }

    /// The host has so many addresses of one service, and takes the next one for each link.
    pub fn take_turns(&mut self, addresses: u32) {
        self.session.take_turns(addresses);
    }

    /// Starts the session.
    pub fn start(&mut self, now: Timestamp) {
        self.session.start(now);
        self.settle_session(now);
    }

    /// The network or the page came back: reconnects at once, or probes the link.
    pub fn nudge(&mut self, now: Timestamp) {
        self.session.nudge(now, self.writes.bytes());
        self.settle_session(now);
    }

    /// Ends the session. What is shown stays readable; writes under way end as refused or unknown.
    pub fn close(&mut self, now: Timestamp) {
        self.session.close();
        self.settle_session(now);
        for request in self.writes.requests(&|_| true) {
            self.give_up(request, "the client was closed");
        }
        self.give_up_queries(None);
    }

    /// Subscribes an object. With `gated`, the host judges each value, or a gate does ([`Self::use_gate`]).
    pub fn subscribe_object(&mut self, key: &str, gated: bool) -> Result<SlotId, WriteError> {
        check_key(key)?;
        let slot = Slot::object(key.into(), gated, self.random.u64(..));
        Ok(self.subscribe(slot))
    }

    /// Subscribes a datastore, opening it where it does not exist: `permanent` or not; `None`: only if it exists.
    pub fn subscribe_datastore(
        &mut self,
        id: &str,
        permanent: Option<bool>,
        primary: &str,
        gated: bool,
    ) -> Result<SlotId, WriteError> {
        check_key(id)?;
        check_key(primary)?;
        let open = permanent.map(|permanent| (permanent, primary.into()));
        let slot = Slot::collection(id.into(), Origin::Datastore(open), gated, self.random.u64(..));
        Ok(self.subscribe(slot))
    }

    /// Forgets a replica and all that it shows.
    pub fn release(&mut self, slot: SlotId) {
        let Some(removed) = self.slots.remove(slot.number()) else { return };
        if let Some(topic) = removed.topic {
            self.topics.leave(topic, slot);
        }
        self.pending.retain(|pending| pending.slot() != slot);
        if removed.is_remote() && self.session.live_link().is_some() {
            self.send(&ClientMessage::Unsubscribe(slot.number()));
        }
        self.relays.retain(|relay| *relay != slot);
        removed.abandon(&mut self.cells);
    }

    /// Asks the authority again, whatever the replica believes.
    pub fn refresh(&mut self, now: Timestamp, slot: SlotId) {
        self.with_replica(now, slot, |replica| replica.refresh(now));
    }

    /// Sets an object's value.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn put(
        &mut self,
        now: Timestamp,
        key: &str,
        value: EncodedValue<'_>,
    ) -> Result<RequestId, WriteError> {
        self.write(now, Operation::Put { key, value })
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn delete(&mut self, now: Timestamp, key: &str) -> Result<RequestId, WriteError> {
        self.write(now, Operation::Delete { key })
    }

    /// Inserts or replaces a record.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn set(
        &mut self,
        now: Timestamp,
        datastore: &str,
        value: EncodedValue<'_>,
    ) -> Result<RequestId, WriteError> {
        self.write(now, Operation::Set { datastore, value })
    }

    /// Deletes a record.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn remove(&mut self, now: Timestamp, datastore: &str, key: &str) -> Result<RequestId, WriteError> {
        self.write(now, Operation::Remove { datastore, key })
    }

    /// The number of an epoch of an own transport; 0 means none.
    pub fn intern_epoch(&mut self, text: &str) -> u32 {
        self.epochs.number(text)
    }

    /// The number of a schema version of an own transport; 0 means none.
    pub fn intern_version(&mut self, text: &str) -> u32 {
        self.versions.number(text)
    }

    /// The host's verdict on a [`Change::Judge`], or on an offer.
    pub fn judged(&mut self, now: Timestamp, ticket: HostTicket, verdict: Verdict) {
        let Some(pending) = self.pending.remove(ticket) else { return };
        self.receive_verdict(now, ticket, pending, verdict);
    }

    // ---- inputs: see also `receive.rs` for `handle_frame`

    /// The link is open.
    pub fn handle_opened(&mut self, now: Timestamp, link: Generation) {
        self.session.handle_opened(now, link);
        self.settle_session(now);
    }

    /// A token has been fetched for a link, or could not be and why.
    pub fn handle_token(&mut self, now: Timestamp, link: Generation, fetched: Result<&str, &str>) {
        self.session.handle_token(now, link, fetched);
        self.settle_session(now);
    }

    /// The link is closed, by whomever.
    pub fn handle_closed(&mut self, now: Timestamp, link: Generation, code: u16, reason: &str) {
        self.session.handle_closed(now, link, code, reason);
        self.settle_session(now);
    }

    /// A deadline has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.session.handle_timeout(now);
        self.settle_session(now);
        if self.timer.is_some_and(|due| due <= now) {
            self.timer = None;
            for slot in self.numbers(&|_| true) {
                if self.replica(slot).and_then(Compact::poll_timeout).is_some_and(|due| due <= now) {
                    self.be_patient(now, slot);
                    self.with_replica(now, slot, |replica| replica.handle_timeout(now));
                } else {
                    self.set_timer(slot);
                }
            }
        }
        self.give_up_writes(now);
        self.give_up_queries(Some(now));
        if self.next_deadline().is_some_and(|due| due <= now) {
            self.look = now + LOOK;
        }
    }

    // ---- outputs

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.flush();
        self.outputs.pop_front()
    }

    /// Moves the changes since the last call into `changes`, which is emptied first.
    pub fn poll_changes(&mut self, changes: &mut Vec<Change>) {
        changes.clear();
        core::mem::swap(changes, &mut self.changes);
        self.notes.announce(self.list);
        // 0 is a slot's that was in no list.
        self.list = self.list.wrapping_add(1).max(1);
        self.gates.announce();
        changes.extend(self.cells.announce().iter().map(|cell| Change::Freed { cell: *cell }));
    }

    /// When to call [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let writes = self.next_deadline().map(|due| due.max(self.look));
        earlier(earlier(self.session.poll_timeout(), self.timer), writes)
    }

    // ---- inside

    /// Of the writes and questions under way.
    fn next_deadline(&self) -> Option<Timestamp> {
        earlier(self.writes.next_deadline(), self.queries.next_deadline())
    }

    fn collection_rows(&self, slot: SlotId) -> Option<&Rows> {
        match &self.slots.get(slot.number())?.about {
            About::Collection(collection) => Some(&collection.rows),
            About::Object { .. } | About::Feed(_) | About::Own { .. } => None,
        }
    }

    fn is_own(&self, slot: SlotId) -> bool {
        self.slots.get(slot.number()).is_some_and(|slot| !slot.is_remote())
    }

    fn replica(&self, slot: SlotId) -> Option<&Compact> {
        self.slots.get(slot.number()).filter(|slot| slot.is_replica()).map(|slot| &slot.replica)
    }

    fn replica_mut(&mut self, slot: SlotId) -> Option<&mut Compact> {
        self.slots.get_mut(slot.number()).filter(|slot| slot.is_replica()).map(|slot| &mut slot.replica)
    }

    fn with_replica(&mut self, now: Timestamp, slot: SlotId, input: impl FnOnce(&mut Replica)) {
        if let Some(replica) = self.replica_mut(slot) {
            input(replica.wake());
            self.settle_replica(now, slot);
        }
    }

    fn version(&self, id: u32) -> Version {
        Version { id, major: self.versions.text(id).and_then(major) }
    }

    fn insert(&mut self, slot: Slot) -> SlotId {
        let number = self.slots.insert(slot).expect("a million replicas do not fit in the memory of a page");
        SlotId::from_number(number)
    }

    /// The slots that `pick` picks.
    fn numbers(&self, pick: &dyn Fn(&Slot) -> bool) -> Vec<SlotId> {
        let mut picked = Vec::new();
        for (number, slot) in self.slots.iter() {
            if pick(slot) {
                picked.push(SlotId::from_number(number));
            }
        }
        picked
    }

    /// What a slow line is still bringing is not given up (R8.9).
    fn be_patient(&mut self, now: Timestamp, slot: SlotId) {
        let Some(entry) = self.slots.get_mut(slot.number()).filter(|entry| entry.is_remote()) else { return };
        let replica = entry.replica.wake();
        if replica.overdue_since(now).is_some_and(|since| self.session.may_bring(since)) {
            replica.extend(now);
        }
    }

    fn set_timer(&mut self, slot: SlotId) {
        // Who could be asked is gone for good: what is tried again is only what has another authority.
        if self.phase == Phase::Closed && self.slots.get(slot.number()).is_some_and(Slot::is_remote) {
            return;
        }
        let due = self.replica(slot).and_then(Compact::poll_timeout);
        self.timer = earlier(self.timer, due);
    }

    fn owe(&mut self, pending: Pending) -> HostTicket {
        self.pending.insert(pending).expect("a million verdicts are never owed at a time")
    }

    fn refetch(&mut self, now: Timestamp, slot: SlotId, attempt: u32, position: Option<Mark>) {
        let is_live = self.session.live_link().is_some();
        let position = position.and_then(|mark| self.wire_position(mark));
        let Some(entry) = self.slots.get_mut(slot.number()) else { return };
        if !entry.is_remote() {
            self.changes.push(Change::Refetch { slot, attempt });
        } else if is_live {
            self.send(&ClientMessage::Refetch { subscription: slot.number(), attempt, position });
        } else {
            // Without a link the attempt cannot be made; the next session resubscribes with the position anyway.
            entry.replica.wake().handle_failure(now, attempt);
        }
    }

    fn wire_position(&self, mark: Mark) -> Option<Position> {
        let epoch = self.epochs.text(mark.epoch.0)?.parse().ok()?;
        Some(Position { epoch, sequence: Sequence::new(mark.sequence)? })
    }

    // ---- session

    /// Carries out what the session asked for, and reports a changed phase.
    fn settle_session(&mut self, now: Timestamp) {
        while let Some(action) = self.session.poll_action() {
            match action {
                Action::Fetch(link, reason) => self.outputs.push_back(Output::Fetch(link, reason)),
                Action::Dial(link) => self.outputs.push_back(Output::Dial(link)),
                Action::Send(link, frame) => self.outputs.push_back(Output::Transmit(link, frame)),
                Action::Hang { link, code } => self.outputs.push_back(Output::Hang { link, code }),
            }
        }
        let phase = self.session.phase();
        if phase == self.phase {
            return;
        }
        let was_live = self.phase == Phase::Live;
        self.phase = phase;
        self.changes.push(Change::Link);
        if was_live {
            self.lose_link(now);
        }
        if phase == Phase::Closed {
            self.timer = None;
            for slot in self.numbers(&|slot| !slot.is_remote()) {
                self.set_timer(slot);
            }
        }
    }

    /// The link is gone: its topics mean nothing any more, its unanswered refetches have failed.
    fn lose_link(&mut self, now: Timestamp) {
        self.topics.clear();
        self.outbox = Writer::new();
        for slot in self.numbers(&Slot::is_remote) {
            let Some(entry) = self.slots.get_mut(slot.number()) else { continue };
            entry.topic = None;
            if let Some(aside) = entry.aside_mut() {
                aside.tail = None;
            }
            match &mut entry.about {
                About::Collection(collection) => collection.asked.clear(),
                About::Feed(feed) => feed.is_following = false,
                About::Object { .. } | About::Own { .. } => {}
            }
            if let Some(attempt) = entry.replica.attempt() {
                self.with_replica(now, slot, |replica| replica.handle_failure(now, attempt));
            }
        }
        // What only this link could still have been carrying.
        self.look = now;
        self.give_up_writes(now);
        self.give_up_queries(Some(now));
    }

    /// The session is live: resubscribes everything with its position and sends what is unanswered, in one go.
    fn resume(&mut self, now: Timestamp) {
        let slots = self.numbers(&Slot::is_remote);
        if !slots.is_empty() {
            self.send_subscriptions(&slots);
        }
        self.writes.rewind(now);
        self.send_writes();
        self.send_presence(now);
        self.ask_again();
    }

    fn send_subscriptions(&mut self, slots: &[SlotId]) {
        let mut outbox = core::mem::take(&mut self.outbox);
        for chunk in slots.chunks(1_000) {
            let mut subscriptions = Vec::with_capacity(chunk.len());
            for id in chunk {
                let Some(slot) = self.slots.get(id.number()) else { continue };
                let Some(target) = slot.target() else { continue };
                let position = slot.replica.position().and_then(|position| self.wire_position(position));
                subscriptions.push(Subscription { id: id.number(), target, position });
            }
            ClientMessage::Subscribe(subscriptions).encode(&mut outbox);
        }
        self.outbox = outbox;
        self.cut_frame();
    }

    #[expect(clippy::inline_always, reason = "so that the kind of the message is known where it is encoded")]
    #[inline(always)]
    fn send(&mut self, message: &ClientMessage<'_>) {
        message.encode(&mut self.outbox);
        self.cut_frame();
    }

    fn cut_frame(&mut self) {
        if self.outbox.len() >= FRAME_TARGET {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.outbox.is_empty() {
            return;
        }
        let frame = core::mem::take(&mut self.outbox).into_bytes();
        if let Some(link) = self.session.live_link() {
            self.outputs.push_back(Output::Transmit(link, frame));
        }
    }
}

impl Pending {
    const fn slot(self) -> SlotId {
        match self {
            Self::Value { slot, .. } | Self::Row { slot, .. } => slot,
        }
    }
}

/// The earlier of two deadlines, as far as they are there.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, None) => one,
        (None, other) => other,
    }
}

/// The major number of a schema version `"major.minor"`.
fn major(version: &str) -> Option<u32> {
    let dot = version.bytes().position(|byte| byte == b'.')?;
    decimal(version.get(dot + 1..)?)?;
    decimal(version.get(..dot)?)
}

#[inline(never)]
fn decimal(text: &str) -> Option<u32> {
    text.parse().ok()
}

fn check_key(key: &str) -> Result<(), WriteError> {
    if (1..=limits::MAX_KEY_BYTES).contains(&key.len()) { Ok(()) } else { Err(WriteError::Key(key.len())) }
}

fn check_value(value: EncodedValue<'_>) -> Result<(), WriteError> {
    let length = value.as_bytes().len();
    if length <= limits::MAX_VALUE_BYTES { Ok(()) } else { Err(WriteError::Value(length)) }
}

#[cfg(test)]
mod tests;
