//! The total transition table of the session: every state, every input, what follows and what the host does.
//!
//! `next` has no wildcard: a new state or input does not compile until each of its cells is decided. The states are
//! those that can be told apart from outside, by how many pings come before the link is given up. A session whose host
//! is asked for tokens differs from one without in a few cells, which `next_asking` names.

#![allow(clippy::unwrap_used, clippy::match_same_arms, reason = "a table is read by its rows")]

use std::time::Duration;

use tidewire::{
    protocol::{ClientMessage, CloseCode, Reader, Timestamp},
    session::{Action, Generation, Phase, Session, TokenReason},
};

const HEARTBEAT: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

macro_rules! table_of {
    ($(#[$meta:meta])* $name:ident { $($(#[$about:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum $name { $($(#[$about])* $variant),+ }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),+];
        }
    };
}

table_of! {
    State {
        Idle,
        /// Only where tokens are asked for.
        Fetching,
        Dialing,
        Greeting,
        /// All that was sent is answered.
        Live,
        /// A ping is unanswered; another comes before the link is given up.
        Pinged,
        /// Two are; the next deadline is the last.
        Doubtful,
        Waiting,
        Closed,
    }
}

table_of! {
    Input {
        Start,
        Opened,
        /// Of a link before the present one.
        OpenedOld,
        /// With a code that means: come back.
        Lost,
        LostOld,
        /// With a terminal code.
        Refused,
        Welcome,
        /// A token is fetched, or could not be.
        Token,
        NoToken,
        /// Of a link before the present one.
        TokenOld,
        Renew,
        Goodbye,
        Heard,
        Useful,
        Pong,
        /// A moment before the deadline.
        Early,
        /// At the deadline.
        Timeout,
        /// A heartbeat after it: the machine slept.
        Late,
        Nudge,
        Reject,
        Close,
    }
}

/// What the host is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Fetch,
    Dial,
    Hello,
    Ping,
    /// Another token, in the place of the one of hello.
    Token,
    Hang,
}

struct Rig {
    session: Session,
    asks: bool,
    now: Timestamp,
    /// All links so far.
    links: Vec<Generation>,
    old: Generation,
}

impl Rig {
    fn new(asks: bool) -> Self {
        let mut session = Session::new("client".into(), None, 7);
        if asks {
            session.ask_for_tokens();
        }
        // The number of a link that is over; a session that starts anew never gives it.
        let old = Generation::default();
        assert_eq!(session.poll_action(), None);
        Self { session, asks, now: Timestamp::from_millis(1_000), links: Vec::new(), old }
    }

    fn link(&self) -> Generation {
        self.links.last().copied().unwrap_or(self.old)
    }

    fn acts(&mut self) -> Vec<Act> {
        let mut acts = Vec::new();
        while let Some(action) = self.session.poll_action() {
            acts.push(match action {
                Action::Fetch(link, TokenReason::Expiring) => {
                    assert_eq!(link, self.link());
                    Act::Fetch
                }
                Action::Fetch(link, _) => {
                    assert!(self.links.iter().all(|before| *before < link), "a link's number is new");
                    self.links.push(link);
                    Act::Fetch
                }
                Action::Dial(link) if self.asks => {
                    assert_eq!(link, self.link(), "the token was fetched for this link");
                    Act::Dial
                }
                Action::Dial(link) => {
                    assert!(self.links.iter().all(|before| *before < link), "a link's number is new");
                    self.links.push(link);
                    Act::Dial
                }
                Action::Send(link, frame) => {
                    assert_eq!(link, self.link());
                    match ClientMessage::decode(&mut Reader::new(&frame)).unwrap() {
                        ClientMessage::Hello { .. } => Act::Hello,
                        ClientMessage::Ping => Act::Ping,
                        ClientMessage::Token("fresh") => Act::Token,
                        other => panic!("a session says {other:?}"),
                    }
                }
                Action::Hang { link, .. } => {
                    assert_eq!(link, self.link());
                    Act::Hang
                }
            });
        }
        acts
    }

