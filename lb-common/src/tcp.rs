//! What the TCP sockets that connected to a pool have met. Layout of `lb_pool_tcp`.

/// Value of `lb_pool_tcp`, by pool index: one for all CPUs, changed by atomic additions alone. All
/// only grow; those of 32 bits wrap.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct PoolTcp {
    /// Round trip times of handshakes together, microseconds.
    pub rtt_sum_us: u64,
    /// Handshakes by their round trip time: those of [`bucket`] 0, 1, …
    pub rtt: [u32; BUCKETS],
    /// Connects that ended without a connection: refused, timed out, or given up by their owner
    /// after nobody had answered the first SYN.
    pub failures: u32,
    /// Segments sent once more, SYNs too.
    pub retransmits: u32,
}

/// How many buckets: a power of two.
pub const BUCKETS: usize = 16;

/// Round trip times up to this are in the first bucket, microseconds, as a power of two.
const FIRST: u32 = 6;

/// The bucket of a round trip time in microseconds.
#[inline(always)]
#[must_use]
pub const fn bucket(us: u32) -> usize {
    let above = us.saturating_sub(1) >> FIRST;
    let bits = (u32::BITS - above.leading_zeros()) as usize;
    if bits < BUCKETS { bits } else { BUCKETS - 1 }
}

/// The longest round trip time of a bucket, microseconds; the last one has none.
#[must_use]
pub const fn limit_us(bucket: usize) -> Option<u32> {
    if bucket + 1 < BUCKETS {
        Some(1 << FIRST << bucket)
    } else {
        None
    }
}

const _: () = {
    assert!(size_of::<PoolTcp>() == 80);
    assert!(BUCKETS.is_power_of_two());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_bucket_whose_limit_it_does_not_exceed() {
        for us in (0..1 << 21).chain([1 << 25, u32::MAX]) {
            let found = bucket(us);
            assert!(limit_us(found).is_none_or(|most| us <= most), "{us}");
            let below = found.checked_sub(1).and_then(limit_us);
            assert!(below.is_none_or(|less| us > less), "{us}");
        }
        assert_eq!((limit_us(0), limit_us(14)), (Some(64), Some(1 << 20)));
        assert_eq!(limit_us(15), None);
        // 20 ms is between 16.4 ms and 32.8 ms.
        assert_eq!(limit_us(bucket(20_000)), Some(32_768));
    }
}
