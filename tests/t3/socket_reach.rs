//! The socket path: what an application reaches, what it is refused, and what is left alone.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr::{self, LOOPBACK},
    agent::Start,
    host::Host,
    matrix::{Case, families, kinds, matrix},
    one_node::{self, NODE_PORT, OneNode, PORT, TARGET, WEB, WEB_LB, WEB_VIP},
    probe::{Answer, Family, Kind, errno},
};

/// Each answer comes from a web pod, and each web pod answers: 40 of 3 by chance miss one in 4 of
/// 10 million runs.
fn all_answer(from: &Host, kind: Kind, to: SocketAddr) -> Result<Vec<Answer>> {
    let answers = (0..40)
        .map(|_| from.ask(kind, to))
        .collect::<io::Result<Vec<_>>>();
    let answers = answers.with_context(|| format!("{kind:?} {to}"))?;
    let names: BTreeSet<&str> = answers.iter().map(|answer| answer.name.as_str()).collect();
    ensure!(
        names == BTreeSet::from(WEB),
        "{kind:?} {to}: {names:?} answered"
    );
    Ok(answers)
}

#[test]
fn pods_and_host_processes_reach_every_kind_of_frontend() -> Result<()> {
    let bed = OneNode::new()?;
    let (node, pod) = (&bed.node, bed.client());
    for Case { family, kind } in matrix() {
        for to in [
            WEB_VIP.at(family, PORT),
            WEB_LB.at(family, PORT),
            node.addr().at(family, NODE_PORT),
        ] {
            // The pod sees who really asks.
            for answer in all_answer(pod, kind, to)? {
                assert_eq!(answer.client.ip(), pod.addr().ip(family), "{kind:?} {to}");
            }
            all_answer(node, kind, to)?;
        }
    }
    Ok(())
}

#[test]
fn mapped_sockets_are_translated_and_see_mapped_addresses() -> Result<()> {
    let bed = OneNode::new()?;
    for to in [
        WEB_VIP.mapped(PORT),
        WEB_LB.mapped(PORT),
        bed.node.addr().mapped(NODE_PORT),
    ] {
        for kind in kinds() {
            all_answer(bed.client(), kind, to)?;
            let sock = bed.client().connect(kind, to)?;
            assert_eq!(sock.peer()?, to);
            let answer = sock.ask("connected")?;
            assert_eq!(answer.client.ip(), bed.client().addr().ip(Family::V4));
            if kind == Kind::Udp {
                assert_eq!(answer.from, Some(to));
            }
        }
        let sock = bed.client().socket(Kind::Udp, Family::V6)?;
        assert_eq!(sock.ask_at(to, "unconnected")?.from, Some(to));
    }
    Ok(())
}

#[test]
fn node_ports_answer_on_loopback_in_the_hosts_namespace_alone() -> Result<()> {
    let bed = OneNode::new()?;
    let pod = bed.client();
    let anywhere = |family| match family {
        Family::V4 => SocketAddr::from((Ipv4Addr::UNSPECIFIED, NODE_PORT)),
        Family::V6 => SocketAddr::from((Ipv6Addr::UNSPECIFIED, NODE_PORT)),
    };
    for family in families() {
        let own = LOOPBACK.at(family, NODE_PORT);
        for kind in kinds() {
            all_answer(&bed.node, kind, own)?;
            all_answer(&bed.node, kind, anywhere(family))?;
        }
        // A pod's own loopback is its own: nothing listens there, and then the pod itself does.
        assert_eq!(errno(pod.ask(Kind::Tcp, own)), Some(libc::ECONNREFUSED));
        for kind in kinds() {
            let listener = pod.listen(kind, own, "itself")?;
            assert_eq!(pod.ask(kind, own)?.name, "itself");
            assert_eq!(pod.ask(kind, anywhere(family))?.name, "itself");
            pod.unlisten(listener)?;
        }
    }
    Ok(())
}