    fn feed(&mut self, input: Input) -> Vec<Act> {
        let (now, link, old) = (self.now, self.link(), self.old);
        let session = &mut self.session;
        match input {
            Input::Start => session.start(now),
            Input::Opened => session.handle_opened(now, link),
            Input::OpenedOld => session.handle_opened(now, old),
            Input::Lost => session.handle_closed(now, link, 1006, ""),
            Input::LostOld => session.handle_closed(now, old, 1006, ""),
            Input::Refused => session.handle_closed(now, link, CloseCode::Unauthorized.number(), "no"),
            Input::Welcome => {
                let was_live = session.live_link().is_some();
                let greeted = session.handle_welcome(now, HEARTBEAT);
                assert_eq!(greeted, !was_live && session.live_link().is_some());
            }
            Input::Token => session.handle_token(now, link, Ok("fresh")),
            Input::NoToken => session.handle_token(now, link, Err("no")),
            Input::TokenOld => session.handle_token(now, old, Ok("late")),
            Input::Renew => session.handle_renew(),
            Input::Goodbye => session.handle_goodbye(Some(Duration::from_secs(60))),
            Input::Heard => session.handle_heard(now),
            Input::Useful => session.handle_useful(),
            Input::Pong => session.handle_pong(),
            Input::Early => {
                if let Some(due) = session.poll_timeout() {
                    self.now = Timestamp::from_millis(due.as_millis() - 1).max(now);
                    session.handle_timeout(self.now);
                }
            }
            Input::Timeout => {
                self.now = session.poll_timeout().unwrap_or(now);
                session.handle_timeout(self.now);
            }
            Input::Late => {
                self.now = session.poll_timeout().unwrap_or(now) + HEARTBEAT;
                session.handle_timeout(self.now);
            }
            Input::Nudge => session.nudge(now, 0),
            Input::Reject => session.reject(now, "no protocol"),
            Input::Close => session.close(),
        }
        self.acts()
    }

    /// In this state, with a link behind the present one.
    fn in_state(asks: bool, state: State) -> Self {
        let mut rig = Self::new(asks);
        if state == State::Idle {
            return rig;
        }
        // A token changes nothing where none is asked for.
        for input in [Input::Start, Input::Token, Input::Lost] {
            rig.feed(input);
        }
        rig.old = rig.link();
        if !matches!(state, State::Waiting | State::Closed) {
            rig.feed(Input::Timeout);
        }
        if !matches!(state, State::Waiting | State::Closed | State::Fetching) {
            rig.feed(Input::Token);
        }
        let steps: &[Input] = match state {
            State::Idle | State::Fetching | State::Dialing | State::Waiting => &[],
            State::Greeting => &[Input::Opened],
            State::Live => &[Input::Opened, Input::Welcome],
            State::Pinged => &[Input::Opened, Input::Welcome, Input::Timeout],
            State::Doubtful => &[Input::Opened, Input::Welcome, Input::Timeout, Input::Timeout],
            State::Closed => &[Input::Close],
        };
        for input in steps {
            rig.feed(*input);
        }
        rig
    }

    /// Ends the session: which state it is in shows in what it does when nothing comes any more.
    fn classify(mut self) -> State {
        match self.session.phase() {
            Phase::Idle => State::Idle,
            Phase::Connecting => match (&self.feed(Input::Opened)[..], &self.feed(Input::Token)[..]) {
                ([Act::Hello], _) => State::Dialing,
                (_, [Act::Dial]) => State::Fetching,
                _ => State::Greeting,
            },
            Phase::Live => {
                let mut pings = 0;
                while self.session.phase() == Phase::Live {
                    pings += self.feed(Input::Timeout).iter().filter(|act| **act == Act::Ping).count();
                }
                [State::Doubtful, State::Pinged, State::Live][pings]
            }
            Phase::Reconnecting { .. } => State::Waiting,
            Phase::Closed => State::Closed,
        }
    }
}

/// What follows where tokens are asked for, and what the host is asked to do.
fn next_asking(state: State, input: Input) -> (State, &'static [Act]) {
    use Act as A;
    use Input as I;
    use State as S;
    match (state, input) {
        (S::Idle, I::Start) | (S::Waiting, I::Timeout | I::Late | I::Nudge) => (S::Fetching, &[A::Fetch]),
        (S::Fetching, I::Token) => (S::Dialing, &[A::Dial]),
        (S::Fetching, I::NoToken | I::Timeout | I::Late) => (S::Waiting, &[]),
        (S::Fetching, I::Close) => (S::Closed, &[]),
        (S::Fetching, _) => (S::Fetching, &[]),
        // Once; the second in a row is the last.
        (S::Dialing | S::Greeting | S::Live | S::Pinged | S::Doubtful, I::Refused) => (S::Waiting, &[]),
        (S::Live | S::Pinged | S::Doubtful, I::Renew) => (state, &[A::Fetch]),
        (S::Live | S::Pinged | S::Doubtful, I::Token) => (state, &[A::Token]),
        _ => next(state, input),
    }
}

