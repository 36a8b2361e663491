//! The two worlds, the API server above them, and what runs on the refereed nodes: kube-proxy in
//! one world, lb-agent in the other. Knows when all have caught up, and nothing of what is compared.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};
use testbed::{
    addr,
    agent::{self, Agent, Start},
    cluster::{self, ADMIN_TOKEN, ControlPlane, KubeProxy, objects::object},
    netns::Netns,
    poll,
    probe::{Ask, Kind},
};

use crate::{
    apply::{self, Job, Live, Manifest},
    judge,
    numbers::Numbers,
    objects::{EXTERNAL_CIDRS, Slot},
    plan::{Endpoint, Port, Slice, Svc},
    question::{Client, PATIENCE_MS},
    side::Side,
    world::{self, API, NODE, TARGETS, World},
};

/// A machine that is busy with other things may take that long for a change.
const CATCH_UP: Duration = Duration::from_secs(30);
/// Namespaces that plans stand in side by side.
pub const SLOTS: u8 = 40;
/// And on two nodes, where numbers are scarce.
pub const SLOTS_OF_PAIR: u8 = 4;
/// Pods' addresses, as both proxies are told.
const PODS: &str = "10.244.0.0/16,fd66:244::/48";
/// Tries that would not all meet the one of two endpoints by chance.
const MANY: usize = 24;
/// Ports of the sentinel are numbered from here on.
const SENTINEL: u16 = 10_000;

/// The one bed that the tests of a program share, one at a time.
static SHARED: Mutex<Weak<Mutex<Testbed>>> = Mutex::new(Weak::new());

/// By which hooks lb-agent sees what comes from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// tc
    Tc,
    /// XDP on the device towards the segment, tc behind it.
    Xdp,
}

/// Goes with this value.
pub struct Testbed {
    /// The refereed nodes; the proxies are in this order.
    sides: &'static [Side],
    kube_proxies: Vec<KubeProxy>,
    agents: Vec<Agent>,
    theirs: World,
    ours: World,
    control_plane: ControlPlane,
    _api: Netns,
    /// The sentinel as it stands.
    standing: Option<(Manifest, Live)>,
    /// Counts the changes of the sentinel.
    turn: u16,
    /// Counts what was staged, for names that are used once.
    staged: u32,
}

impl std::fmt::Debug for Testbed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Testbed").finish_non_exhaustive()
    }
}

impl Testbed {
    /// Both worlds, with a proxy on the near node of each.
    pub fn start() -> Result<Self> {
        Self::on(&[Side::Near], Way::Tc)
    }

    /// Both worlds, with a proxy on both nodes of each.
    pub fn pair(way: Way) -> Result<Self> {
        Self::on(&Side::ALL, way)
    }

    fn on(sides: &'static [Side], way: Way) -> Result<Self> {
        let api = Netns::new("api")?;
        api.ip(&format!("addr add {API}/32 dev lo\n"))?;
        let control_plane = ControlPlane::start(&api, API.into())?;
        let client = control_plane.client();
        for side in Side::ALL {
            add_node(client, side)?;
        }
        client.add_namespace("sentinel")?;
        for number in 0..SLOTS {
            client.add_namespace(&namespace(number))?;
        }
        let (theirs, ours) = (World::new(0, &api)?, World::new(1, &api)?);
        let mut kube_proxies = Vec::new();
        for side in sides {
            let config = json!({
                "mode": "nftables",
                "clusterCIDR": PODS,
                "nodePortAddresses": ["primary"],
                "nftables": {"minSyncPeriod": "10ms", "syncPeriod": "30s"},
            });
            let (sandbox, name) = (theirs.node(*side).sandbox(), side.node());
            let started = KubeProxy::start_configured(&control_plane, sandbox, name, config)?;
            kube_proxies.push(started);
        }
        let mut bed = Self {
            sides,
            kube_proxies,
            agents: Vec::new(),
            theirs,
            ours,
            control_plane,
            _api: api,
            standing: None,
            turn: 0,
            staged: 0,
        };
        bed.start_agents(way)?;
        bed.catch_up()?;
        bed.tell_zones()?;
        Ok(bed)
    }

    /// Stops the agents and starts them this way.
    pub fn restart_agents(&mut self, way: Way) -> Result<()> {
        for mut agent in std::mem::take(&mut self.agents) {
            agent.quiet();
            agent.stop()?;
        }
        self.start_agents(way)?;
        self.catch_up()
    }

