//! One authenticated connection after another: fetch a token, dial, greet, stay alive, come back.
//!
//! [`Session`] decides when to dial, when a link is dead and how long to wait; it never sees what travels beyond
//! `hello` and `ping`. What is subscribed and written again after a reconnect is the client's business.
//!
//! Every wait has a deadline and every state an exit, so a session is never silent for ever: `Fetching`, `Dialing` and
//! `Greeting` time out, `Live` pings every heartbeat and abandons a link that does not answer, `Waiting` ends by its timer or by
//! [`Session::nudge`]. Only [`Session::close`] and a terminal close code end it.
//!
//! A frame is heard only once it is whole, so on a slow line a large one looks like silence. Therefore a link that goes
//! silent while an answer may be on its way makes the session wait longer before it gives the next one up, and whoever waits
//! for an answer asks [`Session::may_bring`] whether it can still come. Towards the server it is the same: a write takes as
//! long as its bytes, and the pong of a ping that was sent after it says that it has arrived ([`Session::may_carry`]).

use alloc::{borrow::ToOwned, string::String, vec::Vec};
use core::time::Duration;

use crate::protocol::{ClientMessage, CloseCode, Timestamp, Writer, limits::SLOWEST_LINE};

/// A token that has not come by then is given up: an attempt that failed, like a link that does not open.
const TOKEN_DEADLINE: Duration = Duration::from_secs(10);
/// A link that has not opened by then is given up.
const DIAL_DEADLINE: Duration = Duration::from_secs(10);
/// A server that has not answered `hello` by then is given up: its own limit for a missing `hello` is 15 s.
const GREETING_DEADLINE: Duration = Duration::from_secs(10);
/// The first backoff is drawn from zero to this.
const BACKOFF_BASE: Duration = Duration::from_millis(100);
/// No backoff is drawn beyond this.
const BACKOFF_CAP: Duration = Duration::from_secs(30);

/// Most addresses of a round. While half of them are dead, eight dead ones in a row come once in 256 times; and a server that is
/// there, but full, is dialed by few who have not backed off yet.
const MAX_ROUND: u32 = 8;

/// How long a ping may stay unanswered that asks whether a link outlived a sleep or a change of network: a person waits.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// How often patience doubles: with the usual heartbeat to 250 s of silence, in which 2 KiB a second carry the largest
/// frame that a server sends.
const MAX_SILENCES: u32 = 4;

/// After so many heartbeats in a row whose pings were answered in time, the line is no slow one any more.
const CALM_HEARTBEATS: u32 = 30;

/// A server that takes longer than this to begin an answer has lost the question.
const SETTLING: Duration = Duration::from_secs(5);

/// How long a ping may stay unanswered: with the heartbeat before it, two and a half heartbeats of silence.
fn patience(heartbeat: Duration) -> Duration {
    heartbeat * 3 / 2
}

/// Numbers the links of a session. Input of an older link than the present one is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Generation(u32);

impl Generation {
    /// The number, for hosts that can hold nothing else.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The link of a number that [`Generation::number`] gave.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// Why a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum TokenReason {
    /// A session is about to begin.
    Connect = 0,
    /// The one in use is about to expire.
    Expiring = 1,
    /// The last one was refused, or has expired: the same again is of no use.
    Refused = 2,
}

/// What the host does for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Fetch a token, and say what came of it with [`Session::handle_token`].
    Fetch(Generation, TokenReason),
    /// Open a new link.
    Dial(Generation),
    /// Send a frame on the present link.
    Send(Generation, Vec<u8>),
    /// Close the link, and forget it at once whatever it still says.
    Hang {
        /// The link.
        link: Generation,
        /// The close code, one that a browser lets a page send.
        code: u16,
    },
}

/// Where the session stands, for observers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not started.
    Idle,
    /// Fetching a token, dialing or greeting.
    Connecting,
    /// Welcomed.
    Live,
    /// Waiting to dial again.
    Reconnecting {
        /// When.
        at: Timestamp,
    },
    /// Ended for good.
    Closed,
}

