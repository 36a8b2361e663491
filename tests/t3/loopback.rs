//! Sockets that are bound to 127.0.0.1 or ::1 and ask for a node port on loopback.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr::{self, LOOPBACK},
    agent::{self, Start},
    agent_output,
    host::Host,
    lan::Offloads,
    manifest::{Endpoint, Service},
    matrix::{Case, families, kinds, matrix},
    node::PodNetwork,
    one_node::{self, NODE_PORT, OneNode, PORT, TARGET, WEB},
    poll,
    probe::{Family, Kind, Sock, errno},
    two_nodes::{LOCAL, LOCAL_PORT, REMOTE, REMOTE_PORT, TwoNodes},
};

use crate::lb0::common::routed;

/// An unconnected socket that is bound to this address, port 0.
fn bound(host: &Host, kind: Kind, to: SocketAddr) -> io::Result<Sock> {
    let sock = host.socket(kind, Family::of(&to))?;
    let own = match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::V6(to) if to.ip().to_ipv4_mapped().is_some() => LOOPBACK.mapped(0),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    };
    sock.bind(own)?;
    Ok(sock)
}

/// Where node ports answer for processes of the host: by each name of loopback.
fn names_of_loopback(port: u16) -> [SocketAddr; 5] {
    [
        LOOPBACK.at(Family::V4, port),
        (Ipv4Addr::new(127, 0, 0, 2), port).into(),
        (Ipv4Addr::UNSPECIFIED, port).into(),
        LOOPBACK.at(Family::V6, port),
        LOOPBACK.mapped(port),
    ]
}

/// Each of these answers, the socket sees its peer as it named it, and is bound as it was.
fn answers(host: &Host, port: u16, names: &[&str]) -> Result<()> {
    for to in names_of_loopback(port) {
        for kind in kinds() {
            let what = || format!("{kind:?} {to}");
            let mut seen = BTreeSet::new();
            for _ in 0..20 {
                let sock = bound(host, kind, to).with_context(what)?;
                sock.connect(to).with_context(what)?;
                let answer = sock.ask("connected").with_context(what)?;
                ensure!(sock.local()?.ip().to_canonical().is_loopback());
                ensure!(sock.peer()? == to, "{}: {}", what(), sock.peer()?);
                ensure!(kind == Kind::Tcp || answer.from == Some(to), "{answer:?}");
                ensure!(!answer.client.ip().to_canonical().is_loopback());
                seen.insert(answer.name);
            }
            ensure!(
                seen.iter().map(String::as_str).eq(names.iter().copied()),
                "{}: {seen:?}",
                what()
            );
        }
        let sock = bound(host, Kind::Udp, to)?;
        for text in ["unconnected", "again"] {
            let answer = sock
                .ask_at(to, text)
                .with_context(|| format!("sendto {to}"))?;
            ensure!(answer.from == Some(to), "{answer:?}");
            ensure!(names.contains(&answer.name.as_str()), "{answer:?}");
        }
    }
    Ok(())
}

#[test]
fn they_reach_backends_of_this_node_and_of_another() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, Start::new())?;
    routed(&bed.near)?;
    answers(&bed.near, LOCAL_PORT, &LOCAL)?;
    answers(&bed.near, REMOTE_PORT, &REMOTE)
}

#[test]
fn over_a_tunnel_with_masquerade_too() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Flannel, Offloads::LastHop, Start::new())?;
    routed(&bed.near)?;
    answers(&bed.near, LOCAL_PORT, &LOCAL)?;
    answers(&bed.near, REMOTE_PORT, &REMOTE)
}

/// Each datagram belongs to the flow of the first: a new one would have the next backend.
#[test]
fn a_socket_of_udp_keeps_its_backend() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        vec![one_node::web(node).annotate("lb-agent.io/scheduler", "rr")]
    })?;
    routed(&bed.node)?;
    for to in names_of_loopback(NODE_PORT) {
        let connected = bound(&bed.node, Kind::Udp, to)?;
        connected.connect(to)?;
        let first = connected.ask("first")?;
        let alone = bound(&bed.node, Kind::Udp, to)?;
        let other = alone.ask_at(to, "first")?;
        for n in 0..20 {
            let answer = connected.ask(&format!("connected {n}"))?;
            ensure!(answer.name == first.name, "{to}: {answer:?}, {first:?}");
            ensure!(answer.client == first.client, "{to}: {answer:?}, {first:?}");
            let answer = alone.ask_at(to, &format!("alone {n}"))?;
            ensure!(answer.name == other.name, "{to}: {answer:?}, {other:?}");
        }
    }
    Ok(())
}

