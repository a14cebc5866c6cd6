//! The reconciler with its values: what is shown, what is kept, and what comes out in which order.

use std::{
    cell::RefCell,
    iter,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tidewire::{
    protocol::Timestamp,
    replica::{EpochId, Header, Kind, Mark, Options, Output, Reason, Refused, Status, Typed},
};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const A: EpochId = EpochId(1);
const B: EpochId = EpochId(2);

type Number = Typed<i64, String>;

/// A replica of a number whose gate reads a decimal, and notes what it was asked.
fn number(options: Options) -> (Number, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let notes = Arc::clone(&asked);
    let gate = move |text: &String| {
        notes.lock().map_err(|error| error.to_string())?.push(text.clone());
        text.parse().map_err(|_| format!("{text} is no number"))
    };
    (Typed::new(options, 1, gate), asked)
}

fn receive(replica: &mut Number, epoch: EpochId, sequence: u64, text: &str) {
    replica.receive(NOW, Header::new(epoch, sequence), text.to_owned(), 8);
}

fn outputs(replica: &mut Number) -> Vec<Output> {
    iter::from_fn(|| replica.poll_output()).collect()
}

const fn at(sequence: u64) -> Mark {
    Mark { epoch: A, sequence }
}

#[test]
fn what_is_shown_is_the_output_of_the_gate() {
    let (mut replica, _) = number(Options::default());
    assert_eq!((replica.get(), replica.meta().status), (None, Status::Stale));
    receive(&mut replica, A, 7, "70");
    assert_eq!(replica.get(), Some(&70));
    assert_eq!(outputs(&mut replica), [Output::Changed, Output::Ready]);
    receive(&mut replica, A, 8, "80");
    assert_eq!(replica.get(), Some(&80));
    assert_eq!(outputs(&mut replica), [Output::Changed], "ready comes once");
    let meta = replica.meta();
    assert_eq!((meta.position, meta.cursor, meta.status), (Some(at(8)), Some(8), Status::Ok));
    assert_eq!((meta.epoch, meta.version, replica.stats().applied), (Some(A), 0, 2));
}

#[test]
fn every_replica_of_values_is_a_gated_object() {
    let (mut replica, _) = number(Options { kind: Kind::Collection, trusted: true, ..Options::default() });
    receive(&mut replica, A, 1, "x");
    assert_eq!(replica.get(), None);
    receive(&mut replica, A, 2, "2");
    assert_eq!(replica.get(), Some(&2));
}

#[test]
fn a_refused_value_is_in_quarantine_with_its_reason_until_a_good_one_applies() {
    let (mut replica, _) = number(Options::default());
    receive(&mut replica, A, 1, "1");
    outputs(&mut replica);
    receive(&mut replica, A, 2, "two");
    let (value, reason) = ("two".to_owned(), "two is no number".to_owned());
    assert_eq!(replica.quarantined(), Some(Refused { value: &value, reason: &reason, at: at(2) }));
    assert_eq!((replica.get(), replica.meta().cursor), (Some(&1), Some(2)));
    let refetch = Output::Refetch { attempt: 1, position: Some(at(1)) };
    assert_eq!(outputs(&mut replica), [Output::Quarantined, refetch]);
    receive(&mut replica, A, 3, "three");
    assert_eq!(replica.quarantined().map(|refused| refused.value.as_str()), Some("three"));
    receive(&mut replica, A, 4, "4");
    assert_eq!((replica.get(), replica.quarantined()), (Some(&4), None));
}

#[test]
fn the_hold_back_drains_in_order_and_the_change_is_told_once() {
    let (mut replica, asked) = number(Options::default());
    for (sequence, text) in [(1, "1"), (4, "4"), (3, "3")] {
        receive(&mut replica, A, sequence, text);
    }
    assert_eq!((replica.get(), replica.machine().held()), (Some(&1), 2));
    outputs(&mut replica);
    receive(&mut replica, A, 2, "2");
    assert_eq!((replica.get(), replica.machine().held(), replica.stats().applied), (Some(&4), 0, 4));
    assert_eq!(outputs(&mut replica), [Output::Changed]);
    assert_eq!(*asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner), ["1", "4", "3", "2"]);
}

