//! Sources and destinations that no packet on a wire should have.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::Reason::{PktForwarded, PktMartian};
use testbed::addr::{Both, LOOPBACK};

use crate::packet_table::{
    expect::{DROPPED, PASSED, to},
    packet::{ACK, At, syn, tcp, udp},
    plan::{CLIENT, Device, FAR, NODE, POD, Peer, S_FAR, S_HERE},
    row::{NOTHING, Row, row},
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
                "a SYN from {name} is dropped as the stack drops martians"
            ))
            .given(syn().from(from))
            .then(DROPPED, PktMartian),
        );
        rows.push(
            row(format!(
                "a datagram from {name} is dropped as the stack drops martians"
            ))
            .given(udp().from(from).to(S_FAR.lb()))
            .then(DROPPED, PktMartian),
        );
        rows.push(
            row(format!(
                "a SYN from {name} for a backend of this node is dropped"
            ))
            .given(syn().from(from).to(S_HERE.node_port()))
            .then(DROPPED, PktMartian),
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
        row("a SYN from the node's own address is dropped as the stack drops martians")
            .given(syn().from(Peer::new(NODE, 4_711)))
            .then(DROPPED, PktMartian)
            .v4(),
        row("a datagram from a cluster IP is dropped")
            .given(udp().from(S_HERE.vip()))
            .then(DROPPED, PktMartian),
        row("a SYN from a pod of this node that comes in from outside is dropped")
            .given(syn().from(POD))
            .then(DROPPED, PktMartian)
            .v4(),
        row("a SYN from a client that no route leads to is dropped")
            .given(syn().from(Peer::new(UNROUTABLE, 4_711)))
            .then(DROPPED, PktMartian),
        row("a packet from the VIP to itself is dropped")
            .given(syn().from(S_FAR.lb()).to(S_FAR.lb()))
            .then(DROPPED, PktMartian),
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
    rows.push(
        row("a port that a cluster IP does not define is not refused to a martian")
            .given(
                syn()
                    .from(Peer::new(LOOPBACK, 4_711))
                    .to(S_FAR.vip().port(81)),
            )
            .then(DROPPED, PktMartian),
    );
    rows.push(
        row("a packet larger than the way back is dropped too where rp_filter is strict")
            .given(
                tcp(ACK)
                    .payload(1_600)
                    .to(S_FAR.lb())
                    .at(At::Ingress(Device::Eth1)),
            )
            .then(DROPPED, PktMartian)
            .v4(),
    );
    rows
}
