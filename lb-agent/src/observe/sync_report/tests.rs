use prometheus_client::{encoding::text::encode_registry, registry::Registry};

use super::*;
use crate::{
    maps::mem::{self, Limits},
    model::Slice,
    sync::tests::fixtures::{LIMITS, Rig, endpoint, service, slice},
};

struct Reported {
    rig: Rig,
    reporter: SyncReporter,
    registry: Registry,
    state: tempfile::TempDir,
    file: ProblemFile,
}

impl Reported {
    /// Room for one Service.
    fn new() -> Self {
        let rig = Rig::unsynced(mem::new(Limits { pools: 2, ..LIMITS }));
        let state = tempfile::tempdir().unwrap();
        let file = ProblemFile::of(state.path(), state.path());
        let mut registry = Registry::with_prefix("kubeproxy");
        let kubeproxy = KubeProxyMetrics::new(&mut registry);
        let metrics = SyncMetrics::new(&mut Registry::default());
        let (events, _) = EventQueue::new(100);
        Self {
            rig,
            reporter: SyncReporter::new(
                events,
                watch::Sender::default(),
                file.clone(),
                metrics,
                kubeproxy,
            ),
            registry,
            state,
            file,
        }
    }

    fn report(&mut self, report: &Report) {
        let engine = &self.rig.engine;
        self.reporter.synced(report, Duration::ZERO, engine);
    }

    /// The sum over both families.
    fn value(&self, name: &str) -> f64 {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry).unwrap();
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }
}

fn changed(name: &str, addr: &str) -> Slice {
    Slice {
        trigger_time: Some(jiff::Timestamp::now()),
        ..slice(name, vec![endpoint(addr, "here")])
    }
}

#[tokio::test]
async fn a_refused_service_leaves_the_times_of_others_in_the_metrics() {
    const COUNT: &str = "kubeproxy_network_programming_duration_seconds_count";
    const LAST: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds{";
    let mut reported = Reported::new();
    let services = vec![service("a", "10.96.0.1"), service("b", "10.96.0.2")];
    let report = reported.rig.list(services, vec![]);
    assert_eq!(report.failed.len(), 1, "b does not fit");
    reported.report(&report);
    assert!(reported.value(LAST) > 0.0, "a dead proxy looks like this");

    for slice in [changed("a-1", "10.1.0.1"), changed("b-1", "10.1.0.2")] {
        reported.rig.engine.handle(Event::Slice(slice));
    }
    let report = reported.rig.sync();
    assert_eq!((report.failed.len(), report.trigger_times.len()), (1, 2));
    reported.report(&report);
    assert!((reported.value(COUNT) - 1.0).abs() < 0.1, "that of a");
}

#[tokio::test]
async fn problems_are_written_to_the_file_when_they_change_and_beside_the_caller() {
    let mut reported = Reported::new();
    let services = vec![service("a", "10.96.0.1"), service("b", "10.96.0.2")];
    let report = reported.rig.list(services, vec![]);
    assert!(report.problems_changed);
    reported.report(&report);
    assert_eq!(
        reported.file.load().unwrap().services,
        [],
        "the caller does not wait for the disk"
    );
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while reported.file.load().unwrap().services.len() != 1 {
        assert!(std::time::Instant::now() < end, "never written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    reported
        .rig
        .engine
        .handle(Event::Slice(changed("a-1", "10.1.0.1")));
    let report = reported.rig.sync_changes();
    assert!(report.planned == 1 && !report.problems_changed);
    reported
        .rig
        .engine
        .handle(Event::ServiceGone(crate::model::ObjectKey::new(
            "default", "b",
        )));
    assert!(reported.rig.sync_changes().problems_changed);
    drop(reported.state);
}
