//! Atomic operations on map values that all CPUs share: instructions that `core` does not offer
//! for this target.

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

/// Adds `n` (wrapping) to an aligned u32.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn add_word(p: *mut u32, n: u32) {
    // SAFETY: the caller's promise; the instruction touches nothing else.
    unsafe {
        asm!(
            "lock *(u32 *)(r1 + 0) += w2",
            in("r1") p,
            in("r2") n,
        );
    }
}

/// Sets bits of an aligned u32, and leaves the others to who writes them.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn set_bits(p: *mut u32, bits: u32) {
    // SAFETY: the caller's promise; the instruction touches nothing else.
    unsafe {
        asm!(
            "lock *(u32 *)(r1 + 0) |= w2",
            in("r1") p,
            in("r2") bits,
        );
    }
}

/// Takes one away and returns true; leaves a 0 as it is. (The kernel's own reset may meet us
/// half-way: then the sum is put right at once, and seen wrong by others only between the two
/// instructions.)
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

/// Stores `new` if the value is `old`, and returns the value before. `BPF_CMPXCHG`, Linux 5.12.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn compare_exchange_word(p: *mut u64, old: u64, new: u64) -> u64 {
    let mut value = old;
    // SAFETY: the caller's promise; the instruction touches nothing else but r0, which is named.
    unsafe {
        asm!(
            "r0 = cmpxchg_64(r1 + 0, r0, r2)",
            in("r1") p,
            in("r2") new,
            inout("r0") value,
        );
    }
    value
}

/// The same of an aligned u32.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn compare_exchange(p: *mut u32, old: u32, new: u32) -> u32 {
    let mut value = u64::from(old);
    // SAFETY: the caller's promise; the instruction touches nothing else but r0, which is named.
    unsafe {
        asm!(
            "w0 = cmpxchg32_32(r1 + 0, w0, w2)",
            in("r1") p,
            in("r2") u64::from(new),
            inout("r0") value,
        );
    }
    value as u32
}
