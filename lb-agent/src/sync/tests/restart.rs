//! A new agent on the maps of an old one.

use super::fixtures::{Rig, endpoint, node_port, service, slice};
use crate::{
    maps::Table,
    model::{Event, Node, Policy},
};

fn objects() -> (Vec<crate::model::Service>, Vec<crate::model::Slice>) {
    let mut local = node_port("web", "10.96.0.1", 30080);
    local.external_policy = Policy::Local;
    (
        vec![
            local,
            service("dns", "10.96.0.10"),
            service("idle", "fd66::1"),
        ],
        vec![
            slice(
                "web-1",
                vec![endpoint("10.1.0.1", "here"), endpoint("10.1.0.2", "there")],
            ),
            slice("web-2", vec![endpoint("10.1.0.3", "here")]),
            slice("dns-1", vec![endpoint("10.1.0.3", "here")]),
        ],
    )
}

#[test]
fn a_restart_with_nothing_changed_writes_nothing() {
    let mut rig = Rig::new();
    let (services, slices) = objects();
    let _ = rig.list(services, slices);
    let dump = rig.dump();
    let mut rig = rig.restart();
    let before = rig.world.lock().total_writes();
    // Slices trickle in before the list is complete.
    let (services, slices) = objects();
    for s in services.clone() {
        assert_eq!(rig.put(s).writes.total(), 0);
    }
    assert_eq!(rig.put_slice(slices[1].clone()).writes.total(), 0);
    let report = rig.list(services, slices);
    assert!(report.first_synced && report.synced);
    assert_eq!(
        (report.writes.total(), rig.world.lock().total_writes()),
        (0, before)
    );
    assert_eq!(rig.dump(), dump);
    assert!(!rig.sync().first_synced);
    rig.empty();
}

#[test]
fn nothing_goes_before_everything_is_listed() {
    let mut rig = Rig::new();
    let (services, slices) = objects();
    let _ = rig.list(services.clone(), slices.clone());
    let dump = rig.dump();
    let mut rig = rig.restart();
    rig.engine
        .handle(Event::Services(vec![services[1].clone()]));
    assert_eq!(rig.sync().writes.total(), 0);
    rig.engine.handle(Event::Slices(vec![]));
    assert_eq!(rig.sync().writes.total(), 0);
    assert_eq!(rig.dump(), dump);
    // New ones are carried at once.
    rig.engine
        .handle(Event::Service(service("new", "10.96.0.99")));
    rig.engine.handle(Event::Slice(slice(
        "new-1",
        vec![endpoint("10.1.0.9", "here")],
    )));
    let report = rig.sync();
    assert!(!report.synced && report.writes[Table::Frontends] == 4);
    let known = rig.dump();
    assert!(known.contains("10.96.0.99:80"), "{known}");
    // The last source makes what is absent go.
    rig.engine.handle(Event::NodeGone);
    assert!(rig.sync().first_synced);
    let known = rig.dump();
    assert_eq!(
        known,
        "\
vip 10.96.0.10 cluster-ip
vip 10.96.0.99 cluster-ip
10.96.0.10:80/TCP cluster-ip
  random no-endpoint
10.96.0.99:80/TCP cluster-ip
  random
  -> 10.1.0.9:8080/TCP local
"
    );
    rig.empty();
}

#[test]
fn changes_while_the_agent_was_away_are_made_up_for_with_ids_kept() {
    let mut rig = Rig::new();
    let (services, slices) = objects();
    let _ = rig.list(services.clone(), slices.clone());
    let index = |rig: &Rig| {
        let world = rig.world.lock();
        let found = world
            .frontends
            .entries
            .iter()
            .find(|(k, _)| k.port == 80 && k.addr.b[15] == 1);
        found.unwrap().1.pool
    };
    let before = index(&rig);
    let mut rig = rig.restart();
    let mut services = services[..2].to_vec();
    services[0].external_policy = Policy::Cluster;
    let slices = vec![
        slice(
            "web-1",
            vec![endpoint("10.1.0.2", "there"), endpoint("10.1.0.4", "here")],
        ),
        slices[2].clone(),
    ];
    let _ = rig.list(services.clone(), slices.clone());
    assert_eq!(index(&rig), before);
    let mut fresh = Rig::new();
    let _ = fresh.list(services, slices);
    assert_eq!(rig.dump(), fresh.dump());
    rig.empty();
}

#[test]
fn a_node_in_another_zone_plans_everything_anew() {
    let mut rig = Rig::new();
    rig.put(service("web", "10.96.0.1"));
    let mut ends = vec![endpoint("10.1.0.1", "a"), endpoint("10.1.0.2", "b")];
    ends[0].hints.get_or_insert_default().zones = vec!["red".into()];
    ends[1].hints.get_or_insert_default().zones = vec!["blue".into()];
    rig.put_slice(slice("web-1", ends));
    let zone = |zone: &str| {
        Event::Node(Node {
            zone: Some(zone.into()),
            ..Node::default()
        })
    };
    rig.engine.handle(zone("red"));
    assert_eq!(rig.sync().planned, 1);
    assert!(rig.dump().contains("-> 10.1.0.1") && !rig.dump().contains("-> 10.1.0.2"));
    rig.engine.handle(zone("blue"));
    let report = rig.sync();
    assert!(rig.dump().contains("keeps 10.1.0.1") && rig.dump().contains("-> 10.1.0.2"));
    assert_eq!(report.barriers, 0);
    rig.engine.handle(zone("blue"));
    assert_eq!(rig.sync().planned, 0);
    rig.empty();
}
