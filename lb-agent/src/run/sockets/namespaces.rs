//! `--socket-lb auto`: keeps the map of network namespaces whose sockets are left alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_common::{
    frontend::{FrontendValue, VipKey, scope},
    maps,
};
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use super::pod_paths::{PodPaths, Word};
use crate::{
    clients::{Because, Path, Pods},
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
        table::{Batch, HashTable as _},
    },
    observe::{
        namespaces::NamespaceMetrics,
        once::{Change, Once, Outage},
    },
    sockets::namespaces::{self, Look, Namespaces},
};

/// Between two looks. A namespace is found this long after it was made.
const EVERY: Duration = Duration::from_secs(1);
/// The least time between two looks, when pods change.
const BURST: Duration = Duration::from_millis(100);
/// A young namespace is still being furnished: it is looked into at each look.
const YOUNG: Duration = Duration::from_mins(1);
/// An older one is looked into this often.
const AGAIN: Duration = Duration::from_secs(15);

/// What the API server says of this node's pods; `None`: nothing yet.
pub(in crate::run) type Told = watch::Receiver<Option<Arc<Pods>>>;

/// The map, and what was found so far.
pub(in crate::run) struct Follower {
    dir: BpfDir,
    map: HashPin<u64, u32>,
    /// When each was seen first, and when it was looked into last.
    seen: BTreeMap<u64, (Instant, Instant)>,
    found: Look,
    /// Below which the kubelet makes a cgroup for each pod.
    cgroup: PathBuf,
    /// Since when processes of this pod are looked for.
    homeless: BTreeMap<String, Instant>,
    /// When processes of pods were looked for last.
    searched: Option<Instant>,
    pods: Told,
    paths: PodPaths,
    told: Once<(u64, String)>,
    outage: Outage,
    metrics: NamespaceMetrics,
}

impl Follower {
    /// Opens the map.
    pub(in crate::run) fn open(
        dir: &BpfDir,
        cgroup: PathBuf,
        pods: Told,
        paths: PodPaths,
        metrics: NamespaceMetrics,
    ) -> Result<Self> {
        Ok(Self {
            dir: dir.clone(),
            map: HashPin::open(dir, maps::NETNS, Access::Write)?,
            seen: BTreeMap::new(),
            found: Look::default(),
            cgroup,
            homeless: BTreeMap::new(),
            searched: None,
            pods,
            paths,
            told: Once::default(),
            outage: Outage::default(),
            metrics,
        })
    }

    /// Runs for ever.
    pub(in crate::run) async fn run(mut self) {
        loop {
            sleep(BURST).await;
            tokio::select! {
                () = sleep(EVERY) => {}
                Ok(()) = self.pods.changed() => {}
            }
            self.look().await;
        }
    }

