//! The packet path: what becomes of an open connection when the kernel takes one of its records
//! away.

use anyhow::{Result, ensure};
use lb_agent::maps::{
    dir::BpfDir,
    pinned::{Access, HashPin},
    stats::Stats,
    table::HashTable as _,
};
use lb_common::{
    Reason,
    flow::{Flow, FlowKey, direction},
    maps,
};
use testbed::{
    agent::CHANGE,
    lan::Offloads,
    matrix::{Case, hooks, matrix},
    node::PodNetwork,
    poll,
    probe::Sock,
    two_nodes::{LOCAL_PORT, REMOTE_PORT, TwoNodes},
};

/// Removes every record of this kind: how many there were.
fn evict(bed: &TwoNodes, kind: u8) -> Result<usize> {
    let dir = BpfDir::at(bed.near.bpf_dir());
    let mut removed = 0;
    for spec in [maps::FLOWS, maps::NEWFLOWS] {
        let mut flows: HashPin<FlowKey, Flow> = HashPin::open(&dir, spec, Access::Write)?;
        let entries = flows.entries()?;
        let keys: Vec<FlowKey> = entries
            .into_iter()
            .filter_map(|(key, flow)| (flow.direction == kind).then_some(key))
            .collect();
        let batch = flows.remove(&keys);
        ensure!(batch.error.is_none(), "{:?}", batch.error);
        removed += batch.done;
    }
    Ok(removed)
}

fn repaired(bed: &TwoNodes) -> Result<u64> {
    let dir = BpfDir::at(bed.near.bpf_dir());
    Ok(Stats::open(&dir)?.reasons()?[Reason::FlowRepaired as usize].1)
}

/// Connections through the node that both sides have confirmed, and whom they reach.
fn held(bed: &TwoNodes) -> Result<Vec<(Sock, String)>> {
    let mut held = Vec::new();
    for port in [LOCAL_PORT, REMOTE_PORT] {
        for Case { family, kind } in matrix() {
            let to = bed.near.addr().at(family, port);
            let sock = bed.client.connect(kind, to)?;
            let name = sock.ask("before")?.name;
            sock.ask("confirmed")?;
            held.push((sock, name));
        }
    }
    Ok(held)
}

#[test]
fn a_record_that_is_lost_is_made_again() -> Result<()> {
    for hook in hooks() {
        let start = hook.start();
        let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, start)?;
        let held = held(&bed)?;
        for lost in [direction::REPLY, direction::FORWARD] {
            let before = repaired(&bed)?;
            ensure!(evict(&bed, lost)? >= held.len(), "no records to lose");
            for (sock, name) in &held {
                // An answer may be lost until the forward record is proved again, an instant later.
                poll::until(CHANGE, "the connection goes on", || {
                    Ok(sock.ask("after").ok().map(|answer| answer.name))
                })
                .and_then(|found| {
                    ensure!(found == *name, "{found} answers in the place of {name}");
                    Ok(())
                })?;
            }
            if lost == direction::REPLY {
                let found = repaired(&bed)? - before;
                ensure!(
                    found >= held.len() as u64,
                    "{found} of {} were repaired",
                    held.len()
                );
            }
        }
    }
    Ok(())
}
