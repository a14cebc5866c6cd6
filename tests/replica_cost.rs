//! What the usual case costs: no allocation, with a gate or without; and the short way does what the long way does.

#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use tidewire::{
    protocol::Timestamp,
    replica::{Effect, EpochId, Header, Offer, Options, Replica, Source, Token, Verdict},
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches a thread-local number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: Timestamp = Timestamp::from_millis(1);

/// How a receipt is handed over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// By `offer`, without a gate.
    Trusted,
    /// By `offer`, with a gate that answers later.
    Ticket,
    /// By `receive`, with a gate that is a function.
    Function,
    /// As `Ticket`, but of a session that has just begun, so that the short way is closed.
    Long,
}

impl Way {
    const ALL: [Self; 4] = [Self::Trusted, Self::Ticket, Self::Function, Self::Long];

    fn replica(self) -> Replica {
        Replica::new(Options { trusted: self == Self::Trusted, ..Options::default() }, 1)
    }

    fn hand_over(self, replica: &mut Replica, header: Header, token: Token, verdict: Verdict) -> Offer {
        if self == Self::Long {
            replica.handle_session(NOW, u64::from(token.0), None);
        }
        if self == Self::Function {
            return replica.receive(NOW, header, token, 0, || verdict);
        }
        let offer = replica.offer(NOW, Source::Receipt, header, token, 0, &[]);
        if let Offer::Judge(ticket) = offer {
            replica.judged(NOW, ticket, verdict);
            return Offer::Settled;
        }
        offer
    }
}

/// What is shown, and every other effect.
fn feed(
    way: Way,
    replica: &mut Replica,
    header: Header,
    token: Token,
    verdict: Verdict,
) -> (Vec<(Token, Option<Token>)>, Vec<Effect>) {
    let (mut installed, mut others) = (Vec::new(), Vec::new());
    if let Offer::Installed { previous } = way.hand_over(replica, header, token, verdict) {
        installed.push((token, previous));
    }
    while let Some(effect) = replica.poll_effect() {
        match effect {
            Effect::Install { token, previous, .. } => installed.push((token, previous)),
            other => others.push(other),
        }
    }
    // What was asked is late by now; once that is settled the short way is open again.
    if replica.is_satisfied() {
        replica.handle_failure(NOW, replica.attempt().unwrap_or_default());
    }
    (installed, others)
}

#[test]
fn a_receipt_in_order_allocates_nothing() {
    for way in Way::ALL {
        let mut replica = way.replica();
        let mut hand_over = |sequence: u32| {
            let header = Header::new(EpochId(1), u64::from(sequence));
            way.hand_over(&mut replica, header, Token(sequence), Verdict::Accepted);
            while replica.poll_effect().is_some() {}
        };
        (1..10).for_each(&mut hand_over);
        let before = ALLOCATIONS.with(Cell::get);
        (10..1_000).for_each(&mut hand_over);
        assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "{way:?}");
        assert_eq!(replica.stats().applied, 999);
    }
}

/// In order, filtered, repeated, and with a gap that is filled.
const SCRIPT: [(u64, Option<u64>, Verdict); 14] = [
    (1, None, Verdict::Accepted),
    (2, None, Verdict::Accepted),
    (2, None, Verdict::Accepted),
    (3, Some(2), Verdict::Accepted),
    (9, Some(3), Verdict::Accepted),
    (9, Some(3), Verdict::Accepted),
    (10, None, Verdict::Accepted),
    (12, None, Verdict::Accepted),
    (11, None, Verdict::Accepted),
    (13, None, Verdict::Accepted),
    (13, Some(13), Verdict::Accepted),
    (5, None, Verdict::Accepted),
    (14, Some(2), Verdict::Accepted),
    (15, None, Verdict::Accepted),
];

/// Refused in order, its good copy, refused with a successor, and refused beyond a gap.
const REFUSALS: [(u64, Option<u64>, Verdict); 9] = [
    (16, None, Verdict::Refused),
    (16, None, Verdict::Accepted),
    (17, None, Verdict::Accepted),
    (18, None, Verdict::Refused),
    (19, None, Verdict::Accepted),
    (20, Some(19), Verdict::Accepted),
    (24, Some(22), Verdict::Refused),
    (22, Some(20), Verdict::Accepted),
    (24, Some(22), Verdict::Accepted),
];

#[test]
fn the_short_ways_do_what_the_long_way_does() {
    for way in Way::ALL {
        let (mut short, mut long) = (way.replica(), Way::Long.replica());
        // Without a gate nothing is refused.
        let refusals = if way == Way::Trusted { &[][..] } else { &REFUSALS };
        for (token, (sequence, prev, verdict)) in (1..).zip(SCRIPT.iter().chain(refusals)) {
            let header = Header { prev: *prev, ..Header::new(EpochId(1), *sequence) };
            let [did, should] = [(way, &mut short), (Way::Long, &mut long)]
                .map(|(way, replica)| feed(way, replica, header, Token(token), *verdict));
            assert_eq!(did, should, "{way:?}, {sequence}");
            assert_eq!(short.position(), long.position(), "{way:?}, {sequence}");
            assert_eq!(short.cursor(), long.cursor(), "{way:?}, {sequence}");
            assert_eq!(short.stats(), long.stats(), "{way:?}, {sequence}");
            assert_eq!(short.status(), long.status(), "{way:?}, {sequence}");
            assert_eq!(short.is_satisfied(), long.is_satisfied(), "{way:?}, {sequence}");
            assert_eq!(short.quarantined(), long.quarantined(), "{way:?}, {sequence}");
            assert_eq!(short.poll_timeout(), long.poll_timeout(), "{way:?}, {sequence}");
        }
    }
}
