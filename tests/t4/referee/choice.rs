//! Which endpoints serve: readiness, policies, hints, affinity.

use conformance::{
    Client, Endpoint, Front, Ingress, Slice, Svc, Type,
    world::{NODE, OTHER_NODE, ZONES},
};

use crate::referee::{
    played,
    scenario::{Answer, Scenario, ready, scenario, slice},
};

const HERE: &str = ZONES[0];
const THERE: &str = ZONES[1];

#[test]
fn the_agent_chooses_endpoints_as_kube_proxy_does() -> anyhow::Result<()> {
    played::check("choice")
}

pub(crate) fn all() -> Vec<Scenario> {
    let mut all = readiness();
    all.extend(hints());
    all.extend(policies());
    all.extend(affinity());
    all
}

fn of(endpoints: impl IntoIterator<Item = Endpoint>) -> Svc {
    Svc {
        kind: Type::NodePort,
        slices: vec![slice(endpoints)],
        ..Svc::default()
    }
}

fn pod(number: usize) -> Endpoint {
    Endpoint::new(number)
}

fn draining(number: usize) -> Endpoint {
    pod(number).is(false, true, true)
}

fn cluster(name: &str, svc: Svc, pods: &'static [usize]) -> Scenario {
    scenario(name, &[svc])
        .says(Client::Pod, Front::ClusterIp, Answer::Pods(pods))
        .says(Client::Host, Front::ClusterIp, Answer::Pods(pods))
        .says(Client::Outside, Front::NodePort, Answer::Pods(pods))
}

fn readiness() -> Vec<Scenario> {
    let gone = |number| pod(number).is(false, false, true);
    vec![
        cluster(
            "ready ones serve",
            of([pod(1), pod(3).is(false, false, false)]),
            &[1],
        ),
        cluster(
            "none is ready: those that terminate and still serve",
            of([draining(1), draining(3), gone(4)]),
            &[1, 3],
        ),
        cluster(
            "terminating, and nothing is said of serving: it serves",
            of([
                Endpoint {
                    ready: Some(false),
                    terminating: Some(true),
                    ..pod(1)
                },
                gone(3),
            ]),
            &[1],
        ),
        cluster(
            "one is ready: those that terminate do not",
            of([draining(1), pod(3)]),
            &[3],
        ),
        cluster(
            "ready although it terminates",
            of([pod(1).is(true, true, true), pod(3)]),
            &[1, 3],
        ),
        cluster(
            "serving without being ready or terminating is nothing",
            of([pod(1).is(false, true, false), pod(3)]),
            &[3],
        ),
        scenario(
            "terminating ones that serve no more: nothing",
            &[of([gone(1), gone(3)])],
        )
        .says(Client::Pod, Front::ClusterIp, Answer::Refused)
        .says(Client::Outside, Front::NodePort, Answer::Refused),
        scenario("a rolling update, step by step", &[of([pod(1), pod(3)])])
            .then(&[Some(of([draining(1), pod(3), pod(4)]))])
            .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[3, 4]))
            .then(&[Some(of([draining(1), draining(3)]))])
            .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[1, 3]))
            .then(&[Some(of([pod(4)]))])
            .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[4])),
    ]
}

fn hints() -> Vec<Scenario> {
    let zones = |number, zone| pod(number).zone(zone);
    vec![
        cluster(
            "hints for our zone",
            of([zones(1, THERE), zones(3, HERE), zones(4, HERE)]),
            &[3, 4],
        ),
        cluster(
            "one endpoint without a hint undoes all",
            of([zones(1, THERE), pod(3)]),
            &[1, 3],
        ),
        cluster(
            "no endpoint for our zone: all",
            of([zones(1, THERE), zones(3, "elsewhere")]),
            &[1, 3],
        ),
        cluster(
            "only ready ones are asked for hints",
            of([
                zones(1, HERE),
                zones(3, THERE),
                pod(4).is(false, false, false),
            ]),
            &[1],
        ),
        cluster(
            "hints for our node go before zones",
            of([zones(1, HERE).node(OTHER_NODE), zones(3, HERE).node(NODE)]),
            &[3],
        ),
        cluster(
            "no hint for our node: zones",
            of([
                zones(1, HERE).node(OTHER_NODE),
                zones(3, THERE).node(OTHER_NODE),
            ]),
            &[1],
        ),
        cluster(
            "one without a node hint: zones",
            of([zones(1, THERE).node(NODE), zones(3, HERE)]),
            &[3],
        ),
        cluster(
            "two zones in one hint",
            of([zones(1, HERE).zone(THERE), zones(3, THERE)]),
            &[1],
        ),
        cluster(
            "the fallback to terminating ones asks no hints",
            of([draining(1).zone(THERE), draining(3).zone(HERE)]),
            &[1, 3],
        ),
        scenario(
            "a local policy asks no hints",
            &[Svc {
                external_local: true,
                ..of([zones(1, THERE), zones(3, HERE)])
            }],
        )
        .says(Client::Outside, Front::NodePort, Answer::Pods(&[1]))
        .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[3])),
        scenario(
            "hints that come and go",
            &[of([zones(1, THERE), zones(3, HERE)])],
        )
        .then(&[Some(of([pod(1), pod(3)]))])
        .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[1, 3]))
        .then(&[Some(of([zones(1, HERE), zones(3, THERE)]))])
        .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[1])),
    ]
}

