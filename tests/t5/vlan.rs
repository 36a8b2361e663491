//! A VLAN device as node device: clients behind it, which no program of the device below sees.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use testbed::{
    addr::Both,
    agent::CHANGE,
    lan::Offloads,
    matrix::{Case, each, hooks, matrix},
    node::PodNetwork,
    poll,
    two_nodes::{LOCAL_PORT, REMOTE_PORT, TwoNodes},
};

/// Host `host` of the VLAN; the near node is host 1, the client host 2.
const fn inside(host: u8) -> Both {
    Both {
        v4: Ipv4Addr::new(198, 18, 95, host),
        v6: Ipv6Addr::new(0xfd66, 0x95, 0, 0, 0, 0, 0, host as u16),
    }
}

#[test]
fn clients_behind_a_vlan_device_reach_node_ports() -> Result<()> {
    for hook in hooks() {
        for offloads in each(Offloads::ALL) {
            let bed = TwoNodes::new(PodNetwork::Routed, offloads, hook.start())?;
            let (near, client) = (bed.near.addr(), bed.client.addr);
            for (netns, host, to, own) in [
                (bed.near.netns(), 1, client, near),
                (bed.client.netns(), 2, near, client),
            ] {
                let (via, Both { v4, v6 }) = (inside(3 - host), inside(host));
                netns.ip(&format!(
                    "link add link eth0 name eth0.5 type vlan id 5\n\
                     link set eth0.5 up\n\
                     addr add {v4}/24 dev eth0.5\n\
                     addr add {v6}/64 dev eth0.5 nodad\n\
                     route add {}/32 via {} dev eth0.5 src {}\n\
                     route add {}/128 via {} dev eth0.5 src {}\n",
                    to.v4, via.v4, own.v4, to.v6, via.v6, own.v6
                ))?;
            }
            let agent = bed.agents.first().context("no agent runs")?;
            poll::until_true(CHANGE, "eth0.5 is a node device", || {
                let said = "program=\"lb_tc_ingress\" device=\"eth0.5\"";
                Ok(agent.log()?.contains(said))
            })?;
            // The program is there a moment before the maps say that it is a node device.
            for Case { family, kind } in matrix() {
                poll::until(CHANGE, "a node port answers behind it", || {
                    Ok(Some(bed.client.ask(kind, near.at(family, LOCAL_PORT))?))
                })?;
            }
            for port in [LOCAL_PORT, REMOTE_PORT] {
                for Case { family, kind } in matrix() {
                    let to = near.at(family, port);
                    for _ in 0..8 {
                        bed.client.ask(kind, to)?;
                    }
                    let sock = bed.client.connect(kind, to)?;
                    sock.ask(&"x".repeat(1_200))?;
                }
            }
        }
    }
    Ok(())
}
