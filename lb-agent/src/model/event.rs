//! What the edges tell the core. Owns the meaning of "synced": a source that has not listed
//! everything yet deletes nothing.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::{Machine, Node, ObjectKey, Service, ServiceCidr, Slice};

/// One fact from outside. A relist arrives whole, so that it is one step for the core.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// New or changed.
    Service(Service),
    /// Deleted, or no longer ours (headless, ExternalName, another proxy's).
    ServiceGone(ObjectKey),
    /// Everything there is: what is absent is gone. The first one completes the source's first
    /// list.
    Services(Vec<Service>),
    /// New or changed.
    Slice(Slice),
    /// Deleted, or without a Service.
    SliceGone(ObjectKey),
    /// Everything there is: what is absent is gone. The first one completes the source's first
    /// list.
    Slices(Vec<Slice>),
    /// Objects of the list that comes next which exist and cannot be read: they stay as they are
    /// known.
    Unread(Unread),
    /// Our Node, new or changed.
    Node(Node),
    /// Our Node is not there: no zone, not eligible. Also completes the first list.
    NodeGone,
    /// The addresses of this machine that NodePorts answer on, with the index of the interface that
    /// carries each; from netlink, whole each time.
    Addresses(Vec<(IpAddr, u32)>),
    /// What is on this machine and on its links; from netlink, whole each time.
    Machine(Machine),
    /// New or changed.
    ServiceCidr(ServiceCidr),
    /// The one of this name was deleted.
    ServiceCidrGone(String),
    /// Everything there is, or nothing where the source knows none of this kind.
    ServiceCidrs(Vec<ServiceCidr>),
    /// TCP backends whose handshakes fail, of Services with passive health, the first one first;
    /// whole each time.
    Quarantined(BTreeMap<ObjectKey, Vec<SocketAddr>>),
    /// What identifies the cluster, the same on every node; for the data path, not for the plan.
    ClusterUid(String),
}

/// Objects that cannot be read.
#[derive(Clone, PartialEq, Debug)]
pub enum Unread {
    /// Services of these names.
    Services(Vec<ObjectKey>),
    /// Slices of these names.
    Slices(Vec<ObjectKey>),
    /// Our Node.
    Node,
}
