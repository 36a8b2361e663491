//! What the event loop reports: to the log, metrics, Events, health, and the servers of health
//! checks.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use kube::Client;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::{
    data_path, engine::Synced, hooks::AttachReport, machine::NewAddresses,
    metrics::ObserverMetrics, phase::Phase, quarantine::News, schedule::Left, takeover,
};
use crate::{
    flows::port_table::Refreshed,
    maps::dir::BpfDir,
    model::{Event, Verification},
    names::NameFiles,
    observe::{
        audits::AuditReporter,
        event_file::{self, EventFile},
        events::{self, EventQueue},
        health::{Health, Outcome},
        kernel::Kernel,
        name_keeper::NameKeeper,
        node_conditions::{Lb0Part, NodeConditions},
        node_events::EventRecorder,
        port_conflicts::{PortConflicts, PortReporter},
        problem_file::ProblemFile,
        quarantines::QuarantineReporter,
        service_metrics::ServiceCounters,
        snat_ports::SnatPortReporter,
        sync_report::{Problems, SyncReporter},
    },
    serve::checks::{self, CheckReporter, Desired},
    settings::{Config, values::NodePortAddress},
    sync::{Audit, Engine, Report, Snapshot, Usage},
};

/// Events that may wait to be published; those that find no room are only logged.
const QUEUE: usize = 1024;

/// What is read at each scrape.
pub(super) struct Scraped {
    pub(super) kernel: Arc<Kernel>,
    pub(super) services: Option<Arc<ServiceCounters>>,
    /// Of Services that are only partly programmed, as they change.
    pub(super) problems: watch::Sender<Arc<Problems>>,
}

/// The reporters of the event loop.
pub(super) struct Observer {
    syncs: SyncReporter,
    names: NameKeeper,
    conditions: NodeConditions,
    ports: PortReporter,
    audits: AuditReporter,
    snat_ports: SnatPortReporter,
    quarantines: QuarantineReporter,
    kernel: Arc<Kernel>,
    services: Option<Arc<ServiceCounters>>,
    health: Arc<Health>,
    events: EventQueue,
    /// To the servers of health checks.
    checks: watch::Sender<Desired>,
    /// Sent once, when everything is listed and written.
    first_sync: Option<oneshot::Sender<()>>,
    /// The source of objects has our Node.
    node_exists: bool,
}

impl Observer {
    /// Starts the tasks that publish Events, serve health checks, and follow the connections that
    /// kube-proxy opened.
    pub(super) fn start(
        config: &Config,
        dir: &BpfDir,
        health: Arc<Health>,
        scraped: Scraped,
        metrics: ObserverMetrics,
        client: watch::Receiver<Option<Client>>,
    ) -> Self {
        let ObserverMetrics {
            syncs,
            kubeproxy,
            audits,
            node,
            ports,
            checks: check_metrics,
            snat_ports,
            quarantines,
        } = metrics;
        let (mut events, requests) = EventQueue::new(QUEUE);
        let name = config.node_name.clone();
        let file = EventFile::of(&config.state_dir, &config.bpf_dir);
        tokio::spawn(event_file::keep(file, name.clone(), events.kept(QUEUE)));
        tokio::spawn(events::publish(name.clone(), client, requests));
        let recorder = EventRecorder::new(events.clone());
        data_path::report_cgroup(config, &recorder);
        let (first_sync, synced) = oneshot::channel();
        tokio::spawn(takeover::follow(dir.clone(), synced, recorder.clone()));
        let (checks, desired) = watch::channel(Desired::default());
        let reporter = CheckReporter::new(name, events.clone(), check_metrics);
        tokio::spawn(checks::run(desired, Arc::clone(&health), reporter));
        let file = ProblemFile::of(&config.state_dir, &config.bpf_dir);
        Self {
            ports: PortReporter::new(events.clone(), recorder.clone(), ports),
            quarantines: QuarantineReporter::new(events.clone(), quarantines),
            syncs: SyncReporter::new(events.clone(), scraped.problems, file, syncs, kubeproxy),
            events,
            names: NameKeeper::start(NameFiles::of(&config.state_dir, &config.bpf_dir)),
            conditions: NodeConditions::new(recorder, node),
            snat_ports: SnatPortReporter::new(snat_ports),
            audits: AuditReporter::new(audits),
            kernel: scraped.kernel,
            services: scraped.services,
            health,
            checks,
            first_sync: Some(first_sync),
            node_exists: false,
        }
    }

    /// Where Events are requested.
    pub(super) fn events(&self) -> EventQueue {
        self.events.clone()
    }

    /// The named devices that do not exist now.
    pub(super) fn missing_devices(&mut self, now: &[String]) {
        self.conditions.missing(now);
    }

    /// Devices that replies may leave by and that no program watches.
    pub(super) fn unwatched_devices(&mut self, now: &[String]) {
        self.conditions.unwatched(now);
    }

    /// The devices that a list of names leaves out, and that endpoints of other nodes are behind.
    pub(super) fn left_out_devices(&mut self, now: &[String]) {
        self.conditions.left_out(now);
    }

    /// An event was received.
    pub(super) fn received(&mut self, event: &Event) {
        self.syncs.received(event);
        self.conditions.received(event);
        match event {
            Event::Node(node) => {
                self.node_exists = true;
                self.health.leaving(node.leaving);
            }
            // A Node that never existed takes nothing away; a deleted one does.
            Event::NodeGone if self.node_exists => {
                self.node_exists = false;
                self.health.leaving(true);
            }
            _ => {}
        }
    }

