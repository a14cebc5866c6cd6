//! Tapes, read by a model of a host: what it builds is the value, and what did not change is the same object.

#![cfg(not(target_arch = "wasm32"))]
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test's own values are what it made them"
)]

use std::{rc::Rc, time::Instant};

use tidewire::{
    protocol::{EncodedValue, Reader, Scanner, Token, Writer},
    value::{Edits, Marks, Op, Path, Tape, advance},
};

/// A value as a host has it.
#[derive(Debug, Clone, PartialEq)]
enum Model {
    Nil,
    Bool(bool),
    Float(f64),
    Large(i128),
    Text(String),
    Bytes(Vec<u8>),
    List(Rc<Vec<Self>>),
    Map(Rc<Vec<(String, Self)>>),
    Absent,
}

impl Model {
    /// Whether it is the same object or, of what has no identity, the same value.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) => Rc::ptr_eq(a, b),
            (Self::Map(a), Self::Map(b)) => Rc::ptr_eq(a, b),
            _ => self == other,
        }
    }

    fn field(&self, name: &str) -> Option<&Self> {
        let Self::Map(fields) = self else { return None };
        fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// Decodes without a tape.
fn plain(scanner: &mut Scanner<'_>) -> Model {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match scanner.token().unwrap() {
        Token::Nil => Model::Nil,
        Token::Bool(value) => Model::Bool(value),
        Token::Int(number) if number.unsigned_abs() < 1 << 53 => Model::Float(number as f64),
        Token::Int(number) => Model::Large(number.into()),
        Token::Large(number) => Model::Large(number.into()),
        Token::Float(number) => Model::Float(number),
        Token::Str(bytes) => Model::Text(text(bytes)),
        Token::Bin(bytes) => Model::Bytes(bytes.to_vec()),
        Token::Array(count) => Model::List(Rc::new((0..count).map(|_| plain(scanner)).collect())),
        Token::Map(count) => {
            let fields = (0..count).map(|_| {
                let Some(Token::Str(name)) = scanner.token() else { panic!("a map key is a string") };
                (text(name), plain(scanner))
            });
            Model::Map(Rc::new(fields.collect()))
        }
    }
}

/// Reads tapes as the facade does.
#[derive(Debug, Default)]
struct Host {
    names: Vec<String>,
    words: Vec<u32>,
    at: usize,
    text: String,
    wide: Vec<u16>,
}

impl Host {
    fn read(&mut self, tape: &Tape, old: Option<&Model>) -> Model {
        self.words = tape.words().to_vec();
        self.text = String::from_utf8(tape.text().to_vec()).unwrap();
        self.wide = std::str::from_utf8(tape.wide()).unwrap().encode_utf16().collect();
        self.at = 0;
        let value = self.node(old);
        assert_eq!(
            (self.at, self.text.len(), self.wide.len()),
            (self.words.len(), 0, 0),
            "a tape is read to its end"
        );
        value
    }

    fn word(&mut self) -> u32 {
        self.at += 1;
        self.words[self.at - 1]
    }

    fn two_words(&mut self) -> u64 {
        u64::from(self.word()) | u64::from(self.word()) << 32
    }

    fn name(&mut self) -> String {
        let number = self.word();
        if (number as usize) < self.names.len() {
            return self.names[number as usize].clone();
        }
        let Model::Text(name) = self.node(None) else { panic!("a name is a text") };
        match number {
            u32::MAX => self.names.push(name.clone()),
            number => assert_eq!(number, u32::MAX - 1, "an unknown name"),
        }
        name
    }

