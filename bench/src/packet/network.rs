//! The way of a packet: a namespace that sends, a namespace that receives, and nodes between the
//! two, each by a pair of devices of its own.

use std::{net::Ipv4Addr, os::fd::AsFd, path::PathBuf};

use anyhow::{Context as _, Result};
use testbed::{
    cgroup::Cgroup, host::Host, name, netns::Netns, node::Node, pins::PinDir, process,
    sandbox::Sandbox,
};

use super::programs::{SOURCES, Sink, Then};
use crate::{report::add, wire::Where};

/// The device of a node that leads to the sender, and the one that leads to the receiver.
pub(super) const UP: &str = "up0";
pub(super) const DOWN: &str = "down0";
/// Backends beyond every node, and those that are pods on each.
pub(super) const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 0);
pub(super) const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 245, 0, 0);
/// Backends of a service.
pub(super) const BACKENDS: u8 = 4;
/// The end of a pair that a link-layer address belongs to.
const CLIENT: u8 = 1;
const NODE_UP: u8 = 2;
const NODE_DOWN: u8 = 3;
const SERVER: u8 = 4;

/// Backend number 0, 1, … of a network.
pub(super) fn backend(network: Ipv4Addr, number: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(network.to_bits() + 1 + u32::from(number))
}

/// Sender and receiver.
pub(super) struct Network {
    pub(super) client: Host,
    pub(super) server: Host,
    pins: PinDir,
}

/// A node between them. The node itself goes last.
pub(super) struct Hop {
    /// Counts what comes back to the sender.
    pub(super) at_client: Sink,
    /// Counts what comes to the receiver.
    pub(super) at_server: Sink,
    /// Counts what comes to the pod, where there is one.
    pub(super) at_pod: Option<Sink>,
    /// The sender's device.
    pub(super) out: u32,
    pub(super) smac: [u8; 6],
    pub(super) dmac: [u8; 6],
    pub(super) node: Node,
    number: u8,
}

impl Network {
    pub(super) fn new() -> Result<Self> {
        let host = |role: &str| Host::new(Netns::new(role)?, Cgroup::new(role)?);
        Ok(Self {
            client: host("sender")?,
            server: host("receiver")?,
            pins: PinDir::new("bench")?,
        })
    }

    /// Where the sender's programs run.
    pub(super) fn sandbox(&self) -> Where {
        Where {
            netns: self.client.netns().path(),
            cgroup: self.client.cgroup().path().to_owned(),
        }
    }

    /// Pins a program under a name of its own.
    pub(super) fn pin(&self, program: impl AsFd) -> Result<PathBuf> {
        let pin = self.pins.path().join(name::unique("program"));
        lb_sys::pin(program, &pin).with_context(|| format!("pin {}", pin.display()))?;
        Ok(pin)
    }

    /// Puts a program on a device, in front of its driver's queue.
    pub(super) fn attach(&self, place: &Sandbox, device: &str, program: impl AsFd) -> Result<()> {
        let pin = self.pin(program)?;
        let words = [
            "ip", "-force", "link", "set", "dev", device, "xdpdrv", "pinned",
        ];
        let pin = pin.display().to_string();
        process::run(place, &[&words[..], &[&pin]].concat()).map(drop)
    }

