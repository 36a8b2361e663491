//! Network headers: options, hops, and lengths that lie.

use lb_common::Reason::{
    PktForwarded, PktLocal, PktMalformed, PktNoEndpoint, PktReply, PktTtlExpired,
};

use crate::packet_table::{
    expect::{DROPPED, EXPIRED, PASSED, REFUSED, TO_THE_CLIENT, to},
    packet::{ACK, At, Error, Layer, Quote, SYN, chunk, error, other, sctp, syn, tcp, udp},
    plan::{Device, FAR, HERE, INNER_ROUTER, POD, Peer, S_EMPTY, S_FAR, S_HERE, S_TURN, TURN},
    row::{NOTHING, Row, row},
    stage::Place,
};

pub(super) fn rows() -> Vec<Row> {
    [options(), hops(), lengths(), protocols()]
        .into_iter()
        .flatten()
        .collect()
}

fn options() -> Vec<Row> {
    vec![
        row("a SYN with four bytes of IPv4 options keeps them")
            .given(syn().options(4))
            .then(to(FAR), PktForwarded)
            .v4(),
        row("a SYN with all of 40 bytes of IPv4 options keeps them")
            .given(syn().options(40))
            .then(to(FAR), PktForwarded)
            .v4(),
        row("a datagram with IPv4 options to a backend of this node, and its answer")
            .given(udp().options(12).to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(udp().options(12).answer(None))
            .then(TO_THE_CLIENT, PktReply)
            .v4(),
        row("an INIT with IPv4 options keeps its CRC right")
            .given(sctp(chunk::INIT).options(20))
            .then(to(FAR), PktForwarded)
            .v4(),
        row("an answer with IPv4 options comes back")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).options(8).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .v4(),
        row("traffic class and congestion bits stay")
            .given(tcp(ACK).tos(0xb9))
            .then(to(FAR), PktForwarded),
    ]
}

fn hops() -> Vec<Row> {
    let mut rows = vec![];
    for ttl in [0, 1] {
        rows.push(
            row(format!(
                "a SYN with {ttl} hops left does not go to another node"
            ))
            .given(syn().ttl(ttl))
            .then(EXPIRED, PktTtlExpired)
            .records(Place::Nowhere),
        );
        rows.push(
            row(format!(
                "a datagram with {ttl} hops left is answered with time exceeded"
            ))
            .given(udp().ttl(ttl))
            .then(EXPIRED, PktTtlExpired),
        );
        rows.push(
            row(format!(
                "an INIT with {ttl} hops left is answered with time exceeded"
            ))
            .given(sctp(chunk::INIT).ttl(ttl))
            .then(EXPIRED, PktTtlExpired),
        );
        rows.push(
            row(format!(
                "an answer with {ttl} hops left is answered with time exceeded"
            ))
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).ttl(ttl).answer(FAR.way))
            .then(EXPIRED, PktTtlExpired),
        );
        rows.push(
            row(format!(
                "an ICMP error with {ttl} hops left is dropped without an answer"
            ))
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(
                error(Error::Port, Quote::LAST)
                    .from(Peer::new(INNER_ROUTER, 0))
                    .ttl(ttl)
                    .at(At::Ingress(Device::Eth1)),
            )
            .then(DROPPED, PktTtlExpired),
        );
        rows.push(
            row(format!(
                "a pod's packet with {ttl} hops left is answered on lb0"
            ))
            .given(udp().ttl(ttl).from(POD).to(S_FAR.vip()).at(At::Lb0))
            .then(EXPIRED, PktTtlExpired),
        );
    }
    rows.extend([
        row("a known connection's segment with one hop left is answered too")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(ACK).ttl(1).again())
            .then(EXPIRED, PktTtlExpired),
        row("a SYN with one hop left reaches a backend of this node")
            .given(syn().ttl(1).to(S_HERE.node_port()))
            .then(to(HERE), PktLocal),
        row("a SYN with one hop left is refused like any other")
            .given(syn().ttl(1).to(S_EMPTY.node_port()))
            .then(REFUSED, PktNoEndpoint),
        row("a SYN with two hops left goes on with one")
            .given(syn().ttl(2))
            .then(to(FAR), PktForwarded),
        row("a datagram with two hops left goes back by its device with one")
            .given(udp().ttl(2).to(S_TURN.node_port()))
            .then(to(TURN), PktForwarded),
        row("a packet with 255 hops left loses one")
            .given(udp().ttl(255))
            .then(to(FAR), PktForwarded),
        row("a time exceeded is not sent about a packet with IPv4 options")
            .given(udp().ttl(1).options(8))
            .then(DROPPED, PktTtlExpired)
            .v4(),
    ]);
    rows
}

