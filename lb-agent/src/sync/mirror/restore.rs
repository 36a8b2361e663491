//! From pinned maps to a mirror: what a previous agent left is taken over as it stands. Owns the judgement of what in it
//! can be trusted; no entry is written here (the tables see to the bits of `lb_known` as they are read).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::{
    backend::Backend,
    frontend::{self, FrontendValue},
    member::MemberKey,
    pool::Pool,
    slot::Slot,
};

use crate::{
    maps::{Maps, table::MapError},
    plan::desired::Bits,
};

use super::{
    backends::Backends,
    frontends::Fronts,
    ids::Ids,
    pool::PoolState,
    slot_ranges::{Range, Ranges, class},
    state::{Capacity, State},
};

/// Reads the maps.
pub(in crate::sync) fn restore(maps: &mut Maps) -> Result<State, MapError> {
    let capacity = Capacity::of(maps);
    let services = maps.frontends.entries()?;
    let nodeports = maps.nodeports.entries()?;
    let nodeaddrs: BTreeMap<_, _> = maps.nodeaddrs.entries()?.into_iter().collect();

    let mut pools = entries_of_svc(maps, capacity.svc)?;
    let refs = services.iter().map(|(_, r)| *r);
    for found in refs.chain(nodeports.iter().map(|(_, r)| *r)) {
        lead(&mut pools, found);
    }
    let ranges = place_slots(&mut pools, maps, capacity.slots)?;

    let mut members: Vec<(MemberKey, u32)> = maps.members.entries()?;
    members.sort_unstable_by_key(|(key, _)| *key);
    let source_ranges = maps.srcranges.entries()?;
    let counts = [members.len(), source_ranges.len()].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    for (key, _) in source_ranges {
        let pool = pools.entry(key.data.pool).or_insert_with(orphan);
        pool.source_ranges.insert(key);
    }
    let mut backends = Backends::restored(capacity.backends, &entries_of_backends(maps)?);
    for (key, flags) in members {
        let pool = pools.entry(key.pool).or_insert_with(orphan);
        let bits = backends.shown(key.backend);
        let bits = bits
            .with(
                Bits::ELIGIBLE,
                Bits::from_member_flags(flags).has(Bits::ELIGIBLE),
            )
            .with(
                Bits::SERVING,
                Bits::from_member_flags(flags).has(Bits::SERVING),
            );
        pool.members.insert(key.backend, bits);
        backends.pin(key.backend);
        backends.join(key.backend, bits);
    }
    let indices = Ids::restored(capacity.svc, &pools.keys().copied().collect());
    // What the previous agent let go last may still be in use by a program.
    maps.programs.barrier()?;
    Ok(State {
        pools,
        indices,
        ranges,
        backends,
        services: Fronts::restored(&services),
        nodeports: Fronts::restored(&nodeports),
        nodeaddrs,
        nodeaddrs_freed: false,
        members: counts[0],
        source_ranges: counts[1],
        condemned: BTreeSet::new(),
        udp_left: 0,
        capacity,
    })
}

fn orphan() -> PoolState {
    PoolState {
        owned: false,
        proven: false,
        ..PoolState::new()
    }
}

fn entries_of_svc(maps: &mut Maps, capacity: u32) -> Result<HashMap<u32, PoolState>, MapError> {
    let mut pools = HashMap::new();
    for index in 1..capacity {
        let svc = maps.pools.load(index)?;
        if svc != Pool::EMPTY {
            pools.insert(index, PoolState { svc, ..orphan() });
        }
    }
    Ok(pools)
}

fn lead(pools: &mut HashMap<u32, PoolState>, found: FrontendValue) {
    if found.flags & frontend::VIP_MARK == 0 {
        pools.entry(found.pool).or_insert_with(orphan).fronts += 1;
    }
}

/// Takes over each pool's slots. A pool whose range lies outside the map, overlaps another one or holds a foreign slot keeps
/// its entry and loses its slots, so that planning it writes them anew, elsewhere.
fn place_slots(
    pools: &mut HashMap<u32, PoolState>,
    maps: &mut Maps,
    capacity: u32,
) -> Result<Ranges, MapError> {
    let mut by_base: BTreeMap<u32, u32> = BTreeMap::new();
    for (index, pool) in &*pools {
        if pool.svc.count > 0 {
            by_base.entry(pool.svc.base).or_insert(*index);
        }
    }
    let mut used = BTreeSet::new();
    let mut free_from = 0;
    let mut bases = by_base.iter().peekable();
    while let Some((&base, index)) = bases.next() {
        let Some(pool) = pools.get_mut(index) else {
            continue;
        };
        let count = u32::from(pool.svc.count);
        let limit = bases.peek().map_or(capacity, |(next, _)| **next);
        if base < free_from || base.saturating_add(count) > capacity {
            continue;
        }
        let mut slots = Vec::with_capacity(count as usize);
        for at in base..base + count {
            let Slot {
                backend,
                pool: service,
            } = maps.slots.load(at)?;
            if service == *index {
                slots.push(backend);
            }
        }
        // The length is not in the maps, but it was chosen by the count.
        let len = class(count).min(limit.saturating_sub(base)).max(count);
        free_from = base + len;
        used.insert(Range { base, len });
        if slots.len() == count as usize {
            pool.slots = slots.into();
        }
        pool.range = Some(Range { base, len });
    }
    Ok(Ranges::new(capacity, &used))
}

fn entries_of_backends(maps: &mut Maps) -> Result<BTreeMap<u32, Backend>, MapError> {
    let mut found = BTreeMap::new();
    for id in 1..maps.backends.len() {
        let backend = maps.backends.load(id)?;
        if backend != Backend::FREE {
            found.insert(id, backend);
        }
    }
    Ok(found)
}
