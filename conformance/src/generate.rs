//! The clusters made at random: a few Services of every kind, and a few changes of them.

use anyhow::{Result, anyhow};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::{Index, select, subsequence},
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use testbed::probe::Family;

use crate::{
    plan::{Endpoint, Ingress, OnlyFamily, Plan, Port, Slice, Svc, Type},
    side::Side,
    world::{NODE, OTHER_NODE, TARGETS, ZONES},
};

/// The cluster of this number; always the same.
pub fn plan(seed: u64) -> Result<Plan> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = cluster().new_tree(&mut runner);
    let (first, edits) = tree.map_err(|reason| anyhow!("{reason}"))?.current();
    let mut states = vec![first.into_iter().map(Some).collect::<Vec<_>>()];
    for edit in edits {
        let mut next = states.last().cloned().unwrap_or_default();
        edit.apply(&mut next);
        states.push(next);
    }
    states
        .iter_mut()
        .flatten()
        .flatten()
        .for_each(Svc::tell_twins_apart);
    Ok(Plan {
        name: format!("seed {seed}"),
        states,
    })
}

/// A cluster for two nodes: as [`plan`], and some endpoints name the node that they do not run on,
/// as those of hand-made slices do. Not under external policy Local, where kube-proxy sends packets
/// to such an endpoint that come back past the node.
pub fn plan_of_pair(seed: u64) -> Result<Plan> {
    let mut plan = plan(seed)?;
    for svc in plan.states.iter_mut().flatten().flatten() {
        let is_free = !svc.external_local;
        let slices = &mut svc.slices;
        for endpoint in slices.iter_mut().flat_map(|slice| &mut slice.endpoints) {
            // Always the same ones of a cluster: a pod does not move while it runs.
            let chance = seed.wrapping_mul(31).wrapping_add(endpoint.pod as u64 * 7) % 24;
            endpoint.misplaced = is_free && chance == 0 && !endpoint.nameless;
            // What kube-proxy makes of a pod that asks itself and is no local endpoint has a
            // scenario of its own.
            if Side::ALL.iter().any(|side| side.backend() == endpoint.pod) {
                (endpoint.nameless, endpoint.misplaced) = (false, false);
            }
        }
    }
    Ok(plan)
}

fn cluster() -> impl Strategy<Value = (Vec<Svc>, Vec<Edit>)> {
    (vec(svc(), 1..=3), vec(edit(), 1..=3)).prop_map(|(mut svcs, edits)| {
        for (position, svc) in svcs.iter_mut().enumerate() {
            own_ingress(position, svc);
        }
        (svcs, edits)
    })
}

/// No two Services share a load-balancer IP here, because its owner would be unknown.
fn own_ingress(position: usize, svc: &mut Svc) {
    let first = u8::try_from(position * 8).unwrap_or(0);
    for (ingress, n) in svc.ingress.iter_mut().zip(first..) {
        if let Ingress::Ip(number, _) = ingress {
            *number = n;
        }
    }
}

fn svc() -> impl Strategy<Value = Svc> {
    let kind = prop_oneof![
        3 => Just(Type::ClusterIp), 3 => Just(Type::NodePort), 4 => Just(Type::LoadBalancer), 1 => Just(Type::Headless)
    ];
    let families = prop_oneof![
        2 => Just(vec![Family::V4]), 1 => Just(vec![Family::V6]), 1 => Just(vec![Family::V4, Family::V6]),
        1 => Just(vec![Family::V6, Family::V4])
    ];
    let label = prop_oneof![
        20 => Just(None),
        1 => Just(Some("service.kubernetes.io/service-proxy-name")),
        1 => Just(Some("service.kubernetes.io/headless"))
    ];
    let shape = (kind, families, ports(), label);
    let policy = (
        often(30),
        often(25),
        option::weighted(0.2, 60u32..1000),
        often(15),
    );
    let outer = (
        vec(ingress(), 0..=2),
        prop_oneof![4 => Just(0u8), 1 => Just(1), 1 => Just(2)],
        ranges(),
    );
    (shape, policy, outer, slices()).prop_map(|(shape, policy, outer, slices)| {
        let (kind, families, ports, label) = shape;
        let (external_local, internal_local, affinity, no_node_ports) = policy;
        let (ingress, external_ips, ranges) = outer;
        Svc {
            kind,
            families,
            ports,
            external_local,
            internal_local,
            affinity: affinity.filter(|_| kind != Type::Headless),
            ingress,
            external_ips,
            ranges,
            no_node_ports,
            label,
            slices,
            made: 0,
        }
    })
}

