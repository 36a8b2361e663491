//! Fields that have no meaning here.

use super::*;

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
        (
            "detectLocalMode: NodeCIDR\nclusterCIDR: '10.0.0.0/8,fd66::/16'",
            "clusterCIDR",
        ),
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
