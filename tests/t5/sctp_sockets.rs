//! SCTP by the kernel's own sockets: node ports by tc and by XDP, and services over `lb0`, both
//! families. For kernels that have them: `cargo xtask vm 6.12 --only sctp`.

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr::{self, Both},
    agent::{self, CHANGE, Start},
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::{Endpoint, Service},
    matrix::{FAMILIES, families},
    node::{Node, PodNetwork},
    pod::Pod,
    poll,
    probe::{Family, Kind},
    two_nodes::TwoNodes,
};

const PORT: u16 = 3868;
const TARGET: u16 = 13868;
const HERE: u16 = 30041;
const THERE: u16 = 30042;
/// Two nodes, with an SCTP service of one pod here and one of a pod elsewhere.
fn two_nodes(start: Start) -> Result<TwoNodes> {
    let start = start.args(&["--service-cidrs", "10.96.0.0/16,fd66:96::/112"]);
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, start)?;
    for (node, name, n, node_port) in [
        (&bed.near, "here", 41, HERE),
        (&bed.far, "there", 42, THERE),
    ] {
        serve(node.pod(0))?;
        bed.apply(
            &Service::new(name, addr::vip(n))
                .one_port(Kind::Sctp, PORT, TARGET, Some(node_port))
                .ingress(addr::lb(n))
                .endpoints([Endpoint::of(node, node.pod(0))]),
        )?;
    }
    poll::until_true(CHANGE, "the services are known", || {
        let shown = agent::verb(&bed.near, &["get", "services"])?;
        let known = [HERE, THERE].map(|port| shown.contains(&format!(":{port}")));
        Ok(known == [true; 2] && rules(&bed.near)? == 2 * FAMILIES.len())
    })?;
    Ok(bed)
}

fn serve(pod: &Pod) -> Result<()> {
    match pod.serve_as(TARGET, Kind::Sctp) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
            Err(error).context("this kernel has no SCTP sockets, so this test says nothing of it: `cargo xtask vm 6.12 --only sctp` runs it on one that has")
        }
        Err(error) => Err(error).context("listen"),
    }
}

/// Rules that lead ports of SCTP to `lb0`.
fn rules(node: &Node) -> Result<usize> {
    let rules = agent_output::rules(node)?;
    Ok(rules
        .iter()
        .filter(|rule| rule.contains("dport 3868"))
        .count())
}

/// Who asks, what, and whom the server sees.
struct Question<'a> {
    client: &'a Host,
    to: Both,
    port: u16,
    server: &'a Pod,
    seen_from: Both,
}

impl Question<'_> {
    /// Asks, short and longer than a packet, on one association; neither end got a packet with a
    /// wrong sum.
    fn ask(&self, family: Family) -> Result<()> {
        let to = self.to.at(family, self.port);
        let sock = self.client.connect(Kind::Sctp, to);
        let sock = sock.with_context(|| format!("connect to {to}"))?;
        for length in [5, 4_000, 20_000] {
            let answer = sock
                .ask(&"x".repeat(length))
                .with_context(|| format!("ask {to} {length} bytes"))?;
            ensure!(answer.name == self.server.name(), "{answer:?}");
            let seen = answer.client.ip();
            ensure!(
                seen == self.seen_from.ip(family),
                "{to}: the pod saw {seen}"
            );
        }
        sock.close();
        // Each kernel computes the sums of what it gets, wherever they were made on the way
        // (`Offloads::LastHop`).
        for host in [self.client, self.server.host()] {
            let text = host.run(&["cat", "/proc/net/sctp/snmp"])?;
            let wrong = text
                .lines()
                .find(|line| line.starts_with("SctpChecksumErrors"));
            let wrong = wrong.context("the kernel counts wrong sums")?;
            ensure!(wrong.ends_with("\t0"), "{to}: {wrong}");
        }
        Ok(())
    }
}

/// From outside to node ports, and from a pod and the node itself to cluster IPs and to IPs of load
/// balancers.
fn everywhere(start: Start) -> Result<()> {
    let bed = two_nodes(start)?;
    let (near, far) = (bed.near.pod(0), bed.far.pod(0));
    let pod = bed.near.pod(1);
    let node = bed.near.addr();
    let there = bed.source_towards_far();
    for family in families() {
        for (port, server, seen_from) in [(HERE, near, bed.client.addr), (THERE, far, there)] {
            let outside = Question {
                client: &bed.client,
                to: node,
                port,
                server,
                seen_from,
            };
            outside.ask(family)?;
        }
        for client in [pod.host(), &*bed.near] {
            for (n, server, seen_from) in [(41, near, addr::LB0), (42, far, there)] {
                for to in [addr::vip(n), addr::lb(n)] {
                    let inside = Question {
                        client,
                        to,
                        port: PORT,
                        server,
                        seen_from,
                    };
                    let who = client.netns().name();
                    inside.ask(family).with_context(|| who.to_owned())?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn sctp_sockets_reach_services_by_tc() -> Result<()> {
    everywhere(Start::new())
}

#[test]
fn sctp_sockets_reach_services_by_xdp() -> Result<()> {
    everywhere(Start::new().xdp("eth0"))
}
