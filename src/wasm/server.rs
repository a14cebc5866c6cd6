//! The reference server as JavaScript sees it: the module over memory, one commit per call.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use js_sys::{Error, Reflect};
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

use super::rules::ServerRules;
use crate::{
    protocol::{DecodeError, ErrorCode, Position, Timestamp},
    server::{
        Action, CommitError, ConnectionId, OpenError, Options, Server, Transmit, WriteError,
        storage::{Memory, StorageError},
    },
};

/// A server in the page. Its facade gives it frames and time, and takes what it has to say:
/// after every call, [`poll_connection`](ServerCore::poll_connection) and [`take_frame`](ServerCore::take_frame) until
/// there is nothing left, then [`next_timeout`](ServerCore::next_timeout).
#[wasm_bindgen]
#[derive(Debug)]
pub struct ServerCore {
    pub(super) server: Server<Memory>,
    options: Options,
    /// How many of the last commits can be rolled back.
    kept: usize,
    /// What each of them, and the one before them, left behind; the newest last.
    backups: Vec<Memory>,
    /// How many commits the server counted when the newest backup was made.
    commits: u64,
    /// What [`poll_connection`](ServerCore::poll_connection) found.
    found: Option<Transmit>,
    /// Why the connection was closed that [`take_frame`](ServerCore::take_frame) had no frame for.
    closed: (u16, String),
    now: Timestamp,
}

/// JavaScript's clock counts in floats.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast saturates, and time is positive"
)]
pub(super) fn time(now: f64) -> Timestamp {
    Timestamp::from_millis(now as u64)
}

#[expect(clippy::cast_precision_loss, reason = "sequences and times of this era are below 2^53")]
fn float(number: u64) -> f64 {
    number as f64
}

/// The error that the facade makes a `TidewireError` of: its `code` is the number of the wire.
fn thrown(code: ErrorCode, message: &str) -> JsValue {
    let error = Error::new(message);
    // Setting a property on a fresh error cannot fail.
    let _ = Reflect::set(&error, &"code".into(), &code.number().into());
    error.into()
}

#[expect(clippy::needless_pass_by_value, reason = "it maps the errors of results")]
pub(super) fn refused(error: WriteError) -> JsValue {
    thrown(error.code(), &error.to_string())
}

pub(super) fn undecodable(error: DecodeError) -> JsValue {
    let code = match error {
        DecodeError::TooDeep | DecodeError::TooLarge => ErrorCode::LimitExceeded,
        _ => ErrorCode::InvalidRequest,
    };
    thrown(code, &error.to_string())
}

fn unopened(error: &OpenError) -> JsValue {
    thrown(ErrorCode::StorageFailed, &error.to_string())
}

/// The storage cannot be read, which memory always can.
pub(super) fn unread(error: &StorageError) -> JsValue {
    thrown(ErrorCode::StorageFailed, &error.to_string())
}

fn seed_of(bytes: &[u8]) -> [u8; 32] {
    core::array::from_fn(|index| bytes.get(index).copied().unwrap_or_default())
}

fn undone(error: &CommitError) -> JsValue {
    thrown(ErrorCode::StorageFailed, &error.to_string())
}

const fn connection(id: u32) -> ConnectionId {
    ConnectionId(id as u64)
}

/// A change's sequence; -1 where there was nothing to change.
pub(super) fn sequence(position: Option<Position>) -> f64 {
    position.map_or(-1.0, |position| float(position.sequence.get()))
}

#[wasm_bindgen]
impl ServerCore {
    /// A server without data. All its randomness comes from the seed, of which up to 32 bytes count. The last `kept`
    /// commits can be rolled back.
    #[wasm_bindgen(constructor)]
    pub fn new(seed: &[u8], rules: ServerRules, kept: usize) -> Result<Self, JsValue> {
        let options = rules.into_options(seed_of(seed));
        let server = Server::open(Memory::new(), options.clone()).map_err(|error| unopened(&error))?;
        Ok(Self {
            server,
            options,
            kept,
            backups: [Memory::new()].into(),
            commits: 0,
            found: None,
            closed: (0, String::new()),
            now: Timestamp::default(),
        })
    }

    pub(super) fn commit(&mut self, now: Timestamp) -> Result<(), JsValue> {
        self.now = now;
        self.server.commit(now).map_err(|error| undone(&error))?;
        let commits = self.server.counters().commits;
        // Commits that wrote nothing do not count.
        if self.kept > 0 && commits != self.commits {
            self.commits = commits;
            self.backups.push(self.server.backup());
            if self.backups.len() > self.kept + 1 {
                self.backups.remove(0);
            }
        }
        Ok(())
    }

