//! Node ports where clients or backends are behind other networks than a plain segment: a second
//! uplink with routes of its own, a bridge that pods of several nodes are behind. Tunnels, jumbo
//! frames and flannel's overlay have files of their own; VLAN devices stand in tier 5.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use testbed::{
    addr::{self, Both},
    agent::CHANGE,
    lan::Offloads,
    manifest::{Endpoint, Service},
    matrix::{Case, Hook, each, matrix},
    node::PodNetwork,
    one_node::{PORT, TARGET},
    poll,
    two_nodes::{LOCAL_PORT, REMOTE_PORT, TwoNodes},
};

use crate::packet_tunnel::wait_for;

/// Host `host` of the network `n`; the near node is host 1, who is on its other side host 2.
const fn inside(n: u8, host: u8) -> Both {
    Both {
        v4: Ipv4Addr::new(198, 18, n, host),
        v6: Ipv6Addr::new(0xfd66, n as u16, 0, 0, 0, 0, 0, host as u16),
    }
}

/// Numbers a device at one end.
fn number(n: u8, host: u8, device: &str) -> String {
    let Both { v4, v6 } = inside(n, host);
    format!(
        "link set {device} up\naddr add {v4}/24 dev {device}\naddr add {v6}/64 dev {device} nodad\n"
    )
}

fn bed(hook: Hook, offloads: Offloads) -> Result<TwoNodes> {
    TwoNodes::new(PodNetwork::Routed, offloads, hook.start())
}

/// The client asks by the second uplink, and takes answers from there alone (of IPv4, whose filter
/// says so); the node's main route
/// to it leads through the first one, a rule for the second one's address through the second.
fn two_uplinks(hook: Hook) -> Result<()> {
    for offloads in each(Offloads::ALL) {
        let bed = bed(hook, offloads)?;
        bed.near.netns().ip(&format!(
            "link add up1 type veth peer name up1 netns {}\n{}",
            bed.client.netns().name(),
            number(96, 1, "up1")
        ))?;
        let (asked, own) = (inside(96, 1), inside(96, 2));
        let client = bed.client.addr;
        bed.client.netns().ip(&number(96, 2, "up1"))?;
        bed.client.netns().ip(&format!(
            "route add {}/32 dev up1 src {}\nroute add {}/128 dev up1 src {}\n",
            asked.v4, client.v4, asked.v6, client.v6
        ))?;
        let strict = [
            ("net/ipv4/conf/all/rp_filter", "1"),
            ("net/ipv4/conf/up1/rp_filter", "1"),
        ];
        bed.client.netns().sysctls(&strict)?;
        // What goes to a pod has the pod's address by then, whose answers go by the main table:
        // a node that is asked by two uplinks has a loose filter, also beside kube-proxy.
        let loose = [
            ("net/ipv4/conf/all/rp_filter", "2"),
            ("net/ipv4/conf/up1/rp_filter", "2"),
        ];
        bed.near.netns().sysctls(&loose)?;
        bed.near.netns().ip(&format!(
            "rule add from {}/32 lookup 96\nroute add {}/32 via {} dev up1 table 96\n",
            asked.v4, client.v4, own.v4
        ))?;
        bed.near.netns().ip6(&format!(
            "rule add from {}/128 lookup 96\nroute add {}/128 via {} dev up1 table 96\n",
            asked.v6, client.v6, own.v6
        ))?;
        wait_for(&bed, "up1")?;
        for port in [LOCAL_PORT, REMOTE_PORT] {
            for Case { family, kind } in matrix() {
                let to = asked.at(family, port);
                poll::until(CHANGE, "node ports answer on the second uplink", || {
                    Ok(bed.client.ask(kind, to).ok())
                })?;
                for _ in 0..8 {
                    let answer = bed.client.ask(kind, to)?;
                    let seen = answer.client.ip();
                    ensure!(
                        port != LOCAL_PORT || seen == client.ip(family),
                        "it saw {seen}"
                    );
                }
            }
        }
    }
    Ok(())
}

#[test]
fn answers_leave_by_the_uplink_that_was_asked_by_tc() -> Result<()> {
    two_uplinks(Hook::Tc)
}

#[test]
fn answers_leave_by_the_uplink_that_was_asked_by_xdp() -> Result<()> {
    two_uplinks(Hook::Xdp)
}

/// A backend of the other node behind a bridge of the near one, which is no uplink.
fn bridge(hook: Hook) -> Result<()> {
    const NAME: &str = "behind-the-bridge";
    const NODE_PORT: u16 = 30_097;
    for offloads in each(Offloads::ALL) {
        let bed = bed(hook, offloads)?;
        bed.near.netns().ip(&format!(
            "link add br9 type bridge\n\
             link add l2p type veth peer name l2 netns {}\n\
             link set l2p master br9 up\n{}",
            bed.far.netns().name(),
            number(97, 1, "br9")
        ))?;
        bed.far.netns().ip(&number(97, 2, "l2"))?;
        for Case { family, kind } in matrix() {
            bed.far
                .listen(kind, inside(97, 2).at(family, TARGET), NAME)?;
        }
        let endpoint = Endpoint {
            pod: NAME.to_owned(),
            addr: inside(97, 2),
            node: bed.far.name().to_owned(),
            ready: true,
            serving: true,
            terminating: false,
        };
        let service = Service::new(NAME, addr::vip(97))
            .node_port(PORT, TARGET, NODE_PORT)
            .endpoints([endpoint]);
        bed.apply(&service)?;
        wait_for(&bed, "br9")?;
        for Case { family, kind } in matrix() {
            let to = bed.near.addr().at(family, NODE_PORT);
            poll::until(CHANGE, "the backend behind the bridge answers", || {
                Ok(bed.client.ask(kind, to).ok())
            })?;
            for _ in 0..8 {
                let answer = bed.client.ask(kind, to)?;
                let seen = answer.client.ip();
                ensure!(seen == inside(97, 1).ip(family), "it saw {seen}");
            }
            let sock = bed.client.connect(kind, to)?;
            sock.ask(&"x".repeat(1_200))?;
        }
    }
    Ok(())
}

#[test]
fn backends_of_other_nodes_behind_a_bridge_are_reached_by_tc() -> Result<()> {
    bridge(Hook::Tc)
}

#[test]
fn backends_of_other_nodes_behind_a_bridge_are_reached_by_xdp() -> Result<()> {
    bridge(Hook::Xdp)
}
