//! The running agent: wires sources, engine, maps, programs and reports together.

use std::sync::Arc;

use agent::{Agent, Inputs};
use anyhow::{Context as _, Result};
use cluster_key::ClusterKey;
use data_path::DataPath;
use edges::{ApiAddresses, Edges, Rewriting};
use engine::Core;
use hooks::Hooks;
use kube::Client;
use lb0::Lb0;
use machine::Machine;
use masquerade::Masquerade;
use observer::Observer;
use phase::Phase;
use quarantine::Quarantines;
use schedule::Schedule;
use shown::Shown;
use snat_ports::Ports;
use sockets::{
    Sockets,
    namespaces::{Follower, Told},
    pod_paths::PodPaths,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::info;

use crate::{
    flows::{sweep::Sweep, timeouts::timeouts},
    hooks::cgroup::Cgroup,
    maps::{Maps, dir::BpfDir, lock::DirLock, table::MapError},
    node::{self, Selection},
    observe::{
        flow_sweeps::FlowSweepReporter,
        health::Health,
        kubeproxy::KubeProxyMetrics,
        metrics::Registries,
        pod_file::PodFile,
        recounts::{RecountMetrics, RecountReporter},
        socket_resets::{ResetReporter, metrics::Metrics as ResetMetrics},
    },
    page::Page,
    plan::PlanConfig,
    serve::{
        http::{self, BindFailure},
        local,
    },
    settings::{
        Config,
        values::{Devices, Lb0Mode, SocketLb, SocketReset, Source},
    },
    sync::Engine,
    watch::{metrics::WatchMetrics, pods, source},
};

mod agent;
mod cluster_key;
mod data_path;
mod descriptors;
mod edges;
mod engine;
mod explain;
mod flow_sweep;
mod held;
mod hooks;
mod host;
mod lb0;
mod machine;
mod masquerade;
mod metrics;
mod new_node_ports;
mod node_ports;
mod observer;
mod phase;
mod ports;
mod quarantine;
mod schedule;
mod shown;
mod snat_ports;
mod sockets;
mod takeover;

/// Events that may wait for the engine. A full queue slows the watchers down; nothing is lost.
const QUEUE: usize = 1024;

/// Runs until SIGTERM or SIGINT, and leaves the data path working.
pub async fn run(config: Config) -> Result<()> {
    info!(version = env!("CARGO_PKG_VERSION"), config = ?config, "starting");
    let mut stop = Stop::new()?;
    descriptors::raise();
    host::apply(config.oom_score_adj, config.conntrack);
    let dir = BpfDir::create(&config.bpf_dir)?;
    // Held until the end of the process.
    let _lock = DirLock::take(&dir)?;
    dir.link_state(&config.state_dir)?;

    let health = Arc::new(Health::new(2 * config.sync_period, jiff::Timestamp::now()));
    let Shown {
        registries,
        page,
        metrics,
        scraped,
    } = Shown::new(&config, &dir, &health);
    let counts = &metrics.observer.kubeproxy;
    let mut bind_failed = serve_all(&config, &health, counts, registries, page);

    let pair = lb0::prepare(config.lb0).await;
    let DataPath {
        mut attachments,
        mut maps,
        commit,
        pinned,
    } = data_path::load(&config, &dir, pair)?;
    // A previous agent's programs may run, and the API server's address may be one that they
    // translate.
    attachments.register_agent()?;
    let engine = restore(&config, &mut maps)?;
    takeover::begin(&dir, engine.has_leftovers(), pinned).await;

    let (client, client_rx) = watch::channel(None);
    let (pods_client, pods_metrics) = (client_rx.clone(), metrics.watch.clone());
    let mut observer = Observer::start(&config, &dir, health, scraped, metrics.observer, client_rx);
    let (api, known) = ApiAddresses::load(&config.state_dir);
    let (objects, events) = mpsc::channel(QUEUE);
    tokio::spawn(source::run(source::Wiring {
        source: config.source.clone(),
        node: config.node_name.clone(),
        leftovers: engine.has_leftovers(),
        events: objects,
        metrics: metrics.watch,
        known,
        client,
        rate: config.client_rate,
    }));
    let questions = local::start(&config.state_dir);
    let machine = watch_machine(&config)?;
    let key = ClusterKey::start(&config, &dir)?;
    let (ports, first) = Ports::start(&config, &dir)?;
    observer.snat_ports(&Ok(first));
    tokio::spawn(flow_sweep::run(
        sweep(&dir, &config),
        FlowSweepReporter::new(metrics.sweeps),
    ));
    if config.socket_lb == SocketLb::Auto {
        let paths = PodPaths::new(
            PodFile::of(&config.state_dir, &config.bpf_dir),
            observer.events(),
        );
        let pods = follow_pods(&config, pods_client, pods_metrics);
        let cgroup = Cgroup::open(config.cgroup.as_deref())?.path;
        let mut follower = Follower::open(&dir, cgroup, pods, paths, metrics.namespaces)?;
        // Before this agent attaches anything, so that no socket is translated that is to be left
        // alone. What a previous agent attached goes on by what that one wrote.
        tokio::select! {
            () = follower.first() => {}
            () = stop.wait() => {
                info!("stopped before anything was attached");
                return Ok(());
            }
        }
        tokio::spawn(follower.run());
    }
    let sockets = sockets(&config, metrics.recounts, metrics.resets);
    let lb0 = Lb0::new(config.lb0, config.service_cidrs.clone(), pair)?;
    let rewriting = Rewriting {
        key,
        ports,
        masquerade: Masquerade::new(config.forwarding),
    };
    let edges = Edges::new(api, lb0, sockets, rewriting, Quarantines::new(&dir));
    let agent = Agent {
        core: Core::new(engine, maps),
        hooks: Hooks::new(attachments, commit, pinned),
        machine: Machine::new(&config),
        schedule: Schedule::new(config.min_sync_period, config.sync_period),
        edges,
        observer,
        phase: Phase::default(),
    };
    tokio::select! {
        ended = agent.run(Inputs { events, machine, questions, stop }) => ended?,
        Some(error) = bind_failed.recv() => return Err(error),
    }
    info!("stopped; what is attached keeps working, `lb-agent cleanup` removes it");
    Ok(())
}

/// Opens the maps of flows for sweeps, by the times that the programs have.
fn sweep(dir: &BpfDir, config: &Config) -> impl Fn() -> Result<Sweep, MapError> + use<> {
    let (dir, timeouts) = (dir.clone(), timeouts(&config.conntrack));
    move || Sweep::open(&dir, timeouts)
}

/// Starts the servers of health and metrics. An address that is taken is sent to the receiver with
/// `bindAddressHardFail`, and retried without.
fn serve_all(
    config: &Config,
    health: &Arc<Health>,
    counts: &KubeProxyMetrics,
    registries: Registries,
    page: Page,
) -> mpsc::Receiver<anyhow::Error> {
    let (sender, failed) = mpsc::channel(2);
    let failure = if config.bind_hard_fail {
        BindFailure::Fatal(sender)
    } else {
        BindFailure::Retry
    };
    let (address, health, counts) = (config.health_address, Arc::clone(health), counts.clone());
    let of_health = failure.clone();
    tokio::spawn(async move { http::health(address, health, &counts, of_health).await });
    tokio::spawn(http::metrics(
        config.metrics_address,
        Arc::new(registries),
        Arc::new(page),
        config.page(),
        failure,
    ));
    failed
}

/// The engine with what a previous agent left in the maps.
fn restore(config: &Config, maps: &mut Maps) -> Result<Engine> {
    let plan = PlanConfig {
        node_name: config.node_name.as_str().into(),
        external_ips: config.external_ip_cidrs.clone(),
        scheduler: config.scheduler,
        removal: config.removal,
        forwarding: config.forwarding,
        passive_health: config.passive_health,
        lb0: config.lb0 == Lb0Mode::On,
        ..PlanConfig::default()
    };
    Engine::restore(maps, plan).context("read what a previous agent left in the maps")
}

/// The tasks that read sockets; stale ones are left alone with `--socket-reset off`.
fn sockets(config: &Config, recounts: RecountMetrics, resets: ResetMetrics) -> Sockets {
    let resets = match config.socket_reset {
        SocketReset::Auto => Some(ResetReporter::new(resets)),
        SocketReset::Off => None,
    };
    Sockets::new(RecountReporter::new(recounts), resets)
}

/// Follows the pods of this node, where there is an API server that knows them.
fn follow_pods(
    config: &Config,
    client: watch::Receiver<Option<Client>>,
    metrics: WatchMetrics,
) -> Told {
    let (told, pods) = watch::channel(None);
    if let Source::Manifests(_) = config.source {
        told.send_replace(Some(Arc::default()));
    } else {
        tokio::spawn(pods::follow(
            client,
            config.node_name.clone(),
            told,
            metrics,
        ));
    }
    pods
}

/// Follows the devices and addresses of this machine.
fn watch_machine(config: &Config) -> Result<mpsc::Receiver<node::State>> {
    node::watch(Selection {
        named: match &config.devices {
            Devices::Auto => None,
            Devices::Named(names) => Some(names.clone()),
        },
        xdp: config.xdp.clone(),
    })
}

/// The signals that end the agent.
#[derive(Debug)]
pub(crate) struct Stop {
    term: Signal,
    int: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            int: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    /// Returns when one of them arrives.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
