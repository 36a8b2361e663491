//! Devices without link headers: clients behind one, backends behind one, and both. Whatever is
//! redirected from and to them arrives with sums that the receiving kernel finds right.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr::Both,
    agent::{CHANGE, Start},
    lan::Offloads,
    matrix::{Case, matrix},
    netns::Netns,
    node::PodNetwork,
    poll,
    probe::{Answer, Kind},
    tunnel::Tunnel,
    two_nodes::{LOCAL, LOCAL_PORT, REMOTE, REMOTE_PORT, TwoNodes},
};

/// More than a packet of TCP; a datagram that fits into one.
const LONG: [(Kind, usize); 2] = [(Kind::Tcp, 20_000), (Kind::Udp, 1_200)];

/// Addresses in tunnel `n`.
const fn inside(n: u8, host: u8) -> Both {
    Both {
        v4: Ipv4Addr::new(198, 18, 90 + n, host),
        v6: Ipv6Addr::new(0xfd66, 0x90 + n as u16, 0, 0, 0, 0, 0, host as u16),
    }
}

/// Tunnel `n`, numbered at both ends: the near node is host 1, the other end host 2.
fn tunnel(near: &Netns, other: &Netns, n: u8) -> Result<Tunnel> {
    let name = format!("tun{n}");
    let tunnel = Tunnel::new(near, other, &name)?;
    for (netns, host) in [(near, 1), (other, 2)] {
        let Both { v4, v6 } = inside(n, host);
        netns.ip(&format!(
            "addr add {v4}/24 dev {name}\naddr add {v6}/64 dev {name} nodad\n"
        ))?;
    }
    Ok(tunnel)
}

/// Everything that the near node's agent can be asked, answered; backends see these sources.
fn all_answer(bed: &TwoNodes, sources: [Both; 2]) -> Result<()> {
    for ((names, port), source) in [(LOCAL, LOCAL_PORT), (REMOTE, REMOTE_PORT)]
        .into_iter()
        .zip(sources)
    {
        for Case { family, kind } in matrix() {
            let to = bed.near.addr().at(family, port);
            let what = || format!("{names:?} {family:?} {kind:?}");
            let answers = (0..24)
                .map(|_| bed.client.ask(kind, to))
                .collect::<io::Result<Vec<Answer>>>()
                .with_context(what)?;
            let answered: BTreeSet<&str> = answers.iter().map(|a| a.name.as_str()).collect();
            ensure!(
                answered == BTreeSet::from(names),
                "{}: {answered:?}",
                what()
            );
            for answer in &answers {
                ensure!(
                    answer.client.ip() == source.ip(family),
                    "{}: the pod saw {}",
                    what(),
                    answer.client
                );
            }
            let sock = bed.client.connect(kind, to).with_context(what)?;
            for (_, length) in LONG.iter().filter(|(of, _)| *of == kind) {
                sock.ask(&"x".repeat(*length)).with_context(what)?;
            }
        }
    }
    Ok(())
}

/// The client's way to the near node leads through tunnel 0.
fn client_by_tunnel(bed: &TwoNodes) -> Result<Tunnel> {
    let tunnel = tunnel(bed.near.netns(), bed.client.netns(), 0)?;
    let (near, own) = (bed.near.addr(), inside(0, 2));
    bed.client.netns().ip(&format!(
        "route add {}/32 dev tun0 src {}\nroute add {}/128 dev tun0 src {}\n",
        near.v4, own.v4, near.v6, own.v6
    ))?;
    Ok(tunnel)
}

/// The near node's way to the far node's pods leads through tunnel 1.
fn pods_by_tunnel(bed: &TwoNodes) -> Result<Tunnel> {
    let tunnel = tunnel(bed.near.netns(), bed.far.netns(), 1)?;
    bed.near
        .netns()
        .ip("route replace 10.244.2.0/24 dev tun1\nroute replace fd66:244:0:2::/64 dev tun1\n")?;
    Ok(tunnel)
}

/// Until the agent has taken the device for a node device.
pub(crate) fn wait_for(bed: &TwoNodes, device: &str) -> Result<()> {
    let agent = bed.agents.first().context("no agent runs")?;
    let said = format!("program=\"lb_tc_ingress\" device=\"{device}\"");
    poll::until_true(CHANGE, "it is a node device", || {
        Ok(agent.log()?.contains(&said))
    })
}

fn bed(offloads: Offloads) -> Result<TwoNodes> {
    TwoNodes::new(PodNetwork::Routed, offloads, Start::new())
}

#[test]
fn clients_behind_a_tunnel_reach_node_ports() -> Result<()> {
    for offloads in [Offloads::On, Offloads::Off] {
        let bed = bed(offloads)?;
        let _tunnel = client_by_tunnel(&bed)?;
        wait_for(&bed, "tun0")?;
        all_answer(&bed, [inside(0, 2), bed.source_towards_far()])?;
    }
    Ok(())
}

#[test]
fn backends_behind_a_tunnel_are_reached() -> Result<()> {
    for offloads in [Offloads::On, Offloads::Off] {
        let bed = bed(offloads)?;
        let _tunnel = pods_by_tunnel(&bed)?;
        wait_for(&bed, "tun1")?;
        all_answer(&bed, [bed.client.addr, inside(1, 1)])?;
    }
    Ok(())
}

#[test]
fn packets_go_from_tunnel_to_tunnel() -> Result<()> {
    let bed = bed(Offloads::On)?;
    let _tunnels = (client_by_tunnel(&bed)?, pods_by_tunnel(&bed)?);
    wait_for(&bed, "tun0")?;
    wait_for(&bed, "tun1")?;
    all_answer(&bed, [inside(0, 2), inside(1, 1)])
}
