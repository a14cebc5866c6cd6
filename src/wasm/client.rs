//! The client as JavaScript sees it: numbers in, numbers out, values as bytes in WASM memory.

use alloc::{borrow::ToOwned, boxed::Box, string::String, vec, vec::Vec};

use wasm_bindgen::prelude::wasm_bindgen;

use super::host::Host;
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

/// In the place of a gate: values are trusted, ...
const TRUSTED: u32 = u32::MAX;
/// ... or judged by the host.
const BY_HOST: u32 = u32::MAX - 1;

/// What becomes of an offered value: it is kept until a change names it, ...
const KEPT: u32 = u32::MAX;
/// ... it is to be shown, which no change will say, ...
const SHOWN: u32 = u32::MAX - 1;
/// ... or it is to be offered again with the gate's verdict, ...
const ASK: u32 = u32::MAX - 2;
/// ... or when the facade has said what time it is.
const CLOCK: u32 = u32::MAX - 3;

/// What is added to what the gate said of a receipt, where the facade has said what time it is.
const TIMED: u32 = 4;

/// As many wants as fit a small buffer; more are several calls.
const MAX_WANTS: usize = 512;

/// The text of one tape. Larger ones save no time, and a string of 13 units or more that V8 cuts from a text keeps all
/// of it in memory.
const TEXT_TARGET: usize = 8 * 1024;

#[wasm_bindgen(js_namespace = host)]
extern "C" {
    /// Makes a regular expression of a text, as the gate that is compiled now has it, and returns its number or -1.
    fn prepare(pattern: &str) -> i32;
    /// Whether a regular expression occurs in a text.
    #[wasm_bindgen(js_name = isMatch)]
    fn is_match(pattern: u32, text: &str) -> bool;
}

/// One client: a session, its replicas, and replicas over own transports. The facade holds one per `connect`, and one
/// for all replicas over own transports.
///
/// Only numbers cross. Texts and bytes lie in WASM memory: the facade writes them into the [`room`](Core::room) and says
/// where in it they end, and it is told where they lie.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Core {
    host: Host,
    changes: Vec<Change>,
    words: Vec<[u32; 5]>,
    listed: Vec<u32>,
    /// What [`Self::drain`] has found: how many changes there are, where they lie, and what to do with the timer.
    drained: [usize; 3],
    /// What the facade says: frames, texts, encoded values. Used again for the next.
    room: Vec<u8>,
    /// What [`Self::text`] has found, ...
    said: String,
    /// ... and where it lies, with its length.
    found: [usize; 2],
    /// What the facade wants built: it writes here, so it never moves. Pairs of words, a cell and a base. A base is the cell
    /// of the value that the facade has kept and gives up for this one, or [`NO_CELL`], [`ONCE`], [`KEY`].
    wants: Box<[[u32; 2]; MAX_WANTS]>,
    tape: Tape,
    /// What [`Self::build`] has written: how many wants are met, then where words, text and other text lie, each with
    /// its length.
    built: [usize; 7],
    /// What [`Self::link`] and [`Self::meta`] have found.
    facts: [f64; 14],
    /// Why the last schema was not compiled, or the last value did not pass.
    refusal: String,
}

/// JavaScript's own regular expressions.
struct Regexes;

impl Patterns for Regexes {
    fn prepare(&mut self, pattern: &str) -> Option<u32> {
        u32::try_from(prepare(pattern)).ok()
    }

