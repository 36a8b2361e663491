//! The way of packets to many backends on one node, each counted by itself, for the suite
//! `balance`.

use std::{net::Ipv4Addr, os::fd::AsRawFd as _};

use anyhow::{Context as _, Result};
use lb_sys::{Map, MapInfo};
use testbed::{cluster::Cluster, node::Node};

use super::{
    kinds::SMALL,
    network::{Hop, LOCAL, Network, neighbours},
    programs::{Shape, generator, tally},
    settle::settle,
};
use crate::{client::Client, wire::Program};

/// Backends whose packets can be told apart, a power of two.
const ROOM: u32 = 1024;
/// A flow's number without the part that names a service: one service, many flows.
const FLOWS: u32 = !0x3f;
/// The part that names a client: one service, one flow a client.
const CLIENTS: u32 = 0xffff_0000;
/// So many there are.
const ALL_CLIENTS: u32 = 1 << 16;

/// Gone with this value.
pub(crate) struct Ways {
    network: Network,
    hop: Hop,
    counts: Map<u32, u64>,
}

impl Ways {
    /// A node with a pod behind which so many backends are.
    pub(crate) fn new(cluster: &Cluster, backends: u32) -> Result<Self> {
        anyhow::ensure!(backends < ROOM, "more backends than can be told apart");
        let network = Network::new()?;
        let hop = network.hop(cluster.node(1)?, true)?;
        let fd = lb_sys::create_map(MapInfo {
            // `BPF_MAP_TYPE_ARRAY`
            kind: 2,
            id: 0,
            key_size: 4,
            value_size: 8,
            max_entries: ROOM,
            flags: 0,
        })
        .context("make an array")?;
        let program = lb_sys::load_xdp(&tally(fd.as_raw_fd(), ROOM - 1));
        let program = program.context("load the program that counts by backend")?;
        network.attach(hop.node.pod(0).sandbox(), "eth0", &program)?;
        neighbours(&hop.node, backends)?;
        Ok(Self {
            network,
            hop,
            counts: Map::new(fd).context("open an array")?,
        })
    }

    /// Where an agent runs.
    pub(crate) fn node(&self) -> &Node {
        &self.hop.node
    }

    /// Number 0, 1, …
    pub(crate) fn backend(number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(LOCAL.to_bits() + 1 + number)
    }

    /// Sends a packet of each of so many flows to a node port, or of each client; packets by
    /// backend.
    pub(crate) fn picks(
        &self,
        client: &mut Client,
        port: u16,
        by_client: bool,
        flows: u32,
        backends: u32,
    ) -> Result<Vec<u64>> {
        let (mask, packets) = if by_client {
            (CLIENTS, ALL_CLIENTS)
        } else {
            (FLOWS, flows)
        };
        let (program, _cell) = generator(&Shape {
            ifindex: self.hop.out,
            smac: self.hop.smac,
            dmac: self.hop.dmac,
            dst: self.hop.node.addr().v4,
            first_port: port,
            mask,
            length: SMALL,
        })?;
        let program = Program {
            pin: self.network.pin(program)?,
            length: SMALL,
        };
        for key in 0..ROOM {
            self.counts.set(&key, &0).context("count from zero")?;
        }
        client.frames(&self.network.sandbox(), &program, packets)?;
        let all = || -> Result<Vec<u64>> { (1..=backends).map(|key| self.count(key)).collect() };
        settle(|| Ok(all()?.iter().sum()))?;
        let counts = all()?;
        let sum: u64 = counts.iter().sum();
        anyhow::ensure!(
            sum == u64::from(packets),
            "{sum} of {packets} packets have arrived"
        );
        Ok(counts)
    }

    fn count(&self, key: u32) -> Result<u64> {
        let value = self.counts.get(&key).context("read a count")?;
        value.context("an array without an element")
    }
}
