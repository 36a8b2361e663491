//! Connected UDP sockets that hold on to a backend which no longer serves: looked for after each sync that took one away,
//! and reset beside the event loop. Owns the pace; the engine's task judges, another thread does the work.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, sleep_until},
};
use tracing::{info, warn};

use crate::{
    datapath::records::Records,
    observe::metrics::Metrics,
    reset::{self, Failure, Outcome, Target, metrics::Metrics as ResetMetrics},
    sync::{Engine, Pair},
};

/// Between two looks at least, so that a burst of changes becomes one.
const QUIET: Duration = Duration::from_millis(100);
/// After a look, until the next one as long as something was found: the first pause, and the longest. The first one comes in
/// any case: a connect may have chosen its backend just before the sync, and written its record just after the look.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// A backend that is absent for less than this keeps its sockets: an endpoint that moves from one slice to another is away
/// between two events. The second look comes after it.
const GRACE: Duration = AGAIN.0;

/// Which of these hold on to a backend that no longer serves?
#[derive(Debug)]
pub(super) struct Question {
    pairs: BTreeSet<Pair>,
    answer: oneshot::Sender<BTreeSet<Pair>>,
}

impl Question {
    /// By what stands in the maps now.
    pub(super) fn answer(self, engine: &Engine) {
        let Self { pairs, answer } = self;
        let stale = pairs.into_iter().filter(|p| engine.is_stale(p)).collect();
        // Nobody waits any more when the agent ends.
        drop(answer.send(stale));
    }
}

/// The event loop's end.
#[derive(Debug)]
pub(super) struct Resetting {
    /// `--socket-reset auto`
    on: bool,
    wake: Arc<Notify>,
    asked: mpsc::Receiver<Question>,
    ask: mpsc::Sender<Question>,
    task: Option<JoinHandle<()>>,
}

impl Resetting {
    /// Nothing is looked for yet, nor ever unless `on`.
    pub(super) fn new(on: bool) -> Self {
        let (ask, asked) = mpsc::channel(1);
        Self {
            on,
            wake: Arc::default(),
            asked,
            ask,
            task: None,
        }
    }

    /// Has it not begun, though it should?
    pub(super) fn waits(&self) -> bool {
        self.on && self.task.is_none()
    }

    /// From now on sockets are looked for.
    pub(super) fn start(&mut self, records: Records, metrics: Arc<Metrics>) {
        let looker = Looker {
            records: Arc::new(records),
            ask: self.ask.clone(),
            suspects: Suspects::default(),
        };
        let wake = Arc::clone(&self.wake);
        self.task = Some(tokio::spawn(run(looker, wake, metrics)));
    }

    /// Something was taken away that sockets may hold on to.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The next question, whenever it comes.
    pub(super) async fn question(&mut self) -> Question {
        match self.asked.recv().await {
            Some(question) => question,
            None => pending().await,
        }
    }
}

impl Drop for Resetting {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct Looker {
    records: Arc<Records>,
    ask: mpsc::Sender<Question>,
    suspects: Suspects,
}

/// What did not serve at the last look, and since which one.
#[derive(Debug, Default)]
struct Suspects(BTreeMap<Pair, Instant>);

impl Suspects {
    /// Takes in what does not serve now; returns what has not served for long enough, and whether anything is new.
    fn confirm(&mut self, stale: BTreeSet<Pair>, now: Instant) -> (BTreeSet<Pair>, bool) {
        let fresh = stale.iter().any(|pair| !self.0.contains_key(pair));
        let since = |pair: &Pair| self.0.get(pair).copied().unwrap_or(now);
        self.0 = stale.into_iter().map(|p| (p, since(&p))).collect();
        let long = self.0.iter().filter(|(_, at)| now - **at >= GRACE);
        (long.map(|(pair, _)| *pair).collect(), fresh)
    }
}

impl Looker {
    /// What came of it, and whether something is to be looked at again because it is new.
    async fn look(&mut self) -> Result<(Outcome, bool)> {
        let records = Arc::clone(&self.records);
        let records = tokio::task::spawn_blocking(move || records.read())
            .await
            .context("the walk over sockets died")??;
        let pairs: BTreeSet<Pair> = records.iter().filter_map(Pair::of).collect();
        if pairs.is_empty() {
            self.suspects = Suspects::default();
            return Ok((Outcome::default(), false));
        }
        let (answer, answered) = oneshot::channel();
        let asked = self.ask.send(Question { pairs, answer }).await;
        asked.context("the engine has ended")?;
        let stale = answered.await.context("the engine has ended")?;
        let (stale, fresh) = self.suspects.confirm(stale, Instant::now());
        let targets: Vec<Target> = records
            .iter()
            .filter(|r| Pair::of(r).is_some_and(|pair| stale.contains(&pair)))
            .map(Target::of)
            .collect();
        if targets.is_empty() {
            return Ok((Outcome::default(), fresh));
        }
        Ok((reset::reset(targets).await?, fresh))
    }
}

async fn run(mut looker: Looker, wake: Arc<Notify>, metrics: Arc<Metrics>) {
    let metrics = &metrics.reset;
    enabled(metrics).await;
    let mut told = Told::default();
    let mut pace = Pace::default();
    loop {
        let due = pace.due;
        tokio::select! {
            () = wake.notified() => pace.woken(),
            () = async { match due {
                Some(at) => sleep_until(at.into()).await,
                None => pending().await,
            } } => {}
        }
        let looked = looker.look().await;
        if let Ok((outcome, _)) = &looked {
            metrics.tried(outcome);
        }
        let found = looked
            .as_ref()
            .map_or(true, |(o, fresh)| *fresh || o.reset + o.left() > 0);
        told.tell(looked.map(|(outcome, _)| outcome));
        pace.looked(found, Instant::now());
        if pace.due.is_none() {
            looker.suspects = Suspects::default();
        }
        sleep(QUIET).await;
    }
}

/// Says once whether other namespaces can be entered. Where they cannot, those of our own are looked after all the same.
async fn enabled(metrics: &ResetMetrics) {
    match reset::probe().await {
        Ok(()) => {
            metrics.enabled.set(1);
        }
        Err(missing) => warn!(
            "stale connected UDP sockets are not repaired in other network namespaces: {missing}"
        ),
    }
}

/// When the next look is due without a change.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    due: Option<Instant>,
    pause: Option<Duration>,
}

