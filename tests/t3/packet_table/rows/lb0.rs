//! What comes to Service addresses by `lb0`, and what leaves by its other end.

use lb_common::Reason::{
    PktEcho, PktForwarded, PktLocal, PktNoEndpoint, PktNoFlow, PktReply, PktUnallocated,
    PktUnknownPort, PktVipUnread,
};

use crate::packet_table::{
    expect::{DROPPED, ECHOED, REFUSED, TO_THE_CLIENT, to},
    packet::{ACK, At, FIN, Layer, Packet, RST, SYN, chunk, other, ping, sctp, syn, tcp, udp},
    plan::{
        FAR, HERE, POD, Peer, QUIET, S_EMPTY, S_FAR, S_HERE, S_INTERNAL_ONLY, S_QUIET, Svc,
        UNALLOCATED,
    },
    row::{NOTHING, Row, row},
    stage::Place,
};

fn out(packet: Packet, to: Peer) -> Packet {
    packet.from(POD).to(to).at(At::Lb0)
}

pub(super) fn rows() -> Vec<Row> {
    [pings(), refusals(), unread(), flows()]
        .into_iter()
        .flatten()
        .collect()
}

fn pings() -> Vec<Row> {
    vec![
        row("a ping to a cluster IP is answered")
            .given(out(ping(), S_FAR.vip()))
            .then(ECHOED, PktEcho),
        row("a ping without data to a cluster IP is answered")
            .given(out(ping().payload(0), S_HERE.vip()))
            .then(ECHOED, PktEcho),
        row("a ping with one hop left is answered with 64")
            .given(out(ping().ttl(1), S_HERE.vip()))
            .then(ECHOED, PktEcho),
        row("a ping to a load balancer's address is answered")
            .given(out(ping(), S_FAR.lb()))
            .then(ECHOED, PktEcho),
        row("a ping to an external IP is answered")
            .given(out(ping(), S_FAR.external()))
            .then(ECHOED, PktEcho),
        row("a ping to a cluster IP without endpoints is not answered")
            .given(out(ping(), S_EMPTY.vip()))
            .then(DROPPED, PktNoEndpoint),
        row("a ping to a load balancer's address without endpoints is not answered")
            .given(out(ping(), S_EMPTY.lb()))
            .then(DROPPED, PktNoEndpoint),
        row("a ping to a cluster IP of internal policy Local without local endpoint is dropped")
            .given(out(ping(), S_INTERNAL_ONLY.vip()))
            .then(DROPPED, PktNoEndpoint),
        row("a ping to an address that no Service has is dropped")
            .given(out(ping(), UNALLOCATED))
            .then(DROPPED, PktUnallocated),
        row("a ping of many bytes is answered")
            .given(out(ping().payload(1_400), S_FAR.vip()))
            .then(ECHOED, PktEcho),
        row("a ping with IPv4 options is not answered")
            .given(out(ping().options(4), S_FAR.vip()))
            .then(DROPPED, PktVipUnread)
            .v4(),
        row("a fragment of a ping is not answered")
            .given(out(ping().fragment(0, true), S_FAR.vip()))
            .then(DROPPED, PktVipUnread)
            .v4(),
        row("what IPv6 says to a multicast group ends on lb0 uncounted")
            .given(out(ping(), crate::packet_table::rows::sources::ALL_NODES))
            .then(DROPPED, NOTHING)
            .v6(),
    ]
}

