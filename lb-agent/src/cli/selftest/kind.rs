//! The kinds of Services that the test has, one of each: their names, addresses, ports and backends.

use std::net::IpAddr;

use super::addresses::{Family, Seat, cluster_ip, external, ingress};

/// The port of every Service.
pub(super) const PORT: u16 = 80;
/// The port that its backends listen on.
pub(super) const TARGET: u16 = 8080;

/// What a Service shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalIp,
    Affinity,
    PolicyLocal,
    Headless,
    Empty,
}

impl Kind {
    /// Every kind.
    pub(super) const ALL: [Self; 8] = [
        Self::ClusterIp,
        Self::NodePort,
        Self::LoadBalancer,
        Self::ExternalIp,
        Self::Affinity,
        Self::PolicyLocal,
        Self::Headless,
        Self::Empty,
    ];

    /// As people call it.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::ClusterIp => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
            Self::ExternalIp => "external IP",
            Self::Affinity => "session affinity",
            Self::PolicyLocal => "externalTrafficPolicy Local",
            Self::Headless => "headless",
            Self::Empty => "without endpoints",
        }
    }

    /// Of its objects.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "cluster-ip",
            Self::NodePort => "node-port",
            Self::LoadBalancer => "load-balancer",
            Self::ExternalIp => "external-ip",
            Self::Affinity => "affinity",
            Self::PolicyLocal => "policy-local",
            Self::Headless => "headless",
            Self::Empty => "empty",
        }
    }

    const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// Its cluster IP; a headless one has none.
    pub(super) const fn cluster_ip(self, family: Family) -> IpAddr {
        cluster_ip(family, self.number())
    }

    /// Its load balancer's IP.
    pub(super) const fn ingress(self, family: Family) -> IpAddr {
        ingress(family, self.number())
    }

    /// Its external IP.
    pub(super) const fn external(self, family: Family) -> IpAddr {
        external(family, self.number())
    }

    /// Its node port.
    pub(super) const fn node_port(self) -> u16 {
        30000 + self.number() as u16
    }

    /// Who serves it.
    pub(super) fn backends(self) -> Vec<Seat> {
        match self {
            Self::Empty => Vec::new(),
            // The one elsewhere is not to be asked.
            Self::PolicyLocal => vec![Seat::Web1, Seat::Far],
            Self::Headless => vec![Seat::Web1],
            _ => Seat::BACKENDS.to_vec(),
        }
    }

    /// The type, by the frontends that it has.
    pub(super) const fn service_type(self) -> &'static str {
        match self {
            Self::ClusterIp | Self::ExternalIp | Self::Headless => "ClusterIP",
            Self::NodePort | Self::Affinity | Self::Empty => "NodePort",
            Self::LoadBalancer | Self::PolicyLocal => "LoadBalancer",
        }
    }
}
