//! Open connections counted anew from the sockets themselves. Owns the comparison with `lb_active`, which programs keep by
//! adding and subtracting, and its repair; also tells the programs which process is the agent.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use anyhow::{Context, Result};
use lb_common::{
    maps,
    sock::{Agent, SockRecord},
};
use lb_sys::Map;

use crate::maps::{
    dir::BpfDir,
    pinned::{Access, ArrayPin, HashPin},
    table::ArrayTable,
};

/// Has the programs know this process as the agent: its own sockets are never translated. Reads the iterator once.
pub(crate) fn claim(dir: &BpfDir, iterator: &OwnedFd) -> Result<()> {
    let agent: HashPin<u32, Agent> = HashPin::open(dir, maps::AGENT, Access::Write)?;
    let before = agent.map().get(&0)?.unwrap_or(Agent::NONE);
    let claim = Agent {
        tgid: Agent::CLAIM,
        ..before
    };
    agent
        .map()
        .set(&0, &claim)
        .context("cannot write lb_agent")?;
    lb_sys::read_iter::<SockRecord>(iterator).context("cannot walk over the sockets' records")?;
    if dir.new_map(&maps::AGENT).exists()
        && let Some(claimed) = agent.map().get(&0)?
        && let Err(error) = tell_old(dir, claimed)
    {
        tracing::warn!(error = %format!("{error:#}"), "the previous agent's programs do not know us until they are replaced");
    }
    Ok(())
}

/// The map was made anew: the previous agent's programs, which run until they are swapped, read the old one.
fn tell_old(dir: &BpfDir, claimed: Agent) -> Result<()> {
    let pin = dir.map(&maps::AGENT);
    if !pin.exists() {
        return Ok(());
    }
    let old: Map<u32, Agent> = Map::new(lb_sys::open_pin(&pin)?)?;
    let records_lost = old.get(&0)?.unwrap_or(Agent::NONE).records_lost;
    let told = Agent {
        records_lost,
        ..claimed
    };
    Ok(old.set(&0, &told)?)
}

/// What a recount found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recounted {
    /// Sockets with a record.
    pub sockets: u64,
    /// Open connections among them.
    pub connections: u64,
    /// By how much the counts were off, summed over all backends; a part of it may be connections that came or went meanwhile.
    pub drift: u64,
    /// How much of it stood still since the last time, and was repaired.
    pub repaired: u64,
}

/// Makes recounts of one iterator.
#[derive(Debug)]
pub struct Recounts {
    dir: BpfDir,
    iterator: OwnedFd,
}

impl Recounts {
    pub(crate) fn new(dir: &BpfDir, iterator: OwnedFd) -> Self {
        Self {
            dir: dir.clone(),
            iterator,
        }
    }

    /// A recount that knows of no drift yet. The maps' pins are in their place (after the commit).
    pub fn start(&self) -> Result<Recount> {
        let iterator = self
            .iterator
            .try_clone()
            .context("cannot duplicate a descriptor")?;
        Recount::new(&self.dir, iterator)
    }
}

/// The recount, to be run every few seconds.
#[derive(Debug)]
pub struct Recount {
    iterator: OwnedFd,
    active: ArrayPin<u64>,
    /// Drift by backend id, of the last run.
    last: BTreeMap<u32, i64>,
}

impl Recount {
    pub(crate) fn new(dir: &BpfDir, iterator: OwnedFd) -> Result<Self> {
        Ok(Self {
            iterator,
            active: ArrayPin::open(dir, maps::ACTIVE, Access::Write)?,
            last: BTreeMap::new(),
        })
    }

    /// Walks over all sockets, compares, and repairs what was off by as much the last time already.
    pub fn run(&mut self) -> Result<Recounted> {
        let before = self.counts()?;
        let records = lb_sys::read_iter::<SockRecord>(&self.iterator)
            .context("cannot walk over the sockets' records")?;
        let after = self.counts()?;
        let mut sockets: BTreeMap<u32, i64> = BTreeMap::new();
        for record in records.iter().filter(|r| r.counted != 0) {
            *sockets.entry(record.backend_id).or_default() += 1;
        }
        let drift = drift(&before, &sockets, &after);
        let repairs = standing(&self.last, &drift);
        for (backend, n) in &repairs {
            self.active.add(*backend, *n)?;
        }
        let total = |by: &BTreeMap<u32, i64>| by.values().map(|n| n.unsigned_abs()).sum();
        let found = Recounted {
            sockets: records.len() as u64,
            connections: total(&sockets),
            drift: total(&drift),
            repaired: total(&repairs),
        };
        self.last = drift;
        for (backend, n) in repairs {
            if let Some(left) = self.last.get_mut(&backend) {
                *left -= n;
            }
        }
        Ok(found)
    }

    /// Every count that is not zero; one that fell below zero is negative.
    fn counts(&self) -> Result<BTreeMap<u32, i64>> {
        let mut counts = BTreeMap::new();
        for backend in 0..self.active.len() {
            let n = self.active.load(backend)?.cast_signed();
            if n != 0 {
                counts.insert(backend, n);
            }
        }
        Ok(counts)
    }
}

/// What must be added to each count. A number of sockets that lies between the counts before and after the walk is none.
fn drift(
    before: &BTreeMap<u32, i64>,
    sockets: &BTreeMap<u32, i64>,
    after: &BTreeMap<u32, i64>,
) -> BTreeMap<u32, i64> {
    let of = |by: &BTreeMap<u32, i64>, id| by.get(id).copied().unwrap_or(0);
    before
        .keys()
        .chain(sockets.keys())
        .chain(after.keys())
        .filter_map(|id| {
            let (a, b) = (of(before, id), of(after, id));
            let n = of(sockets, id);
            let off = n - n.clamp(a.min(b), a.max(b));
            (off != 0).then_some((*id, off))
        })
        .collect()
}

/// The part of a drift that has the same direction as the last time, and not more than then.
fn standing(last: &BTreeMap<u32, i64>, now: &BTreeMap<u32, i64>) -> BTreeMap<u32, i64> {
    now.iter()
        .filter_map(|(id, n)| {
            let before = last.get(id)?;
            let part = if *n > 0 {
                (*before).clamp(0, *n)
            } else {
                (*before).clamp(*n, 0)
            };
            (part != 0).then_some((*id, part))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by<const N: usize>(counts: [(u32, i64); N]) -> BTreeMap<u32, i64> {
        counts.into()
    }

    #[test]
    fn what_changed_during_the_walk_is_no_drift() {
        let found = drift(
            &by([(1, 5), (2, 9)]),
            &by([(1, 7), (2, 8)]),
            &by([(1, 8), (2, 7)]),
        );
        assert_eq!(found, by([]));
    }

    #[test]
    fn drift_is_what_must_be_added() {
        let before = by([(1, 5), (2, 3), (4, -1)]);
        let found = drift(&before, &by([(1, 7), (3, 1)]), &before);
        assert_eq!(found, by([(1, 2), (2, -3), (3, 1), (4, 1)]));
    }

    #[test]
    fn only_what_stood_still_is_repaired() {
        let last = by([(1, 2), (2, -3), (3, 1), (5, -4)]);
        let now = by([(1, 5), (2, -1), (3, -1), (4, 7), (5, -4)]);
        assert_eq!(standing(&last, &now), by([(1, 2), (2, -1), (5, -4)]));
    }
}
