//! The engine over maps in memory.

mod audit;
mod basic;
pub(crate) mod fixtures;
mod leavers;
mod parts;
mod random;
mod readers;
mod refused;
mod restart;
mod size;
mod slow_start;
mod spill;
mod stale_sockets;
