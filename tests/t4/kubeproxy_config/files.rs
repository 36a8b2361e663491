//! The files, and what becomes of each.

/// What becomes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Both take it.
    Good,
    /// Both refuse it; our reason begins with this.
    Bad(&'static str),
    /// kube-proxy logs what is wrong and goes on, ours refuses it, with this: nobody knows what is
    /// meant, and a typo must not be a silent default.
    Strict(&'static str),
    /// Only kube-proxy refuses it: it knows names that we cannot know.
    Lenient,
    /// kube-proxy looks at the first document alone and refuses it; ours finds its own.
    Found,
}
use Verdict::{Bad, Found, Good, Lenient, Strict};

pub(super) const HEAD: &str =
    "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

/// Behind the head.
pub(super) const FILES: &[(&str, Verdict)] = &[
    ("", Good),
    // Fields that are not there, or twice.
    ("nope: 1", Strict("nope: no such field")),
    ("Mode: nftables", Strict("Mode: no such field")),
    (
        "iptables: {nope: 1}",
        Strict("iptables.nope: no such field"),
    ),
    (
        "logging: {options: {text: {nope: 1}}}",
        Strict("logging.options.text.nope"),
    ),
    ("mode: ipvs\nmode: nftables", Strict("mode: said twice")),
    ("mode: ipvs\nmode: ipvs", Good),
    // Documents of other kinds behind it, which kube-proxy does not look at.
    ("---\na: b", Good),
    (
        "---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration",
        Good,
    ),
    // Well-known fields at a wrong place.
    ("mode: ipvs\nipvs: {masqueradeAll: true}", Good),
    ("mode: ipvs\nipvs:\nstrictARP: true", Good),
    ("clusterCidr: 10.0.0.0/8", Good),
    ("metadata: {name: kube-proxy}", Good),
    ("proxy-mode: ipvs", Good),
    // Fields of old versions.
    ("udpIdleTimeout: 0s", Good),
    ("resourceContainer: /kube-proxy", Good),
    ("conntrack: {max: 0}", Good),
    // Types.
    ("enableProfiling: yes", Good),
    ("enableProfiling: TRUE", Good),
    (
        "enableProfiling: \"true\"",
        Bad("enableProfiling: \"true\""),
    ),
    ("enableProfiling: 1", Bad("enableProfiling: 1")),
    ("hostnameOverride: 12", Bad("hostnameOverride: 12")),
    ("hostnameOverride: \" Node-1 \"", Good),
    ("iptables: null", Good),
    ("iptables: []", Bad("iptables: []")),
    ("iptables: \"\"", Bad("iptables: \"\"")),
    ("oomScoreAdj: 1.5", Bad("oomScoreAdj: 1.5")),
    ("oomScoreAdj: -999", Good),
    ("oomScoreAdj: -1001", Bad("oomScoreAdj: -1001")),
    ("iptables: {masqueradeBit: 14.0}", Good),
    (
        "iptables: {masqueradeBit: \"14\"}",
        Bad("iptables.masqueradeBit: \"14\""),
    ),
    // Marks.
    (
        "iptables: {masqueradeBit: 32}",
        Bad("iptables.masqueradeBit: 32"),
    ),
    ("nftables: {masqueradeBit: 32}", Good),
    (
        "mode: nftables\nnftables: {masqueradeBit: 32}",
        Bad("nftables.masqueradeBit: 32"),
    ),
    // Modes.
    ("mode: nftables", Good),
    ("mode: ipvs", Good),
    ("mode: kernelspace", Bad("mode: kernelspace")),
    ("mode: userspace", Bad("mode: userspace")),
    ("mode: ipvs\nipvs: {scheduler: sed}", Good),
    ("mode: ipvs\nipvs: {scheduler: nonsense}", Good),
    ("ipvs: {excludeCIDRs: [x]}", Good),
    (
        "mode: ipvs\nipvs: {excludeCIDRs: [x]}",
        Bad("ipvs.excludeCIDRs[0]: \"x\""),
    ),
    ("ipvs: {tcpTimeout: -1s}", Good),
    (
        "mode: ipvs\nipvs: {tcpTimeout: -1s}",
        Bad("ipvs.tcpTimeout: -1s"),
    ),
    // Durations.
    ("configSyncPeriod: 1h1.5m", Good),
    ("configSyncPeriod: \"0\"", Good),
    ("configSyncPeriod: 0", Bad("configSyncPeriod: 0 is not")),
    ("configSyncPeriod: 30", Bad("configSyncPeriod: 30 is not")),
    (
        "configSyncPeriod: \"\"",
        Bad("configSyncPeriod: \"\" is not"),
    ),
    (
        "configSyncPeriod: 1x",
        Bad("configSyncPeriod: \"1x\" is not"),
    ),
    ("configSyncPeriod: -1s", Bad("configSyncPeriod: -1s")),
    (
        "iptables: {syncPeriod: -1s}",
        Bad("iptables.syncPeriod: -1s"),
    ),
    ("nftables: {syncPeriod: -1s}", Good),
    (
        "iptables: {minSyncPeriod: 31s}",
        Bad("iptables.syncPeriod: 30s is shorter"),
    ),
    (
        "iptables: {minSyncPeriod: -1s}",
        Bad("iptables.minSyncPeriod: -1s"),
    ),
    ("ipvs: {minSyncPeriod: 31s}", Good),
    (
        "mode: ipvs\nipvs: {minSyncPeriod: 31s}",
        Bad("ipvs.syncPeriod: 30s is shorter"),
    ),
    (
        "iptables: {syncPeriod: 500ms}",
        Bad("iptables.syncPeriod: 500ms is shorter"),
    ),
    ("mode: ipvs\nipvs: {syncPeriod: 500ms}", Good),
    // Addresses.
    ("bindAddress: \"::\"", Good),
    ("bindAddress: 010.1.1.1", Good),
    ("bindAddress: here", Bad("bindAddress: here")),
    ("healthzBindAddress: 1.2.3.4", Good),
    ("healthzBindAddress: \"::1\"", Good),
    ("healthzBindAddress: \"[::1]:80\"", Good),
    (
        "healthzBindAddress: localhost:80",
        Bad("healthzBindAddress: localhost:80"),
    ),
    (
        "healthzBindAddress: \":80\"",
        Bad("healthzBindAddress: :80"),
    ),
    (
        "healthzBindAddress: 10256",
        Bad("healthzBindAddress: 10256"),
    ),
    (
        "metricsBindAddress: 1.2.3.4:0",
        Bad("metricsBindAddress: 1.2.3.4:0"),
    ),
    (
        "metricsBindAddress: 1.2.3.4:65536",
        Bad("metricsBindAddress: 1.2.3.4:65536"),
    ),
    ("bindAddressHardFail: true", Good),
    ("nodePortAddresses: null", Good),
    (
        "nodePortAddresses: [primary, localhost, all, 10.0.0.0/8, fd66::/16]",
        Good,
    ),
    ("nodePortAddresses: [10.0.0.1/8, 10.0.0.1/8]", Good),
    (
        "nodePortAddresses: [primary, primary]",
        Bad("nodePortAddresses[1]: primary"),
    ),
    (
        "nodePortAddresses: [10.0.0.1]",
        Bad("nodePortAddresses[0]: \"10.0.0.1\""),
    ),
    (
        "nodePortAddresses: [\" 10.0.0.0/8\"]",
        Bad("nodePortAddresses[0]: \" 10.0.0.0/8\""),
    ),
    (
        "nodePortAddresses: all",
        Bad("nodePortAddresses: \"all\" is not a list"),
    ),
    // Where a client is.
    ("clusterCIDR: 10.244.0.0/16", Good),
    ("clusterCIDR: 10.244.0.0/16,fd66::/16", Good),
    ("clusterCIDR: nope", Bad("clusterCIDR: \"nope\"")),
    (
        "clusterCIDR: 10.0.0.0/8,10.1.0.0/16",
        Bad("clusterCIDR: 10.0.0.0/8,10.1.0.0/16"),
    ),
    (
        "clusterCIDR: 10.0.0.0/8,fd66::/16,fd67::/16",
        Bad("clusterCIDR: 10.0.0.0/8"),
    ),
    ("detectLocalMode: NodeCIDR\nclusterCIDR: nope", Good),
    ("detectLocalMode: Guess", Bad("detectLocalMode: Guess")),
    (
        "detectLocalMode: BridgeInterface",
        Bad("detectLocal.bridgeInterface: missing"),
    ),
    (
        "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: br0}",
        Good,
    ),
    (
        "detectLocalMode: InterfaceNamePrefix",
        Bad("detectLocal.interfaceNamePrefix: missing"),
    ),
    // The client.
    ("clientConnection: {qps: -1}", Good),
    ("clientConnection: {qps: 2.5, burst: 7}", Good),
    (
        "clientConnection: {qps: \"5\"}",
        Bad("clientConnection.qps: \"5\""),
    ),
    (
        "clientConnection: {burst: -1}",
        Bad("clientConnection.burst: -1"),
    ),
    // Connection tracking.
    (
        "conntrack: {maxPerCore: 0, min: 0, tcpBeLiberal: true, udpTimeout: 10s}",
        Good,
    ),
    (
        "conntrack: {maxPerCore: -1}",
        Bad("conntrack.maxPerCore: -1"),
    ),
    (
        "conntrack: {tcpCloseWaitTimeout: -1s}",
        Bad("conntrack.tcpCloseWaitTimeout: -1s"),
    ),
    (
        "conntrack: {udpStreamTimeout: -1s}",
        Bad("conntrack.udpStreamTimeout: -1s"),
    ),
    // The log.
    ("logging: {format: json, verbosity: 4}", Good),
    ("logging: {format: xml}", Bad("logging.format: xml")),
    ("logging: {verbosity: -1}", Bad("logging.verbosity: -1")),
    ("logging: {flushFrequency: 5}", Good),
    ("logging: {flushFrequency: 5s}", Good),
    (
        "logging: {flushFrequency: -5}",
        Bad("logging.flushFrequency: -5ns"),
    ),
    ("logging: {vmodule: [{filePattern: a, verbosity: 3}]}", Good),
    (
        "logging: {vmodule: [{filePattern: \"a=b\", verbosity: 3}]}",
        Bad("logging.vmodule[0].filePattern"),
    ),
    (
        "logging: {format: json, vmodule: [{filePattern: a, verbosity: 3}]}",
        Bad("logging.vmodule: only"),
    ),
    (
        "logging: {options: {json: {infoBufferSize: 10Ki}}}",
        Bad("logging.options.json.infoBufferSize"),
    ),
    (
        "featureGates: {LoggingAlphaOptions: true}\nlogging: {options: {json: {infoBufferSize: 10Ki}}}",
        Good,
    ),
    // The rest.
    ("featureGates: {AllAlpha: false}", Good),
    (
        "featureGates: {AllAlpha: 1}",
        Bad("featureGates.AllAlpha: 1"),
    ),
    ("featureGates: {NoSuchGate: true}", Lenient),
    ("featureGates: {KubeProxyIPVS: false}\nmode: ipvs", Lenient),
    ("showHiddenMetricsForVersion: \"1.36\"", Good),
    ("showHiddenMetricsForVersion: \"1.30\"", Lenient),
    (
        "showHiddenMetricsForVersion: x",
        Bad("showHiddenMetricsForVersion: x"),
    ),
    ("portRange: anything", Good),
    ("winkernel: {enableDSR: true, sourceVip: x}", Good),
    ("windowsRunAsService: true", Good),
];

/// With no head.
pub(super) const WHOLE: &[(&str, Verdict)] = &[
    ("", Bad("apiVersion: missing")),
    ("kind: KubeProxyConfiguration", Bad("apiVersion: missing")),
    (
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1",
        Bad("kind: missing"),
    ),
    (
        "apiVersion: kubeproxy.config.k8s.io/v1alpha2\nkind: KubeProxyConfiguration",
        Bad("apiVersion: kubeproxy.config.k8s.io/v1alpha2"),
    ),
    (
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeletConfiguration",
        Bad("kind: KubeletConfiguration"),
    ),
    ("[]", Bad("the file: []")),
    ("a: [", Bad("")),
    (
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n---\napiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs",
        Found,
    ),
    (
        r#"{"apiVersion":"kubeproxy.config.k8s.io/v1alpha1","kind":"KubeProxyConfiguration","mode":"nftables"}"#,
        Good,
    ),
];
