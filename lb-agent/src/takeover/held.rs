//! Cluster IPs on devices of this machine that no process serves: kube-router's dummy device, an
//! address on `lo`. Whoever routes to such an address reaches the machine instead of the Service.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use nix::ifaddrs::getifaddrs;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use super::{connections::Frontends, names};
use crate::{netlink::Connection, sockets::listeners};

/// An address, and who has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Held {
    pub(super) device: String,
    pub(super) addr: IpAddr,
}

/// What becomes of the addresses of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remedy {
    /// The device is another proxy's: it goes as a whole.
    Device,
    /// The address goes.
    Address,
    /// Nobody knows whose it is.
    Leave,
}

impl Held {
    pub(super) fn remedy(&self) -> Remedy {
        if names::OTHER_DEVICES.contains(&self.device.as_str()) {
            Remedy::Device
        } else if self.device == "lo" {
            Remedy::Address
        } else {
            Remedy::Leave
        }
    }
}

/// Sorted. The device of kube-proxy's ipvs mode is looked for by its name.
pub(super) fn find(frontends: &Frontends) -> Result<Vec<Held>> {
    let all = getifaddrs().context("list the addresses of this machine")?;
    let mut held: Vec<Held> = all
        .filter_map(|found| {
            let address = found.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            let v6 = address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()));
            let addr = v4.or(v6)?;
            Some(Held {
                device: found.interface_name,
                addr,
            })
        })
        .filter(|h| h.device != names::DEVICE && frontends.has_cluster_ip(&h.addr.into()))
        .collect();
    if !held.is_empty() {
        let served = listeners::all().context("list the sockets that listen")?;
        held.retain(|h| !served.iter().any(|l| l.addr == h.addr));
    }
    held.sort_unstable();
    held.dedup();
    Ok(held)
}

/// Removes an address. One that is gone is no error.
pub(super) async fn remove(held: &Held) -> Result<()> {
    let netlink = Connection::open()?;
    let netlink = netlink.handle();
    let index = nix::net::if_::if_nametoindex(held.device.as_str()).context("find the device")?;
    let all = netlink.address().get().execute();
    let all: Vec<AddressMessage> = all.try_collect().await.context("list the addresses")?;
    let is_it = |message: &AddressMessage| {
        message.header.index == index
            && message.attributes.iter().any(|a| {
                matches!(a, AddressAttribute::Address(ip) | AddressAttribute::Local(ip) if *ip == held.addr)
            })
    };
    for message in all.into_iter().filter(is_it) {
        let deleted = netlink.address().del(message).execute().await;
        deleted.context("delete the address")?;
    }
    Ok(())
}
