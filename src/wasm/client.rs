//! The client as JavaScript sees it: numbers in, numbers out, values as bytes in WASM memory.

use alloc::{borrow::ToOwned, boxed::Box, string::String, vec, vec::Vec};

use js_sys::Function;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::host::{Host, OwnTime};
use crate::{
    client::{
        CellId, Change, Client, GateId, Offered, OwnOptions, QueryError, Seed, SlotId, Want, WriteError,
    },
    gate::{Dialect, Fault, Patterns},
    protocol::{
        DecodeError, EncodedOperation, EncodedQuery, EncodedValue, OpenPool, Position, Reader, RequestId,
        Row, Sequence,
    },
    replica::{EpochId, Header, OnGap, Source, Status, Token, Verdict, Version},
    session::{Generation, Phase},
    value::{Path, Tape},
};

/// What the facade reads as "deleted", and writes for "no base".
const NO_CELL: u32 = u32::MAX;
/// In the place of a base: the value is looked at once.
const ONCE: u32 = u32::MAX - 1;
/// In the place of a base: it is the key that is wanted.
const KEY: u32 = u32::MAX - 2;

/// What becomes of an offered value: it is kept until a change names it, ...
const KEPT: u32 = u32::MAX;
/// ... it is to be shown, which no change will say, ...
const SHOWN: u32 = u32::MAX - 1;
/// ... or it is to be offered again with the gate's verdict.
const ASK: u32 = u32::MAX - 2;

/// As many wants as fit a small buffer; more are several calls.
const MAX_WANTS: usize = 512;

/// The text of one tape. Larger ones save no time, and a string of 13 units or more that V8 cuts from a text keeps all
/// of it in memory.
const TEXT_TARGET: usize = 8 * 1024;

/// One client: a session, its replicas, and replicas over own transports. The facade holds one per `connect`, and one
/// for all replicas over own transports.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Core {
    host: Host,
    changes: Vec<Change>,
    words: Vec<[u32; 5]>,
    listed: Vec<u32>,
    /// What [`Self::drain`] has found: how many changes there are, where they lie, and what to do with the timer.
    drained: [usize; 3],
    /// The frame that came in. Used again for the next one.
    frame: Vec<u8>,
    /// What the facade wants built: it writes here, so it never moves.
    wants: Box<[[u32; 2]; MAX_WANTS]>,
    tape: Tape,
    /// What [`Self::build`] has written: how many wants are met, then where words, text and other text lie, each with
    /// its length.
    built: [usize; 7],
    /// What [`Self::link`] and [`Self::meta`] have found.
    facts: [f64; 14],
    /// Why the last schema was not compiled.
    refusal: String,
}

/// The regular expressions of one gate: a function that makes one of a text and returns its number or -1 and, called
/// with a number and a text, says whether the one occurs in the other.
struct Regexes(Function);

impl Patterns for Regexes {
    fn prepare(&mut self, pattern: &str) -> Option<u32> {
        let number = self.0.call1(&JsValue::UNDEFINED, &pattern.into()).ok()?.as_f64()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
        (number >= 0.0).then_some(number as u32)
    }

    fn is_match(&self, pattern: u32, text: &str) -> bool {
        self.0.call2(&JsValue::UNDEFINED, &pattern.into(), &text.into()).is_ok_and(|found| found.is_truthy())
    }
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
    /// A client with 16 random bytes. After every call that may change something the facade calls `drain`. `time` takes
    /// the place of the page's clock.
    #[wasm_bindgen(constructor)]
    pub fn new(seed: &[u8], token: Option<String>, time: Option<OwnTime>) -> Self {
        let seed = core::array::from_fn(|index| seed.get(index).copied().unwrap_or_default());
        Self {
            host: Host::new(Client::new(seed, token), time),
            changes: Vec::new(),
            words: Vec::new(),
            listed: Vec::new(),
            drained: [0; 3],
            frame: Vec::new(),
            wants: Box::new([[0; 2]; MAX_WANTS]),
            tape: Tape::new(),
            built: [0; 7],
            facts: [0.0; 14],
            refusal: String::new(),
        }
    }

    // ---- session

    /// Starts the session. If it `asks_for_tokens`, the facade is told to fetch one before each link, and when the one
    /// in use is about to expire. The links go to so many `addresses` in turn.
    pub fn open(&self, asks_for_tokens: bool, addresses: u32) {
        self.host.edit(|client| client.take_turns(addresses));
        if asks_for_tokens {
            self.host.edit(Client::ask_for_tokens);
        }
        self.host.run(Client::start);
    }

