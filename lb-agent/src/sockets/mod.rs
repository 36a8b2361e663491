//! The sockets of this machine: their records, the recount of open connections, the agent's own
//! process, and SOCK_DESTROY.

pub(crate) mod agent;
pub mod destroy;
pub mod listeners;
pub mod namespaces;
pub(crate) mod netns;
mod pod_cgroups;
pub mod records;
pub mod recount;
