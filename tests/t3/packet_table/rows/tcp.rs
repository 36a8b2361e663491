//! Segments with flags of every kind, with and without a connection.

use lb_common::Reason::{PktForwarded, PktLocal, PktMalformed, PktNoEndpoint, PktNoFlow, PktReply};

use crate::packet_table::{
    expect::{ANYTHING, DROPPED, PASSED, REFUSED, TO_THE_CLIENT, to},
    packet::{ACK, FIN, Layer, PSH, Packet, RST, SYN, URG, syn, tcp},
    plan::{ELSEWHERE, FAR, HERE, S_EMPTY, S_FAR, S_HERE},
    row::{NOTHING, Row, row},
    stage::Place,
};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![
        row("SYN and FIN at once open a connection, which the backend judges")
            .given(tcp(SYN | FIN))
            .then(to(FAR), PktForwarded),
        row("SYN, PSH and URG at once open a connection")
            .given(tcp(SYN | PSH | URG))
            .then(to(FAR), PktForwarded),
        row("SYN and RST at once open nothing")
            .given(tcp(SYN | RST))
            .then(DROPPED, PktNoFlow)
            .records(Place::Nowhere),
        row("all flags at once open nothing")
            .given(tcp(0xff))
            .then(DROPPED, PktNoFlow)
            .records(Place::Nowhere),
        row("a reset without a connection is dropped")
            .given(tcp(RST))
            .then(DROPPED, PktNoFlow),
        row("a reset with ACK without a connection is dropped")
            .given(tcp(RST | ACK).to(S_HERE.node_port()))
            .then(DROPPED, PktNoFlow),
        row("a SYN with ECN's flags opens a connection")
            .given(tcp(SYN | 64 | 128))
            .then(to(FAR), PktForwarded),
        row("a SYN-ACK for a node port answers another program's connection and passes")
            .given(tcp(SYN | ACK).from(ELSEWHERE))
            .then(PASSED, NOTHING),
        row("a FIN alone to a Service without endpoints is reset behind itself")
            .given(tcp(FIN).to(S_EMPTY.node_port()))
            .then(REFUSED, PktNoEndpoint),
        row("all of 40 bytes of TCP options stay")
            .given(syn().tcp_options(40))
            .then(to(FAR), PktForwarded),
    ];
    rows.extend(proofs());
    rows.extend(header_lengths());
    // A connection that was open before us, or whose records are lost, finds its backend again.
    for (flags, name) in [
        (0, "no flag"),
        (ACK, "ACK"),
        (PSH | ACK, "PSH and ACK"),
        (FIN | ACK, "FIN and ACK"),
        (FIN, "FIN"),
        (URG, "URG"),
    ] {
        rows.push(
            row(format!(
                "a segment with {name} and no connection goes to a backend of another node"
            ))
            .given(tcp(flags).to(S_FAR.node_port()))
            .then(to(FAR), PktForwarded),
        );
        rows.push(
            row(format!(
                "a segment with {name} and no connection goes to a backend of this node"
            ))
            .given(tcp(flags).to(S_HERE.vip()))
            .then(to(HERE), PktLocal),
        );
    }
    rows
}

fn header_lengths() -> Vec<Row> {
    vec![
        row("a header that says it is shorter than a TCP header is not translated")
            .given(tcp(ACK).edit(Layer::Transport, 12, &[0x40]))
            .then(PASSED, PktMalformed),
        row("a header that says it ends behind the packet is not translated")
            .given(syn().edit(Layer::Transport, 12, &[0xf0]))
            .then(PASSED, PktMalformed),
    ]
}

/// What the client sends behind the server's SYN-ACK, which is no proof of the handshake.
fn unproved(sentence: &'static str, sent: Packet) -> Row {
    row(sentence)
        .given(syn())
        .then(to(FAR), PktForwarded)
        .given(tcp(SYN | ACK).answer(FAR.way))
        .then(TO_THE_CLIENT, PktReply)
        .given(sent)
        .then(ANYTHING, NOTHING)
        .records(Place::New)
}

/// A client's ACK of this number.
fn acknowledges(number: u32) -> Packet {
    tcp(ACK)
        .again()
        .edit(Layer::Transport, 8, &number.to_be_bytes())
}

/// What confirms a flow, and what does not.
fn proofs() -> Vec<Row> {
    vec![
        unproved(
            "an empty segment without a flag in a new flow does not confirm it",
            tcp(PSH).again(),
        ),
        unproved(
            "a client's ACK that acknowledges something else does not confirm the flow",
            acknowledges(0x1234_5678),
        ),
        // A blind sender would guess one of 65,536 windows soon.
        unproved(
            "a client's ACK of more than the server has sent does not confirm the flow",
            acknowledges(0x0a0b_0c0e),
        ),
        row("a reset of the server does not confirm the flow")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(RST | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again())
            .then(to(FAR), PktForwarded)
            .records(Place::New),
        row("a bare ACK of the server, which may challenge, does not confirm the flow")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(ACK).payload(0).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again().edit(Layer::Transport, 8, &[9, 9, 9, 9]))
            .then(ANYTHING, NOTHING)
            .records(Place::New),
        row("the server's data show that its handshake is complete")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(PSH | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again())
            .then(to(FAR), PktForwarded)
            .records(Place::Established),
        row("a client's ACK before any answer does not confirm the flow")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(ACK).again())
            .then(to(FAR), PktForwarded)
            .records(Place::New),
        row("a SYN sent again goes to the same backend from the same port")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(syn().again())
            .then(to(FAR), PktForwarded)
            .times(3)
            .records(Place::New),
    ]
}
