//! The fuzz targets on what is known: their seeds, seeded mutations of these, and whatever was once found.

#![cfg(all(feature = "server", feature = "json", not(target_arch = "wasm32")))]
#![allow(missing_docs, unreachable_pub, dead_code, reason = "the file is another workspace's library")]

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::{fs, panic, path::Path};

/// Mutations of each seed. Few: the search is the fuzzer's, this only holds what it found.
const MUTATIONS: usize = 60;

/// Changes a few bytes, lengths and places.
fn mutate(random: &mut fastrand::Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    const SHARP: [u8; 12] = [0x00, 0x7f, 0x80, 0x90, 0xc0, 0xc1, 0xc6, 0xcb, 0xd9, 0xdd, 0xdf, 0xff];
    for _ in 0..random.usize(1..4) {
        let at = random.usize(0..=bytes.len());
        match random.u8(0..6) {
            0 if at < bytes.len() => bytes[at] = random.u8(..),
            1 if at < bytes.len() => bytes[at] = SHARP[random.usize(..SHARP.len())],
            2 if at < bytes.len() => bytes[at] ^= 1 << random.u8(0..8),
            3 => bytes.truncate(at),
            4 => bytes.insert(at, random.u8(..)),
            _ => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.usize(0..=other.len())..]);
            }
        }
    }
}

#[track_caller]
fn run(target: &str, fuzz: fuzz::Fuzz, input: &[u8]) {
    if panic::catch_unwind(|| fuzz(input)).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{target} fails for {hex}");
    }
}

#[test]
fn seeds_and_their_mutations_break_no_target() {
    let mut random = fastrand::Rng::with_seed(20_261_121);
    for (target, fuzz) in fuzz::TARGETS {
        let seeds = fuzz::seeds(target);
        for seed in &seeds {
            run(target, fuzz, seed);
            for _ in 0..MUTATIONS {
                let mut input = seed.clone();
                let other = &seeds[random.usize(..seeds.len())];
                mutate(&mut random, &mut input, other);
                run(target, fuzz, &input);
            }
        }
    }
}

#[test]
fn what_the_fuzzer_once_found_is_mended() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    for (target, fuzz) in fuzz::TARGETS {
        let Ok(files) = fs::read_dir(root.join(target)) else { continue };
        for file in files {
            run(target, fuzz, &fs::read(file.unwrap().path()).unwrap());
        }
    }
}

#[test]
fn every_target_has_a_program_for_the_fuzzer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut programs: Vec<_> = fs::read_dir(root)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_owned())
        .collect();
    let mut targets: Vec<std::ffi::OsString> = fuzz::TARGETS.map(|(name, _)| name.into()).to_vec();
    programs.sort();
    targets.sort();
    assert_eq!(programs, targets);
}
