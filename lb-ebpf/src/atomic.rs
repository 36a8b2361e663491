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
