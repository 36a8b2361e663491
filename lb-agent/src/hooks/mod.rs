//! Programs on their hooks: attached, followed as devices come and go, and removed.

pub mod attach;
pub mod cgroup;
pub mod cleanup;
mod clsact;
mod device_table;
mod link_pin;
mod links;
pub mod trace_switch;
mod verify;
mod xdp_table;
