//! A delay between the steps of a lookup, for the test in which writers overtake readers.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::bpf_loop;

use crate::config;

/// See [`config::test_delay`]. The verifier removes it outside of that test.
#[inline(always)]
pub fn test_delay() {
    let turns = config::test_delay();
    if turns != 0 {
        // SAFETY: the callback has the signature that the helper asks for, and reads no context.
        unsafe { bpf_loop(turns, turn as *mut c_void, ptr::null_mut(), 0) };
    }
}

/// One turn of [`test_delay`].
#[inline(never)]
extern "C" fn turn(_index: u32, _context: *mut c_void) -> i64 {
    0
}
