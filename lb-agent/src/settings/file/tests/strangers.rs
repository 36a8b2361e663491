//! Fields at a wrong place, fields of other files, and documents of other kinds.

use super::*;

/// A body, its line in the file, and what is said of it.
const STRANGERS: &[(&str, u64, &str)] = &[
    (
        "mode: ipvs\nipvs:\n  masqueradeAll: true",
        5,
        "ipvs.masqueradeAll: kube-proxy has no such field there, so it has no effect: its place is iptables.masqueradeAll or nftables.masqueradeAll",
    ),
    (
        "ipvs: {masqueradeBit: 14}",
        3,
        "its place is iptables.masqueradeBit or nftables.masqueradeBit",
    ),
    (
        "ipvs:\nstrictARP: true",
        4,
        "strictARP: kube-proxy has no such field there, so it has no effect: its place is ipvs.strictARP",
    ),
    (
        "iptables: {strictARP: true}",
        3,
        "its place is ipvs.strictARP",
    ),
    ("ipvs: {mode: ipvs}", 3, "its place is mode"),
    ("scheduler: rr", 3, "its place is ipvs.scheduler"),
    (
        "kubeconfig: /x",
        3,
        "its place is clientConnection.kubeconfig",
    ),
    (
        "tcpEstablishedTimeout: 1h",
        3,
        "its place is conntrack.tcpEstablishedTimeout",
    ),
    (
        "iptables:\n  conntrack:\n    min: 1",
        4,
        "its place is conntrack",
    ),
    ("winkernel: {ipvs: {}}", 3, "its place is ipvs"),
    ("clusterCidr: 10.0.0.0/8", 3, "its place is clusterCIDR"),
    ("proxy-mode: ipvs", 3, "its place is mode"),
    (
        "metrics-bind-address: 1.1.1.1:1",
        3,
        "its place is metricsBindAddress",
    ),
    (
        "ipvs: {ipvs-scheduler: rr}",
        3,
        "its place is ipvs.scheduler",
    ),
    (
        "conntrackMaxPerCore: 1",
        3,
        "its place is conntrack.maxPerCore",
    ),
    ("metadata: {name: x}", 3, "it belongs to Kubernetes objects"),
    (
        "cgroupDriver: systemd",
        3,
        "it belongs to a KubeletConfiguration",
    ),
    (
        "networking: {}",
        3,
        "it belongs to a kubeadm ClusterConfiguration",
    ),
    (
        "mode: ipvs\nmode: ipvs",
        4,
        "mode: line 3 says the same already",
    ),
];

#[test]
fn well_known_strangers_are_told_with_line_and_place() {
    for (body, line, said) in STRANGERS {
        let read = read(body);
        assert_eq!(read.strangers.len(), 1, "{body}: {:?}", read.strangers);
        let stranger = &read.strangers[0];
        assert!(
            stranger.starts_with(&format!("line {line}: ")) && stranger.contains(said),
            "{body}: {stranger}"
        );
        let refused = format!("{:#}", read.refuse_strangers(Path::new("f")).unwrap_err());
        assert!(
            refused.starts_with("--config f: refused by --config-strict: line "),
            "{refused}"
        );
    }
    assert!(read("mode: ipvs").refuse_strangers(Path::new("f")).is_ok());
}

/// What stands at its place holds, whatever stands beside it.
#[test]
fn the_rest_of_the_file_holds() {
    let read =
        read("mode: ipvs\nipvs: {masqueradeAll: true, scheduler: sh}\nclusterCIDR: 10.0.0.0/8");
    assert!(read.settings.scheduler.is_some() && read.settings.cluster_cidrs.is_some());
    assert!(read.warnings.is_empty(), "{:?}", read.warnings);
}

#[test]
fn a_file_of_several_documents_finds_its_own() {
    let text = "# kubeadm\n---\napiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n---\n\n--- # Source: x\r\napiVersion: kubeproxy.config.k8s.io/v1alpha1\r\nkind: KubeProxyConfiguration\r\nmode: ipvs\r\nipvs: {scheduler: sh}\r\nstrictARP: true\r\n---\nkind: KubeProxyConfiguration\n---\nother: 1\n...\n";
    let found = ConfigFile::read(text).unwrap();
    assert!(found.settings.scheduler.is_some());
    assert_eq!(found.raw["mode"], "ipvs");
    let said = [
        "line 2: this document (InitConfiguration) is not read",
        "line 13: a second KubeProxyConfiguration, of which only the first is read, as by kube-proxy",
        "line 14: this document (no kind) is not read",
    ];
    assert_eq!(found.strangers[..2], said[..2]);
    assert!(found.strangers[2].ends_with("this document (no kind) is not read"));
    assert!(
        found.strangers[3].starts_with("line 12: strictARP"),
        "{:?}",
        found.strangers
    );
    // Empty documents around the only one are no others; a mark of the byte order is none either.
    let alone = ConfigFile::read(&format!("\u{feff}---\n{}---\n# end\n", file("mode: ipvs")));
    assert_eq!(alone.unwrap().strangers, [""; 0]);
}

/// What is known to be a field is one that the reader takes, and the other way round.
#[test]
fn the_list_of_fields_is_the_readers() {
    for (section, names) in crate::settings::file::strangers::known::FIELDS {
        for name in *names {
            let path = located::join(section, name);
            let body = path.split('.').rev().fold(
                serde_json::Value::Null,
                |inner, name| serde_json::json!({ name: inner }),
            );
            let mut whole = body;
            whole["apiVersion"] = VERSION.into();
            whole["kind"] = KIND.into();
            let read = ConfigFile::read(&whole.to_string());
            assert!(read.is_ok(), "{path}: {read:?}");
        }
    }
}
