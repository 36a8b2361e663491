//! Ping and traceroute, by the real tools.

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::CHANGE,
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::Service,
    matrix::{each, families},
    node::PodNetwork,
    one_node::{PORT, TARGET},
    poll,
};

use crate::lb0::common::{pings, routed, two_nodes};

#[test]
fn a_vip_answers_ping_while_its_service_has_an_endpoint() -> Result<()> {
    for network in each(PodNetwork::ALL) {
        let bed = two_nodes(network, Offloads::LastHop)?;
        let [pod, node, client]: [&Host; 3] =
            [bed.near.pod(0).host(), &bed.near, bed.client.host()];
        for n in [1, 2] {
            bed.route_to_near(addr::vip(n))?;
            for family in families() {
                let vip = addr::vip(n).ip(family);
                for (who, host) in [("a pod", pod), ("the node", node), ("the client", client)] {
                    ensure!(
                        pings(host, vip)?,
                        "{network:?}: {who} has no answer from {vip}"
                    );
                }
            }
        }
        // A long one, and one that lives for as many hops as there are.
        for words in [["-s", "1400"], ["-t", "2"]] {
            let vip = addr::vip(1).v4.to_string();
            pod.run(&[&["ping", "-c", "1", "-W", "2"][..], &words, &[vip.as_str()]].concat())?;
        }
        ensure!(agent_output::counted(&bed.near, "pkt_echo")? >= 14);

        // Its last endpoint goes, and it is silent; one comes back, and it answers.
        let service = || Service::new("local", addr::vip(1)).node_port(PORT, TARGET, 30001);
        bed.apply(&service())?;
        for family in families() {
            let vip = addr::vip(1).ip(family);
            poll::until_true(CHANGE, "the VIP is silent", || Ok(!pings(pod, vip)?))?;
            ensure!(!pings(node, vip)?, "{vip} answers without an endpoint");
        }
        bed.apply(&service().endpoints(bed.endpoints(&bed.near)))?;
        for family in families() {
            let vip = addr::vip(1).ip(family);
            poll::until_true(CHANGE, "the VIP answers", || pings(pod, vip))?;
        }
    }
    Ok(())
}

#[test]
fn an_address_of_no_service_is_silent_and_counted() -> Result<()> {
    let bed = two_nodes(PodNetwork::Routed, Offloads::On)?;
    for family in families() {
        let before = agent_output::counted(&bed.near, "pkt_unallocated")?;
        let unused = addr::vip(99).ip(family);
        ensure!(!pings(bed.near.pod(0).host(), unused)?, "{unused} answers");
        ensure!(
            agent_output::counted(&bed.near, "pkt_unallocated")? > before,
            "not counted"
        );
        // Addresses without a Service are not ours to answer.
        ensure!(pings(bed.near.pod(0).host(), bed.near.addr().ip(family))?);
        ensure!(pings(bed.near.pod(0).host(), bed.far.addr().ip(family))?);
    }
    Ok(())
}

#[test]
fn traceroute_reaches_vips_and_others() -> Result<()> {
    // With socket hooks too: they see what traceroute connects.
    for start in [
        crate::lb0::common::without_sockets(),
        testbed::agent::Start::new().args(&["--service-cidrs", crate::lb0::common::CIDRS]),
    ] {
        let bed = testbed::two_nodes::TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, start)?;
        routed(&bed.near)?;
        // No answer may be held back: that would be the kernel's own sparingness.
        for host in [&bed.near, &bed.far] {
            host.netns().sysctls(&[
                ("net/ipv4/icmp_ratelimit", "0"),
                ("net/ipv6/icmp/ratelimit", "0"),
            ])?;
        }
        for family in families() {
            let flag = match family {
                testbed::probe::Family::V4 => "-4",
                testbed::probe::Family::V6 => "-6",
            };
            let targets = [
                addr::vip(1).ip(family),
                addr::vip(2).ip(family),
                bed.far.addr().ip(family),
            ];
            for target in targets.map(|t| t.to_string()) {
                for method in [&[][..], &["-I"], &["-U", "-p", "33434"]] {
                    let words = [
                        &["traceroute", flag, "-n", "-q", "1", "-w", "2", "-m", "6"][..],
                        method,
                        &[target.as_str()],
                    ]
                    .concat();
                    for host in [bed.near.pod(0).host(), &bed.near] {
                        let said = host.run(&words)?;
                        let last = said.lines().last().context("traceroute said nothing")?;
                        ensure!(last.contains(&target), "{words:?} did not arrive:\n{said}");
                    }
                }
            }
        }
    }
    Ok(())
}
