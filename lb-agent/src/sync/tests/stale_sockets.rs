//! Connected UDP sockets: which of them have lost their backend, and that a sync says so.

use lb_common::Proto;

use super::fixtures::{Rig, draining, endpoint, ip, key, number, service, slice};
use crate::{
    maps::Table,
    model::{Endpoint, Event, Policy, Service, ServiceType, Slice},
    sync::Association,
};

/// Port 53/UDP of 10.96.0.`n`.
fn dns(name: &str, n: u8) -> Service {
    let mut dns = service(name, &format!("10.96.0.{n}"));
    dns.ports[0].proto = Proto::Udp;
    dns.ports[0].port = number(53);
    dns
}

fn behind(name: &str, ends: Vec<Endpoint>) -> Slice {
    let mut slice = slice(name, ends);
    slice.ports[0].proto = Proto::Udp;
    slice
}

/// A socket that connected to 10.96.0.`n` port 53 and got 10.1.0.`m`.
fn pair(n: u8, m: u8) -> Association {
    Association {
        proto: Proto::Udp.number(),
        vip: ip(&format!("10.96.0.{n}")).into(),
        vip_port: 53,
        backend: ip(&format!("10.1.0.{m}")).into(),
        backend_port: 8080,
        pool: 0,
    }
}

fn not_serving(mut endpoint: Endpoint) -> Endpoint {
    (endpoint.ready, endpoint.serving) = (false, false);
    endpoint
}

#[test]
fn frontends_of_tcp_are_no_loss_of_udp_sockets() {
    let mut rig = Rig::new();
    rig.put(service("web", "10.96.0.1"));
    rig.put(dns("dns", 2));
    let gone = |name| Event::ServiceGone(key(name));
    rig.engine.handle(gone("web"));
    let report = rig.sync();
    assert!(report.writes[Table::Frontends] > 0);
    assert_eq!(report.udp_lost, 0, "no walk over sockets for TCP");
    rig.engine.handle(gone("dns"));
    assert!(rig.sync().udp_lost > 0);
}

#[test]
fn serving_decides() {
    let mut rig = Rig::new();
    rig.put(dns("dns", 1));
    let (one, two) = (
        || endpoint("10.1.0.1", "here"),
        || endpoint("10.1.0.2", "there"),
    );
    assert_eq!(
        rig.put_slice(behind("dns-1", vec![one(), two()])).udp_lost,
        0
    );
    let stale = |rig: &Rig| [1, 2, 3].map(|m| rig.engine.is_stale(&pair(1, m)));
    assert_eq!(stale(&rig), [false, false, true]);
    // Terminating, and still serving: it keeps whom it has.
    let report = rig.put_slice(behind("dns-1", vec![one(), draining("10.1.0.2", "there")]));
    assert_eq!((report.udp_lost, stale(&rig)), (0, [false, false, true]));
    let report = rig.put_slice(behind("dns-1", vec![one(), not_serving(two())]));
    assert_eq!((report.udp_lost, stale(&rig)), (1, [false, true, true]));
    rig.put_slice(behind("dns-1", vec![one(), two()]));
    assert_eq!(stale(&rig), [false, false, true]);
    // Another port of the same pod is another backend.
    let mut moved = behind("dns-1", vec![one(), two()]);
    moved.ports[0].port = number(9090);
    assert_eq!(rig.put_slice(moved).udp_lost, 2);
    assert_eq!(stale(&rig), [true; 3]);
    // Scaled to zero.
    rig.put_slice(behind("dns-1", vec![one()]));
    assert_eq!(rig.put_slice(behind("dns-1", vec![])).udp_lost, 1);
    assert_eq!(stale(&rig), [true; 3]);
    rig.empty();
}

#[test]
fn a_service_that_is_gone_serves_nobody_though_another_has_its_backend() {
    let mut rig = Rig::new();
    for (name, n) in [("a", 1), ("b", 2)] {
        rig.put(dns(name, n));
        rig.put_slice(behind(
            &format!("{name}-1"),
            vec![endpoint("10.1.0.1", "here")],
        ));
    }
    assert!(!rig.engine.is_stale(&pair(1, 1)) && !rig.engine.is_stale(&pair(2, 1)));
    rig.engine.handle(Event::ServiceGone(key("a")));
    assert!(rig.sync().udp_lost > 0);
    assert!(rig.engine.is_stale(&pair(1, 1)) && !rig.engine.is_stale(&pair(2, 1)));
    // A third takes the number of the first over; it has the same backend, but not the same
    // address.
    let _ = rig.engine.settle(&mut rig.maps);
    rig.put(dns("c", 3));
    rig.put_slice(behind("c-1", vec![endpoint("10.1.0.1", "here")]));
    assert!(rig.engine.is_stale(&pair(1, 1)) && !rig.engine.is_stale(&pair(3, 1)));
    rig.put(dns("a", 1));
    assert!(
        !rig.engine.is_stale(&pair(1, 1)),
        "created anew, it serves again"
    );
    rig.empty();
}

#[test]
fn policies_and_node_ports() {
    let mut rig = Rig::new();
    let mut dns = dns("dns", 1);
    dns.kind = ServiceType::NodePort;
    dns.ports[0].node_port = Some(number(30053));
    rig.put(dns.clone());
    let ends = vec![endpoint("10.1.0.1", "here"), endpoint("10.1.0.2", "there")];
    rig.put_slice(behind("dns-1", ends));
    let at_node = Association {
        vip: ip("127.0.0.1").into(),
        vip_port: 30053,
        ..pair(1, 2)
    };
    assert!(!rig.engine.is_stale(&at_node));
    // New connections stay on this node; open ones stay where they are.
    dns.internal_policy = Policy::Local;
    rig.put(dns.clone());
    assert!(!rig.engine.is_stale(&pair(1, 2)));
    dns.ports[0].node_port = None;
    dns.kind = ServiceType::ClusterIp;
    assert!(rig.put(dns).udp_lost > 0);
    assert!(rig.engine.is_stale(&at_node) && !rig.engine.is_stale(&pair(1, 2)));
    rig.empty();
}

#[test]
fn tcp_is_nobodys_business() {
    let mut rig = Rig::new();
    rig.put(service("web", "10.96.0.1"));
    rig.put_slice(slice("web-1", vec![endpoint("10.1.0.1", "here")]));
    assert_eq!(rig.put_slice(slice("web-1", vec![])).udp_lost, 0);
    rig.empty();
}

#[test]
fn nothing_is_stale_before_everything_is_listed() {
    let mut rig = Rig::new();
    rig.put(dns("dns", 1));
    rig.put_slice(behind("dns-1", vec![endpoint("10.1.0.1", "here")]));
    let again = rig.restart();
    assert!(!again.engine.is_stale(&pair(1, 1)) && !again.engine.is_stale(&pair(1, 9)));
}