#[test]
fn a_service_without_endpoints_refuses_at_once() -> Result<()> {
    let vip = addr::vip(20);
    let empty = one_node::behind("empty", vip, &[])
        .node_port(PORT, TARGET, 30020)
        .ingress(addr::lb(20));
    let bed = OneNode::with(Start::new(), |_| vec![empty])?;
    for family in families() {
        let tos = [
            vip.at(family, PORT),
            addr::lb(20).at(family, PORT),
            bed.node.addr().at(family, 30020),
        ];
        for from in [bed.client() as &Host, &bed.node] {
            for to in tos {
                for kind in kinds() {
                    // Where the cluster IP waits for an endpoint, see `udp_waiting`.
                    if kind == Kind::Udp && to.ip() == vip.ip(family) {
                        continue;
                    }
                    assert_eq!(
                        errno(from.connect(kind, to)),
                        Some(libc::ECONNREFUSED),
                        "{kind:?} {to}"
                    );
                }
                let sock = from.socket(Kind::Udp, family)?;
                assert_eq!(
                    errno(sock.send_to(to, "x")),
                    Some(libc::ECONNREFUSED),
                    "sendto {to}"
                );
            }
        }
    }
    let sock = bed.client().socket(Kind::Tcp, Family::V6)?;
    assert_eq!(
        errno(sock.connect(vip.mapped(PORT))),
        Some(libc::ECONNREFUSED)
    );
    Ok(())
}

#[test]
fn a_port_that_a_vip_does_not_define_is_refused_where_somebody_would_wait() -> Result<()> {
    let bed = OneNode::new()?;
    for family in families() {
        let to = WEB_VIP.at(family, 4444);
        assert_eq!(
            errno(bed.client().connect(Kind::Tcp, to)),
            Some(libc::ECONNREFUSED)
        );
        // Resolvers probe their source address so; nothing is sent by it.
        bed.client().connect(Kind::Udp, to)?;
        bed.client().connect(Kind::Udp, WEB_VIP.at(family, 0))?;
        let sock = bed.client().socket(Kind::Udp, family)?;
        assert_eq!(errno(sock.send_to(to, "x")), Some(libc::ECONNREFUSED));
    }
    Ok(())
}

#[test]
fn the_protocol_belongs_to_the_port() -> Result<()> {
    let vip = addr::vip(21);
    let bed = OneNode::with(Start::new(), |node| {
        vec![
            one_node::behind("tcp-only", vip, &one_node::web_pods(node)).one_port(
                Kind::Tcp,
                53,
                TARGET,
                None,
            ),
        ]
    })?;
    for family in families() {
        assert!(
            WEB.contains(
                &bed.client()
                    .ask(Kind::Tcp, vip.at(family, 53))?
                    .name
                    .as_str()
            )
        );
        let sock = bed.client().socket(Kind::Udp, family)?;
        assert_eq!(
            errno(sock.send_to(vip.at(family, 53), "x")),
            Some(libc::ECONNREFUSED)
        );
    }
    Ok(())
}

#[test]
fn what_is_not_a_frontend_is_left_alone() -> Result<()> {
    let bed = OneNode::new()?;
    let (pod, web) = (bed.client(), bed.node.pod(0));
    let outside = bed.lan.client(1)?;
    for family in families() {
        for kind in kinds() {
            let to = web.addr().at(family, TARGET);
            let sock = pod.connect(kind, to)?;
            assert_eq!(sock.peer()?, to);
            assert_eq!(sock.ask("direct")?.name, web.name());
            // The node port's number at another address is that address's own port.
            outside.listen(kind, outside.addr.at(family, NODE_PORT), "outside")?;
            assert_eq!(
                bed.node.ask(kind, outside.addr.at(family, NODE_PORT))?.name,
                "outside"
            );
        }
        let sock = pod.socket(Kind::Udp, family)?;
        let to = web.addr().at(family, TARGET);
        assert_eq!(sock.ask_at(to, "direct")?.from, Some(to));
        assert_eq!(
            errno(pod.connect(Kind::Tcp, web.addr().at(family, 4444))),
            Some(libc::ECONNREFUSED)
        );
    }
    Ok(())
}

