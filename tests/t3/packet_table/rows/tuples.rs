//! Tuples that a flow of ours shares with a connection that is none of ours.

use lb_common::Reason::{PktLocal, PktPortRewritten, PktReply};

use crate::packet_table::{
    expect::{PASSED, Port, TO_THE_CLIENT, to},
    packet::{ACK, At, FIN, Packet, SYN, syn, tcp, udp},
    plan::{BACKEND_PORT, CLIENT, Device, HERE, Peer, S_HERE},
    row::{NOTHING, Row, row},
    today::today,
};

/// The backend, as its direct clients know it.
const DIRECT: Peer = Peer::new(HERE.addr, BACKEND_PORT);

/// What the backend answers to a direct client.
fn answers(packet: Packet) -> Packet {
    packet.from(DIRECT).to(CLIENT).at(At::Egress(Device::Eth0))
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("a direct connection to a backend of this node passes both ways")
            .given(syn().to(DIRECT))
            .then(PASSED, NOTHING)
            .given(answers(tcp(SYN | ACK)))
            .then(PASSED, NOTHING),
        row("a Service's connection leaves the tuple of an open direct one alone")
            .given(syn().to(DIRECT))
            .then(PASSED, NOTHING)
            .given(answers(tcp(SYN | ACK)))
            .then(PASSED, NOTHING)
            .given(tcp(ACK).to(DIRECT))
            .then(PASSED, NOTHING)
            .given(syn().to(S_HERE.node_port()))
            .then(to(HERE).port(Port::Range), [PktPortRewritten, PktLocal])
            .given(answers(tcp(ACK)))
            .then(PASSED, NOTHING)
            .known_wrong(
                "O1",
                "it takes the tuple, and the direct one's answers leave from the VIP",
                today(to(HERE), PktLocal).of(4),
            ),
        row("a Service's datagrams leave the tuple of open direct ones alone")
            .given(udp().to(DIRECT))
            .then(PASSED, NOTHING)
            .given(answers(udp()))
            .then(PASSED, NOTHING)
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE).port(Port::Range), [PktPortRewritten, PktLocal])
            .given(answers(udp()))
            .then(PASSED, NOTHING)
            .known_wrong(
                "O1",
                "they take the tuple, and the direct answers leave from the VIP",
                today(to(HERE), PktLocal).of(3),
            ),
        row("after a Service's connection is over a direct one is answered by the backend itself")
            .given(syn().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(tcp(SYN | ACK).answer(None))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again())
            .then(to(HERE), PktLocal)
            .given(tcp(FIN | ACK).again())
            .then(to(HERE), PktLocal)
            .given(tcp(FIN | ACK).answer(None))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again())
            .then(to(HERE), PktLocal)
            .given(syn().to(DIRECT))
            .then(PASSED, NOTHING)
            .given(answers(tcp(SYN | ACK)))
            .then(PASSED, NOTHING)
            .known_wrong(
                "S4",
                "the reply record never ages, and the answer leaves from the VIP",
                today(TO_THE_CLIENT, PktReply),
            ),
    ]
}
