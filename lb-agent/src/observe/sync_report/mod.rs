//! Turns what syncs did into metrics, log, Events on the Services concerned, and the file that `get
//! services` reads.

use std::{collections::BTreeMap, mem, sync::Arc, time::Duration};

use tokio::sync::watch;
use tracing::{debug, warn};

use super::{
    events::{About, EventQueue, EventRequest},
    kubeproxy::{Applied, IpFamily, KubeProxyMetrics, SyncScope},
    labels::{Kind, SyncResult},
    once::Once,
    problem_file::ProblemFile,
};
use crate::{
    model::{Event, ObjectKey, Trigger},
    sync::{Engine, Report, Writes},
};

mod metrics;

pub(crate) use metrics::SyncMetrics;

/// A cluster, or a change, with this many objects is not small.
const MANY: u64 = 1000;

/// By Service.
pub(crate) type Problems = BTreeMap<ObjectKey, Vec<String>>;

/// Reports syncs, and each problem of a Service once.
pub(crate) struct SyncReporter {
    events: EventQueue,
    metrics: SyncMetrics,
    kubeproxy: KubeProxyMetrics,
    /// To [`keep`], and to whoever shows them.
    current: watch::Sender<Arc<Problems>>,
    /// This agent has written the file.
    kept: bool,
    problems: Once<(ObjectKey, String)>,
    /// Failures that concern no Service.
    orphans: Once<String>,
    /// Objects received since the last sync.
    received: [(Kind, u64); 4],
}

impl SyncReporter {
    /// Nothing has been reported. Problems are sent on when they change; a task of its own writes
    /// the file.
    pub(crate) fn new(
        events: EventQueue,
        problems: watch::Sender<Arc<Problems>>,
        file: ProblemFile,
        metrics: SyncMetrics,
        kubeproxy: KubeProxyMetrics,
    ) -> Self {
        tokio::spawn(keep(problems.subscribe(), file));
        Self {
            events,
            metrics,
            kubeproxy,
            current: problems,
            kept: false,
            problems: Once::default(),
            orphans: Once::default(),
            received: Kind::OF_MODEL.map(|kind| (kind, 0)),
        }
    }

    /// Counts the objects of an event.
    pub(crate) fn received(&mut self, event: &Event) {
        let (kind, n) = match event {
            Event::Service(_) | Event::ServiceGone(_) => (Kind::service, 1),
            Event::Services(all) => (Kind::service, all.len() as u64),
            Event::Slice(_) | Event::SliceGone(_) => (Kind::endpointslice, 1),
            Event::Slices(all) => (Kind::endpointslice, all.len() as u64),
            Event::Node(_) | Event::NodeGone => (Kind::node, 1),
            Event::ServiceCidr(_) | Event::ServiceCidrGone(_) => (Kind::servicecidr, 1),
            Event::ServiceCidrs(all) => (Kind::servicecidr, all.len() as u64),
            Event::Addresses(_)
            | Event::Machine(_)
            | Event::Quarantined(_)
            | Event::Unread(_)
            | Event::ClusterUid(_) => return,
        };
        for (_, total) in self.received.iter_mut().filter(|(k, _)| *k == kind) {
            *total += n;
        }
        match kind {
            Kind::service => self.kubeproxy.services.received(n),
            Kind::endpointslice => self.kubeproxy.endpoints.received(n),
            Kind::node | Kind::servicecidr | Kind::pod | Kind::namespace => {}
        }
    }

    /// So many objects were received since the last sync that memory which is free after it is
    /// worth giving back.
    pub(crate) fn received_many(&self) -> bool {
        self.received.iter().map(|(_, n)| n).sum::<u64>() >= MANY
    }

    /// A sync was requested.
    pub(crate) fn queued(&self) {
        self.kubeproxy.queued();
    }

    /// Map entries were written outside of a sync.
    pub(crate) fn wrote(&self, writes: &Writes) {
        self.metrics.wrote(writes);
    }

    /// An audit of all maps took this long.
    pub(crate) fn audited(&self, took: Duration) {
        self.kubeproxy.audited(took);
    }

    /// A sync has ended.
    pub(crate) fn synced(&mut self, report: &Report, took: Duration, engine: &Engine) {
        self.count(report, took, engine);
        debug!(
            planned = report.planned,
            changed = report.services_changed,
            writes = report.writes.total(),
            barriers = report.barriers,
            failed = report.failed.len(),
            took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            "synced"
        );
        let first = report.synced && !self.kept;
        if report.problems_changed || first {
            self.problems(engine);
        }
        let orphans = report.failed.iter().filter(|f| f.service.is_none());
        let (appeared, _) = self.orphans.update(orphans.map(|f| f.error.to_string()));
        for text in appeared {
            warn!(error = text, "cannot write, will retry");
        }
    }

    fn count(&mut self, report: &Report, took: Duration, engine: &Engine) {
        for (kind, n) in &mut self.received {
            self.metrics.received(*kind, mem::take(n));
        }
        let (result, applied) = if report.applied() {
            (SyncResult::ok, Applied::Everything)
        } else {
            (SyncResult::failed, Applied::Partly)
        };
        self.metrics.synced(took, result);
        self.metrics.wrote(&report.writes);
        let now = jiff::Timestamp::now();
        for Trigger { service, at, v6 } in &report.trigger_times {
            // Nothing of a refused Service is in the maps.
            if engine.is_written(service) {
                let seconds = now.duration_since(*at).as_secs_f64().max(0.0);
                self.metrics.programmed(seconds);
                let family = if *v6 { IpFamily::IPv6 } else { IpFamily::IPv4 };
                self.kubeproxy.programmed(family, seconds);
            }
        }
        let scope = if report.first_synced {
            SyncScope::Full
        } else {
            SyncScope::Partial
        };
        self.kubeproxy.synced(took, scope, applied);
        self.kubeproxy.no_local(engine.no_local());
    }

    fn problems(&mut self, engine: &Engine) {
        let now = Arc::new(engine.problems());
        self.metrics.skipped(engine.sctp_ports());
        self.metrics.with_problems(now.len());
        let all = now.iter().flat_map(|(service, texts)| {
            let of = |text: &String| (service.clone(), text.clone());
            texts.iter().map(of)
        });
        let (appeared, gone) = self.problems.update(all);
        if !appeared.is_empty() || !gone.is_empty() || !self.kept {
            self.kept = true;
            self.current.send_replace(now);
        }
        for (service, text) in appeared {
            warn!(%service, problem = text, "Service only partly programmed");
            self.events.push(EventRequest {
                about: About::Service(service),
                reason: "PartiallyProgrammed",
                action: "Program",
                text,
            });
        }
    }
}

/// Writes the file beside the event loop, since the disk may be slow.
async fn keep(mut problems: watch::Receiver<Arc<Problems>>, file: ProblemFile) {
    let mut failing = Once::default();
    while problems.changed().await.is_ok() {
        let now = Arc::clone(&problems.borrow_and_update());
        let file = file.clone();
        let stored = tokio::task::spawn_blocking(move || file.store((&*now).into())).await;
        if let Ok(stored) = stored {
            let (appeared, _) = failing.update(stored.err().map(|error| format!("{error:#}")));
            for error in appeared {
                warn!(
                    error,
                    "`get services` cannot show which Services are only partly programmed: see --state-dir"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
