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
    task::JoinSet,
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

/// Trials under way at once: each takes a descriptor, and for [`PATIENCE`] if nobody answers.
const TRIALS: usize = 64;

/// Backends in quarantine, by Service, the first one first.
type Quarantined = BTreeMap<ObjectKey, Vec<SocketAddr>>;

/// The looks of this node.
pub(super) struct Quarantines {
    dir: BpfDir,
    /// `None` until the programs are attached.
    handshakes: Option<ArrayPin<Handshakes>>,
    quarantine: Quarantine,
    watched: Vec<Watched>,
    /// Every id that a backend has, sorted: more than one while it moves.
    ids: Vec<(SocketAddr, u32)>,
    /// The Services of each backend.
    services: BTreeMap<SocketAddr, BTreeSet<ObjectKey>>,
    /// What the event loop was told last.
    told: Quarantined,
    /// It is something else now, since something else is watched.
    is_news: bool,
    ticks: Interval,
    trials: JoinSet<(SocketAddr, bool)>,
}

/// What has changed.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Everything that is in quarantine now, by Service.
    pub(super) quarantined: Quarantined,
    /// What happened, for each Service concerned.
    pub(super) changes: Vec<(ObjectKey, SocketAddr, Change)>,
}

impl Quarantines {
    /// Nothing is watched.
    pub(super) fn new(dir: &BpfDir) -> Self {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            dir: dir.clone(),
            handshakes: None,
            quarantine: Quarantine::default(),
            watched: Vec::new(),
            ids: Vec::new(),
            services: BTreeMap::new(),
            told: Quarantined::new(),
            is_news: false,
            ticks,
            trials: JoinSet::new(),
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

    /// These are watched from now on. One that leaves while it is in quarantine is trusted when it
    /// comes back.
    pub(super) fn watch(&mut self, watched: Vec<Watched>) {
        if watched == self.watched {
            return;
        }
        self.watched = watched;
        let ids: BTreeSet<_> = self.watched.iter().map(|w| (w.at, w.id)).collect();
        self.ids = ids.into_iter().collect();
        self.services.clear();
        for watched in &self.watched {
            let services = self.services.entry(watched.at).or_default();
            services.insert(watched.service.clone());
        }
        let services = &self.services;
        self.quarantine.keep(|at| services.contains_key(at));
        self.is_news = self.quarantined() != self.told;
    }

    /// What changes next, by looks, by trials, or by what is watched; waits forever while nothing
    /// is watched.
    pub(super) async fn news(&mut self) -> News {
        if self.is_news {
            return self.tell(&[]);
        }
        if self.watched.is_empty() {
            return pending().await;
        }
        loop {
            let changes = tokio::select! {
                _ = self.ticks.tick() => self.look(Instant::now()),
                Some(Ok((at, answered))) = self.trials.join_next() => {
                    let change = self.quarantine.tried(at, answered, Instant::now());
                    change.map(|change| (at, change)).into_iter().collect()
                }
            };
            if !changes.is_empty() {
                return self.tell(&changes);
            }
        }
    }

    fn look(&mut self, now: Instant) -> Vec<(SocketAddr, Change)> {
        let Some(handshakes) = &self.handshakes else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        let mut counts = Vec::new();
        for of_one in self.ids.chunk_by(|(a, _), (b, _)| a == b) {
            let (at, _) = of_one[0];
            let found = of_one
                .iter()
                .filter_map(|(_, id)| Some((*id, handshakes.load(*id).ok()?)));
            counts.clear();
            counts.extend(found);
            let change = self.quarantine.counted(at, &counts, now);
            changes.extend(change.map(|change| (at, change)));
        }
        let room = TRIALS.saturating_sub(self.trials.len());
        for at in self.quarantine.trials(now, room) {
            self.trials.spawn(async move {
                let connected = timeout(PATIENCE, TcpStream::connect(at)).await;
                (at, matches!(connected, Ok(Ok(_))))
            });
        }
        changes
    }

    /// Everything that is in quarantine now.
    fn quarantined(&self) -> Quarantined {
        let mut all = Quarantined::new();
        for at in self.quarantine.out() {
            for service in self.services.get(&at).into_iter().flatten() {
                all.entry(service.clone()).or_default().push(at);
            }
        }
        all
    }

    fn tell(&mut self, changes: &[(SocketAddr, Change)]) -> News {
        self.is_news = false;
        self.told = self.quarantined();
        let of = changes.iter().flat_map(|(at, change)| {
            let services = self.services.get(at).into_iter().flatten();
            services.map(|key| (key.clone(), *at, *change))
        });
        News {
            quarantined: self.told.clone(),
            changes: of.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
