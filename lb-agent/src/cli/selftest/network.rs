//! The devices of a network namespace of the test, by rtnetlink: of the namespace that this process
//! is in.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use anyhow::{Context as _, Result};
use rtnetlink::{
    LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkXdp, XdpAttached},
};
use tokio::runtime::Runtime;

use super::{addresses::Family, question::Device};
use crate::netlink::{self, Connection};

/// What every host calls its device.
pub(super) const DEVICE: &str = "eth0";
/// Settings of every namespace: addresses are usable at once, and every process may ping.
const SETTINGS: [(&str, &str); 6] = [
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/router_solicitations", "0"),
    ("ipv4/ping_group_range", "0 2147483647"),
];
/// Settings of the node.
const FORWARDING: [(&str, &str); 2] = [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];

/// The families that the kernel has.
pub(super) fn families() -> Vec<Family> {
    let has_ipv6 = Path::new("/proc/sys/net/ipv6").exists();
    let all = Family::ALL.into_iter();
    all.filter(|family| *family == Family::V4 || has_ipv6)
        .collect()
}

/// Of every namespace.
pub(super) fn settings() -> Result<()> {
    write(&SETTINGS)
}

/// Of the node, which forwards.
pub(super) fn forwards() -> Result<()> {
    write(&FORWARDING)
}

fn write(settings: &[(&str, &str)]) -> Result<()> {
    for (key, value) in settings {
        let path = Path::new("/proc/sys/net").join(key);
        if !path.exists() && key.starts_with("ipv6/") {
            continue;
        }
        fs::write(&path, value).with_context(|| format!("write {value} to {}", path.display()))?;
    }
    Ok(())
}

/// A connection to the kernel, and what waits for its answers.
pub(super) struct Network {
    /// First, since its task is of the runtime.
    connection: Connection,
    runtime: Runtime,
}

impl Network {
    /// Of the namespace that the calling thread is in, its loopback device up.
    pub(super) fn open() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the runtime")?;
        let connection = runtime.block_on(async { Connection::open() })?;
        let network = Self {
            connection,
            runtime,
        };
        network.up("lo")?;
        Ok(network)
    }

    /// A pair of devices: one here, and [`DEVICE`] in the namespace of the process.
    pub(super) fn pair(&self, device: &str, pid: u32) -> Result<()> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(DEVICE)
            .setns_by_pid(pid)
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .name(device)
            .build();
        let made = self
            .runtime
            .block_on(self.connection.handle().link().add(message).execute());
        made.with_context(|| {
            format!(
                "create the veth device {device}: the kernel needs CONFIG_VETH (`modprobe veth`)"
            )
        })
    }

    /// Sets a device up.
    pub(super) fn set_up(&self, device: &Device) -> Result<()> {
        let Device {
            name,
            addresses,
            gateways,
        } = device;
        let index = self.up(name)?;
        let handle = self.connection.handle();
        for (ip, prefix) in addresses {
            let added = handle.address().add(index, *ip, *prefix).execute();
            let added = self.runtime.block_on(added);
            added.with_context(|| format!("give {name} the address {ip}/{prefix}"))?;
        }
        for gateway in gateways {
            let everywhere: IpAddr = match gateway {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let route = RouteMessageBuilder::<IpAddr>::new()
                .destination_prefix(everywhere, 0)
                .and_then(|route| route.gateway(*gateway))
                .with_context(|| format!("a route by {gateway}"))?
                .output_interface(index);
            let added = handle.route().add(route.build()).execute();
            let added = self.runtime.block_on(added);
            added.with_context(|| format!("route by {gateway}"))?;
        }
        Ok(())
    }

    /// Brings a device up; its index.
    fn up(&self, name: &str) -> Result<u32> {
        let index = nix::net::if_::if_nametoindex(name)
            .with_context(|| format!("find the device {name}"))?;
        let up = LinkUnspec::new_with_index(index).up().build();
        let done = self.connection.handle().link().set(up).execute();
        let done = self.runtime.block_on(done);
        done.with_context(|| format!("bring {name} up"))?;
        Ok(index)
    }

    /// Whether the device has a program of XDP in its driver.
    pub(super) fn has_xdp(&self, name: &str) -> Result<bool> {
        let links = self
            .runtime
            .block_on(netlink::links(self.connection.handle()))?;
        let name = LinkAttribute::IfName(name.to_owned());
        let driver = LinkXdp::Attached(XdpAttached::Driver);
        Ok(links.iter().any(|link| {
            link.attributes.contains(&name)
                && link
                    .attributes
                    .iter()
                    .any(|a| matches!(a, LinkAttribute::Xdp(all) if all.contains(&driver)))
        }))
    }
}
