//! Drives a [`Client`] in a JavaScript host: its links, its one timer, its clock.
//!
//! JavaScript runs only while the client is not borrowed, so whatever it calls back finds a free client.

use alloc::{
    borrow::ToOwned,
    rc::{Rc, Weak},
    string::String,
    vec::Vec,
};
use core::{
    cell::{Cell, RefCell},
    time::Duration,
};

use js_sys::{Date, Function};
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};

use crate::{
    client::{Client, Output},
    protocol::Timestamp,
    session::Generation,
    transport::{LinkEvent, WebSocketLink},
};

/// What browsers report for a link that failed to open.
const ABNORMAL: u16 = 1006;
/// No timer is set for longer: one that a sleeping machine has stopped goes on where it was, and what is due by the wall
/// clock would wait for it. (A delay of more than 32 bits would fire at once.)
const MAX_DELAY: Duration = Duration::from_secs(10);
/// Frames wait here while a socket has as much as this to send: what it has taken cannot be taken back.
const MAX_BACKLOG_BYTES: usize = 512 * 1024;
/// How often a socket that has too much to send is looked at: it does not say when that is over.
const LOOK: Duration = Duration::from_millis(50);

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &Function, millis: i32) -> JsValue;
    #[wasm_bindgen(js_name = clearTimeout)]
    fn clear_timeout(handle: &JsValue);

    /// Time that the facade makes, in the place of the page's.
    #[derive(Debug, Clone)]
    pub type OwnTime;
    #[wasm_bindgen(method)]
    fn now(this: &OwnTime) -> f64;
    #[wasm_bindgen(method, js_name = setTimeout)]
    fn set_timeout(this: &OwnTime, callback: &Function, millis: i32) -> JsValue;
    #[wasm_bindgen(method, js_name = clearTimeout)]
    fn clear_timeout(this: &OwnTime, handle: &JsValue);
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

/// The timer that is set.
#[derive(Debug)]
struct Timer {
    due: Timestamp,
    handle: JsValue,
    own: Option<OwnTime>,
    _callback: Closure<dyn FnMut()>,
}

impl Drop for Timer {
    fn drop(&mut self) {
        match &self.own {
            Some(own) => own.clear_timeout(&self.handle),
            None => clear_timeout(&self.handle),
        }
    }
}

/// One client and what it needs of its host.
#[derive(Debug)]
pub(super) struct Host {
    client: RefCell<Client>,
    clock: Clock,
    wake: Function,
    dial: RefCell<Option<Function>>,
    fetch: RefCell<Option<Function>>,
    link: RefCell<Option<(Generation, WebSocketLink)>>,
    timer: RefCell<Option<Timer>>,
    /// Frames for the present link that wait for its socket, and when it is looked at again.
    held: RefCell<Vec<Vec<u8>>>,
    look: RefCell<Option<Timer>>,
}

impl Host {
    pub(super) fn new(client: Client, wake: Function, own: Option<OwnTime>) -> Rc<Self> {
        Rc::new(Self {
            client: RefCell::new(client),
            clock: Clock::new(own),
            wake,
            dial: RefCell::new(None),
            fetch: RefCell::new(None),
            link: RefCell::new(None),
            timer: RefCell::new(None),
            held: RefCell::default(),
            look: RefCell::new(None),
        })
    }

