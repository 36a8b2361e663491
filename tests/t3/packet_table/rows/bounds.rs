//! Backends that may have so many connections.

use lb_common::Reason::{PktBackendsFull, PktForwarded, PktReply};

use crate::packet_table::{
    expect::{REFUSED, TO_THE_CLIENT, to},
    packet::{ACK, At, RST, SYN, syn, tcp, udp},
    plan::{CLIENT, FAR, POD, Peer, S_BOUNDED},
    row::{Row, row},
};

/// Another one of the client's ports.
const OTHER: Peer = CLIENT.port(42_000);

/// A connection, which is all that the backend may have.
fn opened(sentence: &'static str) -> Row {
    row(sentence)
        .given(syn().to(S_BOUNDED.node_port()))
        .then(to(FAR), PktForwarded)
        .given(tcp(SYN | ACK).answer(FAR.way))
        .then(TO_THE_CLIENT, PktReply)
        .given(tcp(ACK).again())
        .then(to(FAR), PktForwarded)
}

pub(super) fn rows() -> Vec<Row> {
    let another = || syn().from(OTHER).to(S_BOUNDED.node_port());
    vec![
        opened("a connection more than its backend may have is refused")
            .given(another())
            .then(REFUSED, PktBackendsFull),
        opened("a connection that is open goes on though its backend is full and its records lost")
            .meanwhile(|scene, _| scene.state.lose_flows())
            .given(tcp(ACK).again())
            .then(to(FAR), PktForwarded),
        opened("a connection that is over makes room")
            .given(tcp(RST | ACK).again())
            .then(to(FAR), PktForwarded)
            .given(another())
            .then(to(FAR), PktForwarded),
        row("a connection that is not established yet is not counted")
            .given(syn().to(S_BOUNDED.node_port()))
            .then(to(FAR), PktForwarded)
            .given(another())
            .then(to(FAR), PktForwarded),
        row("datagrams of a client more than the backend may have are refused")
            .given(udp().to(S_BOUNDED.node_port()))
            .then(to(FAR), PktForwarded)
            .given(udp().again())
            .then(to(FAR), PktForwarded)
            .given(udp().from(OTHER).to(S_BOUNDED.node_port()))
            .then(REFUSED, PktBackendsFull),
        row("a pod's connection over lb0 is counted, too")
            .given(udp().from(POD).to(S_BOUNDED.vip()).at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .given(udp().from(POD.port(42_000)).to(S_BOUNDED.vip()).at(At::Lb0))
            .then(REFUSED, PktBackendsFull),
    ]
}