    fn node(&mut self, old: Option<&Model>) -> Model {
        let word = self.word();
        let argument = (word >> 5) as usize;
        let is = |op: Op| word & 31 == op as u32;
        if is(Op::Nil) {
            Model::Nil
        } else if is(Op::False) || is(Op::True) {
            Model::Bool(is(Op::True))
        } else if is(Op::Small) {
            Model::Float(f64::from(word.cast_signed() >> 5))
        } else if is(Op::Float) {
            Model::Float(f64::from_bits(self.two_words()))
        } else if is(Op::Signed) {
            Model::Large(self.two_words().cast_signed().into())
        } else if is(Op::Unsigned) {
            Model::Large(self.two_words().into())
        } else if is(Op::Text) {
            let rest = self.text.split_off(argument);
            Model::Text(std::mem::replace(&mut self.text, rest))
        } else if is(Op::Wide) {
            let rest = self.wide.split_off(argument);
            Model::Text(String::from_utf16(&std::mem::replace(&mut self.wide, rest)).unwrap())
        } else if is(Op::Bytes) {
            let words = (0..argument.div_ceil(4)).map(|_| self.word());
            let bytes = words.flat_map(u32::to_le_bytes).collect::<Vec<_>>();
            Model::Bytes(bytes[..argument].to_vec())
        } else if is(Op::List) {
            Model::List(Rc::new((0..argument).map(|_| self.node(None)).collect()))
        } else if is(Op::Map) {
            Model::Map(Rc::new((0..argument).map(|_| (self.name(), self.node(None))).collect()))
        } else if is(Op::Same) {
            old.expect("`Same` only where something was").clone()
        } else if is(Op::Absent) {
            Model::Absent
        } else {
            self.edit(word & 31, argument, old.expect("edits only of what was"))
        }
    }

    fn edit(&mut self, op: u32, argument: usize, old: &Model) -> Model {
        match old {
            Model::Map(fields) => {
                let mut edited = fields.to_vec();
                for _ in 0..argument {
                    let name = self.name();
                    let value = self.node(old.field(&name));
                    match edited.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => *known = value,
                        None => edited.push((name, value)),
                    }
                }
                if op == Op::ReorderMap as u32 {
                    for _ in 0..self.word() {
                        let name = self.name();
                        edited.retain(|(known, _)| *known != name);
                    }
                    for _ in 0..self.word() {
                        let name = self.name();
                        let value = self.node(old.field(&name));
                        edited.push((name, value));
                    }
                } else {
                    assert_eq!(op, Op::EditMap as u32);
                }
                let is_same = edited.len() == fields.len()
                    && edited.iter().zip(&**fields).all(|(a, b)| a.0 == b.0 && a.1.is(&b.1));
                if is_same { old.clone() } else { Model::Map(Rc::new(edited)) }
            }
            Model::List(items) if op == Op::EditList as u32 => {
                let mut edited = items.to_vec();
                for _ in 0..argument {
                    let index = self.word() as usize;
                    edited[index] = self.node(Some(&items[index]));
                }
                let is_same = edited.iter().zip(&**items).all(|(a, b)| a.is(b));
                if is_same { old.clone() } else { Model::List(Rc::new(edited)) }
            }
            Model::List(items) => {
                assert_eq!(op, Op::SpliceList as u32);
                let (first, last) = (self.word() as usize, self.word() as usize);
                let mut edited = items[..first].to_vec();
                for index in first..argument - last {
                    edited.push(self.node(items.get(index).filter(|_| index < items.len() - last)));
                }
                edited.extend_from_slice(&items[items.len() - last..]);
                Model::List(Rc::new(edited))
            }
            _ => panic!("{op} of what is neither map nor list"),
        }
    }
}

