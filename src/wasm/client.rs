//! The client as JavaScript sees it: numbers in, numbers out, values as bytes in WASM memory.

use alloc::rc::Rc;
use alloc::{borrow::ToOwned, string::String, vec::Vec};

use js_sys::Function;
use wasm_bindgen::prelude::wasm_bindgen;

use super::host::Host;
use crate::{
    client::{CellId, Change, Client, Offered, OwnOptions, SlotId, WriteError},
    protocol::{EncodedValue, Operation, RequestId, Sequence},
    replica::{EpochId, Header, OnGap, Source, Status, Token, Verdict, Version},
    session::{Generation, Phase},
};

/// What the facade reads as "deleted".
const NO_CELL: u32 = u32::MAX;

/// One client: a session, its replicas, and replicas over own transports. The facade holds one per `connect`, and one
/// for all replicas over own transports.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Core {
    host: Rc<Host>,
    changes: Vec<Change>,
    words: Vec<[u32; 4]>,
    /// What [`Self::link`] and [`Self::meta`] have found.
    facts: [f64; 14],
}

fn slot(number: u32) -> SlotId {
    SlotId::from_number(number)
}

fn cell(number: u32) -> CellId {
    CellId::from_number(number)
}

/// Sequences cross as floats. What is none becomes a number that the reconciler counts as malformed.
fn sequence(number: f64) -> u64 {
    Sequence::from_float(number).map_or(u64::MAX, Sequence::get)
}

#[expect(clippy::cast_precision_loss, reason = "sequences are at most 2^53 - 1")]
fn float(sequence: Option<u64>) -> f64 {
    sequence.map_or(-1.0, |sequence| sequence as f64)
}

fn count(events: u64) -> f64 {
    float(Some(events))
}

fn header(epoch: u32, number: f64, prev: f64, version: u32) -> Header {
    let prev = if prev == -1.0 { None } else { Some(sequence(prev)) };
    Header {
        epoch: EpochId(epoch),
        sequence: sequence(number),
        prev,
        version: Version { id: version, major: None },
    }
}

#[wasm_bindgen]
impl Core {
    /// A client with 16 random bytes. `wake` is called after every input that no call of the facade caused.
    #[wasm_bindgen(constructor)]
    pub fn new(seed: &[u8], wake: Function, token: Option<String>) -> Self {
        let seed = core::array::from_fn(|index| seed.get(index).copied().unwrap_or_default());
        Self {
            host: Host::new(Client::new(seed, token), wake),
            changes: Vec::new(),
            words: Vec::new(),
            facts: [0.0; 14],
        }
    }

    // ---- session

    /// Starts the session; `dial` is called for each link. With `fetch`, that is called for a token before each, and
    /// when one is about to expire: with a number to call `token` with, and why (0 to connect, 1 the one in use is about
    /// to expire, 2 the last one was refused).
    pub fn open(&self, dial: Function, fetch: Option<Function>) {
        if fetch.is_some() {
            self.host.edit(Client::ask_for_tokens);
        }
        self.host.set_dial(dial, fetch);
        self.host.run(Client::start);
    }

    /// A token has been fetched or, if not `ok`, could not be: `text` says why.
    pub fn token(&self, link: u32, ok: bool, text: &str) {
        let fetched = if ok { Ok(text) } else { Err(text) };
        self.host.run(|client, now| client.handle_token(now, Generation::from_number(link), fetched));
    }

    /// Ends the session; what is shown stays readable.
    pub fn close(&self) {
        self.host.run(Client::close);
    }

    /// The network or the page came back.
    pub fn nudge(&self) {
        self.host.run(Client::nudge);
    }

    /// Where three floats lie in WASM memory, until the next call: the state (0 idle, 1 connecting, 2 live,
    /// 3 reconnecting, 4 closed), milliseconds until the next attempt or -1, and the close code of the last link or 0.
    pub fn link(&mut self) -> *const f64 {
        let phase = self.host.read(Client::phase);
        let wait = match phase {
            Phase::Reconnecting { at } => at.since(self.host.now()).as_secs_f64() * 1_000.0,
            Phase::Idle | Phase::Connecting | Phase::Live | Phase::Closed => -1.0,
        };
        self.facts[0] = match phase {
            Phase::Idle => 0.0,
            Phase::Connecting => 1.0,
            Phase::Live => 2.0,
            Phase::Reconnecting { .. } => 3.0,
            Phase::Closed => 4.0,
        };
        self.facts[1] = wait;
        self.facts[2] = f64::from(self.host.read(Client::close_code));
        self.facts.as_ptr()
    }