/// What follows, and what the host is asked to do.
fn next(state: State, input: Input) -> (State, &'static [Act]) {
    use Act as A;
    use Input as I;
    use State as S;
    // Where no token is asked for, none changes anything.
    let token = (state, &[] as &[Act]);
    match state {
        S::Fetching => unreachable!("no token is fetched"),
        S::Idle => match input {
            I::Token | I::NoToken | I::TokenOld | I::Renew => token,
            I::Start => (S::Dialing, &[A::Dial]),
            I::Opened | I::OpenedOld | I::Lost | I::LostOld | I::Refused | I::Welcome => (S::Idle, &[]),
            I::Goodbye
            | I::Heard
            | I::Useful
            | I::Pong
            | I::Early
            | I::Timeout
            | I::Late
            | I::Nudge
            | I::Reject => (S::Idle, &[]),
            I::Close => (S::Closed, &[]),
        },
        S::Dialing => match input {
            I::Token | I::NoToken | I::TokenOld | I::Renew => token,
            I::Opened => (S::Greeting, &[A::Hello]),
            I::Lost => (S::Waiting, &[]),
            I::Refused => (S::Closed, &[]),
            I::Timeout | I::Late | I::Reject => (S::Waiting, &[A::Hang]),
            I::Close => (S::Closed, &[A::Hang]),
            I::Start | I::OpenedOld | I::LostOld | I::Welcome | I::Goodbye => (S::Dialing, &[]),
            I::Heard | I::Useful | I::Pong | I::Early | I::Nudge => (S::Dialing, &[]),
        },
        S::Greeting => match input {
            I::Token | I::NoToken | I::TokenOld | I::Renew => token,
            I::Welcome => (S::Live, &[]),
            I::Lost => (S::Waiting, &[]),
            I::Refused => (S::Closed, &[]),
            I::Timeout | I::Late | I::Reject => (S::Waiting, &[A::Hang]),
            I::Close => (S::Closed, &[A::Hang]),
            I::Start | I::Opened | I::OpenedOld | I::LostOld | I::Goodbye => (S::Greeting, &[]),
            I::Heard | I::Useful | I::Pong | I::Early | I::Nudge => (S::Greeting, &[]),
        },
        S::Live => match input {
            I::Token | I::NoToken | I::TokenOld | I::Renew => token,
            I::Timeout => (S::Pinged, &[A::Ping]),
            // A person may be waiting: one short chance.
            I::Late | I::Nudge => (S::Doubtful, &[A::Ping]),
            I::Lost => (S::Waiting, &[]),
            I::Refused => (S::Closed, &[]),
            I::Reject => (S::Waiting, &[A::Hang]),
            I::Close => (S::Closed, &[A::Hang]),
            I::Start | I::Opened | I::OpenedOld | I::LostOld | I::Welcome | I::Goodbye => (S::Live, &[]),
            I::Heard | I::Useful | I::Pong | I::Early => (S::Live, &[]),
        },
        S::Pinged => match input {
            I::Token | I::NoToken | I::TokenOld | I::Renew => token,
            I::Heard => (S::Live, &[]),
            I::Timeout => (S::Doubtful, &[A::Ping]),
            I::Nudge => (S::Doubtful, &[A::Ping]),
            I::Lost => (S::Waiting, &[]),
            I::Refused => (S::Closed, &[]),
            I::Late | I::Reject => (S::Waiting, &[A::Hang]),
            I::Close => (S::Closed, &[A::Hang]),
            I::Start | I::Opened | I::OpenedOld | I::LostOld | I::Welcome | I::Goodbye => (S::Pinged, &[]),
            I::Useful | I::Pong | I::Early => (S::Pinged, &[]),
        },
        S::Doubtful => match input {
            I::Token | I::NoToken | I::TokenOld | I::Renew => token,
            I::Heard => (S::Live, &[]),
            I::Timeout | I::Late => (S::Waiting, &[A::Hang]),
            I::Nudge => (S::Doubtful, &[A::Ping]),
            I::Lost => (S::Waiting, &[]),
            I::Refused => (S::Closed, &[]),
            I::Reject => (S::Waiting, &[A::Hang]),
            I::Close => (S::Closed, &[A::Hang]),
            I::Start | I::Opened | I::OpenedOld | I::LostOld | I::Welcome | I::Goodbye => (S::Doubtful, &[]),
            I::Useful | I::Pong | I::Early => (S::Doubtful, &[]),
        },
        S::Waiting => match input {
            I::Token | I::NoToken | I::TokenOld | I::Renew => token,
            I::Timeout | I::Late | I::Nudge => (S::Dialing, &[A::Dial]),
            I::Close => (S::Closed, &[]),
            I::Start | I::Opened | I::OpenedOld | I::Lost | I::LostOld | I::Refused => (S::Waiting, &[]),
            I::Welcome | I::Goodbye | I::Heard | I::Useful | I::Pong | I::Early | I::Reject => {
                (S::Waiting, &[])
            }
        },
        S::Closed => match input {
            I::Token | I::NoToken | I::TokenOld | I::Renew => token,
            I::Start | I::Opened | I::OpenedOld | I::Lost | I::LostOld | I::Refused => (S::Closed, &[]),
            I::Welcome | I::Goodbye | I::Heard | I::Useful | I::Pong | I::Early | I::Timeout => {
                (S::Closed, &[])
            }
            I::Late | I::Nudge | I::Reject | I::Close => (S::Closed, &[]),
        },
    }
}

