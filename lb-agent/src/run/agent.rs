//! The one task that writes: facts into the engine, the engine's writes into the maps, programs onto hooks. Owns when each
//! of them happens; what is written is the engine's business.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tracing::{debug, info, warn};

use crate::{
    bootstrap::{Known, Memory, StateFile},
    datapath::{attach::Attachments, bpf_maps::BpfMaps, load::Commit},
    model::Event,
    node,
    observe::{
        health::{Health, Outcome},
        kernel::Kernel,
        metrics::Metrics,
        node_conditions::Troubles,
        sync_report::Tell,
    },
    serve::checks::Wanted,
    settings::values::NodePortAddress,
    sync::{Engine, Report, Snapshot, Usage},
};

use super::{
    Stop,
    auditing::AuditRun,
    lb0::Lb0,
    moment, node_ports,
    parts::Parts,
    recounting,
    resetting::Resetting,
    schedule::{Due, Schedule},
};

/// Programs that could not be attached are tried again this often.
const REATTACH: Duration = Duration::from_secs(10);
/// Events taken in before something is written.
const DRAIN: usize = 10_000;

/// The running agent.
pub(super) struct Agent {
    engine: Engine,
    maps: BpfMaps,
    attachments: Attachments,
    commit: Option<Commit>,
    wait_for_sync: bool,
    lb0: Lb0,
    node_port_addresses: Vec<NodePortAddress>,
    node_ip: Option<IpAddr>,
    memory: Memory,
    file: StateFile,
    known: watch::Sender<Known>,
    checks: watch::Sender<Wanted>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    kernel: Arc<Kernel>,
    tell: Tell,
    first_sync: Option<oneshot::Sender<()>>,
    troubles: Troubles,
    schedule: Schedule,
    audit: AuditRun,
    node: Option<node::State>,
    /// Addresses of node ports, as the engine knows them.
    addresses: Option<Vec<(IpAddr, u32)>>,
    synced: bool,
    attached: bool,
    reattach: Option<Instant>,
    recount: Option<JoinHandle<()>>,
    resetting: Resetting,
}

