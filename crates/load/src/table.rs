//! Figures and bars, for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

/// What a measurement found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<f64>)>,
    bars: Vec<Bar>,
}

#[derive(Debug)]
struct Bar {
    what: String,
    found: f64,
    bound: Bound,
}

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => self.found >= bound,
            Bound::AtMost(bound) => self.found <= bound,
        }
    }

    fn bound(&self) -> (&'static str, f64) {
        match self.bound {
            Bound::AtLeast(bound) => ("at least", bound),
            Bound::AtMost(bound) => ("at most", bound),
        }
    }
}

impl Report {
    pub(crate) fn new(title: String, columns: &[&'static str]) -> Self {
        Self { title, columns: columns.to_vec(), ..Self::default() }
    }

    pub(crate) fn row(&mut self, name: &str, figures: &[f64]) {
        self.rows.push((name.to_owned(), figures.to_vec()));
    }

    pub(crate) fn bar(&mut self, what: &str, found: f64, bound: Bound) {
        self.bars.push(Bar { what: what.to_owned(), found, bound });
    }

    pub(crate) fn is_passed(&self) -> bool {
        self.bars.iter().all(Bar::is_met)
    }

    /// A table in Markdown, and the bars.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("# {}\n\n| | {} |\n|---|", self.title, self.columns.join(" | "));
        text.push_str(&"---:|".repeat(self.columns.len()));
        text.push('\n');
        for (name, figures) in &self.rows {
            write!(text, "| {name} |").expect("a string takes everything");
            for figure in figures {
                let digits = if *figure >= 1_000.0 { 0 } else { 2 };
                write!(text, " {figure:.digits$} |").expect("a string takes everything");
            }
            text.push('\n');
        }
        text.push('\n');
        for bar in &self.bars {
            let (word, bound) = bar.bound();
            let verdict = if bar.is_met() { "met" } else { "MISSED" };
            writeln!(text, "{}: {:.2}, {word} {bound}: {verdict}", bar.what, bar.found)
                .expect("a string takes everything");
        }
        text
    }

    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|(name, figures)| {
                let mut row = json!({ "name": name });
                for (column, figure) in self.columns.iter().zip(figures) {
                    row[*column] = json!(figure);
                }
                row
            })
            .collect();
        let bars: Vec<Value> = self
            .bars
            .iter()
            .map(|bar| {
                let (word, bound) = bar.bound();
                json!({ "what": bar.what, "found": bar.found, word: bound, "met": bar.is_met() })
            })
            .collect();
        json!({ "title": self.title, "rows": rows, "bars": bars }).to_string()
    }
}

/// The middle one; of an even number the lower of the two.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_whatever_the_order() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]).to_bits(), 5.0_f64.to_bits());
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn one_missed_bar_fails_the_report() {
        let mut report = Report::new("title".to_owned(), &["figure"]);
        report.bar("enough", 3.0, Bound::AtLeast(3.0));
        assert!(report.is_passed());
        report.bar("little", 20.1, Bound::AtMost(20.0));
        assert!(!report.is_passed());
        assert!(report.text().contains("little: 20.10, at most 20: MISSED"), "{}", report.text());
    }
}
