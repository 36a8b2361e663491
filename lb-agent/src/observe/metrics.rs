//! The agent's metrics, by the names that kube-proxy's dashboards know with `lb_` in front. Owns names, labels and buckets;
//! what the kernel counts is read when somebody scrapes.

use std::{fmt, sync::atomic::AtomicU64};

use prometheus_client::{
    collector::Collector,
    encoding::text,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};

use crate::{datapath::recount::Recounted, reset, sync::Writes};

pub use super::labels::{Kind, KindLabels, SyncLabels, SyncResult};
use super::{
    audits::Audits,
    kubeproxy::KubeProxyMetrics,
    labels::{MapLabels, SkipLabels, SkipReason},
};

/// Everything that is counted outside the kernel.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// From the first waiting change to its end in the maps.
    pub sync_duration: Histogram,
    /// From the change of an `EndpointSlice`, by its trigger time, to its end in the maps.
    pub network_programming: Histogram,
    /// Unix time of the last sync.
    pub sync_last: Gauge<f64, AtomicU64>,
    /// Syncs by how they ended.
    pub syncs: Family<SyncLabels, Counter>,
    /// Map entries written and removed.
    map_writes: Family<MapLabels, Counter>,
    /// Objects that came.
    pub changes: Family<KindLabels, Counter>,
    /// Lists and watches that failed.
    pub watch_errors: Family<KindLabels, Counter>,
    /// Services of which something could not be honoured or written.
    pub services_with_problems: Gauge,
    /// Ports of Services that are not carried.
    skipped_ports: Family<SkipLabels, Gauge>,
    /// Manifest files that cannot be read.
    pub bad_manifests: Gauge,
    /// Devices named by flags that are not there.
    pub missing_devices: Gauge,
    /// What is wrong with `lb0` and its routes.
    pub lb0_problems: Gauge,
    /// Programs that could not be attached to a device.
    pub attach_problems: Gauge,
    /// Addresses on which health checks of Services are answered.
    pub health_check_listeners: Gauge,
    /// Addresses on which they should be, and cannot.
    pub health_check_failures: Gauge,
    /// Sockets whose destination is translated, by the last recount.
    pub sockets: Gauge,
    /// Open connections of such sockets, by the last recount.
    pub connections: Gauge,
    /// By how much the running counts were off at the last recount.
    pub drift: Gauge,
    /// Counts that were repaired.
    pub repaired: Counter,
    /// Of audits of the maps.
    pub audits: Audits,
    /// Under kube-proxy's names.
    pub kubeproxy: KubeProxyMetrics,
    kubeproxy_registry: Registry,
    /// Resets of UDP sockets.
    pub reset: reset::metrics::Metrics,
}

