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

fn feed(replica: &mut Replica, sequence: u32, prev: Option<u64>) -> Vec<(Token, Option<Token>)> {
    let header = Header { prev, ..Header::new(EpochId(1), u64::from(sequence)) };
    let token = Token(sequence);
    let mut installed = Vec::new();
    match replica.offer(NOW, Source::Receipt, header, token, 0, &[]) {
        Offer::Installed { previous } => installed.push((token, previous)),
        Offer::Judge(ticket) => replica.judged(NOW, ticket, Verdict::Accepted),
        Offer::Drop(_) | Offer::Held | Offer::Settled => {}
    }
    while let Some(effect) = replica.poll_effect() {
        if let Effect::Install { token, previous, .. } = effect {
            installed.push((token, previous));
        }
    }
    installed
}

#[test]
fn a_receipt_in_order_allocates_nothing() {
    for trusted in [true, false] {
        let mut replica = Replica::new(Options { trusted, ..Options::default() }, 1);
        for sequence in 1..10 {
            feed(&mut replica, sequence, None);
        }
        let before = ALLOCATIONS.with(Cell::get);
        for sequence in 10..1_000_u32 {
            let header = Header::new(EpochId(1), u64::from(sequence));
            let offer = replica.offer(NOW, Source::Receipt, header, Token(sequence), 0, &[]);
            if let Offer::Judge(ticket) = offer {
                replica.judged(NOW, ticket, Verdict::Accepted);
            }
            while replica.poll_effect().is_some() {}
        }
        assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "trusted: {trusted}");
        assert_eq!(replica.stats().applied, 999);
    }
}

#[test]
fn the_short_way_does_what_the_long_way_does() {
    // The long way is the one with a gate. In order, filtered, repeated, and with a gap that is filled.
    let script: [(u32, Option<u64>); 14] = [
        (1, None),
        (2, None),
        (2, None),
        (3, Some(2)),
        (9, Some(3)),
        (9, Some(3)),
        (10, None),
        (12, None),
        (11, None),
        (13, None),
        (13, Some(13)),
        (5, None),
        (14, Some(2)),
        (15, None),
    ];
    let mut ways = [true, false].map(|trusted| Replica::new(Options { trusted, ..Options::default() }, 1));
    for (sequence, prev) in script {
        let installed = ways.each_mut().map(|replica| feed(replica, sequence, prev));
        assert_eq!(installed[0], installed[1], "after {sequence}");
        let [short, long] = &ways;
        assert_eq!(short.position(), long.position(), "after {sequence}");
        assert_eq!(short.cursor(), long.cursor(), "after {sequence}");
        assert_eq!(short.stats(), long.stats(), "after {sequence}");
        assert_eq!(short.status(), long.status(), "after {sequence}");
        assert_eq!(short.poll_timeout(), long.poll_timeout(), "after {sequence}");
    }
}
