//! What the host may rely on beyond the specifications: tickets, dispose with effects pending, timers, the law of backoff,
//! what is weighed, and which states count as one.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use tidewire::{
    protocol::Timestamp,
    replica::{Effect, EpochId, Header, Kind, Offer, Options, Page, Replica, Source, Ticket, Token, Verdict},
};

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn offer(replica: &mut Replica, sequence: u64) -> Offer {
    let token = Token(u32::try_from(sequence).unwrap_or(0));
    replica.offer(NOW, Source::Receipt, Header::new(EpochId(1), sequence), token, 0, &[])
}

#[test]
fn a_verdict_on_another_ticket_changes_nothing() {
    let mut replica = Replica::new(Options::default(), 1);
    let Offer::Judge(ticket) = offer(&mut replica, 1) else { panic!("a first receipt crosses the gate") };
    replica.judged(NOW, Ticket::from_number(ticket.get() + 1), Verdict::Accepted);
    assert_eq!(replica.position(), None);
    replica.judged(NOW, ticket, Verdict::Accepted);
    assert_eq!(replica.position().map(|mark| mark.sequence), Some(1));
    replica.judged(NOW, ticket, Verdict::Refused);
    assert_eq!(replica.stats().parse_errors, 0, "a ticket is good for one verdict");
    let Offer::Judge(second) = offer(&mut replica, 2) else { panic!("as does the second") };
    assert_ne!(second, ticket);
    assert_eq!(Ticket::from_number(second.get()), second, "whatever language it passes through");
}

#[test]
fn dispose_with_effects_pending_leaves_the_abort_alone() {
    let mut replica = Replica::new(Options { trusted: true, ..Options::default() }, 1);
    offer(&mut replica, 1);
    offer(&mut replica, 5);
    replica.dispose();
    assert_eq!(replica.poll_effect(), Some(Effect::Abort { attempt: 1 }));
    assert_eq!(replica.poll_effect(), None);
    assert_eq!(replica.poll_timeout(), None);
}

#[test]
fn backoff_doubles_up_to_a_beacon_period_with_full_jitter() {
    let period = Duration::from_secs(10);
    let longest = [1, 2, 4, 8, 10, 10, 10].map(Duration::from_secs);
    let mut waits = vec![Vec::new(); longest.len()];
    for seed in 0..400 {
        let mut replica =
            Replica::new(Options { trusted: true, beacon_period: period, ..Options::default() }, seed);
        offer(&mut replica, 1);
        offer(&mut replica, 5);
        let mut now = NOW;
        for waits in &mut waits {
            let attempt = replica.attempt().unwrap_or_default();
            replica.handle_failure(now, attempt);
            let Some(due) = replica.poll_timeout() else { panic!("a failed attempt is tried again") };
            waits.push(due.since(now));
            now = due;
            replica.handle_timeout(now);
        }
    }
    for (waits, longest) in waits.iter().zip(longest) {
        let (least, most) = (waits.iter().min().copied(), waits.iter().max().copied());
        assert!(most <= Some(longest), "{most:?} is longer than {longest:?}");
        assert!(most > Some(longest * 9 / 10), "{most:?} does not reach {longest:?}");
        assert!(least < Some(longest / 10), "{least:?} is no full jitter of {longest:?}");
    }
}

#[test]
fn the_same_seed_waits_the_same_times_everywhere() {
    // SplitMix64 of 1234567 begins with these, by its authors' reference.
    let numbers: [u64; 5] = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
        16_408_922_859_458_223_821,
    ];
    let expected = [(0, 1_000), (1, 2_000), (2, 4_000), (3, 8_000), (4, 10_000)]
        .map(|(index, longest): (usize, u64)| Duration::from_millis(1 + numbers[index] % longest));
    let mut replica = Replica::new(Options { trusted: true, ..Options::default() }, 1_234_567);
    offer(&mut replica, 1);
    offer(&mut replica, 5);
    let waits = expected.map(|_| {
        replica.handle_failure(NOW, replica.attempt().unwrap_or_default());
        let due = replica.poll_timeout().unwrap_or_default();
        replica.handle_timeout(due);
        due.since(NOW)
    });
    assert_eq!(waits, expected);
}

