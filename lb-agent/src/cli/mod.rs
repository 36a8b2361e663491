//! The verbs, one file each. Knows nothing of how the agent runs.

pub mod args;
