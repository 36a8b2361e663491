use std::time::Duration;

use super::*;
use crate::{
    model::Scheduler,
    settings::values::{ClientRate, Conntrack, LogFormat, NodePortAddress, Source},
};

fn file(body: &str) -> String {
    format!("apiVersion: {VERSION}\nkind: {KIND}\n{body}\n")
}

fn read(body: &str) -> ConfigFile {
    ConfigFile::read(&file(body)).unwrap_or_else(|error| panic!("{body}: {error:#}"))
}

#[test]
fn a_silent_file_asks_for_nothing() {
    let silent = read("");
    assert_eq!(silent.warning(), None);
    assert_eq!(
        silent,
        ConfigFile {
            settings: Partial {
                health_address: Some("0.0.0.0:10256".parse().unwrap()),
                metrics_address: Some("127.0.0.1:10249".parse().unwrap()),
                node_port_addresses: Some(vec![NodePortAddress::All]),
                ..Partial::default()
            },
            warnings: Vec::new(),
            raw: silent.raw.clone(),
        }
    );
    // As kubeadm writes it into its ConfigMap: every field, each of them empty.
    let kubeadm = read(
        include_str!("kubeadm.yaml")
            .split_once("# ---\n")
            .unwrap()
            .1,
    );
    assert_eq!(
        ConfigFile {
            raw: silent.raw.clone(),
            ..kubeadm
        },
        ConfigFile {
            settings: Partial {
                source: Some(Source::Kubeconfig("/var/lib/kube-proxy/kubeconfig.conf".into())),
                bind_hard_fail: Some(false),
                ..silent.settings
            },
            warnings: vec![
                "clusterCIDR: a socket of this node is known to be local by itself, whatever its address or device"
                    .to_owned()
            ],
            ..silent
        }
    );
}

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

#[test]
fn schedulers_of_ipvs_are_found_or_explained() {
    for (name, found) in [
        ("rr", Scheduler::RoundRobin),
        ("wrr", Scheduler::RoundRobin),
        ("sh", Scheduler::SourceHash),
    ] {
        // A scheduler of its own for wrr would do as well: all weights are the same.
        let read = read(&format!("mode: ipvs\nipvs: {{scheduler: {name}}}"));
        assert!(
            read.settings.scheduler == Some(found)
                || read.settings.scheduler == Scheduler::parse(name),
            "{name}"
        );
        assert_eq!(read.warning(), None, "{name}");
    }
    for name in ["dh", "sed", "nq", "lblc", "lblcr", "nonsense"] {
        let read = read(&format!("mode: ipvs\nipvs: {{scheduler: {name}}}"));
        assert_eq!(read.settings.scheduler, None, "{name}");
        let warning = read.warning().unwrap();
        assert!(
            warning.contains(&format!("ipvs.scheduler: {name}: ")),
            "{warning}"
        );
    }
    let elsewhere = read("ipvs: {scheduler: rr}");
    assert_eq!(elsewhere.settings.scheduler, None);
    assert!(elsewhere.warning().unwrap().contains("mode ipvs only"));
}

