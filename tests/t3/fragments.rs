//! Datagrams that travel in fragments, requests and answers: every frontend, both families, tc and
//! XDP, with a connection tracker on the way and without; and packets that the way on does not
//! carry whole.

use std::{fmt, net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::CHANGE,
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::Service,
    matrix::{Hook, each, families, hooks},
    node::{Node, PodNetwork},
    one_node::PORT,
    poll,
    probe::{Family, Kind, errno},
    two_nodes::{LOCAL, LOCAL_PORT, REMOTE, REMOTE_PORT, TwoNodes},
};

use crate::lb0;

/// Bytes of datagrams that take two and three packets of 1,500 bytes; the answers are a little
/// longer.
const SIZES: [usize; 2] = [2_900, 4_000];

/// A text of this length, other bytes for each `seed`.
fn text(length: usize, seed: usize) -> String {
    let letters = (b'a'..=b'z').cycle().skip(seed).take(length);
    letters.map(char::from).collect()
}

/// Asks some times on one socket, and once on others.
fn asks(host: &Host, to: SocketAddr, names: [&str; 2]) -> Result<()> {
    for size in SIZES {
        let sock = host.connect(Kind::Udp, to)?;
        for n in 0..3 {
            let answer = sock
                .ask(&text(size, n))
                .with_context(|| format!("{size} bytes to {to}, time {n}"))?;
            ensure!(names.contains(&answer.name.as_str()), "{to}: {answer:?}");
        }
        // The first datagram of a flow is one in fragments, too.
        for n in 0..4 {
            let answer = host.connect(Kind::Udp, to)?.ask(&text(size, n));
            answer.with_context(|| format!("{size} bytes to {to}, socket {n}"))?;
        }
    }
    Ok(())
}

/// Whether the node's netfilter puts fragments together before it looks at them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tracker {
    On,
    Off,
}

impl fmt::Display for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection tracker {self:?}")
    }
}

impl Tracker {
    fn set(self, node: &Node) -> Result<()> {
        if self == Self::On {
            for program in ["iptables", "ip6tables"] {
                let rule = "-A FORWARD -m conntrack --ctstate INVALID -j DROP";
                let words: Vec<&str> = rule.split(' ').collect();
                node.run(&[&[program, "-w"], &words[..]].concat())?;
            }
        }
        Ok(())
    }
}

fn from_outside(hook: Hook, tracker: Tracker) -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, hook.start())?;
    tracker.set(&bed.near)?;
    for (n, names, port) in [(1, LOCAL, LOCAL_PORT), (2, REMOTE, REMOTE_PORT)] {
        bed.route_to_near(addr::lb(n))?;
        for family in families() {
            asks(&bed.client, bed.near.addr().at(family, port), names)?;
            asks(&bed.client, addr::lb(n).at(family, PORT), names)?;
        }
    }
    for reason in ["pkt_fragment", "pkt_fragment_lost"] {
        ensure!(agent_output::counted(&bed.near, reason)? == 0, "{reason}");
    }
    Ok(())
}

#[test]
fn fragmented_datagrams_from_outside_are_answered() -> Result<()> {
    for hook in hooks() {
        for tracker in each([Tracker::Off, Tracker::On]) {
            from_outside(hook, tracker)?;
        }
    }
    Ok(())
}

