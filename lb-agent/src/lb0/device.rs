//! The two ends of `lb0`: created, recognised, repaired and removed. A device of another owner under
//! one of their names is never changed.

use anyhow::{Context as _, Result, bail};
use lb_common::lb0::{ALIAS, DEVICE, MAC, PEER};
use nix::errno::Errno;
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::link::{
        AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoData, InfoKind,
        InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    },
};

use crate::{
    model::VethPair,
    netlink::{self, is_error},
};

/// IPv6 needs at least the first, and a veth device takes at most the second.
const MTU: (u32, u32) = (1280, 65535);

/// Creates what is missing of the pair and repairs what differs. Without `mtu` its packet size
/// stays as it is.
pub(super) async fn ensure(handle: &Handle, mtu: Option<u32>) -> Result<VethPair> {
    let mtu = mtu.map(|mtu| mtu.clamp(MTU.0, MTU.1));
    let mut ends = find(handle).await?;
    if !is_pair(&ends) {
        // Half a pair is useless. Deleting it deletes its other end, wherever that is.
        for end in ends.into_iter().flatten() {
            delete(handle, &end).await?;
        }
        create(handle).await?;
        ends = find(handle).await?;
    }
    let [Some(device), Some(peer)] = ends else {
        bail!("the devices {DEVICE} and {PEER} were created and do not exist");
    };
    for end in [&device, &peer] {
        repair(handle, end, mtu).await?;
    }
    Ok(VethPair {
        device: device.header.index,
        peer: peer.header.index,
    })
}

/// The pair, if it exists. Fails if one of the names belongs to a device of another owner.
pub(super) async fn find_pair(handle: &Handle) -> Result<Option<VethPair>> {
    let ends = find(handle).await?;
    Ok(match (is_pair(&ends), ends) {
        (true, [Some(device), Some(peer)]) => Some(VethPair {
            device: device.header.index,
            peer: peer.header.index,
        }),
        _ => None,
    })
}

/// Removes the pair.
pub(super) async fn remove(handle: &Handle) -> Result<()> {
    match find(handle).await {
        Ok(ends) => {
            for end in ends.into_iter().flatten() {
                delete(handle, &end).await?;
            }
            Ok(())
        }
        // A device of another owner has the name, so the pair does not exist.
        Err(_) => Ok(()),
    }
}

/// Both ends, by name. Fails if a device that is not ours has one of the names.
async fn find(handle: &Handle) -> Result<[Option<LinkMessage>; 2]> {
    let links = netlink::links(handle).await?;
    let mut ends = [None, None];
    for link in links {
        let Some(which) = [DEVICE, PEER].iter().position(|n| name(&link) == Some(n)) else {
            continue;
        };
        if !is_ours(&link) {
            bail!(
                "another device is called {}: rename it (`ip link set {} name …`), or start with --lb0 off",
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

/// A veth device with our alias or our hardware address. An agent that ended while it created the
/// pair left it without alias.
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

/// Whether both exist and each is the other's end.
fn is_pair([device, peer]: &[Option<LinkMessage>; 2]) -> bool {
    let (Some(device), Some(peer)) = (device, peer) else {
        return false;
    };
    let is_end = |from: &LinkMessage, to: &LinkMessage| {
        let here = from
            .attributes
            .contains(&LinkAttribute::Link(to.header.index));
        let elsewhere = |a: &LinkAttribute| matches!(a, LinkAttribute::LinkNetNsId(_));
        here && !from.attributes.iter().any(elsewhere)
    };
    is_end(device, peer) && is_end(peer, device)
}

async fn create(handle: &Handle) -> Result<()> {
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
    handle
        .link()
        .add(message)
        .execute()
        .await
        .with_context(|| {
            format!("cannot create the device {DEVICE}: add CAP_NET_ADMIN, or start with --lb0 off")
        })?;
    tracing::info!(device = DEVICE, peer = PEER, "created");
    Ok(())
}

/// Sets what differs, and brings the device up last.
async fn repair(handle: &Handle, link: &LinkMessage, mtu: Option<u32>) -> Result<()> {
    let has = |desired: &LinkAttribute| link.attributes.contains(desired);
    let set = || LinkUnspec::new_with_index(link.header.index);
    let silent = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let mut changes: Vec<LinkMessage> = Vec::new();
    if !has(&LinkAttribute::IfAlias(ALIAS.to_owned())) {
        changes.push(set().alias(ALIAS).build());
        // Its error is ignored: a kernel without IPv6 has nothing to turn off and refuses.
        let quiet = set().append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![silent]));
        let _no_ipv6 = handle.link().set(quiet.build()).execute().await;
    }
    if !has(&LinkAttribute::Address(MAC.to_vec())) {
        changes.push(set().address(MAC.to_vec()).build());
    }
    if let Some(mtu) = mtu.filter(|mtu| !has(&LinkAttribute::Mtu(*mtu))) {
        changes.push(set().mtu(mtu).build());
    }
    if name(link) == Some(DEVICE) && !routes_loopback(link) {
        let mut conf = InetDevConf::default();
        conf.route_localnet = 1;
        let inet = AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(conf)]);
        let set = set().append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![inet]));
        changes.push(set.build());
    }
    let flags = link.header.flags;
    if !flags.contains(LinkFlags::Noarp) {
        changes.push(set().arp(false).build());
    }
    if !flags.contains(LinkFlags::Up) {
        changes.push(set().up().build());
    }
    for change in changes {
        handle.link().set(change).execute().await.with_context(|| {
            format!("cannot set up the device {}", name(link).unwrap_or(DEVICE))
        })?;
    }
    Ok(())
}

/// May packets from and to 127.0.0.0/8 pass the device (`route_localnet`)? Sockets that are bound to
/// loopback reach node ports by it; nothing but our programs puts packets in.
fn routes_loopback(link: &LinkMessage) -> bool {
    let mut specs = link.attributes.iter().filter_map(|a| match a {
        LinkAttribute::AfSpecUnspec(specs) => Some(specs),
        _ => None,
    });
    specs.any(|specs| {
        specs.iter().any(|spec| match spec {
            AfSpecUnspec::Inet(inet) => inet
                .iter()
                .any(|i| matches!(i, AfSpecInet::DevConf(conf) if conf.route_localnet != 0)),
            _ => false,
        })
    })
}

/// Deletes an end, and with it the other one. An end that is already gone counts as deleted.
async fn delete(handle: &Handle, link: &LinkMessage) -> Result<()> {
    match handle.link().del(link.header.index).execute().await {
        Err(error) if is_error(&error, Errno::ENODEV) => Ok(()),
        other => other
            .with_context(|| format!("cannot remove the device {}", name(link).unwrap_or(DEVICE))),
    }
}
