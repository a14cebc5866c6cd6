//! What the host may rely on beyond the specifications: tickets, dispose with effects pending, and the law of backoff.

use std::time::Duration;

use tidewire::{
    protocol::Timestamp,
    replica::{Effect, EpochId, Header, Offer, Options, Replica, Source, Ticket, Token, Verdict},
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
