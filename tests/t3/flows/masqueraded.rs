//! Connections of pods that leave masqueraded, some of them from a port that is a node port: what
//! answers them is theirs.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::Result;
use testbed::{
    addr,
    agent::CHANGE,
    manifest::Service,
    matrix::{Case, Hook, matrix},
    node::PodNetwork,
    poll,
    probe::{Ending, Family, Kind},
};

use super::{Bed, TARGET, plan, play, sized};

/// The first of the node ports, and how many there are.
const NODE_PORTS: (u16, u16) = (30_100, 200);
/// A Service has so many of them.
const EACH: u16 = 50;
/// Where the machine outside listens.
const OUTSIDE: u16 = 9000;

/// Two hundred node ports, all with the remote pod behind them.
fn many_node_ports(bed: &Bed) -> Result<()> {
    let (first, count) = NODE_PORTS;
    for n in 0..count / EACH {
        let number = 100 + u8::try_from(n)?;
        let mut service = Service::new(&format!("many-{n}"), addr::vip(number));
        for port in n * EACH..(n + 1) * EACH {
            service = service.node_port(1000 + port, TARGET, first + port);
        }
        let endpoints = bed.nodes.endpoints(&bed.nodes.far);
        bed.nodes
            .apply(&service.endpoints(endpoints.into_iter().take(1)))?;
    }
    for n in 0..count {
        let to = bed.nodes.near.addr().at(Family::V4, first + n);
        poll::until(CHANGE, "every node port answers", || {
            Ok(Some(bed.nodes.client.ask(Kind::Tcp, to)?))
        })?;
    }
    Ok(())
}

fn outward(hook: Hook) -> Result<()> {
    let bed = Bed::new(PodNetwork::Flannel, hook)?;
    many_node_ports(&bed)?;
    let outside = &bed.nodes.client;
    for kind in [Kind::Tcp, Kind::Udp] {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, OUTSIDE));
        outside.listen_crowd(kind, any, "outside")?;
    }
    let pod = bed.nodes.near.pod(1);
    let (first, count) = NODE_PORTS;
    for case @ Case { family, kind } in matrix() {
        let to = outside.addr.at(family, OUTSIDE);
        // At random: from any port there is.
        let mut any = plan(kind, to, sized(300, 3000), None);
        any.ending = Ending::Reset;
        play(pod, any, "outside", &format!("{hook}, {case}, at random"))?;

        // From node ports alone.
        let (program, protocol) = (
            if family == Family::V4 {
                "iptables"
            } else {
                "ip6tables"
            },
            if kind == Kind::Tcp { "tcp" } else { "udp" },
        );
        let range = format!("{first}-{}", first + count - 1);
        let rule = |how: &str| {
            let dport = OUTSIDE.to_string();
            bed.nodes.near.run(&[
                program,
                "-w",
                "-t",
                "nat",
                how,
                "POSTROUTING",
                "-p",
                protocol,
                "--dport",
                &dport,
                "-j",
                "MASQUERADE",
                "--to-ports",
                &range,
                "--random",
            ])
        };
        rule("-I")?;
        // Fewer than there are ports: netfilter keeps each for two minutes.
        let mut some = plan(kind, to, 150, None);
        some.ending = Ending::Reset;
        play(pod, some, "outside", &format!("{hook}, {case}, node ports"))?;
        rule("-D")?;
    }
    Ok(())
}

#[test]
fn masqueraded_connections_from_node_ports_are_answered_by_tc() -> Result<()> {
    outward(Hook::Tc)
}

#[test]
fn masqueraded_connections_from_node_ports_are_answered_by_xdp() -> Result<()> {
    outward(Hook::Xdp)
}
