//! What the agent knows of the maps, and who owns what in them.

pub(in crate::sync) mod backends;
pub(in crate::sync) mod frontends;
pub(in crate::sync) mod ids;
pub(in crate::sync) mod pool;
pub(in crate::sync) mod restore;
pub(in crate::sync) mod slot_ranges;
pub(in crate::sync) mod state;
