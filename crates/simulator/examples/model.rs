//! Explores every interleaving within the bounds:
//! `model [replicas writes restarts attempts beacons corruptions refreshes [thousands [rewinds]]]`; it ends the search
//! after so many thousand visits.

use std::{process::ExitCode, time::Instant};

use stateright::{Checker, Model};
use tidewire_simulator::model::Bounds;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let mut next = |default: u32| numbers.next().and_then(Result::ok).unwrap_or(default);
    let bounds = Bounds {
        replicas: next(2) as usize,
        writes: next(4),
        restarts: next(1),
        attempts: next(2),
        beacons: u64::from(next(1)),
        corruptions: next(1),
        refreshes: next(1),
        rewinds: false,
    };
    let thousands = next(3_000) as usize;
    let bounds = Bounds { rewinds: next(0) > 0, ..bounds };
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let builder = bounds.checker().threads(threads).target_state_count(thousands.saturating_mul(1_000));
    let checker = builder.spawn_bfs().join();
    println!(
        "{bounds:?}\n{} unique states, {} visited, depth {}, in {:.1?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        started.elapsed()
    );
    let mut holds = true;
    for property in bounds.properties() {
        match (&property.expectation, checker.discovery(property.name)) {
            (stateright::Expectation::Sometimes, found) => {
                println!("{}: {}", property.name, if found.is_some() { "seen" } else { "never seen" });
            }
            (_, None) => println!("{}: always", property.name),
            (_, Some(path)) => {
                holds = false;
                println!("{}: FAILS after\n{path}\nin {:#?}", property.name, path.last_state());
            }
        }
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
