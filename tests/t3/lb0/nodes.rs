//! Load balancers whose addresses are those of other nodes, in networks that this machine is not on: whatever else is at
//! such an address stays within reach.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use testbed::addr::{self, Both};
use testbed::agent::{self, CHANGE, Start};
use testbed::host::Host;
use testbed::lan::Offloads;
use testbed::manifest::Service;
use testbed::node::PodNetwork;
use testbed::outside::{LOCAL, Outside};
use testbed::pod::Pod;
use testbed::probe::{Family, Kind};
use testbed::scene::{PORT, TARGET};
use testbed::{poll, shown};

use crate::lb0::common::{CIDRS, FAMILIES, KINDS, pings, routed, routes};

/// The far node's own, reached by a router.
const FAR: Both = Both {
    v4: std::net::Ipv4Addr::new(203, 0, 113, 7),
    v6: std::net::Ipv6Addr::new(0xfd66, 0x203, 0, 0, 0, 0, 0, 7),
};
/// Where its own server listens, which is no Service's business.
const SSH: u16 = 2222;

/// A near node whose way to the far one's address is a route, and the service `local` at that address; its socket hooks work.
fn stage(more: &[&str], ranges: Option<&[String]>) -> Result<Outside> {
    let start = Start::new().args(&["--service-cidrs", CIDRS]).args(more);
    let stage = Outside::new(PodNetwork::Routed, Offloads::LastHop, start)?;
    let Both { v4, v6 } = FAR;
    stage.far.netns().ip(&format!(
        "addr add {v4}/32 dev lo\naddr add {v6}/128 dev lo nodad\n"
    ))?;
    let via = stage.far.addr();
    stage.near.netns().ip(&format!(
        "route add 203.0.113.0/24 via {}\nroute add fd66:203::/64 via {}\n",
        via.v4, via.v6
    ))?;
    for family in FAMILIES {
        stage.far.listen(Kind::Tcp, FAR.at(family, SSH), "ssh")?;
    }
    put(&stage, ranges)?;
    routed(&stage.near)?;
    Ok(stage)
}

/// The service `local` with the far node's address, as an IP of its load balancer and beside one that is nobody's; ranges of
/// both families.
fn put(stage: &Outside, ranges: Option<&[String]>) -> Result<()> {
    let mut service = Service::new("local", addr::vip(1))
        .node_port(PORT, TARGET, 30001)
        .ingress(addr::lb(1))
        .ingress(FAR)
        .endpoints(stage.endpoints(&stage.near));
    if let Some(ranges) = ranges {
        service = service.spec(&format!("loadBalancerSourceRanges: {ranges:?}"));
    }
    stage.apply(&service)?;
    poll::until_true(CHANGE, "the address is known", || {
        let shown = agent::verb(&stage.near, &["get", "services"])?;
        Ok(shown.contains("203.0.113.7:"))
    })?;
    let rules = 4 * FAMILIES.len() * usize::from(ranges.is_some());
    poll::until_true(CHANGE, &format!("{rules} rules"), || {
        Ok(shown::rules(&stage.near)?.len() == rules)
    })
}

/// Everything of the far node that is not the Service's.
fn is_within_reach(stage: &Outside) -> Result<()> {
    let echoes = shown::counted(&stage.near, "pkt_echo")?;
    for family in FAMILIES {
        let routes = routes(&stage.near)?;
        ensure!(
            routes.len() == 2 && routes.iter().all(|r| r.contains("96")),
            "more than the cluster IPs is routed away: {routes:?}"
        );
        for host in [stage.near.pod(0).host(), &stage.near] {
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
        shown::counted(&stage.near, "pkt_echo")? == echoes,
        "lb0 answered in the far node's place"
    );
    Ok(())
}

/// Without endpoints the guarded port is closed for who may ask, and that is said: by a reset, and by an ICMP error, whose
/// source no rule leads anywhere.
fn nobody_listens(stage: &Outside, pod: &Pod, ranges: &[String]) -> Result<()> {
    stage.apply(&guarded(ranges))?;
    for family in FAMILIES {
        for ip in [FAR, addr::lb(1)] {
            for kind in KINDS {
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
    for kind in KINDS {
        let answer = host.ask(kind, to);
        let answer = answer.with_context(|| format!("{kind:?} {to}"))?;
        ensure!(LOCAL.contains(&answer.name.as_str()), "{answer:?}");
    }
    Ok(())
}

#[test]
fn another_nodes_address_stays_the_nodes() -> Result<()> {
    let stage = stage(&[], None)?;
    is_within_reach(&stage)?;
    for family in FAMILIES {
        for host in [stage.near.pod(0).host(), &stage.near] {
            answered(host, FAR.at(family, PORT))?;
        }
    }
    Ok(())
}

#[test]
fn source_ranges_take_the_services_port_alone() -> Result<()> {
    let only = |both: Both| [format!("{}/32", both.v4), format!("{}/128", both.v6)];
    let stage = stage(&[], None)?;
    let (pod, other) = (stage.near.pod(0), stage.near.pod(1));
    put(&stage, Some(&only(pod.addr())))?;
    let denies = |family: Family| -> Result<()> {
        let to = FAR.at(family, PORT);
        let before = shown::counted(&stage.near, "pkt_source_denied")?;
        let sock = other.host().connect(Kind::Udp, to)?;
        sock.send("let me in")?;
        ensure!(
            sock.recv_within(std::time::Duration::from_millis(300))
                .is_err()
        );
        ensure!(
            shown::counted(&stage.near, "pkt_source_denied")? > before,
            "{to}"
        );
        Ok(())
    };
    let judged = || -> Result<()> {
        is_within_reach(&stage)?;
        for family in FAMILIES {
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
        stage.near.netns().sysctls(&[(name.as_str(), "1")])?;
    }
    judged()?;
    nobody_listens(&stage, pod, &only(pod.addr()))?;
    put(&stage, Some(&only(pod.addr())))?;
    // Somebody takes rules and the way away, and adds one that is none of ours.
    let whole = shown::rules(&stage.near)?;
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
        stage.near.run(&[&["ip"][..], words].concat())?;
    }
    poll::until_true(CHANGE, "the rules are mended", || {
        let way = stage.near.run(&["ip", "route", "show", "table", "108"])?;
        Ok(shown::rules(&stage.near)? == whole && way.contains("lb0"))
    })
    .with_context(|| format!("{whole:#?} became {:#?}", shown::rules(&stage.near)))?;
    judged()?;
    // Open to everybody again, nothing is led to lb0.
    put(&stage, None)?;
    answered(other.host(), FAR.at(Family::V4, PORT))?;
    is_within_reach(&stage)
}

#[test]
fn cleaned_up_no_rule_is_left() -> Result<()> {
    let mut stage = stage(&[], Some(&["10.0.0.0/8", "fd66::/16"].map(str::to_owned)))?;
    ensure!(!shown::rules(&stage.near)?.is_empty());
    stage.agents.remove(0).stop()?;
    ensure!(
        !shown::rules(&stage.near)?.is_empty(),
        "they stay with the agent's other works"
    );
    agent::verb(&stage.near, &["cleanup"])?;
    ensure!(shown::rules(&stage.near)?.is_empty());
    Ok(())
}