fn often(percent: u32) -> impl Strategy<Value = bool> {
    prop_oneof![percent => Just(true), (100 - percent) => Just(false)]
}

fn ports() -> impl Strategy<Value = Vec<Port>> {
    prop_oneof![
        Just(vec![Port::tcp("", 80)]),
        Just(vec![Port::udp("", 53)]),
        Just(vec![Port::tcp("a", 53), Port::udp("b", 53)]),
        Just(vec![Port::tcp("a", 80), Port::tcp("b", 443)]),
        Just(vec![Port::udp("a", 80), Port::tcp("b", 9000)]),
    ]
}

fn ingress() -> impl Strategy<Value = Ingress> {
    prop_oneof![
        6 => Just(Ingress::Ip(0, None)), 2 => Just(Ingress::Ip(0, Some("VIP"))), 2 => Just(Ingress::Ip(0, Some("Proxy"))),
        1 => Just(Ingress::Hostname)
    ]
}

fn ranges() -> impl Strategy<Value = Vec<String>> {
    let all = vec![
        "10.244.0.0/16",
        "10.244.1.5/32",
        "198.18.0.0/24",
        "198.18.0.102/32",
        "198.18.0.11/32",
        "203.0.113.0/24",
        "fd66:244::/48",
        "fd66:18::/64",
        "fd66:18::66/128",
        "0.0.0.0/0",
        "::/0",
    ];
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    prop_oneof![3 => Just(Vec::new()), 1 => subsequence(all, 1..=3)]
}

fn slices() -> impl Strategy<Value = Vec<Slice>> {
    prop_oneof![
        1 => Just(Vec::new()),
        6 => vec(slice(), 1..=1),
        2 => vec(slice(), 2..=3),
    ]
}

fn slice() -> impl Strategy<Value = Slice> {
    let target = option::weighted(0.92, 0..TARGETS.len());
    let only = prop_oneof![
        8 => Just(None), 1 => Just(Some(OnlyFamily::V4)), 1 => Just(Some(OnlyFamily::V6))
    ];
    (vec(target, 2), only, endpoints()).prop_map(|(targets, only, endpoints)| Slice {
        targets,
        only,
        endpoints,
    })
}

/// Each pod once in a slice. Hints are all of one kind mostly, since one endpoint without undoes
/// those of all.
fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    let pods = Side::ALL.map(Side::pods).concat();
    let pods = prop_oneof![1 => Just(Vec::new()), 9 => subsequence(pods, 1..=4)];
    let hinted = (often(40), often(25));
    (pods, vec((conditions(), hint(), often(8)), 4), hinted).prop_map(|(pods, details, hinted)| {
        let (zones, nodes) = hinted;
        let endpoints = pods.into_iter().zip(details);
        endpoints
            .map(
                |(pod, ((ready, serving, terminating), hint, nameless))| Endpoint {
                    pod,
                    ready,
                    serving,
                    terminating,
                    // What kube-proxy makes of a pod that is its own such backend has a scenario of
                    // its own.
                    nameless: nameless && pod != 0,
                    misplaced: false,
                    zones: if zones { hint.0 } else { Vec::new() },
                    nodes: if nodes { hint.1 } else { Vec::new() },
                },
            )
            .collect()
    })
}

type Conditions = (Option<bool>, Option<bool>, Option<bool>);

fn conditions() -> impl Strategy<Value = Conditions> {
    prop_oneof![
        4 => Just((Some(true), Some(true), Some(false))),
        2 => Just((None, None, None)),
        2 => Just((Some(false), Some(true), Some(true))),
        1 => Just((Some(false), Some(false), Some(true))),
        1 => Just((Some(false), Some(false), Some(false))),
        2 => any::<Conditions>(),
    ]
}