#[test]
fn what_is_held_of_an_unknown_epoch_meets_the_gate_when_its_turn_comes() {
    let (mut replica, asked) = number(Options::default());
    receive(&mut replica, A, 9, "9");
    receive(&mut replica, B, 2, "22");
    receive(&mut replica, B, 3, "bad");
    let asked = || asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len();
    assert_eq!((asked(), replica.meta().status), (1, Status::Refetching));
    outputs(&mut replica);
    let lineage = [(A, 8)];
    replica.handle_snapshot(NOW, 1, Header::new(B, 1), "21".to_owned(), &lineage);
    assert_eq!((asked(), replica.get()), (4, Some(&22)));
    assert_eq!(replica.quarantined().map(|refused| refused.at), Some(Mark { epoch: B, sequence: 3 }));
    let rollback = Output::Rollback { from: at(9), kept: 8 };
    assert_eq!(outputs(&mut replica), [Output::Changed, rollback, Output::Quarantined]);
}

#[test]
fn what_a_header_decides_is_told_with_its_reason() {
    let (mut replica, asked) = number(Options::default());
    let seed = |replica: &mut Number, header| replica.hydrate(NOW, header, "5".to_owned(), &[]);
    assert_eq!(seed(&mut replica, Header::new(A, 5)), None);
    assert_eq!(seed(&mut replica, Header::new(B, 6)), Some(Reason::Unproven));
    assert_eq!(replica.receive(NOW, Header::plain(9), "9".to_owned(), 0), Some(Reason::Plain));
    let late = replica.handle_snapshot(NOW, 7, Header::new(A, 9), "9".to_owned(), &[]);
    assert_eq!(late, Some(Reason::OldGeneration));
    assert_eq!(asked.lock().map(|asked| asked.len()).ok(), Some(1));
}

#[test]
fn every_answer_ends_its_attempt() {
    let (mut replica, _) = number(Options::default());
    receive(&mut replica, A, 1, "1");
    let mut attempt = 0;
    let mut ask = |replica: &mut Number| {
        replica.refresh(NOW);
        attempt += 1;
        assert_eq!(outputs(replica).last(), Some(&Output::Refetch { attempt, position: Some(at(1)) }));
        attempt
    };
    let current = ask(&mut replica);
    replica.handle_current(NOW, current, A, 1);
    assert_eq!(replica.meta().status, Status::Ok);
    let null = ask(&mut replica);
    replica.handle_null(NOW, null);
    assert_eq!(replica.meta().status, Status::Stale);
    let failed = ask(&mut replica);
    replica.handle_failure(NOW, failed);
    assert_eq!(outputs(&mut replica), []);
    let due = replica.poll_timeout();
    assert!(due > Some(NOW), "a failed refresh is asked again");
    replica.handle_timeout(due.unwrap_or_default());
    assert_eq!(outputs(&mut replica), [Output::Refetch { attempt: 4, position: Some(at(1)) }]);
}

#[test]
fn beacons_and_sessions_tell_of_what_is_missing() {
    let (mut replica, _) = number(Options::default());
    receive(&mut replica, A, 5, "5");
    outputs(&mut replica);
    replica.handle_session(NOW, 2, Some(A));
    replica.handle_beacon(NOW, 1, 1, A, 9);
    assert_eq!(outputs(&mut replica), [], "of the session before");
    replica.handle_beacon(NOW, 2, 1, A, 9);
    assert_eq!(outputs(&mut replica), [Output::Refetch { attempt: 1, position: Some(at(5)) }]);
    replica.handle_failure(NOW, 1);
    let later = NOW + Duration::from_secs(20);
    replica.handle_beacon(later, 2, 2, A, 3);
    replica.handle_beacon(later, 2, 3, A, 3);
    let rollback = Output::Rollback { from: at(5), kept: 3 };
    assert_eq!(outputs(&mut replica), [rollback, Output::Refetch { attempt: 2, position: None }]);
    assert_eq!((replica.get(), replica.meta().position, replica.meta().epoch), (Some(&5), None, Some(A)));
}

