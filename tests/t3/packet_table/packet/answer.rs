//! What the node itself answers to a packet, built by etherparse from the packet that it answers.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::{
    Icmpv4Header, Icmpv4Slice, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6Header,
    TcpHeader, TcpSlice,
};
use testbed::probe::Family;

use super::{
    Error,
    build::icmpv6_message,
    read::{Carried, Tuple, transport, tuple},
};

/// An answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// As a port without a listener: a reset, or port unreachable.
    Refusal,
    TimeExceeded,
    TooBig(u16),
    Echo,
}

/// The answer to `sent`, from its destination unless another address speaks for it. It quotes as
/// much as `out`, the answer that came, does. Both from the network header on.
pub(crate) fn answered(
    answer: Answer,
    sent: &[u8],
    speaker: Option<Ipv4Addr>,
    out: &[u8],
) -> Option<Vec<u8>> {
    let Carried { at, protocol, .. } = transport(sent)?;
    let turned = tuple(sent)?.turned();
    let family = if sent[0] >> 4 == 4 {
        Family::V4
    } else {
        Family::V6
    };
    let error = match answer {
        Answer::Refusal if protocol == 6 => return reset(sent, at, turned),
        Answer::Echo => return echo(sent, at, turned),
        Answer::Refusal => Error::Port,
        Answer::TimeExceeded => Error::Time(0),
        Answer::TooBig(mtu) => Error::TooBig(mtu),
    };
    let from = Tuple {
        src: speaker.map_or(turned.src, IpAddr::from),
        ..turned
    };
    let header = if family == Family::V4 { 20 } else { 40 };
    // The first eight bytes behind the network header at least (RFC 792).
    let quoted = out.len().saturating_sub(header + 8).max(at + 8);
    let quote = sent.get(..quoted.min(sent.len()))?;
    let (kind, code, rest) = error.words(family);
    let message = if family == Family::V4 {
        let kind = etherparse::Icmpv4Type::Unknown {
            type_u8: kind,
            code_u8: code,
            bytes5to8: rest,
        };
        [
            &Icmpv4Header::with_checksum(kind, quote).to_bytes()[..],
            quote,
        ]
        .concat()
    } else {
        let kind = Icmpv6Type::Unknown {
            type_u8: kind,
            code_u8: code,
            bytes5to8: rest,
        };
        icmpv6_message(kind, &from, quote).ok()?
    };
    let number = if family == Family::V4 {
        IpNumber::ICMP
    } else {
        IpNumber::IPV6_ICMP
    };
    ip(&from, number, &message)
}

/// The reset of RFC 9293, 3.10.7.1.
fn reset(sent: &[u8], at: usize, turned: Tuple) -> Option<Vec<u8>> {
    let end = if sent[0] >> 4 == 4 {
        usize::from(u16::from_be_bytes([sent[2], sent[3]]))
    } else {
        40 + usize::from(u16::from_be_bytes([sent[4], sent[5]]))
    };
    let segment = TcpSlice::from_slice(sent.get(at..end)?).ok()?;
    let acknowledged = segment.ack();
    let ends = u32::from(segment.syn()) + u32::from(segment.fin());
    let length = u32::try_from(segment.payload().len()).ok()? + ends;
    let mut header = TcpHeader::new(turned.sport, turned.dport, 0, 0);
    header.rst = true;
    if acknowledged {
        header.sequence_number = segment.acknowledgment_number();
    } else {
        header.ack = true;
        header.acknowledgment_number = segment.sequence_number().wrapping_add(length);
    }
    header.checksum = match (turned.src, turned.dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => header
            .calc_checksum_ipv4_raw(s.octets(), d.octets(), &[])
            .ok()?,
        (IpAddr::V6(s), IpAddr::V6(d)) => header
            .calc_checksum_ipv6_raw(s.octets(), d.octets(), &[])
            .ok()?,
        _ => return None,
    };
    ip(&turned, IpNumber::TCP, &header.to_bytes())
}

fn echo(sent: &[u8], at: usize, turned: Tuple) -> Option<Vec<u8>> {
    let mut packet = sent.to_vec();
    let message = sent.get(at..)?;
    match (turned.src, turned.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            packet[8] = 64;
            packet[12..16].copy_from_slice(&src.octets());
            packet[16..20].copy_from_slice(&dst.octets());
            let sum = Ipv4Header::from_slice(&packet)
                .ok()?
                .0
                .calc_header_checksum();
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet[at] = 0;
            let slice = Icmpv4Slice::from_slice(&packet[at..]).ok()?;
            let mut header = slice.header();
            header.update_checksum(slice.payload());
            packet[at + 2..at + 4].copy_from_slice(&header.checksum.to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            packet[7] = 64;
            packet[8..24].copy_from_slice(&src.octets());
            packet[24..40].copy_from_slice(&dst.octets());
            packet[at] = 129;
            let (mut header, payload) = Icmpv6Header::from_slice(message).ok()?;
            if let Icmpv6Type::EchoRequest(echo) = header.icmp_type {
                header.icmp_type = Icmpv6Type::EchoReply(echo);
            }
            header
                .update_checksum(src.octets(), dst.octets(), payload)
                .ok()?;
            packet[at + 2..at + 4].copy_from_slice(&header.checksum.to_be_bytes());
        }
        _ => return None,
    }
    Some(packet)
}

/// A packet that the node makes itself.
fn ip(tuple: &Tuple, protocol: IpNumber, payload: &[u8]) -> Option<Vec<u8>> {
    let header = match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = Ipv4Header {
                dont_fragment: false,
                time_to_live: 64,
                protocol,
                source: src.octets(),
                destination: dst.octets(),
                ..Ipv4Header::default()
            };
            header.set_payload_len(payload.len()).ok()?;
            header.header_checksum = header.calc_header_checksum();
            header.to_bytes().to_vec()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => Ipv6Header {
            payload_length: u16::try_from(payload.len()).ok()?,
            next_header: protocol,
            hop_limit: 64,
            source: src.octets(),
            destination: dst.octets(),
            ..Ipv6Header::default()
        }
        .to_bytes()
        .to_vec(),
        _ => return None,
    };
    Some([&header[..], payload].concat())
}
