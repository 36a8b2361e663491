//! The node's own connections from ports that are node ports, or become some: they are the node's.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::CHANGE,
    manifest::Service,
    matrix::{Case, Hook, hooks, matrix},
    node::PodNetwork,
    one_node::PORT,
    poll,
    probe::{Ending, Family, Kind},
};

use super::{Bed, TARGET, plan, play, sized};

/// Where the machine outside listens.
const OUTSIDE: u16 = 9000;

fn listening_outside(hook: Hook) -> Result<Bed> {
    let bed = Bed::new(PodNetwork::Routed, hook)?;
    for kind in [Kind::Tcp, Kind::Udp] {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, OUTSIDE));
        bed.nodes.client.listen_crowd(kind, any, "outside")?;
    }
    Ok(bed)
}

/// A Service whose node ports begin at this one, one for each of so many.
fn node_ports(bed: &Bed, first: u16, count: u16) -> Result<()> {
    let mut service = Service::new("late", addr::vip(90));
    for n in 0..count {
        service = service.node_port(PORT + n, TARGET, first + n);
    }
    let pods = bed.nodes.endpoints(&bed.nodes.near);
    bed.nodes
        .apply(&service.endpoints(pods.into_iter().take(1)))?;
    for case in matrix() {
        let to = bed.nodes.near.addr().at(case.family, first + count - 1);
        poll::until(CHANGE, "the node port answers", || {
            let answer = bed.nodes.client.ask(case.kind, to)?;
            ensure!(answer.name == bed.local.name, "{answer:?}");
            Ok(Some(()))
        })?;
    }
    Ok(())
}

/// An open connection of the node's, from a port that becomes a node port afterwards.
#[test]
fn a_connection_of_the_nodes_own_outlives_a_service_with_its_port() -> Result<()> {
    const NODE_PORT: u16 = 30_020;
    for hook in hooks() {
        let bed = listening_outside(hook)?;
        let mut open = Vec::new();
        for case @ Case { family, kind } in matrix() {
            let sock = bed.nodes.near.socket(kind, family)?;
            sock.bind(bed.nodes.near.addr().at(family, NODE_PORT))?;
            sock.connect(bed.nodes.client.addr.at(family, OUTSIDE))?;
            sock.ask("before")
                .with_context(|| format!("{hook}, {case}"))?;
            open.push((sock, case));
        }
        node_ports(&bed, NODE_PORT, 1)?;
        for round in ["after", "and again"] {
            for (sock, case) in &open {
                let answer = sock.ask(round).with_context(|| format!("{hook}, {case}"))?;
                ensure!(answer.name == "outside", "{hook}, {case}: {answer:?}");
            }
        }
    }
    Ok(())
}

/// The kernel gives the node's sockets ports of which half are node ports.
#[test]
fn connections_of_the_nodes_own_get_node_ports_and_are_answered() -> Result<()> {
    for hook in hooks() {
        let bed = listening_outside(hook)?;
        node_ports(&bed, 30_300, 51)?;
        bed.nodes
            .near
            .netns()
            .sysctls(&[("net/ipv4/ip_local_port_range", "30300 30400")])?;
        for case @ Case { family, kind } in matrix() {
            let to = bed.nodes.client.addr.at(family, OUTSIDE);
            let mut all = plan(kind, to, sized(250, 500), None);
            (all.at_once, all.ending) = (16, Ending::Reset);
            play(&bed.nodes.near, all, "outside", &format!("{hook}, {case}"))?;
        }
        // And the node ports still answer, from those of the ports that they have.
        let to = bed.nodes.near.addr().at(Family::V4, 30_320);
        let clients = plan(Kind::Tcp, to, 100, Some((30_300, 50)));
        let clients = testbed::probe::CrowdPlan {
            ending: Ending::Reset,
            ..clients
        };
        play(
            &bed.nodes.client,
            clients,
            bed.local.name,
            &format!("{hook}"),
        )?;
    }
    Ok(())
}
