//! What the node's own firewall and IPsec say of packets that it forwards for Services: what
//! `docs/compat.md` and `docs/operations.md` say in their first lines.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use testbed::{
    agent::Start,
    lan::Offloads,
    matrix::hooks,
    node::PodNetwork,
    one_node::TARGET,
    probe::{Family, Kind},
    two_nodes::{LOCAL_PORT, REMOTE, REMOTE_PORT, TwoNodes},
};

#[test]
fn forward_rules_hold_for_backends_here_and_not_for_those_on_other_nodes() -> Result<()> {
    for hook in hooks() {
        let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, hook.start())?;
        let at = |port| bed.near.addr().at(Family::V4, port);
        for port in [LOCAL_PORT, REMOTE_PORT] {
            bed.client.ask(Kind::Tcp, at(port))?;
        }
        let rules = "add table inet fw; add chain inet fw forward { type filter hook forward priority 0; policy drop; }";
        bed.near.run(&["nft", rules])?;
        ensure!(
            bed.client.ask(Kind::Udp, at(LOCAL_PORT)).is_err(),
            "{hook:?}: the rule holds for a pod of this node"
        );
        bed.client.ask(Kind::Tcp, at(REMOTE_PORT))?;
        // Nor is there another chain that they come through: tc comes before it.
        let rules = format!(
            "add table netdev fw; add chain netdev fw in {{ type filter hook ingress device eth0 priority 0; policy accept; }}; add rule netdev fw in ip saddr {} drop",
            bed.client.addr.v4
        );
        bed.near.run(&["nft", &rules])?;
        bed.client.ask(Kind::Tcp, at(REMOTE_PORT))?;
    }
    Ok(())
}

#[test]
fn ipsec_policies_do_not_hold_for_packets_to_backends_on_other_nodes() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::On, Start::new())?;
    let to = bed.near.addr().at(Family::V4, REMOTE_PORT);
    bed.client.ask(Kind::Tcp, to)?;
    for pod in bed.far.pods() {
        let addr = format!("{}/32", pod.addr().v4);
        for direction in ["out", "fwd"] {
            bed.near.run(&[
                "ip", "xfrm", "policy", "add", "dst", &addr, "dir", direction, "action", "block",
            ])?;
        }
        // A process of the node is stopped.
        let direct = SocketAddr::new(pod.addr().v4.into(), TARGET);
        ensure!(
            bed.near.ask(Kind::Tcp, direct).is_err(),
            "the policy blocks"
        );
    }
    let answer = bed.client.ask(Kind::Tcp, to)?;
    ensure!(REMOTE.contains(&answer.name.as_str()), "{}", answer.name);
    Ok(())
}