    /// Puts a node between the two, with a pod of several addresses if it is to have one.
    pub(super) fn hop(&self, mut node: Node, with_pod: bool) -> Result<Hop> {
        let n = node.number();
        let mac = |end| [2, 0x1b, 0, end, 0, n];
        let (client, server) = (self.client.netns().name(), self.server.netns().name());
        node.netns().ip(&format!(
            "link add {UP} address {up} type veth peer name c{n} address {c} netns {client}\n\
             link add {DOWN} address {down} type veth peer name b{n} address {b} netns {server}\n\
             link set {UP} up\nlink set {DOWN} up\n\
             addr add 10.1.{n}.2/24 dev {UP}\naddr add 10.2.{n}.2/24 dev {DOWN}\n\
             neigh add 10.1.{n}.1 lladdr {c} dev {UP} nud permanent\n\
             neigh add 10.2.{n}.1 lladdr {b} dev {DOWN} nud permanent\n\
             route add {SOURCES} via 10.1.{n}.1\nroute add {REMOTE}/24 via 10.2.{n}.1\n",
            up = text(mac(NODE_UP)),
            c = text(mac(CLIENT)),
            down = text(mac(NODE_DOWN)),
            b = text(mac(SERVER)),
        ))?;
        self.client.netns().ip(&format!("link set c{n} up\n"))?;
        self.server.netns().ip(&format!("link set b{n} up\n"))?;
        for device in [UP, DOWN] {
            // The NAPI context without which frames that XDP sends are lost.
            node.run(&["ethtool", "-K", device, "gro", "on"])?;
        }
        let out = ifindex(&self.client, &format!("c{n}"))?;
        let at_client = self.sink(&self.client, &format!("c{n}"))?;
        let at_server = self.sink(&self.server, &format!("b{n}"))?;
        let at_pod = if with_pod {
            Some(self.pod(&mut node)?)
        } else {
            None
        };
        Ok(Hop {
            at_client,
            at_server,
            at_pod,
            out,
            smac: mac(CLIENT),
            dmac: mac(NODE_UP),
            node,
            number: n,
        })
    }

    /// A pod to which all local backends' addresses lead.
    fn pod(&self, node: &mut Node) -> Result<Sink> {
        let pod = node.add_pod("local")?;
        let device = pod.device().to_owned();
        let sink = self.sink(node.pod(0), "eth0")?;
        node.netns()
            .ip(&format!("route add {LOCAL}/22 dev {device}\n"))?;
        neighbours(node, BACKENDS.into())?;
        Ok(sink)
    }

    fn sink(&self, host: &Host, device: &str) -> Result<Sink> {
        let sink = Sink::new(ifindex(host, device)?)?;
        sink.reset(Then::Drop)?;
        self.attach(host.sandbox(), device, &sink.program)?;
        Ok(sink)
    }
}

impl Hop {
    /// Sources that its packets may have once they were rewritten.
    pub(super) fn addresses(&self) -> [Ipv4Addr; 3] {
        let n = self.number;
        [
            self.node.addr().v4,
            Ipv4Addr::new(10, 1, n, 2),
            Ipv4Addr::new(10, 2, n, 2),
        ]
    }
}

/// Tells the node the link-layer address of so many backends in its pod, because the
/// pod does not answer ARP for them.
pub(super) fn neighbours(node: &Node, backends: u32) -> Result<()> {
    let pod = node.pod(0);
    let (link, device) = (link(pod, "eth0")?, pod.device());
    let mac = link["address"].as_str().context("eth0 without address")?;
    let first = LOCAL.to_bits() + 1;
    let mut lines = String::new();
    for bits in first..first + backends {
        let address = Ipv4Addr::from_bits(bits);
        add(
            &mut lines,
            format_args!("neigh replace {address} lladdr {mac} dev {device} nud permanent\n"),
        );
    }
    node.netns().ip(&lines)
}

/// The number of a device in a host's namespace.
pub(super) fn ifindex(host: &Host, device: &str) -> Result<u32> {
    let index = link(host, device)?["ifindex"].as_u64();
    let index = index.with_context(|| format!("{device} has no number"))?;
    u32::try_from(index).context("a device's number has 32 bits")
}

fn link(host: &Host, device: &str) -> Result<serde_json::Value> {
    let text = host.run(&["ip", "-json", "link", "show", "dev", device])?;
    let mut links: Vec<serde_json::Value> =
        serde_json::from_str(&text).context("read ip's JSON")?;
    links.pop().with_context(|| format!("no device {device}"))
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
