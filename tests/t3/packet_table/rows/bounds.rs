//! Backends that may have so many connections.

use lb_common::Reason::{PktBackendsFull, PktForwarded, PktReply};

use crate::packet_table::{
    expect::{REFUSED, TO_THE_CLIENT, to},
    packet::{ACK, At, RST, SYN, syn, tcp, udp},
    plan::{CLIENT, FAR, POD, S_BOUNDED},
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    let other = CLIENT.port(42_000);
    vec![
        row("a connection more than its backend may have is refused, and one that is open goes on")
            .given(syn().to(S_BOUNDED.node_port()))
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again())
            .then(to(FAR), PktForwarded)
            .given(syn().from(other).to(S_BOUNDED.node_port()))
            .then(REFUSED, PktBackendsFull),
        row("a connection that is not established yet is not counted")
            .given(syn().to(S_BOUNDED.node_port()))
            .then(to(FAR), PktForwarded)
            .given(syn().from(other).to(S_BOUNDED.node_port()))
            .then(to(FAR), PktForwarded),
        row("a connection that is over makes room")
            .given(syn().to(S_BOUNDED.node_port()))
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again())
            .then(to(FAR), PktForwarded)
            .given(tcp(RST | ACK).again())
            .then(to(FAR), PktForwarded)
            .given(syn().from(other).to(S_BOUNDED.node_port()))
            .then(to(FAR), PktForwarded),
        row("datagrams of a client more than the backend may have are refused")
            .given(udp().to(S_BOUNDED.node_port()))
            .then(to(FAR), PktForwarded)
            .given(udp().again())
            .then(to(FAR), PktForwarded)
            .given(udp().from(other).to(S_BOUNDED.node_port()))
            .then(REFUSED, PktBackendsFull),
        row("a pod's connection over lb0 is counted, too")
            .given(udp().from(POD).to(S_BOUNDED.vip()).at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .given(udp().from(POD.port(42_000)).to(S_BOUNDED.vip()).at(At::Lb0))
            .then(REFUSED, PktBackendsFull),
    ]
}
