//! Writes of the maps, in the order that readers need.

pub(in crate::sync) mod batch;
pub(in crate::sync) mod diff;
pub(in crate::sync) mod frontends;
pub(in crate::sync) mod members;
pub(in crate::sync) mod pools;
