//! ICMP errors of flows over `lb0`.

use lb_common::Reason::{
    PktForwarded, PktIcmpError, PktLocal, PktNoFlow, PktReply, PktTtlExpired, PktVipUnread,
};

use crate::packet_table::{
    expect::{ANYTHING, By, DROPPED, Out, TO_THE_CLIENT, follows, to},
    packet::{ACK, At, Error, Packet, Quote, SYN, error, syn, tcp, udp},
    plan::{Device, FAR, HERE, INNER_ROUTER, NODE_CNI, POD, Peer, S_FAR, S_HERE},
    row::{NOTHING, Row, row},
};

fn coming(what: Error) -> Packet {
    error(what, Quote::LAST.cut(8))
        .from(Peer::new(INNER_ROUTER, 0))
        .at(At::Ingress(Device::Eth1))
}

fn of(from: Peer, at: At) -> Packet {
    error(Error::Port, Quote::LAST.cut(8)).from(from).at(at)
}

pub(super) fn rows() -> Vec<Row> {
    vec![
        row("an error about a pod's packet to another node is handed to lb0, from the cluster IP")
            .given(udp().from(POD).to(S_FAR.vip()).at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .given(coming(Error::Time(0)))
            .then(follows(Out::Handed, By::Addressed), PktIcmpError),
        row("packet too big about a pod's packet is handed to lb0")
            .given(syn().from(POD).to(S_FAR.vip()).at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .given(coming(Error::TooBig(1_300)))
            .then(follows(Out::Handed, By::Addressed), PktIcmpError),
        row("an error about a pod's packet to a load balancer's address comes from its speaker")
            .given(udp().from(POD).to(S_FAR.lb()).at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .given(coming(Error::Port))
            .then(follows(Out::Handed, By::IcmpSource), PktIcmpError),
        row("a pod's error about the answer of another node's backend goes there")
            .given(udp().from(POD).to(S_FAR.vip()).at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(of(POD, At::Lb0))
            .then(follows(Out::Sent(FAR.way), By::Addressed), PktIcmpError),
        row("a pod's error about the answer of this node's backend goes there")
            .given(udp().from(POD).to(S_HERE.vip()).at(At::Lb0))
            .then(to(HERE), PktLocal)
            .given(udp().answer(None).at(At::Lb0Back))
            .then(TO_THE_CLIENT, PktReply)
            .given(of(POD, At::Lb0))
            .then(follows(Out::Stack, By::Addressed), PktIcmpError),
        row("an error of this node's backend about a pod's packet comes from the cluster IP")
            .given(udp().from(POD).to(S_HERE.vip()).at(At::Lb0))
            .then(to(HERE), PktLocal)
            .given(of(Peer::new(HERE.addr, 0), At::Lb0Back))
            .then(follows(Out::Stack, By::Addressed), PktIcmpError),
        row("an error of the node about a pod's packet comes from the load balancer's speaker")
            .given(udp().from(POD).to(S_HERE.lb()).at(At::Lb0))
            .then(to(HERE), PktLocal)
            .given(of(Peer::new(NODE_CNI, 0), At::Lb0Back))
            .then(follows(Out::Stack, By::IcmpSource), PktIcmpError),
        row("an error on lb0 about a packet of no flow is dropped")
            .given(syn().from(POD).to(S_FAR.vip().port(81)).at(At::Lb0))
            .then(ANYTHING, NOTHING)
            .given(of(POD, At::Lb0))
            .then(DROPPED, PktNoFlow),
        row("an error at lb0's other end about a packet of no flow is dropped")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(of(Peer::new(HERE.addr, 0), At::Lb0Back))
            .then(DROPPED, PktNoFlow),
        row("an error on lb0 whose quote is too short is dropped")
            .given(udp().from(POD).to(S_HERE.vip()).at(At::Lb0))
            .then(to(HERE), PktLocal)
            .given(
                error(Error::Port, Quote::LAST.cut(4))
                    .from(Peer::new(HERE.addr, 0))
                    .at(At::Lb0Back),
            )
            .then(DROPPED, PktVipUnread),
        row("a pod's error with one hop left does not go to another node")
            .given(udp().from(POD).to(S_FAR.vip()).at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .given(udp().answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(of(POD, At::Lb0).ttl(1))
            .then(DROPPED, PktTtlExpired),
        row("an error about a SYN-ACK that lb0 was handed")
            .given(syn().from(POD).to(S_FAR.vip()).at(At::Lb0))
            .then(to(FAR), PktForwarded)
            .given(tcp(SYN | ACK).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .given(of(POD, At::Lb0))
            .then(follows(Out::Sent(FAR.way), By::Addressed), PktIcmpError),
    ]
}
