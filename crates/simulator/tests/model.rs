//! A small search, complete; `cargo run -p tidewire-simulator --profile simulation --example model` searches further.

use stateright::{Checker, Expectation, Model};
use tidewire_simulator::model::Bounds;

#[test]
fn every_interleaving_within_the_bounds_is_safe_and_can_be_mended() {
    let one = Bounds {
        replicas: 1,
        writes: 2,
        restarts: 0,
        attempts: 2,
        beacons: 1,
        corruptions: 0,
        refreshes: 0,
        rewinds: false,
    };
    let bounds = [
        Bounds { restarts: 1, ..one },
        Bounds { corruptions: 1, refreshes: 1, ..one },
        Bounds { beacons: 2, rewinds: true, ..one },
        Bounds { replicas: 2, writes: 1, restarts: 1, attempts: 1, ..one },
    ];
    let mut unseen: Option<Vec<&str>> = None;
    for bounds in bounds {
        let checker = bounds.checker().threads(2).spawn_dfs().join();
        let mut not_seen = Vec::new();
        for property in bounds.properties() {
            let found = checker.discovery(property.name);
            match property.expectation {
                Expectation::Sometimes if found.is_none() => not_seen.push(property.name),
                Expectation::Sometimes => {}
                Expectation::Always | Expectation::Eventually => {
                    assert!(
                        found.is_none(),
                        "{} fails in {bounds:?} after\n{}",
                        property.name,
                        found.unwrap()
                    );
                }
            }
        }
        assert!(checker.unique_state_count() > 3_000, "only {} states", checker.unique_state_count());
        unseen = Some(match unseen {
            None => not_seen,
            Some(before) => before.into_iter().filter(|name| not_seen.contains(name)).collect(),
        });
    }
    assert_eq!(unseen, Some(Vec::new()), "transitions that no search has seen");
}
