//! The kernel side of the agent: loading, attaching, and the maps. Knows nothing of Kubernetes.

pub mod mem;
pub mod table;