/// What was equal at the same place is the same object.
#[track_caller]
fn assert_shares(old: &Model, new: &Model) {
    if old == new {
        assert!(old.is(new), "an unchanged part was built anew: {new:?}");
        return;
    }
    match (old, new) {
        (Model::Map(before), Model::Map(after)) => {
            for (name, value) in &**after {
                if let Some((_, old)) = before.iter().find(|(known, _)| known == name) {
                    assert_shares(old, value);
                }
            }
        }
        (Model::List(before), Model::List(after)) if before.len() == after.len() => {
            for (old, new) in before.iter().zip(&**after) {
                assert_shares(old, new);
            }
        }
        (Model::List(before), Model::List(after)) => {
            let first = before.iter().zip(&**after).take_while(|(a, b)| a == b).count();
            let rest = before.len().min(after.len()) - first;
            let last = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
            let ends = (0..last.min(rest)).map(|index| (before.len() - 1 - index, after.len() - 1 - index));
            for (one, other) in (0..first).map(|index| (index, index)).chain(ends) {
                assert!(before[one].is(&after[other]), "an element that only moved was built anew");
            }
        }
        _ => {}
    }
}

/// The generator, and whether it encodes everything in its shortest form.
struct Random(fastrand::Rng, bool);

impl Random {
    fn one_of(&mut self, count: usize) -> bool {
        self.0.usize(..count) == 0
    }

    fn text(&mut self) -> String {
        const LETTERS: [char; 9] = ['a', 'b', 'Z', '\0', 'é', 'я', '国', '🌊', '\u{ffff}'];
        let kinds = if self.one_of(3) { 9 } else { 3 };
        let length = if self.one_of(20) { 300 } else { self.0.usize(..8) };
        (0..length).map(|_| LETTERS[self.0.usize(..kinds)]).collect()
    }

    fn name(&mut self) -> String {
        match self.0.usize(..12) {
            0 => self.text(),
            1 => "__proto__".to_owned(),
            number => format!("name{number}"),
        }
    }

    fn scalar(&mut self) -> Model {
        match self.0.usize(..9) {
            0 => Model::Nil,
            1 => Model::Bool(self.0.bool()),
            2 => Model::Float(f64::from(self.0.i32(-100..100))),
            3 => Model::Float((self.0.i64(..) >> 11) as f64),
            4 => Model::Float(f64::from(self.0.i16(..)) / 8.0),
            5 => Model::Large(i128::from(self.0.i64(1 << 54..)) * if self.0.bool() { 1 } else { -1 }),
            6 => Model::Large(i128::from(self.0.u64(1 << 63..))),
            7 => Model::Bytes((0..self.0.usize(..9)).map(|_| self.0.u8(..)).collect()),
            _ => Model::Text(self.text()),
        }
    }

    fn value(&mut self, depth: usize) -> Model {
        let most = if self.one_of(30) { 40 } else { 6 };
        let count = self.0.usize(..most);
        match self.0.usize(..if depth > 4 { 1 } else { 4 }) {
            0 => self.scalar(),
            1 => Model::List(Rc::new((0..count).map(|_| self.value(depth + 1)).collect())),
            _ => {
                let mut fields: Vec<(String, Model)> = Vec::new();
                for _ in 0..count {
                    let name = self.name();
                    if fields.iter().all(|(known, _)| *known != name) {
                        fields.push((name, self.value(depth + 1)));
                    }
                }
                Model::Map(Rc::new(fields))
            }
        }
    }

    /// Another value that has much in common with `old`.
    fn changed(&mut self, old: &Model, depth: usize) -> Model {
        match old {
            Model::Map(fields) if !self.one_of(8) => {
                let mut fields = fields.to_vec();
                for _ in 0..self.0.usize(1..3) {
                    let index = self.0.usize(..=fields.len());
                    match self.0.usize(..8) {
                        0 if index < fields.len() => drop(fields.remove(index)),
                        1 => self.0.shuffle(&mut fields),
                        2 => {
                            let name = self.name();
                            if fields.iter().all(|(known, _)| *known != name) {
                                fields.insert(index, (name, self.value(depth + 1)));
                            }
                        }
                        _ if index < fields.len() => {
                            fields[index].1 = self.changed(&fields[index].1.clone(), depth + 1);
                        }
                        _ => {}
                    }
                }
                Model::Map(Rc::new(fields))
            }
            Model::List(items) if !self.one_of(8) => {
                let mut items = items.to_vec();
                for _ in 0..self.0.usize(1..3) {
                    let index = self.0.usize(..=items.len());
                    match self.0.usize(..5) {
                        0 if index < items.len() => drop(items.remove(index)),
                        1 => items.insert(index, self.value(depth + 1)),
                        _ if index < items.len() => {
                            items[index] = self.changed(&items[index].clone(), depth + 1);
                        }
                        _ => {}
                    }
                }
                Model::List(Rc::new(items))
            }
            _ => self.value(depth),
        }
    }

