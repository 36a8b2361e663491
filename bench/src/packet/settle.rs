//! Counts of what is on its way: read once they stand still.

use std::time::Duration;

use anyhow::Result;

use super::programs::Sink;

/// What a sink has counted.
pub(super) fn settled(sink: &Sink) -> Result<u64> {
    settle(|| sink.count())
}

/// A count once it stands still: the last packets are on their way when their sender is done.
pub(super) fn settle(count: impl Fn() -> Result<u64>) -> Result<u64> {
    let mut last = count()?;
    loop {
        std::thread::sleep(Duration::from_millis(1));
        let now = count()?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
}
