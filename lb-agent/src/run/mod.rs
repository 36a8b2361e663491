//! The running agent: wires sources, engine, maps and programs together. One task owns all that is written; the rest tells
//! it what happened.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
};
use tracing::{info, warn};

use crate::{
    bootstrap::{Known, Memory, StateFile},
    datapath::{
        attach::{Attachments, TcMode},
        bpf_maps::BpfMaps,
        cgroup::Cgroup,
        dir::BpfDir,
        load::{self, Commit, Loaded, Options},
        lock::DirLock,
        probe::Features,
    },
    node::{self, Selection},
    observe::{
        events, health::Health, kernel::Kernel, metrics::Metrics, node_conditions::Troubles,
        node_events::Announce, problem_file::ProblemFile, sync_report::Tell,
    },
    plan::PlanConfig,
    serve::{
        self,
        checks::{self, Wanted},
    },
    settings::{
        Config,
        values::{Devices, Lb0Mode, SocketReset},
    },
    sync::Engine,
    watch::source,
};

use agent::Agent;
use lb0::Lb0;
use parts::Parts;
use resetting::Resetting;
use schedule::Schedule;

mod adopting;
mod agent;
mod auditing;
mod descriptors;
mod host;
mod lb0;
mod moment;
mod node_ports;
mod parts;
mod recounting;
mod resetting;
mod schedule;

/// Events that may wait for the engine; a full queue slows the watchers down, and loses nothing.
const QUEUE: usize = 1024;

/// Runs until SIGTERM or SIGINT, and leaves the data path working.
pub async fn run(config: Config) -> Result<()> {
    info!(version = env!("CARGO_PKG_VERSION"), config = ?config, "starting");
    let stop = Stop::new()?;
    descriptors::raise();
    host::apply(config.oom_score_adj, config.conntrack);
    let dir = BpfDir::create(&config.bpf_dir)?;
    // Held until the end of the process.
    let _lock = DirLock::take(&dir)?;

    let health = Arc::new(Health::new(2 * config.sync_period, jiff::Timestamp::now()));
    let kernel = Arc::new(Kernel::new(dir.clone()));
    let metrics = Arc::new(Metrics::new(Box::new(Arc::clone(&kernel))));
    let mut taken = serve_all(&config, &health, &metrics);

    let pair = lb0::prepare(config.lb0).await;
    let (mut attachments, mut maps, commit, replaced) = datapath(&config, &dir, pair.is_some())?;
    // A previous agent's programs may run, and the API server's address may be one that they translate.
    attachments.claim()?;
    let plan = PlanConfig {
        node_name: config.node_name.as_str().into(),
        external_ips: config.external_ip_cidrs.clone(),
        scheduler: config.scheduler,
        lb0: config.lb0 == Lb0Mode::On,
        ..PlanConfig::default()
    };
    let engine =
        Engine::restore(&mut maps, plan).context("read what a previous agent left in the maps")?;
    adopting::begin(&dir, engine.has_leftovers(), replaced).await;

    let file = StateFile::in_dir(&config.state_dir);
    let known = file.load().unwrap_or_else(|error| {
        warn!(error = %format!("{error:#}"), "starting without the API server's last known addresses");
        Known::default()
    });
    let (known_tx, known_rx) = watch::channel(known.clone());
    let (events_tx, events_rx) = mpsc::channel(QUEUE);
    let (client_tx, client_rx) = watch::channel(None);
    let (notices_tx, notices_rx) = mpsc::channel(QUEUE);
    tokio::spawn(events::publish(
        config.node_name.clone(),
        client_rx,
        notices_rx,
    ));
    let announce = Announce::new(notices_tx.clone());
    announce_cgroup(&config, &announce);
    let (first_sync, synced) = oneshot::channel();
    tokio::spawn(adopting::follow(dir.clone(), synced, announce.clone()));
    let (checks_tx, checks_rx) = watch::channel(Wanted::default());
    let tell = checks::Tell {
        node: config.node_name.clone(),
        notices: notices_tx.clone(),
        metrics: Arc::clone(&metrics),
    };
    tokio::spawn(checks::run(checks_rx, Arc::clone(&health), tell));
    let node = node::watch(Selection {
        named: match &config.devices {
            Devices::Auto => None,
            Devices::Named(names) => Some(names.clone()),
        },
        xdp: config.xdp.clone(),
    })?;
    tokio::spawn(source::run(source::Wiring {
        source: config.source.clone(),
        node: config.node_name.clone(),
        leftovers: engine.has_leftovers(),
        events: events_tx,
        metrics: Arc::clone(&metrics),
        known: known_rx,
        client: client_tx,
        rate: config.client_rate,
    }));

    let agent = Agent::new(Parts {
        engine,
        maps,
        attachments,
        commit,
        wait_for_sync: replaced,
        lb0: Lb0::new(config.lb0, config.service_cidrs.clone(), pair)?,
        node_port_addresses: config.node_port_addresses.clone(),
        node_ip: config.node_ip,
        memory: Memory::new(known),
        file,
        known: known_tx,
        checks: checks_tx,
        health,
        metrics,
        kernel,
        tell: Tell::new(
            notices_tx,
            ProblemFile::of(&config.state_dir, &config.bpf_dir),
        ),
        troubles: Troubles::new(announce),
        schedule: Schedule::new(config.min_sync_period, config.sync_period),
        resetting: Resetting::new(config.socket_reset == SocketReset::Auto),
        first_sync,
    });
    tokio::select! {
        ended = agent.run(events_rx, node, stop) => ended?,
        Some(error) = taken.recv() => return Err(error),
    }
    info!("stopped; what is attached works on, `lb-agent cleanup` removes it");
    Ok(())
}

