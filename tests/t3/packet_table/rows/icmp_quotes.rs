//! ICMP errors by what they quote: how much, of which protocol, and behind which headers.

use lb_common::Reason::{PktForwarded, PktIcmpError, PktLocal};

use crate::packet_table::{
    expect::{By, Out, PASSED, follows, to},
    packet::{ACK, At, Error, Layer, Packet, Quote, Sum, chunk, error, sctp, syn, tcp, udp},
    plan::{Device, FAR, HERE, INNER_ROUTER, NODE, Peer, S_HERE, S_SLOW, SLOW, TO_CLIENT},
    row::{Hook, NOTHING, Row, row},
    today::{Flaw, today},
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

/// What is wrong with quotes of SCTP.
const CRC: &str = "the CRC of the quoted packet is that of the other side";

pub(super) fn rows() -> Vec<Row> {
    let mut rows = vec![];
    for (packet, name) in [
        (syn as fn() -> Packet, "SYN"),
        (udp, "datagram"),
        (|| sctp(chunk::INIT), "INIT"),
    ] {
        let is_syn = name == "SYN";
        let wrong = |row: Row, then| {
            if is_syn {
                row.known_wrong(
                    "X1",
                    "the sum of the quoted segment is that of the other side",
                    today(then, PktIcmpError).but(Flaw::QuotedSumKept),
                )
            } else {
                row
            }
        };
        for bytes in [8, 12] {
            let quotes = format!("an error that quotes {bytes} bytes of a {name} follows");
            let quotes = row(quotes)
                .given(packet())
                .then(to(FAR), PktForwarded)
                .given(about(Quote::LAST.cut(bytes)))
                .then(TOLD, PktIcmpError);
            // SCTP's sum ends there.
            rows.push(if name == "INIT" && bytes == 12 {
                quotes.known_wrong(
                    "X1",
                    CRC,
                    today(TOLD, PktIcmpError).but(Flaw::QuotedSumKept),
                )
            } else {
                quotes
            });
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
            rows.push(wrong(
                row(format!(
                    "an error that quotes all of a {name} is right to its last sum"
                ))
                .given(packet())
                .then(to(FAR), PktForwarded)
                .given(about(Quote::LAST))
                .then(TOLD, PktIcmpError),
                TOLD,
            ));
            rows.push(wrong(
                row(format!(
                    "an error of a backend of this node that quotes all of a {name}"
                ))
                .given(packet().to(S_HERE.node_port()))
                .then(to(HERE), PktLocal)
                .given(leaving(Quote::LAST))
                .then(LEFT, PktIcmpError),
                LEFT,
            ));
        }
    }
    rows.push(
        row("an error that quotes all of an INIT has the CRC that the client had sent")
            .given(sctp(chunk::INIT))
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST))
            .then(TOLD, PktIcmpError)
            .known_wrong(
                "X1",
                "the CRC of the quoted packet is that of the other side",
                today(TOLD, PktIcmpError).but(Flaw::QuotedSumKept),
            ),
    );
    rows.extend(others());
    rows
}

fn others() -> Vec<Row> {
    let options = "neither header may have options";
    vec![
        row("an error about a datagram without a sum follows, and still quotes none")
            .given(udp().sum(Sum::Zero))
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST))
            .then(TOLD, PktIcmpError)
            .only(Hook::UNSUMMED)
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
            .v4()
            .known_wrong("X7", options, today(PASSED, NOTHING)),
        row("an error about a packet with IPv4 options follows")
            .given(udp().options(8))
            .then(to(FAR), PktForwarded)
            .given(about(Quote::LAST.cut(8)))
            .then(TOLD, PktIcmpError)
            .v4()
            .known_wrong("X7", options, today(PASSED, NOTHING)),
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
            .v4()
            .known_wrong(
                "X8",
                "it is translated as if it were whole, its sum by what is not there",
                today(TOLD, PktIcmpError),
            ),
    ]
}