    /// A text about slot, cell or request `number`: 0 why the last link ended, 1 why a subscription was denied, 2 the
    /// message of a refused write (once), 3 the epoch and 4 the schema version of the shown value, 5 a cell's record
    /// key. Those who need more than a number are few, so they share one way out.
    pub fn text(&self, which: u32, number: u32) -> Option<String> {
        if which == 2 {
            return self.host.edit(|client| client.settlement(RequestId::from(number)));
        }
        self.host.read(|client| {
            let text = match which {
                0 => Some(client.reason()),
                1 => client.denial(slot(number)),
                3 => client.epoch(slot(number)),
                4 => client.schema_version(slot(number)),
                _ => client.key(cell(number)),
            };
            text.map(str::to_owned)
        })
    }

    // ---- replicas of the session

    /// Subscribes and returns the slot; 0: a key is over its limit. `kind` is 0 for an object, 1 for a datastore that
    /// exists, 2 for one that is made temporary and 3 for one that is made permanent where it does not.
    pub fn subscribe(&self, kind: u32, key: &str, primary: &str, gated: bool) -> u32 {
        let slot = self.host.run(|client, _| match kind {
            0 => client.subscribe_object(key, gated),
            1 => client.subscribe_datastore(key, None, primary, gated),
            _ => client.subscribe_datastore(key, Some(kind == 3), primary, gated),
        });
        slot.map_or(0, SlotId::number)
    }

    /// Forgets a replica.
    pub fn release(&self, number: u32) {
        self.host.run(|client, _| client.release(slot(number)));
    }

    /// Asks the authority again.
    pub fn refresh(&self, number: u32) {
        self.host.run(|client, now| client.refresh(now, slot(number)));
    }

    // ---- writes

    /// Asks for a change and returns its request, or -1: a key is over its limit, -2: the value is or is
    /// none, -3: too many writes wait already.
    /// `kind` is 0 to set and 1 to delete the object `key`; 2 to set `value` and 3 to delete `key` in a datastore.
    pub fn write(&self, kind: u32, datastore: &str, key: &str, value: &[u8]) -> f64 {
        let value = EncodedValue::check(value).ok();
        let operation = match (kind, value) {
            (1, _) => Operation::Delete { key },
            (3, _) => Operation::Remove { datastore, key },
            (0, Some(value)) => Operation::Put { key, value },
            (_, Some(value)) => Operation::Set { datastore, value },
            (_, None) => return -2.0,
        };
        match self.host.run(|client, now| client.write(now, operation)) {
            Ok(request) => float(Some(request)),
            Err(WriteError::Key(_)) => -1.0,
            Err(WriteError::Value(_)) => -2.0,
            Err(WriteError::Waiting(_)) => -3.0,
        }
    }

    // ---- changes

    /// Makes the changes since the last call readable at `changesPtr` and returns how many there are.
    pub fn drain(&mut self) -> u32 {
        self.host.edit(|client| client.poll_changes(&mut self.changes));
        self.words.clear();
        self.words.extend(self.changes.iter().map(|change| words(*change)));
        u32::try_from(self.changes.len()).unwrap_or(u32::MAX)
    }

    /// Where the changes lie in WASM memory: four 32-bit words each.
    #[wasm_bindgen(js_name = changesPtr)]
    pub fn changes_ptr(&self) -> *const [u32; 4] {
        self.words.as_ptr()
    }

    /// Where a value's bytes lie in WASM memory, until the next call that may allocate.
    #[wasm_bindgen(js_name = cellPtr)]
    pub fn cell_ptr(&self, number: u32) -> *const u8 {
        self.host.read(|client| {
            client.value(cell(number)).map_or(core::ptr::null(), |value| value.as_bytes().as_ptr())
        })
    }

    /// How many bytes a value has; 0 for a deletion or a forgotten cell.
    #[wasm_bindgen(js_name = cellLen)]
    pub fn cell_len(&self, number: u32) -> usize {
        self.host.read(|client| client.value(cell(number)).map_or(0, |value| value.as_bytes().len()))
    }

    /// The sequence of a cell.
    #[wasm_bindgen(js_name = cellSequence)]
    pub fn cell_sequence(&self, number: u32) -> f64 {
        float(Some(self.host.read(|client| client.cell_sequence(cell(number)))))
    }

    /// Answers a JUDGE change or an offer.
    pub fn judged(&self, ticket: u32, ok: bool) {
        let verdict = if ok { Verdict::Accepted } else { Verdict::Refused };
        self.host.run(|client, now| client.judged(now, ticket, verdict));
    }

    // ---- meta

