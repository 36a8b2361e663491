//! The engine over maps in memory.

mod basic;
mod fixtures;
mod random;
mod readers;
mod restart;
mod size;
