//! Session affinity: which backend a client had. Owns the layout of `lb_affinity`, which outlives
//! upgrades.

use crate::addr::Addr;

/// Key of `lb_affinity`.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct AffinityKey {
    /// The client: its address in the packet path; on the socket path [`AffinityKey::netns`] (an
    /// unbound socket has no address at connect).
    pub client: Addr,
    /// Pool index.
    pub pool: u32,
}

impl AffinityKey {
    /// The client of the socket path: a network namespace by its cookie, in a form that no address
    /// has (the reserved prefix 0100::/64 of RFC 6666).
    #[inline(always)]
    #[must_use]
    pub const fn netns(cookie: u64) -> Addr {
        let c = cookie.to_be_bytes();
        Addr {
            b: [
                1, 0, 0, 0, 0, 0, 0, 0, c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7],
            ],
        }
    }
}

/// Value of `lb_affinity`.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Affinity {
    /// `bpf_ktime_get_ns` of the last connection.
    pub last_used_ns: u64,
    /// Index into `lb_backends`.
    pub backend: u32,
    /// Reserved, zero.
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<AffinityKey>() == 20);
    assert!(size_of::<Affinity>() == 16);
};
