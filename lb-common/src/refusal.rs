//! How many refusals (ICMP errors and resets) a CPU sends, and how many connections it ends for
//! their age: a bucket of tokens each. Layout of `lb_refusals`.

/// What is limited: keys of `lb_refusals`.
pub mod kind {
    /// ICMP errors and resets.
    pub const REFUSAL: u32 = 0;
    /// Connections that are too old (see [`AgeLimit`](crate::flow::AgeLimit)).
    pub const OF_AGE: u32 = 1;
}

/// Refusals that a CPU may send at once: `net.ipv4.icmp_msgs_burst`.
pub const BURST: u32 = 50;
/// Refusals that a CPU may send in a second: `net.ipv4.icmp_msgs_per_sec`.
pub const PER_SECOND: u32 = 1000;

/// Connections that a CPU ends for their age in a second, and at once.
pub const OF_AGE_PER_SECOND: u32 = 50;

const SECOND_NS: u64 = 1_000_000_000;

/// The value of `lb_refusals`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(any(feature = "user", test), derive(Debug))]
pub struct Refusals {
    /// `CLOCK_MONOTONIC` up to which every refusal is paid for, in nanoseconds. A bucket that is
    /// full was paid for a whole burst ago.
    pub paid_until_ns: u64,
}

impl Refusals {
    /// May another refusal be sent now? If so, it is paid for. 0 a second: there is no limit.
    #[inline(always)]
    #[must_use]
    pub const fn take(&mut self, now_ns: u64, per_second: u32) -> bool {
        if per_second == 0 {
            return true;
        }
        let cost = SECOND_NS / per_second as u64;
        let full = now_ns.saturating_sub(cost * BURST as u64);
        let from = if self.paid_until_ns < full {
            full
        } else {
            self.paid_until_ns
        };
        if from + cost > now_ns {
            return false;
        }
        self.paid_until_ns = from + cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(refusals: &mut Refusals, times: u32, now_ns: u64) -> usize {
        (0..times)
            .filter(|_| refusals.take(now_ns, PER_SECOND))
            .count()
    }

    #[test]
    fn a_burst_passes_and_then_a_thousand_a_second() {
        let mut refusals = Refusals::default();
        let start = 3600 * SECOND_NS;
        assert_eq!(sent(&mut refusals, 200, start), 50);
        assert_eq!(sent(&mut refusals, 200, start + SECOND_NS / 100), 10);
        assert_eq!(sent(&mut refusals, 2000, start + 10 * SECOND_NS), 50);
    }

    #[test]
    fn without_a_limit_all_pass() {
        let mut refusals = Refusals::default();
        assert!((0..200).all(|_| refusals.take(SECOND_NS, 0)));
    }
}