#[test]
fn sockets_outside_of_the_nodes_cgroup_are_not_ours() -> Result<()> {
    let bed = OneNode::new()?;
    let outside = bed.lan.client(1)?;
    let sock = outside.connect(Kind::Udp, WEB_VIP.at(Family::V4, PORT))?;
    sock.send("no backend")?;
    assert!(sock.recv_within(Duration::from_millis(300)).is_err());
    Ok(())
}

#[test]
fn ping_sockets_connect_untouched() -> Result<()> {
    let bed = OneNode::new()?;
    for family in families() {
        let to = bed.node.pod(0).addr().at(family, 1);
        // The port means nothing, but a peer without one is not shown.
        let sock = bed.client().socket(Kind::Ping, family)?;
        sock.connect(to)?;
        assert_eq!(sock.peer()?.ip(), to.ip());
        let count = bed
            .client()
            .output(&["ping", "-c", "1", "-W", "2", &to.ip().to_string()])?;
        assert!(count.status.success(), "{count:?}");
    }
    Ok(())
}

#[test]
fn a_socket_bound_to_a_device_is_left_alone() -> Result<()> {
    let bed = OneNode::new()?;
    let bound = bed.client().socket(Kind::Udp, Family::V4)?;
    bound.bind_device("eth0")?;
    let direct = bed.node.pod(0).addr().at(Family::V4, TARGET);
    bound.connect(direct)?;
    assert_eq!(bound.ask("still a way out")?.name, "web-1");
    // The host's own loopback shows it best: an unbound socket reaches the service, a bound one
    // the local listener.
    let own = LOOPBACK.at(Family::V4, NODE_PORT);
    let sock = bed.node.socket(Kind::Tcp, Family::V4)?;
    sock.bind_device("lo")?;
    assert_eq!(errno(sock.connect(own)), Some(libc::ECONNREFUSED));
    assert!(bed.node.ask(Kind::Tcp, own).is_ok());
    Ok(())
}

#[test]
fn socket_lb_can_be_left_to_the_host_or_off() -> Result<()> {
    let to = WEB_VIP.at(Family::V4, PORT);
    for (mode, host, pod) in [("host", true, false), ("off", false, false)] {
        let start = Start::new().args(&["--socket-lb", mode, "--lb0", "off"]);
        let bed = OneNode::with(start, |node| vec![one_node::web(node)])?;
        for (from, translated) in [(&bed.node as &Host, host), (bed.client() as &Host, pod)] {
            let sock = from.connect(Kind::Udp, to)?;
            sock.send("anything")?;
            let answered = sock.recv_within(Duration::from_millis(300)).is_ok();
            assert_eq!(answered, translated, "--socket-lb {mode}");
        }
    }
    Ok(())
}

#[test]
fn node_ports_are_held_in_the_hosts_namespace_alone() -> Result<()> {
    let bed = OneNode::new()?;
    let (node, pod) = (&bed.node, bed.client());
    for Case { family, kind } in matrix() {
        let ip = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        for at in [
            SocketAddr::new(ip, NODE_PORT),
            node.addr().at(family, NODE_PORT),
        ] {
            let sock = node.socket(kind, family)?;
            assert_eq!(
                errno(sock.bind(at)),
                Some(libc::EADDRINUSE),
                "{kind:?} {at}"
            );
        }
        // Port 0 is the kernel's to choose, other ports are free, and a pod's ports are its own.
        node.socket(kind, family)?.bind(SocketAddr::new(ip, 0))?;
        node.socket(kind, family)?
            .bind(SocketAddr::new(ip, 30081))?;
        pod.socket(kind, family)?
            .bind(SocketAddr::new(ip, NODE_PORT))?;
    }
    bed.node.remove_manifest("web.yaml")?;
    testbed::poll::until_true(
        testbed::agent::CHANGE,
        "the node port is free again",
        || {
            let sock = node.socket(Kind::Tcp, Family::V4)?;
            Ok(sock
                .bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, NODE_PORT)))
                .is_ok())
        },
    )
}
