//! Packets read again by etherparse: their tuple, and a form for people.

use std::{fmt, fmt::Write as _, net::IpAddr};

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::sums::problems;

/// Addresses and ports; ports are 0 where there are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tuple {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) sport: u16,
    pub(crate) dport: u16,
}

impl Tuple {
    pub(crate) fn turned(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
        }
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            src,
            dst,
            sport,
            dport,
        } = self;
        write!(f, "{src}:{sport} > {dst}:{dport}")
    }
}

/// Where the network header of a frame begins.
pub(crate) fn net_offset(frame: &[u8]) -> usize {
    let mut at = 12;
    while matches!(frame.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8])) {
        at += 4;
    }
    at + 2
}

/// What a packet carries behind its network header and extension headers.
pub(crate) struct Carried {
    /// Where it begins.
    pub(crate) at: usize,
    /// Where it ends, or the packet.
    pub(crate) end: usize,
    pub(crate) protocol: u8,
    /// It begins with a transport header.
    pub(crate) headed: bool,
}

/// What a packet carries, from its network header on.
pub(crate) fn transport(packet: &[u8]) -> Option<Carried> {
    let sliced = LaxSlicedPacket::from_ip(packet).ok()?;
    let net = sliced.net.as_ref()?;
    let payload = net.ip_payload_ref()?;
    let at = payload.payload.as_ptr().addr() - packet.as_ptr().addr();
    let later = match net {
        LaxNetSlice::Ipv4(ip) => ip.header().fragments_offset().value() != 0,
        // The fragment header is the last of the extension headers.
        LaxNetSlice::Ipv6(_) if payload.fragmented => {
            let offset = packet.get(at - 6..at - 4)?;
            u16::from_be_bytes([offset[0], offset[1]]) & 0xfff8 != 0
        }
        LaxNetSlice::Ipv6(_) | LaxNetSlice::Arp(_) => false,
    };
    let protocol = payload.ip_number.0;
    Some(Carried {
        at,
        end: at + payload.payload.len(),
        protocol,
        headed: !later && matches!(protocol, 6 | 17 | 132),
    })
}

/// The tuple of a packet, from its network header on.
pub(crate) fn tuple(packet: &[u8]) -> Option<Tuple> {
    let sliced = LaxSlicedPacket::from_ip(packet).ok()?;
    let (src, dst): (IpAddr, IpAddr) = match sliced.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        LaxNetSlice::Ipv6(ip) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        LaxNetSlice::Arp(_) => return None,
    };
    let Carried { at, headed, .. } = transport(packet)?;
    let ports = match (headed, packet.get(at..at + 4)) {
        (true, Some([a, b, c, d])) => [u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])],
        _ => [0; 2],
    };
    Some(Tuple {
        src,
        dst,
        sport: ports[0],
        dport: ports[1],
    })
}

/// A frame for people: each header on a line, then its first bytes, then what is wrong with it.
pub(crate) fn show(frame: &[u8]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if let (Some(to), Some(from)) = (frame.get(..6), frame.get(6..12)) {
        let _ = writeln!(
            text,
            "      Ethernet {} > {}, {} bytes",
            hex(from),
            hex(to),
            frame.len()
        );
    }
    let net = net_offset(frame);
    for tag in (14..net).step_by(4) {
        let id = u16::from_be_bytes([frame[tag], frame[tag + 1]]) & 0xfff;
        let _ = writeln!(text, "      VLAN {id}");
    }
    if let Some(packet) = frame.get(net..) {
        layers(packet, "      ", &mut text);
        let _ = writeln!(text, "      bytes {}", hex(&packet[..packet.len().min(80)]));
    }
    for problem in problems(frame) {
        let _ = writeln!(text, "      ! {problem}");
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The headers of a packet; of an ICMP error also those that it quotes.
fn layers(packet: &[u8], indent: &str, text: &mut String) {
    let sliced = match LaxSlicedPacket::from_ip(packet) {
        Ok(sliced) => sliced,
        Err(error) => {
            let _ = writeln!(text, "{indent}unreadable: {error}");
            return;
        }
    };
    let lives = network(sliced.net.as_ref());
    let tuple = tuple(packet).map_or_else(String::new, |tuple| tuple.to_string());
    let _ = writeln!(text, "{indent}{lives}: {tuple}");
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let names = [
                (tcp.syn(), "SYN"),
                (tcp.ack(), "ACK"),
                (tcp.fin(), "FIN"),
                (tcp.rst(), "RST"),
                (tcp.psh(), "PSH"),
                (tcp.urg(), "URG"),
            ];
            let flags: Vec<_> = names
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, n)| *n)
                .collect();
            let _ = writeln!(
                text,
                "{indent}TCP {flags:?} seq {:#x} ack {:#x}, header {}, data {}, sum {:04x}",
                tcp.sequence_number(),
                tcp.acknowledgment_number(),
                tcp.data_offset() * 4,
                tcp.payload().len(),
                tcp.checksum(),
            );
        }
        Some(TransportSlice::Udp(udp)) => {
            let _ = writeln!(
                text,
                "{indent}UDP length {}, sum {:04x}",
                udp.length(),
                udp.checksum()
            );
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            let (kind, code) = (icmp.type_u8(), icmp.code_u8());
            let _ = writeln!(
                text,
                "{indent}ICMP type {kind}, code {code}, rest {:?}",
                icmp.bytes5to8()
            );
            if matches!(kind, 3 | 4 | 5 | 11 | 12) {
                layers(icmp.payload(), &format!("{indent}  | "), text);
            }
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            let (kind, code) = (icmp.type_u8(), icmp.code_u8());
            let _ = writeln!(
                text,
                "{indent}ICMPv6 type {kind}, code {code}, rest {:?}",
                icmp.bytes5to8()
            );
            if kind < 128 {
                layers(icmp.payload(), &format!("{indent}  | "), text);
            }
        }
        None => {
            if let Some(Carried {
                at, protocol: 132, ..
            }) = transport(packet)
            {
                let chunk = packet.get(at + 12);
                let _ = writeln!(
                    text,
                    "{indent}SCTP chunk {chunk:?}, sum {:?}",
                    packet.get(at + 8..at + 12)
                );
            } else if let Some((error, layer)) = &sliced.stop_err {
                let _ = writeln!(text, "{indent}{layer}: {error}");
            }
        }
    }
}

/// The network header of a packet.
fn network(net: Option<&LaxNetSlice<'_>>) -> String {
    match net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            format!(
                "IPv4 ttl {}, length {}, header {}, df {}, offset {}, more {}, protocol {}",
                header.ttl(),
                header.total_len(),
                header.slice().len(),
                header.dont_fragment(),
                header.fragments_offset().byte_offset(),
                header.more_fragments(),
                header.protocol().0,
            )
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            format!(
                "IPv6 hop limit {}, payload {}, next header {}",
                header.hop_limit(),
                header.payload_length(),
                header.next_header().0,
            )
        }
        _ => "no IP".to_owned(),
    }
}
