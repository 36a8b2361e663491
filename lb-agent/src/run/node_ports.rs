//! On which of the machine's addresses node ports answer. Owns the meaning of `--node-port-addresses` for this Node; pure.

use std::net::IpAddr;

use crate::{config::NodePortAddress, model::Cluster};

/// Those of `machine` (each with its interface) that `words` admit; `None` while they ask for the Node's addresses and the
/// Node is not listed yet: what a previous agent wrote stands until then. Never loopback, which the socket programs know by
/// themselves, and only for the host.
pub(super) fn addresses(
    words: &[NodePortAddress],
    cluster: &Cluster,
    machine: &[(IpAddr, u32)],
) -> Option<Vec<(IpAddr, u32)>> {
    if words.contains(&NodePortAddress::Primary) && !cluster.synced().node {
        return None;
    }
    let primary = cluster.node().map_or(&[][..], |n| &n.addresses);
    let admitted =
        |addr: &IpAddr| !addr.is_loopback() && words.iter().any(|word| word.admits(*addr, primary));
    let admitted = machine.iter().filter(|(addr, _)| admitted(addr));
    Some(admitted.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, Node};

    #[test]
    fn primary_addresses_wait_for_the_node_and_all_others_do_not() {
        let of = |ip: &str, ifindex| (ip.parse::<IpAddr>().unwrap(), ifindex);
        let machine = [of("127.0.0.1", 1), of("10.0.0.1", 2), of("10.9.0.1", 3)];
        let mut cluster = Cluster::default();
        let all = Some(machine[1..].to_vec());
        assert_eq!(addresses(&[NodePortAddress::All], &cluster, &machine), all);
        let primary = [NodePortAddress::Localhost, NodePortAddress::Primary];
        assert_eq!(addresses(&primary, &cluster, &machine), None);

        cluster.apply(Event::Node(Node {
            addresses: vec![machine[1].0],
            ..Node::default()
        }));
        let ours = Some(vec![machine[1]]);
        assert_eq!(addresses(&primary, &cluster, &machine), ours);

        cluster.apply(Event::NodeGone);
        assert_eq!(addresses(&primary, &cluster, &machine), Some(Vec::new()));
    }
}
