//! What is wrong in a file is named.

use super::*;

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
    ("Mode: ipvs", "Mode: no such field, mode is meant (line 3)"),
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
    // A field twice with two values, and what is no such file at all.
    let twice = ConfigFile::read(&file("mode: ipvs\nmode: nftables")).unwrap_err();
    assert_eq!(
        format!("{twice:#}"),
        "mode: said twice with different values, in line 3 and in line 4"
    );
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
        (
            "apiVersion: v1\nkind: ConfigMap\ndata: {config.conf: x}",
            "give what its data has below config.conf",
        ),
        (
            "kind: A\n---\nkind: B",
            "none of the 2 documents is a KubeProxyConfiguration, they are: A, B",
        ),
        (
            "kind: A\n---\na: [",
            "the document of line 2, counted from there",
        ),
    ] {
        let error = format!("{:#}", ConfigFile::read(text).expect_err(text));
        assert!(error.contains(word), "{text}: {error}");
    }
}
