//! Metrics under kube-proxy's names, where they mean the same, so that its dashboards and alerts
//! keep working. docs/compat.md lists the names that are missing, and why.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::Registry,
};

use crate::plan::no_local::NoLocal;

/// kube-proxy has one proxy per family, and series for each. One sync of ours writes both families
/// and counts in both.
#[derive(Clone, Debug)]
pub struct KubeProxyMetrics {
    sync: Family<OfFamily, Histogram, Buckets>,
    full: Family<OfFamily, Histogram, Buckets>,
    partial: Family<OfFamily, Histogram, Buckets>,
    last: Family<OfFamily, Gauge<f64, AtomicU64>>,
    queued: Family<OfFamily, Gauge<f64, AtomicU64>>,
    programming: Family<OfFamily, Histogram, Buckets>,
    /// Changes of endpoints: received, and pending.
    pub endpoints: Changes,
    /// Changes of Services: received, and pending.
    pub services: Changes,
    no_local: Family<OfPolicy, Gauge>,
    /// Responses of `/healthz`.
    pub healthz: Codes,
    /// Responses of `/livez`.
    pub livez: Codes,
}

/// What a sync looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncScope {
    /// Everything: the first sync, and each audit.
    Full,
    /// What had changed.
    Partial,
}

/// How much of it a sync wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Applied {
    /// Nothing is pending any more.
    Everything,
    /// Something failed and is retried.
    Partly,
}

/// Changes of one kind of objects.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    total: Counter,
    pending: Gauge,
}

/// Responses by HTTP status.
#[derive(Clone, Debug, Default)]
pub struct Codes(Family<OfCode, Counter>);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfFamily {
    ip_family: IpFamily,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfPolicy {
    traffic_policy: TrafficPolicy,
    ip_family: IpFamily,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct OfCode {
    code: u16,
}

/// A value of the label `ip_family`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
pub enum IpFamily {
    /// IPv4.
    IPv4,
    /// IPv6.
    IPv6,
}

const FAMILIES: [OfFamily; 2] = [
    OfFamily {
        ip_family: IpFamily::IPv4,
    },
    OfFamily {
        ip_family: IpFamily::IPv6,
    },
];

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, EncodeLabelValue)]
#[expect(
    non_camel_case_types,
    reason = "the derive writes the label as it stands here"
)]
enum TrafficPolicy {
    internal,
    external,
}

/// kube-proxy's buckets, and finer ones below: its first ones are longer than most of our syncs.
#[derive(Clone, Copy, Debug)]
enum Buckets {
    /// 62.5 µs to 16.4 s; kube-proxy from 1 ms on.
    Sync,
    /// 1 ms to 5 min; kube-proxy from 250 ms on.
    Programming,
}

impl Buckets {
    fn bounds(self) -> Vec<f64> {
        match self {
            Self::Sync => {
                let ours = [0.000_062_5, 0.000_125, 0.000_25, 0.000_5];
                let theirs = (0..15).map(|n| 0.001 * f64::from(1 << n));
                ours.into_iter().chain(theirs).collect()
            }
            Self::Programming => {
                let ours = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1];
                let theirs = [0.25, 0.5].into_iter();
                let theirs = theirs.chain((1..60).map(f64::from));
                let theirs = theirs.chain((60..120).step_by(5).map(f64::from));
                let theirs = theirs.chain((120..=300).step_by(30).map(f64::from));
                ours.into_iter().chain(theirs).collect()
            }
        }
    }
}

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.bounds())
    }
}

