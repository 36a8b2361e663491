//! A difference played again from a clean state: alone, in its round, after the rounds before it;
//! then with ever less company, and made small. What is left is what matters.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Found, QUESTIONS};
use crate::{
    plan::Plan,
    report,
    round::{self, Asked},
    score::Score,
    setup::{Testbed, Way},
    shrink,
    stage::Stage,
};

/// So many rounds before its own may have made a difference.
const BEFORE: usize = 3;
/// For one difference.
const PATIENCE: Duration = Duration::from_mins(3);

/// Rounds one after the other; a plan without states is an empty place.
type Rounds = Vec<Vec<Plan>>;

/// A bed of its own, clean before each attempt.
pub(super) struct Replay {
    bed: Testbed,
    way: Way,
    until: Instant,
}

impl Replay {
    pub(super) fn new(way: Way) -> Result<Self> {
        Ok(Self {
            bed: Testbed::pair(way)?,
            way,
            until: Instant::now(),
        })
    }

    /// What is left of a difference, for people; `rounds` are those up to its own.
    pub(super) fn smallest(&mut self, found: &Found, rounds: &[Vec<Plan>]) -> Result<String> {
        self.until = Instant::now() + PATIENCE;
        let index = found.index;
        let sampled = Asked::Some(QUESTIONS);
        let Some(own) = rounds.last() else {
            return Ok(String::new());
        };
        let alone = vec![only(own, index)];
        let mut tried = vec![("alone".to_owned(), alone)];
        for before in 0..=BEFORE.min(rounds.len() - 1) {
            let from = rounds.len() - 1 - before;
            let how = format!("side by side, after {before} rounds before");
            tried.push((how, rounds[from..].to_vec()));
        }
        for (how, mut rounds) in tried {
            let Some(mut score) = self.differs(&rounds, index, &sampled)? else {
                continue;
            };
            let mut asked = sampled;
            self.without_company(&mut rounds, index, &asked, &mut score)?;
            let like = Asked::Like(Box::new(found.question.clone()));
            if let Some(seen) = self.differs(&rounds, index, &like)? {
                (asked, score) = (like, seen);
                self.smaller(&mut rounds, index, &asked, &mut score)?;
            }
            return Ok(text(&how, &rounds, index, &score));
        }
        Ok("not seen again from a clean state: it takes the whole run".to_owned())
    }

    /// Takes away plans, whole rounds first, while the difference stays.
    fn without_company(
        &mut self,
        rounds: &mut Rounds,
        index: usize,
        asked: &Asked,
        score: &mut Score,
    ) -> Result<()> {
        let last = rounds.len() - 1;
        let places = rounds.iter().map(Vec::len).enumerate();
        let mut places: Vec<_> = places
            .flat_map(|(round, count)| (0..count).map(move |place| (round, place)))
            .collect();
        places.retain(|place| *place != (last, index));
        for (round, place) in places {
            let mut fewer = rounds.clone();
            fewer[round][place].states.clear();
            if fewer[round] != rounds[round]
                && let Some(seen) = self.differs(&fewer, index, asked)?
            {
                (*rounds, *score) = (fewer, seen);
            }
        }
        Ok(())
    }

    /// Makes the plan itself smaller, step by step, while the difference stays.
    fn smaller(
        &mut self,
        rounds: &mut Rounds,
        index: usize,
        asked: &Asked,
        score: &mut Score,
    ) -> Result<()> {
        let last = rounds.len() - 1;
        'steps: loop {
            for plan in shrink::smaller(&rounds[last][index]) {
                let mut less = rounds.clone();
                less[last][index] = plan;
                if let Some(seen) = self.differs(&less, index, asked)? {
                    (*rounds, *score) = (less, seen);
                    continue 'steps;
                }
            }
            return Ok(());
        }
    }

    /// The differences of the plan in the last round, from a clean state; `None` once the time is
    /// over, too.
    fn differs(&mut self, rounds: &Rounds, index: usize, asked: &Asked) -> Result<Option<Score>> {
        if Instant::now() > self.until {
            return Ok(None);
        }
        self.bed.forget(self.way)?;
        let mut stage = Stage::new(self.bed.numbers());
        let mut last = Score::default();
        for plans in rounds {
            last = round::play(&mut self.bed, &mut stage, plans, asked)?;
        }
        stage.clear(&mut self.bed)?;
        last.answered
            .retain(|one| one.plan == index && one.differs());
        Ok((!last.answered.is_empty()).then_some(last))
    }

    pub(super) fn end(mut self) {
        self.bed.quiet();
    }
}

/// The plan in its place, and nothing beside it.
fn only(round: &[Plan], index: usize) -> Vec<Plan> {
    let mut plans = round.to_vec();
    for (place, plan) in plans.iter_mut().enumerate() {
        if place != index {
            plan.states.clear();
        }
    }
    plans
}

fn text(how: &str, rounds: &Rounds, index: usize, score: &Score) -> String {
    let last = rounds.len() - 1;
    let mut text = format!("seen again {how}; made small:\n");
    text += &report::differences(&rounds[last], score);
    for (round, plans) in rounds.iter().enumerate() {
        for (place, plan) in plans.iter().enumerate() {
            if plan.states.is_empty() {
                continue;
            }
            let before = last - round;
            let of = if (round, place) == (last, index) {
                "the plan that differs".to_owned()
            } else {
                format!("{before} rounds before, place {place}")
            };
            report::add(&mut text, format_args!("# {}: {of}\n", plan.name));
            text += &report::yaml(plan);
        }
    }
    text
}
