//! Looks at what the kernel holds: one at a time, no more often than once a second however many
//! ask, and none when nobody asks. Rates are between the last two.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_common::Reason;
use tokio::{sync::Mutex, task::spawn_blocking, time::sleep};
use tracing::debug;

use super::{
    Parts,
    port::{Port, ports},
};
use crate::{
    inventory::{
        self, Frontend, book,
        rates::{All, between, per_second, sums},
    },
    maps::table::MapError,
};

/// A look is shown to all who ask within this time; also the time between the first two.
const SECOND: Duration = Duration::from_secs(1);
/// A look is kept for the next rates for this long.
const KEPT: Duration = Duration::from_mins(1);
/// A look at so many frontends leaves memory that is worth giving back.
const MANY: usize = 1000;

/// What is counted until a look.
#[derive(Debug)]
struct Counted {
    at: Instant,
    ports: All,
    reasons: Vec<(Reason, u64)>,
}

/// A look, and what was done since the one before.
#[derive(Debug)]
pub(super) struct Seen {
    /// By name.
    pub(super) ports: Vec<Port>,
    /// With how often each was counted, and how often a second.
    pub(super) reasons: Vec<(Reason, u64, f64)>,
    /// Backends, each once.
    pub(super) backends: usize,
    /// Open connections over all of them.
    pub(super) active: u64,
    /// Between the two looks.
    pub(super) between: Duration,
    /// How long the reading took.
    pub(super) took: Duration,
}

#[derive(Debug)]
struct Last {
    counted: Counted,
    seen: Arc<Seen>,
}

/// The last look, if somebody asked within [`KEPT`].
#[derive(Debug)]
pub(super) struct Looks {
    parts: Arc<Parts>,
    last: Arc<Mutex<Option<Last>>>,
}

impl Looks {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        Self {
            parts,
            last: Arc::default(),
        }
    }

    /// A look that is at most a second old. The first one takes a second more, since it is two.
    pub(super) async fn seen(&self) -> Result<Arc<Seen>> {
        let (parts, last) = (Arc::clone(&self.parts), Arc::clone(&self.last));
        // It goes on if the client does not wait, so that there are never two at once.
        let look = tokio::spawn(async move {
            let mut kept = Arc::clone(&last).lock_owned().await;
            if let Some(Last { counted, seen }) = &*kept
                && counted.at.elapsed() < SECOND
            {
                return Ok(Arc::clone(seen));
            }
            let before = if let Some(Last { counted, .. }) = kept.take() {
                counted
            } else {
                let counted = read(&parts).await?.counted;
                sleep(SECOND.saturating_sub(counted.at.elapsed())).await;
                counted
            };
            let Read {
                frontends,
                counted,
                took,
            } = read(&parts).await?;
            let seen = Arc::new(seen(frontends, &before, &counted, took));
            *kept = Some(Last {
                counted,
                seen: Arc::clone(&seen),
            });
            tokio::spawn(forget(last));
            Ok(seen)
        });
        look.await.context("a look has ended early")?
    }
}

/// Frees a look that nobody has asked for again.
async fn forget(last: Arc<Mutex<Option<Last>>>) {
    sleep(KEPT).await;
    let mut kept = last.lock().await;
    let old = |last: &Last| last.counted.at.elapsed() >= KEPT;
    if kept.as_ref().is_some_and(old)
        && let Some(Last { counted, seen }) = kept.take()
    {
        let many = seen.ports.len() >= MANY;
        drop((counted, seen));
        if many {
            lb_sys::trim_heap();
        }
    }
}

struct Read {
    frontends: Vec<Frontend>,
    counted: Counted,
    took: Duration,
}

/// Reads maps: a blocking call for as long as its system calls take.
async fn read(parts: &Arc<Parts>) -> Result<Read> {
    let parts = Arc::clone(parts);
    let read = move || -> Result<Read> {
        let start = Instant::now();
        let book = book(&parts.names, |words| debug!("{words}"));
        let frontends = inventory::named(&parts.dir, &book)?;
        let reasons: Result<_, MapError> = parts.kernel.reasons();
        let counted = Counted {
            at: Instant::now(),
            ports: sums(&frontends),
            reasons: reasons?,
        };
        Ok(Read {
            frontends,
            counted,
            took: start.elapsed(),
        })
    };
    spawn_blocking(read)
        .await
        .context("the reading has ended early")?
}

fn seen(frontends: Vec<Frontend>, before: &Counted, now: &Counted, took: Duration) -> Seen {
    let passed = now.at.saturating_duration_since(before.at);
    let seconds = passed.as_secs_f64();
    let rates = between(&before.ports, &now.ports, seconds);
    let reasons = now.reasons.iter().map(|&(reason, n)| {
        let was = before.reasons.iter().find(|(r, _)| *r == reason);
        let more = n.saturating_sub(was.map_or(0, |(_, was)| *was));
        (reason, n, per_second(more, seconds))
    });
    let reasons = reasons.collect();
    let backends = frontends.iter().flat_map(|f| &f.backends);
    let mut backends: Vec<(u32, u64)> = backends.map(|b| (b.id, b.active_connections)).collect();
    backends.sort_unstable();
    backends.dedup_by_key(|(id, _)| *id);
    Seen {
        ports: ports(frontends, &now.ports, rates),
        reasons,
        backends: backends.len(),
        active: backends
            .iter()
            .map(|(_, active)| *active)
            .fold(0, u64::saturating_add),
        between: passed,
        took,
    }
}
