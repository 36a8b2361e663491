//! `lb_ports`: the ports of rewritten sources, as the programs read them.

use anyhow::{Context as _, Result};
use lb_common::{flow::PortRanges, maps};

use super::{
    ports::{self, Taken},
    sysctl,
};
use crate::{
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin, failed},
        table::MapError,
    },
    settings::values::{self, SnatPorts},
};

/// The one element.
const ELEMENT: u32 = 0;

/// Fewer ports than this to one backend, for each protocol and address of the node, and `check`
/// warns: netfilter would have some 64,000, and the usual machine has 33,512.
pub const FEW: u32 = 16_384;

/// What the table holds now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refreshed {
    /// It held it before.
    Same(PortRanges),
    /// It was written.
    New(PortRanges),
}

/// The map.
#[derive(Debug)]
pub struct PortTable(HashPin<u32, PortRanges>);

impl PortTable {
    /// Opens the pin.
    pub fn open(dir: &BpfDir, access: Access) -> Result<Self, MapError> {
        HashPin::open(dir, maps::PORTS, access).map(Self)
    }

    /// What stands there; nothing until an agent has written it.
    pub fn read(&self) -> Result<PortRanges, MapError> {
        let found = self.0.map().get(&ELEMENT);
        let found = found.map_err(|e| failed(&maps::PORTS, "read", &e))?;
        Ok(found.unwrap_or_default())
    }

    /// Writes it if it differs. A program may read ports of the ranges before and
    /// after while it is written, and asks of each whether it is free.
    pub fn write(&self, ports: PortRanges) -> Result<Refreshed, MapError> {
        if self.read()? == ports {
            return Ok(Refreshed::Same(ports));
        }
        let written = self.0.map().set(&ELEMENT, &ports);
        written.map_err(|e| failed(&maps::PORTS, "write", &e))?;
        Ok(Refreshed::New(ports))
    }
}

/// What the choice of ports depends on, as it is on this machine now.
pub fn look(
    words: &[SnatPorts],
    node_ports: values::PortRange,
    programmed: Vec<u16>,
) -> Result<Taken> {
    const LOCAL: &str = "net.ipv4.ip_local_port_range";
    const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
    let local = sysctl::read(LOCAL).with_context(|| format!("cannot read {LOCAL}"))?;
    let reserved = sysctl::read(RESERVED).with_context(|| format!("cannot read {RESERVED}"))?;
    Ok(Taken {
        words: words.to_vec(),
        local: ports::local_range(&local).with_context(|| format!("{LOCAL} is {local:?}"))?,
        reserved: ports::reserved_ranges(&reserved)
            .with_context(|| format!("{RESERVED} is {reserved:?}"))?,
        node_ports,
        programmed,
    })
}
