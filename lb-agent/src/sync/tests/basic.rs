//! Single steps: what is written for them, and that everything goes again.

use lb_common::maps;

use super::fixtures::{Rig, draining, endpoint, ip, key, node_port, number, service, slice};
use crate::{
    maps::{
        Table,
        mem::{self, Limits},
    },
    model::{Event, Policy, Scheduler, ServiceType},
    sync::FailureCause,
};

#[test]
fn a_service_comes_and_goes() {
    let mut rig = Rig::new();
    rig.put(service("web", "10.96.0.1"));
    assert_eq!(
        rig.dump(),
        "vip 10.96.0.1 cluster-ip\n10.96.0.1:80/TCP cluster-ip\n  random no-endpoint\n"
    );
    let report = rig.put_slice(slice(
        "web-1",
        vec![endpoint("10.1.0.2", "there"), endpoint("10.1.0.1", "here")],
    ));
    assert_eq!(
        (report.planned, report.services_changed, report.barriers),
        (1, 1, 0)
    );
    assert_eq!(
        rig.dump(),
        "vip 10.96.0.1 cluster-ip\n10.96.0.1:80/TCP cluster-ip\n  random\n  -> 10.1.0.1:8080/TCP local\n  -> 10.1.0.2:8080/TCP\n"
    );
    rig.empty();
}

#[test]
fn nothing_new_writes_nothing() {
    let mut rig = Rig::new();
    let objects = || {
        (
            vec![node_port("web", "10.96.0.1", 30080)],
            vec![slice("web-1", vec![endpoint("10.1.0.1", "here")])],
        )
    };
    let (services, slices) = objects();
    assert!(rig.list(services, slices).writes.total() > 0);
    let before = rig.world.lock().total_writes();
    let (services, slices) = objects();
    let report = rig.list(services, slices);
    assert_eq!(
        (report.planned, report.writes.total(), report.barriers),
        (0, 0, 0)
    );
    assert_eq!(rig.world.lock().total_writes(), before);
    // A change that is taken back before it is looked at never happened.
    rig.engine.handle(Event::ServiceGone(key("web")));
    rig.engine
        .handle(Event::Service(node_port("web", "10.96.0.1", 30080)));
    rig.engine.handle(Event::SliceGone(key("web-1")));
    rig.engine.handle(Event::Slices(objects().1));
    assert_eq!(rig.sync().planned, 0);
    rig.empty();
}

#[test]
fn one_endpoint_changes_without_a_barrier() {
    let mut rig = Rig::new();
    rig.put(service("web", "10.96.0.1"));
    for n in 1..200 {
        let report = rig.put_slice(slice(
            "web-1",
            vec![endpoint(&format!("10.1.0.{n}"), "here")],
        ));
        assert_eq!((report.barriers, report.writes[Table::Frontends]), (0, 0));
    }
    rig.empty();
}

#[test]
fn barriers_come_when_room_runs_out_and_free_what_was_retired() {
    let limits = Limits {
        hash: 64,
        pools: 4,
        slots: 8,
        backends: 8,
    };
    let mut rig = Rig::unsynced(mem::new(limits));
    rig.list(vec![], vec![]);
    rig.put(service("web", "10.96.0.1"));
    let mut barriers = 0;
    for n in 1..100 {
        let ends = vec![
            endpoint(&format!("10.1.0.{n}"), "here"),
            endpoint(&format!("10.1.1.{n}"), "here"),
        ];
        let report = rig.put_slice(slice("web-1", ends));
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        barriers += report.barriers;
    }
    assert!((30..60).contains(&barriers), "{barriers}");
    rig.empty();
}

#[test]
fn a_drained_backend_keeps_what_it_has() {
    let mut rig = Rig::new();
    rig.put(service("web", "10.96.0.1"));
    let ends = vec![endpoint("10.1.0.1", "here"), draining("10.1.0.2", "here")];
    rig.put_slice(slice("web-1", ends));
    assert!(rig.dump().ends_with(
        "random\n  -> 10.1.0.1:8080/TCP local\n  keeps 10.1.0.2:8080/TCP terminating local\n"
    ));
    rig.put_slice(slice("web-1", vec![draining("10.1.0.2", "here")]));
    assert!(
        rig.dump()
            .ends_with("random\n  -> 10.1.0.2:8080/TCP terminating local\n")
    );
    rig.empty();
}

#[test]
fn a_policy_change_moves_frontends_without_a_gap() {
    let mut rig = Rig::new();
    rig.put(node_port("web", "10.96.0.1", 30080));
    rig.put_slice(slice("web-1", vec![endpoint("10.1.0.1", "there")]));
    let mut local = node_port("web", "10.96.0.1", 30080);
    local.external_policy = Policy::Local;
    let report = rig.put(local.clone());
    assert_eq!(
        (
            report.writes[Table::NodePorts],
            report.writes[Table::Frontends]
        ),
        (1, 0)
    );
    assert!(
        rig.dump()
            .contains("*:30080/TCP v4 node-port (from outside)\n  random no-local-endpoint\n")
    );
    local.internal_policy = Policy::Local;
    // Two entries (inside, outside) of the cluster IP move, and its mark asks another service; each
    // waits for the element of the one before.
    let report = rig.put(local);
    assert_eq!(
        (
            report.writes[Table::Frontends],
            report.writes[Table::NodePorts]
        ),
        (3, 0)
    );
    rig.put(node_port("web", "10.96.0.1", 30080));
    rig.empty();
}