    fn is_match(&self, pattern: u32, text: &str) -> bool {
        is_match(pattern, text)
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
    /// A client with 16 random bytes, as four words, at a time of the wall clock.
    #[wasm_bindgen(constructor)]
    pub fn new(a: u32, b: u32, c: u32, d: u32, wall: f64) -> Self {
        let words = [a, b, c, d].map(u32::to_le_bytes);
        let mut seed = [0; 16];
        seed.copy_from_slice(words.as_flattened());
        Self {
            host: Host::new(Client::new(seed, None), wall),
            changes: Vec::new(),
            words: Vec::new(),
            listed: Vec::new(),
            drained: [0; 3],
            room: Vec::new(),
            said: String::new(),
            found: [0; 2],
            wants: Box::new([[0; 2]; MAX_WANTS]),
            tape: Tape::new(),
            built: [0; 7],
            facts: [0.0; 14],
            refusal: String::new(),
        }
    }

    /// What is not asked often, which shares one way in: each way of its own would be as long as what it leads to. `what` is
    /// one of the numbers below; what they take and give say the methods that they name.
    pub fn ask(&mut self, what: u32, a: u32, b: u32, c: u32, d: u32) -> f64 {
        match what {
            0 => self.open(a != 0, b as usize, c),
            1 => self.opened(a),
            2 => self.closed(a, b, c as usize),
            3 => self.host.fired(),
            4 => self.token(a, b != 0, c as usize),
            5 => self.close(),
            6 => self.nudge(),
            7 => return place(self.link()),
            8 => return place(self.text(a, b)),
            9 => return f64::from(self.gate(a as usize, b != 0)),
            10 => return f64::from(u8::from(self.check(a, b as usize))),
            11 => return f64::from(self.subscribe(a, b as usize, c as usize, d)),
            12 => self.host.client.use_gate(slot(a), GateId::from_number(b)),
            13 => self.hold(a != 0),
            14 => self.host.client.release(slot(a)),
            15 => self.refresh(a),
            16 => return self.query(a as usize),
            17 => self.taken(a as usize, b != 0),
            18 => return place(self.wants.as_ptr()),
            19 => return place(self.part(a, b, c as usize)),
            20 => return place(self.rows(a)),
            21 => return f64::from(self.row(a, b as usize)),
            22 => return place(self.meta(a)),
            23 => return f64::from(self.replica(a, b)),
            24 => return f64::from(self.intern(a != 0, b as usize)),
            _ => self.missed(a, b, c != 0),
        }
        0.0
    }

    /// What time it is. The facade says so before every input; after it, it calls `drain`.
    pub fn tick(&mut self, wall: f64) {
        self.host.advance(wall);
    }

    /// Where the facade writes what it says, at most `length` bytes, until it asks again.
    pub fn room(&mut self, length: usize) -> *mut u8 {
        if length > self.room.len() {
            self.room.resize(length, 0);
        }
        self.room.as_mut_ptr()
    }

    /// A frame came: the first `length` bytes of the room.
    #[wasm_bindgen(js_name = frame)]
    pub fn take_frame(&mut self, link: u32, length: usize) {
        let (now, frame) = (self.host.now(), bytes(&self.room, 0, length));
        self.host.client.handle_frame(now, Generation::from_number(link), frame);
    }

    /// Collects what is new since the last call. Returns where three words lie: how many changes there are, where they
    /// lie, five words each, and what to do with the timer (0 nothing, 1 take it back, else set it to as many
    /// milliseconds less two).
    pub fn drain(&mut self) -> *const usize {
        self.listed = Vec::new();
        self.words.clear();
        self.host.tell_outputs(&mut self.words);
        let Host { client, .. } = &mut self.host;
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
        self.drained = [self.words.len(), self.words.as_ptr().addr(), self.host.tell_timer() as usize];
        self.drained.as_ptr()
    }

    /// Builds the first `count` wants, or as many as make one text of a good size. Returns where seven words lie until
    /// the next call: how many wants are met, then where the tape's words, its ASCII text and its other text lie, each
    /// with its length.
    pub fn build(&mut self, count: usize) -> *const usize {
        self.tape.clear();
        let mut met = 0;
        for [number, base] in self.wants.iter().take(count) {
            let want = match *base {
                NO_CELL => Want::Kept { base: None },
                ONCE => Want::Once,
                KEY => Want::Key,
                base => Want::Kept { base: Some(cell(base)) },
            };
            self.host.client.write_value(&mut self.tape, cell(*number), want);
            met += 1;
            if self.tape.text().len() + self.tape.wide().len() >= TEXT_TARGET {
                break;
            }
        }
        self.built(met)
    }

    /// The facade will not give this cell as a base any more.
    #[wasm_bindgen(js_name = letGo)]
    pub fn let_go(&mut self, number: u32) {
        self.host.client.let_go(cell(number));
    }

    /// The sequence of a cell.
    #[wasm_bindgen(js_name = cellSequence)]
    pub fn cell_sequence(&mut self, number: u32) -> f64 {
        float(Some(self.host.client.cell_sequence(cell(number))))
    }

    /// Answers a JUDGE change or an offer. Returns whether all that came of an offer is that its value is shown: then no
    /// change will name it.
    pub fn judged(&mut self, ticket: u32, ok: bool) -> bool {
        let verdict = if ok { Verdict::Accepted } else { Verdict::Refused };
        let now = self.host.now();
        self.host.client.judged(now, ticket, verdict);
        self.host.client.take_install()
    }

    /// Offers a value by its header; `attempt` is that of the refetch that it answers, -1 for a receipt, -2 for a seed.
    /// `verdict` is 0 where the gate was not asked, 1 where it accepted the value or there is none, and 2 where it
    /// refused it; and 4 more for a receipt that comes after [`tick`](Self::tick), which is left out at first.
    ///
    /// Returns a ticket to judge it under, 0 where nothing more will be said of it, 4294967295 where it is kept until a
    /// change names it, 4294967294 where it is to be shown and that is all: no change will name it; 4294967293 where it
    /// is to be offered again with a verdict, or 4294967292 where it is to be offered again after `tick`.
    #[expect(
        clippy::too_many_arguments,
        reason = "only numbers cross, so that no object is taken apart per envelope"
    )]
    pub fn offer(
        &mut self,
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
        let now = self.host.now();
        let Host { client, .. } = &mut self.host;
        if source == Source::Receipt {
            // The short way: the gate runs while the core is as it was, so that there is nothing to remember.
            match verdict {
                0 if client.is_next(slot, header) => return ASK,
                1 if client.show_own(slot, header, token) => return SHOWN,
                TIMED.. => {}
                _ => return CLOCK,
            }
        }
        let verdict = verdict % TIMED;
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
    }

    /// Asks for a change by the operation of the wire that lies in the room, and returns its request, or -1: a key is over
    /// its limit, -2: a value is or the operation is none, -3: too many writes wait already.
    pub fn write(&mut self, length: usize) -> f64 {
        let operation = match EncodedOperation::check(bytes(&self.room, 0, length)) {
            Ok(operation) => operation,
            Err(DecodeError::BadKey) => return -1.0,
            Err(_) => return -2.0,
        };
        let now = self.host.now();
        match self.host.client.write_encoded(now, operation) {
            Ok(request) => float(Some(request)),
            Err(WriteError::Waiting(_)) => -3.0,
            Err(WriteError::Key(_) | WriteError::Value(_) | WriteError::Large(_)) => -2.0,
        }
    }

    /// Gives a replica that is kept back what was shown elsewhere at this position: an object's value, nothing where it
    /// was deleted, or the rows of a datastore as an array of arrays of sequence, key and value. The room holds the
    /// epoch up to `first`, the version up to `second`, which is empty where there is none, and the value up to `end`.
    /// What is none of these changes nothing.
    pub fn seed(
        &mut self,
        number: u32,
        sequence: f64,
        first: usize,
        second: usize,
        end: usize,
        is_rows: bool,
    ) {
        let (epoch, version) = (text(&self.room, 0, first), text(&self.room, first, second));
        let value = bytes(&self.room, second, end);
        let (Ok(epoch), Some(sequence)) = (epoch.parse(), Sequence::from_float(sequence)) else { return };
        let position = Position { epoch, sequence };
        let (now, slot) = (self.host.now(), slot(number));
        let mut plant = |seed: Seed<'_>| self.host.client.seed(now, slot, position, seed);
        if !is_rows {
            let version = (!version.is_empty()).then_some(version);
            plant(Seed::Object { version, value: EncodedValue::check(value).ok() });
        } else if let Ok(rows) = seeded_rows(value) {
            plant(Seed::Rows(&rows));
        }
    }
}