/// The private state; each variant holds what is valid then.
#[derive(Debug, Clone, Copy)]
enum State {
    /// Exits: `start` → Fetching where tokens are asked for, else Dialing.
    Idle,
    /// The host fetches a token. Exits: token → Dialing; failure or deadline → Waiting.
    Fetching { deadline: Timestamp },
    /// A link is opening. Exits: opened → Greeting; closed or deadline → Waiting.
    Dialing { deadline: Timestamp },
    /// `hello` is sent. Exits: welcome → Live; closed or deadline → Waiting, or Closed by a terminal code.
    Greeting { deadline: Timestamp },
    /// Welcomed. Exits: closed or silence → Waiting, or Closed by a terminal code.
    /// `verdict` is when the link is given up, if nothing is heard by then: set by the first ping since the last frame, so
    /// that a late timer pings before it gives a link up.
    Live { heartbeat: Duration, pinged: Timestamp, verdict: Option<Timestamp>, line: Line },
    /// Between two links. Exits: timer or nudge → Fetching or Dialing.
    Waiting { until: Timestamp },
    /// No exit.
    Closed,
}

/// What the pings of a link tell about the line.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Pings without their pongs.
    unanswered: u32,
    /// When the newest ping was sent whose pong is here, and with it all that the server had sent before.
    clear: Option<Timestamp>,
    /// When a question was last answered.
    useful: Timestamp,
    /// Heartbeats in a row whose pings were answered before the next.
    calm: u32,
}

impl Line {
    /// As [`Session::may_bring`].
    fn may_bring(&self, asked: Timestamp) -> bool {
        self.may_carry(asked.max(self.useful))
    }

    /// As [`Session::may_carry`].
    fn may_carry(&self, sent: Timestamp) -> bool {
        self.clear.is_none_or(|clear| clear < sent + SETTLING)
    }
}

/// Proof of who is calling.
#[derive(Debug)]
enum Credential {
    /// The same for every link, if any.
    Fixed(Option<String>),
    /// The host is asked for one before every link. A refused one is worth another try, once.
    Asked { token: Option<String>, was_refused: bool },
}

/// The session machine.
///
/// Methods come in four kinds: getters, `handle_*` inputs, commands, and `poll_*` outputs. After every input and
/// command drain [`Session::poll_action`], then read [`Session::poll_timeout`]. Time never goes back.
#[derive(Debug)]
pub struct Session {
    client: String,
    credential: Credential,
    state: State,
    link: Generation,
    /// How often the backoff has doubled since the last useful exchange.
    doublings: u32,
    /// Dials in a row that came to nothing, since it doubled last.
    missed: u32,
    /// How many of them double it.
    round: u32,
    /// Links that went silent while an answer may have been on its way, since the line was last calm.
    silences: u32,
    /// When the last frame came.
    heard: Timestamp,
    /// The server's wish for the next wait, from `goodbye`.
    wish: Option<Duration>,
    reason: String,
    code: u16,
    random: fastrand::Rng,
    actions: alloc::collections::VecDeque<Action>,
}

impl Session {
    /// A session that has not started. `seed` is random: it spreads the reconnects of many clients.
    #[must_use]
    pub fn new(client: String, token: Option<String>, seed: u64) -> Self {
        Self {
            client,
            credential: Credential::Fixed(token),
            state: State::Idle,
            link: Generation::default(),
            doublings: 0,
            missed: 0,
            round: 1,
            silences: 0,
            heard: Timestamp::default(),
            wish: None,
            reason: String::new(),
            code: 0,
            random: fastrand::Rng::with_seed(seed),
            actions: alloc::collections::VecDeque::new(),
        }
    }

    /// From now on every link is opened with this token.
    pub fn use_token(&mut self, token: &str) {
        self.credential = Credential::Fixed(Some(token.to_owned()));
    }

    /// From now on the host is asked for a token before every link, and when the one in use is about to expire.
    pub fn ask_for_tokens(&mut self) {
        self.credential = Credential::Asked { token: None, was_refused: false };
    }

    /// The host has so many addresses, and takes the next one for each link: that one of them is dead says nothing about the
    /// others, so only a round of them doubles the backoff.
    pub fn take_turns(&mut self, addresses: u32) {
        self.round = addresses.clamp(1, MAX_ROUND);
    }

