//! A Kubernetes cluster of real parts in network namespaces: a control plane, and nodes with
//! containerd, kubelet, CNI plugins and DNS in pods, where lb-agent is installed by its chart as a
//! user would, or kube-proxy runs instead.

pub mod check;
pub mod conformance;
pub mod detached;
mod images;
mod kubectl;
pub mod node;
mod once;
pub mod shell;
pub mod state;
mod up;

pub use up::{Asked, Proxy, Up};

/// The number of the DNS server's cluster IP in the testbed's address plan.
const DNS: u8 = 10;
