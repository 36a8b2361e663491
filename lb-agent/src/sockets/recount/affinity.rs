//! Records of session affinity counted by pool: what is over or past its time goes, and each pool
//! is told its share of the rest, so that one Service's clients do not drive out another's.

use std::collections::BTreeMap;

use anyhow::Result;
use lb_common::{
    affinity::{Affinity, AffinityKey, AffinityShare},
    maps,
    pool::Pool,
};

use crate::{
    flows::clock::monotonic,
    maps::{
        dir::BpfDir,
        pinned::{Access, ArrayPin, HashPin},
        table::{ArrayTable as _, HashTable as _},
    },
};

/// The maps, by their pins.
#[derive(Debug)]
pub(super) struct Shares {
    records: HashPin<AffinityKey, Affinity>,
    by_pool: ArrayPin<AffinityShare>,
    pools: ArrayPin<Pool>,
}

impl Shares {
    pub(super) fn open(dir: &BpfDir) -> Result<Self> {
        Ok(Self {
            records: HashPin::open(dir, maps::AFFINITY, Access::Write)?,
            by_pool: ArrayPin::open(dir, maps::AFFINITY_SHARES, Access::Write)?,
            pools: ArrayPin::open(dir, maps::POOLS, Access::Read)?,
        })
    }

    /// Counts, removes, and writes the shares. What programs write meanwhile is counted the next
    /// time.
    pub(super) fn recount(&mut self) -> Result<()> {
        // Before the pools: of a Service that comes meanwhile no client's record is there yet.
        let records = self.records.entries()?;
        let mut seconds = BTreeMap::new();
        let shares = self.by_pool.used()?;
        for (index, pool) in self.pools.used()? {
            if pool.affinity_secs > 0 && index < self.by_pool.len() {
                seconds.insert(index, pool.affinity_secs);
            }
        }
        for (index, _) in shares.iter().filter(|(i, _)| !seconds.contains_key(i)) {
            self.by_pool.store(*index, &AffinityShare::default())?;
        }
        let plan = plan(records, &seconds, monotonic(), self.records.capacity());
        let removed = self.records.remove(&plan.over);
        for index in seconds.into_keys() {
            let share = AffinityShare {
                records: plan.records.get(&index).copied().unwrap_or(0),
                share: plan.share,
            };
            self.by_pool.store(index, &share)?;
        }
        removed.error.map_or(Ok(()), |error| Err(error.into()))
    }
}

const NANOS: u64 = 1_000_000_000;

/// What is to be done.
#[derive(PartialEq, Eq, Debug)]
struct Plan {
    /// Records that are past their time, of a pool without affinity, or beyond their pool's share,
    /// those least recently used.
    over: Vec<AffinityKey>,
    /// What is left, by pool index.
    records: BTreeMap<u32, u32>,
    /// What a pool may have.
    share: u32,
}

/// `seconds` are the pools with affinity. Each pool that has records gets the same share, and one
/// more is left for a pool that has none yet; an eighth of the map stays empty, since the kernel
/// evicts before the last entry is taken.
fn plan(
    records: Vec<(AffinityKey, Affinity)>,
    seconds: &BTreeMap<u32, u32>,
    now: u64,
    capacity: u32,
) -> Plan {
    let mut over = Vec::new();
    let mut by_pool: BTreeMap<u32, Vec<(u64, AffinityKey)>> = BTreeMap::new();
    for (key, Affinity { last_used_ns, .. }) in records {
        let keep = seconds.get(&key.pool).map_or(0, |s| u64::from(*s) * NANOS);
        // A program may have written it after the clock was read.
        if keep == 0 || now.saturating_sub(last_used_ns) > keep {
            over.push(key);
        } else {
            let ours = by_pool.entry(key.pool).or_default();
            ours.push((last_used_ns, key));
        }
    }
    let pools = u32::try_from(by_pool.len()).unwrap_or(u32::MAX - 1);
    let share = ((capacity - capacity / 8) / (pools + 1)).max(1);
    let records = by_pool.into_iter().map(|(pool, mut ours)| {
        ours.sort_unstable_by_key(|(last, _)| std::cmp::Reverse(*last));
        let kept = ours.len().min(share as usize);
        over.extend(ours.drain(kept..).map(|(_, key)| key));
        (pool, u32::try_from(kept).unwrap_or(share))
    });
    let records = records.collect();
    Plan {
        over,
        records,
        share,
    }
}

#[cfg(test)]
mod tests {
    use lb_common::Addr;

    use super::*;

    fn record(pool: u32, client: u16, last: u64) -> (AffinityKey, Affinity) {
        let [a, b] = client.to_be_bytes();
        let key = AffinityKey {
            client: Addr::v4([10, 0, a, b]),
            pool,
        };
        let value = Affinity {
            last_used_ns: last * NANOS,
            backend: 1,
            pad: 0,
        };
        (key, value)
    }

    fn planned(records: &[(AffinityKey, Affinity)], capacity: u32) -> Plan {
        let seconds = BTreeMap::from([(1, 100), (2, 10), (3, 100)]);
        plan(records.to_vec(), &seconds, 1_000 * NANOS, capacity)
    }

    #[test]
    fn what_is_past_its_time_and_of_no_pool_goes() {
        let kept = [record(1, 1, 900), record(2, 1, 990), record(3, 1, 1_001)];
        let gone = [record(1, 2, 899), record(2, 2, 989), record(9, 1, 1_000)];
        let plan = planned(&[kept, gone].concat(), 800);
        assert_eq!(plan.over, gone.map(|(key, _)| key));
        assert_eq!(plan.records, BTreeMap::from([(1, 1), (2, 1), (3, 1)]));
    }

    #[test]
    fn pools_with_records_share_alike_and_one_share_is_left() {
        assert_eq!(planned(&[], 800).share, 700);
        assert_eq!(planned(&[record(1, 1, 999)], 800).share, 350);
        let two = [record(1, 1, 999), record(1, 2, 999), record(3, 1, 999)];
        assert_eq!(planned(&two, 800).share, 233);
        assert_eq!(planned(&two, 1).share, 1, "never none");
    }

    #[test]
    fn a_pool_over_its_share_loses_what_was_used_longest_ago() {
        let mut all: Vec<_> = (0..30).map(|n| record(1, n, 950 + u64::from(n))).collect();
        all.push(record(3, 1, 901));
        let plan = planned(&all, 24);
        assert_eq!(plan.share, 7);
        assert_eq!(plan.records, BTreeMap::from([(1, 7), (3, 1)]));
        assert_eq!(plan.over.len(), 23);
        for n in 0..23 {
            assert!(plan.over.contains(&record(1, n, 0).0), "{n}");
        }
    }
}
