//! From the bytes of a frame to a [`Packet`].

use lb_common::Addr;

use super::{
    ACK, Net, Packet, SCTP, TCP, UDP,
    access::{load, load_v6, v4},
    sctp,
};

/// The next header of a fragment of IPv6.
const V6_FRAGMENT: u8 = 44;

/// Why a frame is no [`Packet`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// Another protocol.
    Other,
    /// A fragment, the first one included.
    Fragment,
    /// Shorter than its headers say, or headers that contradict each other.
    Malformed,
}

/// Reads the headers of the frame between `data` and `end`.
#[inline(always)]
pub fn parse(data: usize, end: usize, net: Net, ifindex: u32) -> Result<Packet, Unread> {
    let ip = network(data + net.at as usize, end, net.v4)?;
    let l4 = transport(data + net.at as usize + ip.header, end, ip.proto)?;
    // A jumbogram or a segment put together by offloads may say 0.
    if ip.len != 0 && usize::from(ip.len) < ip.header + l4.least {
        return Err(Unread::Malformed);
    }
    Ok(Packet {
        src: ip.src,
        dst: ip.dst,
        sport: l4.sport,
        dport: l4.dport,
        proto: ip.proto,
        flags: l4.flags,
        l4_len: l4.len,
        ttl: ip.ttl,
        v4: net.v4,
        header_sum: ip.sum,
        sum: l4.sum,
        len: ip.len,
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
    /// Bytes from the header on.
    len: u16,
    /// Bytes of the header.
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
            if u16::from_be(load(ip + 6)) & 0x3fff != 0 {
                return Err(Unread::Fragment);
            }
            Ok(Network {
                len: u16::from_be(load(ip + 2)),
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
        let found = unsafe {
            if load::<u8>(ip) >> 4 != 6 {
                return Err(Unread::Malformed);
            }
            Network {
                len: u16::from_be(load(ip + 4)).wrapping_add(40),
                proto: load(ip + 6),
                ttl: load(ip + 7),
                src: load_v6(ip + 8),
                dst: load_v6(ip + 24),
                header: 40,
                sum: 0,
            }
        };
        if found.proto == V6_FRAGMENT {
            return Err(Unread::Fragment);
        }
        Ok(found)
    }
}

/// What a transport header says.
struct Transport {
    sport: u16,
    dport: u16,
    flags: u8,
    sum: u32,
    /// Bytes of the header, by its own word.
    len: u8,
    /// Bytes of the shortest header.
    least: usize,
}

#[inline(always)]
fn transport(l4: usize, end: usize, proto: u8) -> Result<Transport, Unread> {
    let least = match proto {
        TCP => 20,
        UDP => 8,
        SCTP => sctp::HEADER as usize,
        _ => return Err(Unread::Other),
    };
    if l4 + least > end {
        return Err(Unread::Malformed);
    }
    // SAFETY: the bytes of the shortest header were checked; the type of the chunk behind SCTP's is
    // checked here.
    unsafe {
        let (sport, dport) = (u16::from_be(load(l4)), u16::from_be(load(l4 + 2)));
        let (flags, sum, len) = match proto {
            TCP => (
                load(l4 + 13),
                u32::from(load::<u16>(l4 + 16)),
                (load::<u8>(l4 + 12) >> 4) << 2,
            ),
            UDP => (0, u32::from(load::<u16>(l4 + 6)), 8),
            _ => {
                // Of what a sender has left to cut, the chunks lie elsewhere, and they are data.
                let flags = if l4 + sctp::READ as usize > end {
                    ACK
                } else {
                    sctp::flags(load(l4 + sctp::HEADER as usize))
                };
                (flags, load(l4 + sctp::SUM as usize), sctp::HEADER as u8)
            }
        };
        Ok(Transport {
            sport,
            dport,
            flags,
            sum,
            len,
            least,
        })
    }
}
