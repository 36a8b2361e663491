//! Which backends a port has, and what is done when they change.

use std::sync::Arc;

use super::{
    super::{backends::by_zone, zones::Zones},
    *,
};
use crate::{
    model::{Endpoint, Service, Slice},
    sync::tests::fixtures::{Rig, draining, endpoint, key},
};

#[test]
fn a_backend_of_two_ports_counts_for_both_and_once_in_its_zone() {
    let counters = of_one_port(1);
    let db = ObjectKey::new("shop", "db");
    let mut other = port(&[(2, 0)], 0);
    let red = counters.services().zones.zone(&"red".into());
    other.backends = [
        backend(7, BackendState::Draining, red),
        backend(8, BackendState::Ready, Zone::NONE),
    ]
    .into();
    counters.services().replace(&db, vec![other]);
    let read = |_: &[u32]| Ok(Vec::new());
    let (sums, _) = counters.sums_of(read, u64::from).unwrap();
    let active: Vec<u64> = sums.iter().map(|sum| sum.active).collect();
    assert_eq!(active, [15, 7]);
    let (all, zones) = counters.services().backends();
    let sums: Vec<_> = by_zone(all, &zones).into_iter().collect();
    assert_eq!(sums, [(("", "ready"), 1), (("red", "ready"), 1)]);
}

fn web() -> Service {
    let web = Service::cluster_ip("web", "10.96.0.1");
    web.port("http", Proto::Tcp, 80).port("dns", Proto::Udp, 53)
}

fn slice(name: &str, port: &str, proto: Proto, endpoints: Vec<Endpoint>) -> Slice {
    Slice::new(key(name), "web")
        .port(port, proto, 8080)
        .endpoints(endpoints)
}

fn within(zone: &str, endpoint: Endpoint) -> Endpoint {
    Endpoint {
        zone: Some(zone.into()),
        ..endpoint
    }
}

/// Of both ports: where they stand in memory, and the backends' states and zones.
fn found(counters: &ServiceCounters) -> [(*const Backend, Vec<(BackendState, Zone)>); 2] {
    let services = counters.services();
    let of = |name: &str| {
        let ports = services.ports[&key("web")].iter();
        let port = ports.clone().find(|port| &*port.name == name).unwrap();
        let all = port.backends.iter();
        let all = all.map(|backend| (backend.state, backend.zone));
        (port.backends.as_ptr(), all.collect())
    };
    ["http", "dns"].map(of)
}

#[test]
fn what_is_as_before_stays_where_it_is() {
    let dir = BpfDir::at(Path::new("/nowhere"));
    let counters = ServiceCounters::new(dir, ServiceMetrics::Most(10)).unwrap();
    let mut rig = Rig::new();
    rig.put(web());
    let ready = |zone| within(zone, endpoint("10.1.0.1", "here"));
    rig.engine.handle(crate::model::Event::Slice(slice(
        "web-1",
        "http",
        Proto::Tcp,
        vec![ready("red"), endpoint("10.1.0.2", "there")],
    )));
    let report = rig.put_slice(slice("web-2", "dns", Proto::Udp, vec![ready("red")]));
    counters.synced(&report, &rig.engine);
    let [http, dns] = found(&counters);
    let red = counters.services().zones.zone(&"red".into());
    let (first, second) = (
        (BackendState::Ready, red),
        (BackendState::Ready, Zone::NONE),
    );
    assert_eq!(
        (&http.1[..], &dns.1[..]),
        (&[first, second][..], &[first][..])
    );

    let mut labelled = web();
    labelled.labels = [(Arc::from("a"), Arc::from("b"))].into_iter().collect();
    let report = rig.put(labelled);
    assert!(report.services.contains(&key("web")), "it is planned anew");
    counters.synced(&report, &rig.engine);
    assert_eq!(found(&counters), [http.clone(), dns]);

    let gone = within("red", draining("10.1.0.1", "here"));
    let other = within("blue", endpoint("10.1.0.3", "there"));
    let report = rig.put_slice(slice("web-2", "dns", Proto::Udp, vec![gone, other]));
    counters.synced(&report, &rig.engine);
    let [same, changed] = found(&counters);
    assert_eq!(same, http);
    let blue = counters.services().zones.zone(&"blue".into());
    let (first, second) = ((BackendState::Draining, red), (BackendState::Ready, blue));
    assert_eq!(changed.1, [first, second]);

    rig.engine.handle(crate::model::Event::Services(vec![]));
    let report = rig.sync();
    counters.synced(&report, &rig.engine);
    assert!(counters.services().ports.is_empty());
}

#[test]
fn where_one_port_knows_no_zone_another_may() {
    let mut zones = Zones::default();
    let (red, blue) = (zones.zone(&"red".into()), zones.zone(&"blue".into()));
    let all = vec![
        backend(2, BackendState::Ready, blue),
        backend(1, BackendState::Draining, red),
        backend(2, BackendState::Ready, blue),
        backend(1, BackendState::Spill, Zone::NONE),
    ];
    let sums: Vec<_> = by_zone(all, zones.names()).into_iter().collect();
    assert_eq!(sums, [(("blue", "ready"), 1), (("red", "spill"), 1)]);
}
