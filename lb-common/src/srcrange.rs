//! `loadBalancerSourceRanges`: who may come. Owns the layout of `lb_srcranges`.

use crate::addr::Addr;

/// Data part of the key of `lb_srcranges` (LPM trie): matched from its first byte on, so the pool
/// index comes first and the prefix length in the trie is 32 + that of the range (+ 96 for IPv4,
/// which is stored mapped).
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct SourceRange {
    /// Pool index, in the machine's byte order (always matched whole).
    pub pool: u32,
    /// The network.
    pub addr: Addr,
}

const _: () = assert!(size_of::<SourceRange>() == 20);
