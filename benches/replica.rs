//! What the reconciler costs per in-order receipt, beside a loop that only reads the same headers.
//!
//! `cargo bench --bench replica`. The bar: at most four times the bare loop.

use std::hint::black_box;

use divan::{Bencher, counter::ItemsCount};
use tidewire::{
    protocol::Timestamp,
    replica::{EpochId, Header, Mark, Offer, Options, Replica, Source, Token, Verdict, Version},
};

const RECEIPTS: u64 = 10_000;

fn main() {
    divan::main();
}

fn headers() -> Vec<Header> {
    let version = Version { id: 1, major: Some(1) };
    (1..=RECEIPTS).map(|sequence| Header { version, ..Header::new(EpochId(1), sequence) }).collect()
}

/// The least that any reconciler does: read each header, compare, store the position.
#[divan::bench]
fn bare_loop(bencher: Bencher<'_, '_>) {
    let headers = headers();
    bencher.counter(ItemsCount::new(RECEIPTS)).bench_local(|| {
        let mut position = Mark { epoch: EpochId(1), sequence: 0 };
        for header in black_box(&headers) {
            if header.epoch == position.epoch && header.sequence == position.sequence + 1 {
                position.sequence = header.sequence;
                black_box(&mut position);
            }
        }
        position
    });
}

#[divan::bench]
fn without_a_gate(bencher: Bencher<'_, '_>) {
    let headers = headers();
    let options = Options { trusted: true, declared_major: Some(1), ..Options::default() };
    bencher.counter(ItemsCount::new(RECEIPTS)).with_inputs(|| Replica::new(options, 1)).bench_local_refs(
        |replica| {
            let now = Timestamp::from_millis(1);
            for (token, header) in (1..).zip(black_box(&headers)) {
                match replica.offer(now, Source::Receipt, *header, Token(token), 0, &[]) {
                    Offer::Installed { previous } => {
                        black_box(previous);
                    }
                    _ => while replica.poll_effect().is_some() {},
                }
            }
        },
    );
}

#[divan::bench]
fn with_a_gate_that_passes(bencher: Bencher<'_, '_>) {
    let headers = headers();
    bencher
        .counter(ItemsCount::new(RECEIPTS))
        .with_inputs(|| Replica::new(Options { declared_major: Some(1), ..Options::default() }, 1))
        .bench_local_refs(|replica| {
            let now = Timestamp::from_millis(1);
            for (token, header) in (1..).zip(black_box(&headers)) {
                let offer = replica.offer(now, Source::Receipt, *header, Token(token), 0, &[]);
                if let Offer::Judge(ticket) = offer {
                    replica.judged(now, ticket, Verdict::Accepted);
                }
                while let Some(effect) = replica.poll_effect() {
                    black_box(effect);
                }
            }
        });
}
