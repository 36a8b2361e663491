//! Packets as they lie in memory: their headers, and the checks of their bounds.

mod access;
mod extension;
pub mod fragment;
pub mod inner;
mod needed;
mod parse;
pub mod sctp;

use lb_common::{
    Addr, csum,
    flow::{Event, FlowKey, connects},
};

pub use access::{load, load_v6, ports, same, store, ttl_and_proto, v4, word};
pub use extension::REACH;
pub use needed::{Needed, Offload, needed};
pub use parse::{Extent, Unread, parse};

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

pub const FIN: u8 = 1;
pub const SYN: u8 = 1 << 1;
pub const RST: u8 = 1 << 2;
pub const ACK: u8 = 1 << 4;

/// The sum of the pseudo header of `length` bytes of `proto` between two addresses, in either
/// direction.
#[inline(always)]
pub fn pseudo_sum(src: &Addr, dst: &Addr, proto: u8, length: u32) -> u64 {
    let (src, dst) = (src.words(), dst.words());
    let mut sum = csum::add(0, length.to_be());
    sum = csum::add(sum, u32::from(u16::from(proto).to_be()));
    let mut i = 0;
    while i < 4 {
        // The prefix of a mapped IPv4 address adds 0xffff, which is nothing in this sum.
        sum = csum::add(csum::add(sum, src[i]), dst[i]);
        i += 1;
    }
    sum
}

/// Where a network header stands in a frame.
#[derive(Clone, Copy)]
pub struct Net {
    /// Bytes from the start of the frame: 0 or [`ETH`].
    pub at: u32,
    /// IPv4 rather than IPv6.
    pub v4: bool,
}

impl Net {
    /// Bytes of the shortest header.
    #[inline(always)]
    pub fn shortest(self) -> u32 {
        if self.v4 { 20 } else { 40 }
    }

    /// EtherType of its family, as it stands in a frame.
    #[inline(always)]
    pub fn ethertype(self) -> u16 {
        ethertype(self.v4)
    }
}

#[inline(always)]
const fn ethertype(v4: bool) -> u16 {
    if v4 { ETH_P_IP } else { ETH_P_IPV6 }
}

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
    /// What the handshake is proved by, host order: of a TCP segment with SYN its sequence number,
    /// of any other what it acknowledges; of SCTP's INIT and INIT ACK the initiate tag, of any
    /// other packet its verification tag; 0 of UDP.
    pub number: u32,
    /// Bytes of the transport header, by its own word; of SCTP the common header.
    pub l4_len: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4 rather than IPv6.
    pub v4: bool,
    /// The IPv4 header's checksum as loaded; 0 in IPv6.
    pub header_sum: u16,
    /// The transport checksum as loaded, the sixteen bits of TCP and UDP or the thirty-two of SCTP;
    /// 0 in UDP over IPv4 means that there is none, in SCTP that it is still to be made.
    pub sum: u32,
    /// Bytes from the network header on, by the header's word; by the buffer's where offloads have
    /// put together more than a header can say.
    pub len: u32,
    /// Its place among the fragments, see [`fragment`].
    pub fragment: u16,
    /// Offset of the network header from the start of the frame.
    pub net: u32,
    /// Offset of the transport header from the start of the frame.
    pub l4: u32,
    /// The device that the packet came in on, or goes out by.
    pub ifindex: u32,
}

impl Packet {
    /// The key of its flow entry.
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

    /// Has it a source that no host has: loopback, multicast, broadcast, none, or its own
    /// destination?
    #[inline(always)]
    pub fn source_is_impossible(&self) -> bool {
        let w = self.src.words();
        let first = (w[if self.v4 { 3 } else { 0 }].to_be() >> 24) as u8;
        let group = if self.v4 {
            first == 0 || first == 127 || first >= 224
        } else {
            first == 0xff || (w[0] | w[1] | w[2] == 0 && w[3].to_be() <= 1)
        };
        group || same(&self.src, &self.dst)
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

    /// Answers what opens a connection.
    #[inline(always)]
    pub fn is_syn_ack(&self) -> bool {
        self.flags & (SYN | ACK) == SYN | ACK
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

    /// Goes on with a connection that both sides have opened, by its own word.
    #[inline(always)]
    pub fn acknowledges(&self) -> bool {
        self.flags & (SYN | RST | ACK) == ACK
    }

    /// Would a server send this only once its handshake is complete? Data or their end: a bare ACK is
    /// what a handshake that it did not believe is challenged with, too (RFC 5961).
    #[inline(always)]
    pub fn shows_data(&self) -> bool {
        if self.flags & (SYN | RST) != 0 {
            return false;
        }
        !self.is_tcp() || self.is_fin() || self.len > self.l4 - self.net + u32::from(self.l4_len)
    }

    /// What it says about its connection.
    #[inline(always)]
    pub fn event(&self) -> Event {
        Event {
            syn: self.has_syn(),
            fin: self.is_fin(),
            rst: self.is_rst(),
        }
    }

    /// Neither opens a connection nor ends one, on either side.
    #[inline(always)]
    pub fn changes_nothing(&self) -> bool {
        self.flags & (SYN | FIN | RST) == 0
    }

    /// Is a part of a packet.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.fragment & (fragment::MORE | fragment::OFFSET) != 0
    }

    /// May routers fragment it?
    #[inline(always)]
    pub fn may_be_fragmented(&self) -> bool {
        self.fragment & fragment::DONT_FRAGMENT == 0
    }

    /// Is a part of a packet, and not the first one: it has no transport header.
    #[inline(always)]
    pub fn is_later(&self) -> bool {
        self.fragment & fragment::OFFSET != 0
    }

    /// Takes a hop from an IPv4 header: the sum of its changes, `sum`, with this one.
    #[inline(always)]
    pub fn hop(&self, sum: u64) -> u64 {
        let word = |ttl| ttl_and_proto(ttl, self.proto);
        csum::replace(sum, [word(self.ttl)], [word(self.ttl - 1)])
    }

    /// Offset of the transport checksum of TCP and UDP in the transport header.
    #[inline(always)]
    pub fn sum_offset(&self) -> u32 {
        if self.is_tcp() { 16 } else { 6 }
    }

    /// The sum of the pseudo header of `length` bytes of `proto` between the packet's ends, in
    /// either direction.
    #[inline(always)]
    pub fn pseudo_sum(&self, proto: u8, length: u32) -> u64 {
        pseudo_sum(&self.src, &self.dst, proto, length)
    }

    /// EtherType of its family, as it stands in a frame.
    #[inline(always)]
    pub fn ethertype(&self) -> u16 {
        ethertype(self.v4)
    }

    /// Is the transport sum still to be filled in by a card (`CHECKSUM_PARTIAL`)? Such packets come
    /// from local senders through virtual devices alone, with the sum of the pseudo header where
    /// the checksum will stand, or with 0 for SCTP. A finished sum looks so by chance, once in
    /// 65,536; one of SCTP once in four billion.
    #[inline(always)]
    pub fn sum_is_unfinished(&self) -> bool {
        if self.is_sctp() {
            return self.sum == 0;
        }
        let l4_len = self.len - (self.l4 - self.net);
        u32::from(csum::fold(self.pseudo_sum(self.proto, l4_len))) == self.sum
    }
}
