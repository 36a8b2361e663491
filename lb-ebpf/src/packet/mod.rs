//! Packets as they lie in memory: the only pointer arithmetic on them. Owns the bounds checks; knows nothing of services.

pub mod sctp;

use lb_common::{
    Addr, csum,
    flow::{FlowKey, connects},
};

use crate::{reply::header, rewrite::icmp_inner};

/// Length of an Ethernet header.
pub const ETH: u32 = 14;
/// EtherType of IPv4, as loaded from a frame.
pub const ETH_P_IP: u16 = 0x0800u16.to_be();
/// EtherType of IPv6, as loaded from a frame.
pub const ETH_P_IPV6: u16 = 0x86ddu16.to_be();

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const SCTP: u8 = 132;
pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;
const V6_FRAGMENT: u8 = 44;

pub const FIN: u8 = 1;
pub const SYN: u8 = 1 << 1;
pub const RST: u8 = 1 << 2;
pub const ACK: u8 = 1 << 4;

/// What the headers of a TCP segment, a UDP datagram or an SCTP packet say.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Packet {
    pub src: Addr,
    pub dst: Addr,
    /// Host byte order.
    pub sport: u16,
    /// Host byte order.
    pub dport: u16,
    pub proto: u8,
    /// TCP's flag byte; 0 for UDP; for SCTP what means the same, see [`sctp::flags`].
    pub flags: u8,
    /// Bytes of the transport header, by its own word; of SCTP the common header.
    pub l4_len: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4 rather than IPv6.
    pub v4: bool,
    /// The IPv4 header's checksum as loaded; 0 in IPv6.
    pub header_sum: u16,
    /// The transport checksum as loaded, the sixteen bits of TCP and UDP or the thirty-two of SCTP; 0 in UDP over IPv4 means
    /// that there is none, in SCTP that it is still to be made.
    pub sum: u32,
    /// Bytes from the network header on, by the header's word.
    pub len: u16,
    /// Offset of the network header from the start of the frame.
    pub net: u32,
    /// Offset of the transport header from the start of the frame.
    pub l4: u32,
    /// The device that the packet came in on, or goes out by.
    pub ifindex: u32,
}

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

impl Packet {
    /// The key of its flow record.
    #[inline(always)]
    pub fn key(&self) -> FlowKey {
        FlowKey {
            src: self.src,
            dst: self.dst,
            sport: self.sport,
            dport: self.dport,
            proto: self.proto,
            pad: [0; 3],
        }
    }

    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.proto == TCP
    }

    #[inline(always)]
    pub fn is_sctp(&self) -> bool {
        self.proto == SCTP
    }

    /// Has connections that are opened and closed, rather than datagrams alone.
    #[inline(always)]
    pub fn connects(&self) -> bool {
        connects(self.proto)
    }

    /// Opens a connection: SYN without ACK.
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }

    #[inline(always)]
    pub fn has_syn(&self) -> bool {
        self.flags & SYN != 0
    }

    #[inline(always)]
    pub fn is_fin(&self) -> bool {
        self.flags & FIN != 0
    }

    #[inline(always)]
    pub fn is_rst(&self) -> bool {
        self.flags & RST != 0
    }

    /// Neither opens a connection nor ends one, on either side.
    #[inline(always)]
    pub fn changes_nothing(&self) -> bool {
        self.flags & (SYN | FIN | RST) == 0
    }

    /// Takes a hop from an IPv4 header: the sum of its changes, `sum`, with this one.
    #[inline(always)]
    pub fn hop(&self, sum: u64) -> u64 {
        let word = |ttl| life(ttl, self.proto);
        csum::replace(sum, [word(self.ttl)], [word(self.ttl - 1)])
    }

    /// Offset of the transport checksum of TCP and UDP in the transport header.
    #[inline(always)]
    pub fn sum_offset(&self) -> u32 {
        if self.is_tcp() { 16 } else { 6 }
    }

    /// Is the transport sum still to be filled in by a card (`CHECKSUM_PARTIAL`)? Such packets come from local senders
    /// through virtual devices alone, with the sum of the pseudo header where the checksum will stand, or with 0 for SCTP. A
    /// finished sum looks so by chance, once in 65,536; one of SCTP once in four milliards.
    #[inline(always)]
    pub fn sum_is_unfinished(&self) -> bool {
        if self.is_sctp() {
            return self.sum == 0;
        }
        let l4_len = self.len.wrapping_sub((self.l4 - self.net) as u16);
        u32::from(csum::fold(header::pseudo(self, self.proto, l4_len))) == self.sum
    }
}

