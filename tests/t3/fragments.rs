//! Datagrams that travel in fragments, requests and answers: every frontend, both families, tc and
//! XDP, with a connection tracker on the way and without.

use std::{fmt, net::SocketAddr};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr, agent_output,
    host::Host,
    lan::Offloads,
    matrix::{Hook, each, families, hooks},
    node::{Node, PodNetwork},
    one_node::PORT,
    probe::Kind,
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