/// Everything that has no meaning here is in the one warning; what stands at kube-proxy's default
/// is not.
#[test]
fn what_has_no_meaning_is_named() {
    for (body, named) in [
        (
            "featureGates: {KubeProxyIPVS: true}",
            "featureGates (KubeProxyIPVS)",
        ),
        ("enableProfiling: true", "enableProfiling"),
        (
            "showHiddenMetricsForVersion: '1.36'",
            "showHiddenMetricsForVersion",
        ),
        ("portRange: 1-2", "portRange"),
        ("configSyncPeriod: 1m", "configSyncPeriod"),
        ("windowsRunAsService: true", "windowsRunAsService"),
        ("winkernel: {sourceVip: x}", "winkernel"),
        ("winkernel: {enableDSR: true}", "winkernel"),
        (
            "clientConnection: {contentType: text/plain}",
            "clientConnection.contentType",
        ),
        (
            "clientConnection: {acceptContentTypes: a/b}",
            "clientConnection.acceptContentTypes",
        ),
        ("iptables: {masqueradeBit: 3}", "iptables.masqueradeBit"),
        ("iptables: {masqueradeAll: true}", "iptables.masqueradeAll"),
        (
            "iptables: {localhostNodePorts: false}",
            "iptables.localhostNodePorts",
        ),
        (
            "iptables: {snatNodeInternalIP: true}",
            "iptables.snatNodeInternalIP",
        ),
        ("nftables: {masqueradeBit: 3}", "nftables.masqueradeBit"),
        ("nftables: {masqueradeAll: true}", "nftables.masqueradeAll"),
        ("ipvs: {strictARP: true}", "ipvs.strictARP"),
        ("ipvs: {excludeCIDRs: [10.0.0.0/8]}", "ipvs.excludeCIDRs"),
        ("ipvs: {tcpTimeout: 1s}", "ipvs.tcpTimeout"),
        ("ipvs: {tcpFinTimeout: 1s}", "ipvs.tcpFinTimeout"),
        ("ipvs: {udpTimeout: 1s}", "ipvs.udpTimeout"),
        ("clusterCIDR: '10.0.0.0/8,fd66::/16'", "clusterCIDR"),
        ("detectLocalMode: NodeCIDR", "detectLocalMode"),
        (
            "detectLocal: {bridgeInterface: br0}",
            "detectLocal.bridgeInterface",
        ),
        (
            "detectLocal: {interfaceNamePrefix: veth}",
            "detectLocal.interfaceNamePrefix",
        ),
        ("logging: {flushFrequency: 1s}", "logging.flushFrequency"),
        (
            "logging: {vmodule: [{filePattern: a, verbosity: 1}]}",
            "logging.vmodule",
        ),
        (
            "logging: {options: {text: {splitStream: true}}}",
            "logging.options.text",
        ),
        ("udpIdleTimeout: 0s", "udpIdleTimeout"),
        ("resourceContainer: /x", "resourceContainer"),
        ("conntrack: {max: 1}", "conntrack.max"),
    ] {
        let read = read(body);
        assert_eq!(read.warnings.len(), 1, "{body}: {:?}", read.warnings);
        let warning = read.warning().unwrap();
        assert!(
            warning.starts_with(named) || warning.contains(&format!(", {named}")),
            "{warning}"
        );
    }
}

