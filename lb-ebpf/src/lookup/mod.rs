//! From a destination to a backend: frontend → pool → slot → backend. One body for every hook
//! and both families.

mod affinity;
pub mod backend;
pub mod choose;
pub mod frontend;
mod test_delay;

pub use backend::{backend, is_local, is_member};
pub use choose::{Chosen, Client, Refusal, choose};
pub use frontend::{Frontend, frontend, icmp_source, is_node_addr, is_vip, node_port, vip};
