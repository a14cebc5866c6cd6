//! `tidewire-simulator [--seeds N] [--from SEED] [--collections]`: plays N seeds on every core, prints the ledger, and
//! shrinks what fails.

use std::{
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

use tidewire_simulator::{Ledger, Mix, Run, Summary, collection, run, shrink};

fn main() -> ExitCode {
    let number = |name: &str, default: u64| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
        arguments.next().map_or(Ok(default), |text| text.parse())
    };
    let (Ok(seeds), Ok(from)) = (number("--seeds", 10_000), number("--from", 0)) else {
        eprintln!("usage: tidewire-simulator [--seeds N] [--from SEED] [--collections]");
        return ExitCode::FAILURE;
    };
    let play: Run =
        if std::env::args().any(|argument| argument == "--collections") { collection::run } else { run };
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<_> = thread::scope(|scope| {
        let work = || {
            let (mut ledger, mut total, mut failed) = (Ledger::default(), Summary::default(), Vec::new());
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= from + seeds {
                    return (ledger, total, failed);
                }
                match play(&Mix::draw(seed), &mut ledger) {
                    Ok(summary) => {
                        total.refetches += summary.refetches;
                        total.applied += summary.applied;
                        total.delivered += summary.delivered;
                    }
                    Err(_) => failed.push(seed),
                }
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
    });
    let (mut ledger, mut total, mut failed) = (Ledger::default(), Summary::default(), Vec::new());
    for (part, summary, seeds) in &results {
        ledger.add(part);
        total.refetches += summary.refetches;
        total.applied += summary.applied;
        total.delivered += summary.delivered;
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
        if let Some((mix, fault)) = shrink(&Mix::draw(*seed), play) {
            println!("\nseed {seed}, shrunk: {mix:#?}\n{fault}");
        }
    }
    if results.len() == workers && failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
