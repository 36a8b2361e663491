//! ICMP errors by what they quote: how much, of which protocol, and behind which headers.

use lb_common::Reason::{PktForwarded, PktIcmpError, PktLocal};

use crate::packet_table::{
    expect::{By, Out, PASSED, follows, to},
    packet::{
        ACK, At, Error, Extension, Layer, Packet, Quote, Sum, chunk, error, sctp, syn, tcp, udp,
    },
    plan::{Device, FAR, HERE, INNER_ROUTER, NODE, Peer, S_HERE, S_SLOW, SLOW, TO_CLIENT},
    row::{NOTHING, Row, row},
};

fn about(quote: Quote) -> Packet {
    error(Error::Time(0), quote)
        .from(Peer::new(INNER_ROUTER, 0))
        .at(At::Ingress(Device::Eth1))
}

fn leaving(quote: Quote) -> Packet {
    error(Error::Port, quote)
        .from(Peer::new(HERE.addr, 0))
        .at(At::Egress(Device::Eth0))
}

const TOLD: crate::packet_table::expect::Then = follows(Out::Sent(Some(TO_CLIENT)), By::Addressed);
const LEFT: crate::packet_table::expect::Then = follows(Out::Stack, By::Addressed);

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![];
    for (packet, name) in [
        (syn as fn() -> Packet, "SYN"),
        (udp, "datagram"),
        (|| sctp(chunk::INIT), "INIT"),
    ] {
        // SCTP's sum ends after twelve bytes, TCP's after eighteen.
        for bytes in [8, 12, 17, 18] {
            let quotes = format!("an error that quotes {bytes} bytes of a {name} follows");
            let quotes = row(quotes)
                .given(packet())
                .then(to(FAR), PktForwarded)
                .given(about(Quote::LAST.cut(bytes)))
                .then(TOLD, PktIcmpError);
            rows.push(quotes);
        }
        for bytes in [0, 4, 7] {
            rows.push(
                row(format!(
                    "an error that quotes {bytes} bytes of a {name} is the stack's"
                ))
                .given(packet())
                .then(to(FAR), PktForwarded)
                .given(about(Quote::LAST.cut(bytes)))
                .then(PASSED, NOTHING),
            );
        }
        if name != "INIT" {
            rows.push(
                row(format!(
                    "an error that quotes all of a {name} is right to its last sum"
                ))
                .given(packet())
                .then(to(FAR), PktForwarded)
                .given(about(Quote::LAST))
                .then(TOLD, PktIcmpError),
            );
            rows.push(
                row(format!(
                    "an error of a backend of this node that quotes all of a {name}"
                ))
                .given(packet().to(S_HERE.node_port()))
                .then(to(HERE), PktLocal)
                .given(leaving(Quote::LAST))
                .then(LEFT, PktIcmpError),
            );
        }
    }
    rows.push(
        row("an error that quotes all of an INIT has the CRC that the client had sent")
            .given(sctp(chunk::INIT))
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST))
            .then(TOLD, PktIcmpError),
    );
    rows.extend(others());
    rows
}

fn others() -> Vec<Row> {
    vec![
        row("an error about a datagram without a sum follows, and still quotes none")
            .given(udp().sum(Sum::Zero))
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST))
            .then(TOLD, PktIcmpError)
            .v4(),
        row("an error about a segment of an open connection follows")
            .given(tcp(ACK))
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST.cut(8)))
            .then(TOLD, PktIcmpError),
        row("an error about the first of two packets follows")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(udp().payload(80).again())
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST.of(0)))
            .then(TOLD, PktIcmpError),
        row("an error from behind a device without XDP follows")
            .given(udp().to(S_SLOW.node_port()))
            .then(to(SLOW), PktForwarded)
            .given(about(Quote::LAST).at(At::Ingress(Device::Eth2)))
            .then(TOLD, PktIcmpError),
        row("an error with IPv4 options follows")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST.cut(8)).options(8))
            .then(TOLD, PktIcmpError)
            .v4(),
        row("an error about a packet with IPv4 options follows")
            .given(udp().options(8))
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST.cut(8)))
            .then(TOLD, PktIcmpError)
            .v4(),
        row("an error with IPv4 options about a packet with IPv4 options follows")
            .given(syn().options(40))
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST).options(40))
            .then(TOLD, PktIcmpError)
            .v4(),
        row("an error behind extension headers follows")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(
                about(Quote::LAST)
                    .extension(Extension::HopByHop)
                    .extension(Extension::Destination),
            )
            .then(TOLD, PktIcmpError)
            .v6(),
        row("an error about a segment behind extension headers follows")
            .given(syn().extension(Extension::Destination))
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST))
            .then(TOLD, PktIcmpError)
            .v6(),
        row("an error of a backend of this node about a packet behind extension headers")
            .given(
                sctp(chunk::INIT)
                    .extension(Extension::Destination)
                    .to(S_HERE.node_port()),
            )
            .then(to(HERE), PktLocal)
            .given(leaving(Quote::LAST))
            .then(LEFT, PktIcmpError)
            .v6(),
        row("an error that is shorter than its IP header says is the stack's")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST).cut(1))
            .then(PASSED, NOTHING),
        row("an error that does not go to whom it quotes is the stack's")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST).edit(Layer::Ip, 16, &NODE.v4.octets()))
            .then(PASSED, NOTHING)
            .v4(),
        row("an error whose quote is a later fragment is the stack's")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST).edit(Layer::Transport, 8 + 6, &[0, 0x10]))
            .then(PASSED, NOTHING)
            .v4(),
        row("an error whose quote is of another version is the stack's")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST).edit(Layer::Transport, 8, &[0x50]))
            .then(PASSED, NOTHING),
        row("an error in a fragment is left to the stack")
            .given(udp())
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST).edit(Layer::Ip, 6, &[0x20, 0]))
            .then(PASSED, NOTHING)
            .v4(),
    ]
}
