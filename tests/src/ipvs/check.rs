//! Our schedulers beside what IPVS chose: the code that the agent and the programs run.

use anyhow::{Context as _, Result, ensure};
use lb_agent::plan::{
    desired::{Member, MemberFlags},
    slots::{self, OF_A_SERVICE},
};
use lb_common::{
    Addr,
    least::{self, Search},
    load::{FlowCounts, load},
    scheduler::Scheduler,
};

use super::{Loads, Record, Step, Turns};

/// Draws of who gets a connection of several that are as good.
const DRAWS: u32 = 64;

impl Record {
    /// That our schedulers choose as IPVS did.
    ///
    /// # Errors
    ///
    /// The first choice that differs.
    pub fn check(&self) -> Result<()> {
        ensure!(
            !self.turns.is_empty() && !self.loads.is_empty(),
            "nothing is recorded"
        );
        for turns in &self.turns {
            turns.check().with_context(|| format!("{turns:?}"))?;
        }
        for loads in &self.loads {
            loads.check()?;
        }
        Ok(())
    }
}

impl Turns {
    fn check(&self) -> Result<()> {
        let scheduler = known(&self.scheduler)?;
        // The agent gives no slot to who weighs nothing.
        let places: Vec<usize> = (0..self.weights.len())
            .filter(|place| self.weights[*place] > 0)
            .collect();
        let members: Vec<Member> = places.iter().map(|at| member(self.weights[*at])).collect();
        let round = slots::slots(scheduler, &members, OF_A_SERVICE).members;
        let ours: Vec<usize> = round
            .iter()
            .map(|slot| Ok(places[usize::try_from(*slot)?]))
            .collect::<Result<_>>()?;
        ensure!(self.chosen.len() >= 2 * ours.len(), "less than two rounds");
        // IPVS begins somewhere in its round: it goes on while real servers are added.
        let is_ours = |from: usize| {
            let ours = ours.iter().cycle().skip(from);
            self.chosen
                .iter()
                .zip(ours)
                .all(|(chosen, ours)| chosen == ours)
        };
        ensure!((0..ours.len()).any(is_ours), "our round is {ours:?}");
        Ok(())
    }
}

fn member(weight: u16) -> Member {
    Member {
        addr: Addr::v4([10, 0, 0, 1]),
        port: 80,
        flags: MemberFlags::default()
            .with(MemberFlags::ELIGIBLE, true)
            .weighing(weight),
    }
}

impl Loads {
    fn check(&self) -> Result<()> {
        let scheduler = known(&self.scheduler)?;
        ensure!(!self.steps.is_empty(), "no step of {}", self.scheduler);
        for step in &self.steps {
            let ours = self.ours(scheduler, step)?;
            ensure!(
                ours.contains(&step.chosen),
                "{} with weights {:?} and {step:?}: we choose of {ours:?}",
                self.scheduler,
                self.weights
            );
        }
        Ok(())
    }

    /// All whom our search may give the connection to: it draws among those that are as good.
    fn ours(&self, scheduler: Scheduler, step: &Step) -> Result<Vec<usize>> {
        let places: Vec<usize> = (0..self.weights.len())
            .filter(|place| self.weights[*place] > 0)
            .collect();
        let mut found = Vec::new();
        for random in 0..DRAWS {
            let random = random.wrapping_mul(0x9e37_79b9);
            let mut search = Search::new(scheduler.number(), u16::try_from(places.len())?, random);
            for look in 0..least::looks(scheduler.number(), u16::try_from(places.len())?) {
                let at = search.place(look);
                let place = places[usize::try_from(at)?];
                let (active, inactive) = step.counts[place];
                let flows = FlowCounts {
                    active: i32::try_from(active)?,
                    inactive: i32::try_from(inactive)?,
                };
                let weight = match scheduler {
                    Scheduler::WeightedLeastConnections => self.weights[place],
                    _ => 1,
                };
                search.consider(at, load(0, flows.to_word()), weight.into());
            }
            let chosen = places[usize::try_from(search.offset())?];
            if !found.contains(&chosen) {
                found.push(chosen);
            }
        }
        Ok(found)
    }
}

fn known(name: &str) -> Result<Scheduler> {
    Scheduler::parse(name).with_context(|| format!("no scheduler {name}"))
}
