//! Connected sockets that hold on to a backend which no longer serves (of TCP: where the Service's
//! removal policy wants that): looked for after each sync that removed one, and reset beside the
//! event loop. TCP sockets that are too old likewise, every few seconds where a Service has a limit.
//! The engine's task decides which are stale, and how old each may become; another thread resets
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_common::{Proto, flow::AgeLimit, sock::SockRecord};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, sleep_until},
};

use super::ages::{self, Ages};
use crate::{
    flows::clock::monotonic,
    observe::socket_resets::ResetReporter,
    sockets::{
        destroy::{self, Outcome, Target},
        records::Records,
    },
    sync::{Association, Engine},
};

/// Shortest pause between two looks, so that a burst of changes becomes one.
const QUIET: Duration = Duration::from_millis(100);
/// Pause after a look, as long as something is found: the first one, and the longest. A second look
/// follows in any case: a connect may have chosen its backend just before the sync, and written its
/// record just after the first look.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// A backend that is absent for less than this keeps its UDP sockets: an endpoint that moves from one
/// slice to another is away between two events. The second look comes after it. A TCP backend is let
/// go of only some time after it left.
const GRACE: Duration = AGAIN.0;

/// Which of these hold on to a backend that no longer serves, and how old may each become?
#[derive(Debug)]
pub(in crate::run) struct Question {
    pairs: BTreeSet<Association>,
    answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
struct Answer {
    stale: BTreeSet<Association>,
    /// Of those that may not be of any age.
    limits: BTreeMap<Association, AgeLimit>,
}

impl Question {
    /// By what is in the maps now.
    pub(in crate::run) fn answer(self, engine: &Engine) {
        let Self { pairs, answer } = self;
        let limits = pairs.iter().map(|p| (*p, engine.age_limit(p)));
        let limits = limits.filter(|(_, limit)| *limit != AgeLimit::NONE);
        let found = Answer {
            limits: limits.collect(),
            stale: pairs.into_iter().filter(|p| engine.is_stale(p)).collect(),
        };
        // Without a receiver the agent is ending.
        drop(answer.send(found));
    }
}

/// The event loop's end.
#[derive(Debug)]
pub(super) struct Resets {
    wake: Arc<Notify>,
    /// TCP sockets may be stale: some Service's removal policy resets connections.
    tcp: Arc<AtomicBool>,
    /// TCP sockets may be too old: some Service has a limit.
    ages: Arc<AtomicBool>,
    asked: mpsc::Receiver<Question>,
    ask: mpsc::Sender<Question>,
    task: Option<JoinHandle<()>>,
}

impl Resets {
    /// Nothing is looked for yet.
    pub(super) fn new() -> Self {
        let (ask, asked) = mpsc::channel(1);
        Self {
            wake: Arc::default(),
            tcp: Arc::default(),
            ages: Arc::default(),
            asked,
            ask,
            task: None,
        }
    }

    /// Looks for stale sockets from now on.
    pub(super) fn start(&mut self, records: Arc<Records>, reporter: ResetReporter) {
        let looker = Looker {
            records,
            tcp: Arc::clone(&self.tcp),
            has_ages: Arc::clone(&self.ages),
            ask: self.ask.clone(),
            suspects: Suspects::default(),
            ages: Ages::default(),
        };
        let wake = Arc::clone(&self.wake);
        self.task = Some(tokio::spawn(run(looker, wake, reporter)));
    }

    /// Whether TCP sockets may be stale at all.
    pub(super) fn set_tcp(&self, tcp: bool) {
        self.tcp.store(tcp, Ordering::Relaxed);
    }

    /// Whether TCP sockets may be too old at all.
    pub(super) fn set_ages(&self, ages: bool) {
        if self.ages.swap(ages, Ordering::Relaxed) != ages && ages {
            self.wake();
        }
    }