fn refusals() -> Vec<Row> {
    let unknown = |svc: Svc| svc.vip().port(81);
    vec![
        row("a pod's SYN for a port that the cluster IP does not have is reset")
            .given(out(syn(), unknown(S_FAR)))
            .then(REFUSED, PktUnknownPort),
        row("a pod's datagram for a port that the cluster IP does not have gets port unreachable")
            .given(out(udp(), unknown(S_FAR)))
            .then(REFUSED, PktUnknownPort),
        row("a pod's datagram for a port that the load balancer lacks is refused by its speaker")
            .given(out(udp(), S_FAR.lb().port(81)))
            .then(REFUSED, PktUnknownPort),
        row("a pod's SYN for a port that the load balancer lacks is reset from the address itself")
            .given(out(syn(), S_FAR.lb().port(81)))
            .then(REFUSED, PktUnknownPort),
        row("a pod's SYN for a Service without endpoints is reset")
            .given(out(syn(), S_EMPTY.vip()))
            .then(REFUSED, PktNoEndpoint),
        row("a pod's INIT for a Service without endpoints gets port unreachable")
            .given(out(sctp(chunk::INIT), S_EMPTY.vip()))
            .then(REFUSED, PktNoEndpoint),
        row("a pod's reset for a port that the cluster IP does not have is not answered")
            .given(out(tcp(RST), unknown(S_FAR)))
            .then(DROPPED, PktUnknownPort),
        row("a pod's SYN for an address that no Service has is dropped")
            .given(out(syn(), UNALLOCATED))
            .then(DROPPED, PktUnallocated)
            .records(Place::Nowhere),
        row("a pod's datagram for an address that no Service has is dropped")
            .given(out(udp(), UNALLOCATED))
            .then(DROPPED, PktUnallocated),
        row("a pod's reset without a connection is dropped")
            .given(out(tcp(RST), S_FAR.vip()))
            .then(DROPPED, PktNoFlow),
    ]
}

fn unread() -> Vec<Row> {
    vec![
        row("a pod's packet of GRE to a cluster IP is dropped")
            .given(out(other(47), S_FAR.vip()))
            .then(DROPPED, PktVipUnread),
        row("a pod's echo reply to a cluster IP is dropped")
            .given(out(
                Packet {
                    body: crate::packet_table::packet::Body::Echo { reply: true },
                    ..ping()
                },
                S_FAR.vip(),
            ))
            .then(DROPPED, PktVipUnread),
        row("a pod's packet with a broken IPv4 header is dropped")
            .given(out(syn().edit(Layer::Ip, 0, &[0x44]), S_FAR.vip()))
            .then(DROPPED, PktVipUnread)
            .v4(),
        row("a pod's packet that ends within the TCP header is dropped")
            .given(out(syn().cut(3), S_FAR.vip()))
            .then(DROPPED, PktVipUnread),
        row("an ARP frame on lb0 ends there uncounted")
            .given(out(syn().edit(Layer::Link, 12, &[8, 6]), S_FAR.vip()))
            .then(DROPPED, NOTHING),
        row("a packet of GRE at lb0's other end is dropped")
            .given(other(47).at(At::Lb0Back))
            .then(DROPPED, PktVipUnread),
    ]
}

fn flows() -> Vec<Row> {
    vec![
        row("a pod's connection to a backend of another node ends over lb0")
            .given(out(syn(), S_FAR.vip()))
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(tcp(ACK).again().at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .records(Place::Established)
            .given(tcp(FIN | ACK).again().at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .given(tcp(FIN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        row("the answer that lb0 is handed keeps its hops, to the last one")
            .given(out(udp(), S_FAR.vip()))
            .then(to(FAR), PktForwarded)
            .given(udp().ttl(1).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply),
        row("a pod's SYN whose next hop is unknown leaves lb0, and the kernel finds out")
            .given(out(syn(), S_QUIET.vip()))
            .then(to(QUIET), PktForwarded),
        row("a pod's packet with one hop left reaches a backend of this node")
            .given(out(udp().ttl(1), S_HERE.vip()))
            .then(to(HERE), PktLocal),
        row("a packet at lb0's other end that is no reply is dropped")
            .given(tcp(ACK).at(At::Lb0Back))
            .then(DROPPED, PktNoFlow),
        row("at lb0's other end only answers to lb0's clients are read")
            .given(syn().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(tcp(SYN | ACK).answer(None).at(At::Lb0Back))
            .then(DROPPED, PktNoFlow),
        row("a client from outside and a pod with the same port are told apart")
            .given(out(udp(), S_HERE.vip()))
            .then(to(HERE), PktLocal)
            .given(udp().from(POD.port(41_051)).to(S_HERE.vip()).at(At::Lb0))
            .then(to(HERE), PktLocal)
            .given(udp().answer(None).at(At::Lb0Back))
            .then(TO_THE_CLIENT, PktReply),
    ]
}
