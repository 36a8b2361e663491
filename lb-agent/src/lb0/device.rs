//! The two ends of `lb0`: made, recognised, mended and removed. Owns what they must look like; a device of somebody else
//! under their name is left as it is.

use anyhow::{Context as _, Result, bail};
use futures::TryStreamExt as _;
use lb_common::lb0::{ALIAS, DEVICE, MAC, PEER};
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
        LinkFlags, LinkInfo, LinkMessage,
    },
};

use crate::model::VethPair;

/// The least that IPv6 runs on, and the most that a veth device takes.
const MTU: (u32, u32) = (1280, 65535);

/// The pair as it should be: what is missing is made, what differs is mended. Its packet size is left as it is where none is
/// asked for.
pub(super) async fn ensure(netlink: &Handle, mtu: Option<u32>) -> Result<VethPair> {
    let mtu = mtu.map(|mtu| mtu.clamp(MTU.0, MTU.1));
    let mut ends = find(netlink).await?;
    if !is_pair(&ends) {
        // Half of a pair is no use, and goes with its other half wherever that is.
        for end in ends.into_iter().flatten() {
            delete(netlink, &end).await?;
        }
        make(netlink).await?;
        ends = find(netlink).await?;
    }
    let [Some(device), Some(peer)] = ends else {
        bail!("the devices {DEVICE} and {PEER} were made and are not there");
    };
    for end in [&device, &peer] {
        mend(netlink, end, mtu).await?;
    }
    Ok(VethPair {
        device: device.header.index,
        peer: peer.header.index,
    })
}

/// The pair, if it is there; fails where one of the names is somebody else's.
pub(super) async fn find_pair(netlink: &Handle) -> Result<Option<VethPair>> {
    let ends = find(netlink).await?;
    Ok(match (is_pair(&ends), ends) {
        (true, [Some(device), Some(peer)]) => Some(VethPair {
            device: device.header.index,
            peer: peer.header.index,
        }),
        _ => None,
    })
}

/// Takes the pair away.
pub(super) async fn remove(netlink: &Handle) -> Result<()> {
    match find(netlink).await {
        Ok(ends) => {
            for end in ends.into_iter().flatten() {
                delete(netlink, &end).await?;
            }
            Ok(())
        }
        // Somebody else's: nothing of ours is there.
        Err(_) => Ok(()),
    }
}

/// Both ends, by name; fails where one is not ours.
async fn find(netlink: &Handle) -> Result<[Option<LinkMessage>; 2]> {
    let links: Vec<LinkMessage> = netlink
        .link()
        .get()
        .execute()
        .try_collect()
        .await
        .context("cannot list the network devices")?;
    let mut ends = [None, None];
    for link in links {
        let Some(which) = [DEVICE, PEER].iter().position(|n| name(&link) == Some(n)) else {
            continue;
        };
        if !is_ours(&link) {
            bail!(
                "a device of somebody else is called {}: rename it (`ip link set {} name …`), or start with --lb0 off",
                [DEVICE, PEER][which],
                [DEVICE, PEER][which]
            );
        }
        ends[which] = Some(link);
    }
    Ok(ends)
}

fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// A veth device with our alias, or with our hardware address: an agent that ended while it made the pair gave it no alias.
fn is_ours(link: &LinkMessage) -> bool {
    let veth = |infos: &[LinkInfo]| infos.contains(&LinkInfo::Kind(InfoKind::Veth));
    let mut kind = false;
    let mut marked = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::LinkInfo(infos) => kind = veth(infos),
            LinkAttribute::IfAlias(alias) => marked |= alias == ALIAS,
            LinkAttribute::Address(mac) => marked |= mac.as_slice() == MAC,
            _ => {}
        }
    }
    kind && marked
}

/// Are both there, each the other's end?
fn is_pair([device, peer]: &[Option<LinkMessage>; 2]) -> bool {
    let (Some(device), Some(peer)) = (device, peer) else {
        return false;
    };
    let leads = |from: &LinkMessage, to: &LinkMessage| {
        let here = from
            .attributes
            .contains(&LinkAttribute::Link(to.header.index));
        let elsewhere = |a: &LinkAttribute| matches!(a, LinkAttribute::LinkNetNsId(_));
        here && !from.attributes.iter().any(elsewhere)
    };
    leads(device, peer) && leads(peer, device)
}

async fn make(netlink: &Handle) -> Result<()> {
    let end = |name: &str| {
        LinkMessageBuilder::<LinkUnspec>::new()
            .name(name.to_owned())
            .address(MAC.to_vec())
            .arp(false)
    };
    let message = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(end(PEER).build())))
        .name(DEVICE)
        .address(MAC.to_vec())
        .arp(false)
        .build();
    netlink
        .link()
        .add(message)
        .execute()
        .await
        .with_context(|| {
            format!("cannot make the device {DEVICE} (CAP_NET_ADMIN is needed; --lb0 off goes without it)")
        })?;
    tracing::info!(device = DEVICE, peer = PEER, "made");
    Ok(())
}

/// Sets what differs, the state last.
async fn mend(netlink: &Handle, link: &LinkMessage, mtu: Option<u32>) -> Result<()> {
    let has = |wanted: &LinkAttribute| link.attributes.contains(wanted);
    let set = || LinkUnspec::new_with_index(link.header.index);
    let silent = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let mut changes: Vec<LinkMessage> = Vec::new();
    if !has(&LinkAttribute::IfAlias(ALIAS.to_owned())) {
        changes.push(set().alias(ALIAS).build());
        // Only now: without IPv6 there is nothing to turn off, and the kernel says so.
        let quiet = set().append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![silent]));
        let _no_ipv6 = netlink.link().set(quiet.build()).execute().await;
    }
    if !has(&LinkAttribute::Address(MAC.to_vec())) {
        changes.push(set().address(MAC.to_vec()).build());
    }
    if let Some(mtu) = mtu.filter(|mtu| !has(&LinkAttribute::Mtu(*mtu))) {
        changes.push(set().mtu(mtu).build());
    }
    let flags = link.header.flags;
    if !flags.contains(LinkFlags::Noarp) {
        changes.push(set().arp(false).build());
    }
    if !flags.contains(LinkFlags::Up) {
        changes.push(set().up().build());
    }
    for change in changes {
        netlink
            .link()
            .set(change)
            .execute()
            .await
            .with_context(|| {
                format!("cannot set up the device {}", name(link).unwrap_or(DEVICE))
            })?;
    }
    Ok(())
}

/// Deletes an end, and the other one with it; gone already is good.
async fn delete(netlink: &Handle, link: &LinkMessage) -> Result<()> {
    match netlink.link().del(link.header.index).execute().await {
        Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -nix::libc::ENODEV => Ok(()),
        other => other
            .with_context(|| format!("cannot remove the device {}", name(link).unwrap_or(DEVICE))),
    }
}
