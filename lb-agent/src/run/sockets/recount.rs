//! The recount of open connections, repeated beside the event loop.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval};
use tracing::error;

use crate::{
    observe::recounts::RecountReporter,
    sockets::recount::{Recount, Recounted},
};

/// Open connections are recounted this often.
const EVERY: Duration = Duration::from_secs(5);

/// Walks over all sockets, which may take a while where there are many.
pub(super) trait Walk: Send + 'static {
    /// One recount.
    fn walk(&mut self) -> Result<Recounted>;
}

impl Walk for Recount {
    fn walk(&mut self) -> Result<Recounted> {
        self.run()
    }
}

/// Recounts until it is aborted. A recount that fails is retried; after one that panicked, `renew`
/// makes the next.
pub(super) async fn run<W: Walk>(
    first: W,
    mut renew: impl FnMut() -> Result<W> + Send,
    mut reporter: RecountReporter,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut current = Some(first);
    loop {
        ticks.tick().await;
        let walked = match current.take().map_or_else(&mut renew, Ok) {
            Err(error) => Err(error),
            Ok(mut walker) => {
                let run = tokio::task::spawn_blocking(move || {
                    let found = walker.walk();
                    (walker, found)
                });
                match run.await {
                    Ok((back, found)) => {
                        current = Some(back);
                        found
                    }
                    Err(died) => {
                        error!(error = %died, "the recount of open connections died, starting another");
                        continue;
                    }
                }
            }
        };
        reporter.recounted(&walked);
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use tokio::{sync::mpsc, time::timeout};

    use super::*;
    use crate::observe::recounts::RecountMetrics;

    struct Fake(bool, mpsc::UnboundedSender<()>);

    impl Walk for Fake {
        fn walk(&mut self) -> Result<Recounted> {
            assert!(!self.0, "as the test wants it");
            self.1.send(())?;
            Ok(Recounted::default())
        }
    }

    #[tokio::test]
    async fn a_recount_that_dies_is_followed_by_another() {
        let (tx, mut rx) = mpsc::unbounded_channel();
        let metrics = RecountMetrics::new(&mut Registry::default());
        let renewed = tx.clone();
        let task = tokio::spawn(run(
            Fake(true, tx),
            move || Ok(Fake(false, renewed.clone())),
            RecountReporter::new(metrics),
        ));
        let walked = timeout(EVERY * 4, rx.recv()).await;
        task.abort();
        assert_eq!(walked, Ok(Some(())));
    }
}
