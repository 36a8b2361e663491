//! The metrics of every subsystem, registered in one place.

use crate::{
    observe::{
        audits::AuditMetrics, flow_sweeps::FlowSweepMetrics, kubeproxy::KubeProxyMetrics,
        metrics::Registries, namespaces::NamespaceMetrics, node_conditions::NodeMetrics,
        port_conflicts::PortMetrics, quarantines::QuarantineMetrics, recounts::RecountMetrics,
        snat_ports::SnatPortMetrics, socket_resets::metrics::Metrics as ResetMetrics,
        sync_report::SyncMetrics,
    },
    serve::checks::CheckMetrics,
    watch::metrics::WatchMetrics,
};

/// Each goes to the subsystem that it counts for.
pub(super) struct Metrics {
    pub(super) observer: ObserverMetrics,
    pub(super) recounts: RecountMetrics,
    pub(super) resets: ResetMetrics,
    pub(super) watch: WatchMetrics,
    pub(super) sweeps: FlowSweepMetrics,
    pub(super) namespaces: NamespaceMetrics,
}

/// Those of the event loop and the servers.
pub(super) struct ObserverMetrics {
    pub(super) syncs: SyncMetrics,
    pub(super) kubeproxy: KubeProxyMetrics,
    pub(super) audits: AuditMetrics,
    pub(super) node: NodeMetrics,
    pub(super) ports: PortMetrics,
    pub(super) checks: CheckMetrics,
    pub(super) snat_ports: SnatPortMetrics,
    pub(super) quarantines: QuarantineMetrics,
}

impl Metrics {
    /// Registers all of them.
    pub(super) fn new(registries: &mut Registries) -> Self {
        let kubeproxy = KubeProxyMetrics::new(registries.kubeproxy());
        let r = registries.lb();
        Self {
            observer: ObserverMetrics {
                kubeproxy,
                syncs: SyncMetrics::new(r),
                audits: AuditMetrics::new(r),
                node: NodeMetrics::new(r),
                ports: PortMetrics::new(r),
                checks: CheckMetrics::new(r),
                snat_ports: SnatPortMetrics::new(r),
                quarantines: QuarantineMetrics::new(r),
            },
            recounts: RecountMetrics::new(r),
            resets: ResetMetrics::new(r),
            watch: WatchMetrics::new(r),
            sweeps: FlowSweepMetrics::new(r),
            namespaces: NamespaceMetrics::new(r),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

    use super::*;
    use crate::observe::metrics::Format;

    /// Reads nothing.
    #[derive(Debug)]
    struct NoKernel;

    impl Collector for NoKernel {
        fn encode(&self, _: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            Ok(())
        }
    }

    #[test]
    fn names_are_those_of_the_documentation() {
        let mut registries = Registries::new(Box::new(NoKernel));
        let _metrics = Metrics::new(&mut registries);
        let text = registries.encode(Format::OpenMetrics).unwrap();
        for line in [
            "lb_agent_build_info{version=",
            "lb_agent_sync_duration_seconds_bucket{le=",
            "lb_agent_network_programming_duration_seconds_count 0",
            "lb_agent_sync_last_timestamp_seconds ",
            "lb_agent_watch_errors_total{kind=\"endpointslice\"} 0",
            "lb_agent_changes_total{kind=\"servicecidr\"} 0",
            "lb_agent_syncs_total{result=\"failed\"} 0",
            "lb_agent_map_writes_total{map=\"lb_members\"} 0",
            "lb_agent_services_with_problems 0",
            "lb_agent_quarantined_backends 0",
            "lb_agent_tcp_sockets_reset_total 0",
            "lb_agent_skipped_ports{reason=\"sctp_without_lb0\"} 0",
            "lb_agent_watch_errors_total{kind=\"pod\"} 0",
            "lb_agent_unreadable_objects{kind=\"namespace\"} 0",
            "lb_agent_bad_manifests 0",
            "lb_agent_missing_devices 0",
            "lb_agent_lb0_problems 0",
            "lb_agent_masquerade_problems 0",
            "lb_agent_devices_with_cluster_ips 0",
            "lb_agent_attach_problems 0",
            "lb_agent_lost_programs_total 0",
            "lb_agent_misplaced_programs 0",
            "lb_agent_hidden_listeners 0",
            "lb_agent_node_ports_in_local_range 0",
            "lb_agent_health_check_listeners 0",
            "lb_agent_health_check_failures 0",
            "lb_agent_sockets 0",
            "lb_agent_open_connections 0",
            "lb_agent_connections_drift 0",
            "lb_agent_connections_repaired_total 0",
            "lb_agent_audit_duration_seconds_count 0",
            "lb_agent_audit_longest_step_seconds 0",
            "lb_agent_audit_last_timestamp_seconds 0",
            "lb_agent_map_drift_entries{map=\"lb_frontends\"} 0",
            "lb_agent_map_repaired_entries_total{map=\"lb_frontends\"} 0",
            "kubeproxy_sync_proxy_rules_service_changes_total 0",
            "process_cpu_seconds_total ",
            "process_start_time_seconds ",
            "process_resident_memory_bytes ",
            "process_virtual_memory_bytes ",
            "process_threads ",
            "process_open_fds ",
            "process_max_fds ",
            "lb_agent_udp_sockets_reset_total 0",
            "lb_agent_udp_reset_failures_total{reason=\"not_permitted\"} 0",
            "lb_agent_udp_sockets_stale 0",
            "lb_agent_udp_reset_enabled 0",
            "lb_agent_snat_ports 0",
            "lb_agent_flows{state=\"established\"} 0",
            "lb_agent_flow_entries_swept_total{map=\"lb_foreign\"} 0",
            "lb_agent_flow_sweep_duration_seconds 0",
            "lb_agent_network_namespaces_unread 0",
            "lb_agent_network_namespaces_without_room 0",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
