//! What all kinds share: the key, the labels that exclude an object, and the reason why it is
//! skipped.

use std::num::NonZeroU16;

use k8s_openapi::{
    api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use lb_common::Proto;

use super::{convert_node, convert_service, convert_slice};
use crate::model::{Cidr, Event, ObjectKey, ServiceCidr};

/// A Service that carries this label is another proxy's, whatever the value (KEP-2447). On a slice
/// it means nothing.
pub const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Slices of Services without a cluster IP carry this label. On a Service it means nothing:
/// kube-proxy 1.37 reads its `clusterIP` (older ones left such a Service alone).
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// The object is none that this agent balances.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotOurs {
    /// Which one.
    pub key: ObjectKey,
    /// Why, for the log.
    pub reason: &'static str,
}

/// One object of a kind that is read.
#[derive(Clone, PartialEq, Debug)]
pub enum Object {
    /// v1 Service
    Service(Box<core::Service>),
    /// discovery.k8s.io/v1 `EndpointSlice`
    Slice(Box<discovery::EndpointSlice>),
    /// v1 Node
    Node(Box<core::Node>),
    /// networking.k8s.io/v1 `ServiceCIDR`
    ServiceCidr(Box<networking::ServiceCIDR>),
}

impl Object {
    /// The event that its arrival is.
    #[must_use]
    pub fn event(&self) -> Event {
        match self {
            Self::Service(o) => match convert_service::service(o) {
                Ok(s) => Event::Service(s),
                Err(e) => Event::ServiceGone(e.key),
            },
            Self::Slice(o) => match convert_slice::slice(o) {
                Ok(s) => Event::Slice(s),
                Err(e) => Event::SliceGone(e.key),
            },
            Self::Node(o) => Event::Node(convert_node::node(o)),
            Self::ServiceCidr(o) => Event::ServiceCidr(service_cidr(o)),
        }
    }
}

/// A `ServiceCIDR`; a network that cannot be read is left out.
pub(super) fn service_cidr(object: &networking::ServiceCIDR) -> ServiceCidr {
    let cidrs = object.spec.as_ref().and_then(|s| s.cidrs.as_deref());
    let cidrs = cidrs.unwrap_or_default().iter();
    ServiceCidr {
        name: object.metadata.name.clone().unwrap_or_default(),
        networks: cidrs.filter_map(|cidr| Cidr::parse(cidr)).collect(),
    }
}

/// Namespace and name; files may leave the namespace out.
pub(super) fn key(meta: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(
        meta.namespace.as_deref().unwrap_or("default"),
        meta.name.as_deref().unwrap_or_default(),
    )
}

/// Does it carry this label, with whatever value?
pub(super) fn carries(meta: &ObjectMeta, label: &str) -> bool {
    let labels = meta.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(label))
}

/// Number and protocol of a port of an object; `None` if one of them is wrong, with the problem
/// noted.
pub(super) fn number_and_proto(
    number: i32,
    name: &str,
    protocol: Option<&str>,
    problems: &mut Vec<String>,
) -> Option<(NonZeroU16, Proto)> {
    let Some(port) = port(number) else {
        problems.push(format!(
            "ports: port {number} of {name:?} is not in 1-65535: skipped"
        ));
        return None;
    };
    let Some(proto) = proto(protocol) else {
        let protocol = protocol.unwrap_or_default();
        problems.push(format!(
            "ports: protocol {protocol:?} of port {port} is none of TCP, UDP, SCTP: skipped"
        ));
        return None;
    };
    Some((port, proto))
}

/// A protocol as objects name it; TCP where they are silent.
fn proto(name: Option<&str>) -> Option<Proto> {
    match name {
        None | Some("" | "TCP") => Some(Proto::Tcp),
        Some("UDP") => Some(Proto::Udp),
        Some("SCTP") => Some(Proto::Sctp),
        Some(_) => None,
    }
}

/// A port number from 1 to 65535.
pub(super) fn port(number: i32) -> Option<NonZeroU16> {
    u16::try_from(number).ok().and_then(NonZeroU16::new)
}