/// What [`Core::ask`] is asked.
impl Core {
    // ---- session

    /// Starts the session. If it `asks_for_tokens`, the facade is told to fetch one before each link, and when the one
    /// in use is about to expire; else the room holds the one for all links, if it has a `length`. The links go to so many
    /// `addresses` in turn.
    fn open(&mut self, asks_for_tokens: bool, length: usize, addresses: u32) {
        let now = self.host.now();
        let Host { client, .. } = &mut self.host;
        client.take_turns(addresses);
        if asks_for_tokens {
            client.ask_for_tokens();
        } else if length > 0 {
            client.use_token(text(&self.room, 0, length));
        }
        client.start(now);
    }

    /// The link is open.
    fn opened(&mut self, link: u32) {
        let now = self.host.now();
        self.host.client.handle_opened(now, Generation::from_number(link));
    }

    /// The link is closed, by whomever; the room says why.
    fn closed(&mut self, link: u32, code: u32, length: usize) {
        let code = u16::try_from(code).unwrap_or(u16::MAX);
        let (now, reason) = (self.host.now(), text(&self.room, 0, length));
        self.host.client.handle_closed(now, Generation::from_number(link), code, reason);
    }

    /// A token has been fetched or, if not `ok`, could not be: the room says why.
    fn token(&mut self, link: u32, ok: bool, length: usize) {
        let (now, text) = (self.host.now(), text(&self.room, 0, length));
        let fetched = if ok { Ok(text) } else { Err(text) };
        self.host.client.handle_token(now, Generation::from_number(link), fetched);
    }

