//! Random histories with injected failures and readers under way: no reader sees a foreign backend,
//! no rule of the ABI is broken, and once failures end the maps are what a fresh agent makes of the
//! last state.

use std::collections::BTreeMap;

use lb_common::Addr;
use proptest::prelude::*;

use super::{
    fixtures::{Rig, config, draining, endpoint, ip, key, number, service, slice},
    readers::{Expect, Owners, Readers},
};
use crate::{
    maps::mem::{self, Limits},
    model::{Endpoint, Event, Node, Policy, Scheduler, Service, ServiceType, Slice, Spill},
    plan::FrontendKey,
    sync::{Audit, Engine, Place},
};

const SERVICES: u8 = 5;
/// A node port that any service may ask for.
const CONTESTED: u16 = 30_100;
const LIMITS: Limits = Limits {
    hash: 2048,
    pools: 48,
    slots: 512,
    backends: 96,
};

#[derive(Clone, Debug)]
enum Step {
    Service(u8, Shape),
    NoService(u8),
    Slice(u8, u8, Vec<(u8, u8, bool)>),
    NoSlice(u8, u8),
    Zone(u8),
    Addresses(Vec<u8>),
    Sync,
    Settle,
    Relist,
    Restart,
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent of each other")]
struct Shape {
    kind: u8,
    local: (bool, bool),
    contested: bool,
    renamed: bool,
    both_families: bool,
    ranges: u8,
    affinity: bool,
    spills: bool,
    age: u8,
}

fn shape() -> impl Strategy<Value = Shape> {
    let flags = (any::<[bool; 7]>(), 0u8..3, 0u8..3, 0u8..3);
    flags.prop_map(|(b, kind, ranges, age)| Shape {
        kind,
        local: (b[0], b[1]),
        contested: b[2],
        renamed: b[3],
        both_families: b[4],
        ranges,
        affinity: b[5],
        spills: b[6],
        age,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..SERVICES;
    let ends = prop::collection::vec((0u8..8, 0u8..5, any::<bool>()), 0..6);
    prop_oneof![
        6 => (who.clone(), shape()).prop_map(|(s, shape)| Step::Service(s, shape)),
        2 => who.clone().prop_map(Step::NoService),
        10 => (who.clone(), 0u8..3, ends).prop_map(|(s, n, ends)| Step::Slice(s, n, ends)),
        2 => (who, 0u8..3).prop_map(|(s, n)| Step::NoSlice(s, n)),
        1 => (0u8..3).prop_map(Step::Zone),
        1 => prop::collection::vec(0u8..4, 0..3).prop_map(Step::Addresses),
        10 => Just(Step::Sync),
        1 => Just(Step::Settle),
        2 => Just(Step::Relist),
        1 => Just(Step::Restart),
    ]
}

/// What the cluster is, whatever the agent has heard of it.
#[derive(Default)]
struct Truth {
    services: BTreeMap<u8, Service>,
    slices: BTreeMap<(u8, u8), Slice>,
    node: Node,
    addresses: Vec<(std::net::IpAddr, u32)>,
}

fn name(s: u8) -> String {
    format!("s{s}")
}

fn build(s: u8, shape: &Shape) -> Service {
    let mut out = service(&name(s), &format!("10.96.0.{}", s + 1));
    if shape.both_families {
        out.cluster_ips.push(ip(&format!("fd66::{}", s + 1)));
    }
    out.kind = [
        ServiceType::ClusterIp,
        ServiceType::NodePort,
        ServiceType::LoadBalancer,
    ][usize::from(shape.kind)];
    let policy = |local| {
        if local {
            Policy::Local
        } else {
            Policy::Cluster
        }
    };
    out.external_policy = policy(shape.local.0);
    out.internal_policy = policy(shape.local.1);
    let own = 30_000 + u16::from(s);
    out.ports[0].node_port = Some(number(if shape.contested { CONTESTED } else { own }));
    if shape.renamed {
        out.ports[0].name = "http".into();
    }
    out.ingress_ips = vec![ip(&format!("203.0.113.{}", s + 1))];
    out.external_ips = vec![ip(&format!("198.51.100.{}", s + 1))];
    out.spill = shape.spills.then(|| Spill::parse("120%").unwrap());
    out.source_ranges = (0..shape.ranges)
        .map(|n| format!("10.{n}.0.0/16").parse().unwrap())
        .collect();
    out.affinity_secs = shape.affinity.then_some(60);
    out.scheduler = shape.affinity.then_some(Scheduler::RoundRobin);
    let years = ["2020", "2021"];
    let year = years.get(usize::from(shape.age));
    out.created = year.map(|y| format!("{y}-01-01T00:00:00Z").parse().unwrap());
    out
}

/// Endpoint 0 and 1 are of all services, the rest are the service's own: `10.(s+1).0.n`.
fn ends(s: u8, list: &[(u8, u8, bool)]) -> Vec<Endpoint> {
    let one = |(n, kind, here): &(u8, u8, bool)| {
        let net = if *n < 2 { 99 } else { s + 1 };
        let addr = format!("10.{net}.0.{n}");
        let node = if *here { "here" } else { "there" };
        let mut e = match kind {
            0 => draining(&addr, node),
            _ => endpoint(&addr, node),
        };
        match kind {
            1 => e.ready = false,
            2 => e.hints.get_or_insert_default().zones = vec!["z1".into()],
            3 => e.hints.get_or_insert_default().zones = vec!["z2".into(), "z1".into()],
            _ => {}
        }
        e
    };
    list.iter().map(one).collect()
}

struct ByNumber;

impl Expect for ByNumber {
    fn allowed(&self, front: &FrontendKey, backend: Addr) -> bool {
        let owners: Owners = match front {
            FrontendKey::Address(key) => Owners::from([key.addr.b[15]]),
            FrontendKey::NodePort(key) if key.port == CONTESTED => (1..=SERVICES).collect(),
            FrontendKey::NodePort(key) => {
                Owners::from([u8::try_from(key.port - 30_000).unwrap() + 1])
            }
        };
        backend.b[13] == 99 || owners.contains(&backend.b[13])
    }
}

impl Truth {
    fn relist(&self, engine: &mut Engine) {
        engine.handle(Event::Services(self.services.values().cloned().collect()));
        engine.handle(Event::Slices(self.slices.values().cloned().collect()));
        engine.handle(Event::Node(self.node.clone()));
        engine.handle(Event::Addresses(self.addresses.clone()));
    }

    /// The step's effect, and the event that tells it.
    fn change(&mut self, step: &Step) -> Option<Event> {
        Some(match step {
            Step::Service(s, shape) => {
                let service = build(*s, shape);
                self.services.insert(*s, service.clone());
                Event::Service(service)
            }
            Step::NoService(s) => {
                self.services.remove(s);
                Event::ServiceGone(key(&name(*s)))
            }
            Step::Slice(s, n, list) => {
                let slice = slice(&format!("{}-{n}", name(*s)), ends(*s, list));
                self.slices.insert((*s, *n), slice.clone());
                Event::Slice(slice)
            }
            Step::NoSlice(s, n) => {
                self.slices.remove(&(*s, *n));
                Event::SliceGone(key(&format!("{}-{n}", name(*s))))
            }
            Step::Zone(n) => {
                let zone = (*n > 0).then(|| format!("z{n}").into());
                self.node.zone = zone;
                Event::Node(self.node.clone())
            }
            Step::Addresses(list) => {
                let all = list
                    .iter()
                    .map(|n| (ip(&format!("192.0.2.{n}")), u32::from(*n) + 1));
                self.addresses = all.collect();
                Event::Addresses(self.addresses.clone())
            }
            Step::Sync | Step::Settle | Step::Relist | Step::Restart => return None,
        })
    }
}

fn run(steps: &[Step], seed: u64, per_mille: u64) {
    let mut truth = Truth::default();
    let mut rig = Rig::unsynced(mem::new(LIMITS));
    // An audit that goes on through all of it, a few entries at a time.
    let mut place = Place::with_pages(3);
    let mut readers = Readers::new(seed, ByNumber);
    rig.world
        .lock()
        .observe(move |world, moment| readers.observe(world, moment));
    rig.world.lock().fail(seed | 1, per_mille);
    for step in steps {
        if let Some(event) = truth.change(step) {
            rig.engine.handle(event);
            continue;
        }
        match step {
            Step::Sync => {
                drop(rig.sync());
                // Whatever failed: what the agent believes to have written is what stands there.
                assert_eq!(rig.audit(), (0, 0));
                for _ in 0..20 {
                    let Audit { drift, report, .. } = rig.engine.audit(&mut place, &mut rig.maps);
                    assert_eq!((drift, report.writes.total()), (0, 0));
                }
            }
            Step::Settle => drop(rig.engine.settle(&mut rig.maps)),
            Step::Restart => {
                rig.engine = loop {
                    // Its one barrier may fail.
                    if let Ok(engine) = Engine::restore(&mut rig.maps, config()) {
                        break engine;
                    }
                };
                place = Place::with_pages(3);
            }
            _ => truth.relist(&mut rig.engine),
        }
        rig.judge();
    }
    rig.world.lock().fail(0, 0);
    truth.relist(&mut rig.engine);
    let mut rounds = 0;
    while !rig.sync().failed.is_empty() {
        rounds += 1;
        assert!(rounds < 4, "{:?}", rig.engine.problems());
    }
    assert_eq!(
        rig.sync().writes.total(),
        0,
        "in the end nothing is left to do"
    );

    for usage in rig.engine.snapshot().usage {
        let world = rig.world.lock();
        let found = match usage.map {
            "lb_members" => world.members.entries.len(),
            "lb_frontends" => world.frontends.entries.len(),
            "lb_nodeports" => world.nodeports.entries.len(),
            "lb_nodeaddrs" => world.nodeaddrs.entries.len(),
            "lb_srcranges" => world.srcranges.entries.len(),
            _ => continue,
        };
        assert_eq!(usize::try_from(usage.entries), Ok(found), "{}", usage.map);
    }

    let mut fresh = Rig::unsynced(mem::new(LIMITS));
    truth.relist(&mut fresh.engine);
    let report = fresh.sync();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!(rig.dump(), fresh.dump());
    assert_eq!(rig.engine.problems(), fresh.engine.problems());

    // A restart on what came out of it finds it as it should be.
    let mut rig = rig.restart();
    truth.relist(&mut rig.engine);
    let report = rig.sync();
    assert_eq!((report.writes.hashed(), report.failed), (0, vec![]));
    // A pool of which every frontend was lost to another Service is not recognised: its index is
    // exchanged.
    let lost = rig
        .engine
        .problems()
        .values()
        .flatten()
        .any(|p| p.contains("belongs to"));
    assert!(lost || report.writes.total() == 0, "{:?}", report.writes);
    rig.empty();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn histories_without_failures(steps in prop::collection::vec(step(), 0..80), seed: u64) {
        run(&steps, seed, 0);
    }

    #[test]
    fn histories_in_which_one_operation_in_ten_fails(steps in prop::collection::vec(step(), 0..80), seed: u64) {
        run(&steps, seed, 100);
    }
}
