//! Addresses and networks of the file, read as leniently as kube-proxy reads them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};

use super::{ConfigFile, Mode, fields::Fields};
use crate::{
    model::cidr::{Cidr, parse_ip},
    settings::values::{NodePortAddress, defaults},
};

/// `bindAddress`, and the addresses that default to its family.
pub(super) fn bind(fields: &mut Fields, read: &mut ConfigFile) -> Result<()> {
    let bind = match fields.text("bindAddress")? {
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(text) => ip(&text).with_context(|| format!("bindAddress: {text} is no address"))?,
    };
    read.settings.node_ip = (!bind.is_unspecified()).then_some(bind);
    let (everywhere, loopback): (IpAddr, IpAddr) = if bind.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into())
    } else {
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into())
    };
    let mut server = |name: &str, default: IpAddr, port| -> Result<SocketAddr> {
        let Some(text) = fields.text(name)? else {
            return Ok(SocketAddr::new(default, port));
        };
        host_port(&text, port).with_context(|| {
            format!("{name}: {text} is neither an address nor an address with a port from 1 on")
        })
    };
    read.settings.health_address = Some(server(
        "healthzBindAddress",
        everywhere,
        defaults::HEALTH_PORT,
    )?);
    read.settings.metrics_address = Some(server(
        "metricsBindAddress",
        loopback,
        defaults::METRICS_PORT,
    )?);
    read.settings.bind_hard_fail = fields.flag("bindAddressHardFail")?;
    Ok(())
}

/// `nodePortAddresses`; without any, the primary ones in mode nftables and all in the others.
pub(super) fn node_ports(fields: &mut Fields, mode: Mode, read: &mut ConfigFile) -> Result<()> {
    let mut all: Vec<NodePortAddress> = Vec::new();
    for (n, text) in fields.texts("nodePortAddresses")?.iter().enumerate() {
        let path = format!("nodePortAddresses[{n}]");
        let padded = text.trim() != text;
        let word = text.parse().ok().filter(|_| !padded).with_context(|| {
            format!("{path}: {text:?} is neither all, primary, localhost nor a network such as 10.0.0.0/8")
        })?;
        let again = all.contains(&word) && !matches!(word, NodePortAddress::Cidr(..));
        ensure!(!again, "{path}: {text} stands there twice");
        all.push(word);
    }
    if all.is_empty() {
        all.push(match mode {
            Mode::NfTables => NodePortAddress::Primary,
            Mode::IpTables | Mode::Ipvs => NodePortAddress::All,
        });
    }
    // A family of which no network is named is not narrowed (kube-proxy's NewNodePortAddresses).
    let families = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Ipv6Addr::UNSPECIFIED.into(),
    ];
    for everywhere in families {
        let narrowed = |word: &NodePortAddress| match word {
            NodePortAddress::Cidr(Cidr { net, .. }) => net.is_ipv4() == everywhere.is_ipv4(),
            _ => true,
        };
        if !all.iter().any(narrowed) {
            all.push(NodePortAddress::Cidr(Cidr::new(everywhere, 0)));
        }
    }
    read.settings.node_port_addresses = Some(all);
    Ok(())
}

/// `detectLocalMode`, `detectLocal` and `clusterCIDR`.
pub(super) fn detect_local(fields: &mut Fields, read: &mut ConfigFile) -> Result<()> {
    let mode = fields.text("detectLocalMode")?;
    let mut section = fields.section("detectLocal")?;
    let bridge = section.text("bridgeInterface")?;
    let prefix = section.text("interfaceNamePrefix")?;
    section.end()?;
    let mut cidr = fields.text("clusterCIDR")?;
    let mut named = Vec::new();
    match mode.as_deref() {
        None | Some("ClusterCIDR") => {
            if let Some(text) = cidr.take() {
                read.settings.cluster_cidrs = Some(dual_stack(&text)?);
            }
        }
        Some("NodeCIDR") => named.push("detectLocalMode"),
        Some("BridgeInterface") => {
            ensure!(
                bridge.is_some(),
                "detectLocal.bridgeInterface: missing, detectLocalMode BridgeInterface needs it"
            );
            named.push("detectLocalMode");
        }
        Some("InterfaceNamePrefix") => {
            ensure!(
                prefix.is_some(),
                "detectLocal.interfaceNamePrefix: missing, detectLocalMode InterfaceNamePrefix needs it"
            );
            named.push("detectLocalMode");
        }
        Some(other) => anyhow::bail!(
            "detectLocalMode: {other} is neither ClusterCIDR, NodeCIDR, BridgeInterface nor InterfaceNamePrefix"
        ),
    }
    let others = [
        (bridge.is_some(), "detectLocal.bridgeInterface"),
        (prefix.is_some(), "detectLocal.interfaceNamePrefix"),
        (cidr.is_some(), "clusterCIDR"),
    ];
    named.extend(others.iter().filter(|(set, _)| *set).map(|(_, name)| *name));
    if !named.is_empty() {
        read.warnings.push(format!(
            "{}: a socket of this node is known to be local by itself, whatever its address or device",
            named.join(", ")
        ));
    }
    Ok(())
}

fn dual_stack(text: &str) -> Result<Vec<Cidr>> {
    let all: Vec<&str> = text.split(',').collect();
    ensure!(
        all.len() <= 2,
        "clusterCIDR: {text} has more than one network a family"
    );
    let mut cidrs: Vec<Cidr> = Vec::new();
    for one in all {
        let cidr = Cidr::parse(one).filter(|_| one.trim() == one);
        let cidr = cidr.with_context(|| format!("clusterCIDR: {one:?} is no network"))?;
        ensure!(
            cidrs.iter().all(|c| c.net.is_ipv4() != cidr.net.is_ipv4()),
            "clusterCIDR: {text} has more than one network a family"
        );
        cidrs.push(cidr);
    }
    Ok(cidrs)
}

/// With this port if it names none.
fn host_port(text: &str, port: u16) -> Option<SocketAddr> {
    if let Some(ip) = ip(text) {
        return Some(SocketAddr::new(ip, port));
    }
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port > 0)?;
    Some(SocketAddr::new(ip(host)?, port))
}

/// Leading zeros are decimal; white space is refused.
fn ip(text: &str) -> Option<IpAddr> {
    parse_ip(text).filter(|_| text.trim() == text)
}
