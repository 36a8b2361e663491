//! From the bytes of a frame to a [`Packet`].

use lb_common::Addr;

use super::{
    ACK, Net, Offload, Packet, SCTP, SYN, TCP, UDP,
    access::{load, load_v6, v4},
    extension::{self, Behind, Chain},
    fragment::DONT_FRAGMENT,
    sctp,
};

/// Why a frame is no [`Packet`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// Another protocol.
    Other,
    /// Shorter than its headers say, or headers that contradict each other.
    Malformed,
}

/// What is known of a packet besides its bytes.
#[derive(Clone, Copy)]
pub struct Extent {
    pub net: Net,
    /// Bytes that there are from the network header on, in one piece or not.
    pub whole: u32,
    pub offload: Offload,
    pub ifindex: u32,
}

/// Reads the headers of the frame between `data` and `end`; extension headers through `chain`. The
/// caller looks whether an IPv4 packet is a fragment ([`super::fragment`]), which may have no ports.
#[inline(always)]
pub fn parse(data: usize, end: usize, extent: Extent, chain: impl Chain) -> Result<Packet, Unread> {
    let Extent {
        net,
        whole,
        offload,
        ifindex,
    } = extent;
    let mut ip = network(data + net.at as usize, end, net.v4)?;
    if !net.v4 && extension::is_passed_over(ip.proto) {
        let Behind { proto, header } = chain.behind(net, ip.proto)?;
        ip.proto = proto;
        ip.header = header as usize;
    }
    let l4 = transport(data + net.at as usize + ip.header, end, ip.proto)?;
    // What offloads put together may be longer than its header can say, which then says 0.
    let len = match (ip.len, offload) {
        (0, Offload::Segmentation) => whole,
        (len, _) => len,
    };
    if len > whole || len < ip.header as u32 + l4.least {
        return Err(Unread::Malformed);
    }
    Ok(Packet {
        src: ip.src,
        dst: ip.dst,
        sport: l4.sport,
        dport: l4.dport,
        proto: ip.proto,
        flags: l4.flags,
        number: l4.number,
        l4_len: l4.len,
        ttl: ip.ttl,
        v4: net.v4,
        header_sum: ip.sum,
        sum: l4.sum,
        len,
        fragment: ip.fragment,
        net: net.at,
        l4: net.at + ip.header as u32,
        ifindex,
    })
}

/// What a network header says.
struct Network {
    src: Addr,
    dst: Addr,
    proto: u8,
    ttl: u8,
    /// Bytes from the header on; 0 if it does not say.
    len: u32,
    /// See [`Packet::fragment`].
    fragment: u16,
    /// Bytes of the header, of IPv6 with those that extend it.
    header: usize,
    /// 0 in IPv6.
    sum: u16,
}

#[inline(always)]
fn network(ip: usize, end: usize, is_v4: bool) -> Result<Network, Unread> {
    if is_v4 {
        if ip + 20 > end {
            return Err(Unread::Malformed);
        }
        // SAFETY: the twenty bytes were checked.
        let first: u8 = unsafe { load(ip) };
        let header = ((first & 0xf) as usize) << 2;
        if first >> 4 != 4 || header < 20 {
            return Err(Unread::Malformed);
        }
        // SAFETY: the twenty bytes were checked.
        unsafe {
            Ok(Network {
                fragment: u16::from_be(load(ip + 6)),
                len: u32::from(u16::from_be(load(ip + 2))),
                ttl: load(ip + 8),
                proto: load(ip + 9),
                sum: load(ip + 10),
                src: v4(load(ip + 12)),
                dst: v4(load(ip + 16)),
                header,
            })
        }
    } else {
        if ip + 40 > end {
            return Err(Unread::Malformed);
        }
        // SAFETY: the forty bytes were checked.
        unsafe {
            if load::<u8>(ip) >> 4 != 6 {
                return Err(Unread::Malformed);
            }
            let payload = u32::from(u16::from_be(load(ip + 4)));
            Ok(Network {
                len: if payload == 0 { 0 } else { payload + 40 },
                fragment: DONT_FRAGMENT,
                proto: load(ip + 6),
                ttl: load(ip + 7),
                src: load_v6(ip + 8),
                dst: load_v6(ip + 24),
                header: 40,
                sum: 0,
            })
        }
    }
}

/// What a transport header says.
struct Transport {
    sport: u16,
    dport: u16,
    flags: u8,
    /// See [`Packet::number`].
    number: u32,
    sum: u32,
    /// Bytes of the header, by its own word.
    len: u8,
    /// Bytes that there must be: of the header, of a whole datagram of UDP.
    least: u32,
}

#[inline(always)]
fn transport(l4: usize, end: usize, proto: u8) -> Result<Transport, Unread> {
    let shortest = match proto {
        TCP => 20,
        UDP => 8,
        SCTP => sctp::HEADER,
        _ => return Err(Unread::Other),
    };
    if l4 + shortest as usize > end {
        return Err(Unread::Malformed);
    }
    // SAFETY: the bytes of the shortest header were checked; the type of the chunk behind SCTP's is
    // checked here.
    unsafe {
        let (sport, dport) = (u16::from_be(load(l4)), u16::from_be(load(l4 + 2)));
        let (flags, number, sum, len, least) = match proto {
            TCP => {
                let flags: u8 = load(l4 + 13);
                // The sequence number of what opens, else what is acknowledged.
                let number = if flags & SYN != 0 {
                    load(l4 + 4)
                } else {
                    load(l4 + 8)
                };
                let len = (load::<u8>(l4 + 12) >> 4) << 2;
                let sum: u16 = load(l4 + 16);
                let number = u32::from_be(number);
                (flags, number, u32::from(sum), len, u32::from(len))
            }
            UDP => {
                let (least, sum): (u16, u16) = (load(l4 + 4), load(l4 + 6));
                (0, 0, u32::from(sum), 8, u32::from(u16::from_be(least)))
            }
            _ => {
                // Of what a sender has left to cut, the chunks lie elsewhere, and they are data.
                let flags = if l4 + sctp::READ as usize > end {
                    ACK
                } else {
                    sctp::flags(load(l4 + sctp::HEADER as usize))
                };
                let tag = if flags & SYN == 0 || l4 + sctp::QUOTE as usize > end {
                    load(l4 + sctp::TAG as usize)
                } else {
                    load(l4 + sctp::READ as usize)
                };
                let sum = load(l4 + sctp::SUM as usize);
                let tag = u32::from_be(tag);
                (flags, tag, sum, sctp::HEADER as u8, sctp::HEADER)
            }
        };
        if least < shortest {
            return Err(Unread::Malformed);
        }
        Ok(Transport {
            sport,
            dport,
            flags,
            number,
            sum,
            len,
            least,
        })
    }
}