#[test]
fn a_renamed_port_or_a_flipped_policy_keeps_its_index() {
    let mut rig = Rig::new();
    rig.put(service("web", "10.96.0.1"));
    let mut local = service("web", "10.96.0.1");
    local.internal_policy = Policy::Local;
    let report = rig.put(local);
    assert_eq!(report.writes[Table::Frontends], 0);
    let mut renamed = service("web", "10.96.0.1");
    renamed.ports[0].name = "http".into();
    assert_eq!(rig.put(renamed).writes[Table::Frontends], 0);
    rig.empty();
}

#[test]
fn the_older_service_gets_a_contested_frontend() {
    let mut rig = Rig::new();
    let mut old = node_port("zebra", "10.96.0.1", 30080);
    old.created = Some("2020-01-01T00:00:00Z".parse().unwrap());
    let mut young = node_port("ant", "10.96.0.2", 30080);
    young.created = Some("2021-01-01T00:00:00Z".parse().unwrap());
    rig.put(young.clone());
    assert!(rig.engine.problems().is_empty());
    rig.put_slice(slice("ant-1", vec![endpoint("10.1.0.1", "here")]));
    rig.put_slice(slice("zebra-1", vec![endpoint("10.1.0.2", "here")]));
    rig.put(old.clone());
    let problems = rig.engine.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[&key("ant")],
        [
            "node port 30080/TCP belongs to Service default/zebra, the older one (or first by name): not served for this one"
        ]
    );
    let fronts = rig.dump();
    let won = "*:30080/TCP v4 node-port\n10.96.0.1:80/TCP cluster-ip\n  random\n  -> 10.1.0.2:8080/TCP local\n";
    assert!(fronts.contains(won), "{fronts}");
    rig.engine.handle(Event::ServiceGone(key("zebra")));
    rig.sync();
    assert!(rig.engine.problems().is_empty());
    let fronts = rig.dump();
    let won = "*:30080/TCP v4 node-port\n10.96.0.2:80/TCP cluster-ip\n  random\n  -> 10.1.0.1:8080/TCP local\n";
    assert!(fronts.ends_with(won), "{fronts}");
    rig.empty();
}

#[test]
fn full_maps_fail_one_service_and_name_it() {
    let limits = Limits {
        hash: 64,
        pools: 16,
        slots: 8,
        backends: 16,
    };
    let mut rig = Rig::unsynced(mem::new(limits));
    rig.list(vec![], vec![]);
    rig.put(service("small", "10.96.0.1"));
    rig.put_slice(slice("small-1", vec![endpoint("10.1.0.1", "here")]));
    let before = rig.dump();
    let many = |n| {
        (0..n)
            .map(|i| endpoint(&format!("10.2.0.{i}"), "here"))
            .collect()
    };
    rig.put_slice(slice("big-1", many(9)));
    let report = rig.put(service("big", "10.96.0.2"));
    assert_eq!(report.failed.len(), 1);
    assert_eq!(report.failed[0].service, Some(key("big")));
    let text = report.failed[0].error.to_string();
    assert!(text.contains("lb_slots is full (8 entries)"), "{text}");
    assert!(
        rig.dump()
            .starts_with("vip 10.96.0.1 cluster-ip\nvip 10.96.0.2")
    );
    assert_eq!(rig.engine.problems()[&key("big")], [text]);
    // Smaller, it fits; and it was tried again by itself.
    rig.put_slice(slice("big-1", many(4)));
    assert!(rig.engine.problems().is_empty());
    rig.put_slice(slice("big-1", many(20)));
    assert!(rig.engine.problems()[&key("big")][0].contains("lb_backends is full"));
    rig.engine.handle(Event::ServiceGone(key("big")));
    rig.sync();
    assert_eq!(rig.dump(), before);
    rig.empty();
}

#[test]
fn too_many_endpoints_are_refused_and_the_last_good_state_stays() {
    let mut rig = Rig::new();
    rig.put(service("web", "10.96.0.1"));
    rig.put_slice(slice("web-1", vec![endpoint("10.1.0.1", "here")]));
    let before = rig.dump();
    let ends = (0..70_000u32).map(|i| {
        let addr = format!("10.{}.{}.{}", 2 + (i >> 16), (i >> 8) & 255, i & 255);
        endpoint(&addr, "here")
    });
    let many = slice("web-1", ends.collect());
    let report = rig.put_slice(many.clone());
    assert!(matches!(report.failed[0].error, FailureCause::Plan(_)));
    assert!(rig.engine.problems()[&key("web")][0].contains("70000 endpoints"));
    assert_eq!(rig.dump(), before);
    assert!(rig.sync().failed.is_empty(), "only a change can help");
    assert!(!rig.engine.problems().is_empty());
    // Not even a new agent takes it down.
    let mut rig = rig.restart();
    let report = rig.list(vec![service("web", "10.96.0.1")], vec![many]);
    assert_eq!((report.failed.len(), report.writes.total()), (1, 0));
    assert_eq!(rig.dump(), before);
    rig.empty();
}

