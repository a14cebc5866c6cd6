//! Patterns for a native host.

use tidewire::gate::Patterns;

/// Patterns of ECMAScript, as JSON Schema reads them.
#[derive(Debug, Default)]
pub(crate) struct Regexes(Vec<regress::Regex>);

impl Patterns for Regexes {
    fn prepare(&mut self, pattern: &str) -> Option<u32> {
        self.0.push(regress::Regex::with_flags(pattern, "u").ok()?);
        u32::try_from(self.0.len() - 1).ok()
    }

    fn is_match(&self, pattern: u32, text: &str) -> bool {
        self.0[pattern as usize].find(text).is_some()
    }
}
