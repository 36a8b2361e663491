//! One of the two twin worlds: two nodes, pods on both, a client outside for each of them, on
//! addresses that the other world has too.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use nix::errno::Errno;
use testbed::{
    addr::{self, Both},
    host::Host,
    lan::{self, Lan, Offloads},
    netns::Netns,
    node::{Node, PodNetwork},
};

use crate::{objects::INGRESS_AND_EXTERNAL, question::Client, side::Side};

/// Where every pod of the pool listens, with both protocols; its name then ends with the port.
pub const TARGETS: [u16; 3] = [9000, 9001, 9002];
/// The near node; where only one is refereed, this one.
pub const NODE: &str = Side::Near.node();
/// The far one.
pub const OTHER_NODE: &str = Side::Far.node();
/// Their zones.
pub const ZONES: [&str; 2] = [Side::Near.zone(), Side::Far.zone()];
/// The API server's address in both worlds.
pub const API: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 1);
/// The networks of all ClusterIPs.
const CLUSTER_IPS: [&str; 2] = ["10.96.0.0/16", "fd66:96::/112"];

/// A pod of the pool.
#[derive(Debug, Clone)]
pub struct PoolPod {
    /// Its name.
    pub name: String,
    /// Its addresses, in both worlds.
    pub addr: Both,
    /// Where it runs.
    pub side: Side,
}

/// Pod `number` of the pool.
#[must_use]
pub fn pod(number: usize) -> PoolPod {
    let count = Side::Near.pods().len();
    let (side, host) = if number < count {
        (Side::Near, number)
    } else {
        (Side::Far, number - count)
    };
    // Pods are numbered from 2 on in their node's network.
    let host = u8::try_from(host).unwrap_or(u8::MAX - 2) + 2;
    PoolPod {
        name: format!("pod-{number}"),
        addr: addr::pod(side.number(), host),
        side,
    }
}

/// Goes with this value.
#[derive(Debug)]
pub struct World {
    near: Node,
    far: Node,
    outside: [lan::Client; 2],
    _lan: Lan,
}

impl World {
    /// Number 0 or 1, joined to the API server's namespace by links of its own.
    pub fn new(number: u8, api: &Netns) -> Result<Self> {
        // As veth comes: most alike, and the fastest.
        let lan = Lan::new(Offloads::On)?;
        let mut near = Node::new(&lan, Side::Near.number(), PodNetwork::Routed)?;
        let mut far = Node::new(&lan, Side::Far.number(), PodNetwork::Routed)?;
        near.join(&far)?;
        for (side, node) in [(Side::Near, &mut near), (Side::Far, &mut far)] {
            for number in side.pods() {
                add_pod(node, number)?;
            }
            node.add_pod("client")?;
            node.netns()
                .ip(&format!("addr add {}/24 dev eth0\n", side.other_address()))?;
            join_api(number, side, node.netns(), api)?;
        }
        for network in [CLUSTER_IPS, INGRESS_AND_EXTERNAL].concat() {
            // What a proxy lets pass ends here, without a word.
            lan.netns()
                .ip(&format!("route add blackhole {network}\n"))?;
        }
        let outside = [Side::Near, Side::Far].map(|side| outside_of(&lan, side));
        let [first, second] = outside;
        let outside = [first?, second?];
        let outsiders = outside.iter().map(|client| client.netns());
        for netns in [lan.netns(), near.netns(), far.netns()]
            .into_iter()
            .chain(outsiders)
        {
            answer_every_time(netns)?;
        }
        Ok(Self {
            near,
            far,
            outside,
            _lan: lan,
        })
    }

    /// A node.
    #[must_use]
    pub const fn node(&self, side: Side) -> &Node {
        match side {
            Side::Near => &self.near,
            Side::Far => &self.far,
        }
    }