fn lengths() -> Vec<Row> {
    vec![
        row("a header of less than five words is not read")
            .given(syn().edit(Layer::Ip, 0, &[0x44]))
            .then(PASSED, PktMalformed)
            .v4(),
        row("a header of no words is not read")
            .given(syn().edit(Layer::Ip, 0, &[0x40]))
            .then(PASSED, PktMalformed)
            .v4(),
        row("a header that is longer than the frame is not read")
            .given(syn().edit(Layer::Ip, 0, &[0x4f]))
            .then(PASSED, PktMalformed)
            .v4(),
        row("version 5 behind IPv4's EtherType is not read")
            .given(syn().edit(Layer::Ip, 0, &[0x55]))
            .then(PASSED, PktMalformed)
            .v4(),
        row("version 4 behind IPv6's EtherType is not read")
            .given(syn().edit(Layer::Ip, 0, &[0x45]))
            .then(PASSED, PktMalformed)
            .v6(),
        row("a total length shorter than the headers is not believed")
            .given(syn().edit(Layer::Ip, 2, &[0, 39]))
            .then(PASSED, PktMalformed)
            .v4(),
        row("a total length shorter than the IPv4 header is not believed")
            .given(udp().edit(Layer::Ip, 2, &[0, 19]))
            .then(PASSED, PktMalformed)
            .v4(),
        row("a payload length shorter than the TCP header is not believed")
            .given(syn().edit(Layer::Ip, 4, &[0, 19]))
            .then(PASSED, PktMalformed)
            .v6(),
        row("bytes behind the packet's own end stay, and no sum counts them")
            .given(syn().padded(6))
            .then(to(FAR), PktForwarded),
        row("bytes behind an INIT's own end stay, and its CRC does not count them")
            .given(sctp(chunk::INIT).padded(9))
            .then(to(FAR), PktForwarded),
        row("a total length longer than the frame is not believed")
            .given(tcp(ACK).edit(Layer::Ip, 2, &[1, 0]))
            .then(PASSED, PktMalformed)
            .v4(),
        row("a payload length longer than the frame is not believed")
            .given(tcp(ACK).edit(Layer::Ip, 4, &[1, 0]))
            .then(PASSED, PktMalformed)
            .v6(),
        row("a datagram whose end is missing is not sent on")
            .given(udp().cut(10))
            .then(PASSED, PktMalformed),
        row("a total length of 0 in a packet that GRO did not build is not believed")
            .given(udp().edit(Layer::Ip, 2, &[0, 0]))
            .then(PASSED, PktMalformed)
            .v4(),
        row("a frame that ends within the TCP header is not read")
            .given(syn().cut(1))
            .then(PASSED, PktMalformed),
        row("a frame that ends within the UDP header is not read")
            .given(udp().cut(34))
            .then(PASSED, PktMalformed),
        row("a UDP length shorter than its header is not believed")
            .given(udp().edit(Layer::Transport, 4, &[0, 7]))
            .then(PASSED, PktMalformed),
        row("a UDP length longer than the packet is not believed")
            .given(udp().edit(Layer::Transport, 4, &[1, 0]))
            .then(PASSED, PktMalformed),
    ]
}

fn protocols() -> Vec<Row> {
    [
        (47, "GRE"),
        (50, "ESP"),
        (51, "AH"),
        (89, "OSPF"),
        (33, "DCCP"),
        (136, "UDP-Lite"),
    ]
    .into_iter()
    .map(|(protocol, name)| {
        row(format!(
            "a packet of {name} to a load balancer's address passes"
        ))
        .given(other(protocol).to(S_FAR.lb()))
        .then(PASSED, NOTHING)
    })
    .collect()
}
