//! The kernel side of the agent: loading, attaching, and the maps. Knows nothing of Kubernetes.

pub mod bpf_maps;
mod copy;
pub mod dir;
pub mod layout;
pub mod load;
pub mod lock;
pub mod mem;
pub mod pinned;
pub mod programs;
pub mod stats;
pub mod table;