#[test]
fn fragmented_datagrams_over_lb0_are_answered() -> Result<()> {
    for network in each(PodNetwork::ALL) {
        for offloads in each(Offloads::ALL) {
            let bed = lb0::common::two_nodes(network, offloads)?;
            for (n, names) in [(1, LOCAL), (2, REMOTE)] {
                for family in families() {
                    let to = addr::vip(n).at(family, PORT);
                    for host in [bed.near.pod(0).host(), &bed.near] {
                        asks(host, to, names).with_context(|| format!("{network}"))?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Packets of what this host sends may be fragmented on their way: no DF, as from many systems.
fn may_be_fragmented(host: &Host) -> Result<()> {
    host.netns()
        .sysctls(&[("net/ipv4/ip_no_pmtu_disc", "1")])
        .context("send without DF")
}

/// A port of servers that a test starts itself.
const ELSEWHERE: u16 = 9090;
/// How long an ICMP error may take.
const WHILE: Duration = Duration::from_secs(5);

/// A datagram that fills a packet of 1,500 bytes, one that takes two, one that takes three.
const OVERSIZED: [usize; 3] = [1_460, 2_900, 4_000];

#[test]
fn packets_without_df_are_fragmented_into_the_overlay() -> Result<()> {
    for hook in hooks() {
        for offloads in each(Offloads::ALL) {
            let bed = TwoNodes::new(PodNetwork::Flannel, offloads, hook.start())?;
            bed.route_to_near(addr::lb(2))?;
            may_be_fragmented(&bed.client)?;
            // As container engines leave it; flannel's rules accept what goes to pods.
            bed.near.run(&["iptables", "-w", "-P", "FORWARD", "DROP"])?;
            let source = bed.source_towards_far().ip(Family::V4);
            for to in [
                bed.near.addr().at(Family::V4, REMOTE_PORT),
                addr::lb(2).at(Family::V4, PORT),
            ] {
                let mut socks = Vec::new();
                for size in OVERSIZED {
                    let sock = bed.client.connect(Kind::Udp, to)?;
                    for n in 0..3 {
                        let what = || format!("{size} bytes to {to}, time {n}");
                        let answer = sock.ask(&text(size, n)).with_context(what)?;
                        ensure!(answer.client.ip() == source, "{}: {answer:?}", what());
                    }
                    // What fits and what does not come from one port.
                    let (large, small) = (sock.ask(&text(size, 3))?, sock.ask("small")?);
                    ensure!(large.client == small.client, "{large:?} {small:?}");
                    socks.push(sock);
                }
                let sock = bed.client.connect(Kind::Tcp, to)?;
                let answer = sock.ask(&text(20_000, 0)).context("TCP")?;
                ensure!(answer.client.ip() == source, "{answer:?}");
            }
            ensure!(agent_output::counted(&bed.near, "pkt_too_big")? == 0);
        }
    }
    Ok(())
}

#[test]
fn an_oversized_fragment_of_ipv6_is_answered_and_the_next_ones_fit() -> Result<()> {
    for hook in hooks() {
        let bed = TwoNodes::new(PodNetwork::Flannel, Offloads::On, hook.start())?;
        let to = bed.near.addr().at(Family::V6, REMOTE_PORT);
        let sock = bed.client.connect(Kind::Udp, to)?;
        sock.send(&text(4_000, 0))?;
        let told = errno(sock.recv_within(WHILE));
        ensure!(told == Some(libc::EMSGSIZE), "{told:?}");
        let answer = sock.ask(&text(4_000, 1))?;
        ensure!(REMOTE.contains(&answer.name.as_str()), "{answer:?}");
    }
    Ok(())
}

#[test]
fn answers_without_df_are_fragmented_for_the_client() -> Result<()> {
    for hook in hooks() {
        for tracker in each([Tracker::Off, Tracker::On]) {
            let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, hook.start())?;
            tracker.set(&bed.near)?;
            let client = bed.client.addr.v4;
            bed.near
                .netns()
                .ip(&format!("route add {client}/32 dev eth0 mtu 1400\n"))?;
            for (n, node, names) in [(1_u8, &bed.near, LOCAL), (2, &bed.far, REMOTE)] {
                for pod in node.pods() {
                    // Sockets made from now on.
                    may_be_fragmented(pod.host())?;
                    pod.serve(ELSEWHERE)?;
                }
                let port = 30_010 + u16::from(n);
                let service = Service::new(&format!("plain-{n}"), addr::vip(10 + n))
                    .node_port(PORT, ELSEWHERE, port)
                    .endpoints(bed.endpoints(node));
                bed.apply(&service)?;
                let to = bed.near.addr().at(Family::V4, port);
                poll::until(CHANGE, "the service answers", || {
                    Ok(bed.client.ask(Kind::Udp, to).ok())
                })?;
                for size in OVERSIZED {
                    let sock = bed.client.connect(Kind::Udp, to)?;
                    for n in 0..3 {
                        // The answer is longer by some names.
                        let answer = sock.ask(&text(size - 60, n));
                        let answer = answer.with_context(|| format!("{size} bytes from {to}"))?;
                        ensure!(names.contains(&answer.name.as_str()), "{answer:?}");
                    }
                }
            }
        }
    }
    Ok(())
}
