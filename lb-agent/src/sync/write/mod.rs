//! Writes of the maps, the only ones of services, in the order that readers need.
//!
//! [`pools`]: what frontends will lead to, then, once they do, what nothing leads to any more.
//! [`frontends`] in between. [`reuse`]: what was retired becomes free behind a barrier.

mod batch;
mod diff;
mod frontends;
mod job;
mod members;
mod node_addresses;
mod pools;
mod reuse;

pub(crate) use batch::run as run_batch;
pub(crate) use frontends::publish;
pub(crate) use job::Job;
pub(crate) use node_addresses::{Outcome, write_node_addresses};
pub(crate) use pools::{prune, refresh_backends, write_after_publish, write_before_publish};
pub(crate) use reuse::{barrier, take_indices};
