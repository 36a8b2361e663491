//! On which of the machine's addresses node ports answer: the meaning of `--node-port-addresses`
//! for this Node. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{model::Cluster, serve::checks::Listen, settings::values::NodePortAddress};

/// Loopback of each family.
const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Do node ports answer the host's own sockets on loopback, of IPv4, of IPv6? Constant while the
/// agent runs: no Node has loopback for its address.
pub(super) fn on_loopback(words: &[NodePortAddress]) -> [bool; 2] {
    LOOPBACK.map(|addr| words.iter().any(|word| word.admits(addr, &[])))
}

/// Those of `machine` (each with its interface) that `words` admit; `None` while they ask for the
/// Node's addresses and the Node is not listed yet: what a previous agent wrote stands until then.
/// Never loopback, which is the socket programs' ([`on_loopback`]), and the host's alone.
pub(super) fn addresses(
    words: &[NodePortAddress],
    node_ip: Option<IpAddr>,
    cluster: &Cluster,
    machine: &[(IpAddr, u32)],
) -> Option<Vec<(IpAddr, u32)>> {
    if words.contains(&NodePortAddress::Primary) && !cluster.synced().node {
        return None;
    }
    let told = cluster.node().map_or(&[][..], |n| &n.addresses);
    // Of its family, one that was given is the Node's own, whatever the status says.
    let others = told
        .iter()
        .filter(|ip| node_ip.is_none_or(|own| own.is_ipv4() != ip.is_ipv4()));
    let primary: Vec<IpAddr> = others.copied().chain(node_ip).collect();
    let admitted = |addr: &IpAddr| {
        !addr.is_loopback() && words.iter().any(|word| word.admits(*addr, &primary))
    };
    let admitted = machine.iter().filter(|(addr, _)| admitted(addr));
    Some(admitted.copied().collect())
}

/// Where the health checks of Services listen: on the same addresses, loopback included if the
/// words admit it.
pub(super) fn listen(words: &[NodePortAddress], addresses: &[(IpAddr, u32)]) -> Listen {
    if words.contains(&NodePortAddress::All) {
        return Listen::Everywhere;
    }
    let admitted = LOOPBACK.into_iter().zip(on_loopback(words));
    let admitted = admitted.filter_map(|(addr, yes)| yes.then_some(addr));
    Listen::On(
        admitted
            .chain(addresses.iter().map(|(ip, _)| *ip))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_checks_listen_where_node_ports_answer() {
        let here: IpAddr = "10.0.0.1".parse().unwrap();
        let listen = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|w| w.parse().unwrap()).collect();
            super::listen(&words, &[(here, 2)])
        };
        let on = |all: &[&str]| Listen::On(all.iter().map(|ip| ip.parse().unwrap()).collect());
        assert_eq!(listen(&["primary", "all"]), Listen::Everywhere);
        assert_eq!(listen(&["primary"]), on(&["10.0.0.1"]));
        assert_eq!(
            listen(&["localhost", "10.0.0.0/8"]),
            on(&["127.0.0.1", "::1", "10.0.0.1"])
        );
        assert_eq!(listen(&["127.0.0.0/8"]), on(&["127.0.0.1", "10.0.0.1"]));
    }

    #[test]
    fn loopback_is_what_the_words_say() {
        for (words, expected) in [
            (&["all"][..], [true, true]),
            (&["primary"], [false, false]),
            (&["primary", "localhost"], [true, true]),
            (&["10.0.0.0/8", "::/0"], [false, true]),
            (&["127.0.0.1/32"], [true, false]),
            (&["127.0.0.2/32"], [false, false]),
        ] {
            let words: Vec<_> = words.iter().map(|w| w.parse().unwrap()).collect();
            assert_eq!(on_loopback(&words), expected, "{words:?}");
        }
    }

    use crate::model::{Event, Node};

    #[test]
    fn primary_addresses_wait_for_the_node_and_all_others_do_not() {
        let of = |ip: &str, ifindex| (ip.parse::<IpAddr>().unwrap(), ifindex);
        let machine = [of("127.0.0.1", 1), of("10.0.0.1", 2), of("10.9.0.1", 3)];
        let mut cluster = Cluster::default();
        let all = Some(machine[1..].to_vec());
        assert_eq!(
            addresses(&[NodePortAddress::All], None, &cluster, &machine),
            all
        );
        let primary = [NodePortAddress::Localhost, NodePortAddress::Primary];
        assert_eq!(addresses(&primary, None, &cluster, &machine), None);

        cluster.apply(Event::Node(Node {
            addresses: vec![machine[1].0],
            ..Node::default()
        }));
        let ours = Some(vec![machine[1]]);
        assert_eq!(addresses(&primary, None, &cluster, &machine), ours);
        // Another one that was given takes its place, and one of the other family does not.
        let given = Some(machine[2].0);
        assert_eq!(
            addresses(&primary, given, &cluster, &machine),
            Some(vec![machine[2]])
        );
        let v6 = Some("fd66::1".parse().unwrap());
        assert_eq!(addresses(&primary, v6, &cluster, &machine), ours);

        cluster.apply(Event::NodeGone);
        assert_eq!(
            addresses(&primary, None, &cluster, &machine),
            Some(Vec::new())
        );
    }
}
