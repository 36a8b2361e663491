//! connect() of UDP to a cluster IP without endpoints, as with kube-proxy: it succeeds, datagrams are
//! refused meanwhile, and the same socket is served as soon as an endpoint comes.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr,
    agent::{CHANGE, Start},
    host::Host,
    matrix::families,
    one_node::{self, OneNode, PORT, TARGET, WEB},
    poll,
    probe::{Kind, Sock, errno},
};

use crate::lb0::common::routed;

const VIP: addr::Both = addr::vip(20);
/// For an ICMP error to arrive.
const SOON: Duration = Duration::from_secs(2);

fn tos() -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = families().map(|family| VIP.at(family, PORT)).collect();
    all.push(VIP.mapped(PORT));
    all
}

/// A datagram is refused as a router would refuse it: by an error that the next call returns.
fn is_refused(sock: &Sock) -> bool {
    sock.send("x").is_err() || errno(sock.recv_within(SOON)) == Some(libc::ECONNREFUSED)
}

#[test]
fn a_connected_socket_waits_for_the_first_endpoint() -> Result<()> {
    let bed = OneNode::with(Start::new(), |_| {
        vec![one_node::behind("late", VIP, &[]).port(PORT, TARGET)]
    })?;
    routed(&bed.node)?;
    let mut waiting = Vec::new();
    for from in [bed.client() as &Host, &bed.node] {
        for to in tos() {
            let sock = from
                .connect(Kind::Udp, to)
                .with_context(|| format!("{to}"))?;
            assert_eq!(sock.peer()?, to);
            ensure!(is_refused(&sock), "{to}: nothing refuses");
            waiting.push((sock, to));
        }
    }
    bed.apply(&one_node::behind("late", VIP, &one_node::web_pods(&bed.node)).port(PORT, TARGET))?;
    for (sock, to) in &waiting {
        let answer = poll::until(CHANGE, &format!("{to} is served"), || {
            Ok(sock.ask("late").ok())
        })?;
        ensure!(WEB.contains(&answer.name.as_str()), "{to}: {answer:?}");
    }
    // And no more, when the endpoints go.
    bed.apply(&one_node::behind("late", VIP, &[]).port(PORT, TARGET))?;
    for (sock, to) in &waiting {
        poll::until_true(CHANGE, &format!("{to} is refused again"), || {
            Ok(is_refused(sock))
        })?;
    }
    Ok(())
}

/// Nothing would ever serve such a socket.
#[test]
fn without_lb0_the_connect_is_refused() -> Result<()> {
    let bed = OneNode::with(Start::new().args(&["--lb0", "off"]), |_| {
        vec![one_node::behind("late", VIP, &[]).port(PORT, TARGET)]
    })?;
    for to in tos() {
        assert_eq!(
            errno(bed.client().connect(Kind::Udp, to)),
            Some(libc::ECONNREFUSED),
            "{to}"
        );
    }
    Ok(())
}
