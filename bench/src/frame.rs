//! The order of a run: every row is measured in every round, in turns, and the control row says
//! which rounds count.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{progress::say, samples::Samples, stats::median};

/// Blocks of a round for what a moment's disturbance changes: taken in turns with those of the
/// other rows; the round's value is their median.
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
    /// Of what takes too long for the plan's rounds: so many, and one block in each.
    pub(crate) few: Option<usize>,
}

impl Step {
    /// Measured in all rounds and blocks of the plan.
    pub(crate) const fn new(metrics: &'static [Metric]) -> Self {
        Self { metrics, few: None }
    }

    /// In no more than so many rounds, by one block in each.
    pub(crate) const fn few(metrics: &'static [Metric], rounds: usize) -> Self {
        Self {
            metrics,
            few: Some(rounds),
        }
    }
}

/// What is to be measured; rows and steps are known by their number.
pub(crate) struct Plan<'a> {
    /// As progress calls it.
    pub(crate) suite: &'static str,
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

/// A row's turn in a step of a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) round: usize,
    pub(crate) row: usize,
    pub(crate) step: usize,
}

impl Plan<'_> {
    /// Rounds of a step: those that are to count, and those that are run at most for it.
    fn rounds_of(&self, step: &Step) -> (usize, usize) {
        let wanted = step.few.map_or(self.rounds, |few| few.min(self.rounds));
        let more = self.most.saturating_sub(self.rounds);
        (wanted, wanted + more.min(wanted))
    }

    fn samples(&self) -> Samples {
        let metrics = self.steps.iter().flat_map(|step| {
            let (rounds, _) = self.rounds_of(step);
            step.metrics.iter().map(move |metric| (*metric, rounds))
        });
        Samples::new(self.rows.clone(), metrics, self.control)
    }
}

/// Runs all rounds; a round more than wanted measures only what does not count yet. `block`
/// measures one row in one step, or says `None` where the row has none, and NaN for a single metric
/// that it has not.
pub(crate) fn run(
    plan: &Plan<'_>,
    mut block: impl FnMut(Turn) -> Result<Option<Vec<f64>>>,
) -> Result<Samples> {
    let mut samples = plan.samples();
    let mut times = vec![Duration::ZERO; plan.steps.len()];
    for round in 0..plan.most {
        let mut first = 0;
        let mut any = false;
        for (number, step) in plan.steps.iter().enumerate() {
            let metrics = first..first + step.metrics.len();
            first = metrics.end;
            let (wanted, most) = plan.rounds_of(step);
            let counts = metrics.clone().all(|metric| samples.is_enough(metric));
            if round >= most || (round >= wanted && counts) {
                samples.skip(metrics);
                continue;
            }
            if !any {
                say(format_args!("{}: round {}", plan.suite, round + 1));
                any = true;
            }
            let begun = Instant::now();
            let blocks = step_of(plan, round, number, &mut block)?;
            times[number] += begun.elapsed();
            for (row, blocks) in blocks.iter().enumerate() {
                for (index, metric) in metrics.clone().enumerate() {
                    let of_metric: Vec<f64> = blocks
                        .iter()
                        .filter_map(|b| b.get(index).copied())
                        .filter(|value| !value.is_nan())
                        .collect();
                    samples.push(row, metric, median(&of_metric));
                }
            }
        }
        if !any {
            samples.forget_last();
            break;
        }
    }
    tell(plan, &times);
    Ok(samples)
}

/// What each row's blocks yield, by row.
fn step_of(
    plan: &Plan<'_>,
    round: usize,
    step: usize,
    block: &mut impl FnMut(Turn) -> Result<Option<Vec<f64>>>,
) -> Result<Vec<Vec<Vec<f64>>>> {
    let rows = plan.rows.len();
    let mut blocks = vec![Vec::new(); rows];
    let turns = plan.steps[step].few.map_or(plan.blocks, |_| 1);
    for turn in 0..turns {
        // No row always follows the same one at the same distance from the control.
        for row in (0..rows).map(|row| (row + round + turn) % rows) {
            let values = block(Turn { round, row, step })
                .with_context(|| format!("measure {}", plan.rows[row]))?;
            blocks[row].extend(values);
        }
    }
    Ok(blocks)
}

