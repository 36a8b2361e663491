//! Slots: the places of a pool's backends, among which a scheduler chooses. Layout of `lb_slots`.

/// Value of `lb_slots`: one u64, so that it is read and written at once.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Slot {
    /// Index into `lb_backends`.
    pub backend: u32,
    /// The pool this slot belongs to; a reader that finds another one has read a stale word 0 and
    /// reads it again.
    pub pool: u32,
}

impl Slot {
    /// A slot of no pool: index `u32::MAX` is never given out.
    pub const FREE: Self = Self {
        backend: 0,
        pool: u32::MAX,
    };

    /// Of the weights that stand behind the slots of some pools
    /// ([`WEIGHTED`](crate::pool::flags::WEIGHTED)): set in [`Slot::pool`], so that no reader takes
    /// one for a slot. Pool indices are smaller.
    pub const WEIGHT: u32 = 1 << 31;

    /// Of the words of a [`spill::Area`](crate::spill::Area): set in [`Slot::pool`], for the same
    /// reason.
    pub const AREA: u32 = 1 << 30;

    /// The weight of the backend in the slot that is as many places in front of it as the pool has
    /// slots.
    #[inline(always)]
    #[must_use]
    pub const fn weight(pool: u32, weight: u16) -> Self {
        Self {
            backend: weight as u32,
            pool: pool | Self::WEIGHT,
        }
    }

    /// The weight in it, if it holds one of this pool.
    #[inline(always)]
    #[must_use]
    pub const fn as_weight(self, pool: u32) -> Option<u32> {
        if self.pool == pool | Self::WEIGHT {
            Some(self.backend & 0xffff)
        } else {
            None
        }
    }

    /// As it stands in memory on a little-endian machine.
    #[inline(always)]
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.backend as u64 | (self.pool as u64) << 32
    }

    /// The inverse of [`Slot::to_u64`].
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "takes the word apart")]
    pub const fn from_u64(w: u64) -> Self {
        Self {
            backend: w as u32,
            pool: (w >> 32) as u32,
        }
    }
}

const _: () = assert!(size_of::<Slot>() == 8);
