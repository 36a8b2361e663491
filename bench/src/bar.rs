//! Promises and whether they are kept: a limit, and what was measured.

use serde_json::{Value, json};

use crate::{
    samples::{Compared, Samples},
    stats::Spread,
};

/// A promise beside its measured value.
#[derive(Debug)]
pub(crate) struct Bar {
    says: String,
    found: Compared,
    limit: f64,
    /// A value of fewer says so.
    rounds: usize,
    /// Else at most the limit.
    at_least: bool,
    /// After the point.
    digits: usize,
}

/// What a bar is about: a metric of a row, and perhaps another row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Of<'a> {
    samples: &'a Samples,
    metric: &'a str,
    row: &'a str,
    base: &'a str,
}

impl<'a> Of<'a> {
    /// By their names.
    pub(crate) const fn new(
        samples: &'a Samples,
        metric: &'a str,
        row: &'a str,
        base: &'a str,
    ) -> Self {
        Self {
            samples,
            metric,
            row,
            base,
        }
    }

    fn compare(&self, how: impl Fn(&Samples, usize, usize, usize) -> Compared) -> Compared {
        let Self {
            samples,
            metric,
            row,
            base,
        } = *self;
        let (Some(row), Some(base), Some(metric)) =
            (samples.row(row), samples.row(base), samples.metric(metric))
        else {
            return Compared::Nothing;
        };
        how(samples, row, base, metric)
    }
}

impl Bar {
    /// `row` over `base` is at most this.
    pub(crate) fn at_most_times(says: impl Into<String>, of: Of<'_>, limit: f64) -> Self {
        Self::new(says, of.compare(Samples::ratio), limit, 2).of_rounds(of.samples)
    }

    /// `row` over `base` is at least this.
    pub(crate) fn at_least_times(says: impl Into<String>, of: Of<'_>, limit: f64) -> Self {
        Self {
            at_least: true,
            ..Self::at_most_times(says, of, limit)
        }
    }

    /// `row` less `base` is at most this.
    pub(crate) fn at_most_more(says: impl Into<String>, of: Of<'_>, limit: f64) -> Self {
        Self::new(says, of.compare(Samples::difference), limit, 0).of_rounds(of.samples)
    }

    /// The values themselves are at most this; `None` where there are none.
    pub(crate) fn at_most(says: impl Into<String>, found: Option<Spread>, limit: f64) -> Self {
        let found = found.map_or(Compared::Nothing, Compared::Is);
        Self::new(says, found, limit, 2)
    }

    fn new(says: impl Into<String>, found: Compared, limit: f64, digits: usize) -> Self {
        Self {
            says: says.into(),
            found,
            limit,
            rounds: 0,
            at_least: false,
            digits,
        }
    }

    fn of_rounds(self, samples: &Samples) -> Self {
        Self {
            rounds: samples.wanted(),
            ..self
        }
    }

    fn limit(&self) -> String {
        let sign = if self.at_least { '≥' } else { '≤' };
        format!("{sign} {:.*}", self.digits, self.limit)
    }

    fn measured(&self) -> String {
        compared(self.found, self.digits, self.rounds)
    }

    fn verdict(&self) -> &'static str {
        let kept = |value: f64| {
            if self.at_least {
                value >= self.limit
            } else {
                value <= self.limit
            }
        };
        match self.found {
            Compared::Is(spread) if kept(spread.median) => "kept",
            Compared::Is(_) => "**missed**",
            // What is more than this may be anything beyond.
            Compared::AtLeast(spread) if self.at_least && kept(spread.median) => "kept",
            Compared::AtLeast(spread) if !self.at_least && !kept(spread.median) => "**missed**",
            Compared::AtLeast(_) => "undecided: given up",
            Compared::Drifted(_) => "no verdict",
            Compared::Nothing => "not measured",
        }
    }

    /// A row of a Markdown table.
    pub(crate) fn line(&self) -> String {
        let (limit, measured) = (self.limit(), self.measured());
        format!(
            "| {} | {limit} | {measured} | {} |\n",
            self.says,
            self.verdict()
        )
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "says": self.says,
            "limit": self.limit(),
            "measured": self.measured(),
            "verdict": self.verdict().trim_matches('*'),
        })
    }
}

/// A comparison in words, and of how many rounds it is if of fewer than these.
pub(crate) fn compared(value: Compared, digits: usize, rounds: usize) -> String {
    let words = |s: Spread| {
        let range = if s.count == 1 {
            String::new()
        } else {
            format!(" [{:.digits$}–{:.digits$}]", s.min, s.max)
        };
        format!("{:.digits$}{range}{}", s.median, few(s.count, rounds))
    };
    match value {
        Compared::Is(spread) => words(spread),
        Compared::AtLeast(spread) => format!("≥ {}", words(spread)),
        Compared::Drifted(by) => format!("none: the control drifted by {:.0} %", by * 100.0),
        Compared::Nothing => String::new(),
    }
}

/// What a cell says whose value is of fewer rounds than others.
pub(crate) fn few(count: usize, rounds: usize) -> String {
    match count {
        _ if count >= rounds => String::new(),
        1 => " (1 round)".to_owned(),
        _ => format!(" ({count} rounds)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_kept_or_missed_by_its_median() {
        let values = Spread::of(&[1.0, 2.0, 9.0]);
        assert!(Bar::at_most("x", values, 2.0).line().contains("| kept |"));
        assert!(Bar::at_most("x", values, 1.9).line().contains("**missed**"));
        assert!(Bar::at_most("x", None, 1.0).line().contains("not measured"));
        let mut least = Bar::at_most("x", values, 3.0);
        least.at_least = true;
        assert!(least.line().contains("≥ 3.00"));
        assert!(least.line().contains("**missed**"));
    }

    #[test]
    fn a_bound_decides_only_what_is_beyond_it() {
        let spread = Spread::of(&[12.0]).unwrap();
        let mut bar = Bar::new("x", Compared::AtLeast(spread), 10.0, 1);
        assert!(bar.line().contains("| ≥ 12.0 | **missed** |"));
        bar.at_least = true;
        assert!(bar.line().contains("| ≥ 12.0 | kept |"));
        bar.limit = 13.0;
        assert!(bar.line().contains("undecided"));
    }

    #[test]
    fn a_cell_of_fewer_rounds_says_so() {
        let spread = Spread::of(&[1.0, 2.0, 3.0]).unwrap();
        let says = |rounds| compared(Compared::Is(spread), 1, rounds);
        assert_eq!(says(7), "2.0 [1.0–3.0] (3 rounds)");
        assert_eq!(says(3), "2.0 [1.0–3.0]");
    }
}