/// Where the time went, if there is more than one place.
fn tell(plan: &Plan<'_>, times: &[Duration]) {
    if let [_, _, ..] = times {
        let each = plan.steps.iter().zip(times).filter_map(|(step, time)| {
            let metric = step.metrics.first()?;
            Some(format!("{} {:.0} s", metric.name, time.as_secs_f64()))
        });
        let each: Vec<String> = each.collect();
        say(format_args!("{}: {}", plan.suite, each.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::Compared;

    const fn metric(name: &'static str) -> [Metric; 1] {
        [Metric { name, unit: "ns" }]
    }

    const STEPS: &[Step] = &[Step::new(&metric("time"))];
    const TWO: &[Step] = &[Step::new(&metric("time")), Step::few(&metric("slow"), 3)];

    fn plan(steps: &'static [Step]) -> Plan<'static> {
        Plan {
            suite: "test",
            rows: vec!["control".into(), "row".into(), "other".into()],
            steps,
            control: Some(0),
            rounds: 7,
            most: 7 * PATIENCE,
            blocks: BLOCKS,
        }
    }

    /// The control of each step and round; the row is always twice that.
    fn samples(steps: &'static [Step], control: impl Fn(usize, usize) -> f64) -> Samples {
        run(&plan(steps), |turn| {
            let value = control(turn.step, turn.round);
            Ok([Some(vec![value]), Some(vec![2.0 * value]), None][turn.row].clone())
        })
        .unwrap()
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let samples = samples(STEPS, |_, round| if round % 2 == 0 { 100.0 } else { 110.0 });
        assert_eq!(samples.rounds(), 7);
        let Compared::Is(ratio) = samples.ratio(1, 0, 0) else {
            panic!("no ratio")
        };
        assert!((ratio.max - ratio.min).abs() < 1e-9 && (ratio.median - 2.0).abs() < 1e-9);
        assert_eq!(samples.ratio(2, 0, 0), Compared::Nothing);
    }

    #[test]
    fn a_round_in_which_the_control_moved_does_not_count_and_is_run_again() {
        let samples = samples(STEPS, |_, round| if round == 3 { 120.0 } else { 100.0 });
        assert_eq!((samples.rounds(), samples.counting(0)), (8, 7));
        assert!(matches!(samples.ratio(1, 0, 0), Compared::Is(_)));
    }

    #[test]
    fn a_round_more_measures_only_what_does_not_count_yet() {
        let samples = samples(TWO, |step, round| {
            if (step, round) == (1, 2) {
                120.0
            } else {
                100.0
            }
        });
        // The round of the slow step that does not count is run again in the fourth; nothing is run
        // after the seventh.
        assert_eq!((samples.rounds(), samples.counting(0)), (7, 7));
        assert_eq!(samples.counting(1), 3);
        assert_eq!(samples.spread(1, 1).unwrap().count, 4);
        assert!(matches!(samples.ratio(1, 0, 1), Compared::Is(s) if s.count == 3));
    }

    #[test]
    fn a_step_of_few_rounds_has_one_block_in_each() {
        let mut blocks = [0; 2];
        let samples = run(&plan(TWO), |turn| {
            blocks[turn.step] += 1;
            Ok(Some(vec![100.0]))
        })
        .unwrap();
        assert_eq!(blocks, [7 * 3 * BLOCKS, 3 * 3]);
        let counts = [0, 1].map(|metric| samples.spread(1, metric).unwrap().count);
        assert_eq!(counts, [7, 3]);
    }

    #[test]
    fn without_a_control_each_round_counts() {
        let plan = Plan {
            control: None,
            ..plan(STEPS)
        };
        let mut value = 0.0;
        let samples = run(&plan, |_| {
            value += 100.0;
            Ok(Some(vec![value]))
        })
        .unwrap();
        assert_eq!((samples.rounds(), samples.counting(0)), (7, 7));
        assert!(matches!(samples.ratio(1, 0, 0), Compared::Is(_)));
    }

    #[test]
    fn a_control_that_never_stands_still_gives_no_ratio() {
        let samples = samples(TWO, |_, round| [100.0, 125.0, 160.0, 200.0][round % 4]);
        assert_eq!(samples.rounds(), 14);
        assert_eq!(samples.spread(1, 1).unwrap().count, 6);
        for metric in [0, 1] {
            assert!(matches!(samples.ratio(1, 0, metric), Compared::Drifted(_)));
        }
    }

    #[test]
    fn what_was_given_up_bounds_a_ratio_from_below() {
        let mut samples = samples(STEPS, |_, _| 100.0);
        samples.is_at_least(1, 0);
        assert!(matches!(samples.ratio(1, 0, 0), Compared::AtLeast(s) if s.median > 1.9));
        assert_eq!(samples.ratio(0, 1, 0), Compared::Nothing);
    }
}
