//! The maps of a sweep, and the removal of an entry that programs may renew at any moment.

use aya::Pod;
use lb_common::{
    flow::{Flow, FlowKey},
    maps::{self, MapSpec},
};

use super::{Step, SweptMap};
use crate::maps::{
    dir::BpfDir,
    pinned::{Access, HashPin, failed},
    table::{HashTable as _, MapError, Page, Token},
};

/// A map by tuple.
#[derive(Debug)]
pub(super) struct Entries<V> {
    spec: MapSpec,
    pin: HashPin<FlowKey, V>,
}

impl<V: Pod> Entries<V> {
    pub(super) fn open(dir: &BpfDir, spec: MapSpec) -> Result<Self, MapError> {
        let pin = HashPin::open(dir, spec, Access::Write)?;
        Ok(Self { spec, pin })
    }

    pub(super) fn page(
        &self,
        from: Option<&Token>,
        count: usize,
    ) -> Result<Page<FlowKey, V>, MapError> {
        self.pin.page(from, count)
    }

    pub(super) fn get(&self, key: &FlowKey) -> Result<Option<V>, MapError> {
        let found = self.pin.map().get(key);
        found.map_err(|e| failed(&self.spec, "look up", &e))
    }

    /// Removes the entry if it is past, and returns it. It is read before; and what was taken out in the end is put
    /// back if it is another's, unless that one is there again already.
    pub(super) fn remove(
        &self,
        key: &FlowKey,
        step: &mut Step,
        is_past: impl Fn(&V) -> bool,
    ) -> Result<Option<V>, MapError> {
        if self.get(key)?.is_none_or(|found| !is_past(&found)) {
            return Ok(None);
        }
        let map = self.pin.map();
        let taken = map.take(key);
        let taken = taken.map_err(|e| failed(&self.spec, "delete", &e))?;
        match taken {
            None => {}
            Some(taken) if is_past(&taken) => {
                *step.removed.entry(self.spec.name).or_default() += 1;
                return Ok(Some(taken));
            }
            Some(taken) => {
                let back = map.insert_new(key, &taken);
                back.map_err(|e| failed(&self.spec, "insert", &e))?;
                step.restored += 1;
            }
        }
        Ok(None)
    }
}

/// Both maps of flows.
#[derive(Debug)]
pub(super) struct Flows {
    new: Entries<Flow>,
    established: Entries<Flow>,
}

impl Flows {
    pub(super) fn open(dir: &BpfDir) -> Result<Self, MapError> {
        Ok(Self {
            new: Entries::open(dir, maps::NEWFLOWS)?,
            established: Entries::open(dir, maps::FLOWS)?,
        })
    }

    pub(super) fn of(&self, map: SweptMap) -> &Entries<Flow> {
        match map {
            SweptMap::New => &self.new,
            _ => &self.established,
        }
    }

    /// The entry of a key, wherever it is. A promotion inserts it in the second map before it
    /// deletes it from the first.
    pub(super) fn find(&self, key: &FlowKey) -> Result<Option<Flow>, MapError> {
        for map in [SweptMap::Established, SweptMap::New, SweptMap::Established] {
            if let Some(flow) = self.of(map).get(key)? {
                return Ok(Some(flow));
            }
        }
        Ok(None)
    }

    pub(super) fn remove(
        &self,
        map: SweptMap,
        key: &FlowKey,
        step: &mut Step,
        is_past: impl Fn(&Flow) -> bool,
    ) -> Result<Option<Flow>, MapError> {
        self.of(map).remove(key, step, is_past)
    }
}
