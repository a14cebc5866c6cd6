//! The session against a virtual clock.

use super::*;

const HEARTBEAT: Duration = Duration::from_secs(10);

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn actions(session: &mut Session) -> Vec<Action> {
    std::iter::from_fn(|| session.poll_action()).collect()
}

/// Started, dialed and welcomed at time zero.
fn live() -> (Session, Generation) {
    let mut session = Session::new("client".into(), None, 7);
    session.start(at(0));
    let [Action::Dial(link)] = actions(&mut session)[..] else { panic!("expected a dial") };
    session.handle_opened(at(0), link);
    assert!(matches!(actions(&mut session)[..], [Action::Send(..)]), "hello is the first frame");
    assert!(session.handle_welcome(at(0), HEARTBEAT));
    session.handle_useful();
    (session, link)
}

#[test]
fn every_waiting_state_has_a_deadline_after_which_it_dials_again() {
    for opened in [false, true] {
        let mut session = Session::new("client".into(), None, 7);
        session.start(at(0));
        let [Action::Dial(link)] = actions(&mut session)[..] else { panic!("expected a dial") };
        if opened {
            session.handle_opened(at(0), link);
            actions(&mut session);
        }
        let deadline = session.poll_timeout().expect("a deadline");
        session.handle_timeout(deadline);
        assert!(matches!(actions(&mut session)[..], [Action::Hang { .. }]));
        let again = session.poll_timeout().expect("a time to dial again");
        session.handle_timeout(again);
        assert!(matches!(actions(&mut session)[..], [Action::Dial(_)]));
    }
}

#[test]
fn a_silent_link_is_abandoned_two_and_a_half_heartbeats_after_the_last_frame() {
    let (mut session, link) = live();
    let mut now = at(0);
    while session.live_link().is_some() {
        now = session.poll_timeout().unwrap();
        session.handle_timeout(now);
    }
    assert_eq!(now, at(25_000));
    assert_eq!(actions(&mut session).last(), Some(&Action::Hang { link, code: CloseCode::Silent.number() }));
}

#[test]
fn a_live_link_is_pinged_every_heartbeat_and_kept_while_frames_come() {
    let (mut session, link) = live();
    for _ in 0..100 {
        let now = session.poll_timeout().unwrap();
        session.handle_timeout(now);
        assert!(matches!(actions(&mut session)[..], [Action::Send(..)]), "a ping");
        session.handle_heard(now);
    }
    assert_eq!(session.live_link(), Some(link));
}

#[test]
fn a_timer_that_comes_an_hour_late_pings_before_it_gives_the_link_up() {
    let (mut session, link) = live();
    let woken = at(3_600_000);
    session.handle_timeout(woken);
    assert!(matches!(actions(&mut session)[..], [Action::Send(..)]), "a ping");
    assert_eq!(session.live_link(), Some(link));
    assert_eq!(session.poll_timeout(), Some(woken + PROBE_PATIENCE), "and not for long");
    session.handle_timeout(woken + PROBE_PATIENCE);
    assert_eq!(session.live_link(), None);
}

#[test]
fn a_link_that_answers_the_ping_after_a_nudge_stays() {
    let (mut session, link) = live();
    session.nudge(at(1_000), 0);
    assert!(matches!(actions(&mut session)[..], [Action::Send(..)]), "a ping");
    assert_eq!(session.poll_timeout(), Some(at(1_000) + PROBE_PATIENCE));
    session.handle_heard(at(1_500));
    session.handle_timeout(at(1_000) + PROBE_PATIENCE);
    assert_eq!(session.live_link(), Some(link));
}

#[test]
fn nudges_in_a_row_put_nothing_off() {
    let (mut session, _) = live();
    let mut now = at(0);
    while session.live_link().is_some() {
        session.nudge(now, 0);
        now = now + Duration::from_secs(1);
        session.handle_timeout(now);
    }
    assert_eq!(now, at(0) + PROBE_PATIENCE);
}