    /// Where fourteen floats lie in WASM memory, until the next call: the sequence of the shown value and the one up to
    /// which order is settled (each -1 before the first value), the status (0 ok, 1 stale, 2 skew, 3 refetching),
    /// whether the first value is here, whether no refetch is in flight, and the counters: applied, ignored as stale,
    /// gaps, parse errors, refetches, schema skews, quarantined, buffered, retries.
    pub fn meta(&mut self, number: u32) -> *const f64 {
        let slot = slot(number);
        self.facts = self.host.read(|client| {
            let stats = client.stats(slot);
            let status = match client.status(slot) {
                Status::Ok => 0.0,
                Status::Stale => 1.0,
                Status::Skew => 2.0,
                Status::Refetching => 3.0,
            };
            [
                float(client.sequence(slot)),
                float(client.cursor(slot)),
                status,
                f64::from(client.is_ready(slot)),
                f64::from(client.is_idle(slot)),
                count(stats.applied),
                count(stats.ignored_stale),
                count(stats.gaps),
                count(stats.parse_errors),
                count(stats.refetches),
                count(stats.schema_skews),
                count(stats.quarantined),
                count(stats.buffered),
                count(stats.retries),
            ]
        });
        self.facts.as_ptr()
    }

    // ---- replicas over own transports

    /// Adds a replica whose values stay in JavaScript and returns its slot. `schema_major` is -1 where none is
    /// declared; `on_gap` is 0 for refetch, 1 for commit.
    pub fn replica(&self, schema_major: i32, on_gap: u32, has_refetch: bool, retry: bool) -> u32 {
        let on_gap = if on_gap == 1 { OnGap::Commit } else { OnGap::Refetch };
        let options =
            OwnOptions { declared_major: u32::try_from(schema_major).ok(), on_gap, has_refetch, retry };
        self.host.edit(|client| client.add_own(options)).number()
    }

    /// The number of a schema version or, if not `is_version`, of an epoch; 0 is none.
    pub fn intern(&self, is_version: bool, text: &str) -> u32 {
        self.host
            .edit(|client| if is_version { client.intern_version(text) } else { client.intern_epoch(text) })
    }

    /// Offers a value by its header; `attempt` is that of the refetch that it answers, -1 for a receipt, -2 for a seed.
    /// Returns a ticket to judge it under, 0 where it is dropped, or 4294967295 where it is kept until a change names
    /// it.
    #[expect(
        clippy::too_many_arguments,
        reason = "only numbers cross, so that no object is taken apart per envelope"
    )]
    pub fn offer(
        &self,
        number: u32,
        attempt: f64,
        token: u32,
        epoch: u32,
        sequence: f64,
        prev: f64,
        version: u32,
    ) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
        let source = match attempt {
            -2.0 => Source::Hydration,
            -1.0 => Source::Receipt,
            _ => Source::Refetch { attempt: attempt as u32 },
        };
        let header = header(epoch, sequence, prev, version);
        offered(self.host.run(|client, now| client.offer(now, slot(number), source, header, Token(token))))
    }

    /// A refetch failed or, if not `has_failed`, found no value.
    pub fn missed(&self, number: u32, attempt: u32, has_failed: bool) {
        self.host.run(|client, now| {
            if has_failed {
                client.refetch_failed(now, slot(number), attempt);
            } else {
                client.refetch_null(now, slot(number), attempt);
            }
        });
    }
}

fn offered(offered: Offered) -> u32 {
    match offered {
        Offered::Dropped => 0,
        Offered::Kept => u32::MAX,
        Offered::Judge(ticket) => ticket,
    }
}

/// A change as the facade reads it: kind, slot, and two words more.
fn words(change: Change) -> [u32; 4] {
    let request = |request: RequestId| u32::try_from(request).unwrap_or(u32::MAX);
    match change {
        Change::Value { slot, cell, ticket } => {
            [1, slot.number(), cell.map_or(NO_CELL, CellId::number), ticket]
        }
        Change::Row { slot, cell, ticket } => [2, slot.number(), cell.number(), ticket],
        Change::Gone { slot, cell } => [3, slot.number(), cell.number(), 0],
        Change::Judge { slot, cell, ticket } => [4, slot.number(), cell.number(), ticket],
        Change::Meta { slot } => [5, slot.number(), 0, 0],
        Change::Settled { request: settled, code } => [6, request(settled), u32::from(code), 0],
        Change::Link => [7, 0, 0, 0],
        Change::Install { slot, token, ticket } => [8, slot.number(), token.0, ticket],
        Change::Discard { slot, token } => [9, slot.number(), token.0, 0],
        Change::Refetch { slot, attempt } => [10, slot.number(), attempt, 0],
        Change::Abort { slot, attempt } => [11, slot.number(), attempt, 0],
        Change::RolledBack { slot } => [12, slot.number(), 1, 0],
        Change::Quarantined { slot } => [12, slot.number(), 2, 0],
        Change::Denied { slot } => [12, slot.number(), 3, 0],
        Change::Freed { cell } => [13, 0, cell.number(), 0],
        Change::JudgeOwn { slot, token, ticket } => [14, slot.number(), token.0, ticket],
    }
}
