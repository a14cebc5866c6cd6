//! What the reconciler costs per in-order receipt, beside a loop that only reads the same headers.
//!
//! `cargo bench --bench replica` prints each one's time, and then how many times the bare loop's it is, measured in
//! turns so that all meet the same machine. The bar is four; docs/cost.md has the figures.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use divan::{Bencher, counter::ItemsCount};
use tidewire::{
    protocol::Timestamp,
    replica::{Effect, EpochId, Header, Mark, Offer, Options, Replica, Source, Token, Verdict, Version},
};

const RECEIPTS: u32 = 10_000;
const NOW: Timestamp = Timestamp::from_millis(1);

fn main() {
    divan::main();
    // Not in test runs, nor for `--list`.
    if std::env::args().any(|argument| argument == "--bench") {
        print_ratios();
    }
}

fn headers() -> Vec<Header> {
    let version = Version { id: 1, major: Some(1) };
    (1..=RECEIPTS)
        .map(|sequence| Header { version, ..Header::new(EpochId(1), u64::from(sequence)) })
        .collect()
}

fn replica(trusted: bool) -> Replica {
    Replica::new(Options { trusted, declared_major: Some(1), ..Options::default() }, 1)
}

/// What a host does with a value that is shown: it takes both names, and frees what one of them names.
fn show(token: Token, previous: Option<Token>) {
    black_box(token);
    if let Some(previous) = previous {
        black_box(previous);
    }
}

fn show_effects(replica: &mut Replica) {
    while let Some(effect) = replica.poll_effect() {
        if let Effect::Install { token, previous, .. } = effect {
            show(token, previous);
        }
    }
}

/// The least that any reconciler does: read what the rules look at, compare, store the position.
fn play_bare(headers: &[Header]) {
    let declared = black_box(Some(1));
    let mut position = Mark { epoch: EpochId(1), sequence: 0 };
    for header in black_box(headers) {
        let prev = header.prev.unwrap_or(header.sequence.wrapping_sub(1));
        if header.epoch == position.epoch
            && prev <= position.sequence
            && position.sequence < header.sequence
            && header.version.major == declared
        {
            position.sequence = header.sequence;
            black_box(&mut position);
        }
    }
}

fn play_trusted(replica: &mut Replica, headers: &[Header]) {
    for (token, header) in (1..).map(Token).zip(black_box(headers)) {
        match replica.offer(NOW, Source::Receipt, *header, token, 0, &[]) {
            Offer::Installed { previous } => show(token, previous),
            _ => show_effects(replica),
        }
    }
}

fn play_function(replica: &mut Replica, headers: &[Header]) {
    for (token, header) in (1..).map(Token).zip(black_box(headers)) {
        match replica.receive(NOW, *header, token, 0, || black_box(Verdict::Accepted)) {
            Offer::Installed { previous } => show(token, previous),
            _ => show_effects(replica),
        }
    }
}

fn play_ticket(replica: &mut Replica, headers: &[Header]) {
    for (token, header) in (1..).map(Token).zip(black_box(headers)) {
        let offer = replica.offer(NOW, Source::Receipt, *header, token, 0, &[]);
        if let Offer::Judge(ticket) = offer {
            replica.judged(NOW, ticket, black_box(Verdict::Accepted));
        }
        show_effects(replica);
    }
}

#[divan::bench]
fn bare_loop(bencher: Bencher<'_, '_>) {
    let headers = headers();
    bencher.counter(ItemsCount::new(RECEIPTS)).bench_local(|| play_bare(&headers));
}

#[divan::bench]
fn without_a_gate(bencher: Bencher<'_, '_>) {
    bench(bencher, true, play_trusted);
}

#[divan::bench]
fn with_a_gate_that_is_a_function(bencher: Bencher<'_, '_>) {
    bench(bencher, false, play_function);
}

#[divan::bench]
fn with_a_gate_that_answers_by_ticket(bencher: Bencher<'_, '_>) {
    bench(bencher, false, play_ticket);
}

fn bench(bencher: Bencher<'_, '_>, trusted: bool, play: impl Fn(&mut Replica, &[Header])) {
    let headers = headers();
    bencher
        .counter(ItemsCount::new(RECEIPTS))
        .with_inputs(|| replica(trusted))
        .bench_local_refs(|replica| play(replica, &headers));
}

/// The least time of each over many turns: what disturbs a turn only ever adds to it.
fn print_ratios() {
    const TURNS: u32 = 500;
    let headers = headers();
    let mut least = [Duration::MAX; 4];
    for _ in 0..TURNS {
        let (mut trusted, mut function, mut ticket) = (replica(true), replica(false), replica(false));
        let times = [
            time(|| play_bare(&headers)),
            time(|| play_trusted(&mut trusted, &headers)),
            time(|| play_function(&mut function, &headers)),
            time(|| play_ticket(&mut ticket, &headers)),
        ];
        for (least, time) in least.iter_mut().zip(times) {
            *least = time.min(*least);
        }
    }
    let nanos = least.map(|time| time.as_secs_f64() * 1e9 / f64::from(RECEIPTS));
    let names =
        ["bare loop", "no gate", "pass-through gate, a function", "pass-through gate, asked by ticket"];
    for (name, nanos_each) in names.iter().zip(nanos) {
        println!("{name}: {nanos_each:.2} ns per receipt, {:.1} times the bare loop", nanos_each / nanos[0]);
    }
}

fn time(play: impl FnOnce()) -> Duration {
    let started = Instant::now();
    play();
    started.elapsed()
}
