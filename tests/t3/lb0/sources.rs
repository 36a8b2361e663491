//! `loadBalancerSourceRanges` asked of this node's own sockets, with the socket hooks at work.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::Service,
    matrix::{families, kinds},
    node::PodNetwork,
    one_node::{PORT, TARGET},
    poll,
    probe::Kind,
    two_nodes::{LOCAL, REMOTE, TwoNodes},
};

use crate::lb0::common::routed;

/// A service with a load-balancer IP that admits these networks alone.
fn service(bed: &TwoNodes, name: &str, n: u8, ranges: &[String]) -> Service {
    let node = if name == "local" { &bed.near } else { &bed.far };
    Service::new(name, addr::vip(n))
        .node_port(PORT, TARGET, 30000 + u16::from(n))
        .ingress(addr::lb(n))
        .spec(&format!("loadBalancerSourceRanges: {ranges:?}"))
        .endpoints(bed.endpoints(node))
}

/// Both services with these ranges, and the near node's agent aware of them.
fn admit(bed: &TwoNodes, ranges: &[String]) -> Result<()> {
    bed.apply(&service(bed, "local", 1, ranges))?;
    bed.apply(&service(bed, "remote", 2, ranges))?;
    poll::until_true(CHANGE, "the ranges are written", || {
        let pin = bed.near.map_pin("lb_srcranges");
        let text = bed
            .near
            .run(&["bpftool", "-j", "map", "dump", "pinned", &pin])?;
        let entries: serde_json::Value = serde_json::from_str(&text)?;
        Ok(entries.as_array().map_or(0, Vec::len) >= 2 * ranges.len())
    })
}

/// Connected, and answered by one of these.
fn admitted(host: &Host, names: [&str; 2], to: SocketAddr) -> Result<()> {
    for kind in kinds() {
        let answer = host
            .ask(kind, to)
            .with_context(|| format!("{kind:?} {to}"))?;
        ensure!(names.contains(&answer.name.as_str()), "{answer:?}");
        ensure!(kind == Kind::Tcp || answer.from == Some(to), "{answer:?}");
    }
    Ok(())
}

/// Nothing comes, not even a refusal, and it is counted.
fn denied(bed: &TwoNodes, host: &Host, to: SocketAddr) -> Result<()> {
    let before = agent_output::counted(&bed.near, "pkt_source_denied")?;
    match host.connect(Kind::Tcp, to) {
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
        other => bail!("{to}: {other:?}, not a timeout"),
    }
    let sock = host.connect(Kind::Udp, to)?;
    sock.send("let me in")?;
    match sock.recv_within(Duration::from_millis(300)) {
        Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => {}
        other => bail!("{to}: {other:?}, not silence"),
    }
    ensure!(agent_output::counted(&bed.near, "pkt_source_denied")? >= before + 2);
    Ok(())
}

#[test]
fn pods_and_processes_of_the_node_are_judged_by_their_address() -> Result<()> {
    let start = Start::new().args(&["--service-cidrs", crate::lb0::common::CIDRS]);
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, start)?;
    routed(&bed.near)?;
    let (first, second) = (bed.near.pod(0), bed.near.pod(1));
    let only = |both: addr::Both| vec![format!("{}/32", both.v4), format!("{}/128", both.v6)];
    for (ranges, inside, outside) in [
        (only(first.addr()), first.host(), [second.host(), &bed.near]),
        (
            only(bed.near.addr()),
            &bed.near,
            [first.host(), second.host()],
        ),
    ] {
        admit(&bed, &ranges)?;
        for family in families() {
            for (n, names) in [(1, LOCAL), (2, REMOTE)] {
                let to = addr::lb(n).at(family, PORT);
                admitted(inside, names, to)?;
                // The ranges are the load balancer's: everybody may use the cluster IP, and is
                // translated as ever.
                let cluster = addr::vip(n).at(family, PORT);
                for host in outside {
                    admitted(host, names, cluster)?;
                }
                denied(&bed, outside[usize::from(n) - 1], to)?;
            }
        }
    }
    Ok(())
}

#[test]
fn without_the_device_sockets_are_translated_as_ever() -> Result<()> {
    let start = Start::new().args(&["--lb0", "off"]);
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, start)?;
    admit(&bed, &["203.0.113.0/24".to_owned()])?;
    let to = addr::lb(1).at(testbed::probe::Family::V4, PORT);
    admitted(bed.near.pod(0).host(), LOCAL, to)
}
