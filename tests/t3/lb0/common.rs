//! What the tests of `lb0` share: the bed, names, and questions to the node.

use anyhow::Result;
use testbed::{
    agent::{CHANGE, Start},
    host::Host,
    lan::Offloads,
    node::{Node, PodNetwork},
    poll,
    two_nodes::TwoNodes,
};

/// All VIPs of the testbed.
pub(crate) const CIDRS: &str = "10.96.0.0/16,fd66:96::/112";
/// The same, and all load balancers' addresses.
pub(crate) const CIDRS_AND_LB: &str = "10.96.0.0/16,fd66:96::/112,198.19.0.0/16,fd66:19::/64";

/// An agent that translates no socket, so that everything comes to `lb0`.
pub(crate) fn without_sockets() -> Start {
    Start::new().args(&["--socket-lb", "off", "--service-cidrs", CIDRS_AND_LB])
}

/// Two nodes; the agent of the near one translates no socket.
pub(crate) fn two_nodes(network: PodNetwork, offloads: Offloads) -> Result<TwoNodes> {
    let bed = TwoNodes::new(network, offloads, without_sockets())?;
    routed(&bed.near)?;
    Ok(bed)
}

/// Waits until services are routed to `lb0`.
pub(crate) fn routed(node: &Node) -> Result<()> {
    poll::until_true(CHANGE, "routes lead to lb0", || {
        Ok(routes(node)?.iter().any(|r| r.contains("10.96.")))
    })
}

/// Routes that lead to `lb0`, both families, sorted.
pub(crate) fn routes(node: &Node) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for family in ["-4", "-6"] {
        let text = node.run(&["ip", family, "route", "show", "dev", "lb0", "proto", "108"])?;
        lines.extend(text.lines().map(|l| l.trim().to_owned()));
    }
    // Always beside them: the source of ICMP errors, and what stands for loopback
    // (`lb_common::lb0`).
    let beside = ["169.254.108.99", "169.254.108.100", "fd6c:6230::2"];
    lines.retain(|line| !beside.iter().any(|addr| line.starts_with(addr)));
    lines.sort();
    Ok(lines)
}

/// Does one ping come back?
pub(crate) fn pings(host: &Host, to: std::net::IpAddr) -> Result<bool> {
    let to = to.to_string();
    Ok(host
        .output(&["ping", "-n", "-c", "1", "-W", "1", &to])?
        .status
        .success())
}
