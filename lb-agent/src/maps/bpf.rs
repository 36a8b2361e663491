//! The maps in the kernel, opened by their pins alone, whether an agent is running or not.

use lb_common::maps::{self, MapSpec};

use super::{
    counts::{self, Counts},
    dir::BpfDir,
    known::{AddressPin, BackendPin, Known},
    list::{Maps, Programs, Table},
    pinned::{Access, ArrayPin, BarrierPin, HashPin, SourceRangesPin},
    table::MapError,
};

/// Opens every pin. With [`Access::Read`] the kernel refuses each write through these handles.
pub fn open(dir: &BpfDir, access: Access) -> Result<Maps, MapError> {
    let spec = Table::spec;
    let known = match access {
        Access::Write => Some(Known::open(dir)?),
        Access::Read => None,
    };
    Ok(Maps {
        frontends: Box::new(AddressPin::open(
            dir,
            spec(Table::Frontends),
            known.clone(),
        )?),
        nodeports: Box::new(AddressPin::open(
            dir,
            spec(Table::NodePorts),
            known.clone(),
        )?),
        nodeaddrs: Box::new(AddressPin::open(dir, spec(Table::NodeAddrs), known)?),
        members: Box::new(HashPin::open(dir, spec(Table::Members), access)?),
        srcranges: Box::new(SourceRangesPin::open(
            dir,
            spec(Table::SourceRanges),
            access,
        )?),
        pools: Box::new(ArrayPin::open(dir, spec(Table::Pools), access)?),
        slots: Box::new(ArrayPin::open(dir, spec(Table::Slots), access)?),
        backends: Box::new(BackendPin::open(dir, access)?),
        programs: match access {
            Access::Write => Box::new(Running::open(dir)?),
            Access::Read => Box::new(ReadOnly),
        },
    })
}

/// The programs that the kernel runs on these maps.
struct Running {
    counts: Counts,
    /// `lb_active`: open connections of sockets by backend id.
    active: ArrayPin<u64>,
    /// `lb_flow_counts`: flows by backend id.
    flows: ArrayPin<u64>,
    barrier: BarrierPin,
}

impl Running {
    fn open(dir: &BpfDir) -> Result<Self, MapError> {
        Ok(Self {
            counts: Counts::open(dir)?,
            active: ArrayPin::open(dir, maps::ACTIVE, Access::Write)?,
            flows: ArrayPin::open(dir, maps::FLOW_COUNTS, Access::Write)?,
            barrier: BarrierPin::open(dir, maps::BARRIER)?,
        })
    }
}

impl Programs for Running {
    fn reset_pool(&mut self, index: u32) -> Result<(), MapError> {
        self.counts.reset_pool(index)
    }

    fn reset_backend(&mut self, id: u32) -> Result<(), MapError> {
        counts::reset_backend(&mut self.active, id)?;
        counts::reset_backend(&mut self.flows, id)
    }

    fn barrier(&mut self) -> Result<(), MapError> {
        self.barrier.wait()
    }
}

/// In the place of [`Running`] where the maps were opened for reading.
struct ReadOnly;

impl ReadOnly {
    fn refuse(spec: MapSpec, operation: &'static str) -> Result<(), MapError> {
        Err(MapError::Failed {
            map: spec.name,
            operation,
            message: "these maps were opened for reading".to_owned(),
        })
    }
}

impl Programs for ReadOnly {
    fn reset_pool(&mut self, _: u32) -> Result<(), MapError> {
        Self::refuse(maps::POOL_STATS, "reset")
    }

    fn reset_backend(&mut self, _: u32) -> Result<(), MapError> {
        Self::refuse(maps::ACTIVE, "reset")
    }

    fn barrier(&mut self) -> Result<(), MapError> {
        Self::refuse(maps::BARRIER, "wait for running programs")
    }
}
