//! A frame as the rules read it: headers are believed only as far as the packet reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::packet_table::packet::{ACK, FIN, RST, SYN, Tuple, chunk};

/// Of the protocols that are balanced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proto {
    Tcp,
    Udp,
    Sctp,
}

impl Proto {
    pub(crate) const fn of(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// What a frame is to the rules.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    /// Another protocol, a tag, another host's.
    Foreign,
    /// Shorter than its headers say, or headers that contradict each other.
    Broken,
    /// ICMP or ICMPv6.
    Icmp,
    /// A fragment that cannot be read.
    OddPart,
    /// A packet, or a fragment of one that has its transport header.
    Packet(Packet),
    /// A later fragment; its ports are 0 yet.
    Later(Packet),
}

/// A packet's place among fragments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Whole,
    First { id: u32 },
    Later { id: u32 },
}

/// What the headers of a packet say.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) proto: Proto,
    pub(crate) ends: Tuple,
    /// TCP's; those of SCTP's first chunk mean the same; 0 of UDP.
    pub(crate) flags: u8,
    /// What opens: what must be acknowledged. Anything else: what it acknowledges.
    pub(crate) number: u32,
    /// Bytes behind the transport header, or the end of them.
    pub(crate) has_data: bool,
    pub(crate) ttl: u8,
    /// Bytes from the network header on.
    pub(crate) len: usize,
    /// Bytes of the frame, with what pads it.
    pub(crate) frame: usize,
    pub(crate) may_fragment: bool,
    pub(crate) part: Part,
    /// Bytes before the transport header.
    pub(crate) header: usize,
    /// The checksum is still to be made by a card.
    pub(crate) is_unfinished: bool,
}

impl Packet {
    pub(crate) const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Opens a connection.
    pub(crate) const fn is_syn(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }

    /// Goes on with a connection that both sides have opened, by its own word.
    pub(crate) const fn acknowledges(&self) -> bool {
        self.flags & (SYN | RST | ACK) == ACK
    }

    /// Neither opens nor ends a connection.
    pub(crate) const fn changes_nothing(&self) -> bool {
        self.flags & (SYN | FIN | RST) == 0
    }

    pub(crate) const fn is_v4(&self) -> bool {
        self.ends.src.is_ipv4()
    }

    pub(crate) const fn is_later(&self) -> bool {
        matches!(self.part, Part::Later { .. })
    }
}

/// Reads a frame that comes in on, or leaves by, a device with this hardware address.
pub(crate) fn read(frame: &[u8], mac: [u8; 6]) -> Frame {
    if frame.get(..6) != Some(&mac[..]) {
        return Frame::Foreign;
    }
    let mut read = match (frame.get(12..14), frame.get(14..)) {
        (Some([8, 0]), Some(ip)) => read_v4(ip),
        (Some([0x86, 0xdd]), Some(ip)) => read_v6(ip),
        _ => Frame::Foreign,
    };
    if let Frame::Packet(packet) | Frame::Later(packet) = &mut read {
        packet.frame = frame.len();
    }
    read
}

/// What a network header says.
struct Network {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    ttl: u8,
    /// Where the transport header begins.
    at: usize,
    /// Bytes in all, by its word.
    len: usize,
    may_fragment: bool,
}

fn read_v4(ip: &[u8]) -> Frame {
    if ip.len() < 20 {
        return Frame::Broken;
    }
    let at = usize::from(ip[0] & 15) * 4;
    let is_sound = ip[0] >> 4 == 4 && at >= 20;
    let place = u16_at(ip, 6);
    let network = Network {
        src: Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]).into(),
        dst: Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]).into(),
        protocol: ip[9],
        ttl: ip[8],
        at,
        len: u16_at(ip, 2).into(),
        may_fragment: place & 0x4000 == 0,
    };
    let id = u16::from_ne_bytes([ip[4], ip[5]]).into();
    match (network.protocol, place & 0x1fff, place & 0x2000 != 0) {
        (1, ..) => Frame::Icmp,
        (_, 0, false) if is_sound => read_transport(ip, &network),
        (_, 0, false) => Frame::Broken,
        (_, 0, true) if is_sound => read_first(ip, &network, Part::First { id }),
        (_, _, _) if is_sound => read_later(ip, &network, id),
        _ => Frame::OddPart,
    }
}

fn read_v6(ip: &[u8]) -> Frame {
    if ip.len() < 20 {
        return Frame::Broken;
    }
    let (mut next, mut at) = (ip[6], 40);
    for passed in 0.. {
        if !matches!(next, 0 | 43 | 60) {
            break;
        }
        if passed == 4 || ip.len() < at + 4 {
            return Frame::Broken;
        }
        // With segments left it is another node's.
        if next == 43 && ip[at + 3] != 0 {
            next = 59;
            break;
        }
        next = ip[at];
        at += (usize::from(ip[at + 1]) + 1) * 8;
    }
    let is_sound = ip.len() >= 40 && ip[0] >> 4 == 6;
    match next {
        58 => return Frame::Icmp,
        44 if !is_sound || ip.len() < at + 8 => return Frame::OddPart,
        _ if !is_sound => return Frame::Broken,
        _ => {}
    }
    let payload = usize::from(u16_at(ip, 4));
    let mut network = Network {
        src: v6(&ip[8..24]),
        dst: v6(&ip[24..40]),
        protocol: next,
        ttl: ip[7],
        at,
        len: payload + 40,
        may_fragment: false,
    };
    if next != 44 {
        // A length of 0 is what offloads leave, or a jumbogram's.
        return if payload == 0 && Proto::of(next).is_some() {
            Frame::Broken
        } else {
            read_transport(ip, &network)
        };
    }
    network.protocol = ip[at];
    let place = u16_at(ip, at + 2);
    let id = u32::from_ne_bytes([ip[at + 4], ip[at + 5], ip[at + 6], ip[at + 7]]);
    network.at += 8;
    match (place >> 3, place & 1 != 0) {
        (0, false) => read_first(ip, &network, Part::Whole),
        (0, true) => read_first(ip, &network, Part::First { id }),
        _ => read_later(ip, &network, id),
    }
}