/// A body, and how the error begins.
const WRONG: &[(&str, &str)] = &[
    ("nope: 1", "nope: no such field"),
    ("iptables: {nope: 1}", "iptables.nope: no such field"),
    (
        "logging: {options: {json: {nope: 1}}}",
        "logging.options.json.nope",
    ),
    (
        "logging: {vmodule: [{filePattern: a, nope: 1}]}",
        "logging.vmodule[0].nope",
    ),
    ("Mode: ipvs", "Mode: no such field"),
    ("mode: userspace", "mode: userspace"),
    ("iptables: []", "iptables: [] is no mapping"),
    (
        "enableProfiling: \"true\"",
        "enableProfiling: \"true\" is not",
    ),
    ("hostnameOverride: 12", "hostnameOverride: 12 is not"),
    ("oomScoreAdj: 1001", "oomScoreAdj: 1001 is not"),
    ("oomScoreAdj: 1.5", "oomScoreAdj: 1.5 is not"),
    ("bindAddress: here", "bindAddress: here"),
    ("healthzBindAddress: ':80'", "healthzBindAddress: :80"),
    (
        "metricsBindAddress: 1.2.3.4:0",
        "metricsBindAddress: 1.2.3.4:0",
    ),
    ("clusterCIDR: nope", "clusterCIDR: \"nope\""),
    (
        "clusterCIDR: '10.0.0.0/8,10.1.0.0/16'",
        "clusterCIDR: 10.0.0.0/8,10.1.0.0/16",
    ),
    ("detectLocalMode: Guess", "detectLocalMode: Guess"),
    (
        "detectLocalMode: BridgeInterface",
        "detectLocal.bridgeInterface: missing",
    ),
    ("nodePortAddresses: [all, all]", "nodePortAddresses[1]: all"),
    (
        "nodePortAddresses: [10.0.0.1]",
        "nodePortAddresses[0]: \"10.0.0.1\"",
    ),
    (
        "nodePortAddresses: all",
        "nodePortAddresses: \"all\" is not a list",
    ),
    (
        "iptables: {masqueradeBit: 32}",
        "iptables.masqueradeBit: 32",
    ),
    (
        "mode: nftables\nnftables: {masqueradeBit: -1}",
        "nftables.masqueradeBit: -1",
    ),
    (
        "iptables: {minSyncPeriod: 31s}",
        "iptables.syncPeriod: 30s is shorter",
    ),
    (
        "iptables: {syncPeriod: 1x}",
        "iptables.syncPeriod: \"1x\" is not a duration",
    ),
    (
        "mode: ipvs\nipvs: {syncPeriod: -1s}",
        "ipvs.syncPeriod: -1s",
    ),
    (
        "mode: ipvs\nipvs: {udpTimeout: -1s}",
        "ipvs.udpTimeout: -1s",
    ),
    (
        "mode: ipvs\nipvs: {excludeCIDRs: [x]}",
        "ipvs.excludeCIDRs[0]: \"x\"",
    ),
    ("conntrack: {min: -1}", "conntrack.min: -1"),
    ("conntrack: {udpTimeout: -1s}", "conntrack.udpTimeout: -1s"),
    ("configSyncPeriod: 30", "configSyncPeriod: 30 is not"),
    ("configSyncPeriod: -1s", "configSyncPeriod: -1s"),
    (
        "clientConnection: {burst: -1}",
        "clientConnection.burst: -1",
    ),
    (
        "clientConnection: {qps: fast}",
        "clientConnection.qps: \"fast\"",
    ),
    ("featureGates: {A: 1}", "featureGates.A: 1"),
    ("logging: {format: xml}", "logging.format: xml"),
    ("logging: {verbosity: -1}", "logging.verbosity: -1"),
    (
        "logging: {flushFrequency: -5}",
        "logging.flushFrequency: -5ns",
    ),
    (
        "logging: {format: json, vmodule: [{filePattern: a, verbosity: 1}]}",
        "logging.vmodule: only",
    ),
    (
        "logging: {options: {json: {infoBufferSize: 1Ki}}}",
        "logging.options.json.infoBufferSize: the feature gate",
    ),
    (
        "showHiddenMetricsForVersion: x",
        "showHiddenMetricsForVersion: x",
    ),
];

#[test]
fn errors_name_the_field() {
    for (body, field) in WRONG {
        let error = format!("{:#}", ConfigFile::read(&file(body)).expect_err(body));
        assert!(error.starts_with(field), "{body}: {error}");
    }
    // A field twice, and what is no such file at all.
    let twice = format!(
        "{:#}",
        ConfigFile::read(&file("mode: ipvs\nmode: ipvs")).unwrap_err()
    );
    assert!(twice.contains("mode"), "{twice}");
    for (text, word) in [
        ("", "apiVersion: missing"),
        ("kind: KubeProxyConfiguration", "apiVersion: missing"),
        (
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1",
            "kind: missing",
        ),
        (
            "apiVersion: kubeproxy.config.k8s.io/v1alpha2\nkind: KubeProxyConfiguration",
            "v1alpha2",
        ),
        (
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: Kubelet",
            "kind: Kubelet",
        ),
        ("[]", "the file: [] is no mapping"),
        ("a: [", "line"),
    ] {
        let error = format!("{:#}", ConfigFile::read(text).expect_err(text));
        assert!(error.contains(word), "{text}: {error}");
    }
}
