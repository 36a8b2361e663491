//! Waiting for a moment. Owns that a moment which has come is not waited for.

use std::time::Instant;

use tokio::time::sleep_until;

/// Returns at that time, or at once: a timer would round a moment that has come up to the next millisecond, and one more,
/// which is many times the work of a change.
pub(super) async fn until(at: Instant) {
    if at > Instant::now() {
        sleep_until(at.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_moment_that_has_come_is_not_waited_for() {
        let now = Instant::now();
        assert!(pin!(until(now)).now_or_never().is_some());
        let soon = now + Duration::from_millis(20);
        assert!(
            pin!(until(soon + Duration::from_hours(1)))
                .now_or_never()
                .is_none()
        );
        until(soon).await;
        assert!(Instant::now() >= soon);
    }
}
