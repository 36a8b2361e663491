//! Counters by reason, by service and by backend. Nothing else writes `lb_counters`, `lb_pool_stats`
//! and `lb_handshakes`.

use lb_common::{Reason, pool::flags, stats::PoolStats};

use crate::{
    atomic,
    maps::{COUNTERS, HANDSHAKES, POOL_STATS, POOLS},
};

/// One more of `reason` on this CPU.
#[inline(always)]
pub fn count(reason: Reason) {
    if let Some(n) = COUNTERS.get_ptr_mut(reason as u32) {
        // SAFETY: this CPU's own element of a per-CPU array; valid while the program runs.
        unsafe { *n += 1 };
    }
}

/// This CPU's statistics of a service.
#[inline(always)]
fn stats(index: u32) -> Option<*mut PoolStats> {
    POOL_STATS.get_ptr_mut(index)
}

/// One more connection given a backend.
#[inline(always)]
pub fn connection(index: u32) {
    if let Some(s) = stats(index) {
        // SAFETY: this CPU's own element of a per-CPU array; valid while the program runs.
        unsafe { (*s).connections += 1 };
    }
}

/// One more packet of `bytes` translated, either direction.
#[inline(always)]
fn packet(index: u32, bytes: u64) {
    if let Some(s) = stats(index) {
        // SAFETY: this CPU's own element of a per-CPU array; valid while the program runs.
        unsafe {
            (*s).packets += 1;
            (*s).bytes += bytes;
        }
    }
}

/// Counts a packet of `len` bytes that was rewritten for a service, as `reason` says.
#[inline(always)]
pub fn forwarded(index: u32, len: u32, reason: Reason) {
    count(reason);
    packet(index, u64::from(len));
}

/// One more connection or packet refused or dropped.
#[inline(always)]
pub fn reject(index: u32) {
    if let Some(s) = stats(index) {
        // SAFETY: this CPU's own element of a per-CPU array; valid while the program runs.
        unsafe { (*s).rejects += 1 };
    }
}

/// One more handshake with a backend that failed or was answered (see [`lb_common::handshakes`]), if
/// its pool is watched: 1 then, else 0. A function of the kernel's own, since it is rare.
#[inline(never)]
pub fn handshake(pool: u32, backend: u32, what: u64) -> u32 {
    let Some(watched) = POOLS.get_ptr(pool) else {
        return 0;
    };
    // SAFETY: an element of an array map; one aligned u16, read once.
    if unsafe { (*watched).flags } & flags::WATCHED == 0 {
        return 0;
    }
    let Some(n) = HANDSHAKES.get_ptr_mut(backend) else {
        return 0;
    };
    // SAFETY: an aligned u64 of an array map, changed by atomic additions only.
    unsafe { atomic::add(n.cast::<u64>(), what) };
    1
}
