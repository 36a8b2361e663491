//! What TCP sockets have met, by pool, as the programs count it.

use std::time::Duration;

use lb_common::{
    maps::POOL_TCP,
    tcp::{BUCKETS, PoolTcp},
};

use super::{
    dir::BpfDir,
    pinned::{Access, ArrayPin},
    table::{ArrayTable as _, MapError},
};

/// [`PoolTcp`], of one pool or of several together, with room for sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TcpCounts {
    /// Handshakes by their round trip time, see [`lb_common::tcp::bucket`].
    pub rtt: [u64; BUCKETS],
    /// Their round trip times together, microseconds.
    pub rtt_sum_us: u64,
    /// Connects that came to nothing.
    pub failures: u64,
    /// Segments sent once more.
    pub retransmits: u64,
}

impl TcpCounts {
    fn of(counted: PoolTcp) -> Self {
        let PoolTcp {
            rtt_sum_us,
            rtt,
            failures,
            retransmits,
        } = counted;
        Self {
            rtt: rtt.map(u64::from),
            rtt_sum_us,
            failures: failures.into(),
            retransmits: retransmits.into(),
        }
    }

    /// Of two pools together.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        self.with(more, u64::wrapping_add)
    }

    /// What was counted after `before`. What counts less has begun anew, or has wrapped.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        self.with(before, |now, before| now.checked_sub(before).unwrap_or(now))
    }

    /// The same of a sum over pools, which may be fewer now: nothing, if any of it is less than before.
    #[must_use]
    pub fn grown(self, before: Self) -> Self {
        let mut fell = false;
        let grown = self.with(before, |now, before| {
            fell |= now < before;
            now.saturating_sub(before)
        });
        if fell { Self::default() } else { grown }
    }

    fn with(self, other: Self, mut both: impl FnMut(u64, u64) -> u64) -> Self {
        Self {
            rtt: std::array::from_fn(|i| both(self.rtt[i], other.rtt[i])),
            rtt_sum_us: both(self.rtt_sum_us, other.rtt_sum_us),
            failures: both(self.failures, other.failures),
            retransmits: both(self.retransmits, other.retransmits),
        }
    }

    /// Handshakes whose round trip time is known.
    #[must_use]
    pub fn handshakes(&self) -> u64 {
        self.rtt.into_iter().fold(0, u64::saturating_add)
    }

    /// The mean of their round trip times; none without a handshake.
    #[must_use]
    pub fn mean_rtt(&self) -> Option<Duration> {
        let mean = self.rtt_sum_us.checked_div(self.handshakes())?;
        Some(Duration::from_micros(mean))
    }
}

/// The map, opened by its pin for reading.
#[derive(Debug)]
pub struct TcpStats(ArrayPin<PoolTcp>);

impl TcpStats {
    /// Opens the pin. `None`: the agent that made these maps does not count this.
    pub fn open(dir: &BpfDir) -> Result<Option<Self>, MapError> {
        if !dir.map(&POOL_TCP).exists() {
            return Ok(None);
        }
        ArrayPin::open(dir, POOL_TCP, Access::Read).map(|pin| Some(Self(pin)))
    }

    /// Of the pool of this index. Behind the end of the map nothing is counted.
    pub fn pool(&self, index: u32) -> Result<TcpCounts, MapError> {
        if index < self.0.len() {
            self.0.load(index).map(TcpCounts::of)
        } else {
            Ok(TcpCounts::default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_that_of_the_interval() {
        let counts = |handshakes: u64, rtt_sum_us| {
            let mut rtt = [0; BUCKETS];
            rtt[3] = handshakes;
            TcpCounts {
                rtt,
                rtt_sum_us,
                ..TcpCounts::default()
            }
        };
        let now = counts(30, 12_000).since(counts(10, 2000));
        assert_eq!(now.handshakes(), 20);
        assert_eq!(now.mean_rtt(), Some(Duration::from_micros(500)));
        assert_eq!(now.since(now).mean_rtt(), None);
        // Its pool is another one's by now.
        assert_eq!(counts(1, 300).since(counts(30, 12_000)), counts(1, 300));
        assert_eq!(now.plus(now), counts(40, 20_000));
    }

    #[test]
    fn a_sum_that_has_lost_a_pool_counts_nothing_for_once() {
        let counts = |retransmits, failures| TcpCounts {
            failures,
            retransmits,
            ..TcpCounts::default()
        };
        assert_eq!(counts(7, 3).grown(counts(5, 3)), counts(2, 0));
        assert_eq!(counts(10, 4).grown(counts(900_010, 3)), counts(0, 0));
    }
}