    pub(super) fn set_dial(&self, dial: Function, fetch: Option<Function>) {
        *self.dial.borrow_mut() = Some(dial);
        *self.fetch.borrow_mut() = fetch;
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

    /// Gives the client an input or command, then does what it asks for.
    pub(super) fn run<T>(self: &Rc<Self>, input: impl FnOnce(&mut Client, Timestamp) -> T) -> T {
        let result = input(&mut self.client.borrow_mut(), self.clock.now());
        self.drain();
        result
    }

    /// As [`Self::run`], for inputs that the facade did not cause.
    fn run_and_wake(self: &Rc<Self>, input: impl FnOnce(&mut Client, Timestamp)) {
        self.run(input);
        // What the facade's users throw is reported by the facade; here it must not undo the input.
        let _ = self.wake.call0(&JsValue::NULL);
    }

    fn drain(self: &Rc<Self>) {
        while let Some(output) = self.edit(Client::poll_output) {
            match output {
                Output::Fetch(link, reason) => {
                    let fetch = self.fetch.borrow().clone();
                    if let Some(fetch) = fetch {
                        // It tells failures by `token`; one that does neither runs into the deadline.
                        let _ = fetch.call2(&JsValue::NULL, &link.number().into(), &(reason as u8).into());
                    }
                }
                Output::Dial(link) => self.open_link(link),
                Output::Transmit(link, frame) => {
                    if self.link.borrow().as_ref().is_some_and(|(present, _)| *present == link) {
                        self.held.borrow_mut().push(frame);
                        self.send_held();
                    }
                }
                Output::Hang { link, code } => {
                    let hung = self.link.borrow_mut().take_if(|(present, _)| *present == link);
                    if let Some((_, socket)) = hung {
                        socket.close(code);
                    }
                }
            }
        }
        self.set_timer();
    }

    fn open_link(self: &Rc<Self>, link: Generation) {
        let dial = self.dial.borrow().clone();
        let dialed = dial.ok_or(JsValue::NULL).and_then(|dial| dial.call0(&JsValue::NULL));
        match dialed {
            Ok(socket) => {
                let host = Rc::downgrade(self);
                let socket = WebSocketLink::new(socket, move |event| Self::hear(&host, link, &event));
                let is_open = socket.is_open();
                self.link.replace(Some((link, socket)));
                self.held.take();
                if is_open {
                    self.edit(|client| client.handle_opened(self.clock.now(), link));
                }
            }
            Err(error) => {
                let reason = error.dyn_ref::<js_sys::Error>().map_or_else(
                    || "the link could not be opened".to_owned(),
                    |error| String::from(error.message()),
                );
                self.edit(|client| client.handle_closed(self.clock.now(), link, ABNORMAL, &reason));
            }
        }
    }

    /// Sends what is held, as far as the socket has room.
    fn send_held(self: &Rc<Self>) {
        while !self.held.borrow().is_empty() {
            let present = self.link.borrow();
            let Some((link, socket)) = &*present else { return };
            if socket.backlog() > MAX_BACKLOG_BYTES {
                drop(present);
                self.look_again();
                return;
            }
            let frame = self.held.borrow_mut().remove(0);
            if socket.send(&frame).is_err() {
                let link = *link;
                drop(present);
                self.link.take();
                self.held.take();
                self.edit(|client| {
                    client.handle_closed(self.clock.now(), link, ABNORMAL, "the link could not send");
                });
            }
        }
    }

    fn look_again(self: &Rc<Self>) {
        if self.look.borrow().is_none() {
            *self.look.borrow_mut() = Some(self.timer(LOOK, |host| {
                let _fired = host.look.take();
                host.send_held();
                host.set_timer();
            }));
        }
    }

    fn hear(host: &Weak<Self>, link: Generation, event: &LinkEvent<'_>) {
        let Some(host) = host.upgrade() else { return };
        match event {
            LinkEvent::Opened => host.run_and_wake(|client, now| client.handle_opened(now, link)),
            LinkEvent::Frame(frame) => host.run_and_wake(|client, now| client.handle_frame(now, link, frame)),
            LinkEvent::Closed { code, reason } => {
                host.run_and_wake(|client, now| client.handle_closed(now, link, *code, reason));
            }
        }
    }

    /// Sets the timer, unless one is set that fires no later.
    fn set_timer(self: &Rc<Self>) {
        let due = self.read(Client::poll_timeout);
        let mut timer = self.timer.borrow_mut();
        let Some(due) = due else {
            *timer = None;
            return;
        };
        if timer.as_ref().is_some_and(|timer| timer.due <= due) {
            return;
        }
        let delay = due.since(self.clock.now()).min(MAX_DELAY);
        *timer = Some(self.timer(delay, |host| {
            // Keeps the closure alive until it has returned.
            let _fired = host.timer.take();
            host.run_and_wake(Client::handle_timeout);
        }));
    }

    fn timer(self: &Rc<Self>, delay: Duration, fire: fn(&Rc<Self>)) -> Timer {
        let host = Rc::downgrade(self);
        let callback = Closure::new(move || {
            if let Some(host) = host.upgrade() {
                fire(&host);
            }
        });
        let due = self.clock.now() + delay;
        let millis = i32::try_from(delay.as_millis()).unwrap_or(i32::MAX);
        let own = self.clock.own.clone();
        let function = callback.as_ref().unchecked_ref();
        let handle = match &own {
            Some(own) => own.set_timeout(function, millis),
            None => set_timeout(function, millis),
        };
        Timer { due, handle, own, _callback: callback }
    }
}
