//! Services without endpoints: refused at once, or dropped as kube-proxy drops them; each is
//! counted.

use std::time::Duration;

use anyhow::{Result, ensure};
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
    probe::{Kind, errno},
};

use crate::lb0::common::two_nodes;

/// TCP connects are refused, and UDP sockets hear of it.
fn refused(host: &Host, to: std::net::SocketAddr) -> Result<()> {
    assert_eq!(
        errno(host.connect(Kind::Tcp, to)),
        Some(libc::ECONNREFUSED),
        "{to}"
    );
    let sock = host.connect(Kind::Udp, to)?;
    sock.send("no backend")?;
    let error = errno(sock.recv_within(Duration::from_secs(3)));
    assert_eq!(error, Some(libc::ECONNREFUSED), "{to}");
    Ok(())
}

#[test]
fn ports_that_a_vip_does_not_define_are_refused() -> Result<()> {
    for network in each(PodNetwork::ALL) {
        for offloads in each(Offloads::ALL) {
            // Netfilter does not correct an ICMP error about a packet whose sum a device is still
            // to make when it undoes a masquerade, and so a receiver that checks it
            // loses it: see docs/datapath.md.
            if network == PodNetwork::Flannel && offloads == Offloads::LastHop {
                continue;
            }
            let bed = two_nodes(network, offloads)?;
            for family in families() {
                for host in [bed.near.pod(0).host(), &bed.near] {
                    let before = agent_output::counted(&bed.near, "pkt_unknown_port")?;
                    refused(host, addr::vip(1).at(family, 4444))?;
                    refused(host, addr::lb(1).at(family, 4444))?;
                    ensure!(agent_output::counted(&bed.near, "pkt_unknown_port")? >= before + 4);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_service_without_endpoints_is_refused() -> Result<()> {
    let bed = two_nodes(PodNetwork::Routed, Offloads::LastHop)?;
    bed.apply(&Service::new("empty", addr::vip(9)).node_port(PORT, TARGET, 30009))?;
    for family in families() {
        let to = addr::vip(9).at(family, PORT);
        poll::until_true(CHANGE, "the service is known", || {
            Ok(testbed::agent::verb(&bed.near, &["get", "services"])?.contains("30009"))
        })?;
        let before = agent_output::counted(&bed.near, "pkt_no_endpoint")?;
        for host in [bed.near.pod(0).host(), &bed.near] {
            refused(host, to)?;
        }
        ensure!(agent_output::counted(&bed.near, "pkt_no_endpoint")? >= before + 4);
    }
    Ok(())
}

#[test]
fn what_goes_to_an_address_of_no_service_is_dropped_and_counted() -> Result<()> {
    let bed = two_nodes(PodNetwork::Routed, Offloads::On)?;
    for family in families() {
        for host in [bed.near.pod(0).host(), &bed.near] {
            let before = agent_output::counted(&bed.near, "pkt_unallocated")?;
            let sock = host.connect(Kind::Udp, addr::vip(99).at(family, PORT))?;
            sock.send("no backend")?;
            let error = errno(sock.recv_within(Duration::from_millis(300)));
            assert_eq!(error, Some(libc::EAGAIN));
            ensure!(agent_output::counted(&bed.near, "pkt_unallocated")? > before);
        }
    }
    Ok(())
}

#[test]
fn nothing_goes_round_and_round() -> Result<()> {
    // Whatever comes to the device and is not translated ends there, or it would be routed to it
    // again.
    let bed = two_nodes(PodNetwork::Routed, Offloads::On)?;
    let sent = |device: &str| -> Result<u64> {
        let text = bed
            .near
            .run(&["ip", "-json", "-s", "link", "show", device])?;
        let shown: serde_json::Value = serde_json::from_str(&text)?;
        Ok(shown[0]["stats64"]["tx"]["packets"].as_u64().unwrap_or(0))
    };
    let vip = addr::vip(1);
    let before = sent("lb0")?;
    // No tool of ours speaks SCTP or GRE; ICMP that is no echo, and a fragmented datagram, do.
    let v4 = vip.v4.to_string();
    let _unanswered = bed
        .near
        .output(&["ping", "-n", "-c", "1", "-W", "1", "-T", "tsonly", &v4])?;
    let _in_pieces = bed.near.output(&[
        "ping", "-n", "-c", "1", "-W", "1", "-M", "dont", "-s", "4000", &v4,
    ])?;
    ensure!(
        agent_output::counted(&bed.near, "pkt_vip_unread")? > 0,
        "nothing was counted"
    );
    ensure!(
        sent("lb0")? == before,
        "something went through untranslated"
    );
    Ok(())
}
