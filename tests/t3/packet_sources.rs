//! Sources that the node's own stack would not take: what our programs send on does not pass its
//! reverse path filter, so they keep its rules.

use std::{io, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr::Both,
    agent::CHANGE,
    agent_output::counted,
    lan::Offloads,
    matrix::{Hook, families, hooks},
    node::PodNetwork,
    poll,
    probe::{Family, Kind},
    two_nodes::{REMOTE_PORT, TwoNodes},
};

/// A network behind another device of the node than the client's.
const ELSEWHERE: Both = Both {
    v4: std::net::Ipv4Addr::new(198, 18, 77, 9),
    v6: std::net::Ipv6Addr::new(0xfd66, 0x1877, 0, 0, 0, 0, 0, 9),
};

fn two_nodes(hook: Hook) -> Result<TwoNodes> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, hook.start())?;
    bed.near
        .netns()
        .ip("link add other0 type veth peer name other1\n\
         link set other0 up\n\
         link set other1 up\n\
         addr add 198.18.77.1/24 dev other0\n\
         addr add fd66:1877::1/64 dev other0 nodad\n")?;
    // The client claims an address of that network.
    bed.client.netns().ip(&format!(
        "addr add {}/32 dev lo\naddr add {}/128 dev lo nodad\n",
        ELSEWHERE.v4, ELSEWHERE.v6
    ))?;
    Ok(bed)
}

/// A datagram from the claimed address to a node port with backends on the other node.
fn send(bed: &TwoNodes, family: Family, port: u16) -> io::Result<()> {
    let from: SocketAddr = ELSEWHERE.at(family, port);
    let sock = bed.client.socket(Kind::Udp, family)?;
    sock.bind(from)?;
    sock.send_to(bed.near.addr().at(family, REMOTE_PORT), "x")
}

fn rp_filter(bed: &TwoNodes, all: &str, eth0: &str) -> Result<()> {
    bed.near.netns().sysctls(&[
        ("net/ipv4/conf/all/rp_filter", all),
        ("net/ipv4/conf/eth0/rp_filter", eth0),
    ])
}

/// Sends from fresh ports until one is judged so; the agent follows the setting.
fn judged(bed: &TwoNodes, ports: &mut std::ops::RangeFrom<u16>, reason: &str) -> Result<()> {
    poll::until_true(CHANGE, &format!("a datagram counts as {reason}"), || {
        let before = counted(&bed.near, reason)?;
        let port = ports.next().context("a port")?;
        send(bed, Family::V4, port)?;
        Ok(counted(&bed.near, reason)? > before)
    })
}

#[test]
fn a_source_that_is_routed_elsewhere_is_dropped_where_the_filter_is_strict() -> Result<()> {
    for hook in hooks() {
        let bed = two_nodes(hook)?;
        let mut ports = 20_000..;
        // The larger one of the device's and of all devices' holds: 0 off, 1 strict, 2 loose.
        for (all, eth0, reason) in [
            ("0", "0", "pkt_forwarded"),
            ("0", "1", "pkt_martian"),
            ("2", "1", "pkt_forwarded"),
            ("1", "0", "pkt_martian"),
            ("1", "2", "pkt_forwarded"),
            ("1", "1", "pkt_martian"),
        ] {
            rp_filter(&bed, all, eth0)?;
            judged(&bed, &mut ports, reason)
                .with_context(|| format!("{hook:?}: rp_filter of all is {all}, of eth0 {eth0}"))?;
        }
        // The filter is of IPv4 alone.
        let before = counted(&bed.near, "pkt_forwarded")?;
        send(&bed, Family::V6, 20_000)?;
        poll::until_true(CHANGE, "the datagram of IPv6 is forwarded", || {
            Ok(counted(&bed.near, "pkt_forwarded")? > before)
        })?;
        // And what comes from where it is routed to is served in the meantime.
        let to = bed.near.addr().at(Family::V4, REMOTE_PORT);
        let answer = bed.client.ask(Kind::Udp, to)?;
        ensure!(!answer.name.is_empty());
    }
    Ok(())
}

/// A network that is routed to the client for answers of the node's own address alone, as uplinks
/// of their own have it (`ip rule from`).
const BY_RULE: Both = Both {
    v4: std::net::Ipv4Addr::new(203, 0, 113, 9),
    v6: std::net::Ipv6Addr::new(0xfd66, 0x2031, 0, 0, 0, 0, 0, 9),
};

#[test]
fn a_client_that_only_the_answers_route_leads_to_is_served() -> Result<()> {
    for hook in hooks() {
        let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, hook.start())?;
        for family in families() {
            let (client, via) = (BY_RULE.ip(family), bed.client.addr.ip(family));
            let node = bed.near.addr().ip(family);
            let bits = if client.is_ipv4() { 32 } else { 128 };
            bed.client
                .netns()
                .ip(&format!("addr add {client}/{bits} dev lo\n"))?;
            let ways = format!(
                "rule add from {node}/{bits} lookup 100\n\
                 route add {client}/{bits} via {via} table 100\n\
                 route add unreachable {client}/{bits}\n"
            );
            match family {
                Family::V4 => bed.near.netns().ip(&ways)?,
                Family::V6 => bed.near.netns().ip6(&ways)?,
            }
            // The answer of a pod on this node has the pod's source when its way is looked up.
            let sock = bed.client.socket(Kind::Tcp, family)?;
            sock.bind(BY_RULE.at(family, 40_001))?;
            sock.connect(bed.near.addr().at(family, REMOTE_PORT))
                .with_context(|| format!("{hook:?}, {family}"))?;
            ensure!(!sock.ask("hello")?.name.is_empty());
        }
    }
    Ok(())
}