    /// Something is to be written.
    pub(super) fn queued(&self, now: Instant) {
        self.health.queued(now);
        self.syncs.queued();
    }

    /// Cluster IPs that devices of this machine have and that no process serves, by device.
    pub(super) fn held(&mut self, left_behind: &BTreeMap<String, Vec<IpAddr>>) {
        self.conditions.held(left_behind);
    }

    /// Node ports answer on other addresses.
    pub(super) fn node_ports(&self, words: &[NodePortAddress], new: &NewAddresses) {
        self.conditions.node_ports(words, &new.addresses);
        self.checks.send_if_modified(|desired| {
            let is_new = desired.listen != new.listen;
            desired.listen.clone_from(&new.listen);
            is_new
        });
    }

    /// A sync has ended.
    pub(super) fn synced(&mut self, done: &Synced, engine: &Engine, phase: Phase) {
        let Synced {
            report,
            snapshot,
            took,
            end: _,
            due: _,
        } = done;
        let many = self.syncs.received_many();
        self.usage(snapshot);
        self.syncs.synced(report, *took, engine);
        self.names.synced(report, engine);
        if let Some(services) = &self.services {
            services.synced(report, engine);
        }
        self.conditions.synced(&snapshot.usage, engine.cluster());
        if report.first_synced {
            self.first_synced(report, snapshot);
        }
        let outcome = Outcome {
            applied: report.applied(),
            complete: phase == Phase::Running,
            refused: snapshot.retrying,
        };
        self.health.synced(outcome, jiff::Timestamp::now());
        if report.health_changed {
            let checks = Arc::new(engine.health_checks().clone());
            self.checks.send_modify(|desired| desired.checks = checks);
        }
        if many {
            lb_sys::trim_heap();
        }
    }

    fn first_synced(&mut self, report: &Report, snapshot: &Snapshot) {
        if let Some(first_sync) = self.first_sync.take() {
            // Without a receiver the agent is ending.
            let _ = first_sync.send(());
        }
        info!(
            services = snapshot.services,
            failed = report.failed.len(),
            writes = report.writes.total(),
            "initial sync complete"
        );
    }

    /// What was retired has been cleared, or not.
    pub(super) fn settled(&self, report: &Report, snapshot: &Snapshot) {
        self.syncs.wrote(&report.writes);
        for failure in &report.failed {
            warn!(error = %failure.error, "cannot clear what is retired");
        }
        self.usage(snapshot);
    }

    /// A step of an audit has ended.
    pub(super) fn audited(&mut self, step: Audit, took: Duration, left: Left) {
        self.syncs.wrote(&step.report.writes);
        if let Some(drift) = self.audits.step(step, took) {
            self.conditions.drifted(drift);
        }
        if left == Left::Nothing {
            self.syncs.audited(self.audits.ended());
        }
    }

    /// The programs are attached, as far as they could be.
    pub(super) fn attached(&mut self, report: &AttachReport, phase: Phase) {
        self.conditions
            .attached(&report.problems, &report.without_xdp);
        self.health.missing(report.missing);
        if phase == Phase::Running {
            self.health.ready();
        }
    }

    /// Programs on their hooks were verified; true if some are lost.
    pub(super) fn verified(&mut self, found: anyhow::Result<Verification>) -> bool {
        match found {
            Ok(found) => {
                let is_lost = !found.lost.is_empty();
                if is_lost {
                    // First of all: until they are attached again, the agent is not ready.
                    self.health.missing(found.lost.len());
                }
                self.conditions.verified(&found);
                is_lost
            }
            Err(error) => {
                warn!(error = %format!("{error:#}"), "cannot verify what is attached");
                false
            }
        }
    }

    /// Node ports were compared with the ports that this machine uses otherwise.
    pub(super) fn ports(&mut self, found: anyhow::Result<PortConflicts>) {
        match found {
            Ok(found) => self.ports.found(found),
            Err(error) => {
                warn!(error = %format!("{error:#}"), "cannot look for listeners on node ports");
            }
        }
    }

    /// Backends went into quarantine, or came back.
    pub(super) fn quarantines(&mut self, news: &News) {
        self.quarantines.changed(&news.quarantined, &news.changes);
    }

    /// The problems of `lb0` now.
    pub(super) fn lb0(&mut self, part: Lb0Part, problems: &[String]) {
        self.conditions.lb0(part, problems);
    }

    /// The rule that masquerades was made or looked at; `None`: neither.
    pub(super) fn masquerade(&mut self, rule: Option<Result<(), String>>) {
        if let Some(rule) = rule {
            self.conditions.masquerade(rule.err());
        }
    }

    /// The ports of rewritten sources were looked at.
    pub(super) fn snat_ports(&mut self, result: &Result<Refreshed>) {
        self.snat_ports.refreshed(result);
    }

    /// The agent ends: what is not written yet is.
    pub(super) async fn finish(self) {
        self.names.finish().await;
    }

    fn usage(&self, snapshot: &Snapshot) {
        let of = |u: &Usage| (u.map, (u.entries.into(), u.capacity.into()));
        self.kernel.set_usage(snapshot.usage.iter().map(of));
    }
}
