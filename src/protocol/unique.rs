//! Whether the names of each map are different.
//!
//! Of a name that comes twice an object of JavaScript keeps the last value, while who goes over the bytes sees both: so
//! two sides could speak of the same value and mean another. A map that has one is refused where it is decoded.

use alloc::vec::Vec;

use super::{
    msgpack::EncodedValue,
    scan::{Scanner, Token, is_same},
};

/// The names of so many entries are compared each with each; those of more are sorted first.
const MAX_PAIRED: usize = 32;

/// Whether some map in a value has a name twice. The value is well-formed otherwise.
pub(super) fn has_repeats(value: EncodedValue<'_>) -> bool {
    find(&mut Scanner::new(value), &mut Vec::new(), true)
}

/// Whether the map that the scanner stands before has a name twice; what is in it was looked at before.
pub(crate) fn repeats_name(scanner: &mut Scanner<'_>) -> bool {
    find(scanner, &mut Vec::new(), false)
}

/// Moves past the next value. `names` are those of the maps around it. Unless the search is deep, only the value itself is
/// looked at.
fn find<'a>(scanner: &mut Scanner<'a>, names: &mut Vec<&'a [u8]>, is_deep: bool) -> bool {
    let (count, is_map) = match scanner.token() {
        Some(Token::Map(count)) => (count, true),
        Some(Token::Array(count)) => (count, false),
        _ => return false,
    };
    let first = names.len();
    let (mut seen, mut is_unsure) = (0_u64, false);
    for _ in 0..count {
        if is_map {
            let name = scanner.name();
            // Most maps are small, and their names differ in one of these.
            let [first, last] =
                [name.first(), name.last()].map(|byte| u64::from(byte.copied().unwrap_or_default()));
            let bit = 1 << ((name.len() as u64 ^ first << 2 ^ last) & 63);
            is_unsure |= seen & bit != 0;
            seen |= bit;
            names.push(name);
        }
        if !is_deep {
            scanner.skip();
        } else if find(scanner, names, true) {
            return true;
        }
    }
    let is_repeated = is_unsure && repeats(&mut names[first..]);
    names.truncate(first);
    is_repeated
}

fn repeats(names: &mut [&[u8]]) -> bool {
    if names.len() <= MAX_PAIRED {
        let mut pairs = names.iter().enumerate();
        return pairs.any(|(index, name)| names[..index].iter().any(|other| is_same(name, other)));
    }
    sort(names);
    names.windows(2).any(|pair| pair[0] == pair[1])
}

/// A heap's sort: slower than that of the standard library, and a tenth of its code, for what is rare. Whoever chooses
/// the names cannot make it slow.
fn sort(names: &mut [&[u8]]) {
    for root in (0..names.len() / 2).rev() {
        sift(names, root);
    }
    for end in (1..names.len()).rev() {
        names.swap(0, end);
        sift(&mut names[..end], 0);
    }
}

/// Moves a name down to where none below it is larger.
fn sift(names: &mut [&[u8]], mut root: usize) {
    loop {
        let child = 2 * root + 1;
        let Some(left) = names.get(child) else { return };
        let larger = if names.get(child + 1).is_some_and(|right| right > left) { child + 1 } else { child };
        if names[larger] <= names[root] {
            return;
        }
        names.swap(root, larger);
        root = larger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{DecodeError, Writer};

    fn map(names: &[&str]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(1);
        writer.map(names.len());
        for name in names {
            writer.str(name);
            writer.map(0);
        }
        writer.into_bytes()
    }

    #[test]
    fn a_name_that_comes_twice_is_refused_wherever_it_is() {
        for [one, other] in [["", ""], ["a", "a"], ["name", "name"]] {
            assert_eq!(EncodedValue::check(&map(&[one, "b", other])), Err(DecodeError::RepeatedName));
        }
        assert!(EncodedValue::check(&map(&["a", "b", "ab", "ba", "", "aab", "abb"])).is_ok());
    }

    #[test]
    fn a_name_is_found_twice_in_maps_of_any_size_and_one_that_is_not_there_is_not() {
        let mut random = fastrand::Rng::with_seed(1);
        for count in [2, 31, 32, 33, 34, 100, 3_000] {
            let mut texts = (0..count).map(|number| format!("name{number}")).collect::<Vec<_>>();
            random.shuffle(&mut texts);
            let mut names = texts.iter().map(String::as_str).collect::<Vec<_>>();
            assert!(EncodedValue::check(&map(&names)).is_ok(), "{count}");
            let [from, to] = [0, names.len() - 1];
            names[to] = names[from];
            random.shuffle(&mut names);
            assert_eq!(EncodedValue::check(&map(&names)), Err(DecodeError::RepeatedName), "{count}");
        }
    }

    #[test]
    fn the_same_name_at_two_places_is_no_repetition() {
        let bytes = [0x82, 0xa1, b'a', 0x81, 0xa1, b'a', 0x01, 0xa1, b'b', 0x91, 0x81, 0xa1, b'b', 0x02];
        assert!(EncodedValue::check(&bytes).is_ok());
    }
}