/// Loads from a checked place of a frame; unaligned, which the kernel allows for packets on every 64-bit machine.
///
/// # Safety
/// `at + size_of::<T>()` was compared with the end of the frame.
#[inline(always)]
pub unsafe fn load<T: Copy>(at: usize) -> T {
    // SAFETY: the caller's promise; volatile, so that the load is neither split nor moved before the comparison.
    unsafe { core::ptr::read_volatile(at as *const T) }
}

/// Stores to a checked place of a frame.
///
/// # Safety
/// As for [`load`], and the frame may be written.
#[inline(always)]
pub unsafe fn store<T: Copy>(at: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { core::ptr::write_volatile(at as *mut T, value) }
}

/// Loads the four words of an IPv6 address.
///
/// # Safety
/// As for [`load`], for sixteen bytes.
#[inline(always)]
pub unsafe fn load_v6(at: usize) -> Addr {
    // SAFETY: the caller's promise.
    unsafe { Addr::from_words([load(at), load(at + 4), load(at + 8), load(at + 12)]) }
}

/// Time to live and protocol, which are one word of an IPv4 header's sum.
#[inline(always)]
pub fn life(ttl: u8, proto: u8) -> u32 {
    u32::from(u16::from_ne_bytes([ttl, proto]))
}

/// An IPv4 address from its word as loaded.
#[inline(always)]
pub fn v4(word: u32) -> Addr {
    Addr::from_words([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), word])
}

/// Are the addresses equal? (Four words; a comparison of bytes would be a loop.)
#[inline(always)]
pub fn same(a: &Addr, b: &Addr) -> bool {
    let (a, b) = (a.words(), b.words());
    (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) == 0
}

/// Both ports (host order) as they stand in the header.
#[inline(always)]
pub fn ports(sport: u16, dport: u16) -> u32 {
    let (s, d) = (sport.to_be_bytes(), dport.to_be_bytes());
    u32::from_ne_bytes([s[0], s[1], d[0], d[1]])
}

