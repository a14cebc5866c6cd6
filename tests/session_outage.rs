//! Ten thousand sessions after an outage: they come back spread out, and a server that drops them again is not stormed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use tidewire::{
    protocol::Timestamp,
    session::{Action, Generation, Session},
};

const CLIENTS: u64 = 10_000;
const HEARTBEAT: Duration = Duration::from_secs(10);
/// What arrives is counted per so many milliseconds.
const BIN: u64 = 100;
const OUTAGE: u64 = 120_000;

/// What the server does with a dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Refuse,
    /// Nothing: the dial runs into its deadline.
    Silence,
    /// Greets, and drops the connection a moment later.
    AcceptAndDrop,
    Accept,
}

struct Crowd {
    sessions: Vec<Session>,
    due: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Crowd {
    /// Sessions that are live, of use, and lose their link at time zero.
    fn after_a_crash() -> Self {
        let now = Timestamp::from_millis(0);
        let sessions = (0..CLIENTS).map(|client| {
            let mut session = Session::new(format!("client {client}"), None, client);
            session.start(now);
            let link = dialed(&mut session).unwrap();
            session.handle_opened(now, link);
            session.handle_welcome(now, HEARTBEAT);
            session.handle_useful();
            while session.poll_action().is_some() {}
            session.handle_closed(now, link, 1006, "");
            session
        });
        let mut crowd = Self { sessions: sessions.collect(), due: BinaryHeap::new() };
        for index in 0..crowd.sessions.len() {
            crowd.schedule(index);
        }
        crowd
    }

    fn schedule(&mut self, index: usize) {
        if let Some(due) = self.sessions[index].poll_timeout() {
            self.due.push(Reverse((due.as_millis(), index)));
        }
    }

    /// Plays until `end`; gives the times of all dials. A client that was accepted is out of the game.
    fn play(&mut self, end: u64, answer: Answer) -> Vec<u64> {
        let mut dials = Vec::new();
        while let Some(Reverse((at, index))) = self.due.peek().copied().filter(|Reverse((at, _))| *at < end) {
            self.due.pop();
            let now = Timestamp::from_millis(at);
            let session = &mut self.sessions[index];
            session.handle_timeout(now);
            if let Some(link) = dialed(session) {
                dials.push(at);
                match answer {
                    Answer::Refuse => session.handle_closed(now, link, 1006, ""),
                    Answer::Silence => {}
                    Answer::AcceptAndDrop => {
                        session.handle_opened(now, link);
                        assert!(session.handle_welcome(now, HEARTBEAT));
                        session.handle_closed(now, link, 1006, "");
                    }
                    Answer::Accept => continue,
                }
            }
            self.schedule(index);
        }
        dials
    }
}

fn dialed(session: &mut Session) -> Option<Generation> {
    let dialed = std::iter::from_fn(|| session.poll_action())
        .filter_map(|action| if let Action::Dial(link) = action { Some(link) } else { None });
    dialed.last()
}

/// The most and the mean of what arrives per bin, from the first to the last.
fn peak_and_mean(times: &[u64]) -> (f64, f64) {
    let (first, last) = (times.iter().min().unwrap() / BIN, times.iter().max().unwrap() / BIN);
    let mut bins = vec![0_u32; usize::try_from(last - first + 1).unwrap()];
    for time in times {
        bins[usize::try_from(time / BIN - first).unwrap()] += 1;
    }
    let sum: u32 = bins.iter().sum();
    (f64::from(*bins.iter().max().unwrap()), f64::from(sum) / f64::from(u32::try_from(bins.len()).unwrap()))
}

#[test]
fn after_an_outage_of_two_minutes_nobody_arrives_in_a_crowd() {
    for during in [Answer::Refuse, Answer::Silence] {
        let mut crowd = Crowd::after_a_crash();
        crowd.play(OUTAGE, during);
        let arrivals = crowd.play(OUTAGE + 60_000, Answer::Accept);
        assert_eq!(arrivals.len() as u64, CLIENTS, "{during:?}: all come back within a minute");
        let (peak, mean) = peak_and_mean(&arrivals);
        assert!(peak < 3.0 * mean, "{during:?}: {peak} at once, {mean:.1} in the mean");
    }
}

#[test]
fn a_server_that_accepts_and_drops_everybody_is_asked_ever_more_rarely() {
    let mut crowd = Crowd::after_a_crash();
    let dials = crowd.play(OUTAGE, Answer::AcceptAndDrop);
    let late = dials.iter().filter(|at| **at >= OUTAGE / 2).count() as u64;
    // At the longest backoff a client comes every fifteen seconds in the mean; one that began anew would come twenty
    // times a second.
    let expected = CLIENTS * (OUTAGE / 2) / 15_000;
    assert!(late < expected * 3 / 2, "{late} dials in the second minute, {expected} are due");
    let arrivals = crowd.play(OUTAGE + 60_000, Answer::Accept);
    let (peak, mean) = peak_and_mean(&arrivals);
    assert!(peak < 3.0 * mean, "{peak} at once, {mean:.1} in the mean");
}

#[test]
fn of_many_addresses_the_dead_ones_cost_a_moment_and_no_doubling_each() {
    let last_back = |addresses: u32| {
        let mut crowd = Crowd::after_a_crash();
        for session in &mut crowd.sessions {
            session.take_turns(addresses);
        }
        let mut last = 0;
        while let Some(Reverse((at, index))) = crowd.due.pop() {
            let now = Timestamp::from_millis(at);
            crowd.sessions[index].handle_timeout(now);
            let link = dialed(&mut crowd.sessions[index]).unwrap();
            // Half of the addresses are dead, in an order of each client's own.
            if fastrand::Rng::with_seed(at << 16 | index as u64).bool() {
                crowd.sessions[index].handle_closed(now, link, 1006, "");
                crowd.schedule(index);
            } else {
                last = last.max(at);
            }
        }
        last
    };
    assert!(last_back(10) < 3_000, "{} ms", last_back(10));
    assert!(last_back(1) > 20_000, "a single address that fails so often is asked more rarely");
}
