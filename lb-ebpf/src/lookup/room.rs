//! The first backend with room for a connection, where the Service says how many each may have.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use lb_common::{Reason, load::open, pool::PoolWord};

use super::{choose, least::counts};
use crate::{count::count, maps::POOLS};

/// So many slots are looked at at most: every turn of a round, and enough of a table of hashes to
/// see each backend of some hundreds.
const MOST_LOOKS: u32 = 4096;

/// What each look needs. Only the last one changes anything here: what stands on the stack is told
/// apart by the verifier, turn by turn.
#[repr(C)]
struct Walk {
    /// First slot of the pool.
    base: u32,
    count: u32,
    pool: u32,
    /// The offset of the first look.
    offset: u32,
    most: u32,
    /// The offset of a backend with room.
    found: u32,
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

/// The offset of the first slot whose backend has room, from this one on and round, or [`NONE`]. A
/// slot that is another pool's counts as one with room: the caller looks at it.
#[inline(always)]
pub fn from(word: PoolWord, pool: u32, offset: u32) -> u32 {
    if most(pool) == 0 {
        offset
    } else {
        search(word.to_u64(), pool, offset)
    }
}

/// A function of the kernel's own: programs have one of it, with a stack of its own.
#[inline(never)]
fn search(word: u64, pool: u32, offset: u32) -> u32 {
    let PoolWord {
        base, count: slots, ..
    } = PoolWord::from_u64(word);
    // The agent may have taken the bound away meanwhile.
    let most = most(pool);
    if most == 0 {
        return offset;
    }
    let mut walk = Walk {
        base,
        count: slots.into(),
        pool,
        offset,
        most,
        found: NONE,
    };
    let looks = u32::from(slots).min(MOST_LOOKS);
    // SAFETY: the callback is a function of this object that takes an index and this pointer, which
    // outlives the loop.
    unsafe { bpf_loop(looks, look as *mut c_void, (&raw mut walk).cast(), 0) };
    if walk.found != NONE && walk.found != offset {
        count(Reason::BackendSpilled);
    }
    walk.found
}

/// One look: the callback of `bpf_loop` (Linux 5.17). Ends the loop with 1.
#[inline(never)]
extern "C" fn look(index: u32, walk: *mut Walk) -> i64 {
    // SAFETY: the pointer that `from` handed to `bpf_loop`, which nothing else uses before the loop
    // has ended.
    let walk = unsafe { &mut *walk };
    let mut at = walk.offset.wrapping_add(index);
    if at >= walk.count {
        at = at.wrapping_sub(walk.count);
    }
    if let Some(slot) = choose::slot(walk.base.wrapping_add(at))
        && slot.pool == walk.pool
        && has(slot.backend, walk.most)
    {
        return 0;
    }
    walk.found = at;
    1
}
