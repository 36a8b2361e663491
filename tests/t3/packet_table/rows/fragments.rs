//! Fragments of requests and answers, the first and the later ones.

use lb_common::Reason::{
    PktForwarded, PktFragment, PktFragmentLost, PktLocal, PktNoEndpoint, PktReply, PktTooBig,
    PktTtlExpired, PktWriteFailed,
};

use crate::packet_table::{
    expect::{DROPPED, EXPIRED, PASSED, REFUSED, TO_THE_CLIENT, Then, to, too_big},
    packet::{ACK, At, Extension, Layer, Packet, SYN, Sum, chunk, other, sctp, syn, tcp, udp},
    plan::{
        Device, ELSEWHERE, FAR, HERE, POD, Peer, QUIET, S_EMPTY, S_FAR, S_HERE, S_NARROW, S_QUIET,
    },
    row::{NOTHING, Row, row},
    stage::Place,
};

pub(super) fn rows() -> Vec<Row> {
    [foreign(), requests(), answers(), on_lb0(), undelivered()]
        .into_iter()
        .flatten()
        .collect()
}

/// The first fragment of a datagram.
fn first() -> Packet {
    udp().fragment(0, true).payload(64)
}

/// Its last one.
fn last() -> Packet {
    udp().fragment(72, false).payload(39)
}

fn foreign() -> Vec<Row> {
    vec![
        row("the fragments of a datagram that is none of ours pass")
            .given(first().to(ELSEWHERE))
            .then(PASSED, NOTHING)
            .given(last().to(ELSEWHERE))
            .then(PASSED, NOTHING),
        row("a fragment of a protocol that is not balanced passes")
            .given(other(47).fragment(0, true))
            .then(PASSED, PktFragment),
        row("a later fragment for an address of the node passes if its first one has not come")
            .given(udp().fragment(1480, false))
            .then(PASSED, PktFragment),
        row("a later fragment for a VIP is dropped if its first one has not come")
            .given(udp().fragment(1480, false).to(S_FAR.lb()))
            .then(DROPPED, PktFragmentLost),
        row("a later fragment on its way out passes if its first one was not seen")
            .given(last().to(ELSEWHERE).at(At::Egress(Device::Eth0)))
            .then(PASSED, PktFragment),
        row("a first fragment that ends within the TCP header passes")
            .given(syn().fragment(0, true).cut(4))
            .then(PASSED, PktFragment),
        row("a fragment whose IPv4 header is too short by its own word passes")
            .given(udp().fragment(0, true).edit(Layer::Ip, 0, &[0x44]))
            .then(PASSED, PktFragment)
            .v4(),
        row("a first fragment without any transport header passes")
            .given(udp().fragment(0, true).payload(0).cut(8))
            .then(PASSED, PktFragment),
    ]
}

