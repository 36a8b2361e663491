//! Leaving the backends that topology hints prefer: the counts that [`lb_common::spill`] decides by,
//! and who gets what leaves.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_loop};
use lb_common::{
    load::open,
    pool::{PoolWord, slots_and_weights},
    spill::{Area, estimate, looks, place},
};

use super::{choose, least::counts, room::Others};
use crate::scratch::{self, Tally};

/// Who else there is, who is wanted, and whether the next connection is theirs (see
/// [`Others::to_u64`]); 0 if there is nobody. `placed` is the hash of a client that stays where it is
/// by its hash ([`by_hash`]), or 0.
///
/// A function of the kernel's own: programs have one of it, with a stack of its own. Exported, so
/// that the verifier reads it once, whatever leads to it. What the looks need and find is in a map:
/// what stands on the stack is told apart by the verifier, turn by turn, and a tally never looks the
/// same twice.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn spill_others(word: u64, pool: u32, flags: u32, placed: u64) -> u64 {
    let word = PoolWord::from_u64(word);
    let behind = slots_and_weights(word.count, flags as u16);
    let Some(area) = area(word, pool, behind) else {
        return 0;
    };
    let inside = behind + Area::WORDS;
    let first = inside + u32::from(area.inside);
    if placed != 0 {
        let away = area.of_client(placed as u32);
        return Others {
            now: away.is_some(),
            first,
            count: area.outside,
            wanted: away.unwrap_or(0),
        }
        .to_u64();
    }
    let Some(tally) = scratch::tally() else {
        return 0;
    };
    // SAFETY: this CPU's element of a map, which lives while the program runs; any bits are a valid
    // tally, and nobody trusts them. A helper without arguments.
    unsafe {
        tally.write(Tally {
            here: 0,
            there: 0,
            base: word.base.wrapping_add(inside),
            pool,
            random: 0,
            first,
            area,
            least: 0,
            fewest: u32::MAX,
        });
        // Afterwards, for what is needed beyond a call takes stack.
        (*tally).random = bpf_get_prandom_u32();
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
        first,
        area,
        least,
        ..
    } = unsafe { &*tally };
    let here = estimate(area.inside, *here);
    let there = estimate(area.outside, *there);
    Others {
        now: area.outside != 0 && area.is_full(here, there),
        first: *first,
        count: area.outside,
        wanted: if *least < area.outside { *least } else { 0 },
    }
    .to_u64()
}

/// For [`spill_others`]: a client goes by its hash.
pub const fn by_hash(hash: u32) -> u64 {
    1 << 32 | hash as u64
}

/// A connection goes to one of the others.
#[inline(always)]
pub fn has_left(others: u64, offset: u32) -> bool {
    others != 0 && offset >= Others::from_u64(others).first
}

/// What stands so far behind the first slot.
#[inline(always)]
fn area(word: PoolWord, pool: u32, behind: u32) -> Option<Area> {
    let at = word.base.wrapping_add(behind);
    let words = [choose::slot(at)?, choose::slot(at.wrapping_add(1))?];
    Area::of(pool, word.generation, words)
}

/// One look: the callback of `bpf_loop` (Linux 5.17).
#[inline(never)]
extern "C" fn look(index: u32, walk: *mut *mut Tally) -> i64 {
    // SAFETY: the pointer that `spill_others` handed to `bpf_loop`, which nothing else uses before the
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