    /// Ends the session; what is shown stays readable.
    fn close(&mut self) {
        let now = self.host.now();
        self.host.client.close(now);
    }

    /// The network or the page came back.
    fn nudge(&mut self) {
        let now = self.host.now();
        self.host.client.nudge(now);
    }

    /// Where three floats lie in WASM memory, until the next call: the state (0 idle, 1 connecting, 2 live,
    /// 3 reconnecting, 4 closed), milliseconds until the next attempt or -1, and the close code of the last link or 0.
    fn link(&mut self) -> *const f64 {
        let phase = self.host.client.phase();
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
        self.facts[2] = f64::from(self.host.client.close_code());
        self.facts.as_ptr()
    }

    /// Where a text about slot or request `number` lies, and its length, until the next call; nowhere if there is none:
    /// 0 why the last link ended, 1 why a subscription was denied, 2 the message of a refused write or the trace of a
    /// notification (once), 3 the epoch and 4 the schema version of the shown value, 5 the keyword that the last schema was
    /// refused for and, after a line feed, where it is, or in the same way the rule that the last checked value broke, 6
    /// in the same way the rule that a value of the present change list broke. Those who need more than a number are
    /// few, so they share one way out.
    fn text(&mut self, which: u32, number: u32) -> *const usize {
        let Host { client, .. } = &mut self.host;
        let found = match which {
            0 => Some(client.reason().to_owned()),
            1 => client.denial(slot(number)).map(str::to_owned),
            2 => client.settlement(RequestId::from(number)),
            3 => client.epoch(slot(number)).map(str::to_owned),
            4 => client.schema_version(slot(number)).map(str::to_owned),
            5 => Some(self.refusal.clone()),
            _ => client.fault(number).map(fault_text),
        };
        let Some(found) = found else { return core::ptr::null() };
        self.said = found;
        self.found = [self.said.as_ptr().addr(), self.said.len()];
        self.found.as_ptr()
    }

    // ---- replicas of the session

