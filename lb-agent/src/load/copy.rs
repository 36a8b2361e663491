//! Contents of replaced config maps into their successors, so that ids and indices stay what live connections know them as.
//! Owns no decision: where one map does not fit, all successors stay empty and are filled from the cluster.

use lb_common::{maps, sock::Agent};

use crate::maps::{
    bpf::BpfMaps,
    dir::BpfDir,
    pinned::{Access, HashPin},
    table::{ArrayTable, HashTable, MapError, Maps},
};

/// Copies everything or, where one map's layout or size forbids it, nothing.
pub(crate) fn from_pins(dir: &BpfDir, new: &mut BpfMaps) {
    let copied = BpfMaps::open(dir, Access::Read).and_then(|mut old| {
        fits(&mut old, new)?;
        copy(&mut old, new)?;
        // What the old programs count until their links are swapped, the recount brings in.
        elements(&old.active, &mut new.active)?;
        agent(dir)
    });
    match copied {
        Ok(()) => tracing::info!("contents of the replaced maps were carried over"),
        Err(e) => tracing::warn!(error = %e, "the replaced maps start empty"),
    }
}

fn fits(old: &mut dyn Maps, new: &mut dyn Maps) -> Result<(), MapError> {
    room(old.services(), new.services(), "lb_frontends")?;
    room(old.nodeports(), new.nodeports(), "lb_nodeports")?;
    room(old.nodeaddrs(), new.nodeaddrs(), "lb_nodeaddrs")?;
    room(old.members(), new.members(), "lb_members")?;
    room(old.srcranges(), new.srcranges(), "lb_srcranges")?;
    room(old.devs(), new.devs(), "lb_devs")?;
    empty_behind(old.svc(), new.svc(), "lb_pools")?;
    empty_behind(old.slots(), new.slots(), "lb_slots")?;
    empty_behind(old.backends(), new.backends(), "lb_backends")
}

fn copy(old: &mut dyn Maps, new: &mut dyn Maps) -> Result<(), MapError> {
    // In the order of every write: what is pointed to comes first.
    elements(old.backends(), new.backends())?;
    elements(old.slots(), new.slots())?;
    elements(old.svc(), new.svc())?;
    entries(old.members(), new.members())?;
    entries(old.srcranges(), new.srcranges())?;
    entries(old.devs(), new.devs())?;
    entries(old.nodeaddrs(), new.nodeaddrs())?;
    entries(old.nodeports(), new.nodeports())?;
    entries(old.services(), new.services())
}

/// Whether records of sockets were ever lost.
fn agent(dir: &BpfDir) -> Result<(), MapError> {
    let old: HashPin<u32, Agent> = HashPin::open(dir, maps::AGENT, Access::Read)?;
    let mut new: HashPin<u32, Agent> = HashPin::open(dir, maps::AGENT, Access::Write)?;
    entries(&old, &mut new)
}

fn room<K, V>(
    old: &dyn HashTable<K, V>,
    new: &dyn HashTable<K, V>,
    map: &'static str,
) -> Result<(), MapError> {
    let capacity = new.capacity();
    if old.entries()?.len() <= capacity as usize {
        Ok(())
    } else {
        Err(MapError::Full { map, capacity })
    }
}

/// A smaller array will do if nothing stands behind its end. `new` is fresh: its first element is the empty one.
fn empty_behind<T: PartialEq>(
    old: &dyn ArrayTable<T>,
    new: &dyn ArrayTable<T>,
    map: &'static str,
) -> Result<(), MapError> {
    let capacity = new.len();
    if capacity >= old.len() {
        return Ok(());
    }
    let empty = new.load(0)?;
    for index in capacity..old.len() {
        if old.load(index)? != empty {
            return Err(MapError::Full { map, capacity });
        }
    }
    Ok(())
}

fn entries<K, V>(old: &dyn HashTable<K, V>, new: &mut dyn HashTable<K, V>) -> Result<(), MapError> {
    new.insert(&old.entries()?).error.map_or(Ok(()), Err)
}

fn elements<T>(old: &dyn ArrayTable<T>, new: &mut dyn ArrayTable<T>) -> Result<(), MapError> {
    for index in 0..old.len().min(new.len()) {
        new.store(index, &old.load(index)?)?;
    }
    Ok(())
}
