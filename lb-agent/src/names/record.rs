//! What is kept of a Service: its names, and those of its endpoints.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use lb_common::{Proto, frontend};
use serde::{Deserialize, Serialize};

use crate::{
    model::{Service, Slice},
    plan::{FrontendKey, PoolId},
};

/// A Service as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `metadata.labels`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Those that have frontends in the maps.
    pub ports: Vec<NamedPort>,
    /// Of all slices, each address once.
    pub endpoints: Vec<NamedEndpoint>,
}

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedPort {
    /// Empty for the only port of a Service.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// Of the Service.
    pub port: u16,
    /// What clients connect to, as `get services` shows it, such as `10.96.0.1:80` or `*:30080`.
    pub frontends: Vec<String>,
}

/// An endpoint of a Service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedEndpoint {
    /// Where it listens.
    pub address: IpAddr,
    /// Name of its pod, which is in the namespace of the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// `nodeName`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `zone`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

impl NamedService {
    /// `namespace/name`
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// What a record is made of: shared with the model, so that it costs next to nothing until it is
/// written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The Service.
    pub service: Arc<Service>,
    /// Its slices.
    pub slices: Box<[Arc<Slice>]>,
    /// Its frontends in the maps, and the pool that each leads to.
    pub frontends: Vec<(FrontendKey, PoolId)>,
}

impl Draft {
    /// The record.
    #[must_use]
    pub fn record(&self) -> NamedService {
        let Self {
            service,
            slices,
            frontends,
        } = self;
        let ports = service.ports.iter().map(|port| {
            let ours = frontends
                .iter()
                .filter(|(_, id)| id.port == port.name && id.proto == port.proto);
            let mut all: Vec<String> = ours.filter_map(|(key, _)| shown(key)).collect();
            all.sort();
            all.dedup();
            NamedPort {
                name: port.name.to_string(),
                protocol: port.proto.to_string(),
                port: port.port.get(),
                frontends: all,
            }
        });
        let text = |name: &Option<Arc<str>>| name.as_deref().map(str::to_owned);
        let mut endpoints: BTreeMap<IpAddr, NamedEndpoint> = BTreeMap::new();
        for e in slices.iter().flat_map(|slice| &slice.endpoints) {
            let named = NamedEndpoint {
                address: e.addr,
                pod: text(&e.pod),
                node: text(&e.node),
                zone: text(&e.zone),
            };
            // While a new pod has the address of one that terminates, the new one is meant.
            if !e.terminating || !endpoints.contains_key(&e.addr) {
                endpoints.insert(e.addr, named);
            }
        }
        let labels = service.labels.iter();
        NamedService {
            namespace: service.key.namespace.to_string(),
            name: service.key.name.to_string(),
            labels: labels
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            ports: ports.filter(|port| !port.frontends.is_empty()).collect(),
            endpoints: endpoints.into_values().collect(),
        }
    }
}

/// As `get services` shows it; `None` for the mark of a VIP.
#[must_use]
pub fn shown(key: &FrontendKey) -> Option<String> {
    match key {
        FrontendKey::Address(key) if key.port == 0 => None,
        FrontendKey::Address(key) => {
            let ip: IpAddr = key.addr.into();
            Some(std::net::SocketAddr::new(ip, key.port).to_string())
        }
        FrontendKey::NodePort(key) if key.family == 4 => Some(format!("*:{}", key.port)),
        FrontendKey::NodePort(key) => Some(format!("[*]:{}", key.port)),
    }
}

/// The key of a frontend among those of all Services.
pub(super) fn frontend_key(protocol: &str, frontend: &str) -> String {
    format!("{protocol} {frontend}")
}

/// The name of a protocol.
#[must_use]
pub fn protocol(number: u8) -> String {
    Proto::from_number(number).map_or_else(|| number.to_string(), |p| p.to_string())
}

/// Which frontends of a Service an entry is, from its flags.
#[must_use]
pub fn kinds(bits: u32) -> Vec<&'static str> {
    [
        (frontend::CLUSTER_IP, "ClusterIP"),
        (frontend::NODE_PORT, "NodePort"),
        (frontend::LOAD_BALANCER, "LoadBalancer"),
        (frontend::EXTERNAL_IP, "ExternalIP"),
    ]
    .into_iter()
    .filter_map(|(bit, name)| (bits & bit != 0).then_some(name))
    .collect()
}
