//! The sweep of the flow tables, repeated beside the event loop.

use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    flows::sweep::{Step, Sweep},
    maps::table::MapError,
    observe::flow_sweeps::FlowSweepReporter,
};

/// Between the end of a sweep and the next one.
const EVERY: Duration = Duration::from_secs(15);
/// A step is followed by a pause of so many times its own length: a sweep takes a tenth of one CPU
/// at most, however many flows there are.
const PAUSE: u32 = 9;

/// Sweeps as long as the agent runs. After a step that panicked, `open` opens the maps anew.
pub(super) async fn run(
    open: impl Fn() -> Result<Sweep, MapError> + Send,
    mut reporter: FlowSweepReporter,
) {
    let mut sweep = None;
    loop {
        let opened = sweep.take().map_or_else(&open, Ok);
        let start = Instant::now();
        let step = match opened {
            Err(error) => Err(error.into()),
            Ok(mut current) => {
                let stepped = spawn_blocking(move || {
                    let step = current.step();
                    (current, step)
                });
                match stepped.await {
                    Ok((back, step)) => {
                        sweep = Some(back);
                        step.map_err(Into::into)
                    }
                    Err(died) => Err(Error::new(died).context("a step has died")),
                }
            }
        };
        let took = start.elapsed();
        reporter.stepped(&step, took);
        sleep(pause(&step, took)).await;
    }
}

fn pause(step: &Result<Step>, took: Duration) -> Duration {
    match step {
        Ok(Step { ended: None, .. }) => took * PAUSE,
        Ok(_) | Err(_) => EVERY,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_sweep_takes_a_tenth_of_a_cpu_at_most() {
        let step = |ended| {
            Ok(Step {
                removed: BTreeMap::new(),
                restored: 0,
                ended,
                repaired: 0,
            })
        };
        let took = Duration::from_millis(2);
        assert_eq!(pause(&step(None), took), took * 9);
        assert_eq!(pause(&step(Some(BTreeMap::new())), took), EVERY);
        assert_eq!(pause(&Err(anyhow!("no memory")), took), EVERY);
    }
}
