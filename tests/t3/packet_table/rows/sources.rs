//! Sources and destinations that no packet on a wire should have.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::Reason::{PktForwarded, PktLocal, PktNoRoute};
use testbed::addr::{Both, LOOPBACK};

use crate::packet_table::{
    expect::{DROPPED, PASSED, to},
    packet::{ACK, SYN, syn, tcp, udp},
    plan::{CLIENT, FAR, HERE, NODE, POD, Peer, S_FAR, S_HERE},
    row::{NOTHING, Row, row},
    today::today,
};

const UNSPECIFIED: Both = Both {
    v4: Ipv4Addr::UNSPECIFIED,
    v6: Ipv6Addr::UNSPECIFIED,
};
const MULTICAST: Both = Both {
    v4: Ipv4Addr::new(224, 0, 0, 251),
    v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb),
};
/// Of IPv6 there is none: all nodes of the link.
const BROADCAST: Both = Both {
    v4: Ipv4Addr::BROADCAST,
    v6: Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
};
/// An address that no route leads to.
const UNROUTABLE: Both = Both {
    v4: Ipv4Addr::new(192, 0, 2, 77),
    v6: Ipv6Addr::new(0xfd66, 0xc000, 0, 0, 0, 0, 0, 77),
};

/// For what is sent to no host in particular.
pub(super) const ALL_NODES: Peer = Peer::new(BROADCAST, 0);

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![];
    for (addr, name) in [
        (LOOPBACK, "the loopback address"),
        (MULTICAST, "a multicast address"),
        (BROADCAST, "a broadcast address"),
        (UNSPECIFIED, "no address"),
    ] {
        let from = Peer::new(addr, 4_711);
        rows.push(
            row(format!(
                "a SYN from {name} is left to the stack, which drops martians"
            ))
            .given(syn().from(from))
            .then(PASSED, NOTHING)
            .known_wrong(
                "H1",
                "it is sent on under the node's address",
                today(to(FAR), PktForwarded),
            ),
        );
        rows.push(
            row(format!(
                "a datagram from {name} is left to the stack, which drops martians"
            ))
            .given(udp().from(from).to(S_FAR.lb()))
            .then(PASSED, NOTHING)
            .known_wrong(
                "H1",
                "it is sent on under the node's address",
                today(to(FAR), PktForwarded),
            ),
        );
        rows.push(
            row(format!(
                "a SYN from {name} for a backend of this node goes through the stack"
            ))
            .given(syn().from(from).to(S_HERE.node_port()))
            .then(to(HERE), PktLocal),
        );
        if addr != UNSPECIFIED {
            rows.push(
                row(format!("a datagram for {name} passes"))
                    .given(udp().to(from))
                    .then(PASSED, NOTHING),
            );
        }
    }
    rows.extend([
        row("a SYN from the node's own address is left to the stack, which drops martians")
            .given(syn().from(Peer::new(NODE, 4_711)))
            .then(PASSED, NOTHING)
            .v4()
            .known_wrong(
                "H1",
                "it is sent on under the node's address",
                today(to(FAR), PktForwarded),
            ),
        row("a datagram from a cluster IP is left to the stack")
            .given(udp().from(S_HERE.vip()))
            .then(PASSED, NOTHING)
            .known_wrong(
                "H1",
                "it is sent on under the node's address",
                today(to(FAR), PktForwarded),
            ),
        row("a SYN from a pod of this node that comes in from outside is left to the stack")
            .given(syn().from(POD))
            .then(PASSED, NOTHING)
            .known_wrong(
                "H1",
                "it is sent on under the node's address",
                today(to(FAR), PktForwarded),
            ),
        row("the answer to a client that no route leads to is dropped")
            .given(syn().from(Peer::new(UNROUTABLE, 4_711)))
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(DROPPED, PktNoRoute),
        row("a packet from the VIP to itself is left to the stack")
            .given(syn().from(S_FAR.lb()).to(S_FAR.lb()))
            .then(PASSED, NOTHING)
            .known_wrong(
                "H1",
                "it is sent on under the node's address",
                today(to(FAR), PktForwarded),
            ),
        row("a datagram from a node port's number is a client's like any other")
            .given(udp().from(CLIENT.port(S_FAR.node_port().port)))
            .then(to(FAR), PktForwarded),
        row("an ACK from the node's address to its loopback passes")
            .given(
                tcp(ACK)
                    .from(Peer::new(NODE, 4_711))
                    .to(Peer::new(LOOPBACK, 30_001)),
            )
            .then(PASSED, NOTHING),
    ]);
    rows
}