    /// Encodes; unless all is to be short, now and then in a longer form than need be.
    fn encode(&mut self, value: &Model, to: &mut Vec<u8>) {
        let is_long = !self.1 && self.one_of(20);
        let mut writer = Writer::new();
        match value {
            Model::Nil | Model::Absent => writer.nil(),
            Model::Bool(value) => writer.bool(*value),
            Model::Float(number) if !is_long && number.fract() == 0.0 && number.abs() < 9e15 => {
                writer.i64(*number as i64);
            }
            Model::Float(number) => writer.f64(*number),
            Model::Large(number) => match u64::try_from(*number) {
                Ok(number) => writer.u64(number),
                Err(_) => writer.i64(i64::try_from(*number).unwrap()),
            },
            Model::Text(text) if is_long => {
                to.push(0xdb);
                to.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                to.extend(text.bytes());
            }
            Model::Text(text) => writer.str(text),
            Model::Bytes(bytes) => writer.bin(bytes),
            Model::List(items) if is_long => {
                to.push(0xdd);
                to.extend(u32::try_from(items.len()).unwrap().to_be_bytes());
            }
            Model::List(items) => writer.array(items.len()),
            Model::Map(fields) if is_long => {
                to.push(0xde);
                to.extend(u16::try_from(fields.len()).unwrap().to_be_bytes());
            }
            Model::Map(fields) => writer.map(fields.len()),
        }
        to.extend(writer.into_bytes());
        match value {
            Model::List(items) => items.iter().for_each(|item| self.encode(item, to)),
            Model::Map(fields) => {
                for (name, value) in &**fields {
                    self.encode(&Model::Text(name.clone()), to);
                    self.encode(value, to);
                }
            }
            _ => {}
        }
    }

    fn encoded(&mut self, value: &Model) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode(value, &mut bytes);
        EncodedValue::check(&bytes).unwrap();
        bytes
    }
}

fn whole(tape: &mut Tape, host: &mut Host, bytes: &[u8]) -> Model {
    tape.clear();
    tape.whole(EncodedValue::check(bytes).unwrap());
    host.read(tape, None)
}

fn patched(tape: &mut Tape, host: &mut Host, old: &Model, before: &[u8], after: &[u8]) -> Model {
    tape.clear();
    tape.patch(EncodedValue::check(before).unwrap(), EncodedValue::check(after).unwrap());
    host.read(tape, Some(old))
}

#[test]
fn what_is_noted_while_a_value_comes_in_patches_as_a_comparison_does() {
    let (mut tape, mut host, mut edits) = (Tape::new(), Host::default(), Edits::new());
    for seed in 0..8_000 {
        let mut random = Random(fastrand::Rng::with_seed(seed), seed % 4 != 0);
        let old = random.value(0);
        let new = random.changed(&old, 0);
        let (before, after) = (random.encoded(&old), random.encoded(&new));
        let mut frame = after.clone();
        frame.extend((0..random.0.usize(..4)).map(|_| random.0.u8(..)));
        let (from, start) = (EncodedValue::check(&before).unwrap(), edits.len());
        let mut reader = Reader::new(&frame);
        let value = advance(from, &mut reader, None, Some(&mut edits), None).unwrap();
        assert_eq!((value.as_bytes(), reader.offset()), (&*after, after.len()), "seed {seed}");
        assert_eq!(advance(from, &mut Reader::new(&frame), None, None, None), Some(value), "seed {seed}");

        let shown = whole(&mut tape, &mut host, &before);
        tape.clear();
        tape.replay(&edits, start, from, value);
        let shown_after = host.read(&tape, Some(&shown));
        assert_eq!(shown_after, plain(&mut Scanner::new(value)), "seed {seed}");
        if random.1 {
            assert_shares(&shown, &shown_after);
        }
        if seed % 10 == 0 {
            edits.truncate(0);
        }
    }
}

