//! What TCP sockets meet behind a Service: round trips, segments that are sent once more, connects
//! that come to nothing.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_agent::maps::{
    dir::BpfDir,
    tcp::{TcpCounts, TcpStats},
};
use lb_common::tcp::bucket;
use testbed::{
    addr::{self, Both},
    agent::{CHANGE, Start},
    agent_output::metric,
    host::Host,
    manifest::{Endpoint, Service},
    matrix::families,
    node::Node,
    one_node::{self, OneNode, PORT, TARGET, WEB_VIP},
    poll,
    probe::{Family, Kind},
    tunnel::Tunnel,
};

/// Of a Service whose port nobody listens on.
const CLOSED_VIP: Both = addr::vip(63);
const CLOSED: u16 = 8099;
/// Of a Service behind a slow tunnel.
const FAR_VIP: Both = addr::vip(64);
/// Each way.
const DELAY: Duration = Duration::from_millis(10);

/// Addresses in the tunnel.
const fn far(host: u8) -> Both {
    Both {
        v4: Ipv4Addr::new(198, 18, 96, host),
        v6: Ipv6Addr::new(0xfd66, 0x96, 0, 0, 0, 0, 0, host as u16),
    }
}

/// All pools together.
fn counted(node: &Node) -> Result<TcpCounts> {
    let stats = TcpStats::open(&BpfDir::at(node.bpf_dir()))?.context("it is counted")?;
    (0..64).try_fold(TcpCounts::default(), |sum, pool| {
        Ok(sum.plus(stats.pool(pool)?))
    })
}

/// The agent's metric of a Service of one TCP port.
fn of_service(node: &Node, name: &str, service: &str) -> Result<f64> {
    metric(
        node,
        &format!(
            "lb_agent_service_{name}{{namespace=\"default\",service=\"{service}\",port=\"tcp-{PORT}\",protocol=\"TCP\"}}"
        ),
    )
}

fn is(found: f64, expected: u32) -> bool {
    (found - f64::from(expected)).abs() < 0.5
}

/// The client's own sockets have sent so many segments once more.
fn retransmitted(client: &Host) -> Result<u64> {
    client.block(|| {
        let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
        let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
        let (names, values) = (lines.next(), lines.next());
        let names = names.context("no names")?.split(' ');
        let values = values.context("no values")?.split(' ');
        let (_, n) = names
            .zip(values)
            .find(|(name, _)| *name == "RetransSegs")
            .context("no RetransSegs")?;
        Ok(n.parse()?)
    })
}

/// Packets to the pods' port vanish.
fn fall_silent(host: &Host) -> Result<()> {
    for words in [
        "add table inet silent",
        "add chain inet silent in { type filter hook input priority 0 ; }",
        &format!("add rule inet silent in tcp dport {TARGET} drop"),
    ] {
        host.run(&["nft", words])?;
    }
    Ok(())
}

fn recover(host: &Host) -> Result<()> {
    host.run(&["nft", "delete table inet silent"]).map(drop)
}

/// `web` of one pod, and a Service whose port nobody listens on.
fn bed() -> Result<OneNode> {
    OneNode::with(Start::new(), |node| {
        let pods = one_node::web_pods(node);
        vec![
            one_node::behind("web", WEB_VIP, &pods[..1]).port(PORT, TARGET),
            one_node::behind("closed", CLOSED_VIP, &pods[..1]).port(PORT, CLOSED),
        ]
    })
}

#[test]
fn a_connect_that_comes_to_nothing_is_a_failure() -> Result<()> {
    let bed = bed()?;
    let (node, client, pod) = (&bed.node, bed.client(), bed.node.pod(0));
    let failures = || Ok::<u64, anyhow::Error>(counted(node)?.failures);
    for family in families() {
        let before = failures()?;
        let refused = client.connect(Kind::Tcp, CLOSED_VIP.at(family, PORT));
        ensure!(refused.is_err_and(|e| e.raw_os_error() == Some(libc::ECONNREFUSED)));
        ensure!(failures()? == before + 1);
        // Not translated: whatever becomes of it is nobody's.
        ensure!(
            client
                .connect(Kind::Tcp, pod.addr().at(family, CLOSED))
                .is_err()
        );
        client.ask(Kind::Tcp, pod.addr().at(family, TARGET))?;

        fall_silent(pod)?;
        let connect = || {
            let sock = client.socket(Kind::Tcp, family)?;
            sock.nonblocking()?;
            let error = sock.connect(WEB_VIP.at(family, PORT)).err();
            ensure!(error.and_then(|e| e.raw_os_error()) == Some(libc::EINPROGRESS));
            Ok(sock)
        };
        // Given up by a client that has just begun: its own business.
        connect()?.close();
        ensure!(failures()? == before + 1);
        let syns = counted(node)?.retransmits;
        let sock = connect()?;
        poll::until_true(CHANGE, "its SYN is sent once more", || {
            Ok(counted(node)?.retransmits > syns)
        })?;
        ensure!(failures()? == before + 1, "it is still trying");
        sock.close();
        ensure!(failures()? == before + 2);
        recover(pod)?;
        client.ask(Kind::Tcp, WEB_VIP.at(family, PORT))?;
        ensure!(failures()? == before + 2);
    }
    ensure!(is(of_service(node, "connect_failures_total", "closed")?, 2));
    ensure!(is(of_service(node, "connect_failures_total", "web")?, 2));
    ensure!(counted(node)?.handshakes() == 2, "those to the VIP alone");
    Ok(())
}

