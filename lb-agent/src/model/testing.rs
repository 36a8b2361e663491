//! Objects of the model in few words, as tests write them. What is not named is as small as it can
//! be: a Service has no port, a slice no endpoint.
#![expect(
    clippy::unwrap_used,
    reason = "numbers and addresses that a test has written down"
)]

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    sync::Arc,
};

use lb_common::Proto;

use super::{
    Endpoint, ObjectKey, Policy, Scheduler, Service, ServicePort, ServiceType, Slice, SlicePort,
    Weights,
};

/// An address, or its text.
pub trait Address {
    /// The address.
    fn ip(self) -> IpAddr;
}

impl Address for &str {
    fn ip(self) -> IpAddr {
        self.parse().unwrap()
    }
}

impl Address for IpAddr {
    fn ip(self) -> IpAddr {
        self
    }
}

impl Address for Ipv4Addr {
    fn ip(self) -> IpAddr {
        self.into()
    }
}

impl Address for Ipv6Addr {
    fn ip(self) -> IpAddr {
        self.into()
    }
}

/// A port number.
///
/// # Panics
/// With 0.
#[must_use]
pub fn port(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// In namespace `default`.
#[must_use]
pub fn key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

impl Service {
    /// Of type ClusterIP.
    #[must_use]
    pub fn cluster_ip(name: &str, ip: impl Address) -> Self {
        Self {
            cluster_ips: vec![ip.ip()],
            ..Self::named(key(name))
        }
    }

    /// Without any address.
    #[must_use]
    pub fn named(key: ObjectKey) -> Self {
        Self {
            key,
            created: None,
            labels: Box::default(),
            kind: ServiceType::ClusterIp,
            cluster_ips: vec![],
            external_ips: vec![],
            ingress_ips: vec![],
            ports: vec![],
            external_policy: Policy::Cluster,
            internal_policy: Policy::Cluster,
            affinity_secs: None,
            source_ranges: vec![],
            health_check_node_port: None,
            scheduler: None,
            removal: None,
            weights: Weights::default(),
            slow_start: None,
            max_connections: None,
            max_age: None,
            spill: None,
            forwarding: None,
            passive_health: None,
            problems: vec![],
        }
    }

    /// One more port.
    #[must_use]
    pub fn port(mut self, name: &str, proto: Proto, number: u16) -> Self {
        self.ports.push(ServicePort {
            name: name.into(),
            proto,
            port: port(number),
            node_port: None,
        });
        self
    }

    /// Of type NodePort, or what it is beyond that; the last port gets the number.
    ///
    /// # Panics
    /// Without a port, or with 0.
    #[must_use]
    pub fn node_port(mut self, number: u16) -> Self {
        if self.kind == ServiceType::ClusterIp {
            self.kind = ServiceType::NodePort;
        }
        self.ports.last_mut().unwrap().node_port = Some(port(number));
        self
    }

    /// With this scheduler, whatever the agent's default is.
    #[must_use]
    pub fn scheduled(mut self, scheduler: Scheduler) -> Self {
        self.scheduler = Some(scheduler);
        self
    }
}

impl Endpoint {
    /// On no node.
    #[must_use]
    pub fn ready(addr: impl Address) -> Self {
        Self {
            addr: addr.ip(),
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            zone: None,
            pod: None,
            hints: None,
        }
    }

    /// On this node.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        self.node = Some(Arc::from(node));
        self
    }

    /// Terminates, and still serves.
    #[must_use]
    pub fn draining(mut self) -> Self {
        (self.ready, self.terminating) = (false, true);
        self
    }
}

impl Slice {
    /// Of the Service of this name in the same namespace.
    #[must_use]
    pub fn new(key: ObjectKey, service: &str) -> Self {
        Self {
            service: ObjectKey::new(&key.namespace, service),
            key,
            ports: vec![],
            endpoints: vec![],
            weight: None,
            trigger_time: None,
            problems: vec![],
        }
    }

    /// One more port.
    #[must_use]
    pub fn port(mut self, name: &str, proto: Proto, number: u16) -> Self {
        self.ports.push(SlicePort {
            name: name.into(),
            proto,
            port: port(number),
        });
        self
    }

    /// More endpoints.
    #[must_use]
    pub fn endpoints(mut self, endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        self.endpoints.extend(endpoints);
        self
    }
}
