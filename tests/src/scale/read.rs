//! The reading of maps, of the kernel or in memory, into what a [`Content`] is: by the layout of
//! the ABI alone, and with its promises checked.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Context as _, Result, bail, ensure};
use lb_agent::maps::Maps;
use lb_common::{Addr, backend::state, frontend, member};

use super::world::{Content, Pool};

/// Everything that is published; anything beside it is an error.
pub fn content(maps: &mut Maps) -> Result<Content> {
    let mut content = Content::default();
    let mut members: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
    for (key, flags) in maps.members.entries()? {
        let of = members.entry(key.pool).or_default();
        of.insert(key.backend, flags);
    }
    for id in 1..maps.backends.len() {
        let backend = maps.backends.load(id)?;
        if backend.port == 0 {
            continue;
        }
        let key = (v4(backend.addr)?, backend.port, backend.proto);
        let terminating = backend.state == state::TERMINATING;
        ensure!(
            content.backends.insert(key, terminating).is_none(),
            "{key:?} twice"
        );
    }
    let mut pools: BTreeMap<u32, Pool> = BTreeMap::new();
    let mut fronts = Vec::new();
    for (key, to) in maps.frontends.entries()? {
        if to.flags & frontend::VIP_MARK != 0 {
            content.marks.insert((v4(key.addr)?, key.scope));
        } else {
            fronts.push((
                (Some(v4(key.addr)?), key.port, key.proto, key.scope),
                to.pool,
            ));
        }
    }
    for (key, to) in maps.nodeports.entries()? {
        fronts.push(((None, key.port, key.proto, key.scope), to.pool));
    }
    for (key, index) in fronts {
        let pool = match pools.entry(index) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                let of = members.remove(&index).unwrap_or_default();
                new.insert(pool(index, of, maps)?).clone()
            }
        };
        content.fronts.insert(key, pool);
    }
    ensure!(members.is_empty(), "members of no pool: {members:?}");
    for index in 1..maps.pools.len() {
        let used = maps.pools.load(index)?.id != 0;
        ensure!(
            used == pools.contains_key(&index),
            "service index {index}: {used}"
        );
    }
    Ok(content)
}

fn pool(index: u32, mut members: BTreeMap<u32, u32>, maps: &mut Maps) -> Result<Pool> {
    let svc = maps.pools.load(index)?;
    ensure!(
        svc.id == index,
        "service {index} says that it is {}",
        svc.id
    );
    let mut pool = Pool::default();
    for at in svc.base..svc.base + u32::from(svc.count) {
        let slot = maps.slots.load(at)?;
        ensure!(
            slot.pool == index,
            "slot {at} of {index} is of {}",
            slot.pool
        );
        let flags = members.remove(&slot.backend);
        ensure!(
            flags == Some(member::ELIGIBLE | member::SERVING),
            "slot {at} of {index}: member {flags:?}"
        );
        pool.slots.push(socket(slot.backend, maps)?);
    }
    for (id, flags) in members {
        ensure!(flags == member::SERVING, "member {id} of {index}: {flags}");
        pool.keeps.push(socket(id, maps)?);
    }
    pool.slots.sort_unstable();
    pool.keeps.sort_unstable();
    Ok(pool)
}

fn socket(id: u32, maps: &mut Maps) -> Result<(Ipv4Addr, u16)> {
    let backend = maps.backends.load(id)?;
    ensure!(backend.port != 0, "backend {id} is free");
    Ok((v4(backend.addr).context("a backend")?, backend.port))
}

fn v4(addr: Addr) -> Result<Ipv4Addr> {
    match IpAddr::from(addr) {
        IpAddr::V4(v4) => Ok(v4),
        IpAddr::V6(v6) => bail!("{v6} is not of this world"),
    }
}
