//! Random clusters in company: four side by side on two nodes, then the next four without a pause,
//! so that numbers, addresses, ids and client ports have been others' a moment ago.

mod replay;

use std::time::{Duration, Instant};

use anyhow::Result;
use replay::Replay;

use crate::{
    classes::Classes,
    generate,
    plan::Plan,
    question::Question,
    report,
    round::{self, Asked},
    score::{Answered, Counts, Score},
    setup::{SLOTS_OF_PAIR, Testbed, Way},
    stage::Stage,
};

/// Questions of each Service in each state.
const QUESTIONS: usize = 12;

/// Differences that are made small in one run.
const SMALL: usize = 3;

/// Which clusters, and how.
#[derive(Debug, Clone)]
pub struct Range {
    /// The first one's seed.
    pub first: u64,
    /// How many.
    pub clusters: u64,
    /// By tc, by XDP, or by each one half of the clusters.
    pub ways: Vec<Way>,
}

impl Range {
    /// One round after the other: its seeds, and its way where that begins.
    fn rounds(&self) -> Vec<(Option<Way>, Vec<u64>)> {
        let seeds: Vec<u64> = (self.first..self.first + self.clusters).collect();
        let rounds: Vec<&[u64]> = seeds.chunks(usize::from(SLOTS_OF_PAIR)).collect();
        let each = rounds.len().div_ceil(self.ways.len().max(1)).max(1);
        let begin = |(index, seeds): (usize, &&[u64])| {
            let way = self.ways.get(index / each).copied();
            (way.filter(|_| index % each == 0), seeds.to_vec())
        };
        rounds.iter().enumerate().map(begin).collect()
    }
}

/// A cluster that differs.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its round, and its place there.
    round: usize,
    index: usize,
    /// Its seed.
    pub seed: u64,
    way: Way,
    /// The first question that was answered otherwise.
    question: Question,
}

/// What came of a range.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was asked.
    pub counts: Counts,
    /// The clusters that differ.
    pub different: Vec<Found>,
    /// What the differences look like.
    pub classes: Classes,
    /// Time spent in rounds.
    pub took: Duration,
}

/// Plays the range on a bed of its own; `say` is told of each round.
pub fn play(range: &Range, mut say: impl FnMut(&str)) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let rounds = range.rounds();
    let Some(mut way) = rounds.first().and_then(|(way, _)| *way) else {
        return Ok(outcome);
    };
    let mut bed = Testbed::pair(way)?;
    let mut stage = Stage::new(bed.numbers());
    let start = Instant::now();
    for (number, (next, seeds)) in rounds.iter().enumerate() {
        if let Some(next) = *next
            && next != way
        {
            bed.restart_agents(next)?;
            way = next;
        }
        let plans = plans(seeds)?;
        let score = round::play(&mut bed, &mut stage, &plans, &Asked::Some(QUESTIONS))?;
        outcome.add(number, way, seeds, &plans, &score, &mut say);
        outcome.took = start.elapsed();
        say(&format!(
            "seeds {} to {} after {:.1?}: {} clusters differ",
            seeds[0],
            seeds[seeds.len() - 1],
            outcome.took,
            outcome.different.len()
        ));
    }
    stage.clear(&mut bed)?;
    bed.quiet();
    Ok(outcome)
}

/// Plays the first differences again from a clean state, and says what is left of each when it is
/// made small.
pub fn make_small(range: &Range, outcome: &Outcome, mut say: impl FnMut(&str)) -> Result<()> {
    let rounds: Vec<Vec<u64>> = range.rounds().into_iter().map(|(_, seeds)| seeds).collect();
    for found in outcome.different.iter().take(SMALL) {
        let until = rounds.iter().take(found.round + 1);
        let until: Vec<Vec<Plan>> = until.map(|seeds| plans(seeds)).collect::<Result<_>>()?;
        let mut replay = Replay::new(found.way)?;
        let small = replay.smallest(found, &until);
        replay.end();
        say(&format!(
            "\n== seed {} by {:?} (in the run of LB_REFEREE_SEED={} LB_REFEREE_CLUSTERS={})\n{}",
            found.seed, found.way, range.first, range.clusters, small?
        ));
    }
    Ok(())
}

fn plans(seeds: &[u64]) -> Result<Vec<Plan>> {
    let plans = seeds.iter().map(|seed| generate::plan_of_pair(*seed));
    plans.collect()
}

impl Outcome {
    fn add(
        &mut self,
        round: usize,
        way: Way,
        seeds: &[u64],
        plans: &[Plan],
        score: &Score,
        say: &mut impl FnMut(&str),
    ) {
        for one in &score.answered {
            if one.reused.as_ref().is_some_and(|reused| reused.they_differ) {
                say(&format!("kube-proxy itself depends on the port: {one}"));
            }
        }
        self.counts.add(score.counts());
        let differ: Vec<&Answered> = score.differences().collect();
        for (index, (seed, plan)) in seeds.iter().zip(plans).enumerate() {
            let own = differ.iter().copied().filter(|one| one.plan == index);
            let own: Vec<Answered> = own.cloned().collect();
            let Some(first) = own.first() else { continue };
            for one in &own {
                self.classes.add(&plan.name, one);
            }
            self.different.push(Found {
                round,
                index,
                seed: *seed,
                way,
                question: first.question.clone(),
            });
            let own = Score {
                answered: own,
                again: 0,
            };
            say(&report::differences(plans, &own));
        }
    }

    /// For people.
    #[must_use]
    pub fn summary(&self, clusters: u64) -> String {
        let asked = usize::try_from(clusters).unwrap_or(usize::MAX);
        let mut text = report::totals(asked, &self.counts);
        report::add(
            &mut text,
            format_args!(
                "kube-proxy's own answers that depend on a port used before: {}\n{} of {clusters} clusters differ, in {:.1?}\n",
                self.counts.theirs_by_port,
                self.different.len(),
                self.took
            ),
        );
        if !self.different.is_empty() {
            text += &self.classes.table();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_plays_its_half_of_the_rounds() {
        let range = Range {
            first: 5,
            clusters: 14,
            ways: vec![Way::Tc, Way::Xdp],
        };
        let rounds = range.rounds();
        let begins: Vec<_> = rounds.iter().map(|(way, _)| *way).collect();
        assert_eq!(begins, [Some(Way::Tc), None, Some(Way::Xdp), None]);
        assert_eq!(rounds[3].1, [17, 18]);
    }
}
