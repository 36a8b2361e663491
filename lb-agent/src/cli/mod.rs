//! The verbs, one file each.

pub mod args;
mod ask;
pub mod check;
pub mod cleanup;
pub mod completion;
mod flows;
mod frontends;
pub mod get;
mod output;
mod running;
pub mod status;
pub mod test_service;