#[test]
fn every_state_takes_every_input_as_the_table_says() {
    for (asks, state) in modes() {
        assert_eq!(Rig::in_state(asks, state).classify(), state);
        for input in Input::ALL {
            let mut rig = Rig::in_state(asks, state);
            let acts = rig.feed(*input);
            let (then, expected) = if asks { next_asking(state, *input) } else { next(state, *input) };
            assert_eq!(acts, expected, "{state:?} + {input:?}");
            assert_eq!(rig.classify(), then, "{state:?} + {input:?}");
        }
    }
}

/// Every state, with and without tokens that are asked for.
fn modes() -> impl Iterator<Item = (bool, State)> {
    let modes = [false, true].into_iter().flat_map(|asks| State::ALL.iter().map(move |state| (asks, *state)));
    modes.filter(|(asks, state)| *asks || *state != State::Fetching)
}

#[test]
fn whatever_comes_a_session_that_has_started_and_not_ended_has_a_deadline() {
    for (asks, state) in modes() {
        for input in Input::ALL {
            let mut rig = Rig::in_state(asks, state);
            rig.feed(*input);
            let (now, phase) = (rig.now, rig.session.phase());
            let due = rig.session.poll_timeout();
            if matches!(phase, Phase::Idle | Phase::Closed) {
                assert_eq!(due, None, "{state:?} + {input:?}");
            } else {
                let due = due.unwrap_or_else(|| panic!("{state:?} + {input:?}: no deadline"));
                assert!(due.since(now) <= LONGEST_BACKOFF, "{state:?} + {input:?}: {due:?}");
            }
        }
    }
}

#[test]
fn no_input_but_start_ever_wakes_what_is_idle_and_none_what_is_closed() {
    for (asks, state) in modes().filter(|(_, state)| matches!(state, State::Idle | State::Closed)) {
        let mut rig = Rig::in_state(asks, state);
        for input in Input::ALL.iter().filter(|input| !matches!(input, Input::Start | Input::Close)) {
            assert_eq!(rig.feed(*input), [], "{state:?} + {input:?}");
        }
        assert_eq!(rig.classify(), state);
    }
}

/// A frame may hold several reasons to give the link up.
#[test]
fn a_link_that_is_given_up_twice_costs_one_failure() {
    let wait = |times: u32| {
        let mut longest = Duration::ZERO;
        for seed in 0..500 {
            let mut session = Session::new("client".into(), None, seed);
            let now = Timestamp::from_millis(0);
            session.start(now);
            for _ in 0..times {
                session.reject(now, "no protocol");
            }
            longest = longest.max(session.poll_timeout().unwrap().since(now));
        }
        longest
    };
    assert_eq!(wait(1), wait(8));
}
