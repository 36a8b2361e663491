//! Members: which backends belong to a pool, and for what. Layout of `lb_members`; the bits of its
//! value are the constants of this module.

/// Key of `lb_members`: present while the backend is a member of the pool, so that affinity and
/// flow entries can ask whether they still hold.
#[repr(C, align(4))]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct MemberKey {
    /// Pool index.
    pub pool: u32,
    /// Backend id.
    pub backend: u32,
}

/// New connections may choose it (it stands in the slots).
pub const ELIGIBLE: u32 = 1;
/// It still serves (ready, or serving while terminating): records of connections that it has stay
/// valid.
pub const SERVING: u32 = 1 << 1;
/// It has left the Service, and keeps its connections of TCP and SCTP for a while, which would be
/// reset otherwise (see [`RESET`](crate::pool::flags::RESET)).
pub const KEPT: u32 = 1 << 5;

/// Topology hints do not prefer it: new connections choose it only where they leave the ones that
/// are preferred (see [`spill`](crate::spill)).
pub const OUTSIDE: u32 = 1 << 7;

/// The weight of a member that has none of its own.
pub const WEIGHT: u16 = 100;
/// Where the weight stands: in the upper half.
const WEIGHT_SHIFT: u32 = 16;

/// The weight in a value of `lb_members`: 1 to 65535. (The upper half is 0 for [`WEIGHT`], as
/// agents without weights wrote it.)
#[inline(always)]
#[must_use]
pub const fn weight(value: u32) -> u16 {
    match (value >> WEIGHT_SHIFT) as u16 {
        0 => WEIGHT,
        weight => weight,
    }
}

/// What a weight adds to the flags in a value of `lb_members`.
#[must_use]
pub const fn weight_bits(weight: u16) -> u32 {
    match weight {
        WEIGHT => 0,
        weight => (weight as u32) << WEIGHT_SHIFT,
    }
}

const _: () = assert!(size_of::<MemberKey>() == 8);
