//! Extension headers of IPv6 before what a packet carries.

use lb_common::Reason::{
    PktForwarded, PktFragment, PktLocal, PktMalformed, PktReply, PktTtlExpired,
};

use crate::packet_table::{
    expect::{DROPPED, PASSED, TO_THE_CLIENT, to},
    packet::{ACK, At, Extension, Layer, Packet, chunk, sctp, syn, tcp, udp},
    plan::{ELSEWHERE, FAR, HERE, POD, S_FAR, S_HERE},
    row::{NOTHING, Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![];
    for (extension, name) in [
        (Extension::HopByHop, "a hop-by-hop header"),
        (Extension::Destination, "destination options"),
        (Extension::Routing, "a routing header without segments left"),
    ] {
        rows.push(
            row(format!("a SYN behind {name} goes to its backend"))
                .given(syn().extension(extension))
                .then(to(FAR), PktForwarded)
                .v6(),
        );
        rows.push(
            row(format!(
                "a datagram behind {name} that is none of ours passes"
            ))
            .given(udp().extension(extension).to(ELSEWHERE))
            .then(PASSED, NOTHING)
            .v6(),
        );
    }
    rows.push(
        row("a datagram behind three extension headers goes to its backend")
            .given(
                udp()
                    .extension(Extension::HopByHop)
                    .extension(Extension::Routing)
                    .extension(Extension::Destination),
            )
            .then(to(FAR), PktForwarded)
            .v6(),
    );
    let chain = |packet: Packet, headers| {
        (0..headers).fold(packet, |packet, _| packet.extension(Extension::Destination))
    };
    rows.extend([
        row("a datagram behind four extension headers goes to its backend, and its answer comes back")
            .given(chain(udp(), 4))
            .then(to(FAR), PktForwarded)
            .given(chain(udp(), 4).answer(FAR.way))
            .then(TO_THE_CLIENT, PktReply)
            .v6(),
        row("a datagram behind five extension headers is not read")
            .given(chain(udp(), 5))
            .then(PASSED, PktMalformed)
            .v6(),
        row("an extension header that says it ends behind the packet is not read")
            .given(udp().extension(Extension::Destination).edit(Layer::Ip, 41, &[9]))
            .then(PASSED, PktMalformed)
            .v6(),
        row("a SYN behind a routing header with a segment left passes: it is not for this address")
            .given(syn().extension(Extension::Routing).edit(Layer::Ip, 43, &[1]))
            .then(PASSED, NOTHING)
            .v6(),
        row("a fragment behind a hop-by-hop header is one")
            .given(udp().extension(Extension::HopByHop).fragment(1480, false))
            .then(PASSED, PktFragment)
            .v6(),
        row("an INIT behind destination options keeps its CRC right")
            .given(sctp(chunk::INIT).extension(Extension::Destination))
            .then(to(FAR), PktForwarded)
            .v6(),
        row("a segment of an open connection behind destination options follows it")
            .given(syn())
            .then(to(FAR), PktForwarded)
            .given(tcp(ACK).extension(Extension::Destination).again())
            .then(to(FAR), PktForwarded)
            .v6(),
        row("a pod's datagram behind destination options goes to its backend")
            .given(
                udp()
                    .extension(Extension::Destination)
                    .from(POD)
                    .to(S_FAR.vip())
                    .at(At::Lb0),
            )
            .then(to(FAR), PktForwarded)
            .v6(),
        row("a time exceeded is not sent about a datagram behind an extension header")
            .given(udp().extension(Extension::Destination).ttl(1))
            .then(DROPPED, PktTtlExpired)
            .v6(),
    ]);
    rows.push(
        row("an answer of a backend of this node behind destination options leaves from the VIP")
            .given(udp().to(S_HERE.node_port()))
            .then(to(HERE), PktLocal)
            .given(udp().extension(Extension::Destination).answer(None))
            .then(TO_THE_CLIENT, PktReply)
            .v6(),
    );
    rows
}
