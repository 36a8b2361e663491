//! Fields that have a meaning here, and their defaults.

use std::time::Duration;

use super::*;
use crate::{
    model::Scheduler,
    settings::values::{ClientRate, Conntrack, LogFormat, NodePortAddress, Source},
};

#[test]
fn fields_have_their_meaning() {
    let read = read(
        r#"
mode: nftables
hostnameOverride: " Node-7 "
bindAddress: 010.0.0.7
healthzBindAddress: "::1"
metricsBindAddress: "[fd66::7]:9999"
bindAddressHardFail: yes
clientConnection: {kubeconfig: /k, qps: 2.5, burst: 7, contentType: application/json}
nodePortAddresses: [localhost, 010.1.2.3/8]
nftables: {minSyncPeriod: 2s, syncPeriod: 1m}
iptables: {minSyncPeriod: 3s}
ipvs: {syncPeriod: 4s}
oomScoreAdj: -5
conntrack: {maxPerCore: 100, min: 5, tcpBeLiberal: true, udpTimeout: 10s, tcpEstablishedTimeout: 0s}
logging: {format: json, verbosity: 4}
"#,
    );
    assert_eq!(read.warning(), None);
    assert_eq!(
        read.settings,
        Partial {
            node_name: Some("node-7".to_owned()),
            node_ip: Some("10.0.0.7".parse().unwrap()),
            health_address: Some("[::1]:10256".parse().unwrap()),
            metrics_address: Some("[fd66::7]:9999".parse().unwrap()),
            bind_hard_fail: Some(true),
            source: Some(Source::Kubeconfig("/k".into())),
            client_rate: Some(ClientRate { qps: 2.5, burst: 7 }),
            node_port_addresses: Some(vec![
                NodePortAddress::Localhost,
                NodePortAddress::Cidr("10.0.0.0/8".parse().unwrap())
            ]),
            min_sync_period: Some(Duration::from_secs(2)),
            sync_period: Some(Duration::from_mins(1)),
            oom_score_adj: Some(-5),
            conntrack: Some(Conntrack {
                max_per_core: Some(100),
                min: Some(5),
                be_liberal: true,
                tcp_established: Some(Duration::ZERO),
                udp: Some(Duration::from_secs(10)),
                ..Conntrack::default()
            }),
            log_format: Some(LogFormat::Json),
            log_level: Some("debug".to_owned()),
            ..Partial::default()
        }
    );
}

#[test]
fn defaults_follow_the_mode_and_the_family() {
    let v6 = read("bindAddress: '::'").settings;
    assert_eq!(v6.node_ip, None);
    assert_eq!(v6.health_address, Some("[::]:10256".parse().unwrap()));
    assert_eq!(v6.metrics_address, Some("[::1]:10249".parse().unwrap()));
    let primary = Some(vec![NodePortAddress::Primary]);
    assert_eq!(read("mode: nftables").settings.node_port_addresses, primary);
    let one_family = read("nodePortAddresses: [10.0.0.0/8]")
        .settings
        .node_port_addresses;
    let shown: Vec<String> = one_family
        .iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    assert_eq!(shown, ["10.0.0.0/8", "::/0"]);
    assert_eq!(
        read("mode: ipvs").settings.scheduler,
        Some(Scheduler::RoundRobin)
    );
    for (mode, min) in [("iptables", 1), ("nftables", 2), ("ipvs", 3)] {
        let sections = "iptables: {minSyncPeriod: 1s}\nnftables: {minSyncPeriod: 2s}\nipvs: {minSyncPeriod: 3s}";
        let read = read(&format!("mode: {mode}\n{sections}"));
        assert_eq!(
            read.settings.min_sync_period,
            Some(Duration::from_secs(min))
        );
        assert_eq!(read.settings.sync_period, None);
    }
}

#[test]
fn maps_are_not_proved_more_often_than_once_a_second() {
    for (given, held) in [
        ("1ms", 1000),
        ("999ms", 1000),
        ("1s", 1000),
        ("1500ms", 1500),
    ] {
        let read = read(&format!("mode: ipvs\nipvs: {{syncPeriod: {given}}}"));
        assert_eq!(
            read.settings.sync_period,
            Some(Duration::from_millis(held)),
            "{given}"
        );
        let named = read
            .warning()
            .is_some_and(|w| w.contains("ipvs.syncPeriod: "));
        assert_eq!(named, given.ends_with("ms") && held == 1000, "{given}");
    }
    let elsewhere = read("ipvs: {syncPeriod: 1ms}");
    assert_eq!(
        (elsewhere.settings.sync_period, elsewhere.warning()),
        (None, None)
    );
}
