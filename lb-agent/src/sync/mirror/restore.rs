//! From pinned maps to a mirror: decides what of a previous agent's entries can be trusted, and
//! takes it over. It writes no entry (the tables set missing bits of `lb_known` as they are read).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::{
    backend::Backend,
    frontend::{self},
    member::MemberKey,
    pool::{flags, slots_and_weights},
    slot::Slot,
    spill::Area,
};

use super::{
    Effects, Mirror,
    backends::Backends,
    frontends::FrontendTable,
    ids::Ids,
    pool::{Entry, PoolState, SlotContent},
    slot_ranges::{Range, SlotRanges, class},
};
use crate::{
    maps::{Maps, PerTable, Table, table::MapError},
    plan::desired::MemberFlags,
};

/// Reads the maps.
pub(crate) fn restore(maps: &mut Maps) -> Result<Mirror, MapError> {
    let capacity = maps.capacities();
    let vips = maps.frontends.entries()?;
    let node_ports = maps.nodeports.entries()?;
    let node_addresses: BTreeMap<_, _> = maps.nodeaddrs.entries()?.into_iter().collect();

    let mut pools = entries_of_pools(maps, capacity[Table::Pools])?;
    let refs = vips.iter().map(|(_, r)| *r);
    for found in refs.chain(node_ports.iter().map(|(_, r)| *r)) {
        if found.flags & frontend::VIP_MARK == 0 {
            pool_of(&mut pools, found.pool).add_reference();
        }
    }
    let slots = restore_slots(&mut pools, maps, capacity[Table::Slots])?;

    let mut members: Vec<(MemberKey, u32)> = maps.members.entries()?;
    members.sort_unstable_by_key(|(key, _)| *key);
    let source_ranges = maps.srcranges.entries()?;
    let counts = [members.len(), source_ranges.len()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    for (key, _) in source_ranges {
        pool_of(&mut pools, key.data.pool).insert_source_range(key);
    }
    let mut backends = Backends::restored(capacity[Table::Backends], &entries_of_backends(maps)?);
    for (key, flags) in members {
        let written = MemberFlags::from_member_flags(flags);
        let mut flags = backends.shown(key.backend).weighing(written.weight());
        for flag in [
            MemberFlags::ELIGIBLE,
            MemberFlags::SERVING,
            MemberFlags::KEPT,
            MemberFlags::OUTSIDE,
        ] {
            flags = flags.with(flag, written.has(flag));
        }
        pool_of(&mut pools, key.pool).insert_member(key.backend, flags);
        backends.pin(key.backend);
        backends.join(key.backend, flags);
    }
    let indices = Ids::restored(capacity[Table::Pools], &pools.keys().copied().collect());
    // A program may still use what the previous agent retired last.
    maps.programs.barrier()?;
    Ok(Mirror {
        pools,
        indices,
        slots,
        backends,
        vips: FrontendTable::restored(&vips),
        node_ports: FrontendTable::restored(&node_ports),
        node_addresses,
        recycled: PerTable::default(),
        members: counts[0],
        source_ranges: counts[1],
        to_prune: BTreeSet::new(),
        effects: Effects::default(),
        capacity,
    })
}

/// The pool under an index that some entry names, also where its own entry is missing.
fn pool_of(pools: &mut HashMap<u32, PoolState>, index: u32) -> &mut PoolState {
    let pool = pools.entry(index);
    pool.or_insert_with(|| PoolState::left_over(Entry::EMPTY))
}

fn entries_of_pools(maps: &mut Maps, capacity: u32) -> Result<HashMap<u32, PoolState>, MapError> {
    let mut pools = HashMap::new();
    for index in 1..capacity {
        let entry = maps.pools.load(index)?;
        if entry != Entry::EMPTY {
            pools.insert(index, PoolState::left_over(entry));
        }
    }
    Ok(pools)
}

/// Reads each pool's slots. A pool whose range lies outside the map, overlaps another one or holds
/// a foreign slot keeps its entry and loses its slots, so that planning it writes them anew,
/// elsewhere.
fn restore_slots(
    pools: &mut HashMap<u32, PoolState>,
    maps: &mut Maps,
    capacity: u32,
) -> Result<SlotRanges, MapError> {
    let mut by_base: BTreeMap<u32, u32> = BTreeMap::new();
    for (index, pool) in &*pools {
        if pool.entry().count > 0 {
            by_base.entry(pool.entry().base).or_insert(*index);
        }
    }
    let mut used = BTreeSet::new();
    let mut free_from = 0;
    let mut bases = by_base.iter().peekable();
    while let Some((&base, index)) = bases.next() {
        let Some(state) = pools.get_mut(index) else {
            continue;
        };
        let limit = bases.peek().map_or(capacity, |(next, _)| **next);
        if base < free_from {
            continue;
        }
        let Some((content, total)) = content(*index, state.entry(), maps, capacity)? else {
            continue;
        };
        // The maps do not hold the length, but it was chosen by the count.
        let len = class(total).min(limit.saturating_sub(base)).max(total);
        let range = Range { base, len };
        free_from = base + len;
        used.insert(range);
        state.set_slots(content, Some(range));
    }
    Ok(SlotRanges::new(capacity, &used))
}

/// What stands in a pool's range, and how many words it is; no content if a word is another pool's.
/// `None` if it lies outside of the map.
fn content(
    index: u32,
    entry: &Entry,
    maps: &mut Maps,
    capacity: u32,
) -> Result<Option<(SlotContent, u32)>, MapError> {
    let behind = slots_and_weights(entry.count, entry.flags);
    let room = capacity.saturating_sub(entry.base);
    if behind > room {
        return Ok(None);
    }
    let mut area = None;
    if entry.flags & flags::SPILLS != 0 && behind + Area::WORDS <= room {
        let at = entry.base + behind;
        let words = [maps.slots.load(at)?, maps.slots.load(at + 1)?];
        area = Area::of(index, entry.generation, words);
    }
    let area = area.filter(|area| behind + area.size() <= room);
    let total = behind + area.map_or(0, Area::size);
    let words = load(maps, entry.base, total)?;
    let content = SlotContent::of(index, entry, area, &words);
    Ok(Some((content.unwrap_or_default(), total)))
}

fn load(maps: &mut Maps, base: u32, count: u32) -> Result<Vec<Slot>, MapError> {
    (base..base + count).map(|at| maps.slots.load(at)).collect()
}

fn entries_of_backends(maps: &mut Maps) -> Result<BTreeMap<u32, Backend>, MapError> {
    let used = maps.backends.used()?.into_iter();
    Ok(used.filter(|(id, _)| *id != 0).collect())
}
