//! `--socket-lb auto`: keeps the map of network namespaces whose sockets are left alone.

use std::{
    collections::BTreeSet,
    io,
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
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::warn;

use self::{
    ages::Ages, inherited::Inherited, left::Left, room::Writes, search::Search, told::Teller,
};
use super::pod_paths::{Decided, PodPaths};
use crate::{
    clients::Pods,
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
        table::{Batch, HashTable as _, MapError},
    },
    observe::{
        namespaces::NamespaceMetrics,
        once::{Change, Outage},
    },
    sockets::namespaces::{self, Look, Memory, Question},
};

mod ages;
mod inherited;
mod left;
mod room;
mod search;
mod told;

pub(super) use left::Rank;

/// Between two looks. A namespace is found this long after it was made.
const EVERY: Duration = Duration::from_secs(1);
/// The least time between two looks, when pods change.
const BURST: Duration = Duration::from_millis(100);
/// How long the first look goes on to further namespaces: the programs wait for it.
const FIRST: Duration = Duration::from_secs(5);

/// What the API server says of this node's pods; `None`: nothing yet.
pub(in crate::run) type Told = watch::Receiver<Option<Arc<Pods>>>;

/// The map, and what was found so far.
pub(in crate::run) struct Follower {
    dir: BpfDir,
    map: HashPin<u64, u32>,
    inherited: Option<Inherited>,
    ages: Ages,
    found: Look,
    memory: Memory,
    search: Search,
    pods: Told,
    paths: PodPaths,
    teller: Teller,
    outage: Outage,
}

impl Follower {
    /// Opens the map. Below `cgroup`, the kubelet makes one for each pod.
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
            inherited: None,
            ages: Ages::default(),
            found: Look::default(),
            memory: Memory::default(),
            search: Search::new(cgroup),
            pods,
            paths,
            teller: Teller::new(metrics),
            outage: Outage::default(),
        })
    }

    /// The look before this agent attaches anything. It ends in time, whatever others have put into
    /// their namespaces, and wherever it is dropped: what it has not seen then is as it was.
    pub(in crate::run) async fn first(&mut self) {
        // One namespace may take longer, where the kernel does not answer.
        let looked = timeout(2 * FIRST, self.look(Some(Instant::now() + FIRST))).await;
        if looked.is_err() || self.found.is_partial {
            warn!(
                seen = self.found.namespaces.len(),
                "there are too many network namespaces to look into all of them at once: sockets of the others are translated like any pod's until the next look"
            );
        }
    }

    /// Runs for ever.
    pub(in crate::run) async fn run(mut self) {
        loop {
            sleep(BURST).await;
            tokio::select! {
                () = sleep(EVERY) => {}
                Ok(()) = self.pods.changed() => {}
            }
            self.look(None).await;
        }
    }

    /// Looks once, and writes what has changed. A failure is told once and changes nothing.
    async fn look(&mut self, until: Option<Instant>) {
        let done = self.try_look(until).await;
        if let (Change::Began, Err(error)) = (self.outage.after(&done), &done) {
            warn!(
                error = format!("{error:#}"),
                "sockets of some meshes, nested clusters and other containers are translated like any pod's, see --socket-lb"
            );
        }
    }

    async fn try_look(&mut self, until: Option<Instant>) -> Result<()> {
        let start = Instant::now();
        let pods = self.pods.borrow_and_update().clone();
        let question = Question {
            settled: self.ages.settled(start),
            root: self.search.root(pods.as_deref(), &self.found.pods, start),
            before: self.found.namespaces.clone(),
            until,
        };
        let is_cluster_ip = self.is_cluster_ip()?;
        let look = namespaces::look(&mut self.memory, question, is_cluster_ip).await;
        let mut found = look.context(
            "cannot look into network namespaces (CAP_SYS_ADMIN; socketReset: true in the chart)",
        )?;
        self.search
            .merge(&self.found.pods, &mut found, pods.as_deref());
        self.ages.update(found.namespaces.keys(), start);
        self.found = found;
        self.teller.missed(&self.found);
        self.write(pods.as_deref())
    }

    fn is_cluster_ip(&self) -> Result<impl Fn(IpAddr) -> io::Result<bool> + Send + use<>> {
        let frontends: HashPin<VipKey, FrontendValue> =
            HashPin::open(&self.dir, maps::FRONTENDS, Access::Read)?;
        Ok(move |ip: IpAddr| {
            let key = VipKey {
                addr: ip.into(),
                port: 0,
                proto: 0,
                scope: scope::INTERNAL,
            };
            let found = frontends.map().get(&key).map_err(io::Error::other)?;
            Ok(found.is_some_and(|vip| vip.flags & lb_common::frontend::CLUSTER_IP != 0))
        })
    }

    /// First the map, then what is told of it.
    fn write(&mut self, pods: Option<&Pods>) -> Result<()> {
        let decided = pods.map(|pods| Decided::of(pods, &self.found));
        let words = decided.as_ref().map(|decided| &decided.words);
        let left = Left::of(&self.found.namespaces, words);
        let there = self.map.entries()?;
        let there: BTreeSet<u64> = there.into_iter().map(|(key, _)| key).collect();
        let inherited = self
            .inherited
            .get_or_insert_with(|| Inherited::new(there.clone()));
        inherited.update(&self.found, words);
        let stays = |cookie| inherited.stays(cookie, &self.found, words.is_some());
        let Writes {
            remove,
            insert,
            refused,
        } = Writes::plan(&left, &there, stays, self.map.capacity());
        let mut done = Ok(());
        if !remove.is_empty() {
            done = written(self.map.remove(&remove));
        }
        if !insert.is_empty() && done.is_ok() {
            let new: Vec<(u64, u32)> = insert.iter().map(|cookie| (*cookie, 1)).collect();
            done = written(self.map.insert(&new));
        }
        self.teller.left_alone(&left, &refused);
        if let Some(decided) = decided {
            self.paths.tell(decided, &refused);
        }
        done?;
        if refused.is_empty() {
            return Ok(());
        }
        let full = MapError::Full {
            map: maps::NETNS.name,
            capacity: self.map.capacity(),
        };
        Err(full).with_context(|| {
            let count = refused.len();
            format!("{count} network namespaces that are to be left alone have no room")
        })
    }
}

fn written(batch: Batch) -> Result<()> {
    batch.error.map_or(Ok(()), |error| Err(error.into()))
}
