//! From a description to a frame, headers by etherparse; SCTP, which it does not know, by hand.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use etherparse::{
    EtherType, Ethernet2Header, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpFragOffset,
    IpNumber, Ipv4Header, Ipv4Options, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader,
    SingleVlanHeader, TcpHeader, UdpHeader, VlanId,
};
use testbed::probe::Family;

use super::{Body, Extension, History, Layer, Packet, Sum, Tuple, crc, ends, icmp, net_offset};
use crate::packet_table::plan::Device;

/// Hardware address of the host that sends frames to us.
const SENDER: [u8; 6] = [2, 0, 0, 0, 9, 9];

/// The frame as it comes in on, or leaves by, the device.
pub(crate) fn frame(
    packet: &Packet,
    family: Family,
    device: Device,
    history: &History,
) -> Result<Vec<u8>> {
    let tuple = ends(packet, family, history).context("no packet of this row had ends before")?;
    let transport = transport(packet, family, &tuple, history)?;
    let network = network(packet, family, &tuple, &transport)?;
    let mut frame = link(packet, family, device)?;
    frame.extend(network);
    edit(packet, &mut frame);
    frame.extend(vec![0xee; packet.padding]);
    frame.truncate(frame.len() - packet.cut);
    Ok(frame)
}

fn link(packet: &Packet, family: Family, device: Device) -> Result<Vec<u8>> {
    let ip = match family {
        Family::V4 => EtherType::IPV4,
        Family::V6 => EtherType::IPV6,
    };
    // Two tags: the outer one is a provider's.
    let tag = |depth: usize| match (depth, packet.vlans.len()) {
        (d, n) if d == n => ip,
        (0, 2..) => EtherType::PROVIDER_BRIDGING,
        _ => EtherType::VLAN_TAGGED_FRAME,
    };
    // Also of what leaves: the test run reads from it whom the packet is for.
    let header = Ethernet2Header {
        destination: packet.mac.unwrap_or(device.mac()),
        source: SENDER,
        ether_type: tag(0),
    };
    let mut bytes = header.to_bytes().to_vec();
    for (depth, id) in packet.vlans.iter().enumerate() {
        let header = SingleVlanHeader {
            vlan_id: VlanId::try_new(*id)?,
            ether_type: tag(depth + 1),
            ..SingleVlanHeader::default()
        };
        bytes.extend(header.to_bytes());
    }
    Ok(bytes)
}

fn network(packet: &Packet, family: Family, tuple: &Tuple, transport: &[u8]) -> Result<Vec<u8>> {
    let protocol = IpNumber(packet.protocol(family));
    let mut bytes = match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (offset, more) = packet.fragment.unwrap_or_default();
            let mut header = Ipv4Header {
                dscp: (packet.tos >> 2).try_into()?,
                ecn: (packet.tos & 3).try_into()?,
                dont_fragment: packet.dont_fragment,
                more_fragments: more,
                fragment_offset: IpFragOffset::try_new(offset / 8)?,
                identification: 0x4711,
                time_to_live: packet.ttl,
                protocol,
                source: src.octets(),
                destination: dst.octets(),
                // No operation, to the end.
                options: Ipv4Options::try_from(&vec![1; packet.options][..])?,
                ..Ipv4Header::default()
            };
            header.set_payload_len(transport.len())?;
            header.header_checksum = header.calc_header_checksum();
            header.to_bytes().to_vec()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (first, extensions) = extensions(packet, protocol)?;
            let header = Ipv6Header {
                traffic_class: packet.tos,
                payload_length: u16::try_from(extensions.len() + transport.len())?,
                next_header: first,
                hop_limit: packet.ttl,
                source: src.octets(),
                destination: dst.octets(),
                ..Ipv6Header::default()
            };
            [&header.to_bytes()[..], &extensions].concat()
        }
        _ => anyhow::bail!("ends of two families"),
    };
    bytes.extend(transport);
    Ok(bytes)
}