/// Sockets outside of a cgroup that is not the root are nobody's.
fn announce_cgroup(config: &Config, announce: &Announce) {
    let Ok(cgroup) = Cgroup::open(config.cgroup.as_deref()) else {
        return;
    };
    if !cgroup.is_root() {
        let text = format!(
            "the agent is attached to the cgroup {}, which is not the root: sockets outside of it are not translated; mount the host's /sys/fs/cgroup, or see --cgroup",
            Path::display(&cgroup.path)
        );
        announce.node("CgroupNotRoot", "Attach", "", text);
    }
}

/// Starts the two servers. Who hears of an address that is taken ends the agent; without `bindAddressHardFail` nobody does.
fn serve_all(
    config: &Config,
    health: &Arc<Health>,
    metrics: &Arc<Metrics>,
) -> mpsc::Receiver<anyhow::Error> {
    let (sender, taken) = mpsc::channel(2);
    let sender = config.bind_hard_fail.then_some(sender);
    let (address, health, counts) = (
        config.health_address,
        Arc::clone(health),
        metrics.kubeproxy.clone(),
    );
    let told = sender.clone();
    tokio::spawn(async move { serve::http::health(address, health, &counts, told).await });
    tokio::spawn(serve::http::metrics(
        config.metrics_address,
        Arc::clone(metrics),
        config.page(),
        sender,
    ));
    taken
}

/// Verified programs and open maps; true where maps had to be made anew, so that they must be filled before any link runs
/// on them.
fn datapath(
    config: &Config,
    dir: &BpfDir,
    lb0: bool,
) -> Result<(Attachments, BpfMaps, Commit, bool)> {
    let features = Features::probe()?;
    let cgroup = Cgroup::open(config.cgroup.as_deref())?;
    if !cgroup.is_root() {
        info!(cgroup = %Path::display(&cgroup.path), "not the root of the hierarchy: sockets outside of it are not translated");
    }
    let options = Options {
        socket_lb: config.socket_lb,
        fib_source: features.fib_source,
        mptcp: features.mptcp,
        loopback_ports: node_ports::on_loopback(&config.node_port_addresses),
        lb0,
        capacities: config
            .map_capacity
            .iter()
            .map(|c| (c.map.name.to_owned(), c.entries))
            .collect(),
        ..Options::default()
    };
    let loaded: Loaded = load::load(load::OBJECT, dir, &options)?;
    let replaced = !loaded.replaced.is_empty();
    let (ebpf, maps, commit) = loaded.split();
    let tc = if features.tcx {
        TcMode::Tcx
    } else {
        TcMode::Clsact
    };
    let attachments = Attachments::new(ebpf, dir, cgroup, tc, config.xdp_mode)?;
    Ok((attachments, maps, commit, replaced))
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

    /// Returns when one of them comes.
    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