    /// Looks once, and writes what has changed. A failure is told once and changes nothing.
    pub(in crate::run) async fn look(&mut self) {
        let done = self.try_look().await;
        if let (Change::Began, Err(error)) = (self.outage.after(&done), &done) {
            warn!(
                error = format!("{error:#}"),
                "sockets of some meshes, nested clusters and other containers are translated like any pod's, see --socket-lb"
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
        let mut known = self.found.namespaces.clone();
        known.retain(|cookie, _| settled(cookie));
        let kept: BTreeSet<u64> = known.keys().copied().collect();
        let pods = self.pods.borrow_and_update().clone();
        let root = self.must_search(pods.as_deref(), start);
        let look = namespaces::look(known, root, self.is_cluster_ip()?).await;
        let mut found = look.context(
            "cannot look into network namespaces (CAP_SYS_ADMIN; socketReset: true in the chart)",
        )?;
        // Where a pod's processes were seen, it stays as long as it and the place are there.
        for (uid, cookie) in std::mem::take(&mut self.found.pods) {
            if found.namespaces.contains_key(&cookie) {
                found.pods.entry(uid).or_insert(cookie);
            }
        }
        if let Some(pods) = &pods {
            let called: BTreeSet<&str> = pods.pods.values().map(|p| &*p.cgroup_uid).collect();
            found.pods.retain(|uid, _| called.contains(&**uid));
        }
        self.found = found;
        self.seen
            .retain(|cookie, _| self.found.namespaces.contains_key(cookie));
        for cookie in self.found.namespaces.keys() {
            let times = self.seen.entry(*cookie).or_insert((start, start));
            if !kept.contains(cookie) {
                times.1 = start;
            }
        }
        let words = pods
            .as_deref()
            .map(|pods| self.paths.decide(pods, &self.found));
        self.write(words.as_ref())
    }

    /// Where to look for processes of pods: nowhere while each has been found, and seldom where one
    /// is not found for long.
    fn must_search(&mut self, pods: Option<&Pods>, now: Instant) -> Option<PathBuf> {
        let pods = pods?.pods.values().filter(|pod| !pod.host_network);
        let homeless = pods.filter(|pod| !self.found.pods.contains_key(&pod.cgroup_uid));
        let since = homeless.map(|pod| {
            let since = self.homeless.get(&pod.cgroup_uid).copied();
            (pod.cgroup_uid.clone(), since.unwrap_or(now))
        });
        self.homeless = since.collect();
        let mut since = self.homeless.values();
        let due = self
            .searched
            .is_none_or(|last| now.duration_since(last) >= AGAIN);
        let must = since.any(|since| due || now.duration_since(*since) < YOUNG);
        must.then(|| {
            self.searched = Some(now);
            self.cgroup.clone()
        })
    }

    fn is_cluster_ip(&self) -> Result<impl Fn(IpAddr) -> bool + Send + use<>> {
        let frontends: HashPin<VipKey, FrontendValue> =
            HashPin::open(&self.dir, maps::FRONTENDS, Access::Read)?;
        Ok(move |ip: IpAddr| {
            let key = VipKey {
                addr: ip.into(),
                port: 0,
                proto: 0,
                scope: scope::INTERNAL,
            };
            let found = frontends.map().get(&key).ok().flatten();
            found.is_some_and(|vip| vip.flags & lb_common::frontend::CLUSTER_IP != 0)
        })
    }

    /// `words` are those of pods; without them nothing is taken out that may be theirs.
    fn write(&mut self, words: Option<&BTreeMap<u64, Word>>) -> Result<()> {
        let left = left_alone(&self.found.namespaces, words);
        let there: BTreeSet<u64> = self
            .map
            .entries()?
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        let new = left.keys().filter(|cookie| !there.contains(cookie));
        let new: Vec<(u64, u32)> = new.map(|cookie| (*cookie, 1)).collect();
        let stays = |cookie: &u64| {
            left.contains_key(cookie)
                || (words.is_none() && self.found.namespaces.contains_key(cookie))
        };
        let old: Vec<u64> = there
            .iter()
            .filter(|cookie| !stays(cookie))
            .copied()
            .collect();
        let in_words = left.iter().map(|(c, because)| (*c, because.in_words()));
        let (appeared, gone) = self.told.update(in_words);
        for (cookie, reason) in appeared {
            info!(
                cookie,
                reason, "the sockets of this network namespace are left alone"
            );
        }
        for (cookie, _) in gone {
            info!(
                cookie,
                "this network namespace is gone, or its sockets are translated now"
            );
        }
        self.metrics
            .set(left.values().map(|because| because.name()));
        if !old.is_empty() {
            written(self.map.remove(&old))?;
        }
        if !new.is_empty() {
            written(self.map.insert(&new))?;
        }
        Ok(())
    }
}

/// The namespaces that are left alone, and why: the word of a pod stands before what is in one.
fn left_alone(
    namespaces: &Namespaces,
    words: Option<&BTreeMap<u64, Word>>,
) -> BTreeMap<u64, Because> {
    let because = namespaces.iter().filter_map(|(cookie, finding)| {
        let because = match words.and_then(|words| words.get(cookie)) {
            Some(word) if word.path == Path::Socket => return None,
            Some(word) => word.because,
            None => Because::Found(finding.reason?),
        };
        Some((*cookie, because))
    });
    because.collect()
}

fn written(batch: Batch) -> Result<()> {
    batch.error.map_or(Ok(()), |error| Err(error.into()))
}
