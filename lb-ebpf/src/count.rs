//! Counters by reason and by service. Nothing else writes `lb_counters` and `lb_pool_stats`.

use lb_common::{Reason, stats::PoolStats};

use crate::maps::{COUNTERS, POOL_STATS};

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