impl Metrics {
    /// With everything at zero; `kernel` adds what it finds in the maps.
    #[must_use]
    pub fn new(kernel: Box<dyn Collector>) -> Self {
        let (kubeproxy, kubeproxy_registry) = KubeProxyMetrics::new();
        let mut registry = Registry::with_prefix("lb");
        let audits = Audits::new(&mut registry);
        let reset = reset::metrics::Metrics::new(&mut registry);
        let mut m = Self {
            registry,
            // 100 µs to 1.6 s, and 1 ms to 524 s.
            sync_duration: Histogram::new(exponential_buckets(0.0001, 2.0, 15)),
            network_programming: Histogram::new(exponential_buckets(0.001, 2.0, 20)),
            sync_last: Gauge::default(),
            syncs: Family::default(),
            map_writes: Family::default(),
            changes: Family::default(),
            watch_errors: Family::default(),
            services_with_problems: Gauge::default(),
            skipped_ports: Family::default(),
            bad_manifests: Gauge::default(),
            missing_devices: Gauge::default(),
            lb0_problems: Gauge::default(),
            attach_problems: Gauge::default(),
            health_check_listeners: Gauge::default(),
            health_check_failures: Gauge::default(),
            sockets: Gauge::default(),
            connections: Gauge::default(),
            drift: Gauge::default(),
            repaired: Counter::default(),
            audits,
            kubeproxy,
            kubeproxy_registry,
            reset,
        };
        for result in [SyncResult::ok, SyncResult::failed] {
            drop(m.syncs.get_or_create(&SyncLabels { result }));
        }
        for kind in [
            Kind::service,
            Kind::endpointslice,
            Kind::node,
            Kind::servicecidr,
        ] {
            drop(m.watch_errors.get_or_create(&KindLabels { kind }));
            drop(m.changes.get_or_create(&KindLabels { kind }));
        }
        m.wrote(&Writes::default());
        m.skipped(0);
        m.register();
        m.registry.register_collector(kernel);
        m
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "The agent's version", build);
        r.register_with_unit(
            "sync_duration",
            "Time of one sync, from the desired state to the maps",
            Unit::Seconds,
            self.sync_duration.clone(),
        );
        r.register_with_unit(
            "network_programming_duration",
            "Time from the change of an endpoint to its end in the maps",
            Unit::Seconds,
            self.network_programming.clone(),
        );
        r.register_with_unit(
            "sync_last_timestamp",
            "Unix time of the last sync",
            Unit::Seconds,
            self.sync_last.clone(),
        );
        r.register("syncs", "Syncs by how they ended", self.syncs.clone());
        r.register(
            "map_writes",
            "Map entries written or removed",
            self.map_writes.clone(),
        );
        r.register("changes", "Objects that came", self.changes.clone());
        r.register(
            "watch_errors",
            "Lists and watches of the API server that failed",
            self.watch_errors.clone(),
        );
        r.register(
            "services_with_problems",
            "Services of which something could not be honoured or written: see the log",
            self.services_with_problems.clone(),
        );
        r.register(
            "skipped_ports",
            "Ports of Services that are not carried, by the reason: see the Events of the Services",
            self.skipped_ports.clone(),
        );
        r.register(
            "bad_manifests",
            "Manifest files that cannot be read: see the log",
            self.bad_manifests.clone(),
        );
        r.register(
            "missing_devices",
            "Devices named by --devices, --attach-tc or --attach-xdp that are not there",
            self.missing_devices.clone(),
        );
        r.register(
            "lb0_problems",
            "What is wrong with the device lb0 and the routes that lead there: see the log",
            self.lb0_problems.clone(),
        );
        r.register(
            "attach_problems",
            "Programs that cannot be attached to a device: see the log",
            self.attach_problems.clone(),
        );
        r.register(
            "health_check_listeners",
            "Addresses and healthCheckNodePorts of Services on which health checks are answered",
            self.health_check_listeners.clone(),
        );
        r.register(
            "health_check_failures",
            "Addresses and healthCheckNodePorts of Services that cannot be listened on: see the log",
            self.health_check_failures.clone(),
        );
        r.register(
            "sockets",
            "Sockets whose destination is translated, by the last recount",
            self.sockets.clone(),
        );
        r.register(
            "open_connections",
            "Open connections of such sockets, by the last recount",
            self.connections.clone(),
        );
        r.register(
            "connections_drift",
            "By how much the running counts of open connections were off at the last recount",
            self.drift.clone(),
        );
        r.register(
            "connections_repaired",
            "Open connections by which running counts were repaired",
            self.repaired.clone(),
        );
    }

    /// What a sync wrote.
    pub fn wrote(&self, writes: &Writes) {
        for (map, n) in writes.by_map() {
            self.map_writes.get_or_create(&MapLabels { map }).inc_by(n);
        }
    }

    /// Ports that are not carried for this node's own clients, since they are SCTP and there is no `lb0`.
    pub fn skipped(&self, sctp: usize) {
        let reason = SkipReason::sctp_without_lb0;
        let gauge = self.skipped_ports.get_or_create(&SkipLabels { reason });
        gauge.set(i64::try_from(sctp).unwrap_or(i64::MAX));
    }

    /// What a recount found.
    pub fn recounted(&self, found: &Recounted) {
        let Recounted {
            sockets,
            connections,
            drift,
            repaired,
        } = *found;
        let gauge = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.sockets.set(gauge(sockets));
        self.connections.set(gauge(connections));
        self.drift.set(gauge(drift));
        self.repaired.inc_by(repaired);
    }

    /// The text of a scrape.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode_registry(&mut text, &self.kubeproxy_registry)?;
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use prometheus_client::encoding::DescriptorEncoder;

    use super::*;

    /// A kernel that tells nothing.
    #[derive(Debug)]
    pub(crate) struct Nothing;

    impl Collector for Nothing {
        fn encode(&self, _: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            Ok(())
        }
    }

    #[test]
    fn names_are_those_of_the_documentation() {
        let m = Metrics::new(Box::new(Nothing));
        m.sync_duration.observe(0.003);
        m.watch_errors
            .get_or_create(&KindLabels {
                kind: Kind::endpointslice,
            })
            .inc();
        let text = m.encode().unwrap();
        for line in [
            "lb_build_info{version=",
            "lb_sync_duration_seconds_bucket{le=",
            "lb_network_programming_duration_seconds_count 0",
            "lb_sync_last_timestamp_seconds ",
            "lb_watch_errors_total{kind=\"endpointslice\"} 1",
            "lb_syncs_total{result=\"failed\"} 0",
            "lb_map_writes_total{map=\"lb_members\"} 0",
            "lb_skipped_ports{reason=\"sctp_without_lb0\"} 0",
            "lb_missing_devices 0",
            "lb_attach_problems 0",
            "lb_connections_drift 0",
            "lb_connections_repaired_total 0",
            "lb_map_drift_entries{map=\"lb_services\"} 0",
            "kubeproxy_sync_proxy_rules_service_changes_total 0",
            "lb_udp_sockets_reset_total 0",
            "lb_udp_reset_failures_total{reason=\"not_permitted\"} 0",
            "lb_udp_sockets_stale 0",
            "lb_udp_reset_enabled 0",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
