//! This machine as netlink shows it: its addresses, and the devices that programs are attached to.
//! Writes nothing.

pub mod addresses;
pub mod choose;
mod dump;
pub mod facts;
mod rp_filter;
mod watch;

pub use choose::Selection;
pub use watch::{State, watch};
