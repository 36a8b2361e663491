//! The verbs, one file each.

pub mod args;
mod ask;
pub mod check;
pub mod cleanup;
pub mod completion;
pub mod dump;
pub mod explain;
pub mod get;
pub mod kubectl;
mod offline;
mod output;
mod running;
pub mod selftest;
mod state;
pub mod status;
pub mod test_service;
pub mod top;
pub mod trace;
pub mod validate;
pub mod version;
