//! The clock of flow entries.

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC`, in nanoseconds, which programs read as coarse as a tick.
#[must_use]
pub fn monotonic() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| {
        let seconds = u64::try_from(t.tv_sec()).unwrap_or_default();
        seconds * 1_000_000_000 + u64::try_from(t.tv_nsec()).unwrap_or_default()
    })
}
