//! A real control plane in a network namespace: etcd, kube-apiserver, kube-controller-manager, and
//! what runs against them.

pub mod chart;
pub mod client;
pub mod container;
mod control_plane;
pub mod coredns;
mod daemon;
mod etcd;
mod fixture;
mod flags;
pub mod haproxy;
mod keys;
mod kube_proxy;
mod kubelet;
pub mod objects;
pub mod tools;

pub use client::Client;
pub use container::Container;
pub use control_plane::ControlPlane;
pub use daemon::{Daemon, words};
pub use fixture::Cluster;
pub use flags::{Pods, SERVICE_HOST};
pub use keys::{ADMIN_TOKEN, node_token};
pub use kube_proxy::KubeProxy;
pub use kubelet::Kubelet;
pub use tools::find as tool;
