//! The socket path: what is remembered of a socket through its life, and what its owner is shown.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use testbed::{
    addr,
    agent::Start,
    matrix::{Case, families, kinds, matrix},
    one_node::{self, OneNode, PORT, TARGET, WEB, WEB_VIP},
    probe::{Family, Kind, errno},
};

#[test]
fn the_peer_that_is_shown_is_the_vip() -> Result<()> {
    let bed = OneNode::new()?;
    for family in families() {
        let vip = WEB_VIP.at(family, PORT);
        for kind in kinds() {
            let sock = bed.client().connect(kind, vip)?;
            assert_eq!(sock.peer()?, vip);
            let answer = sock.ask("hello")?;
            assert!(WEB.contains(&answer.name.as_str()));
            if kind == Kind::Udp {
                assert_eq!(answer.from, Some(vip));
            }
            // Again, now that something was said.
            assert_eq!(sock.peer()?, vip);
        }
    }
    Ok(())
}

#[test]
fn a_failed_connect_can_be_tried_again_on_the_same_socket() -> Result<()> {
    let vip = addr::vip(30);
    let bed = OneNode::with(Start::new(), |node| {
        vec![one_node::behind("late", vip, &one_node::web_pods(node)).port(PORT, 9090)]
    })?;
    for family in families() {
        let to = vip.at(family, PORT);
        let sock = bed.client().socket(Kind::Tcp, family)?;
        for _ in 0..3 {
            // A reset by the pod, not a refusal of ours.
            assert_eq!(errno(sock.connect(to)), Some(libc::ECONNREFUSED));
        }
        let mut listeners = Vec::new();
        for pod in &bed.node.pods()[..WEB.len()] {
            listeners.push((pod, pod.serve_as(9090, Kind::Tcp)?));
        }
        sock.connect(to)?;
        assert_eq!(sock.peer()?, to);
        sock.ask("at last")?;
        for (pod, listener) in listeners {
            pod.unlisten(listener)?;
        }
    }
    Ok(())
}

#[test]
fn a_failed_connect_to_a_vip_leaves_no_trace_on_a_direct_one() -> Result<()> {
    let empty = addr::vip(31);
    let bed = OneNode::with(Start::new(), |_| {
        vec![one_node::behind("empty", empty, &[]).port(PORT, TARGET)]
    })?;
    for Case { family, kind } in matrix() {
        let sock = bed.client().socket(kind, family)?;
        // UDP waits there for an endpoint.
        let refused = (kind == Kind::Tcp).then_some(libc::ECONNREFUSED);
        assert_eq!(errno(sock.connect(empty.at(family, PORT))), refused);
        let direct = bed.node.pod(1).addr().at(family, TARGET);
        sock.connect(direct)?;
        assert_eq!(sock.peer()?, direct);
        assert_eq!(sock.ask("direct")?.name, "web-2");
    }
    Ok(())
}

/// Where the pod of this name listens.
fn target_of(bed: &OneNode, name: &str, family: Family) -> Result<SocketAddr> {
    let mut pods = bed.node.pods().iter();
    let pod = pods.find(|pod| pod.name() == name);
    let pod = pod.with_context(|| format!("{name} is no pod"))?;
    Ok(pod.addr().at(family, TARGET))
}

#[test]
fn a_disconnected_datagram_socket_moves_to_a_direct_address() -> Result<()> {
    let bed = OneNode::new()?;
    for family in families() {
        let vip = WEB_VIP.at(family, PORT);
        let sock = bed.client().connect(Kind::Udp, vip)?;
        let chosen = sock.ask("first")?.name;
        sock.disconnect()?;
        assert_eq!(errno(sock.peer()), Some(libc::ENOTCONN));
        // The very backend that it had, now asked for by its own address: shown as what it is.
        let direct = target_of(&bed, &chosen, family)?;
        assert_eq!(sock.ask_at(direct, "second")?.from, Some(direct));
        // And back. (Linux lets a disconnected IPv6 socket receive from its last peer alone.)
        if family == Family::V4 {
            assert_eq!(sock.ask_at(vip, "third")?.from, Some(vip));
        }
        sock.connect(direct)?;
        assert_eq!(sock.peer()?, direct);
        assert_eq!(sock.ask("fourth")?.from, Some(direct));
        sock.connect(vip)?;
        assert_eq!(sock.peer()?, vip);
        assert_eq!(sock.ask("fifth")?.from, Some(vip));
    }
    Ok(())
}

#[test]
fn a_disconnected_stream_moves_to_a_direct_address() -> Result<()> {
    let bed = OneNode::new()?;
    for family in families() {
        let vip = WEB_VIP.at(family, PORT);
        let sock = bed.client().connect(Kind::Tcp, vip)?;
        let chosen = sock.ask("first")?.name;
        sock.disconnect()?;
        let direct = target_of(&bed, &chosen, family)?;
        sock.connect(direct)?;
        assert_eq!(sock.peer()?, direct);
        assert_eq!(sock.ask("second")?.name, chosen);
        sock.disconnect()?;
        sock.connect(vip)?;
        assert_eq!(sock.peer()?, vip);
        sock.ask("third")?;
    }
    Ok(())
}

