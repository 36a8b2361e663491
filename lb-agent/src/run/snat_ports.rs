//! The ports of rewritten sources, kept up to date: they follow the machine's settings at each
//! audit, and node ports as they come and go.

use anyhow::Result;

use super::new_node_ports::NewNodePorts;

use crate::{
    flows::port_table::{self, PortTable, Refreshed},
    maps::{dir::BpfDir, pinned::Access},
    settings::{
        Config,
        values::{PortRange, SnatPorts},
    },
    sync::Engine,
};

/// The table, and what it is made of.
pub(super) struct Ports {
    table: PortTable,
    words: Vec<SnatPorts>,
    /// `--node-port-range`
    cluster: PortRange,
    /// Those that are written next.
    pub(super) new: NewNodePorts,
}

impl Ports {
    /// A new table is filled at once. One that a previous agent wrote stands until node ports are
    /// known.
    pub(super) fn start(config: &Config, dir: &BpfDir) -> Result<(Self, Refreshed)> {
        let ports = Self {
            table: PortTable::open(dir, Access::Write)?,
            words: config.snat_ports.clone(),
            cluster: config.node_port_range,
            new: NewNodePorts::new(dir.clone()),
        };
        let found = ports.table.read()?;
        let first = if found.total == 0 {
            ports.write(Vec::new())?
        } else {
            Refreshed::Same(found)
        };
        Ok((ports, first))
    }

    /// Writes what holds now, if it differs from what stands there.
    pub(super) fn refresh(&self, engine: &Engine) -> Result<Refreshed> {
        self.write(engine.node_ports().collect())
    }

    fn write(&self, programmed: Vec<u16>) -> Result<Refreshed> {
        let free = port_table::look(&self.words, self.cluster, programmed)?.free();
        Ok(self.table.write(free)?)
    }
}
