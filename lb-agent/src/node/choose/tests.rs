use super::*;
use crate::{model::Cidr, node::facts::Route};

/// A machine, built up line by line.
#[derive(Default)]
struct Machine(Facts);

impl Machine {
    fn link(mut self, name: &str, kind: &str, master: Option<&str>) -> Self {
        let ifindex = u32::try_from(self.0.links.len()).unwrap() + 1;
        let master = master.map(|m| self.index(m));
        self.0.links.push(Link {
            ifindex,
            name: name.to_owned(),
            kind: kind.to_owned(),
            master,
            loopback: name == "lo",
            ethernet: !matches!(kind, "ipip" | "wireguard" | "tun"),
            mac: [0; 6],
            mtu: if kind == "vxlan" { 1450 } else { 1500 },
        });
        self
    }

    fn index(&self, name: &str) -> u32 {
        self.0
            .links
            .iter()
            .find(|l| l.name == name)
            .unwrap()
            .ifindex
    }

    fn addr(mut self, name: &str, cidr: &str) -> Self {
        let ifindex = self.index(name);
        let (ip, prefix) = cidr.split_once('/').unwrap();
        self.0.addresses.push(Address {
            ifindex,
            ip: ip.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
            secondary: false,
            unusable: false,
        });
        self
    }

    fn route(mut self, name: &str, to: &str, source: Option<&str>) -> Self {
        let ifindex = self.index(name);
        self.0.routes.push(Route {
            ifindex,
            to: to_network(to),
            default: to == "default",
            gateway: to == "default",
            policy: false,
            multipath: false,
            link_local: to.starts_with("fe80"),
            source: source.map(|s| s.parse().unwrap()),
        });
        self
    }

    fn auto(&self) -> Vec<String> {
        names(&devices(&self.0, &Selection::default()))
    }
}

fn to_network(to: &str) -> Option<Cidr> {
    match to {
        "default" => "0.0.0.0/0".parse().ok(),
        _ if to.contains('/') => to.parse().ok(),
        _ => to.parse().ok().map(Cidr::host),
    }
}

fn names(devices: &[Device]) -> Vec<String> {
    devices.iter().map(|d| d.name.clone()).collect()
}

fn host() -> Machine {
    Machine::default()
        .link("lo", "", None)
        .addr("lo", "127.0.0.1/8")
        .link("eth0", "", None)
        .addr("eth0", "198.18.0.1/24")
        .addr("eth0", "fd66::1/64")
        .route("eth0", "default", None)
        .link("eth1", "", None)
}

#[test]
fn a_device_with_a_node_address_or_a_default_route() {
    assert_eq!(host().auto(), ["eth0"]);
    assert_eq!(
        host().addr("eth1", "198.19.0.1/24").auto(),
        ["eth0", "eth1"]
    );
    assert_eq!(
        host().route("eth1", "default", None).auto(),
        ["eth0", "eth1"]
    );
    assert_eq!(host().addr("eth1", "fe80::1/64").auto(), ["eth0"]);
}

#[test]
fn the_bond_and_the_vlan_rather_than_what_carries_them() {
    let machine = Machine::default()
        .link("bond0", "bond", None)
        .link("eth0", "", Some("bond0"))
        .link("eth1", "", Some("bond0"))
        .link("bond0.7", "vlan", None)
        .addr("bond0.7", "198.18.0.1/24")
        .route("bond0.7", "default", None);
    assert_eq!(machine.auto(), ["bond0.7"]);
    assert_eq!(
        machine.addr("bond0", "198.19.0.1/24").auto(),
        ["bond0", "bond0.7"]
    );
}

#[test]
fn overlays_that_backends_are_routed_over() {
    let machine = host()
        .link("flannel.1", "vxlan", None)
        .addr("flannel.1", "10.244.1.0/32")
        .route("flannel.1", "10.244.2.0/24", None)
        .link("tunl0", "ipip", None)
        .link("wg0", "wireguard", None)
        .route("wg0", "10.245.0.0/16", None)
        .link("cilium_vxlan", "vxlan", None)
        .route("cilium_vxlan", "fe80::/64", None);
    assert_eq!(machine.auto(), ["eth0", "flannel.1", "wg0"]);
    let all = devices(&machine.0, &Selection::default());
    assert_eq!(all[1].header_len, 14);
    assert_eq!(all[2].header_len, 0);
}

#[test]
fn pods_ends_and_pods_bridges_are_not_ours() {
    let machine = host()
        .link("cni0", "bridge", None)
        .addr("cni0", "10.244.1.1/24")
        .link("veth1234", "veth", Some("cni0"))
        .link("cali5678", "veth", None)
        .route("cali5678", "10.244.1.9", None)
        .link("gke9", "veth", None)
        .addr("gke9", "10.244.1.1/32")
        .link("kube-ipvs0", "dummy", None)
        .addr("kube-ipvs0", "10.96.0.1/32");
    assert_eq!(machine.auto(), ["eth0"]);
}

#[test]
fn a_bridge_with_an_uplink_is_ours_and_its_parts_are_not() {
    let machine = Machine::default()
        .link("br0", "bridge", None)
        .addr("br0", "198.18.0.1/24")
        .link("eth0", "", Some("br0"))
        .link("vnet0", "tun", Some("br0"));
    assert_eq!(machine.auto(), ["br0"]);
}