#[test]
fn the_marks_of_a_large_value_stay_right_through_any_number_of_changes() {
    let mut marked = 0;
    for seed in 0..20 {
        let mut random = Random(fastrand::Rng::with_seed(seed), seed % 4 != 0);
        let parts = (0..60).map(|_| random.value(1)).collect();
        let mut old = Model::Map(Rc::new(vec![("parts".to_owned(), Model::List(Rc::new(parts)))]));
        let (mut before, mut marks) = (random.encoded(&old), Marks::default());
        for _ in 0..60 {
            let Model::Map(fields) = &old else { panic!("it is a map") };
            let Model::List(parts) = &fields[0].1 else { panic!("it has a list") };
            let mut parts = parts.to_vec();
            for _ in 0..random.0.usize(0..3) {
                let index = random.0.usize(..parts.len());
                parts[index] = random.changed(&parts[index].clone(), 1);
            }
            old = Model::Map(Rc::new(vec![("parts".to_owned(), Model::List(Rc::new(parts)))]));
            // As it was, but for what changed: another length of the same text would be a change.
            random.1 = true;
            let after = random.encoded(&old);
            let from = EncodedValue::check(&before).unwrap();
            let mut edits = [Edits::new(), Edits::new()];
            let [with, without] = &mut edits;
            let value = advance(from, &mut Reader::new(&after), None, Some(with), Some(&mut marks));
            assert_eq!(value.unwrap().as_bytes(), after, "seed {seed}");
            advance(from, &mut Reader::new(&after), None, Some(without), None).unwrap();
            assert_eq!(format!("{with:?}"), format!("{without:?}"), "seed {seed}");
            marks = marks.moved(value.unwrap());
            marked += usize::from(format!("{marks:?}") == format!("{:?}", Marks::of(value.unwrap())));
            before = after;
        }
    }
    assert!(marked > 150, "nothing was marked: {marked}");
}

#[test]
fn of_bytes_that_are_broken_anywhere_as_much_is_taken_as_without_the_value_before() {
    let mut verdicts = [0_u32; 2];
    for seed in 0..8_000 {
        let mut random = Random(fastrand::Rng::with_seed(seed), seed % 4 != 0);
        let old = random.value(0);
        let new = random.changed(&old, 0);
        let (before, after) = (random.encoded(&old), random.encoded(&new));
        for _ in 0..8 {
            let mut broken = after.clone();
            for _ in 0..random.0.usize(1..4) {
                let at = random.0.usize(..broken.len());
                match random.0.usize(..5) {
                    0 => broken.truncate(at + 1),
                    1 => broken.insert(at, random.0.u8(..)),
                    2 if broken.len() > 1 => drop(broken.remove(at)),
                    3 => broken[at] ^= 1 << random.0.u8(..8),
                    _ => broken[at] = random.0.u8(..),
                }
            }
            let mut plain = Reader::new(&broken);
            let expected = plain.value().ok();
            let mut reader = Reader::new(&broken);
            let value = advance(EncodedValue::check(&before).unwrap(), &mut reader, None, None, None);
            assert_eq!(value, expected, "seed {seed}: {broken:?} after {before:?}");
            let end = if expected.is_some() { plain.offset() } else { 0 };
            assert_eq!(reader.offset(), end, "seed {seed}");
            verdicts[usize::from(expected.is_some())] += 1;
        }
    }
    assert!(verdicts.iter().all(|count| *count > 10_000), "{verdicts:?}");
}