/// The extension headers, and which of them is the first.
fn extensions(packet: &Packet, protocol: IpNumber) -> Result<(IpNumber, Vec<u8>)> {
    let mut next = protocol;
    let mut bytes: Vec<u8> = Vec::new();
    let fragment = packet.fragment.map(|(offset, more)| (offset / 8, more));
    let atomic = |e: &Extension| *e == Extension::Atomic;
    let fragment = fragment.or(packet.extensions.iter().any(atomic).then_some((0, false)));
    if let Some((offset, more)) = fragment {
        let header =
            Ipv6FragmentHeader::new(next, IpFragOffset::try_new(offset)?, more, 0x0815_4711);
        bytes = header.to_bytes().to_vec();
        next = IpNumber::IPV6_FRAGMENTATION_HEADER;
    }
    for extension in packet.extensions.iter().rev().filter(|e| !atomic(e)) {
        let (number, payload) = match extension {
            // PadN over the rest.
            Extension::HopByHop => (IpNumber::IPV6_HEADER_HOP_BY_HOP, [1, 4, 0, 0, 0, 0]),
            Extension::Destination => (IpNumber::IPV6_DESTINATION_OPTIONS, [1, 4, 0, 0, 0, 0]),
            // Of type 2 with no segment left would carry an address; an unknown type with none
            // left is passed over (RFC 8200, 4.4).
            Extension::Routing | Extension::Atomic => {
                (IpNumber::IPV6_ROUTE_HEADER, [253, 0, 0, 0, 0, 0])
            }
        };
        let header = Ipv6RawExtHeader::new_raw(next, &payload)?;
        bytes.splice(0..0, header.to_bytes());
        next = number;
    }
    Ok((next, bytes))
}

/// Bytes that differ from each other, so that misplaced ones are seen.
fn payload(len: usize) -> Vec<u8> {
    (0..=250)
        .map(|byte: u8| byte ^ 0x5a)
        .cycle()
        .take(len)
        .collect()
}

fn transport(packet: &Packet, family: Family, tuple: &Tuple, history: &History) -> Result<Vec<u8>> {
    let data = payload(packet.payload);
    let mut bytes = match &packet.body {
        Body::Tcp { flags, options } => tcp(tuple, *flags, *options, &data)?,
        Body::Udp => udp(tuple, &data)?,
        Body::Sctp { chunk } => sctp(tuple, *chunk, &data)?,
        Body::Other(_) => data,
        Body::Echo { reply } => echo(family, tuple, *reply, &data)?,
        Body::Error(error, quote) => icmp::error(*error, quote, family, tuple, history)?,
    };
    // A later fragment is what stands behind the first one's bytes, without a header of its own.
    if let Some((1.., _)) = packet.fragment {
        bytes = payload(packet.payload);
    }
    let at = match packet.body {
        Body::Tcp { .. } => 16..18,
        Body::Udp => 6..8,
        Body::Sctp { .. } => 8..12,
        _ => return Ok(bytes),
    };
    match packet.sum {
        Sum::Right => {}
        Sum::Zero => bytes[at].fill(0),
        Sum::Wrong => bytes[at].iter_mut().for_each(|byte| *byte ^= 0x21),
    }
    Ok(bytes)
}

fn tcp(tuple: &Tuple, flags: u8, options: usize, data: &[u8]) -> Result<Vec<u8>> {
    let bit = |n: u8| flags & n != 0;
    let mut header = TcpHeader {
        // What a SYN-ACK opens with, everything else acknowledges.
        sequence_number: if bit(super::SYN) && bit(super::ACK) {
            0x0a0b_0c0c
        } else {
            0x0102_0304
        },
        acknowledgment_number: if bit(super::ACK) { 0x0a0b_0c0d } else { 0 },
        fin: bit(super::FIN),
        syn: bit(super::SYN),
        rst: bit(super::RST),
        psh: bit(super::PSH),
        ack: bit(super::ACK),
        urg: bit(super::URG),
        ece: bit(64),
        cwr: bit(128),
        ..TcpHeader::new(tuple.sport, tuple.dport, 0x0102_0304, 512)
    };
    header.set_options_raw(&vec![1; options])?;
    header.checksum = match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), data)?
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), data)?
        }
        _ => 0,
    };
    Ok([&header.to_bytes()[..], data].concat())
}