#[test]
fn a_node_in_a_container_has_a_veth_with_a_network() {
    let machine = Machine::default()
        .link("eth0", "veth", None)
        .addr("eth0", "198.18.0.1/24");
    assert_eq!(machine.auto(), ["eth0"]);
}

#[test]
fn parts_of_a_vrf_keep_their_addresses() {
    let machine = Machine::default()
        .link("vrf-blue", "vrf", None)
        .link("eth0", "", Some("vrf-blue"))
        .addr("eth0", "198.18.0.1/24");
    assert_eq!(machine.auto(), ["eth0"]);
}

#[test]
fn names_choose_alone_and_xdp_adds() {
    let selection = Selection {
        named: Some(vec!["eth1".to_owned(), "missing".to_owned()]),
        xdp: vec!["eth0".to_owned()],
    };
    let chosen = devices(&host().0, &selection);
    assert_eq!(names(&chosen), ["eth0", "eth1"]);
    assert!(chosen[0].xdp && !chosen[1].xdp);
}

#[test]
fn the_source_is_what_the_route_asks_for_then_the_devices_own_then_the_default_ones() {
    let ip = |s: &str| Some(s.parse::<Ipv4Addr>().unwrap());
    let of = |machine: &Machine, name: &str| {
        let all = devices(&machine.0, &Selection::default());
        all.into_iter().find(|d| d.name == name).unwrap()
    };
    assert_eq!(of(&host(), "eth0").source_v4, ip("198.18.0.1"));
    assert_eq!(
        of(&host(), "eth0").source_v6,
        Some("fd66::1".parse::<Ipv6Addr>().unwrap())
    );
    let asked = host()
        .addr("eth0", "198.18.0.9/24")
        .route("eth0", "default", Some("198.18.0.9"));
    assert_eq!(of(&asked, "eth0").source_v4, ip("198.18.0.9"));
    let overlay = host()
        .link("wg0", "wireguard", None)
        .route("wg0", "10.245.0.0/16", None);
    assert_eq!(of(&overlay, "wg0").source_v4, ip("198.18.0.1"));
    let mut secondary = host()
        .addr("eth1", "198.19.0.1/24")
        .addr("eth1", "198.19.0.2/24");
    secondary.0.addresses[3].secondary = true;
    assert_eq!(of(&secondary, "eth1").source_v4, ip("198.19.0.2"));
}

#[test]
fn the_smallest_packet_size_and_the_preferred_sources_are_the_nodes() {
    let Machine(facts) = host()
        .link("flannel.1", "vxlan", None)
        .addr("flannel.1", "10.244.1.0/32");
    let devices = devices(&facts, &Selection::default());
    assert_eq!(mtu(&facts, &devices), Some(1450));
    let (v4, v6) = sources(&facts, &devices);
    assert_eq!(v4, "198.18.0.1".parse().ok());
    assert_eq!(v6, "fd66::1".parse().ok());
    assert_eq!(mtu(&facts, &[]), None);
}

#[test]
fn names_that_no_device_has_are_told_once_each() {
    let Machine(facts) = Machine::default().link("eth0", "", None);
    let selection = Selection {
        named: Some(vec![
            "eth9".to_owned(),
            "eth0".to_owned(),
            "eht0".to_owned(),
        ]),
        xdp: vec!["eth9".to_owned()],
    };
    assert_eq!(missing(&facts, &selection), ["eht0", "eth9"]);
    assert!(missing(&facts, &Selection::default()).is_empty());
}

#[test]
fn other_devices_that_lead_to_networks_of_several_hosts() {
    let machine = host()
        .route("eth0", "10.244.3.0/24", None)
        .link("br0", "bridge", None)
        .addr("br0", "10.244.0.1/16")
        .route("br0", "10.244.0.0/16", None)
        .link("cali1", "veth", None)
        .route("cali1", "10.244.9.9", None)
        .link("kube-ipvs0", "dummy", None)
        .route("kube-ipvs0", "10.96.0.0/16", None);
    let Machine(facts) = &machine;
    let found = others(facts, &devices(facts, &Selection::default()));
    let ip = |text: &str| text.parse().unwrap();
    let [br0] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(br0.device.name, "br0");
    assert!(br0.leads_to(ip("10.244.2.1")));
    // The longer prefix wins.
    assert!(!br0.leads_to(ip("10.244.3.1")) && !br0.leads_to(ip("10.244.9.9")));
    assert!(!br0.leads_to(ip("10.245.0.1")) && !br0.leads_to(ip("fd66::1")));
    // Of a list that leaves it out, the device of the default route too.
    let named = Selection {
        named: Some(vec!["eth1".to_owned()]),
        xdp: vec![],
    };
    let found = others(facts, &devices(facts, &named));
    let names: Vec<&str> = found.iter().map(|u| u.device.name.as_str()).collect();
    assert_eq!(names, ["eth0", "br0"]);
    assert!(found[0].leads_to(ip("203.0.113.1")) && !found[0].leads_to(ip("10.244.2.1")));
}