#[test]
fn each_segment_that_is_sent_once_more_counts() -> Result<()> {
    let bed = bed()?;
    let (node, client, pod) = (&bed.node, bed.client(), bed.node.pod(0));
    for family in families() {
        let direct = client.connect(Kind::Tcp, pod.addr().at(family, TARGET))?;
        let sock = client.connect(Kind::Tcp, WEB_VIP.at(family, PORT))?;
        sock.ask("before")?;
        direct.ask("before")?;
        let (before, by_kernel) = (counted(node)?.retransmits, retransmitted(client)?);
        fall_silent(pod)?;
        sock.send("nobody hears this")?;
        poll::until_true(CHANGE, "it is sent once more, twice", || {
            Ok(counted(node)?.retransmits >= before + 2)
        })?;
        recover(pod)?;
        ensure!(!sock.answer()?.name.is_empty());
        let more = counted(node)?.retransmits - before;
        ensure!(more == retransmitted(client)? - by_kernel, "{more}");

        // One that is not translated.
        let (before, by_kernel) = (counted(node)?.retransmits, retransmitted(client)?);
        fall_silent(pod)?;
        direct.send("nor this")?;
        poll::until_true(CHANGE, "it is sent once more", || {
            Ok(retransmitted(client)? > by_kernel)
        })?;
        recover(pod)?;
        direct.answer()?;
        ensure!(counted(node)?.retransmits == before);
    }
    let all = f64::from(u32::try_from(counted(node)?.retransmits)?);
    let shown = of_service(node, "retransmits_total", "web")?;
    ensure!((shown - all).abs() < 0.5, "{shown} of {all}");
    Ok(())
}

#[test]
fn a_round_trip_of_twenty_milliseconds_is_seen_and_outlives_the_agent() -> Result<()> {
    let mut bed = OneNode::with(Start::new(), |node| {
        let endpoint = Endpoint {
            addr: far(2),
            ..Endpoint::of(node, node.pod(0))
        };
        vec![
            Service::new("far", FAR_VIP)
                .port(PORT, TARGET)
                .endpoints([endpoint]),
            one_node::web(node),
        ]
    })?;
    let name = "slow0";
    let (near, pod) = (bed.node.netns(), bed.node.pod(0).netns());
    let _tunnel = Tunnel::slow(near, pod, name, DELAY)?;
    for (netns, host) in [(near, 1), (pod, 2)] {
        let Both { v4, v6 } = far(host);
        netns.ip(&format!(
            "addr add {v4}/24 dev {name}\naddr add {v6}/64 dev {name} nodad\n"
        ))?;
    }
    let slow = bucket(2 * u32::try_from(DELAY.as_micros())?);
    for family in families() {
        let node = &bed.node;
        let before = counted(node)?.rtt[slow];
        // How much more it takes is the machine's business, less is nobody's.
        poll::until_true(CHANGE, "a handshake takes its time", || {
            node.ask(Kind::Tcp, FAR_VIP.at(family, PORT))?;
            Ok(counted(node)?.rtt[slow] > before)
        })?;
        let rtt = counted(node)?.rtt;
        ensure!(rtt[..slow].iter().all(|n| *n == 0), "{rtt:?}");
    }
    let node = &bed.node;
    let counts = counted(node)?;
    ensure!(counts.mean_rtt().context("a mean")? >= 2 * DELAY);
    let count = of_service(node, "rtt_seconds_count", "far")?;
    ensure!(is(count, u32::try_from(counts.handshakes())?), "{count}");
    let sum = of_service(node, "rtt_seconds_sum", "far")?;
    ensure!(sum >= count * 0.02, "{sum}");
    ensure!(
        of_service(node, "rtt_seconds_count", "web").is_err(),
        "a Service that nobody has used has no histogram"
    );

    // The counts are the kernel's; the agent's sums begin anew.
    bed.agent.take().context("it was started")?.stop()?;
    ensure!(counted(&bed.node)? == counts);
    bed.agent = Some(Start::new().on(&bed.node)?);
    ensure!(counted(&bed.node)? == counts);
    bed.client().ask(Kind::Tcp, WEB_VIP.at(Family::V4, PORT))?;
    ensure!(counted(&bed.node)?.handshakes() == counts.handshakes() + 1);
    ensure!(is(of_service(&bed.node, "rtt_seconds_count", "web")?, 1));
    Ok(())
}

#[test]
fn pins_of_an_agent_that_did_not_count_are_taken_over() -> Result<()> {
    let mut bed = OneNode::new()?;
    let to = WEB_VIP.at(Family::V4, PORT);
    let held = bed.client().connect(Kind::Tcp, to)?;
    held.ask("before")?;
    bed.agent.take().context("it was started")?.stop()?;
    std::fs::remove_file(bed.node.map_pin("lb_pool_tcp"))?;
    let dir = BpfDir::at(bed.node.bpf_dir());
    ensure!(TcpStats::open(&dir)?.is_none());
    let others = testbed::agent::services(&bed.node)?;
    bed.agent = Some(Start::new().on(&bed.node)?);
    assert_eq!(
        testbed::agent::services(&bed.node)?["items"][0]["scopes"][0]["pool"],
        others["items"][0]["scopes"][0]["pool"]
    );
    held.ask("after")?;
    bed.client().ask(Kind::Tcp, to)?;
    ensure!(counted(&bed.node)?.handshakes() == 1);
    Ok(())
}