    /// Who asks.
    #[must_use]
    pub fn client(&self, client: Client, side: Side) -> &Host {
        let node = self.node(side);
        match (client, side) {
            (Client::Host, _) => node,
            (Client::Pod, _) => node.pod(side.pods().len()),
            (Client::Backend, _) => node.pod(0),
            (Client::Outside, Side::Near) => &self.outside[0],
            (Client::Outside, Side::Far) => &self.outside[1],
        }
    }
}

/// A machine that is no node; its networks of Services lead to this node.
fn outside_of(lan: &Lan, side: Side) -> Result<lan::Client> {
    let outside = lan.client(side.outside())?;
    let via = side.addr();
    for [v4, v6] in [CLUSTER_IPS, INGRESS_AND_EXTERNAL] {
        outside.netns().ip(&format!(
            "route add {v4} via {}\nroute add {v6} via {}\n",
            via.v4, via.v6
        ))?;
    }
    Ok(outside)
}

fn add_pod(node: &mut Node, number: usize) -> Result<()> {
    let PoolPod { name, addr, .. } = pod(number);
    let pod = node.add_pod(&name)?;
    anyhow::ensure!(pod.addr() == addr, "{name} is at {:?}", pod.addr());
    for port in TARGETS {
        pod.serve_named(port, &format!("{name}:{port}"))?;
    }
    Ok(())
}

/// A device of the node that leads to the API server and nowhere else.
fn join_api(world: u8, side: Side, node: &Netns, api: &Netns) -> Result<()> {
    let link = world * 2 + side.number();
    let [there, here] = [1, 2].map(|end| format!("198.18.254.{}", link * 4 + end));
    api.ip(&format!(
        "link add link{link} type veth peer name mgmt netns {}\nlink set link{link} up\naddr add {there}/30 dev link{link}\n",
        node.name()
    ))?;
    node.ip(&format!(
        "link set mgmt up\naddr add {here}/30 dev mgmt\nroute add {API}/32 via {there}\n"
    ))
}

/// No ICMP error is held back, and no redirect changes a route that later questions take.
fn answer_every_time(netns: &Netns) -> Result<()> {
    netns.sysctls(&[
        ("net/ipv4/icmp_ratelimit", "0"),
        // Of each namespace, for both families. Linux 6.13; before, one for all, which only the
        // root's may change.
        ("net/ipv4/icmp_msgs_per_sec", "1000000"),
        ("net/ipv4/icmp_msgs_burst", "10000"),
        ("net/ipv6/icmp/ratelimit", "0"),
        ("net/ipv4/conf/all/send_redirects", "0"),
        ("net/ipv4/conf/default/send_redirects", "0"),
        ("net/ipv4/conf/all/accept_redirects", "0"),
        ("net/ipv6/conf/all/accept_redirects", "0"),
    ])?;
    for device in ["eth0", "br0"] {
        let keys = [
            format!("net/ipv4/conf/{device}/send_redirects"),
            format!("net/ipv4/conf/{device}/accept_redirects"),
            format!("net/ipv6/conf/{device}/accept_redirects"),
        ];
        for key in keys {
            let set = netns.sysctls(&[(&key, "0")]);
            if let Err(error) = set
                && !is(&error, Errno::ENOENT)
            {
                return Err(error);
            }
        }
    }
    Ok(())
}

fn is(error: &anyhow::Error, errno: Errno) -> bool {
    let found = error.downcast_ref::<std::io::Error>();
    found.and_then(std::io::Error::raw_os_error) == Some(errno as i32)
}

/// The addresses of a node's client pod.
#[must_use]
pub fn client(side: Side) -> Both {
    addr::pod(side.number(), 2 + 3)
}

/// The addresses of a client outside.
#[must_use]
pub const fn outside(side: Side) -> Both {
    addr::lan(100 + side.outside())
}

/// A node's addresses on the devices of its pods, the same on each.
#[must_use]
pub const fn gateway() -> Both {
    Both {
        v4: Ipv4Addr::new(169, 254, 1, 1),
        v6: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    }
}