    /// The same, and whatever the agents knew is forgotten: flows, ids, what they have written.
    pub(crate) fn forget(&mut self, way: Way) -> Result<()> {
        for mut agent in std::mem::take(&mut self.agents) {
            agent.quiet();
            agent.stop()?;
        }
        for side in self.sides {
            agent::verb_with_state(self.ours.node(*side), &["cleanup"])?;
        }
        self.start_agents(way)?;
        self.catch_up()
    }

    fn start_agents(&mut self, way: Way) -> Result<()> {
        let kubeconfig = self.control_plane.kubeconfig("admin", ADMIN_TOKEN)?;
        let kubeconfig = kubeconfig.display().to_string();
        for side in self.sides {
            let start = Start::new()
                .source(&["--kubeconfig", &kubeconfig])
                .args(&["--node-port-addresses", "primary"])
                .args(&["--external-ip-cidrs", EXTERNAL_CIDRS])
                .args(&["--cluster-cidr", PODS]);
            let start = match way {
                Way::Tc => start,
                Way::Xdp => start.xdp("eth0"),
            };
            self.agents.push(start.on(self.ours.node(*side))?);
        }
        Ok(())
    }

    /// The nodes that are refereed.
    #[must_use]
    pub const fn sides(&self) -> &'static [Side] {
        self.sides
    }

    /// Whether both nodes are refereed.
    #[must_use]
    pub const fn is_pair(&self) -> bool {
        self.sides.len() == Side::ALL.len()
    }

    /// So many plans stand side by side.
    #[must_use]
    pub fn room(&self) -> usize {
        usize::from(if self.is_pair() { SLOTS_OF_PAIR } else { SLOTS })
    }

    /// The numbers of a stage; `None` leaves them to the API server.
    pub(crate) fn numbers(&self) -> Option<Numbers> {
        self.is_pair().then(Numbers::default)
    }

    /// The shared one; lock it for as long as objects of yours stand.
    pub fn shared() -> Result<Arc<Mutex<Self>>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return Ok(running);
        }
        let started = Arc::new(Mutex::new(Self::start()?));
        *shared = Arc::downgrade(&started);
        Ok(started)
    }

    /// kube-proxy's world.
    #[must_use]
    pub const fn theirs(&self) -> &World {
        &self.theirs
    }

    /// lb-agent's world.
    #[must_use]
    pub const fn ours(&self) -> &World {
        &self.ours
    }

    /// A place for one plan; none two that stand together have the same number.
    pub fn slot(&mut self, number: u8) -> Slot {
        self.staged += 1;
        Slot {
            number,
            namespace: namespace(number),
            prefix: format!("s{}", self.staged),
        }
    }

    /// The zone of the refereed node; `None` takes the label away.
    pub fn set_zone(&self, zone: Option<&str>) -> Result<()> {
        self.label(NODE, zone)
    }

    fn label(&self, node: &str, zone: Option<&str>) -> Result<()> {
        let labels = json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}});
        self.control_plane
            .client()
            .patch_global::<Node>(node, labels)
            .map(drop)
    }

    /// Labels the nodes with their zones, and waits until all proxies go by them. Not before they
    /// run: kube-proxy 1.37 asks for labels one line before it names who is told of them
    /// (`NewNodeTopologyConfig` in cmd/kube-proxy/app/server.go), so on a busy machine it may not
    /// hear of those that are there already, and then ignores hints for its whole life.
    fn tell_zones(&mut self) -> Result<()> {
        for side in Side::ALL {
            self.label(side.node(), Some(side.zone()))?;
        }
        let own = |side: Side| side.pods()[1];
        let hinted = |side: &Side| Endpoint::new(own(*side)).zone(side.zone());
        self.sentinel(Side::ALL.iter().map(hinted).collect(), MANY, own)
    }

    /// Writes the deletions, then the changes, and returns when all proxies have made them theirs;
    /// what the server has given, by change.
    pub(crate) fn write(
        &mut self,
        deletions: &[Job],
        changes: &[Job],
    ) -> Result<Vec<Option<Live>>> {
        apply::write(self.control_plane.client(), deletions)?;
        let live = apply::write(self.control_plane.client(), changes)?;
        self.catch_up()?;
        Ok(live)
    }

    /// Changes the sentinel, a Service and its slices, and asks it in both worlds and families
    /// until the change has arrived: each proxy hears of Services in their order, and of slices
    /// in theirs.
    fn catch_up(&mut self) -> Result<()> {
        // Not the pod that asks as a backend: kube-proxy would know where it stands.
        self.sentinel(vec![Endpoint::new(1)], 1, |_| 1)
    }

    /// Gives the sentinel these endpoints, and asks it until so many tries are answered by the pod
    /// that a side is to have, and by no other.
    fn sentinel(
        &mut self,
        endpoints: Vec<Endpoint>,
        tries: usize,
        answers: impl Fn(Side) -> usize,
    ) -> Result<()> {
        self.turn += 1;
        let target = usize::from(self.turn) % TARGETS.len();
        let svc = Svc {
            ports: vec![Port::tcp("sentinel", SENTINEL + self.turn)],
            slices: vec![Slice {
                targets: vec![Some(target)],
                endpoints,
                ..Slice::default()
            }],
            ..Svc::default()
        };
        let slot = Slot {
            number: SLOTS,
            namespace: "sentinel".to_owned(),
            prefix: "sentinel".to_owned(),
        };
        let manifest = Manifest::new(&slot, 0, &svc, None);
        let job = Job {
            namespace: slot.namespace.clone(),
            name: slot.name(0),
            before: self.standing.take(),
            after: Some(manifest.clone()),
        };
        let live = apply::write(self.control_plane.client(), &[job])?;
        let live = live.into_iter().flatten().next().context("no sentinel")?;
        for (who, world) in [("kube-proxy", &self.theirs), ("lb-agent", &self.ours)] {
            for (side, ip) in self
                .sides
                .iter()
                .flat_map(|side| live.cluster_ips.iter().map(move |ip| (*side, *ip)))
            {
                let to = SocketAddr::new(ip, SENTINEL + self.turn);
                let node = side.node();
                let name = format!("{}:{}", world::pod(answers(side)).name, TARGETS[target]);
                let what = format!(
                    "{who} of {node} has made change {} its own at {to}",
                    self.turn
                );
                // A short patience: a SYN that comes too early is lost, and sent again a second later.
                let ask = Ask {
                    kind: Kind::Tcp,
                    connected: true,
                    to,
                    tries,
                    within_ms: PATIENCE_MS,
                    reused: false,
                };
                let caught_up = poll::until_true(CATCH_UP, &what, || {
                    let pod = world.client(Client::Pod, side);
                    let observed = pod.survey(vec![ask.clone()], 1)?.pop();
                    Ok(observed
                        .is_some_and(|one| judge::names(&one) == BTreeSet::from([name.clone()])))
                });
                if caught_up.is_err() {
                    self.kube_proxies
                        .iter_mut()
                        .try_for_each(KubeProxy::check)?;
                }
                caught_up?;
            }
        }
        self.standing = Some((manifest, live));
        Ok(())
    }

    /// The agents' logs are of no interest any more.
    pub(crate) fn quiet(&mut self) {
        self.agents.iter_mut().for_each(Agent::quiet);
    }

    /// An error if one of the proxies runs no more.
    pub fn check(&mut self) -> Result<()> {
        self.kube_proxies
            .iter_mut()
            .try_for_each(KubeProxy::check)?;
        for (agent, side) in self.agents.iter_mut().zip(self.sides) {
            ensure!(agent.runs()?, "lb-agent of {} has ended", side.node());
        }
        Ok(())
    }
}

fn namespace(number: u8) -> String {
    format!("plan-{number}")
}

fn add_node(client: &cluster::Client, side: Side) -> Result<()> {
    let (net, ips, name) = (addr::pod(side.number(), 0), side.addr().ips(), side.node());
    let labels = json!({"kubernetes.io/hostname": name});
    let cidrs = [format!("{}/24", net.v4), format!("{}/64", net.v6)];
    client.create_global::<Node>(&object(json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs},
    }))?)?;
    let addresses: Vec<Value> = ips
        .iter()
        .map(|ip| json!({"type": "InternalIP", "address": ip}))
        .collect();
    client
        .patch_global_status::<Node>(name, json!({"status": {"addresses": addresses}}))
        .map(drop)
}
