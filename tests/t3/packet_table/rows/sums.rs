//! Checksums that are missing, wrong, or of odd lengths.

use lb_common::Reason::{PktForwarded, PktLocal, PktReply};

use crate::packet_table::{
    expect::{TO_THE_CLIENT, to},
    packet::{ACK, At, Layer, SYN, Sum, syn, tcp, udp},
    plan::{FAR, HERE, POD, S_FAR, S_HERE, S_TURN, TURN},
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("a datagram without a sum has none at a backend of another node")
            .given(udp().sum(Sum::Zero))
            .then(to(FAR), PktForwarded),
        row("a datagram without a sum has none at a backend of this node")
            .given(udp().sum(Sum::Zero).to(S_HERE.node_port()))
            .then(to(HERE), PktLocal),
        row("an answer without a sum has none at the client")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(udp().sum(Sum::Zero).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        row("a datagram without a sum has none when it leaves lb0")
            .given(udp().sum(Sum::Zero).from(POD).to(S_FAR.vip()).at(At::Lb0))
            .then(to(FAR), PktForwarded),
        row("an answer of a backend of this node without a sum has none at the client")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(udp().sum(Sum::Zero).answer(None))
            .then(TO_THE_CLIENT, PktReply),
        row("a wrong sum of a datagram stays as wrong as it was")
            .given(udp().sum(Sum::Wrong))
            .then(to(FAR), PktForwarded),
        row("a wrong sum of a segment stays as wrong as it was")
            .given(syn().sum(Sum::Wrong).to(S_TURN.node_port()))
            .then(to(TURN), PktForwarded),
        row("a wrong sum of an answer stays as wrong as it was")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).sum(Sum::Wrong).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        row("a wrong sum of an IPv4 header stays as wrong as it was")
            .given(tcp(ACK).edit(Layer::Ip, 10, &[0x12, 0x34]))
            .then(to(FAR), PktForwarded)
            .v4(),
    ];
    for length in [0, 1, 2, 1_471] {
        rows.push(
            row(format!("the sum of a datagram of {length} bytes is right"))
                .given(udp().payload(length).to(S_HERE.node_port()))
                .then(to(HERE), PktLocal),
        );
    }
    rows
}