#[test]
fn a_name_that_a_change_brings_a_second_time_is_refused() {
    let map = |names: &[&str]| {
        let mut writer = Writer::new();
        writer.map(names.len());
        for (index, name) in names.iter().enumerate() {
            writer.str(name);
            writer.u64(index as u64);
        }
        writer.into_bytes()
    };
    let before = map(&["a", "b", "c"]);
    let after = |names: &[&str]| {
        let bytes = map(names);
        let from = EncodedValue::check(&before).unwrap();
        advance(from, &mut Reader::new(&bytes), None, None, None).is_some()
    };
    for good in [&["a", "b", "c", "d"][..], &["a", "c"], &["c", "b", "a"], &["d", "e", "f"], &[]] {
        assert!(after(good), "{good:?}");
    }
    for bad in [&["a", "b", "c", "a"][..], &["a", "a"], &["a", "b", "b"], &["b", "c", "b"], &["d", "d", "a"]]
    {
        assert!(!after(bad), "{bad:?}");
    }
}

#[test]
fn a_patched_object_is_the_new_value_and_shares_what_did_not_change() {
    let (mut tape, mut host) = (Tape::new(), Host::default());
    for seed in 0..25_000 {
        let mut random = Random(fastrand::Rng::with_seed(seed), seed % 4 != 0);
        let old = random.value(0);
        let new = random.changed(&old, 0);
        let (before, after) = (random.encoded(&old), random.encoded(&new));
        let shown = whole(&mut tape, &mut host, &before);
        assert_eq!(shown, old, "seed {seed}");
        let expected = plain(&mut Scanner::new(EncodedValue::check(&after).unwrap()));
        let shown_after = patched(&mut tape, &mut host, &shown, &before, &after);
        assert_eq!(shown_after, expected, "seed {seed}");
        assert_eq!(shown, old, "the old object was touched, seed {seed}");
        if random.1 {
            assert_shares(&shown, &shown_after);
        }
    }
}

#[test]
fn values_without_anything_in_common_are_replaced() {
    let (mut tape, mut host) = (Tape::new(), Host::default());
    let mut random = Random(fastrand::Rng::with_seed(7), false);
    for _ in 0..20_000 {
        let (old, new) = (random.value(0), random.value(0));
        let (before, after) = (random.encoded(&old), random.encoded(&new));
        assert_eq!(patched(&mut tape, &mut host, &old, &before, &after), new);
    }
}

#[test]
fn the_tape_of_a_small_change_is_small_however_large_the_record() {
    let mut random = Random(fastrand::Rng::with_seed(3), true);
    let record = |n: i32| {
        let field = |index: usize| {
            let text = Model::Text("some words of text".repeat(5));
            let n = if index == 50 { n } else { 0 };
            let inner = vec![("text".to_owned(), text), ("n".to_owned(), Model::Float(n.into()))];
            (format!("field{index}"), Model::Map(Rc::new(inner)))
        };
        Model::Map(Rc::new((0..100).map(field).collect()))
    };
    let before = random.encoded(&record(1));
    let after = random.encoded(&record(2));
    assert!(before.len() > 10_000);
    let mut tape = Tape::new();
    tape.whole(EncodedValue::check(&before).unwrap());
    tape.clear();
    tape.patch(EncodedValue::check(&before).unwrap(), EncodedValue::check(&after).unwrap());
    // Edit, name, edit, name, number.
    assert_eq!(tape.words().len(), 5);
    assert_eq!(tape.text().len(), 0);
}

