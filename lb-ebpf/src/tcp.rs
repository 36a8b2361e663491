//! What TCP sockets that connected to a pool have met (`lb_pool_tcp`). Nothing else writes that map.

use core::hint::black_box;

use lb_common::tcp::{BUCKETS, PoolTcp, bucket};

use crate::{atomic, maps::POOL_TCP};

/// A handshake was answered after so many microseconds; 0: the kernel could not tell.
#[inline(always)]
pub fn answered(pool: u32, rtt_us: u32) {
    if rtt_us != 0
        && let Some(of) = POOL_TCP.get_ptr_mut(pool)
    {
        // The verifier is to see the bound, which the compiler knows to be none.
        let bucket = black_box(bucket(rtt_us)) & (BUCKETS - 1);
        // SAFETY: aligned fields of an element of an array map, changed by atomic additions only;
        // a bucket's number is below the length of the array.
        unsafe {
            let first: *mut u32 = (&raw mut (*of).rtt).cast();
            atomic::add_word(first.add(bucket), 1);
            atomic::add(&raw mut (*of).rtt_sum_us, u64::from(rtt_us));
        }
    }
}

/// A connect ended without a connection.
#[inline(always)]
pub fn failed(pool: u32) {
    add(
        pool,
        |of| {
            // SAFETY: of the same element.
            unsafe { &raw mut (*of).failures }
        },
        1,
    );
}

/// So many segments were sent once more.
#[inline(always)]
pub fn retransmitted(pool: u32, segments: u32) {
    add(
        pool,
        |of| {
            // SAFETY: of the same element.
            unsafe { &raw mut (*of).retransmits }
        },
        segments,
    );
}

#[inline(always)]
fn add(pool: u32, field: impl FnOnce(*mut PoolTcp) -> *mut u32, n: u32) {
    if let Some(of) = POOL_TCP.get_ptr_mut(pool) {
        // SAFETY: an aligned u32 of an array map, changed by atomic additions only.
        unsafe { atomic::add_word(field(of), n) };
    }
}
