//! Tuples that a flow of ours shares with a connection that is none of ours.

use lb_common::Reason::{PktDirectMoved, PktLocal, PktPortRewritten, PktReply};

use crate::packet_table::{
    expect::{PASSED, Port, TO_THE_CLIENT, to},
    packet::{ACK, At, FIN, Packet, SYN, syn, tcp, udp},
    plan::{BACKEND_PORT, CLIENT, Device, HERE, NODE, Peer, S_FAR, S_HERE},
    row::{NOTHING, Row, row},
};

/// The backend, as its direct clients know it.
const DIRECT: Peer = Peer::new(HERE.addr, BACKEND_PORT);

/// A pod or a process of this node, masqueraded: its port is a node port's number.
const ASKS: Peer = Peer::new(NODE, S_FAR.node_port().port);
const ANSWERS: Peer = Peer::new(CLIENT.addr, 53);

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
            .then(PASSED, NOTHING),
        row("a Service's datagrams leave the tuple of open direct ones alone")
            .given(udp().to(DIRECT))
            .then(PASSED, NOTHING)
            .given(answers(udp()))
            .then(PASSED, NOTHING)
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE).port(Port::Range), [PktPortRewritten, PktLocal])
            .given(answers(udp()))
            .then(PASSED, NOTHING),
        row("a direct connection leaves the tuple of a Service's alone, and gets another port")
            .given(syn().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(tcp(SYN | ACK).answer(None))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again())
            .then(to(HERE), PktLocal)
            .given(syn().to(DIRECT))
            .then(to(HERE).port(Port::Range), [PktDirectMoved, PktLocal])
            .given(answers(tcp(ACK)))
            .then(TO_THE_CLIENT, PktReply),
        row("direct datagrams leave the tuple of a Service's alone, and get another port")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(udp().to(DIRECT))
            .then(to(HERE).port(Port::Range), [PktDirectMoved, PktLocal])
            .given(answers(udp()))
            .then(TO_THE_CLIENT, PktReply),
        row("the answer to a datagram that left from a node port's number passes")
            .given(udp().from(ASKS).to(ANSWERS).at(At::Egress(Device::Eth0)))
            .then(PASSED, NOTHING)
            .given(udp().from(ANSWERS).to(ASKS))
            .then(PASSED, NOTHING),
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
            .then(PASSED, NOTHING),
    ]
}