    /// Subscribes and returns the slot; 0: a key is over its limit. `kind` is 0 for an object, 1 for a datastore that
    /// exists, 2 for one that is made temporary and 3 for one that is made permanent where it does not; 4 for a pool that
    /// exists, 5 for one that is made where it does not and 6 for one that is made with presence; 7 for what is relayed on a
    /// key, 8 for the mailbox, 9 for a watch of a group and a key. The room holds the key or group up to `middle`, and the
    /// primary field or the key of a watch up to `end`. `gate` is 2^32-1 where values are trusted, 2^32-2 where the host judges
    /// them, else the one that does.
    fn subscribe(&mut self, kind: u32, middle: usize, end: usize, gate: u32) -> u32 {
        let gated = gate != TRUSTED;
        let (key, other) = (text(&self.room, 0, middle), text(&self.room, middle, end));
        let Host { client, .. } = &mut self.host;
        let subscribed = match kind {
            0 => client.subscribe_object(key, gated),
            1 => client.subscribe_datastore(key, None, other, gated),
            2 | 3 => client.subscribe_datastore(key, Some(kind == 3), other, gated),
            4 => client.subscribe_pool(key, None, gated),
            5 | 6 => client.subscribe_pool(key, Some(OpenPool { presence: kind == 6 }), gated),
            7 => client.follow_relay(key),
            8 => Ok(client.follow_mailbox()),
            _ => Ok(client.watch(key, other)),
        };
        let Ok(slot) = subscribed else { return 0 };
        if gate < BY_HOST {
            client.use_gate(slot, GateId::from_number(gate));
        }
        slot.number()
    }

    /// Compiles the schema in the room, encoded as a value, and returns the number of its gate, or -1 if it cannot be
    /// compiled. If `is_library`, the host is asked about what does not pass.
    fn gate(&mut self, length: usize, is_library: bool) -> i32 {
        self.refusal.clear();
        let dialect = if is_library { Dialect::Library } else { Dialect::Json };
        let Ok(schema) = EncodedValue::check(bytes(&self.room, 0, length)) else { return -1 };
        match self.host.client.add_gate(schema, dialect, Box::new(Regexes)) {
            Ok(gate) => i32::try_from(gate.number()).unwrap_or(-1),
            Err(refusal) => {
                self.refusal = [refusal.keyword.as_str(), &refusal.path].join("\n");
                -1
            }
        }
    }

    /// Whether the value in the room passes a gate; what the gate refuses of it, `text` says.
    fn check(&mut self, gate: u32, length: usize) -> bool {
        let checked = EncodedValue::check(bytes(&self.room, 0, length)).map_err(|_| String::new());
        let gate = GateId::from_number(gate);
        let verdict =
            checked.and_then(|value| self.host.client.check(gate, value).map_err(|fault| fault_text(&fault)));
        verdict.map_err(|refusal| self.refusal = refusal).is_ok()
    }

    /// Keeps subscriptions back or, if not `is_on`, sends those that were.
    fn hold(&mut self, is_on: bool) {
        let Host { client, .. } = &mut self.host;
        if is_on { client.hold_subscriptions() } else { client.send_subscribed() }
    }

    /// Asks the authority again.
    fn refresh(&mut self, number: u32) {
        let now = self.host.now();
        self.host.client.refresh(now, slot(number));
    }

    // ---- questions

    /// Asks the question of the wire that lies in the room and returns its number, or -2: it is too long or none, -3: too
    /// many wait already.
    fn query(&mut self, length: usize) -> f64 {
        let Ok(question) = EncodedQuery::check(bytes(&self.room, 0, length)) else { return -2.0 };
        let now = self.host.now();
        match self.host.client.query_encoded(now, question) {
            Ok(query) => f64::from(query),
            Err(QueryError::Long(_)) => -2.0,
            Err(QueryError::Waiting(_)) => -3.0,
        }
    }

    /// The application has taken these notifications or, if not `ok`, failed to. The room holds their traces, an array of
    /// strings that is encoded as values are.
    fn taken(&mut self, length: usize, ok: bool) {
        let traces = strings(bytes(&self.room, 0, length));
        self.host.client.taken(&traces, ok);
    }

    // ---- values

    /// As [`Self::build`], of a part of one value. The room holds the path, an array of strings that is encoded as values
    /// are.
    fn part(&mut self, number: u32, base: u32, length: usize) -> *const usize {
        let path = Path::new(strings(bytes(&self.room, 0, length)));
        let base = (base != NO_CELL).then(|| cell(base));
        self.tape.clear();
        self.host.client.write_part(&mut self.tape, cell(number), base, &path);
        self.built(1)
    }

