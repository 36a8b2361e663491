//! Fragments of IP: what the first one of a packet said, for the later ones, which have no ports;
//! and packets on their way to be fragmented. Layout of `lb_fragments` and `lb_oversized`.

use crate::addr::Addr;

/// Key of `lb_fragments`: what the fragments of a packet have in common (RFC 791, RFC 8200), as
/// they come in.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct FragmentKey {
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Identification as it stands in the header; IPv4 has sixteen bits of it.
    pub id: u32,
    /// IANA protocol number; in IPv6 that of the first fragment's.
    pub proto: u8,
    /// Reserved, zero.
    pub pad: [u8; 3],
}

/// Value of `lb_fragments`.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Fragment {
    /// `CLOCK_MONOTONIC` when the first fragment came.
    pub seen_ns: u64,
    /// Host byte order.
    pub sport: u16,
    /// Host byte order.
    pub dport: u16,
    /// 1: the first fragment was left to the stack to be fragmented further, which may put the
    /// packet together before: all of them must come there.
    pub to_stack: u32,
}

/// How long the later fragments of a packet are waited for, in nanoseconds: as long as Linux does
/// (`net.ipv4.ipfrag_time`, `net.ipv6.ip6frag_time`).
#[inline(always)]
#[must_use]
pub const fn lifetime_ns(v4: bool) -> u64 {
    let seconds = if v4 { 30 } else { 60 };
    seconds * 1_000_000_000
}

/// Entries of `lb_oversized`, a ring. An entry is used again only after so many more packets.
pub const OVERSIZED: u32 = 1 << 10;

/// Value of `lb_oversized`: what becomes of the source of a packet that the stack fragments, on its
/// way out. Its destination is rewritten already.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Oversized {
    /// Its source when it leaves us.
    pub src: Addr,
    /// Its destination, by which it is known again.
    pub dst: Addr,
    /// Its source port, host byte order.
    pub sport: u16,
    /// IANA protocol number.
    pub proto: u8,
    /// Reserved, zero.
    pub pad: [u8; 5],
    /// In the first entry: how many packets there have been. Else 0.
    pub count: u64,
}

const _: () = {
    assert!(size_of::<FragmentKey>() == 40);
    assert!(size_of::<Fragment>() == 16);
    assert!(size_of::<Oversized>() == 48);
    assert!(OVERSIZED.is_power_of_two());
};
