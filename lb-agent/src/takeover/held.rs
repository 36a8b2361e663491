//! Cluster IPs on devices of this machine that no process serves: kube-router's dummy device, an
//! address on `lo`. Whoever routes to such an address reaches the machine instead of the Service.

use std::{collections::HashSet, net::IpAddr};

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
    /// A process serves another address of the device.
    pub(super) served_beside: bool,
}

/// What becomes of the addresses of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Remedy {
    /// The device is another proxy's, and no process serves an address of it: it goes as a whole.
    Device,
    /// The address goes.
    Address,
    /// Nobody knows whose it is.
    Leave,
}

impl Held {
    pub(super) fn remedy(&self) -> Remedy {
        match self.device.as_str() {
            "lo" => Remedy::Address,
            name if !names::OTHER_DEVICES.contains(&name) => Remedy::Leave,
            _ if self.served_beside => Remedy::Address,
            _ => Remedy::Device,
        }
    }
}

/// Sorted. The device of kube-proxy's ipvs mode is looked for by its name.
pub(super) fn find(frontends: &Frontends) -> Result<Vec<Held>> {
    let all = getifaddrs().context("list the addresses of this machine")?;
    let all: Vec<(String, IpAddr)> = all
        .filter_map(|found| {
            let address = found.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            let v6 = address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip()));
            Some((found.interface_name, v4.or(v6)?))
        })
        .filter(|(device, _)| device != names::DEVICE)
        .collect();
    if !all
        .iter()
        .any(|(_, addr)| frontends.has_cluster_ip(&(*addr).into()))
    {
        return Ok(Vec::new());
    }
    let listening = listeners::all().context("list the sockets that listen")?;
    let served = listening.into_iter().map(|l| l.addr).collect();
    Ok(unserved(&all, &served, |addr| {
        frontends.has_cluster_ip(&addr.into())
    }))
}

/// Cluster IPs among these addresses of devices that are not `served`.
fn unserved(
    all: &[(String, IpAddr)],
    served: &HashSet<IpAddr>,
    is_cluster_ip: impl Fn(IpAddr) -> bool,
) -> Vec<Held> {
    let used = all.iter().filter(|(_, addr)| served.contains(addr));
    let used: HashSet<&str> = used.map(|(device, _)| device.as_str()).collect();
    let held = all
        .iter()
        .filter(|(_, addr)| !served.contains(addr) && is_cluster_ip(*addr));
    let mut held: Vec<Held> = held
        .map(|(device, addr)| Held {
            device: device.clone(),
            addr: *addr,
            served_beside: used.contains(device.as_str()),
        })
        .collect();
    held.sort_unstable();
    held.dedup();
    held
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_of_another_proxy_goes_only_if_no_process_serves_an_address_of_it() {
        let ip = |n| IpAddr::from([10, 96, 0, n]);
        let all = [
            ("kube-dummy-if", 1),
            ("kube-dummy-if", 2),
            ("lo", 3),
            ("nodelocaldns", 4),
        ]
        .map(|(device, n)| (device.to_owned(), ip(n)));
        let remedies = |served: &[u8]| -> Vec<(IpAddr, Remedy)> {
            let served = served.iter().map(|n| ip(*n)).collect();
            let held = unserved(&all, &served, |_| true);
            held.iter().map(|h| (h.addr, h.remedy())).collect()
        };
        let others = [(ip(3), Remedy::Address), (ip(4), Remedy::Leave)];
        let whole = [(ip(1), Remedy::Device), (ip(2), Remedy::Device)];
        assert_eq!(remedies(&[]), [&whole[..], &others].concat());
        let one = [(ip(2), Remedy::Address)];
        assert_eq!(remedies(&[1]), [&one[..], &others].concat());
        assert_eq!(remedies(&[1, 2, 4]), [others[0]]);
    }
}
