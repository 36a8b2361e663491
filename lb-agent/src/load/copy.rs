//! Contents of replaced config maps into their successors, so that live connections keep the ids
//! and indices that they know. If one map does not fit, all successors stay empty and are filled
//! from the cluster.

use aya::Pod;
use lb_common::{
    dev::Dev,
    maps::{self as specs, MapSpec},
    sock::Agent,
};

use crate::maps::{
    Maps, Table, bpf,
    dir::BpfDir,
    pinned::{Access, ArrayPin, HashPin},
    successor::{copy_elements, copy_entries, entries_fit},
    table::MapError,
};

/// Copies everything or, where one map's layout or size forbids it, nothing.
pub(crate) fn from_pins(dir: &BpfDir, new: &mut Maps) {
    match copy(dir, new) {
        Ok(()) => tracing::info!("contents of the replaced maps were copied"),
        Err(e) => tracing::warn!(error = %e, "the replaced maps start empty"),
    }
}

fn copy(dir: &BpfDir, new: &mut Maps) -> Result<(), MapError> {
    let old = bpf::open(dir, Access::Read)?;
    for table in Table::ALL {
        new.fits(*table, &old)?;
    }
    let devs = Renewed::<Dev>::open(dir, specs::DEVS)?;
    devs.fits()?;
    // In the order of every write: what is referred to comes first.
    for table in Table::ALL.iter().rev() {
        new.copy_from(*table, &old)?;
    }
    devs.copy()?;
    // What the old programs count until their links are swapped, the recount adds later.
    counts(dir, specs::ACTIVE)?;
    // Agents before this one had no such map: its successor is empty until the first sweep.
    if let Err(error) = counts(dir, specs::FLOW_COUNTS) {
        tracing::debug!(%error, "flows are counted anew");
    }
    // Whether records of sockets were ever lost.
    Renewed::<Agent>::open(dir, specs::AGENT)?.copy()
}

/// Counts by backend id.
fn counts(dir: &BpfDir, spec: MapSpec) -> Result<(), MapError> {
    let old: ArrayPin<u64> = ArrayPin::open(dir, spec, Access::Read)?;
    let mut new: ArrayPin<u64> = ArrayPin::open(dir, spec, Access::Write)?;
    copy_elements(&old, &mut new)
}

/// A hash map that Services do not live in, and its successor.
struct Renewed<V> {
    spec: MapSpec,
    old: HashPin<u32, V>,
    new: HashPin<u32, V>,
}

impl<V: Pod> Renewed<V> {
    fn open(dir: &BpfDir, spec: MapSpec) -> Result<Self, MapError> {
        let old = HashPin::open(dir, spec, Access::Read)?;
        let new = HashPin::open(dir, spec, Access::Write)?;
        Ok(Self { spec, old, new })
    }

    fn fits(&self) -> Result<(), MapError> {
        entries_fit(&self.old, &self.new, self.spec.name)
    }

    fn copy(mut self) -> Result<(), MapError> {
        copy_entries(&self.old, &mut self.new)
    }
}
