//! Which objects count, and how they fit together: features of the API that every Service proxy
//! reads.

use conformance::{Client, Endpoint, Front, Ingress, Port, Slice, Svc, Type, plan::OnlyFamily};
use testbed::probe::Family;

use crate::referee::{
    played,
    scenario::{Answer, Scenario, ready, scenario, slice},
};

#[test]
fn the_agent_reads_objects_as_kube_proxy_does() -> anyhow::Result<()> {
    played::check("inputs")
}

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = skipped();
    all.extend(ports_and_slices());
    all.extend(changes());
    all
}

fn web() -> Svc {
    Svc {
        slices: ready(&[1, 3]),
        ..Svc::default()
    }
}

fn skipped() -> Vec<Scenario> {
    let labelled = |label| Svc {
        label: Some(label),
        kind: Type::NodePort,
        ..web()
    };
    let headless = Svc {
        kind: Type::Headless,
        external_ips: 1,
        ..web()
    };
    vec![
        scenario(
            "a headless Service has no frontend, not even its external IPs",
            &[headless],
        )
        .says(Client::Pod, Front::External(0), Answer::Silence),
        scenario(
            "service-proxy-name: another proxy's",
            &[labelled("service.kubernetes.io/service-proxy-name")],
        )
        .says(Client::Pod, Front::ClusterIp, Answer::Silence)
        .says(Client::Outside, Front::NodePort, Answer::Refused),
        scenario(
            "labelled headless: its slices do not count",
            &[labelled("service.kubernetes.io/headless")],
        )
        .says(Client::Pod, Front::ClusterIp, Answer::Refused),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn ports_and_slices() -> Vec<Scenario> {
    let with = |slices: Vec<Slice>| Svc { slices, ..web() };
    let targets = |targets: [Option<usize>; 2], pods: &[usize]| Slice {
        targets: targets.to_vec(),
        ..slice(pods.iter().map(|pod| Endpoint::new(*pod)))
    };
    let only = |only, pods: &[usize]| Slice {
        only: Some(only),
        ..slice(pods.iter().map(|pod| Endpoint::new(*pod)))
    };
    let pods = |numbers| Answer::Pods(numbers);
    vec![
        scenario(
            "a named port has another number in each slice",
            &[with(vec![
                targets([Some(0), Some(1)], &[0, 3]),
                targets([Some(2), Some(0)], &[1]),
            ])],
        )
        .says(Client::Pod, Front::ClusterIp, pods(&[0, 1, 3])),
        scenario(
            "a slice that has not this port gives it no endpoint",
            &[with(vec![
                targets([Some(0), Some(0)], &[3]),
                targets([None, None], &[1]),
            ])],
        )
        .says(Client::Pod, Front::ClusterIp, pods(&[3])),
        scenario(
            "one pod on two ports of two slices is two endpoints",
            &[with(vec![
                targets([Some(0), Some(0)], &[3]),
                targets([Some(1), Some(1)], &[3]),
            ])],
        )
        .says(Client::Pod, Front::ClusterIp, pods(&[3])),
        scenario(
            "an endpoint stands in two slices while it moves",
            &[with(vec![
                slice([Endpoint::new(1).is(true, true, true), Endpoint::new(3)]),
                slice([Endpoint::new(1), Endpoint::new(4)]),
            ])],
        )
        .says(Client::Pod, Front::ClusterIp, pods(&[1, 3, 4])),
        scenario(
            "several slices are one Service",
            &[with(vec![
                slice([Endpoint::new(1)]),
                slice([Endpoint::new(2)]),
                slice([Endpoint::new(5)]),
            ])],
        )
        .says(Client::Host, Front::ClusterIp, pods(&[1, 2, 5])),
        scenario(
            "each family has its own endpoints",
            &[with(vec![
                only(OnlyFamily::V4, &[1]),
                only(OnlyFamily::V6, &[1, 3]),
            ])],
        ),
        scenario(
            "a family without endpoints refuses, the other one answers",
            &[with(vec![only(OnlyFamily::V6, &[4])])],
        ),
        scenario(
            "IPv6 alone",
            &[Svc {
                families: vec![Family::V6],
                kind: Type::NodePort,
                ..web()
            }],
        )
        .says(Client::Outside, Front::NodePort, pods(&[1, 3])),
        scenario(
            "IPv4 alone",
            &[Svc {
                families: vec![Family::V4],
                kind: Type::NodePort,
                ..web()
            }],
        )
        .says(Client::Outside, Front::NodePort, pods(&[1, 3])),
        scenario(
            "one port without a name",
            &[Svc {
                ports: vec![Port::udp("", 53)],
                slices: vec![Slice {
                    targets: vec![Some(1)],
                    ..slice([Endpoint::new(3)])
                }],
                ..Svc::default()
            }],
        )
        .says(Client::Pod, Front::ClusterIp, pods(&[3])),
        scenario(
            "mixed protocols behind a load balancer",
            &[Svc {
                kind: Type::LoadBalancer,
                ingress: vec![Ingress::Ip(0, None)],
                ..web()
            }],
        )
        .says(Client::Outside, Front::LoadBalancer(0, None), pods(&[1, 3])),
        scenario(
            "a load balancer without node ports",
            &[Svc {
                kind: Type::LoadBalancer,
                ingress: vec![Ingress::Ip(0, None)],
                no_node_ports: true,
                ..web()
            }],
        )
        .says(Client::Outside, Front::LoadBalancer(0, None), pods(&[1, 3])),
        scenario(
            "conditions that are not said: ready",
            &[with(vec![slice([
                Endpoint {
                    terminating: Some(true),
                    ..Endpoint::new(1)
                },
                Endpoint {
                    ready: Some(true),
                    serving: Some(false),
                    ..Endpoint::new(3)
                },
                Endpoint {
                    ready: Some(false),
                    ..Endpoint::new(4)
                },
            ])])],
        )
        .says(Client::Pod, Front::ClusterIp, pods(&[1, 3])),
    ]
}

fn changes() -> Vec<Scenario> {
    let node_port = Svc {
        kind: Type::NodePort,
        ..web()
    };
    let balanced = Svc {
        kind: Type::LoadBalancer,
        ingress: vec![Ingress::Ip(0, None)],
        external_ips: 1,
        ..web()
    };
    let pods = |numbers| Answer::Pods(numbers);
    vec![
        scenario(
            "a Service that is deleted answers no more",
            std::slice::from_ref(&node_port),
        )
        .says(Client::Outside, Front::NodePort, pods(&[1, 3]))
        .then(&[None])
        .says(Client::Outside, Front::GoneNodePort, Answer::Refused)
        .says(Client::Pod, Front::Gone, Answer::Silence),
        scenario(
            "deleted and made again under the same name",
            std::slice::from_ref(&node_port),
        )
        .then(&[Some(Svc {
            made: 1,
            slices: ready(&[2]),
            ..node_port.clone()
        })])
        .says(Client::Outside, Front::NodePort, pods(&[2]))
        .then(&[Some(Svc {
            made: 2,
            ..node_port.clone()
        })])
        .says(Client::Outside, Front::NodePort, pods(&[1, 3])),
        scenario(
            "its endpoints go and come back",
            std::slice::from_ref(&node_port),
        )
        .then(&[Some(Svc {
            slices: Vec::new(),
            ..node_port.clone()
        })])
        .says(Client::Pod, Front::ClusterIp, Answer::Refused)
        .says(Client::Outside, Front::NodePort, Answer::Refused)
        .then(&[Some(Svc {
            slices: ready(&[5]),
            ..node_port.clone()
        })])
        .says(Client::Pod, Front::ClusterIp, pods(&[5])),
        scenario(
            "a load balancer becomes a ClusterIP and a load balancer again",
            std::slice::from_ref(&balanced),
        )
        .then(&[Some(Svc {
            kind: Type::ClusterIp,
            ..balanced.clone()
        })])
        .says(Client::Pod, Front::ClusterIp, pods(&[1, 3]))
        .then(&[Some(balanced.clone())])
        .says(Client::Outside, Front::LoadBalancer(0, None), pods(&[1, 3])),
        scenario(
            "its ports change: number, name, one less, one more",
            std::slice::from_ref(&node_port),
        )
        .then(&[Some(Svc {
            ports: vec![Port::tcp("tcp", 81), Port::udp("udp", 82)],
            ..node_port.clone()
        })])
        .says(Client::Pod, Front::ClusterIp, pods(&[1, 3]))
        .then(&[Some(Svc {
            ports: vec![Port::tcp("web", 81)],
            ..node_port.clone()
        })])
        .says(Client::Outside, Front::NodePort, pods(&[1, 3]))
        .then(&[Some(Svc {
            ports: vec![Port::udp("web", 81), Port::tcp("other", 81)],
            ..node_port.clone()
        })])
        .says(Client::Outside, Front::NodePort, pods(&[1, 3])),
        scenario(
            "policies and affinity change while it stands",
            std::slice::from_ref(&balanced),
        )
        .then(&[Some(Svc {
            external_local: true,
            affinity: Some(100),
            ..balanced.clone()
        })])
        .says(Client::Outside, Front::LoadBalancer(0, None), pods(&[1]))
        .then(&[Some(Svc {
            internal_local: true,
            ..balanced.clone()
        })])
        .says(Client::Pod, Front::ClusterIp, pods(&[1]))
        .then(&[Some(balanced)])
        .says(Client::Pod, Front::ClusterIp, pods(&[1, 3])),
    ]
}
