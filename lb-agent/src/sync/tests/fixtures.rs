//! Objects in few words, and an engine with its maps.

use std::{net::IpAddr, num::NonZeroU16, sync::Arc};

use lb_common::Proto;

use crate::{
    maps::{
        Maps,
        mem::{self, Limits, SharedWorld},
    },
    model::{
        Endpoint, Event, Node, ObjectKey, Policy, Service, ServicePort, ServiceType, Slice,
        SlicePort,
    },
    plan::PlanConfig,
    sync::{Engine, Report, dump::dump},
};

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn number(n: u16) -> NonZeroU16 {
    NonZeroU16::new(n).unwrap()
}

/// A `ClusterIP` service with port 80/TCP, unnamed.
pub(crate) fn service(name: &str, cluster_ip: &str) -> Service {
    Service {
        key: key(name),
        created: None,
        kind: ServiceType::ClusterIp,
        cluster_ips: vec![ip(cluster_ip)],
        external_ips: vec![],
        ingress_ips: vec![],
        ports: vec![port("", 80)],
        external_policy: Policy::Cluster,
        internal_policy: Policy::Cluster,
        affinity_secs: None,
        source_ranges: vec![],
        health_check_node_port: None,
        scheduler: None,
        problems: vec![],
    }
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
    let mut s = service(name, cluster_ip);
    s.kind = ServiceType::NodePort;
    s.ports[0].node_port = Some(number(n));
    s
}

pub(crate) fn endpoint(addr: &str, node: &str) -> Endpoint {
    Endpoint {
        addr: ip(addr),
        ready: true,
        serving: true,
        terminating: false,
        node: Some(node.into()),
        hints: None,
    }
}

pub(crate) fn draining(addr: &str, node: &str) -> Endpoint {
    Endpoint {
        ready: false,
        terminating: true,
        ..endpoint(addr, node)
    }
}

/// A slice `name` of the service of the same name up to the dash, port 8080/TCP, unnamed.
pub(crate) fn slice(name: &str, endpoints: Vec<Endpoint>) -> Slice {
    let service = name.split('-').next().unwrap();
    Slice {
        key: key(name),
        service: key(service),
        ports: vec![SlicePort {
            name: Arc::from(""),
            proto: Proto::Tcp,
            port: number(8080),
        }],
        endpoints,
        trigger_time: None,
        problems: vec![],
    }
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
        dump(&mut self.maps).unwrap()
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