fn requests() -> Vec<Row> {
    let follows = |sentence: &str, service: Peer, then: Then, counted| {
        row(sentence)
            .given(first().to(service))
            .then(then, counted)
            .given(udp().fragment(72, true).payload(80).to(service))
            .then(then, counted)
            .given(udp().fragment(152, false).payload(41).to(service))
            .then(then, counted)
    };
    vec![
        row("the first fragment of a datagram goes to its backend")
            .given(first())
            .then(to(FAR), PktForwarded),
        follows(
            "the later fragments of a datagram follow the first one",
            S_FAR.node_port(),
            to(FAR),
            PktForwarded,
        ),
        follows(
            "the fragments of a datagram for a load balancer's address go to its backend",
            S_FAR.lb(),
            to(FAR),
            PktForwarded,
        ),
        follows(
            "the fragments of a datagram for a backend of this node are translated",
            S_HERE.node_port(),
            to(HERE),
            PktLocal,
        ),
        follows(
            "fragments to a backend whose neighbour is unknown are sent",
            S_QUIET.node_port(),
            to(QUIET),
            PktForwarded,
        ),
        row("the fragments of a datagram without a checksum go to its backend")
            .given(first().sum(Sum::Zero))
            .then(to(FAR), PktForwarded)
            .given(last())
            .then(to(FAR), PktForwarded)
            .v4(),
        row("fragments with IPv4 options go to their backend")
            .given(first().options(8))
            .then(to(FAR), PktForwarded)
            .given(last().options(8))
            .then(to(FAR), PktForwarded)
            .v4(),
        row("the fragments of a segment go to its backend")
            .given(tcp(ACK).fragment(0, true).payload(60))
            .then(to(FAR), PktForwarded)
            .given(tcp(ACK).fragment(80, false).payload(21))
            .then(to(FAR), PktForwarded),
        row("the fragments of a packet of SCTP whose ports change are dropped")
            .given(sctp(chunk::DATA).fragment(0, true).payload(64))
            .then(DROPPED, PktWriteFailed),
        row("fragments behind an extension header go to their backend")
            .given(first().extension(Extension::HopByHop))
            .then(to(FAR), PktForwarded)
            .given(last().extension(Extension::HopByHop))
            .then(to(FAR), PktForwarded)
            .v6(),
        row("a whole packet with a fragment header goes to its backend")
            .given(udp().extension(Extension::Atomic))
            .then(to(FAR), PktForwarded)
            .v6(),
        row("an acknowledgement with a fragment header confirms its connection")
            .given(syn().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(tcp(SYN | ACK).payload(0).answer(None))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).payload(0).extension(Extension::Atomic).again())
            .then(to(HERE), PktLocal)
            .records(Place::Established)
            .v6(),
        row("the next datagram of the same identification goes its own way")
            .given(first())
            .then(to(FAR), PktForwarded)
            .given(first().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(last().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal),
    ]
}

fn answers() -> Vec<Row> {
    vec![
        row("a fragmented answer of a backend of this node leaves from the VIP")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(first().answer(None))
            .then(TO_THE_CLIENT, PktReply)
            .given(last().answer(None))
            .then(TO_THE_CLIENT, PktReply),
        row("a fragmented answer of a backend of another node reaches the client")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(first().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(last().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
    ]
}

fn on_lb0() -> Vec<Row> {
    let out = |packet: Packet, to: Peer| packet.from(POD).to(to).at(At::Lb0);
    vec![
        row("a pod's fragmented datagram for a cluster IP goes to its backend")
            .given(out(first(), S_FAR.vip()))
            .then(to(FAR), PktForwarded)
            .given(out(last(), S_FAR.vip()))
            .then(to(FAR), PktForwarded),
        row("a fragmented answer to a pod from another node reaches it over lb0")
            .given(out(udp(), S_FAR.vip()))
            .then(to(FAR), PktForwarded)
            .given(first().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(last().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        row("fragments between pods of this node are translated on lb0, both ways")
            .given(out(first(), S_HERE.vip()))
            .then(to(HERE), PktLocal)
            .given(out(last(), S_HERE.vip()))
            .then(to(HERE), PktLocal)
            .given(first().answer(None).at(At::Lb0Back))
            .then(TO_THE_CLIENT, PktReply)
            .given(last().answer(None).at(At::Lb0Back))
            .then(TO_THE_CLIENT, PktReply),
        row("a later fragment is dropped on lb0 if its first one has not come")
            .given(out(last(), S_FAR.vip()))
            .then(DROPPED, PktFragmentLost),
    ]
}

fn undelivered() -> Vec<Row> {
    vec![
        row("of a datagram without an endpoint the first fragment is refused, and no other")
            .given(first().to(S_EMPTY.node_port()))
            .then(REFUSED, PktNoEndpoint)
            .given(last().to(S_EMPTY.node_port()))
            .then(DROPPED, PktNoEndpoint),
        row("an expired first fragment is answered, a later one is not")
            .given(first().ttl(1))
            .then(EXPIRED, PktTtlExpired)
            .given(last().ttl(1))
            .then(DROPPED, PktTtlExpired),
        row(
            "a first fragment of IPv6 that the way does not carry is answered with what it carries",
        )
        .given(
            udp()
                .fragment(0, true)
                .payload(1_400)
                .to(S_NARROW.node_port()),
        )
        .then(too_big(1_400), PktTooBig)
        .v6(),
    ]
}
