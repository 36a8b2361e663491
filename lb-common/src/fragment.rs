//! Fragments of IP: what the first one of a packet said, for the later ones, which have no ports.
//! Layout of `lb_fragments`.

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
    /// Reserved, zero.
    pub pad: u32,
}

/// How long the later fragments of a packet are waited for, in nanoseconds: as long as Linux does
/// (`net.ipv4.ipfrag_time`, `net.ipv6.ip6frag_time`).
#[inline(always)]
#[must_use]
pub const fn lifetime_ns(v4: bool) -> u64 {
    let seconds = if v4 { 30 } else { 60 };
    seconds * 1_000_000_000
}

const _: () = {
    assert!(size_of::<FragmentKey>() == 40);
    assert!(size_of::<Fragment>() == 16);
};
