//! The names of kube-proxy's objects in all of its modes. The line between kube-proxy and kubelet
//! is where `kube-proxy --cleanup` draws it: `KUBE-FIREWALL`, `KUBE-KUBELET-CANARY` and
//! `KUBE-IPTABLES-HINT` stay.

/// The nftables table of its nftables mode, for IPv4 and for IPv6.
pub(super) const TABLE: &str = "kube-proxy";

/// The device that carries the VIPs in its ipvs mode.
pub(super) const DEVICE: &str = "kube-ipvs0";

/// Devices that carry VIPs of other proxies: of kube-router's.
pub(super) const OTHER_DEVICES: [&str; 1] = ["kube-dummy-if"];

/// What its iptables mode counts (`nfacct`).
pub(super) const ACCOUNTS: [&str; 2] = [
    "ct_state_invalid_dropped_pkts",
    "localhost_nps_accepted_pkts",
];

/// Where the mark for masquerading is set, which other software uses too, and where it takes
/// effect.
pub(super) const MARK: &str = "KUBE-MARK-MASQ";
pub(super) const MASQUERADES: &str = "KUBE-POSTROUTING";

/// Chains of its iptables and ipvs modes.
const CHAINS: [&str; 13] = [
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-FORWARD",
    "KUBE-PROXY-FIREWALL",
    "KUBE-PROXY-CANARY",
    MASQUERADES,
    MARK,
    "KUBE-LOAD-BALANCER",
    "KUBE-NODE-PORT",
    "KUBE-SOURCE-RANGES-FIREWALL",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
];

/// The chains that its rules in built-in chains jump to, in both modes (`iptablesJumpChains` of
/// `pkg/proxy/iptables` and `iptablesJumpChain` of `pkg/proxy/ipvs`); any other of its chains is
/// reached from these.
const ENTRIES: [&str; 9] = [
    "KUBE-SERVICES",
    "KUBE-EXTERNAL-SERVICES",
    "KUBE-NODEPORTS",
    "KUBE-FORWARD",
    "KUBE-PROXY-FIREWALL",
    MASQUERADES,
    "KUBE-NODE-PORT",
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
];

/// How the chains of one Service, or of one endpoint, begin.
const OF_SERVICES: [&str; 6] = [
    "KUBE-SVC-",
    "KUBE-SVL-",
    "KUBE-SEP-",
    "KUBE-EXT-",
    "KUBE-FW-",
    "KUBE-XLB-",
];

/// Sets of its ipvs mode, without what marks those for IPv6.
const SETS: [&str; 17] = [
    "LOOP-BACK",
    "CLUSTER-IP",
    "EXTERNAL-IP",
    "EXTERNAL-IP-LOCAL",
    "LOAD-BALANCER",
    "LOAD-BALANCER-FW",
    "LOAD-BALANCER-LOCAL",
    "LOAD-BALANCER-SOURCE-CIDR",
    "LOAD-BALANCER-SOURCE-IP",
    "NODE-PORT-TCP",
    "NODE-PORT-LOCAL-TCP",
    "NODE-PORT-UDP",
    "NODE-PORT-LOCAL-UDP",
    "NODE-PORT-SCTP-HASH",
    "NODE-PORT-LOCAL-SCTP-HASH",
    "HEALTH-CHECK-NODE-PORT",
    "IPVS-IPS",
];

/// Is this chain of iptables kube-proxy's?
pub(super) fn is_chain(name: &str) -> bool {
    CHAINS.contains(&name) || of_services(name).is_some()
}

/// Does kube-proxy itself jump here from a built-in chain?
pub(super) fn is_entry(name: &str) -> bool {
    ENTRIES.contains(&name)
}

/// The kind of a chain of which there are many.
pub(super) fn of_services(name: &str) -> Option<&'static str> {
    OF_SERVICES
        .into_iter()
        .find(|prefix| name.strip_prefix(prefix).is_some_and(is_hash))
}

/// Sixteen letters and digits, as it shortens names.
fn is_hash(text: &str) -> bool {
    text.len() == 16
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// Is this ipset kube-proxy's?
pub(super) fn is_set(name: &str) -> bool {
    name.strip_prefix("KUBE-").is_some_and(|rest| {
        SETS.contains(&rest) || rest.strip_prefix("6-").is_some_and(|v6| SETS.contains(&v6))
    })
}

/// The other software whose chain this is, where that balances Services or filters for pods itself.
pub(super) fn of_others(chain: &str) -> Option<&'static str> {
    let all = [
        ("CILIUM_", "Cilium"),
        ("OLD_CILIUM_", "Cilium"),
        ("cali-", "Calico"),
    ];
    all.into_iter()
        .find_map(|(prefix, owner)| chain.starts_with(prefix).then_some(owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubelets_chains_and_those_of_others_are_not_kube_proxys() {
        for name in [
            "KUBE-SERVICES",
            "KUBE-SVC-BUFWEUT7I6HQ2XBP",
            "KUBE-SEP-2Q2C3N2L277PY3H3",
        ] {
            assert!(is_chain(name), "{name}");
        }
        for name in [
            "KUBE-FIREWALL",
            "KUBE-KUBELET-CANARY",
            "KUBE-IPTABLES-HINT",
            "KUBE-ROUTER-INPUT",
            "KUBE-POD-FW-ABCDEFGH12345678",
            "KUBE-SVC-MINE",
            "KUBE-HOSTPORTS",
            "PREROUTING",
            "",
        ] {
            assert!(!is_chain(name), "{name}");
        }
    }

    #[test]
    fn sets_are_known_for_both_families() {
        assert!(is_set("KUBE-CLUSTER-IP") && is_set("KUBE-6-CLUSTER-IP"));
        assert!(!is_set("KUBE-SRC-ABC") && !is_set("CLUSTER-IP") && !is_set("KUBE-6-KUBE-6-X"));
    }

    #[test]
    fn chains_of_other_software_name_their_owner() {
        assert_eq!(of_others("CILIUM_FORWARD"), Some("Cilium"));
        assert_eq!(of_others("cali-PREROUTING"), Some("Calico"));
        assert_eq!(of_others("KUBE-SERVICES"), None);
    }
}