impl Agent {
    /// Nothing happens yet.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            engine,
            maps,
            attachments,
            commit,
            wait_for_sync,
            lb0,
            node_port_addresses,
            node_ip,
            memory,
            file,
            known,
            checks,
            health,
            metrics,
            kernel,
            tell,
            troubles,
            schedule,
            resetting,
            first_sync,
        } = parts;
        Self {
            engine,
            maps,
            attachments,
            commit: Some(commit),
            wait_for_sync,
            lb0,
            node_port_addresses,
            node_ip,
            memory,
            file,
            known,
            checks,
            health,
            metrics,
            kernel,
            tell,
            first_sync: Some(first_sync),
            troubles,
            schedule,
            audit: AuditRun::default(),
            node: None,
            addresses: None,
            synced: false,
            attached: false,
            reattach: None,
            recount: None,
            resetting,
        }
    }

    /// Until a signal comes. Fails where the programs cannot be attached at all.
    pub(super) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut node: mpsc::Receiver<node::State>,
        mut stop: Stop,
    ) -> Result<()> {
        loop {
            let (at, due) = self.next();
            tokio::select! {
                () = stop.wait() => break,
                event = events.recv() => {
                    let Some(event) = event else { bail!("the source of objects has ended") };
                    self.take(event);
                    for _ in 0..DRAIN {
                        let Ok(event) = events.try_recv() else { break };
                        self.take(event);
                    }
                }
                state = node.recv() => {
                    let Some(state) = state else { bail!("the watch of this machine's devices has ended") };
                    self.troubles.missing(&state.missing, &self.metrics);
                    self.see_machine(state);
                    self.refresh_addresses();
                    self.attach()?;
                }
                question = self.resetting.question() => question.answer(&self.engine),
                told = self.lb0.next() => {
                    let Some(told) = told else { bail!("the watch of lb0 has ended") };
                    if self.lb0.take(told, &self.metrics) {
                        self.attach()?;
                    }
                }
                // What is on this machine decides where services are reached: nothing is planned before it is known.
                () = moment::until(at), if self.node.is_some() => match due {
                    Some(Due::Sync) => self.sync()?,
                    Some(Due::Settle) => self.settle(),
                    Some(Due::Audit) => self.audit(),
                    None => self.attach()?,
                },
            }
        }
        if let Some(recount) = self.recount {
            recount.abort();
        }
        Ok(())
    }

    fn next(&self) -> (Instant, Option<Due>) {
        let reattach = self.reattach.map(|at| (at, None));
        let planned = self.schedule.next().map(|(at, due)| (at, Some(due)));
        let next = planned
            .into_iter()
            .chain(reattach)
            .min_by_key(|(at, _)| *at);
        // With nothing due, a look at the clock now and then does no harm.
        next.unwrap_or_else(|| (Instant::now() + Duration::from_hours(1), Some(Due::Sync)))
    }

    fn take(&mut self, event: Event) {
        if let Some(known) = self.memory.see(&event) {
            if let Err(error) = self.file.store(known) {
                warn!(error = %format!("{error:#}"), "cannot keep the API server's addresses for the next start");
            }
            self.known.send_replace(known.clone());
        }
        self.tell.arrived(&event, &self.metrics);
        self.troubles.arrived(&event);
        self.lb0.see(&event);
        let of_node = matches!(event, Event::Node(_) | Event::NodeGone);
        let leaving = match &event {
            Event::Node(node) => Some(node.leaving),
            // One that was never there takes nothing away; one that is deleted does.
            Event::NodeGone if self.engine.cluster().node().is_some() => Some(true),
            _ => None,
        };
        self.engine.handle(event);
        if let Some(leaving) = leaving {
            self.health.leaving(leaving);
        }
        if of_node {
            self.refresh_addresses();
        }
        self.queued(Instant::now());
    }

    /// Something is to be written.
    fn queued(&mut self, now: Instant) {
        self.health.queued(now);
        self.metrics.kubeproxy.queued();
        self.schedule.change(now);
    }

    /// Takes in what netlink tells of this machine.
    fn see_machine(&mut self, state: node::State) {
        let event = Event::Machine(state.machine.clone());
        self.lb0.see(&event);
        self.engine.handle(event);
        self.node = Some(state);
        self.schedule.change(Instant::now());
    }

    /// Tells the engine on which of the machine's addresses node ports answer, if that is known and new.
    fn refresh_addresses(&mut self) {
        let Some(state) = &self.node else { return };
        let words = &self.node_port_addresses;
        let found =
            node_ports::addresses(words, self.node_ip, self.engine.cluster(), &state.addresses);
        let Some(addresses) = found else { return };
        if self.addresses.as_ref() == Some(&addresses) {
            return;
        }
        debug!(?addresses, "node ports answer on");
        self.troubles.node_ports(words, &addresses);
        self.addresses = Some(addresses.clone());
        let listen = node_ports::listen(words, &addresses);
        self.checks.send_if_modified(|wanted| {
            let is_new = wanted.listen != listen;
            wanted.listen = listen;
            is_new
        });
        self.engine.handle(Event::Addresses(addresses));
        self.queued(Instant::now());
    }

    fn sync(&mut self) -> Result<()> {
        let start = Instant::now();
        if self.schedule.begin(start) {
            self.engine.retry();
        }
        let many = self.tell.many_arrived();
        let report = self.engine.sync(&mut self.maps);
        let end = Instant::now();
        let snapshot = self.engine.snapshot();
        self.schedule.synced(
            end,
            snapshot.waiting || !report.failed.is_empty(),
            report.freed,
            snapshot.unsettled,
        );
        self.tell_usage(&snapshot);
        self.tell
            .synced(&report, end - start, &self.engine, &self.metrics);
        self.troubles.synced(&snapshot.usage, self.engine.cluster());
        if report.first_synced || report.udp_left > 0 {
            self.resetting.wake();
        }
        if report.first_synced {
            self.schedule.complete(end);
            if let Some(told) = self.first_sync.take() {
                // Who does not listen any more need not know.
                let _ = told.send(());
            }
            info!(
                services = snapshot.services,
                failed = report.failed.len(),
                writes = report.writes.total(),
                "everything is listed and written"
            );
        }
        self.synced |= report.synced;
        if self.synced && !self.attached {
            self.attach()?;
        }
        self.lb0
            .refresh(&self.engine, self.node.as_ref(), self.synced, &self.metrics);
        let outcome = Outcome {
            applied: report.applied(),
            complete: self.synced && self.attached,
            refused: snapshot.retrying,
        };
        self.health.synced(outcome, jiff::Timestamp::now());
        if many {
            lb_sys::trim_heap();
        }
        if report.health_changed {
            let checks = Arc::new(self.engine.health_checks().clone());
            self.checks.send_modify(|wanted| wanted.checks = checks);
        }
        Ok(())
    }

    fn tell_usage(&self, snapshot: &Snapshot) {
        let of = |u: &Usage| (u.map, (u.entries.into(), u.capacity.into()));
        self.kernel.told(snapshot.usage.iter().map(of));
    }

    fn settle(&mut self) {
        let report: Report = self.engine.settle(&mut self.maps);
        self.metrics.wrote(&report.writes);
        for failure in &report.failed {
            warn!(error = %failure.error, "cannot clear what is retired");
        }
        let snapshot = self.engine.snapshot();
        self.schedule.settled(Instant::now(), snapshot.unsettled);
        self.tell_usage(&snapshot);
    }

    /// Proves the next map, and the first one again after the period.
    fn audit(&mut self) {
        let Self { engine, maps, .. } = self;
        let more = self.audit.step(engine, maps, &self.metrics, &self.troubles);
        self.schedule.audited(Instant::now(), more);
    }

    /// Programs onto the hooks of the devices as they are now. Not before the maps are filled, if they are new: what runs
    /// meanwhile is the previous agent's, on its own maps.
    fn attach(&mut self) -> Result<()> {
        self.reattach = None;
        let Some(state) = &self.node else {
            return Ok(());
        };
        if self.wait_for_sync && !self.synced {
            info!("new maps: what a previous agent attached stays until they are filled");
            return Ok(());
        }
        // The new maps are filled: from the first link on that runs on them, they are what the next agent must find.
        let first = self.commit.take();
        let is_first = first.is_some();
        first.map_or(Ok(()), Commit::run)?;
        self.attachments.set_lb0(self.lb0.pair());
        let problems = self
            .attachments
            .follow(&state.devices)
            .context("attach the programs")?;
        self.troubles.attach(&problems, &self.metrics);
        let all = state.devices.iter();
        let without_xdp = all.filter(|d| self.attachments.lacks_xdp(d.ifindex));
        self.troubles
            .without_xdp(without_xdp.map(|d| d.name.as_str()));
        let serving = self.lb0.pair();
        self.lb0
            .attached(serving.filter(|pair| self.attachments.serves_lb0(*pair)));
        if !problems.is_empty() {
            self.reattach = Some(Instant::now() + REATTACH);
        }
        if is_first {
            let devices: Vec<&str> = state.devices.iter().map(|d| d.name.as_str()).collect();
            info!(?devices, "programs are attached");
        }
        self.attached = true;
        if self.synced {
            self.health.ready();
        }
        if self.recount.is_none()
            && let Some(recounts) = self.attachments.recounts()?
        {
            let metrics = Arc::clone(&self.metrics);
            let first = recounts.start()?;
            self.recount = Some(tokio::spawn(recounting::run(
                first,
                move || recounts.start(),
                metrics,
            )));
        }
        if self.resetting.waits()
            && let Some(records) = self.attachments.records()?
        {
            self.resetting.start(records, Arc::clone(&self.metrics));
        }
        Ok(())
    }
}
