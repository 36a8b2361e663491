//! The agent's own library at work: the programs loaded by it, the maps written by its sync engine.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{Ebpf, programs::Program as Loaded};
use lb_agent::{
    load::{
        self, OBJECT, Options,
        probe::Features,
        programs::{self, Hook as AgentHook},
    },
    maps::{
        Maps,
        dir::BpfDir,
        pinned::{Access, ArrayPin, HashPin},
        stats::Stats,
        table::{ArrayTable, HashTable as _},
    },
    model::{Cidr, Event, Forwarding, Machine, Scheduler},
    plan::PlanConfig,
    sync::Engine,
};
use lb_common::{
    Addr, Reason,
    backend::Backend,
    dev::{Dev, flags},
    frontend::{FrontendValue, VipKey},
    maps,
    member::MemberKey,
    pool::Pool,
    slot::Slot,
    xdp_dev::{self, XdpDev},
};
use testbed::addr::Both;

use super::services;
use crate::packet_table::plan::{Device, NODE, NODE_CNI, NODE_ETH1, NODE_ETH2, PODS};

/// A program, by where it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Program {
    Xdp,
    TcIngress,
    TcEgress,
    /// Egress of `lb0`.
    Lb0Out,
    /// Egress of its other end.
    Lb0Back,
}

/// Does the kernel attach programs to tc by links (Linux 6.6)?
pub(crate) fn has_tcx() -> Result<bool> {
    Ok(Features::probe()?.tcx)
}

/// Name of the node in the objects.
pub(super) const NODE_NAME: &str = "n1";

/// The loaded programs and their maps.
pub(crate) struct Agent {
    ebpf: Ebpf,
    maps: Maps,
    stats: Stats,
    dir: BpfDir,
    saved: Saved,
}

/// The maps that rows may spoil, as the engine wrote them.
struct Saved {
    frontends: Vec<(VipKey, FrontendValue)>,
    services: Vec<Pool>,
    slots: Vec<Slot>,
    backends: Vec<Backend>,
    members: Vec<(MemberKey, u32)>,
}

impl Agent {
    /// Loads and fills everything, with room for so many flows; to be called in the node's network
    /// namespace.
    pub(crate) fn start(pins: &Path, indices: &BTreeMap<Device, u32>, flows: u32) -> Result<Self> {
        let dir = BpfDir::create(pins)?;
        let options = Options {
            fib_source: Features::probe()?.fib_source,
            pods: vec![
                Cidr::new(PODS.v4.into(), 16).bits(),
                Cidr::new(PODS.v6.into(), 48).bits(),
            ],
            lb0: true,
            // A burst, and then none while a row runs.
            refusals_per_second: 1,
            // Small, since each row looks at all of them.
            capacities: [
                (maps::FLOWS, flows),
                (maps::NEWFLOWS, flows),
                (maps::FOREIGN, flows),
                (maps::SNAT_PEERS, 1024),
                (maps::FRAGMENTS, 1024),
                (maps::AFFINITY, 1024),
                (maps::POOLS, 256),
                (maps::AFFINITY_SHARES, 256),
                (maps::SLOTS, 1024),
                (maps::BACKENDS, 256),
                (maps::FLOW_COUNTS, 256),
                (maps::MEMBERS, 1024),
            ]
            .map(|(spec, n)| (spec.name.to_owned(), n))
            .into(),
            ..Options::default()
        };
        let (ebpf, mut maps, commit) = load::load(OBJECT, &dir, &options)?.split();
        fill(&mut maps, indices)?;
        commit.run()?;
        let mut devs: HashPin<u32, Dev> = HashPin::open(&dir, maps::DEVS, Access::Write)?;
        let mut xdp_devs: ArrayPin<XdpDev> = ArrayPin::open(&dir, maps::XDP_DEVS, Access::Write)?;
        for (device, source, xdp) in [
            (Device::Eth0, NODE, true),
            (Device::Eth1, NODE_ETH1, true),
            (Device::Eth2, NODE_ETH2, false),
            (Device::Br0, NODE, false),
            (Device::Tun4, NODE, false),
            (Device::Tun6, NODE, false),
        ] {
            let tunnel = matches!(device, Device::Tun4 | Device::Tun6);
            let entry = Dev {
                source_v4: Addr::from(std::net::IpAddr::from(source.v4)),
                source_v6: Addr::from(std::net::IpAddr::from(source.v6)),
                flags: match device {
                    Device::Br0 => flags::NODE | flags::PODS,
                    _ if tunnel => flags::NODE,
                    _ => flags::NODE | flags::STRICT,
                },
                header_len: if tunnel { 0 } else { 14 },
            };
            let ifindex = indices[&device];
            let done = devs.insert(&[(ifindex, entry)]);
            ensure!(done.error.is_none(), "{done:?}");
            if xdp {
                let entry = XdpDev {
                    ifindex,
                    flags: xdp_dev::flags::SEND | xdp_dev::flags::SEND_FRAGMENTED,
                    mac: device.mac(),
                    pad: 0,
                };
                xdp_devs.store(xdp_dev::index(ifindex), &entry)?;
            }
        }
        let saved = Saved {
            frontends: maps.frontends.entries()?,
            services: all(&*maps.pools)?,
            slots: all(&*maps.slots)?,
            backends: all(&*maps.backends)?,
            members: maps.members.entries()?,
        };
        Ok(Self {
            stats: Stats::open(&dir)?,
            ebpf,
            maps,
            dir,
            saved,
        })
    }