impl Pace {
    /// Something changed: what comes is the first look.
    fn woken(&mut self) {
        self.pause = None;
    }

    /// A look has ended.
    fn looked(&mut self, found: bool, now: Instant) {
        self.pause = match self.pause {
            None => Some(AGAIN.0),
            Some(pause) => found.then(|| AGAIN.1.min(pause * 2)),
        };
        self.due = self.pause.map(|pause| now + pause);
    }
}

/// What has been said already.
#[derive(Debug, Default)]
struct Told {
    failed: BTreeMap<Failure, u64>,
    broken: bool,
}

impl Told {
    /// Resets each time, what fails once.
    fn tell(&mut self, looked: Result<Outcome>) {
        let outcome = match looked {
            Ok(outcome) => outcome,
            Err(error) => {
                if !std::mem::replace(&mut self.broken, true) {
                    warn!(error = %format!("{error:#}"), "cannot look for stale UDP sockets, trying on");
                }
                return;
            }
        };
        self.broken = false;
        if outcome.reset > 0 {
            info!(
                sockets = outcome.reset,
                "reset connected UDP sockets whose backend stopped serving"
            );
        }
        for (failure, n) in &outcome.failed {
            if !self.failed.contains_key(failure) {
                warn!(
                    sockets = n,
                    "connected UDP sockets hold on to a backend that stopped serving: {failure}"
                );
            }
        }
        self.failed = outcome.failed;
    }
}

#[cfg(test)]
mod tests {
    use lb_common::Addr;

    use super::*;

    #[test]
    fn what_is_absent_only_briefly_is_left_alone() {
        let (mut suspects, t) = (Suspects::default(), Instant::now());
        let pair = |backend_port| Pair {
            vip: Addr::ZERO,
            vip_port: 53,
            backend: Addr::ZERO,
            backend_port,
        };
        let set = |ports: &[u16]| -> BTreeSet<Pair> { ports.iter().map(|p| pair(*p)).collect() };
        let short = GRACE / 2;
        let all = |ports: &[u16], fresh| (set(ports), fresh);
        assert_eq!(suspects.confirm(set(&[1, 2]), t), all(&[], true));
        // Many looks do not shorten it.
        assert_eq!(suspects.confirm(set(&[1, 2, 3]), t + short), all(&[], true));
        // One serves again, one still does not.
        assert_eq!(suspects.confirm(set(&[1, 3]), t + GRACE), all(&[1], false));
        // It begins anew for what went again.
        let late = t + GRACE + short;
        assert_eq!(suspects.confirm(set(&[1, 2, 3]), late), all(&[1, 3], true));
        assert_eq!(suspects.confirm(set(&[2]), late + GRACE), all(&[2], false));
    }

    #[test]
    fn a_change_is_looked_at_twice_and_what_stays_ever_more_rarely() {
        let mut pace = Pace::default();
        let now = Instant::now();
        let mut after = |found| {
            pace.looked(found, now);
            pace.due.map(|due| (due - now).as_secs())
        };
        assert_eq!([after(false), after(false)], [Some(1), None]);
        let pauses: Vec<_> = (0..9).map(|_| after(true)).collect();
        let seconds = [1, 2, 4, 8, 16, 32, 60, 60, 60];
        assert_eq!(pauses, seconds.map(Some));
        pace.woken();
        pace.looked(true, now);
        assert_eq!(pace.due, Some(now + AGAIN.0));
    }
}
