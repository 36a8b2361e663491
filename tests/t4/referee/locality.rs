//! Whom a backend sees, and who is let in.

use conformance::{Client, Front, Ingress, Svc, Type};

use crate::referee::{
    played,
    scenario::{Answer, Scenario, ready, scenario},
};

#[test]
fn the_agent_keeps_and_admits_addresses_as_kube_proxy_does() -> anyhow::Result<()> {
    played::check("locality")
}

pub(crate) fn all() -> Vec<Scenario> {
    let balanced = |pods: &[usize]| Svc {
        kind: Type::LoadBalancer,
        ingress: vec![Ingress::Ip(0, None)],
        external_ips: 1,
        slices: ready(pods),
        ..Svc::default()
    };
    let ranged = |ranges: &[&str]| Svc {
        ranges: ranges.iter().map(|&range| range.to_owned()).collect(),
        ..balanced(&[1, 3])
    };
    let lb = Front::LoadBalancer(0, None);
    let both = Answer::Pods(&[1, 3]);
    vec![
        scenario("a pod that is its own backend", &[balanced(&[0])])
            .says(Client::Backend, Front::ClusterIp, Answer::Pods(&[0]))
            .says(Client::Backend, lb, Answer::Pods(&[0]))
            .says(Client::Backend, Front::NodePort, Answer::Pods(&[0])),
        scenario(
            "external Cluster: near and far backends",
            &[balanced(&[1, 3])],
        )
        .says(Client::Outside, lb, both)
        .says(Client::Outside, Front::External(0), both),
        scenario(
            "external Local: the client's address is kept",
            &[Svc {
                external_local: true,
                ..balanced(&[1, 3])
            }],
        )
        .says(Client::Outside, lb, Answer::Pods(&[1])),
        scenario(
            "source ranges admit the client outside",
            &[ranged(&["198.18.0.0/24", "fd66:18::/64"])],
        )
        .says(Client::Outside, lb, both)
        .says(Client::Outside, Front::NodePort, both)
        .says(Client::Outside, Front::External(0), both)
        .says(Client::Pod, lb, Answer::Silence),
        scenario(
            "source ranges admit one address",
            &[ranged(&["198.18.0.102/32", "fd66:18::66/128"])],
        )
        .says(Client::Outside, lb, both)
        .says(Client::Pod, lb, Answer::Silence),
        scenario(
            "source ranges admit others",
            &[ranged(&["203.0.113.0/24", "fd66:1::/64"])],
        )
        .says(Client::Outside, lb, Answer::Silence)
        .says(Client::Outside, Front::NodePort, both)
        .says(Client::Pod, lb, Answer::Silence)
        .says(Client::Pod, Front::ClusterIp, both),
        scenario(
            "source ranges admit pods",
            &[ranged(&["10.244.0.0/16", "fd66:244::/48"])],
        )
        .says(Client::Pod, lb, both)
        .says(Client::Outside, lb, Answer::Silence),
        scenario(
            "source ranges of one family leave the other open",
            &[ranged(&["203.0.113.0/24"])],
        ),
        scenario("source ranges that come and go", &[balanced(&[1, 3])])
            .then(&[Some(ranged(&["203.0.113.0/24", "fd66:1::/64"]))])
            .says(Client::Outside, lb, Answer::Silence)
            .then(&[Some(balanced(&[1, 3]))])
            .says(Client::Outside, lb, both),
        scenario(
            "source ranges and external Local",
            &[Svc {
                external_local: true,
                ..ranged(&["198.18.0.0/24", "fd66:18::/64"])
            }],
        )
        .says(Client::Outside, lb, Answer::Pods(&[1])),
    ]
}
