//! A look at one service in the kernel's maps, from outside of the agent.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use anyhow::{Context as _, Result};
use lb_common::{
    Addr,
    backend::Backend,
    frontend::{FrontendValue, VipKey, scope},
    maps,
    pool::Pool,
    slot::Slot,
};
use lb_sys::{Map, MappedArray, open_pin};

/// IANA's number.
const TCP: u8 = 6;

/// The first backend of a service, whenever it is asked.
pub(super) struct Look {
    index: u32,
    services: MappedArray<Pool>,
    slots: MappedArray<Slot>,
    backends: MappedArray<Backend>,
}

impl Look {
    /// At the service behind a VIP, by the pins of an agent.
    pub(super) fn new(bpf_dir: &Path, vip: SocketAddr) -> Result<Self> {
        let open = |map: maps::MapSpec| {
            let pin = bpf_dir.join("maps").join(map.pin_name());
            // Not opened for reading alone: the kernel maps no such array.
            open_pin(&pin).with_context(|| format!("open {}", pin.display()))
        };
        let key = VipKey {
            addr: Addr::from(vip.ip()),
            port: vip.port(),
            proto: TCP,
            scope: scope::INTERNAL,
        };
        let frontends = Map::<VipKey, FrontendValue>::new(open(maps::FRONTENDS)?)?;
        let found = frontends.get(&key)?.context("the VIP is in no map")?;
        Ok(Self {
            index: found.pool,
            services: MappedArray::new(open(maps::POOLS)?, false)?,
            slots: MappedArray::new(open(maps::SLOTS)?, false)?,
            backends: MappedArray::new(open(maps::BACKENDS)?, false)?,
        })
    }

    /// Where a connection would go that takes the first slot.
    pub(super) fn first(&self) -> Result<IpAddr> {
        let service = self.services.load(self.index)?;
        let slot = self.slots.load(service.base)?;
        Ok(self.backends.load(slot.backend)?.addr.into())
    }
}
