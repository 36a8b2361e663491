//! What the agent decides and does for the flows of the packet path: how long they live, which
//! ports they may take, and the removal of what is past. The programs open and follow flows
//! themselves.

pub mod clock;
pub mod hash_key;
pub mod port_table;
pub mod ports;
pub mod sweep;
pub mod sysctl;
pub mod timeouts;