#[test]
fn repeats_of_a_refusal_wait_as_failures_do() {
    let longest = [1, 2, 4, 8, 10, 10].map(Duration::from_secs);
    let mut most = [Duration::ZERO; 6];
    for seed in 0..400 {
        let mut replica = Replica::new(Options { retry: false, ..Options::default() }, seed);
        let mut refuse = |sequence| {
            if let Offer::Judge(ticket) = offer(&mut replica, sequence) {
                replica.judged(NOW, ticket, if sequence == 1 { Verdict::Accepted } else { Verdict::Refused });
            }
            let wait = replica.poll_timeout().map(|due| due.since(NOW)).unwrap_or_default();
            if replica.attempt().is_none() {
                replica.handle_timeout(NOW + wait);
            }
            replica.handle_failure(NOW, replica.attempt().unwrap_or_default());
            wait
        };
        refuse(1);
        assert_eq!(refuse(2), Options::default().attempt_deadline, "the first one asks at once");
        for most in &mut most {
            *most = refuse(2).max(*most);
        }
    }
    for (most, longest) in most.into_iter().zip(longest) {
        assert!(most <= longest && most > longest * 9 / 10, "{most:?}, where {longest:?} is the longest");
    }
}

#[test]
fn a_timer_that_rings_early_changes_nothing() {
    let mut replica = Replica::new(Options { trusted: true, ..Options::default() }, 1);
    offer(&mut replica, 1);
    offer(&mut replica, 5);
    // First with the request in flight, then in the backoff after it.
    for _ in 0..2 {
        while replica.poll_effect().is_some() {}
        let (attempt, due) = (replica.attempt(), replica.poll_timeout());
        replica.handle_timeout(NOW);
        assert_eq!((replica.attempt(), replica.poll_timeout()), (attempt, due));
        assert_eq!(replica.poll_effect(), None);
        replica.handle_failure(NOW, 1);
    }
}

#[test]
fn what_is_held_back_is_weighed_while_it_is_held() {
    let mut replica = Replica::new(Options { has_refetch: false, ..Options::default() }, 1);
    let hold = |replica: &mut Replica, epoch: u32, sequence: u64, weight: u32, verdict: Verdict| {
        let header = Header::new(EpochId(epoch), sequence);
        replica.receive(NOW, header, Token(weight), weight, || verdict);
        replica.held_weight()
    };
    assert_eq!(hold(&mut replica, 1, 1, 5, Verdict::Accepted), 0);
    assert_eq!(hold(&mut replica, 1, 4, 30, Verdict::Refused), 0, "a refused one is its header only");
    assert_eq!(hold(&mut replica, 1, 4, 40, Verdict::Accepted), 40, "a good copy takes its place");
    assert_eq!(hold(&mut replica, 1, 9, 500, Verdict::Accepted), 540);
    assert_eq!(hold(&mut replica, 2, 7, 6_000, Verdict::Accepted), 6_540, "of all epochs");
    let later = NOW + Options::default().attempt_deadline;
    for n in 1..=2 {
        replica.handle_beacon(later, 1, n, EpochId(1), 5);
    }
    assert_eq!(replica.held_weight(), 6_040, "a lower head takes what is above it");
    hold(&mut replica, 1, 3, 7, Verdict::Accepted);
    hold(&mut replica, 1, 2, 8, Verdict::Accepted);
    assert_eq!((replica.held_weight(), replica.cursor()), (6_000, Some(4)), "what is drained weighs nothing");
}

#[test]
fn what_decides_the_future_tells_states_apart_and_the_seed_does_not() {
    let digest = |replica: &Replica| {
        let mut hasher = DefaultHasher::new();
        replica.hash(&mut hasher);
        hasher.finish()
    };
    let made = |seed| Replica::new(Options { trusted: true, ..Options::default() }, seed);
    let mut replica = made(1);
    assert_eq!(digest(&replica), digest(&made(2)));
    offer(&mut replica, 1);
    assert_ne!(digest(&replica), digest(&made(1)), "a position");
    while replica.poll_effect().is_some() {}
    let before = replica.clone();
    replica.refresh(NOW);
    replica.handle_current(NOW, 1, EpochId(1), 1);
    while replica.poll_effect().is_some() {}
    assert_ne!(digest(&replica), digest(&before), "the number of attempts");
}

