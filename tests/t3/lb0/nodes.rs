//! Load balancers whose addresses are those of other nodes, in networks that this machine is not
//! on: whatever else is at such an address stays within reach.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr::{self, Both},
    agent::{self, CHANGE, Start},
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::Service,
    matrix::{FAMILIES, families, kinds},
    node::PodNetwork,
    one_node::{PORT, TARGET},
    pod::Pod,
    poll,
    probe::{Family, Kind},
    two_nodes::{LOCAL, TwoNodes},
};

use crate::lb0::common::{CIDRS, pings, routed, routes};

/// The far node's own, reached by a router.
const FAR: Both = Both {
    v4: std::net::Ipv4Addr::new(203, 0, 113, 7),
    v6: std::net::Ipv6Addr::new(0xfd66, 0x203, 0, 0, 0, 0, 0, 7),
};
/// Where its own server listens, which is no Service's business.
const SSH: u16 = 2222;

/// A near node whose way to the far one's address is a route, and the service `local` at that
/// address; its socket hooks work.
fn two_nodes(more: &[&str], ranges: Option<&[String]>) -> Result<TwoNodes> {
    let start = Start::new().args(&["--service-cidrs", CIDRS]).args(more);
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, start)?;
    let Both { v4, v6 } = FAR;
    bed.far.netns().ip(&format!(
        "addr add {v4}/32 dev lo\naddr add {v6}/128 dev lo nodad\n"
    ))?;
    let via = bed.far.addr();
    bed.near.netns().ip(&format!(
        "route add 203.0.113.0/24 via {}\nroute add fd66:203::/64 via {}\n",
        via.v4, via.v6
    ))?;
    for family in families() {
        bed.far.listen(Kind::Tcp, FAR.at(family, SSH), "ssh")?;
    }
    put(&bed, ranges)?;
    routed(&bed.near)?;
    Ok(bed)
}

/// The service `local` with the far node's address, as an IP of its load balancer, beside one
/// that no node has; ranges of both families.
fn put(bed: &TwoNodes, ranges: Option<&[String]>) -> Result<()> {
    let mut service = Service::new("local", addr::vip(1))
        .node_port(PORT, TARGET, 30001)
        .ingress(addr::lb(1))
        .ingress(FAR)
        .endpoints(bed.endpoints(&bed.near));
    if let Some(ranges) = ranges {
        service = service.spec(&format!("loadBalancerSourceRanges: {ranges:?}"));
    }
    bed.apply(&service)?;
    poll::until_true(CHANGE, "the address is known", || {
        let shown = agent::verb(&bed.near, &["get", "services"])?;
        Ok(shown.contains("203.0.113.7:"))
    })?;
    let rules = 4 * FAMILIES.len() * usize::from(ranges.is_some());
    poll::until_true(CHANGE, &format!("{rules} rules"), || {
        Ok(agent_output::rules(&bed.near)?.len() == rules)
    })
}

/// Everything of the far node that is not the Service's.
fn is_within_reach(bed: &TwoNodes) -> Result<()> {
    let echoes = agent_output::counted(&bed.near, "pkt_echo")?;
    for family in families() {
        let routes = routes(&bed.near)?;
        ensure!(
            routes.len() == 2 && routes.iter().all(|r| r.contains("96")),
            "more than the cluster IPs is routed away: {routes:?}"
        );
        for host in [bed.near.pod(0).host(), &bed.near] {
            ensure!(
                pings(host, FAR.ip(family))?,
                "{} is cut off",
                FAR.ip(family)
            );
            let answer = host.ask(Kind::Tcp, FAR.at(family, SSH));
            let answer = answer.with_context(|| format!("ssh to {}", FAR.ip(family)))?;
            ensure!(answer.name == "ssh", "{answer:?}");
        }
    }
    ensure!(
        agent_output::counted(&bed.near, "pkt_echo")? == echoes,
        "lb0 answered in the far node's place"
    );
    Ok(())
}

/// Without endpoints the guarded port is closed for who may ask, and that is said: by a reset, and
/// by an ICMP error, whose source no rule leads anywhere.
fn nobody_listens(bed: &TwoNodes, pod: &Pod, ranges: &[String]) -> Result<()> {
    bed.apply(&guarded(ranges))?;
    for family in families() {
        for ip in [FAR, addr::lb(1)] {
            for kind in kinds() {
                let to = ip.at(family, PORT);
                poll::until_true(CHANGE, &format!("{kind:?} {to} is refused"), || {
                    let refused = pod.host().ask(kind, to).err().map(|e| e.kind());
                    Ok(refused == Some(std::io::ErrorKind::ConnectionRefused))
                })?;
            }
        }
    }
    Ok(())
}

