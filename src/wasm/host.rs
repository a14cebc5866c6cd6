//! A [`Client`] in a JavaScript host: its clock, and what the facade is to do for it, as numbers.
//!
//! No function of JavaScript is kept here, so nothing is called back: the facade owns links and timers
//! (`pkg/src/link.ts`), says what time it is, and learns after each of its calls what to do with them.

use crate::{
    client::{Client, Output},
    protocol::Timestamp,
};
use alloc::vec::Vec;

/// No timer is set for more milliseconds: one that a sleeping machine has stopped goes on where it was, and what is due by the wall
/// clock would wait for it. (A delay of more than 32 bits would fire at once.)
const MAX_DELAY: u64 = 10_000;

/// What the facade does with its one timer: nothing, ...
const KEEP: u32 = 0;
/// ... it takes it back, or it sets it, in so many milliseconds less two.
const CLEAR: u32 = 1;

/// A clock that sees a machine sleep but never goes back: the wall clock's steps forward, added up.
#[derive(Debug)]
struct Clock {
    wall: f64,
    elapsed: f64,
}

impl Clock {
    fn advance(&mut self, wall: f64) {
        self.elapsed += (wall - self.wall).max(0.0);
        self.wall = wall;
    }

    fn now(&self) -> Timestamp {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it only grows from zero"
        )]
        Timestamp::from_millis(self.elapsed as u64)
    }
}

/// One client and what it needs of its host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) client: Client,
    clock: Clock,
    /// When the facade's timer fires.
    timer: Option<Timestamp>,
    /// Frames that the facade sends now, where they lie.
    frames: Vec<Vec<u8>>,
}

impl Host {
    pub(super) const fn new(client: Client, wall: f64) -> Self {
        Self { client, clock: Clock { wall, elapsed: 0.0 }, timer: None, frames: Vec::new() }
    }

    /// The wall clock says so.
    pub(super) fn advance(&mut self, wall: f64) {
        self.clock.advance(wall);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The timer has fired.
    pub(super) fn fired(&mut self) {
        self.timer = None;
        self.client.handle_timeout(self.clock.now());
    }

    /// Appends to `words` what the facade has to do: kind, link, and three words more. Frames stay where they are
    /// until the next call.
    pub(super) fn tell_outputs(&mut self, words: &mut Vec<[u32; 5]>) {
        self.frames.clear();
        while let Some(output) = self.client.poll_output() {
            words.push(match output {
                Output::Fetch(link, reason) => [64, link.number(), reason as u32, 0, 0],
                Output::Dial(link) => [65, link.number(), 0, 0, 0],
                Output::Transmit(link, frame) => {
                    let word = |number| u32::try_from(number).unwrap_or_default();
                    let place = [66, link.number(), word(frame.as_ptr().addr()), word(frame.len()), 0];
                    self.frames.push(frame);
                    place
                }
                Output::Hang { link, code } => [67, link.number(), u32::from(code), 0, 0],
            });
        }
    }

    /// What to do with the timer, so that it fires no later than the client has to be woken.
    pub(super) fn tell_timer(&mut self) -> u32 {
        let Some(due) = self.client.poll_timeout() else {
            return if self.timer.take().is_some() { CLEAR } else { KEEP };
        };
        if self.timer.is_some_and(|set| set <= due) {
            return KEEP;
        }
        self.timer = Some(due);
        let delay = due.as_millis().saturating_sub(self.clock.now().as_millis()).min(MAX_DELAY);
        u32::try_from(delay).unwrap_or_default() + CLEAR + 1
    }
}
