//! The kernel side of the agent: loading, attaching, and the maps. Knows nothing of Kubernetes.

pub mod bpf_maps;
pub mod dir;
pub mod lock;
pub mod mem;
pub mod pinned;
pub mod stats;
pub mod table;
