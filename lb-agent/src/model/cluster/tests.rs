//! Which services a batch of facts touches.

use lb_common::Proto;

use super::*;
use crate::model::testing::key;

fn service(name: &str, port: u16) -> Service {
    Service::cluster_ip(name, "10.96.0.1").port("", Proto::Tcp, port)
}

fn slice(name: &str, of: &str, time: Option<&str>) -> Slice {
    Slice {
        trigger_time: time.map(|t| t.parse().unwrap()),
        ..Slice::new(key(name), of)
    }
}

fn touched(cluster: &mut Cluster) -> String {
    let changes = cluster.take_changes();
    let names: Vec<&str> = changes.services.iter().map(|k| &*k.name).collect();
    names.join(" ")
}

#[test]
fn what_changes_is_told_once() {
    let mut c = Cluster::default();
    c.apply(Event::Service(service("a", 80)));
    c.apply(Event::Slice(slice("b-1", "b", None)));
    assert_eq!(touched(&mut c), "a b");
    assert_eq!(touched(&mut c), "");
    c.apply(Event::Service(service("a", 80)));
    c.apply(Event::Slice(slice("b-1", "b", None)));
    assert_eq!(touched(&mut c), "", "the same again is no change");
    c.apply(Event::ServiceGone(key("nobody")));
    c.apply(Event::SliceGone(key("nobody")));
    assert_eq!(touched(&mut c), "");
}

#[test]
fn a_change_that_is_taken_back_vanishes() {
    let mut c = Cluster::default();
    c.apply(Event::Service(service("a", 80)));
    c.apply(Event::ServiceGone(key("a")));
    c.apply(Event::Slice(slice("a-1", "a", None)));
    c.apply(Event::SliceGone(key("a-1")));
    assert_eq!(touched(&mut c), "");
    c.apply(Event::Service(service("a", 80)));
    assert_eq!(touched(&mut c), "a");
    c.apply(Event::Service(service("a", 81)));
    c.apply(Event::Service(service("a", 82)));
    c.apply(Event::Service(service("a", 80)));
    assert_eq!(touched(&mut c), "");
}

#[test]
fn a_list_is_one_step() {
    let mut c = Cluster::default();
    c.apply(Event::Services(vec![service("a", 80), service("b", 80)]));
    c.apply(Event::Slices(vec![
        slice("a-1", "a", None),
        slice("b-1", "b", None),
    ]));
    assert_eq!(touched(&mut c), "a b");
    c.apply(Event::Services(vec![service("b", 80), service("c", 80)]));
    assert_eq!(touched(&mut c), "a c");
    assert!(c.service(&key("a")).is_none() && c.service(&key("b")).is_some());
    c.apply(Event::Slices(vec![slice("b-1", "b", None)]));
    assert_eq!(touched(&mut c), "a");
    assert!(c.slices(&key("a")).is_empty());
}

#[test]
fn a_slice_that_moves_touches_both_services() {
    let mut c = Cluster::default();
    c.apply(Event::Slice(slice("x", "a", None)));
    c.apply(Event::Slice(slice("y", "a", None)));
    touched(&mut c);
    c.apply(Event::Slice(slice("x", "b", None)));
    assert_eq!(touched(&mut c), "a b");
    let names = |c: &Cluster, of: &str| -> Vec<String> {
        let slices = c.slices(&key(of)).iter();
        slices.map(|s| s.key.name.to_string()).collect()
    };
    assert_eq!(
        (names(&c, "a"), names(&c, "b")),
        (vec!["y".to_owned()], vec!["x".to_owned()])
    );
}

#[test]
fn only_another_zone_of_the_node_touches_everything() {
    let node = |zone: Option<&str>, leaving| {
        Event::Node(Node {
            zone: zone.map(Into::into),
            leaving,
            ..Node::default()
        })
    };
    let mut c = Cluster::default();
    c.apply(node(None, false));
    assert!(!c.take_changes().everything);
    c.apply(node(Some("a"), false));
    assert!(c.take_changes().everything);
    c.apply(node(Some("a"), true));
    assert!(!c.take_changes().everything);
    c.apply(node(Some("b"), true));
    c.apply(node(Some("a"), true));
    assert!(!c.take_changes().everything, "taken back");
    c.apply(Event::NodeGone);
    assert!(c.take_changes().everything);
}

#[test]
fn sources_are_synced_by_their_first_list() {
    let mut c = Cluster::default();
    c.apply(Event::Service(service("a", 80)));
    c.apply(Event::Slice(slice("a-1", "a", None)));
    assert_eq!(c.synced(), Synced::default());
    c.apply(Event::Services(vec![]));
    c.apply(Event::Slices(vec![]));
    assert!(!c.synced().objects());
    c.apply(Event::NodeGone);
    assert!(c.synced().objects() && !c.synced().addresses);
    c.take_changes();
    c.apply(Event::Addresses(vec![]));
    assert!(c.take_changes().addresses, "an empty first list is news");
    c.apply(Event::Addresses(vec![]));
    assert!(!c.take_changes().addresses);
}

#[test]
fn trigger_times_are_told_but_for_those_of_the_first_list() {
    const OLD: Option<&str> = Some("2024-01-01T00:00:00Z");
    const NEW: Option<&str> = Some("2024-01-01T00:00:01Z");
    let mut c = Cluster::default();
    c.apply(Event::Slices(vec![slice("a-1", "a", OLD)]));
    assert_eq!(c.take_changes().trigger_times, []);
    c.apply(Event::Slice(slice("a-1", "a", NEW)));
    let times = c.take_changes().trigger_times;
    let at = NEW.unwrap().parse().unwrap();
    let trigger = Trigger {
        service: key("a"),
        at,
        v6: false,
    };
    assert_eq!(times, [trigger]);
    c.apply(Event::Slice(slice("a-1", "a", NEW)));
    c.apply(Event::Slice(slice("b-1", "b", None)));
    assert_eq!(c.take_changes().trigger_times, []);
}

#[test]
fn what_a_list_has_and_nobody_can_read_stays_as_it_was() {
    let node = Node {
        zone: Some("a".into()),
        ..Node::default()
    };
    let mut c = Cluster::default();
    c.apply(Event::Services(vec![service("a", 80), service("b", 80)]));
    c.apply(Event::Slices(vec![
        slice("a-1", "a", None),
        slice("b-1", "b", None),
    ]));
    c.apply(Event::Node(node));
    touched(&mut c);
    let named = |name| vec![key(name)];
    for unread in [
        Unread::Services(named("a")),
        Unread::Slices(named("a-1")),
        Unread::Node,
    ] {
        c.apply(Event::Unread(unread));
    }
    c.apply(Event::Services(vec![]));
    c.apply(Event::Slices(vec![]));
    c.apply(Event::NodeGone);
    assert_eq!(touched(&mut c), "b");
    assert_eq!(c.slices(&key("a")).len(), 1);
    assert_eq!(c.zone().map(|zone| &**zone), Some("a"));
    // It is gone with the next list that does not have it.
    c.apply(Event::Services(vec![]));
    c.apply(Event::Slices(vec![]));
    assert_eq!(touched(&mut c), "a");
    c.apply(Event::NodeGone);
    assert_eq!(c.zone(), None);
}
