//! `tidewire-simulator [--seeds N] [--from SEED] [--collections | --stack]`: plays N seeds on every core, prints the ledger, and
//! shrinks what fails.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use tidewire_simulator::{Collections, Draw, Objects, Stack, Summary, World, rig::LedgerOf, shrink};

fn main() -> ExitCode {
    let number = |name: &str, default: u64| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
        arguments.next().map_or(Ok(default), |text| text.parse())
    };
    let (Ok(seeds), Ok(from)) = (number("--seeds", 10_000), number("--from", 0)) else {
        eprintln!("usage: tidewire-simulator [--seeds N] [--from SEED] [--collections | --stack]");
        return ExitCode::FAILURE;
    };
    let is_given = |name: &str| std::env::args().any(|argument| argument == name);
    if is_given("--collections") {
        soak::<Collections>(from, seeds)
    } else if is_given("--stack") {
        soak::<Stack>(from, seeds)
    } else {
        soak::<Objects>(from, seeds)
    }
}

fn soak<W: World>(from: u64, seeds: u64) -> ExitCode {
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<_> = thread::scope(|scope| {
        let work = || {
            let (mut ledger, mut total, mut failed) =
                (LedgerOf::<W>::default(), Summary::default(), Vec::new());
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= from + seeds {
                    return (ledger, total, failed);
                }
                match W::run(&W::Mix::draw(seed), &mut ledger) {
                    Ok(summary) => total.add(&summary),
                    Err(_) => failed.push(seed),
                }
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
    });
    let (mut ledger, mut total, mut failed) = (LedgerOf::<W>::default(), Summary::default(), Vec::new());
    for (part, summary, seeds) in &results {
        ledger.add(part);
        total.add(summary);
        failed.extend(seeds);
    }
    failed.sort_unstable();
    println!("{ledger}\n");
    println!(
        "{seeds} seeds from {from} in {:.1?}: {} messages, {} applied, {} refetches, {} failed",
        started.elapsed(),
        total.delivered,
        total.applied,
        total.refetches,
        failed.len()
    );
    for seed in failed.iter().take(3) {
        if let Some((mix, fault)) = shrink::<W>(&W::Mix::draw(*seed)) {
            println!("\nseed {seed}, shrunk: {mix:#?}\n{fault}");
        }
    }
    if results.len() == workers && failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
