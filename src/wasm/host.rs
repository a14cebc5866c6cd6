//! A [`Client`] in a JavaScript host: its clock, and what the facade is to do for it, as numbers.
//!
//! No function of JavaScript is kept here, so nothing is called back: the facade owns links and timers
//! (`pkg/src/link.ts`), and learns after each of its calls what to do with them.

use alloc::vec::Vec;
use core::{
    cell::{Cell, RefCell},
    time::Duration,
};

use js_sys::Date;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{
    client::{Client, Output},
    protocol::Timestamp,
};

/// No timer is set for longer: one that a sleeping machine has stopped goes on where it was, and what is due by the wall
/// clock would wait for it. (A delay of more than 32 bits would fire at once.)
const MAX_DELAY: Duration = Duration::from_secs(10);

/// What the facade does with its one timer: nothing, ...
const KEEP: u32 = 0;
/// ... it takes it back, or it sets it, in so many milliseconds less two.
const CLEAR: u32 = 1;

#[wasm_bindgen]
extern "C" {
    /// Time that is not the page's.
    #[derive(Debug)]
    pub type OwnTime;
    #[wasm_bindgen(method)]
    fn now(this: &OwnTime) -> f64;
}

/// A clock that sees a machine sleep but never goes back: the wall clock's steps forward, added up.
#[derive(Debug)]
struct Clock {
    own: Option<OwnTime>,
    wall: Cell<f64>,
    elapsed: Cell<f64>,
}

impl Clock {
    fn new(own: Option<OwnTime>) -> Self {
        let clock = Self { own, wall: Cell::default(), elapsed: Cell::default() };
        clock.wall.set(clock.wall());
        clock
    }

    fn wall(&self) -> f64 {
        self.own.as_ref().map_or_else(Date::now, OwnTime::now)
    }

    #[inline(never)]
    fn now(&self) -> Timestamp {
        let wall = self.wall();
        let step = wall - self.wall.replace(wall);
        self.elapsed.set(self.elapsed.get() + step.max(0.0));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it only grows from zero"
        )]
        Timestamp::from_millis(self.elapsed.get() as u64)
    }
}

/// One client and what it needs of its host.
#[derive(Debug)]
pub(super) struct Host {
    client: RefCell<Client>,
    clock: Clock,
    /// When the facade's timer fires.
    timer: Cell<Option<Timestamp>>,
    /// Frames that the facade sends now, where they lie.
    frames: RefCell<Vec<Vec<u8>>>,
}

impl Host {
    pub(super) fn new(client: Client, time: Option<OwnTime>) -> Self {
        Self {
            client: RefCell::new(client),
            clock: Clock::new(time),
            timer: Cell::new(None),
            frames: RefCell::default(),
        }
    }

    /// Looks at the client.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Client) -> T) -> T {
        read(&self.client.borrow())
    }

    /// Changes the client without an input that could ask for anything.
    pub(super) fn edit<T>(&self, edit: impl FnOnce(&mut Client) -> T) -> T {
        edit(&mut self.client.borrow_mut())
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Gives the client an input or command. What it asks for is told with the next list.
    pub(super) fn run<T>(&self, input: impl FnOnce(&mut Client, Timestamp) -> T) -> T {
        input(&mut self.client.borrow_mut(), self.clock.now())
    }

    /// The timer has fired.
    pub(super) fn fired(&self) {
        self.timer.set(None);
        self.run(Client::handle_timeout);
    }

    /// Appends to `words` what the facade has to do: kind, link, and three words more. Frames stay where they are
    /// until the next call.
    pub(super) fn tell_outputs(&self, words: &mut Vec<[u32; 5]>) {
        let mut client = self.client.borrow_mut();
        let mut frames = self.frames.borrow_mut();
        frames.clear();
        while let Some(output) = client.poll_output() {
            words.push(match output {
                Output::Fetch(link, reason) => [64, link.number(), reason as u32, 0, 0],
                Output::Dial(link) => [65, link.number(), 0, 0, 0],
                Output::Transmit(link, frame) => {
                    let word = |number| u32::try_from(number).unwrap_or_default();
                    let place = [66, link.number(), word(frame.as_ptr().addr()), word(frame.len()), 0];
                    frames.push(frame);
                    place
                }
                Output::Hang { link, code } => [67, link.number(), u32::from(code), 0, 0],
            });
        }
    }

    /// What to do with the timer, so that it fires no later than the client has to be woken.
    pub(super) fn tell_timer(&self) -> u32 {
        let Some(due) = self.read(Client::poll_timeout) else {
            return if self.timer.take().is_some() { CLEAR } else { KEEP };
        };
        if self.timer.get().is_some_and(|set| set <= due) {
            return KEEP;
        }
        self.timer.set(Some(due));
        let delay = due.since(self.clock.now()).min(MAX_DELAY);
        u32::try_from(delay.as_millis()).unwrap_or_default() + CLEAR + 1
    }
}
