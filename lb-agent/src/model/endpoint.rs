//! What the agent knows of an EndpointSlice. Owns the defaults of nil conditions and nothing else.

use std::{net::IpAddr, num::NonZeroU16, sync::Arc};

use lb_common::Proto;

use super::{ObjectKey, Whereabouts};

/// One EndpointSlice of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slice {
    /// Its name.
    pub key: ObjectKey,
    /// The Service it belongs to (label `kubernetes.io/service-name`).
    pub service: ObjectKey,
    /// Matched to the Service's ports by name; numbers may differ from slice to slice.
    pub ports: Vec<SlicePort>,
    /// Of one family.
    pub endpoints: Vec<Endpoint>,
    /// Annotation `service.cilium.io/weight`: of all its endpoints that their Service gives none.
    pub weight: Option<u16>,
    /// Annotation `endpoints.kubernetes.io/last-change-trigger-time`: when the change behind it
    /// was made.
    pub trigger_time: Option<jiff::Timestamp>,
    /// What could not be honoured.
    pub problems: Vec<String>,
}

/// One port of a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlicePort {
    /// Matches [`ServicePort::name`](super::ServicePort::name).
    pub name: Arc<str>,
    /// TCP where the object is silent.
    pub proto: Proto,
    /// Where the endpoints listen; a slice port without a number is skipped when it is read.
    pub port: NonZeroU16,
}

/// One endpoint of a slice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The first of its addresses (the API guarantees that all are equivalent).
    pub addr: IpAddr,
    /// nil means true.
    pub ready: bool,
    /// nil means true (kube-proxy's rule; it matters for a terminating endpoint alone).
    pub serving: bool,
    /// nil means false.
    pub terminating: bool,
    /// `nodeName`.
    pub node: Option<Arc<str>>,
    /// `zone`: where it is. Weights go by it; which endpoints serve is decided by hints.
    pub zone: Option<Arc<str>>,
    /// Name of the Pod that `targetRef` names, for weights and for people.
    pub pod: Option<Arc<str>>,
    /// `hints`; most have none.
    pub hints: Option<Box<Hints>>,
}

/// Whom an endpoint is meant for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hints {
    /// `forZones`, names.
    pub zones: Vec<Arc<str>>,
    /// `forNodes`, names.
    pub nodes: Vec<Arc<str>>,
}

impl Endpoint {
    /// Where it runs.
    #[must_use]
    pub fn whereabouts(&self) -> Whereabouts<'_> {
        Whereabouts {
            zone: self.zone.as_deref(),
            node: self.node.as_deref(),
            pod: self.pod.as_deref(),
        }
    }

    /// Zones that its hints name.
    #[must_use]
    pub fn hint_zones(&self) -> &[Arc<str>] {
        self.hints.as_ref().map_or(&[], |hints| &hints.zones)
    }

    /// Nodes that its hints name.
    #[must_use]
    pub fn hint_nodes(&self) -> &[Arc<str>] {
        self.hints.as_ref().map_or(&[], |hints| &hints.nodes)
    }
}

/// There are a hundred thousand of them in a large cluster.
const _: () = assert!(size_of::<Endpoint>() <= 80);
