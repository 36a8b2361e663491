//! From a destination to a backend: frontend → pool → slot → backend. One body for every hook
//! and both families.

mod affinity;
pub mod backend;
pub mod choose;
pub mod frontend;
pub mod host_socket;
mod least;
mod room;
mod spill;
mod test_delay;

pub use affinity::remember_confirmed;
pub use backend::{backend, is_local, is_member, is_own};
pub use choose::{Chosen, Client, Refusal, choose};
pub use frontend::{
    Frontend, from_inside, frontend, frontend_by_call, frontend_on_lb0, icmp_source, is_node_addr,
    is_own_loopback, is_vip, known_vip, may_be_backend, may_be_node_port, node_port, vip,
};
