//! Connections and datagrams that go well, and what their packets say of them.

use anyhow::Result;
use lb_common::{
    Reason::{PktForwarded, PktLocal, PktReply},
    flow::began,
};

use crate::packet_table::{
    expect::{PASSED, TO_THE_CLIENT, to},
    packet::{ACK, At, FIN, PSH, RST, SYN, chunk, sctp, syn, tcp, udp},
    plan::{
        ELSEWHERE, FAR, FAR_CLIENT, HERE, POD, QUIET, S_FAR, S_HERE, S_QUIET, S_SLOW, S_TURN, SLOW,
        TURN,
    },
    row::{NOTHING, Row, row},
    scene::Scene,
    stage::Place,
};

pub(super) fn rows() -> Vec<Row> {
    [first_packets(), conversations(), over_lb0()]
        .into_iter()
        .flatten()
        .collect()
}

fn first_packets() -> Vec<Row> {
    vec![
        row("a SYN for a node port goes to a backend of another node under our address")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .records(Place::New),
        row("a SYN for a cluster IP that comes in from outside goes to its backend")
            .given(syn().to(S_FAR.vip()))
            .then(to(FAR), PktForwarded),
        row("a SYN for a load balancer's address goes to its backend")
            .given(syn().to(S_FAR.lb()))
            .then(to(FAR), PktForwarded),
        row("a SYN for an external IP goes to its backend")
            .given(syn().to(S_FAR.external()))
            .then(to(FAR), PktForwarded),
        row("a SYN for a backend of this node keeps the client's address and port")
            .given(syn().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .records(Place::New),
        row("a SYN for a backend on the client's own segment leaves by the device it came in on")
            .given(syn().to(S_TURN.node_port()))
            .then(to(TURN), PktForwarded),
        row("a SYN that leaves by a device without XDP is sent by tc")
            .given(syn().to(S_SLOW.node_port()))
            .then(to(SLOW), PktForwarded),
        row("a SYN whose next hop is unknown is sent by tc, which has the kernel find out")
            .given(syn().to(S_QUIET.node_port()))
            .then(to(QUIET), PktForwarded),
        row("a segment for an address that is none of ours passes")
            .given(syn().to(ELSEWHERE))
            .then(PASSED, NOTHING)
            .records(Place::Nowhere),
    ]
}

fn conversations() -> Vec<Row> {
    vec![
        row("a connection to a backend of another node: SYN, answer, data, both ends close")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .records(Place::New)
            .given(tcp(ACK).again())
            .then(to(FAR), PktForwarded)
            .records(Place::Established)
            .given(tcp(PSH | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(FIN | ACK).again())
            .then(to(FAR), PktForwarded)
            .given(tcp(FIN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        row("a connection to a backend of this node is answered from the node port")
            .given(syn().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(tcp(SYN | ACK).answer(None))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again())
            .then(to(HERE), PktLocal)
            .records(Place::Established),
        row("a client behind a router is answered by that router")
            .given(syn().from(FAR_CLIENT))
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        row("a reset of the client reaches the backend")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(RST).again())
            .then(to(FAR), PktForwarded),
        row("a reset of the backend reaches the client")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(RST | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        row("a datagram goes to its backend, and its answer comes back")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(udp().again())
            .then(to(FAR), PktForwarded)
            .records(Place::New),
        row("answered datagrams over more than two seconds are a stream")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .meanwhile(|scene, _| began_earlier(scene))
            .given(udp().again())
            .then(to(FAR), PktForwarded)
            .records(Place::Established),
        row("a datagram for a backend of this node is answered from the node port")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(udp().answer(None))
            .then(TO_THE_CLIENT, PktReply),
        row("an association: INIT, INIT ACK, COOKIE ECHO, DATA, SHUTDOWN")
            .given(sctp(chunk::INIT))
            .then(to(FAR), PktForwarded)
            .given(sctp(chunk::INIT_ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(sctp(chunk::COOKIE_ECHO).again())
            .then(to(FAR), PktForwarded)
            .records(Place::Established)
            .given(sctp(chunk::DATA).again())
            .then(to(FAR), PktForwarded)
            .given(sctp(chunk::SHUTDOWN).again())
            .then(to(FAR), PktForwarded)
            .given(sctp(chunk::SHUTDOWN_ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
    ]
}

fn over_lb0() -> Vec<Row> {
    vec![
        row("a pod's SYN for a cluster IP goes out by lb0 and in again under lb0's source")
            .given(syn().from(POD).to(S_HERE.vip()).at(At::Lb0))
            .then(to(HERE), PktLocal)
            .given(tcp(SYN | ACK).answer(None).at(At::Lb0Back))
            .then(TO_THE_CLIENT, PktReply),
        row("a pod's SYN for a backend of another node leaves lb0 under our address")
            .given(syn().from(POD).to(S_FAR.vip()).at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again().at(At::Lb0))
            .then(to(FAR), PktForwarded),
        row("a pod's datagram for a load balancer's address with its answer over lb0")
            .given(udp().from(POD).to(S_FAR.lb()).at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
    ]
}

/// Every flow began three seconds earlier.
fn began_earlier(scene: &mut Scene) -> Result<()> {
    let earlier = began(3_000_000_000);
    scene
        .state
        .change_replies(|flow| flow.proof = flow.proof.wrapping_sub(earlier))
}
