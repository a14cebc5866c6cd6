//! The `pattern`s of schemas in linear time, whatever a client sends: a pattern that goes back over its input could keep
//! the one thread that owns all data busy for minutes over a few bytes.
//!
//! So those that cannot run so (with references back, or looks around) are refused when the server starts, and the others
//! are those of the `regex` crate, with what has the same spelling and another meaning in ECMAScript put into its words.

use regex::Regex;
use tidewire::gate::Patterns;

/// What a dot is: anything but the ends of lines.
const DOT: &str = r"[^\n\r\u{2028}\u{2029}]";

/// The patterns of one schema.
#[derive(Debug, Default)]
pub(crate) struct LinearPatterns(Vec<Regex>);

impl Patterns for LinearPatterns {
    fn prepare(&mut self, pattern: &str) -> Option<u32> {
        let number = u32::try_from(self.0.len()).ok()?;
        self.0.push(Regex::new(&translated(pattern)?).ok()?);
        Some(number)
    }

    fn is_match(&self, pattern: u32, text: &str) -> bool {
        self.0.get(pattern as usize).is_some_and(|regex| regex.is_match(text))
    }
}

/// A pattern of ECMAScript in the words of the `regex` crate; `None` for an empty class, which that one does not know.
/// Its classes nest, so one replacement serves inside and outside of them.
fn translated(pattern: &str) -> Option<String> {
    let mut words = String::with_capacity(pattern.len());
    let mut characters = pattern.chars().peekable();
    let mut is_in_class = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => match (characters.next()?, is_in_class) {
                ('d', _) => words.push_str("[0-9]"),
                ('D', _) => words.push_str("[^0-9]"),
                ('w', _) => words.push_str("[0-9A-Za-z_]"),
                ('W', _) => words.push_str("[^0-9A-Za-z_]"),
                ('b', false) => words.push_str(r"(?-u:\b)"),
                ('b', true) => words.push_str(r"\x08"),
                ('s', _) => words.push_str(r"[\s\u{FEFF}]"),
                ('S', _) => words.push_str(r"[^\s\u{FEFF}]"),
                (escaped, _) => words.extend(['\\', escaped]),
            },
            // Operators there, and nothing special in ECMAScript.
            '[' | '&' | '~' if is_in_class => words.extend(['\\', character]),
            '[' => {
                is_in_class = true;
                words.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    words.push('^');
                }
                if characters.peek() == Some(&']') {
                    return None;
                }
            }
            ']' => {
                is_in_class = false;
                words.push(']');
            }
            '.' if !is_in_class => words.push_str(DOT),
            character => words.push(character),
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, text: &str) -> bool {
        let mut patterns = LinearPatterns::default();
        let number = patterns.prepare(pattern).unwrap_or_else(|| panic!("{pattern} is no pattern"));
        patterns.is_match(number, text)
    }

    #[test]
    fn patterns_mean_what_they_mean_in_ecmascript() {
        for (pattern, text, expected) in [
            (r"^\d+$", "2026", true),
            (r"^\d+$", "٣", false),
            (r"^[\d.]+$", "1.5", true),
            (r"^\D$", "é", true),
            (r"^[^\d]$", "5", false),
            (r"^\w+$", "été", false),
            (r"^[\w-]+$", "a-b_1", true),
            (r"^\W$", "é", true),
            (r"\bfoo\b", "a foo!", true),
            (r"\bfoo\b", "afoo", false),
            (r"^\s$", "\u{feff}", true),
            (r"^\S$", "\u{feff}", false),
            (r"^[[]$", "[", true),
            (r"^[a&&b]$", "&", true),
            (r"^[a~~b]+$", "a~b", true),
            (r"^a\/b$", "a/b", true),
            (r"^\u00e9$", "é", true),
            (r"^\p{L}+$", "Émile", true),
            (r"b$", "a\nb\n", false),
            ("^.$", "😀", true),
            ("^.$", "\u{2028}", false),
        ] {
            assert_eq!(is_match(pattern, text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn a_pattern_that_could_take_for_ever_or_means_something_else_is_refused() {
        for pattern in [r"^(?=a)b", r"(a)\1", "(", r"(?<!a)b", "[]a]", "[^]", r"\"] {
            assert_eq!(LinearPatterns::default().prepare(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_would_go_back_and_forth_ends_at_once() {
        assert!(!is_match("^(a+)+$", &format!("{}!", "a".repeat(50_000))));
    }
}
