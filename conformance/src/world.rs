//! One of the two twin worlds: the node that is refereed, a second node, pods on both, a client
//! outside, on addresses that the other world has too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use nix::errno::Errno;
use testbed::{
    addr::{self, Both},
    host::Host,
    lan::{self, Lan, Offloads},
    netns::Netns,
    node::{Node, PodNetwork},
};

use crate::{objects::INGRESS_AND_EXTERNAL, question::Client};

/// The refereed node's pods of the pool, by number; after them comes the client pod.
pub const NEAR: [usize; 3] = [0, 1, 2];
/// The second node's pods of the pool.
pub const FAR: [usize; 3] = [3, 4, 5];
/// Where every pod of the pool listens, with both protocols; its name then ends with the port.
pub const TARGETS: [u16; 3] = [9000, 9001, 9002];
/// The refereed node.
pub const NODE: &str = "node-1";
/// The second one.
pub const OTHER_NODE: &str = "node-2";
/// Their zones.
pub const ZONES: [&str; 2] = ["here", "there"];
/// The API server's address in both worlds.
pub const API: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 1);
/// An address of the refereed node that its Node object does not name.
pub const OTHER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 77));
/// The networks of all ClusterIPs.
const CLUSTER_IPS: [&str; 2] = ["10.96.0.0/16", "fd66:96::/112"];
/// Number of the client outside.
const OUTSIDE: u8 = 2;

/// A pod of the pool.
#[derive(Debug, Clone)]
pub struct PoolPod {
    /// Its name.
    pub name: String,
    /// Its addresses, in both worlds.
    pub addr: Both,
    /// Where it runs.
    pub node: &'static str,
}

/// Pod `number` of the pool.
#[must_use]
pub fn pod(number: usize) -> PoolPod {
    let (node, host) = if number < NEAR.len() {
        (1, number)
    } else {
        (2, number - NEAR.len())
    };
    // Pods are numbered from 2 on in their node's network.
    let host = u8::try_from(host).unwrap_or(u8::MAX - 2) + 2;
    PoolPod {
        name: format!("pod-{number}"),
        addr: addr::pod(node, host),
        node: if node == 1 { NODE } else { OTHER_NODE },
    }
}

/// Goes with this value.
#[derive(Debug)]
pub struct World {
    near: Node,
    _far: Node,
    outside: lan::Client,
    _lan: Lan,
}

impl World {
    /// Number 0 or 1, joined to the API server's namespace by a link of its own.
    pub fn new(number: u8, api: &Netns) -> Result<Self> {
        // As veth comes: most alike, and the fastest.
        let lan = Lan::new(Offloads::On)?;
        let mut near = Node::new(&lan, 1, PodNetwork::Routed)?;
        let mut far = Node::new(&lan, 2, PodNetwork::Routed)?;
        near.join(&far)?;
        for number in NEAR {
            add_pod(&mut near, number)?;
        }
        near.add_pod("client")?;
        for number in FAR {
            add_pod(&mut far, number)?;
        }
        let outside = lan.client(OUTSIDE)?;
        let via = near.addr();
        for [v4, v6] in [CLUSTER_IPS, INGRESS_AND_EXTERNAL] {
            // What a proxy lets pass ends here, without a word.
            lan.netns().ip(&format!(
                "route add blackhole {v4}\nroute add blackhole {v6}\n"
            ))?;
            outside.netns().ip(&format!(
                "route add {v4} via {}\nroute add {v6} via {}\n",
                via.v4, via.v6
            ))?;
        }
        join_api(number, near.netns(), api)?;
        for netns in [lan.netns(), near.netns(), far.netns(), outside.netns()] {
            answer_every_time(netns)?;
        }
        Ok(Self {
            near,
            _far: far,
            outside,
            _lan: lan,
        })
    }

    /// The refereed node.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.near
    }

    /// Who asks.
    #[must_use]
    pub fn client(&self, client: Client) -> &Host {
        match client {
            Client::Host => &self.near,
            Client::Pod => self.near.pod(NEAR.len()),
            Client::Backend => self.near.pod(0),
            Client::Outside => &self.outside,
        }
    }
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
fn join_api(number: u8, node: &Netns, api: &Netns) -> Result<()> {
    let [there, here] = [1, 2].map(|end| format!("198.18.254.{}", number * 4 + end));
    api.ip(&format!(
        "link add world{number} type veth peer name mgmt netns {}\nlink set world{number} up\naddr add {there}/30 dev world{number}\n",
        node.name()
    ))?;
    node.ip(&format!(
        "link set mgmt up\naddr add {here}/30 dev mgmt\nroute add {API}/32 via {there}\naddr add {OTHER_ADDRESS}/24 dev eth0\n"
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

/// The addresses of the client pod.
#[must_use]
pub fn client() -> Both {
    addr::pod(1, 2 + 3)
}

/// The addresses of the client outside.
#[must_use]
pub const fn outside() -> Both {
    addr::lan(100 + OUTSIDE)
}

/// The refereed node's addresses on the devices of its pods.
#[must_use]
pub const fn gateway() -> Both {
    Both {
        v4: Ipv4Addr::new(169, 254, 1, 1),
        v6: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    }
}

/// The node's own addresses, as its pods and others know it.
#[must_use]
pub fn node_ips() -> Vec<IpAddr> {
    addr::lan(11).ips().to_vec()
}