/// Its errors come back as they would to a client of the backend's own.
#[test]
fn what_a_backend_refuses_is_heard() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, Start::new())?;
    routed(&bed.near)?;
    for (n, endpoints) in [
        (40, bed.endpoints(&bed.near)),
        (41, bed.endpoints(&bed.far)),
    ] {
        let port = 30000 + u16::from(n);
        let deaf = Service::new(&format!("deaf-{n}"), addr::vip(n))
            .node_port(PORT, TARGET + 1, port)
            .endpoints(endpoints);
        bed.apply(&deaf)?;
        poll::until_true(agent::CHANGE, "its backends are written", || {
            let vip = addr::vip(n).v4.to_string();
            let found = agent_output::frontend(&bed.near, "UDP", &vip, PORT);
            Ok(found.is_ok_and(|found| found.backends.len() == 2))
        })?;
        for to in names_of_loopback(port) {
            let before = agent_output::counted(&bed.near, "pkt_icmp_error")?;
            let sock = bound(&bed.near, Kind::Udp, to)?;
            sock.connect(to)?;
            sock.send("x")?;
            let said = errno(sock.recv_within(agent::CHANGE));
            ensure!(said == Some(libc::ECONNREFUSED), "{to}: {said:?}");
            ensure!(agent_output::counted(&bed.near, "pkt_icmp_error")? > before);
        }
    }
    Ok(())
}

#[test]
fn what_has_no_endpoint_refuses_at_once() -> Result<()> {
    let empty = one_node::behind("empty", addr::vip(20), &[]).node_port(PORT, TARGET, 30020);
    let bed = OneNode::with(Start::new(), |_| vec![empty])?;
    routed(&bed.node)?;
    for family in families() {
        let to = LOOPBACK.at(family, 30020);
        let sock = bound(&bed.node, Kind::Tcp, to)?;
        assert_eq!(errno(sock.connect(to)), Some(libc::ECONNREFUSED), "{to}");
        let sock = bound(&bed.node, Kind::Udp, to)?;
        sock.connect(to)?;
        sock.send("x")?;
        let told = sock.recv_within(agent::CHANGE);
        assert_eq!(errno(told), Some(libc::ECONNREFUSED), "{to}");
    }
    Ok(())
}

/// Their packets have no way then: a clear no, and counted, where IPv6's would be lost.
#[test]
fn without_the_device_they_are_refused() -> Result<()> {
    let start = Start::new().args(&["--lb0", "off"]);
    let bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
    for Case { family, kind } in matrix() {
        let to = LOOPBACK.at(family, NODE_PORT);
        let before = agent_output::counted(&bed.node, "sock_loopback_source")?;
        let sock = bound(&bed.node, kind, to)?;
        assert_eq!(errno(sock.connect(to)), Some(libc::EINVAL), "{to}");
        assert_eq!(
            agent_output::counted(&bed.node, "sock_loopback_source")?,
            before + 1
        );
        // Others are translated as ever.
        assert!(WEB.contains(&bed.node.ask(kind, to)?.name.as_str()));
    }
    Ok(())
}

/// The kernel takes such a source at an address of this machine: without the device, sockets are
/// translated to what is there as others are.
#[test]
fn without_the_device_they_reach_what_is_on_this_machine() -> Result<()> {
    let start = Start::new().args(&["--lb0", "off"]);
    let bed = OneNode::with(start, |node| {
        let here = Endpoint {
            pod: "here".to_owned(),
            addr: node.addr(),
            ..Endpoint::of(node, node.pod(0))
        };
        let here = one_node::behind("here", addr::vip(42), &[here]);
        vec![here.node_port(PORT, TARGET, 30042)]
    })?;
    for Case { family, kind } in matrix() {
        // Not on every address: what answers a datagram would have another source.
        let here = bed.node.addr().at(family, TARGET);
        bed.node.listen(kind, here, "here")?;
    }
    for to in names_of_loopback(30042) {
        for kind in kinds() {
            let before = agent_output::counted(&bed.node, "sock_translated")?;
            let sock = bound(&bed.node, kind, to)?;
            poll::until(agent::CHANGE, "it answers", || {
                Ok(sock.connect(to).and_then(|()| sock.ask("x")).ok())
            })
            .with_context(|| format!("{kind:?} {to}"))?;
            ensure!(sock.peer()? == to, "{kind:?} {to}");
            ensure!(agent_output::counted(&bed.node, "sock_translated")? > before);
        }
    }
    ensure!(agent_output::counted(&bed.node, "sock_loopback_source")? == 0);
    Ok(())
}

/// The address that stands for loopback is no node port's address for anybody else.
#[test]
fn a_pod_does_not_reach_loopback_by_what_stands_for_it() -> Result<()> {
    let bed = OneNode::new()?;
    routed(&bed.node)?;
    for (family, addr) in [
        (Family::V4, lb_common::lb0::LOOPBACK_V4),
        (Family::V6, lb_common::lb0::LOOPBACK_V6),
    ] {
        let before = agent_output::counted(&bed.node, "pkt_unallocated")?;
        let sock = bed.client().socket(Kind::Udp, family)?;
        sock.send_to((std::net::IpAddr::from(addr), NODE_PORT).into(), "x")?;
        poll::until_true(agent::CHANGE, "it is dropped", || {
            Ok(agent_output::counted(&bed.node, "pkt_unallocated")? > before)
        })?;
        ensure!(
            sock.recv_within(std::time::Duration::from_millis(100))
                .is_err()
        );
    }
    Ok(())
}