/// The service `local` without endpoints.
fn guarded(ranges: &[String]) -> Service {
    Service::new("local", addr::vip(1))
        .node_port(PORT, TARGET, 30001)
        .ingress(addr::lb(1))
        .ingress(FAR)
        .spec(&format!("loadBalancerSourceRanges: {ranges:?}"))
}

/// Answered by the Service's pods.
fn answered(host: &Host, to: SocketAddr) -> Result<()> {
    for kind in kinds() {
        let answer = host.ask(kind, to);
        let answer = answer.with_context(|| format!("{kind:?} {to}"))?;
        ensure!(LOCAL.contains(&answer.name.as_str()), "{answer:?}");
    }
    Ok(())
}

#[test]
fn another_nodes_address_stays_the_nodes() -> Result<()> {
    let bed = two_nodes(&[], None)?;
    is_within_reach(&bed)?;
    for family in families() {
        for host in [bed.near.pod(0).host(), &bed.near] {
            answered(host, FAR.at(family, PORT))?;
        }
    }
    Ok(())
}

#[test]
fn source_ranges_take_the_services_port_alone() -> Result<()> {
    let only = |both: Both| [format!("{}/32", both.v4), format!("{}/128", both.v6)];
    let bed = two_nodes(&[], None)?;
    let (pod, other) = (bed.near.pod(0), bed.near.pod(1));
    put(&bed, Some(&only(pod.addr())))?;
    let denies = |family: Family| -> Result<()> {
        let to = FAR.at(family, PORT);
        let before = agent_output::counted(&bed.near, "pkt_source_denied")?;
        let sock = other.host().connect(Kind::Udp, to)?;
        sock.send("let me in")?;
        ensure!(
            sock.recv_within(std::time::Duration::from_millis(300))
                .is_err()
        );
        ensure!(
            agent_output::counted(&bed.near, "pkt_source_denied")? > before,
            "{to}"
        );
        Ok(())
    };
    let judged = || -> Result<()> {
        is_within_reach(&bed)?;
        for family in families() {
            for ip in [FAR, addr::lb(1)] {
                answered(pod.host(), ip.at(family, PORT))?;
            }
            denies(family)?;
        }
        Ok(())
    };
    judged()?;
    // Strict reverse path filters look with the packet's ports.
    for device in ["all", "default", "lb0", "lb0p"] {
        let name = format!("net/ipv4/conf/{device}/rp_filter");
        bed.near.netns().sysctls(&[(name.as_str(), "1")])?;
    }
    judged()?;
    nobody_listens(&bed, pod, &only(pod.addr()))?;
    put(&bed, Some(&only(pod.addr())))?;
    // Another process removes the rules and the route, and adds a rule that is not ours.
    let whole = agent_output::rules(&bed.near)?;
    let (v4, v6) = (FAR.v4.to_string(), FAR.v6.to_string());
    for words in [
        &[
            "-4", "rule", "del", "to", &v4, "ipproto", "tcp", "dport", "80",
        ][..],
        &[
            "-6", "rule", "del", "to", &v6, "ipproto", "udp", "dport", "80",
        ],
        &["-4", "route", "flush", "table", "108"],
        &[
            "-4", "rule", "add", "to", &v4, "lookup", "108", "protocol", "108",
        ],
    ] {
        bed.near.run(&[&["ip"][..], words].concat())?;
    }
    poll::until_true(CHANGE, "the rules are mended", || {
        let way = bed.near.run(&["ip", "route", "show", "table", "108"])?;
        Ok(agent_output::rules(&bed.near)? == whole && way.contains("lb0"))
    })
    .with_context(|| format!("{whole:#?} became {:#?}", agent_output::rules(&bed.near)))?;
    judged()?;
    // Open to everybody again, nothing is led to lb0.
    put(&bed, None)?;
    answered(other.host(), FAR.at(Family::V4, PORT))?;
    is_within_reach(&bed)
}

#[test]
fn cleaned_up_no_rule_is_left() -> Result<()> {
    let mut bed = two_nodes(&[], Some(&["10.0.0.0/8", "fd66::/16"].map(str::to_owned)))?;
    ensure!(!agent_output::rules(&bed.near)?.is_empty());
    bed.agents.remove(0).stop()?;
    ensure!(
        !agent_output::rules(&bed.near)?.is_empty(),
        "they stay with the agent's other works"
    );
    agent::verb(&bed.near, &["cleanup"])?;
    ensure!(agent_output::rules(&bed.near)?.is_empty());
    Ok(())
}