#[test]
fn values_made_to_be_slow_are_compared_in_time() {
    let mut tape = Tape::new();
    let field = |name: String, value: Model| (name, value);
    // All names in another order.
    let numbered = |names: &mut dyn Iterator<Item = usize>| {
        Model::Map(Rc::new(names.map(|n| field(format!("n{n}"), Model::Bool(true))).collect()))
    };
    // At each level something changes before and behind the next one, and the names are in another order.
    let nested = |order: usize| {
        let open = |inner: Model, level: usize| {
            let mut fields = vec![
                field("a".to_owned(), Model::Float((level * order) as f64)),
                field("b".to_owned(), inner),
                field("c".to_owned(), Model::Float((level + order) as f64)),
            ];
            fields.rotate_left(level * order % 3);
            Model::Map(Rc::new(fields))
        };
        (0..60).fold(Model::Nil, open)
    };
    // At each level something is put in before the next one, and what follows it is equal for long.
    let listed = |added: usize| {
        let open = |inner: Model, level: usize| {
            let before = (0..=added).map(|n| Model::Float((level + n) as f64));
            let after = vec![Model::Text("the same".repeat(50)); 8];
            Model::List(Rc::new(before.chain([inner]).chain(after).collect()))
        };
        (0..60).fold(Model::Nil, open)
    };
    let pairs = [
        (numbered(&mut (0..20_000)), numbered(&mut (0..20_000).rev())),
        (nested(0), nested(1)),
        (nested(1), nested(2)),
        (listed(0), listed(1)),
        (listed(3), listed(1)),
    ];
    let mut random = Random(fastrand::Rng::with_seed(5), true);
    for (old, new) in pairs {
        let (before, after) = (random.encoded(&old), random.encoded(&new));
        let started = Instant::now();
        tape.clear();
        tape.patch(EncodedValue::trusted(&before), EncodedValue::trusted(&after));
        let (mut edits, mut marks) = (Edits::new(), Marks::default());
        for _ in 0..2 {
            let from = EncodedValue::trusted(&before);
            let value = advance(from, &mut Reader::new(&after), None, Some(&mut edits), Some(&mut marks));
            assert_eq!(value.map(EncodedValue::as_bytes), Some(&*after));
            marks = Marks::of(from);
        }
        // It takes milliseconds. With one more comparison per level and level, it would take years.
        assert!(started.elapsed().as_secs() < 5, "took {:?}", started.elapsed());
    }
}

#[test]
fn more_names_than_are_remembered_cross_all_the_same() {
    let (mut tape, mut host) = (Tape::new(), Host::default());
    let mut random = Random(fastrand::Rng::with_seed(9), true);
    for round in 0..60 {
        let fields = (0..100).map(|n| (format!("name {}", round * 40 + n), Model::Bool(n % 2 == 0)));
        let long = [("x".repeat(100), Model::Nil)];
        let value = Model::Map(Rc::new(fields.chain(long).collect()));
        let bytes = random.encoded(&value);
        assert_eq!(whole(&mut tape, &mut host, &bytes), value);
    }
    assert!(host.names.len() <= 1_024);
}

#[test]
fn a_path_finds_a_part_or_nothing() {
    let text = |text: &str| Model::Text(text.to_owned());
    let inner = Model::Map(Rc::new(vec![("c".to_owned(), text("found")), ("1".to_owned(), text("one"))]));
    let list = Model::List(Rc::new(vec![Model::Nil, inner]));
    let value = Model::Map(Rc::new(vec![("a".to_owned(), Model::Nil), ("b".to_owned(), list)]));
    let bytes = Random(fastrand::Rng::with_seed(1), true).encoded(&value);
    let find = |path: &[&str]| {
        let part = Path::new(path.iter().copied()).find(EncodedValue::check(&bytes).unwrap())?;
        Some(plain(&mut Scanner::new(part)))
    };
    assert_eq!(find(&["b", "1", "c"]), Some(text("found")));
    assert_eq!(find(&["b", "1", "1"]), Some(text("one")));
    assert_eq!(find(&[]), Some(value.clone()));
    for nowhere in
        [&["c"][..], &["a", "b"], &["b", "2"], &["b", "01"], &["b", "x"], &["b", "1", "c", "0"], &["b", "-1"]]
    {
        assert_eq!(find(nowhere), None, "{nowhere:?}");
    }
}
