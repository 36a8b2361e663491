//! The ways in to a Service, and who may take them.

use conformance::{Client, Front, Ingress, Port, Svc, Type};

use crate::referee::{
    played,
    scenario::{Answer, Scenario, ready, scenario},
};

#[test]
fn the_agent_answers_where_kube_proxy_does() -> anyhow::Result<()> {
    played::check("frontends")
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub(crate) fn all() -> Vec<Scenario> {
    let web = Svc {
        slices: ready(&[1, 3]),
        ..Svc::default()
    };
    let node_port = Svc {
        kind: Type::NodePort,
        ..web.clone()
    };
    let balanced = |ingress: &[Ingress]| Svc {
        kind: Type::LoadBalancer,
        ingress: ingress.to_vec(),
        ..web.clone()
    };
    let both = Answer::Pods(&[1, 3]);
    let proxy = Some("Proxy");
    let mut all = vec![
        scenario("ClusterIP", std::slice::from_ref(&web))
            .says(Client::Pod, Front::ClusterIp, both)
            .says(Client::Host, Front::ClusterIp, both)
            .says(Client::Outside, Front::ClusterIp, both)
            .says(Client::Pod, Front::UndefinedPort, Answer::Refused)
            .says(Client::Outside, Front::UndefinedPort, Answer::Refused),
        scenario(
            "NodePort, on the Node's own addresses alone",
            std::slice::from_ref(&node_port),
        )
        .says(Client::Pod, Front::NodePort, both)
        .says(Client::Host, Front::NodePort, both)
        .says(Client::Outside, Front::NodePort, both)
        .says(Client::Outside, Front::OtherAddress, Answer::Refused)
        .says(Client::Host, Front::Loopback, Answer::Refused),
        scenario(
            "load-balancer IPs: those with ipMode VIP or none",
            &[balanced(&[
                Ingress::Ip(0, None),
                Ingress::Ip(1, Some("VIP")),
                Ingress::Ip(2, proxy),
                Ingress::Hostname,
            ])],
        )
        .says(Client::Outside, Front::LoadBalancer(0, None), both)
        .says(Client::Pod, Front::LoadBalancer(1, Some("VIP")), both)
        .says(Client::Pod, Front::ClusterIp, both),
        scenario(
            "a hostname alone is no frontend",
            &[balanced(&[Ingress::Hostname])],
        )
        .says(Client::Outside, Front::NodePort, both),
        scenario("ingress IPs that come and go", &[balanced(&[])])
            .then(&[Some(balanced(&[Ingress::Ip(0, None)]))])
            .says(Client::Outside, Front::LoadBalancer(0, None), both)
            .then(&[Some(balanced(&[
                Ingress::Ip(0, proxy),
                Ingress::Ip(1, None),
            ]))])
            .says(Client::Outside, Front::LoadBalancer(1, None), both),
        scenario(
            "external IPs of a ClusterIP",
            &[Svc {
                external_ips: 2,
                ..web.clone()
            }],
        )
        .says(Client::Outside, Front::External(0), both)
        .says(Client::Pod, Front::External(1), both)
        .says(Client::Host, Front::External(1), both),
        scenario(
            "external IPs that come and go",
            &[Svc {
                external_ips: 1,
                ..web.clone()
            }],
        )
        .then(&[Some(web.clone())])
        .then(&[Some(Svc {
            external_ips: 2,
            ..web.clone()
        })])
        .says(Client::Outside, Front::External(1), both),
        scenario(
            "no endpoint: refused on every way in",
            &[Svc {
                slices: Vec::new(),
                external_ips: 1,
                ..balanced(&[Ingress::Ip(0, None)])
            }],
        )
        .says(Client::Pod, Front::ClusterIp, Answer::Refused)
        .says(Client::Host, Front::ClusterIp, Answer::Refused)
        .says(Client::Outside, Front::NodePort, Answer::Refused)
        .says(
            Client::Outside,
            Front::LoadBalancer(0, None),
            Answer::Refused,
        )
        .says(Client::Outside, Front::External(0), Answer::Refused),
    ];
    // Each has a port of its own behind the one IP.
    let shared = |ports: Vec<Port>, pods: &[usize]| Svc {
        ports,
        slices: ready(pods),
        ..balanced(&[Ingress::Ip(0, None)])
    };
    let one = shared(vec![Port::tcp("a", 80), Port::udp("b", 80)], &[1]);
    let other = shared(vec![Port::tcp("a", 81)], &[3]);
    all.push(
        scenario(
            "two Services share a load-balancer IP",
            &[one.clone(), other],
        )
        .says(
            Client::Outside,
            Front::LoadBalancer(0, None),
            Answer::Pods(&[1]),
        )
        .then(&[Some(one), None])
        .says(
            Client::Outside,
            Front::LoadBalancer(0, None),
            Answer::Pods(&[1]),
        ),
    );
    all
}