#[test]
fn late_events_of_an_abandoned_link_change_nothing() {
    let (mut session, old) = live();
    session.handle_closed(at(5), old, 1006, "");
    session.nudge(at(6), 0);
    let [Action::Dial(new)] = actions(&mut session)[..] else { panic!("expected a dial") };
    session.handle_closed(at(7), old, 1006, "");
    session.handle_opened(at(7), old);
    assert!(session.is_current(new));
    assert_eq!(actions(&mut session), []);
}

#[test]
fn the_backoff_grows_until_something_useful_came_and_not_only_a_welcome() {
    let mut longest = 0;
    for seed in 0..200 {
        let mut session = Session::new("client".into(), None, seed);
        session.start(at(0));
        let mut now = at(0);
        for _ in 0..10 {
            let link = actions(&mut session)
                .into_iter()
                .find_map(|action| if let Action::Dial(link) = action { Some(link) } else { None })
                .expect("a dial");
            session.handle_opened(now, link);
            session.handle_welcome(now, HEARTBEAT);
            session.handle_closed(now, link, 1006, "");
            let until = session.poll_timeout().unwrap();
            longest = longest.max(until.since(now).as_millis());
            now = until;
            session.handle_timeout(now);
        }
    }
    assert!((20_000..=30_000).contains(&longest), "{longest}");
}

/// What the longest of many waits was drawn up to.
fn ceiling(longest: u128) -> u128 {
    longest.div_ceil(100) * 100
}

/// The longest waits after each of `times` dials that came to nothing.
fn longest_waits(addresses: u32, times: usize) -> Vec<u128> {
    let mut longest = vec![0; times];
    for seed in 0..300 {
        let mut session = Session::new("client".into(), None, seed);
        session.take_turns(addresses);
        session.start(at(0));
        for longest in &mut longest {
            let [Action::Dial(link)] = actions(&mut session)[..] else { panic!("expected a dial") };
            session.handle_closed(at(0), link, 1006, "");
            let until = session.poll_timeout().expect("a time to dial again");
            *longest = until.since(at(0)).as_millis().max(*longest);
            session.nudge(at(0), 0);
        }
    }
    longest.into_iter().map(ceiling).collect()
}

#[test]
fn a_round_of_dead_addresses_doubles_the_backoff_and_not_each_of_them() {
    assert_eq!(longest_waits(1, 4), [100, 200, 400, 800]);
    assert_eq!(longest_waits(3, 9), [100, 100, 100, 200, 200, 200, 400, 400, 400]);
    assert_eq!(longest_waits(0, 2), [100, 200]);
    let of_many = longest_waits(1_000, 17);
    assert_eq!((of_many[7], of_many[8], of_many[16]), (100, 200, 400), "a round has an end");
}

#[test]
fn a_server_that_is_there_and_drops_its_clients_doubles_the_backoff_each_time() {
    let mut longest = [0_u64; 4];
    for seed in 0..300 {
        let mut session = Session::new("client".into(), None, seed);
        session.take_turns(5);
        session.start(at(0));
        for longest in &mut longest {
            let [Action::Dial(link)] = actions(&mut session)[..] else { panic!("expected a dial") };
            session.handle_opened(at(0), link);
            session.handle_welcome(at(0), HEARTBEAT);
            session.handle_closed(at(0), link, 1006, "");
            actions(&mut session);
            *longest = session.poll_timeout().expect("a wait").as_millis().max(*longest);
            session.nudge(at(0), 0);
        }
    }
    assert_eq!(longest.map(|longest| ceiling(longest.into())), [100, 200, 400, 800]);
}

/// Has the server greet on the next link, whenever that comes.
fn come_back(session: &mut Session) -> Timestamp {
    let now = session.poll_timeout().expect("a time to dial again");
    session.handle_timeout(now);
    let link = actions(session)
        .into_iter()
        .find_map(|action| if let Action::Dial(link) = action { Some(link) } else { None })
        .expect("a dial");
    session.handle_opened(now, link);
    assert!(session.handle_welcome(now, HEARTBEAT));
    now
}

