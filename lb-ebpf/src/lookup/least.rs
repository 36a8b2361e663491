//! The backend with the least load: the walk over a pool's slots for the search of
//! [`lb_common::least`].

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::bpf_loop;
use lb_common::{
    least::{Search, looks},
    load::load,
    pool::flags,
};

use super::choose;
use crate::{
    maps::{ACTIVE, FLOW_COUNTS},
    scratch,
};

/// What each look needs. The search itself is in a map: what stands on the stack is told apart by
/// the verifier, turn by turn, and a search never looks the same twice.
#[repr(C)]
struct Walk {
    search: *mut Search,
    /// First slot of the pool.
    base: u32,
    pool: u32,
    /// How far behind a slot its weight stands; 0 if all weigh the same.
    to_weight: u32,
}

/// The offset of the slot whose backend has the least load, less than `count` unless that is 0.
///
/// A function of the kernel's own: programs have one of it, with a stack of its own. Exported, so
/// that the verifier reads it once, whatever leads to it.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn search_least(
    base: u32,
    count: u32,
    pool: u32,
    scheduler: u32,
    random: u32,
) -> u32 {
    let (count, scheduler) = (count as u16, scheduler as u8);
    let weighted = choose::flags(pool) & flags::WEIGHTED != 0;
    let Some(room) = scratch::search() else {
        return 0;
    };
    // SAFETY: any bits are a valid search, and nobody trusts them.
    unsafe { (*room).begin(scheduler, count, random) };
    let mut walk = Walk {
        search: room,
        base,
        pool,
        to_weight: if weighted { count.into() } else { 0 },
    };
    // A loop unrolled by the verifier would be read 64 times over.
    let looks = looks(scheduler, count);
    // SAFETY: the callback is a function of this object that takes an index and this pointer, which
    // outlives the loop.
    unsafe { bpf_loop(looks, look as *mut c_void, (&raw mut walk).cast(), 0) };
    // SAFETY: as above.
    let offset = unsafe { (*room).offset() };
    if offset < u32::from(count) { offset } else { 0 }
}

/// One look: the callback of `bpf_loop` (Linux 5.17).
#[inline(never)]
extern "C" fn look(index: u32, walk: *mut Walk) -> i64 {
    // SAFETY: the pointer that `search_least` handed to `bpf_loop`, which nothing else uses before the
    // loop has ended, and the search in this CPU's room.
    let (walk, search) = unsafe { (&*walk, &mut *(*walk).search) };
    let place = search.place(index);
    let at = walk.base.wrapping_add(place);
    let Some(slot) = choose::slot(at) else {
        return 0;
    };
    if slot.pool != walk.pool {
        return 0;
    }
    let mut weight = 1;
    if walk.to_weight != 0
        && let Some(found) = choose::slot(at.wrapping_add(walk.to_weight))
    {
        weight = found.as_weight(walk.pool).unwrap_or(1);
    }
    let (sockets, flows) = counts(slot.backend);
    search.consider(place, load(sockets, flows), weight);
    0
}

/// The words of a backend in `lb_active` and `lb_flow_counts`.
#[inline(always)]
pub(super) fn counts(backend: u32) -> (u64, u64) {
    (
        count_of(ACTIVE.get_ptr(backend)),
        count_of(FLOW_COUNTS.get_ptr(backend)),
    )
}

#[inline(always)]
fn count_of(word: Option<*const u64>) -> u64 {
    // SAFETY: an element of an array map, aligned, valid while the program runs; one load.
    word.map_or(0, |word| unsafe { ptr::read_volatile(word) })
}
