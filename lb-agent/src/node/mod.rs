//! This machine as netlink shows it: its addresses, and the devices that our programs stand on. Knows nothing of Kubernetes
//! and writes nothing.

pub mod addresses;
pub mod choose;
mod dump;
pub mod facts;
mod watch;

pub use choose::Selection;
pub use watch::{State, watch};