    /// The link is open.
    pub fn opened(&self, link: u32) {
        self.host.run(|client, now| client.handle_opened(now, Generation::from_number(link)));
    }

    /// The link is closed, by whomever.
    pub fn closed(&self, link: u32, code: u16, reason: &str) {
        self.host.run(|client, now| client.handle_closed(now, Generation::from_number(link), code, reason));
    }

    /// Where the facade writes a frame of at most `length` bytes, until it asks again.
    pub fn room(&mut self, length: usize) -> *mut u8 {
        self.frame.resize(length, 0);
        self.frame.as_mut_ptr()
    }

    /// A frame came: the first `length` bytes of the room.
    #[wasm_bindgen(js_name = frame)]
    pub fn take_frame(&self, link: u32, length: usize) {
        let frame = self.frame.get(..length).unwrap_or_default();
        self.host.run(|client, now| client.handle_frame(now, Generation::from_number(link), frame));
    }

    /// The timer has fired.
    pub fn timeout(&self) {
        self.host.fired();
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

    /// A text about slot or request `number`: 0 why the last link ended, 1 why a subscription was denied, 2 the
    /// message of a refused write or the trace of a notification (once), 3 the epoch and 4 the schema version of the shown value, 5 the keyword that
    /// the last schema was refused for and, after a line feed, where it is, 6 in the same way the rule that a value of
    /// the present change list broke. Those who need more than a number are few, so they share one way out.
    pub fn text(&self, which: u32, number: u32) -> Option<String> {
        if which == 2 {
            return self.host.edit(|client| client.settlement(RequestId::from(number)));
        }
        if which == 5 {
            return Some(self.refusal.clone());
        }
        if which == 6 {
            return self.host.read(|client| client.fault(number).map(fault_text));
        }
        self.host.read(|client| {
            let text = match which {
                0 => Some(client.reason()),
                1 => client.denial(slot(number)),
                3 => client.epoch(slot(number)),
                _ => client.schema_version(slot(number)),
            };
            text.map(str::to_owned)
        })
    }

    // ---- replicas of the session

    /// Subscribes and returns the slot; 0: a key is over its limit. `kind` is 0 for an object, 1 for a datastore that
    /// exists, 2 for one that is made temporary and 3 for one that is made permanent where it does not; 4 for a pool that
    /// exists, 5 for one that is made where it does not and 6 for one that is made with presence; 7 for what is relayed on a
    /// key, 8 for the mailbox, 9 for a watch of the group `key` and the key `primary`. `gate` is -1 where values are
    /// trusted, -2 where the host judges them, else the one that does.
    pub fn subscribe(&self, kind: u32, key: &str, primary: &str, gate: i32) -> u32 {
        let gated = gate != -1;
        let slot = self.host.run(|client, _| {
            let slot = match kind {
                0 => client.subscribe_object(key, gated),
                1 => client.subscribe_datastore(key, None, primary, gated),
                2 | 3 => client.subscribe_datastore(key, Some(kind == 3), primary, gated),
                4 => client.subscribe_pool(key, None, gated),
                5 | 6 => client.subscribe_pool(key, Some(OpenPool { presence: kind == 6 }), gated),
                7 => client.follow_relay(key),
                8 => Ok(client.follow_mailbox()),
                _ => Ok(client.watch(key, primary)),
            }?;
            if let Ok(gate) = u32::try_from(gate) {
                client.use_gate(slot, GateId::from_number(gate));
            }
            Ok::<_, WriteError>(slot)
        });
        slot.map_or(0, SlotId::number)
    }

    /// Has a gate judge the values of a gated replica from now on, in the place of the host.
    pub fn adopt(&self, number: u32, gate: u32) {
        self.host.edit(|client| client.use_gate(slot(number), GateId::from_number(gate)));
    }

    /// Compiles a schema, encoded as a value, and returns the number of its gate, or -1 if it cannot be compiled. If
    /// `is_library`, the host is asked about what does not pass. `regexes` makes and runs regular expressions.
    pub fn gate(&mut self, schema: &[u8], is_library: bool, regexes: Function) -> i32 {
        self.refusal.clear();
        let dialect = if is_library { Dialect::Library } else { Dialect::Json };
        let Ok(schema) = EncodedValue::check(schema) else { return -1 };
        let added = self.host.edit(|client| client.add_gate(schema, dialect, Box::new(Regexes(regexes))));
        match added {
            Ok(gate) => i32::try_from(gate.number()).unwrap_or(-1),
            Err(refusal) => {
                self.refusal = [refusal.keyword.as_str(), &refusal.path].join("\n");
                -1
            }
        }
    }

    /// What of `value` a gate refuses, as `text` says it; none where it passes.
    pub fn check(&self, gate: u32, value: &[u8]) -> Option<String> {
        let Ok(value) = EncodedValue::check(value) else { return Some(String::new()) };
        let gate = GateId::from_number(gate);
        self.host.read(|client| client.check(gate, value).err().map(|fault| fault_text(&fault)))
    }

    /// Keeps subscriptions back or, if not `is_on`, sends those that were.
    pub fn hold(&self, is_on: bool) {
        self.host.run(|client, _| if is_on { client.hold_subscriptions() } else { client.send_subscribed() });
    }

    /// Gives a replica that is kept back what was shown elsewhere at this position: an object's value, nothing where it
    /// was deleted, or the rows of a datastore as an array of arrays of sequence, key and value. The version is empty
    /// where there is none. What is none of these changes nothing.
    pub fn seed(&self, number: u32, epoch: &str, sequence: f64, version: &str, value: &[u8], is_rows: bool) {
        let (Ok(epoch), Some(sequence)) = (epoch.parse(), Sequence::from_float(sequence)) else { return };
        let position = Position { epoch, sequence };
        let plant =
            |seed: Seed<'_>| self.host.run(|client, now| client.seed(now, slot(number), position, seed));
        if !is_rows {
            let version = (!version.is_empty()).then_some(version);
            plant(Seed::Object { version, value: EncodedValue::check(value).ok() });
        } else if let Ok(rows) = seeded_rows(value) {
            plant(Seed::Rows(&rows));
        }
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

    /// Asks for a change by an operation of the wire and returns its request, or -1: a key is over its limit, -2: a
    /// value is or the operation is none, -3: too many writes wait already.
    pub fn write(&self, operation: &[u8]) -> f64 {
        let operation = match EncodedOperation::check(operation) {
            Ok(operation) => operation,
            Err(DecodeError::BadKey) => return -1.0,
            Err(_) => return -2.0,
        };
        match self.host.run(|client, now| client.write_encoded(now, operation)) {
            Ok(request) => float(Some(request)),
            Err(WriteError::Waiting(_)) => -3.0,
            Err(WriteError::Key(_) | WriteError::Value(_) | WriteError::Large(_)) => -2.0,
        }
    }

    /// Asks a question of the wire and returns its number, or -2: it is too long or none, -3: too many wait already.
    pub fn query(&self, question: &[u8]) -> f64 {
        let Ok(question) = EncodedQuery::check(question) else { return -2.0 };
        match self.host.run(|client, now| client.query_encoded(now, question)) {
            Ok(query) => f64::from(query),
            Err(QueryError::Long(_)) => -2.0,
            Err(QueryError::Waiting(_)) => -3.0,
        }
    }

    /// The application has taken these notifications or, if not `ok`, failed to. `traces` is an array of strings,
    /// encoded as values are.
    pub fn taken(&self, traces: &[u8], ok: bool) {
        let mut reader = Reader::new(traces);
        let count = reader.array().unwrap_or_default();
        let traces: Vec<_> = (0..count).map_while(|_| reader.str().ok()).collect();
        self.host.run(|client, _| client.taken(&traces, ok));
    }

    // ---- changes

    /// Collects what is new since the last call. Returns where three words lie: how many changes there are, where they
    /// lie, five words each, and what to do with the timer (0 nothing, 1 take it back, else set it to as many
    /// milliseconds less two).
    pub fn drain(&mut self) -> *const usize {
        self.listed = Vec::new();
        self.words.clear();
        self.host.tell_outputs(&mut self.words);
        self.host.edit(|client| {
            client.poll_changes(&mut self.changes);
            self.words.extend(self.changes.iter().enumerate().filter_map(|(index, change)| {
                let previous = index.checked_sub(1).and_then(|index| self.changes.get(index));
                let is_news = match change {
                    // Of a shown value the facade takes that its meta changed too.
                    Change::Meta { slot: changed } => !matches!(previous,
                        Some(Change::Value { slot, .. } | Change::Row { slot, .. } | Change::Install { slot, .. })
                            if slot == changed),
                    // It keeps nothing of a cell that no gate judged.
                    Change::Freed { cell } => client.ticket(*cell) != 0,
                    _ => true,
                };
                is_news.then(|| words(*change))
            }));
        });
        self.drained = [self.words.len(), self.words.as_ptr().addr(), self.host.tell_timer() as usize];
        self.drained.as_ptr()
    }

    // ---- values

    /// Where the facade writes what it wants built: up to 512 pairs of words, a cell and a base. A base is the cell of
    /// the value that the facade has kept and gives up for this one, or 4294967295 for none, 4294967294 to look at
    /// the value only once, 4294967293 for the key of the cell's record.
    #[wasm_bindgen(js_name = wantsPtr)]
    pub fn wants_ptr(&self) -> *const [u32; 2] {
        self.wants.as_ptr()
    }

    /// Builds the first `count` wants, or as many as make one text of a good size. Returns where seven words lie until
    /// the next call: how many wants are met, then where the tape's words, its ASCII text and its other text lie, each
    /// with its length.
    pub fn build(&mut self, count: usize) -> *const usize {
        self.tape.clear();
        let mut met = 0;
        self.host.edit(|client| {
            for [number, base] in self.wants.iter().take(count) {
                let want = match *base {
                    NO_CELL => Want::Kept { base: None },
                    ONCE => Want::Once,
                    KEY => Want::Key,
                    base => Want::Kept { base: Some(cell(base)) },
                };
                client.write_value(&mut self.tape, cell(*number), want);
                met += 1;
                if self.tape.text().len() + self.tape.wide().len() >= TEXT_TARGET {
                    break;
                }
            }
        });
        self.built(met)
    }

    /// As [`Self::build`], of a part of one value. `path` is an array of strings, encoded as values are.
    pub fn part(&mut self, number: u32, base: u32, path: &[u8]) -> *const usize {
        let mut reader = Reader::new(path);
        let count = reader.array().unwrap_or_default();
        let path = Path::new((0..count).map_while(|_| reader.str().ok()));
        let base = (base != NO_CELL).then(|| cell(base));
        self.tape.clear();
        self.host.edit(|client| client.write_part(&mut self.tape, cell(number), base, &path));
        self.built(1)
    }

    /// The facade will not give this cell as a base any more.
    #[wasm_bindgen(js_name = letGo)]
    pub fn let_go(&self, number: u32) {
        self.host.edit(|client| client.let_go(cell(number)));
    }

    /// The sequence of a cell.
    #[wasm_bindgen(js_name = cellSequence)]
    pub fn cell_sequence(&self, number: u32) -> f64 {
        float(Some(self.host.read(|client| client.cell_sequence(cell(number)))))
    }

    /// All rows of a collection. Returns where the words lie until changes are collected: how many follow, then each row's
    /// cell and the ticket of its verdict.
    pub fn rows(&mut self, slot: u32) -> *const u32 {
        self.listed = vec![0];
        self.host.read(|client| {
            let rows = client.rows(SlotId::from_number(slot));
            self.listed.extend(rows.flat_map(|row| [row.number(), client.ticket(row)]));
        });
        self.listed[0] = u32::try_from(self.listed.len() - 1).unwrap_or_default();
        self.listed.as_ptr()
    }

    /// The cell of a collection's record by its key; 2^32-1 where there is no such record.
    pub fn row(&self, slot: u32, key: &str) -> u32 {
        let row = self.host.read(|client| client.row(SlotId::from_number(slot), key));
        row.map_or(u32::MAX, CellId::number)
    }

    /// Answers a JUDGE change or an offer. Returns whether all that came of an offer is that its value is shown: then no
    /// change will name it.
    pub fn judged(&self, ticket: u32, ok: bool) -> bool {
        let verdict = if ok { Verdict::Accepted } else { Verdict::Refused };
        self.host.run(|client, now| {
            client.judged(now, ticket, verdict);
            client.take_install()
        })
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
    pub fn replica(
        &self,
        is_gated: bool,
        schema_major: i32,
        on_gap: u32,
        has_refetch: bool,
        retry: bool,
    ) -> u32 {
        let on_gap = if on_gap == 1 { OnGap::Commit } else { OnGap::Refetch };
        let declared_major = u32::try_from(schema_major).ok();
        let options = OwnOptions { is_gated, declared_major, on_gap, has_refetch, retry };
        self.host.edit(|client| client.add_own(options)).number()
    }

    /// The number of a schema version or, if not `is_version`, of an epoch; 0 is none.
    pub fn intern(&self, is_version: bool, text: &str) -> u32 {
        self.host
            .edit(|client| if is_version { client.intern_version(text) } else { client.intern_epoch(text) })
    }

    /// Offers a value by its header; `attempt` is that of the refetch that it answers, -1 for a receipt, -2 for a seed.
    /// `verdict` is 0 where the gate was not asked, 1 where it accepted the value or there is none, and 2 where it
    /// refused it.
    ///
    /// Returns a ticket to judge it under, 0 where nothing more will be said of it, 4294967295 where it is kept until a
    /// change names it, 4294967294 where it is to be shown and that is all: no change will name it; or 4294967293 where it
    /// is to be offered again with a verdict.
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
        verdict: u32,
    ) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
        let source = match attempt {
            -2.0 => Source::Hydration,
            -1.0 => Source::Receipt,
            _ => Source::Refetch { attempt: attempt as u32 },
        };
        let header = header(epoch, sequence, prev, version);
        let (slot, token) = (slot(number), Token(token));
        if source == Source::Receipt {
            // The short way: the gate runs while the core is as it was, so that there is nothing to remember.
            match verdict {
                0 if self.host.read(|client| client.is_next(slot, header)) => return ASK,
                1 if self.host.run(|client, now| client.show_own(now, slot, header, token)) => return SHOWN,
                _ => {}
            }
        }
        self.host.run(|client, now| {
            let mut kept = KEPT;
            match client.offer(now, slot, source, header, token) {
                Offered::Dropped => return 0,
                Offered::Kept => {}
                Offered::Judge(ticket) if verdict == 0 => return ticket,
                Offered::Judge(ticket) if verdict == 1 => client.judged(now, ticket, Verdict::Accepted),
                Offered::Judge(ticket) => {
                    client.judged(now, ticket, Verdict::Refused);
                    kept = 0;
                }
            }
            if client.take_install() { SHOWN } else { kept }
        })
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

/// The rows of a seed.
fn seeded_rows(bytes: &[u8]) -> Result<Vec<Row<'_>>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let count = reader.array()?;
    (0..count)
        .map(|_| {
            reader.array()?;
            let (sequence, key, value) = (reader.sequence()?, reader.str()?, reader.value()?);
            Ok(Row { sequence, key, value, version: None })
        })
        .collect()
}

/// The rule and, after a line feed, the path.
fn fault_text(fault: &Fault) -> String {
    [fault.rule, &fault.path].join("\n")
}

impl Core {
    /// Where the facade finds the tape.
    fn built(&mut self, met: usize) -> *const usize {
        let (words, text, wide) = (self.tape.words(), self.tape.text(), self.tape.wide());
        let at = [words.as_ptr().addr(), text.as_ptr().addr(), wide.as_ptr().addr()];
        self.built = [met, at[0], words.len(), at[1], text.len(), at[2], wide.len()];
        self.built.as_ptr()
    }
}

/// A change as the facade reads it: kind, slot, and three words more.
fn words(change: Change) -> [u32; 5] {
    let number = |cell: Option<CellId>| cell.map_or(NO_CELL, CellId::number);
    let request = |request: RequestId| u32::try_from(request).unwrap_or(u32::MAX);
    match change {
        Change::Value { slot, cell, ticket } => [1, slot.number(), number(cell), ticket, 0],
        Change::Row { slot, cell, previous, ticket } => {
            [2, slot.number(), cell.number(), ticket, number(previous)]
        }
        Change::Gone { slot, cell } => [3, slot.number(), cell.number(), 0, 0],
        Change::Judge { slot, cell, ticket } => [4, slot.number(), cell.number(), ticket, 0],
        Change::Meta { slot } => [5, slot.number(), 0, 0, 0],
        Change::Settled { request: settled, code } => [6, request(settled), u32::from(code), 0, 0],
        Change::Link => [7, 0, 0, 0, 0],
        Change::Install { slot, token, ticket } => [8, slot.number(), token.0, ticket, 0],
        Change::Discard { slot, token } => [9, slot.number(), token.0, 0, 0],
        Change::Refetch { slot, attempt } => [10, slot.number(), attempt, 0, 0],
        Change::Abort { slot, attempt } => [11, slot.number(), attempt, 0, 0],
        Change::RolledBack { slot } => [12, slot.number(), 1, 0, 0],
        Change::Quarantined { slot, fault } => [12, slot.number(), 2, fault, 0],
        Change::Denied { slot } => [12, slot.number(), 3, 0, 0],
        Change::Freed { cell } => [13, 0, cell.number(), 0, 0],
        Change::JudgeOwn { slot, token, ticket } => [14, slot.number(), token.0, ticket, 0],
        Change::Fed { slot, cell } => [15, slot.number(), cell.number(), 0, 0],
        Change::Answered { query, cell } => [16, query, number(cell), 0, 0],
        Change::Table { slot } => [17, slot.number(), 0, 0, 0],
    }
}
