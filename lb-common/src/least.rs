//! The backend with the least load: `lc` and `wlc` look at all of up to [`ALL`] backends and at
//! [`SAMPLES`] of more, `p2c` at two. Pure: the kernel and the tests run the same code.

use crate::{
    scheduler::Scheduler,
    select::{hash, scale},
};

/// Of so many backends at most each is looked at.
pub const ALL: u16 = 64;
/// Of more than [`ALL`] the best of so many is taken.
pub const SAMPLES: u32 = 4;

/// How many looks a search takes.
#[inline(always)]
#[must_use]
pub const fn looks(scheduler: u8, count: u16) -> u32 {
    if is_whole(scheduler, count) {
        count as u32
    } else if scheduler == TWO_CHOICES {
        2
    } else {
        SAMPLES
    }
}

const TWO_CHOICES: u8 = Scheduler::TwoChoices.number();

/// Is each slot looked at?
#[inline(always)]
const fn is_whole(scheduler: u8, count: u16) -> bool {
    scheduler != TWO_CHOICES && count <= ALL
}

/// A search over the backends of a pool, one look at a time.
#[repr(C)]
#[derive(Clone, Copy)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Search {
    /// The least load so far.
    load: u64,
    /// The weight of the backend with the least load; 0 before the first look.
    weight: u32,
    /// The weights of all that are as good.
    ties: u32,
    /// Draws among those.
    random: u32,
    /// Places the samples.
    first: u32,
    /// Slots of the pool.
    count: u16,
    /// 1 if every slot is looked at, 0 if samples are.
    whole: u8,
    /// Reserved, zero.
    pad: u8,
    /// The slot with the least load.
    offset: u32,
}

impl Search {
    /// A search among `count` slots. `random` is fresh, or a hash of the flow.
    #[inline(always)]
    #[must_use]
    pub const fn new(scheduler: u8, count: u16, random: u32) -> Self {
        let mut search = Self {
            load: 0,
            weight: 0,
            ties: 0,
            random: 0,
            first: 0,
            count: 0,
            whole: 0,
            pad: 0,
            offset: 0,
        };
        search.begin(scheduler, count, random);
        search
    }

    /// The same, in the place of a search that has ended.
    #[inline(always)]
    pub const fn begin(&mut self, scheduler: u8, count: u16, random: u32) {
        self.load = 0;
        self.weight = 0;
        self.ties = 0;
        self.random = hash([random]);
        self.first = random;
        self.count = count;
        self.whole = is_whole(scheduler, count) as u8;
        self.pad = 0;
        self.offset = scale(random, count) as u32;
    }

    /// The slot of this look, less than the count. The second sample is another one than the first,
    /// if there are two.
    #[inline(always)]
    #[must_use]
    pub const fn place(&self, look: u32) -> u32 {
        if self.whole != 0 {
            return look;
        }
        let first = scale(self.first, self.count) as u32;
        if look == 0 || self.count < 2 {
            return first;
        }
        let step = 1 + scale(hash([self.first, look]), self.count - 1) as u32;
        let place = first + step;
        if place < self.count as u32 {
            place
        } else {
            place - self.count as u32
        }
    }

    /// A look: the backend in this slot has this load. Of those that are as good, each is taken
    /// with a probability by its weight.
    #[inline(always)]
    pub const fn consider(&mut self, offset: u32, load: u64, weight: u32) {
        let weight = if weight == 0 { 1 } else { weight };
        // Of loads below 2^41 and weights below 2^16.
        let (ours, best) = (load * self.weight as u64, self.load * weight as u64);
        if self.weight == 0 || ours < best {
            self.ties = weight;
        } else if ours == best {
            self.ties += weight;
            // Numbers of Numerical Recipes; the upper bits are drawn from.
            self.random = self
                .random
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            let draw = (self.random as u64 * self.ties as u64) >> 32;
            if draw >= weight as u64 {
                return;
            }
        } else {
            return;
        }
        self.load = load;
        self.weight = weight;
        self.offset = offset;
    }

    /// The slot with the least load; before the first look any one.
    #[inline(always)]
    #[must_use]
    pub const fn offset(&self) -> u32 {
        self.offset
    }
}

#[cfg(test)]
mod tests;