/// Reads the headers of the frame between `data` and `end`, whose network header stands at `net` (0 or [`ETH`]).
#[inline(always)]
pub fn parse(
    data: usize,
    end: usize,
    net: u32,
    is_v4: bool,
    ifindex: u32,
) -> Result<Packet, Unread> {
    let ip = data + net as usize;
    let (src, dst, proto, ttl, len, header, header_sum);
    if is_v4 {
        if ip + 20 > end {
            return Err(Unread::Malformed);
        }
        // SAFETY: the twenty bytes were checked.
        let first: u8 = unsafe { load(ip) };
        header = ((first & 0xf) as usize) << 2;
        if first >> 4 != 4 || header < 20 {
            return Err(Unread::Malformed);
        }
        // SAFETY: the twenty bytes were checked.
        unsafe {
            if u16::from_be(load(ip + 6)) & 0x3fff != 0 {
                return Err(Unread::Fragment);
            }
            len = u16::from_be(load(ip + 2));
            ttl = load(ip + 8);
            proto = load(ip + 9);
            header_sum = load(ip + 10);
            src = v4(load(ip + 12));
            dst = v4(load(ip + 16));
        }
    } else {
        if ip + 40 > end {
            return Err(Unread::Malformed);
        }
        header = 40;
        header_sum = 0;
        // SAFETY: the forty bytes were checked.
        unsafe {
            if load::<u8>(ip) >> 4 != 6 {
                return Err(Unread::Malformed);
            }
            len = u16::from_be(load(ip + 4)).wrapping_add(40);
            proto = load(ip + 6);
            ttl = load(ip + 7);
            src = load_v6(ip + 8);
            dst = load_v6(ip + 24);
        }
        if proto == V6_FRAGMENT {
            return Err(Unread::Fragment);
        }
    }
    let l4 = ip + header;
    let (sport, dport, flags, sum, l4_len, least);
    if proto == TCP {
        if l4 + 20 > end {
            return Err(Unread::Malformed);
        }
        least = header + 20;
        // SAFETY: the twenty bytes were checked.
        unsafe {
            sport = u16::from_be(load(l4));
            dport = u16::from_be(load(l4 + 2));
            l4_len = (load::<u8>(l4 + 12) >> 4) << 2;
            flags = load(l4 + 13);
            sum = u32::from(load::<u16>(l4 + 16));
        }
    } else if proto == UDP {
        if l4 + 8 > end {
            return Err(Unread::Malformed);
        }
        least = header + 8;
        flags = 0;
        l4_len = 8;
        // SAFETY: the eight bytes were checked.
        unsafe {
            sport = u16::from_be(load(l4));
            dport = u16::from_be(load(l4 + 2));
            sum = u32::from(load::<u16>(l4 + 6));
        }
    } else if proto == SCTP {
        if l4 + sctp::HEADER as usize > end {
            return Err(Unread::Malformed);
        }
        least = header + sctp::HEADER as usize;
        l4_len = sctp::HEADER as u8;
        // SAFETY: the twelve bytes were checked, the type of the chunk behind them is checked here.
        unsafe {
            sport = u16::from_be(load(l4));
            dport = u16::from_be(load(l4 + 2));
            sum = load(l4 + sctp::SUM as usize);
            // Of what a sender has left to cut, the chunks lie elsewhere, and they are data.
            flags = if l4 + sctp::READ as usize > end {
                ACK
            } else {
                sctp::flags(load(l4 + sctp::HEADER as usize))
            };
        }
    } else {
        return Err(Unread::Other);
    }
    // A jumbogram or a segment put together by offloads may say 0.
    if len != 0 && usize::from(len) < least {
        return Err(Unread::Malformed);
    }
    Ok(Packet {
        src,
        dst,
        sport,
        dport,
        proto,
        flags,
        l4_len,
        ttl,
        v4: is_v4,
        header_sum,
        sum,
        len,
        net,
        l4: net + header as u32,
        ifindex,
    })
}

/// How many bytes from the network header on must lie in one piece for [`parse`], or for [`icmp_inner::parse`] if it is ICMP
/// (the second word). `None` if less lies there than tells. Where a sender left it to others to `cut` the packet, the pieces
/// of SCTP's begin behind its common header: nothing of them may be pulled before it.
#[inline(always)]
pub fn needed(data: usize, end: usize, net: u32, is_v4: bool, cut: bool) -> Option<(u32, bool)> {
    let ip = data + net as usize;
    if ip + 20 > end {
        return None;
    }
    // SAFETY: the twenty bytes were checked.
    let (first, v4_proto, v6_proto): (u8, u8, u8) =
        unsafe { (load(ip), load(ip + 9), load(ip + 6)) };
    let sctp = if cut { sctp::HEADER } else { sctp::READ };
    Some(match (is_v4, v4_proto, v6_proto) {
        (true, ICMP, _) => (icmp_inner::V4, true),
        (true, SCTP, _) => ((u32::from(first & 0xf) << 2) + sctp, false),
        (true, ..) => ((u32::from(first & 0xf) << 2) + 20, false),
        (false, _, ICMPV6) => (icmp_inner::V6, true),
        (false, _, SCTP) => (40 + sctp, false),
        (false, ..) => (60, false),
    })
}
