//! The maps of the data path: the kernel's, by their pins, and a copy in memory for tests.

pub mod bpf;
mod counts;
pub mod dir;
pub mod known;
pub mod lock;
pub mod mem;
pub mod pinned;
pub mod stats;
pub mod table;
