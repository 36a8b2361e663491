//! The maps of the data path: the one list of tables, the kernel's maps by their pins, and a copy
//! in memory for tests.

pub mod bpf;
mod counts;
pub(crate) mod current_ids;
pub mod dir;
pub(crate) mod drift;
pub mod known;
pub mod list;
pub mod lock;
pub mod mem;
pub mod pinned;
pub mod stats;
pub(crate) mod successor;
pub mod table;
pub mod tcp;

pub use list::{Maps, PerTable, Programs, Reuse, Table};