fn policies() -> Vec<Scenario> {
    let internal = |svc: Svc| Svc {
        internal_local: true,
        ..svc
    };
    let external = |svc: Svc| Svc {
        kind: Type::LoadBalancer,
        ingress: vec![Ingress::Ip(0, None)],
        external_ips: 1,
        external_local: true,
        ..svc
    };
    let lb = Front::LoadBalancer(0, None);
    let nameless = |number| Endpoint {
        nameless: true,
        ..pod(number)
    };
    // On a port of this pod that no other scenario uses: none but this one tells where it stands.
    let unknown = Slice {
        targets: vec![Some(2), Some(2)],
        ..slice([nameless(2)])
    };
    vec![
        scenario(
            "internal Local: this node's alone",
            &[internal(of([pod(1), pod(3)]))],
        )
        .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[1]))
        .says(Client::Outside, Front::NodePort, Answer::Pods(&[1, 3])),
        scenario(
            "internal Local and none here: none answers",
            &[internal(of([pod(3)]))],
        )
        .says(Client::Pod, Front::ClusterIp, Answer::Silence)
        .says(Client::Outside, Front::NodePort, Answer::Pods(&[3])),
        scenario(
            "internal Local and none anywhere: refused",
            &[internal(of([]))],
        )
        .says(Client::Pod, Front::ClusterIp, Answer::Refused),
        scenario(
            "internal Local: the terminating one of this node",
            &[internal(of([draining(1), pod(3)]))],
        )
        .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[1])),
        scenario(
            "external Local: this node's alone for those outside, all for those inside",
            &[external(of([pod(1), pod(3)]))],
        )
        .says(Client::Outside, Front::NodePort, Answer::Pods(&[1]))
        .says(Client::Outside, lb, Answer::Pods(&[1]))
        .says(Client::Outside, Front::External(0), Answer::Pods(&[1]))
        .says(Client::Pod, lb, Answer::Pods(&[1, 3]))
        .says(Client::Host, lb, Answer::Pods(&[1, 3]))
        .says(Client::Pod, Front::NodePort, Answer::Pods(&[1, 3]))
        .says(Client::Pod, Front::External(0), Answer::Pods(&[1, 3])),
        scenario(
            "external Local and none here: none answers those outside",
            &[external(of([pod(3), pod(4)]))],
        )
        .says(Client::Outside, Front::NodePort, Answer::Silence)
        .says(Client::Outside, lb, Answer::Silence)
        .says(Client::Pod, lb, Answer::Pods(&[3, 4])),
        scenario(
            "external Local: the terminating one of this node",
            &[external(of([draining(1), pod(3)]))],
        )
        .says(Client::Outside, lb, Answer::Pods(&[1])),
        scenario(
            "external Local and none anywhere: refused",
            &[external(of([]))],
        )
        .says(Client::Outside, lb, Answer::Refused),
        scenario("both Local", &[internal(external(of([pod(0), pod(3)])))])
            .says(Client::Outside, lb, Answer::Pods(&[0]))
            .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[0])),
        scenario(
            "an endpoint without a node that stands here all the same",
            &[Svc {
                slices: vec![unknown],
                ..of([])
            }],
        )
        .says(Client::Outside, Front::NodePort, Answer::Pods(&[2]))
        .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[2])),
        scenario(
            "an endpoint without a node is local to none",
            &[external(of([nameless(1), pod(3)]))],
        )
        .says(Client::Outside, lb, Answer::Silence)
        .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[1, 3])),
    ]
}

fn affinity() -> Vec<Scenario> {
    let sticky = |svc: Svc| Svc {
        affinity: Some(600),
        ..svc
    };
    let one_of = Answer::OneOf(&[1, 2, 3, 4]);
    let all = || of([pod(1), pod(2), pod(3), pod(4)]);
    vec![
        scenario(
            "session affinity: a client has one backend",
            &[sticky(all())],
        )
        .says(Client::Pod, Front::ClusterIp, one_of)
        .says(Client::Outside, Front::NodePort, one_of),
        scenario(
            "its backend goes: another one, and that one stays",
            &[sticky(all())],
        )
        .then(&[Some(sticky(of([pod(1), pod(4)])))])
        .says(Client::Pod, Front::ClusterIp, Answer::OneOf(&[1, 4]))
        .then(&[Some(sticky(of([pod(3)])))])
        .says(Client::Pod, Front::ClusterIp, Answer::OneOf(&[3])),
        scenario("affinity off and on again", &[sticky(all())])
            .then(&[Some(all())])
            .says(Client::Pod, Front::ClusterIp, Answer::Pods(&[1, 2, 3, 4]))
            .then(&[Some(sticky(all()))])
            .says(Client::Pod, Front::ClusterIp, one_of),
        scenario(
            "affinity holds among local ones",
            &[Svc {
                external_local: true,
                ..sticky(all())
            }],
        )
        .says(Client::Outside, Front::NodePort, Answer::OneOf(&[1, 2])),
        scenario(
            "affinity without endpoints",
            &[Svc {
                slices: ready(&[]),
                ..sticky(all())
            }],
        )
        .says(Client::Pod, Front::ClusterIp, Answer::Refused),
    ]
}
