//! bind() of a programmed node port by processes of the host: refused where the Service takes the
//! packets, and nowhere else.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use anyhow::{Context as _, Result};
use nix::libc;
use testbed::{
    addr::{Both, LOOPBACK},
    agent::Start,
    matrix::{Case, matrix},
    one_node::{self, NODE_PORT, OneNode, PORT, TARGET},
    probe::{Family, Kind, errno},
};

/// Of a device of the node's that node ports do not answer on.
const SECOND: Both = Both {
    v4: Ipv4Addr::new(198, 18, 5, 1),
    v6: Ipv6Addr::new(0xfd66, 0x18, 5, 0, 0, 0, 0, 1),
};
/// A node port of TCP alone.
const TCP_PORT: u16 = 30090;

/// Both node ports, on the Node's own addresses or on those that `words` say.
fn one_node(words: &str, args: &[&str]) -> Result<OneNode> {
    let start = Start::new()
        .args(&["--node-port-addresses", words])
        .args(args);
    let bed = OneNode::with(start, |node| {
        let tcp = one_node::behind("tcp", testbed::addr::vip(70), &one_node::web_pods(node));
        let tcp = tcp.one_port(Kind::Tcp, PORT, TARGET, Some(TCP_PORT));
        vec![one_node::web(node), tcp]
    })?;
    bed.node.netns().ip(&format!(
        "link add second0 type bridge\n\
         addr add {}/24 dev second0\n\
         addr add {}/64 dev second0 nodad\n\
         link set second0 up\n",
        SECOND.v4, SECOND.v6
    ))?;
    Ok(bed)
}

fn any(family: Family) -> SocketAddr {
    match family {
        Family::V4 => (Ipv4Addr::UNSPECIFIED, NODE_PORT).into(),
        Family::V6 => (Ipv6Addr::UNSPECIFIED, NODE_PORT).into(),
    }
}

/// What bind() returns on the host.
fn bind(bed: &OneNode, kind: Kind, at: SocketAddr) -> Result<Option<i32>> {
    let sock = bed.node.socket(kind, Family::of(&at))?;
    Ok(errno(sock.bind(at)))
}

/// The address that a device has by itself.
fn link_local(bed: &OneNode) -> Result<SocketAddr> {
    let text = bed
        .node
        .run(&["ip", "-o", "-6", "addr", "show", "dev", "eth0"])?;
    let ip = text
        .split([' ', '/'])
        .find(|word| word.starts_with("fe80:"));
    let ip: Ipv6Addr = ip.context("eth0 has no link-local address")?.parse()?;
    let scope = bed
        .node
        .block(|| nix::net::if_::if_nametoindex("eth0").context("the index of eth0"))?;
    Ok(SocketAddrV6::new(ip, NODE_PORT, 0, scope).into())
}

#[test]
fn a_server_has_its_port_where_node_ports_do_not_answer() -> Result<()> {
    let bed = one_node("primary", &[])?;
    let held = Some(libc::EADDRINUSE);
    for Case { family, kind } in matrix() {
        for at in [any(family), bed.node.addr().at(family, NODE_PORT)] {
            assert_eq!(bind(&bed, kind, at)?, held, "{kind:?} {at}");
        }
        for at in [LOOPBACK.at(family, NODE_PORT), SECOND.at(family, NODE_PORT)] {
            let listener = bed.node.listen(kind, at, "own")?;
            let answer = bed
                .node
                .ask(kind, at)
                .with_context(|| format!("{kind:?} {at}"))?;
            assert_eq!(answer.name, "own", "{kind:?} {at}");
            bed.node.unlisten(listener)?;
        }
    }
    let at = link_local(&bed)?;
    assert_eq!(bind(&bed, Kind::Tcp, at)?, None, "{at}");
    // What a dual-stack server binds, and IPv4 in a socket of IPv6.
    let mapped = bed.node.addr().v4.to_ipv6_mapped();
    assert_eq!(bind(&bed, Kind::Tcp, (mapped, NODE_PORT).into())?, held);
    Ok(())
}

#[test]
fn the_other_protocols_port_of_the_same_number_is_free() -> Result<()> {
    let bed = one_node("all", &[])?;
    for family in testbed::matrix::families() {
        let at = bed.node.addr().at(family, TCP_PORT);
        assert_eq!(bind(&bed, Kind::Tcp, at)?, Some(libc::EADDRINUSE));
        assert_eq!(bind(&bed, Kind::Udp, at)?, None);
    }
    Ok(())
}

#[test]
fn loopback_is_held_where_node_ports_answer_on_it() -> Result<()> {
    let bed = one_node("primary,127.0.0.0/8", &[])?;
    for (family, held) in [(Family::V4, Some(libc::EADDRINUSE)), (Family::V6, None)] {
        let at = LOOPBACK.at(family, NODE_PORT);
        assert_eq!(bind(&bed, Kind::Tcp, at)?, held, "{at}");
    }
    Ok(())
}

#[test]
fn with_the_switch_off_every_bind_succeeds() -> Result<()> {
    let bed = one_node("all", &["--bind-hold", "off"])?;
    for Case { family, kind } in matrix() {
        for at in [
            any(family),
            bed.node.addr().at(family, NODE_PORT),
            LOOPBACK.at(family, NODE_PORT),
        ] {
            assert_eq!(bind(&bed, kind, at)?, None, "{kind:?} {at}");
        }
    }
    Ok(())
}

/// `curl --local-port`: bind() cannot know that the socket will not listen.
#[test]
fn a_client_binds_a_node_port_as_its_source_port_with_the_switch_off_alone() -> Result<()> {
    for (switch, bound) in [("on", Some(libc::EADDRINUSE)), ("off", None)] {
        let bed = one_node("all", &["--bind-hold", switch])?;
        let outside = bed.lan.client(1)?;
        let to = outside.addr.at(Family::V4, 9000);
        outside.listen(Kind::Tcp, to, "outside")?;
        assert_eq!(bind(&bed, Kind::Tcp, any(Family::V4))?, bound, "{switch}");
        // Without a bind the kernel chooses, and no node port is in its range.
        assert_eq!(bed.node.ask(Kind::Tcp, to)?.name, "outside");
    }
    Ok(())
}