/// How long the present link is silent before it is given up.
fn silence(session: &mut Session) -> u64 {
    let started = session.poll_timeout().expect("a ping").as_millis() - 10_000;
    silence_after(session, at(started))
}

fn silence_after(session: &mut Session, started: Timestamp) -> u64 {
    let mut now = started;
    while session.live_link().is_some() {
        now = session.poll_timeout().expect("a deadline");
        session.handle_timeout(now);
    }
    now.as_millis() - started.as_millis()
}

#[test]
fn links_that_go_silent_with_answers_on_their_way_are_waited_for_twice_as_long_each_until_the_line_has_been_calm()
 {
    let (mut session, _) = live();
    let mut waits = Vec::new();
    for _ in 0..7 {
        waits.push(silence(&mut session));
        come_back(&mut session);
    }
    assert_eq!(waits, [25_000, 40_000, 70_000, 130_000, 250_000, 250_000, 250_000]);
    for _ in 1..CALM_HEARTBEATS {
        answer_a_ping(&mut session);
    }
    assert_eq!(silence(&mut session), 250_000, "the last of them was not over yet");
    come_back(&mut session);
    for _ in 0..CALM_HEARTBEATS {
        answer_a_ping(&mut session);
    }
    assert_eq!(silence(&mut session), 25_000);
}

#[test]
fn a_link_that_dies_when_nothing_is_on_its_way_makes_nobody_more_patient_with_the_next() {
    let (mut session, _) = live();
    for _ in 0..5 {
        answer_a_ping(&mut session);
        assert_eq!(session.silences, 0);
        let now = session.poll_timeout().expect("a ping");
        session.handle_timeout(now);
        assert_eq!(silence_after(&mut session, now), 15_000);
        come_back(&mut session);
    }
}

fn answer_a_ping(session: &mut Session) {
    let now = session.poll_timeout().expect("a ping");
    session.handle_timeout(now);
    session.handle_heard(now);
    session.handle_pong();
}

#[test]
fn an_answer_may_be_on_its_way_until_a_ping_is_answered_that_was_sent_well_after_the_question() {
    let (mut session, _) = live();
    let ping = |session: &mut Session, seconds: u64| session.nudge(at(seconds * 1_000), 0);
    let pong = |session: &mut Session, seconds: u64| {
        session.handle_heard(at(seconds * 1_000));
        session.handle_pong();
    };
    ping(&mut session, 7);
    ping(&mut session, 13);
    assert!(session.may_bring(at(6_000)));
    pong(&mut session, 14);
    assert!(session.may_bring(at(6_000)), "the first pong is the first ping's");
    pong(&mut session, 14);
    assert!(!session.may_bring(at(6_000)));
    assert!(session.may_bring(at(9_000)), "a server is given five seconds to begin");
    session.handle_heard(at(15_000));
    session.handle_useful();
    assert!(session.may_bring(at(6_000)), "others are answered: questions wait their turns");
    session.handle_pong();
    assert!(session.may_bring(at(6_000)), "a pong without a ping says nothing");
    ping(&mut session, 20);
    pong(&mut session, 90);
    assert!(!session.may_bring(at(6_000)));
    let link = session.live_link().expect("a link");
    session.handle_closed(at(91_000), link, 1006, "");
    assert!(!session.may_bring(at(90_000)), "nothing comes without a link");
}

/// A session whose host is asked for tokens, and the links that it has fetched tokens for.
fn asking() -> Session {
    let mut session = Session::new("client".into(), None, 7);
    session.ask_for_tokens();
    session.start(at(0));
    session
}