fn udp(tuple: &Tuple, data: &[u8]) -> Result<Vec<u8>> {
    let mut header = UdpHeader {
        source_port: tuple.sport,
        destination_port: tuple.dport,
        length: u16::try_from(8 + data.len())?,
        checksum: 0,
    };
    header.checksum = match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), data)?
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), data)?
        }
        _ => 0,
    };
    Ok([&header.to_bytes()[..], data].concat())
}

/// The tag of every association.
const TAG: [u8; 4] = *b"zgzg";

fn sctp(tuple: &Tuple, chunk: u8, data: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = [tuple.sport.to_be_bytes(), tuple.dport.to_be_bytes()].concat();
    // Only an INIT has no verification tag.
    bytes.extend(if chunk == super::chunk::INIT {
        [0; 4]
    } else {
        TAG
    });
    bytes.extend([0; 4]);
    bytes.extend([chunk, 0]);
    bytes.extend(u16::try_from(4 + data.len())?.to_be_bytes());
    let value = bytes.len();
    bytes.extend(data);
    // The initiate tag, which the other side's packets bear.
    if chunk == super::chunk::INIT_ACK
        && let Some(initiate) = bytes.get_mut(value..value + 4)
    {
        initiate.copy_from_slice(&TAG);
    }
    let sum = crc::sctp(&bytes);
    bytes[8..12].copy_from_slice(&sum);
    Ok(bytes)
}

fn echo(family: Family, tuple: &Tuple, reply: bool, data: &[u8]) -> Result<Vec<u8>> {
    let id = etherparse::IcmpEchoHeader { id: 7, seq: 1 };
    Ok(match family {
        Family::V4 => {
            let kind = if reply {
                Icmpv4Type::EchoReply(id)
            } else {
                Icmpv4Type::EchoRequest(id)
            };
            [
                &Icmpv4Header::with_checksum(kind, data).to_bytes()[..],
                data,
            ]
            .concat()
        }
        Family::V6 => {
            let kind = if reply {
                Icmpv6Type::EchoReply(id)
            } else {
                Icmpv6Type::EchoRequest(id)
            };
            icmpv6_message(kind, tuple, data)?
        }
    })
}

/// A message of ICMPv6 with its sum.
pub(super) fn icmpv6_message(kind: Icmpv6Type, tuple: &Tuple, data: &[u8]) -> Result<Vec<u8>> {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (tuple.src, tuple.dst) else {
        anyhow::bail!("ICMPv6 between addresses of IPv4");
    };
    let header = Icmpv6Header::with_checksum(kind, src.octets(), dst.octets(), data)?;
    Ok([&header.to_bytes()[..], data].concat())
}

fn edit(packet: &Packet, frame: &mut [u8]) {
    let net = net_offset(frame);
    let header = if frame[net] >> 4 == 4 {
        20 + packet.options
    } else {
        40
    };
    for (layer, offset, bytes) in &packet.edits {
        let at = offset
            + match layer {
                Layer::Link => 0,
                Layer::Ip => net,
                Layer::Transport => net + header,
            };
        frame[at..at + bytes.len()].copy_from_slice(bytes);
    }
    if frame[net] >> 4 == 4 && !packet.edits.is_empty() {
        let own =
            |(layer, offset, _): &(Layer, usize, Vec<u8>)| *layer == Layer::Ip && *offset == 10;
        if !packet.edits.iter().any(own) {
            let header = &mut frame[net..net + header];
            header[10..12].fill(0);
            let sum = etherparse::checksum::Sum16BitWords::new()
                .add_slice(header)
                .ones_complement();
            header[10..12].copy_from_slice(&sum.to_ne_bytes());
        }
    }
}