    /// Something was removed that sockets may hold on to.
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

impl Drop for Resets {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The result of a look.
#[derive(Debug, Default)]
struct Look {
    udp: Outcome,
    tcp: Outcome,
    /// A stale socket is new, and has to be looked at again.
    fresh: bool,
}

impl Look {
    fn found(&self) -> Found {
        let Self { udp, tcp, fresh } = self;
        let of = |outcome: &Outcome| outcome.reset + outcome.left();
        if *fresh || of(udp) + of(tcp) > 0 {
            Found::Something
        } else {
            Found::Nothing
        }
    }
}

/// What the engine is asked about these sockets: of TCP only where some may be stale, since there may
/// be a great many.
fn asked(records: &[SockRecord], tcp: bool) -> BTreeSet<Association> {
    let all = records.iter().filter_map(Association::of);
    all.filter(|pair| tcp || pair.is_udp()).collect()
}

struct Looker {
    records: Arc<Records>,
    tcp: Arc<AtomicBool>,
    has_ages: Arc<AtomicBool>,
    ask: mpsc::Sender<Question>,
    suspects: Suspects,
    ages: Ages,
}

/// Backends that did not serve at the last look, and since when.
#[derive(Debug, Default)]
struct Suspects(BTreeMap<Association, Instant>);

impl Suspects {
    /// Takes in what does not serve now. Returns what has not served for long enough, and whether
    /// anything is new.
    fn confirm(
        &mut self,
        stale: BTreeSet<Association>,
        now: Instant,
    ) -> (BTreeSet<Association>, bool) {
        let fresh = stale.iter().any(|pair| !self.0.contains_key(pair));
        let since = |pair: &Association| self.0.get(pair).copied().unwrap_or(now);
        self.0 = stale.into_iter().map(|p| (p, since(&p))).collect();
        let is_long = |pair: &Association, at: Instant| !pair.is_udp() || now - at >= GRACE;
        let long = self.0.iter().filter(|(pair, at)| is_long(pair, **at));
        (long.map(|(pair, _)| *pair).collect(), fresh)
    }
}

impl Looker {
    async fn look(&mut self) -> Result<Look> {
        let records = Arc::clone(&self.records);
        let records = tokio::task::spawn_blocking(move || records.read())
            .await
            .context("the walk over sockets died")??;
        let has_ages = self.has_ages.load(Ordering::Relaxed);
        let pairs = asked(&records, has_ages || self.tcp.load(Ordering::Relaxed));
        if pairs.is_empty() {
            (self.suspects, self.ages) = (Suspects::default(), Ages::default());
            return Ok(Look::default());
        }
        let (answer, answered) = oneshot::channel();
        let asked = self.ask.send(Question { pairs, answer }).await;
        asked.context("the engine has ended")?;
        let Answer { stale, limits } = answered.await.context("the engine has ended")?;
        let (stale, fresh) = self.suspects.confirm(stale, Instant::now());
        let old = self.ages.look(&records, &limits, monotonic());
        let reset = async |proto: Proto| {
            let is_stale =
                |pair: Association| pair.proto == proto.number() && stale.contains(&pair);
            let targets: Vec<Target> = records
                .iter()
                .filter(|r| {
                    let is_old = proto == Proto::Tcp && old.contains(&r.cookie);
                    is_old || Association::of(r).is_some_and(is_stale)
                })
                .map(Target::of)
                .collect();
            if targets.is_empty() {
                return Ok(Outcome::default());
            }
            destroy::reset(proto, targets).await
        };
        Ok(Look {
            udp: reset(Proto::Udp).await?,
            tcp: reset(Proto::Tcp).await?,
            fresh,
        })
    }
}

async fn run(mut looker: Looker, wake: Arc<Notify>, mut reporter: ResetReporter) {
    // Where other namespaces cannot be entered, those of our own are looked after all the same.
    reporter.probed(destroy::probe().await);
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
        let found = looked.as_ref().map_or(Found::Something, Look::found);
        pace.looked(found, Instant::now());
        if looker.has_ages.load(Ordering::Relaxed) {
            pace.at_most(Instant::now() + ages::EVERY);
        }
        reporter.looked(looked.map(|look| [(Proto::Udp, look.udp), (Proto::Tcp, look.tcp)]));
        if pace.due.is_none() {
            looker.suspects = Suspects::default();
        }
        sleep(QUIET).await;
    }
}

/// Whether a look found stale sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    Something,
    Nothing,
}

/// When the next look is due without a change.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    due: Option<Instant>,
    pause: Option<Duration>,
}

