//! Ports that are used again and again: connections of one node to another's node port and then to
//! the cluster IP, and short ones from outside.

use anyhow::{Context as _, Result};
use testbed::{
    matrix::{Case, Hook, matrix},
    node::PodNetwork,
    probe::{Ending, Kind},
};

use super::{Bed, TURN, all_answered, once, plan, play, sized};

/// Source ports of connections that reset what they have opened.
const FEW: u16 = 100;

fn node_port_then_cluster_ip(hook: Hook) -> Result<()> {
    let bed = Bed::new(PodNetwork::Routed, hook)?;
    let (through, direct) = (sized(1200, 12_000), sized(300, 3000));
    let mut first = 33_000;
    // The backend on the node port's node, and on the client's: there the packet comes back.
    for place in [&bed.local, &bed.remote] {
        for Case { family, kind } in matrix() {
            let what = |to| format!("{hook}, {}, {family}, {kind}, {to}", place.name);
            let node_port = place.node_port(&bed.nodes, family);
            let cluster_ip = place.cluster_ip(family);
            let far = &bed.nodes.far;
            if kind == Kind::Tcp {
                let mut few = plan(kind, node_port, through, Some((60_000, FEW)));
                few.ending = Ending::Reset;
                play(far, few.clone(), place.name, &what("resets"))?;
                (few.to, few.count) = (cluster_ip, direct);
                play(far, few, place.name, &what("resets by the cluster IP"))?;
            }
            let closed = once(kind, node_port, first, through)?;
            play(far, closed, place.name, &what("node port"))?;
            let same = once(kind, cluster_ip, first, direct)?;
            play(far, same, place.name, &what("cluster IP"))?;
            first += u16::try_from(through).context("a port")?;
            if first > 47_000 {
                first = 33_000;
            }
        }
    }
    Ok(())
}

#[test]
fn a_node_loses_none_to_the_node_port_and_then_to_the_cluster_ip_by_tc() -> Result<()> {
    node_port_then_cluster_ip(Hook::Tc)
}

#[test]
fn a_node_loses_none_to_the_node_port_and_then_to_the_cluster_ip_by_xdp() -> Result<()> {
    node_port_then_cluster_ip(Hook::Xdp)
}

/// Short connections from outside, from ports that are used again at once.
fn short_ones(hook: Hook) -> Result<()> {
    let bed = Bed::new(PodNetwork::Routed, hook)?;
    let count = sized(2000, 100_000);
    let mut running = Vec::new();
    for place in [&bed.local, &bed.remote] {
        for Case { family, kind } in matrix() {
            let to = place.node_port(&bed.nodes, family);
            let mut plan = plan(kind, to, count / 8, Some((60_000, FEW)));
            plan.at_once = 8;
            plan.ending = Ending::Reset;
            running.push((bed.nodes.client.crowd(plan)?, place, Case { family, kind }));
        }
    }
    for (crowd, place, case) in running {
        let what = format!("{hook}, {}, {case}", place.name);
        all_answered(&crowd.opened(TURN)?, place.name, &what)?;
    }
    Ok(())
}

#[test]
fn short_connections_from_few_ports_are_all_answered_by_tc() -> Result<()> {
    short_ones(Hook::Tc)
}

#[test]
fn short_connections_from_few_ports_are_all_answered_by_xdp() -> Result<()> {
    short_ones(Hook::Xdp)
}
