//! What stands in a pool's slots: each eligible member once, or as often as its weight says, or a
//! table of hashes. Pure, and the same on every node for the same members.

mod maglev;
mod weighted;

use lb_common::scheduler::Scheduler;

use super::desired::{Member, MemberFlags};

/// The slots of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Slots {
    /// Indices into the pool's members as planned (those that have left it meanwhile are not
    /// counted), none of one that is not eligible.
    pub members: Box<[u32]>,
    /// One for each slot, where the scheduler asks for weights and they differ; else empty.
    pub weights: Box<[u16]>,
    /// What is not as the weights ask, in words.
    pub problem: Option<String>,
}

/// The slots of these members. There are 65535 eligible ones at most.
#[must_use]
pub fn slots(scheduler: Scheduler, members: &[Member]) -> Slots {
    let eligible: Vec<(u32, &Member)> = (0..)
        .zip(members)
        .filter(|(_, m)| m.flags.has(MemberFlags::ELIGIBLE))
        .collect();
    let weights: Vec<u16> = eligible.iter().map(|(_, m)| m.flags.weight()).collect();
    let differ = weights.windows(2).any(|w| w[0] != w[1]);
    let mut slots = Slots::default();
    let places: Vec<usize> = match scheduler {
        Scheduler::Maglev => {
            let names = eligible.iter().map(|(_, m)| maglev::name(m));
            maglev::table(&names.collect::<Vec<_>>(), &weights)
        }
        Scheduler::Random | Scheduler::WeightedRoundRobin if differ => {
            let sequence = weighted::sequence(&weights);
            slots.problem = sequence.problem;
            sequence.places
        }
        Scheduler::WeightedLeastConnections | Scheduler::TwoChoices if differ => {
            slots.weights = weights.into();
            (0..eligible.len()).collect()
        }
        _ => (0..eligible.len()).collect(),
    };
    slots.members = places.into_iter().map(|place| eligible[place].0).collect();
    slots
}

#[cfg(test)]
mod tests;
