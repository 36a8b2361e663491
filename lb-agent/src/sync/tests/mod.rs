//! The engine over maps in memory.

mod audit;
mod basic;
mod fixtures;
mod random;
mod readers;
mod restart;
mod size;
mod stale;
