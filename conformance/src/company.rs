//! Random clusters in company: four side by side on two nodes, then the next four without a pause,
//! so that numbers, addresses, ids and client ports have been others' a moment ago.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    classes::Classes,
    generate,
    plan::Plan,
    report,
    round::{self, Asked},
    score::Score,
    setup::{SLOTS_OF_PAIR, Testbed, Way},
    stage::Stage,
};

/// Questions of each Service in each state.
const QUESTIONS: usize = 8;

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

/// What came of a range.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Every question.
    pub score: Score,
    /// The seeds of the clusters that differ, with what was seen.
    pub different: Vec<(u64, String)>,
    /// What the differences look like.
    pub classes: Classes,
    /// Time spent in rounds.
    pub took: Duration,
}

/// Plays the range on a bed of its own; `say` is told of each round.
pub fn play(range: &Range, mut say: impl FnMut(&str)) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let rounds = range.rounds();
    let Some(way) = rounds.first().and_then(|(way, _)| *way) else {
        return Ok(outcome);
    };
    let mut bed = Testbed::pair(way)?;
    let mut stage = Stage::new(bed.numbers());
    let start = Instant::now();
    for (index, (way, seeds)) in rounds.iter().enumerate() {
        if let (Some(way), true) = (way, index > 0) {
            bed.restart_agents(*way)?;
        }
        let plans: Vec<Plan> = seeds
            .iter()
            .map(|seed| generate::plan_of_pair(*seed))
            .collect::<Result<_>>()?;
        let score = round::play(&mut bed, &mut stage, &plans, &Asked::Some(QUESTIONS))?;
        outcome.add(seeds, &plans, score, &mut say);
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

impl Outcome {
    fn add(&mut self, seeds: &[u64], plans: &[Plan], score: Score, say: &mut impl FnMut(&str)) {
        for one in &score.answered {
            if one.reused.as_ref().is_some_and(|reused| reused.they_differ) {
                say(&format!("kube-proxy itself depends on the port: {one}"));
            }
        }
        for (index, (seed, plan)) in seeds.iter().zip(plans).enumerate() {
            let own = score.answered.iter().filter(|one| one.plan == index);
            let own = Score {
                answered: own.filter(|one| one.differs()).cloned().collect(),
                again: 0,
            };
            if own.answered.is_empty() {
                continue;
            }
            for one in &own.answered {
                self.classes.add(&plan.name, one);
            }
            let text = report::differences(plans, &own);
            say(&text);
            self.different.push((*seed, text));
        }
        self.score.add(score);
    }

    /// For people.
    #[must_use]
    pub fn summary(&self, clusters: u64) -> String {
        let asked = usize::try_from(clusters).unwrap_or(usize::MAX);
        let mut text = report::totals(asked, &self.score);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "kube-proxy's own answers that depend on a port used before: {}\n{} of {clusters} clusters differ, in {:.1?}",
            self.score.theirs_by_port(),
            self.different.len(),
            self.took
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
