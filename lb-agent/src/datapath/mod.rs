//! The kernel side of the agent: loading, attaching, and the maps. Knows nothing of Kubernetes.

pub mod attach;
pub mod bpf_maps;
pub mod cgroup;
pub mod cleanup;
mod clsact;
mod copy;
mod counts;
pub mod dir;
pub mod known;
pub mod layout;
mod link_pin;
pub mod load;
pub mod lock;
pub mod mem;
pub mod pinned;
pub mod probe;
pub mod programs;
pub mod records;
pub mod recount;
pub mod stats;
pub mod table;
