//! The maps in the kernel, opened by their pins alone, whether an agent lives or not. Owns the one set of handles that the
//! sync engine writes through.

use lb_common::{
    Addr,
    backend::Backend,
    dev::Dev,
    frontend::{FrontendValue, NodeAddr, NodePortKey, VipKey},
    maps::{self, MapSpec},
    member::MemberKey,
    pool::Pool,
    slot::Slot,
};

use super::{
    counts::{self, Counts},
    dir::BpfDir,
    known::{AddressPin, Known},
    pinned::{Access, ArrayPin, BarrierPin, HashPin, RangesPin},
    table::{ArrayTable, HashTable, MapError, Maps, SourceRangeKey},
};

/// Every map that the sync engine writes.
#[derive(Debug)]
pub struct BpfMaps {
    /// `lb_frontends`
    pub services: AddressPin<VipKey, FrontendValue>,
    /// `lb_nodeports`
    pub nodeports: HashPin<NodePortKey, FrontendValue>,
    /// `lb_nodeaddrs`
    pub nodeaddrs: AddressPin<Addr, NodeAddr>,
    /// `lb_members`
    pub members: HashPin<MemberKey, u32>,
    /// `lb_srcranges`
    pub srcranges: RangesPin,
    /// `lb_devs`
    pub devs: HashPin<u32, Dev>,
    /// `lb_pools`
    pub svc: ArrayPin<Pool>,
    /// `lb_slots`
    pub slots: ArrayPin<Slot>,
    /// `lb_backends`
    pub backends: ArrayPin<Backend>,
    /// `lb_active`: open connections by backend id.
    pub active: ArrayPin<u64>,
    /// Only for those who write.
    counts: Option<Counts>,
    /// Only for those who write.
    barrier: Option<BarrierPin>,
}

impl BpfMaps {
    /// Opens every pin. With [`Access::Read`] the kernel refuses each write through these handles.
    pub fn open(dir: &BpfDir, access: Access) -> Result<Self, MapError> {
        let known = match access {
            Access::Write => Some(Known::open(dir)?),
            Access::Read => None,
        };
        Ok(Self {
            services: AddressPin::open(dir, maps::FRONTENDS, known.clone())?,
            nodeports: HashPin::open(dir, maps::NODEPORTS, access)?,
            nodeaddrs: AddressPin::open(dir, maps::NODEADDRS, known)?,
            members: HashPin::open(dir, maps::MEMBERS, access)?,
            srcranges: RangesPin::open(dir, maps::SRCRANGES, access)?,
            devs: HashPin::open(dir, maps::DEVS, access)?,
            svc: ArrayPin::open(dir, maps::POOLS, access)?,
            slots: ArrayPin::open(dir, maps::SLOTS, access)?,
            backends: ArrayPin::open(dir, maps::BACKENDS, access)?,
            active: ArrayPin::open(dir, maps::ACTIVE, access)?,
            counts: match access {
                Access::Write => Some(Counts::open(dir)?),
                Access::Read => None,
            },
            barrier: match access {
                Access::Write => Some(BarrierPin::open(dir, maps::BARRIER)?),
                Access::Read => None,
            },
        })
    }
}

impl Maps for BpfMaps {
    fn services(&mut self) -> &mut dyn HashTable<VipKey, FrontendValue> {
        &mut self.services
    }
    fn nodeports(&mut self) -> &mut dyn HashTable<NodePortKey, FrontendValue> {
        &mut self.nodeports
    }
    fn nodeaddrs(&mut self) -> &mut dyn HashTable<Addr, NodeAddr> {
        &mut self.nodeaddrs
    }
    fn members(&mut self) -> &mut dyn HashTable<MemberKey, u32> {
        &mut self.members
    }
    fn srcranges(&mut self) -> &mut dyn HashTable<SourceRangeKey, u8> {
        &mut self.srcranges
    }
    fn devs(&mut self) -> &mut dyn HashTable<u32, Dev> {
        &mut self.devs
    }
    fn svc(&mut self) -> &mut dyn ArrayTable<Pool> {
        &mut self.svc
    }
    fn slots(&mut self) -> &mut dyn ArrayTable<Slot> {
        &mut self.slots
    }
    fn backends(&mut self) -> &mut dyn ArrayTable<Backend> {
        &mut self.backends
    }
    fn reset_service(&mut self, index: u32) -> Result<(), MapError> {
        self.counts.as_ref().map_or_else(
            || Err(only_read(maps::POOL_STATS, "reset")),
            |counts| counts.reset_service(index),
        )
    }
    fn reset_backend(&mut self, id: u32) -> Result<(), MapError> {
        counts::reset_backend(&mut self.active, id)
    }
    fn barrier(&mut self) -> Result<(), MapError> {
        match &self.barrier {
            Some(barrier) => barrier.wait(),
            None => Err(only_read(maps::BARRIER, "wait for running programs")),
        }
    }
}

fn only_read(spec: MapSpec, operation: &'static str) -> MapError {
    MapError::Failed {
        map: spec.name,
        operation,
        message: "these maps were opened for reading".to_owned(),
    }
}
