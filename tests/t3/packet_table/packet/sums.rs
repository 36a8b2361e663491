//! Every checksum of a packet made anew by etherparse, and what differs: the receiver's view.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::{
    crc, net_offset,
    read::{Carried, Tuple, transport, tuple},
};

/// What a receiver of the frame would find wrong.
pub(crate) fn problems(frame: &[u8]) -> Vec<String> {
    frame.get(net_offset(frame)..).map_or_else(
        || vec!["no network header".to_owned()],
        |packet| of(packet, "", true),
    )
}

/// Of a packet, from its network header on; `whole`: nothing may be missing at its end.
fn of(packet: &[u8], place: &str, whole: bool) -> Vec<String> {
    let mut found = Vec::new();
    let sliced = match LaxSlicedPacket::from_ip(packet) {
        Ok(sliced) => sliced,
        Err(error) => return vec![format!("{place}{error}")],
    };
    if let Some((error, layer)) = &sliced.stop_err {
        found.push(format!("{place}{layer}: {error}"));
    }
    let Some(net) = &sliced.net else {
        return found;
    };
    if let LaxNetSlice::Ipv4(ip) = net {
        let header = ip.header().to_header();
        let (said, right) = (header.header_checksum, header.calc_header_checksum());
        if said != right {
            found.push(format!(
                "{place}IPv4 header sum is {said:04x}, not {right:04x}"
            ));
        }
    }
    let Some(payload) = net.ip_payload_ref() else {
        return found;
    };
    if payload.fragmented {
        return found;
    }
    if payload.incomplete {
        if whole {
            found.push(format!("{place}shorter than its IP header says"));
            return found;
        }
        // A quote that was cut: sums over all of it cannot be made.
        found.retain(|problem| problem.contains("IPv4 header sum"));
        return found;
    }
    let Some(tuple) = tuple(packet) else {
        return found;
    };
    let right = sum(sliced.transport.as_ref(), &tuple);
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            found.extend(wrong(place, "TCP", tcp.checksum(), right));
        }
        Some(TransportSlice::Udp(udp)) => {
            // 0: it has none.
            if udp.checksum() != 0 {
                found.extend(wrong(place, "UDP", udp.checksum(), right));
            }
            if usize::from(udp.length()) != payload.payload.len() {
                found.push(format!("{place}UDP length differs from IP's"));
            }
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            found.extend(wrong(place, "ICMP", icmp.checksum(), right));
            if matches!(icmp.type_u8(), 3 | 4 | 5 | 11 | 12) {
                found.extend(of(icmp.payload(), &format!("{place}quoted "), false));
            }
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            if let (IpAddr::V6(src), IpAddr::V6(dst)) = (tuple.src, tuple.dst)
                && !icmp.is_checksum_valid(src.octets(), dst.octets())
            {
                found.push(format!("{place}ICMPv6 sum is wrong"));
            }
            if icmp.type_u8() < 128 {
                found.extend(of(icmp.payload(), &format!("{place}quoted "), false));
            }
        }
        None => found.extend(wrong_crc(packet, place)),
    }
    found
}

/// What is wrong with a sum of sixteen bits.
fn wrong(place: &str, name: &str, said: u16, right: Option<u16>) -> Option<String> {
    match right {
        // 0 and ffff are the same number to a receiver.
        Some(right) if said != right && (said, right) != (0xffff, 0) => {
            Some(format!("{place}{name} sum is {said:04x}, not {right:04x}"))
        }
        Some(_) => None,
        None => Some(format!("{place}{name} sum cannot be made")),
    }
}

/// The sum of sixteen bits that a transport header should have; ICMPv6's is asked for otherwise.
fn sum(transport: Option<&TransportSlice<'_>>, ends: &Tuple) -> Option<u16> {
    match (transport?, ends.src, ends.dst) {
        (TransportSlice::Tcp(tcp), IpAddr::V4(src), IpAddr::V4(dst)) => {
            tcp.calc_checksum_ipv4(src.octets(), dst.octets()).ok()
        }
        (TransportSlice::Tcp(tcp), IpAddr::V6(src), IpAddr::V6(dst)) => {
            tcp.calc_checksum_ipv6(src.octets(), dst.octets()).ok()
        }
        (TransportSlice::Udp(udp), IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (header, data) = (udp.to_header(), udp.payload());
            let sum = header.calc_checksum_ipv4_raw(src.octets(), dst.octets(), data);
            sum.ok()
        }
        (TransportSlice::Udp(udp), IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (header, data) = (udp.to_header(), udp.payload());
            let sum = header.calc_checksum_ipv6_raw(src.octets(), dst.octets(), data);
            sum.ok()
        }
        (TransportSlice::Icmpv4(icmp), ..) => {
            let mut header = icmp.header();
            header.update_checksum(icmp.payload());
            Some(header.checksum)
        }
        _ => None,
    }
}

/// What is wrong with the CRC of SCTP, if it is that.
fn wrong_crc(packet: &[u8], place: &str) -> Option<String> {
    let Carried {
        at,
        end,
        protocol: 132,
        ..
    } = transport(packet)?
    else {
        return None;
    };
    let said = packet.get(at + 8..at + 12)?;
    let right = crc::sctp(packet.get(at..end)?);
    (said != right).then(|| format!("{place}SCTP sum is {said:02x?}, not {right:02x?}"))
}
