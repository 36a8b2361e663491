//! What the programs remember between packets: read, written and forgotten by the table.

use anyhow::{Result, ensure};
use lb_agent::{
    flows::hash_key::HashKeyTable,
    maps::{
        dir::BpfDir,
        pinned::{Access, ArrayPin, HashPin},
        table::{ArrayTable as _, HashTable as _},
    },
};
use lb_common::{
    affinity::{Affinity, AffinityKey, AffinityShare},
    flow::{Flow, FlowKey, began, connects, direction, flags, units},
    fragment::{Fragment, FragmentKey},
    hash::HashKey,
    maps,
    refusal::{Refusals, kind},
};
use lb_sys::PerCpuArray;

/// The maps that only programs write.
pub(crate) struct State {
    pub(crate) established: HashPin<FlowKey, Flow>,
    pub(crate) new: HashPin<FlowKey, Flow>,
    pub(crate) peers: HashPin<FlowKey, u32>,
    pub(crate) foreign: HashPin<FlowKey, u32>,
    pub(crate) affinity: HashPin<AffinityKey, Affinity>,
    pub(crate) shares: ArrayPin<AffinityShare>,
    /// Open flows by backend.
    counts: ArrayPin<u64>,
    refusals: PerCpuArray<Refusals>,
    pub(crate) fragments: HashPin<FragmentKey, Fragment>,
    hash_key: HashKeyTable,
}

/// How many records stand where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// No record at all.
    Nowhere,
    /// In `lb_newflows` alone.
    New,
    /// In `lb_flows` alone.
    Established,
    /// In both.
    Both,
}

impl State {
    pub(crate) fn open(dir: &BpfDir) -> Result<Self> {
        Ok(Self {
            established: HashPin::open(dir, maps::FLOWS, Access::Write)?,
            new: HashPin::open(dir, maps::NEWFLOWS, Access::Write)?,
            peers: HashPin::open(dir, maps::SNAT_PEERS, Access::Write)?,
            foreign: HashPin::open(dir, maps::FOREIGN, Access::Write)?,
            affinity: HashPin::open(dir, maps::AFFINITY, Access::Write)?,
            shares: ArrayPin::open(dir, maps::AFFINITY_SHARES, Access::Write)?,
            counts: ArrayPin::open(dir, maps::FLOW_COUNTS, Access::Write)?,
            refusals: PerCpuArray::new(lb_sys::open_pin(&dir.map(&maps::REFUSALS))?)?,
            fragments: HashPin::open(dir, maps::FRAGMENTS, Access::Write)?,
            hash_key: HashKeyTable::open(dir, Access::Write)?,
        })
    }

    /// Forgets all flows, though they stay counted.
    pub(crate) fn lose_flows(&mut self) -> Result<()> {
        clear(&mut self.established)?;
        clear(&mut self.new)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) -> Result<()> {
        self.lose_flows()?;
        clear(&mut self.peers)?;
        clear(&mut self.foreign)?;
        clear(&mut self.affinity)?;
        self.set_shares(AffinityShare::default())?;
        self.counts
            .store_run(0, &vec![0; self.counts.len() as usize])?;
        self.refusals.zero(kind::REFUSAL)?;
        self.refusals.zero(kind::OF_AGE)?;
        clear(&mut self.fragments)?;
        self.set_hash_key(HashKey::default())
    }

    /// Has the programs place flows by this key.
    pub(crate) fn set_hash_key(&self, key: HashKey) -> Result<()> {
        self.hash_key.write(key)?;
        Ok(())
    }

    /// Writes the same for each pool.
    pub(crate) fn set_shares(&mut self, share: AffinityShare) -> Result<()> {
        let all = vec![share; self.shares.len() as usize];
        Ok(self.shares.store_run(0, &all)?)
    }

    /// Changes every reply entry.
    pub(crate) fn change_replies(&mut self, change: impl Fn(&mut Flow)) -> Result<()> {
        for map in [&mut self.new, &mut self.established] {
            let mut entries = map.entries()?;
            entries.retain(|(_, flow)| flow.direction == direction::REPLY);
            for (_, flow) in &mut entries {
                change(flow);
            }
            let done = map.insert(&entries);
            ensure!(done.error.is_none(), "{done:?}");
        }
        Ok(())
    }

    /// Moves every time that is remembered back by so many nanoseconds, as if they had passed.
    pub(crate) fn elapse(&mut self, time: u64) -> Result<()> {
        let units = units(time);
        for map in [&mut self.new, &mut self.established] {
            let mut entries = map.entries()?;
            for (key, flow) in &mut entries {
                if flow.direction == direction::REPLY {
                    flow.seen = flow.seen.wrapping_sub(units);
                    if !connects(key.proto) {
                        flow.proof = flow.proof.wrapping_sub(began(time));
                    } else if flow.flags & flags::DATED != 0 {
                        flow.proof = flow.proof.wrapping_sub(units);
                    }
                } else if (flow.seen, flow.proof) != (0, 0) {
                    let at = u64::from(flow.seen) << 32 | u64::from(flow.proof);
                    flow.set_verified(at.wrapping_sub(time));
                }
            }
            write(map, &entries)?;
        }
        let mut foreign = self.foreign.entries()?;
        for (_, seen) in &mut foreign {
            *seen = seen.wrapping_sub(units);
        }
        write(&mut self.foreign, &foreign)?;
        let mut fragments = self.fragments.entries()?;
        for (_, first) in &mut fragments {
            first.seen_ns = first.seen_ns.wrapping_sub(time);
        }
        write(&mut self.fragments, &fragments)?;
        let mut affinity = self.affinity.entries()?;
        for (_, record) in &mut affinity {
            record.last_used_ns = record.last_used_ns.saturating_sub(time);
        }
        write(&mut self.affinity, &affinity)
    }

    /// Where flow records stand now.
    pub(crate) fn place(&self) -> Result<Place> {
        let new = !self.new.entries()?.is_empty();
        let established = !self.established.entries()?.is_empty();
        Ok(match (new, established) {
            (false, false) => Place::Nowhere,
            (true, false) => Place::New,
            (false, true) => Place::Established,
            (true, true) => Place::Both,
        })
    }
}

fn write<K: aya::Pod, V: aya::Pod>(map: &mut HashPin<K, V>, entries: &[(K, V)]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let done = map.insert(entries);
    ensure!(done.error.is_none(), "{done:?}");
    Ok(())
}

fn clear<K: aya::Pod, V: aya::Pod>(map: &mut HashPin<K, V>) -> Result<()> {
    let entries = map.entries()?;
    if entries.is_empty() {
        return Ok(());
    }
    let keys: Vec<K> = entries.into_iter().map(|(key, _)| key).collect();
    let done = map.remove(&keys);
    ensure!(done.error.is_none(), "{done:?}");
    Ok(())
}
