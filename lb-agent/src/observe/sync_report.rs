//! What a sync did, told to people: metrics, the log, and Events on the Services concerned. Owns what has been said already.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use crate::{
    model::{Event, ObjectKey, Trigger},
    sync::{Engine, Report},
};

use super::{
    events::{About, Notice},
    metrics::{Kind, KindLabels, Metrics, SyncLabels, SyncResult},
    problem_file::ProblemFile,
};

/// Objects in a cluster, or a change, that is not small.
const MANY: u64 = 1000;

/// By Service.
type Problems = BTreeMap<ObjectKey, Vec<String>>;

/// What has been said already.
pub(crate) struct Tell {
    notices: mpsc::Sender<Notice>,
    /// To [`keep`].
    file: watch::Sender<Arc<Problems>>,
    /// The file was written by this agent.
    kept: bool,
    /// As they were last told.
    told: Arc<Problems>,
    /// Problems that belong to no Service.
    orphans: Vec<String>,
    /// Objects that came since the last sync.
    arrived: [(Kind, u64); 4],
}

impl Tell {
    /// Nothing has been said. The file is written by a task of its own.
    pub(crate) fn new(notices: mpsc::Sender<Notice>, file: ProblemFile) -> Self {
        let (sender, problems) = watch::channel(Arc::default());
        tokio::spawn(keep(problems, file));
        Self {
            notices,
            file: sender,
            kept: false,
            told: Arc::default(),
            orphans: Vec::new(),
            arrived: [
                (Kind::service, 0),
                (Kind::endpointslice, 0),
                (Kind::node, 0),
                (Kind::servicecidr, 0),
            ],
        }
    }

    /// An event came.
    pub(crate) fn arrived(&mut self, event: &Event, metrics: &Metrics) {
        let (slot, n) = match event {
            Event::Service(_) | Event::ServiceGone(_) => (0, 1),
            Event::Services(all) => (0, all.len() as u64),
            Event::Slice(_) | Event::SliceGone(_) => (1, 1),
            Event::Slices(all) => (1, all.len() as u64),
            Event::Node(_) | Event::NodeGone => (2, 1),
            Event::ServiceCidr(_) | Event::ServiceCidrGone(_) => (3, 1),
            Event::ServiceCidrs(all) => (3, all.len() as u64),
            Event::Addresses(_) | Event::Machine(_) => return,
        };
        self.arrived[slot].1 += n;
        match slot {
            0 => metrics.kubeproxy.services.came(n),
            1 => metrics.kubeproxy.endpoints.came(n),
            _ => {}
        }
    }

    /// So much has come since the last sync that what was let go meanwhile, or is by it, is worth giving back.
    pub(crate) fn many_arrived(&self) -> bool {
        self.arrived.iter().map(|(_, n)| n).sum::<u64>() >= MANY
    }

    /// A sync has ended.
    pub(crate) fn synced(
        &mut self,
        report: &Report,
        took: Duration,
        engine: &Engine,
        metrics: &Metrics,
    ) {
        for (kind, n) in &mut self.arrived {
            metrics
                .changes
                .get_or_create(&KindLabels { kind: *kind })
                .inc_by(std::mem::take(n));
        }
        metrics.sync_duration.observe(took.as_secs_f64());
        metrics.sync_last.set(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |d| d.as_secs_f64()),
        );
        let result = if report.failed.is_empty() {
            SyncResult::ok
        } else {
            SyncResult::failed
        };
        metrics.syncs.get_or_create(&SyncLabels { result }).inc();
        metrics.wrote(&report.writes);
        let now = jiff::Timestamp::now();
        for Trigger { service, at, v6 } in &report.trigger_times {
            // Of one that was refused nothing has come into the maps.
            if engine.is_written(service) {
                let seconds = now.duration_since(*at).as_secs_f64().max(0.0);
                metrics.network_programming.observe(seconds);
                metrics.kubeproxy.programmed(*v6, seconds);
            }
        }
        metrics
            .kubeproxy
            .synced(took, report.first_synced, report.applied());
        metrics.kubeproxy.no_local(engine.no_local());
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
            self.problems(engine, metrics);
        }
        let orphans: Vec<String> = report
            .failed
            .iter()
            .filter(|f| f.service.is_none())
            .map(|f| f.error.to_string())
            .collect();
        for text in orphans.iter().filter(|text| !self.orphans.contains(text)) {
            warn!(error = text, "cannot write, trying again");
        }
        self.orphans = orphans;
    }

    /// Each problem once, when it is new.
    fn problems(&mut self, engine: &Engine, metrics: &Metrics) {
        let now = Arc::new(engine.problems());
        metrics.skipped(engine.sctp_ports());
        metrics
            .services_with_problems
            .set(i64::try_from(now.len()).unwrap_or(i64::MAX));
        for (service, texts) in &*now {
            let said = self.told.get(service).map_or(&[][..], Vec::as_slice);
            for text in texts.iter().filter(|text| !said.contains(text)) {
                warn!(%service, problem = text, "cannot honour all of it");
                let notice = Notice {
                    about: About::Service(service.clone()),
                    reason: "NotHonoured",
                    action: "Program",
                    text: text.clone(),
                };
                if self.notices.try_send(notice).is_err() {
                    debug!(%service, "too many Events at once: this one is only in the log");
                }
            }
        }
        if now != self.told || !self.kept {
            self.kept = true;
            self.file.send_replace(Arc::clone(&now));
        }
        self.told = now;
    }
}

/// For `get services`: the disk may be slow. A folder that cannot be written is told once; the log has it all in any case.
async fn keep(mut problems: watch::Receiver<Arc<Problems>>, file: ProblemFile) {
    let mut unkept = String::new();
    while problems.changed().await.is_ok() {
        let now = Arc::clone(&problems.borrow_and_update());
        let file = file.clone();
        let stored = tokio::task::spawn_blocking(move || file.store(&now)).await;
        if let Ok(Err(error)) = stored {
            let text = format!("{error:#}");
            if unkept != text {
                warn!(
                    error = text,
                    "`get services` cannot show what is not honoured: see --state-dir"
                );
                unkept = text;
            }
        }
    }
}

#[cfg(test)]
mod tests;