fn packet(proto: Proto, network: &Network, part: Part) -> Packet {
    Packet {
        proto,
        ends: Tuple {
            src: network.src,
            dst: network.dst,
            sport: 0,
            dport: 0,
        },
        flags: if proto == Proto::Udp { 0 } else { ACK },
        number: 0,
        has_data: true,
        ttl: network.ttl,
        len: network.len,
        frame: 0,
        may_fragment: network.may_fragment,
        part,
        header: network.at,
        is_unfinished: false,
    }
}

/// A whole packet.
fn read_transport(ip: &[u8], network: &Network) -> Frame {
    let Some(proto) = Proto::of(network.protocol) else {
        return Frame::Foreign;
    };
    let shortest = match proto {
        Proto::Tcp => 20,
        Proto::Udp => 8,
        Proto::Sctp => 12,
    };
    let Some(header) = ip.get(network.at..).filter(|l4| l4.len() >= shortest) else {
        return Frame::Broken;
    };
    let least = match proto {
        Proto::Tcp => usize::from(header[12] >> 4) * 4,
        Proto::Udp => u16_at(header, 4).into(),
        Proto::Sctp => 12,
    };
    if least < shortest || network.len > ip.len() || network.len < network.at + least {
        return Frame::Broken;
    }
    let mut packet = packet(proto, network, Part::Whole);
    fill(&mut packet, network, header);
    packet.is_unfinished = is_unfinished(&packet, network, header);
    Frame::Packet(packet)
}

/// A fragment that has its transport header, or a whole packet with a fragment header.
fn read_first(ip: &[u8], network: &Network, part: Part) -> Frame {
    let Some(proto) = Proto::of(network.protocol) else {
        return Frame::OddPart;
    };
    let least = match proto {
        Proto::Tcp => 20,
        Proto::Udp => 8,
        // With the first chunk's header.
        Proto::Sctp => 16,
    };
    let header = ip.get(network.at..).filter(|l4| l4.len() >= least);
    match header {
        Some(header) if network.len <= ip.len() && network.len >= network.at + least => {
            let mut packet = packet(proto, network, part);
            fill(&mut packet, network, header);
            Frame::Packet(packet)
        }
        _ => Frame::OddPart,
    }
}

/// A fragment without a transport header.
fn read_later(ip: &[u8], network: &Network, id: u32) -> Frame {
    match Proto::of(network.protocol) {
        Some(proto) if network.len <= ip.len() => {
            Frame::Later(packet(proto, network, Part::Later { id }))
        }
        _ => Frame::OddPart,
    }
}

fn fill(packet: &mut Packet, network: &Network, header: &[u8]) {
    packet.ends.sport = u16_at(header, 0);
    packet.ends.dport = u16_at(header, 2);
    match packet.proto {
        Proto::Udp => {}
        Proto::Tcp => {
            packet.flags = header[13];
            packet.number = u32_at(header, if packet.has(SYN) { 4 } else { 8 });
            let data = network.at + usize::from(header[12] >> 4) * 4;
            packet.has_data = network.len > data || packet.has(FIN);
        }
        Proto::Sctp => {
            packet.flags = header.get(12).map_or(ACK, |chunk| chunk_flags(*chunk));
            // What opens carries the other side's tag in its chunk.
            let tag = if packet.has(SYN) && header.len() >= 20 {
                16
            } else {
                4
            };
            packet.number = u32_at(header, tag);
        }
    }
}

/// TCP's flags that mean what a first chunk of this type does.
fn chunk_flags(kind: u8) -> u8 {
    match kind {
        chunk::INIT => SYN,
        chunk::INIT_ACK => SYN | ACK,
        chunk::ABORT => RST,
        chunk::SHUTDOWN => FIN,
        chunk::SHUTDOWN_ACK | chunk::SHUTDOWN_COMPLETE => FIN | ACK,
        _ => ACK,
    }
}

/// A card is to make the sum: the pseudo header's stands in its place, or 0 of SCTP.
fn is_unfinished(packet: &Packet, network: &Network, header: &[u8]) -> bool {
    let said = match packet.proto {
        Proto::Sctp => return u32_at(header, 8) == 0,
        Proto::Tcp => u16_at(header, 16),
        Proto::Udp => u16_at(header, 6),
    };
    let bytes = match (network.src, network.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => [src.octets(), dst.octets()].concat(),
        (IpAddr::V6(src), IpAddr::V6(dst)) => [src.octets(), dst.octets()].concat(),
        _ => return false,
    };
    let words = bytes.chunks(2).map(|two| u32::from(u16_at(two, 0)));
    let length = u32::try_from(network.len - network.at).unwrap_or_default();
    let mut sum = words.sum::<u32>() + u32::from(network.protocol) + length;
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == u32::from(said)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn v6(bytes: &[u8]) -> IpAddr {
    let octets = <[u8; 16]>::try_from(bytes).unwrap_or_default();
    Ipv6Addr::from(octets).into()
}
