//! The gate over generated schemas and values: the verdicts of another validator, and those of itself over what comes
//! after a value that has passed.

#![cfg(not(target_arch = "wasm32"))]

#[path = "gate_rig/dice.rs"]
mod dice;
mod gate_rig;

use dice::Dice;
use gate_rig::Regexes;
use serde_json::Value;
use tidewire::{
    gate::{Dialect, Gate},
    protocol::{EncodedValue, Reader, from_json},
    value::advance,
};

const SCHEMAS: u64 = 2_000;
const VALUES: usize = 40;

fn encode(value: &Value) -> Vec<u8> {
    from_json(&value.to_string()).expect("generated values are JSON")
}

fn checked(bytes: &[u8]) -> EncodedValue<'_> {
    EncodedValue::check(bytes).expect("generated values are within the limits")
}

fn compile(schema: &Value) -> (Gate, Regexes) {
    let mut regexes = Regexes::default();
    let bytes = encode(schema);
    let gate = Gate::compile(checked(&bytes), Dialect::Json, &mut regexes);
    (gate.unwrap_or_else(|refusal| panic!("{refusal}: {schema}")), regexes)
}

#[test]
fn generated_values_get_the_verdict_of_another_validator() {
    let mut verdicts = [0_u32; 2];
    for seed in 0..SCHEMAS {
        let mut dice = Dice::new(seed);
        let schema = dice.schema();
        let (gate, regexes) = compile(&schema);
        let other = jsonschema::draft202012::new(&schema).unwrap();
        for _ in 0..VALUES {
            let value = dice.value(3);
            let bytes = encode(&value);
            let verdict = gate.check(checked(&bytes), &regexes);
            let expected = other.is_valid(&value);
            assert_eq!(verdict.is_ok(), expected, "seed {seed}: {verdict:?} for {value} by {schema}");
            verdicts[usize::from(expected)] += 1;
        }
    }
    // Verdicts that are all the same would prove little.
    assert!(verdicts.iter().all(|count| *count > 10_000), "{verdicts:?}");
}

#[test]
fn what_comes_after_a_value_that_has_passed_gets_the_same_verdict() {
    let mut verdicts = [0_u32; 2];
    for seed in 0..SCHEMAS {
        let mut dice = Dice::new(seed ^ 0x5eed_0000);
        let schema = dice.schema();
        let (gate, regexes) = compile(&schema);
        for _ in 0..VALUES {
            let mut value = dice.value(3);
            let mut old = encode(&value);
            if gate.check(checked(&old), &regexes).is_err() {
                continue;
            }
            for _ in 0..8 {
                dice.change(&mut value);
                let new = encode(&value);
                let (before, after) = (checked(&old), checked(&new));
                let verdict = gate.check(after, &regexes);
                assert_eq!(
                    gate.check_against(before, after, &regexes),
                    verdict,
                    "seed {seed}: {value} by {schema}"
                );
                let in_step = advance(before, &mut Reader::new(&new), Some((&gate, &regexes)), None, None);
                assert_eq!(in_step, verdict.is_ok().then_some(after), "seed {seed}: {value} by {schema}");
                verdicts[usize::from(verdict.is_ok())] += 1;
                if verdict.is_ok() {
                    old = new;
                }
            }
        }
    }
    assert!(verdicts.iter().all(|count| *count > 10_000), "{verdicts:?}");
}