fn hint() -> impl Strategy<Value = (Vec<&'static str>, Vec<&'static str>)> {
    let zones = prop_oneof![
        4 => select(ZONES.to_vec()).prop_map(|zone| vec![zone]),
        1 => Just(ZONES.to_vec()),
        1 => Just(Vec::new()),
        1 => Just(vec!["elsewhere"]),
    ];
    let nodes = prop_oneof![
        4 => select(vec![NODE, OTHER_NODE]).prop_map(|node| vec![node]),
        1 => Just(vec![NODE, OTHER_NODE]),
        1 => Just(Vec::new()),
    ];
    (zones, nodes)
}

/// A change of one Service.
#[derive(Debug, Clone)]
struct Edit {
    which: Index,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Slices(Vec<Slice>),
    Conditions(Index, Conditions),
    NoEndpoints,
    ExternalPolicy,
    InternalPolicy,
    Affinity,
    Kind(Type),
    Ports(Vec<Port>),
    Ranges(Vec<String>),
    Ingress(Vec<Ingress>),
    External(u8),
    Gone,
    Again,
}

fn edit() -> impl Strategy<Value = Edit> {
    let kinds = vec![Type::ClusterIp, Type::NodePort, Type::LoadBalancer];
    let what = prop_oneof![
        4 => slices().prop_map(What::Slices),
        4 => (any::<Index>(), conditions()).prop_map(|(index, is)| What::Conditions(index, is)),
        1 => Just(What::NoEndpoints),
        2 => Just(What::ExternalPolicy),
        2 => Just(What::InternalPolicy),
        2 => Just(What::Affinity),
        2 => select(kinds).prop_map(What::Kind),
        2 => ports().prop_map(What::Ports),
        1 => ranges().prop_map(What::Ranges),
        1 => vec(ingress(), 0..=2).prop_map(What::Ingress),
        1 => (0u8..3).prop_map(What::External),
        1 => Just(What::Gone),
        1 => Just(What::Again),
    ];
    (any::<Index>(), what).prop_map(|(which, what)| Edit { which, what })
}

impl Edit {
    fn apply(self, svcs: &mut [Option<Svc>]) {
        let Self { which, what } = self;
        let position = which.index(svcs.len());
        let place = &mut svcs[position];
        let Some(svc) = place else { return };
        match what {
            What::Slices(slices) => svc.slices = slices,
            What::NoEndpoints => svc.slices.clear(),
            What::Conditions(index, (ready, serving, terminating)) => {
                let mut all: Vec<&mut Endpoint> = svc
                    .slices
                    .iter_mut()
                    .flat_map(|slice| &mut slice.endpoints)
                    .collect();
                if !all.is_empty() {
                    let endpoint = index.get_mut(&mut all);
                    (endpoint.ready, endpoint.serving, endpoint.terminating) =
                        (ready, serving, terminating);
                }
            }
            What::ExternalPolicy => svc.external_local = !svc.external_local,
            What::InternalPolicy => svc.internal_local = !svc.internal_local,
            What::Affinity if svc.kind != Type::Headless => {
                svc.affinity = if svc.affinity.is_some() {
                    None
                } else {
                    Some(100)
                };
            }
            What::Affinity => {}
            // What has no ClusterIP gets none without being made again.
            What::Kind(kind) if svc.kind != Type::Headless => svc.kind = kind,
            What::Kind(kind) => {
                svc.kind = kind;
                svc.made += 1;
            }
            What::Ports(ports) => svc.ports = ports,
            What::Ranges(ranges) => svc.ranges = ranges,
            What::Ingress(ingress) => {
                svc.ingress = ingress;
                own_ingress(position, svc);
            }
            What::External(count) => svc.external_ips = count,
            What::Gone => *place = None,
            What::Again => svc.made += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_cluster_each_time_and_another_one_another() -> Result<()> {
        assert_eq!(plan(7)?, plan(7)?);
        assert_ne!(plan(7)?.states, plan(8)?.states);
        Ok(())
    }
}