#[test]
fn addresses_of_node_ports_follow_the_machine() {
    let mut rig = Rig::new();
    let at =
        |list: &[(&str, u32)]| Event::Addresses(list.iter().map(|(a, i)| (ip(a), *i)).collect());
    rig.engine.handle(at(&[("192.0.2.1", 2), ("fd66::1", 2)]));
    assert_eq!(rig.sync().writes[Table::NodeAddrs], 2);
    rig.engine
        .handle(at(&[("192.0.2.1", 3), ("192.0.2.7", 3), ("192.0.2.7", 4)]));
    let report = rig.sync();
    assert_eq!((report.writes[Table::NodeAddrs], report.barriers), (3, 1));
    assert_eq!(
        rig.dump(),
        "node address 192.0.2.1 on device 3\nnode address 192.0.2.7 on device 3\n"
    );
    assert_eq!(rig.sync().writes.total(), 0);
    rig.empty();
}

#[test]
fn a_load_balancer_with_everything() {
    let mut rig = Rig::new();
    let mut s = node_port("web", "10.96.0.1", 30080);
    s.kind = ServiceType::LoadBalancer;
    s.ingress_ips = vec![ip("203.0.113.1")];
    s.external_ips = vec![ip("198.51.100.1"), ip("192.0.2.1")];
    s.source_ranges = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    s.affinity_secs = Some(60);
    s.scheduler = Some(Scheduler::SourceHash);
    s.external_policy = Policy::Local;
    s.health_check_node_port = Some(number(32000));
    rig.put_slice(slice(
        "web-1",
        vec![endpoint("10.1.0.1", "here"), endpoint("10.1.0.2", "there")],
    ));
    rig.put(s.clone());
    assert_eq!(
        rig.dump(),
        "\
vip 10.96.0.1 cluster-ip
vip 198.51.100.1 external-ip
vip 203.0.113.1 load-balancer
*:30080/TCP v4 node-port (from inside)
10.96.0.1:80/TCP cluster-ip
198.51.100.1:80/TCP external-ip (from inside)
203.0.113.1:80/TCP load-balancer (from inside)
  sh affinity 60s source-ranges
  from 10.0.0.0/8
  -> 10.1.0.1:8080/TCP local
  -> 10.1.0.2:8080/TCP
*:30080/TCP v4 node-port (from outside)
198.51.100.1:80/TCP external-ip (from outside)
203.0.113.1:80/TCP load-balancer (from outside)
  sh affinity 60s source-ranges
  from 10.0.0.0/8
  -> 10.1.0.1:8080/TCP local
"
    );
    let problems = rig.engine.problems();
    assert!(problems[&key("web")][0].contains("192.0.2.1 is in no allowed network"));
    let checks = rig.engine.health_checks();
    let check = &checks[&key("web")];
    assert_eq!(checks.len(), 1);
    assert_eq!(
        (check.facts.local_endpoints, check.programmed),
        ([Some(1), None], true)
    );
    s.source_ranges.clear();
    let report = rig.put(s);
    assert_eq!(
        (
            report.writes[Table::SourceRanges],
            report.writes[Table::Pools],
            report.writes[Table::Slots]
        ),
        (2, 2, 0)
    );
    rig.empty();
}

#[test]
fn what_was_counted_for_a_number_is_not_its_next_users() {
    let mut rig = Rig::unsynced(mem::new(Limits {
        hash: 64,
        pools: 4,
        slots: 64,
        backends: 4,
    }));
    let _ = rig.list(vec![], vec![]);
    let slices = |addr: &str| slice("web-1", vec![endpoint(addr, "here")]);
    rig.put_slice(slices("10.1.0.1"));
    rig.put(service("web", "10.96.0.1"));
    let maps = [
        maps::SCHED,
        maps::POOL_STATS,
        maps::POOL_TCP,
        maps::ACTIVE,
        maps::FLOW_COUNTS,
    ]
    .map(|spec| spec.name);
    let counted = |rig: &Rig| rig.world.lock().counts.len();
    for number in 0..3 {
        for map in maps {
            rig.world.lock().counts.insert((map, number), 7);
        }
    }
    // Those in use keep their counts, whatever else changes.
    rig.put(node_port("web", "10.96.0.1", 30080));
    assert_eq!(counted(&rig), 15);
    for round in 0..9 {
        rig.engine.handle(Event::ServiceGone(key("web")));
        let _ = rig.sync();
        rig.put_slice(slices(&format!("10.1.1.{round}")));
        assert!(rig.put(service("web", "10.96.0.1")).failed.is_empty());
    }
    // Number 0 is never given out.
    assert_eq!(counted(&rig), 5);
    rig.empty();
}
