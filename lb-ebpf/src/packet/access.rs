//! Loads, stores and words of headers: the only pointer arithmetic on packets.

use lb_common::Addr;

/// Loads from a checked place of a frame; unaligned, which the kernel allows for packets on every
/// 64-bit machine.
///
/// # Safety
/// `at + size_of::<T>()` was compared with the end of the frame.
#[inline(always)]
pub unsafe fn load<T: Copy>(at: usize) -> T {
    // SAFETY: the caller's promise; volatile, so that the load is neither split nor moved before
    // the comparison.
    unsafe { core::ptr::read_volatile(at as *const T) }
}

/// Stores to a checked place of a frame.
///
/// # Safety
/// As for [`load`], and the frame may be written.
#[inline(always)]
pub unsafe fn store<T: Copy>(at: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { core::ptr::write_volatile(at as *mut T, value) }
}

/// Loads the four words of an IPv6 address.
///
/// # Safety
/// As for [`load`], for sixteen bytes.
#[inline(always)]
pub unsafe fn load_v6(at: usize) -> Addr {
    // SAFETY: the caller's promise.
    unsafe { Addr::from_words([load(at), load(at + 4), load(at + 8), load(at + 12)]) }
}

/// An IPv4 address from its word as loaded.
#[inline(always)]
pub fn v4(word: u32) -> Addr {
    Addr::from_words([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), word])
}

/// Are the addresses equal? (Four words; a comparison of bytes would be a loop.)
#[inline(always)]
pub fn same(a: &Addr, b: &Addr) -> bool {
    let (a, b) = (a.words(), b.words());
    (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) == 0
}

/// Time to live and protocol, which are one word of an IPv4 header's sum.
#[inline(always)]
pub fn ttl_and_proto(ttl: u8, proto: u8) -> u32 {
    u32::from(u16::from_ne_bytes([ttl, proto]))
}

/// Both ports (host order) as they stand in the header.
#[inline(always)]
pub fn ports(sport: u16, dport: u16) -> u32 {
    let (s, d) = (sport.to_be_bytes(), dport.to_be_bytes());
    u32::from_ne_bytes([s[0], s[1], d[0], d[1]])
}

/// A word of two halves in the order in which they stand.
#[inline(always)]
pub fn word(first: u16, second: u16) -> u32 {
    u32::from(first) | u32::from(second) << 16
}
