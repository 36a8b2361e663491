//! The first backend with room for a connection, where the Service says how many each may have.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use lb_common::{Reason, load::open, pool::PoolWord};

use super::{choose, least::counts};
use crate::{count::count, maps::POOLS};

/// So many slots are looked at at most: every turn of a round, and enough of a table of hashes to
/// see each backend of some hundreds.
const MOST_LOOKS: u32 = 4096;

/// Slots that are looked at one after another, from `start` on and round.
#[repr(C)]
#[derive(Clone, Copy)]
struct Side {
    /// The offset of the first one.
    first: u32,
    count: u16,
    /// From the first one on.
    start: u16,
}

impl Side {
    /// How many of them are looked at.
    #[inline(always)]
    fn looks(&self) -> u32 {
        u32::from(self.count).min(MOST_LOOKS)
    }
}

/// What each look needs. Only the last one changes anything here: what stands on the stack is told
/// apart by the verifier, turn by turn.
#[repr(C)]
struct Walk {
    /// First slot of the pool.
    base: u32,
    pool: u32,
    /// The offset of a backend with room.
    found: u32,
    one: Side,
    /// Looked at after the first one.
    other: Side,
}

/// Backends that stand behind the slots, for connections that leave those (see [`super::spill`]).
pub struct Others {
    /// The next connection is theirs, rather than of the slots.
    pub now: bool,
    /// The offset of their first slot.
    pub first: u32,
    /// How many.
    pub count: u16,
    /// Which one of them.
    pub wanted: u16,
}

impl Others {
    const NOW: u32 = 1 << 31;

    /// At once, for functions of the kernel's own; 0 is nobody.
    pub const fn to_u64(&self) -> u64 {
        let first = if self.now {
            self.first | Self::NOW
        } else {
            self.first
        };
        first as u64 | (self.count as u64) << 32 | (self.wanted as u64) << 48
    }

    /// The inverse of [`Others::to_u64`].
    pub const fn from_u64(word: u64) -> Self {
        Self {
            now: word as u32 & Self::NOW != 0,
            first: word as u32 & !Self::NOW,
            count: (word >> 32) as u16,
            wanted: (word >> 48) as u16,
        }
    }

    /// Where a connection goes that finds room there.
    #[inline(always)]
    const fn first_choice(&self, offset: u32) -> u32 {
        if self.now {
            self.first + self.wanted as u32
        } else {
            offset
        }
    }
}

/// No backend has room.
pub const NONE: u32 = u32::MAX;

/// How many connections each backend of the pool may have; 0: any number.
#[inline(always)]
fn most(pool: u32) -> u32 {
    match POOLS.get_ptr(pool) {
        // SAFETY: an element of an array map; one aligned u32, read once.
        Some(pool) => unsafe { (*pool).max_connections },
        None => 0,
    }
}

/// Has the backend as many connections as the pool allows?
#[inline(always)]
pub fn is_full(backend: u32, pool: u32) -> bool {
    let most = most(pool);
    most != 0 && has(backend, most)
}

/// Has it at least so many?
#[inline(always)]
fn has(backend: u32, most: u32) -> bool {
    let (sockets, flows) = counts(backend);
    open(sockets, flows) >= u64::from(most)
}

/// The offset of the first slot whose backend has room, from this one on and round, or [`NONE`];
/// among the slots and the others behind them (see [`Others::to_u64`]). A slot that is another pool's
/// counts as one with room: the caller looks at it.
#[inline(always)]
pub fn from(word: PoolWord, pool: u32, offset: u32, others: u64) -> u32 {
    if most(pool) == 0 {
        Others::from_u64(others).first_choice(offset)
    } else {
        search_room(word.to_u64(), pool, offset, others)
    }
}

/// A function of the kernel's own: programs have one of it, with a stack of its own. Exported, so
/// that the verifier reads it once, whatever leads to it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn search_room(word: u64, pool: u32, offset: u32, others: u64) -> u32 {
    let PoolWord {
        base, count: slots, ..
    } = PoolWord::from_u64(word);
    let others = Others::from_u64(others);
    let (mut one, mut other) = (
        Side {
            first: 0,
            count: slots,
            start: offset as u16,
        },
        Side {
            first: others.first,
            count: others.count,
            start: others.wanted,
        },
    );
    if others.now {
        (one, other) = (other, one);
    }
    let looks = one.looks() + other.looks();
    let mut walk = Walk {
        base,
        pool,
        found: NONE,
        one,
        other,
    };
    // SAFETY: the callback is a function of this object that takes an index and this pointer, which
    // outlives the loop.
    unsafe { bpf_loop(looks, look as *mut c_void, (&raw mut walk).cast(), 0) };
    if walk.found != NONE && walk.found != others.first_choice(offset) {
        count(Reason::BackendSpilled);
    }
    walk.found
}

/// One look: the callback of `bpf_loop` (Linux 5.17). Ends the loop with 1.
#[inline(never)]
extern "C" fn look(index: u32, walk: *mut Walk) -> i64 {
    // SAFETY: the pointer that `search_room` handed to `bpf_loop`, which nothing else uses before the loop
    // has ended.
    let walk = unsafe { &mut *walk };
    let ones = walk.one.looks();
    let (side, index) = if index < ones {
        (walk.one, index)
    } else {
        (walk.other, index.wrapping_sub(ones))
    };
    let count = u32::from(side.count);
    let mut at = u32::from(side.start).wrapping_add(index);
    if at >= count {
        at = at.wrapping_sub(count);
    }
    let at = side.first.wrapping_add(at);
    if let Some(slot) = choose::slot(walk.base.wrapping_add(at))
        && slot.pool == walk.pool
        && is_full(slot.backend, walk.pool)
    {
        return 0;
    }
    walk.found = at;
    1
}
