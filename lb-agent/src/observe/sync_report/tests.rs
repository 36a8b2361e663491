use crate::{
    datapath::mem::{Limits, MemMaps},
    model::Slice,
    observe::metrics::tests::Nothing,
    sync::tests::fixtures::{LIMITS, Rig, endpoint, service, slice},
};

use super::*;

struct Heard {
    rig: Rig,
    tell: Tell,
    metrics: Metrics,
    state: tempfile::TempDir,
    file: ProblemFile,
}

impl Heard {
    /// Room for one Service.
    fn new() -> Self {
        let rig = Rig::unsynced(MemMaps::new(Limits { svc: 2, ..LIMITS }));
        let state = tempfile::tempdir().unwrap();
        let file = ProblemFile::of(state.path(), state.path());
        Self {
            rig,
            tell: Tell::new(mpsc::channel(100).0, file.clone()),
            metrics: Metrics::new(Box::new(Nothing)),
            state,
            file,
        }
    }

    fn told(&mut self, report: &Report) {
        let Self {
            rig, tell, metrics, ..
        } = self;
        tell.synced(report, Duration::ZERO, &rig.engine, metrics);
    }

    /// The sum over both families.
    fn value(&self, name: &str) -> f64 {
        let text = self.metrics.encode().unwrap();
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
async fn a_refused_service_silences_nobody_elses_times() {
    const COUNT: &str = "kubeproxy_network_programming_duration_seconds_count";
    const LAST: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds{";
    let mut heard = Heard::new();
    let services = vec![service("a", "10.96.0.1"), service("b", "10.96.0.2")];
    let report = heard.rig.list(services, vec![]);
    assert_eq!(report.failed.len(), 1, "b does not fit");
    heard.told(&report);
    assert!(heard.value(LAST) > 0.0, "a dead proxy looks like this");

    for slice in [changed("a-1", "10.1.0.1"), changed("b-1", "10.1.0.2")] {
        heard.rig.engine.handle(Event::Slice(slice));
    }
    let report = heard.rig.sync();
    assert_eq!((report.failed.len(), report.trigger_times.len()), (1, 2));
    heard.told(&report);
    assert!((heard.value(COUNT) - 1.0).abs() < 0.1, "that of a");
}

#[tokio::test]
async fn problems_are_written_down_when_they_change_and_beside_the_caller() {
    let mut heard = Heard::new();
    let services = vec![service("a", "10.96.0.1"), service("b", "10.96.0.2")];
    let report = heard.rig.list(services, vec![]);
    assert!(report.problems_changed);
    heard.told(&report);
    assert_eq!(heard.file.load().unwrap(), [], "nobody waited for the disk");
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while heard.file.load().unwrap().len() != 1 {
        assert!(std::time::Instant::now() < end, "never written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    heard
        .rig
        .engine
        .handle(Event::Slice(changed("a-1", "10.1.0.1")));
    let report = heard.rig.sync_changes();
    assert!(report.planned == 1 && !report.problems_changed);
    heard
        .rig
        .engine
        .handle(Event::ServiceGone(crate::model::ObjectKey::new(
            "default", "b",
        )));
    assert!(heard.rig.sync_changes().problems_changed);
    drop(heard.state);
}