#[test]
fn operations_wait_for_an_earlier_one_up_to_a_limit() {
    const LIMIT: u64 = 65_536;
    let options = Options { kind: Kind::Collection, ordered_transport: false, ..Options::default() };
    let mut replica = Replica::new(Options { trusted: true, ..options }, 1);
    replica.refresh(NOW);
    let page = Page { token: Token(0), number: 0, head: 1, is_last: false };
    replica.offer_page(NOW, Source::Refetch { attempt: 1 }, Header::new(EpochId(1), 1), page, &[]);
    // Sequence 2 is missing.
    for sequence in 3..3 + LIMIT {
        offer(&mut replica, sequence);
        while replica.poll_effect().is_some() {}
    }
    assert_eq!(replica.attempt(), Some(1));
    offer(&mut replica, 3 + LIMIT);
    assert_eq!(replica.attempt(), Some(2), "then the snapshot begins again");
}

const DEADLINE: Duration = Duration::from_secs(10);
const A_MOMENT: Duration = Duration::from_millis(1);
const A_SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_is_past_its_deadline_says_since_when_and_is_given_a_second_more_at_a_time() {
    let mut asking = Replica::new(Options { trusted: true, ..Options::default() }, 1);
    assert_eq!(asking.overdue_since(NOW + DEADLINE), None, "nothing was asked for");
    offer(&mut asking, 1);
    offer(&mut asking, 5);
    // The answer to a subscription, page by page: it has a deadline of its own.
    let options = Options { kind: Kind::Collection, trusted: true, ..Options::default() };
    let mut filling = Replica::new(options, 1);
    let page = Page { token: Token(0), number: 0, head: 1, is_last: false };
    filling.offer_page(NOW, Source::Hydration, Header::new(EpochId(1), 1), page, &[]);
    for mut replica in [asking, filling] {
        while replica.poll_effect().is_some() {}
        let due = NOW + DEADLINE;
        let before = Timestamp::from_millis(due.as_millis() - 1);
        assert_eq!(replica.poll_timeout(), Some(due));
        assert_eq!(replica.overdue_since(before), None);
        replica.extend(before);
        assert_eq!(replica.poll_timeout(), Some(due), "what is not overdue needs no more time");
        assert_eq!(replica.overdue_since(due), Some(NOW));
        assert_eq!(replica.overdue_since(due + A_MOMENT), Some(NOW));
        replica.extend(due);
        assert_eq!((replica.poll_timeout(), replica.overdue_since(due)), (Some(due + A_SECOND), None));
        replica.handle_timeout(due);
        assert_eq!(replica.poll_effect(), None);
        assert_eq!(replica.overdue_since(due + A_SECOND), Some(NOW), "and the beginning is the same");
        replica.handle_timeout(due + A_SECOND);
        assert!(replica.poll_effect().is_some(), "it is given up");
    }
}

#[test]
fn an_attempt_whose_pages_came_gives_the_next_one_no_more_time() {
    for pages in [false, true] {
        let options = Options { kind: Kind::Collection, trusted: true, ..Options::default() };
        let mut replica = Replica::new(options, 1);
        replica.refresh(NOW);
        if pages {
            let page = Page { token: Token(0), number: 0, head: 1, is_last: false };
            let source = Source::Refetch { attempt: 1 };
            replica.offer_page(NOW, source, Header::new(EpochId(1), 1), page, &[]);
        }
        replica.handle_timeout(NOW + DEADLINE);
        let retry = replica.poll_timeout().unwrap_or_default();
        replica.handle_timeout(retry);
        assert_eq!(replica.attempt(), Some(2));
        let next = if pages { DEADLINE } else { DEADLINE * 2 };
        assert_eq!(replica.poll_timeout(), Some(retry + next), "with pages: {pages}");
    }
}
