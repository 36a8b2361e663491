//! Atomic additions to map values shared by all CPUs. Owns the two instructions that `core` does not offer for this target.

use core::arch::asm;

/// Adds `n` (wrapping) and returns the value before. `BPF_ADD | BPF_FETCH`, Linux 5.12.
///
/// # Safety
/// `p` points to an aligned u64 of a map element that lives while the program runs.
#[inline(always)]
pub unsafe fn fetch_add(p: *mut u64, n: u64) -> u64 {
    let mut before = n;
    // SAFETY: the caller's promise; the instruction touches nothing else.
    unsafe {
        asm!(
            "{n} = atomic_fetch_add((u64 *)({p} + 0), {n})",
            p = in(reg) p,
            n = inout(reg) before,
        );
    }
    before
}

/// Adds `n` (wrapping).
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn add(p: *mut u64, n: u64) {
    // SAFETY: the caller's promise; the instruction touches nothing else.
    unsafe {
        asm!(
            "lock *(u64 *)({p} + 0) += {n}",
            p = in(reg) p,
            n = in(reg) n,
        );
    }
}

/// Takes one away and returns true; leaves a 0 as it is. (The kernel's own reset may meet us half-way: then the sum is put
/// right at once, and seen wrong by others only between the two instructions.)
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn sub_one(p: *mut u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe {
        if fetch_add(p, u64::MAX) == 0 {
            add(p, 1);
            return false;
        }
    }
    true
}
