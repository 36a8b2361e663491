//! The recount of open connections, again and again beside the event loop. Owns its pace and that it never ends by itself.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::{
    datapath::recount::{Recount, Recounted},
    observe::metrics::Metrics,
};

/// Open connections are counted anew this often.
const EVERY: Duration = Duration::from_secs(5);

/// What walks over all sockets; it may take a while where there are many.
pub(super) trait Walk: Send + 'static {
    /// One recount.
    fn walk(&mut self) -> Result<Recounted>;
}

impl Walk for Recount {
    fn walk(&mut self) -> Result<Recounted> {
        self.run()
    }
}

/// Recounts until it is aborted. A recount that fails is told once and tried on; after one that panicked, `renew` makes the
/// next.
pub(super) async fn run<W: Walk>(
    first: W,
    mut renew: impl FnMut() -> Result<W> + Send,
    metrics: Arc<Metrics>,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut current = Some(first);
    let mut failing = false;
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
        match walked {
            Ok(found) => {
                if failing {
                    failing = false;
                    info!("open connections are recounted again");
                }
                metrics.recounted(&found);
            }
            Err(error) if !failing => {
                failing = true;
                warn!(error = %format!("{error:#}"), "cannot recount open connections, trying on");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};
    use tokio::{sync::mpsc, time::timeout};

    use super::*;

    #[derive(Debug)]
    struct Nothing;

    impl Collector for Nothing {
        fn encode(&self, _: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            Ok(())
        }
    }

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
        let metrics = Arc::new(Metrics::new(Box::new(Nothing)));
        let renewed = tx.clone();
        let task = tokio::spawn(run(
            Fake(true, tx),
            move || Ok(Fake(false, renewed.clone())),
            metrics,
        ));
        let walked = timeout(EVERY * 4, rx.recv()).await;
        task.abort();
        assert_eq!(walked, Ok(Some(())));
    }
}