    /// Where the session stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match self.state {
            State::Idle => Phase::Idle,
            State::Fetching { .. } | State::Dialing { .. } | State::Greeting { .. } => Phase::Connecting,
            State::Live { .. } => Phase::Live,
            State::Waiting { until } => Phase::Reconnecting { at: until },
            State::Closed => Phase::Closed,
        }
    }

    /// The present link, if it is welcomed: frames may be sent on it.
    #[must_use]
    pub const fn live_link(&self) -> Option<Generation> {
        match self.state {
            State::Live { .. } => Some(self.link),
            State::Idle
            | State::Fetching { .. }
            | State::Dialing { .. }
            | State::Greeting { .. }
            | State::Waiting { .. }
            | State::Closed => None,
        }
    }

    /// Whether `link` is the present one.
    #[must_use]
    pub fn is_current(&self, link: Generation) -> bool {
        link == self.link
            && matches!(self.state, State::Dialing { .. } | State::Greeting { .. } | State::Live { .. })
    }

    /// Whether the answer to what was asked at `asked` may still be on its way.
    ///
    /// A server answers a ping at once, and a line keeps the order: so an answer that was begun before a ping comes before
    /// its pong, however slow the line. Nor is a question lost while others are answered, because they wait their turns.
    #[must_use]
    pub fn may_bring(&self, asked: Timestamp) -> bool {
        self.line().is_some_and(|line| line.may_bring(asked))
    }

    /// Whether what was sent at `sent` may still be on its way to the server, or its answer just begun.
    ///
    /// A line keeps the order, so a ping that was sent later is answered later.
    #[must_use]
    pub fn may_carry(&self, sent: Timestamp) -> bool {
        self.line().is_some_and(|line| line.may_carry(sent))
    }

    const fn line(&self) -> Option<&Line> {
        match &self.state {
            State::Live { line, .. } => Some(line),
            State::Idle
            | State::Fetching { .. }
            | State::Dialing { .. }
            | State::Greeting { .. }
            | State::Waiting { .. }
            | State::Closed => None,
        }
    }

    /// Why the last link ended, for people.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The close code of the last link; 0 if none.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// The link is open: greets.
    pub fn handle_opened(&mut self, now: Timestamp, link: Generation) {
        if !matches!(self.state, State::Dialing { .. }) || link != self.link {
            return;
        }
        let mut frame = Writer::new();
        let (Credential::Fixed(token) | Credential::Asked { token, .. }) = &self.credential;
        ClientMessage::Hello { client: &self.client, token: token.as_deref() }.encode(&mut frame);
        self.actions.push_back(Action::Send(link, frame.into_bytes()));
        self.state = State::Greeting { deadline: now + GREETING_DEADLINE };
    }

    /// The link is closed, by whomever.
    pub fn handle_closed(&mut self, now: Timestamp, link: Generation, code: u16, reason: &str) {
        if !self.is_current(link) {
            return;
        }
        self.code = code;
        self.reason = if reason.is_empty() { closed_with(code) } else { reason.to_owned() };
        let is_last = match &mut self.credential {
            Credential::Asked { was_refused, .. } if code == CloseCode::Unauthorized.number() => {
                core::mem::replace(was_refused, true)
            }
            _ => CloseCode::is_terminal(code),
        };
        if is_last {
            self.state = State::Closed;
        } else {
            self.wait(now);
        }
    }

    /// The server said `welcome`. Returns whether the session has become live by it.
    pub fn handle_welcome(&mut self, now: Timestamp, heartbeat: Duration) -> bool {
        let greeted = matches!(self.state, State::Greeting { .. });
        if greeted {
            self.wish = None;
            if let Credential::Asked { was_refused, .. } = &mut self.credential {
                *was_refused = false;
            }
            let line = Line { unanswered: 0, clear: None, useful: now, calm: 0 };
            self.state = State::Live { heartbeat, pinged: now, verdict: None, line };
        }
        greeted
    }

    /// The host has fetched a token for `link`, or could not and says why.
    pub fn handle_token(&mut self, now: Timestamp, link: Generation, fetched: Result<&str, &str>) {
        let Credential::Asked { token, .. } = &mut self.credential else { return };
        if link != self.link {
            return;
        }
        match (self.state, fetched) {
            (State::Fetching { .. }, Ok(fresh)) => {
                *token = Some(fresh.to_owned());
                self.dial(now);
            }
            (State::Fetching { .. }, Err(reason)) => self.miss(now, reason),
            (State::Live { .. }, Ok(fresh)) => {
                let mut frame = Writer::new();
                ClientMessage::Token(fresh).encode(&mut frame);
                self.actions.push_back(Action::Send(link, frame.into_bytes()));
            }
            // A live session goes on until its token expires; then the next one fetches another.
            (State::Live { .. }, Err(_))
            | (
                State::Idle
                | State::Dialing { .. }
                | State::Greeting { .. }
                | State::Waiting { .. }
                | State::Closed,
                _,
            ) => {}
        }
    }

    /// The server said `renew`.
    pub fn handle_renew(&mut self) {
        if let (State::Live { .. }, Credential::Asked { .. }) = (self.state, &self.credential) {
            self.actions.push_back(Action::Fetch(self.link, TokenReason::Expiring));
        }
    }

    /// The server said `goodbye`.
    pub fn handle_goodbye(&mut self, retry_after: Option<Duration>) {
        self.wish = retry_after;
    }

    /// A frame came. What it holds is told after this.
    pub fn handle_heard(&mut self, now: Timestamp) {
        self.heard = now;
        if let State::Live { verdict, .. } = &mut self.state {
            *verdict = None;
        }
    }

    /// An answer or acknowledgement came: the connection is of use, so the backoff starts over.
    pub fn handle_useful(&mut self) {
        self.doublings = 0;
        self.missed = 0;
        if let State::Live { line, .. } = &mut self.state {
            line.useful = self.heard;
        }
    }

    /// A pong came, for the oldest ping without one.
    pub fn handle_pong(&mut self) {
        if let State::Live { heartbeat, pinged, line, .. } = &mut self.state
            && line.unanswered > 0
        {
            line.unanswered -= 1;
            // Pings are a heartbeat apart; those out of turn are closer, which only makes this earlier than it was.
            let later = u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX);
            let later = later.saturating_mul(u64::from(line.unanswered));
            let sent = Timestamp::from_millis(pinged.as_millis().saturating_sub(later));
            line.clear = line.clear.max(Some(sent));
        }
    }

    /// A deadline has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match self.state {
            State::Dialing { deadline } if deadline <= now => self.abandon(now, "the server did not answer"),
            State::Greeting { deadline } if deadline <= now => self.abandon(now, "the server did not greet"),
            State::Live { heartbeat, pinged, verdict, line } => {
                if verdict.is_some_and(|verdict| verdict <= now) {
                    // Where nothing was on its way the line has died; else it may be busy with a large frame.
                    if line.may_bring(line.useful) {
                        self.silences = (self.silences + 1).min(MAX_SILENCES);
                    }
                    self.abandon(now, "the connection went silent");
                } else if pinged + heartbeat * 2 <= now {
                    // A heartbeat late: the machine slept, and the link may be long dead.
                    self.ping(now, PROBE_PATIENCE);
                } else if pinged + heartbeat <= now {
                    self.observe_line();
                    self.ping(now, patience(heartbeat));
                }
            }
            State::Fetching { deadline } if deadline <= now => self.miss(now, "no token came in time"),
            State::Waiting { until } if until <= now => self.begin(now),
            State::Idle
            | State::Fetching { .. }
            | State::Dialing { .. }
            | State::Greeting { .. }
            | State::Waiting { .. }
            | State::Closed => {}
        }
    }

    /// Starts the session.
    pub fn start(&mut self, now: Timestamp) {
        if matches!(self.state, State::Idle) {
            self.begin(now);
        }
    }

    /// The world may have changed (network back, page visible again): waits no longer, probes a live link. What `waits` to be
    /// answered, in bytes, goes before the ping and may take its time.
    pub fn nudge(&mut self, now: Timestamp, waits: usize) {
        match self.state {
            State::Waiting { .. } => self.begin(now),
            State::Live { .. } => {
                // However long that is, the next ping is waited for no longer than others.
                let carrying = Duration::from_secs((waits / SLOWEST_LINE) as u64);
                self.ping(now, PROBE_PATIENCE + carrying);
            }
            State::Idle
            | State::Fetching { .. }
            | State::Dialing { .. }
            | State::Greeting { .. }
            | State::Closed => {}
        }
    }

    /// The peer sent bytes that are no protocol: hangs up and comes back later. Where there is no link, or not any more,
    /// nothing happens: a frame may hold several reasons to hang up.
    pub fn reject(&mut self, now: Timestamp, reason: &str) {
        if self.is_current(self.link) {
            self.abandon(now, reason);
        }
    }

    /// Ends the session for good.
    pub fn close(&mut self) {
        if matches!(self.state, State::Dialing { .. } | State::Greeting { .. } | State::Live { .. }) {
            self.actions.push_back(Action::Hang { link: self.link, code: 1000 });
        }
        self.reason = "closed by the application".to_owned();
        self.code = 1000;
        self.state = State::Closed;
    }

    /// What the host does next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Session::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match self.state {
            State::Idle | State::Closed => None,
            State::Fetching { deadline } | State::Dialing { deadline } | State::Greeting { deadline } => {
                Some(deadline)
            }
            State::Live { heartbeat, pinged, verdict, .. } => {
                Some(verdict.map_or(pinged + heartbeat, |verdict| verdict.min(pinged + heartbeat)))
            }
            State::Waiting { until } => Some(until),
        }
    }

    /// Begins the way to a new link.
    fn begin(&mut self, now: Timestamp) {
        self.link = Generation(self.link.0 + 1);
        let Credential::Asked { was_refused, .. } = self.credential else { return self.dial(now) };
        let reason = if was_refused { TokenReason::Refused } else { TokenReason::Connect };
        self.state = State::Fetching { deadline: now + TOKEN_DEADLINE };
        self.actions.push_back(Action::Fetch(self.link, reason));
    }

    /// No token: there is no link to hang up.
    fn miss(&mut self, now: Timestamp, reason: &str) {
        reason.clone_into(&mut self.reason);
        self.code = 0;
        self.wait(now);
    }

    fn dial(&mut self, now: Timestamp) {
        self.state = State::Dialing { deadline: now + DIAL_DEADLINE };
        self.actions.push_back(Action::Dial(self.link));
    }

    /// A heartbeat is over: says whether its pings were answered.
    fn observe_line(&mut self) {
        if let State::Live { line, pinged, .. } = &mut self.state {
            let is_calm = line.clear == Some(*pinged);
            line.calm = if is_calm { line.calm + 1 } else { 0 };
            if line.calm >= CALM_HEARTBEATS {
                line.calm = 0;
                self.silences = 0;
            }
        }
    }

    /// Asks for a sign of life within `patience`, or sooner where one is overdue already; on a line that has shown to be
    /// slow, later.
    fn ping(&mut self, now: Timestamp, patience: Duration) {
        if let State::Live { pinged, verdict, line, .. } = &mut self.state {
            *pinged = now;
            line.unanswered += 1;
            let due = now + patience * 2u32.pow(self.silences);
            *verdict = Some(verdict.map_or(due, |verdict| verdict.min(due)));
            let mut frame = Writer::new();
            ClientMessage::Ping.encode(&mut frame);
            self.actions.push_back(Action::Send(self.link, frame.into_bytes()));
        }
    }

    /// A half-open socket may never report its end, so it is forgotten now rather than waited for.
    fn abandon(&mut self, now: Timestamp, reason: &str) {
        reason.clone_into(&mut self.reason);
        self.code = CloseCode::Silent.number();
        self.actions.push_back(Action::Hang { link: self.link, code: CloseCode::Silent.number() });
        self.wait(now);
    }

    /// Full jitter: the whole range from zero, so that the clients of a restarted server spread out.
    fn wait(&mut self, now: Timestamp) {
        let ceiling = (BACKOFF_BASE * 2u32.saturating_pow(self.doublings.min(10))).min(BACKOFF_CAP);
        self.missed = if matches!(self.state, State::Dialing { .. }) { self.missed + 1 } else { self.round };
        if self.missed >= self.round {
            self.missed = 0;
            self.doublings += 1;
        }
        let jitter =
            Duration::from_millis(self.random.u64(0..=u64::try_from(ceiling.as_millis()).unwrap_or(0)));
        self.state = State::Waiting { until: now + self.wish.take().unwrap_or_default() + jitter };
    }
}

/// What is said of a link that ended without a reason.
fn closed_with(code: u16) -> String {
    let mut reason = "the connection was closed (code ".to_owned();
    push_decimal(&mut reason, code);
    reason.push(')');
    reason
}

/// `format!` would bring the formatting code into the client's wasm file, where nothing else needs it.
fn push_decimal(text: &mut String, number: u16) {
    if number > 9 {
        push_decimal(text, number / 10);
    }
    text.push(char::from_digit(u32::from(number % 10), 10).unwrap_or_default());
}

#[cfg(test)]
mod tests;
