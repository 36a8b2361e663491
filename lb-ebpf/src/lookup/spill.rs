//! Leaving the backends that topology hints prefer: the counts that [`lb_common::spill`] decides by,
//! and who gets what leaves.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_loop};
use lb_common::{
    load::open,
    pool::{PoolWord, flags},
    spill::{Area, estimate, looks, place},
};

use super::{choose, least::counts, room::Others};
use crate::scratch::{self, Tally};

/// Who else there is, who is wanted, and whether the next connection is theirs (see
/// [`Others::to_u64`]); 0 if there is nobody. `placed` is the hash of a client that stays where it is
/// by its hash ([`by_hash`]), or 0.
///
/// A function of the kernel's own: programs have one of it, with a stack of its own. What the looks
/// need and find is in a map: what stands on the stack is told apart by the verifier, turn by turn,
/// and a tally never looks the same twice.
#[inline(never)]
pub fn others(word: u64, pool: u32, placed: u64) -> u64 {
    let word = PoolWord::from_u64(word);
    let Some(tally) = scratch::tally() else {
        return 0;
    };
    let Some((behind, area)) = area(word, pool) else {
        return 0;
    };
    let inside = behind + Area::WORDS;
    let mut others = Others {
        now: false,
        first: inside + u32::from(area.inside),
        count: area.outside,
        wanted: 0,
    };
    if placed != 0 {
        let away = area.of_client(placed as u32);
        others.now = away.is_some();
        others.wanted = away.unwrap_or(0);
        return others.to_u64();
    }
    // SAFETY: any bits are a valid tally, and nobody trusts them.
    unsafe {
        tally.write(Tally {
            here: 0,
            there: 0,
            base: word.base.wrapping_add(inside),
            pool,
            // SAFETY: a helper without arguments.
            random: bpf_get_prandom_u32(),
            area,
            least: 0,
            fewest: u32::MAX,
        });
    }
    let all = looks(area.inside) + looks(area.outside);
    let mut walk = tally;
    // SAFETY: the callback is a function of this object that takes an index and this pointer, which
    // outlives the loop.
    unsafe { bpf_loop(all, look as *mut c_void, (&raw mut walk).cast(), 0) };
    // SAFETY: as above.
    let Tally {
        here,
        there,
        area,
        least,
        ..
    } = unsafe { &*tally };
    let here = estimate(area.inside, *here);
    let there = estimate(area.outside, *there);
    others.now = area.outside != 0 && area.is_full(here, there);
    others.wanted = if *least < area.outside { *least } else { 0 };
    others.to_u64()
}

/// For [`others`]: a client goes by its hash.
pub const fn by_hash(hash: u32) -> u64 {
    1 << 32 | hash as u64
}

/// A connection goes to one of the others.
#[inline(always)]
pub fn has_left(others: u64, offset: u32) -> bool {
    others != 0 && offset >= Others::from_u64(others).first
}

/// What stands behind the slots, and where.
#[inline(always)]
fn area(word: PoolWord, pool: u32) -> Option<(u32, Area)> {
    let slots = u32::from(word.count);
    let behind = if choose::flags(pool) & flags::WEIGHTED != 0 {
        2 * slots
    } else {
        slots
    };
    let at = word.base.wrapping_add(behind);
    let words = [choose::slot(at)?, choose::slot(at.wrapping_add(1))?];
    Some((behind, Area::of(pool, word.generation, words)?))
}

/// One look: the callback of `bpf_loop` (Linux 5.17).
#[inline(never)]
extern "C" fn look(index: u32, walk: *mut *mut Tally) -> i64 {
    // SAFETY: the pointer that `others` handed to `bpf_loop`, which nothing else uses before the
    // loop has ended, and the tally in this CPU's room.
    let tally = unsafe { &mut **walk };
    let Area {
        inside, outside, ..
    } = tally.area;
    let looks_inside = looks(inside);
    let is_here = index < looks_inside;
    let at = if is_here {
        place(inside, index, tally.random)
    } else {
        place(outside, index.wrapping_sub(looks_inside), tally.random)
    };
    let behind = if is_here { 0 } else { u32::from(inside) };
    if let Some(slot) = choose::slot(tally.base.wrapping_add(behind).wrapping_add(at))
        && slot.pool == tally.pool
    {
        let (sockets, flows) = counts(slot.backend);
        let open = open(sockets, flows);
        if is_here {
            tally.here += open;
        } else {
            tally.there += open;
            if open < u64::from(tally.fewest) {
                (tally.least, tally.fewest) = (at as u16, open as u32);
            }
        }
    }
    0
}
