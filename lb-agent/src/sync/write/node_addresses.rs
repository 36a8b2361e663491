//! Writes of `lb_nodeaddrs`: the addresses on which NodePorts answer.

use std::net::IpAddr;

use lb_common::{Addr, frontend::NodeAddr};

use super::reuse::barrier;
use crate::{
    maps::{
        Maps, Table,
        table::{Batch, MapError},
    },
    sync::{
        mirror::{Mirror, NodeAddresses},
        report::{Report, fail},
    },
};

/// What became of a run of writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The map holds what it should.
    Done,
    /// Something failed, and has to be tried again.
    Incomplete,
}

/// Brings the map up to date: addresses with the index of their device.
pub(crate) fn write_node_addresses(
    desired: &[(IpAddr, u32)],
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) -> Outcome {
    let mut rest = mirror.node_addresses().clone();
    let mut fresh: Vec<(Addr, NodeAddr)> = Vec::new();
    let mut moved: Vec<(Addr, NodeAddr)> = Vec::new();
    for (ip, ifindex) in desired {
        let addr = Addr::from(*ip);
        let value = NodeAddr {
            ifindex: *ifindex,
            flags: 0,
        };
        match rest.remove(&addr) {
            Some(actual) if actual == value => {}
            Some(_) => moved.push((addr, value)),
            None if fresh.iter().any(|(a, _)| *a == addr) => {}
            None if mirror.node_addresses().contains_key(&addr) => {}
            None => fresh.push((addr, value)),
        }
    }
    let runs = moved.chunks(1).chain(fresh.chunks(fresh.len().max(1)));
    let mut outcome = Outcome::Done;
    for run in runs {
        if let Err(error) = insert(run, mirror, maps, report) {
            fail(report, None, error);
            outcome = Outcome::Incomplete;
            break;
        }
    }
    // Also behind a failure: in a full map this is what makes room.
    let gone: Vec<Addr> = rest.into_keys().collect();
    if gone.is_empty() {
        return outcome;
    }
    mirror.mark_recycled::<NodeAddresses>();
    let Batch { done, error } = maps.nodeaddrs.remove(&gone);
    mirror.remove_node_addresses(&gone[..done]);
    report.writes[Table::NodeAddrs] += done as u64;
    if let Some(error) = error {
        fail(report, None, error);
        outcome = Outcome::Incomplete;
    }
    outcome
}

/// One that is overwritten, or any number of new ones.
fn insert(
    run: &[(Addr, NodeAddr)],
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) -> Result<(), MapError> {
    if mirror.needs_barrier::<NodeAddresses>() {
        barrier(mirror, maps, report)?;
    }
    let known = mirror.node_addresses();
    if run.iter().any(|(addr, _)| known.contains_key(addr)) {
        mirror.mark_recycled::<NodeAddresses>();
    }
    let Batch { done, error } = maps.nodeaddrs.insert(run);
    mirror.insert_node_addresses(&run[..done]);
    report.writes[Table::NodeAddrs] += done as u64;
    error.map_or(Ok(()), Err)
}