#[test]
fn nonblocking_connects_are_translated_once() -> Result<()> {
    let bed = OneNode::new()?;
    for family in families() {
        let vip = WEB_VIP.at(family, PORT);
        let sock = bed.client().socket(Kind::Tcp, family)?;
        sock.nonblocking()?;
        match sock.connect(vip) {
            Ok(()) => {}
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS)),
        }
        sock.writable()?;
        assert_eq!(sock.peer()?, vip);
        // As programs do that ask whether it is done. The socket keeps talking to whom it talks.
        match sock.connect(vip) {
            Ok(()) => {}
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EISCONN)),
        }
        sock.send("hello")?;
        let answer = testbed::poll::until(testbed::agent::CHANGE, "an answer", || {
            Ok(sock.answer().ok())
        })?;
        assert!(WEB.contains(&answer.name.as_str()));
    }
    Ok(())
}

#[test]
fn a_nonblocking_connect_to_nobody_fails_at_once() -> Result<()> {
    let empty = addr::vip(32);
    let bed = OneNode::with(Start::new(), |_| {
        vec![one_node::behind("empty", empty, &[]).port(PORT, TARGET)]
    })?;
    let sock = bed.client().socket(Kind::Tcp, Family::V4)?;
    sock.nonblocking()?;
    assert_eq!(
        errno(sock.connect(empty.at(Family::V4, PORT))),
        Some(libc::ECONNREFUSED)
    );
    Ok(())
}

#[test]
fn fast_open_works_both_ways_of_asking_for_it() -> Result<()> {
    let bed = OneNode::new()?;
    let pod = bed.client();
    for family in families() {
        let vip = WEB_VIP.at(family, PORT);
        let before = pod.tcp_ext("TCPFastOpenActive")?;
        let sock = pod.socket(Kind::Tcp, family)?;
        sock.send_fast(vip, "in the syn")?;
        assert_eq!(sock.answer()?.text, "in the syn");
        assert_eq!(sock.peer()?, vip);
        let sock = pod.socket(Kind::Tcp, family)?;
        sock.fast_open_connect()?;
        sock.connect(vip)?;
        assert_eq!(sock.ask("with the first data")?.text, "with the first data");
        assert_eq!(sock.peer()?, vip);
        assert_eq!(
            pod.tcp_ext("TCPFastOpenActive")? - before,
            2,
            "the data did travel in the SYN"
        );
    }
    Ok(())
}

#[test]
fn mptcp_connects_and_shows_the_vip() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        vec![
            one_node::behind("m", addr::vip(33), &one_node::web_pods(node)).port(PORT, 8081),
            one_node::web(node),
        ]
    })?;
    for pod in &bed.node.pods()[..WEB.len()] {
        pod.serve_as(8081, Kind::Mptcp)?;
    }
    for family in families() {
        // A server that speaks it, and one that does not.
        for vip in [addr::vip(33), WEB_VIP] {
            let to = vip.at(family, PORT);
            let sock = bed.client().connect(Kind::Mptcp, to)?;
            assert!(WEB.contains(&sock.ask("hello")?.name.as_str()));
            assert_eq!(sock.peer()?, to);
        }
    }
    Ok(())
}

#[test]
fn a_child_keeps_the_connection_that_its_parent_closes() -> Result<()> {
    let bed = OneNode::new()?;
    for kind in kinds() {
        let sock = bed.client().connect(kind, WEB_VIP.at(Family::V4, PORT))?;
        let first = sock.ask("before")?.name;
        let share = sock.share()?;
        share.end()?;
        assert_eq!(sock.ask("after")?.name, first);
        assert_eq!(sock.peer()?, WEB_VIP.at(Family::V4, PORT));
    }
    Ok(())
}

#[test]
fn one_datagram_socket_talks_to_many_services_at_a_time() -> Result<()> {
    let others: Vec<_> = (40..44).map(addr::vip).collect();
    let bed = OneNode::with(Start::new(), |node| {
        let pods = one_node::web_pods(node);
        let services = others.iter().enumerate();
        // Two services share each backend's address and port; one backend a service makes answers
        // predictable.
        services
            .map(|(i, &vip)| {
                one_node::behind(&format!("s{i}"), vip, &pods[i % 3..=i % 3]).port(PORT, TARGET)
            })
            .collect()
    })?;
    for family in families() {
        let sock = bed.client().socket(Kind::Udp, family)?;
        // One after the other, around and around: each answer comes from whom it was asked.
        for round in 0..3 {
            for (i, vip) in others.iter().enumerate() {
                let answer = sock.ask_at(vip.at(family, PORT), &format!("round {round}"))?;
                assert_eq!(answer.from, Some(vip.at(family, PORT)));
                assert_eq!(answer.name, WEB[i % 3]);
            }
            let direct = bed.node.pod(1).addr().at(family, 8082);
            sock.send_to(direct, "no backend").ok();
        }
        // All asked before the first answer is read: three different backends.
        let three = &others[..3];
        for vip in three {
            sock.send_to(vip.at(family, PORT), "all at once")?;
        }
        let mut froms = Vec::new();
        while froms.len() < three.len() {
            match sock.answer() {
                Ok(answer) => froms.extend(answer.from),
                // The ICMP error of the direct datagrams.
                Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => {}
                Err(error) => return Err(error.into()),
            }
        }
        froms.sort();
        assert_eq!(
            froms,
            three
                .iter()
                .map(|vip| vip.at(family, PORT))
                .collect::<Vec<_>>()
        );
    }
    Ok(())
}

#[test]
fn an_unconnected_socket_stays_with_its_backend() -> Result<()> {
    let bed = OneNode::new()?;
    let vip = WEB_VIP.at(Family::V4, PORT);
    let sock = bed.client().socket(Kind::Udp, Family::V4)?;
    let first = sock.ask_at(vip, "0")?.name;
    for i in 1..20 {
        assert_eq!(sock.ask_at(vip, &i.to_string())?.name, first);
    }
    Ok(())
}
