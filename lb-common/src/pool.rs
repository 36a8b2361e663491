//! Pools: the backends that one or more frontends share, as a range of slots. Layout of `lb_pools`.

/// Value of `lb_pools`. The first eight bytes are word 0: loaded and stored as one aligned u64,
/// which is the atomic switch of a pool from one range of slots to the next.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Pool {
    /// First slot.
    pub base: u32,
    /// How many slots; 0 refuses.
    pub count: u16,
    /// Goes up by one with each switch (wrapping): a reader of a stale word sees another
    /// generation.
    pub generation: u16,
    /// Session affinity, seconds; 0 is off.
    pub affinity_secs: u32,
    /// The number of a [`Scheduler`](crate::scheduler::Scheduler).
    pub scheduler: u8,
    /// Reserved, zero.
    pub pad: u8,
    /// See [`flags`].
    pub flags: u16,
    /// Identity for people and metrics; stable across restarts, the pool index today. 0 in an
    /// unused entry.
    pub id: u32,
    /// A backend that has as many open connections on this node gets no new one; 0: any number.
    pub max_connections: u32,
    /// TCP connections that are older are reset, a few at a time (see [`AgeLimit`]), in seconds; 0:
    /// they may be of any age.
    ///
    /// [`AgeLimit`]: crate::flow::AgeLimit
    pub max_age_secs: u32,
    /// Since when that holds, in [`units`](crate::flow::units): nothing counts as older than that.
    pub aged_since: u32,
}

impl Pool {
    /// An entry that was never written, or was cleared.
    pub const EMPTY: Self = Self {
        base: 0,
        count: 0,
        generation: 0,
        affinity_secs: 0,
        scheduler: 0,
        pad: 0,
        flags: 0,
        id: 0,
        max_connections: 0,
        max_age_secs: 0,
        aged_since: 0,
    };
}

/// Word 0 of a [`Pool`], taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct PoolWord {
    /// First slot.
    pub base: u32,
    /// How many slots.
    pub count: u16,
    /// See [`Pool::generation`].
    pub generation: u16,
}

impl PoolWord {
    /// As it stands in memory on a little-endian machine.
    #[inline(always)]
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.base as u64 | (self.count as u64) << 32 | (self.generation as u64) << 48
    }

    /// The inverse of [`PoolWord::to_u64`].
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
    pub const fn from_u64(w: u64) -> Self {
        Self {
            base: w as u32,
            count: (w >> 32) as u16,
            generation: (w >> 48) as u16,
        }
    }
}

/// How many words a pool's slots take, with the weights behind them if its flags say so: what else
/// belongs to it begins there.
#[inline(always)]
#[must_use]
pub const fn slots_and_weights(count: u16, flags: u16) -> u32 {
    if flags & flags::WEIGHTED == 0 {
        count as u32
    } else {
        2 * count as u32
    }
}

/// Bits of [`Pool::flags`].
pub mod flags {
    /// At least one endpoint exists somewhere, though perhaps none of them is eligible here.
    pub const HAS_ENDPOINTS: u16 = 1;
    /// Local-only policy without a local endpoint while others exist: unreachable rather than
    /// refused.
    pub const NO_LOCAL: u16 = 1 << 1;
    /// For frontends with [`LOAD_BALANCER`](crate::frontend::LOAD_BALANCER), sources are checked
    /// against `lb_srcranges`.
    pub const SOURCE_RANGES: u16 = 1 << 2;
    /// Behind its slots stand as many weights, see [`Slot::weight`](crate::slot::Slot::weight).
    pub const WEIGHTED: u16 = 1 << 3;
    /// Behind its slots (and weights) stands a [`spill::Area`](crate::spill::Area): its slots are
    /// those that topology hints prefer, and new connections may leave them.
    pub const SPILLS: u16 = 1 << 5;
    /// Connections of a backend that is no longer a member are reset: one that may keep them for a
    /// while is still a member, with [`KEPT`](crate::member::KEPT).
    pub const RESET: u16 = 1 << 8;
    /// Backends on this node see its address in place of the client's, as those on other nodes do
    /// anyway: the stack masquerades what carries [`MARK`](crate::masquerade::MARK).
    pub const MASQUERADE: u16 = 1 << 4;
    /// Handshakes with its backends are counted in `lb_handshakes`.
    pub const WATCHED: u16 = 1 << 9;
}

const _: () = assert!(size_of::<Pool>() == 32);
