//! The values of a run: by row, metric and round; which of them count, and what they are beside
//! each other.

use std::{collections::BTreeSet, ops::Range};

use serde::Serialize;

use crate::{
    frame::Metric,
    stats::{Spread, median},
};

/// A control that is further from its own median than this makes its round void for ratios.
pub(crate) const DRIFT: f64 = 0.15;

/// Every value, by row, metric and round; `None` where a row has no such metric, or was not asked
/// in that round.
#[derive(Debug, Serialize)]
pub(crate) struct Samples {
    pub(crate) rows: Vec<String>,
    pub(crate) metrics: Vec<Metric>,
    control: Option<usize>,
    /// By metric, the rounds that are to count.
    wanted: Vec<usize>,
    values: Vec<Vec<Vec<Option<f64>>>>,
    /// Row and metric of what was given up in some round: it would have taken longer.
    at_least: BTreeSet<(usize, usize)>,
}

/// A ratio or difference of two rows, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Compared {
    /// Over the rounds that count.
    Is(Spread),
    /// Over the rounds that count, in some of which the row was given up: it is more than this.
    AtLeast(Spread),
    /// The control moved too much: its range over its median.
    Drifted(f64),
    /// One of the rows has no such metric.
    Nothing,
}

impl Samples {
    /// None yet.
    pub(crate) fn new(
        rows: Vec<String>,
        metrics: impl Iterator<Item = (Metric, usize)>,
        control: Option<usize>,
    ) -> Self {
        let (metrics, wanted): (Vec<Metric>, Vec<usize>) = metrics.unzip();
        Self {
            values: vec![vec![Vec::new(); metrics.len()]; rows.len()],
            rows,
            metrics,
            control,
            wanted,
            at_least: BTreeSet::new(),
        }
    }

    /// A round's value.
    pub(crate) fn push(&mut self, row: usize, metric: usize, value: Option<f64>) {
        self.values[row][metric].push(value);
    }

    /// A round has no values of these metrics.
    pub(crate) fn skip(&mut self, metrics: Range<usize>) {
        for row in &mut self.values {
            for values in &mut row[metrics.clone()] {
                values.push(None);
            }
        }
    }

    /// The last round was none.
    pub(crate) fn forget_last(&mut self) {
        for values in self.values.iter_mut().flatten() {
            values.pop();
        }
    }

    /// Some of these values are what was waited for in vain.
    pub(crate) fn is_at_least(&mut self, row: usize, metric: usize) {
        self.at_least.insert((row, metric));
    }

    /// Whether some of these values are bounds from below.
    pub(crate) fn bounds(&self, row: usize, metric: usize) -> bool {
        self.at_least.contains(&(row, metric))
    }

    /// The row of this name.
    pub(crate) fn row(&self, name: &str) -> Option<usize> {
        self.rows.iter().position(|row| row == name)
    }

    /// The metric of this name.
    pub(crate) fn metric(&self, name: &str) -> Option<usize> {
        self.metrics.iter().position(|metric| metric.name == name)
    }

    /// The number of rounds that were run.
    pub(crate) fn rounds(&self) -> usize {
        self.values
            .first()
            .and_then(|row| row.first())
            .map_or(0, Vec::len)
    }

    /// The number of rounds that most metrics have: a value of fewer says so.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted.iter().copied().max().unwrap_or(0)
    }

    /// Over all rounds, void ones too.
    pub(crate) fn spread(&self, row: usize, metric: usize) -> Option<Spread> {
        let values: Vec<f64> = self.values[row][metric].iter().flatten().copied().collect();
        Spread::of(&values)
    }

    /// One row over another, round by round.
    pub(crate) fn ratio(&self, row: usize, base: usize, metric: usize) -> Compared {
        let found = self.compare(row, base, metric, |a, b| a / b);
        match found {
            // What is divided by too little is too much.
            Compared::Is(_) if row != base && self.bounds(base, metric) => Compared::Nothing,
            Compared::Is(spread) if row != base && self.bounds(row, metric) => {
                Compared::AtLeast(spread)
            }
            other => other,
        }
    }

    /// One row less another, round by round.
    pub(crate) fn difference(&self, row: usize, base: usize, metric: usize) -> Compared {
        self.compare(row, base, metric, |a, b| a - b)
    }

    /// How many rounds count for this metric.
    pub(crate) fn counting(&self, metric: usize) -> usize {
        self.counts(metric)
            .into_iter()
            .filter(|count| *count)
            .count()
    }

    /// Whether as many rounds count as are wanted.
    pub(crate) fn is_enough(&self, metric: usize) -> bool {
        self.counting(metric) >= self.wanted[metric]
    }

    fn compare(
        &self,
        row: usize,
        base: usize,
        metric: usize,
        of: impl Fn(f64, f64) -> f64,
    ) -> Compared {
        let counts = self.counts(metric);
        if !self.is_enough(metric) {
            let spread = self.control.and_then(|row| self.spread(row, metric));
            return Compared::Drifted(spread.map_or(f64::NAN, |s| (s.max - s.min) / s.median));
        }
        let pairs = self.values[row][metric]
            .iter()
            .zip(&self.values[base][metric])
            .zip(counts)
            .filter(|(_, counts)| *counts);
        let values: Vec<f64> = pairs
            .filter_map(|((a, b), _)| Some(of((*a)?, (*b)?)))
            // Nothing over nothing is no ratio.
            .filter(|value| value.is_finite())
            .collect();
        Spread::of(&values).map_or(Compared::Nothing, Compared::Is)
    }

    /// A metric that the control does not have is held by nothing: each of its rounds counts.
    fn counts(&self, metric: usize) -> Vec<bool> {
        let Some(control) = self.control else {
            return vec![true; self.rounds_of(metric)];
        };
        let control = &self.values[control][metric];
        let known: Vec<f64> = control.iter().flatten().copied().collect();
        if known.is_empty() {
            return vec![true; self.rounds_of(metric)];
        }
        let middle = median(&known).unwrap_or(f64::NAN);
        let still = |value: &Option<f64>| value.is_some_and(|v| (v / middle - 1.0).abs() <= DRIFT);
        control.iter().map(still).collect()
    }

    /// Within a round, later metrics have one value less.
    fn rounds_of(&self, metric: usize) -> usize {
        self.values.first().map_or(0, |row| row[metric].len())
    }
}
