//! Leaving the backends that topology hints prefer: the counts that [`lb_common::spill`] decides by,
//! and the choice among the others.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use lb_common::{
    Reason,
    load::open,
    pool::{PoolWord, flags},
    scheduler::Scheduler,
    spill::{Area, estimate, looks, place},
};

use super::{
    choose,
    least::{counts, least},
    room,
};
use crate::count::count;

/// What each look needs.
#[repr(C)]
struct Walk {
    /// First slot of the preferred backends; behind them are the others'.
    base: u32,
    pool: u32,
    random: u32,
    inside: u16,
    outside: u16,
    /// Open connections so far.
    here: u64,
    there: u64,
}

/// The offset of the slot for a new connection whose scheduler wants `offset`: that one, or the next
/// with room, or one of the backends that are not preferred; [`room::NONE`] if all are full. The
/// caller looks whether the slot is still the pool's.
#[inline(always)]
pub fn from(word: PoolWord, pool: u32, offset: u32, random: u32) -> u32 {
    let others = Others::from_u64(others(word.to_u64(), pool, random));
    let mut leaves = others.now;
    let mut tried = false;
    loop {
        let (base, count, first, wanted) = if leaves {
            let base = word.base.wrapping_add(others.first);
            let wanted = least(base, others.count, pool, LEAST, random);
            (base, others.count, others.first, wanted)
        } else {
            (word.base, word.count, 0, offset)
        };
        let side = PoolWord {
            base,
            count,
            ..word
        };
        let found = room::from(side, pool, wanted);
        if found != room::NONE && count != 0 {
            if leaves {
                self::count(Reason::TopologySpilled);
            }
            return first.wrapping_add(found);
        }
        if tried || others.count == 0 {
            return room::NONE;
        }
        tried = true;
        leaves = !leaves;
    }
}

/// The backends that are not preferred.
struct Others {
    /// The offset of their first slot.
    first: u32,
    /// How many.
    count: u16,
    /// The next connection is theirs.
    now: bool,
}

impl Others {
    const fn to_u64(&self) -> u64 {
        self.first as u64 | (self.count as u64) << 32 | (self.now as u64) << 48
    }

    const fn from_u64(word: u64) -> Self {
        Self {
            first: word as u32,
            count: (word >> 32) as u16,
            now: word >> 48 != 0,
        }
    }
}

/// Who else there is, and whether the preferred ones have their share.
///
/// A function of the kernel's own: programs have one of it, with a stack of its own.
#[inline(never)]
fn others(word: u64, pool: u32, random: u32) -> u64 {
    let word = PoolWord::from_u64(word);
    let Some((behind, area)) = area(word, pool) else {
        return 0;
    };
    let inside = behind + Area::WORDS;
    let mut walk = Walk {
        base: word.base.wrapping_add(inside),
        pool,
        random,
        inside: area.inside,
        outside: area.outside,
        here: 0,
        there: 0,
    };
    let all = looks(area.inside) + looks(area.outside);
    // SAFETY: the callback is a function of this object that takes an index and this pointer, which
    // outlives the loop.
    unsafe { bpf_loop(all, look as *mut c_void, (&raw mut walk).cast(), 0) };
    let here = estimate(walk.inside, walk.here);
    let there = estimate(walk.outside, walk.there);
    let others = Others {
        first: inside + u32::from(walk.inside),
        count: walk.outside,
        now: walk.outside != 0 && area.is_full(here, there),
    };
    others.to_u64()
}

/// Among those that are not preferred, whatever the Service's own scheduler.
const LEAST: u8 = Scheduler::LeastConnections.number();

/// What stands behind the slots, and where.
#[inline(always)]
fn area(word: PoolWord, pool: u32) -> Option<(u32, Area)> {
    let flags = choose::flags(pool);
    let slots = u32::from(word.count);
    let behind = if flags & flags::WEIGHTED != 0 {
        2 * slots
    } else {
        slots
    };
    let at = word.base.wrapping_add(behind);
    let words = [choose::slot(at)?, choose::slot(at.wrapping_add(1))?];
    Some((behind, Area::of(pool, words)?))
}

/// One look: the callback of `bpf_loop` (Linux 5.17).
#[inline(never)]
extern "C" fn look(index: u32, walk: *mut Walk) -> i64 {
    // SAFETY: the pointer that `others` handed to `bpf_loop`, which nothing else uses before the
    // loop has ended.
    let walk = unsafe { &mut *walk };
    let inside = looks(walk.inside);
    let at = if index < inside {
        place(walk.inside, index, walk.random)
    } else {
        let outside = place(walk.outside, index - inside, walk.random);
        u32::from(walk.inside) + outside
    };
    if let Some(slot) = choose::slot(walk.base.wrapping_add(at))
        && slot.pool == walk.pool
    {
        let (sockets, flows) = counts(slot.backend);
        let open = open(sockets, flows);
        if index < inside {
            walk.here += open;
        } else {
            walk.there += open;
        }
    }
    0
}
