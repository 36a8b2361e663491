//! Looks at the handshakes with watched backends, makes trial connections, and tells the event loop
//! who is in quarantine.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    net::SocketAddr,
    time::{Duration, Instant},
};

use lb_common::{handshakes::Handshakes, maps};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval, timeout},
};

use crate::{
    maps::{
        dir::BpfDir,
        pinned::{Access, ArrayPin},
        table::{ArrayTable as _, MapError},
    },
    model::ObjectKey,
    quarantine::{Change, Quarantine},
    sync::Watched,
};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(200);
/// A trial connection that is not answered by then has failed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Results of trials that may wait; more trials are never under way at once.
const TRIALS: usize = 64;

/// The looks of this node.
pub(super) struct Quarantines {
    dir: BpfDir,
    /// `None` until the programs are attached.
    handshakes: Option<ArrayPin<Handshakes>>,
    quarantine: Quarantine,
    watched: Vec<Watched>,
    ticks: Interval,
    results: mpsc::Receiver<(SocketAddr, bool)>,
    result: mpsc::Sender<(SocketAddr, bool)>,
}

/// What has changed.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Everything that is in quarantine now, by Service.
    pub(super) quarantined: BTreeMap<ObjectKey, Vec<SocketAddr>>,
    /// What happened, for each Service concerned.
    pub(super) changes: Vec<(ObjectKey, SocketAddr, Change)>,
}

impl Quarantines {
    /// Nothing is watched.
    pub(super) fn new(dir: &BpfDir) -> Self {
        let (result, results) = mpsc::channel(TRIALS);
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            dir: dir.clone(),
            handshakes: None,
            quarantine: Quarantine::default(),
            watched: Vec::new(),
            ticks,
            results,
            result,
        }
    }

    /// The programs are attached: the pins of new maps have replaced those of the old ones.
    pub(super) fn start(&mut self) -> Result<(), MapError> {
        if self.handshakes.is_none() {
            let opened = ArrayPin::open(&self.dir, maps::HANDSHAKES, Access::Read)?;
            self.handshakes = Some(opened);
        }
        Ok(())
    }

    /// These are watched from now on.
    pub(super) fn watch(&mut self, watched: Vec<Watched>) {
        if watched == self.watched {
            return;
        }
        self.watched = watched;
        let all: BTreeSet<SocketAddr> = self.watched.iter().map(|w| w.at).collect();
        self.quarantine.keep(&all);
    }

    /// What changes next; waits forever while nothing is watched.
    pub(super) async fn news(&mut self) -> News {
        if self.watched.is_empty() {
            return pending().await;
        }
        loop {
            let changes = tokio::select! {
                _ = self.ticks.tick() => self.look(Instant::now()),
                Some((at, answered)) = self.results.recv() => {
                    let change = self.quarantine.tried(at, answered, Instant::now());
                    change.map(|change| (at, change)).into_iter().collect()
                }
            };
            if !changes.is_empty() {
                return self.told(&changes);
            }
        }
    }

    fn look(&mut self, now: Instant) -> Vec<(SocketAddr, Change)> {
        let Some(handshakes) = &self.handshakes else {
            return Vec::new();
        };
        // Several Services may have a backend, and both ids of one while it moves.
        let mut counts: BTreeMap<SocketAddr, Handshakes> = BTreeMap::new();
        let ids: BTreeSet<(SocketAddr, u32)> = self.watched.iter().map(|w| (w.at, w.id)).collect();
        for (at, id) in ids {
            let Ok(found) = handshakes.load(id) else {
                continue;
            };
            let sum = counts.entry(at).or_default();
            sum.failed = sum.failed.wrapping_add(found.failed);
            sum.answered = sum.answered.wrapping_add(found.answered);
        }
        let mut changes = Vec::new();
        for (at, counts) in counts {
            let change = self.quarantine.counted(at, counts, now);
            changes.extend(change.map(|change| (at, change)));
        }
        for at in self.quarantine.trials(now) {
            let result = self.result.clone();
            tokio::spawn(async move {
                let connected = timeout(PATIENCE, TcpStream::connect(at)).await;
                // Without a receiver the agent is ending.
                let _ = result.send((at, matches!(connected, Ok(Ok(_))))).await;
            });
        }
        changes
    }

    fn told(&self, changes: &[(SocketAddr, Change)]) -> News {
        let mut news = News::default();
        for at in self.quarantine.out() {
            let services = self.watched.iter().filter(|w| w.at == at);
            for service in services {
                let all = news.quarantined.entry(service.service.clone());
                let all = all.or_default();
                if !all.contains(&at) {
                    all.push(at);
                }
            }
        }
        for (at, change) in changes {
            let services: BTreeSet<&ObjectKey> = self
                .watched
                .iter()
                .filter(|w| w.at == *at)
                .map(|w| &w.service)
                .collect();
            let of = services.into_iter().cloned();
            news.changes.extend(of.map(|key| (key, *at, *change)));
        }
        news
    }
}
