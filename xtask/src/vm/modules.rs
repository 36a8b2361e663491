//! The choice of a guest's kernel modules: what the tests may need, and what that needs in turn.
//! Touches no file.

use std::collections::{BTreeMap, BTreeSet};

/// Folders of which everything is taken.
const FOLDERS: [&str; 13] = [
    "kernel/net/802/",
    "kernel/net/8021q/",
    "kernel/net/9p/",
    "kernel/net/bridge/",
    "kernel/net/core/",
    "kernel/net/ipv4/",
    "kernel/net/ipv6/",
    "kernel/net/netfilter/",
    "kernel/net/packet/",
    "kernel/net/sched/",
    "kernel/net/sctp/",
    "kernel/net/xfrm/",
    "kernel/drivers/virtio/",
];

/// Modules by name.
const NAMED: [&str; 18] = [
    "9p",
    "af_packet_diag",
    "bonding",
    "crc32c_generic",
    "crc32c_intel",
    "dummy",
    "geneve",
    "ifb",
    "inet_diag",
    "ipvlan",
    "macvlan",
    "mptcp_diag",
    "netkit",
    "tun",
    "unix_diag",
    "veth",
    "vxlan",
    "wireguard",
];

/// The files to take, from the text of `modules.dep`: a module and what it needs on each line.
pub(super) fn chosen(modules_dep: &str) -> BTreeSet<&str> {
    let needs: BTreeMap<&str, Vec<&str>> = modules_dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(module, needs)| (module, needs.split_whitespace().collect()))
        .collect();
    // Lines name indirect needs too.
    needs
        .iter()
        .filter(|(module, _)| is_wanted(module))
        .flat_map(|(module, needs)| needs.iter().copied().chain([*module]))
        .collect()
}

fn is_wanted(module: &str) -> bool {
    let file = module.rsplit('/').next().unwrap_or(module);
    let name = file.split(".ko").next().unwrap_or(file);
    FOLDERS.iter().any(|folder| module.starts_with(folder))
        || NAMED.contains(&name.replace('-', "_").as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_comes_along() {
        let text = "kernel/net/netfilter/ipvs/ip_vs.ko: kernel/lib/libcrc32c.ko\n\
                    kernel/lib/libcrc32c.ko:\n\
                    kernel/drivers/net/dummy.ko:\n\
                    kernel/drivers/gpu/drm/drm.ko: kernel/drivers/i2c/i2c-core.ko\n";
        let expected = [
            "kernel/drivers/net/dummy.ko",
            "kernel/lib/libcrc32c.ko",
            "kernel/net/netfilter/ipvs/ip_vs.ko",
        ];
        assert_eq!(chosen(text), BTreeSet::from(expected));
    }
}
