//! Objects in few words, and an engine with its maps.

use std::net::IpAddr;

use lb_common::Proto;

pub(crate) use crate::model::testing::{key, port as number};
use crate::{
    maps::{
        Maps,
        mem::{self, Limits, SharedWorld},
    },
    model::{Endpoint, Event, Node, Service, ServicePort, Slice},
    plan::PlanConfig,
    sync::{Engine, Report, dump::dump},
};

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A `ClusterIP` service with port 80/TCP, unnamed.
pub(crate) fn service(name: &str, cluster_ip: &str) -> Service {
    Service::cluster_ip(name, cluster_ip).port("", Proto::Tcp, 80)
}

pub(crate) fn port(name: &str, n: u16) -> ServicePort {
    ServicePort {
        name: name.into(),
        proto: Proto::Tcp,
        port: number(n),
        node_port: None,
    }
}

/// A `NodePort` service.
pub(crate) fn node_port(name: &str, cluster_ip: &str, n: u16) -> Service {
    service(name, cluster_ip).node_port(n)
}

pub(crate) fn endpoint(addr: &str, node: &str) -> Endpoint {
    Endpoint::ready(addr).on(node)
}

pub(crate) fn draining(addr: &str, node: &str) -> Endpoint {
    endpoint(addr, node).draining()
}

/// A slice `name` of the service of the same name up to the dash, port 8080/TCP, unnamed.
pub(crate) fn slice(name: &str, endpoints: Vec<Endpoint>) -> Slice {
    let service = name.split('-').next().unwrap();
    Slice::new(key(name), service)
        .port("", Proto::Tcp, 8080)
        .endpoints(endpoints)
}

pub(crate) struct Rig {
    pub(crate) maps: Maps,
    pub(crate) world: SharedWorld,
    pub(crate) engine: Engine,
}

pub(crate) const LIMITS: Limits = Limits {
    hash: 4096,
    pools: 256,
    slots: 4096,
    backends: 1024,
};

pub(crate) fn config() -> PlanConfig {
    PlanConfig {
        node_name: "here".into(),
        external_ips: vec!["198.51.100.0/24".parse().unwrap()],
        ..PlanConfig::default()
    }
}

impl Rig {
    /// An agent that has listed an empty cluster.
    pub(crate) fn new() -> Self {
        let mut rig = Self::unsynced(mem::new(LIMITS));
        rig.list(vec![], vec![]);
        rig
    }

    /// An agent that knows nothing yet.
    pub(crate) fn unsynced((mut maps, world): (Maps, SharedWorld)) -> Self {
        let engine = Engine::restore(&mut maps, config()).unwrap();
        Self {
            maps,
            world,
            engine,
        }
    }

    pub(crate) fn list(&mut self, services: Vec<Service>, slices: Vec<Slice>) -> Report {
        self.engine.handle(Event::Services(services));
        self.engine.handle(Event::Slices(slices));
        self.engine.handle(Event::Node(Node::default()));
        self.sync()
    }

    /// What changed, and everything that failed.
    pub(crate) fn sync(&mut self) -> Report {
        self.engine.retry();
        self.sync_changes()
    }

    /// What changed.
    pub(crate) fn sync_changes(&mut self) -> Report {
        let report = self.engine.sync(&mut self.maps);
        self.judge();
        report
    }

    pub(crate) fn put(&mut self, service: Service) -> Report {
        self.engine.handle(Event::Service(service));
        self.sync()
    }

    pub(crate) fn put_slice(&mut self, slice: Slice) -> Report {
        self.engine.handle(Event::Slice(slice));
        self.sync()
    }

    /// The agent dies, and another one takes over the same maps.
    pub(crate) fn restart(self) -> Self {
        Self::unsynced((self.maps, self.world))
    }

    /// The maps, once what is retired is cleared.
    pub(crate) fn dump(&mut self) -> String {
        let report = self.engine.settle(&mut self.maps);
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        self.judge();
        dump(&self.maps).unwrap()
    }

    /// No rule of the ABI was broken.
    pub(crate) fn judge(&self) {
        let world = self.world.lock();
        assert!(world.violations.is_empty(), "{:#?}", world.violations);
    }

    /// Deletes everything; the maps must be empty.
    pub(crate) fn empty(mut self) {
        self.engine.handle(Event::Addresses(vec![]));
        let report = self.list(vec![], vec![]);
        assert!(report.failed.is_empty(), "{:?}", report.failed);
        assert_eq!(self.dump(), "");
        let usage = self.engine.snapshot().usage;
        assert!(usage.iter().all(|u| u.entries == 0), "{usage:?}");
    }
}