    /// The descriptor of a program.
    pub(crate) fn program(&self, program: Program) -> Result<BorrowedFd<'_>> {
        let hook = match program {
            Program::Xdp => AgentHook::Xdp,
            Program::TcIngress => AgentHook::TcIngress,
            Program::TcEgress => AgentHook::TcEgress,
            Program::Lb0Out => AgentHook::Lb0Out,
            Program::Lb0Back => AgentHook::Lb0Back,
        };
        let spec = programs::by_hook(hook).context("the agent knows no such hook")?;
        match self.ebpf.program(spec.name) {
            Some(Loaded::SchedClassifier(program)) => Ok(program.fd()?.as_fd()),
            Some(Loaded::Xdp(program)) => Ok(program.fd()?.as_fd()),
            _ => bail!("the object has no program {}", spec.name),
        }
    }

    /// Where the maps are pinned.
    pub(crate) fn dir(&self) -> &BpfDir {
        &self.dir
    }

    /// The maps that the engine writes, for rows that spoil them.
    pub(crate) fn maps(&mut self) -> &mut Maps {
        &mut self.maps
    }

    /// What was counted since the programs were loaded.
    pub(crate) fn counters(&self) -> Result<Vec<(Reason, u64)>> {
        Ok(self.stats.reasons()?)
    }

    /// Puts back what a row has spoilt.
    pub(crate) fn restore(&mut self) -> Result<()> {
        let Self { maps, saved, .. } = self;
        maps.pools.store_run(0, &saved.services)?;
        maps.slots.store_run(0, &saved.slots)?;
        maps.backends.store_run(0, &saved.backends)?;
        let done = maps.members.insert(&saved.members);
        ensure!(done.error.is_none(), "{done:?}");
        let done = maps.frontends.insert(&saved.frontends);
        ensure!(done.error.is_none(), "{done:?}");
        Ok(())
    }
}

fn all<T>(array: &dyn ArrayTable<T>) -> Result<Vec<T>> {
    (0..array.len()).map(|i| Ok(array.load(i)?)).collect()
}

/// Has the engine write the Services of the plan.
fn fill(maps: &mut Maps, indices: &BTreeMap<Device, u32>) -> Result<()> {
    let own = [NODE, NODE_ETH1, NODE_ETH2, NODE_CNI];
    let config = PlanConfig {
        node_name: NODE_NAME.into(),
        external_ips: vec![
            Cidr::new(services::EXTERNAL.v4.into(), 24),
            Cidr::new(services::EXTERNAL.v6.into(), 64),
        ],
        scheduler: Scheduler::Random,
        forwarding: Forwarding::Auto,
        lb0: true,
        machine: Machine {
            own: own.iter().flat_map(Both::ips).collect(),
            ..Machine::default()
        },
        ..PlanConfig::default()
    };
    let mut engine = Engine::restore(maps, config)?;
    let eth0 = indices[&Device::Eth0];
    let (all, slices) = services::all();
    engine.handle(Event::Services(all));
    engine.handle(Event::Slices(slices));
    engine.handle(Event::NodeGone);
    engine.handle(Event::Addresses(NODE.ips().map(|ip| (ip, eth0)).to_vec()));
    let report = engine.sync(maps);
    ensure!(report.applied(), "{report:?}");
    Ok(())
}