    /// Puts another server into the place of the one there is, and returns that. Nobody is connected to it.
    fn replace(&mut self, server: Server<Memory>) -> Server<Memory> {
        self.found = None;
        self.commits = 0;
        core::mem::replace(&mut self.server, server)
    }

    // ---- its process

    /// Ends the server and starts it again over what it committed. Every link is gone, and what was temporary.
    pub fn restart(&mut self, seed: &[u8]) -> Result<(), JsValue> {
        self.options.seed = seed_of(seed);
        // The place must not be empty while the storage moves from the one to the other.
        let vacant = Server::open(Memory::new(), Options::new([0; 32])).map_err(|error| unopened(&error))?;
        let storage = self
            .replace(vacant)
            .into_storage()
            .map_err(|error| thrown(ErrorCode::StorageFailed, &error.to_string()))?;
        let server = Server::open(storage, self.options.clone()).map_err(|error| unopened(&error))?;
        self.replace(server);
        Ok(())
    }

    /// Ends the server and starts it again without its last `count` commits, as from a backup. Returns `false`, and does
    /// nothing, where so many are not kept.
    pub fn rollback(&mut self, count: usize, seed: &[u8]) -> Result<bool, JsValue> {
        let Some(index) = self.backups.len().checked_sub(count + 1) else {
            return Ok(false);
        };
        self.backups.truncate(index + 1);
        let Some(backup) = self.backups.pop() else {
            return Ok(false);
        };
        self.options.seed = seed_of(seed);
        let server = Server::restore(backup, self.options.clone()).map_err(|error| unopened(&error))?;
        self.backups.push(server.backup());
        self.replace(server);
        Ok(true)
    }

    // ---- connections

    /// A link was opened. Its number must never have been used before.
    pub fn connect(&mut self, now: f64, id: u32) -> Result<(), JsValue> {
        let now = time(now);
        self.server.handle_connect(now, connection(id));
        self.commit(now)
    }

    /// A link's frame arrived.
    pub fn frame(&mut self, now: f64, id: u32, bytes: &[u8]) -> Result<(), JsValue> {
        let now = time(now);
        self.server.handle_frame(now, connection(id), bytes);
        self.commit(now)
    }

    /// A link is gone.
    pub fn disconnect(&mut self, now: f64, id: u32) -> Result<(), JsValue> {
        let now = time(now);
        self.server.handle_disconnect(now, connection(id));
        self.commit(now)
    }

    /// The time of [`next_timeout`](ServerCore::next_timeout) has come.
    pub fn timeout(&mut self, now: f64) -> Result<(), JsValue> {
        let now = time(now);
        self.server.handle_timeout(now);
        self.commit(now)
    }

    /// When to call `timeout` at the latest, in milliseconds like `now`; -1 if never.
    #[wasm_bindgen(js_name = nextTimeout)]
    pub fn next_timeout(&self) -> f64 {
        self.server.poll_timeout().map_or(-1.0, |due| float(due.as_millis()))
    }

    /// The link that there is something for, next in order; -1 if nothing is left.
    #[wasm_bindgen(js_name = pollConnection)]
    pub fn poll_connection(&mut self) -> f64 {
        if self.found.is_none() {
            self.found = self.server.poll_transmit();
        }
        self.found.as_ref().map_or(-1.0, |transmit| float(transmit.connection.0))
    }

    /// The frame for that link. `undefined`: the link is to be closed, with `closeCode` and `closeReason`.
    #[wasm_bindgen(js_name = takeFrame)]
    pub fn take_frame(&mut self) -> Result<Option<Vec<u8>>, JsValue> {
        let Some(Transmit { connection, action, report }) = self.found.take() else {
            return Ok(None);
        };
        match action {
            Action::Frame(bytes) => {
                if report {
                    // A link in the page takes everything at once.
                    self.server.handle_drained(self.now, connection);
                    self.commit(self.now)?;
                }
                Ok(Some(bytes.to_vec()))
            }
            Action::Close { code, reason } => {
                self.closed = (code, reason);
                Ok(None)
            }
        }
    }

    /// The code to close the link with.
    #[wasm_bindgen(js_name = closeCode)]
    pub fn close_code(&self) -> u16 {
        self.closed.0
    }

    /// The reason to close the link with.
    #[wasm_bindgen(js_name = closeReason)]
    pub fn close_reason(&self) -> String {
        self.closed.1.clone()
    }
}
