//! `--socket-lb auto`: keeps the map of network namespaces whose sockets are left alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use lb_common::{
    frontend::{FrontendValue, VipKey, scope},
    maps,
};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::{
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
        table::{Batch, HashTable as _},
    },
    observe::{
        namespaces::NamespaceMetrics,
        once::{Change, Once, Outage},
    },
    sockets::namespaces::{self, Namespaces, Reason},
};

/// Between two looks. A namespace is found this long after it was made.
const EVERY: Duration = Duration::from_secs(1);
/// A young namespace is still being furnished: it is looked into at each look.
const YOUNG: Duration = Duration::from_mins(1);
/// An older one is looked into this often.
const AGAIN: Duration = Duration::from_secs(15);

/// The map, and what was found so far.
pub(in crate::run) struct Follower {
    dir: BpfDir,
    map: HashPin<u64, u32>,
    /// When each was seen first, and when it was looked into last.
    seen: BTreeMap<u64, (Instant, Instant)>,
    found: Namespaces,
    told: Once<(u64, Reason)>,
    outage: Outage,
    metrics: NamespaceMetrics,
}

impl Follower {
    /// Opens the map.
    pub(in crate::run) fn open(dir: &BpfDir, metrics: NamespaceMetrics) -> Result<Self> {
        Ok(Self {
            dir: dir.clone(),
            map: HashPin::open(dir, maps::NETNS, Access::Write)?,
            seen: BTreeMap::new(),
            found: Namespaces::new(),
            told: Once::default(),
            outage: Outage::default(),
            metrics,
        })
    }

    /// Runs for ever.
    pub(in crate::run) async fn run(mut self) {
        loop {
            self.look().await;
            sleep(EVERY).await;
        }
    }

    /// Looks once, and writes what has changed. A failure is told once and changes nothing.
    pub(in crate::run) async fn look(&mut self) {
        let done = self.try_look().await;
        if let (Change::Began, Err(error)) = (self.outage.after(&done), &done) {
            warn!(
                error = format!("{error:#}"),
                "cannot look into network namespaces (CAP_SYS_ADMIN; socketReset: true in the chart): sockets of meshes, nested clusters and other containers are translated like any pod's, see --socket-lb"
            );
        }
    }

    async fn try_look(&mut self) -> Result<()> {
        let start = Instant::now();
        let settled = |cookie: &u64| {
            self.seen.get(cookie).is_some_and(|(first, last)| {
                start.duration_since(*first) > YOUNG && start.duration_since(*last) < AGAIN
            })
        };
        let mut known = self.found.clone();
        known.retain(|cookie, _| settled(cookie));
        let kept: BTreeSet<u64> = known.keys().copied().collect();
        let frontends: HashPin<VipKey, FrontendValue> =
            HashPin::open(&self.dir, maps::FRONTENDS, Access::Read)?;
        let is_cluster_ip = move |ip: IpAddr| {
            let key = VipKey {
                addr: ip.into(),
                port: 0,
                proto: 0,
                scope: scope::INTERNAL,
            };
            let found = frontends.map().get(&key).ok().flatten();
            found.is_some_and(|vip| vip.flags & lb_common::frontend::CLUSTER_IP != 0)
        };
        self.found = namespaces::look(known, is_cluster_ip).await?;
        self.seen
            .retain(|cookie, _| self.found.contains_key(cookie));
        for cookie in self.found.keys() {
            let times = self.seen.entry(*cookie).or_insert((start, start));
            if !kept.contains(cookie) {
                times.1 = start;
            }
        }
        self.write()
    }

    fn write(&mut self) -> Result<()> {
        let left = self.found.iter();
        let left: BTreeMap<u64, Reason> = left
            .filter_map(|(cookie, reason)| Some((*cookie, (*reason)?)))
            .collect();
        let there: BTreeSet<u64> = self
            .map
            .entries()?
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        let new = left.keys().filter(|cookie| !there.contains(cookie));
        let new: Vec<(u64, u32)> = new.map(|cookie| (*cookie, 1)).collect();
        let old = there.iter().filter(|cookie| !left.contains_key(cookie));
        let old: Vec<u64> = old.copied().collect();
        let (appeared, gone) = self.told.update(left.iter().map(|(c, r)| (*c, *r)));
        for (cookie, reason) in appeared {
            info!(
                cookie,
                reason = reason.in_words(),
                "the sockets of this network namespace are left alone"
            );
        }
        for (cookie, _) in gone {
            info!(
                cookie,
                "this network namespace is gone, or like any pod's now"
            );
        }
        let reasons: Vec<Reason> = left.values().copied().collect();
        self.metrics.set(&reasons);
        if !old.is_empty() {
            written(self.map.remove(&old))?;
        }
        if !new.is_empty() {
            written(self.map.insert(&new))?;
        }
        Ok(())
    }
}

fn written(batch: Batch) -> Result<()> {
    batch.error.map_or(Ok(()), |error| Err(error.into()))
}
