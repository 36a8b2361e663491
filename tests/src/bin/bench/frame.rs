//! Owns the order of a run: every row is measured in every round, in turns, and the control row says which rounds count.
//! Knows nothing of what is measured.

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::stats::{Spread, median};

/// A control that is further from its own median than this makes its round void for ratios.
pub(crate) const DRIFT: f64 = 0.15;
/// Blocks of a round for what a moment's disturbance changes: taken in turns with those of the other rows; the round's value
/// is their median.
pub(crate) const BLOCKS: usize = 3;
/// How many times the wanted rounds are run until enough of them count, where a round is short.
pub(crate) const PATIENCE: usize = 2;

/// One number that a block yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
}

/// What one block of calls yields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) metrics: &'static [Metric],
}

/// What is to be measured; rows and steps are known by their number.
pub(crate) struct Plan<'a> {
    pub(crate) rows: Vec<String>,
    pub(crate) steps: &'a [Step],
    /// The row that nothing of what is compared can change; none where the values are no times.
    pub(crate) control: Option<usize>,
    /// Rounds in which the control stood still.
    pub(crate) rounds: usize,
    /// Rounds that are run at most until so many count.
    pub(crate) most: usize,
    /// Blocks of a row in a round.
    pub(crate) blocks: usize,
}

/// Every value, by row, metric and round; `None` where a row has no such metric.
#[derive(Debug, Serialize)]
pub(crate) struct Samples {
    pub(crate) rows: Vec<String>,
    pub(crate) metrics: Vec<Metric>,
    control: Option<usize>,
    wanted: usize,
    values: Vec<Vec<Vec<Option<f64>>>>,
}

/// A ratio or difference of two rows, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Compared {
    /// Over the rounds that count.
    Is(Spread),
    /// The control moved too much: its range over its median.
    Drifted(f64),
    /// One of the rows has no such metric.
    Nothing,
}

/// Runs all rounds. `block` measures one row in one step, or says `None` where the row has none, and NaN for a single metric
/// that it has not.
pub(crate) fn run(
    plan: &Plan<'_>,
    mut tell: impl FnMut(usize),
    mut block: impl FnMut(usize, usize) -> Result<Option<Vec<f64>>>,
) -> Result<Samples> {
    let Plan {
        rows,
        steps,
        control,
        rounds,
        most,
        blocks: turns,
    } = plan;
    let metrics: Vec<Metric> = steps.iter().flat_map(|s| s.metrics).copied().collect();
    let mut samples = Samples {
        rows: rows.clone(),
        values: vec![vec![Vec::new(); metrics.len()]; rows.len()],
        metrics,
        control: *control,
        wanted: *rounds,
    };
    for round in 0..*most {
        if round >= *rounds && samples.enough() {
            break;
        }
        tell(round);
        let mut first = 0;
        for (number, step) in steps.iter().enumerate() {
            let mut blocks = vec![Vec::new(); rows.len()];
            for turn in 0..*turns {
                // No row always follows the same one at the same distance from the control.
                for row in (0..rows.len()).map(|row| (row + round + turn) % rows.len()) {
                    if let Some(values) =
                        block(row, number).with_context(|| format!("measure {}", rows[row]))?
                    {
                        blocks[row].push(values);
                    }
                }
            }
            for (row, blocks) in blocks.iter().enumerate() {
                for (index, _) in step.metrics.iter().enumerate() {
                    let of_metric: Vec<f64> = blocks
                        .iter()
                        .filter_map(|b| b.get(index).copied())
                        .filter(|value| !value.is_nan())
                        .collect();
                    samples.values[row][first + index].push(median(&of_metric));
                }
            }
            first += step.metrics.len();
        }
    }
    Ok(samples)
}

impl Samples {
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

    /// Over all rounds, void ones too.
    pub(crate) fn spread(&self, row: usize, metric: usize) -> Option<Spread> {
        let values: Vec<f64> = self.values[row][metric].iter().flatten().copied().collect();
        Spread::of(&values)
    }

    /// One row over another, round by round.
    pub(crate) fn ratio(&self, row: usize, base: usize, metric: usize) -> Compared {
        self.compare(row, base, metric, |a, b| a / b)
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

    fn compare(
        &self,
        row: usize,
        base: usize,
        metric: usize,
        of: impl Fn(f64, f64) -> f64,
    ) -> Compared {
        let counts = self.counts(metric);
        if self.counting(metric) < self.wanted {
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

    fn enough(&self) -> bool {
        (0..self.metrics.len()).all(|metric| self.counting(metric) >= self.wanted)
    }

    /// A metric that the control does not have is held by nothing: each of its rounds counts.
    fn counts(&self, metric: usize) -> Vec<bool> {
        let Some(control) = self.control else {
            return vec![true; self.rounds()];
        };
        let control = &self.values[control][metric];
        let known: Vec<f64> = control.iter().flatten().copied().collect();
        if known.is_empty() {
            return vec![true; self.rounds()];
        }
        let middle = median(&known).unwrap_or(f64::NAN);
        let still = |value: &Option<f64>| value.is_some_and(|v| (v / middle - 1.0).abs() <= DRIFT);
        control.iter().map(still).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Step] = &[Step {
        metrics: &[Metric {
            name: "time",
            unit: "ns",
        }],
    }];

    fn plan() -> Plan<'static> {
        Plan {
            rows: vec!["control".into(), "row".into(), "other".into()],
            steps: STEPS,
            control: Some(0),
            rounds: 7,
            most: 7 * PATIENCE,
            blocks: BLOCKS,
        }
    }

    /// The control of each round; the row is always twice that.
    fn samples(control: impl Fn(usize) -> f64) -> Samples {
        let round = std::cell::Cell::new(0);
        run(
            &plan(),
            |r| round.set(r),
            |row, _| {
                let value = control(round.get());
                Ok([Some(vec![value]), Some(vec![2.0 * value]), None][row].clone())
            },
        )
        .unwrap()
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let samples = samples(|round| if round % 2 == 0 { 100.0 } else { 110.0 });
        assert_eq!(samples.rounds(), 7);
        let Compared::Is(ratio) = samples.ratio(1, 0, 0) else {
            panic!("no ratio")
        };
        assert!((ratio.max - ratio.min).abs() < 1e-9 && (ratio.median - 2.0).abs() < 1e-9);
        assert_eq!(samples.ratio(2, 0, 0), Compared::Nothing);
    }

    #[test]
    fn a_round_in_which_the_control_moved_does_not_count_and_is_run_again() {
        let samples = samples(|round| if round == 3 { 120.0 } else { 100.0 });
        assert_eq!((samples.rounds(), samples.counting(0)), (8, 7));
        assert!(matches!(samples.ratio(1, 0, 0), Compared::Is(_)));
    }

    #[test]
    fn without_a_control_each_round_counts() {
        let plan = Plan {
            control: None,
            ..plan()
        };
        let mut value = 0.0;
        let samples = run(
            &plan,
            |_| {},
            |_, _| {
                value += 100.0;
                Ok(Some(vec![value]))
            },
        )
        .unwrap();
        assert_eq!((samples.rounds(), samples.counting(0)), (7, 7));
        assert!(matches!(samples.ratio(1, 0, 0), Compared::Is(_)));
    }

    #[test]
    fn a_control_that_never_stands_still_gives_no_ratio() {
        let samples = samples(|round| [100.0, 125.0, 160.0, 200.0][round % 4]);
        assert_eq!(samples.rounds(), 14);
        assert!(matches!(samples.ratio(1, 0, 0), Compared::Drifted(_)));
    }
}