    /// All rows of a collection. Returns where the words lie until changes are collected: how many follow, then each row's
    /// cell and the ticket of its verdict.
    fn rows(&mut self, slot: u32) -> *const u32 {
        self.listed = vec![0];
        let client = &self.host.client;
        for row in client.rows(SlotId::from_number(slot)) {
            self.listed.extend_from_slice(&[row.number(), client.ticket(row)]);
        }
        self.listed[0] = u32::try_from(self.listed.len() - 1).unwrap_or_default();
        self.listed.as_ptr()
    }

    /// The cell of a collection's record by its key, which is in the room; 2^32-1 where there is no such record.
    fn row(&mut self, slot: u32, length: usize) -> u32 {
        let row = self.host.client.row(SlotId::from_number(slot), text(&self.room, 0, length));
        row.map_or(u32::MAX, CellId::number)
    }

    // ---- meta

    /// Where fourteen floats lie in WASM memory, until the next call: the sequence of the shown value and the one up to
    /// which order is settled (each -1 before the first value), the status (0 ok, 1 stale, 2 skew, 3 refetching),
    /// whether the first value is here, whether no refetch is in flight, and the counters: applied, ignored as stale,
    /// gaps, parse errors, refetches, schema skews, quarantined, buffered, retries.
    fn meta(&mut self, number: u32) -> *const f64 {
        let slot = slot(number);
        self.facts = {
            let client = &self.host.client;
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
        };
        self.facts.as_ptr()
    }

    // ---- replicas over own transports

    /// Adds a replica whose values stay in JavaScript and returns its slot. `flags` is the sum of 1 if it is gated, 2 if it
    /// commits to what comes after a gap, 4 if it can refetch and 8 if that is tried again. `major` is 2^32-1 where none
    /// is declared.
    fn replica(&mut self, flags: u32, major: u32) -> u32 {
        let has = |flag| flags & flag != 0;
        let options = OwnOptions {
            is_gated: has(1),
            declared_major: Some(major).filter(|major| *major != u32::MAX),
            on_gap: if has(2) { OnGap::Commit } else { OnGap::Refetch },
            has_refetch: has(4),
            retry: has(8),
        };
        self.host.client.add_own(options).number()
    }

    /// The number of the text in the room: of a schema version or, if not `is_version`, of an epoch; 0 is none.
    fn intern(&mut self, is_version: bool, length: usize) -> u32 {
        let text = text(&self.room, 0, length);
        let Host { client, .. } = &mut self.host;
        if is_version { client.intern_version(text) } else { client.intern_epoch(text) }
    }

    /// A refetch failed or, if not `has_failed`, found no value.
    fn missed(&mut self, number: u32, attempt: u32, has_failed: bool) {
        let now = self.host.now();
        let Host { client, .. } = &mut self.host;
        if has_failed {
            client.refetch_failed(now, slot(number), attempt);
        } else {
            client.refetch_null(now, slot(number), attempt);
        }
    }
}

/// An address as it crosses.
fn place<T>(at: *const T) -> f64 {
    u32::try_from(at.addr()).map_or(0.0, f64::from)
}

/// What the facade has written into the room.
fn bytes(room: &[u8], from: usize, end: usize) -> &[u8] {
    room.get(from..end).unwrap_or_default()
}

/// The same, as text: the facade writes no other.
fn text(room: &[u8], from: usize, end: usize) -> &str {
    core::str::from_utf8(bytes(room, from, end)).unwrap_or_default()
}

/// An encoded array of strings.
fn strings(encoded: &[u8]) -> Vec<&str> {
    let mut reader = Reader::new(encoded);
    let count = reader.array().unwrap_or_default();
    let mut strings = Vec::new();
    while strings.len() < count
        && let Ok(string) = reader.str()
    {
        strings.push(string);
    }
    strings
}

/// The rows of a seed.
fn seeded_rows(bytes: &[u8]) -> Result<Vec<Row<'_>>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut rows = Vec::new();
    for _ in 0..reader.array()? {
        reader.array()?;
        let (sequence, key, value) = (reader.sequence()?, reader.str()?, reader.value()?);
        rows.push(Row { sequence, key, value, version: None });
    }
    Ok(rows)
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
