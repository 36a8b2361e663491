//! ICMP errors that others send, read by the packet that they quote.

use lb_common::Addr;

use super::{
    Net, Packet, SCTP, TCP, UDP,
    access::{load, load_v6, same, v4},
};

/// Bytes from the network header to the end of the quoted ports, without options or extension
/// headers.
pub const V4: u32 = 20 + 8 + 20 + 8;
/// The same for IPv6.
pub const V6: u32 = 40 + 8 + 40 + 8;

/// An ICMP error about a TCP segment, a UDP datagram or an SCTP packet.
#[derive(Clone, Copy)]
pub struct IcmpError {
    /// A packet that would answer the quoted one: its tuple is the quoted one turned round. `ttl`,
    /// `len` and `net` are those of the error itself, `l4` is where the quoted ports stand.
    pub answer: Packet,
    /// The sender of the error.
    pub from: Addr,
}

/// Reads an ICMP error; `None` for any other ICMP, for options and extension headers, and for
/// quotes too short.
#[inline(always)]
pub fn parse(data: usize, end: usize, net: Net, ifindex: u32) -> Option<IcmpError> {
    let ip = data + net.at as usize;
    let (from, to, src, dst, proto, ttl, len, l4);
    // SAFETY: all bytes up to the quoted ports are checked first in each branch.
    unsafe {
        if net.v4 {
            if ip + V4 as usize > end || load::<u8>(ip) != 0x45 || load::<u8>(ip + 28) != 0x45 {
                return None;
            }
            // Unreachable, time exceeded, parameter problem; of whole packets and first fragments.
            let kind: u8 = load(ip + 20);
            let fragment: u16 = u16::from_be(load(ip + 34));
            if !(kind == 3 || kind == 11 || kind == 12) || fragment & 0x1fff != 0 {
                return None;
            }
            from = v4(load(ip + 12));
            to = v4(load(ip + 16));
            src = v4(load(ip + 40));
            dst = v4(load(ip + 44));
            proto = load::<u8>(ip + 37);
            ttl = load(ip + 8);
            len = u32::from(u16::from_be(load(ip + 2)));
            l4 = 48;
        } else {
            if ip + V6 as usize > end || load::<u8>(ip + 48) >> 4 != 6 {
                return None;
            }
            // Unreachable, too big, time exceeded, parameter problem.
            let kind: u8 = load(ip + 40);
            if kind == 0 || kind > 4 {
                return None;
            }
            from = load_v6(ip + 8);
            to = load_v6(ip + 24);
            src = load_v6(ip + 56);
            dst = load_v6(ip + 72);
            proto = load::<u8>(ip + 54);
            ttl = load(ip + 7);
            len = u32::from(u16::from_be(load(ip + 4))) + 40;
            l4 = 88;
        }
        // An error goes to the sender of what it quotes.
        if (proto != TCP && proto != UDP && proto != SCTP) || !same(&to, &src) {
            return None;
        }
        Some(IcmpError {
            answer: Packet {
                src: dst,
                dst: src,
                sport: u16::from_be(load(ip + l4 + 2)),
                dport: u16::from_be(load(ip + l4)),
                proto,
                flags: 0,
                l4_len: 8,
                ttl,
                v4: net.v4,
                header_sum: 0,
                sum: 0,
                len,
                net: net.at,
                l4: net.at + l4 as u32,
                ifindex,
            },
            from,
        })
    }
}
