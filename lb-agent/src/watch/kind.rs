//! The kinds that are watched, and what their arrival, departure and full list mean to the model.

use k8s_openapi::{
    api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use tracing::debug;

use super::{convert_node, convert_service, convert_slice, object};
use crate::{
    model::{self, Event},
    observe::labels::Kind,
};

/// A kind that is watched.
pub trait Watched {
    /// What the model makes of it.
    type Model: Clone + Send + 'static;
    /// Its label in metrics and logs.
    const KIND: Kind;
    /// An API server may not know it, and may not let us see it: then there is none.
    const MAY_BE_ABSENT: bool = false;
    /// The object in the model's terms; `None` if it is not ours.
    fn convert(&self) -> Option<Self::Model>;
    /// New or changed.
    fn one(model: Self::Model) -> Event;
    /// Deleted, or no longer ours.
    fn gone(meta: &ObjectMeta) -> Event;
    /// The whole list.
    fn all(list: Vec<Self::Model>) -> Event;
}

impl Watched for core::Service {
    type Model = model::Service;
    const KIND: Kind = Kind::service;

    fn convert(&self) -> Option<model::Service> {
        ours(convert_service::service(self))
    }
    fn one(model: model::Service) -> Event {
        Event::Service(model)
    }
    fn gone(meta: &ObjectMeta) -> Event {
        Event::ServiceGone(object::key(meta))
    }
    fn all(list: Vec<model::Service>) -> Event {
        Event::Services(list)
    }
}

impl Watched for discovery::EndpointSlice {
    type Model = model::Slice;
    const KIND: Kind = Kind::endpointslice;

    fn convert(&self) -> Option<model::Slice> {
        ours(convert_slice::slice(self))
    }
    fn one(model: model::Slice) -> Event {
        Event::Slice(model)
    }
    fn gone(meta: &ObjectMeta) -> Event {
        Event::SliceGone(object::key(meta))
    }
    fn all(list: Vec<model::Slice>) -> Event {
        Event::Slices(list)
    }
}

/// Only our own is asked for, so a list holds one Node or none.
impl Watched for core::Node {
    type Model = model::Node;
    const KIND: Kind = Kind::node;

    fn convert(&self) -> Option<model::Node> {
        Some(convert_node::node(self))
    }
    fn one(model: model::Node) -> Event {
        Event::Node(model)
    }
    fn gone(_: &ObjectMeta) -> Event {
        Event::NodeGone
    }
    fn all(mut list: Vec<model::Node>) -> Event {
        list.pop().map_or(Event::NodeGone, Event::Node)
    }
}

/// Asked for where the API server knows the kind (Kubernetes 1.33).
impl Watched for networking::ServiceCIDR {
    type Model = model::ServiceCidr;
    const KIND: Kind = Kind::servicecidr;
    const MAY_BE_ABSENT: bool = true;

    fn convert(&self) -> Option<model::ServiceCidr> {
        Some(object::service_cidr(self))
    }
    fn one(model: model::ServiceCidr) -> Event {
        Event::ServiceCidr(model)
    }
    fn gone(meta: &ObjectMeta) -> Event {
        Event::ServiceCidrGone(meta.name.clone().unwrap_or_default())
    }
    fn all(list: Vec<model::ServiceCidr>) -> Event {
        Event::ServiceCidrs(list)
    }
}

fn ours<T>(converted: Result<T, object::NotOurs>) -> Option<T> {
    converted
        .inspect_err(
            |not_ours| debug!(object = %not_ours.key, reason = not_ours.reason, "not ours"),
        )
        .ok()
}
