//! Packets that are larger than the way on carries.

use lb_common::Reason::{PktForwarded, PktReply, PktTooBig};

use crate::packet_table::{
    expect::{DROPPED, TO_THE_CLIENT, by_the_stack_to, to, too_big},
    packet::{ACK, At, Extension, Layer, PSH, SYN, chunk, sctp, syn, tcp, udp},
    plan::{FAR, NARROW, POD, S_NARROW},
    row::{Row, row},
    stage::Place,
};

pub(super) fn rows() -> Vec<Row> {
    [whole(), segmented()].into_iter().flatten().collect()
}

fn whole() -> Vec<Row> {
    vec![
        row("a datagram that the way does not carry is answered with what it carries")
            .given(udp().payload(1_400).to(S_NARROW.node_port()))
            .then(too_big(1_400), PktTooBig)
            .records(Place::Nowhere),
        row("a segment that the way does not carry is answered with what it carries")
            .given(syn().to(S_NARROW.node_port()))
            .then(to(NARROW), PktForwarded)
            .given(tcp(ACK).payload(1_400).again())
            .then(too_big(1_400), PktTooBig),
        row("a packet of SCTP that the way does not carry is answered with what it carries")
            .given(sctp(chunk::DATA).payload(1_400).to(S_NARROW.node_port()))
            .then(too_big(1_400), PktTooBig),
        row("a datagram of IPv4 that the way just carries goes on")
            .given(udp().payload(1_372).to(S_NARROW.node_port()))
            .then(to(NARROW), PktForwarded)
            .v4(),
        row("a datagram of IPv6 that the way just carries goes on")
            .given(udp().payload(1_352).to(S_NARROW.node_port()))
            .then(to(NARROW), PktForwarded)
            .v6(),
        row("a datagram of IPv4 one byte larger does not")
            .given(udp().payload(1_373).to(S_NARROW.node_port()))
            .then(too_big(1_400), PktTooBig)
            .v4(),
        row("a datagram of IPv6 one byte larger does not")
            .given(udp().payload(1_353).to(S_NARROW.node_port()))
            .then(too_big(1_400), PktTooBig)
            .v6(),
        row("a datagram that routers may fragment goes to the stack, which fragments it")
            .given(udp().payload(1_400).may_fragment().to(S_NARROW.node_port()))
            .then(by_the_stack_to(NARROW), PktForwarded)
            .v4(),
        row("its flow is the one of datagrams that fit")
            .given(udp().may_fragment().to(S_NARROW.node_port()))
            .then(to(NARROW), PktForwarded)
            .given(udp().payload(1_400).may_fragment().again())
            .then(by_the_stack_to(NARROW), PktForwarded)
            .given(udp().may_fragment().again())
            .then(to(NARROW), PktForwarded)
            .v4(),
        row("a segment that routers may fragment goes to the stack, which fragments it")
            .given(
                tcp(PSH | ACK)
                    .payload(1_400)
                    .may_fragment()
                    .to(S_NARROW.node_port()),
            )
            .then(by_the_stack_to(NARROW), PktForwarded)
            .v4(),
        row("where the first fragment is fragmented further, the later ones go the same way")
            .given(
                udp()
                    .fragment(0, true)
                    .payload(1_472)
                    .to(S_NARROW.node_port()),
            )
            .then(by_the_stack_to(NARROW), PktForwarded)
            .given(
                udp()
                    .fragment(1_480, false)
                    .payload(40)
                    .to(S_NARROW.node_port()),
            )
            .then(by_the_stack_to(NARROW), PktForwarded)
            .v4(),
        row("a pod's datagram that routers may fragment is answered where the way is narrower than lb0")
            .given(
                udp()
                    .payload(1_400)
                    .may_fragment()
                    .from(POD)
                    .to(S_NARROW.vip())
                    .at(At::Lb0),
            )
            .then(too_big(1_400), PktTooBig)
            .v4(),
        row("a packet too big with IPv4 options is not answered")
            .given(udp().payload(1_400).options(4).to(S_NARROW.node_port()))
            .then(DROPPED, PktTooBig)
            .v4(),
        row("an answer that the client's segment does not carry is answered to the backend")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(PSH | ACK).payload(1_500).answer(FAR.way))
            .then(too_big(1_500), PktTooBig),
        row("a pod's datagram that the way does not carry is answered on lb0")
            .given(
                udp()
                    .payload(1_400)
                    .from(POD)
                    .to(S_NARROW.vip())
                    .at(At::Lb0),
            )
            .then(too_big(1_400), PktTooBig),
        row("a pod's datagram for a load balancer's address is answered by who speaks for it")
            .given(udp().payload(1_400).from(POD).to(S_NARROW.lb()).at(At::Lb0))
            .then(too_big(1_400), PktTooBig),
    ]
}

/// Several segments in one socket buffer.
fn segmented() -> Vec<Row> {
    vec![
        row("segments in one buffer go on when each of them fits")
            .given(
                tcp(PSH | ACK)
                    .payload(2_600)
                    .segments(1_300)
                    .to(S_NARROW.node_port()),
            )
            .then(to(NARROW), PktForwarded),
        row("segments in one buffer that is too long for IPv4 to say go on")
            .given(
                tcp(PSH | ACK)
                    .payload(2_600)
                    .segments(1_300)
                    .edit(Layer::Ip, 2, &[0, 0]),
            )
            .then(to(FAR), PktForwarded)
            .v4(),
        row("segments in one buffer that is too long for IPv6 to say go on")
            .given(
                tcp(PSH | ACK)
                    .payload(2_600)
                    .segments(1_300)
                    .edit(Layer::Ip, 4, &[0, 0]),
            )
            .then(to(FAR), PktForwarded)
            .v6(),
        row("segments in one buffer behind a jumbo option, which says what IPv6 cannot, go on")
            .given(
                tcp(PSH | ACK)
                    .payload(2_600)
                    .segments(1_300)
                    .extension(Extension::HopByHop)
                    .edit(Layer::Ip, 4, &[0, 0])
                    // The jumbo payload option of RFC 2675.
                    .edit(Layer::Ip, 42, &[0xc2, 4, 0, 0, 0x0a, 0x44]),
            )
            .then(to(FAR), PktForwarded)
            .v6(),
        row("segments in one buffer do not go on when each of them is too big")
            .given(
                tcp(PSH | ACK)
                    .payload(2_900)
                    .segments(1_450)
                    .to(S_NARROW.node_port()),
            )
            .then(too_big(1_400), PktTooBig),
        row("an answer of several segments in one buffer reaches the client")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(
                tcp(PSH | ACK)
                    .payload(2_800)
                    .segments(1_400)
                    .answer(FAR.way),
            )
            .then(TO_THE_CLIENT, PktReply),
    ]
}