impl KubeProxyMetrics {
    /// Registers them, with every series at zero.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            sync: Family::new_with_constructor(Buckets::Sync),
            full: Family::new_with_constructor(Buckets::Sync),
            partial: Family::new_with_constructor(Buckets::Sync),
            last: Family::default(),
            queued: Family::default(),
            programming: Family::new_with_constructor(Buckets::Programming),
            endpoints: Changes::default(),
            services: Changes::default(),
            no_local: Family::default(),
            healthz: Codes::default(),
            livez: Codes::default(),
        };
        for family in &FAMILIES {
            for histogram in [&metrics.sync, &metrics.full, &metrics.partial] {
                drop(histogram.get_or_create(family));
            }
            drop(metrics.programming.get_or_create(family));
            drop(metrics.last.get_or_create(family));
            drop(metrics.queued.get_or_create(family));
        }
        metrics.no_local(NoLocal::default());
        for codes in [&metrics.healthz, &metrics.livez] {
            for code in [200, 503] {
                drop(codes.0.get_or_create(&OfCode { code }));
            }
        }
        metrics.register(registry);
        metrics
    }

    fn register(&self, r: &mut Registry) {
        r.register(
            "sync_proxy_rules_duration_seconds",
            "Time of one sync",
            self.sync.clone(),
        );
        r.register(
            "sync_full_proxy_rules_duration_seconds",
            "Time of the first sync and of each audit of the maps",
            self.full.clone(),
        );
        r.register(
            "sync_partial_proxy_rules_duration_seconds",
            "Time of a sync that writes what has changed",
            self.partial.clone(),
        );
        r.register(
            "sync_proxy_rules_last_timestamp_seconds",
            "Unix time of the last sync that wrote everything",
            self.last.clone(),
        );
        r.register(
            "sync_proxy_rules_last_queued_timestamp_seconds",
            "Unix time at which a sync was last requested",
            self.queued.clone(),
        );
        r.register(
            "network_programming_duration_seconds",
            "Time from the change of an endpoint, by its trigger time, until it is in the maps",
            self.programming.clone(),
        );
        for (kind, changes) in [("endpoint", &self.endpoints), ("service", &self.services)] {
            let Changes { total, pending } = changes.clone();
            r.register(
                format!("sync_proxy_rules_{kind}_changes"),
                "Changes received",
                total,
            );
            r.register(
                format!("sync_proxy_rules_{kind}_changes_pending"),
                "Changes not written yet",
                pending,
            );
        }
        r.register(
            "sync_proxy_rules_no_local_endpoints_total",
            "Ports of Services whose policy is Local, with endpoints on other nodes only",
            self.no_local.clone(),
        );
        for (path, codes) in [("healthz", &self.healthz), ("livez", &self.livez)] {
            r.register(
                format!("proxy_{path}"),
                format!("Responses of /{path} by HTTP status"),
                codes.0.clone(),
            );
        }
    }

    /// A sync was requested.
    pub fn queued(&self) {
        let now = unix_now();
        for family in &FAMILIES {
            self.queued.get_or_create(family).set(now);
        }
    }

    /// A sync has ended.
    pub fn synced(&self, took: Duration, scope: SyncScope, applied: Applied) {
        let (took, now) = (took.as_secs_f64(), unix_now());
        let kind = match scope {
            SyncScope::Full => &self.full,
            SyncScope::Partial => &self.partial,
        };
        for family in &FAMILIES {
            self.sync.get_or_create(family).observe(took);
            kind.get_or_create(family).observe(took);
            if applied == Applied::Everything {
                self.last.get_or_create(family).set(now);
            }
        }
        self.endpoints.pending.set(0);
        self.services.pending.set(0);
    }

    /// An audit has ended.
    pub fn audited(&self, took: Duration) {
        for family in &FAMILIES {
            self.full.get_or_create(family).observe(took.as_secs_f64());
        }
    }

    /// A change of endpoints took this long until it was in the maps.
    pub fn programmed(&self, ip_family: IpFamily, seconds: f64) {
        let of = OfFamily { ip_family };
        self.programming.get_or_create(&of).observe(seconds);
    }

    /// Ports that only other nodes could serve.
    pub fn no_local(&self, now: NoLocal) {
        for (of, counts) in FAMILIES.iter().zip([now.v4, now.v6]) {
            let ip_family = of.ip_family;
            for (traffic_policy, n) in [
                (TrafficPolicy::internal, counts.internal),
                (TrafficPolicy::external, counts.external),
            ] {
                let labels = OfPolicy {
                    traffic_policy,
                    ip_family,
                };
                self.no_local.get_or_create(&labels).set(n.into());
            }
        }
    }
}

impl Changes {
    /// Changes were received.
    pub fn received(&self, n: u64) {
        self.total.inc_by(n);
        self.pending.inc_by(i64::try_from(n).unwrap_or(i64::MAX));
    }
}

impl Codes {
    /// A response with this HTTP status was sent.
    pub fn responded(&self, code: u16) {
        self.0.get_or_create(&OfCode { code }).inc();
    }
}

fn unix_now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode_registry;

    use super::*;
    use crate::plan::no_local::NoLocalOf;

    #[test]
    fn names_and_labels_are_kube_proxys() {
        let mut registry = Registry::with_prefix("kubeproxy");
        let m = KubeProxyMetrics::new(&mut registry);
        m.synced(
            Duration::from_millis(3),
            SyncScope::Full,
            Applied::Everything,
        );
        m.programmed(IpFamily::IPv6, 0.3);
        m.endpoints.received(2);
        m.healthz.responded(200);
        m.no_local(NoLocal {
            v6: NoLocalOf {
                internal: 0,
                external: 4,
            },
            ..NoLocal::default()
        });
        let mut text = String::new();
        encode_registry(&mut text, &registry).unwrap();
        for line in [
            "kubeproxy_sync_proxy_rules_duration_seconds_bucket{le=\"0.004\",ip_family=\"IPv4\"} 1",
            "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"} 1",
            "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"} 0",
            "kubeproxy_network_programming_duration_seconds_bucket{le=\"0.5\",ip_family=\"IPv6\"} 1",
            "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"} 0",
            "kubeproxy_sync_proxy_rules_endpoint_changes_total 2",
            "kubeproxy_sync_proxy_rules_endpoint_changes_pending 2",
            "kubeproxy_sync_proxy_rules_service_changes_total 0",
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy=\"external\",ip_family=\"IPv6\"} 4",
            "kubeproxy_proxy_healthz_total{code=\"200\"} 1",
            "kubeproxy_proxy_livez_total{code=\"503\"} 0",
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"} 0.0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn buckets_grow() {
        for buckets in [Buckets::Sync, Buckets::Programming] {
            let bounds = buckets.bounds();
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
        assert!(Buckets::Programming.bounds().ends_with(&[270.0, 300.0]));
    }
}
