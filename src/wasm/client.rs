//! The client as JavaScript sees it: numbers in, numbers out, values as bytes in WASM memory.

use alloc::rc::Rc;
use alloc::{borrow::ToOwned, string::String, vec::Vec};

use js_sys::Function;
use wasm_bindgen::prelude::wasm_bindgen;

use super::host::Host;
use crate::{
    client::{CellId, Change, Client, Offered, OwnOptions, SlotId, WriteError},
    protocol::{EncodedValue, RequestId, Sequence, Timestamp},
    replica::{EpochId, Header, OnGap, Source, Status, Token, Verdict, Version},
    session::Phase,
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
    words: Vec<u32>,
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
        Self { host: Host::new(Client::new(seed, token), wake), changes: Vec::new(), words: Vec::new() }
    }

    // ---- session

    /// Starts the session; `dial` is called for each link.
    pub fn open(&self, dial: Function) {
        self.host.set_dial(dial);
        self.host.run(Client::start);
    }

    /// Ends the session; what is shown stays readable.
    pub fn close(&self) {
        self.host.run(Client::close);
    }

    /// The network or the page came back.
    pub fn nudge(&self) {
        self.host.run(Client::nudge);
    }

    /// 0 idle, 1 connecting, 2 live, 3 reconnecting, 4 closed.
    #[wasm_bindgen(js_name = linkState)]
    pub fn link_state(&self) -> u32 {
        match self.host.read(Client::phase) {
            Phase::Idle => 0,
            Phase::Connecting => 1,
            Phase::Live => 2,
            Phase::Reconnecting { .. } => 3,
            Phase::Closed => 4,
        }
    }

    /// Why the last link ended, for people.
    #[wasm_bindgen(js_name = linkReason)]
    pub fn link_reason(&self) -> String {
        self.host.read(|client| client.reason().to_owned())
    }

    /// Milliseconds until the next attempt; -1 if none is due.
    #[wasm_bindgen(js_name = linkRetryIn)]
    pub fn link_retry_in(&self) -> f64 {
        match self.host.read(Client::phase) {
            Phase::Reconnecting { at } => at.since(self.host.now()).as_secs_f64() * 1_000.0,
            Phase::Idle | Phase::Connecting | Phase::Live | Phase::Closed => -1.0,
        }
    }

    /// The close code of the last link; 0 if none.
    #[wasm_bindgen(js_name = linkCode)]
    pub fn link_code(&self) -> u32 {
        u32::from(self.host.read(Client::close_code))
    }

    // ---- replicas of the session

    /// Subscribes an object and returns its slot; 0: the key is over its limit.
    #[wasm_bindgen(js_name = subscribeObject)]
    pub fn subscribe_object(&self, key: &str, gated: bool) -> u32 {
        self.host.run(|client, _| client.subscribe_object(key, gated)).map_or(0, SlotId::number)
    }

    /// Subscribes a datastore and returns its slot; 0: id or primary are over their limit. Without `permanent` it is
    /// not opened.
    #[wasm_bindgen(js_name = subscribeDatastore)]
    pub fn subscribe_datastore(&self, id: &str, permanent: Option<bool>, primary: &str, gated: bool) -> u32 {
        let slot = self.host.run(|client, _| client.subscribe_datastore(id, permanent, primary, gated));
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

    /// Why a subscription was denied.
    pub fn denial(&self, number: u32) -> Option<String> {
        self.host.read(|client| client.denial(slot(number)).map(str::to_owned))
    }

    // ---- writes: each returns its request, or -1: a key is over its limit, -2: the value is, -3: it is no value

    /// Sets an object's value.
    pub fn put(&self, key: &str, value: &[u8]) -> f64 {
        self.write(value, |client, now, value| client.put(now, key, value))
    }

    /// Deletes an object.
    pub fn delete(&self, key: &str) -> f64 {
        self.write(EncodedValue::NIL.as_bytes(), |client, now, _| client.delete(now, key))
    }

    /// Inserts or replaces a record.
    pub fn set(&self, datastore: &str, value: &[u8]) -> f64 {
        self.write(value, |client, now, value| client.set(now, datastore, value))
    }

    /// Deletes a record.
    pub fn remove(&self, datastore: &str, key: &str) -> f64 {
        self.write(EncodedValue::NIL.as_bytes(), |client, now, _| client.remove(now, datastore, key))
    }

    fn write(
        &self,
        value: &[u8],
        write: impl FnOnce(&mut Client, Timestamp, EncodedValue<'_>) -> Result<RequestId, WriteError>,
    ) -> f64 {
        let Ok(value) = EncodedValue::check(value) else { return -3.0 };
        match self.host.run(|client, now| write(client, now, value)) {
            Ok(request) => float(Some(request)),
            Err(WriteError::Key(_)) => -1.0,
            Err(WriteError::Value(_)) => -2.0,
        }
    }

    /// The message of a refused write, once.
    pub fn settlement(&self, request: u32) -> String {
        self.host.edit(|client| client.settlement(RequestId::from(request))).unwrap_or_default()
    }

    // ---- changes

    /// Makes the changes since the last call readable at `changesPtr` and returns how many there are.
    pub fn drain(&mut self) -> u32 {
        self.host.edit(|client| client.poll_changes(&mut self.changes));
        self.words.clear();
        self.words.extend(self.changes.iter().flat_map(|change| words(*change)));
        u32::try_from(self.changes.len()).unwrap_or(u32::MAX)
    }

    /// Where the changes lie in WASM memory: four 32-bit words each.
    #[wasm_bindgen(js_name = changesPtr)]
    pub fn changes_ptr(&self) -> *const u32 {
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

    /// The record key of a cell.
    #[wasm_bindgen(js_name = cellKey)]
    pub fn cell_key(&self, number: u32) -> String {
        self.host.read(|client| client.key(cell(number)).unwrap_or_default().to_owned())
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

    /// The sequence of the applied value; -1 before the first.
    pub fn sequence(&self, number: u32) -> f64 {
        float(self.host.read(|client| client.sequence(slot(number))))
    }

    /// The sequence up to which order is settled; -1 before the first value.
    pub fn cursor(&self, number: u32) -> f64 {
        float(self.host.read(|client| client.cursor(slot(number))))
    }

    /// 0 ok, 1 stale, 2 skew, 3 refetching.
    pub fn status(&self, number: u32) -> u32 {
        match self.host.read(|client| client.status(slot(number))) {
            Status::Ok => 0,
            Status::Stale => 1,
            Status::Skew => 2,
            Status::Refetching => 3,
        }
    }

    /// The epoch of the applied value.
    pub fn epoch(&self, number: u32) -> Option<String> {
        self.host.read(|client| client.epoch(slot(number)).map(str::to_owned))
    }

    /// The schema version of the applied value.
    #[wasm_bindgen(js_name = schemaVersion)]
    pub fn schema_version(&self, number: u32) -> Option<String> {
        self.host.read(|client| client.schema_version(slot(number)).map(str::to_owned))
    }

    /// One counter: 0 applied, 1 ignored as stale, 2 gaps, 3 parse errors, 4 refetches, 5 schema skews,
    /// 6 quarantined, 7 buffered, 8 retries.
    pub fn stat(&self, number: u32, which: u32) -> f64 {
        let stats = self.host.read(|client| client.stats(slot(number)));
        float(Some(match which {
            0 => stats.applied,
            1 => stats.ignored_stale,
            2 => stats.gaps,
            3 => stats.parse_errors,
            4 => stats.refetches,
            5 => stats.schema_skews,
            6 => stats.quarantined,
            7 => stats.buffered,
            8 => stats.retries,
            _ => 0,
        }))
    }

    /// Whether the first value, or first snapshot, is here.
    #[wasm_bindgen(js_name = isReady)]
    pub fn is_ready(&self, number: u32) -> bool {
        self.host.read(|client| client.is_ready(slot(number)))
    }

    /// Whether no refetch is in flight.
    #[wasm_bindgen(js_name = isIdle)]
    pub fn is_idle(&self, number: u32) -> bool {
        self.host.read(|client| client.is_idle(slot(number)))
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

    /// The number of an epoch; 0 is none.
    #[wasm_bindgen(js_name = internEpoch)]
    pub fn intern_epoch(&self, text: &str) -> u32 {
        self.host.edit(|client| client.intern_epoch(text))
    }

    /// The number of a schema version; 0 is none.
    #[wasm_bindgen(js_name = internVersion)]
    pub fn intern_version(&self, text: &str) -> u32 {
        self.host.edit(|client| client.intern_version(text))
    }

    /// Offers a value by its header; `source` is 0 for a seed, 1 for a receipt. Returns a ticket to judge it
    /// under, 0 where it is dropped, or 4294967295 where it is kept until a change names it.
    #[expect(
        clippy::too_many_arguments,
        reason = "only numbers cross, so that no object is taken apart per envelope"
    )]
    pub fn offer(
        &self,
        number: u32,
        source: u32,
        token: u32,
        epoch: u32,
        sequence: f64,
        prev: f64,
        version: u32,
    ) -> u32 {
        let source = if source == 0 { Source::Hydration } else { Source::Receipt };
        let header = header(epoch, sequence, prev, version);
        offered(self.host.run(|client, now| client.offer(now, slot(number), source, header, Token(token))))
    }

    /// Offers the result of a refetch. Returns a ticket to judge it
    /// under, 0 where it is dropped, or 4294967295 where it is kept until a change names it.
    pub fn refetched(
        &self,
        number: u32,
        attempt: u32,
        token: u32,
        epoch: u32,
        sequence: f64,
        version: u32,
    ) -> u32 {
        let source = Source::Refetch { attempt };
        let header = header(epoch, sequence, -1.0, version);
        offered(self.host.run(|client, now| client.offer(now, slot(number), source, header, Token(token))))
    }

    /// A refetch found no value.
    #[wasm_bindgen(js_name = refetchNull)]
    pub fn refetch_null(&self, number: u32, attempt: u32) {
        self.host.run(|client, now| client.refetch_null(now, slot(number), attempt));
    }

    /// A refetch failed.
    #[wasm_bindgen(js_name = refetchFailed)]
    pub fn refetch_failed(&self, number: u32, attempt: u32) {
        self.host.run(|client, now| client.refetch_failed(now, slot(number), attempt));
    }

    /// Forgets a replica over an own transport.
    pub fn dispose(&self, number: u32) {
        self.release(number);
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