fn fetched(session: &mut Session, now: Timestamp) -> (Generation, TokenReason) {
    let [Action::Fetch(link, reason)] = actions(session)[..] else { panic!("expected a fetch") };
    session.handle_token(now, link, Ok("fresh"));
    assert_eq!(actions(session), [Action::Dial(link)]);
    session.handle_opened(now, link);
    let [Action::Send(_, hello)] = &actions(session)[..] else { panic!("expected hello") };
    let hello = ClientMessage::decode(&mut crate::protocol::Reader::new(hello)).expect("a message");
    assert_eq!(hello, ClientMessage::Hello { client: "client", token: Some("fresh") });
    (link, reason)
}

#[test]
fn a_refused_token_is_asked_for_once_more_and_then_ends_the_session() {
    let refused = CloseCode::Unauthorized.number();
    let mut session = asking();
    let (link, reason) = fetched(&mut session, at(0));
    assert_eq!(reason, TokenReason::Connect);
    session.handle_closed(at(1), link, refused, "no");
    assert!(matches!(session.phase(), Phase::Reconnecting { .. }));
    session.nudge(at(2), 0);
    let (link, reason) = fetched(&mut session, at(2));
    assert_eq!(reason, TokenReason::Refused);
    session.handle_closed(at(3), link, refused, "no");
    assert_eq!(session.phase(), Phase::Closed);
    assert_eq!((session.code(), session.reason()), (refused, "no"));
}

#[test]
fn a_token_that_was_taken_makes_the_next_refusal_a_first_one() {
    let refused = CloseCode::Unauthorized.number();
    let mut session = asking();
    for round in 0..10 {
        let (link, _) = fetched(&mut session, at(round));
        assert!(session.handle_welcome(at(round), HEARTBEAT));
        session.handle_closed(at(round), link, refused, "the token has expired");
        assert!(matches!(session.phase(), Phase::Reconnecting { .. }));
        session.nudge(at(round), 0);
    }
}

#[test]
fn a_fetch_that_fails_or_never_ends_is_a_failed_attempt_and_another_follows() {
    for fails in [true, false] {
        let mut session = asking();
        let mut now = at(0);
        let mut longest = Duration::ZERO;
        for _ in 0..12 {
            let [Action::Fetch(link, TokenReason::Connect)] = actions(&mut session)[..] else {
                panic!("expected a fetch")
            };
            if fails {
                session.handle_token(now, link, Err("the issuer is away"));
                assert_eq!(session.reason(), "the issuer is away");
            } else {
                now = session.poll_timeout().expect("a deadline");
                session.handle_timeout(now);
                assert_eq!(session.reason(), "no token came in time");
            }
            session.handle_token(now, link, Ok("late"));
            assert_eq!(actions(&mut session), [], "what comes after that is too late");
            let until = session.poll_timeout().expect("a time to try again");
            longest = longest.max(until.since(now));
            now = until;
            session.handle_timeout(now);
        }
        assert!(longest > Duration::from_secs(8), "it backs off: {longest:?}");
    }
}

#[test]
fn a_terminal_code_ends_the_session_and_the_servers_wish_is_kept() {
    let (mut session, link) = live();
    session.handle_goodbye(Some(Duration::from_secs(60)));
    session.handle_closed(at(10), link, CloseCode::Restarting.number(), "restarting");
    assert!(session.poll_timeout().unwrap() >= at(60_010));

    let (mut session, link) = live();
    session.handle_closed(at(10), link, CloseCode::Unauthorized.number(), "no");
    assert_eq!(session.phase(), Phase::Closed);
    assert_eq!(session.poll_timeout(), None);
}

#[test]
fn a_probe_behind_writes_waits_for_them_and_no_longer_than_the_next_ping() {
    for (waits, expected) in [(0, 5), (SLOWEST_LINE - 1, 5), (4 * SLOWEST_LINE, 9), (usize::MAX, 25)] {
        let (mut session, _) = live();
        session.nudge(at(0), waits);
        let mut now = at(0);
        while session.live_link().is_some() {
            now = session.poll_timeout().unwrap();
            session.handle_timeout(now);
        }
        assert_eq!(now, at(expected * 1_000), "behind {waits} bytes");
    }
}
