//! The kinds that are watched, and what their arrival, departure and full list mean to the model.

use std::fmt;

use k8s_openapi::{
    api::{core::v1 as core, discovery::v1 as discovery, networking::v1 as networking},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use tracing::debug;

use super::{convert_node, convert_service, convert_slice, object};
use crate::{
    model::{self, Event, ObjectKey, Unread},
    observe::labels::Kind,
};

/// A kind that is watched.
pub trait Watched {
    /// What the model makes of it.
    type Model: Clone + Send + 'static;
    /// What is told of it.
    type Event: fmt::Debug + Send + Sync + 'static;
    /// Its label in metrics and logs.
    const KIND: Kind;
    /// What holds while it is not followed, for the log.
    const MEANWHILE: &'static str = "the data path keeps working";
    /// The object in the model's terms; `None` if it is not ours.
    fn convert(&self) -> Option<Self::Model>;
    /// New or changed.
    fn one(model: Self::Model) -> Self::Event;
    /// Deleted, or no longer ours.
    fn gone(meta: &ObjectMeta) -> Self::Event;
    /// The whole list.
    fn all(list: Vec<Self::Model>) -> Self::Event;
    /// Objects of the list that comes next which cannot be read; `None`: it does without them.
    #[must_use]
    fn unread(_: Vec<ObjectKey>) -> Option<Self::Event> {
        None
    }
    /// The API server does not know the kind, or does not let us see it; `None`: that is a failure.
    #[must_use]
    fn absent() -> Option<Self::Event> {
        None
    }
}

impl Watched for core::Service {
    type Model = model::Service;
    type Event = Event;
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
    fn unread(names: Vec<ObjectKey>) -> Option<Event> {
        Some(Event::Unread(Unread::Services(names)))
    }
}

impl Watched for discovery::EndpointSlice {
    type Model = model::Slice;
    type Event = Event;
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
    fn unread(names: Vec<ObjectKey>) -> Option<Event> {
        Some(Event::Unread(Unread::Slices(names)))
    }
}

/// Only our own is asked for, so a list holds one Node or none.
impl Watched for core::Node {
    type Model = model::Node;
    type Event = Event;
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
    fn unread(_: Vec<ObjectKey>) -> Option<Event> {
        Some(Event::Unread(Unread::Node))
    }
}

/// Asked for where the API server knows the kind (Kubernetes 1.33).
impl Watched for networking::ServiceCIDR {
    type Model = model::ServiceCidr;
    type Event = Event;
    const KIND: Kind = Kind::servicecidr;

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
    fn absent() -> Option<Event> {
        Some(Event::ServiceCidrs(Vec::new()))
    }
}

fn ours<T>(converted: Result<T, object::NotOurs>) -> Option<T> {
    converted
        .inspect_err(
            |not_ours| debug!(object = %not_ours.key, reason = not_ours.reason, "not ours"),
        )
        .ok()
}
