//! Session affinity: which backend a client had. Layout of `lb_affinity`, which outlives upgrades,
//! and of `lb_aff_shares`.

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

/// Value of `lb_aff_shares`, by pool index: how much of `lb_affinity` the clients of a pool may take,
/// so that they do not drive out another pool's.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct AffinityShare {
    /// Records that the pool has, or a few more or less: programs count up as they write one, and
    /// the agent recounts.
    pub records: u32,
    /// Records that it may have; 0: as many as [`first_share`] says, since the agent has not
    /// counted yet.
    pub share: u32,
}

/// What a pool may have of so many records before the agent has counted.
#[must_use]
pub const fn first_share(capacity: u32) -> u32 {
    let share = capacity / 16;
    if share == 0 { 1 } else { share }
}

const _: () = {
    assert!(size_of::<AffinityShare>() == 8);
    assert!(size_of::<AffinityKey>() == 20);
    assert!(size_of::<Affinity>() == 16);
};
