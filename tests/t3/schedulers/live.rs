//! A Service's scheduler is changed again and again under load: no connection is lost.

use anyhow::{Result, ensure};
use lb_agent::maps::{
    dir::BpfDir,
    pinned::{Access, ArrayPin},
    table::ArrayTable as _,
};
use lb_common::{maps, pool::Pool, scheduler::Scheduler};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    host::Host,
    lan::Offloads,
    manifest::Service,
    matrix::families,
    node::PodNetwork,
    one_node::{PORT, TARGET},
    poll,
    probe::{Family, Hammer, HammerPlan, Kind, Sock},
    two_nodes::TwoNodes,
};

use crate::removal::go_on;

const CHANGES: usize = 1000;
const VIP: addr::Both = addr::vip(74);
const NODE_PORT: u16 = 30_074;
/// Connections to each address that stay open.
const HELD: usize = 8;
/// Pools are given the lowest indices.
const POOLS: u32 = 64;

fn service(bed: &TwoNodes, scheduler: Scheduler) -> Service {
    Service::new("live", VIP)
        .annotate("lb-agent.io/scheduler", scheduler.name())
        .node_port(PORT, TARGET, NODE_PORT)
        .pods_of(&[&bed.near, &bed.far])
}

/// The pools of the Service, found by its scheduler, which no other Service has.
struct Pools {
    map: ArrayPin<Pool>,
    ours: Vec<u32>,
}

impl Pools {
    fn find(bed: &TwoNodes) -> Result<Self> {
        let only = Scheduler::RoundRobin;
        bed.apply(&service(bed, only))?;
        let map: ArrayPin<Pool> =
            ArrayPin::open(&BpfDir::at(bed.near.bpf_dir()), maps::POOLS, Access::Read)?;
        let ours = poll::until(CHANGE, "the Service has its pools", || {
            let mut found = Vec::new();
            for index in 0..POOLS {
                let pool = map.load(index)?;
                if pool.count > 0 && pool.scheduler == only.number() {
                    found.push(index);
                }
            }
            // Of both families and protocols.
            Ok((found.len() == 4).then_some(found))
        })?;
        Ok(Self { map, ours })
    }

    /// Waits until all go by this scheduler.
    fn go_by(&self, scheduler: Scheduler) -> Result<()> {
        poll::until_true(CHANGE, scheduler.name(), || {
            for index in &self.ours {
                if self.map.load(*index)?.scheduler != scheduler.number() {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}

/// New connections all the time, of sockets and from outside, by both protocols.
fn hammers(bed: &TwoNodes) -> Result<Vec<(String, Hammer)>> {
    let near: &Host = &bed.near;
    let mut all = Vec::new();
    for family in families() {
        let ways = [
            (near, VIP.at(family, PORT)),
            (&*bed.client, bed.near.addr().at(family, NODE_PORT)),
        ];
        for (from, to) in ways {
            for kind in [Kind::Tcp, Kind::Udp] {
                let hammer = from.hammer(HammerPlan {
                    kind,
                    connected: true,
                    to,
                    allowed: Vec::new(),
                })?;
                all.push((format!("{kind} to {to}"), hammer));
            }
        }
    }
    Ok(all)
}

fn held(bed: &TwoNodes) -> Result<Vec<(Sock, String)>> {
    let near: &Host = &bed.near;
    let mut all = Vec::new();
    for family in families() {
        for (from, to) in [
            (near, VIP.at(family, PORT)),
            (&*bed.client, bed.near.addr().at(family, NODE_PORT)),
        ] {
            for _ in 0..HELD {
                let sock = from.connect(Kind::Tcp, to)?;
                let name = sock.ask("before")?.name;
                all.push((sock, name));
            }
        }
    }
    Ok(all)
}

#[test]
fn a_thousand_changes_lose_no_connection() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, Start::new())?;
    let pools = Pools::find(&bed)?;
    let to = bed.near.addr().at(Family::V6, NODE_PORT);
    poll::until(CHANGE, "the service answers", || {
        Ok(bed.client.ask(Kind::Tcp, to).ok())
    })?;
    let held = held(&bed)?;
    let hammers = hammers(&bed)?;
    let file = service(&bed, Scheduler::default()).file();
    for n in 1..=CHANGES {
        let scheduler = Scheduler::ALL[n % Scheduler::ALL.len()];
        let text = service(&bed, scheduler).yaml();
        bed.near.write_manifest(&file, &text)?;
        pools.go_by(scheduler)?;
    }
    for (way, hammer) in hammers {
        let tally = hammer.stop()?;
        ensure!(
            tally.failures.is_empty() && tally.attempts > 100,
            "{way}: {tally:?}"
        );
    }
    go_on(&held)
}
