//! A sample of what `tidewire-simulator --seeds N` plays in bulk.

use tidewire_simulator::{
    Collections, Draw, Ledger, Mix, Objects, Stack, World,
    ledger::{Kind, Phase},
    shrink,
    stack::{self, Trouble},
};

const SEEDS: u64 = 20_000;

/// Faults of a request: they can only strike while one is in flight.
const OF_REQUESTS: [Kind; 4] = [Kind::RefetchFailure, Kind::RefetchLoss, Kind::Lagging, Kind::Dead];

#[test]
fn every_replica_stays_true_and_converges_whatever_the_mix_of_faults() {
    let mut ledger = Ledger::default();
    for seed in 0..SEEDS {
        let mix = Mix::draw(seed);
        if let Err(fault) = Objects::run(&mix, &mut ledger) {
            panic!("seed {seed}: {fault}\nshrunk: {:#?}", shrink::<Objects>(&mix));
        }
    }
    let missing: Vec<_> = ledger
        .missing()
        .into_iter()
        .filter(|(kind, phase)| !OF_REQUESTS.contains(kind) || phase.is_refetching())
        // Nothing is applied for a moment only, so what is rare meets it in larger samples.
        .filter(|(_, phase)| !matches!(phase, Phase::Empty | Phase::EmptyRefetching))
        .collect();
    assert!(missing.is_empty(), "never struck: {missing:?}\n{ledger}");
}

#[test]
fn every_collection_is_the_authoritys_table_at_its_position_and_converges() {
    let mut ledger = Ledger::default();
    for seed in 0..SEEDS / 4 {
        let mix = Mix::draw(seed);
        if let Err(fault) = Collections::run(&mix, &mut ledger) {
            panic!("seed {seed}: {fault}\nshrunk: {:#?}", shrink::<Collections>(&mix));
        }
    }
}

#[test]
fn the_whole_stack_stays_true_loses_nothing_and_converges_whatever_breaks() {
    let mut ledger = Ledger::default();
    for seed in 0..SEEDS / 8 {
        let mix = stack::Mix::draw(seed);
        if let Err(fault) = Stack::run(&mix, &mut ledger) {
            panic!("seed {seed}: {fault}\nshrunk: {:#?}", shrink::<Stack>(&mix));
        }
    }
    let missing: Vec<_> =
        ledger.missing().into_iter().filter(|(trouble, phase)| can_strike(*trouble, *phase)).collect();
    assert!(missing.is_empty(), "never struck: {missing:?}\n{ledger}");
}

/// Whether a trouble can strike a client in a phase at all.
fn can_strike(trouble: Trouble, phase: stack::Phase) -> bool {
    match trouble {
        Trouble::Refuse | Trouble::Hang => phase == stack::Phase::Connecting,
        Trouble::Stall
        | Trouble::HalfOpen
        | Trouble::OneWay
        | Trouble::Cut
        | Trouble::Close
        | Trouble::Evict
        | Trouble::Slow
        | Trouble::Garbage => phase != stack::Phase::Waiting,
        Trouble::Sleep | Trouble::Nudge | Trouble::Poison => phase != stack::Phase::Asleep,
        Trouble::ClockBack
        | Trouble::ClockAhead
        | Trouble::DiskFailure
        | Trouble::DiskLoss
        | Trouble::Crash
        | Trouble::Restart
        | Trouble::Restore
        | Trouble::Reload
        | Trouble::ShortLife => true,
    }
}

#[test]
fn a_seed_is_the_whole_run() {
    fn check<W: World>(seed: u64) {
        let digest = || W::run(&W::Mix::draw(seed), &mut Ledger::default()).map(|summary| summary.digest);
        assert_eq!(digest(), digest(), "seed {seed}");
    }
    for seed in 0..200 {
        check::<Objects>(seed);
        check::<Collections>(seed);
        check::<Stack>(seed);
    }
}

#[test]
fn a_mix_that_holds_does_not_shrink() {
    assert_eq!(shrink::<Objects>(&Mix::draw(1)), None);
    assert_eq!(shrink::<Stack>(&stack::Mix::draw(1)), None);
}