impl Pace {
    /// Something changed: the next look is a first one.
    fn woken(&mut self) {
        self.pause = None;
    }

    /// The next look is due then, or sooner.
    fn at_most(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// A look has ended.
    fn looked(&mut self, found: Found, now: Instant) {
        self.pause = match self.pause {
            None => Some(AGAIN.0),
            Some(pause) => (found == Found::Something).then(|| AGAIN.1.min(pause * 2)),
        };
        self.due = self.pause.map(|pause| now + pause);
    }
}

#[cfg(test)]
mod tests {
    use lb_common::{Addr, sock::kind};

    use super::*;

    #[test]
    fn a_backend_that_is_absent_briefly_keeps_its_sockets() {
        let (mut suspects, t) = (Suspects::default(), Instant::now());
        let pair = |backend_port| Association {
            proto: Proto::Udp.number(),
            vip: Addr::ZERO,
            vip_port: 53,
            backend: Addr::ZERO,
            backend_port,
            pool: 0,
        };
        let set =
            |ports: &[u16]| -> BTreeSet<Association> { ports.iter().map(|p| pair(*p)).collect() };
        let short = GRACE / 2;
        let all = |ports: &[u16], fresh| (set(ports), fresh);
        assert_eq!(suspects.confirm(set(&[1, 2]), t), all(&[], true));
        // Many looks do not shorten it.
        assert_eq!(suspects.confirm(set(&[1, 2, 3]), t + short), all(&[], true));
        // One serves again, one still does not.
        assert_eq!(suspects.confirm(set(&[1, 3]), t + GRACE), all(&[1], false));
        // It starts over for what went again.
        let late = t + GRACE + short;
        assert_eq!(suspects.confirm(set(&[1, 2, 3]), late), all(&[1, 3], true));
        assert_eq!(suspects.confirm(set(&[2]), late + GRACE), all(&[2], false));
    }

    #[test]
    fn tcp_sockets_are_asked_about_only_where_they_may_be_stale() {
        let record = |proto: Proto, kind| SockRecord {
            proto: proto.number(),
            kind,
            ..SockRecord::CLEARED
        };
        let records = [
            record(Proto::Tcp, kind::CONNECTED),
            record(Proto::Udp, kind::CONNECTED),
            record(Proto::Udp, kind::UNCONNECTED),
        ];
        let protos = |tcp| -> Vec<u8> { asked(&records, tcp).iter().map(|p| p.proto).collect() };
        assert_eq!(protos(false), [17]);
        assert_eq!(protos(true), [6, 17]);
    }

    #[test]
    fn sockets_are_looked_at_twice_and_then_ever_more_rarely() {
        let mut pace = Pace::default();
        let now = Instant::now();
        let mut after = |found| {
            pace.looked(found, now);
            pace.due.map(|due| (due - now).as_secs())
        };
        assert_eq!(
            [after(Found::Nothing), after(Found::Nothing)],
            [Some(1), None]
        );
        let pauses: Vec<_> = (0..9).map(|_| after(Found::Something)).collect();
        let seconds = [1, 2, 4, 8, 16, 32, 60, 60, 60];
        assert_eq!(pauses, seconds.map(Some));
        pace.woken();
        pace.looked(Found::Something, now);
        assert_eq!(pace.due, Some(now + AGAIN.0));
    }
}
