//! The node that the rows run on: a network namespace with devices, routes and neighbours, the
//! programs as the agent loads them, and the maps as the agent writes them.

mod agent;
mod services;
mod state;

use std::{collections::BTreeMap, fmt::Write as _};

pub(crate) use agent::{Agent, Program, has_tcx};
use anyhow::{Context as _, Result};
pub(crate) use state::{Place, State};
use testbed::{netns::Netns, pins::PinDir};

use crate::packet_table::plan::{
    Device, INNER_ROUTER, NODE, NODE_CNI, NODE_ETH1, NODE_ETH2, ROUTER,
};

/// The node, without programs.
pub(crate) struct Node {
    pub(crate) netns: Netns,
    pub(crate) pins: PinDir,
}

impl Node {
    pub(crate) fn new() -> Result<Self> {
        let netns = Netns::new("pt")?;
        netns.sysctls(&[
            ("net/ipv4/conf/all/forwarding", "1"),
            ("net/ipv4/conf/default/forwarding", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv6/conf/default/forwarding", "1"),
        ])?;
        netns.ip(&devices())?;
        netns.ip(&routes())?;
        Ok(Self {
            netns,
            pins: PinDir::new("pt")?,
        })
    }
}

/// Interface indices, asked in the node's namespace.
pub(crate) fn indices() -> Result<BTreeMap<Device, u32>> {
    Device::ALL
        .into_iter()
        .map(|device| {
            let index = nix::net::if_::if_nametoindex(device.name())
                .with_context(|| format!("no device {}", device.name()))?;
            Ok((device, index))
        })
        .collect()
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

fn devices() -> String {
    let mut lines = String::new();
    for (device, addr) in [
        (Device::Eth0, NODE),
        (Device::Eth1, NODE_ETH1),
        (Device::Eth2, NODE_ETH2),
    ] {
        let name = device.name();
        // eth1 takes jumbo frames.
        let mtu = if device == Device::Eth1 { 9000 } else { 1500 };
        let _ = write!(
            lines,
            "link add {name} address {mac} type veth peer name {name}p\n\
             link set {name}p mtu {mtu} up\n\
             link set {name} mtu {mtu} up\n\
             addr add {v4}/24 dev {name}\n\
             addr add {v6}/64 dev {name} nodad\n",
            mac = mac(device.mac()),
            v4 = addr.v4,
            v6 = addr.v6,
        );
    }
    for device in [Device::Tun4, Device::Tun6] {
        let (name, mac) = (device.name(), mac(device.mac()));
        let _ = write!(
            lines,
            "link add {name} address {mac} type veth peer name {name}p\n\
             link set {name}p up\n\
             link set {name} up\n"
        );
    }
    let ours = mac(Device::Lb0.mac());
    lines
        + &format!(
            "link add lb0 address {ours} type veth peer name lb0p address {ours}\n\
             link set lb0p up\n\
             link set lb0 up\n\
             link add cni0 type veth peer name cni0p\n\
             link set cni0p up\n\
             link set cni0 up\n\
             addr add {}/24 dev cni0\n\
             addr add {}/64 dev cni0 nodad\n\
             link add br0 address {bridge} type veth peer name br0p\n\
             link set br0p up\n\
             link set br0 up\n",
            NODE_CNI.v4,
            NODE_CNI.v6,
            bridge = mac(Device::Br0.mac()),
        )
}

fn routes() -> String {
    let mut lines = String::new();
    // Hosts on each segment by their last byte, which is the last byte of their hardware address
    // too; eth2's is 23, so that no two neighbours share one.
    for (device, net, hosts) in [
        ("eth0", (0, 0x18), &[(1, 1), (3, 3), (5, 5), (101, 101)][..]),
        ("eth1", (1, 0x181), &[(3, 3)]),
        ("eth2", (2, 0x182), &[(3, 23)]),
    ] {
        for (host, last) in hosts {
            let lladdr = mac([2, 0, 0, 0, 1, *last]);
            let _ = write!(
                lines,
                "neigh replace 198.18.{}.{host} lladdr {lladdr} nud permanent dev {device}\n\
                 neigh replace fd66:{:x}::{host:x} lladdr {lladdr} nud permanent dev {device}\n",
                net.0, net.1,
            );
        }
    }
    let _ = write!(
        lines,
        "route add default via {}\nroute add default via {}\n",
        ROUTER.v4, ROUTER.v6
    );
    for (node, v4, v6, more) in [
        (
            2,
            INNER_ROUTER.v4.to_string(),
            INNER_ROUTER.v6.to_string(),
            "",
        ),
        (3, "198.18.0.3".into(), "fd66:18::3".into(), ""),
        (4, "198.18.2.3".into(), "fd66:182::3".into(), ""),
        (5, "198.18.0.5".into(), "fd66:18::5".into(), "mtu lock 1400"),
        (6, "198.18.1.9".into(), "fd66:181::9".into(), ""),
    ] {
        let _ = write!(
            lines,
            "route add 10.244.{node}.0/24 via {v4} {more}\n\
             route add fd66:244:0:{node}::/64 via {v6} {more}\n"
        );
    }
    lines
        + "route add 10.244.7.0/24 dev br0 src 198.18.0.2\n\
           route add fd66:244:0:7::/64 dev br0 src fd66:18::2\n\
           route add unreachable 192.0.2.0/24\n\
           route add unreachable fd66:c000::/32\n\
           route add 10.96.0.0/16 dev lb0\n\
           route add fd66:96::/64 dev lb0\n"
}
