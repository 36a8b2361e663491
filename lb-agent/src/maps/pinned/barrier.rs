//! The pinned map whose update waits for running programs.

use std::os::fd::{AsRawFd as _, OwnedFd};

use lb_common::maps::MapSpec;
use lb_sys::Map;

use super::{
    super::{dir::BpfDir, table::MapError},
    Access, failed, open,
};

/// An array of maps with one entry, whose update waits for every running program.
#[derive(Debug)]
pub struct BarrierPin {
    spec: MapSpec,
    outer: Map<u32, u32>,
    inner: OwnedFd,
}

impl BarrierPin {
    /// Opens the pin and makes the map that each update puts in.
    pub fn open(dir: &BpfDir, spec: MapSpec) -> Result<Self, MapError> {
        let fd = open(dir, &spec, Access::Write)?;
        let outer = Map::new(fd).map_err(|e| failed(&spec, "open", &e))?;
        // As `lb-ebpf/src/maps.rs` declares it: an array (2) of one u32.
        let inner = lb_sys::create_map(lb_sys::MapInfo {
            kind: 2,
            key_size: 4,
            value_size: 4,
            max_entries: 1,
            ..lb_sys::MapInfo::default()
        })
        .map_err(|e| failed(&spec, "create the inner map", &e))?;
        Ok(Self { spec, outer, inner })
    }

    /// Returns when every program that was running at the call has ended.
    pub fn wait(&self) -> Result<(), MapError> {
        let fd = self.inner.as_raw_fd().unsigned_abs();
        self.outer
            .set(&0, &fd)
            .map_err(|e| failed(&self.spec, "wait for running programs", &e))
    }
}
