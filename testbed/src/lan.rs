//! The segment that joins nodes and outside clients: a bridge with a router's address, and the
//! outside clients.

use std::{fmt, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    addr::{self, Both},
    cgroup::Cgroup,
    host::Host,
    netns::Netns,
    pins::PinDir,
    poll,
    probe::{Frame, Kind},
    sandbox::Sandbox,
};

/// The router's number on the segment, everybody's default gateway.
const ROUTER: u8 = 1;
/// Outside clients are numbered from here on.
const CLIENTS: u8 = 100;
/// A busy kernel removes namespaces one after the other.
const GONE: Duration = Duration::from_secs(30);

/// What the devices of a testbed do by themselves. Incremental sums break packets whose sum is
/// still to be made, and veth hides it: nothing is ever computed on a wire that is memory. Hence
/// each packet test runs with more than one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offloads {
    /// As veth comes: no sum is made unless the packet leaves the machine.
    On,
    /// Senders leave the sum to their device; the last device before each receiver makes it (`tx
    /// off` on the node's and the bridge's side), so receivers get real sums of packets that
    /// were partial when they were rewritten.
    LastHop,
    /// Every device makes every sum, and no device cuts segments.
    Off,
}

impl Offloads {
    /// Leaves the frames of the protocol, which must be there, each with right sums wherever sums
    /// are made at all.
    pub fn keep_right(self, frames: &mut Vec<Frame>, kind: Kind, who: &str) -> Result<()> {
        let proto = if kind == Kind::Tcp { "tcp" } else { "udp" };
        frames.retain(|frame| frame.proto == proto);
        ensure!(!frames.is_empty(), "{who} got no {proto}");
        if self != Self::On {
            for frame in &*frames {
                ensure!(frame.sums.is_ok(), "{who} got {frame:?}");
            }
        }
        Ok(())
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "offloads on",
            Self::LastHop => "sums by the last hop",
            Self::Off => "offloads off",
        })
    }
}

impl Offloads {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::On, Self::LastHop, Self::Off];

    /// Applies them to a pair: the end inside a client, pod or node, and the end that leads to it.
    /// A receiver is where packets end and are looked at.
    pub(crate) fn apply(
        self,
        inner: (&Netns, &str),
        outer: (&Netns, &str),
        is_receiver: bool,
    ) -> Result<()> {
        // GRO gives veth the NAPI context without which frames that XDP redirects to it are lost.
        // Where packets are looked at it stays off unless everything is on: what it has put
        // together carries no sum.
        let gro = ["gro", "on"].as_slice();
        let no_gro = ["gro", "off"].as_slice();
        let no_sums = ["tx", "off", "rx", "off", "tso", "off", "gso", "off"].as_slice();
        let (inner_words, outer_words) = match self {
            Self::On => (gro.to_vec(), gro.to_vec()),
            Self::LastHop => (
                if is_receiver { no_gro } else { gro }.to_vec(),
                [gro, &["tx", "off"]].concat(),
            ),
            Self::Off => (
                [if is_receiver { no_gro } else { gro }, no_sums].concat(),
                [gro, no_sums].concat(),
            ),
        };
        for ((netns, device), words) in [(inner, inner_words), (outer, outer_words)] {
            let sandbox = Sandbox {
                netns: Some(netns.path()),
                ..Default::default()
            };
            crate::process::run(&sandbox, &[&["ethtool", "-K", device], &words[..]].concat())?;
        }
        Ok(())
    }
}

/// A bridge in a namespace of its own.
#[derive(Debug)]
pub struct Lan {
    netns: Netns,
    offloads: Offloads,
}

impl Lan {
    /// An empty segment.
    pub fn new(offloads: Offloads) -> Result<Self> {
        let netns = Netns::new("lan")?;
        let Both { v4, v6 } = addr::lan(ROUTER);
        netns.sysctls(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
        ])?;
        netns.ip(&format!(
            "link add br0 type bridge forward_delay 0 mcast_snooping 0\n\
             link set br0 up\n\
             addr add {v4}/24 dev br0\n\
             addr add {v6}/64 dev br0 nodad\n"
        ))?;
        Ok(Self { netns, offloads })
    }

    /// What its devices do by themselves.
    #[must_use]
    pub const fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// The namespace of the bridge.
    #[must_use]
    pub const fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The other end of a plugged namespace's `eth0`.
    #[must_use]
    pub fn port(&self, host: u8) -> Port {
        Port {
            // Not `ip -n`, which mounts another /sys without bpffs.
            netns: Sandbox {
                netns: Some(self.netns.path()),
                ..Sandbox::default()
            },
            device: format!("port{host}"),
        }
    }

    /// Plugs a namespace in as number `host`, by its device `eth0`; the default route leads to the
    /// router.
    pub fn plug(&self, netns: &Netns, host: u8) -> Result<Both> {
        let both @ Both { v4, v6 } = addr::lan(host);
        let router = addr::lan(ROUTER);
        let port = format!("port{host}");
        // The kernel takes the device of a machine away a while after its namespace is gone.
        poll::until_true(GONE, &format!("{port} is free"), || {
            self.netns
                .block(|| Ok(nix::net::if_::if_nametoindex(port.as_str()).is_err()))
        })?;
        netns.ip(&format!(
            "link add eth0 type veth peer name {port} netns {lan}\n\
             link set eth0 up\n\
             addr add {v4}/24 dev eth0\n\
             addr add {v6}/64 dev eth0 nodad\n",
            lan = self.netns.name(),
        ))?;
        self.netns
            .ip(&format!("link set {port} master br0\nlink set {port} up\n"))?;
        netns.ip(&format!(
            "route add default via {}\nroute add default via {}\n",
            router.v4, router.v6
        ))?;
        self.offloads
            .apply((netns, "eth0"), (&self.netns, &port), host > CLIENTS)?;
        Ok(both)
    }

    /// A machine outside of the cluster, with a cgroup that no node's programs are attached to.
    pub fn client(&self, number: u8) -> Result<Client> {
        let netns = Netns::new("client")?;
        let addr = self.plug(&netns, CLIENTS + number)?;
        Ok(Client {
            host: Host::new(netns, Cgroup::new("client")?)?,
            addr,
        })
    }
}

/// A device of the bridge.
#[derive(Debug)]
pub struct Port {
    netns: Sandbox,
    device: String,
}

impl Port {
    /// Lets it take what its peer sends by `XDP_TX`: veth does that only for a device that has a
    /// program too, GRO is not enough. The peer loses its segmentation offload by it, so only
    /// nodes that use XDP ask for it.
    pub fn take_xdp_tx(&self) -> Result<()> {
        let Self { netns, device } = self;
        let pins = PinDir::new("pass")?;
        let pin = pins.path().join("pass");
        let pass = lb_sys::xdp_pass().context("load a program that lets frames pass")?;
        lb_sys::pin(&pass, &pin).context("pin it")?;
        let pin = pin.display().to_string();
        // The device holds it from here on. Forced, since a restarted agent asks again.
        let words = [
            "ip", "-force", "link", "set", "dev", device, "xdp", "pinned", &pin,
        ];
        crate::process::run(netns, &words).map(drop)
    }
}

/// A machine outside of the cluster.
#[derive(Debug)]
pub struct Client {
    host: Host,
    /// Its addresses on the segment.
    pub addr: Both,
}

impl Client {
    /// Where its programs run.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }
}

impl std::ops::Deref for Client {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}
