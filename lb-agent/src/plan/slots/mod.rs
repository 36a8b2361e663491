//! What stands in a pool's slots: each eligible member once, or as often as its weight says, or a
//! table of hashes. Pure, and the same on every node for the same members.

mod maglev;
pub(super) mod spill;
mod weighted;

use lb_common::scheduler::Scheduler;
pub use spill::Spill;

use super::desired::{Member, MemberFlags};
use crate::model::slow_start::PARTS;

/// Slots of one Service at most, a quarter of those that `lb_slots` has by default, so that none
/// fills it for the others. Its pools share them evenly; one that has more backends than its share
/// has a slot for each.
pub const OF_A_SERVICE: usize = 262_144;

/// How many of them each of so many pools may have.
#[must_use]
pub fn share(pools: usize) -> usize {
    OF_A_SERVICE / pools.max(1)
}

/// The slots of a pool.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Slots {
    /// Indices into the pool's members as planned (those that have left it meanwhile are not
    /// counted), none of one that is not eligible.
    pub members: Box<[u32]>,
    /// One for each slot, where the scheduler asks for weights and they differ; else empty.
    pub weights: Box<[u16]>,
    /// What stands behind them, where new connections may leave the members that hints prefer.
    pub spill: Option<Spill>,
    /// What is not as the weights ask, in words.
    pub problem: Option<String>,
    /// They are fewer than the scheduler asks for, since the Service has many pools.
    pub few: bool,
}

/// The slots of these members, no more than the share, or one each. There are 65535 eligible ones
/// at most. Those that hints do not prefer have none, while one is left that they do (see
/// [`Spill`]).
#[must_use]
pub fn slots(scheduler: Scheduler, members: &[Member], share: usize) -> Slots {
    let [eligible, _] = preferred(members);
    let weights = weights(&eligible);
    let differ = weights.windows(2).any(|w| w[0] != w[1]);
    let mut slots = Slots::default();
    let places: Vec<usize> = match scheduler {
        Scheduler::Maglev => {
            let wanted = maglev::size(eligible.len());
            let size = maglev::within(wanted, eligible.len(), share);
            slots.few = size != Some(wanted) && !eligible.is_empty();
            let names = eligible.iter().map(|(_, m)| maglev::name(m));
            match size {
                Some(size) => maglev::table(&names.collect::<Vec<_>>(), &weights, size),
                None => (0..eligible.len()).collect(),
            }
        }
        Scheduler::Random | Scheduler::WeightedRoundRobin if differ => {
            let sequence = weighted::sequence(&weights, share);
            (slots.problem, slots.few) = (sequence.problem, sequence.few);
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

/// The eligible members that topology hints prefer, and the other eligible ones; the first are all,
/// where hints prefer none that is left.
fn preferred(members: &[Member]) -> [Vec<(u32, &Member)>; 2] {
    let all = (0..).zip(members);
    let all = all.filter(|(_, m)| m.flags.has(MemberFlags::ELIGIBLE));
    let (inside, outside): (Vec<_>, Vec<_>) =
        all.partition(|(_, m)| !m.flags.has(MemberFlags::OUTSIDE));
    if inside.is_empty() {
        [outside, inside]
    } else {
        [inside, outside]
    }
}

/// What each weighs beside the others. Where some have parts of their weights only, all are counted
/// in parts, brought down until they fit; each keeps one.
fn weights(members: &[(u32, &Member)]) -> Vec<u16> {
    let flags = || members.iter().map(|(_, member)| member.flags);
    if flags().all(|flags| flags.parts() == PARTS) {
        return flags().map(MemberFlags::weight).collect();
    }
    let parts: Vec<u32> = flags()
        .map(|flags| u32::from(flags.weight()) * u32::from(flags.parts()))
        .collect();
    let most = parts.iter().copied().max().unwrap_or(0);
    let divisor = most.div_ceil(u32::from(u16::MAX)).max(1);
    let one = |parts: u32| u16::try_from(parts / divisor).unwrap_or(u16::MAX).max(1);
    parts.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests;
