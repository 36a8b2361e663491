//! The engine over maps in memory.

mod audit;
mod basic;
pub(crate) mod fixtures;
mod parts;
mod random;
mod readers;
mod refused;
mod restart;
mod size;
mod stale_sockets;