#[test]
fn dispose_keeps_what_is_shown_and_aborts_what_is_asked() {
    let (mut replica, _) = number(Options::default());
    receive(&mut replica, A, 1, "1");
    receive(&mut replica, A, 2, "two");
    receive(&mut replica, A, 5, "5");
    replica.dispose(NOW);
    assert_eq!(outputs(&mut replica), [Output::Abort { attempt: 1 }]);
    assert_eq!((replica.get(), replica.quarantined(), replica.poll_timeout()), (Some(&1), None, None));
    assert_eq!(replica.receive(NOW, Header::new(A, 2), "2".to_owned(), 0), Some(Reason::Disposed));
    assert_eq!(outputs(&mut replica), []);
    assert_eq!(replica.get(), Some(&1));
}

#[test]
fn it_prints_what_it_shows() {
    let (mut replica, _) = number(Options::default());
    receive(&mut replica, A, 1, "17");
    let printed = format!("{replica:?}");
    assert!(printed.contains("Some(17)") && printed.contains("status: Ok"), "{printed}");
}

/// A value that counts its drops.
struct Counted(usize, Arc<Vec<AtomicU32>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1[self.0].fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn every_value_is_dropped_once_and_only_those_that_are_needed_are_kept() {
    const STEPS: usize = 4_000;
    // Inputs first, then what the gate makes of them.
    let drops: Arc<Vec<AtomicU32>> = Arc::new((0..2 * STEPS).map(|_| AtomicU32::new(0)).collect());
    let made: Arc<AtomicU32> = Arc::default();
    let gate_made = Arc::clone(&made);
    let gate = move |input: &Counted| {
        if input.0 % 7 == 3 {
            return Err(input.0);
        }
        gate_made.fetch_add(1, Ordering::Relaxed);
        Ok(Counted(STEPS + input.0, Arc::clone(&input.1)))
    };
    let mut replica: Typed<Counted, Counted, usize> = Typed::new(Options::default(), 1, gate);
    let random = RefCell::new(7_u64);
    let below = |limit: u64| {
        let mut state = random.borrow_mut();
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % limit
    };
    let (mut now, mut head) = (NOW, 1);
    for step in 0..STEPS {
        now = now + Duration::from_millis(below(400));
        head += below(2);
        // Mostly in order, with losses and repetitions; now and then of an epoch that is not known yet.
        let epoch = EpochId(1 + u32::try_from(step / 1_000).unwrap_or(0) + u32::from(below(50) == 0));
        let header = Header::new(epoch, (head + below(3)).saturating_sub(below(3)));
        let value = Counted(step, Arc::clone(&drops));
        match (below(10), replica.machine().attempt()) {
            (0, Some(attempt)) => {
                let lineage = [(EpochId(epoch.0 - 1), header.sequence)];
                replica.handle_snapshot(now, attempt, header, value, &lineage);
            }
            (1, Some(attempt)) => {
                drop(value);
                replica.handle_failure(now, attempt);
            }
            (2, _) => drop(replica.hydrate(now, header, value, &[])),
            _ => drop(replica.receive(now, header, value, 1)),
        }
        replica.handle_timeout(now);
        while replica.poll_output().is_some() {}
        let created = step + 1 + made.load(Ordering::Relaxed) as usize;
        let dropped: usize = drops.iter().map(|count| count.load(Ordering::Relaxed) as usize).sum();
        // What is shown, what is in quarantine, what is held back.
        let needed = replica.machine().held() + 2;
        assert!(created - dropped <= needed, "step {step}: {} of {needed} are kept", created - dropped);
    }
    assert!(replica.stats().applied > 500 && replica.stats().buffered > 100, "{:?}", replica.stats());
    drop(replica);
    assert!(drops.iter().take(STEPS).all(|count| count.load(Ordering::Relaxed) == 1));
    let outputs: u32 = drops.iter().skip(STEPS).map(|count| count.load(Ordering::Relaxed)).sum();
    assert_eq!(outputs, made.load(Ordering::Relaxed));
}
